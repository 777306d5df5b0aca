//! Private-key operations of OpenPGP keys: one wrapped session key undone.
//!
//! RSA goes straight to OpenSSL with the CRT parameters, which Sequoia leaves out (six times slower), and
//! ElGamal is done here because Sequoia no longer does it. All else is Sequoia's.

use super::ecdh::Ecdh;
use super::kyber::Kyber;
use super::ring::RingPacket;
use crate::mail::openpgp::packets::tag;
use crate::secret::SecretBytes;
use openpgp::crypto::{SessionKey, mpi};
use openpgp::packet::key::{Key, PublicParts, SecretParts, UnspecifiedRole};
use openpgp::packet::{PKESK, Packet, pkesk::PKESK3, pkesk::PKESK6};
use openpgp::serialize::MarshalInto;
use openpgp::types::SymmetricAlgorithm;
use openssl::bn::{BigNum, BigNumContext};
use openssl::error::ErrorStack;
use openssl::pkey::Private;
use openssl::rsa::{Padding, Rsa};
use sequoia_openpgp as openpgp;

/// The largest packet body that is looked at: an RSA-16384 or ML-KEM wrap is far below.
const MOST_BYTES: usize = 16 << 10;

/// An unlocked private key that can decrypt.
pub(super) enum Decrypting {
    /// With CRT parameters.
    Rsa(Rsa<Private>),
    /// Modulus, generator, public value, secret exponent.
    ElGamal {
        p: BigNum,
        g: BigNum,
        y: BigNum,
        x: SecretBytes,
    },
    /// ECDH.
    Ecdh(Ecdh),
    /// GnuPG's composite of ML-KEM and a curve.
    Kyber(Box<Kyber>),
    /// X25519, X448 and the ML-KEM composites of RFC 9980.
    Sequoia(Box<Key<SecretParts, UnspecifiedRole>>),
}

/// A session key, and its cipher where the wrap names it.
pub(super) type Unwrapped = (SecretBytes, Option<u8>);

impl Decrypting {
    /// From an unlocked key; `None` if its algorithm cannot decrypt.
    pub(super) fn new(key: &Key<SecretParts, UnspecifiedRole>) -> Option<Self> {
        let openpgp::packet::key::SecretKeyMaterial::Unencrypted(secret) = key.secret() else {
            return None;
        };
        secret.map(|secret| match (key.mpis(), secret) {
            (mpi::PublicKey::RSA { e, n }, mpi::SecretKeyMaterial::RSA { d, p, q, u }) => rsa([
                n.value(),
                e.value(),
                d.value(),
                p.value(),
                q.value(),
                u.value(),
            ])
            .ok()
            .map(Self::Rsa),
            (mpi::PublicKey::ElGamal { p, g, y }, mpi::SecretKeyMaterial::ElGamal { x }) => {
                elgamal_key(p.value(), g.value(), y.value(), x.value())
            }
            (
                mpi::PublicKey::ECDH {
                    curve,
                    q,
                    hash,
                    sym,
                },
                mpi::SecretKeyMaterial::ECDH { scalar },
            ) => {
                let fingerprint = key.fingerprint();
                let kdf = (u8::from(*hash), u8::from(*sym));
                let (public, scalar) = (q.value(), scalar.value());
                Ecdh::new(curve.oid(), public, scalar, kdf, fingerprint.as_bytes()).map(Self::Ecdh)
            }
            _ => key
                .pk_algo()
                .for_encryption()
                .then(|| Self::Sequoia(Box::new(key.clone()))),
        })
    }

    /// Undoes the wrap in a PKESK's body (RFC 9580 §5.1).
    pub(super) fn unwrap(&self, body: &[u8], cipher_inside: bool) -> Option<Unwrapped> {
        if body.len() > MOST_BYTES {
            return None;
        }
        match self {
            Self::Rsa(key) => {
                let [c] = wrapped_numbers(body)?;
                let mut block = vec![0; key.size() as usize];
                let padded = left_padded(c, block.len())?;
                let size = key
                    .private_decrypt(&padded, &mut block, Padding::PKCS1)
                    .ok()?;
                block.truncate(size);
                session_key(SecretBytes::new(block), cipher_inside)
            }
            Self::ElGamal { p, x, .. } => {
                let [c1, c2] = wrapped_numbers(body)?;
                session_key(elgamal(p, x, c1, c2).ok()??, cipher_inside)
            }
            Self::Ecdh(key) => session_key(key.unwrap(body)?, cipher_inside),
            Self::Kyber(key) => key.unwrap(body),
            Self::Sequoia(key) => {
                let mut body = body.to_vec();
                if let Some(version @ 2) = body.first_mut() {
                    *version = 3;
                }
                let packet = RingPacket::new(tag::PKESK, body).parsed()?;
                let Packet::PKESK(pkesk) = packet else {
                    return None;
                };
                let mut pair = key.as_ref().clone().into_keypair().ok()?;
                let (cipher, key) = pkesk.decrypt(&mut pair, None)?;
                (cipher.is_some() == cipher_inside).then_some(())?;
                Some((SecretBytes::new(key.to_vec()), cipher.map(u8::from)))
            }
        }
    }

    /// Whether the private half really belongs to the public one.
    pub(super) fn proves_possession(&self) -> bool {
        match self {
            Self::Rsa(key) => rsa_proof(key).unwrap_or(false),
            Self::Ecdh(key) => key.proves_possession(),
            Self::Kyber(key) => key.proves_possession(),
            Self::ElGamal { p, g, y, x } => elgamal_proof(p, g, y, x).unwrap_or(false),
            Self::Sequoia(key) => self
                .opens_a_test_wrap(&key.as_ref().clone().take_secret().0)
                .unwrap_or(false),
        }
    }

    fn opens_a_test_wrap(&self, public: &Key<PublicParts, UnspecifiedRole>) -> Option<bool> {
        let sent = SessionKey::new(32).ok()?;
        // The larger composite is only for version 6 wraps, which do not name the cipher.
        let cipher_inside = public.version() < 6;
        let wrap: PKESK = if cipher_inside {
            PKESK3::for_recipient(SymmetricAlgorithm::AES256, &sent, public)
                .ok()?
                .into()
        } else {
            PKESK6::for_recipient(&sent, public).ok()?.into()
        };
        let (got, _) = self.unwrap(&wrap.to_vec().ok()?, cipher_inside)?;
        Some(openssl::memcmp::eq(got.expose(), &sent))
    }
}

/// An ElGamal key from its numbers.
pub(super) fn elgamal_key(p: &[u8], g: &[u8], y: &[u8], x: &[u8]) -> Option<Decrypting> {
    Some(Decrypting::ElGamal {
        p: BigNum::from_slice(p).ok()?,
        g: BigNum::from_slice(g).ok()?,
        y: BigNum::from_slice(y).ok()?,
        x: SecretBytes::new(x.to_vec()),
    })
}

/// An OpenSSL key from OpenPGP's n, e, d, p, q, u = p⁻¹ mod q. PKCS#1 has the primes the other way round.
pub(super) fn rsa([n, e, d, p, q, u]: [&[u8]; 6]) -> Result<Rsa<Private>, ErrorStack> {
    let number = BigNum::from_slice;
    let (d, first, second) = (number(d)?, number(q)?, number(p)?);
    let mut ctx = BigNumContext::new_secure()?;
    let mut exponent = |prime: &BigNum| {
        let (mut less, mut exponent) = (BigNum::new_secure()?, BigNum::new_secure()?);
        less.checked_sub(prime, &*BigNum::from_u32(1)?)?;
        exponent.nnmod(&d, &less, &mut ctx)?;
        Ok::<_, ErrorStack>(exponent)
    };
    let (e1, e2) = (exponent(&first)?, exponent(&second)?);
    Rsa::from_private_components(number(n)?, number(e)?, d, first, second, e1, e2, number(u)?)
}

fn rsa_proof(key: &Rsa<Private>) -> Result<bool, ErrorStack> {
    let public = Rsa::from_public_components(key.n().to_owned()?, key.e().to_owned()?)?;
    let (test, mut sealed, mut opened) = (
        b"proof of possession",
        vec![0; public.size() as usize],
        vec![0; key.size() as usize],
    );
    let sealed_size = public.public_encrypt(test, &mut sealed, Padding::PKCS1)?;
    let size = key.private_decrypt(&sealed[..sealed_size], &mut opened, Padding::PKCS1)?;
    Ok(opened[..size] == test[..])
}

fn elgamal_proof(p: &BigNum, g: &BigNum, y: &BigNum, x: &SecretBytes) -> Result<bool, ErrorStack> {
    let mut ctx = BigNumContext::new_secure()?;
    let mut computed = BigNum::new()?;
    computed.mod_exp(g, &*secret_number(x)?, p, &mut ctx)?;
    Ok(computed == *y)
}

/// c2 · c1⁻ˣ mod p, then EME-PKCS1-v1_5 undone.
fn elgamal(
    p: &BigNum,
    x: &SecretBytes,
    c1: &[u8],
    c2: &[u8],
) -> Result<Option<SecretBytes>, ErrorStack> {
    let mut ctx = BigNumContext::new_secure()?;
    let (mut shared, mut inverse, mut block) = (
        BigNum::new_secure()?,
        BigNum::new_secure()?,
        BigNum::new_secure()?,
    );
    shared.mod_exp(&*BigNum::from_slice(c1)?, &*secret_number(x)?, p, &mut ctx)?;
    inverse.mod_inverse(&shared, p, &mut ctx)?;
    block.mod_mul(&*BigNum::from_slice(c2)?, &inverse, p, &mut ctx)?;
    let bytes = SecretBytes::new(block.to_vec_padded(p.num_bytes())?);
    let [0, 2, padded @ ..] = bytes.expose() else {
        return Ok(None);
    };
    let end = padded.iter().position(|b| *b == 0).filter(|end| *end >= 8);
    Ok(end.map(|end| SecretBytes::new(padded[end + 1..].to_vec())))
}

fn secret_number(bytes: &SecretBytes) -> Result<BigNum, ErrorStack> {
    let mut number = BigNum::from_slice(bytes.expose())?;
    number.set_const_time();
    Ok(number)
}

/// The MPIs of an RSA or ElGamal PKESK.
fn wrapped_numbers<const N: usize>(body: &[u8]) -> Option<[&[u8]; N]> {
    let mut rest = wrapped_fields(body)?;
    let mut numbers = [&[][..]; N];
    for number in &mut numbers {
        *number = take_mpi(&mut rest)?;
    }
    Some(numbers)
}

/// The public-key algorithm of a PKESK.
pub(super) fn wrap_algorithm(body: &[u8]) -> Option<u8> {
    let after = body.len().checked_sub(wrapped_fields(body)?.len() + 1)?;
    body.get(after).copied()
}

/// What a PKESK has after version, recipient and algorithm.
pub(super) fn wrapped_fields(body: &[u8]) -> Option<&[u8]> {
    let fixed = match body.first()? {
        2 | 3 => 10,
        6 => 3 + usize::from(*body.get(1)?),
        _ => return None,
    };
    body.get(fixed..)
}

/// Takes a multiprecision integer (RFC 9580 §3.2) off the front.
pub(super) fn take_mpi<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let bits = usize::from(u16::from_be_bytes([*rest.first()?, *rest.get(1)?]));
    let number = rest.get(2..2 + bits.div_ceil(8))?;
    *rest = &rest[2 + number.len()..];
    Some(number)
}

fn left_padded(number: &[u8], size: usize) -> Option<Vec<u8>> {
    let mut padded = vec![0; size.checked_sub(number.len())?];
    padded.extend_from_slice(number);
    Some(padded)
}

/// `[cipher] key checksum`, the checksum being the sum of the key's octets.
fn session_key(block: SecretBytes, cipher_inside: bool) -> Option<Unwrapped> {
    let block = block.expose();
    let (cipher, rest) = if cipher_inside {
        (Some(*block.first()?), &block[1..])
    } else {
        (None, block)
    };
    let (key, checksum) = rest.split_at(rest.len().checked_sub(2)?);
    let sum = key
        .iter()
        .fold(0_u16, |sum, b| sum.wrapping_add(u16::from(*b)));
    (sum.to_be_bytes() == *checksum).then(|| (SecretBytes::new(key.to_vec()), cipher))
}
