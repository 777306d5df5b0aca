//! Secret keys in version 5 packets (LibrePGP §5.5.3), which GnuPG writes for its post-quantum keys and which no
//! library here reads. Both the unprotected form and S2K with CFB and SHA-1.

use super::ecdh::Ecdh;
use super::kyber::Kyber;
use super::private::{Decrypting, rsa, take_mpi};
use super::public_body::{Material, PublicBody, take_long};
use super::ring::{RingPacket, Unlocked};
use crate::secret::SecretBytes;
use pgp::crypto::sym::SymmetricKeyAlgorithm as Cipher;
use pgp::types::StringToKey;
use zeroize::Zeroizing;

/// What stands behind the public part.
struct SecretPart<'a> {
    /// 0: in the clear.
    usage: u8,
    /// Cipher, S2K and IV.
    parameters: &'a [u8],
    /// Numbers, and a checksum or digest.
    sealed: &'a [u8],
}

/// The body of a secret key packet in the clear, from its public part and the algorithm's secret fields.
pub(super) fn clear_body(public: &[u8], secret: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let mut body = Zeroizing::new(public.to_vec());
    body.push(0);
    if public.first() == Some(&5) {
        body.push(0);
        body.extend_from_slice(&u32::try_from(secret.len()).ok()?.to_be_bytes());
    }
    body.extend_from_slice(secret);
    body.extend_from_slice(&checksum(secret));
    Some(body)
}

fn checksum(secret: &[u8]) -> [u8; 2] {
    let sum = secret
        .iter()
        .fold(0_u16, |sum, b| sum.wrapping_add(u16::from(*b)));
    sum.to_be_bytes()
}

/// Whether a passphrase locks the secret part.
pub(super) fn is_locked(packet: &RingPacket) -> bool {
    split(&packet.body).is_some_and(|(_, part)| part.usage == 254 && !part.is_elsewhere())
}

/// Unlocks with the first passphrase that fits; the empty one is tried too.
pub(super) fn unlock(packet: &RingPacket, passphrases: &[&SecretBytes]) -> Unlocked {
    let Some((public, part)) = split(&packet.body) else {
        return Unlocked::Unsupported;
    };
    match part.usage {
        0 => Unlocked::Packet(packet.clone()),
        254 if part.is_elsewhere() => Unlocked::Absent,
        254 => passphrases
            .iter()
            .copied()
            .chain([&SecretBytes::new(Vec::new())])
            .find_map(|passphrase| part.unsealed(passphrase))
            .and_then(|secret| clear_body(public.bytes, &secret))
            .map_or(Unlocked::Locked, |body| {
                Unlocked::Packet(RingPacket {
                    tag: packet.tag,
                    body,
                })
            }),
        _ => Unlocked::Unsupported,
    }
}

/// The private-key operation of an unlocked packet.
pub(super) fn decrypting(packet: &RingPacket) -> Option<Decrypting> {
    let (public, part) = split(&packet.body)?;
    let secret = part.sealed.get(..part.sealed.len().checked_sub(2)?)?;
    (part.usage == 0 && part.sealed.ends_with(&checksum(secret))).then_some(())?;
    let fingerprint = public.fingerprint()?;
    let mut rest = secret;
    match public.material {
        Material::Rsa { n, e } => {
            let mut next = || take_mpi(&mut rest);
            let (d, p, q, u) = (next()?, next()?, next()?, next()?);
            rsa([n, e, d, p, q, u]).ok().map(Decrypting::Rsa)
        }
        Material::Curve {
            oid,
            point,
            kdf: Some(kdf),
        } => {
            let scalar = take_mpi(&mut rest)?;
            // LibrePGP §13.5: of a version 5 fingerprint the first twenty octets.
            Ecdh::new(oid, point, scalar, kdf, &fingerprint[..20]).map(Decrypting::Ecdh)
        }
        Material::Kyber { oid, point, kem } => {
            let scalar = take_mpi(&mut rest)?;
            let secret = take_long(&mut rest)?;
            let key = Kyber::new(oid, point, kem, scalar, secret, &fingerprint)?;
            Some(Decrypting::Kyber(Box::new(key)))
        }
        _ => None,
    }
}

fn split(body: &[u8]) -> Option<(PublicBody<'_>, SecretPart<'_>)> {
    let public = PublicBody::read(body).filter(|public| public.version == 5)?;
    let rest = body.get(public.bytes.len()..)?;
    let (usage, rest) = rest.split_first()?;
    let (size, rest) = rest.split_first()?;
    let (parameters, rest) = rest.split_at_checked(usize::from(*size))?;
    // The count before the numbers leaves out the checksum.
    let sealed = rest.get(4..)?;
    Some((
        public,
        SecretPart {
            usage: *usage,
            parameters,
            sealed,
        },
    ))
}

impl SecretPart<'_> {
    /// S2K type 101: GnuPG's marks for "no secret here" and "on a card".
    fn is_elsewhere(&self) -> bool {
        self.parameters.get(1) == Some(&101)
    }

    /// The algorithm's secret fields, if the SHA-1 behind them fits.
    fn unsealed(&self, passphrase: &SecretBytes) -> Option<Zeroizing<Vec<u8>>> {
        const DIGEST: usize = 20;
        let (cipher, mut rest) = self.parameters.split_first()?;
        let cipher = Cipher::from(*cipher);
        let s2k = StringToKey::try_from_reader(&mut rest).ok()?;
        let iv = rest
            .get(..cipher.block_size())
            .filter(|iv| !iv.is_empty())?;
        let key = s2k
            .derive_key(passphrase.expose(), cipher.key_size())
            .ok()?;
        let mut plain = Zeroizing::new(self.sealed.to_vec());
        cipher
            .decrypt_with_iv_regular(key.as_ref(), iv, &mut plain)
            .ok()?;
        let end = plain.len().checked_sub(DIGEST)?;
        let intact = openssl::memcmp::eq(&openssl::sha::sha1(&plain[..end]), &plain[end..]);
        plain.truncate(end);
        intact.then_some(plain)
    }
}
