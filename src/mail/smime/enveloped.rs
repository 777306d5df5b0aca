//! Opening EnvelopedData, AuthEnvelopedData and EncryptedData: find the content key, decrypt. A wrong key must end in
//! a clean failure, never in a wrong plaintext.

use super::ber::{Element, der, tag};
use super::content::{ContentCipher, ContentError};
use super::key_search::{Belief, OpenedBy, Recipients, Search};
use super::structure::{self, EncryptedContent, Enveloped};
use super::{damaged, layer, oids};
use crate::mail::context::{Context, Failure, Unopened, Unwrapped};
use crate::mail::model::{Integrity, Layer, Outcome};
use crate::secret::SecretBytes;
use const_oid::ObjectIdentifier;

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
                ctx,
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
    let mut content = Content::new(encrypted, None, Vec::new(), ctx, layer)?;
    layer.recipients.push("pre-shared key".to_owned());
    // Every key is a guess, and a wrong one gives a right padding once in 256: one that gives text or CMS is believed
    // first, then one of the length that the cipher's name says.
    let mut search = Search::new(ctx);
    let mut found = search.pre_shared(&mut |key, _| content.guess(key, true))?;
    if found.is_none() {
        search = Search::new(ctx);
        found = search.pre_shared(&mut |key, _| content.guess(key, false))?;
    }
    content.settle(found, search, layer)
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
    let originators = enveloped.originator_certificates;
    let recipients = Recipients::read(enveloped.recipients, originators, ctx);
    recipients.list(layer);
    let left_out = recipients.left_out;
    let mut content = Content::new(enveloped.encrypted, enveloped.mac, aad, ctx, layer)?;
    let mut search = Search::new(ctx);
    let found = search.among(recipients, &mut |key, belief| match belief {
        Belief::Guessed => content.decrypt_text(key),
        Belief::Checked | Belief::Named => content.decrypt(key, belief == Belief::Checked),
    })?;
    if found.is_none() && left_out && !content.broken {
        let limit = u64::from(ctx.policy.bounds.recipients);
        return Err(Failure::OverBound {
            bound: "recipients",
            limit,
        });
    }
    content.settle(found, search, layer)
}

/// The encrypted content, to be tried with keys.
struct Content<'a, 'c> {
    ctx: &'c Context<'c>,
    cipher: ContentCipher,
    encrypted: EncryptedContent<'a>,
    mac: Option<Vec<u8>>,
    aad: Vec<u8>,
    /// A key that is surely the right one did not open it.
    broken: bool,
}

impl<'a, 'c> Content<'a, 'c> {
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
            ContentError::Unknown(_) => Failure::Refused(format!("unsupported: {error}")),
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
            broken: false,
        })
    }

    /// Decrypts the content with `key`; `None` if it is not the key, see [`super::key_search::Try`]. With a key that is not
    /// certain all ways to fail look the same: which of them it was would tell whether an RSA v1.5 wrap is well-formed, and
    /// with that enough questions open any message (Bleichenbacher). What no key would open is told at the end.
    fn decrypt(&mut self, key: &SecretBytes, certain: bool) -> Result<Option<Vec<u8>>, Failure> {
        let length = key.expose().len();
        if !self.cipher.accepts_key(length) {
            if !certain {
                self.in_vain()?;
                self.take_as_long();
            }
            return Ok(None);
        }
        if let Some(failure) = self.misfit_of_size() {
            return if certain { Err(failure) } else { Ok(None) };
        }
        match self.try_key(key) {
            Ok(plaintext) => {
                let sure = certain
                    || self.cipher.is_labelled_length(length)
                    || self.cipher.integrity() == Integrity::Authenticated;
                if !sure && !plausible(&plaintext) {
                    self.in_vain()?;
                    return Ok(None);
                }
                let bounds = &self.ctx.policy.bounds;
                self.ctx.budget.expand(plaintext.len() as u64, bounds)?;
                Ok(Some(plaintext))
            }
            Err(_) if !certain => self.in_vain().map(|()| None),
            Err(ContentError::Wrong | ContentError::KeyLength(_)) => {
                self.broken = true;
                self.in_vain().map(|()| None)
            }
            Err(other) => Err(not_decryptable(other)),
        }
    }

    /// Counts one try that came to nothing.
    fn in_vain(&self) -> Result<(), Failure> {
        // A piece of one octet costs more than the octet.
        let ciphertext = self.encrypted.ciphertext.as_ref();
        let encoded = ciphertext.map_or(0, super::ber::Chunks::encoded);
        let bounds = &self.ctx.policy.bounds;
        self.ctx.budget.in_vain(encoded as u64, bounds)
    }

    fn try_key(&self, key: &SecretBytes) -> Result<Vec<u8>, ContentError> {
        let ciphertext = self.encrypted.ciphertext.as_ref();
        let ciphertext = ciphertext.ok_or(ContentError::Wrong)?;
        let mac = self.mac.as_deref();
        self.cipher
            .decrypt(key.expose(), ciphertext, mac, &self.aad)
    }

    /// Decrypts with a random key: what comes of a wrap that is not well-formed takes as long as a key of one that is.
    fn take_as_long(&self) {
        if self.misfit_of_size().is_none() {
            let _ = self.try_key(&self.cipher.random_key());
        }
    }

    /// Why no key opens it.
    fn impediment(&self) -> Option<Failure> {
        let misfit = self.misfit_of_size();
        misfit.or_else(|| self.cipher.check().err().map(not_decryptable))
    }

    /// What is wrong with the ciphertext's size.
    fn misfit_of_size(&self) -> Option<Failure> {
        let total = self.encrypted.ciphertext.as_ref()?.total();
        let total = match total {
            Ok(total) => total as u64,
            Err(error) => return Some(damaged(error)),
        };
        let (budget, bounds) = (self.ctx.budget, &self.ctx.policy.bounds);
        if total > budget.expandable(bounds).saturating_add(64) {
            return budget.expand(total, bounds).err();
        }
        None
    }

    /// Decrypts with a key that nothing vouches for. `strict`: what comes out must look like content.
    fn guess(&mut self, key: &SecretBytes, strict: bool) -> Result<Option<Vec<u8>>, Failure> {
        if let Some(failure) = self.impediment() {
            return Err(failure);
        }
        if !self.cipher.accepts_key(key.expose().len()) {
            return Ok(None);
        }
        if strict {
            self.decrypt_text(key)
        } else {
            self.decrypt(key, false)
        }
    }

    /// Decrypts to what looks like content, or is authenticated.
    fn decrypt_text(&mut self, key: &SecretBytes) -> Result<Option<Vec<u8>>, Failure> {
        let authenticated = self.cipher.integrity() == Integrity::Authenticated;
        let opened = self.decrypt(key, false)?;
        Ok(opened.filter(|plaintext| authenticated || plausible(plaintext)))
    }

    /// The end of the search: the plaintext and its type, or why there is none.
    fn settle(
        self,
        found: Option<OpenedBy<Vec<u8>>>,
        search: Search<'_>,
        layer: &mut Layer,
    ) -> Result<Plaintext, Failure> {
        if let Some((plaintext, key)) = found {
            layer.key = key;
            layer.integrity = self.cipher.integrity();
            return Ok((plaintext, self.encrypted.content_type));
        }
        if self.broken {
            layer.integrity = Integrity::Broken;
            let why = "the content has a wrong padding or authentication tag";
            return Err(Failure::Damaged(why.to_owned()));
        }
        if search.had_unchecked_key()
            && let Some(failure) = self.impediment()
        {
            return Err(failure);
        }
        Err(search.failure(layer))
    }
}

fn not_decryptable(error: ContentError) -> Failure {
    match error {
        ContentError::Unknown(cipher) => {
            Failure::Refused(format!("unsupported: this build has no cipher {cipher}"))
        }
        other => damaged(other),
    }
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
