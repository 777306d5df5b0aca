//! The bare check of a digest's signature. Sequoia does most of it; what its OpenSSL backend lacks is done here: DSA of
//! every size, and the curves that only GnuPG writes (secp256k1, Ed448 in version 4 packets).

use super::dsa;
use openpgp::crypto::mpi;
use openpgp::packet::key::{Key, PublicParts, UnspecifiedRole};
use openpgp::types::{Curve, HashAlgorithm};
use openssl::bn::{BigNum, BigNumContext};
use openssl::ec::{EcGroup, EcKey, EcPoint};
use openssl::ecdsa::EcdsaSig;
use openssl::error::ErrorStack;
use openssl::nid::Nid;
use openssl::pkey::{Id, PKey};
use openssl::sign::Verifier;
use sequoia_openpgp as openpgp;

const SECP256K1: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x0a];
const ED448: &[u8] = &[0x2b, 0x65, 0x71];
/// Octets of a point or scalar on Ed448.
const ED448_BYTES: usize = 57;

/// Whether the signature over a digest is by the key; `None` if its algorithm is not known here.
#[must_use]
pub fn fits(
    key: &Key<PublicParts, UnspecifiedRole>,
    signature: &mpi::Signature,
    algorithm: HashAlgorithm,
    digest: &[u8],
) -> Option<bool> {
    match (key.mpis(), signature) {
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
    use openssl::sign::Signer;

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
}
