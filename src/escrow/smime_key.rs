//! Users' S/MIME keys: read from containers of every age, proven against their certificate, and used to undo one
//! wrap at a time.

pub use super::smime_load::{load, load_nameless};
use super::{KeyInfo, KeyProblem, UserKey};
use crate::id::Digest;
use crate::mail::keyops::{AgreementKdf, KeyHint, KeyRefusal, SessionKey, Wrapped};
use crate::mail::smime::{algorithm, ber, certificates, chain, legacy, verify, wrap};
use crate::secret::SecretBytes;
use ber::{Element, tag};
use ml_kem::kem::{Decapsulate, KeyInit};
use openssl::derive::Deriver;
use openssl::ec::EcKey;
use openssl::error::ErrorStack;
use openssl::md::{Md, MdRef};
use openssl::pkey::{Id, KeyType, PKey, Private, Public};
use openssl::pkey_ctx::PkeyCtx;
use openssl::rsa::Padding;
use openssl::x509::X509;

/// A user's private key with its certificate.
pub struct SmimeKey {
    info: KeyInfo,
    private: PKey<Private>,
}

impl SmimeKey {
    /// Takes a key and its certificate, after proof of possession: both halves match, and a test decryption succeeds.
    pub fn new(private: PKey<Private>, certificate: &X509) -> Result<Self, KeyProblem> {
        legacy::enable();
        let info = describe(certificate)?;
        let public = certificate
            .public_key()
            .map_err(|_| unsupported("the certificate's public key"))?;
        if !halves_match(&private, &public) {
            return Err(KeyProblem::Mismatch(info.name));
        }
        let key = Self { info, private };
        key.prove(&public)?;
        Ok(key)
    }

    /// A key that no certificate names. It has no hints, and its fingerprint is that of its public half
    /// (SubjectPublicKeyInfo).
    #[must_use]
    pub fn nameless(private: PKey<Private>) -> Self {
        let spki = private.public_key_to_der().unwrap_or_default();
        let public = PKey::public_key_from_der(&spki).ok();
        let info = KeyInfo {
            fingerprint: Digest::of(&spki).to_string(),
            format: "S/MIME".to_owned(),
            algorithm: public
                .as_ref()
                .and_then(verify::key_name)
                .unwrap_or_else(|| "unknown".to_owned()),
            addresses: Vec::new(),
            name: "a key without certificate".to_owned(),
            valid_from: None,
            valid_until: None,
            dual_use: public.as_ref().is_some_and(can_sign),
            hints: Vec::new(),
            certificate: Vec::new(),
        };
        Self { info, private }
    }

    /// Takes back what [`UserKey::to_secret_bytes`] gave: SEQUENCE { OCTET STRING PKCS#8, OCTET STRING certificate }.
    pub fn from_secret_bytes(bytes: &[u8]) -> Result<Self, KeyProblem> {
        legacy::enable();
        let unreadable = |_| KeyProblem::Unreadable("stored S/MIME key".to_owned());
        let read = || -> Result<(&[u8], &[u8]), ber::BerError> {
            let mut inside = Element::only(bytes)?.inside_of(tag::SEQUENCE, "a stored key")?;
            let private = inside.expect(tag::OCTET_STRING, "a private key")?;
            let certificate = inside.expect(tag::OCTET_STRING, "a certificate")?;
            Ok((private.body, certificate.body))
        };
        let (private, certificate) =
            read().map_err(|error| KeyProblem::Unreadable(error.to_string()))?;
        let certificate = X509::from_der(certificate).map_err(unreadable)?;
        let private = PKey::private_key_from_pkcs8(private).map_err(unreadable)?;
        // Proven when it was taken in; the seal around the stored bytes vouches for them.
        Ok(Self {
            info: describe(&certificate)?,
            private,
        })
    }

    /// Encrypts to the certificate's key and decrypts, as far as the algorithm can.
    fn prove(&self, public: &PKey<Public>) -> Result<(), KeyProblem> {
        let failed = |_: ErrorStack| KeyProblem::ProofFailed;
        match self.private.id() {
            Id::RSA => {
                let secret = [0x5a; 16];
                let mut context = PkeyCtx::new(public).map_err(failed)?;
                context.encrypt_init().map_err(failed)?;
                context.set_rsa_padding(Padding::PKCS1).map_err(failed)?;
                let mut ciphertext = Vec::new();
                context
                    .encrypt_to_vec(&secret, &mut ciphertext)
                    .map_err(failed)?;
                let opened = self
                    .rsa_pkcs1(&ciphertext)
                    .map_err(|_| KeyProblem::ProofFailed)?;
                if opened.expose() == secret {
                    Ok(())
                } else {
                    Err(KeyProblem::ProofFailed)
                }
            }
            Id::EC => {
                let own = self.private.ec_key().map_err(failed)?;
                let other = EcKey::generate(own.group())
                    .and_then(PKey::from_ec_key)
                    .map_err(failed)?;
                self.agrees(public, &other)
            }
            Id::X25519 => self.agrees(public, &PKey::generate_x25519().map_err(failed)?),
            Id::X448 => self.agrees(public, &PKey::generate_x448().map_err(failed)?),
            _ => Ok(()), // Matching halves are the proof: ML-KEM, and keys that only sign.
        }
    }

    /// Whether the shared secret with `other` is the same from both sides.
    fn agrees(&self, public: &PKey<Public>, other: &PKey<Private>) -> Result<(), KeyProblem> {
        let secrets = || -> Result<bool, ErrorStack> {
            let other_public = PKey::public_key_from_der(&other.public_key_to_der()?)?;
            let mut ours = Deriver::new(&self.private)?;
            ours.set_peer(&other_public)?;
            let mut theirs = Deriver::new(other)?;
            theirs.set_peer(public)?;
            Ok(ours.derive_to_vec()? == theirs.derive_to_vec()?)
        };
        if secrets().unwrap_or(false) {
            Ok(())
        } else {
            Err(KeyProblem::ProofFailed)
        }
    }

    /// RSAES-PKCS1-v1_5 with OpenSSL's implicit rejection: a wrong ciphertext gives random bytes, not an error, so
    /// that nobody who sees our answers has a padding oracle.
    fn rsa_pkcs1(&self, ciphertext: &[u8]) -> Result<SecretBytes, KeyRefusal> {
        self.rsa(ciphertext, |context| {
            context.set_rsa_padding(Padding::PKCS1)
        })
    }

    fn rsa(
        &self,
        ciphertext: &[u8],
        prepare: impl FnOnce(&mut PkeyCtx<Private>) -> Result<(), ErrorStack>,
    ) -> Result<SecretBytes, KeyRefusal> {
        if self.private.id() != Id::RSA {
            return Err(KeyRefusal::DoesNotOpen);
        }
        // Some senders drop leading zeros of the ciphertext.
        let missing = self.private.size().saturating_sub(ciphertext.len());
        let padded = [vec![0; missing], ciphertext.to_vec()].concat();
        let decrypt = || -> Result<SecretBytes, ErrorStack> {
            let mut context = PkeyCtx::new(&self.private)?;
            context.decrypt_init()?;
            prepare(&mut context)?;
            let mut key = vec![0; self.private.size()];
            let length = context.decrypt(&padded, Some(&mut key))?;
            key.truncate(length);
            Ok(SecretBytes::new(key))
        };
        decrypt().map_err(|_| KeyRefusal::DoesNotOpen)
    }

    /// The shared secret with the originator's public key (SubjectPublicKeyInfo). The originator may leave out the
    /// curve (RFC 5753 §7.1.1): it is ours, so its bits are read as a key of our own kind.
    fn shared_secret(&self, originator: &[u8]) -> Option<SecretBytes> {
        let own = self.private.public_key_to_der().ok()?;
        let algorithm = Element::split(&own)
            .ok()?
            .0
            .inside()
            .value("an algorithm")
            .ok()?;
        let mut theirs = Element::split(originator).ok()?.0.inside();
        theirs.value("an algorithm").ok()?;
        let bits = theirs.value("a public key").ok()?;
        let peer = ber::der(tag::SEQUENCE, &[algorithm.raw, bits.raw].concat());
        let peer = PKey::public_key_from_der(&peer).ok()?;
        let mut deriver = Deriver::new(&self.private).ok()?;
        deriver.set_peer_ex(&peer, true).ok()?;
        deriver.derive_to_vec().ok().map(SecretBytes::new)
    }

    /// ML-KEM decapsulation (FIPS 203).
    fn decapsulate(&self, ciphertext: &[u8]) -> Option<SecretBytes> {
        let mut seed = [0; 64];
        (self.private.seed_into(&mut seed).ok()? == seed.len()).then_some(())?;
        let seed = SecretBytes::new(seed.to_vec());
        let shared = if self.private.is_a(KeyType::ML_KEM_512) {
            decapsulate_with::<ml_kem::MlKem512>(seed.expose(), ciphertext)
        } else if self.private.is_a(KeyType::ML_KEM_768) {
            decapsulate_with::<ml_kem::MlKem768>(seed.expose(), ciphertext)
        } else if self.private.is_a(KeyType::ML_KEM_1024) {
            decapsulate_with::<ml_kem::MlKem1024>(seed.expose(), ciphertext)
        } else {
            None
        };
        shared.map(SecretBytes::new)
    }
}

impl UserKey for SmimeKey {
    fn info(&self) -> &KeyInfo {
        &self.info
    }

    fn unwrap_session_key(&self, wrapped: &Wrapped) -> Result<SessionKey, KeyRefusal> {
        let key = match wrapped {
            Wrapped::RsaPkcs1 { ciphertext } => self.rsa_pkcs1(ciphertext),
            Wrapped::RsaOaep {
                ciphertext,
                digest,
                mgf_digest,
                label,
            } => {
                let (digest, mgf_digest) = (md(digest)?, md(mgf_digest)?);
                self.rsa(ciphertext, |context| {
                    context.set_rsa_padding(Padding::PKCS1_OAEP)?;
                    context.set_rsa_oaep_md(digest)?;
                    context.set_rsa_mgf1_md(mgf_digest)?;
                    if label.is_empty() {
                        Ok(())
                    } else {
                        context.set_rsa_oaep_label(label)
                    }
                })
            }
            Wrapped::Ecdh {
                originator,
                kdf,
                shared_info,
                kek_bytes,
                triple_des_wrap,
                wrapped,
            } => {
                let unwrap = || {
                    let secret = self.shared_secret(originator)?;
                    let length = usize::from(*kek_bytes);
                    let kek = match kdf {
                        AgreementKdf::X963(digest) => {
                            wrap::x963(digest, secret.expose(), shared_info, length)
                        }
                        AgreementKdf::Hkdf(digest) => {
                            wrap::hkdf(digest, secret.expose(), shared_info, length)
                        }
                    }?;
                    if *triple_des_wrap {
                        wrap::triple_des_unwrap(kek.expose(), wrapped)
                    } else {
                        wrap::aes_unwrap(kek.expose(), wrapped)
                    }
                };
                unwrap().ok_or(KeyRefusal::DoesNotOpen)
            }
            Wrapped::Kem {
                ciphertext,
                kdf_digest,
                info,
                kek_bytes,
                wrapped,
            } => {
                let unwrap = || {
                    let secret = self.decapsulate(ciphertext)?;
                    let length = usize::from(*kek_bytes);
                    let kek = wrap::hkdf(kdf_digest, secret.expose(), info, length)?;
                    wrap::aes_unwrap(kek.expose(), wrapped)
                };
                unwrap().ok_or(KeyRefusal::DoesNotOpen)
            }
            Wrapped::OpenPgpPkesk { .. } => Err(KeyRefusal::NoKey),
        }?;
        Ok(SessionKey {
            key,
            cipher: None,
            opened_by: self.info.fingerprint.clone(),
        })
    }

    fn to_secret_bytes(&self) -> SecretBytes {
        let private = SecretBytes::new(self.private.private_key_to_pkcs8().unwrap_or_default());
        let private = SecretBytes::new(ber::der(tag::OCTET_STRING, private.expose()));
        let certificate = ber::der(tag::OCTET_STRING, &self.info.certificate);
        let both = SecretBytes::new([private.expose(), &certificate].concat());
        SecretBytes::new(ber::der(tag::SEQUENCE, both.expose()))
    }
}

/// Refuses what escrow must not hold: a key whose certificate says that it only signs.
pub fn escrow_check(certificate: &[u8]) -> Result<(), KeyProblem> {
    let x509 = X509::from_der(certificate).map_err(|_| unsupported("the certificate"))?;
    if chain::may_decrypt(&x509) {
        Ok(())
    } else {
        Err(KeyProblem::SigningOnly(certificates::subject(&x509)))
    }
}

/// The public facts of a certificate.
pub fn describe(x509: &X509) -> Result<KeyInfo, KeyProblem> {
    let certificate = x509.to_der().map_err(|_| unsupported("the certificate"))?;
    let public = x509
        .public_key()
        .map_err(|_| unsupported("the certificate's public key"))?;
    let names =
        certificates::Names::of(x509).ok_or_else(|| unsupported("the certificate's issuer"))?;
    let mut hints = vec![KeyHint::IssuerSerial {
        issuer: names.issuer,
        serial: names.serial,
    }];
    let computed = certificates::computed_key_id(&certificate);
    hints.extend(names.key_id.clone().map(KeyHint::SubjectKeyId));
    hints.extend(
        computed
            .filter(|id| names.key_id.as_ref() != Some(id))
            .map(KeyHint::SubjectKeyId),
    );
    Ok(KeyInfo {
        fingerprint: Digest::of(&certificate).to_string(),
        format: "S/MIME".to_owned(),
        algorithm: verify::key_name(&public).unwrap_or_else(|| "unknown".to_owned()),
        addresses: certificates::addresses(x509),
        name: certificates::subject(x509),
        valid_from: chain::time(x509.not_before()),
        valid_until: chain::time(x509.not_after()),
        dual_use: chain::usage_allows_signing(x509)
            && chain::may_decrypt(x509)
            && can_sign(&public),
        hints,
        certificate,
    })
}

fn can_sign(public: &PKey<Public>) -> bool {
    matches!(public.id(), Id::RSA | Id::EC)
}

/// Whether both keys are halves of one pair.
#[must_use]
pub fn halves_match(private: &PKey<Private>, public: &PKey<Public>) -> bool {
    let bits = |der: Result<Vec<u8>, ErrorStack>| {
        der.ok()
            .and_then(|der| public_bits(&der).map(<[u8]>::to_vec))
    };
    let own = bits(private.public_key_to_der());
    public.public_eq(private) || (own.is_some() && own == bits(public.public_key_to_der()))
}

/// The bits of a SubjectPublicKeyInfo.
fn public_bits(spki: &[u8]) -> Option<&[u8]> {
    let mut inside = Element::split(spki).ok()?.0.inside();
    inside.expect(tag::SEQUENCE, "an algorithm").ok()?;
    inside.value("a public key").ok()?.bit_string().ok()
}

fn decapsulate_with<K>(seed: &[u8], ciphertext: &[u8]) -> Option<Vec<u8>>
where
    K: ml_kem::kem::Kem<DecapsulationKey: KeyInit + Decapsulate>,
{
    let key = K::DecapsulationKey::new_from_slice(seed).ok()?;
    key.decapsulate_slice(ciphertext)
        .ok()
        .map(|shared| shared.to_vec())
}

fn md(name: &str) -> Result<&'static MdRef, KeyRefusal> {
    let digest = algorithm::digest(name).ok_or(KeyRefusal::DoesNotOpen)?;
    Md::from_nid(digest.type_()).ok_or(KeyRefusal::DoesNotOpen)
}

fn unsupported(what: &str) -> KeyProblem {
    KeyProblem::Unsupported(what.to_owned())
}
