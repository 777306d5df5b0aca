//! RSA signatures by PKCS #1 v1.5 (RFC 8017 §8.2), for both formats. To set a check up costs a fifth of it, so a worker
//! keeps what it has set up. AWS-LC, which TLS brings along, takes a tenth less time than OpenSSL for usual keys, so it is
//! asked first; a signature is bad only if OpenSSL says so.

use aws_lc_rs::digest::{self, Digest};
use aws_lc_rs::signature::{self, ParsedPublicKey, RsaParameters};
use openssl::error::ErrorStack;
use openssl::md::MdRef;
use openssl::nid::Nid;
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
    static CHECKS: RefCell<HashMap<Place, Check>> = RefCell::default();
}

/// A check that is set up.
struct Check {
    openssl: PkeyCtx<Public>,
    aws_lc: Option<(ParsedPublicKey, &'static digest::Algorithm)>,
}

impl Check {
    fn new(key: &PKeyRef<Public>, md: &'static MdRef) -> Result<Self, ErrorStack> {
        let mut openssl = PkeyCtx::new(key)?;
        openssl.verify_init()?;
        openssl.set_rsa_padding(Padding::PKCS1)?;
        openssl.set_signature_md(md)?;
        let aws_lc = match usual(md) {
            Some((scheme, digest)) => {
                let key = ParsedPublicKey::new(scheme, key.rsa()?.public_key_to_der_pkcs1()?);
                key.ok().map(|key| (key, digest))
            }
            None => None,
        };
        Ok(Self { openssl, aws_lc })
    }

    fn holds(&mut self, digest: &[u8], signature: &[u8]) -> bool {
        let is_good = |(key, algorithm): &(ParsedPublicKey, &'static digest::Algorithm)| {
            Digest::import_less_safe(digest, algorithm)
                .is_ok_and(|digest| key.verify_digest_sig(&digest, signature).is_ok())
        };
        // An error of the check itself is a signature of a wrong shape.
        self.aws_lc.as_ref().is_some_and(is_good)
            || self.openssl.verify(digest, signature).unwrap_or(false)
    }
}

/// The scheme in AWS-LC, of keys from 2048 to 8192 bits, and its digest.
fn usual(md: &MdRef) -> Option<(&'static RsaParameters, &'static digest::Algorithm)> {
    match md.type_() {
        Nid::SHA256 => Some((&signature::RSA_PKCS1_2048_8192_SHA256, &digest::SHA256)),
        Nid::SHA384 => Some((&signature::RSA_PKCS1_2048_8192_SHA384, &digest::SHA384)),
        Nid::SHA512 => Some((&signature::RSA_PKCS1_2048_8192_SHA512, &digest::SHA512)),
        _ => None,
    }
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
    CHECKS.with_borrow_mut(|checks| {
        if checks.len() >= KEPT && !checks.contains_key(&place) {
            checks.clear();
        }
        let check = match checks.entry(place) {
            Entry::Occupied(kept) => kept.into_mut(),
            Entry::Vacant(empty) => empty.insert(Check::new(key, md)?),
        };
        Ok(check.holds(digest, signature))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use openssl::md::Md;
    use openssl::pkey::PKey;
    use openssl::rsa::Rsa;

    /// A key, and its signature over the digest.
    fn signed(bits: u32, digest: &[u8], md: &MdRef) -> (PKey<Public>, Vec<u8>) {
        let pair = PKey::from_rsa(Rsa::generate(bits).unwrap()).unwrap();
        let mut context = PkeyCtx::new(&pair).unwrap();
        context.sign_init().unwrap();
        context.set_signature_md(md).unwrap();
        let mut signature = Vec::new();
        context.sign_to_vec(digest, &mut signature).unwrap();
        let public = pair.public_key_to_der().unwrap();
        (PKey::public_key_from_der(&public).unwrap(), signature)
    }

    fn fits(key: &PKey<Public>, md: &'static MdRef, digest: &[u8], signature: &[u8]) -> bool {
        verifies(key, md, digest, signature).unwrap()
    }

    #[test]
    fn what_is_kept_serves_again_also_after_a_bad_signature() {
        for bits in [1024, 2048] {
            let (key, signature) = signed(bits, &[7; 32], Md::sha256());
            let (other, _) = signed(bits, &[7; 32], Md::sha256());
            for _ in 0..3 {
                assert!(fits(&key, Md::sha256(), &[7; 32], &signature));
                assert!(!fits(&key, Md::sha256(), &[8; 32], &signature));
                assert!(!fits(&key, Md::sha512(), &[7; 64], &signature));
                assert!(!fits(&other, Md::sha256(), &[7; 32], &signature));
                assert!(!fits(&key, Md::sha256(), &[7; 32], &signature[1..]));
                assert!(!fits(&key, Md::sha256(), &[7; 20], &signature));
                assert!(!fits(&key, Md::sha256(), &[7; 32], &[]));
            }
        }
    }

    #[test]
    fn both_libraries_take_the_usual_digests() {
        for (md, length) in [(Md::sha256(), 32), (Md::sha384(), 48), (Md::sha512(), 64)] {
            let digest = vec![7; length];
            let (key, signature) = signed(2048, &digest, md);
            let mut check = Check::new(&key, md).unwrap();
            assert!(check.openssl.verify(&digest, &signature).unwrap());
            let (parsed, algorithm) = check.aws_lc.take().unwrap();
            let digest = Digest::import_less_safe(&digest, algorithm).unwrap();
            assert!(parsed.verify_digest_sig(&digest, &signature).is_ok());
        }
        let (key, _) = signed(1024, &[7; 32], Md::sha256());
        assert!(Check::new(&key, Md::sha1()).unwrap().aws_lc.is_none());
    }

    #[test]
    fn more_keys_than_are_kept() {
        let (first, signature) = signed(1024, &[7; 32], Md::sha256());
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
