//! Finding the content-encryption key: recipient by recipient, key by key, until one fits. What is tried with a
//! candidate (decrypting, checking a MAC) is the caller's.

use super::ber::{BerError, Element};
use super::chain::Known;
use super::recipient::{self, PasswordWrap, Recipient, RecipientError, Way, Wrapping};
use super::structure::Identifier;
use super::{certificates, damaged, wrap};
use crate::mail::context::{Context, Failure};
use crate::mail::keyops::{KeyHint, KeyRefusal, Wrapped};
use crate::mail::model::{Layer, shortened};
use crate::secret::SecretBytes;
use openssl::hash::MessageDigest;
use std::cell::OnceCell;

/// Most keys tried for one recipient: several keys may answer to one name.
const ATTEMPTS: u32 = 8;
/// Most recipients of one object that keys of other names are tried on; the tries of a mail are counted together too.
const OTHERS: usize = 100;
/// Most PBKDF2 rounds; more is an attack on our time.
const MAX_ITERATIONS: u32 = 10_000_000;

/// Tries a candidate; `None` if it is not the key.
pub type Try<'t, T> = dyn FnMut(&SecretBytes, Belief) -> Result<Option<T>, Failure> + 't;

/// How far a candidate is to be believed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Belief {
    /// Its unwrap was checked, so that a failure now means altered content.
    Checked,
    /// The key that the message names gave it, by RSA v1.5, where a wrong key gives random bytes.
    Named,
    /// A key that the message does not name gave it, likewise.
    Guessed,
}

/// What opened it: the result of [`Try`], and the fingerprint of the key, where a key did.
pub type OpenedBy<T> = (T, Option<String>);

/// All recipients within the bound, and whether there are more.
pub struct Recipients {
    /// In the order of the message.
    pub found: Vec<Recipient>,
    /// There are more than the bound allows.
    pub left_out: bool,
}

impl Recipients {
    /// Reads the `RecipientInfo`s. `originators` are the certificates that the message carries for static originators.
    pub fn read<'a>(
        infos: impl Iterator<Item = Result<Element<'a>, BerError>>,
        originators: Option<Element<'_>>,
        ctx: &Context<'_>,
    ) -> Self {
        let in_message = OnceCell::new();
        let brought = || in_message.get_or_init(|| certificates::in_message(originators));
        let find = |id: &Identifier<'_>| {
            let found = certificates::find_in(id, &Known::of(ctx.trust), brought);
            let keys = found.iter().filter_map(|one| one.key.as_ref());
            let mut keys: Vec<_> = keys
                .filter_map(|key| key.public_key_to_der().ok())
                .collect();
            keys.dedup();
            keys
        };
        let most = ctx.budget.recipients(&ctx.policy.bounds) as usize;
        let mut found = Vec::new();
        for element in infos {
            if found.len() > most {
                break;
            }
            // A recipient that cannot be read must not keep the others from opening.
            let read = element
                .map_err(RecipientError::from)
                .and_then(|element| recipient::read(element, most + 1 - found.len(), &find));
            match read {
                Ok(read) => found.extend(read),
                Err(error) => found.push(unreadable(error)),
            }
        }
        let left_out = found.len() > most;
        found.truncate(most);
        ctx.budget.looked_at(found.len());
        Self { found, left_out }
    }

    /// Names them and their algorithms in `layer`.
    pub fn list(&self, layer: &mut Layer) {
        for recipient in &self.found {
            layer.recipients.push(shortened(&recipient.shown));
            for algorithm in &recipient.algorithms {
                super::note(&mut layer.algorithms, algorithm);
            }
        }
    }
}

fn unreadable(error: RecipientError) -> Recipient {
    Recipient {
        shown: "unreadable recipient".to_owned(),
        algorithms: Vec::new(),
        way: match error {
            RecipientError::Ber(error) => Way::Unreadable(error),
            RecipientError::Unknown(what) => Way::Unknown(what),
        },
    }
}

/// The search, and what has been learnt on the way.
pub struct Search<'c> {
    ctx: &'c Context<'c>,
    waiting_for: Vec<KeyHint>,
    unknown: Vec<String>,
    unreadable: Option<BerError>,
    locked: bool,
    key_failed: bool,
    /// One failed whose unwrap tells nothing (RSA v1.5): what of wrap and content is wrong must not be told either.
    misfit: bool,
    nameless_failed: bool,
}

impl<'c> Search<'c> {
    /// Nothing tried yet.
    #[must_use]
    pub const fn new(ctx: &'c Context<'c>) -> Self {
        Self {
            ctx,
            waiting_for: Vec::new(),
            unknown: Vec::new(),
            unreadable: None,
            locked: false,
            key_failed: false,
            misfit: false,
            nameless_failed: false,
        }
    }

    /// Goes through the recipients until one opens it.
    pub fn among<T>(
        &mut self,
        recipients: Recipients,
        attempt: &mut Try<'_, T>,
    ) -> Result<Option<OpenedBy<T>>, Failure> {
        for recipient in &recipients.found {
            let found = match &recipient.way {
                Way::Key(hint, wraps) => self.by_key(hint, wraps, attempt)?,
                Way::Kek { wrapped, wrap } => {
                    let unwrap = |kek: &SecretBytes| Ok(wrap::unwrap(*wrap, kek.expose(), wrapped));
                    self.by_passphrase(&unwrap, true, attempt)?
                }
                Way::Password(password) => {
                    let ctx = self.ctx;
                    let unwrap = |passphrase: &SecretBytes| {
                        let rounds = password.salt.as_ref().map_or(0, |_| password.iterations);
                        ctx.budget.rounds(rounds, &ctx.policy.bounds)?;
                        Ok(password_key(password, passphrase))
                    };
                    self.by_passphrase(&unwrap, false, attempt)?
                }
                Way::Unknown(what) => {
                    self.unknown.push(what.clone());
                    None
                }
                Way::Unreadable(error) => {
                    self.unreadable = Some(*error);
                    None
                }
            };
            if found.is_some() {
                return Ok(found);
            }
        }
        self.by_other_names(&recipients, attempt)
    }

    /// A renewed certificate often keeps its key: what was encrypted to the former one opens with it, though nothing in
    /// the message names the new one. So every key is tried on recipients that none here answers to; `inspect` has few.
    fn by_other_names<T>(
        &self,
        recipients: &Recipients,
        attempt: &mut Try<'_, T>,
    ) -> Result<Option<OpenedBy<T>>, Failure> {
        let keys = self.ctx.keys;
        let unknown = recipients.found.iter().filter_map(|one| match &one.way {
            Way::Key(hint, wraps) if !keys.has_named(hint) => Some(wraps),
            _ => None,
        });
        for wrapped in unknown.flatten().take(OTHERS) {
            let belief = match wrapped {
                Wrapped::RsaPkcs1 { .. } => Belief::Guessed,
                _ => Belief::Checked,
            };
            let mut sessions = keys.unwraps_of_all(wrapped);
            while self.ctx.budget.guess()
                && let Some(session) = sessions.next()
            {
                let Ok(session) = session else { continue };
                if let Some(found) = attempt(&session.key, belief)? {
                    return Ok(Some((found, Some(session.opened_by))));
                }
            }
        }
        Ok(None)
    }

    /// Tries every passphrase as the content-encryption key itself.
    pub fn pre_shared<T>(
        &mut self,
        attempt: &mut Try<'_, T>,
    ) -> Result<Option<OpenedBy<T>>, Failure> {
        self.by_passphrase(&|key| Ok(Some(key.duplicate())), true, attempt)
    }

    fn by_key<T>(
        &mut self,
        hint: &KeyHint,
        wraps: &[Wrapped],
        attempt: &mut Try<'_, T>,
    ) -> Result<Option<OpenedBy<T>>, Failure> {
        let bounds = &self.ctx.policy.bounds;
        for wrapped in wraps {
            let implicit_rejection = matches!(wrapped, Wrapped::RsaPkcs1 { .. });
            let belief = if implicit_rejection {
                Belief::Named
            } else {
                Belief::Checked
            };
            for nth in 0..ATTEMPTS {
                match self.ctx.keys.unwrap_session_key(hint, wrapped, nth) {
                    Err(KeyRefusal::NoKey) => break,
                    Err(KeyRefusal::TooMany) => {
                        return Err(Failure::OverBound {
                            bound: "key_operations",
                            limit: u64::from(bounds.key_operations),
                        });
                    }
                    Err(KeyRefusal::Locked) => {
                        self.locked = true;
                        break;
                    }
                    Err(KeyRefusal::DoesNotOpen) => {
                        self.note_failed(hint, implicit_rejection);
                        self.ctx.budget.key_operation(bounds)?;
                        break;
                    }
                    Ok(session) => {
                        self.ctx.budget.key_operation(bounds)?;
                        if let Some(found) = attempt(&session.key, belief)? {
                            return Ok(Some((found, Some(session.opened_by))));
                        }
                        self.note_failed(hint, implicit_rejection);
                    }
                }
            }
        }
        if !self.waiting_for.contains(hint) {
            self.waiting_for.push(hint.clone());
        }
        Ok(None)
    }

    fn note_failed(&mut self, hint: &KeyHint, unchecked: bool) {
        if self.ctx.keys.has_named(hint) {
            self.key_failed = true;
            self.misfit |= unchecked;
        } else {
            self.nameless_failed = true;
        }
    }

    /// Tries what `unwrap` makes of each passphrase, which may spell a key in hexadecimal (`as_key`).
    fn by_passphrase<T>(
        &mut self,
        unwrap: &dyn Fn(&SecretBytes) -> Result<Option<SecretBytes>, Failure>,
        as_key: bool,
        attempt: &mut Try<'_, T>,
    ) -> Result<Option<OpenedBy<T>>, Failure> {
        for passphrase in self.ctx.keys.passphrases() {
            let readings = if as_key {
                key_readings(&passphrase)
            } else {
                vec![passphrase]
            };
            for reading in &readings {
                let Some(key) = unwrap(reading)? else {
                    continue;
                };
                if let Some(found) = attempt(&key, Belief::Checked)? {
                    return Ok(Some((found, None)));
                }
            }
        }
        self.waiting_for.push(KeyHint::Passphrase);
        Ok(None)
    }

    /// Whether a key was here whose unwrap tells nothing, and did not open it.
    pub const fn had_unchecked_key(&self) -> bool {
        self.misfit || self.nameless_failed
    }

    /// The most telling of what went wrong.
    pub fn failure(self, layer: &mut Layer) -> Failure {
        if self.locked {
            return Failure::Locked;
        }
        if self.misfit {
            return Failure::Misfit {
                waiting_for: self.waiting_for,
            };
        }
        if self.key_failed {
            layer.reason = Some("a key of that name does not open it".to_owned());
        } else if self.nameless_failed {
            let reason = "none of the keys without a certificate opens it";
            layer.reason = Some(reason.to_owned());
        } else if self.waiting_for.is_empty() {
            if !self.unknown.is_empty() {
                return Failure::Refused(format!("unsupported: {}", self.unknown.join("; ")));
            }
            if let Some(error) = self.unreadable {
                return damaged(format!("no recipient can be read: {error}"));
            }
        }
        Failure::NoKey {
            waiting_for: self.waiting_for,
        }
    }
}

/// A "passphrase" that is a key: the bytes that it spells in hexadecimal, or its own.
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
            let digest: MessageDigest = crate::mail::digest::named(password.digest)?;
            let rounds =
                Some(password.iterations).filter(|rounds| (1..=MAX_ITERATIONS).contains(rounds))?;
            let mut kek = vec![0; password.key_bytes];
            let rounds = rounds as usize;
            openssl::pkcs5::pbkdf2_hmac(passphrase.expose(), salt, rounds, digest, &mut kek)
                .ok()?;
            SecretBytes::new(kek)
        }
    };
    match &password.wrapping {
        Wrapping::Pwri { cipher, iv } => {
            wrap::password_unwrap(cipher, kek.expose(), iv, &password.wrapped)
        }
        Wrapping::KeyWrap(wrap) => wrap::unwrap(*wrap, kek.expose(), &password.wrapped),
    }
}
