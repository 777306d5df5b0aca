//! The bare check of signatures: which key, over which form of the bytes. What a good check is worth is
//! for [`super::verdict`] to say.

use super::certs::{self, Known};
use super::line_ends::{has_bare_lf, stripped, to_crlf, to_lf};
use super::packets::{framed, tag};
use super::session::public_key_name;
use super::{verdict, verify};
use crate::mail::context::Context;
use crate::mail::model::{Format, Signature, Verdict};
use crate::time::Timestamp;
use openpgp::crypto::hash::Hash;
use openpgp::packet::key::{Key, PublicParts, UnspecifiedRole};
use openpgp::parse::Parse;
use openpgp::types::{HashAlgorithm, SignatureType};
use sequoia_openpgp as openpgp;
use std::borrow::Cow;
use std::time::{SystemTime, UNIX_EPOCH};

/// One way to read the signed bytes.
#[derive(Debug, Clone, Copy)]
pub struct Reading<'a> {
    bytes: &'a [u8],
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
}

impl<'a> Reading<'a> {
    /// The bytes as they are, as the message itself encloses them.
    #[must_use]
    pub fn enclosed(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            form: Form::Enclosed,
        }
    }

    /// All ways in which the bytes under a detached signature may have been meant.
    #[must_use]
    pub fn detached(bytes: &'a [u8]) -> [Self; 4] {
        [Form::Exact, Form::Crlf, Form::Lf, Form::Stripped].map(|form| Self { bytes, form })
    }

    /// A clear-signed text with its white space at line ends.
    #[must_use]
    pub fn with_blanks(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            form: Form::WithBlanks,
        }
    }

    fn hashed(self, as_text: bool) -> Cow<'a, [u8]> {
        match self.form {
            Form::Exact | Form::Enclosed if as_text => to_crlf(self.bytes),
            Form::Exact | Form::Enclosed | Form::WithBlanks => Cow::Borrowed(self.bytes),
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
            Form::Exact | Form::Enclosed | Form::Crlf => None,
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

/// Checks and judges signature packets (bodies) over one content.
#[must_use]
pub fn judge(
    packets: &[Vec<u8>],
    readings: &[Reading],
    depth: u32,
    ctx: &Context,
) -> Vec<Signature> {
    packets
        .iter()
        .map(|body| judge_one(body, readings, depth, ctx))
        .collect()
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
    let told = packets.iter().map(|body| match read(body) {
        Some(signature) => Signature {
            verdict,
            reason: reason.to_owned(),
            ..unchecked(&signature, depth)
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

/// A signature packet by its body.
fn read(body: &[u8]) -> Option<openpgp::packet::Signature> {
    match openpgp::Packet::from_bytes(&framed(tag::SIGNATURE, body)) {
        Ok(openpgp::Packet::Signature(signature)) => Some(signature),
        _ => None,
    }
}

/// A key that the signature may be of, with its certificate.
pub(super) struct Candidate<'a> {
    pub known: &'a Known,
    pub key: Key<PublicParts, UnspecifiedRole>,
}

fn judge_one(body: &[u8], readings: &[Reading], depth: u32, ctx: &Context) -> Signature {
    let Some(signature) = read(body) else {
        return unread(depth, UNKNOWN);
    };
    let mut evidence = unchecked(&signature, depth);
    let as_text = match signature.typ() {
        SignatureType::Binary => false,
        SignatureType::Text => true,
        other => {
            evidence.verdict = Verdict::Invalid;
            evidence.reason = format!("not a signature over a document but a {other}");
            return evidence;
        }
    };
    let issuers = signature.get_issuers();
    let known = certs::known(ctx.trust, &issuers);
    let candidates = candidates(&signature, &issuers, &known);
    let mut checked = false;
    let good = readings.iter().find_map(|reading| {
        let digest = digest(&signature, &reading.hashed(as_text))?;
        let fits = candidates.iter().find(|candidate| {
            let fits = check(&signature, &candidate.key, &digest);
            checked |= fits.is_some();
            fits == Some(true)
        })?;
        Some((fits.key.fingerprint(), reading.reservation(as_text)))
    });
    let Some((key, reservation)) = good else {
        return match candidates.first() {
            Some(candidate) if checked => verdict::bad(evidence, candidate, ctx),
            Some(_) => {
                evidence.reason = format!(
                    "unsupported: {} cannot be checked here",
                    evidence.algorithms.join(" with ")
                );
                evidence
            }
            None => evidence,
        };
    };
    // Somebody else's certificate may have the same key in it, unproven: that must not spoil a good signature.
    candidates
        .iter()
        .filter(|candidate| candidate.key.fingerprint() == key)
        .map(|candidate| verdict::good(evidence.clone(), &signature, candidate, reservation, ctx))
        .min_by_key(|judged| rank(judged.verdict))
        .unwrap_or(evidence)
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
    known: &'a [Known],
) -> Vec<Candidate<'a>> {
    let fits = |key: &Key<PublicParts, UnspecifiedRole>| {
        key.pk_algo() == signature.pk_algo()
            && (issuers.is_empty()
                || issuers
                    .iter()
                    .any(|issuer| issuer.aliases(key.key_handle())))
    };
    let of_one = |known: &'a Known| {
        let keys = known.cert.keys().map(|ka| ka.key()).filter(|key| fits(key));
        keys.map(|key| Candidate {
            known,
            key: key.clone(),
        })
        .collect::<Vec<_>>()
    };
    let (vouched, carried): (Vec<_>, Vec<_>) = known.iter().partition(|k| k.vouched());
    vouched
        .into_iter()
        .chain(carried)
        .flat_map(of_one)
        .collect()
}

/// Hashes the bytes as this signature wants it: salt (version 6), data, the signature's own fields.
fn digest(signature: &openpgp::packet::Signature, bytes: &[u8]) -> Option<Vec<u8>> {
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
    signature: &openpgp::packet::Signature,
    key: &Key<PublicParts, UnspecifiedRole>,
    digest: &[u8],
) -> Option<bool> {
    if (signature.version() == 6) != (key.version() == 6) {
        return Some(false);
    }
    verify::fits(key, signature.mpis(), signature.hash_algo(), digest)
}

/// What the packet alone says: no key, nothing checked.
fn unchecked(signature: &openpgp::packet::Signature, depth: u32) -> Signature {
    let issuer = signature
        .get_issuers()
        .first()
        .map(|issuer| format!("{issuer:X}"));
    let mut evidence = unread(depth, "unknown-key: no certificate for the signing key");
    evidence.verdict = Verdict::UnknownSigner;
    evidence.signer = issuer.map_or_else(|| "unnamed".to_owned(), |id| id.to_lowercase());
    evidence.time = signature.signature_creation_time().map(timestamp);
    evidence.algorithms = vec![
        public_key_name(signature.pk_algo().into()),
        hash_name(signature.hash_algo()),
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

fn hash_name(hash: HashAlgorithm) -> String {
    match u8::from(hash) {
        1 => "MD5",
        2 => "SHA-1",
        3 => "RIPEMD-160",
        8 => "SHA-256",
        9 => "SHA-384",
        10 => "SHA-512",
        11 => "SHA-224",
        12 => "SHA3-256",
        14 => "SHA3-512",
        other => return format!("hash {other}"),
    }
    .to_owned()
}
