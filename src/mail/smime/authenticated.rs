//! `AuthenticatedData` (RFC 5652 §9): content in the clear, with a MAC whose key only the recipients have. Whoever has
//! a key can check that another holder of it wrote this; it signs nothing.

use super::algorithm::Algorithm;
use super::ber::{BerError, Element, der, tag};
use super::key_search::{Belief, Recipients, Search};
use super::structure::{Encapsulated, attribute_values};
use super::{collect, damaged, layer, oids};
use crate::mail::context::{Context, Failure, Unopened, Unwrapped};
use crate::mail::digest;
use crate::mail::model::{Integrity, Layer};
use openssl::pkey::PKey;
use openssl::sign::Signer;

struct AuthenticatedData<'a> {
    originators: Option<Element<'a>>,
    recipients: Element<'a>,
    mac_algorithm: Algorithm<'a>,
    digest: Option<Algorithm<'a>>,
    encapsulated: Encapsulated<'a>,
    attributes: Option<Element<'a>>,
    mac: Vec<u8>,
}

impl<'a> AuthenticatedData<'a> {
    fn read(content: Element<'a>) -> Result<Self, BerError> {
        let mut inside = content.inside_of(tag::SEQUENCE, "AuthenticatedData")?;
        inside.expect(tag::INTEGER, "a version")?;
        let originators = match inside.optional(tag::context(0))? {
            Some(info) => info.inside().optional(tag::context(0))?,
            None => None,
        };
        let recipients = inside.expect(tag::SET, "recipients")?;
        let mac_algorithm = Algorithm::read(&mut inside)?;
        let digest = inside.optional(tag::context(1))?;
        let digest = digest.map(Algorithm::of).transpose()?;
        let encapsulated = Encapsulated::read(&mut inside)?;
        let attributes = inside.optional(tag::context(2))?;
        let mac = inside.value("a MAC")?.octet_string()?.into_owned();
        Ok(Self {
            originators,
            recipients,
            mac_algorithm,
            digest,
            encapsulated,
            attributes,
            mac,
        })
    }
}

/// Opens `content`. The content is given whatever the MAC says; the layer's integrity tells how the check came out,
/// and its reason why there was none.
pub fn open(content: Element<'_>, ctx: &Context<'_>) -> Result<Unwrapped, Unopened> {
    let mut layer = layer("authenticated");
    let opened = AuthenticatedData::read(content)
        .map_err(damaged)
        .and_then(|data| {
            let plaintext = collect(data.encapsulated.readable(), ctx)?;
            check(&data, ctx, &mut layer)?;
            Ok((plaintext, data.encapsulated.content_type))
        });
    match opened {
        Ok((plaintext, content_type)) => Ok(super::unwrapped(
            plaintext,
            &content_type,
            layer,
            Vec::new(),
            ctx,
        )),
        Err(failure) => Err(super::unopened(failure, layer)),
    }
}

/// Checks the MAC, as far as a key is here.
fn check(
    data: &AuthenticatedData<'_>,
    ctx: &Context<'_>,
    layer: &mut Layer,
) -> Result<(), Failure> {
    let recipients = Recipients::read(data.recipients.inside(), data.originators, ctx);
    recipients.list(layer);
    let Some(digest) = hmac_digest(&data.mac_algorithm) else {
        let name = oids::show(&data.mac_algorithm.oid);
        super::note(&mut layer.algorithms, &name);
        layer.reason = Some(format!("MAC not checked: unsupported: {name}"));
        return Ok(());
    };
    super::note(&mut layer.algorithms, &format!("HMAC-{digest}"));
    let authenticated = match authenticated_bytes(data) {
        Ok(bytes) => bytes,
        Err(why) => {
            layer.integrity = Integrity::Broken;
            layer.reason = Some(why);
            return Ok(());
        }
    };
    let mut search = Search::new(ctx);
    let mut wrong = false;
    let found = search.among(recipients, &mut |key, belief| {
        let fits = mac(digest, key.expose(), &authenticated)
            .is_some_and(|mac| mac.len() == data.mac.len() && openssl::memcmp::eq(&mac, &data.mac));
        if !fits {
            wrong |= belief == Belief::Checked;
            let bytes = authenticated.len() as u64;
            ctx.budget.in_vain(bytes, &ctx.policy.bounds)?;
        }
        Ok(fits.then_some(()))
    })?;
    match found {
        Some(((), key)) => {
            layer.key = key;
            layer.integrity = Integrity::Authenticated;
        }
        None if wrong => {
            layer.integrity = Integrity::Broken;
            layer.reason = Some("the MAC does not fit the content".to_owned());
        }
        None => {
            let failure = search.failure(layer);
            layer.reason = Some(format!("MAC not checked: {failure}"));
        }
    }
    Ok(())
}

/// What the MAC is over: the attributes, which hold the content's digest, or else the content itself.
fn authenticated_bytes(data: &AuthenticatedData<'_>) -> Result<Vec<u8>, String> {
    let text = |error: BerError| error.to_string();
    let content = match data.encapsulated.octets() {
        Some(chunks) => chunks
            .collect::<Result<Vec<_>, _>>()
            .map_err(text)?
            .concat(),
        None => Vec::new(),
    };
    let Some(attributes) = &data.attributes else {
        return Ok(content);
    };
    let one = |kind| match attribute_values(attributes, kind).map_err(text)?.as_slice() {
        [value] => Ok(*value),
        _ => Err("not one value of an attribute that must have one".to_owned()),
    };
    if one(&oids::CONTENT_TYPE)?.oid() != Ok(data.encapsulated.content_type) {
        return Err("the authenticated content type is another".to_owned());
    }
    let stated = one(&oids::MESSAGE_DIGEST)?.octet_string().map_err(text)?;
    let name = data
        .digest
        .and_then(|digest| oids::digest_name(&digest.oid))
        .ok_or("the digest of the content is not known")?;
    let digest = digest::of(name, [Ok::<_, ()>(content.as_slice())].into_iter());
    if digest != Ok(Some(stated.into_owned())) {
        return Err("the content is not what was authenticated".to_owned());
    }
    // Tagged [2] in the message, authenticated as a SET OF (§9.2).
    let attributes = attributes.to_der().map_err(text)?;
    let body = Element::only(&attributes).map_err(text)?.body;
    Ok(der(tag::SET, body))
}

/// The digest of the HMAC that `algorithm` is.
fn hmac_digest(algorithm: &Algorithm<'_>) -> Option<&'static str> {
    match algorithm.oid.to_string().as_str() {
        "1.3.6.1.5.5.8.1.1" => Some("MD5"),
        "1.3.6.1.5.5.8.1.2" => Some("SHA-1"),
        "1.2.840.113549.2.7"
        | "1.2.840.113549.2.8"
        | "1.2.840.113549.2.9"
        | "1.2.840.113549.2.10"
        | "1.2.840.113549.2.11"
        | "2.16.840.1.101.3.4.2.13"
        | "2.16.840.1.101.3.4.2.14"
        | "2.16.840.1.101.3.4.2.15"
        | "2.16.840.1.101.3.4.2.16" => oids::digest_name(&algorithm.oid),
        _ => None,
    }
}

fn mac(digest: &str, key: &[u8], bytes: &[u8]) -> Option<Vec<u8>> {
    let key = PKey::hmac(key).ok()?;
    let mut signer = Signer::new(digest::named(digest)?, &key).ok()?;
    signer.sign_oneshot_to_vec(bytes).ok()
}
