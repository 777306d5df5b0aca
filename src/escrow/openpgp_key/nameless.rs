//! Agent keys without a certificate: good for opening mail in `inspect`, never for escrow. RSA and ElGamal need nothing
//! but their numbers. ECDH mixes the fingerprint into its key, which follows from the creation time that newer agents
//! write and from the KDF's parameters, of which few are in use; the key id in the message tells the right ones.

use super::agent::{AgentKey, Family};
use super::ecdh::Ecdh;
use super::named_key;
use super::private::{Decrypting, elgamal_key, rsa};
use super::public_body::{PublicBody, curve_name, curve_oid, key_id};
use crate::escrow::{KeyInfo, UserKey};
use crate::mail::keyops::{KeyRefusal, SessionKey, Wrapped};
use crate::secret::SecretBytes;
use crate::time::Timestamp;
use data_encoding::HEXLOWER;

/// Digest and cipher of the KDF, as GnuPG, Sequoia and others choose them.
const KDFS: [(u8, u8); 6] = [(8, 7), (9, 8), (9, 9), (10, 9), (8, 9), (10, 7)];

/// A private key that goes by no name.
pub(super) struct Nameless {
    info: KeyInfo,
    ways: Vec<Way>,
    canonical: SecretBytes,
}

/// One way in which the key may have been used.
struct Way {
    /// Public-key algorithms in the wrap that this may undo.
    algorithms: &'static [u8],
    /// Where the operation depends on it.
    fingerprint: Option<Vec<u8>>,
    private: Decrypting,
}

impl Nameless {
    /// From an unlocked key; `None` if it cannot decrypt, or not without its certificate.
    pub(super) fn new(key: &AgentKey) -> Option<Self> {
        let ways = match key.family()? {
            Family::Rsa => {
                let number = |name| key.number(name);
                let numbers = [
                    number("n")?,
                    number("e")?,
                    number("d")?,
                    number("p")?,
                    number("q")?,
                    number("u")?,
                ];
                vec![Way {
                    algorithms: &[1, 2, 3],
                    fingerprint: None,
                    private: Decrypting::Rsa(rsa(numbers).ok()?),
                }]
            }
            Family::ElGamal => {
                let number = |name| key.number(name);
                vec![Way {
                    algorithms: &[16, 20],
                    fingerprint: None,
                    private: elgamal_key(number("p")?, number("g")?, number("y")?, number("x")?)?,
                }]
            }
            Family::Curve => curve_ways(key)?,
            Family::Dsa | Family::Kyber => return None,
        };
        let mut canonical = Vec::new();
        key.numbers.write_canonical(&mut canonical);
        Some(Self {
            info: info(key)?,
            ways,
            canonical: SecretBytes::new(canonical),
        })
    }
}

/// What people are told about a key without a name.
pub(super) fn info(key: &AgentKey) -> Option<KeyInfo> {
    let algorithm = match key.family()? {
        Family::Rsa => format!("RSA-{}", key.number("n")?.len() * 8),
        Family::ElGamal => format!("ElGamal-{}", key.number("p")?.len() * 8),
        Family::Dsa => format!("DSA-{}", key.number("p")?.len() * 8),
        Family::Curve => curve_name(curve_oid(key.numbers.value("curve")?)?)?.to_owned(),
        Family::Kyber => "ML-KEM".to_owned(),
    };
    Some(KeyInfo {
        fingerprint: String::new(),
        format: "OpenPGP".to_owned(),
        algorithm,
        addresses: Vec::new(),
        name: String::new(),
        valid_from: key.created.map(|at| Timestamp::from_seconds(u64::from(at))),
        valid_until: None,
        dual_use: false,
        hints: Vec::new(),
        certificate: Vec::new(),
    })
}

fn curve_ways(key: &AgentKey) -> Option<Vec<Way>> {
    let (oid, point) = (
        curve_oid(key.numbers.value("curve")?)?,
        key.numbers.value("q")?,
    );
    let (scalar, created) = (key.numbers.value("d")?, key.created?);
    let mut ways = Vec::new();
    for kdf in KDFS {
        let body = ecdh_body(oid, point, kdf, created)?;
        let fingerprint = PublicBody::read(&body)?.fingerprint()?;
        let private = Ecdh::new(oid, point, scalar, kdf, &fingerprint)?;
        ways.push(Way {
            algorithms: &[18],
            fingerprint: Some(fingerprint),
            private: Decrypting::Ecdh(private),
        });
    }
    Some(ways)
}

/// The version 4 public-key packet that the numbers make (RFC 9580 §5.5.5.6).
fn ecdh_body(oid: &[u8], point: &[u8], kdf: (u8, u8), created: u32) -> Option<Vec<u8>> {
    let zeros = point.first()?.leading_zeros() as usize;
    let bits = u16::try_from(point.len() * 8 - zeros).ok()?;
    let mut body = vec![4];
    body.extend_from_slice(&created.to_be_bytes());
    body.extend_from_slice(&[18, u8::try_from(oid.len()).ok()?]);
    body.extend_from_slice(oid);
    body.extend_from_slice(&bits.to_be_bytes());
    body.extend_from_slice(point);
    body.extend_from_slice(&[3, 1, kdf.0, kdf.1]);
    Some(body)
}

impl UserKey for Nameless {
    fn info(&self) -> &KeyInfo {
        &self.info
    }

    fn unwrap_session_key(&self, wrapped: &Wrapped) -> Result<SessionKey, KeyRefusal> {
        let Wrapped::OpenPgpPkesk {
            body,
            cipher_inside,
        } = wrapped
        else {
            return Err(KeyRefusal::NoKey);
        };
        let named = named_key(body);
        let algorithm = super::private::wrap_algorithm(body).ok_or(KeyRefusal::NoKey)?;
        let fits = |way: &&Way| {
            let own = way.fingerprint.as_deref();
            way.algorithms.contains(&algorithm)
                && own
                    .zip(named)
                    .is_none_or(|(own, named)| own == named || key_id(own) == Some(named))
        };
        let mut fitting = self.ways.iter().filter(fits).peekable();
        if fitting.peek().is_none() {
            return Err(KeyRefusal::NoKey);
        }
        fitting
            .find_map(|way| {
                let (key, cipher) = way.private.unwrap(body, *cipher_inside)?;
                let name = way.fingerprint.as_deref().or(named).unwrap_or_default();
                Some(SessionKey {
                    key,
                    cipher,
                    opened_by: HEXLOWER.encode(name),
                })
            })
            .ok_or(KeyRefusal::DoesNotOpen)
    }

    fn to_secret_bytes(&self) -> SecretBytes {
        self.canonical.duplicate()
    }
}
