//! RSA signatures by PKCS #1 v1.5 (RFC 8017 §8.2), for both formats. To set a check up costs a fifth of it, so a worker
//! keeps what it has set up.

use openssl::error::ErrorStack;
use openssl::md::MdRef;
use openssl::pkey::{PKeyRef, Public};
use openssl::pkey_ctx::PkeyCtx;
use openssl::rsa::Padding;
use std::cell::RefCell;
use std::collections::HashMap;
use std::collections::hash_map::Entry;

/// Most that are kept.
const KEPT: usize = 512;

/// A key's and a digest's addresses. The key's stays its own while it is kept, for the context holds the key.
type Place = (usize, usize);

thread_local! {
    static CONTEXTS: RefCell<HashMap<Place, PkeyCtx<Public>>> = RefCell::default();
}

/// Whether `signature` over `digest`, which `md` made, is by the key. An error: the key or the digest does not serve for it.
pub fn verifies(
    key: &PKeyRef<Public>,
    md: &'static MdRef,
    digest: &[u8],
    signature: &[u8],
) -> Result<bool, ErrorStack> {
    let place = (
        std::ptr::from_ref(key).addr(),
        std::ptr::from_ref(md).addr(),
    );
    CONTEXTS.with_borrow_mut(|contexts| {
        if contexts.len() >= KEPT && !contexts.contains_key(&place) {
            contexts.clear();
        }
        let context = match contexts.entry(place) {
            Entry::Occupied(kept) => kept.into_mut(),
            Entry::Vacant(empty) => {
                let mut context = PkeyCtx::new(key)?;
                context.verify_init()?;
                context.set_rsa_padding(Padding::PKCS1)?;
                context.set_signature_md(md)?;
                empty.insert(context)
            }
        };
        // An error of the check itself is a signature of a wrong shape.
        Ok(context.verify(digest, signature).unwrap_or(false))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use openssl::md::Md;
    use openssl::pkey::PKey;
    use openssl::rsa::Rsa;

    /// A key, and its signature over the digest.
    fn signed(digest: &[u8], md: &MdRef) -> (PKey<Public>, Vec<u8>) {
        let pair = PKey::from_rsa(Rsa::generate(1024).unwrap()).unwrap();
        let mut context = PkeyCtx::new(&pair).unwrap();
        context.sign_init().unwrap();
        context.set_signature_md(md).unwrap();
        let mut signature = Vec::new();
        context.sign_to_vec(digest, &mut signature).unwrap();
        let public = pair.public_key_to_der().unwrap();
        (PKey::public_key_from_der(&public).unwrap(), signature)
    }

    #[test]
    fn what_is_kept_serves_again_also_after_a_bad_signature() {
        let (key, signature) = signed(&[7; 32], Md::sha256());
        let (other, _) = signed(&[7; 32], Md::sha256());
        for _ in 0..3 {
            let fits = |key, md, digest: &[u8], signature: &[u8]| {
                verifies(key, md, digest, signature).unwrap()
            };
            assert!(fits(&key, Md::sha256(), &[7; 32], &signature));
            assert!(!fits(&key, Md::sha256(), &[8; 32], &signature));
            assert!(!fits(&key, Md::sha512(), &[7; 64], &signature));
            assert!(!fits(&other, Md::sha256(), &[7; 32], &signature));
            assert!(!fits(&key, Md::sha256(), &[7; 32], &signature[1..]));
            assert!(!fits(&key, Md::sha256(), &[7; 20], &signature));
            assert!(!fits(&key, Md::sha256(), &[7; 32], &[]));
        }
    }

    #[test]
    fn more_keys_than_are_kept() {
        let (first, signature) = signed(&[7; 32], Md::sha256());
        for number in 0..=KEPT {
            let n = [&[0xc1][..], &number.to_be_bytes(), &[1; 120]].concat();
            let n = openssl::bn::BigNum::from_slice(&n).unwrap();
            let e = openssl::bn::BigNum::from_u32(3).unwrap();
            let key = PKey::from_rsa(Rsa::from_public_components(n, e).unwrap()).unwrap();
            assert!(!verifies(&key, Md::sha256(), &[7; 32], &signature).unwrap());
            assert!(verifies(&first, Md::sha256(), &[7; 32], &signature).unwrap());
        }
    }
}
