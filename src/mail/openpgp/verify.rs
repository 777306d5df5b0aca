//! The bare check of a digest's signature. Sequoia does most of it; what its OpenSSL backend lacks is done here: DSA of
//! every size, and the curves that only GnuPG writes (secp256k1, Ed448 in version 4 packets). So is RSA, for whose keys
//! it would begin anew with each check.

use super::dsa;
use crate::mail::context::Budget;
use crate::mail::rsa;
use openpgp::crypto::mpi;
use openpgp::packet::key::{Key, PublicParts, UnspecifiedRole};
use openpgp::types::{Curve, HashAlgorithm};
use openssl::bn::{BigNum, BigNumContext};
use openssl::ec::{EcGroup, EcKey, EcPoint};
use openssl::ecdsa::EcdsaSig;
use openssl::error::ErrorStack;
use openssl::md::{Md, MdRef};
use openssl::nid::Nid;
use openssl::pkey::{Id, PKey, Public};
use openssl::rsa::Rsa;
use openssl::sign::Verifier;
use sequoia_openpgp as openpgp;
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

const SECP256K1: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x0a];
const ED448: &[u8] = &[0x2b, 0x65, 0x71];
/// Octets of a point or scalar on Ed448.
const ED448_BYTES: usize = 57;

/// Most octets of an RSA exponent; Windows takes four.
const MOST_EXPONENT: usize = 5;
/// Most octets of a DSA subgroup's order, which is the exponent's size there; GnuPG makes no larger ones.
const MOST_ORDER: usize = 64;

/// Whether a check costs no more than usual: an exponent as long as the modulus makes it a hundred times dearer, and who
/// sends such a key with many signatures wants only that.
#[must_use]
pub fn is_affordable(key: &mpi::PublicKey) -> bool {
    match key {
        mpi::PublicKey::RSA { e, .. } => e.value().len() <= MOST_EXPONENT,
        mpi::PublicKey::DSA { q, .. } => q.value().len() <= MOST_ORDER,
        _ => true,
    }
}

/// Counts a check by the key; false if it is too much for the mail.
#[must_use]
pub fn is_within(key: &Key<PublicParts, UnspecifiedRole>, budget: &Budget) -> bool {
    match key.mpis() {
        mpi::PublicKey::RSA { n, .. } => budget.check(n.value().len(), true),
        mpi::PublicKey::DSA { p, .. } => budget.check(p.value().len(), false),
        _ => budget.check(1, false),
    }
}

/// Whether the signature over a digest is by the key; `None` if its algorithm is not known here.
#[must_use]
pub fn fits(
    key: &Key<PublicParts, UnspecifiedRole>,
    signature: &mpi::Signature,
    algorithm: HashAlgorithm,
    digest: &[u8],
) -> Option<bool> {
    match (key.mpis(), signature) {
        (mpi::PublicKey::RSA { e, n }, mpi::Signature::RSA { s }) if md(algorithm).is_some() => {
            Some(by_rsa(n, e, s, algorithm, digest).unwrap_or(false))
        }
        (mpi::PublicKey::DSA { p, q, g, y }, mpi::Signature::DSA { r, s }) => {
            let key = [p, q, g, y].map(mpi::MPI::value);
            Some(dsa::verifies(key, [r.value(), s.value()], digest))
        }
        (mpi::PublicKey::ECDSA { curve, q }, mpi::Signature::ECDSA { r, s })
            if curve.oid() == SECP256K1 =>
        {
            Some(secp256k1(q.value(), r.value(), s.value(), digest).unwrap_or(false))
        }
        (mpi::PublicKey::EdDSA { curve, q }, mpi::Signature::EdDSA { r, s })
            if curve.oid() == ED448 =>
        {
            Some(ed448(q.value(), r.value(), s.value(), digest).unwrap_or(false))
        }
        (
            mpi::PublicKey::ECDSA {
                curve: Curve::Unknown(_),
                ..
            }
            | mpi::PublicKey::EdDSA {
                curve: Curve::Unknown(_),
                ..
            },
            _,
        ) => None,
        _ if !key.pk_algo().is_supported() => None,
        _ => Some(key.verify(signature, algorithm, digest).is_ok()),
    }
}

/// PKCS #1 v1.5 (RFC 9580 §5.2.3.1). `None` if key or signature make no sense.
fn by_rsa(
    n: &mpi::MPI,
    e: &mpi::MPI,
    s: &mpi::MPI,
    algorithm: HashAlgorithm,
    digest: &[u8],
) -> Option<bool> {
    let key = rsa_key(n.value(), e.value()).ok()?;
    let signature = s.value_padded(key.size()).ok()?;
    rsa::verifies(&key, md(algorithm)?, digest, &signature).ok()
}

/// Most keys that are kept.
const KEPT: usize = 512;

/// The key with what OpenSSL has computed for its modulus, which costs a third of a check.
fn rsa_key(n: &[u8], e: &[u8]) -> Result<Rc<PKey<Public>>, ErrorStack> {
    /// The exponent, and the key.
    type Kept = (Vec<u8>, Rc<PKey<Public>>);
    thread_local! {
        static KEYS: RefCell<HashMap<Vec<u8>, Kept>> = RefCell::new(HashMap::new());
    }
    KEYS.with_borrow_mut(|keys| {
        if let Some((_, key)) = keys.get(n).filter(|(kept, _)| kept == e) {
            return Ok(Rc::clone(key));
        }
        if keys.len() >= KEPT {
            keys.clear();
        }
        let numbers = (BigNum::from_slice(n)?, BigNum::from_slice(e)?);
        let key = PKey::from_rsa(Rsa::from_public_components(numbers.0, numbers.1)?)?;
        let key = Rc::new(key);
        keys.insert(n.to_vec(), (e.to_vec(), Rc::clone(&key)));
        Ok(key)
    })
}

fn md(algorithm: HashAlgorithm) -> Option<&'static MdRef> {
    Some(match algorithm {
        HashAlgorithm::MD5 => Md::md5(),
        HashAlgorithm::SHA1 => Md::sha1(),
        HashAlgorithm::RipeMD => Md::ripemd160(),
        HashAlgorithm::SHA224 => Md::sha224(),
        HashAlgorithm::SHA256 => Md::sha256(),
        HashAlgorithm::SHA384 => Md::sha384(),
        HashAlgorithm::SHA512 => Md::sha512(),
        HashAlgorithm::SHA3_256 => Md::sha3_256(),
        HashAlgorithm::SHA3_512 => Md::sha3_512(),
        _ => return None,
    })
}

fn secp256k1(point: &[u8], r: &[u8], s: &[u8], digest: &[u8]) -> Result<bool, ErrorStack> {
    let group = EcGroup::from_curve_name(Nid::SECP256K1)?;
    let point = EcPoint::from_bytes(&group, point, &mut *BigNumContext::new()?)?;
    let key = EcKey::from_public_key(&group, &point)?;
    let (r, s) = (BigNum::from_slice(r)?, BigNum::from_slice(s)?);
    EcdsaSig::from_private_components(r, s)?.verify(digest, &key)
}

/// As GnuPG uses it: the digest is the message.
fn ed448(point: &[u8], r: &[u8], s: &[u8], digest: &[u8]) -> Result<bool, ErrorStack> {
    let padded = |number: &[u8]| {
        let zeros = ED448_BYTES.saturating_sub(number.len());
        [&vec![0; zeros], number].concat()
    };
    let key = PKey::public_key_from_raw_bytes(&padded(point), Id::ED448)?;
    Verifier::new_without_digest(&key)?.verify_oneshot(&[padded(r), padded(s)].concat(), digest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use openssl::pkey_ctx::PkeyCtx;
    use openssl::sign::Signer;

    #[test]
    fn an_rsa_signature_may_begin_with_zeros() {
        let key = Rsa::generate(1024).unwrap();
        let (n, e) = (key.n().to_vec(), key.e().to_vec());
        let pair = PKey::from_rsa(key).unwrap();
        let signed = |digest: &[u8]| {
            let mut context = PkeyCtx::new(&pair).unwrap();
            context.sign_init().unwrap();
            context.set_signature_md(Md::sha256()).unwrap();
            let mut signature = Vec::new();
            context.sign_to_vec(digest, &mut signature).unwrap();
            signature
        };
        let fits = |signature: &[u8], digest: &[u8]| {
            let [n, e, s] = [n.as_slice(), e.as_slice(), signature].map(mpi::MPI::new);
            by_rsa(&n, &e, &s, HashAlgorithm::SHA256, digest)
        };
        let begins_with_zero = (0..10_000_u32).find_map(|number| {
            let digest = openssl::sha::sha256(&number.to_be_bytes());
            let signature = signed(&digest);
            (signature[0] == 0).then_some((digest, signature))
        });
        let (digest, signature) = begins_with_zero.unwrap();
        assert_eq!(fits(&signature, &digest), Some(true));
        assert_ne!(fits(&signature, &[7; 32]), Some(true));
        assert_ne!(fits(&[1; 200], &digest), Some(true), "longer than the key");
        assert_ne!(fits(&[], &digest), Some(true));
    }

    #[test]
    fn ed448_in_version_4_packets_verifies() {
        let key = PKey::generate_ed448().unwrap();
        let digest = [7; 64];
        let signature = Signer::new_without_digest(&key)
            .unwrap()
            .sign_oneshot_to_vec(&digest)
            .unwrap();
        let (r, s) = signature.split_at(ED448_BYTES);
        let point = key.raw_public_key().unwrap();
        assert!(ed448(&point, r, s, &digest).unwrap());
        assert!(!ed448(&point, r, s, &[8; 64]).unwrap());
    }

    #[test]
    fn a_forgers_exponent_is_not_paid_for() {
        let rsa = |octets: usize| mpi::PublicKey::RSA {
            e: vec![1; octets].into(),
            n: vec![0xc1; 256].into(),
        };
        assert!(is_affordable(&rsa(3)));
        assert!(!is_affordable(&rsa(256)));
    }
}
