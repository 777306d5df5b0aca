//! Key wraps and key derivations of CMS: AES key wrap (RFC 3394), 3DES wrap (RFC 3217), the password wrap
//! (RFC 3211), the X9.63 KDF (SEC 1) and HKDF (RFC 5869). Shared by the openers here and by escrowed keys.

use super::algorithm;
use super::legacy;
use crate::secret::SecretBytes;
use openssl::cipher::Cipher;
use openssl::cipher_ctx::{CipherCtx, CipherCtxFlags};
use openssl::md::Md;
use openssl::pkey::Id;
use openssl::pkey_ctx::PkeyCtx;

/// Longest content-encryption key that any CMS cipher has, with room for padding.
const MAX_WRAPPED: usize = 256;

/// AES key unwrap (RFC 3394); `None` if key-encryption key or wrapped key are wrong.
#[must_use]
pub fn aes_unwrap(kek: &[u8], wrapped: &[u8]) -> Option<SecretBytes> {
    let name = match kek.len() {
        16 => "AES-128-WRAP",
        24 => "AES-192-WRAP",
        32 => "AES-256-WRAP",
        _ => return None,
    };
    if wrapped.len() > MAX_WRAPPED || !wrapped.len().is_multiple_of(8) || wrapped.len() < 16 {
        return None;
    }
    unwrap_with(name, kek, wrapped)
}

/// 3DES key unwrap (RFC 3217); `None` as above.
#[must_use]
pub fn triple_des_unwrap(kek: &[u8], wrapped: &[u8]) -> Option<SecretBytes> {
    if kek.len() != 24
        || wrapped.len() > MAX_WRAPPED
        || !wrapped.len().is_multiple_of(8)
        || wrapped.len() < 24
    {
        return None;
    }
    unwrap_with("DES3-WRAP", kek, wrapped)
}

fn unwrap_with(cipher: &str, kek: &[u8], wrapped: &[u8]) -> Option<SecretBytes> {
    legacy::enable();
    let cipher = Cipher::fetch(None, cipher, None).ok()?;
    let mut context = CipherCtx::new().ok()?;
    context.set_flags(CipherCtxFlags::FLAG_WRAP_ALLOW);
    context.decrypt_init(Some(&cipher), Some(kek), None).ok()?;
    let mut key = vec![0; wrapped.len() + 64];
    let length = context.cipher_update(wrapped, Some(&mut key)).ok()?;
    key.truncate(length);
    (!key.is_empty()).then(|| SecretBytes::new(key))
}

/// ANSI X9.63 KDF: `length` bytes from the shared secret `z`.
#[must_use]
pub fn x963(digest: &str, z: &[u8], shared_info: &[u8], length: usize) -> Option<SecretBytes> {
    let mut key = Vec::with_capacity(length + 64);
    for counter in 1_u32.. {
        if key.len() >= length {
            break;
        }
        let counter = counter.to_be_bytes();
        let pieces = [z, &counter, shared_info].into_iter().map(Ok::<_, ()>);
        key.extend_from_slice(&algorithm::hash(digest, pieces).ok()??);
    }
    key.truncate(length);
    Some(SecretBytes::new(key))
}

/// HKDF without salt: `length` bytes from `secret`.
#[must_use]
pub fn hkdf(digest: &str, secret: &[u8], info: &[u8], length: usize) -> Option<SecretBytes> {
    let md = Md::from_nid(algorithm::digest(digest)?.type_())?;
    let mut context = PkeyCtx::new_id(Id::HKDF).ok()?;
    context.derive_init().ok()?;
    context.set_hkdf_md(md).ok()?;
    context.set_hkdf_key(secret).ok()?;
    context.add_hkdf_info(info).ok()?;
    let mut key = vec![0; length];
    context.derive(Some(&mut key)).ok()?;
    Some(SecretBytes::new(key))
}

/// The password wrap of RFC 3211 §2.3.2: CBC twice, then length, check bytes and padding. `cipher` is
/// OpenSSL's name of the key-encryption cipher.
#[must_use]
pub fn password_unwrap(cipher: &str, kek: &[u8], iv: &[u8], wrapped: &[u8]) -> Option<SecretBytes> {
    legacy::enable();
    let cipher = Cipher::fetch(None, cipher, None).ok()?;
    let block = cipher.block_size();
    let sizes_fit = iv.len() == block && kek.len() == cipher.key_length();
    if !sizes_fit
        || wrapped.len() < 2 * block
        || !wrapped.len().is_multiple_of(block)
        || wrapped.len() > MAX_WRAPPED
    {
        return None;
    }
    // The IV of the outer pass is the last block of the inner pass, found by decrypting the last block alone.
    let (_, last_two) = wrapped.split_at(wrapped.len() - 2 * block);
    let inner_last = cbc_decrypt(&cipher, kek, &last_two[..block], &last_two[block..])?;
    let inner = cbc_decrypt(&cipher, kek, &inner_last, &wrapped[..wrapped.len() - block])?;
    let inner = SecretBytes::new([inner, inner_last].concat());
    let padded = SecretBytes::new(cbc_decrypt(&cipher, kek, iv, inner.expose())?);
    let bytes = padded.expose();
    let length = usize::from(bytes[0]);
    let checked = (0..3).all(|at| bytes[1 + at] ^ bytes[4 + at] == 0xff);
    let fits = length >= 3 && 4 + length <= bytes.len();
    (checked && fits).then(|| SecretBytes::new(bytes[4..4 + length].to_vec()))
}

fn cbc_decrypt(cipher: &Cipher, key: &[u8], iv: &[u8], ciphertext: &[u8]) -> Option<Vec<u8>> {
    let mut context = CipherCtx::new().ok()?;
    context
        .decrypt_init(Some(cipher), Some(key), Some(iv))
        .ok()?;
    context.set_padding(false);
    let mut plaintext = Vec::with_capacity(ciphertext.len() + cipher.block_size());
    context.cipher_update_vec(ciphertext, &mut plaintext).ok()?;
    context.cipher_final_vec(&mut plaintext).ok()?;
    Some(plaintext)
}
