//! OpenPGP from outside: against gpg, against the corpus of real mail, against hostile bytes.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod agent;
mod corpus;
mod gpg;
mod hostile;
mod support;
