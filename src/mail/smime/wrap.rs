//! Key wraps and key derivations of CMS: AES key wrap (RFC 3394, RFC 5649) and its like with other ciphers, 3DES
//! and RC2 wraps (RFC 3217), the password wrap (RFC 3211), the KDFs of X9.42, X9.44 and X9.63, and HKDF (RFC 5869). Shared by
//! the openers here and by escrowed keys.

use crate::mail::keyops::{Kdf, KeyWrap};
use crate::mail::{digest, legacy};
use crate::secret::SecretBytes;
use openssl::cipher::Cipher;
use openssl::cipher_ctx::{CipherCtx, CipherCtxFlags};
use openssl::md::Md;
use openssl::pkey::Id;
use openssl::pkey_ctx::PkeyCtx;

/// Longest content-encryption key that any CMS cipher has, with room for padding.
const MAX_WRAPPED: usize = 256;

/// Unwraps a key; `None` if key-encryption key or wrapped key are wrong.
#[must_use]
pub fn unwrap(wrap: KeyWrap, kek: &[u8], wrapped: &[u8]) -> Option<SecretBytes> {
    if kek.len() != usize::from(wrap.kek_bytes())
        || !(16..=MAX_WRAPPED).contains(&wrapped.len())
        || !wrapped.len().is_multiple_of(8)
    {
        return None;
    }
    let bits = kek.len() * 8;
    match wrap {
        KeyWrap::Aes(_) => unwrap_with(&format!("AES-{bits}-WRAP"), kek, wrapped),
        KeyWrap::AesPadded(_) => unwrap_with(&format!("AES-{bits}-WRAP-PAD"), kek, wrapped),
        KeyWrap::TripleDes if wrapped.len() < 24 => None,
        KeyWrap::TripleDes => unwrap_with("DES3-WRAP", kek, wrapped),
        KeyWrap::Camellia(_) => unwrap_blocks(&format!("CAMELLIA-{bits}-ECB"), kek, wrapped),
        KeyWrap::Seed => unwrap_blocks("SEED-ECB", kek, wrapped),
        KeyWrap::Rc2 => unwrap_rc2(kek, wrapped),
    }
}

/// RFC 3217 §4.2: CBC, all reversed, CBC again; then length, key, padding, and a SHA-1 as check.
fn unwrap_rc2(kek: &[u8], wrapped: &[u8]) -> Option<SecretBytes> {
    const BLOCK: usize = 8;
    const OUTER_IV: [u8; BLOCK] = [0x4a, 0xdd, 0xa2, 0x2c, 0x79, 0xe8, 0x21, 0x05];
    legacy::enable();
    let cipher = Cipher::fetch(None, "RC2-CBC", None).ok()?;
    let mut reversed = zeroize::Zeroizing::new(cbc_decrypt(&cipher, kek, &OUTER_IV, wrapped)?);
    reversed.reverse();
    let (iv, inner) = reversed.split_at_checked(BLOCK)?;
    let plain = zeroize::Zeroizing::new(cbc_decrypt(&cipher, kek, iv, inner)?);
    let (padded, check) = plain.split_at_checked(plain.len().checked_sub(BLOCK)?)?;
    let right = openssl::memcmp::eq(&openssl::sha::sha1(padded)[..BLOCK], check);
    let (length, rest) = padded.split_first()?;
    let key = rest.get(..usize::from(*length))?;
    (right && !key.is_empty() && rest.len() - key.len() < BLOCK)
        .then(|| SecretBytes::new(key.to_vec()))
}

/// The unwrap of RFC 3394 §2.2.2 over any cipher with blocks of 16 bytes, for those OpenSSL has no wrap of.
fn unwrap_blocks(cipher: &str, kek: &[u8], wrapped: &[u8]) -> Option<SecretBytes> {
    const CHECK: [u8; 8] = [0xa6; 8];
    legacy::enable();
    let cipher = Cipher::fetch(None, cipher, None).ok()?;
    let mut context = CipherCtx::new().ok()?;
    context.decrypt_init(Some(&cipher), Some(kek), None).ok()?;
    context.set_padding(false);
    let (first, rest) = wrapped.split_first_chunk::<8>()?;
    let mut check = u64::from_be_bytes(*first);
    let mut key = zeroize::Zeroizing::new(rest.to_vec());
    let count = key.len() / 8;
    for step in (1..=6 * count).rev() {
        let at = (step - 1) % count * 8;
        let mut block = zeroize::Zeroizing::new([0; 16]);
        block[..8].copy_from_slice(&(check ^ step as u64).to_be_bytes());
        block[8..].copy_from_slice(&key[at..at + 8]);
        let mut plain = zeroize::Zeroizing::new([0; 32]);
        context
            .cipher_update(&block[..], Some(&mut plain[..]))
            .ok()?;
        check = u64::from_be_bytes(*plain.first_chunk()?);
        key[at..at + 8].copy_from_slice(&plain[8..16]);
    }
    let right = openssl::memcmp::eq(&check.to_be_bytes(), &CHECK);
    (right && count > 0).then(|| SecretBytes::new(key.to_vec()))
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

/// Derives `length` bytes from `secret`; `None` if the digest is not known.
#[must_use]
pub fn derive(kdf: &Kdf, secret: &[u8], info: &[u8], length: usize) -> Option<SecretBytes> {
    match kdf {
        Kdf::Hkdf(digest) => hkdf(digest, secret, info, length),
        Kdf::X963(digest) => counted(digest, length, |counter| {
            [secret, counter.as_slice(), info].map(Vec::from)
        }),
        Kdf::Kdf3(digest) => counted(digest, length, |counter| {
            [counter.as_slice(), secret, info].map(Vec::from)
        }),
        Kdf::X942(digest, at) => {
            let at = usize::from(*at);
            (at + 4 <= info.len()).then_some(())?;
            counted(digest, length, |counter| {
                let mut info = info.to_vec();
                info[at..at + 4].copy_from_slice(counter);
                [secret.to_vec(), info, Vec::new()]
            })
        }
    }
}

/// Hashes what `block` makes of the counters 1, 2, … until there are `length` bytes.
fn counted(
    digest: &str,
    length: usize,
    block: impl Fn(&[u8; 4]) -> [Vec<u8>; 3],
) -> Option<SecretBytes> {
    let mut key = zeroize::Zeroizing::new(Vec::with_capacity(length + 64));
    for counter in 1_u32.. {
        if key.len() >= length {
            break;
        }
        let pieces = zeroize::Zeroizing::new(block(&counter.to_be_bytes()));
        let pieces = pieces.iter().map(|piece| Ok::<_, ()>(piece.as_slice()));
        key.extend_from_slice(&digest::of(digest, pieces).ok()??);
    }
    key.truncate(length);
    Some(SecretBytes::new(key.to_vec()))
}

/// HKDF without salt: `length` bytes from `secret`.
fn hkdf(digest: &str, secret: &[u8], info: &[u8], length: usize) -> Option<SecretBytes> {
    let md = Md::from_nid(digest::named(digest)?.type_())?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Wrapped by Bouncy Castle 1.72. (The example in RFC 3217 has a key of 40 effective bits, which OpenSSL cannot do.)
    #[test]
    fn bouncy_castles_rc2_wrap_is_undone_only_whole() {
        let kek = [b'k'; 16];
        let wrapped =
            "c04aaeef8f79801a8db454b5a0ea293e35246dbdb0e8dc9a90e4fb6c9af59243573fcaacfd395ddb";
        let wrapped = data_encoding::HEXLOWER.decode(wrapped.as_bytes()).unwrap();
        let key = unwrap(KeyWrap::Rc2, &kek, &wrapped).unwrap();
        assert_eq!(key.expose().len(), 16);
        for at in 0..wrapped.len() {
            let mut changed = wrapped.clone();
            changed[at] ^= 1;
            assert!(unwrap(KeyWrap::Rc2, &kek, &changed).is_none(), "octet {at}");
        }
    }

    proptest! {
        #[test]
        fn any_wrapped_key_is_survived(wrapped in proptest::collection::vec(any::<u8>(), 0..80)) {
            for wrap in [KeyWrap::Rc2, KeyWrap::TripleDes, KeyWrap::Aes(16), KeyWrap::AesPadded(16), KeyWrap::Seed] {
                let kek = vec![7; usize::from(wrap.kek_bytes())];
                prop_assert!(unwrap(wrap, &kek, &wrapped).is_none());
            }
        }
    }
}
