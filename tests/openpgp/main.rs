//! OpenPGP from outside: against gpg, against the corpus of real mail, against hostile bytes.

mod agent;
mod corpus;
mod gpg;
mod hostile;
mod support;
