//! What several integration tests need.

pub mod gpg;
pub mod pgp;
pub mod sq;
