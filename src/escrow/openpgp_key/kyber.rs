//! GnuPG's post-quantum keys: ML-KEM together with a curve, in version 5 packets (LibrePGP; GnuPG 2.5). RFC 9980's
//! composites are another construction, which Sequoia does.

use super::ecdh::unwrapped;
use super::exchange::{Exchange, native};
use super::private::{Unwrapped, take_mpi, wrapped_fields};
use super::public_body::take_long;
use crate::secret::SecretBytes;
use ml_kem::kem::Decapsulate;
use ml_kem::{MlKem768, MlKem1024};
use openssl::hash::{MessageDigest, hash};
use sha3::digest::core_api::CoreWrapper;
use sha3::digest::{ExtendableOutput, Update, XofReader};
use sha3::{CShake256, CShake256Core};
use zeroize::Zeroizing;

/// Domain of the key derivation.
const KMAC_KEY: &[u8] = b"OpenPGPCompositeKeyDerivationFunction";
/// Rate of Keccak in KMAC256, in octets.
const RATE: usize = 136;
const KEK_BYTES: usize = 32;

/// A private composite key.
pub(super) struct Kyber {
    exchange: Exchange,
    /// The curve's public point, as the certificate gives it.
    point: Vec<u8>,
    kem: SecretBytes,
    /// The public half of the KEM, as the certificate gives it.
    kem_public: Vec<u8>,
    fingerprint: Vec<u8>,
}

impl Kyber {
    /// From the curve's scalar and the expanded decapsulation key (FIPS 203). `fingerprint` is of version 5.
    pub(super) fn new(
        oid: &[u8],
        point: &[u8],
        kem_public: &[u8],
        scalar: &[u8],
        kem: &[u8],
        fingerprint: &[u8],
    ) -> Option<Self> {
        Some(Self {
            exchange: Exchange::new(oid, scalar)?,
            point: point.to_vec(),
            kem: SecretBytes::new(kem.to_vec()),
            kem_public: kem_public.to_vec(),
            fingerprint: fingerprint.to_vec(),
        })
    }

    /// Both private halves belong to their public ones: an expanded key has its public half inside.
    pub(super) fn proves_possession(&self) -> bool {
        let kem = self.kem.expose();
        let public = kem
            .len()
            .checked_sub(64)
            .and_then(|end| kem.get(end.checked_sub(self.kem_public.len())?..end));
        self.exchange.belongs_to(&self.point) && public == Some(&self.kem_public)
    }

    /// Fields: the curve's ephemeral point, the KEM's ciphertext, cipher of the session key, length, wrapped key.
    pub(super) fn unwrap(&self, body: &[u8]) -> Option<Unwrapped> {
        let mut rest = wrapped_fields(body)?;
        let ephemeral = take_mpi(&mut rest)?;
        let ciphertext = take_long(&mut rest)?;
        let (cipher, rest) = rest.split_first()?;
        let (size, wrapped) = rest.split_first()?;
        let wrapped = wrapped.get(..usize::from(*size))?;
        let kek = self.key_encryption_key(ephemeral, ciphertext, *cipher)?;
        Some((unwrapped(&kek, wrapped)?, Some(*cipher)))
    }

    fn key_encryption_key(
        &self,
        ephemeral: &[u8],
        ciphertext: &[u8],
        cipher: u8,
    ) -> Option<Zeroizing<Vec<u8>>> {
        let public = self.exchange.public();
        let ephemeral = native(ephemeral, public.len())?;
        let point = self.exchange.shared_point(ephemeral)?;
        let digest = match public.len() {
            32 | 65 => MessageDigest::sha3_256(),
            _ => MessageDigest::sha3_512(),
        };
        let input = Zeroizing::new([point.as_slice(), ephemeral, public].concat());
        let curve_secret = Zeroizing::new(hash(digest, &input).ok()?.to_vec());
        let kem_secret = self.decapsulated(ciphertext)?;
        Some(combined(&[
            &[0, 0, 0, 1],
            &curve_secret,
            ephemeral,
            kem_secret.expose(),
            ciphertext,
            &[cipher],
            &self.fingerprint,
        ]))
    }

    fn decapsulated(&self, ciphertext: &[u8]) -> Option<SecretBytes> {
        match self.kem.expose().len() {
            2400 => decapsulated_with::<MlKem768>(self.kem.expose(), ciphertext),
            3168 => decapsulated_with::<MlKem1024>(self.kem.expose(), ciphertext),
            _ => None,
        }
    }
}

#[expect(deprecated, reason = "GnuPG keeps expanded keys and no seed")]
fn decapsulated_with<K>(key: &[u8], ciphertext: &[u8]) -> Option<SecretBytes>
where
    K: ml_kem::kem::Kem<DecapsulationKey: ml_kem::ExpandedKeyEncoding + Decapsulate>,
{
    let expanded = key.try_into().ok()?;
    let key: K::DecapsulationKey =
        ml_kem::ExpandedKeyEncoding::from_expanded_bytes(expanded).ok()?;
    let shared = key.decapsulate_slice(ciphertext).ok()?;
    Some(SecretBytes::new(shared.to_vec()))
}

/// KMAC256 (NIST SP 800-185) under the domain's name, customised by "KDF".
fn combined(pieces: &[&[u8]]) -> Zeroizing<Vec<u8>> {
    let mut kmac: CShake256 =
        CoreWrapper::from_core(CShake256Core::new_with_function_name(b"KMAC", b"KDF"));
    // bytepad(encode_string(key), rate): the rate and the key's bits, each behind the count of its octets.
    let bits = (KMAC_KEY.len() * 8).to_be_bytes();
    let [.., high, low] = bits;
    let mut block = vec![1, 136, 2, high, low];
    block.extend_from_slice(KMAC_KEY);
    block.resize(RATE, 0);
    kmac.update(&block);
    pieces.iter().for_each(|piece| kmac.update(piece));
    kmac.update(&[1, 0, 2]);
    let mut key = Zeroizing::new(vec![0; KEK_BYTES]);
    kmac.finalize_xof().read(&mut key);
    key
}
