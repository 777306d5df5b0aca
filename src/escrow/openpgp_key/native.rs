//! `openpgp-native` protection in the agent's key files (agent/keyformat.txt in GnuPG): a secret key that was imported
//! without its passphrase at hand, still encrypted as in its OpenPGP packet (RFC 9580 §5.5.3), or in the clear as there.

use super::private::take_mpi;
use super::sexp::Sexp;
use crate::secret::SecretBytes;
use pgp::crypto::sym::SymmetricKeyAlgorithm as Cipher;
use pgp::types::StringToKey;
use zeroize::Zeroizing;

/// `(protection type cipher iv mode digest salt count)` and what it protects.
struct Native<'a> {
    /// Whether a SHA-1 stands behind the numbers, or else their 16-bit sum.
    digested: bool,
    cipher: Cipher,
    iv: &'a [u8],
    /// As OpenPGP writes it.
    s2k: Vec<u8>,
    sealed: &'a [u8],
}

/// The secret numbers in an `(openpgp-private-key …)`; `None` if the passphrase does not fit.
pub(super) fn unprotected(key: &Sexp, passphrase: &SecretBytes) -> Option<Sexp> {
    let names = secret_numbers(key.value("algo")?)?;
    if key.value("protection")? == b"none" {
        // A flag before each number, the public ones first.
        let all = key.list("skey")?.items();
        let secret = all.get(all.len().checked_sub(2 * names.len())?..)?;
        let mut numbers = secret.iter().skip(1).step_by(2);
        return named(names, || numbers.next()?.atom());
    }
    let plain = Native::of(key)?.opened(passphrase)?;
    let mut rest: &[u8] = &plain;
    named(names, || take_mpi(&mut rest))
}

/// The list of these numbers, each with its name.
fn named<'n>(names: &[&str], mut next: impl FnMut() -> Option<&'n [u8]>) -> Option<Sexp> {
    let atom = |bytes: &[u8]| Sexp::Atom(Zeroizing::new(bytes.to_vec()));
    let pairs = names
        .iter()
        .map(|name| Some(Sexp::List(vec![atom(name.as_bytes()), atom(next()?)])));
    pairs.collect::<Option<_>>().map(Sexp::List)
}

impl<'a> Native<'a> {
    fn of(key: &'a Sexp) -> Option<Self> {
        matches!(key.value("version")?, b"4" | b"5").then_some(())?;
        let protection = key.list("protection")?.items();
        let [_, kind, cipher, iv, mode, digest, salt, count] = protection else {
            return None;
        };
        let number = |item: &Sexp| std::str::from_utf8(item.atom()?).ok()?.parse::<u8>().ok();
        let mode = number(mode)?;
        let mut s2k = vec![mode, digest_number(digest.atom()?)?];
        if mode != 0 {
            s2k.extend_from_slice(salt.atom().filter(|salt| salt.len() == 8)?);
        }
        if mode == 3 {
            s2k.push(number(count)?);
        }
        let cipher = cipher_of(cipher.atom()?)?;
        let iv = iv.atom()?;
        // A flag before each number: only the last is encrypted.
        let [.., flag, sealed] = key.list("skey")?.items() else {
            return None;
        };
        let usable = matches!(mode, 0 | 1 | 3) && iv.len() == cipher.block_size();
        (usable && flag.atom()? == b"e").then_some(Self {
            digested: match kind.atom()? {
                b"sha1" => true,
                b"sum" => false,
                _ => return None,
            },
            cipher,
            iv,
            s2k,
            sealed: sealed.atom()?,
        })
    }

    /// The secret numbers' octets, if what stands behind them fits.
    fn opened(&self, passphrase: &SecretBytes) -> Option<Zeroizing<Vec<u8>>> {
        let s2k = StringToKey::try_from_reader(&mut self.s2k.as_slice()).ok()?;
        let key = s2k.derive_key(passphrase.expose(), self.cipher.key_size());
        let mut plain = Zeroizing::new(self.sealed.to_vec());
        self.cipher
            .decrypt_with_iv_regular(key.ok()?.as_ref(), self.iv, &mut plain)
            .ok()?;
        let end = plain
            .len()
            .checked_sub(if self.digested { 20 } else { 2 })?;
        let (numbers, check) = plain.split_at(end);
        let intact = if self.digested {
            openssl::memcmp::eq(&openssl::sha::sha1(numbers), check)
        } else {
            let sum = numbers.iter().map(|b| u16::from(*b));
            sum.fold(0, u16::wrapping_add).to_be_bytes() == *check
        };
        plain.truncate(end);
        intact.then_some(plain)
    }
}

/// The names of the secret numbers, in their order.
fn secret_numbers(algorithm: &[u8]) -> Option<&'static [&'static str]> {
    Some(match algorithm.to_ascii_lowercase().as_slice() {
        b"rsa" | b"openpgp-rsa" => &["d", "p", "q", "u"],
        b"elg" | b"elg-e" | b"elgamal" | b"dsa" => &["x"],
        b"ecc" | b"ecdh" | b"ecdsa" | b"eddsa" => &["d"],
        _ => return None,
    })
}

/// Libgcrypt's names of ciphers.
fn cipher_of(name: &[u8]) -> Option<Cipher> {
    Some(match name.to_ascii_lowercase().as_slice() {
        b"idea" => Cipher::IDEA,
        b"3des" => Cipher::TripleDES,
        b"cast5" => Cipher::CAST5,
        b"blowfish" => Cipher::Blowfish,
        b"aes" | b"aes128" => Cipher::AES128,
        b"aes192" => Cipher::AES192,
        b"aes256" => Cipher::AES256,
        b"twofish" => Cipher::Twofish,
        b"camellia128" => Cipher::Camellia128,
        b"camellia192" => Cipher::Camellia192,
        b"camellia256" => Cipher::Camellia256,
        _ => return None,
    })
}

/// Libgcrypt's names of digests, as OpenPGP's numbers.
fn digest_number(name: &[u8]) -> Option<u8> {
    Some(match name.to_ascii_lowercase().as_slice() {
        b"md5" => 1,
        b"sha1" => 2,
        b"ripemd160" | b"rmd160" => 3,
        b"sha256" => 8,
        b"sha384" => 9,
        b"sha512" => 10,
        b"sha224" => 11,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::super::sexp::parse;
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_key_is_survived(
            parts in proptest::collection::vec("\\((version|algo|skey|csum|protection)( (3|4|rsa|ecc|_|e|sum|none|sha1|aes|idea|255|[#]00112233445566778899AABBCCDDEEFF[#]|[#]0011223344556677[#])){0,8}\\)", 0..6),
        ) {
            let text = format!("(openpgp-private-key {})", parts.concat());
            if let Some((key, _)) = parse(text.as_bytes()) {
                let _ = unprotected(&key, &SecretBytes::new(b"x".to_vec()));
            }
        }

        #[test]
        fn any_cipher_and_digest_is_survived(
            cipher in "(idea|3des|cast5|blowfish|aes|aes192|aes256|twofish|camellia256)",
            digest in "(md5|sha1|rmd160|sha256|sha512)",
            mode in 0u8..5,
            sealed in proptest::collection::vec(any::<u8>(), 0..60),
        ) {
            for iv in ["0011223344556677", "00112233445566778899AABBCCDDEEFF"] {
                let sealed = data_encoding::HEXUPPER.encode(&sealed);
                let text = format!(
                    "(k (version 4)(algo rsa)(skey _ #01# e #{sealed}#)(protection sum {cipher} #{iv}# \"{mode}\" {digest} #0011223344556677# \"1\"))"
                );
                if let Some((key, _)) = parse(text.as_bytes()) {
                    let _ = unprotected(&key, &SecretBytes::new(b"x".to_vec()));
                }
            }
        }
    }
}
