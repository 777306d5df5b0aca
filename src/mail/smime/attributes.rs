//! Signed attributes (RFC 5652 §5.4, §11): what they state, and whether the signature is over them.

use super::ber::{Element, Reader, der, tag};
use super::structure::{SignerInfo, attribute_values};
use super::{algorithm, oids, verify};
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
) -> Result<bool, verify::Unsupported> {
    let Ok(received) = attributes.to_der() else {
        return Ok(false);
    };
    let Ok(body) = Element::only(&received).map(|element| element.body) else {
        return Ok(false);
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
            algorithm::hash_public(name, [Ok::<_, ()>(bytes.as_slice())].into_iter())
                .ok()
                .flatten()
        };
        if verify::check(signer, key, &mut digest, &mut || bytes.clone())? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The `signingTime` attribute.
pub fn signing_time(signer: &SignerInfo<'_>) -> Option<Timestamp> {
    let values = attribute_values(signer.signed_attributes.as_ref()?, &oids::SIGNING_TIME).ok()?;
    match values.as_slice() {
        [value] => algorithm::time(value),
        _ => None,
    }
}
