//! Splitting a 32-byte seed among officers: Shamir's scheme over GF(256), m of n.
//!
//! What is split is `seed[32] ‖ check[16]`, the check being an HKDF output of the seed. Too few or
//! wrong shares do not fail in Shamir's scheme, they yield other bytes; the check turns that into an error. A share
//! is known to be good before it counts by its salted digest, which the ceremony's transcript keeps.

use super::kdf::{Label, derive_bytes, framed};
use crate::id::Digest;
use crate::secret::{Key, SecretBytes};
use rand::{TryCryptoRng, TryRng};
use std::collections::BTreeSet;
use std::convert::Infallible;
use subtle::ConstantTimeEq;
use vsss_rs::Gf256;
use zeroize::Zeroizing;

const CHECK: usize = 16;
/// Length of a share's bytes: its number and one value for each byte of seed and check.
pub const SHARE: usize = 1 + 32 + CHECK;

/// Why shares were not dealt or put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ShareError {
    /// The numbers make no sense.
    #[error(
        "{required} of {number} shares cannot be dealt: at least 2, and no more than there are, must be required"
    )]
    BadNumbers {
        /// m.
        required: u8,
        /// n.
        number: u8,
    },
    /// Not the bytes of a share.
    #[error("not a share: {SHARE} bytes are expected, the first (its number) not 0")]
    NotAShare,
    /// The same share twice.
    #[error("share {0} was given twice")]
    Twice(u8),
    /// The bytes that came out are not a seed with its check.
    #[error("the shares do not fit together: too few, altered, or of different dealings")]
    WrongSeed,
}

/// One officer's share. Secret: m of them are the key.
pub struct Share(SecretBytes);

impl Share {
    /// Takes the bytes of a share.
    pub fn from_bytes(bytes: SecretBytes) -> Result<Self, ShareError> {
        match bytes.expose() {
            [number, ..] if bytes.expose().len() == SHARE && *number != 0 => Ok(Self(bytes)),
            _ => Err(ShareError::NotAShare),
        }
    }

    /// `number[1] ‖ values[48]`, to be sealed to an officer.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        self.0.expose()
    }

    /// The share's number, from 1.
    #[must_use]
    pub fn number(&self) -> u8 {
        self.expose().first().copied().unwrap_or(0)
    }

    /// SHA-256(frame("strongroom share") ‖ frame(salt) ‖ frame(share)): public, and says nothing of the share.
    #[must_use]
    pub fn salted_digest(&self, salt: &[u8; 16]) -> Digest {
        let parts: [&[u8]; 3] = [b"strongroom share", salt, self.expose()];
        let text: Zeroizing<Vec<u8>> = Zeroizing::new(parts.into_iter().flat_map(framed).collect());
        Digest::of(&text)
    }
}

impl std::fmt::Debug for Share {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Share({})", self.number())
    }
}

/// Deals `number` shares of `seed`, any `required` of which give it back.
pub fn split(seed: &Key, required: u8, number: u8) -> Result<Vec<Share>, ShareError> {
    let bad = ShareError::BadNumbers { required, number };
    let mut secret = Zeroizing::new([0u8; 32 + CHECK]);
    secret[..32].copy_from_slice(seed.expose());
    secret[32..].copy_from_slice(&check_of(seed));
    Gf256::split_array(
        usize::from(required),
        usize::from(number),
        secret.as_slice(),
        OurRandom,
    )
    .map_err(|_| bad)?
    .into_iter()
    .map(|bytes| Share::from_bytes(SecretBytes::new(bytes)))
    .collect()
}

/// Puts shares together. Any number from m on will do; a single wrong one makes it fail.
pub fn combine(shares: &[&Share]) -> Result<Key, ShareError> {
    let mut seen = BTreeSet::new();
    if let Some(twice) = shares.iter().find(|share| !seen.insert(share.number())) {
        return Err(ShareError::Twice(twice.number()));
    }
    let copies: Zeroizing<Vec<Vec<u8>>> =
        Zeroizing::new(shares.iter().map(|share| share.expose().to_vec()).collect());
    let secret = Gf256::combine_array(&*copies)
        .map(Zeroizing::new)
        .map_err(|_| ShareError::WrongSeed)?;
    let (seed, check) = secret.split_at_checked(32).ok_or(ShareError::WrongSeed)?;
    let seed = Key::from_slice(seed).ok_or(ShareError::WrongSeed)?;
    if bool::from(check_of(&seed).ct_eq(check)) {
        Ok(seed)
    } else {
        Err(ShareError::WrongSeed)
    }
}

fn check_of(seed: &Key) -> [u8; CHECK] {
    derive_bytes(seed, Label::ShareCheck, &[])
}

/// [`super::random`] as the generator that `vsss-rs` wants.
struct OurRandom;

impl TryRng for OurRandom {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(u32::from_ne_bytes(super::random::bytes()))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(u64::from_ne_bytes(super::random::bytes()))
    }

    fn try_fill_bytes(&mut self, place: &mut [u8]) -> Result<(), Infallible> {
        super::random::fill(place);
        Ok(())
    }
}

impl TryCryptoRng for OurRandom {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn chosen(shares: &[Share], mask: u32) -> Vec<&Share> {
        shares
            .iter()
            .enumerate()
            .filter(|(i, _)| mask & (1 << i) != 0)
            .map(|(_, share)| share)
            .collect()
    }

    #[test]
    fn every_subset_of_m_and_more_gives_the_seed_and_no_smaller_one() {
        let seed = crate::crypto::random::key();
        for (required, number) in [(2, 3), (3, 5), (4, 5)] {
            let shares = split(&seed, required, number).expect("dealt");
            for mask in 1u32..1 << number {
                let result = combine(&chosen(&shares, mask));
                if mask.count_ones() >= u32::from(required) {
                    assert_eq!(result.expect("enough shares").expose(), seed.expose());
                } else {
                    assert_eq!(result.expect_err("too few"), ShareError::WrongSeed);
                }
            }
        }
    }

    #[test]
    fn a_share_given_twice_counts_for_nothing() {
        let shares = split(&crate::crypto::random::key(), 2, 3).expect("dealt");
        assert_eq!(
            combine(&[&shares[1], &shares[1]]).expect_err("one officer twice"),
            ShareError::Twice(2)
        );
    }

    #[test]
    fn senseless_numbers_are_refused() {
        let seed = crate::crypto::random::key();
        for (required, number) in [(0, 3), (1, 3), (4, 3), (2, 0)] {
            assert_eq!(
                split(&seed, required, number).expect_err("refused"),
                ShareError::BadNumbers { required, number }
            );
        }
    }

    proptest! {
        #[test]
        fn an_altered_share_is_noticed(at in 1usize..SHARE, flip in 1u8.., which in 0usize..3) {
            let shares = split(&crate::crypto::random::key(), 3, 5).expect("dealt");
            let mut bytes = shares[which].expose().to_vec();
            bytes[at] ^= flip;
            let altered = Share::from_bytes(SecretBytes::new(bytes)).expect("still a share by its form");
            prop_assert_ne!(altered.salted_digest(&[7; 16]), shares[which].salted_digest(&[7; 16]));
            let mut three: Vec<&Share> = shares[..3].iter().collect();
            three[which] = &altered;
            prop_assert_eq!(combine(&three).expect_err("altered"), ShareError::WrongSeed);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            if let Ok(share) = Share::from_bytes(SecretBytes::new(bytes)) {
                let _ = combine(&[&share]);
            }
        }
    }
}
