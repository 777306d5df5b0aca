//! Digests by their names, of all kinds that OpenSSL knows.

use openssl::hash::{Hasher, MessageDigest};
use std::cell::RefCell;

/// OpenSSL's digest of the usual name ("SHA-256").
#[must_use]
pub fn named(name: &str) -> Option<MessageDigest> {
    let openssl_name = match name {
        "SHA-1" => "SHA1",
        "SHA-224" => "SHA224",
        "SHA-256" => "SHA256",
        "SHA-384" => "SHA384",
        "SHA-512" => "SHA512",
        "SHA-512/224" => "SHA512-224",
        "SHA-512/256" => "SHA512-256",
        "RIPEMD-160" => "RIPEMD160",
        other => other,
    };
    super::legacy::enable();
    MessageDigest::from_name(openssl_name)
}

/// Digest of `pieces`, which are taken as one string. `None` if OpenSSL does not know the digest.
pub fn of<'a, E>(
    name: &str,
    pieces: impl Iterator<Item = Result<&'a [u8], E>>,
) -> Result<Option<Vec<u8>>, E> {
    match named(name).and_then(|digest| Hasher::new(digest).ok()) {
        Some(mut hasher) => run(&mut hasher, name, pieces),
        None => Ok(None),
    }
}

thread_local! {
    static HASHERS: RefCell<Vec<(&'static str, Hasher)>> = RefCell::default();
}

/// As [`of`], of what is no secret: hashers are kept, for OpenSSL's search for one takes as long as hashing a short text.
pub fn of_public<'a, E>(
    name: &'static str,
    pieces: impl Iterator<Item = Result<&'a [u8], E>>,
) -> Result<Option<Vec<u8>>, E> {
    let kept = HASHERS.with_borrow_mut(|kept| {
        let at = kept.iter().position(|(kept, _)| *kept == name)?;
        Some(kept.swap_remove(at).1)
    });
    let Some(mut hasher) = kept.or_else(|| Hasher::new(named(name)?).ok()) else {
        return Ok(None);
    };
    let output = run(&mut hasher, name, pieces)?;
    if output.is_some() {
        HASHERS.with_borrow_mut(|kept| kept.push((name, hasher)));
    }
    Ok(output)
}

fn run<'a, E>(
    hasher: &mut Hasher,
    name: &str,
    pieces: impl Iterator<Item = Result<&'a [u8], E>>,
) -> Result<Option<Vec<u8>>, E> {
    for piece in pieces {
        if hasher.update(piece?).is_err() {
            return Ok(None);
        }
    }
    // The extendable functions have no length of their own; CMS uses twice their security (RFC 8702).
    Ok(match name {
        "SHAKE-128" => xof(hasher, 32),
        "SHAKE-256" => xof(hasher, 64),
        _ => hasher.finish().ok().map(|digest| digest.to_vec()),
    })
}

fn xof(hasher: &mut Hasher, length: usize) -> Option<Vec<u8>> {
    let mut output = vec![0; length];
    hasher.finish_xof(&mut output).ok().map(|()| output)
}
