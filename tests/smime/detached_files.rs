//! Detached CMS signatures in a part of their own: invoices and contracts come with them, `a.pdf` with `a.pdf.p7s`, and
//! gateways leave them of a `multipart/signed`.

use crate::support::{ARRIVED, Folder};
use data_encoding::BASE64_MIME;
use strongroom::escrow::keyholder::Keyholder;
use strongroom::mail::context::OpenPolicy;
use strongroom::mail::model::{Outcome, Scope, SignatureMath, Verdict};
use strongroom::mail::{self, Opened};

/// As PDF files are: its lines end with LF.
const FILE: &[u8] = b"%PDF-1.4\nwords\n%%EOF\n";

struct Signer(Folder);

impl Signer {
    fn new() -> Self {
        let folder = Folder::new();
        folder.identity("rsa", "rsa:2048", "");
        Self(folder)
    }

    /// Over `content`, or with it inside.
    fn sign(&self, content: &[u8], more: &str) -> Vec<u8> {
        self.0.write("content", content);
        self.0.must(&format!(
            "cms -sign -binary -in content -outform DER -out p7s -signer rsa.crt -inkey rsa.key {more}"
        ));
        self.0.read("p7s")
    }

    fn open(&self, parts: &[String]) -> Opened {
        let body: String = parts
            .iter()
            .map(|part| format!("--b\r\n{part}\r\n"))
            .collect();
        let message = format!(
            "From: rsa@example.org\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n{body}--b--\r\n"
        );
        mail::open(
            message.as_bytes(),
            &Keyholder::default(),
            &self.0.trust("rsa"),
            &OpenPolicy::default(),
            ARRIVED,
        )
    }
}

fn file(content_type: &str, name: &str, content: &[u8]) -> String {
    let body = BASE64_MIME.encode(content);
    format!(
        "Content-Type: {content_type}; name=\"{name}\"\r\nContent-Transfer-Encoding: base64\r\nContent-Disposition: attachment; filename=\"{name}\"\r\n\r\n{body}"
    )
}

fn verdicts(opened: &Opened) -> Vec<(Verdict, Scope)> {
    let all = opened.signatures.iter();
    all.map(|signature| (signature.verdict, signature.scope))
        .collect()
}

const TEXT: &str = "Content-Type: text/plain\r\n\r\nthe text";

#[test]
fn a_signature_beside_the_file_is_checked_over_it() {
    let signer = Signer::new();
    let pdf = file("application/pdf", "a.pdf", FILE);
    let signature = signer.sign(FILE, "");
    signer.0.must("pkcs7 -inform DER -in p7s -out pem");
    let pem = file(
        "application/octet-stream",
        "a.pdf.p7s",
        &signer.0.read("pem"),
    );
    let opened = signer.open(&[TEXT.to_owned(), pdf.clone(), pem]);
    assert_eq!(verdicts(&opened), [(Verdict::Valid, Scope::Part)]);
    for (kind, name) in [
        ("application/octet-stream", "a.pdf.p7s"),
        ("application/pkcs7-signature", "a.pdf.p7s"),
        ("application/x-pkcs7-signature", "smime.p7s"),
        ("application/octet-stream", "A.PDF.pkcs7"),
        ("application/pkcs7-mime", "a.pdf.p7m"),
        ("application/octet-stream", "signatur.dat"),
    ] {
        let signed = file(kind, name, &signature);
        for parts in [
            [TEXT.to_owned(), pdf.clone(), signed.clone()],
            [TEXT.to_owned(), signed.clone(), pdf.clone()],
            [pdf.clone(), TEXT.to_owned(), signed.clone()],
        ] {
            let opened = signer.open(&parts);
            assert_eq!(verdicts(&opened), [(Verdict::Valid, Scope::Part)], "{name}");
            assert_eq!(opened.outcome, Outcome::NotEncrypted, "{name}");
            assert!(opened.rendition.is_none(), "{name}");
        }
    }
}

#[test]
fn a_signature_that_fits_nothing_is_told_as_such() {
    let signer = Signer::new();
    let pdf = file("application/pdf", "a.pdf", FILE);
    let of_another = signer.sign(b"%PDF-1.4\nother words\n", "");
    // It says itself what it is over.
    let named = file("application/octet-stream", "a.pdf.p7s", &of_another);
    let opened = signer.open(&[TEXT.to_owned(), pdf.clone(), named]);
    assert_eq!(verdicts(&opened), [(Verdict::Invalid, Scope::Part)]);
    let nameless = file("application/octet-stream", "smime.p7s", &of_another);
    let opened = signer.open(&[TEXT.to_owned(), pdf, nameless]);
    assert_eq!(verdicts(&opened), [(Verdict::UnknownSigner, Scope::Part)]);
    assert!(opened.signatures[0].reason.starts_with("no-content"));
}

#[test]
fn what_has_its_content_inside_and_certificates_alone_are_no_detached_signatures() {
    let signer = Signer::new();
    let inside = file(
        "application/octet-stream",
        "a.txt.p7m",
        &signer.sign(b"words inside", "-nodetach"),
    );
    let opened = signer.open(&[TEXT.to_owned(), inside]);
    assert_eq!(verdicts(&opened), [(Verdict::Valid, Scope::Part)]);
    assert!(opened.text.body.contains("words inside"));
    signer
        .0
        .must("crl2pkcs7 -nocrl -certfile rsa.crt -outform DER -out p7c");
    let certificates = file("application/pkcs7-mime", "smime.p7c", &signer.0.read("p7c"));
    assert!(
        signer
            .open(&[TEXT.to_owned(), certificates])
            .signatures
            .is_empty()
    );
}

#[test]
fn of_a_multipart_signed_with_a_footer_the_signed_part_is_found() {
    let signer = Signer::new();
    let signature = signer.sign(TEXT.as_bytes(), "");
    let signature = file("application/pkcs7-signature", "smime.p7s", &signature);
    let footer = "Content-Type: text/plain\r\n\r\nscanned".to_owned();
    let text = TEXT.to_owned();
    for parts in [
        [text.clone(), signature.clone(), footer.clone()],
        [text.clone(), footer.clone(), signature.clone()],
        [footer, text, signature],
    ] {
        let opened = signer.open(&parts);
        assert_eq!(verdicts(&opened), [(Verdict::Valid, Scope::Part)]);
    }
}

#[test]
fn a_signed_entity_that_is_kept_as_a_file_is_checked() {
    let signer = Signer::new();
    let signature = signer.sign(TEXT.as_bytes(), "");
    let signature = file("application/pkcs7-signature", "smime.p7s", &signature);
    let entity = format!(
        "Content-Type: multipart/signed; boundary=s\r\n\r\n--s\r\n{TEXT}\r\n--s\r\n{signature}\r\n--s--\r\n"
    );
    for (kind, name) in [
        ("application/octet-stream", "GpgOL_MIME_structure.mime"),
        ("text/plain", "GpgOL_MIME_structure.txt"),
        ("application/octet-stream", "noname"),
    ] {
        let opened = signer.open(&[file(kind, name, entity.as_bytes())]);
        assert_eq!(verdicts(&opened).len(), 1, "{name}");
        assert_eq!(opened.signatures[0].math, SignatureMath::Good, "{name}");
        assert_eq!(opened.signatures[0].scope, Scope::Part);
    }
}

#[test]
fn a_signature_is_not_tried_on_everything_for_ever() {
    let signer = Signer::new();
    let signature = signer.sign(b"other words", "-nocerts");
    let signature = file("application/octet-stream", "smime.p7s", &signature);
    let signatures = format!("\r\n--b\r\n{signature}").repeat(20);
    let mut entity = format!("{TEXT}{}", "0123456789\r\n".repeat(200_000));
    for level in 0..40 {
        let inner = signatures.replace("--b", &format!("--b{level}"));
        entity = format!(
            "Content-Type: multipart/mixed; boundary=b{level}\r\n\r\n--b{level}\r\n{entity}{inner}\r\n--b{level}--\r\n"
        );
    }
    let started = std::time::Instant::now();
    let opened = signer.open(&[entity]);
    assert_eq!(opened.signatures.len(), 800);
    assert!(started.elapsed().as_secs() < 60, "{:?}", started.elapsed());
}

#[test]
fn a_file_that_was_signed_twice_is_the_file() {
    let signer = Signer::new();
    let once = signer.sign(FILE, "-nodetach");
    let twice = file(
        "application/octet-stream",
        "a.pdf.p7m.p7m",
        &signer.sign(&once, "-nodetach"),
    );
    let opened = signer.open(&[TEXT.to_owned(), twice]);
    assert_eq!(verdicts(&opened), [(Verdict::Valid, Scope::Part); 2]);
    assert_eq!(opened.outcome, Outcome::NotEncrypted, "{:?}", opened.reason);
    assert_eq!(opened.text.attachments, ["a.pdf"]);
}
