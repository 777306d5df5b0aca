//! S/MIME: one CMS object (RFC 5652 and older) opened at a time, encrypted or signed, in BER or DER, as far as the
//! keys and certificates in the context reach. Structures are read in place from BER, see `docs/adr`; the
//! arithmetic is OpenSSL's.

pub mod algorithm;
pub mod attributes;
mod authenticated;
pub mod ber;
pub mod certificates;
pub mod chain;
pub mod content;
mod content_families;
pub mod crl;
pub mod encrypt;
pub mod enveloped;
mod issuers;
mod key_search;
pub mod name;
pub mod oids;
mod policies;
mod rating;
pub mod recipient;
pub mod release_check;
pub mod revocation;
pub mod signed;
pub mod signed_content;
pub mod structure;
pub mod verify;
pub mod wrap;

#[cfg(test)]
mod tests;

use super::context::{Context, Failure, Unopened, Unwrapped};
use super::inflate::{self, Limit, Pieces};
use super::model::{Format, Integrity, Layer, Outcome, Signature};
use crate::mail::digest;
use ber::Element;
use const_oid::ObjectIdentifier;
use signed::Signed;
use signed_content::Content;
use structure::ContentInfo;

/// Peels one `ContentInfo` (BER or DER). `detached` is the signed content of a detached signature, exactly as it
/// stands in the mail. A signature that does not hold is a verdict, not an error: the content is given all the same.
pub fn open(
    content_info: &[u8],
    detached: Option<&[u8]>,
    ctx: &Context<'_>,
) -> Result<Unwrapped, Unopened> {
    open_with(content_info, detached.map(Content::Beside), ctx)
}

/// As [`open`] for the signature of `file`, which is no part of a mail with line ends of its own.
pub fn open_over_file(
    content_info: &[u8],
    file: &[u8],
    ctx: &Context<'_>,
) -> Result<Unwrapped, Unopened> {
    open_with(content_info, Some(Content::File(file)), ctx)
}

fn open_with(
    content_info: &[u8],
    detached: Option<Content<'_>>,
    ctx: &Context<'_>,
) -> Result<Unwrapped, Unopened> {
    let (content_type, content) = content(content_info)?;
    match content_type {
        oids::SIGNED_DATA => Signed::judge(content, detached, ctx)?.copied(ctx),
        oids::ENVELOPED_DATA
        | oids::AUTH_ENVELOPED_DATA
        | oids::ENCRYPTED_DATA
        | oids::SIGNED_AND_ENVELOPED_DATA => enveloped::open(&content_type, content, ctx),
        oids::AUTHENTICATED_DATA => authenticated::open(content, ctx),
        oids::COMPRESSED_DATA => compressed(content, ctx),
        oids::DIGESTED_DATA => digested(content, ctx),
        oids::DATA => data(content, ctx),
        other => {
            let failure =
                Failure::Refused(format!("unsupported: content type {}", oids::show(&other)));
            Err(unopened(failure, layer("unknown")))
        }
    }
}

/// As [`open`], of an object that is not needed afterwards.
pub fn open_owned(content_info: Vec<u8>, ctx: &Context<'_>) -> Result<Unwrapped, Unopened> {
    if content_type_of(&content_info) == Some(oids::SIGNED_DATA) {
        Signed::in_place(content_info, ctx)
    } else {
        open(&content_info, None, ctx)
    }
}

/// Type and content of a `ContentInfo`.
fn content(content_info: &[u8]) -> Result<(ObjectIdentifier, Element<'_>), Unopened> {
    let unreadable = |error: ber::BerError| Unopened {
        failure: damaged(error),
        layers: Vec::new(),
        signatures: Vec::new(),
    };
    let info = ContentInfo::read(content_info).map_err(unreadable)?;
    let missing = ber::BerError::Unexpected {
        wanted: "content",
        found: 0,
    };
    let content = info.content.ok_or(missing).map_err(unreadable)?;
    Ok((info.content_type, content))
}

/// The `ContentInfo` in `bytes`: binary, perhaps behind blank lines, or in PEM armour ("-----BEGIN PKCS7-----"), or in bare
/// base64.
#[must_use]
pub fn decode_container(bytes: &[u8]) -> Option<Vec<u8>> {
    let binary = bytes.trim_ascii_start();
    if is_content_info(binary) {
        return Some(binary.to_vec());
    }
    let text = std::str::from_utf8(bytes).ok()?;
    let inside = match text.split_once("-----BEGIN ") {
        Some((_, rest)) => rest.split_once("-----")?.1.split_once("-----END")?.0,
        None => text,
    };
    // Encapsulated header lines (RFC 1421) end with an empty line.
    let body = match inside.split_once("\n\n") {
        Some((headers, body)) if headers.contains(':') => body,
        _ => inside,
    };
    let mut digits: Vec<u8> = body
        .bytes()
        .filter(|byte| !byte.is_ascii_whitespace())
        .collect();
    while digits.last() == Some(&b'=') {
        digits.pop();
    }
    let decoded = data_encoding::BASE64_NOPAD.decode(&digits).ok()?;
    is_content_info(&decoded).then_some(decoded)
}

/// Whether `bytes` begin with a SEQUENCE that begins with the object identifier of a CMS content type.
#[must_use]
pub fn is_content_info(bytes: &[u8]) -> bool {
    content_type_of(bytes).is_some_and(|kind| kind == oids::DATA || oids::CMS_TYPES.contains(&kind))
}

/// Whether a `ContentInfo` is signed by somebody and has no content: that is elsewhere.
#[must_use]
pub fn is_detached_signature(content_info: &[u8]) -> bool {
    let signed = || {
        let (kind, content) = content(content_info).ok()?;
        let signed = (kind == oids::SIGNED_DATA).then_some(content)?;
        structure::SignedData::read(signed).ok()
    };
    signed()
        .is_some_and(|signed| signed.encapsulated.octets().is_none() && signed.signers.peek() != 0)
}

/// The content type named at the beginning of a `ContentInfo`, without reading the rest of it.
fn content_type_of(bytes: &[u8]) -> Option<ObjectIdentifier> {
    let start = match bytes {
        [0x30, 0x80, rest @ ..] => rest,
        [0x30, length, rest @ ..] if *length < 0x80 => rest,
        [0x30, length, rest @ ..] => rest.get(usize::from(length & 0x7f)..)?,
        _ => return None,
    };
    Element::split(start).ok()?.0.oid().ok()
}

/// `CompressedData` (RFC 3274).
fn compressed(content: Element<'_>, ctx: &Context<'_>) -> Result<Unwrapped, Unopened> {
    let mut layer = layer("compressed");
    layer.algorithms.push("zlib".to_owned());
    let inflated = || -> Result<(Vec<u8>, ObjectIdentifier), Failure> {
        let mut inside = content
            .inside_of(ber::tag::SEQUENCE, "CompressedData")
            .map_err(damaged)?;
        inside
            .expect(ber::tag::INTEGER, "a version")
            .map_err(damaged)?;
        let algorithm = algorithm::Algorithm::read(&mut inside).map_err(damaged)?;
        if algorithm.oid != oids::ZLIB {
            return Err(Failure::Refused(format!(
                "unsupported: compression {}",
                oids::show(&algorithm.oid)
            )));
        }
        let encapsulated = structure::Encapsulated::read(&mut inside).map_err(damaged)?;
        let element = encapsulated.content;
        let element =
            element.ok_or_else(|| Failure::Damaged("no compressed content".to_owned()))?;
        let deflated = element.chunks();
        let length = deflated.total().map_err(damaged)?;
        let limit = Limit::of(length, ctx.budget, &ctx.policy.bounds);
        let inflated = inflate::zlib(Pieces::new(deflated), limit)?;
        ctx.budget
            .expand(inflated.len() as u64, &ctx.policy.bounds)?;
        Ok((inflated, encapsulated.content_type))
    };
    match inflated() {
        Ok((plaintext, content_type)) => {
            Ok(unwrapped(plaintext, &content_type, layer, Vec::new(), ctx))
        }
        Err(failure) => Err(unopened(failure, layer)),
    }
}

/// `DigestedData`: a checksum, which says nothing about who made it.
fn digested(content: Element<'_>, ctx: &Context<'_>) -> Result<Unwrapped, Unopened> {
    let mut layer = layer("digested");
    let mut opened = || -> Result<(Vec<u8>, ObjectIdentifier), Failure> {
        let mut inside = content
            .inside_of(ber::tag::SEQUENCE, "DigestedData")
            .map_err(damaged)?;
        inside
            .expect(ber::tag::INTEGER, "a version")
            .map_err(damaged)?;
        let digest = algorithm::Algorithm::read(&mut inside).map_err(damaged)?;
        let encapsulated = structure::Encapsulated::read(&mut inside).map_err(damaged)?;
        let stated = inside
            .value("a digest")
            .and_then(|value| value.octet_string())
            .map_err(damaged)?;
        let name = oids::digest_name(&digest.oid);
        layer
            .algorithms
            .push(name.map_or_else(|| digest.oid.to_string(), str::to_owned));
        let plaintext = collect(encapsulated.octets(), ctx)?;
        let computed = digest::of(
            name.unwrap_or_default(),
            [Ok::<_, ()>(plaintext.as_slice())].into_iter(),
        );
        layer.integrity = match computed {
            Ok(Some(computed)) if computed == *stated => Integrity::Unauthenticated,
            Ok(Some(_)) => Integrity::Broken,
            _ => Integrity::None,
        };
        Ok((plaintext, encapsulated.content_type))
    };
    match opened() {
        Ok((plaintext, content_type)) => {
            Ok(unwrapped(plaintext, &content_type, layer, Vec::new(), ctx))
        }
        Err(failure) => Err(unopened(failure, layer)),
    }
}

fn data(content: Element<'_>, ctx: &Context<'_>) -> Result<Unwrapped, Unopened> {
    let layer = layer("data");
    match collect(Some(content.chunks()), ctx) {
        Ok(plaintext) => Ok(unwrapped(plaintext, &oids::DATA, layer, Vec::new(), ctx)),
        Err(failure) => Err(unopened(failure, layer)),
    }
}

/// Copies content out of the message, within the bound on expanded size.
fn collect(chunks: Option<ber::Chunks<'_>>, ctx: &Context<'_>) -> Result<Vec<u8>, Failure> {
    let Some(chunks) = chunks else {
        return Ok(Vec::new());
    };
    let total = chunks.total().map_err(damaged)?;
    ctx.budget.expand(total as u64, &ctx.policy.bounds)?;
    let mut content = Vec::with_capacity(total + 16);
    for chunk in chunks {
        content.extend_from_slice(chunk.map_err(damaged)?);
    }
    Ok(content)
}

/// A layer of which nothing is known yet but its kind. Layers that do not encrypt keep the outcome `NotEncrypted`.
fn layer(kind: &str) -> Layer {
    Layer {
        depth: 0,
        format: Format::Smime,
        kind: kind.to_owned(),
        algorithms: Vec::new(),
        recipients: Vec::new(),
        key: None,
        integrity: Integrity::None,
        outcome: Outcome::NotEncrypted,
        reason: None,
        plaintext_sha256: None,
        plaintext_lf_sha256: None,
    }
}

fn damaged(error: impl std::fmt::Display) -> Failure {
    Failure::Damaged(error.to_string())
}

/// Adds `name` once.
fn note(names: &mut Vec<String>, name: &str) {
    if !names.iter().any(|known| known == name) {
        names.push(name.to_owned());
    }
}

fn unopened(failure: Failure, mut layer: Layer) -> Unopened {
    layer.outcome = failure.outcome();
    layer.reason = Some(match layer.reason.take() {
        Some(more) => format!("{failure}: {more}"),
        None => failure.to_string(),
    });
    Unopened {
        failure,
        layers: vec![layer],
        signatures: Vec::new(),
    }
}

/// The opened object. Content that is itself CMS comes as a whole `ContentInfo`, so that it can be opened next;
/// the layer's digests are over the bytes as they were inside.
fn unwrapped(
    plaintext: Vec<u8>,
    content_type: &ObjectIdentifier,
    mut layer: Layer,
    signatures: Vec<Signature>,
    ctx: &Context<'_>,
) -> Unwrapped {
    (layer.plaintext_sha256, layer.plaintext_lf_sha256) = ctx.digests(&plaintext);
    let is_whole = is_content_info(&plaintext);
    // Some writers name a type of CMS where the content is text.
    let is_sequence = plaintext.first() == Some(&ber::tag::SEQUENCE);
    let bare = oids::CMS_TYPES.contains(content_type) && !is_whole && is_sequence;
    let plaintext = if bare {
        content_info(content_type, plaintext)
    } else {
        plaintext
    };
    Unwrapped {
        plaintext,
        inner_is_cms: bare || is_whole,
        layers: vec![layer],
        signatures,
    }
}

/// The content as a `ContentInfo`, in its own memory.
fn content_info(content_type: &ObjectIdentifier, mut content: Vec<u8>) -> Vec<u8> {
    let mut head = ber::der(ber::tag::OID, content_type.as_bytes());
    ber::put_head(&mut head, ber::tag::context(0), content.len());
    let mut start = Vec::new();
    ber::put_head(&mut start, ber::tag::SEQUENCE, head.len() + content.len());
    content.splice(..0, start.into_iter().chain(head));
    content
}
