//! Keys of versions 2, 3 (PGP 2) and 5 (LibrePGP, GnuPG 2.3 and later), and what they sign. Sequoia knows none of them:
//! the packets are taken apart and hashed here, its arithmetic checks the digests.

mod certificate;
mod key;
mod packet;

pub use certificate::{Certificate, certificates};
pub use key::PublicKey;
pub use packet::SignaturePacket;

/// A key that a signature may be of, with its certificate and who vouches for it.
#[derive(Debug, Clone, Copy)]
pub struct Candidate<'a> {
    /// The certificate the key is in.
    pub cert: &'a Certificate,
    /// The primary key or a subkey of it.
    pub key: &'a PublicKey,
    /// See [`super::certs::Known::source`].
    pub source: &'a str,
}
