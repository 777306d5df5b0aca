//! `RecipientInfo`s (RFC 5652 §6.2, RFC 5753, RFC 8418, RFC 9629) taken apart into plain values: which key is
//! meant, and what it has to undo.

use super::algorithm::Algorithm;
use super::ber::{BerError, Element, Reader, der, tag};
use super::content::ContentCipher;
use super::structure::Identifier;
use super::{name, oids};
use crate::mail::keyops::{AgreementKdf, KeyHint, Wrapped};
use const_oid::ObjectIdentifier;

/// One recipient.
#[derive(Debug)]
pub struct Recipient {
    /// As people read it: "issuer CN=…, serial 0A".
    pub shown: String,
    /// Key-encryption algorithms, by name.
    pub algorithms: Vec<String>,
    /// How its key is got.
    pub way: Way,
}

/// How a recipient's content-encryption key is got.
#[derive(Debug)]
pub enum Way {
    /// By a private key elsewhere. Several wraps are readings of one recipient, tried in turn.
    Key(KeyHint, Vec<Wrapped>),
    /// By a key-encryption key that both sides have.
    Kek {
        /// AES or 3DES wrapped key.
        wrapped: Vec<u8>,
        /// Wrap is 3DES.
        triple_des: bool,
    },
    /// By a password.
    Password(PasswordWrap),
    /// Not known here; the text says what.
    Unknown(String),
}

/// `PasswordRecipientInfo` (RFC 3211).
#[derive(Debug)]
pub struct PasswordWrap {
    /// PBKDF2 salt; `None` if the key-encryption key is given directly.
    pub salt: Option<Vec<u8>>,
    /// PBKDF2 iterations.
    pub iterations: u32,
    /// PBKDF2 digest.
    pub digest: &'static str,
    /// OpenSSL's name of the key-encryption cipher.
    pub cipher: &'static str,
    /// Length of the key-encryption key.
    pub key_bytes: usize,
    /// IV of the key-encryption cipher.
    pub iv: Vec<u8>,
    /// The wrapped key.
    pub wrapped: Vec<u8>,
}

/// Takes one `RecipientInfo` apart; key agreement has several recipients in it. `originators` finds the public key
/// (SubjectPublicKeyInfo) of a static originator by its identifier.
pub fn read(
    element: Element<'_>,
    originators: &dyn Fn(&Identifier<'_>) -> Option<Vec<u8>>,
) -> Result<Vec<Recipient>, BerError> {
    match element.tag {
        tag::SEQUENCE => key_transport(&element).map(|one| vec![one]),
        0xa1 => key_agreement(&element, originators),
        0xa2 => kek(&element).map(|one| vec![one]),
        0xa3 => password(&element).map(|one| vec![one]),
        0xa4 => other(&element).map(|one| vec![one]),
        _ => Err(element.unexpected("a RecipientInfo")),
    }
}

/// The identifier as a hint, and for people.
pub fn hint(id: &Identifier<'_>) -> Result<(KeyHint, String), BerError> {
    match id {
        Identifier::IssuerSerial { issuer, serial } => {
            let digits = data_encoding::HEXUPPER.encode(serial.integer()?);
            let shown = format!("issuer {}, serial {digits}", name::show(issuer)?);
            Ok((name::issuer_serial(issuer, serial)?, shown))
        }
        Identifier::KeyId(id) => {
            let shown = format!("key id {}", data_encoding::HEXUPPER.encode(id));
            Ok((KeyHint::SubjectKeyId(id.clone()), shown))
        }
    }
}

fn key_transport(element: &Element<'_>) -> Result<Recipient, BerError> {
    let mut inside = element.inside();
    inside.expect(tag::INTEGER, "a version")?;
    let (hint, shown) = hint(&Identifier::read(&mut inside)?)?;
    let algorithm = Algorithm::read(&mut inside)?;
    let ciphertext = inside
        .value("an encrypted key")?
        .octet_string()?
        .into_owned();
    let (name, way) = match algorithm.oid {
        oids::RSA => (
            "RSA-PKCS1".to_owned(),
            Way::Key(hint, vec![Wrapped::RsaPkcs1 { ciphertext }]),
        ),
        oids::OAEP => {
            let (digest, mgf_digest, label) = oaep_parameters(algorithm.real_parameters())?;
            let name = format!("RSA-OAEP-{digest}");
            let wrapped = Wrapped::RsaOaep {
                ciphertext,
                digest: digest.to_owned(),
                mgf_digest: mgf_digest.to_owned(),
                label,
            };
            (name, Way::Key(hint, vec![wrapped]))
        }
        unknown => (
            unknown.to_string(),
            Way::Unknown(format!("key transport {unknown}")),
        ),
    };
    Ok(Recipient {
        shown,
        algorithms: vec![name],
        way,
    })
}

/// `RSAES-OAEP-params`; absent fields have their defaults (SHA-1, MGF1 with SHA-1, empty label).
fn oaep_parameters(
    parameters: Option<Element<'_>>,
) -> Result<(&'static str, &'static str, Vec<u8>), BerError> {
    let (mut digest, mut mgf_digest, mut label) = ("SHA-1", "SHA-1", Vec::new());
    let Some(parameters) = parameters else {
        return Ok((digest, mgf_digest, label));
    };
    for field in parameters.inside() {
        let field = field?;
        let mut inside = field.inside();
        match field.tag {
            0xa0 => digest = digest_of(&Algorithm::read(&mut inside)?.oid)?,
            0xa1 => {
                let mgf = Algorithm::read(&mut inside)?;
                let inner = mgf.real_parameters().filter(|_| mgf.oid == oids::MGF1);
                let inner = inner.ok_or(field.unexpected("MGF1 with its digest"))?;
                mgf_digest = digest_of(&Algorithm::of(inner)?.oid)?;
            }
            0xa2 => {
                let source = Algorithm::read(&mut inside)?;
                let text = source
                    .parameters
                    .filter(|_| source.oid == oids::P_SPECIFIED);
                label = text
                    .ok_or(field.unexpected("a label"))?
                    .octet_string()?
                    .into_owned();
            }
            _ => return Err(field.unexpected("an OAEP parameter")),
        }
    }
    Ok((digest, mgf_digest, label))
}

fn digest_of(oid: &ObjectIdentifier) -> Result<&'static str, BerError> {
    oids::digest_name(oid).ok_or(BerError::Unexpected {
        wanted: "a known digest",
        found: tag::OID,
    })
}

/// The key wrap: length of the key-encryption key, whether 3DES, and a name.
fn key_wrap(algorithm: &ObjectIdentifier) -> Option<(u8, bool, &'static str)> {
    Some(match algorithm.to_string().as_str() {
        "2.16.840.1.101.3.4.1.5" => (16, false, "AES-128-WRAP"),
        "2.16.840.1.101.3.4.1.25" => (24, false, "AES-192-WRAP"),
        "2.16.840.1.101.3.4.1.45" => (32, false, "AES-256-WRAP"),
        "1.2.840.113549.1.9.16.3.6" => (24, true, "3DES-WRAP"),
        _ => return None,
    })
}

/// Key agreement schemes: KDF, and a name.
fn agreement_scheme(oid: &ObjectIdentifier) -> Option<(AgreementKdf, &'static str)> {
    let x963 = |digest: &str| AgreementKdf::X963(digest.to_owned());
    let hkdf = |digest: &str| AgreementKdf::Hkdf(digest.to_owned());
    // Cofactor schemes (…14.x, …0.3) are the same as the standard ones on curves with cofactor 1, which all are.
    Some(match oid.to_string().as_str() {
        "1.3.133.16.840.63.0.2" | "1.3.133.16.840.63.0.3" => (x963("SHA-1"), "ECDH-SHA-1"),
        "1.3.132.1.11.0" | "1.3.132.1.14.0" => (x963("SHA-224"), "ECDH-SHA-224"),
        "1.3.132.1.11.1" | "1.3.132.1.14.1" => (x963("SHA-256"), "ECDH-SHA-256"),
        "1.3.132.1.11.2" | "1.3.132.1.14.2" => (x963("SHA-384"), "ECDH-SHA-384"),
        "1.3.132.1.11.3" | "1.3.132.1.14.3" => (x963("SHA-512"), "ECDH-SHA-512"),
        "1.2.840.113549.1.9.16.3.19" => (hkdf("SHA-256"), "ECDH-HKDF-SHA-256"),
        "1.2.840.113549.1.9.16.3.20" => (hkdf("SHA-384"), "ECDH-HKDF-SHA-384"),
        "1.2.840.113549.1.9.16.3.21" => (hkdf("SHA-512"), "ECDH-HKDF-SHA-512"),
        _ => return None,
    })
}

fn key_agreement(
    element: &Element<'_>,
    originators: &dyn Fn(&Identifier<'_>) -> Option<Vec<u8>>,
) -> Result<Vec<Recipient>, BerError> {
    let mut inside = element.inside();
    inside.expect(tag::INTEGER, "a version")?;
    let originator = inside.expect(tag::context(0), "an originator")?;
    let originator = originator_key(&originator, originators)?;
    let ukm = match inside.optional(tag::context(1))? {
        Some(explicit) => Some(
            explicit
                .inside()
                .value("user keying material")?
                .octet_string()?,
        ),
        None => None,
    };
    let algorithm = Algorithm::read(&mut inside)?;
    let scheme = agreement_scheme(&algorithm.oid);
    let wrap = algorithm.real_parameters().map(Algorithm::of).transpose()?;
    let wrap_kind = wrap.as_ref().and_then(|wrap| key_wrap(&wrap.oid));

    let mut recipients = Vec::new();
    for entry in inside.expect(tag::SEQUENCE, "recipient keys")?.inside() {
        let mut entry = entry?.inside();
        let (hint, shown) = hint(&Identifier::read(&mut entry)?)?;
        let wrapped = entry
            .value("an encrypted key")?
            .octet_string()?
            .into_owned();
        let mut algorithms = Vec::new();
        let way = match (&scheme, &wrap, wrap_kind, &originator) {
            (
                Some((kdf, scheme)),
                Some(wrap),
                Some((kek_bytes, triple_des_wrap, kind)),
                Some(originator),
            ) => {
                algorithms.extend([(*scheme).to_owned(), kind.to_owned()]);
                let wraps = shared_infos(wrap, ukm.as_deref(), kek_bytes)?
                    .into_iter()
                    .map(|shared_info| Wrapped::Ecdh {
                        originator: originator.clone(),
                        kdf: kdf.clone(),
                        shared_info,
                        kek_bytes,
                        triple_des_wrap,
                        wrapped: wrapped.clone(),
                    })
                    .collect();
                Way::Key(hint, wraps)
            }
            (_, _, _, None) => Way::Unknown("the originator's certificate is not known".to_owned()),
            _ => {
                algorithms.push(algorithm.oid.to_string());
                Way::Unknown(format!("key agreement {}", algorithm.oid))
            }
        };
        recipients.push(Recipient {
            shown,
            algorithms,
            way,
        });
    }
    Ok(recipients)
}

/// The originator's public key as SubjectPublicKeyInfo; `None` if it is named but not known.
fn originator_key(
    explicit: &Element<'_>,
    originators: &dyn Fn(&Identifier<'_>) -> Option<Vec<u8>>,
) -> Result<Option<Vec<u8>>, BerError> {
    let mut inside = explicit.inside();
    if inside.peek() == tag::context(1) {
        let key = inside.value("a public key")?;
        let mut parts = key.inside();
        let algorithm = Algorithm::read(&mut parts)?.element.to_der()?;
        let bits = parts.value("a public key")?.to_der()?;
        return Ok(Some(der(tag::SEQUENCE, &[algorithm, bits].concat())));
    }
    Ok(originators(&Identifier::read(&mut inside)?))
}

/// `ECC-CMS-SharedInfo` (RFC 5753 §7.2), as the message's own wrap algorithm is encoded; then with its parameters
/// as the other habit has them (absent or NULL).
fn shared_infos(
    wrap: &Algorithm<'_>,
    ukm: Option<&[u8]>,
    kek_bytes: u8,
) -> Result<Vec<Vec<u8>>, BerError> {
    let oid = der(tag::OID, wrap.oid.as_bytes());
    let own = wrap.element.to_der()?;
    let other = if wrap.parameters.is_some() {
        der(tag::SEQUENCE, &oid)
    } else {
        der(tag::SEQUENCE, &[oid, vec![tag::NULL, 0]].concat())
    };
    let bits = (u32::from(kek_bytes) * 8).to_be_bytes();
    let infos = [own, other].map(|algorithm| {
        let mut body = algorithm;
        if let Some(ukm) = ukm {
            body.extend(der(tag::context(0), &der(tag::OCTET_STRING, ukm)));
        }
        body.extend(der(tag::context(2), &der(tag::OCTET_STRING, &bits)));
        der(tag::SEQUENCE, &body)
    });
    Ok(infos.to_vec())
}

fn kek(element: &Element<'_>) -> Result<Recipient, BerError> {
    let mut inside = element.inside();
    inside.expect(tag::INTEGER, "a version")?;
    let id = inside.expect(tag::SEQUENCE, "a key-encryption key's identifier")?;
    let id = id.inside().value("a key identifier")?.octet_string()?;
    let algorithm = Algorithm::read(&mut inside)?;
    let wrapped = inside
        .value("an encrypted key")?
        .octet_string()?
        .into_owned();
    let shown = format!("pre-shared key {}", data_encoding::HEXUPPER.encode(&id));
    let (name, way) = match key_wrap(&algorithm.oid) {
        Some((_, triple_des, name)) => (
            name.to_owned(),
            Way::Kek {
                wrapped,
                triple_des,
            },
        ),
        None => (
            algorithm.oid.to_string(),
            Way::Unknown(format!("key wrap {}", algorithm.oid)),
        ),
    };
    Ok(Recipient {
        shown,
        algorithms: vec![name],
        way,
    })
}

fn password(element: &Element<'_>) -> Result<Recipient, BerError> {
    let mut inside = element.inside();
    inside.expect(tag::INTEGER, "a version")?;
    let derivation = inside
        .optional(tag::context(0))?
        .map(Algorithm::of)
        .transpose()?;
    let algorithm = Algorithm::read(&mut inside)?;
    let wrapped = inside
        .value("an encrypted key")?
        .octet_string()?
        .into_owned();
    let shown = "password".to_owned();
    let unknown = |what: String| Recipient {
        shown: shown.clone(),
        algorithms: vec![what.clone()],
        way: Way::Unknown(format!("password recipient with {what}")),
    };
    // GnuPG and OpenSSL nest the cipher in id-alg-PWRI-KEK; some name it alone.
    let cipher = match algorithm.real_parameters() {
        Some(inner) if algorithm.oid == oids::PWRI_KEK => Algorithm::of(inner)?,
        _ => algorithm,
    };
    let Some((name, key_bytes)) = password_cipher(&cipher.oid) else {
        return Ok(unknown(cipher.oid.to_string()));
    };
    let iv = cipher
        .real_parameters()
        .ok_or(element.unexpected("an IV"))?
        .octet_string()?
        .into_owned();
    let (salt, iterations, digest) = match derivation {
        None => (None, 0, "SHA-1"),
        Some(derivation) if derivation.oid == oids::PBKDF2 => {
            let parameters = derivation.real_parameters();
            let parameters = parameters.ok_or(element.unexpected("PBKDF2 parameters"))?;
            let (salt, iterations, digest) = pbkdf2_parameters(&parameters)?;
            (Some(salt), iterations, digest)
        }
        Some(derivation) => return Ok(unknown(derivation.oid.to_string())),
    };
    let algorithms = vec![
        format!("PBKDF2-{digest}"),
        format!("PWRI-{}", ContentCipher::name_of(&cipher)),
    ];
    let way = Way::Password(PasswordWrap {
        salt,
        iterations,
        digest,
        cipher: name,
        key_bytes,
        iv,
        wrapped,
    });
    Ok(Recipient {
        shown,
        algorithms,
        way,
    })
}

/// Ciphers of password wraps: OpenSSL's name and the key length.
fn password_cipher(oid: &ObjectIdentifier) -> Option<(&'static str, usize)> {
    Some(match oid.to_string().as_str() {
        "2.16.840.1.101.3.4.1.2" => ("AES-128-CBC", 16),
        "2.16.840.1.101.3.4.1.22" => ("AES-192-CBC", 24),
        "2.16.840.1.101.3.4.1.42" => ("AES-256-CBC", 32),
        "1.2.840.113549.3.7" => ("DES-EDE3-CBC", 24),
        "1.3.14.3.2.7" => ("DES-CBC", 8),
        "1.2.392.200011.61.1.1.1.2" => ("CAMELLIA-128-CBC", 16),
        "1.2.392.200011.61.1.1.1.3" => ("CAMELLIA-192-CBC", 24),
        "1.2.392.200011.61.1.1.1.4" => ("CAMELLIA-256-CBC", 32),
        "1.2.840.113533.7.66.10" => ("CAST5-CBC", 16),
        "1.2.410.200004.1.4" => ("SEED-CBC", 16),
        _ => return None,
    })
}

/// `PBKDF2-params`: salt, iterations, digest of the HMAC.
pub fn pbkdf2_parameters(
    parameters: &Element<'_>,
) -> Result<(Vec<u8>, u32, &'static str), BerError> {
    let mut inside = parameters.inside();
    let salt = inside.value("a salt")?.octet_string()?.into_owned();
    let iterations = inside.value("an iteration count")?.small()?;
    inside.optional(tag::INTEGER)?;
    let digest = match inside.optional(tag::SEQUENCE)? {
        Some(prf) => digest_of(&Algorithm::of(prf)?.oid)?,
        None => "SHA-1",
    };
    Ok((salt, iterations, digest))
}

fn other(element: &Element<'_>) -> Result<Recipient, BerError> {
    let mut inside = element.inside();
    let kind = inside.value("a recipient type")?.oid()?;
    if kind != oids::ORI_KEM {
        let shown = format!("recipient of type {kind}");
        return Ok(Recipient {
            way: Way::Unknown(shown.clone()),
            shown,
            algorithms: Vec::new(),
        });
    }
    let info = inside.expect(tag::SEQUENCE, "a KEMRecipientInfo")?;
    kem(&mut info.inside())
}

/// `KEMRecipientInfo` (RFC 9629 §3) and its `CMSORIforKEMOtherInfo` (§5).
fn kem(inside: &mut Reader<'_>) -> Result<Recipient, BerError> {
    inside.expect(tag::INTEGER, "a version")?;
    let (hint, shown) = hint(&Identifier::read(inside)?)?;
    let kem = Algorithm::read(inside)?;
    let ciphertext = inside
        .value("an encapsulation")?
        .octet_string()?
        .into_owned();
    let kdf = Algorithm::read(inside)?;
    let length = inside.value("a key length")?;
    let ukm = inside.optional(tag::context(0))?;
    let wrap = Algorithm::read(inside)?;
    let wrapped = inside
        .value("an encrypted key")?
        .octet_string()?
        .into_owned();

    let kdf_digest = match kdf.oid.to_string().as_str() {
        "1.2.840.113549.1.9.16.3.28" => Some("SHA-256"),
        "1.2.840.113549.1.9.16.3.29" => Some("SHA-384"),
        "1.2.840.113549.1.9.16.3.30" => Some("SHA-512"),
        _ => None,
    };
    let kem_name = kem_name(&kem.oid).map_or_else(|| kem.oid.to_string(), str::to_owned);
    let mut info = wrap.element.to_der()?;
    info.extend(length.to_der()?);
    if let Some(ukm) = ukm {
        info.extend(ukm.to_der()?);
    }
    let info = der(tag::SEQUENCE, &info);
    let way = match (kdf_digest, key_wrap(&wrap.oid)) {
        (Some(digest), Some((kek_bytes, false, _))) => {
            let kdf_digest = digest.to_owned();
            Way::Key(
                hint,
                vec![Wrapped::Kem {
                    ciphertext,
                    kdf_digest,
                    info,
                    kek_bytes,
                    wrapped,
                }],
            )
        }
        (None, _) => Way::Unknown(format!("key derivation {}", kdf.oid)),
        _ => Way::Unknown(format!("key wrap {}", wrap.oid)),
    };
    let wrap_name =
        key_wrap(&wrap.oid).map_or_else(|| wrap.oid.to_string(), |(_, _, n)| n.to_owned());
    Ok(Recipient {
        shown,
        algorithms: vec![kem_name, wrap_name],
        way,
    })
}

fn kem_name(oid: &ObjectIdentifier) -> Option<&'static str> {
    Some(match oid.to_string().as_str() {
        "2.16.840.1.101.3.4.4.1" => "ML-KEM-512",
        "2.16.840.1.101.3.4.4.2" => "ML-KEM-768",
        "2.16.840.1.101.3.4.4.3" => "ML-KEM-1024",
        _ => return None,
    })
}
