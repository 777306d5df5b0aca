//! Mails that are made to keep a worker busy.

use super::open;
use strongroom::mail::model::SignatureMath;
use strongroom::mail::openpgp::armor;
use strongroom::mail::openpgp::packets::{framed, tag};

/// An RSA key of so many octets whose private half nobody has, and its key id.
fn key(octets: u16) -> (Vec<u8>, Vec<u8>) {
    let mut body = vec![4, 0x50, 0, 0, 0, 1];
    body.extend((octets * 8).to_be_bytes());
    body.extend(vec![0xc1; usize::from(octets)]);
    body.extend([0, 17, 1, 0, 1]);
    let length = u16::try_from(body.len()).unwrap().to_be_bytes();
    let fingerprint = openssl::sha::sha1(&[&[0x99], &length[..], &body].concat());
    (framed(tag::PUBLIC_KEY, &body), fingerprint[12..].to_vec())
}

/// A signature by the key of this id, which fits nothing.
fn signature(id: &[u8]) -> Vec<u8> {
    let head = [4, 0, 1, 8, 0, 0, 0, 10, 9, 16];
    let number = [0, 0, 0, 64, 0x80, 1, 2, 3, 4, 5, 6, 7];
    framed(tag::SIGNATURE, &[&head, id, &number].concat())
}

/// A mail of so many clear-signed texts, each with 32 bad signatures by a key that comes along.
fn with_signed_texts(key: &[u8], id: &[u8], texts: usize) -> String {
    let key = data_encoding::BASE64_MIME.encode(key);
    let signatures = armor::armored("SIGNATURE", &signature(id).repeat(32));
    let block = format!("-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\nx\n{signatures}");
    format!(
        "From: a@x\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\n{}\n--b\nContent-Type: application/pgp-keys\nContent-Transfer-Encoding: base64\n\n{key}\n--b--\n",
        block.repeat(texts)
    )
}

#[test]
fn the_certificates_kept_with_signatures_are_bounded() {
    let (key, id) = key(256);
    let key = [key, framed(tag::USER_ID, &vec![b'x'; 700_000])].concat();
    let mail = with_signed_texts(&key, &id, 4);
    let found = open(mail.as_bytes()).signatures;
    let bad = found.iter().filter(|one| one.math == SignatureMath::Bad);
    assert_eq!(bad.count(), 4 * 32);
    let kept = found.iter().flat_map(|one| &one.chain);
    let kept: usize = kept.map(|certificate| certificate.len()).sum();
    assert!((8 << 20..=16 << 20).contains(&kept), "{kept}");
}

#[test]
fn many_signatures_by_a_large_key_are_not_all_checked() {
    let (key, id) = key(2048);
    let mail = with_signed_texts(&key, &id, 40);
    let started = std::time::Instant::now();
    let found = open(mail.as_bytes()).signatures;
    assert!(started.elapsed().as_secs() < 60, "{:?}", started.elapsed());
    assert_eq!(found.len(), 40 * 32);
    let checked = found.iter().filter(|one| one.math == SignatureMath::Bad);
    let beyond = found
        .iter()
        .filter(|one| one.reason.starts_with("unchecked: "));
    let (checked, beyond) = (checked.count(), beyond.count());
    assert!(checked > 100 && beyond > 100, "{checked}, {beyond}");
    assert_eq!(checked + beyond, found.len());
}
