//! What does not open: broken off, without its key, over a bound.

use super::{INNER, THEIRS, encrypted, open, packets};
use std::io::Write;
use strongroom::mail::model::Outcome;
use strongroom::mail::openpgp::packets::{framed, packets as split};

#[test]
fn a_message_that_breaks_off_is_told_with_its_recipients() {
    let message = packets(INNER);
    let opened = open(&message[..message.len() - 20]);
    let layer = &opened.layers[0];
    assert_eq!(
        (opened.outcome, layer.kind.as_str(), layer.recipients.len()),
        (Outcome::Damaged, "encrypted", 1)
    );
}

#[test]
fn a_message_cut_off_in_its_session_keys_is_told_as_encrypted() {
    let message = packets(INNER);
    let first = split(&message).next().unwrap().unwrap();
    let session_key = framed(first.tag, &first.body()).len();
    for (length, recipients) in [(6, 0), (50, 1), (session_key, 1), (session_key + 3, 1)] {
        let opened = open(&message[..length]);
        let layer = &opened.layers[0];
        assert_eq!(
            (opened.outcome, layer.kind.as_str(), layer.recipients.len()),
            (Outcome::Damaged, "encrypted", recipients),
            "{length}"
        );
    }
}

#[test]
fn what_does_not_open_is_named_with_the_key_it_waits_for() {
    let foreign = encrypted(&THEIRS.cert, INNER);
    let part = |packets: &[u8]| {
        format!(
            "--m\nContent-Type: application/octet-stream; name=x.pgp\nContent-Transfer-Encoding: base64\n\n{}\n",
            data_encoding::BASE64_MIME.encode(packets)
        )
    };
    let message =
        |parts: &str| format!("Content-Type: multipart/mixed; boundary=m\n\n{parts}--m--\n");
    let closed = open(message(&part(&foreign)).as_bytes());
    assert_eq!(
        (closed.outcome, closed.waiting_for.len(), closed.rendition),
        (Outcome::NoKey, 1, None)
    );
    let half = open(message(&(part(&foreign) + &part(&packets(INNER)))).as_bytes());
    assert_eq!(half.outcome, Outcome::Partly);
}

#[test]
fn over_a_bound_is_a_named_outcome() {
    let mut deep = String::from("From: a@x\n");
    for level in 0..200 {
        deep.push_str(&format!(
            "Content-Type: multipart/mixed; boundary=b{level}x\n\n--b{level}x\n"
        ));
    }
    let wide = format!(
        "Content-Type: multipart/mixed; boundary=b\n\n{}",
        "--b\n\nx\n".repeat(10_000)
    );
    let zeros = vec![0; 64 << 20];
    let mut deflated = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
    deflated.write_all(&zeros).unwrap();
    let mut body = vec![1];
    body.extend(deflated.finish().unwrap());
    let mut bomb = vec![0xc8, 0xff];
    bomb.extend(u32::try_from(body.len()).unwrap().to_be_bytes());
    bomb.extend(body);
    let mut nested = INNER.to_owned();
    for _ in 0..60 {
        nested = format!(
            "Content-Type: application/octet-stream; name=a.eml\nContent-Transfer-Encoding: base64\n\n{}",
            data_encoding::BASE64.encode(nested.as_bytes())
        );
        if nested.len() > 4 << 20 {
            break;
        }
    }
    for (bound, message) in [
        ("depth", deep.as_bytes()),
        ("parts", wide.as_bytes()),
        ("ratio", &bomb),
    ] {
        let opened = open(message);
        assert_eq!(opened.outcome, Outcome::Refused, "{bound}");
        assert!(
            opened
                .reason
                .as_deref()
                .is_some_and(|reason| reason.contains(bound)),
            "{bound}: {:?}",
            opened.reason
        );
    }
    assert_eq!(open(nested.as_bytes()).outcome, Outcome::NotEncrypted);
}
