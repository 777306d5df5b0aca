//! Opening EnvelopedData, AuthEnvelopedData and EncryptedData: find the content key, decrypt. A wrong key must end in
//! a clean failure, never in a wrong plaintext.

use super::ber::{Element, der, tag};
use super::content::{ContentCipher, ContentError};
use super::key_search::{OpenedBy, Recipients, Search};
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
    let found = search.among(recipients, &mut |key, certain| {
        content.decrypt(key, certain)
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
    /// with that enough questions open any message (Bleichenbacher).
    fn decrypt(&mut self, key: &SecretBytes, certain: bool) -> Result<Option<Vec<u8>>, Failure> {
        let length = key.expose().len();
        let Some(ciphertext) = &self.encrypted.ciphertext else {
            return Ok(None);
        };
        if !self.cipher.accepts_key(length) {
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
                if !sure && !plausible(&plaintext) {
                    return Ok(None);
                }
                self.ctx.budget.expand(plaintext.len() as u64, bounds)?;
                Ok(Some(plaintext))
            }
            Err(ContentError::Unknown(cipher)) => {
                let why = format!("unsupported: this build has no cipher {cipher}");
                Err(Failure::Refused(why))
            }
            Err(ContentError::Wrong | ContentError::KeyLength(_)) => {
                self.broken |= certain;
                Ok(None)
            }
            Err(_) if !certain => Ok(None),
            Err(other) => Err(damaged(other)),
        }
    }

    /// Decrypts with a key that nothing vouches for. `strict`: what comes out must look like content.
    fn guess(&mut self, key: &SecretBytes, strict: bool) -> Result<Option<Vec<u8>>, Failure> {
        let opened = self.decrypt(key, false)?;
        self.broken = false;
        let authenticated = self.cipher.integrity() == Integrity::Authenticated;
        Ok(opened.filter(|plaintext| authenticated || !strict || plausible(plaintext)))
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
        Err(search.failure(layer))
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
