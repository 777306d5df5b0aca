//! DSA signatures (FIPS 186-4 §4.7) of every size: OpenSSL takes subgroups of 160, 224 and 256 bits and moduli up to
//! 10,000 bits, but GnuPG users made larger ones. Only public numbers are handled.

use openssl::bn::{BigNum, BigNumContext, BigNumRef};
use openssl::error::ErrorStack;

/// Largest modulus in octets: one check of such a signature stays under half a second.
const MOST_BYTES: usize = 2048;

/// Whether the signature `r`, `s` over a digest is by the key `p`, `q`, `g`, `y`.
#[must_use]
pub fn verifies(key: [&[u8]; 4], signature: [&[u8]; 2], digest: &[u8]) -> bool {
    let bounded = key
        .iter()
        .chain(&signature)
        .all(|number| number.len() <= MOST_BYTES);
    bounded && check(key, signature, digest).unwrap_or(false)
}

fn check(key: [&[u8]; 4], [r, s]: [&[u8]; 2], digest: &[u8]) -> Result<bool, ErrorStack> {
    let number = BigNum::from_slice;
    let ([p, q, g, y], r, s) = (key, number(r)?, number(s)?);
    let (p, q, g, y) = (number(p)?, number(q)?, number(g)?, number(y)?);
    let within = |n: &BigNumRef, end: &BigNumRef| n.num_bits() > 0 && *n < *end;
    if !within(&r, &q) || !within(&s, &q) || !within(&g, &p) || !within(&y, &p) || !p.is_odd() {
        return Ok(false);
    }
    let mut ctx = BigNumContext::new()?;
    let mut inverse = BigNum::new()?;
    inverse.mod_inverse(&s, &q, &mut ctx)?;
    let (mut u1, mut u2) = (BigNum::new()?, BigNum::new()?);
    u1.mod_mul(&*leftmost(digest, &q)?, &inverse, &q, &mut ctx)?;
    u2.mod_mul(&r, &inverse, &q, &mut ctx)?;
    let (mut first, mut second) = (BigNum::new()?, BigNum::new()?);
    first.mod_exp(&g, &u1, &p, &mut ctx)?;
    second.mod_exp(&y, &u2, &p, &mut ctx)?;
    let (mut product, mut v) = (BigNum::new()?, BigNum::new()?);
    product.mod_mul(&first, &second, &p, &mut ctx)?;
    v.nnmod(&product, &q, &mut ctx)?;
    Ok(v == r)
}

/// As many of the digest's leftmost bits as `q` has.
fn leftmost(digest: &[u8], q: &BigNumRef) -> Result<BigNum, ErrorStack> {
    let number = BigNum::from_slice(digest)?;
    let size = i32::try_from(digest.len() * 8).unwrap_or(i32::MAX);
    let excess = size - q.num_bits();
    if excess <= 0 {
        return Ok(number);
    }
    let mut shifted = BigNum::new()?;
    shifted.rshift(&number, excess)?;
    Ok(shifted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use openssl::dsa::Dsa;
    use openssl::hash::{MessageDigest, hash};
    use openssl::pkey::PKey;
    use openssl::sign::Signer;

    #[test]
    fn agrees_with_openssl() {
        let dsa = Dsa::generate(1024).unwrap();
        let numbers = [dsa.p(), dsa.q(), dsa.g(), dsa.pub_key()].map(|n| n.to_vec());
        let key = numbers.each_ref().map(Vec::as_slice);
        let private = PKey::from_dsa(dsa).unwrap();
        let mut signer = Signer::new(MessageDigest::sha256(), &private).unwrap();
        let signature = signer.sign_oneshot_to_vec(b"text").unwrap();
        let signature = openssl::dsa::DsaSig::from_der(&signature).unwrap();
        let (r, s) = (signature.r().to_vec(), signature.s().to_vec());
        let digest = hash(MessageDigest::sha256(), b"text").unwrap();
        assert!(verifies(key, [&r, &s], &digest));
        assert!(!verifies(key, [&s, &r], &digest));
        assert!(!verifies(key, [&r, &s], b"other"));
        assert!(!verifies(key, [&[], &s], &digest));
        assert!(!verifies([&[], &[], &[], &[]], [&r, &s], &digest));
    }
}
