//! ECDH (RFC 9580 §11.5) on the curves that GnuPG has and Sequoia has not: secp256k1 and X448.

use super::private::{take_mpi, wrapped_fields};
use crate::secret::SecretBytes;
use openssl::aes::{AesKey, unwrap_key};
use openssl::bn::{BigNum, BigNumContext};
use openssl::derive::Deriver;
use openssl::ec::{EcGroup, EcKey, EcPoint, PointConversionForm};
use openssl::error::ErrorStack;
use openssl::hash::{MessageDigest, hash};
use openssl::nid::Nid;
use openssl::pkey::{Id, PKey, Private, Public};
use zeroize::Zeroizing;

const SECP256K1: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x0a];
const X448: &[u8] = &[0x2b, 0x65, 0x6f];

/// A private key on one of these curves, and what its KDF wants.
pub(super) struct OwnEcdh {
    private: PKey<Private>,
    /// As the certificate gives it.
    public: Vec<u8>,
    oid: &'static [u8],
    digest: MessageDigest,
    kek_size: usize,
    /// `KDF_hash_ID`, `KDF_alg_ID` and the fingerprint, as the KDF takes them.
    parameters: Vec<u8>,
}

impl OwnEcdh {
    /// `None` if the curve, digest or cipher is not one of these.
    pub(super) fn new(
        oid: &[u8],
        public: &[u8],
        scalar: &[u8],
        digest: u8,
        cipher: u8,
        fingerprint: &[u8],
    ) -> Option<Self> {
        let (oid, private) = match oid {
            SECP256K1 => (SECP256K1, secp256k1(scalar).ok()?),
            X448 => (
                X448,
                PKey::private_key_from_raw_bytes(native(scalar, 56)?, Id::X448).ok()?,
            ),
            _ => return None,
        };
        let kek_size = match cipher {
            7 => 16,
            8 => 24,
            9 => 32,
            _ => return None,
        };
        let digest_by_number = match digest {
            8 => MessageDigest::sha256(),
            9 => MessageDigest::sha384(),
            10 => MessageDigest::sha512(),
            _ => return None,
        };
        let mut parameters = vec![0x03, 0x01, digest, cipher];
        parameters.extend_from_slice(b"Anonymous Sender    ");
        parameters.extend_from_slice(fingerprint);
        Some(Self {
            private,
            public: public.to_vec(),
            oid,
            digest: digest_by_number,
            kek_size,
            parameters,
        })
    }

    /// Whether private and public half belong together: the public point computed from the scalar is the given one.
    pub(super) fn proves_possession(&self) -> bool {
        let computed = if self.oid == X448 {
            self.private.raw_public_key().ok()
        } else {
            self.private.ec_key().ok().and_then(|key| {
                let form = PointConversionForm::UNCOMPRESSED;
                key.public_key()
                    .to_bytes(key.group(), form, &mut *BigNumContext::new().ok()?)
                    .ok()
            })
        };
        computed.is_some_and(|computed| self.public.ends_with(&computed))
    }

    /// The padded content of the wrap, its padding taken off.
    pub(super) fn unwrap(&self, body: &[u8]) -> Option<SecretBytes> {
        let mut rest = wrapped_fields(body)?;
        let point = take_mpi(&mut rest)?;
        let (size, wrapped) = rest.split_first()?;
        let wrapped = wrapped
            .get(..usize::from(*size))
            .filter(|w| w.len() >= 16 && w.len() % 8 == 0)?;
        let kek = self.key_encryption_key(point).ok()??;
        let key = AesKey::new_decrypt(&kek).ok()?;
        let mut padded = vec![0; wrapped.len() - 8];
        unwrap_key(&key, None, &mut padded, wrapped).ok()?;
        let padding = usize::from(*padded.last()?);
        let size = padded.len().checked_sub(padding).filter(|_| padding > 0)?;
        padded.truncate(size);
        Some(SecretBytes::new(padded))
    }

    fn key_encryption_key(&self, point: &[u8]) -> Result<Option<Zeroizing<Vec<u8>>>, ErrorStack> {
        let Some(peer) = self.peer(point)? else {
            return Ok(None);
        };
        let mut deriver = Deriver::new(&self.private)?;
        deriver.set_peer(&peer)?;
        let shared = Zeroizing::new(deriver.derive_to_vec()?);
        let mut input = Zeroizing::new(vec![0, 0, 0, 1]);
        input.extend_from_slice(&shared);
        input.push(u8::try_from(self.oid.len()).unwrap_or(0));
        input.extend_from_slice(self.oid);
        input.push(18);
        input.extend_from_slice(&self.parameters);
        Ok(Some(Zeroizing::new(
            hash(self.digest, &input)?[..self.kek_size].to_vec(),
        )))
    }

    fn peer(&self, point: &[u8]) -> Result<Option<PKey<Public>>, ErrorStack> {
        if self.oid == X448 {
            return native(point, 56)
                .map(|raw| PKey::public_key_from_raw_bytes(raw, Id::X448))
                .transpose();
        }
        let group = EcGroup::from_curve_name(Nid::SECP256K1)?;
        let point = EcPoint::from_bytes(&group, point, &mut *BigNumContext::new()?)?;
        PKey::from_ec_key(EcKey::from_public_key(&group, &point)?).map(Some)
    }
}

fn secp256k1(scalar: &[u8]) -> Result<PKey<Private>, ErrorStack> {
    let group = EcGroup::from_curve_name(Nid::SECP256K1)?;
    let number = BigNum::from_slice(scalar)?;
    let mut public = EcPoint::new(&group)?;
    public.mul_generator2(&group, &number, &mut *BigNumContext::new_secure()?)?;
    PKey::from_ec_key(EcKey::from_private_components(&group, &number, &public)?)
}

/// A native point or scalar, with or without the prefix 0x40 that marks it as such.
fn native(octets: &[u8], size: usize) -> Option<&[u8]> {
    let octets = if octets.len() == size + 1 {
        octets.strip_prefix(&[0x40])?
    } else {
        octets
    };
    (octets.len() == size).then_some(octets)
}
