//! Opening SignedData: the content, and for each signer a verdict with its evidence.

use super::attributes::{attributes_fit, signing_time, stated_digest};
use super::ber::{BerError, Element};
use super::certificates::{self, Found};
use super::chain::{self, Chain, Known, NoChain};
use super::revocation::{Data, Finding};
use super::signed_content::{Content, LineEnds};
use super::structure::{SignedData, SignerInfo};
use super::{algorithm, damaged, layer, oids, verify};
use crate::id::Digest;
use crate::mail::context::{Context, Failure, Unopened, Unwrapped};
use crate::mail::model::{Format, Layer, Revocation, Scope, Signature, SignatureMath, Verdict};
use crate::time::Timestamp;
use const_oid::ObjectIdentifier;
use openssl::pkey::{PKey, Public};
use openssl::x509::X509;
use std::collections::HashMap;

/// Most signers judged in one object.
const MOST_SIGNERS: usize = 32;

/// Opens `content`, a `SignedData`; `detached` is its content where it is not inside.
pub fn open(
    content: Element<'_>,
    detached: Option<&[u8]>,
    ctx: &Context<'_>,
) -> Result<Unwrapped, Unopened> {
    let signed = match SignedData::read(content) {
        Ok(signed) => signed,
        Err(error) => return Err(super::unopened(damaged(error), layer("signed"))),
    };
    let inside = signed.encapsulated.octets();
    let mut layer = layer(match (&inside, detached) {
        (None, None) if signed.signers.peek() == 0 => "certs-only",
        (Some(_), None) => "signed",
        _ => "clear-signed",
    });
    // What the reader sees is what must be signed: content inside a detached signature could be another.
    let beside = detached.is_some() || inside.is_none();
    let content = detached
        .map(Content::Beside)
        .or(inside.map(Content::Inside));
    let signatures = match judge_all(&signed, content, ctx, &mut layer) {
        Ok(signatures) => signatures,
        Err(failure) => return Err(super::unopened(failure, layer)),
    };
    if beside {
        return Ok(Unwrapped {
            plaintext: Vec::new(),
            inner_is_cms: false,
            layers: vec![layer],
            signatures,
        });
    }
    match super::collect(signed.encapsulated.readable(), ctx) {
        Ok(plaintext) => Ok(super::unwrapped(
            plaintext,
            &signed.encapsulated.content_type,
            layer,
            signatures,
        )),
        Err(failure) => Err(Unopened {
            signatures,
            ..super::unopened(failure, layer)
        }),
    }
}

fn judge_all(
    signed: &SignedData<'_>,
    content: Option<Content<'_>>,
    ctx: &Context<'_>,
    layer: &mut Layer,
) -> Result<Vec<Signature>, Failure> {
    let certificates = certificates::in_message(signed.certificates, certificates::MOST);
    let mut revocation = Data::default();
    Known::with(ctx.trust, |known| revocation.add_supplied(known.crls()));
    if let Some(choices) = signed.revocation {
        revocation.add_choices(choices);
    }
    let mut judge = Judge {
        ctx,
        revocation,
        certificates,
        content,
        content_type: signed.encapsulated.content_type,
        digests: HashMap::new(),
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

/// How the bare check came out.
struct Checked {
    math: SignatureMath,
    /// It verifies, but not over the canonical CRLF line ends that S/MIME signs.
    noncanonical: bool,
    reason: Option<String>,
}

impl Checked {
    fn not(math: SignatureMath, reason: impl Into<String>) -> Self {
        Self {
            math,
            noncanonical: false,
            reason: Some(reason.into()),
        }
    }
}

struct Judge<'a, 'c> {
    ctx: &'c Context<'c>,
    certificates: Vec<X509>,
    revocation: Data,
    content: Option<Content<'a>>,
    content_type: ObjectIdentifier,
    digests: HashMap<(LineEnds, &'static str), Option<Vec<u8>>>,
}

impl Judge<'_, '_> {
    fn signature(&mut self, signer: &SignerInfo<'_>) -> Signature {
        let found = self.certificate(signer);
        let key = found
            .as_ref()
            .and_then(|found| found.x509.public_key().ok());
        let checked = match (&found, &key) {
            (None, _) => Checked::not(SignatureMath::Unchecked, "no-certificate: of the signer"),
            (_, None) => Checked::not(
                SignatureMath::Unchecked,
                "unsupported: the signer's public key",
            ),
            (_, Some(key)) => self.check(signer, key),
        };
        let algorithms = verify::names(signer, key.as_ref());
        let time = signing_time(signer);
        let mut signature = Signature {
            depth: 0,
            format: Format::Smime,
            verdict: Verdict::UnknownSigner,
            math: checked.math,
            reason: checked.reason.clone().unwrap_or_default(),
            signer: super::recipient::hint(&signer.sid)
                .map(|(_, shown)| shown)
                .unwrap_or_default(),
            fingerprint: None,
            scope: Scope::Whole,
            time,
            algorithms,
            chain: Vec::new(),
            key_source: None,
            revocation: Revocation::Unknown,
            revocation_source: None,
            from_matches: None,
        };
        self.revocation.add_attributes(signer);
        if let Some(found) = found {
            self.identify(&mut signature, &found);
            self.rate(&mut signature, &found.x509, &checked);
            if checked.noncanonical && signature.reason != NONCANONICAL {
                signature.reason = format!("{}; {NONCANONICAL}", signature.reason);
            }
        } else if checked.math == SignatureMath::Bad {
            signature.verdict = Verdict::Invalid;
        }
        signature
    }

    fn certificate(&self, signer: &SignerInfo<'_>) -> Option<Found> {
        Known::with(self.ctx.trust, |known| known.find(&signer.sid))
            .or_else(|| certificates::find_in(&signer.sid, &self.certificates))
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
            let fits = match &stated {
                Some(stated) => self.digest_fits(signer, &content, *ends, stated),
                None => self.content_fits(signer, &content, *ends, key),
            };
            match fits {
                Ok(false) => continue,
                Ok(true) => {}
                Err(unsupported) => {
                    return Checked::not(SignatureMath::Unchecked, unsupported.to_string());
                }
            }
            let attributes_fit = match &signer.signed_attributes {
                Some(attributes) => attributes_fit(signer, attributes, key),
                None => Ok(true),
            };
            match attributes_fit {
                Ok(true) => {
                    return Checked {
                        math: SignatureMath::Good,
                        noncanonical: content.is_noncanonical(*ends),
                        reason: None,
                    };
                }
                Ok(false) => {
                    "bad: the signature does not fit the signer's key".clone_into(&mut reason)
                }
                Err(unsupported) => {
                    return Checked::not(SignatureMath::Unchecked, unsupported.to_string());
                }
            }
        }
        Checked::not(SignatureMath::Bad, reason)
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
    ) -> Result<bool, verify::Unsupported> {
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
        let compute = || algorithm::hash(name, content.pieces(ends)).ok().flatten();
        self.digests
            .entry((ends, name))
            .or_insert_with(compute)
            .clone()
    }

    /// Who the certificate says the signer is.
    fn identify(&self, signature: &mut Signature, found: &Found) {
        let addresses = certificates::addresses(&found.x509);
        signature.signer = if addresses.is_empty() {
            certificates::subject(&found.x509)
        } else {
            addresses.join(", ")
        };
        let encoded = found.x509.to_der().unwrap_or_default();
        signature.fingerprint = Some(Digest::of(&encoded).to_string());
        let source = Known::with(self.ctx.trust, |known| known.source(&found.x509));
        signature.key_source = Some(source.name().to_owned());
        signature.chain = vec![serde_bytes::ByteBuf::from(encoded)];
        if !self.ctx.from.is_empty() {
            // Several addresses in From are a spoofer's trick: all must be the signer's.
            let all = self
                .ctx
                .from
                .iter()
                .all(|address| addresses.contains(address));
            signature.from_matches = Some(all);
        }
    }

    /// The verdict, from the bare check and everything that is known of the signer.
    fn rate(&self, signature: &mut Signature, x509: &X509, checked: &Checked) {
        let mut decide = |verdict, reason: String| {
            signature.verdict = verdict;
            signature.reason = reason;
        };
        match checked.math {
            SignatureMath::Good => {}
            SignatureMath::Bad => {
                return decide(Verdict::Invalid, checked.reason.clone().unwrap_or_default());
            }
            SignatureMath::Unchecked => return,
        }
        if !chain::may_sign_mail(x509) {
            return decide(
                Verdict::Invalid,
                "wrong-purpose: the certificate is not for signing mail".into(),
            );
        }
        let arrived = self.ctx.arrived;
        let at = |time| {
            Known::with(self.ctx.trust, |known| {
                known.chain(x509, &self.certificates, time)
            })
        };
        let (found, expired) = match (at(arrived), signature.time) {
            (Err(NoChain::Expired), Some(claimed)) if claimed < arrived => (at(claimed), true),
            (found, _) => (found, false),
        };
        let chain = match found {
            Ok(chain) => chain,
            Err(NoChain::WrongPurpose) => {
                return decide(
                    Verdict::Invalid,
                    "wrong-purpose: certificate or issuer may not do this".into(),
                );
            }
            Err(why) => return decide(Verdict::UnknownSigner, no_chain(why)),
        };
        signature.chain = chain
            .certificates
            .iter()
            .filter_map(|x509| x509.to_der().ok())
            .map(Into::into)
            .collect();
        let asked = if expired {
            signature.time.unwrap_or(arrived)
        } else {
            arrived
        };
        (signature.revocation, signature.revocation_source) = self.revocation_of(&chain, asked);
        let weak = signature
            .algorithms
            .iter()
            .find(|name| self.ctx.policy.weak.contains(*name));
        let (verdict, reason) = if signature.from_matches == Some(false) {
            let (from, signer) = (self.ctx.from.join(", "), &signature.signer);
            (
                Verdict::UnknownSigner,
                format!("from-mismatch: From is {from}, the signer is {signer}"),
            )
        } else if checked.noncanonical {
            (Verdict::ValidBut, NONCANONICAL.to_owned())
        } else if expired {
            (
                Verdict::ValidBut,
                "expired: valid at the claimed signing time, not at arrival".to_owned(),
            )
        } else if let Some(weak) = weak {
            (Verdict::ValidBut, format!("weak: {weak}"))
        } else {
            (
                Verdict::Valid,
                "the chain leads to a trust anchor".to_owned(),
            )
        };
        signature.verdict = verdict;
        signature.reason = reason;
    }

    fn revocation_of(&self, chain: &Chain, at: Timestamp) -> Finding {
        if self.revocation.is_empty() {
            return (Revocation::Unknown, None);
        }
        let store = Known::with(self.ctx.trust, |known| known.store(at, None));
        match store {
            Ok(store) => self.revocation.judge(&chain.certificates, &store, at),
            Err(_) => (Revocation::Unknown, None),
        }
    }
}

const NONCANONICAL: &str = "noncanonical: verifies over LF line ends, not over the canonical CRLF";

fn no_chain(why: NoChain) -> String {
    match why {
        NoChain::NoAnchor => "no-anchor: no chain to a trust anchor".to_owned(),
        NoChain::Expired => "expired: a certificate in the chain had expired".to_owned(),
        NoChain::NotYetValid => {
            "not-yet-valid: a certificate in the chain was not yet valid".to_owned()
        }
        NoChain::WrongPurpose => "wrong-purpose: certificate or issuer may not do this".to_owned(),
        NoChain::Other(text) => format!("no-chain: {text}"),
    }
}

fn unreadable(error: BerError) -> Signature {
    Signature {
        depth: 0,
        format: Format::Smime,
        verdict: Verdict::Invalid,
        math: SignatureMath::Unchecked,
        reason: format!("unreadable: {error}"),
        signer: String::new(),
        fingerprint: None,
        scope: Scope::Whole,
        time: None,
        algorithms: Vec::new(),
        chain: Vec::new(),
        key_source: None,
        revocation: Revocation::Unknown,
        revocation_source: None,
        from_matches: None,
    }
}
