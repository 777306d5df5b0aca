//! The bare check of signatures: which key, over which form of the bytes. What a good check is worth is
//! for [`super::verdict`] to say.

use super::by_hand::{self, SignaturePacket};
use super::certs::{self, FROM_MESSAGE, Known, KnownByHand};
use super::line_ends::{has_bare_lf, stripped, to_crlf, to_lf};
use super::session::public_key_name;
use super::{recipients, verdict, verify};
use crate::mail::context::{Context, TOO_MANY};
use crate::mail::model::{Format, Layer, Signature, Verdict};
use crate::time::Timestamp;
use data_encoding::HEXLOWER;
use openpgp::crypto::hash::Hash;
use openpgp::packet::key::{Key, PublicParts, UnspecifiedRole};
use openpgp::types::{HashAlgorithm, SignatureType};
use sequoia_openpgp as openpgp;
use std::borrow::Cow;
use std::time::{SystemTime, UNIX_EPOCH};

/// Issuers that one signature may name; for each, all certificates are searched.
const MOST_ISSUERS: usize = 8;
/// Format, file name and date where there is no literal data packet (draft-koch-librepgp §5.2.4).
const NO_HEADER: &[u8] = &[0; 6];

/// One way to read the signed bytes.
#[derive(Debug, Clone, Copy)]
pub struct Reading<'a> {
    bytes: &'a [u8],
    header: &'a [u8],
    form: Form,
}

#[derive(Debug, Clone, Copy)]
enum Form {
    Enclosed,
    Exact,
    Crlf,
    Lf,
    Stripped,
    WithBlanks,
    Verbatim,
}

impl<'a> Reading<'a> {
    /// The bytes as they are, as the message itself encloses them.
    #[must_use]
    pub fn enclosed(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            header: NO_HEADER,
            form: Form::Enclosed,
        }
    }

    /// The data of a literal data packet, with what comes before it in the packet: version 5 signatures are over that too.
    #[must_use]
    pub fn literal(bytes: &'a [u8], header: &'a [u8]) -> Self {
        Self {
            header,
            ..Self::enclosed(bytes)
        }
    }

    /// All ways in which the bytes under a detached signature may have been meant.
    #[must_use]
    pub fn detached(bytes: &'a [u8]) -> [Self; 4] {
        [Form::Exact, Form::Crlf, Form::Lf, Form::Stripped].map(|form| Self {
            form,
            ..Self::enclosed(bytes)
        })
    }

    /// A clear-signed text with its white space at line ends.
    #[must_use]
    pub fn with_blanks(bytes: &'a [u8]) -> Self {
        Self {
            form: Form::WithBlanks,
            ..Self::enclosed(bytes)
        }
    }

    /// A text that GnuPG left as it was (`NotDashEscaped`): it hashes that to its last line end, whatever the signature's type.
    #[must_use]
    pub fn verbatim(bytes: &'a [u8]) -> Self {
        Self {
            form: Form::Verbatim,
            ..Self::enclosed(bytes)
        }
    }

    fn hashed(self, as_text: bool) -> Cow<'a, [u8]> {
        match self.form {
            Form::Exact | Form::Enclosed if as_text => to_crlf(self.bytes),
            Form::Exact | Form::Enclosed | Form::WithBlanks | Form::Verbatim => {
                Cow::Borrowed(self.bytes)
            }
            Form::Crlf => to_crlf(self.bytes),
            Form::Lf => to_lf(self.bytes),
            Form::Stripped => Cow::Owned(stripped(self.bytes)),
        }
    }

    /// What to say about a signature that is good over this reading. MIME entities are signed over CRLF (RFC 3156 §5).
    fn reservation(self, as_text: bool) -> Option<&'static str> {
        match self.form {
            Form::Exact if !as_text && looks_like_mime(self.bytes) && has_bare_lf(self.bytes) => {
                Some("noncanonical: good only over LF line ends")
            }
            Form::Exact | Form::Enclosed | Form::Crlf | Form::Verbatim => None,
            Form::Lf => Some("noncanonical: good only over LF line ends"),
            Form::Stripped => Some("noncanonical: good only without white space at line ends"),
            Form::WithBlanks => Some("noncanonical: good only with white space at line ends"),
        }
    }
}

/// Whether a header field comes first.
fn looks_like_mime(bytes: &[u8]) -> bool {
    let name = bytes
        .iter()
        .take_while(|b| b.is_ascii_alphanumeric() || **b == b'-')
        .count();
    name > 0 && bytes.get(name) == Some(&b':')
}

/// Checks and judges signature packets (bodies) over one content. `around` is the innermost encryption around it.
#[must_use]
pub fn judge(
    packets: &[Vec<u8>],
    readings: &[Reading],
    depth: u32,
    around: Option<&Layer>,
    ctx: &Context,
) -> Vec<Signature> {
    let judged = packets.iter().map(|body| {
        let Some(packet) = SignaturePacket::read(body) else {
            return unread(depth, UNKNOWN);
        };
        let mut judged = judge_one(&packet, readings, depth, ctx);
        recipients::compare(&mut judged, &packet.fields, around, ctx);
        judged
    });
    judged.collect()
}

/// The algorithms of several signatures, each once.
#[must_use]
pub fn algorithms<'a>(signatures: impl IntoIterator<Item = &'a Signature>) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for name in signatures.into_iter().flat_map(|s| &s.algorithms) {
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    names
}

/// Why a signature was not checked: it is detached, and what it is over is not here.
pub const DETACHED: &str = "detached: what was signed is not here";
/// Why a signature was not checked: the message around it is malformed.
pub const BROKEN: &str = "damaged: the message around the signature is malformed";
/// Why a signature was not checked: what was signed did not open.
pub const UNREACHED: &str = "unopened: what was signed could not be read";

/// Signature packets (bodies) that cannot be checked, with what they say of themselves.
#[must_use]
pub fn unjudged(packets: &[Vec<u8>], depth: u32, reason: &str, verdict: Verdict) -> Vec<Signature> {
    let told = packets
        .iter()
        .map(|body| match SignaturePacket::read(body) {
            Some(packet) => Signature {
                verdict,
                reason: reason.to_owned(),
                ..unchecked(&packet.fields, &packet.fields.get_issuers(), depth)
            },
            None => unread(depth, UNKNOWN),
        });
    told.collect()
}

/// A signature that a one-pass signature packet announced and that is not there.
#[must_use]
pub fn missing(depth: u32) -> Signature {
    unread(
        depth,
        "missing: a one-pass signature packet announces it, but it is not there",
    )
}

const UNKNOWN: &str = "unsupported: a signature packet of an unknown version or shape";

/// A key that the signature may be of, with its certificate, both read by Sequoia.
pub(super) struct Candidate<'a> {
    pub known: &'a Known,
    pub key: &'a Key<PublicParts, UnspecifiedRole>,
}

/// A key that the signature may be of, by who reads it.
pub(super) enum Signer<'a> {
    Parsed(Candidate<'a>),
    ByHand(by_hand::Candidate<'a>),
}

impl Signer<'_> {
    fn key(&self) -> &Key<PublicParts, UnspecifiedRole> {
        match self {
            Self::Parsed(candidate) => candidate.key,
            Self::ByHand(candidate) => &candidate.key.key,
        }
    }

    /// Whether both are the same key, be it in another certificate.
    fn is_same_key(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Parsed(one), Self::Parsed(other)) => {
                one.key.fingerprint() == other.key.fingerprint()
            }
            (Self::ByHand(one), Self::ByHand(other)) => {
                one.key.fingerprint == other.key.fingerprint
            }
            (Self::Parsed(parsed), Self::ByHand(by_hand))
            | (Self::ByHand(by_hand), Self::Parsed(parsed)) => {
                parsed.key.fingerprint().as_bytes() == by_hand.key.fingerprint
            }
        }
    }

    fn vouched(&self) -> bool {
        match self {
            Self::Parsed(candidate) => candidate.known.vouched(),
            Self::ByHand(candidate) => candidate.source != FROM_MESSAGE,
        }
    }
}

fn judge_one(
    packet: &SignaturePacket,
    readings: &[Reading],
    depth: u32,
    ctx: &Context,
) -> Signature {
    let signature = &packet.fields;
    let mut issuers = signature.get_issuers();
    let mut evidence = unchecked(signature, &issuers, depth);
    let as_text = match signature.typ() {
        SignatureType::Binary => false,
        SignatureType::Text => true,
        other => {
            evidence.verdict = Verdict::Invalid;
            evidence.reason = format!("not a signature over a document but a {other}");
            return evidence;
        }
    };
    issuers.truncate(MOST_ISSUERS);
    let vouched = certs::vouched(ctx.trust, &issuers);
    let attached = certs::among(ctx.attached, &issuers);
    let candidates = candidates(signature, &issuers, [&*vouched, &attached]);
    if candidates.is_empty() {
        return evidence;
    }
    let (mut checked, mut over) = (false, false);
    let good = readings.iter().find_map(|reading| {
        over |= !ctx.budget.hash(reading.bytes.len() as u64);
        if over {
            return None;
        }
        let digest = digest(packet, &reading.hashed(as_text), reading.header)?;
        let fits = candidates.iter().find(|candidate| {
            over = over || !verify::is_within(candidate.key(), ctx.budget);
            if over {
                return false;
            }
            let fits = check(packet, candidate.key(), &digest);
            checked |= fits.is_some();
            fits == Some(true)
        })?;
        Some((fits, reading.reservation(as_text)))
    });
    let Some((signer, reservation)) = good else {
        return match candidates.first() {
            _ if over => {
                TOO_MANY.clone_into(&mut evidence.reason);
                evidence
            }
            Some(candidate) if checked => verdict::bad(evidence, candidate, ctx),
            _ => {
                evidence.reason = format!(
                    "unsupported: {} cannot be checked here",
                    evidence.algorithms.join(" with ")
                );
                evidence
            }
        };
    };
    // Somebody else's certificate may have the same key in it, unproven: that must not spoil a good signature.
    let others = candidates
        .iter()
        .filter(|other| !std::ptr::eq(*other, signer) && other.is_same_key(signer));
    let judged_as = |evidence, signer| verdict::good(evidence, signature, signer, reservation, ctx);
    let others: Vec<Signature> = others
        .map(|other| judged_as(evidence.clone(), other))
        .collect();
    let judged = judged_as(evidence, signer);
    others.into_iter().fold(judged, |best, other| {
        if rank(other.verdict) < rank(best.verdict) {
            other
        } else {
            best
        }
    })
}

fn rank(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Valid => 0,
        Verdict::ValidBut => 1,
        Verdict::UnknownSigner => 2,
        Verdict::Invalid => 3,
    }
}

/// Keys that the signature names; those of vouched-for certificates first. A signature that names none is tried with all.
fn candidates<'a>(
    signature: &openpgp::packet::Signature,
    issuers: &[openpgp::KeyHandle],
    known: [&'a certs::Found; 2],
) -> Vec<Signer<'a>> {
    let fits = |key: &Key<PublicParts, UnspecifiedRole>| {
        key.pk_algo() == signature.pk_algo() && certs::is_named(key, issuers)
    };
    let parsed = |known: &'a Known| {
        let keys = known.cert.keys().map(|ka| ka.key()).filter(|key| fits(key));
        keys.map(|key| Candidate { known, key })
            .map(Signer::Parsed)
            .collect::<Vec<_>>()
    };
    let named = |key: &by_hand::PublicKey| {
        issuers.is_empty() || issuers.iter().any(|issuer| key.is_named(issuer.as_bytes()))
    };
    let by_hand = |known: &'a KnownByHand| {
        let keys = known.cert.keys().filter(move |key| named(key));
        keys.filter(|key| key.key.pk_algo() == signature.pk_algo())
            .map(|key| by_hand::Candidate {
                cert: &known.cert,
                key,
                source: &known.source,
            })
            .map(Signer::ByHand)
            .collect::<Vec<_>>()
    };
    let mut all = Vec::new();
    for found in known {
        all.extend(found.certs.iter().flat_map(parsed));
        all.extend(found.by_hand.iter().flat_map(by_hand));
    }
    all.sort_by_key(|candidate| !candidate.vouched());
    all
}

/// Hashes the bytes as this signature wants it: salt (version 6), data, the signature's own fields.
fn digest(packet: &SignaturePacket, bytes: &[u8], header: &[u8]) -> Option<Vec<u8>> {
    if packet.version() < 6 {
        return packet.digest(&[bytes], header);
    }
    let signature = &packet.fields;
    let mut hash = signature
        .hash_algo()
        .context()
        .ok()?
        .for_signature(signature.version());
    if let Some(salt) = signature.salt() {
        hash.update(salt);
    }
    hash.update(bytes);
    signature.hash(&mut hash).ok()?;
    hash.into_digest().ok()
}

/// `None` if the key's algorithm is not known here.
fn check(
    packet: &SignaturePacket,
    key: &Key<PublicParts, UnspecifiedRole>,
    digest: &[u8],
) -> Option<bool> {
    if (packet.version() == 6) != (key.version() == 6) {
        return Some(false);
    }
    verify::fits(key, packet.fields.mpis(), packet.fields.hash_algo(), digest)
}

/// What the packet alone says: no key, nothing checked.
fn unchecked(
    signature: &openpgp::packet::Signature,
    issuers: &[openpgp::KeyHandle],
    depth: u32,
) -> Signature {
    let issuer = issuers
        .first()
        .map(|issuer| HEXLOWER.encode(issuer.as_bytes()));
    let mut evidence = unread(depth, "unknown-key: no certificate for the signing key");
    evidence.verdict = Verdict::UnknownSigner;
    evidence.signer = issuer.unwrap_or_else(|| "unnamed".to_owned());
    evidence.time = signature.signature_creation_time().map(timestamp);
    evidence.algorithms = vec![
        public_key_name(signature.pk_algo().into()),
        hash_name(signature.hash_algo()).map_or_else(
            || format!("hash {}", u8::from(signature.hash_algo())),
            str::to_owned,
        ),
    ];
    evidence
}

/// What there is to say where not even a packet was read.
fn unread(depth: u32, reason: &str) -> Signature {
    Signature {
        depth,
        signer: "unnamed".to_owned(),
        ..Signature::bare(Format::Openpgp, Verdict::Invalid, reason.to_owned())
    }
}

/// A library's time as ours; before 1970 there was no mail.
pub(super) fn timestamp(time: SystemTime) -> Timestamp {
    Timestamp::from_seconds(time.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs()))
}

/// The usual name of a digest; `None` if it is not known here.
pub(super) fn hash_name(hash: HashAlgorithm) -> Option<&'static str> {
    Some(match u8::from(hash) {
        1 => "MD5",
        2 => "SHA-1",
        3 => "RIPEMD-160",
        8 => "SHA-256",
        9 => "SHA-384",
        10 => "SHA-512",
        11 => "SHA-224",
        12 => "SHA3-256",
        14 => "SHA3-512",
        _ => return None,
    })
}
