//! `KEMRecipientInfo` (RFC 9629): a key encapsulation, a key derivation and a key wrap, each with its identifier.

use super::{Recipient, RecipientError, Way, digest_of, hint, key_wrap, unknown};
use crate::mail::keyops::{Kdf, Wrapped};
use crate::mail::smime::algorithm::Algorithm;
use crate::mail::smime::ber::{Reader, der, tag};
use crate::mail::smime::oids;
use crate::mail::smime::structure::Identifier;

/// Reads a `KEMRecipientInfo` (§3) and puts its `CMSORIforKEMOtherInfo` (§5) together.
pub(super) fn read(inside: &mut Reader<'_>) -> Result<Recipient, RecipientError> {
    inside.expect(tag::INTEGER, "a version")?;
    let (hint, shown) = hint(&Identifier::read(inside)?)?;
    let kem = Algorithm::read(inside)?;
    let ciphertext = inside
        .value("an encapsulation")?
        .octet_string()?
        .into_owned();
    let derivation = Algorithm::read(inside)?;
    let length = inside.value("a key length")?;
    let ukm = inside.optional(tag::context(0))?;
    let wrap = Algorithm::read(inside)?;
    let wrapped = inside
        .value("an encrypted key")?
        .octet_string()?
        .into_owned();

    let fixed = [wrap.element.to_der()?, length.to_der()?].concat();
    // As the RFC has it, and as some write it, with the keying material untagged.
    let mut infos = vec![fixed.clone()];
    if let Some(ukm) = ukm {
        infos[0].extend(ukm.to_der()?);
        let untagged = ukm.inside().value("user keying material")?.to_der()?;
        infos.push([fixed, untagged].concat());
    }
    let mut algorithms = vec![oids::name(&kem.oid)];
    let way = match (kdf(&derivation)?, key_wrap(&wrap)) {
        _ if !is_known(&kem) => unknown("key encapsulation", &kem.oid).1,
        (Some(kdf), Some((wrap, name))) => {
            algorithms.push(name.to_owned());
            let readings = infos.iter().map(|info| Wrapped::Kem {
                ciphertext: ciphertext.clone(),
                kdf: kdf.clone(),
                info: der(tag::SEQUENCE, info),
                wrap,
                wrapped: wrapped.clone(),
            });
            Way::Key(hint, readings.collect())
        }
        (None, _) => unknown("key derivation", &derivation.oid).1,
        (_, None) => unknown("key wrap", &wrap.oid).1,
    };
    Ok(Recipient {
        shown,
        algorithms,
        way,
    })
}

/// ML-KEM (RFC 9936) or RSA-KEM (RFC 9690); what to do is the key's kind.
fn is_known(kem: &Algorithm<'_>) -> bool {
    matches!(
        kem.oid.to_string().as_str(),
        "2.16.840.1.101.3.4.4.1"
            | "2.16.840.1.101.3.4.4.2"
            | "2.16.840.1.101.3.4.4.3"
            | "1.0.18033.2.2.4"
    )
}

fn kdf(derivation: &Algorithm<'_>) -> Result<Option<Kdf>, RecipientError> {
    let hkdf = |digest: &str| Some(Kdf::Hkdf(digest.to_owned()));
    // The functions of X9.44 name their digest in the parameters.
    let with_digest = |kdf: fn(String) -> Kdf| -> Result<Option<Kdf>, RecipientError> {
        let parameters = derivation.real_parameters();
        let parameters = parameters.ok_or(derivation.element.unexpected("a digest"))?;
        let digest = digest_of(&Algorithm::of(parameters)?.oid)?;
        Ok(Some(kdf(digest.to_owned())))
    };
    match derivation.oid.to_string().as_str() {
        "1.2.840.113549.1.9.16.3.28" => Ok(hkdf("SHA-256")),
        "1.2.840.113549.1.9.16.3.29" => Ok(hkdf("SHA-384")),
        "1.2.840.113549.1.9.16.3.30" => Ok(hkdf("SHA-512")),
        "1.3.133.16.840.9.44.1.1" => with_digest(Kdf::X963),
        "1.3.133.16.840.9.44.1.2" => with_digest(Kdf::Kdf3),
        _ => Ok(None),
    }
}
