//! What `openssl cms` signs: every algorithm, opaque and detached, with and without attributes, streamed or not.

use crate::support::{ARRIVED, Folder, MESSAGE, open, passphrases};
use strongroom::mail::context::{OpenPolicy, Trust, TrustData};
use strongroom::mail::model::{Outcome, Signature, SignatureMath, Verdict};

fn signature(folder: &Folder, trust: &Trust, detached: Option<&[u8]>) -> Signature {
    let opened = open(&passphrases(&[]), trust, &folder.read("out"), detached).unwrap();
    if detached.is_none() {
        assert_eq!(opened.plaintext, MESSAGE);
    }
    opened.signatures.into_iter().next().unwrap()
}

#[test]
fn every_signature() {
    let folder = Folder::new();
    folder.must("dsaparam -out dsa.par 1024");
    folder.identity("rsa", "rsa:2048", "");
    folder.identity("p256", "ec", "-pkeyopt ec_paramgen_curve:prime256v1");
    folder.identity("p521", "ec", "-pkeyopt ec_paramgen_curve:secp521r1");
    folder.identity("dsa", "dsa:dsa.par", "");
    folder.identity(
        "brainpool",
        "ec",
        "-pkeyopt ec_paramgen_curve:brainpoolP384r1",
    );
    let pss = "-keyopt rsa_padding_mode:pss -keyopt rsa_pss_saltlen";
    let cases = [
        ("rsa", "-md sha1".to_owned()),
        ("rsa", "-md md5".to_owned()),
        ("rsa", "-md sha256".to_owned()),
        ("rsa", "-md sha3-256".to_owned()),
        ("rsa", "-md ripemd160".to_owned()),
        ("rsa", format!("-md sha256 {pss}:0")),
        ("rsa", format!("-md sha512 {pss}:20")),
        ("rsa", format!("-md sha384 {pss}:-1")),
        (
            "rsa",
            format!("-md sha256 {pss}:-1 -keyopt rsa_mgf1_md:sha1"),
        ),
        ("rsa", "-md sha384".to_owned()),
        ("rsa", "-md sha512 -cades".to_owned()),
        ("rsa", format!("-md sha256 {pss}:222")),
        ("rsa", format!("-md sha256 {pss}:10 -noattr")),
        ("rsa", "-noattr".to_owned()),
        ("rsa", "-md sha256 -keyid".to_owned()),
        ("dsa", "-md sha1".to_owned()),
        ("p521", "-md sha512".to_owned()),
        ("p256", "-md sha384 -keyid".to_owned()),
        ("p256", "-md sha256".to_owned()),
        ("p256", "-md sha512 -noattr".to_owned()),
        ("brainpool", "-md sha384".to_owned()),
    ];
    for (signer, options) in cases {
        for form in ["-nodetach", "-nodetach -stream", ""] {
            let write = format!(
                "cms -sign -binary -in message -outform DER -out out -signer {signer}.crt -inkey {signer}.key {options} {form}"
            );
            if !folder.openssl(&write) {
                assert!(
                    write.contains("pss") && write.ends_with("-stream"),
                    "{write}"
                );
                continue; // OpenSSL 3.0 does not stream PSS.
            }
            let detached = form.is_empty().then_some(MESSAGE);
            let judged = signature(&folder, &Trust::default(), detached);
            assert_eq!(
                judged.math,
                SignatureMath::Good,
                "{write}: {}",
                judged.reason
            );
            // A certificate that came with the mail is not trusted by that.
            assert_eq!(judged.verdict, Verdict::UnknownSigner, "{write}");
            if let Some(content) = detached {
                let altered = [content, b"x"].concat();
                assert_eq!(
                    signature(&folder, &Trust::default(), Some(&altered)).math,
                    SignatureMath::Bad
                );
            }
        }
    }
}

#[test]
fn line_ends_changed_on_the_way_are_named() {
    let folder = Folder::new();
    folder.identity("rsa", "rsa:2048", "");
    folder
        .must("cms -sign -binary -in message -outform DER -out out -signer rsa.crt -inkey rsa.key");
    let anchor = openssl::x509::X509::from_pem(&folder.read("rsa.crt")).unwrap();
    let trust = Trust::from(TrustData {
        anchors: vec![anchor.to_der().unwrap().into()],
        ..TrustData::default()
    });
    let whole = signature(&folder, &trust, Some(MESSAGE));
    assert_eq!(
        (whole.verdict, whole.key_source.as_deref()),
        (Verdict::Valid, Some("anchors")),
        "{}",
        whole.reason
    );
    // Stored with LF: still as it was sent.
    let unix = String::from_utf8(MESSAGE.to_vec())
        .unwrap()
        .replace("\r\n", "\n");
    assert_eq!(
        signature(&folder, &trust, Some(unix.as_bytes())).verdict,
        Verdict::Valid
    );
    // Signed with LF, which no transport keeps.
    folder.write("message", unix.as_bytes());
    let sign = "cms -sign -binary -in message -outform DER -out out -signer rsa.crt -inkey rsa.key";
    folder.must(sign);
    for content in [unix.as_bytes(), MESSAGE] {
        let judged = signature(&folder, &trust, Some(content));
        assert_eq!(
            (judged.math, judged.verdict),
            (SignatureMath::Good, Verdict::ValidBut)
        );
        assert!(
            judged.reason.starts_with("noncanonical"),
            "{}",
            judged.reason
        );
    }
}

#[test]
fn content_inside_a_detached_signature_does_not_count() {
    let folder = Folder::new();
    folder.identity("rsa", "rsa:2048", "");
    let sign = "cms -sign -nodetach -binary -in message -outform DER -out out -signer rsa.crt -inkey rsa.key";
    folder.must(sign);
    assert_eq!(
        signature(&folder, &Trust::default(), Some(b"Another text")).math,
        SignatureMath::Bad
    );
    assert_eq!(
        signature(&folder, &Trust::default(), Some(MESSAGE)).math,
        SignatureMath::Good
    );
}

#[test]
fn several_signers_and_each_is_judged() {
    let folder = Folder::new();
    folder.identity("one", "rsa:2048", "");
    folder.identity("two", "ec", "-pkeyopt ec_paramgen_curve:prime256v1");
    folder.must(
        "cms -sign -nodetach -binary -in message -outform DER -out out -signer one.crt -inkey one.key -signer two.crt \
         -inkey two.key",
    );
    let opened = open(
        &passphrases(&[]),
        &folder.trust("one"),
        &folder.read("out"),
        None,
    )
    .unwrap();
    let mut verdicts: Vec<_> = opened
        .signatures
        .iter()
        .map(|signature| (signature.signer.as_str(), signature.verdict))
        .collect();
    verdicts.sort_unstable_by_key(|(signer, _)| *signer);
    assert_eq!(
        verdicts,
        [
            ("one@example.org", Verdict::Valid),
            ("two@example.org", Verdict::UnknownSigner)
        ]
    );
}

#[test]
fn triple_wrapped_mail() {
    let folder = Folder::new();
    folder.identity("rsa", "rsa:2048", "");
    folder.write(
        "message",
        b"Content-Type: text/plain\r\n\r\nThree times.\r\n",
    );
    for (opaque, stream) in [("-nodetach", ""), ("", "-stream"), ("-nodetach", "-stream")] {
        folder.must(&format!(
            "cms -sign {opaque} {stream} -in message -out 1 -signer rsa.crt -inkey rsa.key"
        ));
        folder.must(&format!(
            "cms -encrypt -aes256 {stream} -in 1 -out 2 rsa.crt"
        ));
        folder.must(&format!(
            "cms -sign {opaque} {stream} -in 2 -out 3 -signer rsa.crt -inkey rsa.key"
        ));
        let opened = strongroom::mail::open(
            &folder.read("3"),
            &folder.keys("rsa"),
            &folder.trust("rsa"),
            &OpenPolicy::default(),
            ARRIVED,
        );
        assert_eq!(
            opened.outcome,
            Outcome::Opened,
            "{opaque} {stream} {opened:?}"
        );
        assert_eq!(opened.layers.len(), 3, "{opaque} {stream}");
        assert_eq!(opened.signatures.len(), 2, "{opaque} {stream}");
        for signature in &opened.signatures {
            assert_eq!(signature.verdict, Verdict::Valid, "{}", signature.reason);
        }
        assert!(opened.text.body.contains("Three times."));
    }
}

/// As Italian invoices and certified documents come: each signed by itself, in a file named after the document.
#[test]
fn a_signed_file_keeps_its_name() {
    let folder = Folder::new();
    folder.identity("rsa", "rsa:2048", "");
    folder.write("invoice", b"<invoice>1</invoice>");
    folder.must("cms -sign -binary -nodetach -cades -in invoice -outform DER -out out -signer rsa.crt -inkey rsa.key");
    let cms = data_encoding::BASE64_MIME.encode(&folder.read("out"));
    let opened = |name: &str| {
        let mail = format!(
            "From: a@x\r\nContent-Type: multipart/mixed; boundary=m\r\n\r\n--m\r\n\r\nhi\r\n--m\r\n\
             Content-Type: application/octet-stream; name=\"{name}\"\r\nContent-Transfer-Encoding: base64\r\n\r\n{cms}\r\n--m--\r\n"
        );
        let (trust, policy) = (Trust::default(), OpenPolicy::default());
        let opened =
            strongroom::mail::open(mail.as_bytes(), &passphrases(&[]), &trust, &policy, ARRIVED);
        String::from_utf8(opened.rendition.unwrap()).unwrap()
    };
    let named = opened("IT01_1.xml.p7m");
    assert!(
        named.contains("filename=\"IT01_1.xml\"\r\n\r\nPGludm9pY2U+MTwvaW52b2ljZT4="),
        "{named}"
    );
    let mail = opened("smime.p7m");
    assert!(mail.contains("\r\n\r\n<invoice>1</invoice>\r\n"), "{mail}");
}
