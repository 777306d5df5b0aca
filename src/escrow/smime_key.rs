//! Users' S/MIME keys: read from containers of every age, proven against their certificate, and used to undo one
//! wrap at a time.

pub use super::smime_load::load;
use super::{KeyInfo, KeyProblem, UserKey, kem};
use crate::id::Digest;
use crate::mail::keyops::{Kdf, KeyHint, KeyRefusal, KeyWrap, SessionKey, Wrapped};
use crate::mail::smime::{ber, certificates, chain, verify, wrap};
use crate::mail::{digest, legacy};
use crate::secret::SecretBytes;
use ber::{Element, tag};
use openssl::bn::{BigNum, BigNumContext};
use openssl::derive::Deriver;
use openssl::ec::{EcKey, EcPoint};
use openssl::error::ErrorStack;
use openssl::md::{Md, MdRef};
use openssl::pkey::{Id, PKey, Private, Public};
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
            // Matching halves are the proof.
            Id::DH | Id::DHX => Ok(()),
            _ if kem::is_kem(&self.private) => Ok(()),
            _ => Err(KeyProblem::SigningOnly(self.info.name.clone())),
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
        let bits = public_bits(originator)?;
        let peer = match self.private.id() {
            Id::EC => ec_peer(&self.private, bits)?,
            kind @ (Id::X25519 | Id::X448) => PKey::public_key_from_raw_bytes(bits, kind).ok()?,
            Id::DH | Id::DHX => self.dh_peer(bits)?,
            _ => return None,
        };
        let mut deriver = Deriver::new(&self.private).ok()?;
        // Points on our curves are checked as they are read; of other keys OpenSSL checks more.
        let check = matches!(self.private.id(), Id::DH | Id::DHX);
        deriver.set_peer_ex(&peer, check).ok()?;
        let secret = SecretBytes::new(deriver.derive_to_vec().ok()?);
        // X9.42 wants the secret as long as the prime; OpenSSL drops leading zeros (RFC 2631 §2.1.2).
        let missing = if check {
            self.private.size().saturating_sub(secret.expose().len())
        } else {
            0
        };
        Some(SecretBytes::new(
            [&vec![0; missing], secret.expose()].concat(),
        ))
    }

    /// The originator's key of X9.42, with our own parameters.
    fn dh_peer(&self, bits: &[u8]) -> Option<PKey<Public>> {
        let own = self.private.public_key_to_der().ok()?;
        let mut own = Element::split(&own).ok()?.0.inside();
        let algorithm = own.value("an algorithm").ok()?;
        let bits = ber::der(tag::BIT_STRING, &[&[0], bits].concat());
        let peer = ber::der(tag::SEQUENCE, &[algorithm.raw, &bits].concat());
        PKey::public_key_from_der(&peer).ok()
    }

    /// The shared secret of a KEM, by the kind of this key.
    fn decapsulate(&self, ciphertext: &[u8], kdf: &Kdf, wrap: KeyWrap) -> Option<SecretBytes> {
        if self.private.id() == Id::RSA {
            self.rsa_kem(ciphertext, kdf, wrap)
        } else {
            kem::decapsulate(&self.private, ciphertext)
        }
    }

    /// RSA-KEM (RFC 9690): the secret is derived from the bare RSA operation's result, without any padding to check.
    fn rsa_kem(&self, ciphertext: &[u8], kdf: &Kdf, wrap: KeyWrap) -> Option<SecretBytes> {
        let z = self
            .rsa(ciphertext, |context| context.set_rsa_padding(Padding::NONE))
            .ok()?;
        // Without parameters it is made by the recipient's own derivation, as long as the key-encryption key.
        wrap::derive(kdf, z.expose(), &[], usize::from(wrap.kek_bytes()))
    }
}

/// The key-encryption key from the shared secret, and with it the content-encryption key.
fn unwrap(
    secret: &SecretBytes,
    kdf: &Kdf,
    info: &[u8],
    wrap: KeyWrap,
    wrapped: &[u8],
) -> Option<SecretBytes> {
    let kek = wrap::derive(kdf, secret.expose(), info, usize::from(wrap.kek_bytes()))?;
    wrap::unwrap(wrap, kek.expose(), wrapped)
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
            Wrapped::Agreement {
                originator,
                kdf,
                shared_info,
                wrap,
                wrapped,
            } => self
                .shared_secret(originator)
                .and_then(|secret| unwrap(&secret, kdf, shared_info, *wrap, wrapped))
                .ok_or(KeyRefusal::DoesNotOpen),
            Wrapped::Kem {
                ciphertext,
                kdf,
                info,
                wrap,
                wrapped,
            } => self
                .decapsulate(ciphertext, kdf, *wrap)
                .and_then(|secret| unwrap(&secret, kdf, info, *wrap, wrapped))
                .ok_or(KeyRefusal::DoesNotOpen),
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

    fn public_half(&self) -> Option<Digest> {
        digest_of_bits(self.private.public_key_to_der())
    }

    fn under(&self, certificate: &X509) -> Option<Result<Box<dyn UserKey>, KeyProblem>> {
        let public = certificate.public_key().ok()?;
        halves_match(&self.private, &public).then_some(())?;
        let key = Self::new(self.private.clone(), certificate);
        Some(key.map(|key| Box::new(key) as Box<dyn UserKey>))
    }
}

/// SHA-256 of a certificate's public key, as [`UserKey::public_half`] gives it.
#[must_use]
pub fn certified_half(certificate: &X509) -> Option<Digest> {
    digest_of_bits(certificate.public_key().ok()?.public_key_to_der())
}

fn digest_of_bits(spki: Result<Vec<u8>, ErrorStack>) -> Option<Digest> {
    Some(Digest::of(public_bits(&spki.ok()?)?))
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

/// A point on our curve as a public key. Reading it checks that it is on the curve; with a cofactor of 1, as all curves
/// in use have, no further check is needed (SP 800-56A §5.6.2.3.4), with another the full one is made.
fn ec_peer(own: &PKey<Private>, bits: &[u8]) -> Option<PKey<Public>> {
    let own = own.ec_key().ok()?;
    let mut context = BigNumContext::new().ok()?;
    let point = EcPoint::from_bytes(own.group(), bits, &mut context).ok()?;
    let key = EcKey::from_public_key(own.group(), &point).ok()?;
    let (mut cofactor, one) = (BigNum::new().ok()?, BigNum::from_u32(1).ok()?);
    own.group().cofactor(&mut cofactor, &mut context).ok()?;
    let fine = if cofactor == one {
        !point.is_infinity(own.group())
    } else {
        key.check_key().is_ok()
    };
    fine.then_some(())?;
    PKey::from_ec_key(key).ok()
}

fn md(name: &str) -> Result<&'static MdRef, KeyRefusal> {
    let digest = digest::named(name).ok_or(KeyRefusal::DoesNotOpen)?;
    Md::from_nid(digest.type_()).ok_or(KeyRefusal::DoesNotOpen)
}

fn unsupported(what: &str) -> KeyProblem {
    KeyProblem::Unsupported(what.to_owned())
}
