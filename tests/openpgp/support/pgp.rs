//! Opening OpenPGP messages in tests: keys from files, certificates from folders.

use std::path::PathBuf;
use strongroom::escrow::{KeyInfo, UserKey, openpgp_key};
use strongroom::mail::context::{Budget, Context, OpenPolicy, Trust};
use strongroom::mail::keyops::{KeyHint, KeyOps, KeyRefusal, SessionKey, Wrapped};
use strongroom::secret::SecretBytes;
use strongroom::time::{Clock, SystemClock};

/// Keys and passphrases at hand, as `inspect` has them.
pub struct Keys {
    pub keys: Vec<Box<dyn UserKey>>,
    pub locked: Vec<KeyInfo>,
    pub passphrases: Vec<SecretBytes>,
}

impl Keys {
    pub fn load(files: &[PathBuf], passphrases: &[SecretBytes]) -> Self {
        let passphrases: Vec<_> = passphrases.iter().map(SecretBytes::duplicate).collect();
        let mut all = Self {
            keys: Vec::new(),
            locked: Vec::new(),
            passphrases,
        };
        for bytes in files.iter().filter_map(|file| std::fs::read(file).ok()) {
            let loaded = openpgp_key::load(&bytes, &all.passphrases);
            all.keys.extend(loaded.into_iter().flatten());
            all.locked.extend(openpgp_key::facts(&bytes));
        }
        all
    }
}

impl KeyOps for Keys {
    fn unwrap_session_key(
        &self,
        hint: &KeyHint,
        wrapped: &Wrapped,
        attempt: u32,
    ) -> Result<SessionKey, KeyRefusal> {
        let fits = |info: &KeyInfo| *hint == KeyHint::Hidden || info.hints.contains(hint);
        let mut opened = self
            .keys
            .iter()
            .filter(|k| fits(k.info()))
            .filter_map(|k| k.unwrap_session_key(wrapped).ok());
        let fitting = self.keys.iter().any(|k| fits(k.info()));
        let locked = self.locked.iter().any(fits);
        opened.nth(attempt as usize).ok_or(match (fitting, locked) {
            (true, _) => KeyRefusal::DoesNotOpen,
            (false, true) => KeyRefusal::Locked,
            (false, false) => KeyRefusal::NoKey,
        })
    }

    fn passphrases(&self) -> Vec<SecretBytes> {
        self.passphrases
            .iter()
            .map(SecretBytes::duplicate)
            .collect()
    }
}

/// Runs `work` with a context of these keys and this trust, as of now.
pub fn context<T>(keys: &dyn KeyOps, trust: &Trust, work: impl FnOnce(&Context) -> T) -> T {
    context_from(keys, trust, &[], work)
}

/// The same for a mail with these From addresses.
pub fn context_from<T>(
    keys: &dyn KeyOps,
    trust: &Trust,
    from: &[&str],
    work: impl FnOnce(&Context) -> T,
) -> T {
    let policy = OpenPolicy::default();
    let ctx = Context {
        keys,
        trust,
        attached: &[],
        policy: &policy,
        arrived: SystemClock.now(),
        around: None,
        date: None,
        from: from.iter().map(|from| (*from).to_owned()).collect(),
        budget: &Budget::default(),
    };
    work(&ctx)
}
