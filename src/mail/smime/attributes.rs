//! Signed attributes (RFC 5652 §5.4, §11): what they state, and whether the signature is over them.

use super::algorithm::Algorithm;
use super::ber::{BerError, Element, Reader, der, tag};
use super::structure::{SignerInfo, attribute_values};
use super::verify::Fit;
use super::{algorithm, oids, verify};
use crate::mail::digest;
use crate::time::Timestamp;
use const_oid::ObjectIdentifier;
use openssl::pkey::{PKey, Public};

/// The content's digest as the signed attributes state it; `None` if there are no signed attributes.
pub fn stated_digest(
    signer: &SignerInfo<'_>,
    content_type: &ObjectIdentifier,
) -> Result<Option<Vec<u8>>, String> {
    let Some(attributes) = &signer.signed_attributes else {
        return Ok(None);
    };
    let one = |oid, what: &str| -> Result<Element<'_>, String> {
        match attribute_values(attributes, oid) {
            Err(error) => Err(format!("attributes: {error}")),
            Ok(values) if values.len() == 1 => Ok(values[0]),
            Ok(values) => Err(format!(
                "attributes: {} values of {what} where one is due",
                values.len()
            )),
        }
    };
    let stated_type = one(&oids::CONTENT_TYPE, "contentType")?.oid();
    if stated_type != Ok(*content_type) {
        return Err("attributes: the signed content type is another".to_owned());
    }
    // These must not stand among the unsigned attributes, and there is one signing time (RFC 5652 §11): otherwise a
    // reader could be made to choose.
    if let Some(unsigned) = &signer.unsigned_attributes {
        for kind in [oids::CONTENT_TYPE, oids::MESSAGE_DIGEST, oids::SIGNING_TIME] {
            if attribute_values(unsigned, &kind).is_ok_and(|values| !values.is_empty()) {
                return Err("attributes: an attribute that must be signed is not".to_owned());
            }
        }
    }
    if attribute_values(attributes, &oids::SIGNING_TIME).is_ok_and(|times| times.len() > 1) {
        return Err("attributes: several signing times".to_owned());
    }
    let digest = one(&oids::MESSAGE_DIGEST, "messageDigest")?;
    digest
        .octet_string()
        .map(|digest| Some(digest.into_owned()))
        .map_err(|error| format!("attributes: {error}"))
}

/// Checks the signature over the signed attributes: as a SET OF in the order of the message, and, where a sender
/// signed what DER would have been, in that order.
pub fn attributes_fit(
    signer: &SignerInfo<'_>,
    attributes: &Element<'_>,
    key: &PKey<Public>,
) -> Result<Fit, verify::Unsupported> {
    let Ok(received) = attributes.to_der() else {
        return Ok(Fit::No);
    };
    let Ok(body) = Element::only(&received).map(|element| element.body) else {
        return Ok(Fit::No);
    };
    let mut sorted: Vec<&[u8]> = Reader::new(body)
        .filter_map(Result::ok)
        .map(|element| element.raw)
        .collect();
    sorted.sort_unstable();
    let sorted = sorted.concat();
    let orders = if sorted == body {
        vec![body]
    } else {
        vec![body, &sorted]
    };
    for body in orders {
        let bytes = der(tag::SET, body);
        let mut digest = |name| {
            digest::of_public(name, [Ok::<_, ()>(bytes.as_slice())].into_iter())
                .ok()
                .flatten()
        };
        let fit = verify::check(signer, key, &mut digest, &mut || bytes.clone())?;
        if fit != Fit::No {
            return Ok(fit);
        }
    }
    Ok(Fit::No)
}

/// Bytes of a content in which attributes are looked for.
const WINDOW: usize = 64 << 10;

/// Whether content could be the signed attributes of another message: what is signed with attributes is their encoding,
/// so that it verifies as the content of a message without any.
pub fn looks_like_attributes<'a>(pieces: impl Iterator<Item = Result<&'a [u8], BerError>>) -> bool {
    let mut start = Vec::new();
    for piece in pieces.filter_map(Result::ok) {
        start.extend_from_slice(&piece[..piece.len().min(WINDOW - start.len())]);
        if start[..].first().is_some_and(|first| *first != tag::SET) || start.len() == WINDOW {
            break;
        }
    }
    let names = |kind: &ObjectIdentifier| {
        let encoded = der(tag::OID, kind.as_bytes());
        memchr::memmem::find(&start, &encoded).is_some()
    };
    start.first() == Some(&tag::SET) && [oids::CONTENT_TYPE, oids::MESSAGE_DIGEST].iter().any(names)
}

/// Whether the signer signed for another certificate than this one (DER): an ESS signing certificate attribute (RFC 2634
/// §5.4, RFC 5035) names one by its digest, the first in its list.
pub fn names_another(signer: &SignerInfo<'_>, certificate: &[u8]) -> bool {
    let Some(attributes) = &signer.signed_attributes else {
        return false;
    };
    let kinds = [
        (oids::SIGNING_CERTIFICATE, "SHA-1"),
        (oids::SIGNING_CERTIFICATE_V2, "SHA-256"),
    ];
    kinds.iter().any(|(kind, digest)| {
        let values = attribute_values(attributes, kind).unwrap_or_default();
        let other = |value| is_named(value, digest, certificate) == Ok(false);
        values.iter().any(other)
    })
}

/// Whether a `SigningCertificate` or `SigningCertificateV2` begins with this certificate. True for a digest that is not
/// known here.
fn is_named(value: &Element<'_>, usual: &str, certificate: &[u8]) -> Result<bool, BerError> {
    let list = value.inside().expect(tag::SEQUENCE, "certificates")?;
    let mut id = list
        .inside()
        .expect(tag::SEQUENCE, "a certificate's digest")?
        .inside();
    let name = if id.peek() == tag::SEQUENCE {
        oids::digest_name(&Algorithm::read(&mut id)?.oid).unwrap_or_default()
    } else {
        usual
    };
    let stated = id.value("a digest")?.octet_string()?;
    let computed = digest::of(name, [Ok::<_, BerError>(certificate)].into_iter())?;
    Ok(computed.is_none_or(|computed| computed == *stated))
}

/// The `signingTime` attribute.
pub fn signing_time(signer: &SignerInfo<'_>) -> Option<Timestamp> {
    let values = attribute_values(signer.signed_attributes.as_ref()?, &oids::SIGNING_TIME).ok()?;
    match values.as_slice() {
        [value] => algorithm::time(value),
        _ => None,
    }
}
