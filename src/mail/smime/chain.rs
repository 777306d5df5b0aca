//! From a signer's certificate to an anchor that we were given beforehand. What came with the mail only helps to
//! find the way. Certificates are parsed once and chains that held are remembered, so that judging
//! a signature costs little more than its arithmetic.

use super::ber::tag;
use super::certificates::{Found, Names, Source};
use super::structure::Identifier;
use crate::id::Digest;
use crate::mail::context::Trust;
use crate::time::Timestamp;
use openssl::asn1::Asn1TimeRef;
use openssl::error::ErrorStack;
use openssl::stack::Stack;
use openssl::x509::store::{X509Store, X509StoreBuilder};
use openssl::x509::verify::{X509VerifyFlags, X509VerifyParam};
use openssl::x509::{X509, X509Crl, X509PurposeId, X509Ref, X509StoreContext, X509VerifyResult};
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

/// Most chains remembered; then all are forgotten.
const MOST_CHAINS: usize = 10_000;

/// What is known of signers beforehand: the parsed form of [`Trust`].
pub struct Known {
    trust: Trust,
    anchors: Vec<X509>,
    named: Vec<(Names, Found)>,
    crls: Vec<Rc<X509Crl>>,
    held: HashMap<Digest, Chain>,
}

/// A way from a certificate to an anchor, and when all of it is valid.
#[derive(Clone)]
pub struct Chain {
    /// Signer's certificate first, anchor last.
    pub certificates: Vec<X509>,
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
    /// Anything else, as OpenSSL says it.
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
    static KNOWN: RefCell<Option<Known>> = const { RefCell::new(None) };
}

impl Known {
    /// Lets `ask` look into the parsed form of `trust`, which is made anew only when it has changed.
    pub fn with<T>(trust: &Trust, ask: impl FnOnce(&mut Self) -> T) -> T {
        KNOWN.with_borrow_mut(|slot| {
            if !slot.as_ref().is_some_and(|known| known.trust == *trust) {
                *slot = Some(Self::parse(trust));
            }
            let known = slot.get_or_insert_with(|| Self::parse(trust));
            ask(known)
        })
    }

    fn parse(trust: &Trust) -> Self {
        let read = |der: &serde_bytes::ByteBuf| X509::from_der(der).ok();
        let anchors: Vec<X509> = trust.anchors.iter().filter_map(read).collect();
        let directory = trust.certificates.iter().filter_map(read);
        let sourced = anchors.iter().cloned().map(|x509| Found {
            x509,
            source: Source::Anchors,
        });
        let sourced = sourced.chain(directory.map(|x509| Found {
            x509,
            source: Source::Directory,
        }));
        let named = sourced
            .filter_map(|found| Some((Names::of(&found.x509)?, found)))
            .collect();
        let crls = trust
            .crls
            .iter()
            .filter_map(|der| X509Crl::from_der(der).ok().map(Rc::new))
            .collect();
        Self {
            crls,
            trust: trust.clone(),
            anchors,
            named,
            held: HashMap::new(),
        }
    }

    /// The certificate that `id` names.
    #[must_use]
    pub fn find(&self, id: &Identifier<'_>) -> Option<Found> {
        self.named
            .iter()
            .find(|(names, _)| names.fit(id))
            .map(|(_, found)| found.clone())
    }

    /// Whether this very certificate was known before the mail came.
    #[must_use]
    pub fn source(&self, x509: &X509) -> Source {
        let same = |(_, found): &&(Names, Found)| found.x509 == *x509;
        self.named
            .iter()
            .find(same)
            .map_or(Source::Message, |(_, found)| found.source)
    }

    /// The supplied CRLs.
    #[must_use]
    pub fn crls(&self) -> &[Rc<X509Crl>] {
        &self.crls
    }

    /// The chain from `signer` to an anchor, valid at `at` for signing mail; `untrusted` may lie on the way.
    pub fn chain(
        &mut self,
        signer: &X509,
        untrusted: &[X509],
        at: Timestamp,
    ) -> Result<Chain, NoChain> {
        let id = signer
            .to_der()
            .map(|der| Digest::of(&der))
            .map_err(|_| NoChain::NoAnchor)?;
        if let Some(chain) = self.held.get(&id)
            && (chain.from..=chain.until).contains(&at)
        {
            return Ok(chain.clone());
        }
        let chain = self
            .build(signer, untrusted, at)
            .map_err(|_| NoChain::NoAnchor)??;
        if self.held.len() >= MOST_CHAINS {
            self.held.clear();
        }
        self.held.insert(id, chain.clone());
        Ok(chain)
    }

    fn build(
        &self,
        signer: &X509,
        untrusted: &[X509],
        at: Timestamp,
    ) -> Result<Result<Chain, NoChain>, ErrorStack> {
        let mut helpers = Stack::new()?;
        let directory = self.named.iter().map(|(_, found)| &found.x509);
        for x509 in untrusted.iter().chain(directory) {
            helpers.push(x509.clone())?;
        }
        let store = self.store(at, Some(X509PurposeId::SMIME_SIGN))?;
        let mut context = X509StoreContext::new()?;
        context.init(&store, signer, &helpers, |context| {
            if context.verify_cert()? {
                let chain = context
                    .chain()
                    .map(|chain| chain.iter().map(X509Ref::to_owned).collect());
                Ok(Chain::of(chain.unwrap_or_default()))
            } else {
                Ok(Err(NoChain::of(context.error())))
            }
        })
    }

    /// The anchors, for verifying at `at`.
    pub fn store(
        &self,
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
        for anchor in &self.anchors {
            builder.add_cert(anchor.clone())?;
        }
        builder.set_param(&parameters)?;
        Ok(builder.build())
    }
}

impl Chain {
    fn of(certificates: Vec<X509>) -> Result<Self, NoChain> {
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
        Ok(Self {
            certificates,
            from,
            until,
        })
    }
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
pub fn extension_in(encoded: &[u8], extensions: u8, dotted: &str) -> Option<Vec<u8>> {
    let (whole, _) = super::ber::Element::split(encoded).ok()?;
    let to_be_signed = whole
        .inside()
        .expect(tag::SEQUENCE, "a certificate or CRL")
        .ok()?;
    // The version is tagged [0] too, but comes first.
    let fields = to_be_signed.inside().filter_map(Result::ok).skip(1);
    let extensions = fields.filter(|field| field.tag == extensions).last()?;
    let list = extensions
        .inside()
        .expect(tag::SEQUENCE, "extensions")
        .ok()?;
    for extension in list.inside() {
        let mut inside = extension.ok()?.inside();
        if inside.value("an extension").ok()?.oid().ok()?.to_string() == dotted {
            inside.optional(tag::BOOLEAN).ok()?;
            return Some(
                inside
                    .value("a value")
                    .ok()?
                    .octet_string()
                    .ok()?
                    .into_owned(),
            );
        }
    }
    None
}
