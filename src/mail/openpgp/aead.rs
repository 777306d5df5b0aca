//! AEAD as OpenPGP chunks it: SEIPDv2 (RFC 9580 §5.13.2) and GnuPG's packet type 20 (LibrePGP §5.16).

use bytes::BytesMut;
use camellia::{Camellia128, Camellia192, Camellia256};
use eax::aead::consts::{U12, U15, U16};
use eax::aead::generic_array::GenericArray;
use eax::aead::{AeadInPlace, KeyInit};
use eax::cipher::{BlockCipher, BlockDecrypt, BlockEncrypt, BlockSizeUser};
use hkdf::Hkdf;
use pgp::crypto::{aead::AeadAlgorithm, sym::SymmetricKeyAlgorithm as Cipher};
use sha2::Sha256;
use twofish::Twofish;
use zeroize::Zeroizing;

/// Octets of an authentication tag in every mode.
pub const TAG: usize = 16;

/// The largest chunk exponent drafts allowed; chunks beyond the data are no harm.
const MOST_EXPONENT: u8 = 56;

/// Everything the chunks of one container share.
pub struct Chunks {
    cipher: Cipher,
    mode: AeadAlgorithm,
    key: Zeroizing<Vec<u8>>,
    nonce: Vec<u8>,
    /// Packet type, version, cipher, mode, chunk size: authenticated with every chunk.
    prefix: [u8; 5],
    /// GnuPG authenticates the chunk's number too, and mixes it into the nonce.
    gnupg: bool,
}

/// Which container, cipher, mode and chunk size: the first four octets of its body.
#[derive(Debug, Clone, Copy)]
pub struct Header {
    /// Block cipher.
    pub cipher: Cipher,
    /// EAX, OCB or GCM.
    pub mode: AeadAlgorithm,
    /// Chunks hold 2^(exponent + 6) octets.
    pub exponent: u8,
    /// GnuPG's packet, not RFC 9580's.
    pub gnupg: bool,
}

impl Header {
    /// Whether all of it is known here.
    #[must_use]
    pub fn is_supported(&self) -> bool {
        let mode = matches!(
            self.mode,
            AeadAlgorithm::Eax | AeadAlgorithm::Ocb | AeadAlgorithm::Gcm
        );
        let cipher = is_aes(self.cipher)
            || matches!(
                self.cipher,
                Cipher::Twofish | Cipher::Camellia128 | Cipher::Camellia192 | Cipher::Camellia256
            );
        mode && cipher && self.exponent <= MOST_EXPONENT
    }

    fn prefix(&self) -> [u8; 5] {
        let (packet, version) = if self.gnupg { (0xd4, 1) } else { (0xd2, 2) };
        [
            packet,
            version,
            self.cipher.into(),
            self.mode.into(),
            self.exponent,
        ]
    }
}

impl Chunks {
    /// GnuPG: the session key is the key, the packet carries the nonce.
    #[must_use]
    pub fn gnupg(header: Header, session_key: &[u8], nonce: &[u8]) -> Self {
        let key = Zeroizing::new(session_key.to_vec());
        Self {
            cipher: header.cipher,
            mode: header.mode,
            key,
            nonce: nonce.to_vec(),
            prefix: header.prefix(),
            gnupg: true,
        }
    }

    /// RFC 9580: key and nonce are derived from session key and salt.
    #[must_use]
    pub fn rfc9580(header: Header, session_key: &[u8], salt: &[u8]) -> Option<Self> {
        let (key_size, nonce_size) = (header.cipher.key_size(), header.mode.nonce_size());
        let mut derived = Zeroizing::new(vec![0; key_size + nonce_size - 8]);
        Hkdf::<Sha256>::new(Some(salt), session_key)
            .expand(&header.prefix(), &mut derived)
            .ok()?;
        let mut nonce = derived[key_size..].to_vec();
        nonce.extend_from_slice(&[0; 8]);
        let key = Zeroizing::new(derived[..key_size].to_vec());
        Some(Self {
            cipher: header.cipher,
            mode: header.mode,
            key,
            nonce,
            prefix: header.prefix(),
            gnupg: false,
        })
    }

    /// All chunks and the closing tag; `None` if any fails.
    #[must_use]
    pub fn open(&self, data: &[u8]) -> Option<Vec<u8>> {
        let (chunks, closing) = data.split_at(data.len().checked_sub(TAG)?);
        let exponent = u32::from(self.prefix[4]) + 6;
        let size = 1_usize
            .checked_shl(exponent)
            .unwrap_or(usize::MAX)
            .max(1)
            .saturating_add(TAG);
        let single = chunks.len() <= size;
        let mut plaintext = Vec::with_capacity(if single { 0 } else { chunks.len() });
        let mut index = 0;
        for chunk in chunks.chunks(size) {
            let opened = self.open_one(index, None, chunk)?;
            if single {
                plaintext = opened.into();
            } else {
                plaintext.extend_from_slice(&opened);
            }
            index += 1;
        }
        self.open_one(index, Some(plaintext.len() as u64), closing)?;
        Some(plaintext)
    }

    fn open_one(&self, index: u64, total: Option<u64>, data: &[u8]) -> Option<BytesMut> {
        let mut nonce = self.nonce.clone();
        let low = nonce.len().checked_sub(8)?;
        for (octet, count) in nonce[low..].iter_mut().zip(index.to_be_bytes()) {
            *octet ^= count;
        }
        let mut authenticated = self.prefix.to_vec();
        if self.gnupg {
            authenticated.extend_from_slice(&index.to_be_bytes());
        }
        authenticated.extend(total.into_iter().flat_map(u64::to_be_bytes));
        open(
            self.cipher,
            self.mode,
            &self.key,
            &nonce,
            &authenticated,
            data,
        )
    }
}

/// One sealed piece; its tag comes last.
#[must_use]
pub fn open(
    cipher: Cipher,
    mode: AeadAlgorithm,
    key: &[u8],
    nonce: &[u8],
    authenticated: &[u8],
    data: &[u8],
) -> Option<BytesMut> {
    let fits =
        key.len() == cipher.key_size() && nonce.len() == mode.nonce_size() && data.len() >= TAG;
    fits.then_some(())?;
    if is_aes(cipher) {
        let mut buffer = BytesMut::from(data);
        mode.decrypt_in_place(&cipher, key, nonce, authenticated, &mut buffer)
            .ok()?;
        return Some(buffer);
    }
    let parts = Parts {
        key,
        nonce,
        authenticated,
        data,
    };
    match cipher {
        Cipher::Twofish => parts.open::<Twofish>(mode),
        Cipher::Camellia128 => parts.open::<Camellia128>(mode),
        Cipher::Camellia192 => parts.open::<Camellia192>(mode),
        Cipher::Camellia256 => parts.open::<Camellia256>(mode),
        _ => None,
    }
}

fn is_aes(cipher: Cipher) -> bool {
    matches!(cipher, Cipher::AES128 | Cipher::AES192 | Cipher::AES256)
}

/// What goes into one opening. RFC 9580 allows every cipher with blocks of 128 bits; rPGP has the modes for AES only.
struct Parts<'a> {
    key: &'a [u8],
    nonce: &'a [u8],
    authenticated: &'a [u8],
    data: &'a [u8],
}

impl Parts<'_> {
    fn open<C>(&self, mode: AeadAlgorithm) -> Option<BytesMut>
    where
        C: BlockCipher
            + BlockSizeUser<BlockSize = U16>
            + BlockEncrypt
            + BlockDecrypt
            + KeyInit
            + Clone,
    {
        match mode {
            AeadAlgorithm::Eax => self.open_with::<eax::Eax<C>>(),
            AeadAlgorithm::Ocb => self.open_with::<ocb3::Ocb3<C, U15>>(),
            AeadAlgorithm::Gcm => self.open_with::<gcm::AesGcm<C, U12>>(),
            _ => None,
        }
    }

    fn open_with<M: AeadInPlace + KeyInit>(&self) -> Option<BytesMut> {
        let (sealed, tag) = self.data.split_at(self.data.len() - TAG);
        let mut buffer = BytesMut::from(sealed);
        let nonce = GenericArray::from_slice(self.nonce);
        let tag = GenericArray::from_slice(tag);
        M::new_from_slice(self.key)
            .ok()?
            .decrypt_in_place_detached(nonce, self.authenticated, &mut buffer, tag)
            .ok()?;
        Some(buffer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed<M: AeadInPlace + KeyInit>(key: &[u8], nonce: &[u8], plain: &[u8]) -> Vec<u8> {
        let mut buffer = plain.to_vec();
        let mode = M::new_from_slice(key).unwrap();
        let tag =
            mode.encrypt_in_place_detached(GenericArray::from_slice(nonce), b"ad", &mut buffer);
        buffer.extend_from_slice(&tag.unwrap());
        buffer
    }

    #[test]
    fn ciphers_other_than_aes_open_in_every_mode() {
        let key = [7; 32];
        let cases = [
            (
                Cipher::Twofish,
                AeadAlgorithm::Eax,
                sealed::<eax::Eax<Twofish>>(&key, &[1; 16], b"text"),
            ),
            (
                Cipher::Camellia256,
                AeadAlgorithm::Ocb,
                sealed::<ocb3::Ocb3<Camellia256, U15>>(&key, &[1; 15], b"text"),
            ),
            (
                Cipher::Camellia192,
                AeadAlgorithm::Gcm,
                sealed::<gcm::AesGcm<Camellia192, U12>>(&key[..24], &[1; 12], b"text"),
            ),
            (
                Cipher::Camellia128,
                AeadAlgorithm::Ocb,
                sealed::<ocb3::Ocb3<Camellia128, U15>>(&key[..16], &[1; 15], b"text"),
            ),
        ];
        for (cipher, mode, mut data) in cases {
            let (key, nonce) = (&key[..cipher.key_size()], vec![1; mode.nonce_size()]);
            let opened = open(cipher, mode, key, &nonce, b"ad", &data);
            assert_eq!(opened.as_deref(), Some(&b"text"[..]), "{cipher:?} {mode:?}");
            data[0] ^= 1;
            assert!(open(cipher, mode, key, &nonce, b"ad", &data).is_none());
        }
        assert!(
            open(
                Cipher::CAST5,
                AeadAlgorithm::Eax,
                &key[..16],
                &[1; 16],
                b"ad",
                &[0; 20]
            )
            .is_none()
        );
    }
}
