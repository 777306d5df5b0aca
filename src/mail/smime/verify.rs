//! The bare signature check: does this signature fit these bytes and this key? Nothing here trusts anybody.

use super::algorithm::Algorithm;
use super::ber::{Element, der, tag};
use super::oids;
use super::structure::SignerInfo;
use crate::mail::context::Budget;
use crate::mail::{digest, legacy, rsa};
use openssl::error::ErrorStack;
use openssl::md::Md;
use openssl::pkey::{Id, PKey, Public};
use openssl::pkey_ctx::PkeyCtx;
use openssl::rsa::Padding;
use openssl::sign::{RsaPssSaltlen, Verifier};

/// A check that could not be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unsupported: {0}")]
pub struct Unsupported(pub String);

/// How a check that could be made came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fit {
    /// The signature does not fit.
    No,
    /// It fits the signed bytes themselves.
    Bytes,
    /// It fits their digest of this name.
    Digest(&'static str),
}

/// Names of the algorithms of a signature, digest first.
#[must_use]
pub fn names(signer: &SignerInfo<'_>, key: Option<&PKey<Public>>) -> Vec<String> {
    let digest = oids::digest_name(&signer.digest.oid);
    let digest = digest.map_or_else(|| signer.digest.oid.to_string(), str::to_owned);
    let signature = match signer.algorithm.oid {
        oids::PSS => "RSA-PSS".to_owned(),
        other => match key.map(|key| key.id()) {
            Some(Id::RSA) => "RSA-PKCS1".to_owned(),
            Some(Id::EC) => "ECDSA".to_owned(),
            Some(Id::DSA) => "DSA".to_owned(),
            _ => plain_name(&other.to_string()),
        },
    };
    let mut names = vec![digest, signature];
    names.extend(key.and_then(key_name));
    names.dedup();
    names
}

/// The name of a signature algorithm that needs no key to tell it.
pub(crate) fn plain_name(dotted: &str) -> String {
    let name = match dotted {
        "1.3.101.112" => "Ed25519",
        "1.3.101.113" => "Ed448",
        "2.16.840.1.101.3.4.3.17" => "ML-DSA-44",
        "2.16.840.1.101.3.4.3.18" => "ML-DSA-65",
        "2.16.840.1.101.3.4.3.19" => "ML-DSA-87",
        "2.16.840.1.101.3.4.3.20" => "SLH-DSA-SHA2-128s",
        "2.16.840.1.101.3.4.3.21" => "SLH-DSA-SHA2-128f",
        "2.16.840.1.101.3.4.3.22" => "SLH-DSA-SHA2-192s",
        "2.16.840.1.101.3.4.3.23" => "SLH-DSA-SHA2-192f",
        "2.16.840.1.101.3.4.3.24" => "SLH-DSA-SHA2-256s",
        "2.16.840.1.101.3.4.3.25" => "SLH-DSA-SHA2-256f",
        "2.16.840.1.101.3.4.3.26" => "SLH-DSA-SHAKE-128s",
        "2.16.840.1.101.3.4.3.27" => "SLH-DSA-SHAKE-128f",
        "2.16.840.1.101.3.4.3.28" => "SLH-DSA-SHAKE-192s",
        "2.16.840.1.101.3.4.3.29" => "SLH-DSA-SHAKE-192f",
        "2.16.840.1.101.3.4.3.30" => "SLH-DSA-SHAKE-256s",
        "2.16.840.1.101.3.4.3.31" => "SLH-DSA-SHAKE-256f",
        other => other,
    };
    name.to_owned()
}

/// "RSA-2048", "P-256", "EC-160" for a curve without a name: what a rating of key lengths needs.
#[must_use]
pub fn key_name(key: &PKey<Public>) -> Option<String> {
    match key.id() {
        Id::RSA | Id::RSA_PSS => Some(format!("RSA-{}", key.bits())),
        Id::DSA => Some(format!("DSA-{}", key.bits())),
        Id::EC => {
            let key = key.ec_key().ok()?;
            let Some(nid) = key.group().curve_name() else {
                return Some(format!("EC-{}", key.group().degree()));
            };
            Some(match nid {
                openssl::nid::Nid::X9_62_PRIME256V1 => "P-256".to_owned(),
                openssl::nid::Nid::SECP384R1 => "P-384".to_owned(),
                openssl::nid::Nid::SECP521R1 => "P-521".to_owned(),
                other => other.short_name().ok()?.to_owned(),
            })
        }
        Id::X25519 => Some("X25519".to_owned()),
        Id::X448 => Some("X448".to_owned()),
        _ => None,
    }
}

/// Most bits of an RSA exponent; Windows takes 32. One as long as the modulus makes a check a hundred times dearer.
const MOST_EXPONENT: i32 = 40;

/// Whether a check by the key costs no more than usual.
#[must_use]
pub fn is_affordable(key: &PKey<Public>) -> bool {
    key.rsa()
        .map_or(true, |rsa| rsa.e().num_bits() <= MOST_EXPONENT)
}

/// Counts a check of the signature by the key; false if it is too much for the mail. Signatures on hashes are long for their
/// keys, and cost by their length.
#[must_use]
pub fn is_within(signer: &SignerInfo<'_>, key: &PKey<Public>, budget: &Budget) -> bool {
    let is_rsa = matches!(key.id(), Id::RSA | Id::RSA_PSS);
    let octets = match key.id() {
        Id::RSA | Id::RSA_PSS | Id::DSA => key.bits() as usize / 8,
        _ => signer.signature.len() / 32,
    };
    budget.check(octets, is_rsa)
}

/// Digests that the signature may have been made with: as the signer says, then as the algorithm says; they should
/// be the same, and with careless senders are not.
fn digests(signer: &SignerInfo<'_>) -> Vec<&'static str> {
    let stated = oids::digest_name(&signer.digest.oid);
    let implied = match signer.algorithm.oid {
        oids::PSS => pss_digest(&signer.algorithm),
        ref other => oids::digest_name(other),
    };
    let mut digests: Vec<&str> = implied.into_iter().chain(stated).collect();
    digests.dedup();
    digests
}

/// The digest that a certificate (DER) is signed with.
#[must_use]
pub fn certificate_digest(encoded: &[u8]) -> Option<&'static str> {
    let whole = Element::split(encoded).ok()?.0;
    let algorithm = whole.inside().filter_map(Result::ok).nth(1)?;
    let algorithm = Algorithm::of(algorithm).ok()?;
    match algorithm.oid {
        oids::PSS => pss_digest(&algorithm),
        ref other => oids::digest_name(other),
    }
}

/// `RSASSA-PSS-params`: the digest; SHA-1 by default.
fn pss_digest(algorithm: &Algorithm<'_>) -> Option<&'static str> {
    let Some(parameters) = algorithm.real_parameters() else {
        return Some("SHA-1");
    };
    match parameters.inside().optional(tag::context(0)).ok()? {
        Some(explicit) => oids::digest_name(&Algorithm::read(&mut explicit.inside()).ok()?.oid),
        None => Some("SHA-1"),
    }
}

/// `RSASSA-PSS-params`: the digest of MGF1; SHA-1 by default.
fn pss_mgf_digest(algorithm: &Algorithm<'_>) -> Option<&'static str> {
    let parameters = algorithm.real_parameters()?;
    let mut fields = parameters.inside().filter_map(Result::ok);
    let Some(mgf) = fields.find(|field| field.tag == tag::context(1)) else {
        return Some("SHA-1");
    };
    let mgf = Algorithm::read(&mut mgf.inside()).ok()?;
    oids::digest_name(&Algorithm::of(mgf.real_parameters()?).ok()?.oid)
}

/// Checks the signature of `signer` with `key`. `signed` gives the signed bytes' digest by a name, or, for
/// algorithms without a digest of their own, the bytes.
pub fn check(
    signer: &SignerInfo<'_>,
    key: &PKey<Public>,
    digest_of: &mut dyn FnMut(&'static str) -> Option<Vec<u8>>,
    bytes: &mut dyn FnMut() -> Vec<u8>,
) -> Result<Fit, Unsupported> {
    legacy::enable();
    match key.id() {
        Id::RSA | Id::RSA_PSS | Id::EC | Id::DSA => {}
        // Ed25519, Ed448, ML-DSA, SLH-DSA: over the bytes themselves.
        _ => return whole(key, &bytes(), &signer.signature),
    }
    let digests = digests(signer);
    if digests.is_empty() {
        return Err(Unsupported(format!("digest {}", signer.digest.oid)));
    }
    let mut problem = None;
    for name in digests {
        let Some(digest) = digest_of(name) else {
            problem = Some(Unsupported(format!("digest {name}")));
            continue;
        };
        match prehashed(signer, key, name, &digest) {
            Ok(true) => return Ok(Fit::Digest(name)),
            Ok(false) => {}
            Err(unsupported) => problem = Some(unsupported),
        }
    }
    problem.map_or(Ok(Fit::No), Err)
}

fn whole(key: &PKey<Public>, bytes: &[u8], signature: &[u8]) -> Result<Fit, Unsupported> {
    let mut verifier = Verifier::new_without_digest(key)
        .map_err(|_| Unsupported("a key that does not sign".to_owned()))?;
    let fits = verifier.verify_oneshot(signature, bytes).unwrap_or(false);
    Ok(if fits { Fit::Bytes } else { Fit::No })
}

fn prehashed(
    signer: &SignerInfo<'_>,
    key: &PKey<Public>,
    name: &'static str,
    digest: &[u8],
) -> Result<bool, Unsupported> {
    let unsupported = |_| Unsupported(format!("{name} with this key"));
    let pss = signer.algorithm.oid == oids::PSS || key.id() == Id::RSA_PSS;
    if !pss
        && key.id() == Id::RSA
        && let Some(md) = md(name)
    {
        return rsa::verifies(key, md, digest, &signer.signature).map_err(unsupported);
    }
    let prepared = || -> Result<PkeyCtx<Public>, ErrorStack> {
        let mut context = PkeyCtx::new(key)?;
        context.verify_init()?;
        if pss {
            context.set_rsa_padding(Padding::PKCS1_PSS)?;
            // -2: the salt is as long as it is.
            context.set_rsa_pss_saltlen(RsaPssSaltlen::MAXIMUM_LENGTH)?;
        }
        if let Some(md) = md(name) {
            context.set_signature_md(md)?;
        }
        if pss && let Some(md) = pss_mgf_digest(&signer.algorithm).and_then(md) {
            context.set_rsa_mgf1_md(md)?;
        }
        Ok(context)
    };
    let mut context = prepared().map_err(unsupported)?;
    if context.verify(digest, &signer.signature).unwrap_or(false) {
        return Ok(true);
    }
    // BSI TR-03111 "plain" ECDSA signatures are r ‖ s instead of a SEQUENCE of both.
    match plain_to_der(&signer.signature) {
        Some(der) if key.id() == Id::EC => Ok(context.verify(digest, &der).unwrap_or(false)),
        _ => Ok(false),
    }
}

fn md(name: &str) -> Option<&'static openssl::md::MdRef> {
    // OpenSSL's search by name takes longer than to hash the attributes.
    match name {
        "SHA-1" => return Some(Md::sha1()),
        "SHA-256" => return Some(Md::sha256()),
        "SHA-384" => return Some(Md::sha384()),
        "SHA-512" => return Some(Md::sha512()),
        _ => {}
    }
    Md::from_nid(digest::named(name)?.type_())
}

fn plain_to_der(signature: &[u8]) -> Option<Vec<u8>> {
    if signature.is_empty()
        || !signature.len().is_multiple_of(2)
        || Element::only(signature).is_ok()
    {
        return None;
    }
    let (r, s) = signature.split_at(signature.len() / 2);
    let integer = |digits: &[u8]| {
        let padded = [&[0], digits].concat();
        let padded = der(tag::INTEGER, &padded);
        let least = Element::only(&padded)
            .and_then(|element| element.integer())
            .map(<[u8]>::to_vec);
        least.map(|digits| der(tag::INTEGER, &digits)).ok()
    };
    Some(der(tag::SEQUENCE, &[integer(r)?, integer(s)?].concat()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use openssl::bn::BigNum;
    use openssl::rsa::Rsa;

    #[test]
    fn a_forgers_exponent_is_not_paid_for() {
        let key = Rsa::generate(1024).unwrap();
        let with_exponent = |octets: usize| {
            let exponent = BigNum::from_slice(&vec![1; octets]).unwrap();
            let key = Rsa::from_public_components(key.n().to_owned().unwrap(), exponent);
            PKey::from_rsa(key.unwrap()).unwrap()
        };
        assert!(is_affordable(&with_exponent(4)));
        assert!(!is_affordable(&with_exponent(120)));
        let curve = PKey::generate_ed25519().unwrap().raw_public_key().unwrap();
        let curve = PKey::public_key_from_raw_bytes(&curve, Id::ED25519).unwrap();
        assert!(is_affordable(&curve));
    }
}
