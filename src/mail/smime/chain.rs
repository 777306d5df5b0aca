//! From a signer's certificate to an anchor that we were given beforehand. What came with the mail only helps to
//! find the way. Certificates are parsed once and chains that held are remembered, so that judging
//! a signature costs little more than its arithmetic.

use super::ber::tag;
use super::certificates::{Certificate, Source, Wanted};
use super::crl::Crl;
use super::revocation::Surroundings;
use super::{issuers, policies, verify};
use crate::id::Digest;
use crate::mail::context::{Budget, TOO_MANY, Trust};
use crate::time::Timestamp;
use openssl::asn1::Asn1TimeRef;
use openssl::error::ErrorStack;
use openssl::ocsp::OcspResponse;
use openssl::stack::Stack;
use openssl::x509::store::{X509Store, X509StoreBuilder};
use openssl::x509::verify::{X509VerifyFlags, X509VerifyParam};
use openssl::x509::{X509, X509PurposeId, X509Ref, X509StoreContext, X509VerifyResult};
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

/// Most chains remembered; then all are forgotten.
const MOST_CHAINS: usize = 10_000;

/// What is known of signers beforehand: the parsed form of [`Trust`].
pub struct Known {
    /// What it was parsed from.
    trust: Trust,
    anchors: Vec<X509>,
    anchor_set: Digest,
    named: HashMap<Wanted, Vec<Rc<Certificate>>>,
    sources: HashMap<Digest, Source>,
    helpers: Vec<X509>,
    crls: Vec<Rc<Crl>>,
    ocsp: Vec<Rc<OcspResponse>>,
    held: RefCell<HashMap<Digest, Chain>>,
}

/// A way from a certificate to an anchor, and when all of it is valid.
#[derive(Clone)]
pub struct Chain {
    /// Signer's certificate first, anchor last.
    pub certificates: Vec<X509>,
    /// The same, DER.
    pub encoded: Rc<Vec<serde_bytes::ByteBuf>>,
    /// Names of the digests and issuers' keys that the certificates below the anchor hang on.
    pub algorithms: Rc<Vec<String>>,
    from: Timestamp,
    until: Timestamp,
}

/// Why there is no chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoChain {
    /// No way to an anchor.
    NoAnchor,
    /// A certificate had expired at that time.
    Expired,
    /// A certificate was not yet valid at that time.
    NotYetValid,
    /// The certificate or its issuer may not do this.
    WrongPurpose,
    /// Anything else, as OpenSSL says it, or [`TOO_MANY`].
    Other(&'static str),
}

impl NoChain {
    fn of(result: X509VerifyResult) -> Self {
        // Numbers of <openssl/x509_vfy.h>.
        match result.as_raw() {
            2 | 18 | 19 | 20 | 21 | 33 => Self::NoAnchor,
            9 => Self::NotYetValid,
            10 => Self::Expired,
            24 | 26 | 32 => Self::WrongPurpose,
            _ => Self::Other(result.error_string()),
        }
    }
}

thread_local! {
    static KNOWN: RefCell<Option<Rc<Known>>> = const { RefCell::new(None) };
}

impl Known {
    /// The parsed form of `trust`, which is made anew only when it has changed.
    #[must_use]
    pub fn of(trust: &Trust) -> Rc<Self> {
        KNOWN.with_borrow_mut(|slot| match slot {
            Some(known) if known.trust.is(trust) => Rc::clone(known),
            _ => Rc::clone(slot.insert(Rc::new(Self::parse(trust)))),
        })
    }

    fn parse(trust: &Trust) -> Self {
        let read = |der: &serde_bytes::ByteBuf| X509::from_der(der).ok();
        let anchors: Vec<X509> = trust.anchors.iter().filter_map(read).collect();
        let directory: Vec<X509> = trust.certificates.iter().filter_map(read).collect();
        let mut named: HashMap<Wanted, Vec<Rc<Certificate>>> = HashMap::new();
        let mut sources = HashMap::new();
        let from =
            |list: &[X509], source| list.iter().cloned().map(|x509| (x509, source)).collect();
        let sourced: [Vec<_>; 2] = [
            from(&anchors, Source::Anchors),
            from(&directory, Source::Directory),
        ];
        for (x509, source) in sourced.into_iter().flatten() {
            let Some(certificate) = Certificate::of(x509).map(Rc::new) else {
                continue;
            };
            sources.entry(certificate.id).or_insert(source);
            for wanted in certificate.names.iter().flat_map(Wanted::all) {
                let same_name = named.entry(wanted).or_default();
                same_name.push(Rc::clone(&certificate));
            }
        }
        let crls = trust.crls.iter();
        let ocsp = trust.ocsp.iter();
        Self {
            trust: trust.clone(),
            anchor_set: set_digest(&trust.anchors),
            named,
            sources,
            helpers: anchors.iter().chain(&directory).cloned().collect(),
            anchors,
            crls: crls.filter_map(|der| Crl::of(der).map(Rc::new)).collect(),
            ocsp: ocsp
                .filter_map(|der| OcspResponse::from_der(der).ok().map(Rc::new))
                .collect(),
            held: RefCell::default(),
        }
    }

    /// The certificates that are named so: renewed ones have one key identifier, and nobody keeps two authorities from
    /// using one name.
    #[must_use]
    pub fn find(&self, wanted: &Wanted) -> &[Rc<Certificate>] {
        self.named.get(wanted).map_or(&[], Vec::as_slice)
    }

    /// Whether this very certificate was known before the mail came.
    #[must_use]
    pub fn source(&self, certificate: &Certificate) -> Source {
        let known = self.sources.get(&certificate.id);
        known.copied().unwrap_or(Source::Message)
    }

    /// The digest that stands for the set of anchors: SHA-256 of their SHA-256, sorted.
    #[must_use]
    pub const fn anchor_set(&self) -> Digest {
        self.anchor_set
    }

    /// Anchors and the certificates of the directory.
    #[must_use]
    pub fn helpers(&self) -> &[X509] {
        &self.helpers
    }

    /// The supplied CRLs.
    #[must_use]
    pub fn crls(&self) -> &[Rc<Crl>] {
        &self.crls
    }

    /// The supplied OCSP responses.
    #[must_use]
    pub fn ocsp(&self) -> &[Rc<OcspResponse>] {
        &self.ocsp
    }

    /// The chain from `signer` to an anchor, valid at `at` for signing mail; `untrusted` may lie on the way. None is looked for
    /// beyond `budget`.
    pub fn chain(
        &self,
        signer: &Certificate,
        untrusted: &[Rc<Certificate>],
        at: Timestamp,
        budget: &Budget,
    ) -> Result<Chain, NoChain> {
        if let Some(chain) = self.held.borrow().get(&signer.id)
            && (chain.from..=chain.until).contains(&at)
        {
            return Ok(chain.clone());
        }
        let among = self.anchors.len() + self.helpers.len() + untrusted.len();
        if !budget.chain(among) {
            return Err(NoChain::Other(TOO_MANY));
        }
        let purpose = Some(X509PurposeId::SMIME_SIGN);
        let chain = self
            .build(&signer.x509, untrusted, at, purpose, budget)
            .map_err(|_| NoChain::NoAnchor)??;
        let mut held = self.held.borrow_mut();
        if held.len() >= MOST_CHAINS {
            held.clear();
        }
        held.insert(signer.id, chain.clone());
        Ok(chain)
    }

    /// The way from `x509` to this very anchor, whatever it is for.
    #[must_use]
    pub fn way(&self, x509: &X509, anchor: &X509, around: &Surroundings<'_>) -> Option<Chain> {
        let untrusted = around.certificates;
        let among = self.anchors.len() + self.helpers.len() + untrusted.len();
        around.budget.chain(among).then_some(())?;
        let built = self.build(x509, untrusted, around.at, None, around.budget);
        let built = built.ok()?.ok();
        built.filter(|chain| chain.certificates.last() == Some(anchor))
    }

    /// OpenSSL goes by names, and may take another certificate of an issuer's name; then only true issuers are shown to it.
    fn build(
        &self,
        signer: &X509,
        untrusted: &[Rc<Certificate>],
        at: Timestamp,
        purpose: Option<X509PurposeId>,
        budget: &Budget,
    ) -> Result<Result<Chain, NoChain>, ErrorStack> {
        let from_message = untrusted.iter().map(|certificate| &certificate.x509);
        let all: Vec<&X509> = from_message.chain(&self.helpers).collect();
        let store = self.store(at, purpose)?;
        let mut result = verified(signer, &all, &store)?;
        if result.is_err()
            && let Some(issuers) = issuers::of(signer, &all, budget)
        {
            let anchors = self.anchors.iter();
            let anchors = anchors.filter(|anchor| *anchor == signer || issuers.contains(anchor));
            let store = store_of(anchors, at, purpose)?;
            result = verified(signer, &issuers, &store)?;
        }
        Ok(result.map_err(NoChain::of).and_then(Chain::of))
    }

    /// The anchors, for verifying at `at`.
    pub fn store(
        &self,
        at: Timestamp,
        purpose: Option<X509PurposeId>,
    ) -> Result<X509Store, ErrorStack> {
        store_of(self.anchors.iter(), at, purpose)
    }
}

fn verified(
    signer: &X509,
    helpers: &[&X509],
    store: &X509Store,
) -> Result<Result<Vec<X509>, X509VerifyResult>, ErrorStack> {
    let mut stack = Stack::new()?;
    for helper in helpers {
        stack.push((*helper).clone())?;
    }
    let mut context = X509StoreContext::new()?;
    context.init(store, signer, &stack, |context| {
        if !context.verify_cert()? {
            return Ok(Err(context.error()));
        }
        let chain = context.chain();
        let chain = chain.map(|chain| chain.iter().map(X509Ref::to_owned).collect());
        Ok(Ok(chain.unwrap_or_default()))
    })
}

fn store_of<'a>(
    anchors: impl Iterator<Item = &'a X509>,
    at: Timestamp,
    purpose: Option<X509PurposeId>,
) -> Result<X509Store, ErrorStack> {
    let mut parameters = X509VerifyParam::new()?;
    parameters.set_time(i64::try_from(at.seconds()).unwrap_or(i64::MAX));
    if let Some(purpose) = purpose {
        parameters.set_purpose(purpose)?;
    }
    // An anchor is an anchor, self-signed or not.
    parameters.set_flags(X509VerifyFlags::PARTIAL_CHAIN)?;
    parameters.set_depth(16);
    let mut builder = X509StoreBuilder::new()?;
    for anchor in anchors {
        builder.add_cert(anchor.clone())?;
    }
    builder.set_param(&parameters)?;
    Ok(builder.build())
}

impl Chain {
    fn of(certificates: Vec<X509>) -> Result<Self, NoChain> {
        policies::check(&certificates).map_err(|broken| NoChain::Other(broken.text()))?;
        let unreadable = NoChain::Other("unreadable validity");
        let start = |x509: &X509| time(x509.not_before());
        let end = |x509: &X509| time(x509.not_after());
        let from = certificates
            .iter()
            .map(start)
            .collect::<Option<Vec<_>>>()
            .ok_or(unreadable)?;
        let until = certificates
            .iter()
            .map(end)
            .collect::<Option<Vec<_>>>()
            .ok_or(unreadable)?;
        let from = from.into_iter().max().ok_or(NoChain::NoAnchor)?;
        let until = until.into_iter().min().ok_or(NoChain::NoAnchor)?;
        let encoded = certificates.iter().filter_map(|x509| x509.to_der().ok());
        let encoded: Vec<serde_bytes::ByteBuf> = encoded.map(Into::into).collect();
        Ok(Self {
            algorithms: Rc::new(algorithms(&certificates, &encoded)),
            encoded: Rc::new(encoded),
            certificates,
            from,
            until,
        })
    }
}

fn set_digest(anchors: &[serde_bytes::ByteBuf]) -> Digest {
    let mut digests: Vec<[u8; 32]> = anchors.iter().map(|der| Digest::of(der).0).collect();
    digests.sort_unstable();
    digests.dedup();
    Digest::of(&digests.concat())
}

/// The digests that the certificates below the anchor are signed with, and the keys of those among them that issue.
fn algorithms(certificates: &[X509], encoded: &[serde_bytes::ByteBuf]) -> Vec<String> {
    let below = certificates.len().saturating_sub(1);
    let digests = encoded.iter().take(below);
    let digests = digests.filter_map(|der| verify::certificate_digest(der).map(str::to_owned));
    let issuers = certificates.iter().take(below).skip(1);
    let keys = issuers.filter_map(|x509| verify::key_name(&x509.public_key().ok()?));
    digests.chain(keys).collect()
}

/// OpenSSL's time as ours; times before 1970 count as 1970.
#[must_use]
pub fn time(time: &Asn1TimeRef) -> Option<Timestamp> {
    let epoch = openssl::asn1::Asn1Time::from_unix(0).ok()?;
    let since = epoch.diff(time).ok()?;
    let seconds = i64::from(since.days) * 86_400 + i64::from(since.secs);
    Some(Timestamp::from_seconds(u64::try_from(seconds).unwrap_or(0)))
}

/// Whether the certificate's own key usage and extended key usage allow signing mail.
#[must_use]
pub fn may_sign_mail(x509: &X509) -> bool {
    usage_allows_signing(x509) && extended_usage_allows(x509)
}

/// Whether key usage allows signing: it says so, or it says nothing.
#[must_use]
pub fn usage_allows_signing(x509: &X509) -> bool {
    const DIGITAL_SIGNATURE_OR_NON_REPUDIATION: u8 = 0xc0;
    key_usage(x509).is_none_or(|bits| bits & DIGITAL_SIGNATURE_OR_NON_REPUDIATION != 0)
}

/// Whether key usage allows decrypting: it says so, or it says nothing.
#[must_use]
pub fn may_decrypt(x509: &X509) -> bool {
    const KEY_OR_DATA_ENCIPHERMENT_OR_KEY_AGREEMENT: u8 = 0x38;
    key_usage(x509).is_none_or(|bits| bits & KEY_OR_DATA_ENCIPHERMENT_OR_KEY_AGREEMENT != 0)
}

/// Whether key usage allows signing CRLs: it says so, or it says nothing.
#[must_use]
pub fn may_sign_crls(x509: &X509) -> bool {
    const CRL_SIGN: u8 = 0x02;
    key_usage(x509).is_none_or(|bits| bits & CRL_SIGN != 0)
}

/// Whether basic constraints make it an authority's certificate.
#[must_use]
pub fn is_authority(x509: &X509) -> bool {
    let constraints = extension(x509, "2.5.29.19").unwrap_or_default();
    let says_so = |list: super::ber::Element<'_>| {
        let first = list.inside().next().and_then(Result::ok);
        first.is_some_and(|first| first.tag == tag::BOOLEAN && first.body != [0])
    };
    super::ber::Element::only(&constraints).is_ok_and(says_so)
}

/// The first eight bits of the key usage extension.
fn key_usage(x509: &X509) -> Option<u8> {
    let value = extension(x509, "2.5.29.15")?;
    let bits = super::ber::Element::only(&value)
        .ok()
        .filter(|e| e.tag == tag::BIT_STRING)?;
    Some(bits.body.get(1).copied().unwrap_or(0))
}

fn extended_usage_allows(x509: &X509) -> bool {
    const EMAIL_PROTECTION: &str = "1.3.6.1.5.5.7.3.4";
    const ANY: &str = "2.5.29.37.0";
    let usages = extension(x509, "2.5.29.37");
    let Some(usages) = usages else { return true };
    let Ok(list) = super::ber::Element::only(&usages) else {
        return false;
    };
    list.tag == tag::SEQUENCE
        && list.inside().any(|usage| {
            usage
                .and_then(|usage| usage.oid())
                .is_ok_and(|usage| [EMAIL_PROTECTION, ANY].contains(&usage.to_string().as_str()))
        })
}

/// Contents of the certificate's extension `dotted`.
fn extension(x509: &X509, dotted: &str) -> Option<Vec<u8>> {
    extension_in(&x509.to_der().ok()?, tag::context(3), dotted)
}

/// Contents of the extension `dotted` in a certificate (extensions tagged `[3]`) or a CRL (`[0]`), in DER.
#[must_use]
pub fn extension_in(encoded: &[u8], tagged: u8, dotted: &str) -> Option<Vec<u8>> {
    let all = extensions(encoded, tagged)?;
    let wanted = all.into_iter().find(|extension| extension.kind == dotted);
    wanted.map(|extension| extension.value)
}

/// An extension of a certificate or CRL.
#[derive(Debug)]
pub struct Extension {
    /// Its object identifier, dotted.
    pub kind: String,
    /// Who does not know it must not use the whole.
    pub critical: bool,
    /// Its contents.
    pub value: Vec<u8>,
}

/// The extensions of a certificate (tagged `[3]`) or a CRL (`[0]`), in DER; `None` if it has none, or they are unreadable.
#[must_use]
pub fn extensions(encoded: &[u8], tagged: u8) -> Option<Vec<Extension>> {
    let (whole, _) = super::ber::Element::split(encoded).ok()?;
    let to_be_signed = whole
        .inside()
        .expect(tag::SEQUENCE, "a certificate or CRL")
        .ok()?;
    // The version is tagged [0] too, but comes first.
    let fields = to_be_signed.inside().filter_map(Result::ok).skip(1);
    let extensions = fields.filter(|field| field.tag == tagged).last()?;
    let list = extensions
        .inside()
        .expect(tag::SEQUENCE, "extensions")
        .ok()?;
    let read = |extension: super::ber::Element<'_>| {
        let mut inside = extension.inside();
        let kind = inside.value("an extension")?.oid()?.to_string();
        let critical = inside.optional(tag::BOOLEAN)?;
        let value = inside.value("a value")?.octet_string()?.into_owned();
        Ok::<_, super::ber::BerError>(Extension {
            kind,
            critical: critical.is_some_and(|critical| critical.body != [0]),
            value,
        })
    };
    list.inside()
        .map(|extension| read(extension?))
        .collect::<Result<_, _>>()
        .ok()
}
