//! S/MIME from outside: every combination that openssl and gpgsm can write, opened and compared; what they cannot
//! write, put together from the RFCs; and the reverse, what we encrypt, opened by them.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod built;
mod detached_files;
mod gpgsm;
mod key_files;
mod limits;
mod names;
mod odd_places;
mod openssl_encrypted;
mod openssl_signed;
mod other_writers;
mod released;
mod revocation;
mod support;
mod tricks;
mod vendored;
