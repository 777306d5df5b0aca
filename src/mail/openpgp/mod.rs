//! OpenPGP: messages of every age opened, signatures checked and judged (RFC 9580, RFC 4880, LibrePGP's OCB packet).
//!
//! [`open`] peels one message: its encryption, compression and signatures are one object and yield the
//! literal data. Private-key operations happen elsewhere ([`crate::mail::KeyOps`]); what was altered is not given out.

mod aead;
pub mod altered;
pub mod armor;
mod binding;
mod by_hand;
mod certs;
pub mod cleartext;
mod compression;
mod consumed;
mod container;
mod dsa;
mod encrypt;
mod escaped;
mod line_ends;
mod message;
pub mod packets;
mod policy;
mod recipients;
mod session;
mod signature;
mod standing;
mod technical;
mod verdict;
mod verify;

pub use certs::{FROM_MESSAGE, certificates_in};
pub use encrypt::{CannotEncrypt, encrypt_for};
pub use message::DETACHED;
pub use policy::EveryAge;
pub use session::public_key_name;

use crate::mail::context::{Context, Failure, Unopened, Unwrapped};
use crate::mail::model::{Integrity, Layer, Outcome, Signature};
use line_ends::{to_crlf, to_lf};
use message::layer;
use packets::tag;
use signature::Reading;
use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Opens one OpenPGP message, binary or armored (of several armored blocks the first message).
///
/// With `detached`, `data` is a detached signature over these bytes, and the plaintext is empty.
pub fn open(data: &[u8], detached: Option<&[u8]>, ctx: &Context) -> Result<Unwrapped, Unopened> {
    guarded(|| match detached {
        Some(signed) => check_detached(data, signed, ctx),
        None => match binary(data) {
            Some(Found::Packets(bytes)) => message::peel(bytes.into_owned(), ctx),
            Some(Found::ClearSigned) => clear_signed(data, ctx),
            None => Err(unopened("literal", "no OpenPGP data in it")),
        },
    })
}

/// As [`open`] for a binary message that nobody else needs: it is not copied, and given up as soon as it is read.
pub fn open_owned(message: Vec<u8>, ctx: &Context) -> Result<Unwrapped, Unopened> {
    let whole = matches!(
        binary(&message),
        Some(Found::Packets(Cow::Borrowed(packets))) if packets.len() == message.len()
    );
    if whole {
        guarded(|| message::peel(message, ctx))
    } else {
        open(&message, None, ctx)
    }
}

/// Checks a clear-signed text (the first in `text`). The plaintext is the text with its dash escapes undone.
pub fn open_clear_signed(text: &[u8], ctx: &Context) -> Result<Unwrapped, Unopened> {
    guarded(|| clear_signed(text, ctx))
}

/// The last line of defence against a library that panics on hostile bytes: such a message counts as damaged.
fn guarded(work: impl FnOnce() -> Result<Unwrapped, Unopened>) -> Result<Unwrapped, Unopened> {
    let mut result = catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        Err(unopened(
            "encrypted",
            "its structure makes the parser give up",
        ))
    });
    let layers = match &mut result {
        Ok(unwrapped) => &mut unwrapped.layers,
        Err(unopened) => &mut unopened.layers,
    };
    for (depth, layer) in (0..).zip(layers) {
        layer.depth = depth;
    }
    result
}

fn clear_signed(text: &[u8], ctx: &Context) -> Result<Unwrapped, Unopened> {
    let Some(clear) = cleartext::parse(text, 0) else {
        return Err(unopened("clear-signed", "no clear-signed text in it"));
    };
    let signatures = signatures_in(&clear.signature);
    if signatures.is_empty() {
        return Err(unopened(
            "clear-signed",
            "the signature block is missing or empty",
        ));
    }
    let mut readings = vec![
        Reading::enclosed(&clear.signed),
        Reading::with_blanks(&clear.signed_with_blanks),
    ];
    // Whatever line ends transport made of the signer's.
    let with_lf = to_lf(&clear.text);
    let with_crlf = to_crlf(&clear.text);
    if clear.verbatim {
        readings.extend([&*clear.text, &with_lf, &with_crlf].map(Reading::verbatim));
    }
    let signatures = signature::judge(&signatures, &readings, 0, ctx.around, ctx);
    let layer = signed_layer("clear-signed", &clear.text, &signatures, ctx);
    Ok(Unwrapped {
        plaintext: clear.text,
        inner_is_cms: false,
        layers: vec![layer],
        signatures,
    })
}

fn check_detached(signature: &[u8], signed: &[u8], ctx: &Context) -> Result<Unwrapped, Unopened> {
    let packets = match binary(signature) {
        Some(Found::Packets(bytes)) => signatures_in(&bytes),
        _ => Vec::new(),
    };
    if packets.is_empty() {
        return Err(unopened(
            "signed",
            "no OpenPGP signature in the signature part",
        ));
    }
    let signatures = signature::judge(&packets, &Reading::detached(signed), 0, ctx.around, ctx);
    let layer = signed_layer("signed", signed, &signatures, ctx);
    Ok(Unwrapped {
        plaintext: Vec::new(),
        inner_is_cms: false,
        layers: vec![layer],
        signatures,
    })
}

fn signatures_in(bytes: &[u8]) -> Vec<Vec<u8>> {
    let signatures = packets::packets(bytes)
        .flatten()
        .filter(|packet| packet.tag == tag::SIGNATURE);
    signatures
        .map(|packet| packet.body().into_owned())
        .take(MOST_SIGNATURES)
        .collect()
}

/// More signatures on one content than this are not looked at.
const MOST_SIGNATURES: usize = 32;

fn signed_layer(kind: &str, content: &[u8], signatures: &[Signature], ctx: &Context) -> Layer {
    let mut layer = layer(kind, signature::algorithms(signatures), Integrity::None);
    (layer.plaintext_sha256, layer.plaintext_lf_sha256) = ctx.digests(content);
    layer
}

enum Found<'a> {
    Packets(Cow<'a, [u8]>),
    ClearSigned,
}

/// The packets in `data`, wherever they are: armor in a text, or binary. Binary data may well have armor inside a
/// literal, so armor only counts behind text.
fn binary(data: &[u8]) -> Option<Found<'_>> {
    let armored = || {
        let message = |label: &str| !label.ends_with("KEY BLOCK");
        let block = armor::blocks(data).find(|block| message(&block.label))?;
        if block.label == armor::SIGNED_MESSAGE {
            return Some(Found::ClearSigned);
        }
        Some(Found::Packets(Cow::Owned(block.bytes)))
    };
    let first = packets::packets(data).next();
    let packet = match first {
        Some(Ok(packet)) => is_message_packet(packet.tag),
        // Mail was cut off inside its first session key.
        Some(Err(_)) => {
            let cut = packets::cut_off(data);
            cut.is_some_and(|(packet_tag, _)| matches!(packet_tag, tag::PKESK | tag::SKESK))
        }
        None => false,
    };
    let text_before_armor = armor::find(data, b"-----BEGIN PGP ")
        .is_some_and(|at| std::str::from_utf8(&data[..at]).is_ok());
    match (packet, text_before_armor) {
        (_, true) | (false, false) => {
            armored().or(packet.then_some(Found::Packets(Cow::Borrowed(data))))
        }
        (true, false) => Some(Found::Packets(Cow::Borrowed(data))),
    }
}

fn is_message_packet(packet_tag: u8) -> bool {
    matches!(packet_tag, 1..=4 | 8..=11 | 18 | 20 | 21 | 40..=63)
}

fn unopened(kind: &str, reason: &str) -> Unopened {
    let mut layer = layer(kind, Vec::new(), Integrity::Broken);
    layer.outcome = Outcome::Damaged;
    layer.reason = Some(format!("damaged: {reason}"));
    Unopened {
        failure: Failure::Damaged(reason.to_owned()),
        layers: vec![layer],
        signatures: Vec::new(),
    }
}
