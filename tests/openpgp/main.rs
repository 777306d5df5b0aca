//! OpenPGP from outside: against gpg and sq, against the corpus of real mail, against hostile bytes.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod agent;
mod altered;
mod backups;
mod corpus;
mod gpg;
mod hostile;
mod intended;
mod keyboxd;
mod matrix;
mod old_keys;
mod rfc9580;
mod support;
