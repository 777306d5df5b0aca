//! What the box says, and where nobody can write that down.

use crate::support::{TestBox, numbered_mail};
use serde_json::json;
use std::fs::File;

/// A mail with a PDF whose table of objects is not where the file says. Readers look for the objects then.
fn with_astray_table() -> Vec<u8> {
    let text = "BT /F 12 Tf 9 9 Td (A numbat.) Tj ET\n";
    let objects = [
        "<</Type/Catalog/Pages 2 0 R>>".to_owned(),
        "<</Type/Pages/Kids[3 0 R]/Count 1>>".to_owned(),
        "<</Type/Page/Parent 2 0 R/MediaBox[0 0 99 99]/Contents 4 0 R/Resources<</Font<</F 5 0 R>>>>>>".to_owned(),
        format!("<</Length {}>>stream\n{text}endstream", text.len()),
        "<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>".to_owned(),
    ];
    let mut mail = "From: a@example.net\r\nSubject: Figures\r\nContent-Type: application/pdf\r\n\r\n%PDF-1.4\n".to_owned();
    for (number, object) in (1..).zip(objects) {
        mail.push_str(&format!("{number} 0 obj{object}endobj\n"));
    }
    mail.push_str("trailer<</Root 1 0 R>>\nstartxref\n0\n%%EOF\r\n");
    mail.into_bytes()
}

// A worker may write no file, as this log is one: what a library says of a document ended the process, and the text was lost.
#[test]
fn what_a_library_says_of_a_document_ends_no_worker_and_is_in_no_log() {
    let box_ = TestBox::running();
    box_.send(&with_astray_table());
    box_.wait_for_hits(1, "subject:figures");
    let found = box_.json("search --json numbat");
    assert_eq!(found["total"], 1, "{}", box_.log());
    let id = found["hits"][0]["record"].as_str().expect("an id");
    assert_eq!(box_.json(&format!("show --json {id}"))["notes"], json!([]));
    let log = box_.log();
    assert!(
        !log.contains("cross-reference") && !log.contains("tried once more"),
        "{log}"
    );
}

// As where its disk is full.
#[test]
fn a_log_that_cannot_be_written_stops_nothing() {
    let mut box_ = TestBox::running();
    box_.stop();
    let full = File::options().write(true).open("/dev/full");
    box_.start_with_log(full.expect("a device"), &[]);
    box_.wait_until("the box is open", || box_.run("status").status.success());
    box_.login();
    box_.send(&numbered_mail(1));
    box_.wait_for_hits(1, "crocodile");
    assert!(box_.kill("keeper"));
    box_.send(&numbered_mail(2));
    box_.wait_until("the box is open again", || {
        box_.run("status").status.success()
    });
    box_.login();
    box_.wait_for_hits(2, "crocodile");
    box_.stop();
}

// What a panic quotes can be of a mail: of each process only its place is told. Printing to a full disk panics too.
#[test]
fn output_that_cannot_be_written_is_said_in_plain_words_and_a_panic_quotes_nothing() {
    let told = TestBox::running().run_in_shell("\"$STRONGROOM\" escrow list >/dev/full");
    assert_eq!(told.status.code(), Some(1));
    let told = crate::support::text(&told);
    assert_eq!(told, "strongroom: cannot write the output\n");
}
