//! AEAD as OpenPGP chunks it: SEIPDv2 (RFC 9580 §5.13.2) and GnuPG's packet type 20 (LibrePGP §5.16).

use bytes::BytesMut;
use hkdf::Hkdf;
use pgp::crypto::{aead::AeadAlgorithm, sym::SymmetricKeyAlgorithm as Cipher};
use sha2::Sha256;
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
        let cipher = matches!(
            self.cipher,
            Cipher::AES128 | Cipher::AES192 | Cipher::AES256
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
        let mut plaintext = Vec::with_capacity(chunks.len());
        let mut index = 0;
        for chunk in chunks.chunks(size) {
            plaintext.extend_from_slice(&self.open_one(index, None, chunk)?);
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
    let mut buffer = BytesMut::from(data);
    let opened = fits
        && mode
            .decrypt_in_place(&cipher, key, nonce, authenticated, &mut buffer)
            .is_ok();
    opened.then_some(buffer)
}
