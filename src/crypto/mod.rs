//! The archive's own cryptography: named constructions from reviewed crates, nothing invented.

pub mod hpke;
pub mod kdf;
pub mod merkle;
pub mod note;
pub mod random;
pub mod shares;
pub mod sign;
pub mod stream;
pub mod wrap;
