//! A set of unlocked keys that answers [`KeyOps`]: in the keeper those in escrow, in `inspect` those given on the
//! command line.

use super::smime_key::{certified_half, describe};
use super::{KeyInfo, KeyProblem, Loaded, UserKey};
use crate::id::Digest;
use crate::mail::keyops::{KeyHint, KeyOps, KeyRefusal, SessionKey, Wrapped};
use crate::secret::SecretBytes;
use openssl::x509::X509;
use std::collections::HashMap;

/// Keys, found by the hints that messages carry.
#[derive(Default)]
pub struct Keyholder {
    keys: Vec<Box<dyn UserKey>>,
    by_hint: HashMap<KeyHint, Vec<usize>>,
    /// S/MIME keys by their public halves: the first of those that several certificates name.
    by_public_half: HashMap<Digest, usize>,
    /// Keys that no certificate names: tried for every S/MIME recipient after the named ones.
    nameless: Vec<usize>,
    openpgp: Vec<usize>,
    /// The same for OpenPGP recipients.
    nameless_openpgp: Vec<usize>,
    locked: Vec<KeyInfo>,
    sealed: bool,
    passphrases: Vec<SecretBytes>,
}

impl Keyholder {
    /// No keys yet. `passphrases` are tried on password-encrypted layers; the keeper gives none.
    #[must_use]
    pub fn with_passphrases(passphrases: Vec<SecretBytes>) -> Self {
        Self {
            passphrases,
            ..Self::default()
        }
    }

    /// Adds a key.
    pub fn add(&mut self, key: Box<dyn UserKey>) {
        let index = self.keys.len();
        let info = key.info();
        match (info.format.as_str(), info.hints.is_empty()) {
            ("OpenPGP", false) => self.openpgp.push(index),
            ("OpenPGP", true) => self.nameless_openpgp.push(index),
            (_, true) => self.nameless.push(index),
            (_, false) => {}
        }
        let mut names: Vec<KeyHint> = info.hints.iter().flat_map(names_of).collect();
        names.sort();
        names.dedup();
        for name in names {
            self.by_hint.entry(name).or_default().push(index);
        }
        if let Some(half) = key.public_half() {
            self.by_public_half.entry(half).or_insert(index);
        }
        self.keys.push(key);
    }

    /// Has the keys of these certificates answer to their names too, and gives the names that are new.
    pub fn answer_to<'a>(&mut self, certificates: impl Iterator<Item = &'a [u8]>) -> Vec<KeyHint> {
        let mut new = Vec::new();
        for certificate in certificates.filter_map(|der| X509::from_der(der).ok()) {
            let Some((index, info)) = self
                .of_certificate(&certificate)
                .zip(describe(&certificate).ok())
            else {
                continue;
            };
            for hint in info.hints {
                if !self.by_hint.contains_key(&hint) {
                    self.by_hint.insert(hint.clone(), vec![index]);
                    new.push(hint);
                }
            }
        }
        new
    }

    /// All names that keys answer to.
    pub fn names(&self) -> impl Iterator<Item = &KeyHint> {
        self.by_hint.keys()
    }

    /// The key of this certificate, under it; `None` where the key is not here.
    #[must_use]
    pub fn under(&self, certificate: &X509) -> Option<Result<Box<dyn UserKey>, KeyProblem>> {
        self.keys[self.of_certificate(certificate)?].under(certificate)
    }

    fn of_certificate(&self, certificate: &X509) -> Option<usize> {
        let half = certified_half(certificate)?;
        self.by_public_half.get(&half).copied()
    }

    /// Adds all that a key file held, and remembers what is locked.
    pub fn add_loaded(&mut self, loaded: Loaded) {
        let all = loaded.keys.into_iter().chain(loaded.nameless);
        all.for_each(|key| self.add(key));
        self.locked.extend(loaded.locked);
        self.sealed |= loaded.sealed;
    }

    /// The keys, in the order they were added.
    pub fn keys(&self) -> impl Iterator<Item = &dyn UserKey> {
        self.keys.iter().map(AsRef::as_ref)
    }

    /// The keys that may fit, named ones first.
    fn candidates(&self, hint: &KeyHint, wrapped: &Wrapped) -> Vec<usize> {
        let openpgp = matches!(wrapped, Wrapped::OpenPgpPkesk { .. });
        let mut found: Vec<usize> = match hint {
            KeyHint::Hidden if openpgp => self.openpgp.clone(),
            KeyHint::Hidden => (0..self.keys.len())
                .filter(|index| self.keys[*index].info().format != "OpenPGP")
                .collect(),
            _ => names_of(hint)
                .iter()
                .filter_map(|name| self.by_hint.get(name))
                .flatten()
                .copied()
                .collect(),
        };
        found.extend(if openpgp {
            &self.nameless_openpgp
        } else {
            &self.nameless
        });
        let mut seen = std::collections::HashSet::new();
        found.retain(|index| seen.insert(*index));
        found
    }

    /// Why no candidate opened it.
    fn refusal(&self, hint: &KeyHint, tried: bool) -> KeyRefusal {
        let names = names_of(hint);
        let fits = |info: &KeyInfo| {
            info.hints
                .iter()
                .flat_map(names_of)
                .any(|name| names.contains(&name))
        };
        let is_smime = matches!(
            hint,
            KeyHint::IssuerSerial { .. } | KeyHint::SubjectKeyId(_)
        );
        if self.locked.iter().any(fits) || self.sealed && is_smime && !tried {
            KeyRefusal::Locked
        } else if tried {
            KeyRefusal::DoesNotOpen
        } else {
            KeyRefusal::NoKey
        }
    }
}

/// The hint, and for an OpenPGP fingerprint its key id too: messages carry either.
fn names_of(hint: &KeyHint) -> Vec<KeyHint> {
    let id = match hint {
        KeyHint::OpenPgp(fingerprint) if fingerprint.len() == 20 => &fingerprint[12..],
        KeyHint::OpenPgp(fingerprint) if fingerprint.len() == 32 => &fingerprint[..8],
        _ => return vec![hint.clone()],
    };
    vec![hint.clone(), KeyHint::OpenPgp(id.to_vec())]
}

impl KeyOps for Keyholder {
    fn unwrap_session_key(
        &self,
        hint: &KeyHint,
        wrapped: &Wrapped,
        attempt: u32,
    ) -> Result<SessionKey, KeyRefusal> {
        let candidates = self.candidates(hint, wrapped);
        let (mut opened, mut locked) = (0, false);
        for &index in &candidates {
            match self.keys[index].unwrap_session_key(wrapped) {
                Ok(key) if opened == attempt => return Ok(key),
                Ok(_) => opened += 1,
                Err(refusal) => locked |= refusal == KeyRefusal::Locked,
            }
        }
        if locked && *hint != KeyHint::Hidden {
            return Err(KeyRefusal::Locked);
        }
        Err(self.refusal(hint, !candidates.is_empty()))
    }

    fn has_named(&self, hint: &KeyHint) -> bool {
        let is_here = |name| self.by_hint.contains_key(name);
        *hint == KeyHint::Hidden || names_of(hint).iter().any(is_here)
    }

    fn unwraps_of_all<'k>(
        &'k self,
        wrapped: &'k Wrapped,
    ) -> Box<dyn Iterator<Item = Result<SessionKey, KeyRefusal>> + 'k> {
        let candidates = self.candidates(&KeyHint::Hidden, wrapped).into_iter();
        Box::new(candidates.map(|index| self.keys[index].unwrap_session_key(wrapped)))
    }

    fn passphrases(&self) -> Vec<SecretBytes> {
        self.passphrases
            .iter()
            .map(SecretBytes::duplicate)
            .collect()
    }
}
