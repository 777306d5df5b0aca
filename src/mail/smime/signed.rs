//! Opening SignedData: the content, and for each signer a verdict with its evidence.

use super::attributes::{
    attributes_fit, looks_like_attributes, names_another, signing_time, stated_digest,
};
use super::ber::{BerError, Chunks, Element};
use super::certificates::{self, Certificate};
use super::chain::Known;
use super::rating::{Checked, Rating};
use super::revocation::Data;
use super::signed_content::{Content, LineEnds};
use super::structure::{SignedData, SignerInfo};
use super::verify::Fit;
use super::{damaged, layer, oids, verify};
use crate::mail::context::{Context, Failure, TOO_MANY, Unopened, Unwrapped};
use crate::mail::digest;
use crate::mail::model::{Format, Layer, Signature, SignatureMath, Verdict, shortened};
use const_oid::ObjectIdentifier;
use openssl::pkey::{PKey, Public};
use std::collections::HashMap;
use std::ops::Range;
use std::rc::Rc;

/// Most signers judged in one object.
const MOST_SIGNERS: usize = 32;
/// Most pieces of a content that is moved instead of copied.
const MOST_PIECES: usize = 100_000;

/// A SignedData whose signatures are judged.
pub struct Signed<'a> {
    judged: Judged,
    /// What a reader gets; `None` if the content is not inside the object.
    content: Option<Chunks<'a>>,
}

/// All of it but the content.
struct Judged {
    layer: Layer,
    signatures: Vec<Signature>,
    content_type: ObjectIdentifier,
}

impl<'a> Signed<'a> {
    /// Judges `content`, a `SignedData`; `detached` is its content where it is not inside.
    pub fn judge(
        content: Element<'a>,
        detached: Option<Content<'_>>,
        ctx: &Context<'_>,
    ) -> Result<Self, Unopened> {
        let signed = match SignedData::read(content) {
            Ok(signed) => signed,
            Err(error) => return Err(super::unopened(damaged(error), layer("signed"))),
        };
        let inside = signed.encapsulated.octets();
        let mut layer = layer(match (&inside, &detached) {
            (None, None) if signed.signers.peek() == 0 => "certs-only",
            (Some(_), None) => "signed",
            _ => "clear-signed",
        });
        if let Some(Content::Beside(beside) | Content::File(beside)) = detached {
            (layer.plaintext_sha256, layer.plaintext_lf_sha256) = ctx.digests(beside);
        }
        // What the reader sees is what must be signed: content inside a detached signature could be another.
        let readable = signed.encapsulated.readable();
        let readable = readable.filter(|_| detached.is_none());
        let content = detached.or(inside.map(Content::Inside));
        let signatures = match judge_all(&signed, content, ctx, &mut layer) {
            Ok(signatures) => signatures,
            Err(failure) => return Err(super::unopened(failure, layer)),
        };
        Ok(Self {
            judged: Judged {
                layer,
                signatures,
                content_type: signed.encapsulated.content_type,
            },
            content: readable,
        })
    }

    /// With the content copied out of the object.
    pub fn copied(self, ctx: &Context<'_>) -> Result<Unwrapped, Unopened> {
        let Some(chunks) = self.content else {
            return Ok(self.judged.beside());
        };
        self.judged.with(super::collect(Some(chunks), ctx), ctx)
    }

    /// With the content in the memory of `object`, which is no more needed: a large one is not copied.
    pub fn in_place(object: Vec<u8>, ctx: &Context<'_>) -> Result<Unwrapped, Unopened> {
        let content = super::content(&object)?.1;
        let signed = Signed::judge(content, None, ctx)?;
        let Some(places) = signed.places(&object) else {
            return signed.copied(ctx);
        };
        let judged = signed.judged;
        let total: usize = places.iter().map(ExactSizeIterator::len).sum();
        let allowed = ctx.budget.expand(total as u64, &ctx.policy.bounds);
        judged.with(allowed.map(|()| gathered(object, places)), ctx)
    }

    /// Where in `object` the content lies; `None` if there is none, or in too many pieces to list.
    fn places(&self, object: &[u8]) -> Option<Vec<Range<usize>>> {
        let mut places = Vec::new();
        for chunk in self.content.clone()? {
            let chunk = chunk.ok()?;
            let start = chunk.as_ptr().addr().checked_sub(object.as_ptr().addr())?;
            places.push(start..start + chunk.len());
            (places.len() <= MOST_PIECES).then_some(())?;
        }
        Some(places)
    }
}

impl Judged {
    fn beside(self) -> Unwrapped {
        Unwrapped {
            plaintext: Vec::new(),
            inner_is_cms: false,
            layers: vec![self.layer],
            signatures: self.signatures,
        }
    }

    fn with(
        self,
        plaintext: Result<Vec<u8>, Failure>,
        ctx: &Context<'_>,
    ) -> Result<Unwrapped, Unopened> {
        match plaintext {
            Ok(plaintext) => Ok(super::unwrapped(
                plaintext,
                &self.content_type,
                self.layer,
                self.signatures,
                ctx,
            )),
            Err(failure) => Err(Unopened {
                signatures: self.signatures,
                ..super::unopened(failure, self.layer)
            }),
        }
    }
}

/// What lies at `places`, which are in order, moved together.
fn gathered(mut object: Vec<u8>, places: Vec<Range<usize>>) -> Vec<u8> {
    let mut end = 0;
    for place in places {
        let length = place.len();
        object.copy_within(place, end);
        end += length;
    }
    object.truncate(end);
    object
}

fn judge_all(
    signed: &SignedData<'_>,
    content: Option<Content<'_>>,
    ctx: &Context<'_>,
    layer: &mut Layer,
) -> Result<Vec<Signature>, Failure> {
    let certificates = certificates::in_message(signed.certificates);
    let mut revocation = Data::default();
    let known = Known::of(ctx.trust);
    revocation.add_supplied(known.crls(), known.ocsp());
    if let Some(choices) = signed.revocation {
        revocation.add_choices(choices);
    }
    // Of a content beside its signature the usual digest is known already.
    let known_digest = layer.plaintext_sha256.map(|digest| digest.0.to_vec());
    let known_digest = known_digest.map(|digest| ((LineEnds::AsIs, "SHA-256"), Some(digest)));
    let mut judge = Judge {
        ctx,
        known,
        revocation,
        certificates,
        content,
        content_type: signed.encapsulated.content_type,
        digests: known_digest.into_iter().collect(),
        is_over: false,
    };
    let mut signatures = Vec::new();
    for (at, element) in signed.signers.enumerate() {
        if at >= MOST_SIGNERS {
            return Err(Failure::OverBound {
                bound: "signers",
                limit: MOST_SIGNERS as u64,
            });
        }
        let signature = match element.and_then(SignerInfo::of) {
            Ok(signer) => judge.signature(&signer),
            Err(error) => unreadable(error),
        };
        for name in &signature.algorithms {
            super::note(&mut layer.algorithms, name);
        }
        signatures.push(signature);
    }
    Ok(signatures)
}

struct Judge<'a, 'c> {
    ctx: &'c Context<'c>,
    known: Rc<Known>,
    certificates: Vec<Rc<Certificate>>,
    revocation: Data,
    content: Option<Content<'a>>,
    content_type: ObjectIdentifier,
    digests: HashMap<(LineEnds, &'static str), Option<Vec<u8>>>,
    /// A digest was not computed, for those before it cost all that is allowed for one mail.
    is_over: bool,
}

impl Judge<'_, '_> {
    /// Several certificates may answer to the signer's name: the best judgement counts, so that none of another can spoil
    /// it.
    fn signature(&mut self, signer: &SignerInfo<'_>) -> Signature {
        self.revocation.add_attributes(signer);
        let candidates = certificates::find_in(&signer.sid, &self.known, || &self.certificates);
        let mut best: Option<Signature> = None;
        for certificate in candidates {
            let judged = self.by(signer, &certificate);
            if best.as_ref().is_none_or(|best| rank(&judged) < rank(best)) {
                best = Some(judged);
            }
            if best
                .as_ref()
                .is_some_and(|best| best.verdict == Verdict::Valid)
            {
                break;
            }
        }
        best.unwrap_or_else(|| {
            let why = "no-certificate: of the signer";
            let named = super::recipient::hint(&signer.sid);
            Signature {
                signer: named
                    .map(|(_, shown)| shortened(&shown))
                    .unwrap_or_default(),
                ..self.bare(signer, None, &Checked::not(SignatureMath::Unchecked, why))
            }
        })
    }

    /// The signature as one by the owner of `certificate`.
    fn by(&mut self, signer: &SignerInfo<'_>, certificate: &Certificate) -> Signature {
        let mut checked = match &certificate.key {
            Some(key) => self.check(signer, key),
            None => {
                let why = "unsupported: the signer's public key";
                Checked::not(SignatureMath::Unchecked, why)
            }
        };
        if checked.refused.is_none() && names_another(signer, &certificate.encoded) {
            let why = "certificate-mismatch: the signer signed for another certificate";
            checked.refused = Some(why.to_owned());
        }
        let mut signature = self.bare(signer, certificate.key.as_ref(), &checked);
        self.identify(&mut signature, certificate);
        let rating = Rating {
            ctx: self.ctx,
            known: &self.known,
            certificates: &self.certificates,
            revocation: &self.revocation,
        };
        rating.rate(&mut signature, certificate, &checked);
        signature
    }

    /// What the message says, and how the bare check came out.
    fn bare(
        &self,
        signer: &SignerInfo<'_>,
        key: Option<&PKey<Public>>,
        checked: &Checked,
    ) -> Signature {
        let mut algorithms = verify::names(signer, key);
        if let Some(digest) = checked.digest {
            super::note(&mut algorithms, digest);
        }
        let reason = checked.reason.clone().unwrap_or_default();
        Signature {
            math: checked.math,
            time: signing_time(signer),
            rated: self.ctx.policy.rated(&algorithms),
            anchors: Some(self.known.anchor_set()),
            algorithms,
            ..Signature::bare(Format::Smime, Verdict::UnknownSigner, reason)
        }
    }

    /// The bare check, with the content as it is and then with other line ends.
    fn check(&mut self, signer: &SignerInfo<'_>, key: &PKey<Public>) -> Checked {
        let Some(content) = self.content.clone() else {
            return Checked::not(
                SignatureMath::Unchecked,
                "no-content: the signed content is not there",
            );
        };
        let stated = match stated_digest(signer, &self.content_type) {
            Ok(stated) => stated,
            Err(reason) => return Checked::not(SignatureMath::Unchecked, reason),
        };
        let mut reason = "altered: the content is not what was signed".to_owned();
        for ends in content.line_ends() {
            if !verify::is_within(signer, key, self.ctx.budget) {
                return Checked::not(SignatureMath::Unchecked, TOO_MANY);
            }
            let fit = match (&stated, &signer.signed_attributes) {
                (Some(stated), Some(attributes)) => {
                    match self.digest_fits(signer, &content, *ends, stated) {
                        Ok(false) => continue,
                        Ok(true) => {
                            "bad: the signature does not fit the signer's key"
                                .clone_into(&mut reason);
                            attributes_fit(signer, attributes, key)
                        }
                        Err(unsupported) => Err(unsupported),
                    }
                }
                _ => self.content_fits(signer, &content, *ends, key),
            };
            if self.is_over {
                return Checked::not(SignatureMath::Unchecked, TOO_MANY);
            }
            match fit {
                Ok(Fit::No) => {}
                Ok(fit) => return self.fits(signer, &content, *ends, fit),
                Err(unsupported) => {
                    return Checked::not(SignatureMath::Unchecked, unsupported.to_string());
                }
            }
        }
        Checked::not(SignatureMath::Bad, reason)
    }

    /// The bare check is good. Content that is signed without attributes must not be another message's attributes.
    fn fits(
        &self,
        signer: &SignerInfo<'_>,
        content: &Content<'_>,
        ends: LineEnds,
        fit: Fit,
    ) -> Checked {
        let ambiguous =
            signer.signed_attributes.is_none() && looks_like_attributes(content.pieces(ends));
        let why = "ambiguous: the content could be the signed attributes of another message";
        Checked {
            math: SignatureMath::Good,
            noncanonical: content.is_noncanonical(ends),
            digest: match fit {
                Fit::Digest(name) => Some(name),
                Fit::Bytes | Fit::No => None,
            },
            refused: ambiguous.then(|| why.to_owned()),
            reason: None,
        }
    }

    fn digest_fits(
        &mut self,
        signer: &SignerInfo<'_>,
        content: &Content<'_>,
        ends: LineEnds,
        stated: &[u8],
    ) -> Result<bool, verify::Unsupported> {
        let unsupported = || verify::Unsupported(format!("digest {}", signer.digest.oid));
        let name = oids::digest_name(&signer.digest.oid).ok_or_else(unsupported)?;
        let digest = self.digest(content, ends, name).ok_or_else(unsupported)?;
        Ok(digest == stated)
    }

    fn content_fits(
        &mut self,
        signer: &SignerInfo<'_>,
        content: &Content<'_>,
        ends: LineEnds,
        key: &PKey<Public>,
    ) -> Result<Fit, verify::Unsupported> {
        verify::check(
            signer,
            key,
            &mut |name| self.digest(content, ends, name),
            &mut || content.all(ends),
        )
    }

    /// Digest of the content, computed once for all signers.
    fn digest(
        &mut self,
        content: &Content<'_>,
        ends: LineEnds,
        name: &'static str,
    ) -> Option<Vec<u8>> {
        let budget = self.ctx.budget;
        let compute = || {
            self.is_over = !budget.hash(0);
            if self.is_over {
                return None;
            }
            let mut hashed = 0;
            let pieces = content.pieces(ends).inspect(|piece| {
                hashed += piece.map_or(0, |piece| piece.len() as u64);
            });
            let digest = digest::of_public(name, pieces).ok().flatten();
            budget.hash(hashed);
            digest
        };
        self.digests
            .entry((ends, name))
            .or_insert_with(compute)
            .clone()
    }

    /// Who the certificate says the signer is.
    fn identify(&self, signature: &mut Signature, certificate: &Certificate) {
        let signer = if certificate.addresses.is_empty() {
            certificates::subject(&certificate.x509)
        } else {
            certificate.addresses.join(", ")
        };
        signature.signer = shortened(&signer);
        signature.fingerprint = Some(certificate.id.to_string());
        let source = self.known.source(certificate);
        signature.key_source = Some(source.name().to_owned());
        if self.ctx.budget.keep(certificate.encoded.len()) {
            signature.addresses.clone_from(&certificate.addresses);
            signature.chain = vec![serde_bytes::ByteBuf::from(certificate.encoded.clone())];
        }
        if !self.ctx.from.is_empty() {
            // Several addresses in From are a spoofer's trick: all must be the signer's.
            let all = self
                .ctx
                .from
                .iter()
                .all(|address| certificate.addresses.contains(address));
            signature.from_matches = Some(all);
        }
    }
}

/// Better judgements first.
const fn rank(signature: &Signature) -> (u8, u8) {
    let math = match signature.math {
        SignatureMath::Good => 0,
        SignatureMath::Unchecked => 1,
        SignatureMath::Bad => 2,
    };
    let verdict = match signature.verdict {
        Verdict::Valid => 0,
        Verdict::ValidBut => 1,
        Verdict::UnknownSigner => 2,
        Verdict::Invalid => 3,
    };
    (math, verdict)
}

fn unreadable(error: BerError) -> Signature {
    let reason = format!("unreadable: {error}");
    Signature::bare(Format::Smime, Verdict::Invalid, reason)
}
