//! Passphrase protection in the agent's key files: `openpgp-s2k3-sha1-aes-cbc` and `openpgp-s2k3-ocb-aes`
//! (agent/keyformat.txt in GnuPG); for `openpgp-native` see [`super::native`].

use super::native;
use super::sexp::{Sexp, parse};
use crate::secret::SecretBytes;
use openssl::hash::{Hasher, MessageDigest, hash};
use openssl::symm::{Cipher, Crypter, Mode, decrypt_aead};
use zeroize::Zeroizing;

/// Most octets that are hashed for one key; the agent calibrates to a tenth of a second.
const MOST_HASHED: u64 = 1 << 30;
const TAG: usize = 16;

/// `(protected mode ((sha1 salt count) iv) ciphertext)`, taken apart.
struct Protected<'a> {
    mode: &'a [u8],
    salt: &'a [u8],
    count: u64,
    iv: &'a [u8],
    ciphertext: &'a [u8],
}

/// The parameter list with the secret numbers in the place of the `protected` list; `None` if the passphrase does not
/// fit or the protection is unknown.
pub(super) fn unprotected(numbers: &Sexp, passphrase: &SecretBytes) -> Option<Sexp> {
    let list = numbers.list("protected")?;
    if let [_, mode, key] = list.items()
        && mode.atom() == Some(b"openpgp-native")
    {
        return native::unprotected(key, passphrase).map(|secret| merged(numbers, &secret));
    }
    let protected = Protected::of(list)?;
    match protected.mode {
        b"openpgp-s2k3-sha1-aes-cbc" => {
            protected.opened_cbc(numbers, passphrase, Cipher::aes_128_cbc())
        }
        b"openpgp-s2k3-sha1-aes256-cbc" => {
            protected.opened_cbc(numbers, passphrase, Cipher::aes_256_cbc())
        }
        b"openpgp-s2k3-ocb-aes" => protected.opened_ocb(numbers, passphrase),
        _ => None,
    }
}

impl<'a> Protected<'a> {
    fn of(list: &'a Sexp) -> Option<Self> {
        let [_, mode, parameters, ciphertext] = list.items() else {
            return None;
        };
        let [s2k, iv] = parameters.items() else {
            return None;
        };
        let [digest, salt, count] = s2k.items() else {
            return None;
        };
        let count: u64 = std::str::from_utf8(count.atom()?).ok()?.parse().ok()?;
        // Early agents wrote the count in OpenPGP's one octet (RFC 9580 §3.7.1.3).
        let count = match count {
            0..=255 => (16 + (count & 15)) << ((count >> 4) + 6),
            plain => plain,
        };
        let salt = salt.atom().filter(|salt| salt.len() == 8)?;
        let known = digest.atom()? == b"sha1" && (1024..=MOST_HASHED).contains(&count);
        known.then_some(Self {
            mode: mode.atom()?,
            salt,
            count,
            iv: iv.atom()?,
            ciphertext: ciphertext.atom()?,
        })
    }

    /// Integrity is a SHA-1 over all numbers, secret ones included.
    fn opened_cbc(&self, numbers: &Sexp, passphrase: &SecretBytes, cipher: Cipher) -> Option<Sexp> {
        let key = self.key(passphrase, cipher.key_len())?;
        let size = self.ciphertext.len();
        (self.iv.len() == 16 && size > 0 && size.is_multiple_of(16)).then_some(())?;
        let mut crypter = Crypter::new(cipher, Mode::Decrypt, &key, Some(self.iv)).ok()?;
        crypter.pad(false);
        let mut plain = Zeroizing::new(vec![0; size + 16]);
        crypter.update(self.ciphertext, &mut plain).ok()?;
        let (secret, _) = parse(&plain)?;
        let whole = merged(numbers, secret.items().first()?);
        let mut canonical = Zeroizing::new(Vec::new());
        whole.write_canonical(&mut canonical);
        let stored = secret.list("hash")?.items().get(2)?.atom()?;
        let computed = hash(MessageDigest::sha1(), &canonical).ok()?;
        (stored.len() == computed.len() && openssl::memcmp::eq(stored, &computed)).then_some(whole)
    }

    /// The public numbers are authenticated data.
    fn opened_ocb(&self, numbers: &Sexp, passphrase: &SecretBytes) -> Option<Sexp> {
        let key = self.key(passphrase, 16)?;
        let mut public = Vec::new();
        merged(numbers, &Sexp::List(Vec::new())).write_canonical(&mut public);
        let (sealed, tag) = self
            .ciphertext
            .split_at_checked(self.ciphertext.len().checked_sub(TAG)?)?;
        (self.iv.len() == 12).then_some(())?;
        let cipher = Cipher::aes_128_ocb();
        let plain = decrypt_aead(cipher, &key, Some(self.iv), &public, sealed, tag).ok()?;
        let plain = Zeroizing::new(plain);
        let (secret, _) = parse(&plain)?;
        Some(merged(numbers, secret.items().first()?))
    }

    /// OpenPGP's iterated and salted S2K over SHA-1; a longer key takes further digests, with zeros before the data.
    fn key(&self, passphrase: &SecretBytes, size: usize) -> Option<Zeroizing<Vec<u8>>> {
        let round = Zeroizing::new([self.salt, passphrase.expose()].concat());
        let count = usize::try_from(self.count).ok()?.max(round.len());
        let chunk = Zeroizing::new(round.repeat((64_usize << 10).div_ceil(round.len())));
        let mut key = Zeroizing::new(Vec::new());
        for zeros in 0..size.div_ceil(20) {
            let mut hasher = Hasher::new(MessageDigest::sha1()).ok()?;
            hasher.update(&vec![0; zeros]).ok()?;
            let mut left = count;
            while left > 0 {
                let piece = &chunk[..left.min(chunk.len())];
                hasher.update(piece).ok()?;
                left -= piece.len();
            }
            key.extend_from_slice(&hasher.finish().ok()?);
        }
        key.truncate(size);
        Some(key)
    }
}

/// The parameter list with the elements of `secret` in the place of `(protected …)`.
fn merged(numbers: &Sexp, secret: &Sexp) -> Sexp {
    let mut items = Vec::new();
    for item in numbers.items() {
        if item.name() == Some(b"protected") {
            items.extend_from_slice(secret.items());
        } else {
            items.push(item.clone());
        }
    }
    Sexp::List(items)
}
