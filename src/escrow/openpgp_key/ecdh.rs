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
        let shared = self.exchange.shared(point)?;
        let padded = as_senders_take_it(&shared)
            .find_map(|shared| unwrapped(&self.key_encryption_key(shared)?, wrapped))?;
        let padding = usize::from(*padded.expose().last()?);
        let size = padded.expose().len().checked_sub(padding)?;
        (padding > 0).then(|| SecretBytes::new(padded.expose()[..size].to_vec()))
    }

    fn key_encryption_key(&self, shared: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let mut input = Zeroizing::new(vec![0, 0, 0, 1]);
        input.extend_from_slice(shared);
        input.extend_from_slice(&self.parameters);
        let digest = hash(self.digest, &input).ok()?;
        Some(Zeroizing::new(digest.get(..self.kek_size)?.to_vec()))
    }
}

/// The shared secret as it is, and where it begins or ends with zeros also without them: old OpenPGP.js and Go libraries
/// took it for a number and dropped them, in one message of 256. The wrap's own check tells which one it was.
fn as_senders_take_it(shared: &[u8]) -> impl Iterator<Item = &[u8]> {
    let number = |octet: &u8| *octet != 0;
    let first = shared.iter().position(number).unwrap_or(0);
    let last = shared.iter().rposition(number).unwrap_or(0);
    let shorter = [&shared[first..], &shared[..=last]].into_iter();
    std::iter::once(shared).chain(shorter.filter(|short| short.len() < shared.len()))
}

/// AES key unwrap (RFC 3394).
pub(super) fn unwrapped(kek: &[u8], wrapped: &[u8]) -> Option<SecretBytes> {
    let fits = wrapped.len() >= 16 && wrapped.len().is_multiple_of(8);
    let mut plain = Zeroizing::new(vec![0; wrapped.len().checked_sub(8).filter(|_| fits)?]);
    let key = AesKey::new_decrypt(kek).ok()?;
    unwrap_key(&key, None, &mut plain, wrapped).ok()?;
    Some(SecretBytes::new(plain.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use openssl::aes::wrap_key;

    const CURVE25519: &[u8] = &[0x2b, 6, 1, 4, 1, 0x97, 0x55, 1, 5, 1];
    const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
    /// A session key as a wrap has it: cipher, key, checksum, padding.
    const CONTENT: [u8; 40] = [5; 40];

    /// A wrapped session key whose sender dropped zeros: the shared secret is the first of many that `fits`.
    fn wrap(
        oid: &[u8],
        mine: &Ecdh,
        fits: fn(&[u8]) -> bool,
        shortened: fn(&[u8]) -> &[u8],
    ) -> Vec<u8> {
        let (point, shared) = (1_u16..)
            .map(|number| {
                let mut scalar = [0x41; 32];
                scalar[15..17].copy_from_slice(&number.to_be_bytes());
                let theirs = Exchange::new(oid, &scalar).unwrap();
                let shared = mine.exchange.shared(theirs.public()).unwrap();
                (theirs.public().to_vec(), shared)
            })
            .find(|(_, shared)| fits(shared))
            .unwrap();
        let kek = mine.key_encryption_key(shortened(&shared)).unwrap();
        let key = AesKey::new_encrypt(&kek).unwrap();
        let mut wrapped = [0; CONTENT.len() + 8];
        wrap_key(&key, None, &mut wrapped, &CONTENT).unwrap();
        let bits = u16::try_from(point.len() * 8).unwrap().to_be_bytes();
        let head = [&[3][..], &[7; 8], &[18], &bits, &point].concat();
        [&head[..], &[48], &wrapped].concat()
    }

    fn opens(oid: &[u8], fits: fn(&[u8]) -> bool, shortened: fn(&[u8]) -> &[u8]) {
        let scalar = [0x42; 32];
        let public = Exchange::new(oid, &scalar).unwrap().public().to_vec();
        let mine = Ecdh::new(oid, &public, &scalar, (8, 9), &[7; 20]).unwrap();
        let body = wrap(oid, &mine, fits, shortened);
        let content = mine.unwrap(&body).expect("opened");
        assert_eq!(content.expose(), &CONTENT[..35]);
    }

    #[test]
    fn a_shared_secret_that_lost_its_zeros() {
        opens(CURVE25519, |_| true, |shared| shared);
        opens(CURVE25519, |shared| shared[0] == 0, |shared| &shared[1..]);
        opens(CURVE25519, |shared| shared[31] == 0, |shared| &shared[..31]);
        opens(P256, |shared| shared[0] == 0, |shared| &shared[1..]);
    }
}
