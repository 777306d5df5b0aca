//! Which certificates truly issued another: by their keys, not by their names, which anybody can write.

use super::verify;
use crate::mail::context::Budget;
use openssl::pkey::Id;
use openssl::x509::X509;

/// Most that are followed; a chain has 16 at most.
const MOST: usize = 64;

/// The certificates among `all` that are on a way up from `signer`: each holds the key that signed one before it. `None` where
/// names suffice, since no two have the same. Beyond what the mail may cost none is looked for.
#[must_use]
pub fn of<'a>(signer: &X509, all: &[&'a X509], budget: &Budget) -> Option<Vec<&'a X509>> {
    let mut is_ambiguous = false;
    let by_name = walk(signer, all, |named, _| {
        is_ambiguous |= named.len() > 1;
        named
    });
    if !is_ambiguous || by_name.len() > MOST {
        return None;
    }
    Some(walk(signer, &by_name, |named, x509| {
        let true_ones = named.into_iter();
        true_ones
            .filter(|issuer| issued(issuer, x509, budget))
            .collect()
    }))
}

/// All that can be reached from `signer`, going from a certificate to those of its issuer's name that `pick` lets through.
fn walk<'a>(
    signer: &X509,
    all: &[&'a X509],
    mut pick: impl FnMut(Vec<&'a X509>, &X509) -> Vec<&'a X509>,
) -> Vec<&'a X509> {
    let mut found: Vec<&'a X509> = Vec::new();
    let mut looked_at = 0;
    let mut next = signer;
    loop {
        let mut named: Vec<&'a X509> = Vec::new();
        for candidate in all {
            let order = candidate.subject_name().try_cmp(next.issuer_name());
            if order.is_ok_and(std::cmp::Ordering::is_eq) && !named.contains(candidate) {
                named.push(candidate);
            }
            if named.len() > MOST {
                break;
            }
        }
        for picked in pick(named, next) {
            if !found.contains(&picked) {
                found.push(picked);
            }
        }
        if looked_at == found.len() || found.len() > MOST {
            return found;
        }
        next = found[looked_at];
        looked_at += 1;
    }
}

fn issued(issuer: &X509, x509: &X509, budget: &Budget) -> bool {
    let Some(key) = issuer.public_key().ok().filter(verify::is_affordable) else {
        return false;
    };
    let is_rsa = matches!(key.id(), Id::RSA | Id::RSA_PSS);
    budget.check(key.bits() as usize / 8, is_rsa) && x509.verify(&key).unwrap_or(false)
}
