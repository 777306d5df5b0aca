//! A mail far larger than any process may hold in memory: there and back, byte for byte.

use super::{TestBox, smtp};
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io::{self, Read, Write};
use strongroom::id::Digest;

/// Sends a mail of about so many bytes to anna, made while it is sent; gives the SHA-256 of what was sent.
pub fn send(box_: &TestBox, bytes: u64) -> Digest {
    let mut sum = Sha256::new();
    let mut client = box_.smtp().expect("a connection");
    let reply = client.mail_from("anna@example.org", &mut |out| write(out, bytes, &mut sum));
    let reply = reply.expect("a reply");
    assert!(smtp::queue_id(&reply).is_some(), "{reply}");
    Digest(sum.finalize().into())
}

/// The same lines with another number in each block, so that no block equals another.
fn write(out: &mut dyn Write, bytes: u64, sum: &mut Sha256) -> io::Result<()> {
    let mut send = |piece: &[u8]| {
        sum.update(piece);
        out.write_all(piece)
    };
    send(b"From: sender@example.net\r\nTo: anna@example.org\r\nSubject: mammoth\r\n\r\n")?;
    let block =
        b"a line of a mail that does not end soon, and says the same again\r\n".repeat(4096);
    for number in 0..bytes / block.len() as u64 {
        send(format!("block {number}\r\n").as_bytes())?;
        send(&block)?;
    }
    Ok(())
}

/// The outcome's reason and the SHA-256 of the original, as anna gets it.
pub fn fetch(box_: &TestBox) -> (String, Digest) {
    let mut id = String::new();
    box_.wait_until("the large mail is found", || {
        let found = box_.json("search --json subject:mammoth");
        let first = &found["hits"][0]["record"];
        id = first.as_str().unwrap_or_default().to_owned();
        !id.is_empty()
    });
    let shown = box_.json(&format!("show --json {id}"));
    let file = box_.file("mammoth.eml");
    box_.ok(&format!("get {id} --original --output {}", file.display()));
    let mut sum = Sha256::new();
    let mut file = File::open(file).expect("the original");
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer).expect("read") {
            0 => break,
            read => sum.update(&buffer[..read]),
        }
    }
    let reason = shown["reason"].as_str().unwrap_or_default().to_owned();
    (reason, Digest(sum.finalize().into()))
}
