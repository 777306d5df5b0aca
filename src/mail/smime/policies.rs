//! Certificate policies along a chain (RFC 5280 §6.1), with any policy being acceptable to us: they matter only where an
//! authority demands one (`requireExplicitPolicy`). Since nobody asks under which, the set of the policies that are valid at a
//! certificate stands for the tree.

use super::ber::{BerError, Element, Reader, tag};
use super::chain;
use openssl::x509::X509;
use std::collections::BTreeSet;

const POLICIES: &str = "2.5.29.32";
const MAPPINGS: &str = "2.5.29.33";
const CONSTRAINTS: &str = "2.5.29.36";
const INHIBIT_ANY: &str = "2.5.29.54";
const ANY: &str = "2.5.29.32.0";

/// Why a chain does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Broken {
    /// An authority demands a policy, and none is valid for the whole chain.
    NoPolicy,
    /// An authority maps from or to any policy, or an extension cannot be read.
    Senseless,
}

impl Broken {
    /// For people.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::NoPolicy => {
                "an authority demands a certificate policy that the chain does not have"
            }
            Self::Senseless => "a certificate policy or mapping makes no sense",
        }
    }
}

impl From<BerError> for Broken {
    fn from(_: BerError) -> Self {
        Self::Senseless
    }
}

/// Checks a chain: the signer's certificate first, the anchor, which sets no conditions, last.
pub fn check(chain: &[X509]) -> Result<(), Broken> {
    let mut state = State {
        valid: BTreeSet::from([ANY.to_owned()]),
        explicit: chain.len(),
        mapping: chain.len(),
        any: chain.len(),
    };
    let below = chain.len().saturating_sub(1);
    for (at, x509) in chain[..below].iter().enumerate().rev() {
        let extensions = Extensions::of(x509);
        let is_last = at == 0;
        let is_self_issued = is_self_issued(x509);
        state.narrow(&extensions, is_self_issued && !is_last)?;
        if state.explicit == 0 && state.valid.is_empty() {
            return Err(Broken::NoPolicy);
        }
        if is_last {
            state.end(&extensions)?;
        } else {
            state.pass(&extensions, is_self_issued)?;
        }
    }
    if state.explicit == 0 && state.valid.is_empty() {
        return Err(Broken::NoPolicy);
    }
    Ok(())
}

/// The state variables of §6.1.2: of the tree the policies expected next; how many more certificates may come until a policy
/// is demanded, policies may not be mapped, any policy stands for none.
struct State {
    valid: BTreeSet<String>,
    explicit: usize,
    mapping: usize,
    any: usize,
}

impl State {
    /// §6.1.3, steps d and e.
    fn narrow(&mut self, extensions: &Extensions, may_be_any: bool) -> Result<(), Broken> {
        let Some(policies) = extensions.get(POLICIES) else {
            self.valid.clear();
            return Ok(());
        };
        let own: BTreeSet<String> = Element::only(policies)?
            .inside()
            .map(|policy| oid(&mut policy?.inside()))
            .collect::<Result<_, _>>()?;
        let were_any = self.valid.contains(ANY);
        let keeps_all = own.contains(ANY) && (self.any > 0 || may_be_any);
        let mut kept: BTreeSet<String> = own
            .into_iter()
            .filter(|policy| policy != ANY && (were_any || self.valid.contains(policy)))
            .collect();
        if keeps_all {
            kept.append(&mut self.valid);
        }
        self.valid = kept;
        Ok(())
    }

    /// §6.1.4, steps a, b and h to j: on to the next certificate.
    fn pass(&mut self, extensions: &Extensions, is_self_issued: bool) -> Result<(), Broken> {
        if let Some(mappings) = extensions.get(MAPPINGS) {
            self.map(mappings)?;
        }
        if !is_self_issued {
            for left in [&mut self.explicit, &mut self.mapping, &mut self.any] {
                *left = left.saturating_sub(1);
            }
        }
        self.constrain(extensions)?;
        if let Some(skip) = extensions.get(INHIBIT_ANY) {
            self.any = self.any.min(number(Element::only(skip)?.body));
        }
        Ok(())
    }

    fn map(&mut self, mappings: &[u8]) -> Result<(), Broken> {
        let (mut from, mut to) = (BTreeSet::new(), BTreeSet::new());
        let were_any = self.valid.contains(ANY);
        for mapping in Element::only(mappings)?.inside() {
            let mut pair = mapping?.inside();
            let (issuers, subjects) = (oid(&mut pair)?, oid(&mut pair)?);
            if issuers == ANY || subjects == ANY {
                return Err(Broken::Senseless);
            }
            if were_any || self.valid.contains(&issuers) {
                to.insert(subjects);
            }
            from.insert(issuers);
        }
        self.valid.retain(|policy| !from.contains(policy));
        if self.mapping > 0 {
            self.valid.append(&mut to);
        }
        Ok(())
    }

    fn constrain(&mut self, extensions: &Extensions) -> Result<(), Broken> {
        let Some(constraints) = extensions.get(CONSTRAINTS) else {
            return Ok(());
        };
        for constraint in Element::only(constraints)?.inside() {
            let constraint = constraint?;
            let left = match constraint.tag {
                0x80 => &mut self.explicit,
                0x81 => &mut self.mapping,
                _ => continue,
            };
            *left = (*left).min(number(constraint.body));
        }
        Ok(())
    }

    /// §6.1.5, steps a and b.
    fn end(&mut self, extensions: &Extensions) -> Result<(), Broken> {
        self.explicit = self.explicit.saturating_sub(1);
        let before = self.explicit;
        self.constrain(extensions)?;
        // Of the last certificate only a demand at once counts.
        if self.explicit > 0 {
            self.explicit = before;
        }
        Ok(())
    }
}

/// A certificate's extensions.
struct Extensions(Vec<chain::Extension>);

impl Extensions {
    fn of(x509: &X509) -> Self {
        let encoded = x509.to_der().unwrap_or_default();
        Self(chain::extensions(&encoded, tag::context(3)).unwrap_or_default())
    }

    fn get(&self, dotted: &str) -> Option<&[u8]> {
        let wanted = self.0.iter().find(|extension| extension.kind == dotted);
        wanted.map(|extension| extension.value.as_slice())
    }
}

fn oid(from: &mut Reader<'_>) -> Result<String, BerError> {
    Ok(from.value("a policy")?.oid()?.to_string())
}

/// A number of certificates; more than there can be where it is no small one.
fn number(octets: &[u8]) -> usize {
    match octets {
        [small @ 0..0x80] => (*small).into(),
        _ => usize::MAX,
    }
}

fn is_self_issued(x509: &X509) -> bool {
    let order = x509.subject_name().try_cmp(x509.issuer_name());
    order.is_ok_and(std::cmp::Ordering::is_eq)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::smime::ber::der;
    use proptest::prelude::*;

    fn extension() -> impl Strategy<Value = chain::Extension> {
        let kind = prop::sample::select(vec![POLICIES, MAPPINGS, CONSTRAINTS, INHIBIT_ANY]);
        let some = prop::sample::select(vec![tag::SEQUENCE, tag::INTEGER, 0x80, 0x81]);
        let oid = prop::sample::select(vec![vec![0x55, 0x1d, 0x20, 0], vec![0x2a, 3, 1], vec![]]);
        let oids = prop::collection::vec(oid.prop_map(|oid| der(tag::OID, &oid)), 0..4);
        let listed = oids.prop_map(|oids| der(tag::SEQUENCE, &oids.concat()));
        let bytes = prop::collection::vec(any::<u8>(), 0..30);
        let value = (some, prop_oneof![listed, bytes]).prop_map(|(tag, body)| der(tag, &body));
        (kind, value).prop_map(|(kind, value)| chain::Extension {
            kind: kind.to_owned(),
            critical: false,
            value,
        })
    }

    proptest! {
        #[test]
        fn any_extensions_are_survived(all in prop::collection::vec(extension(), 0..5), is_self_issued: bool) {
            let mut state = State {
                valid: BTreeSet::from([ANY.to_owned()]),
                explicit: 3,
                mapping: 3,
                any: 3,
            };
            let extensions = Extensions(all);
            for _ in 0..3 {
                let _ = state.narrow(&extensions, is_self_issued);
                let _ = state.pass(&extensions, is_self_issued);
            }
            let _ = state.end(&extensions);
            prop_assert!(state.explicit <= 3 && state.valid.len() < 20);
        }
    }
}
