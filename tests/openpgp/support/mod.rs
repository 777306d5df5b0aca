//! What several integration tests need.

pub mod gpg;
pub mod old_keys;
pub mod pgp;
pub mod sq;
