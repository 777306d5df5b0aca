//! What several integration tests need.

pub mod corpus;
pub mod gpg;
pub mod pgp;
