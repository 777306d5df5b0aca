//! Certificate revocation lists (RFC 5280 §5): which certificates one speaks for, and what it says of them.
//!
//! A list counts if the certificate's own issuer signed it, or another certificate of that name (a new key, a key for lists
//! alone), or whom the certificate names for it (an indirect list); the latter two only where their way ends at the same anchor
//! (§6.3.3, step f).

use super::ber::{Element, der, tag};
use super::chain;
use super::revocation::{Data, Finding, Link, Surroundings, revoked_at};
use crate::id::Digest;
use crate::mail::context::Budget;
use crate::mail::model::Revocation;
use crate::time::Timestamp;
use openssl::pkey::Id;
use openssl::x509::{CrlStatus, ReasonCode, X509, X509Crl, X509Name, X509NameRef, X509RevokedRef};
use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;

/// Most certificates tried for one list, besides the issuer's.
const MOST_SIGNERS: usize = 8;

const DELTA_CRL: &str = "2.5.29.27";
const ISSUING_DISTRIBUTION_POINT: &str = "2.5.29.28";
const CRL_DISTRIBUTION_POINTS: &str = "2.5.29.31";
/// Among general names (§4.2.1.6).
const DIRECTORY_NAME: u8 = 0xa4;
/// `certificateHold` of §5.3.1.
const HOLD: i64 = 6;

/// What a list says of a certificate.
pub struct Said {
    finding: Finding,
    /// The list's own time.
    issued: Timestamp,
    /// It is revoked only for the time being.
    is_hold: bool,
}

impl Said {
    /// Whether it is revoked.
    #[must_use]
    pub fn is_revoked(&self) -> bool {
        self.finding.0 == Revocation::Revoked
    }
}

/// All findings but of holds that a later list no longer has.
pub fn without_lifted(said: Vec<Said>) -> impl Iterator<Item = Finding> {
    let clears = |one: &&Said| matches!(one.finding.0, Revocation::Good | Revocation::Stale);
    let cleared = said.iter().filter(clears).map(|one| one.issued).max();
    said.into_iter()
        .filter(move |one| !one.is_hold || cleared.is_none_or(|cleared| cleared <= one.issued))
        .map(|one| one.finding)
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

    /// What it says of a certificate; `None` if that is nothing, or it does not count. `data` has the lists that its signer's own
    /// certificate may be in.
    pub fn says(
        &self,
        from: &str,
        link: &Link<'_>,
        around: &Surroundings<'_>,
        data: &Data,
    ) -> Option<Said> {
        let list = &self.list;
        if !self.is_authentic(link, around, data)? || self.sets_unknown_condition() {
            return None;
        }
        let issued = chain::time(list.last_update())?;
        let source = format!("CRL of {issued} ({from})");
        let mut is_hold = false;
        let finding = match list.get_by_cert(link.x509) {
            CrlStatus::Revoked(entry) => {
                is_hold = reason(entry) == Some(HOLD);
                revoked_at(chain::time(entry.revocation_date())?, source, around.at)?
            }
            CrlStatus::NotRevoked if !self.covers(link.x509) => return None,
            CrlStatus::NotRevoked => {
                let until = list.next_update().and_then(chain::time).unwrap_or(issued);
                let state = if around.at <= until {
                    Revocation::Good
                } else {
                    Revocation::Stale
                };
                (state, Some(source))
            }
            CrlStatus::RemoveFromCrl(_) => (Revocation::Good, Some(source)),
        };
        Some(Said {
            finding,
            issued,
            is_hold,
        })
    }

    /// Whether one signed it who may for this certificate.
    fn is_authentic(
        &self,
        link: &Link<'_>,
        around: &Surroundings<'_>,
        data: &Data,
    ) -> Option<bool> {
        let name = self.list.issuer_name();
        let is_own = is_same(name, link.x509.issuer_name());
        if is_own && self.is_by(link.issuer, around.budget)? {
            return Some(chain::may_sign_crls(link.issuer));
        }
        let names_it = || Points::of(link.x509).all().any(|point| point.names(name));
        let is_for_it = is_own || self.is_indirect() && names_it();
        if !link.may_others_sign || !is_for_it {
            return Some(false);
        }
        let from_message = around.certificates.iter().map(|one| &one.x509);
        let others = from_message.chain(around.known.helpers());
        let mut named = others
            .filter(|x509| is_same(x509.subject_name(), name) && chain::may_sign_crls(x509))
            .take(MOST_SIGNERS);
        Some(named.any(|x509| {
            let way = || around.known.way(x509, link.anchor, around);
            self.is_by(x509, around.budget) == Some(true)
                && way().is_some_and(|way| !data.is_revoked(&way.certificates, around))
        }))
    }

    fn is_indirect(&self) -> bool {
        const INDIRECT: u8 = 0x84;
        let limits = self.extension(ISSUING_DISTRIBUTION_POINT);
        let limits = limits.and_then(|limits| Element::only(limits).ok());
        limits.is_some_and(|limits| {
            let mut limits = limits.inside().filter_map(Result::ok);
            limits.any(|limit| limit.tag == INDIRECT && limit.body != [0])
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
        const KNOWN: [&str; 4] = [
            "2.5.29.35",
            "2.5.29.20",
            DELTA_CRL,
            ISSUING_DISTRIBUTION_POINT,
        ];
        self.extensions()
            .iter()
            .any(|extension| extension.critical && !KNOWN.contains(&extension.kind.as_str()))
    }

    /// Whether a certificate's absence means anything: a list that is limited to a distribution point speaks only for
    /// certificates that name the same point, one by another issuer for those that name that one too, and a delta CRL for none.
    fn covers(&self, x509: &X509) -> bool {
        if self.extension(DELTA_CRL).is_some() {
            return false;
        }
        let Some(limits) = self.extension(ISSUING_DISTRIBUTION_POINT) else {
            return true;
        };
        let Ok(limits) = Element::only(limits) else {
            return false;
        };
        let points = Points::of(x509);
        limits.inside().all(|limit| {
            limit.is_ok_and(|limit| match limit.tag {
                // distributionPoint
                0xa0 => {
                    let issuer = self.list.issuer_name();
                    let listed = full_names(&limit, &issuer.to_der().unwrap_or_default());
                    let mut own = points.all().filter(|point| point.is_for(issuer, x509));
                    own.any(|point| point.is_at(&listed, x509))
                }
                // onlyContainsUserCerts, onlyContainsCACerts
                0x81 => limit.body == [0] || !chain::is_authority(x509),
                0x82 => limit.body == [0] || chain::is_authority(x509),
                // indirectCRL: who signed it has been asked.
                0x84 => true,
                _ => limit.body == [0],
            })
        })
    }
}

/// The distribution points that a certificate names (§4.2.1.13).
struct Points(Vec<u8>);

impl Points {
    fn of(x509: &X509) -> Self {
        let encoded = x509.to_der().unwrap_or_default();
        let points = chain::extension_in(&encoded, tag::context(3), CRL_DISTRIBUTION_POINTS);
        Self(points.unwrap_or_default())
    }

    fn all(&self) -> impl Iterator<Item = Point<'_>> {
        let points = Element::only(&self.0).ok().into_iter();
        let points = points.flat_map(|points| points.inside().filter_map(Result::ok));
        points.map(|point| {
            let fields = || point.inside().filter_map(Result::ok);
            Point {
                place: fields().find(|field| field.tag == 0xa0),
                is_of_all_reasons: fields().all(|field| field.tag != 0x81),
                issuers: fields().find(|field| field.tag == 0xa2),
            }
        })
    }
}

/// One of them.
struct Point<'p> {
    place: Option<Element<'p>>,
    is_of_all_reasons: bool,
    issuers: Option<Element<'p>>,
}

impl Point<'_> {
    /// Whether it names who issues its lists, and this one.
    fn names(&self, name: &X509NameRef) -> bool {
        let issuers = self.issuers.iter();
        issuers
            .flat_map(|issuers| issuers.inside().filter_map(Result::ok))
            .filter(|one| one.tag == DIRECTORY_NAME)
            .filter_map(|one| X509Name::from_der(one.body).ok())
            .any(|one| is_same(&one, name))
    }

    /// Whether the lists here, for all reasons, are those of `issuer`.
    fn is_for(&self, issuer: &X509NameRef, x509: &X509) -> bool {
        let is_by = match self.issuers {
            Some(_) => self.names(issuer),
            None => is_same(issuer, x509.issuer_name()),
        };
        is_by && self.is_of_all_reasons
    }

    /// Whether one of its names is among `listed`; where it has none, the names of the issuer count.
    fn is_at(&self, listed: &[Vec<u8>], x509: &X509) -> bool {
        let issuers = self.issuers.iter();
        let mut issuers = issuers.flat_map(|issuers| issuers.inside().filter_map(Result::ok));
        match &self.place {
            Some(place) => {
                let issuer = issuers.find(|one| one.tag == DIRECTORY_NAME);
                let issuer = issuer.map_or_else(
                    || x509.issuer_name().to_der().unwrap_or_default(),
                    |issuer| issuer.body.to_vec(),
                );
                full_names(place, &issuer)
                    .iter()
                    .any(|name| listed.contains(name))
            }
            None => issuers.any(|name| listed.iter().any(|listed| listed == name.raw)),
        }
    }
}

/// The names in a `DistributionPointName`, encoded; one that is relative to the issuer of the lists with that in front.
fn full_names(place: &Element<'_>, issuer: &[u8]) -> Vec<Vec<u8>> {
    const RELATIVE: u8 = 0xa1;
    let choice = place.inside().next().and_then(Result::ok);
    match (choice, Element::only(issuer)) {
        (Some(relative), Ok(issuer)) if relative.tag == RELATIVE => {
            let last = der(tag::SET, relative.body);
            let name = der(tag::SEQUENCE, &[issuer.body, &last].concat());
            vec![der(DIRECTORY_NAME, &name)]
        }
        (Some(full), _) => {
            let names = full.inside().filter_map(Result::ok);
            names.map(|name| name.raw.to_vec()).collect()
        }
        (None, _) => Vec::new(),
    }
}

fn is_same(one: &X509NameRef, other: &X509NameRef) -> bool {
    one.try_cmp(other).is_ok_and(std::cmp::Ordering::is_eq)
}

fn reason(entry: &X509RevokedRef) -> Option<i64> {
    let (_, reason) = entry.extension::<ReasonCode>().ok()??;
    reason.get_i64().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use openssl::x509::X509NameBuilder;
    use proptest::prelude::*;

    fn name(text: &str) -> X509Name {
        let mut name = X509NameBuilder::new().unwrap();
        name.append_entry_by_text("CN", text).unwrap();
        name.build()
    }

    proptest! {
        #[test]
        fn any_points_are_survived(
            fields in prop::collection::vec((0xa0_u8..0xa5, prop::collection::vec(any::<u8>(), 0..12), any::<bool>()), 0..6),
        ) {
            let nested = fields.iter().map(|(tag, body, is_deep)| {
                let inner = if *is_deep { der(DIRECTORY_NAME, body) } else { body.clone() };
                der(*tag, &der(0xa1, &inner))
            });
            let point = der(tag::SEQUENCE, &nested.collect::<Vec<_>>().concat());
            let points = Points(der(tag::SEQUENCE, &point.repeat(2)));
            let issuer = name("Root");
            prop_assert_eq!(points.all().count(), 2);
            for point in points.all() {
                prop_assert!(!point.names(&issuer));
                let place = point.place.map(|place| full_names(&place, &issuer.to_der().unwrap()));
                prop_assert!(place.is_none_or(|names| names.len() < 12));
            }
        }

        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let issuer = name("Root");
            let points = Points(bytes);
            prop_assert!(points.all().all(|point| !point.names(&issuer)));
        }
    }
}
