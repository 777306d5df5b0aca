//! Peels one OpenPGP message, level by level: session keys and container, compressed data, signatures around
//! a literal. Iterative, so depth costs no stack, and a level's bytes are dropped before the next is judged.

use super::compression::inflate;
use super::container::{Container, NotOpened};
use super::packets::{Framing, Packet, cut_off, only, packets, tag};
use super::session::SessionKeys;
use super::signature::{self, Reading};
use crate::mail::context::{Context, Failure, Unopened, Unwrapped};
use crate::mail::model::{Format, Integrity, Layer, Outcome, Signature, Verdict};
use std::ops::Range;

/// The packets of one level, sorted.
#[derive(Default)]
struct Level {
    session_keys: SessionKeys,
    /// Announced by one-pass signature packets.
    announced: usize,
    signatures: Vec<Vec<u8>>,
    content: Option<Content>,
}

/// The packet that holds what is inside: its tag, and where its body lies.
struct Content {
    tag: u8,
    pieces: Vec<Range<usize>>,
}

/// The layers met so far, and the signatures that wait for the literal data.
struct Peel<'a, 'c> {
    ctx: &'a Context<'c>,
    layers: Vec<Layer>,
    signed: Vec<Signed>,
    inflated: bool,
    /// A detached signature alone: what it is over is not here.
    bare: bool,
}

/// The signatures of one level.
struct Signed {
    /// Index of their layer.
    layer: usize,
    packets: Vec<Vec<u8>>,
    /// How many were announced and are not there.
    missing: usize,
}

/// The kind of a layer that is a signature without what it is over.
pub const DETACHED: &str = "detached-signature";

/// Opens a binary OpenPGP message.
pub fn peel(message: Vec<u8>, ctx: &Context) -> Result<Unwrapped, Unopened> {
    let mut peel = Peel {
        ctx,
        layers: Vec::new(),
        signed: Vec::new(),
        inflated: false,
        bare: false,
    };
    match peel.reach_literal(message) {
        Ok(literal) => Ok(peel.unwrapped(literal)),
        Err(failure) => Err(peel.unopened(failure)),
    }
}

impl Peel<'_, '_> {
    fn reach_literal(&mut self, message: Vec<u8>) -> Result<Literal, Failure> {
        let bounds = &self.ctx.policy.bounds;
        let mut bytes = message;
        for _ in 0..bounds.depth {
            let mut level = Level::default();
            let read = level.read(&bytes, self.ctx.budget.recipients(bounds));
            self.ctx.budget.looked_at(level.session_keys.len());
            self.note_signatures(&mut level);
            if read.is_err() {
                self.note_recipients(&level);
            }
            read?;
            bytes = match self.next(level, bytes)? {
                Step::Inside(inner) => inner,
                Step::Literal(literal) => {
                    if !self.inflated {
                        self.ctx.budget.expand(literal.data.len() as u64, bounds)?;
                    }
                    return Ok(literal);
                }
            };
        }
        Err(Failure::OverBound {
            bound: "depth",
            limit: u64::from(bounds.depth),
        })
    }

    /// An encrypted message that breaks off is told as one, with its recipients.
    fn note_recipients(&mut self, level: &Level) {
        if level.session_keys.len() > 0 {
            let mut layer = layer(
                "encrypted",
                level.session_keys.algorithms(),
                Integrity::Broken,
            );
            layer.recipients = level.session_keys.recipients();
            self.layers.push(layer);
        }
    }

    fn note_signatures(&mut self, level: &mut Level) {
        let packets = std::mem::take(&mut level.signatures);
        if level.announced == 0 && packets.is_empty() {
            return;
        }
        self.bare = level.announced == 0 && level.content.is_none();
        self.signed.push(Signed {
            layer: self.layers.len(),
            missing: level.announced.saturating_sub(packets.len()),
            packets,
        });
        let kind = if self.bare { DETACHED } else { "signed" };
        self.layers.push(layer(kind, Vec::new(), Integrity::None));
    }

    fn next(&mut self, level: Level, bytes: Vec<u8>) -> Result<Step, Failure> {
        let content = level.content.as_ref();
        let body = content.map_or_else(Vec::new, |content| only(bytes, &content.pieces));
        match content.map(|content| content.tag) {
            Some(tag::LITERAL) => literal(body).map(Step::Literal),
            Some(tag::COMPRESSED) => {
                let (inner, name) = inflate(body, self.ctx.budget, &self.ctx.policy.bounds)?;
                self.inflated = true;
                self.layers
                    .push(layer("compressed", vec![name.to_owned()], Integrity::None));
                Ok(Step::Inside(inner))
            }
            Some(packet_tag) => self
                .decrypt(level.session_keys, packet_tag, body)
                .map(Step::Inside),
            None if self.bare => Ok(Step::Literal(Literal::default())),
            None if level.session_keys.len() > 0 => {
                self.note_recipients(&level);
                let what = "it breaks off behind its session keys";
                Err(Failure::Damaged(what.to_owned()))
            }
            None => Err(Failure::Damaged(
                "no encrypted, compressed or literal data in it".to_owned(),
            )),
        }
    }

    fn decrypt(
        &mut self,
        keys: SessionKeys,
        packet_tag: u8,
        body: Vec<u8>,
    ) -> Result<Vec<u8>, Failure> {
        let mut layer = layer("encrypted", Vec::new(), Integrity::None);
        layer.recipients = keys.recipients();
        let container = Container::new(packet_tag, body).map_err(|e| match e {
            NotOpened::Unsupported(what) => Failure::Refused(format!("unsupported {what}")),
            other => Failure::Damaged(other.to_string()),
        });
        let opened = container.and_then(|container| {
            layer.algorithms = container.algorithms();
            layer.algorithms.extend(keys.algorithms());
            self.refuse(&layer.algorithms)?;
            let unlocked = keys.open(&container, self.ctx)?;
            self.refuse(unlocked.cipher.as_slice())?;
            Ok((unlocked, container.integrity()))
        });
        match opened {
            Ok((unlocked, integrity)) => {
                if let Some(cipher) = unlocked.cipher
                    && !layer.algorithms.contains(&cipher)
                {
                    layer.algorithms.insert(1, cipher);
                }
                layer.key = unlocked.key;
                layer.integrity = integrity;
                self.layers.push(layer);
                Ok(unlocked.plaintext)
            }
            Err(failure) => {
                layer.outcome = failure.outcome();
                layer.reason = Some(failure.to_string());
                if layer.outcome == Outcome::Damaged {
                    layer.integrity = Integrity::Broken;
                }
                self.layers.push(layer);
                Err(failure)
            }
        }
    }

    fn refuse(&self, algorithms: &[String]) -> Result<(), Failure> {
        match algorithms
            .iter()
            .find(|name| self.ctx.policy.refuse.contains(*name))
        {
            Some(name) => Err(Failure::Refused(format!("policy refuses {name}"))),
            None => Ok(()),
        }
    }

    fn unwrapped(mut self, literal: Literal) -> Unwrapped {
        let Literal {
            header,
            data: plaintext,
        } = literal;
        if self.layers.is_empty() {
            self.layers
                .push(layer("literal", Vec::new(), Integrity::None));
        }
        if !self.bare {
            let digests = self.ctx.digests(&plaintext);
            for layer in &mut self.layers {
                (layer.plaintext_sha256, layer.plaintext_lf_sha256) = digests;
            }
        }
        let signatures = self.judged(|packets, depth, ctx| {
            if self.bare {
                signature::unjudged(packets, depth, signature::DETACHED, Verdict::UnknownSigner)
            } else {
                let readings = [Reading::literal(&plaintext, &header)];
                let around = self.encryption_around(depth).or(ctx.around);
                signature::judge(packets, &readings, depth, around, ctx)
            }
        });
        for signed in &self.signed {
            let depth = u32::try_from(signed.layer).unwrap_or(u32::MAX);
            let of_layer: Vec<_> = signatures.iter().filter(|s| s.depth == depth).collect();
            self.layers[signed.layer].algorithms = signature::algorithms(of_layer);
        }
        Unwrapped {
            plaintext,
            inner_is_cms: false,
            layers: self.layers,
            signatures,
        }
    }

    /// The innermost encryption around the layer at `depth`.
    fn encryption_around(&self, depth: u32) -> Option<&Layer> {
        let outer = self.layers.iter().take(depth as usize);
        outer.rev().find(|layer| layer.kind == "encrypted")
    }

    /// What `judge` says of the signatures that are there, and a note for each that is not.
    fn judged(
        &self,
        judge: impl Fn(&[Vec<u8>], u32, &Context) -> Vec<Signature>,
    ) -> Vec<Signature> {
        let mut signatures = Vec::new();
        for signed in &self.signed {
            let depth = u32::try_from(signed.layer).unwrap_or(u32::MAX);
            signatures.extend(judge(&signed.packets, depth, self.ctx));
            let missing = signed.missing.min(super::MOST_SIGNATURES);
            signatures.extend((0..missing).map(|_| signature::missing(depth)));
        }
        signatures
    }

    /// Whatever came before the failure was taken off, but its plaintext ends in something unreadable.
    fn unopened(mut self, failure: Failure) -> Unopened {
        if self.layers.is_empty() {
            self.layers
                .push(layer("literal", Vec::new(), Integrity::None));
        }
        if let Some(last) = self.layers.last_mut()
            && last.reason.is_none()
        {
            last.outcome = failure.outcome();
            last.reason = Some(failure.to_string());
        }
        let signatures = self.judged(|packets, depth, _| match failure {
            Failure::Damaged(_) => {
                signature::unjudged(packets, depth, signature::BROKEN, Verdict::Invalid)
            }
            _ => signature::unjudged(packets, depth, signature::UNREACHED, Verdict::UnknownSigner),
        });
        Unopened {
            failure,
            layers: self.layers,
            signatures,
        }
    }
}

enum Step {
    Inside(Vec<u8>),
    Literal(Literal),
}

/// Literal data, and what comes before it in its packet.
#[derive(Default)]
struct Literal {
    header: Vec<u8>,
    data: Vec<u8>,
}

impl Level {
    fn read(&mut self, bytes: &[u8], recipients: u32) -> Result<(), Failure> {
        for packet in packets(bytes) {
            let packet = match packet {
                Ok(packet) => packet,
                Err(Framing::NotAPacket(at))
                    if self.content.is_some() && is_filler(&bytes[at..]) =>
                {
                    break;
                }
                Err(error) => {
                    self.keep_cut(bytes, error);
                    return Err(Failure::Damaged(error.to_string()));
                }
            };
            self.sort(packet)?;
            if self.session_keys.len() > recipients as usize {
                return Err(Failure::OverBound {
                    bound: "recipients",
                    limit: u64::from(recipients),
                });
            }
        }
        Ok(())
    }

    /// What is there of a session key that the message breaks off in may name its recipient.
    fn keep_cut(&mut self, bytes: &[u8], error: Framing) {
        let Framing::Truncated(at) = error else {
            return;
        };
        if let Some((packet_tag @ (tag::PKESK | tag::SKESK), body)) = cut_off(&bytes[at..])
            && self.content.is_none()
        {
            self.session_keys.push(packet_tag, body.to_vec());
        }
    }

    fn sort(&mut self, packet: Packet) -> Result<(), Failure> {
        match packet.tag {
            tag::PKESK | tag::SKESK if self.content.is_none() => self
                .session_keys
                .push(packet.tag, packet.body().into_owned()),
            tag::ONE_PASS if self.content.is_none() => self.announced += 1,
            tag::SIGNATURE if self.signatures.len() == super::MOST_SIGNATURES => {}
            tag::SIGNATURE => self.signatures.push(packet.body().into_owned()),
            tag::SED | tag::SEIPD | tag::GNUPG_AEAD | tag::COMPRESSED | tag::LITERAL => self
                .content(Content {
                    tag: packet.tag,
                    pieces: packet.pieces,
                })?,
            tag::MARKER | tag::PADDING | tag::TRUST | 40.. => {}
            other => {
                return Err(Failure::Damaged(format!(
                    "unexpected packet of type {other}"
                )));
            }
        }
        Ok(())
    }

    /// A second content after the first is how one message is smuggled into another.
    fn content(&mut self, content: Content) -> Result<(), Failure> {
        match self.content.replace(content) {
            None => Ok(()),
            Some(_) => Err(Failure::Damaged("more than one message in it".to_owned())),
        }
    }
}

/// Line ends after a message.
fn is_filler(rest: &[u8]) -> bool {
    rest.iter().all(u8::is_ascii_whitespace)
}

/// Literal data (RFC 9580 §5.9): format, file name, date, then the data.
fn literal(mut body: Vec<u8>) -> Result<Literal, Failure> {
    let header = body.get(1).map(|name| 2 + usize::from(*name) + 4);
    match header {
        Some(header) if header <= body.len() => {
            let header = body.drain(..header).collect();
            Ok(Literal { header, data: body })
        }
        _ => Err(Failure::Damaged("literal data packet too short".to_owned())),
    }
}

/// A layer that opened; digests and the rest are filled in later.
pub(super) fn layer(kind: &str, algorithms: Vec<String>, integrity: Integrity) -> Layer {
    Layer {
        depth: 0,
        format: Format::Openpgp,
        kind: kind.to_owned(),
        algorithms,
        recipients: Vec::new(),
        key: None,
        integrity,
        outcome: Outcome::Opened,
        reason: None,
        plaintext_sha256: None,
        plaintext_lf_sha256: None,
    }
}
