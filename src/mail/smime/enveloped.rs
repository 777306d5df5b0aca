//! Opening EnvelopedData, AuthEnvelopedData and EncryptedData: find a recipient whose key is here, get the content key,
//! decrypt. A wrong key must end in a clean failure, never in a wrong plaintext.

use super::ber::{Element, der, tag};
use super::content::{ContentCipher, ContentError};
use super::recipient::{self, PasswordWrap, Recipient, Way};
use super::structure::{self, EncryptedContent, Enveloped, Identifier};
use super::{certificates, damaged, layer, oids, wrap};
use crate::mail::context::{Context, Failure, Unopened, Unwrapped};
use crate::mail::keyops::{KeyHint, KeyRefusal, Wrapped};
use crate::mail::model::{Integrity, Layer, Outcome};
use crate::secret::SecretBytes;
use const_oid::ObjectIdentifier;
use openssl::hash::MessageDigest;

/// A plaintext, and the fingerprint of the key that opened it, where a key did.
type OpenedBy = (Vec<u8>, Option<String>);

/// Most keys tried for one recipient: several keys may answer to one name.
const ATTEMPTS: u32 = 8;
/// Most PBKDF2 rounds; more is an attack on our time.
const MAX_ITERATIONS: u32 = 10_000_000;

/// Opens `content`, which is of one of the three encrypted types.
pub fn open(
    kind: &ObjectIdentifier,
    content: Element<'_>,
    ctx: &Context<'_>,
) -> Result<Unwrapped, Unopened> {
    let mut layer = layer(match *kind {
        oids::ENCRYPTED_DATA => "encrypted",
        oids::AUTH_ENVELOPED_DATA => "authenveloped",
        _ => "enveloped",
    });
    let opened = if *kind == oids::ENCRYPTED_DATA {
        encrypted(content, ctx, &mut layer)
    } else {
        enveloped(kind, content, ctx, &mut layer)
    };
    match opened {
        Ok((plaintext, content_type)) => {
            layer.outcome = Outcome::Opened;
            Ok(super::unwrapped(
                plaintext,
                &content_type,
                layer,
                Vec::new(),
            ))
        }
        Err(failure) => Err(super::unopened(failure, layer)),
    }
}

type Plaintext = (Vec<u8>, ObjectIdentifier);

fn encrypted(
    content: Element<'_>,
    ctx: &Context<'_>,
    layer: &mut Layer,
) -> Result<Plaintext, Failure> {
    let encrypted = structure::encrypted_data(content).map_err(damaged)?;
    let mut opening = Opening::new(encrypted, None, Vec::new(), ctx, layer)?;
    layer.recipients.push("pre-shared key".to_owned());
    for key in ctx.keys.passphrases() {
        for key in key_readings(&key) {
            if let Some(plaintext) = opening.decrypt(&key, true)? {
                layer.integrity = opening.cipher.integrity();
                return Ok((plaintext, opening.encrypted.content_type));
            }
        }
    }
    opening.waiting_for.push(KeyHint::Passphrase);
    Err(opening.failure(layer))
}

fn enveloped(
    kind: &ObjectIdentifier,
    content: Element<'_>,
    ctx: &Context<'_>,
    layer: &mut Layer,
) -> Result<Plaintext, Failure> {
    let enveloped = Enveloped::read(kind, content).map_err(damaged)?;
    let aad = match &enveloped.auth_attributes {
        None => Vec::new(),
        // Tagged [1] in the message, authenticated as a SET OF (RFC 5083 §2.2).
        Some(attributes) => {
            let attributes = attributes.to_der().map_err(damaged)?;
            let body = Element::only(&attributes).map_err(damaged)?.body;
            der(tag::SET, body)
        }
    };
    let (recipients, left_out) = recipients(&enveloped, ctx)?;
    for recipient in &recipients {
        layer.recipients.push(recipient.shown.clone());
        for algorithm in &recipient.algorithms {
            super::note(&mut layer.algorithms, algorithm);
        }
    }
    let mut opening = Opening::new(enveloped.encrypted, enveloped.mac, aad, ctx, layer)?;
    for recipient in recipients {
        if let Some((plaintext, key)) = opening.try_recipient(recipient)? {
            layer.key = key;
            layer.integrity = opening.cipher.integrity();
            return Ok((plaintext, opening.encrypted.content_type));
        }
    }
    if left_out && !opening.content_failed {
        let limit = u64::from(ctx.policy.bounds.recipients);
        return Err(Failure::OverBound {
            bound: "recipients",
            limit,
        });
    }
    Err(opening.failure(layer))
}

/// All recipients within the bound, and whether there are more.
fn recipients(
    enveloped: &Enveloped<'_>,
    ctx: &Context<'_>,
) -> Result<(Vec<Recipient>, bool), Failure> {
    let find = |id: &Identifier<'_>| {
        certificates::find(id, enveloped.originator_certificates, ctx.trust)
            .and_then(|found| found.x509.public_key().ok())
            .and_then(|key| key.public_key_to_der().ok())
    };
    let most = ctx.policy.bounds.recipients as usize;
    let mut recipients = Vec::new();
    for element in enveloped.recipients {
        if recipients.len() >= most {
            return Ok((recipients, true));
        }
        // A recipient that cannot be read must not keep the others from opening.
        match element.and_then(|element| recipient::read(element, &find)) {
            Ok(read) => recipients.extend(read),
            Err(error) => recipients.push(Recipient {
                shown: "unreadable recipient".to_owned(),
                algorithms: Vec::new(),
                way: Way::Unknown(error.to_string()),
            }),
        }
    }
    let left_out = recipients.len() > most;
    recipients.truncate(most);
    Ok((recipients, left_out))
}

/// One object being opened, and what has been learnt on the way.
struct Opening<'a, 'c> {
    ctx: &'c Context<'c>,
    cipher: ContentCipher,
    encrypted: EncryptedContent<'a>,
    mac: Option<Vec<u8>>,
    aad: Vec<u8>,
    waiting_for: Vec<KeyHint>,
    unknown: Vec<String>,
    locked: bool,
    key_failed: bool,
    content_failed: bool,
}

impl<'a, 'c> Opening<'a, 'c> {
    fn new(
        encrypted: EncryptedContent<'a>,
        mac: Option<Vec<u8>>,
        aad: Vec<u8>,
        ctx: &'c Context<'c>,
        layer: &mut Layer,
    ) -> Result<Self, Failure> {
        super::note(
            &mut layer.algorithms,
            &ContentCipher::name_of(&encrypted.cipher),
        );
        if let Some(refused) = layer
            .algorithms
            .iter()
            .find(|name| ctx.policy.refuse.contains(*name))
        {
            return Err(Failure::Refused(format!("policy refuses {refused}")));
        }
        let cipher = ContentCipher::of(&encrypted.cipher).map_err(|error| match error {
            ContentError::Unknown(_) => Failure::Refused(error.to_string()),
            other => damaged(other),
        })?;
        if encrypted.ciphertext.is_none() {
            return Err(Failure::Damaged(
                "the encrypted content is not in the message".to_owned(),
            ));
        }
        Ok(Self {
            ctx,
            cipher,
            encrypted,
            mac,
            aad,
            waiting_for: Vec::new(),
            unknown: Vec::new(),
            locked: false,
            key_failed: false,
            content_failed: false,
        })
    }

    fn try_recipient(&mut self, recipient: Recipient) -> Result<Option<OpenedBy>, Failure> {
        let without_key = |plaintext: Option<Vec<u8>>| plaintext.map(|plaintext| (plaintext, None));
        match recipient.way {
            Way::Key(hint, wraps) => self.try_key(&hint, &wraps),
            Way::Kek {
                wrapped,
                triple_des,
            } => {
                self.waiting_for.push(KeyHint::Passphrase);
                self.try_kek(&wrapped, triple_des).map(without_key)
            }
            Way::Password(password) => {
                self.waiting_for.push(KeyHint::Passphrase);
                self.try_password(&password).map(without_key)
            }
            Way::Unknown(what) => {
                self.unknown.push(what);
                Ok(None)
            }
        }
    }

    fn try_key(&mut self, hint: &KeyHint, wraps: &[Wrapped]) -> Result<Option<OpenedBy>, Failure> {
        let limit = u64::from(self.ctx.policy.bounds.key_operations);
        for wrapped in wraps {
            let implicit_rejection = matches!(wrapped, Wrapped::RsaPkcs1 { .. });
            for attempt in 0..ATTEMPTS {
                match self.ctx.keys.unwrap_session_key(hint, wrapped, attempt) {
                    Err(KeyRefusal::NoKey) => break,
                    Err(KeyRefusal::TooMany) => {
                        return Err(Failure::OverBound {
                            bound: "key_operations",
                            limit,
                        });
                    }
                    Err(KeyRefusal::Locked) => {
                        self.locked = true;
                        break;
                    }
                    Err(KeyRefusal::DoesNotOpen) => {
                        self.key_failed = true;
                        self.ctx.budget.key_operation(&self.ctx.policy.bounds)?;
                        break;
                    }
                    Ok(session) => {
                        self.ctx.budget.key_operation(&self.ctx.policy.bounds)?;
                        if let Some(plaintext) = self.decrypt(&session.key, !implicit_rejection)? {
                            return Ok(Some((plaintext, Some(session.opened_by))));
                        }
                    }
                }
            }
        }
        if !self.waiting_for.contains(hint) {
            self.waiting_for.push(hint.clone());
        }
        Ok(None)
    }

    fn try_kek(&mut self, wrapped: &[u8], triple_des: bool) -> Result<Option<Vec<u8>>, Failure> {
        let unwrap = if triple_des {
            wrap::triple_des_unwrap
        } else {
            wrap::aes_unwrap
        };
        for passphrase in self.ctx.keys.passphrases() {
            for kek in key_readings(&passphrase) {
                let Some(key) = unwrap(kek.expose(), wrapped) else {
                    continue;
                };
                if let Some(plaintext) = self.decrypt(&key, true)? {
                    return Ok(Some(plaintext));
                }
            }
        }
        Ok(None)
    }

    fn try_password(&mut self, password: &PasswordWrap) -> Result<Option<Vec<u8>>, Failure> {
        for passphrase in self.ctx.keys.passphrases() {
            let Some(key) = password_key(password, &passphrase) else {
                continue;
            };
            if let Some(plaintext) = self.decrypt(&key, true)? {
                return Ok(Some(plaintext));
            }
        }
        Ok(None)
    }

    /// Decrypts the content with `key`; `None` if it is not the key. `certain`: the unwrap was checked, so that a
    /// failure now means altered content. An RSA v1.5 unwrap is never certain: a wrong key gives random bytes.
    fn decrypt(&mut self, key: &SecretBytes, certain: bool) -> Result<Option<Vec<u8>>, Failure> {
        let length = key.expose().len();
        let Some(ciphertext) = &self.encrypted.ciphertext else {
            return Ok(None);
        };
        if !self.cipher.accepts_key(length) {
            self.key_failed = true;
            return Ok(None);
        }
        let total = ciphertext.total().map_err(damaged)?;
        let bounds = &self.ctx.policy.bounds;
        if total as u64 > self.ctx.budget.expandable(bounds).saturating_add(64) {
            self.ctx.budget.expand(total as u64, bounds)?;
        }
        let mac = self.mac.as_deref();
        match self
            .cipher
            .decrypt(key.expose(), ciphertext, mac, &self.aad)
        {
            Ok(plaintext) => {
                let sure = certain
                    || self.cipher.is_labelled_length(length)
                    || self.cipher.integrity() == Integrity::Authenticated;
                if sure || plausible(&plaintext) {
                    self.ctx.budget.expand(plaintext.len() as u64, bounds)?;
                    return Ok(Some(plaintext));
                }
                self.key_failed = true;
            }
            Err(ContentError::Unknown(cipher)) => {
                return Err(Failure::Refused(format!(
                    "this build has no cipher {cipher}"
                )));
            }
            Err(ContentError::Wrong | ContentError::KeyLength(_)) => {
                self.content_failed |= certain || self.cipher.is_labelled_length(length);
                self.key_failed = true;
            }
            Err(other) => return Err(damaged(other)),
        }
        Ok(None)
    }

    /// The most telling of what went wrong.
    fn failure(self, layer: &mut Layer) -> Failure {
        if self.content_failed {
            layer.integrity = Integrity::Broken;
            return Failure::Damaged(
                "the content has a wrong padding or authentication tag".to_owned(),
            );
        }
        if self.locked {
            return Failure::Locked;
        }
        if self.key_failed {
            layer.reason = Some("a key of that name does not open it".to_owned());
        } else if self.waiting_for.is_empty() && !self.unknown.is_empty() {
            return Failure::Refused(format!("unsupported: {}", self.unknown.join("; ")));
        }
        Failure::NoKey {
            waiting_for: self.waiting_for,
        }
    }
}

/// A "passphrase" that is a key: its bytes, or the bytes it spells in hexadecimal.
fn key_readings(passphrase: &SecretBytes) -> Vec<SecretBytes> {
    let spelt = data_encoding::HEXLOWER_PERMISSIVE
        .decode(passphrase.expose())
        .ok();
    let spelt = spelt.map(SecretBytes::new);
    spelt.into_iter().chain([passphrase.duplicate()]).collect()
}

fn password_key(password: &PasswordWrap, passphrase: &SecretBytes) -> Option<SecretBytes> {
    let kek = match &password.salt {
        None => passphrase.duplicate(),
        Some(salt) => {
            let digest: MessageDigest = super::algorithm::digest(password.digest)?;
            let rounds =
                Some(password.iterations).filter(|rounds| (1..=MAX_ITERATIONS).contains(rounds))?;
            let mut kek = vec![0; password.key_bytes];
            let rounds = rounds as usize;
            openssl::pkcs5::pbkdf2_hmac(passphrase.expose(), salt, rounds, digest, &mut kek)
                .ok()?;
            SecretBytes::new(kek)
        }
    };
    wrap::password_unwrap(
        password.cipher,
        kek.expose(),
        &password.iv,
        &password.wrapped,
    )
}

/// Whether the beginning is text or an ASN.1 value, which random bytes are not.
fn plausible(plaintext: &[u8]) -> bool {
    let start = &plaintext[..plaintext.len().min(256)];
    let odd = start
        .iter()
        .filter(|byte| !matches!(byte, 0x20..=0x7e | b'\t' | b'\r' | b'\n'))
        .count();
    odd * 8 <= start.len() || super::is_content_info(plaintext)
}
