//! Whether a signer's certificate had been revoked: from CRLs and OCSP responses, in the mail or supplied, each
//! accepted only if the certificate's own issuer (or its OCSP responder) signed it. It is evidence beside the
//! verdict; `valid` never implies it.

use super::ber::{BerError, Element, der, tag};
use super::structure::{SignerInfo, attribute_values};
use super::{chain, oids};
use crate::id::Digest;
use crate::mail::context::Budget;
use crate::mail::model::Revocation;
use crate::time::Timestamp;
use openssl::hash::MessageDigest;
use openssl::ocsp::{OcspCertId, OcspCertStatus, OcspFlag, OcspResponse};
use openssl::pkey::Id;
use openssl::stack::Stack;
use openssl::x509::store::X509StoreRef;
use openssl::x509::{CrlStatus, X509, X509Crl};
use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

/// Most CRLs and OCSP responses that one object may bring; each costs a check of its signature for every signer.
const MOST: usize = 50;

/// Revocation data, with where it came from.
#[derive(Default)]
pub struct Data {
    crls: Vec<(Rc<Crl>, &'static str)>,
    responses: Vec<(Rc<OcspResponse>, &'static str)>,
    /// How many came with the message, readable or not.
    brought: usize,
}

/// What the data says of one certificate, and which data.
pub type Finding = (Revocation, Option<String>);

impl Data {
    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.crls.is_empty() && self.responses.is_empty()
    }

    /// Adds supplied CRLs and OCSP responses.
    pub fn add_supplied(&mut self, crls: &[Rc<Crl>], ocsp: &[Rc<OcspResponse>]) {
        let crls = crls.iter().map(|crl| (Rc::clone(crl), "supplied"));
        let responses = ocsp.iter().map(|one| (Rc::clone(one), "supplied"));
        self.crls.extend(crls);
        self.responses.extend(responses);
    }

    /// Adds what a SignedData carries in its `RevocationInfoChoices`.
    pub fn add_choices(&mut self, choices: Element<'_>) {
        for choice in choices.inside().filter_map(Result::ok) {
            match choice.tag {
                tag::SEQUENCE => self.add_crl(choice.raw),
                0xa1 => {
                    let mut inside = choice.inside();
                    let kind = inside.value("a format").and_then(|kind| kind.oid());
                    if kind == Ok(oids::RI_OCSP)
                        && let Some(Ok(response)) = inside.next()
                    {
                        self.add_response(response.raw);
                    }
                }
                _ => {}
            }
        }
    }

    /// Adds what a signer carries in its attributes.
    pub fn add_attributes(&mut self, signer: &SignerInfo<'_>) {
        let sets = [signer.signed_attributes, signer.unsigned_attributes];
        for set in sets.into_iter().flatten() {
            for kind in [oids::REVOCATION_ARCHIVAL, oids::REVOCATION_VALUES] {
                for value in attribute_values(&set, &kind).unwrap_or_default() {
                    // A value that cannot be read is no evidence; that is all.
                    let _ = self.add_values(&value);
                }
            }
        }
    }

    /// Both attributes are SEQUENCE { [0] SEQUENCE OF CRL, [1] SEQUENCE OF (Basic)OCSPResponse, … }.
    fn add_values(&mut self, value: &Element<'_>) -> Result<(), BerError> {
        for field in value.inside() {
            let field = field?;
            for list in field.inside() {
                for entry in list?.inside() {
                    let entry = entry?;
                    match field.tag {
                        0xa0 => self.add_crl(entry.raw),
                        0xa1 => self.add_response(entry.raw),
                        _ => {}
                    }
                }
            }
        }
        Ok(())
    }

    /// Counts what the message brings; false where that is too much.
    fn has_room(&mut self) -> bool {
        self.brought += 1;
        self.brought <= MOST
    }

    fn add_crl(&mut self, encoded: &[u8]) {
        if !self.has_room() {
            return;
        }
        let crl = Crl::of(encoded);
        self.crls.extend(crl.map(|crl| (Rc::new(crl), "message")));
    }

    /// Takes an `OCSPResponse`, or a `BasicOCSPResponse`, which is wrapped first.
    fn add_response(&mut self, encoded: &[u8]) {
        if !self.has_room() {
            return;
        }
        let response = OcspResponse::from_der(encoded).or_else(|_| {
            let kind = der(tag::OID, oids::OCSP_BASIC.as_bytes());
            let inner = der(
                tag::SEQUENCE,
                &[kind, der(tag::OCTET_STRING, encoded)].concat(),
            );
            let whole = [vec![0x0a, 1, 0], der(tag::context(0), &inner)].concat();
            OcspResponse::from_der(&der(tag::SEQUENCE, &whole))
        });
        self.responses
            .extend(response.ok().map(|one| (Rc::new(one), "message")));
    }

    /// What is known of the chain's certificates at `at`: of the signer's own, unless one above it was revoked.
    /// `store` has the anchors, for responders. What cannot be checked within `budget` is unknown.
    #[must_use]
    pub fn judge(
        &self,
        chain: &[X509],
        store: &X509StoreRef,
        at: Timestamp,
        budget: &Budget,
    ) -> Finding {
        let mut of_signer = (Revocation::Unknown, None);
        for (depth, pair) in chain.windows(2).enumerate() {
            let finding = self.judge_one(&pair[0], &pair[1], store, at, budget);
            if finding.0 == Revocation::Revoked {
                return finding;
            }
            if depth == 0 {
                of_signer = finding;
            }
        }
        of_signer
    }

    fn judge_one(
        &self,
        x509: &X509,
        issuer: &X509,
        store: &X509StoreRef,
        at: Timestamp,
        budget: &Budget,
    ) -> Finding {
        let by_crl = self
            .crls
            .iter()
            .filter_map(|(crl, from)| by_crl(crl, from, x509, issuer, at, budget));
        let by_ocsp = self.responses.iter().filter_map(|(response, from)| {
            by_ocsp_of(response, from, x509, issuer, store, at, budget)
        });
        let weight = |finding: &Finding| match finding.0 {
            Revocation::Revoked => 3,
            Revocation::Good => 2,
            Revocation::Stale => 1,
            Revocation::Unknown => 0,
        };
        by_crl
            .chain(by_ocsp)
            .max_by_key(weight)
            .unwrap_or((Revocation::Unknown, None))
    }
}

fn by_crl(
    crl: &Crl,
    from: &str,
    x509: &X509,
    issuer: &X509,
    at: Timestamp,
    budget: &Budget,
) -> Option<Finding> {
    let list = &crl.list;
    let same_issuer = list.issuer_name().try_cmp(x509.issuer_name()).ok()?.is_eq();
    let signed = same_issuer && crl.is_by(issuer, budget)?;
    if !signed || !chain::may_sign_crls(issuer) || crl.sets_unknown_condition() {
        return None;
    }
    let this_update = chain::time(list.last_update())?;
    let source = format!("CRL of {this_update} ({from})");
    match list.get_by_cert(x509) {
        CrlStatus::Revoked(entry) => revoked_at(chain::time(entry.revocation_date())?, source, at),
        CrlStatus::NotRevoked if !crl.covers(x509) => None,
        CrlStatus::NotRevoked => {
            let until = list
                .next_update()
                .and_then(chain::time)
                .unwrap_or(this_update);
            Some((
                if at <= until {
                    Revocation::Good
                } else {
                    Revocation::Stale
                },
                Some(source),
            ))
        }
        CrlStatus::RemoveFromCrl(_) => Some((Revocation::Good, Some(source))),
    }
}

fn revoked_at(since: Timestamp, source: String, at: Timestamp) -> Option<Finding> {
    Some(if since <= at {
        (
            Revocation::Revoked,
            Some(format!("{source}: revoked {since}")),
        )
    } else {
        (
            Revocation::Good,
            Some(format!("{source}: revoked later, {since}")),
        )
    })
}

/// A CRL, and what was found out about it. It may be megabytes long, and is asked for every signature.
pub struct Crl {
    list: X509Crl,
    /// Whether the issuers with these certificates signed it.
    by: RefCell<HashMap<Digest, bool>>,
    extensions: OnceCell<Vec<chain::Extension>>,
}

impl Crl {
    /// Reads a CRL, DER.
    #[must_use]
    pub fn of(encoded: &[u8]) -> Option<Self> {
        Some(Self {
            list: X509Crl::from_der(encoded).ok()?,
            by: RefCell::default(),
            extensions: OnceCell::new(),
        })
    }

    /// Whether it is signed by `issuer`; `None` if that cannot be checked, or the mail has cost too much.
    fn is_by(&self, issuer: &X509, budget: &Budget) -> Option<bool> {
        let id = Digest::of(&issuer.to_der().ok()?);
        if let Some(known) = self.by.borrow().get(&id) {
            return Some(*known);
        }
        let key = issuer.public_key().ok()?;
        let is_rsa = matches!(key.id(), Id::RSA | Id::RSA_PSS);
        budget
            .check(key.bits() as usize / 8, is_rsa)
            .then_some(())?;
        let signed = self.list.verify(&key).unwrap_or(false);
        self.by.borrow_mut().insert(id, signed);
        Some(signed)
    }

    fn extensions(&self) -> &[chain::Extension] {
        self.extensions.get_or_init(|| {
            let encoded = self.list.to_der().unwrap_or_default();
            chain::extensions(&encoded, tag::context(0)).unwrap_or_default()
        })
    }

    fn extension(&self, dotted: &str) -> Option<&[u8]> {
        let mut all = self.extensions().iter();
        let wanted = all.find(|extension| extension.kind == dotted);
        wanted.map(|extension| extension.value.as_slice())
    }

    /// Whether a critical extension is one that is not known here: then it must not be used (RFC 5280 §5.2).
    fn sets_unknown_condition(&self) -> bool {
        // Authority key identifier, CRL number, and the two that are asked in [`Crl::covers`].
        const KNOWN: [&str; 4] = ["2.5.29.35", "2.5.29.20", "2.5.29.27", "2.5.29.28"];
        self.extensions()
            .iter()
            .any(|extension| extension.critical && !KNOWN.contains(&extension.kind.as_str()))
    }

    /// Whether a certificate's absence means anything: a CRL that is limited to a distribution point speaks only for
    /// certificates that name the same point, and a delta CRL for none.
    fn covers(&self, x509: &X509) -> bool {
        if self.extension("2.5.29.27").is_some() {
            return false;
        }
        let Some(limits) = self.extension("2.5.29.28") else {
            return true;
        };
        let Ok(limits) = Element::only(limits) else {
            return false;
        };
        let own = x509
            .to_der()
            .ok()
            .and_then(|der| chain::extension_in(&der, tag::context(3), "2.5.29.31"));
        limits.inside().all(|limit| {
            limit.is_ok_and(|limit| match limit.tag {
                // distributionPoint: [0] { fullName [0] { names } }
                0xa0 => limit
                    .inside()
                    .next()
                    .and_then(Result::ok)
                    .is_some_and(|names| {
                        names.inside().filter_map(Result::ok).any(|name| {
                            own.as_ref().is_some_and(|own| {
                                own.windows(name.raw.len()).any(|part| part == name.raw)
                            })
                        })
                    }),
                // onlyContainsUserCerts, onlyContainsCACerts
                0x81 => limit.body == [0] || !chain::is_authority(x509),
                0x82 => limit.body == [0] || chain::is_authority(x509),
                _ => limit.body == [0],
            })
        })
    }
}

/// What a check of a response's signature is counted as, in octets of a key that is not RSA's: the message may bring the
/// responder's certificate, with the largest of keys.
const RESPONDER: usize = 600;

fn by_ocsp_of(
    response: &OcspResponse,
    from: &str,
    x509: &X509,
    issuer: &X509,
    store: &X509StoreRef,
    at: Timestamp,
    budget: &Budget,
) -> Option<Finding> {
    let basic = response.basic().ok()?;
    let status = [MessageDigest::sha1(), MessageDigest::sha256()]
        .into_iter()
        .find_map(|digest| {
            let id = OcspCertId::from_cert(digest, x509, issuer).ok()?;
            basic.find_status(&id)
        })?;
    budget.check(RESPONDER, false).then_some(())?;
    let mut helpers = Stack::new().ok()?;
    helpers.push(issuer.clone()).ok()?;
    basic.verify(&helpers, store, OcspFlag::empty()).ok()?;
    let this_update = printed_time(&status.this_update.to_string())?;
    let source = format!("OCSP response of {this_update} ({from})");
    match status.status {
        OcspCertStatus::REVOKED => revoked_at(
            printed_time(&status.revocation_time?.to_string())?,
            source,
            at,
        ),
        OcspCertStatus::GOOD => {
            // Without a next update a response speaks for its own time; a day is allowed for delivery.
            let next = status
                .next_update()
                .and_then(|time| printed_time(&time.to_string()));
            let until = next.unwrap_or(this_update.plus_seconds(86_400));
            Some((
                if at <= until {
                    Revocation::Good
                } else {
                    Revocation::Stale
                },
                Some(source),
            ))
        }
        _ => None,
    }
}

/// OpenSSL's printed form of a time: "May 26 12:08:21 2019 GMT".
fn printed_time(text: &str) -> Option<Timestamp> {
    let time = jiff::civil::DateTime::strptime("%b %e %H:%M:%S %Y GMT", text).ok()?;
    let seconds = time
        .to_zoned(jiff::tz::TimeZone::UTC)
        .ok()?
        .timestamp()
        .as_second();
    u64::try_from(seconds).ok().map(Timestamp::from_seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn printed_times_are_read() {
        assert_eq!(
            printed_time("May  6 12:08:21 2019 GMT"),
            Some(Timestamp::from_seconds(1_557_144_501))
        );
        assert_eq!(printed_time("Bad time value"), None);
    }
}
