//! Mail that is meant to do harm.

use data_encoding::BASE64;
use flate2::Compression;
use flate2::write::ZlibEncoder;
use std::fmt::Write as _;
use std::io::{self, Write};

fn header(subject: &str, content_type: &str) -> String {
    format!(
        "From: mallory@example.net\r\nTo: anna@example.org\r\nSubject: {subject}\r\nMIME-Version: 1.0\r\n\
         Content-Type: {content_type}\r\n"
    )
}

/// A multipart of so many parts.
pub fn many_parts(count: usize) -> Vec<u8> {
    let mut mail = header("manyparts", "multipart/mixed; boundary=b") + "\r\n";
    for number in 0..count {
        let _ = write!(mail, "--b\r\nContent-Type: text/plain\r\n\r\n{number}\r\n");
    }
    (mail + "--b--\r\n").into_bytes()
}

/// Multiparts in multiparts.
pub fn nested(depth: usize) -> Vec<u8> {
    let mut mail = header("nested", "multipart/mixed; boundary=b0") + "\r\n";
    for level in 0..depth {
        let inner = level + 1;
        let _ = write!(
            mail,
            "--b{level}\r\nContent-Type: multipart/mixed; boundary=b{inner}\r\n\r\n"
        );
    }
    (mail + "the innermost\r\n").into_bytes()
}

/// A mail whose attachments have names of so many bytes.
pub fn long_names(count: usize, length: usize) -> Vec<u8> {
    let mut mail = header("longnames", "multipart/mixed; boundary=b") + "\r\n";
    let name = "n".repeat(length);
    for number in 0..count {
        let _ = write!(
            mail,
            "--b\r\nContent-Type: application/octet-stream; name=\"{number}{name}\"\r\n\r\nx\r\n"
        );
    }
    (mail + "--b--\r\n").into_bytes()
}

/// CMS CompressedData (RFC 3274) of so many zeros.
pub fn compressed(zeros: usize) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    let block = vec![0; 1 << 20];
    for _ in 0..zeros >> 20 {
        encoder.write_all(&block).expect("compressed");
    }
    let content = encoder.finish().expect("compressed");
    const DATA: &[u8] = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x01";
    const COMPRESSED: &[u8] = b"\x06\x0b\x2a\x86\x48\x86\xf7\x0d\x01\x09\x10\x01\x09";
    const ZLIB: &[u8] = b"\x06\x0b\x2a\x86\x48\x86\xf7\x0d\x01\x09\x10\x03\x08";
    let octets = der(0xA0, &der(0x04, &content));
    let inner = der(0x30, &[DATA, &octets].concat());
    let body = [b"\x02\x01\x00".as_slice(), &der(0x30, ZLIB), &inner].concat();
    let whole = der(0x30, &[COMPRESSED, &der(0xA0, &der(0x30, &body))].concat());
    let kind = "application/pkcs7-mime; smime-type=compressed-data; name=smime.p7z";
    let mut mail = header("compressed", kind) + "Content-Transfer-Encoding: base64\r\n\r\n";
    for line in BASE64.encode(&whole).as_bytes().chunks(76) {
        mail += &String::from_utf8_lossy(line);
        mail += "\r\n";
    }
    mail.into_bytes()
}

fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len()).expect("not that long");
    let mut out = vec![tag, 0x84];
    out.extend(length.to_be_bytes());
    // DER wants the shortest form of a length.
    if length < 0x80 {
        out = vec![tag, length.to_le_bytes()[0]];
    } else {
        let zeros = length.leading_zeros() as usize / 8;
        out.drain(2..2 + zeros);
        out[1] = 0x84 - u8::try_from(zeros).expect("at most 3");
    }
    out.extend_from_slice(content);
    out
}

/// A plain mail of so many bytes, written while it is sent.
pub fn large(out: &mut dyn Write, bytes: usize) -> io::Result<()> {
    out.write_all(header("large", "text/plain").as_bytes())?;
    out.write_all(b"\r\n")?;
    let line = [
        b"a line of a mail that does not end soon, and says the same again".as_slice(),
        b"\r\n",
    ]
    .concat();
    let block = line.repeat(4096);
    for _ in 0..bytes.div_ceil(block.len()) {
        out.write_all(&block)?;
    }
    Ok(())
}

/// A mail of about so many bytes of random text.
pub fn incompressible(subject: &str, bytes: usize) -> Vec<u8> {
    let mut random = vec![0; bytes / 4 * 3];
    rand::fill(&mut random[..]);
    let mut mail = header(subject, "text/plain").into_bytes();
    for line in BASE64.encode(&random).as_bytes().chunks(76) {
        mail.extend_from_slice(b"\r\n");
        mail.extend_from_slice(line);
    }
    mail.extend_from_slice(b"\r\n");
    mail
}
