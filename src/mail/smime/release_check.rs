//! A second look at what leaves the archive: the message just made is read again by an independent, strict reader (the
//! crate `cms`, DER only), and must be encrypted to exactly the certificates asked for, with the cipher asked for.
//! Neither OpenSSL's writer nor our own reader takes part.

use cms::content_info::{CmsVersion, ContentInfo};
use cms::enveloped_data::{EncryptedContentInfo, OriginatorInfo, RecipientKeyIdentifier};
use const_oid::ObjectIdentifier;
use const_oid::db::rfc5911::{ID_AES_256_CBC, ID_DATA, ID_ENVELOPED_DATA};
use der::asn1::{Int, OctetString, SetOfVec};
use der::{Any, Choice, Decode, Encode, Sequence, Tagged};
use openssl::bn::BigNum;
use openssl::error::ErrorStack;
use openssl::x509::X509;
use x509_cert::attr::Attributes;
use x509_cert::spki::AlgorithmIdentifierOwned;

/// `id-oriKEM` (RFC 9629).
const ORI_KEM: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.16.13.3");

/// Why a message is not released.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// Not DER of the structure it should be.
    #[error("the encrypted message is not strict DER ({0}); nothing was released")]
    Structure(#[from] der::Error),
    /// The certificate cannot be read again.
    #[error("the certificate cannot be compared with the encrypted message; nothing was released")]
    Certificate(#[from] ErrorStack),
    /// The structure is not what was asked for.
    #[error("the encrypted message {0}; nothing was released, report this as a defect")]
    Mismatch(&'static str),
}

// The crate's own types for the following want serial numbers and names as RFC 5280 says. Real certificates have longer
// and negative serials, and names of every kind (RFC 5652 §6 only copies them).

/// `EnvelopedData` (RFC 5652 §6.1).
#[derive(Sequence)]
struct EnvelopedData {
    version: CmsVersion,
    #[asn1(
        context_specific = "0",
        tag_mode = "IMPLICIT",
        constructed = "true",
        optional = "true"
    )]
    originator_info: Option<OriginatorInfo>,
    recipients: SetOfVec<Any>,
    content: EncryptedContentInfo,
    #[asn1(
        context_specific = "1",
        tag_mode = "IMPLICIT",
        constructed = "true",
        optional = "true"
    )]
    unprotected: Option<Attributes>,
}

/// `RecipientInfo` (RFC 5652 §6.2), as far as it is for a certificate's key.
#[derive(Choice)]
enum RecipientInfo {
    Transport(KeyTransport),
    #[asn1(context_specific = "1", tag_mode = "IMPLICIT", constructed = "true")]
    Agreement(KeyAgreement),
    #[asn1(context_specific = "4", tag_mode = "IMPLICIT", constructed = "true")]
    Other(Other),
}

#[derive(Sequence)]
struct KeyTransport {
    version: CmsVersion,
    rid: RecipientIdentifier,
    algorithm: AlgorithmIdentifierOwned,
    encrypted_key: OctetString,
}

#[derive(Sequence)]
struct KeyAgreement {
    version: CmsVersion,
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT")]
    originator: Any,
    #[asn1(context_specific = "1", tag_mode = "EXPLICIT", optional = "true")]
    ukm: Option<OctetString>,
    algorithm: AlgorithmIdentifierOwned,
    keys: Vec<AgreedKey>,
}

#[derive(Sequence)]
struct AgreedKey {
    rid: AgreementIdentifier,
    encrypted_key: OctetString,
}

#[derive(Sequence)]
struct Other {
    kind: ObjectIdentifier,
    value: Any,
}

/// A name as it is, and a serial number of any length and sign.
#[derive(Sequence)]
struct IssuerAndSerialNumber {
    issuer: Any,
    serial: Int,
}

#[derive(Choice)]
enum RecipientIdentifier {
    IssuerAndSerialNumber(IssuerAndSerialNumber),
    #[asn1(context_specific = "0", tag_mode = "IMPLICIT")]
    SubjectKeyIdentifier(OctetString),
}

#[derive(Choice)]
enum AgreementIdentifier {
    IssuerAndSerialNumber(IssuerAndSerialNumber),
    #[asn1(context_specific = "0", tag_mode = "IMPLICIT", constructed = "true")]
    KeyIdentifier(RecipientKeyIdentifier),
}

/// `KEMRecipientInfo` (RFC 9629 §3), which the crate does not have.
#[derive(Sequence)]
struct KemRecipientInfo {
    version: CmsVersion,
    rid: RecipientIdentifier,
    kem: AlgorithmIdentifierOwned,
    kemct: OctetString,
    kdf: AlgorithmIdentifierOwned,
    kek_length: u16,
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT", optional = "true")]
    ukm: Option<OctetString>,
    wrap: AlgorithmIdentifierOwned,
    encrypted_key: OctetString,
}

/// Checks that `message` (a `ContentInfo`) is `EnvelopedData` with AES-256-CBC whose recipients are the
/// `certificates` (DER), each once and no other.
pub fn check(message: &[u8], certificates: &[&[u8]]) -> Result<(), CheckError> {
    let info = ContentInfo::from_der(message)?;
    if info.content_type != ID_ENVELOPED_DATA {
        return Err(CheckError::Mismatch("is not EnvelopedData"));
    }
    let enveloped: EnvelopedData = info.content.decode_as()?;
    let content = &enveloped.content;
    if content.content_type != ID_DATA || content.encrypted_content.is_none() {
        return Err(CheckError::Mismatch("does not hold encrypted data"));
    }
    if content.content_enc_alg.oid != ID_AES_256_CBC {
        return Err(CheckError::Mismatch("has another cipher than AES-256-CBC"));
    }
    let mut named = Vec::new();
    for recipient in enveloped.recipients.iter() {
        named.extend(identifiers(recipient)?);
    }
    for certificate in certificates {
        let certificate = X509::from_der(certificate)?;
        let mut found = None;
        for (at, id) in named.iter().enumerate() {
            if names(id, &certificate)? {
                found = Some(at);
            }
        }
        let found = found.ok_or(CheckError::Mismatch(
            "is not encrypted to the certificate asked for",
        ))?;
        named.swap_remove(found);
    }
    if named.is_empty() {
        Ok(())
    } else {
        Err(CheckError::Mismatch(
            "is encrypted to somebody who was not asked for",
        ))
    }
}

/// Whom one `RecipientInfo` is for.
fn identifiers(recipient: &Any) -> Result<Vec<RecipientIdentifier>, CheckError> {
    let nobody = CheckError::Mismatch("has a recipient that is no certificate's key");
    // Those of other kinds are no certificate's, whatever is in them.
    let known = matches!(recipient.tag().number().value(), 1 | 4 | 16);
    if !known {
        return Err(nobody);
    }
    Ok(match RecipientInfo::from_der(&recipient.to_der()?)? {
        RecipientInfo::Transport(transport) => vec![transport.rid],
        RecipientInfo::Agreement(agreement) => {
            let keys = agreement.keys.into_iter();
            keys.map(|key| match key.rid {
                AgreementIdentifier::IssuerAndSerialNumber(id) => {
                    RecipientIdentifier::IssuerAndSerialNumber(id)
                }
                AgreementIdentifier::KeyIdentifier(id) => {
                    RecipientIdentifier::SubjectKeyIdentifier(id.subject_key_identifier.0)
                }
            })
            .collect()
        }
        RecipientInfo::Other(other) if other.kind == ORI_KEM => {
            vec![other.value.decode_as::<KemRecipientInfo>()?.rid]
        }
        RecipientInfo::Other(_) => return Err(nobody),
    })
}

/// Whether it means this certificate, of which OpenSSL's reading counts: it takes what real CAs issued.
fn names(id: &RecipientIdentifier, certificate: &X509) -> Result<bool, CheckError> {
    Ok(match id {
        RecipientIdentifier::IssuerAndSerialNumber(id) => {
            id.issuer.to_der()? == certificate.issuer_name().to_der()?
                && number(id.serial.as_bytes())? == certificate.serial_number().to_bn()?
        }
        RecipientIdentifier::SubjectKeyIdentifier(id) => certificate
            .subject_key_id()
            .is_some_and(|own| own.as_slice() == id.as_bytes()),
    })
}

/// An INTEGER's content octets, two's complement.
fn number(octets: &[u8]) -> Result<BigNum, ErrorStack> {
    let unsigned = BigNum::from_slice(octets)?;
    if octets.first().is_none_or(|first| *first < 0x80) {
        return Ok(unsigned);
    }
    let mut whole = BigNum::from_slice(&[1])?;
    for _ in octets {
        let shifted = &whole << 8;
        whole = shifted;
    }
    Ok(&unsigned - &whole)
}

#[cfg(test)]
mod tests {
    use super::*;
    use openssl::asn1::Asn1Time;
    use openssl::cms::{CMSOptions, CmsContentInfo};
    use openssl::hash::MessageDigest;
    use openssl::pkey::PKey;
    use openssl::stack::Stack;
    use openssl::symm::Cipher;
    use openssl::x509::{X509, X509Builder, X509NameBuilder};
    use proptest::prelude::*;

    fn certificate(name: &str, rsa: bool) -> X509 {
        let key = if rsa {
            PKey::from_rsa(openssl::rsa::Rsa::generate(2048).unwrap()).unwrap()
        } else {
            PKey::ec_gen("P-256").unwrap()
        };
        let mut subject = X509NameBuilder::new().unwrap();
        subject.append_entry_by_text("CN", name).unwrap();
        let subject = subject.build();
        let mut builder = X509Builder::new().unwrap();
        builder.set_version(2).unwrap();
        builder.set_subject_name(&subject).unwrap();
        builder.set_issuer_name(&subject).unwrap();
        builder
            .set_not_before(&Asn1Time::days_from_now(0).unwrap())
            .unwrap();
        builder
            .set_not_after(&Asn1Time::days_from_now(9).unwrap())
            .unwrap();
        builder.set_pubkey(&key).unwrap();
        builder.sign(&key, MessageDigest::sha256()).unwrap();
        builder.build()
    }

    fn encrypted(to: &[&X509], cipher: Cipher) -> Vec<u8> {
        let mut recipients = Stack::new().unwrap();
        for x509 in to {
            recipients.push((*x509).clone()).unwrap();
        }
        let made = CmsContentInfo::encrypt(&recipients, b"Hi", cipher, CMSOptions::BINARY);
        made.unwrap().to_der().unwrap()
    }

    fn verdict(message: &[u8], certificates: &[&X509]) -> Result<(), String> {
        let ders: Vec<_> = certificates.iter().map(|x| x.to_der().unwrap()).collect();
        let ders: Vec<&[u8]> = ders.iter().map(Vec::as_slice).collect();
        check(message, &ders).map_err(|error| error.to_string())
    }

    #[test]
    fn only_what_was_asked_for_is_released() {
        let (alice, bob) = (certificate("Alice", true), certificate("Bob", false));
        let aes = Cipher::aes_256_cbc();
        verdict(&encrypted(&[&alice], aes), &[&alice]).unwrap();
        verdict(&encrypted(&[&bob], aes), &[&bob]).unwrap();
        verdict(&encrypted(&[&bob, &alice], aes), &[&alice, &bob]).unwrap();
        let refused = [
            (encrypted(&[&bob], aes), "not encrypted to the certificate"),
            (encrypted(&[&alice, &bob], aes), "who was not asked for"),
            (
                encrypted(&[&alice], Cipher::aes_128_cbc()),
                "another cipher",
            ),
            (b"\x30\x80\x00\x00".to_vec(), "not strict DER"),
        ];
        for (message, why) in refused {
            let said = verdict(&message, &[&alice]).unwrap_err();
            assert!(said.contains(why), "{said}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(check(&bytes, &[]).is_err());
        }
    }
}
