//! A first TLS key and self-signed certificate, so that a new box takes in mail at once. The operator
//! puts one from a real authority in their place.

use super::CeremonyCommandError;
use crate::boxfiles::{BoxConfig, DataFolder};
use crate::crypto::random;
use crate::durable;
use crate::secret::SecretBytes;
use openssl::asn1::Asn1Time;
use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::PKey;
use openssl::x509::extension::{
    BasicConstraints, ExtendedKeyUsage, KeyUsage, SubjectAlternativeName,
};
use openssl::x509::{X509Builder, X509NameBuilder};

/// Until then somebody will have replaced it.
const DAYS: u32 = 3650;

/// Makes both where the configuration says.
pub(super) fn write(folder: &DataFolder, config: &BoxConfig) -> Result<(), CeremonyCommandError> {
    let (certificate, key) = self_signed(&config.listen.hostname)?;
    for path in [&config.tls.certificate, &config.tls.key] {
        if let Some(parent) = path.parent() {
            durable::create_folder(&folder.join(parent))?;
        }
    }
    durable::replace(&folder.join(&config.tls.certificate), &certificate)?;
    durable::replace(&folder.join(&config.tls.key), key.expose())?;
    Ok(())
}

/// Certificate and private key, PEM.
fn self_signed(hostname: &str) -> Result<(Vec<u8>, SecretBytes), CeremonyCommandError> {
    build(hostname).map_err(|source| CeremonyCommandError::Tls {
        hostname: hostname.to_owned(),
        source,
    })
}

fn build(hostname: &str) -> Result<(Vec<u8>, SecretBytes), ErrorStack> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
    let key = PKey::from_ec_key(EcKey::generate(&group)?)?;
    let mut name = X509NameBuilder::new()?;
    name.append_entry_by_nid(Nid::COMMONNAME, hostname)?;
    let name = name.build();
    let serial: [u8; 16] = random::bytes();
    let mut builder = X509Builder::new()?;
    builder.set_version(2)?;
    builder.set_serial_number(&*BigNum::from_slice(&serial)?.to_asn1_integer()?)?;
    builder.set_subject_name(&name)?;
    builder.set_issuer_name(&name)?;
    builder.set_not_before(&*Asn1Time::days_from_now(0)?)?;
    builder.set_not_after(&*Asn1Time::days_from_now(DAYS)?)?;
    builder.set_pubkey(&key)?;
    let mut alternative = SubjectAlternativeName::new();
    match hostname.parse::<std::net::IpAddr>() {
        Ok(_) => alternative.ip(hostname),
        Err(_) => alternative.dns(hostname),
    };
    let alternative = alternative.build(&builder.x509v3_context(None, None))?;
    builder.append_extension(alternative)?;
    builder.append_extension(BasicConstraints::new().critical().build()?)?;
    builder.append_extension(KeyUsage::new().critical().digital_signature().build()?)?;
    builder.append_extension(ExtendedKeyUsage::new().server_auth().build()?)?;
    builder.sign(&key, MessageDigest::sha256())?;
    Ok((
        builder.build().to_pem()?,
        SecretBytes::new(key.private_key_to_pem_pkcs8()?),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use openssl::x509::X509;

    #[test]
    fn the_certificate_names_the_host_and_fits_the_key() {
        for hostname in ["archive.example", "127.0.0.1"] {
            let (certificate, key) = self_signed(hostname).expect("made");
            let certificate = X509::from_pem(&certificate).expect("PEM");
            let key = PKey::private_key_from_pem(key.expose()).expect("PEM");
            assert!(certificate.public_key().expect("key").public_eq(&key));
            assert!(certificate.verify(&key).expect("self-signed"));
            assert_eq!(certificate.subject_alt_names().expect("names").len(), 1);
        }
    }
}
