//! The agent keeps the keys of gpgsm as it keeps those of gpg; for S/MIME they are told apart by their certificates only.

use super::agent::{AgentKey, Family};
use super::private::rsa;
use super::public_body::{curve_name, curve_oid};
use openssl::bn::{BigNum, BigNumContext};
use openssl::ec::{EcGroup, EcKey, EcPoint, PointConversionForm};
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::x509::X509;

/// Whether one of the certificates has the public half of this key, which may be protected.
pub(super) fn is_named(key: &AgentKey, certificates: &[X509]) -> bool {
    certificates
        .iter()
        .filter_map(public_number)
        .any(|number| has_number(key, &number))
}

/// Whether the certificate has the public half of any of these keys.
pub(super) fn names_any(certificate: &X509, keys: &[AgentKey]) -> bool {
    public_number(certificate).is_some_and(|number| keys.iter().any(|key| has_number(key, &number)))
}

fn has_number(key: &AgentKey, public: &[u8]) -> bool {
    let number = match key.family() {
        Some(Family::Rsa) => key.number("n"),
        Some(Family::Curve) => key.number("q"),
        _ => None,
    };
    number == Some(public)
}

/// The number that tells the certificate's key from all others: the modulus, or the point on the curve.
fn public_number(certificate: &X509) -> Option<Vec<u8>> {
    let key = certificate.public_key().ok()?;
    if let Ok(rsa) = key.rsa() {
        return Some(rsa.n().to_vec());
    }
    let curve = key.ec_key().ok()?;
    let mut ctx = BigNumContext::new().ok()?;
    let form = PointConversionForm::UNCOMPRESSED;
    curve
        .public_key()
        .to_bytes(curve.group(), form, &mut ctx)
        .ok()
}

/// The key for S/MIME; `None` if it is protected, or of a kind that gpgsm has not.
pub(super) fn pkey(key: &AgentKey) -> Option<PKey<Private>> {
    match key.family()? {
        Family::Rsa => {
            let [n, e, d, p, q, u] = ["n", "e", "d", "p", "q", "u"].map(|name| key.number(name));
            let rsa = rsa([n?, e?, d?, p?, q?, u?]).ok()?;
            PKey::from_rsa(rsa).ok()
        }
        Family::Curve => on_curve(key),
        _ => None,
    }
}

fn on_curve(key: &AgentKey) -> Option<PKey<Private>> {
    let nid = match curve_name(curve_oid(key.numbers.value("curve")?)?)? {
        "P-256" => Nid::X9_62_PRIME256V1,
        "P-384" => Nid::SECP384R1,
        "P-521" => Nid::SECP521R1,
        "brainpoolP256r1" => Nid::BRAINPOOL_P256R1,
        "brainpoolP384r1" => Nid::BRAINPOOL_P384R1,
        "brainpoolP512r1" => Nid::BRAINPOOL_P512R1,
        _ => return None,
    };
    let group = EcGroup::from_curve_name(nid).ok()?;
    let mut ctx = BigNumContext::new_secure().ok()?;
    let point = EcPoint::from_bytes(&group, key.numbers.value("q")?, &mut ctx).ok()?;
    let mut scalar = BigNum::new_secure().ok()?;
    scalar.copy_from_slice(key.number("d")?).ok()?;
    let private = EcKey::from_private_components(&group, &scalar, &point).ok()?;
    private.check_key().ok()?;
    PKey::from_ec_key(private).ok()
}
