//! The encrypted containers: SEIPDv1 (CFB and MDC), SEIPDv2 (AEAD, RFC 9580), GnuPG's OCB packet (type 20)
//! and SED without any integrity protection.
//!
//! The block ciphers come from rPGP here: it has all of them, old ones included, in memory-safe code.
//! Nothing leaves this module before the integrity check of its container has passed (EFAIL).

use super::aead::{Chunks, Header};
use super::packets::tag;
use crate::mail::model::Integrity;
use pgp::crypto::{aead::AeadAlgorithm, sym::SymmetricKeyAlgorithm as Cipher};

/// An encrypted container: the packet's type and body, its fixed fields read.
#[derive(Debug)]
pub struct Container {
    kind: Kind,
    body: Vec<u8>,
    /// Where the ciphertext starts in `body`.
    start: usize,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Sed,
    SeipdV1,
    Aead(Header),
}

/// Why a container does not open with a session key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotOpened {
    /// The session key is not this message's (or the first block is damaged).
    #[error("the session key does not fit")]
    WrongKey,
    /// The plaintext was altered; nothing of it is given out.
    #[error("integrity check failed: the encrypted message was altered or cut off")]
    Broken,
    /// Not an algorithm that is known here.
    #[error("unsupported: {0}")]
    Unsupported(String),
}

impl Container {
    /// Reads the fixed fields of a container's body.
    pub fn new(packet_tag: u8, body: Vec<u8>) -> Result<Self, NotOpened> {
        let octet = |at: usize| body.get(at).copied().ok_or(NotOpened::Broken);
        let gnupg = packet_tag == tag::GNUPG_AEAD;
        let (kind, start) = match (packet_tag, octet(0)?) {
            (tag::SED, _) => (Kind::Sed, 0),
            (tag::SEIPD, 1) => (Kind::SeipdV1, 1),
            (tag::SEIPD, 2) | (tag::GNUPG_AEAD, 1) => {
                let (cipher, mode) = (Cipher::from(octet(1)?), AeadAlgorithm::from(octet(2)?));
                let header = Header {
                    cipher,
                    mode,
                    exponent: octet(3)?,
                    gnupg,
                };
                if !header.is_supported() {
                    let names = [cipher_name(cipher.into()), aead_name(mode)];
                    return Err(NotOpened::Unsupported(names.join(" with ")));
                }
                (
                    Kind::Aead(header),
                    4 + if gnupg { mode.iv_size() } else { 32 },
                )
            }
            (_, version) => {
                let what = format!("version {version} of packet {packet_tag}");
                return Err(NotOpened::Unsupported(what));
            }
        };
        octet(start)?;
        Ok(Self { kind, body, start })
    }

    /// Bytes of its packet's body.
    #[must_use]
    pub const fn size(&self) -> usize {
        self.body.len()
    }

    /// Whether the cipher is named inside the wrapped session key (all but SEIPDv2).
    #[must_use]
    pub fn cipher_inside(&self) -> bool {
        !matches!(self.kind, Kind::Aead(Header { gnupg: false, .. }))
    }

    /// What an intact container says of its plaintext.
    #[must_use]
    pub fn integrity(&self) -> Integrity {
        match self.kind {
            Kind::Sed => Integrity::Unauthenticated,
            _ => Integrity::Authenticated,
        }
    }

    /// The container's names for the layer: `SEIPDv1`, or with AEAD cipher and mode as well.
    #[must_use]
    pub fn algorithms(&self) -> Vec<String> {
        match self.kind {
            Kind::Sed => vec!["SED".to_owned()],
            Kind::SeipdV1 => vec!["SEIPDv1".to_owned()],
            Kind::Aead(Header {
                cipher,
                mode,
                gnupg,
                ..
            }) => {
                let container = if gnupg { "GnuPG-AEAD" } else { "SEIPDv2" };
                vec![
                    container.to_owned(),
                    cipher_name(cipher.into()),
                    aead_name(mode),
                ]
            }
        }
    }

    /// Decrypts with a session key; `cipher` is its algorithm where the container does not name it.
    pub fn decrypt(&self, key: &[u8], cipher: Option<u8>) -> Result<Vec<u8>, NotOpened> {
        let (fixed, data) = self.body.split_at(self.start);
        match self.kind {
            Kind::Sed => decrypt_sed(key, named(cipher)?, data),
            Kind::SeipdV1 => decrypt_seipd_v1(key, named(cipher)?, data),
            Kind::Aead(header) => {
                check_key(key, header.cipher)?;
                let chunks = if header.gnupg {
                    Some(Chunks::gnupg(header, key, &fixed[4..]))
                } else {
                    Chunks::rfc9580(header, key, &fixed[4..])
                };
                chunks
                    .and_then(|chunks| chunks.open(data))
                    .ok_or(NotOpened::Broken)
            }
        }
    }
}

fn named(cipher: Option<u8>) -> Result<Cipher, NotOpened> {
    cipher.map(Cipher::from).ok_or(NotOpened::WrongKey)
}

fn check_key(key: &[u8], cipher: Cipher) -> Result<(), NotOpened> {
    match cipher.key_size() {
        0 => Err(NotOpened::Unsupported(cipher_name(cipher.into()))),
        size if size == key.len() => Ok(()),
        _ => Err(NotOpened::WrongKey),
    }
}

/// Decrypts the random prefix and compares its repeated octets: a wrong key shows in all but one of 65,536 cases.
fn prefix(key: &[u8], cipher: Cipher, data: &[u8]) -> Result<Vec<u8>, NotOpened> {
    check_key(key, cipher)?;
    let block = cipher.block_size();
    let mut prefix = data.get(..block + 2).ok_or(NotOpened::Broken)?.to_vec();
    cfb(key, cipher, &vec![0; block], &mut prefix)?;
    if prefix[block - 2..block] == prefix[block..] {
        Ok(prefix)
    } else {
        Err(NotOpened::WrongKey)
    }
}

fn cfb(key: &[u8], cipher: Cipher, iv: &[u8], data: &mut [u8]) -> Result<(), NotOpened> {
    cipher
        .decrypt_with_iv_regular(key, iv, data)
        .map_err(|_| NotOpened::WrongKey)
}

/// RFC 9580 §5.13.1: CFB without resynchronisation; the last 22 octets are an MDC packet over all before.
fn decrypt_seipd_v1(key: &[u8], cipher: Cipher, data: &[u8]) -> Result<Vec<u8>, NotOpened> {
    const MDC: usize = 22;
    let lead = prefix(key, cipher, data)?.len();
    if data.len() < lead + MDC {
        return Err(NotOpened::Broken);
    }
    let mut plain = data.to_vec();
    cfb(key, cipher, &vec![0; cipher.block_size()], &mut plain)?;
    let (hashed, digest) = plain.split_at(plain.len() - 20);
    let intact = hashed.ends_with(&[0xd3, 0x14]) && openssl::sha::sha1(hashed) == digest;
    if !intact {
        return Err(NotOpened::Broken);
    }
    plain.truncate(plain.len() - MDC);
    plain.drain(..lead);
    Ok(plain)
}

/// RFC 9580 §5.7: CFB, resynchronised after the prefix; no integrity check at all.
fn decrypt_sed(key: &[u8], cipher: Cipher, data: &[u8]) -> Result<Vec<u8>, NotOpened> {
    let lead = prefix(key, cipher, data)?.len();
    let mut plain = data[lead..].to_vec();
    cfb(key, cipher, &data[2..lead], &mut plain)?;
    Ok(plain)
}

/// The usual name of a symmetric algorithm (RFC 9580 §9.3).
#[must_use]
pub fn cipher_name(number: u8) -> String {
    let name = match number {
        0 => "plaintext",
        1 => "IDEA",
        2 => "3DES",
        3 => "CAST5",
        4 => "Blowfish",
        7 => "AES-128",
        8 => "AES-192",
        9 => "AES-256",
        10 => "Twofish",
        11 => "Camellia-128",
        12 => "Camellia-192",
        13 => "Camellia-256",
        other => return format!("cipher {other}"),
    };
    name.to_owned()
}

fn aead_name(mode: AeadAlgorithm) -> String {
    match mode {
        AeadAlgorithm::Eax => "EAX".to_owned(),
        AeadAlgorithm::Ocb => "OCB".to_owned(),
        AeadAlgorithm::Gcm => "GCM".to_owned(),
        other => format!("AEAD mode {}", u8::from(other)),
    }
}
