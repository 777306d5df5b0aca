//! The body of a public-key packet, versions 4 and 5, read as far as pairing and decrypting want it. Version 5 is
//! LibrePGP's (GnuPG 2.3 and later); it has a length before the key material and a longer fingerprint.

use super::private::take_mpi;
use crate::mail::openpgp::public_key_name;
use openssl::hash::{MessageDigest, hash};

/// A public-key packet's fixed fields and key material.
pub(super) struct PublicBody<'a> {
    pub version: u8,
    pub created: u32,
    pub algorithm: u8,
    pub material: Material<'a>,
    /// All octets of the public part.
    pub bytes: &'a [u8],
}

/// Key material by kind of algorithm; multiprecision integers without their lengths.
#[derive(Clone, Copy)]
pub(super) enum Material<'a> {
    /// Modulus and exponent.
    Rsa {
        n: &'a [u8],
        e: &'a [u8],
    },
    /// Prime, generator, public value.
    ElGamal {
        p: &'a [u8],
        y: &'a [u8],
    },
    Dsa {
        p: &'a [u8],
        y: &'a [u8],
    },
    /// A curve's object identifier and the public point; for ECDH also the KDF's digest and cipher.
    Curve {
        oid: &'a [u8],
        point: &'a [u8],
        kdf: Option<(u8, u8)>,
    },
    /// GnuPG's composite of a curve and ML-KEM.
    Kyber {
        oid: &'a [u8],
        point: &'a [u8],
        kem: &'a [u8],
    },
}

impl<'a> PublicBody<'a> {
    /// Reads the public part at the front of a public or secret key packet's body; `None` for other versions and
    /// algorithms.
    pub(super) fn read(body: &'a [u8]) -> Option<Self> {
        let version = *body.first()?;
        let created = u32::from_be_bytes(body.get(1..5)?.try_into().ok()?);
        let algorithm = *body.get(5)?;
        let (material, size) = match version {
            4 => {
                let (material, rest) = material(algorithm, body.get(6..)?)?;
                (material, body.len() - rest.len())
            }
            5 => {
                let size = u32::from_be_bytes(body.get(6..10)?.try_into().ok()?);
                let end = usize::try_from(size).ok()?.checked_add(10)?;
                let (material, rest) = material(algorithm, body.get(10..end)?)?;
                rest.is_empty().then_some((material, end))?
            }
            _ => return None,
        };
        Some(Self {
            version,
            created,
            algorithm,
            material,
            bytes: &body[..size],
        })
    }

    /// RFC 4880 §12.2; LibrePGP §12.2 for version 5.
    pub(super) fn fingerprint(&self) -> Option<Vec<u8>> {
        let size = u32::try_from(self.bytes.len()).ok()?;
        let (digest, head) = if self.version == 5 {
            let [a, b, c, d] = size.to_be_bytes();
            (MessageDigest::sha256(), vec![0x9a, a, b, c, d])
        } else {
            let [a, b] = u16::try_from(size).ok()?.to_be_bytes();
            (MessageDigest::sha1(), vec![0x99, a, b])
        };
        let digest = hash(digest, &[&head, self.bytes].concat()).ok()?;
        Some(digest.to_vec())
    }

    /// As shown to people: algorithm with size or curve.
    pub(super) fn algorithm_name(&self) -> String {
        let name = public_key_name(self.algorithm);
        match self.material {
            Material::Rsa { n: number, .. }
            | Material::ElGamal { p: number, .. }
            | Material::Dsa { p: number, .. } => {
                let zeros = number.first().map_or(0, |b| b.leading_zeros() as usize);
                format!("{name}-{}", number.len() * 8 - zeros)
            }
            Material::Curve { oid, .. } => curve_name(oid).map_or(name, str::to_owned),
            Material::Kyber { oid, kem, .. } => {
                let kem = if kem.len() == 1184 {
                    "ML-KEM-768"
                } else {
                    "ML-KEM-1024"
                };
                format!("{kem}+{}", curve_name(oid).unwrap_or("?"))
            }
        }
    }
}

/// The key id that belongs to a fingerprint (RFC 9580 §5.5.4).
pub(super) fn key_id(fingerprint: &[u8]) -> Option<&[u8]> {
    match fingerprint.len() {
        20 => fingerprint.get(12..),
        _ => fingerprint.get(..8),
    }
}

fn material(algorithm: u8, bytes: &[u8]) -> Option<(Material<'_>, &[u8])> {
    let mut rest = bytes;
    let material = match algorithm {
        1..=3 => Material::Rsa {
            n: take_mpi(&mut rest)?,
            e: take_mpi(&mut rest)?,
        },
        16 | 20 => {
            let p = take_mpi(&mut rest)?;
            take_mpi(&mut rest)?;
            let y = take_mpi(&mut rest)?;
            Material::ElGamal { p, y }
        }
        17 => {
            let p = take_mpi(&mut rest)?;
            take_mpi(&mut rest)?;
            take_mpi(&mut rest)?;
            let y = take_mpi(&mut rest)?;
            Material::Dsa { p, y }
        }
        18 | 19 | 22 => {
            let oid = take_counted(&mut rest)?;
            let point = take_mpi(&mut rest)?;
            let kdf = if algorithm == 18 {
                let fields = take_counted(&mut rest)?;
                Some((*fields.get(1)?, *fields.get(2)?))
            } else {
                None
            };
            Material::Curve { oid, point, kdf }
        }
        8 => {
            let oid = take_counted(&mut rest)?;
            let point = take_mpi(&mut rest)?;
            let kem = take_long(&mut rest)?;
            Material::Kyber { oid, point, kem }
        }
        _ => return None,
    };
    Some((material, rest))
}

/// A string behind one octet of length.
fn take_counted<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (size, after) = rest.split_first()?;
    let (taken, after) = after.split_at_checked(usize::from(*size))?;
    *rest = after;
    Some(taken)
}

/// A string behind four octets of length.
pub(super) fn take_long<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (size, after) = rest.split_at_checked(4)?;
    let size = u32::from_be_bytes(size.try_into().ok()?);
    let (taken, after) = after.split_at_checked(usize::try_from(size).ok()?)?;
    *rest = after;
    Some(taken)
}

/// Curves by object identifier (RFC 9580 §9.2, and GnuPG's): Libgcrypt's name, ours.
const CURVES: [(&[u8], &str, &str); 12] = [
    (
        &[0x2b, 6, 1, 4, 1, 0x97, 0x55, 1, 5, 1],
        "Curve25519",
        "Curve25519",
    ),
    (&[0x2b, 0x65, 0x6e], "Curve25519", "Curve25519"),
    (
        &[0x2b, 6, 1, 4, 1, 0xda, 0x47, 0x0f, 1],
        "Ed25519",
        "Ed25519",
    ),
    (&[0x2b, 0x65, 0x6f], "X448", "X448"),
    (&[0x2b, 0x65, 0x71], "Ed448", "Ed448"),
    (
        &[0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7],
        "NIST P-256",
        "P-256",
    ),
    (&[0x2b, 0x81, 4, 0, 0x22], "NIST P-384", "P-384"),
    (&[0x2b, 0x81, 4, 0, 0x23], "NIST P-521", "P-521"),
    (
        &[0x2b, 0x24, 3, 3, 2, 8, 1, 1, 7],
        "brainpoolP256r1",
        "brainpoolP256r1",
    ),
    (
        &[0x2b, 0x24, 3, 3, 2, 8, 1, 1, 0x0b],
        "brainpoolP384r1",
        "brainpoolP384r1",
    ),
    (
        &[0x2b, 0x24, 3, 3, 2, 8, 1, 1, 0x0d],
        "brainpoolP512r1",
        "brainpoolP512r1",
    ),
    (&[0x2b, 0x81, 4, 0, 0x0a], "secp256k1", "secp256k1"),
];

/// Our name of a curve.
pub(super) fn curve_name(oid: &[u8]) -> Option<&'static str> {
    CURVES
        .iter()
        .find(|(known, ..)| *known == oid)
        .map(|(.., name)| *name)
}

/// The identifier of the curve that Libgcrypt names so.
pub(super) fn curve_oid(gcrypt_name: &[u8]) -> Option<&'static [u8]> {
    CURVES
        .iter()
        .find(|(_, name, _)| name.as_bytes() == gcrypt_name)
        .map(|(oid, ..)| *oid)
}

/// Whether two identifiers mean one curve: Curve25519 has two.
pub(super) fn same_curve(one: &[u8], other: &[u8]) -> bool {
    one == other || curve_name(one).is_some() && curve_name(one) == curve_name(other)
}
