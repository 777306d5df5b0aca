//! Randomness: the kernel's, mixed with what the TPM gave at start.
//!
//! Fresh bytes are read with `getrandom`. Once [`stir`] has been called, the output is HKDF-SHA256(salt = the TPM's bytes,
//! ikm = 32 of the kernel's bytes), so it is good if either is. Each thread draws [`STOCK`] bytes at a time and hands them
//! out piece by piece, each wiped here as it goes: to draw for each of the dozen short values that a mail needs costs a
//! hundredth of all work on it.

use crate::secret::Key;
use hkdf::Hkdf;
use sha2::Sha256;
use std::cell::RefCell;
use std::sync::OnceLock;
use zeroize::{Zeroize, Zeroizing};

/// Bytes that a thread draws at once. RFC 5869 allows 255 × 32.
const STOCK: usize = 1024;

static STIRRED: OnceLock<Key> = OnceLock::new();

/// Mixes `entropy` (from `TPM2_GetRandom`) into all later output of this process. Later calls change nothing.
pub fn stir(entropy: &[u8; 32]) {
    let _ = STIRRED.set(Key::copy_from(entropy));
}

/// Fills `place` with random bytes.
///
/// # Panics
/// If the kernel gives no randomness: no key made without it may ever be used.
pub fn fill(place: &mut [u8]) {
    thread_local! {
        static KEPT: RefCell<Stock> = const { RefCell::new(Stock::EMPTY) };
    }
    KEPT.with_borrow_mut(|stock| stock.fill(place));
}

/// Random bytes that were not handed out yet: the last `left` ones.
struct Stock {
    bytes: [u8; STOCK],
    left: usize,
    stirred: bool,
}

impl Stock {
    const EMPTY: Self = Self {
        bytes: [0; STOCK],
        left: 0,
        stirred: false,
    };

    fn fill(&mut self, mut place: &mut [u8]) {
        while !place.is_empty() {
            // What was drawn before the TPM gave its part is not used after it.
            if self.left == 0 || self.stirred != STIRRED.get().is_some() {
                self.draw();
            }
            let taken = place.len().min(self.left);
            let start = STOCK - self.left;
            let (now, later) = place.split_at_mut(taken);
            let piece = &mut self.bytes[start..start + taken];
            now.copy_from_slice(piece);
            piece.zeroize();
            self.left -= taken;
            place = later;
        }
    }

    #[allow(clippy::expect_used)]
    fn draw(&mut self) {
        match STIRRED.get() {
            None => getrandom::fill(&mut self.bytes).expect(WORKS),
            Some(stirred) => {
                let mut fresh = Zeroizing::new([0; 32]);
                getrandom::fill(fresh.as_mut_slice()).expect(WORKS);
                Hkdf::<Sha256>::new(Some(stirred.expose()), fresh.as_slice())
                    .expand(b"strongroom random", &mut self.bytes)
                    .expect("HKDF gives so many bytes");
                self.stirred = true;
            }
        }
        self.left = STOCK;
    }
}

impl Drop for Stock {
    fn drop(&mut self) {
        self.bytes.zeroize();
    }
}

const WORKS: &str = "the kernel's random source works";

/// A random key, made in its final place.
#[must_use]
pub fn key() -> Key {
    Key::filled_by(|place| fill(place))
}

/// Random public bytes (ids, salts).
#[must_use]
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut out = [0; N];
    fill(&mut out);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// Whatever the lengths, no byte is handed out twice, or left out.
    #[test]
    fn no_piece_comes_again() {
        let mut stock = Stock::EMPTY;
        let mut seen = BTreeSet::new();
        for length in (16..=80).chain([STOCK - 1, STOCK, STOCK + 1, 3 * STOCK]) {
            let mut place = vec![0; length];
            stock.fill(&mut place);
            let (pieces, _) = place.as_chunks::<16>();
            assert!(pieces.iter().all(|piece| seen.insert(*piece)));
            assert!(
                stock.bytes[..STOCK - stock.left]
                    .iter()
                    .all(|byte| *byte == 0)
            );
        }
        assert!(!seen.contains(&[0; 16]));
    }

    #[test]
    fn what_was_drawn_before_the_tpm_gave_its_part_is_not_used_after_it() {
        let mut stock = Stock::EMPTY;
        stock.fill(&mut [0; 1]);
        let before = stock.bytes;
        stir(&[7; 32]);
        let mut place = [0; 64];
        stock.fill(&mut place);
        assert!(stock.stirred);
        assert!(before.windows(64).all(|window| window != place));
    }
}
