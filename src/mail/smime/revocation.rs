//! Whether a signer's certificate had been revoked: from CRLs and OCSP responses, in the mail or supplied, each
//! accepted only if the certificate's own issuer signed it, or who may for it. It is evidence beside the verdict; `valid`
//! never implies it.

use super::ber::{BerError, Element, der, tag};
use super::certificates::Certificate;
use super::chain::Known;
use super::crl::{self, Crl};
use super::oids;
use super::structure::{SignerInfo, attribute_values};
use crate::mail::context::Budget;
use crate::mail::model::Revocation;
use crate::time::Timestamp;
use openssl::hash::MessageDigest;
use openssl::ocsp::{OcspCertId, OcspCertStatus, OcspFlag, OcspResponse};
use openssl::stack::Stack;
use openssl::x509::X509;
use openssl::x509::store::X509StoreRef;
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

    /// What is known of the chain's certificates: of the signer's own, unless one above it was revoked. What cannot be checked
    /// within the budget is unknown.
    #[must_use]
    pub fn judge(&self, chain: &[X509], around: &Surroundings<'_>) -> Finding {
        let mut of_signer = (Revocation::Unknown, None);
        let Some(anchor) = chain.last() else {
            return of_signer;
        };
        // Lists need none, and to make one takes longer the more anchors there are.
        let store = if self.responses.is_empty() {
            None
        } else {
            around.known.store(around.at, None).ok()
        };
        for (depth, pair) in chain.windows(2).enumerate() {
            let link = Link {
                x509: &pair[0],
                issuer: &pair[1],
                anchor,
                may_others_sign: true,
            };
            let finding = self.judge_one(&link, store.as_deref(), around);
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
        link: &Link<'_>,
        store: Option<&X509StoreRef>,
        around: &Surroundings<'_>,
    ) -> Finding {
        let crls = self.crls.iter();
        let by_crls = crls.filter_map(|(crl, from)| crl.says(from, link, around, self));
        let by_ocsp = self
            .responses
            .iter()
            .filter_map(|(response, from)| by_ocsp_of(response, from, link, store?, around));
        let weight = |finding: &Finding| match finding.0 {
            Revocation::Revoked => 3,
            Revocation::Good => 2,
            Revocation::Stale => 1,
            Revocation::Unknown => 0,
        };
        crl::without_lifted(by_crls.collect())
            .chain(by_ocsp)
            .max_by_key(weight)
            .unwrap_or((Revocation::Unknown, None))
    }
}

impl Data {
    /// Whether a list by its own issuer has one of the chain's certificates.
    pub(super) fn is_revoked(&self, chain: &[X509], around: &Surroundings<'_>) -> bool {
        let Some(anchor) = chain.last() else {
            return false;
        };
        chain.windows(2).any(|pair| {
            let link = Link {
                x509: &pair[0],
                issuer: &pair[1],
                anchor,
                may_others_sign: false,
            };
            let crls = self.crls.iter();
            let mut said = crls.filter_map(|(crl, from)| crl.says(from, &link, around, self));
            said.any(|said| said.is_revoked())
        })
    }
}

/// A certificate in a chain.
pub struct Link<'l> {
    /// It.
    pub x509: &'l X509,
    /// The next in the chain.
    pub issuer: &'l X509,
    /// The last one.
    pub anchor: &'l X509,
    /// Whether a list counts that the issuer's certificate did not sign.
    pub may_others_sign: bool,
}

/// What the signers of revocation data are judged by.
pub struct Surroundings<'s> {
    /// Anchors and certificates known beforehand.
    pub known: &'s Known,
    /// Certificates that came with the message.
    pub certificates: &'s [Rc<Certificate>],
    /// The time in question.
    pub at: Timestamp,
    /// Of the mail.
    pub budget: &'s Budget,
}

pub(super) fn revoked_at(since: Timestamp, source: String, at: Timestamp) -> Option<Finding> {
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

/// What a check of a response's signature is counted as, in octets of a key that is not RSA's: the message may bring the
/// responder's certificate, with the largest of keys.
const RESPONDER: usize = 600;

fn by_ocsp_of(
    response: &OcspResponse,
    from: &str,
    link: &Link<'_>,
    store: &X509StoreRef,
    around: &Surroundings<'_>,
) -> Option<Finding> {
    let at = around.at;
    let basic = response.basic().ok()?;
    let status = [MessageDigest::sha1(), MessageDigest::sha256()]
        .into_iter()
        .find_map(|digest| {
            let id = OcspCertId::from_cert(digest, link.x509, link.issuer).ok()?;
            basic.find_status(&id)
        })?;
    around.budget.check(RESPONDER, false).then_some(())?;
    let mut helpers = Stack::new().ok()?;
    helpers.push(link.issuer.clone()).ok()?;
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
