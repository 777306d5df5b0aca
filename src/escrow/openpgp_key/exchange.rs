//! Diffie-Hellman on the curves of OpenPGP, straight from OpenSSL: what ECDH and GnuPG's Kyber composite share.

use openssl::bn::{BigNum, BigNumContext};
use openssl::derive::Deriver;
use openssl::ec::{EcGroup, EcKey, EcPoint, PointConversionForm};
use openssl::error::ErrorStack;
use openssl::nid::Nid;
use openssl::pkey::{Id, PKey, Private};
use zeroize::Zeroizing;

const UNCOMPRESSED: PointConversionForm = PointConversionForm::UNCOMPRESSED;

/// Curves by object identifier (RFC 9580 §9.2), with the size of a field element.
const CURVES: [(&[u8], Kind, usize); 11] = [
    (
        &[0x2b, 6, 1, 4, 1, 0x97, 0x55, 1, 5, 1],
        Kind::Montgomery(Id::X25519),
        32,
    ),
    (&[0x2b, 0x65, 0x6e], Kind::Montgomery(Id::X25519), 32),
    (&[0x2b, 0x65, 0x6f], Kind::Montgomery(Id::X448), 56),
    (
        &[0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7],
        Kind::Points(Nid::X9_62_PRIME256V1),
        32,
    ),
    (&[0x2b, 0x81, 4, 0, 0x22], Kind::Points(Nid::SECP384R1), 48),
    (&[0x2b, 0x81, 4, 0, 0x23], Kind::Points(Nid::SECP521R1), 66),
    (&[0x2b, 0x81, 4, 0, 0x0a], Kind::Points(Nid::SECP256K1), 32),
    (
        &[0x2b, 0x24, 3, 3, 2, 8, 1, 1, 7],
        Kind::Points(Nid::BRAINPOOL_P256R1),
        32,
    ),
    (
        &[0x2b, 0x24, 3, 3, 2, 8, 1, 1, 0x0b],
        Kind::Points(Nid::BRAINPOOL_P384R1),
        48,
    ),
    (
        &[0x2b, 0x24, 3, 3, 2, 8, 1, 1, 0x0d],
        Kind::Points(Nid::BRAINPOOL_P512R1),
        64,
    ),
    (
        &[0x2b, 0x24, 3, 3, 2, 8, 1, 1, 9],
        Kind::Points(Nid::BRAINPOOL_P320R1),
        40,
    ),
];

#[derive(Clone, Copy)]
enum Kind {
    Montgomery(Id),
    Points(Nid),
}

/// A private key on a curve.
pub(super) struct Exchange {
    secret: Secret,
    /// As OpenSSL encodes the public half: 32 or 56 octets, or an uncompressed point.
    public: Vec<u8>,
    /// Octets of a field element.
    size: usize,
}

enum Secret {
    Montgomery(PKey<Private>, Id),
    Points(PKey<Private>, EcGroup),
}

impl Exchange {
    /// From the scalar as OpenPGP and Libgcrypt write it: big-endian, but X448 in its native order. `None` for
    /// other curves and impossible scalars.
    pub(super) fn new(oid: &[u8], scalar: &[u8]) -> Option<Self> {
        let (_, kind, size) = CURVES.iter().find(|(known, ..)| *known == oid)?;
        match kind {
            Kind::Montgomery(id) => Self::montgomery(*id, *size, scalar),
            Kind::Points(nid) => Self::points(*nid, *size, scalar).ok(),
        }
    }

    fn montgomery(id: Id, size: usize, scalar: &[u8]) -> Option<Self> {
        let scalar = native(scalar, size).unwrap_or(scalar);
        let mut raw = Zeroizing::new(vec![0; size.checked_sub(scalar.len())?]);
        raw.extend_from_slice(scalar);
        if id == Id::X25519 {
            raw.reverse();
        }
        let private = PKey::private_key_from_raw_bytes(&raw, id).ok()?;
        let public = private.raw_public_key().ok()?;
        Some(Self {
            secret: Secret::Montgomery(private, id),
            public,
            size,
        })
    }

    fn points(nid: Nid, size: usize, scalar: &[u8]) -> Result<Self, ErrorStack> {
        let group = EcGroup::from_curve_name(nid)?;
        let number = BigNum::from_slice(scalar)?;
        let mut ctx = BigNumContext::new_secure()?;
        let mut point = EcPoint::new(&group)?;
        point.mul_generator2(&group, &number, &mut ctx)?;
        let private = EcKey::from_private_components(&group, &number, &point)?;
        let public = point.to_bytes(&group, UNCOMPRESSED, &mut ctx)?;
        Ok(Self {
            secret: Secret::Points(PKey::from_ec_key(private)?, group),
            public,
            size,
        })
    }

    /// The public half that belongs to the scalar, without OpenPGP's prefix.
    pub(super) fn public(&self) -> &[u8] {
        &self.public
    }

    /// Whether `point` (with or without the prefix 0x40) is the public half.
    pub(super) fn belongs_to(&self, point: &[u8]) -> bool {
        point == self.public || point.strip_prefix(&[0x40]) == Some(&self.public)
    }

    /// The shared secret with a public point: the x coordinate.
    pub(super) fn shared(&self, point: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (private, peer) = match &self.secret {
            Secret::Montgomery(private, id) => {
                let raw = native(point, self.size)?;
                (private, PKey::public_key_from_raw_bytes(raw, *id).ok()?)
            }
            Secret::Points(private, group) => {
                let mut ctx = BigNumContext::new().ok()?;
                let point = EcPoint::from_bytes(group, point, &mut ctx).ok()?;
                let peer = EcKey::from_public_key(group, &point).ok()?;
                (private, PKey::from_ec_key(peer).ok()?)
            }
        };
        let mut deriver = Deriver::new(private).ok()?;
        deriver.set_peer(&peer).ok()?;
        deriver.derive_to_vec().ok().map(Zeroizing::new)
    }

    /// The same, as a whole point where the curve has points: GnuPG's composite hashes both coordinates.
    pub(super) fn shared_point(&self, point: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        match &self.secret {
            Secret::Montgomery(..) => self.shared(point),
            Secret::Points(private, group) => multiplied(private, group, point).ok(),
        }
    }
}

fn multiplied(
    private: &PKey<Private>,
    group: &EcGroup,
    point: &[u8],
) -> Result<Zeroizing<Vec<u8>>, ErrorStack> {
    let mut ctx = BigNumContext::new_secure()?;
    let peer = EcPoint::from_bytes(group, point, &mut ctx)?;
    let key = private.ec_key()?;
    let mut shared = EcPoint::new(group)?;
    shared.mul2(group, &peer, key.private_key(), &mut ctx)?;
    shared
        .to_bytes(group, UNCOMPRESSED, &mut ctx)
        .map(Zeroizing::new)
}

/// A native point or scalar, with or without the prefix 0x40 that marks it as such.
pub(super) fn native(octets: &[u8], size: usize) -> Option<&[u8]> {
    let octets = if octets.len() == size + 1 {
        octets.strip_prefix(&[0x40])?
    } else {
        octets
    };
    (octets.len() == size).then_some(octets)
}
