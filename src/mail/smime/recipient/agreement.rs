//! `KeyAgreeRecipientInfo` (RFC 5652 §6.2.2): Diffie-Hellman in its three generations, X9.42 (RFC 2631), elliptic
//! curves (RFC 5753), X25519 and X448 (RFC 8418). They differ in how the key-encryption key is derived.

use super::{Recipient, RecipientError, Way, hint, key_wrap, unknown};
use crate::mail::keyops::{Kdf, KeyWrap, Wrapped};
use crate::mail::smime::algorithm::Algorithm;
use crate::mail::smime::ber::{BerError, Element, der, tag};
use crate::mail::smime::structure::Identifier;
use const_oid::ObjectIdentifier;

/// Finds the public keys (SubjectPublicKeyInfo) that may be a static originator's.
type FindOriginator<'f> = dyn Fn(&Identifier<'_>) -> Vec<Vec<u8>> + 'f;

/// Longest public key, wrapped key or input of the key derivation, in bytes: each recipient has a copy for every reading. A
/// key on X9.42's largest group takes some three thousand.
const MOST_OF_A_FIELD: usize = 4096;

/// Reads a `KeyAgreeRecipientInfo`: one recipient for each of its encrypted keys, of the first `most`.
pub(super) fn read(
    element: &Element<'_>,
    most: usize,
    originators: &FindOriginator<'_>,
) -> Result<Vec<Recipient>, RecipientError> {
    let mut inside = element.inside();
    inside.expect(tag::INTEGER, "a version")?;
    let originator = inside.expect(tag::context(0), "an originator")?;
    let originators = originator_keys(&originator, originators)?;
    let ukm = match inside.optional(tag::context(1))? {
        Some(explicit) => Some(
            explicit
                .inside()
                .value("user keying material")?
                .octet_string()?,
        ),
        None => None,
    };
    let agreement = Agreement::of(&Algorithm::read(&mut inside)?, ukm.as_deref())?;
    let mut recipients = Vec::new();
    let entries = inside.expect(tag::SEQUENCE, "recipient keys")?.inside();
    for entry in entries.take(most) {
        let mut entry = entry?.inside();
        let (hint, shown) = hint(&Identifier::read(&mut entry)?)?;
        let wrapped = short(entry.value("an encrypted key")?.octet_string()?)?;
        let (algorithms, way) =
            match &agreement {
                Agreement::Unknown(role, oid) => {
                    let (name, way) = unknown(role, oid);
                    (vec![name], way)
                }
                Agreement::Known { names, .. } if originators.is_empty() => (
                    names.clone(),
                    Way::Unknown("the originator's certificate is not known".to_owned()),
                ),
                Agreement::Known {
                    names,
                    readings,
                    wrap,
                } => {
                    let mut wraps = Vec::new();
                    for originator in &originators {
                        wraps.extend(readings.iter().map(|(kdf, shared_info)| {
                            Wrapped::Agreement {
                                originator: originator.clone(),
                                kdf: kdf.clone(),
                                shared_info: shared_info.clone(),
                                wrap: *wrap,
                                wrapped: wrapped.to_vec(),
                            }
                        }));
                    }
                    (names.clone(), Way::Key(hint, wraps))
                }
            };
        recipients.push(Recipient {
            shown,
            algorithms,
            way,
        });
    }
    Ok(recipients)
}

/// A field of no more than [`MOST_OF_A_FIELD`] bytes.
fn short<B: AsRef<[u8]>>(field: B) -> Result<B, BerError> {
    if field.as_ref().len() > MOST_OF_A_FIELD {
        return Err(BerError::Malformed);
    }
    Ok(field)
}

/// The scheme and all that its recipients share.
enum Agreement {
    Known {
        names: Vec<String>,
        /// The key derivation, with each reading of its input.
        readings: Vec<(Kdf, Vec<u8>)>,
        wrap: KeyWrap,
    },
    Unknown(&'static str, ObjectIdentifier),
}

impl Agreement {
    fn of(algorithm: &Algorithm<'_>, ukm: Option<&[u8]>) -> Result<Self, BerError> {
        let Some((kdf, name)) = scheme(&algorithm.oid) else {
            return Ok(Self::Unknown("key agreement", algorithm.oid));
        };
        let wrap = algorithm.real_parameters();
        let wrap = Algorithm::of(wrap.ok_or(algorithm.element.unexpected("a key wrap"))?)?;
        let Some((kind, wrap_name)) = key_wrap(&wrap) else {
            return Ok(Self::Unknown("key wrap", wrap.oid));
        };
        let readings = match kdf {
            Kdf::X942(digest, _) => vec![other_info(digest, &wrap, ukm, kind)],
            kdf => shared_infos(&wrap, ukm, kind)?
                .into_iter()
                .map(|info| (kdf.clone(), info))
                .collect(),
        };
        for (_, info) in &readings {
            short(info)?;
        }
        Ok(Self::Known {
            names: vec![name.to_owned(), wrap_name.to_owned()],
            readings,
            wrap: kind,
        })
    }
}

/// Key agreement schemes: KDF, and a name.
fn scheme(oid: &ObjectIdentifier) -> Option<(Kdf, &'static str)> {
    let x963 = |digest: &str| Kdf::X963(digest.to_owned());
    let hkdf = |digest: &str| Kdf::Hkdf(digest.to_owned());
    // Cofactor schemes (…14.x, …0.3) are the same as the standard ones on curves with cofactor 1, which all are.
    Some(match oid.to_string().as_str() {
        "1.3.133.16.840.63.0.2" | "1.3.133.16.840.63.0.3" => (x963("SHA-1"), "ECDH-SHA-1"),
        "1.3.132.1.11.0" | "1.3.132.1.14.0" => (x963("SHA-224"), "ECDH-SHA-224"),
        "1.3.132.1.11.1" | "1.3.132.1.14.1" => (x963("SHA-256"), "ECDH-SHA-256"),
        "1.3.132.1.11.2" | "1.3.132.1.14.2" => (x963("SHA-384"), "ECDH-SHA-384"),
        "1.3.132.1.11.3" | "1.3.132.1.14.3" => (x963("SHA-512"), "ECDH-SHA-512"),
        "1.2.840.113549.1.9.16.3.19" => (hkdf("SHA-256"), "ECDH-HKDF-SHA-256"),
        "1.2.840.113549.1.9.16.3.20" => (hkdf("SHA-384"), "ECDH-HKDF-SHA-384"),
        "1.2.840.113549.1.9.16.3.21" => (hkdf("SHA-512"), "ECDH-HKDF-SHA-512"),
        "1.2.840.113549.1.9.16.3.5" | "1.2.840.113549.1.9.16.3.10" => {
            (Kdf::X942("SHA-1".to_owned(), 0), "DH-SHA-1")
        }
        _ => return None,
    })
}

/// The originator's public key as SubjectPublicKeyInfo, or all that it may be where it is only named; none if none of that
/// name is known.
fn originator_keys(
    explicit: &Element<'_>,
    originators: &FindOriginator<'_>,
) -> Result<Vec<Vec<u8>>, BerError> {
    let mut inside = explicit.inside();
    if inside.peek() == tag::context(1) {
        let key = inside.value("a public key")?;
        let mut parts = key.inside();
        let algorithm = Algorithm::read(&mut parts)?.element.to_der()?;
        let bits = parts.value("a public key")?.to_der()?;
        let key = short(der(tag::SEQUENCE, &[algorithm, bits].concat()))?;
        return Ok(vec![key]);
    }
    let named = originators(&Identifier::read(&mut inside)?).into_iter();
    Ok(named.filter_map(|key| short(key).ok()).collect())
}

/// `ECC-CMS-SharedInfo` (RFC 5753 §7.2), as the message's own wrap algorithm is encoded; then with its parameters
/// as the other habit has them (absent or NULL).
fn shared_infos(
    wrap: &Algorithm<'_>,
    ukm: Option<&[u8]>,
    kind: KeyWrap,
) -> Result<Vec<Vec<u8>>, BerError> {
    let oid = der(tag::OID, wrap.oid.as_bytes());
    let own = wrap.element.to_der()?;
    let other = if wrap.parameters.is_some() {
        der(tag::SEQUENCE, &oid)
    } else {
        der(tag::SEQUENCE, &[oid, vec![tag::NULL, 0]].concat())
    };
    let infos = [own, other].map(|algorithm| {
        let mut body = algorithm;
        body.extend(public_info(ukm, kind));
        der(tag::SEQUENCE, &body)
    });
    Ok(infos.to_vec())
}

/// What both kinds of derivation input end in: user keying material, and the key's length in bits.
fn public_info(ukm: Option<&[u8]>, kind: KeyWrap) -> Vec<u8> {
    let ukm = ukm.map(|ukm| der(tag::context(0), &der(tag::OCTET_STRING, ukm)));
    let bits = (u32::from(kind.kek_bytes()) * 8).to_be_bytes();
    let length = der(tag::context(2), &der(tag::OCTET_STRING, &bits));
    [ukm.unwrap_or_default(), length].concat()
}

/// `OtherInfo` of RFC 2631 §2.1.2, and where its counter stands.
fn other_info(
    digest: String,
    wrap: &Algorithm<'_>,
    ukm: Option<&[u8]>,
    kind: KeyWrap,
) -> (Kdf, Vec<u8>) {
    let counter = der(tag::OCTET_STRING, &[0, 0, 0, 1]);
    let specific = der(
        tag::SEQUENCE,
        &[der(tag::OID, wrap.oid.as_bytes()), counter].concat(),
    );
    let rest = public_info(ukm, kind);
    let info = der(tag::SEQUENCE, &[specific.as_slice(), &rest].concat());
    let at = info.len() - rest.len() - 4;
    (
        Kdf::X942(digest, u16::try_from(at).unwrap_or(u16::MAX)),
        info,
    )
}
