//! S/MIME where gateways, old clients and people put it, opened as a mail.

use crate::support::{ARRIVED, Folder};
use strongroom::escrow::keyholder::Keyholder;
use strongroom::mail::context::{OpenPolicy, Trust};
use strongroom::mail::model::{Outcome, Scope, SignatureMath};
use strongroom::mail::{self, Opened};

struct Sealed {
    keys: Keyholder,
    der: Vec<u8>,
    pem: String,
}

const WORDS: &str = "Streng geheime Botschaft.";

fn sealed() -> Sealed {
    let folder = Folder::new();
    folder.identity("rsa", "rsa:2048", "");
    folder.must("cms -encrypt -binary -aes256 -in message -outform DER -out der rsa.crt");
    folder.must("cms -encrypt -binary -aes256 -in message -outform PEM -out pem rsa.crt");
    Sealed {
        keys: folder.keys("rsa"),
        der: folder.read("der"),
        pem: String::from_utf8(folder.read("pem")).unwrap(),
    }
}

fn open(keys: &Keyholder, head: &str, body: &str) -> Opened {
    let message = format!("From: a@x\nSubject: s\n{head}\n{body}");
    let policy = OpenPolicy::default();
    mail::open(
        message.as_bytes(),
        keys,
        &Trust::default(),
        &policy,
        ARRIVED,
    )
}

#[track_caller]
fn assert_opened_layers(opened: &Opened, count: usize, what: &str) {
    let outcomes: Vec<Outcome> = opened.layers.iter().map(|layer| layer.outcome).collect();
    assert_eq!(outcomes, vec![Outcome::Opened; count], "{what}");
}

#[track_caller]
fn assert_opened(opened: &Opened, count: usize, around: &[&str], what: &str) {
    assert_opened_layers(opened, count, what);
    let body = &opened.text.body;
    assert_eq!(body.matches(WORDS).count(), count, "{what}: {body}");
    for words in around {
        assert!(body.contains(words), "{what}: {body}");
    }
}

#[test]
fn base64_under_any_type_or_none_is_found() {
    let Sealed { keys, der, .. } = sealed();
    let body = data_encoding::BASE64_MIME.encode(&der);
    for kind in [
        "text/html",
        "text/x-unknown",
        "application/text",
        "application/octet-stream",
        "application/x-unknown-content-type",
        "unknown/unknown",
    ] {
        for encoding in ["", "Content-Transfer-Encoding: base64\n"] {
            let head = format!("Content-Type: {kind}\n{encoding}");
            assert_opened(&open(&keys, &head, &body), 1, &[], &head);
            let file = format!(
                "--b\n\nhello\n--b\nContent-Type: {kind}; name=smime.dat\n{encoding}\n{body}\n--b--\n"
            );
            let opened = open(&keys, "Content-Type: multipart/mixed; boundary=b\n", &file);
            assert_opened(&opened, 1, &["hello"], &head);
        }
    }
    assert_opened(&open(&keys, "", &body), 1, &[], "no type");
}

#[test]
fn every_pem_block_in_a_text_is_opened_in_its_place() {
    let Sealed { keys, pem, .. } = sealed();
    let quoted: String = pem.lines().map(|line| format!("> {line}\n")).collect();
    for second in [&pem, &quoted] {
        let text = format!("before\n{pem}between\n{second}after\n");
        let around = ["before", "between", "after"];
        let opened = open(&keys, "Content-Type: text/plain\n", &text);
        assert_opened(&opened, 2, &around, "text");
        let policy = OpenPolicy::default();
        let opened = mail::open(text.as_bytes(), &keys, &Trust::default(), &policy, ARRIVED);
        assert_opened(&opened, 2, &around, "a file");
        let page = text.replace("> ", "&gt; ").replace('\n', "<br>\n");
        let page = format!("<html><body><p>{page}</p></body></html>");
        let opened = open(&keys, "Content-Type: text/html\n", &page);
        assert_opened(&opened, 2, &around, "HTML");
        let base64 = data_encoding::BASE64_MIME.encode(text.as_bytes());
        let file = format!(
            "--b\n\nhello\n--b\nContent-Type: application/octet-stream; name=mail.pem\nContent-Transfer-Encoding: base64\n\n{base64}\n--b--\n"
        );
        let opened = open(&keys, "Content-Type: multipart/mixed; boundary=b\n", &file);
        assert_opened(&opened, 2, &around, "a file in a mail");
    }
    let two = format!("{pem}{pem}");
    assert_opened(&open(&keys, "", &two), 2, &[], "nothing but blocks");
}

#[test]
fn base64_in_the_middle_of_a_text_is_opened_in_its_place() {
    let Sealed { keys, der, .. } = sealed();
    let body = data_encoding::BASE64_MIME.encode(&der);
    let text = format!(
        "-----Original Message-----\nContent-Type: application/pkcs7-mime; name=smime.p7m\nContent-Transfer-Encoding: base64\n\n{body}\n\nThis mail was scanned.\n"
    );
    let text = text.replace('\r', "");
    let quoted: String = text.lines().map(|line| format!("> {line}\n")).collect();
    for text in [
        text.replace('\n', "\r\n"),
        text.replace('\n', "\n\n"),
        text.clone(),
        quoted,
    ] {
        let opened = open(&keys, "Content-Type: text/plain\n", &text);
        assert_opened(&opened, 1, &["Original Message", "was scanned"], &text);
    }
    let snippet = format!("it begins so:\n{}\nas you know\n", &body[..152]);
    let inside = format!("{}\n{}", data_encoding::BASE64.encode(&[7; 48]), text);
    let inside = inside.replace(
        "base64\n\n",
        &format!("base64\n\n{}\n", data_encoding::BASE64.encode(&[7; 48])),
    );
    for text in [snippet, inside] {
        let opened = open(&keys, "Content-Type: text/plain\n", &text);
        assert_opened_layers(&opened, 0, &text);
    }
}

#[test]
fn a_mail_in_a_file_is_known_by_its_content() {
    let Sealed { keys, der, .. } = sealed();
    let body = data_encoding::BASE64_MIME.encode(&der);
    let mail = format!(
        "From: b@x\nSubject: inner\nContent-Type: application/pkcs7-mime\nContent-Transfer-Encoding: base64\n\n{body}"
    );
    let base64 = data_encoding::BASE64_MIME.encode(mail.as_bytes());
    for kind in [
        "application/octet-stream; name=Mime.822",
        "application/octet-stream",
        "message/x-unknown; name=mail",
        "text/plain; name=original.txt",
    ] {
        let file = format!(
            "--b\n\nhello\n--b\nContent-Type: {kind}\nContent-Transfer-Encoding: base64\n\n{base64}\n--b--\n"
        );
        let opened = open(&keys, "Content-Type: multipart/mixed; boundary=b\n", &file);
        assert_opened_layers(&opened, 1, kind);
        let rendition = opened.rendition.unwrap();
        let kept = format!("Content-Type: {kind}");
        assert!(
            String::from_utf8_lossy(&rendition).contains(&kept),
            "{kind}"
        );
    }
}

#[test]
fn a_signature_that_lost_its_type_is_checked_and_over_a_part() {
    let folder = Folder::new();
    folder.identity("rsa", "rsa:2048", "");
    folder.must("cms -sign -binary -in message -signer rsa.pem -outform DER -out signature");
    let signed = String::from_utf8(folder.read("message")).unwrap();
    let digits = data_encoding::BASE64_MIME.encode(&folder.read("signature"));
    let judge = |kind: &str, signed: &str| {
        let body = format!(
            "--b\r\n{signed}\r\n--b\r\nContent-Type: {kind}\r\nContent-Transfer-Encoding: base64\r\n\r\n{digits}\r\n--b--\r\n"
        );
        let head = "Content-Type: multipart/mixed; boundary=b\r\n";
        let opened = open(&Keyholder::default(), head, &body);
        let found = opened.signatures.iter();
        let found = found
            .map(|found| (found.math, found.scope))
            .collect::<Vec<_>>();
        assert_eq!(found.len(), 1, "{kind}");
        found[0]
    };
    for kind in [
        "application/octet-stream; name=smime.dat",
        "text/plain; name=ATT00001.txt",
        "application/x-unknown-content-type",
    ] {
        assert_eq!(judge(kind, &signed), (SignatureMath::Good, Scope::Part));
        let changed = signed.replace("geheime", "offene");
        assert_eq!(judge(kind, &changed).0, SignatureMath::Unchecked);
    }
    let declared = "application/pkcs7-signature; name=smime.p7s";
    assert_eq!(
        judge(declared, &signed),
        (SignatureMath::Good, Scope::Whole)
    );
}

#[test]
fn a_uuencoded_smime_p7m_is_opened_in_its_place() {
    let Sealed { keys, der, .. } = sealed();
    let mut block = "begin 644 smime.p7m\n".to_owned();
    for line in der.chunks(45) {
        let digit = |value: u8| char::from(if value == 0 { b'`' } else { value + 32 });
        block.push(digit(u8::try_from(line.len()).unwrap()));
        for group in line.chunks(3) {
            let at = |index: usize| u32::from(group.get(index).copied().unwrap_or(0));
            let bits = at(0) << 16 | at(1) << 8 | at(2);
            block.extend([18, 12, 6, 0].map(|shift| digit((bits >> shift & 63) as u8)));
        }
        block.push('\n');
    }
    block.push_str("`\nend\n");
    assert_opened(&open(&keys, "", &block), 1, &[], "alone");
    let head =
        "Content-Type: application/pkcs7-mime; name=smime.p7m\nContent-Transfer-Encoding: base64\n";
    assert_opened(&open(&keys, head, &block), 1, &[], "under its own type");
    let text = format!("begin here\n{block}after\n");
    for text in [text.clone(), text.replace('\n', "\r\n")] {
        let opened = open(&keys, "Content-Type: text/plain\n", &text);
        assert_opened(&opened, 1, &["begin here", "after"], "in a text");
    }
}

#[test]
fn words_behind_an_object_stay() {
    let Sealed { keys, der, pem } = sealed();
    let base64 = data_encoding::BASE64_MIME.encode(&der);
    for text in [
        format!("{}\r\n\r\nbest regards\r\n", base64.trim_end()),
        format!("{} best regards\n", pem.trim_end()),
    ] {
        let opened = open(&keys, "Content-Type: text/plain\n", &text);
        assert_opened(&opened, 1, &["best regards"], &text);
    }
}
