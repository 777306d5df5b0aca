//! GnuPG's keybox (`pubring.kbx`; kbx/keybox-blob.c in GnuPG): a sequence of blobs, each with a plain certificate for
//! OpenPGP or of X.509.

/// Octets before the fields of a blob's kind.
const HEAD: usize = 16;
const HEADER_BLOB: u8 = 1;
const OPENPGP_BLOB: u8 = 2;
const X509_BLOB: u8 = 3;

/// The OpenPGP certificates in a keybox; `None` if it is none.
pub(super) fn certificates(bytes: &[u8]) -> Option<Vec<Vec<u8>>> {
    is_keybox(bytes).then(|| of_kind(bytes, OPENPGP_BLOB))
}

/// The X.509 certificates in a keybox, DER; none if it is no keybox.
pub(super) fn x509_certificates(bytes: &[u8]) -> Vec<Vec<u8>> {
    if is_keybox(bytes) {
        of_kind(bytes, X509_BLOB)
    } else {
        Vec::new()
    }
}

fn is_keybox(bytes: &[u8]) -> bool {
    bytes.get(4) == Some(&HEADER_BLOB) && bytes.get(8..12) == Some(b"KBXf")
}

fn of_kind(bytes: &[u8], kind: u8) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    let mut rest = bytes;
    while let Some(size) = number(rest, 0) {
        let Some((blob, after)) = rest.split_at_checked(size).filter(|(b, _)| b.len() >= HEAD)
        else {
            break;
        };
        rest = after;
        if blob[4] == kind {
            found.extend(certificate(blob).map(<[u8]>::to_vec));
        }
    }
    found
}

fn certificate(blob: &[u8]) -> Option<&[u8]> {
    let (start, size) = (number(blob, 8)?, number(blob, 12)?);
    blob.get(start..start.checked_add(size)?)
}

fn number(bytes: &[u8], at: usize) -> Option<usize> {
    let octets = bytes.get(at..at + 4)?.try_into().ok()?;
    usize::try_from(u32::from_be_bytes(octets)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn blob(kind: u8, content: &[u8]) -> Vec<u8> {
        let size = u32::try_from(HEAD + content.len()).unwrap();
        let mut blob = size.to_be_bytes().to_vec();
        blob.extend_from_slice(&[kind, 1, 0, 0]);
        blob.extend_from_slice(&16_u32.to_be_bytes());
        blob.extend_from_slice(&(size - 16).to_be_bytes());
        blob.extend_from_slice(content);
        blob
    }

    #[test]
    fn gives_the_blobs_of_one_kind() {
        let mut header = blob(HEADER_BLOB, &[0; 16]);
        header[8..12].copy_from_slice(b"KBXf");
        let keybox = [
            header,
            blob(OPENPGP_BLOB, b"one"),
            blob(3, b"x509"),
            blob(2, b"two"),
        ]
        .concat();
        assert_eq!(
            certificates(&keybox),
            Some(vec![b"one".to_vec(), b"two".to_vec()])
        );
        assert_eq!(x509_certificates(&keybox), [b"x509"]);
        assert_eq!(certificates(b"\x99\x01"), None);
        assert!(x509_certificates(b"\x99\x01").is_empty());
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(tail in proptest::collection::vec(any::<u8>(), 0..80)) {
            let keybox = [b"\0\0\0\x20\x01\x01\0\0KBXf", &[0; 20][..], &tail].concat();
            let _ = (certificates(&keybox), x509_certificates(&keybox));
        }
    }
}
