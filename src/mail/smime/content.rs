//! Content ciphers: what decrypts the content once its key is known. The cipher is chosen by the
//! algorithm *family* and the length of the key, since some senders label 24-byte keys as AES-128.

use super::algorithm::Algorithm;
use super::ber::{BerError, Chunks, Element, tag};
use super::content_families::{FAMILIES, Family, Mode};
use super::oids;
use crate::crypto::random;
use crate::mail::legacy;
use crate::mail::model::Integrity;
use crate::secret::SecretBytes;
use openssl::cipher::Cipher;
use openssl::cipher_ctx::CipherCtx;
use openssl::error::ErrorStack;
/// A content cipher with its parameters, ready for a key.
pub struct ContentCipher {
    family: &'static Family,
    labelled_key: usize,
    iv: Vec<u8>,
    tag_length: usize,
}

impl std::fmt::Debug for ContentCipher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name())
    }
}

/// Why content did not decrypt.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ContentError {
    /// Not a cipher that is known here.
    #[error("content cipher {0}")]
    Unknown(String),
    /// Parameters that the cipher cannot have.
    #[error("bad parameters of the content cipher {0}")]
    Parameters(String),
    /// The key's length fits no cipher of the family.
    #[error("a content key of {0} bytes fits no variant of the cipher")]
    KeyLength(usize),
    /// Padding or authentication tag is wrong: wrong key, or altered ciphertext.
    #[error("wrong padding or authentication tag")]
    Wrong,
    /// The ciphertext is malformed BER.
    #[error(transparent)]
    Ber(#[from] BerError),
}

impl From<ErrorStack> for ContentError {
    fn from(_: ErrorStack) -> Self {
        Self::Wrong
    }
}

fn with_bits(pattern: &str, key_bytes: usize) -> String {
    pattern.replace("{}", &(key_bytes * 8).to_string())
}

impl ContentCipher {
    /// Understands the algorithm and its parameters.
    pub fn of(algorithm: &Algorithm<'_>) -> Result<Self, ContentError> {
        let found = FAMILIES.iter().find_map(|family| {
            let (_, key) = family.ids.iter().find(|(id, _)| *id == algorithm.oid)?;
            Some((family, *key))
        });
        let (family, labelled_key) =
            found.ok_or_else(|| ContentError::Unknown(oids::show(&algorithm.oid)))?;
        let mut cipher = Self {
            family,
            labelled_key,
            iv: Vec::new(),
            tag_length: 0,
        };
        cipher
            .read_parameters(algorithm.real_parameters())
            .ok_or_else(|| ContentError::Parameters(cipher.name()))?;
        Ok(cipher)
    }

    /// IVs and nonces are a bare OCTET STRING or the first one in a SEQUENCE; beside it an INTEGER says the tag
    /// length (GCM, CCM), the key bits (CAST5) or the effective key bits in RFC 2268's code (RC2).
    fn read_parameters(&mut self, parameters: Option<Element<'_>>) -> Option<()> {
        let mut number = None;
        match parameters {
            _ if self.family.openssl == "RC4" => return Some(()),
            // Written by senders whose IV is zero; OpenSSL reads it so.
            None => {
                let is_plain = self.family.mode == Mode::Padded && self.family.name != "RC2-{}-CBC";
                return is_plain.then_some(());
            }
            Some(element) if element.tag & !tag::CONSTRUCTED == tag::OCTET_STRING => {
                self.iv = element.octets().ok()?.into_owned();
            }
            Some(element) => {
                for field in element.inside_of(tag::SEQUENCE, "parameters").ok()? {
                    let field = field.ok()?;
                    match field.tag {
                        tag::INTEGER => number = Some(field.small().ok()?),
                        _ => self.iv = field.octet_string().ok()?.into_owned(),
                    }
                }
            }
        }
        let number = number.map(|number| number as usize);
        match self.family.mode {
            Mode::Aead | Mode::Ccm => self.tag_length = number.unwrap_or(12),
            Mode::Padded | Mode::Stream => {}
        }
        match self.family.openssl {
            "RC2-{}-CBC" => {
                self.labelled_key = match number {
                    None => 4,
                    Some(160) => 5,
                    Some(120) => 8,
                    Some(58) => 16,
                    Some(bits) => bits.div_ceil(8),
                }
            }
            "CAST5-CBC" => self.labelled_key = number.map_or(16, |bits| bits / 8),
            "ChaCha20-Poly1305" => self.tag_length = 16,
            _ => {}
        }
        (!self.iv.is_empty()).then_some(())
    }

    /// Usual name of whatever cipher `algorithm` is; the object identifier if unknown.
    #[must_use]
    pub fn name_of(algorithm: &Algorithm<'_>) -> String {
        Self::of(algorithm).map_or_else(|_| oids::name(&algorithm.oid), |cipher| cipher.name())
    }

    /// Usual name, by the label in the message ("AES-256-CBC").
    #[must_use]
    pub fn name(&self) -> String {
        with_bits(self.family.name, self.labelled_key)
    }

    /// What this cipher does for integrity.
    #[must_use]
    pub const fn integrity(&self) -> Integrity {
        match self.family.mode {
            Mode::Aead | Mode::Ccm => Integrity::Authenticated,
            Mode::Padded | Mode::Stream => Integrity::Unauthenticated,
        }
    }

    /// Whether a key of this length can be meant.
    #[must_use]
    pub fn accepts_key(&self, length: usize) -> bool {
        self.family.keys.contains(&length) || self.is_two_key_triple_des(length)
    }

    /// Whether the key is as long as the label says.
    #[must_use]
    pub const fn is_labelled_length(&self, length: usize) -> bool {
        self.labelled_key == length
    }

    /// A key that is none, of a length that [`ContentCipher::accepts_key`] takes.
    #[must_use]
    pub fn random_key(&self) -> SecretBytes {
        let labelled = Some(self.labelled_key).filter(|length| self.accepts_key(*length));
        let length = labelled.unwrap_or(self.family.keys[0]);
        let mut key = vec![0; length];
        random::fill(&mut key);
        SecretBytes::new(key)
    }

    /// Whether it can be run at all: this build has it, and it takes these parameters.
    pub fn check(&self) -> Result<(), ContentError> {
        let nothing = Chunks::whole(&[]);
        match self.decrypt(self.random_key().expose(), &nothing, Some(&[0; 16]), &[]) {
            Err(error @ (ContentError::Unknown(_) | ContentError::Parameters(_))) => Err(error),
            _ => Ok(()),
        }
    }

    fn is_two_key_triple_des(&self, length: usize) -> bool {
        self.family.openssl == "DES-EDE3-CBC" && length == 16
    }

    /// Decrypts. `mac` is the tag where it stands beside the ciphertext; without it an AEAD's tag is the
    /// ciphertext's end (EncryptedData and EnvelopedData of some writers). `aad` is what is authenticated besides.
    pub fn decrypt(
        &self,
        key: &[u8],
        ciphertext: &Chunks<'_>,
        mac: Option<&[u8]>,
        aad: &[u8],
    ) -> Result<Vec<u8>, ContentError> {
        if self.is_two_key_triple_des(key.len()) {
            let mut three = [key, &key[..8]].concat();
            let plaintext = self.decrypt(&three, ciphertext, mac, aad);
            crate::secret::wipe(&mut three);
            return plaintext;
        }
        if !self.accepts_key(key.len()) {
            return Err(ContentError::KeyLength(key.len()));
        }
        let total = ciphertext.total()?;
        match self.family.mode {
            Mode::Padded | Mode::Stream => self.run(key, ciphertext.clone(), total),
            Mode::Aead | Mode::Ccm => match mac {
                Some(mac) => self.run_aead(key, ciphertext.clone(), total, mac, aad),
                None => self.run_aead_with_tag_behind(key, &gather(ciphertext)?, aad),
            },
        }
    }

    /// The tag is as long as the parameters say. Some writers say 12 bytes, or nothing, and append 16 all the same.
    fn run_aead_with_tag_behind(
        &self,
        key: &[u8],
        whole: &[u8],
        aad: &[u8],
    ) -> Result<Vec<u8>, ContentError> {
        let stated = Some(self.tag_length).filter(|length| (12..16).contains(length));
        for length in stated.into_iter().chain([16]) {
            let at = whole.len().checked_sub(length).ok_or(ContentError::Wrong)?;
            let (body, mac) = whole.split_at(at);
            match self.run_aead(key, Chunks::whole(body), at, mac, aad) {
                Err(ContentError::Wrong) => {}
                result => return result,
            }
        }
        Err(ContentError::Wrong)
    }

    fn cipher(&self, key_bytes: usize) -> Result<Cipher, ContentError> {
        legacy::enable();
        let name = match self.family.openssl {
            "RC2-{}-CBC" if key_bytes == 16 => "RC2-CBC".to_owned(),
            pattern => with_bits(pattern, key_bytes),
        };
        Cipher::fetch(None, &name, None).map_err(|_| ContentError::Unknown(name))
    }

    fn run(
        &self,
        key: &[u8],
        ciphertext: Chunks<'_>,
        total: usize,
    ) -> Result<Vec<u8>, ContentError> {
        let cipher = self.cipher(key.len())?;
        let mut context = CipherCtx::new()?;
        context.decrypt_init(Some(&cipher), None, None)?;
        if key.len() != context.key_length() {
            context.set_key_length(key.len())?;
        }
        let iv = match (context.iv_length(), self.iv.as_slice()) {
            (0, _) => None,
            (length, []) => Some(&[0; 16][..length.min(16)]),
            (length, iv) if iv.len() == length => Some(iv),
            _ => return Err(ContentError::Parameters(self.name())),
        };
        context.decrypt_init(None, Some(key), iv)?;
        if self.family.mode == Mode::Padded
            && (total == 0 || !total.is_multiple_of(context.block_size()))
        {
            return Err(ContentError::Wrong);
        }
        let mut plaintext = Vec::with_capacity(total + 2 * context.block_size());
        for chunk in ciphertext {
            // OpenSSL counts in C's int.
            for piece in chunk?.chunks(1 << 28) {
                context.cipher_update_vec(piece, &mut plaintext)?;
            }
        }
        context.cipher_final_vec(&mut plaintext)?;
        Ok(plaintext)
    }

    fn run_aead(
        &self,
        key: &[u8],
        ciphertext: Chunks<'_>,
        total: usize,
        mac: &[u8],
        aad: &[u8],
    ) -> Result<Vec<u8>, ContentError> {
        let shortest = if self.family.mode == Mode::Ccm { 8 } else { 12 };
        if !(shortest..=16).contains(&mac.len()) || self.iv.len() > 128 {
            return Err(ContentError::Parameters(self.name()));
        }
        let cipher = self.cipher(key.len())?;
        let mut context = CipherCtx::new()?;
        context.decrypt_init(Some(&cipher), None, None)?;
        context.set_iv_length(self.iv.len())?;
        context.set_tag(mac)?;
        context.decrypt_init(None, Some(key), Some(&self.iv))?;
        let mut plaintext = Vec::with_capacity(total + 32);
        if self.family.mode == Mode::Ccm {
            i32::try_from(total).map_err(|_| ContentError::Parameters(self.name()))?;
            context.set_data_len(total)?;
            if !aad.is_empty() {
                context.cipher_update(aad, None)?;
            }
            // The tag is checked as the (only) piece of ciphertext goes in.
            context.cipher_update_vec(&gather(&ciphertext)?, &mut plaintext)?;
            return Ok(plaintext);
        }
        if !aad.is_empty() {
            context.cipher_update(aad, None)?;
        }
        for chunk in ciphertext {
            // OpenSSL counts in C's int.
            for piece in chunk?.chunks(1 << 28) {
                context.cipher_update_vec(piece, &mut plaintext)?;
            }
        }
        context.cipher_final_vec(&mut plaintext)?;
        Ok(plaintext)
    }
}

fn gather(ciphertext: &Chunks<'_>) -> Result<Vec<u8>, BerError> {
    let mut whole = Vec::with_capacity(ciphertext.total()?);
    for chunk in ciphertext.clone() {
        whole.extend_from_slice(chunk?);
    }
    Ok(whole)
}
