//! ECDH (RFC 9580 §11.5) on every curve that GnuPG writes. Straight from OpenSSL, because Sequoia lacks some of the
//! curves and prepares the key anew for each message.

use super::exchange::Exchange;
use super::private::{take_mpi, wrapped_fields};
use crate::secret::SecretBytes;
use openssl::aes::{AesKey, unwrap_key};
use openssl::hash::{MessageDigest, hash};
use zeroize::Zeroizing;

/// A private key and what its KDF wants.
pub(super) struct Ecdh {
    exchange: Exchange,
    /// As the certificate gives it.
    public: Vec<u8>,
    digest: MessageDigest,
    kek_size: usize,
    /// Curve, algorithm, `KDF_hash_ID`, `KDF_alg_ID` and the fingerprint, as the KDF takes them.
    parameters: Vec<u8>,
}

impl Ecdh {
    /// `kdf` is the digest's and the cipher's number; `fingerprint` is as the KDF takes it (of version 5, LibrePGP's,
    /// the first twenty octets). `None` if curve, digest or cipher is not known here.
    pub(super) fn new(
        oid: &[u8],
        public: &[u8],
        scalar: &[u8],
        kdf: (u8, u8),
        fingerprint: &[u8],
    ) -> Option<Self> {
        let exchange = Exchange::new(oid, scalar)?;
        let kek_size = match kdf.1 {
            7 => 16,
            8 => 24,
            9 => 32,
            _ => return None,
        };
        let digest = match kdf.0 {
            8 => MessageDigest::sha256(),
            9 => MessageDigest::sha384(),
            10 => MessageDigest::sha512(),
            _ => return None,
        };
        let mut parameters = vec![u8::try_from(oid.len()).ok()?];
        parameters.extend_from_slice(oid);
        parameters.extend_from_slice(&[18, 0x03, 0x01, kdf.0, kdf.1]);
        parameters.extend_from_slice(b"Anonymous Sender    ");
        parameters.extend_from_slice(fingerprint);
        Some(Self {
            exchange,
            public: public.to_vec(),
            digest,
            kek_size,
            parameters,
        })
    }

    /// Whether private and public half belong together: the public point computed from the scalar is the given one.
    pub(super) fn proves_possession(&self) -> bool {
        self.exchange.belongs_to(&self.public)
    }

    /// The padded content of the wrap, its padding taken off.
    pub(super) fn unwrap(&self, body: &[u8]) -> Option<SecretBytes> {
        let mut rest = wrapped_fields(body)?;
        let point = take_mpi(&mut rest)?;
        let (size, wrapped) = rest.split_first()?;
        let wrapped = wrapped.get(..usize::from(*size))?;
        let padded = unwrapped(&self.key_encryption_key(point)?, wrapped)?;
        let padding = usize::from(*padded.expose().last()?);
        let size = padded.expose().len().checked_sub(padding)?;
        (padding > 0).then(|| SecretBytes::new(padded.expose()[..size].to_vec()))
    }

    fn key_encryption_key(&self, point: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let mut input = Zeroizing::new(vec![0, 0, 0, 1]);
        input.extend_from_slice(&self.exchange.shared(point)?);
        input.extend_from_slice(&self.parameters);
        let digest = hash(self.digest, &input).ok()?;
        Some(Zeroizing::new(digest.get(..self.kek_size)?.to_vec()))
    }
}

/// AES key unwrap (RFC 3394).
pub(super) fn unwrapped(kek: &[u8], wrapped: &[u8]) -> Option<SecretBytes> {
    let fits = wrapped.len() >= 16 && wrapped.len().is_multiple_of(8);
    let mut plain = Zeroizing::new(vec![0; wrapped.len().checked_sub(8).filter(|_| fits)?]);
    let key = AesKey::new_decrypt(kek).ok()?;
    unwrap_key(&key, None, &mut plain, wrapped).ok()?;
    Some(SecretBytes::new(plain.to_vec()))
}
