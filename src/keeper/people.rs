//! The people who may read, their mailboxes and their sessions.
//!
//! The file is sealed under the keyring's people key, and a person is added or changed only by officers'
//! signatures: root can neither grant itself a mailbox nor learn who has which.

use crate::crypto::kdf::{Label, derive};
use crate::crypto::{random, wrap};
use crate::durable::{self, FileError};
use crate::id::{Digest, TenantId, is_mail_address};
use crate::secret::{Key, SecretBytes};
use crate::time::Timestamp;
use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// How long a session lasts.
pub const SESSION_SECONDS: u64 = 8 * 3600;
const LARGEST_FILE: u64 = 64 << 20;
const LABEL: &[u8] = b"people/1";
/// After this many wrong passwords in a row, a name waits.
const PATIENCE: u32 = 5;
const WAIT_SECONDS: u64 = 60;

/// Why people could not be read, stored or signed in.
#[derive(Debug, thiserror::Error)]
pub enum PeopleError {
    /// The file.
    #[error(transparent)]
    File(#[from] FileError),
    /// Altered, or of another box.
    #[error(
        "the people file is altered or of another box; restore it from a backup, or remove it and add the people again"
    )]
    Altered,
    /// Name or password is wrong. It does not say which.
    #[error("wrong name or password")]
    WrongPassword,
    /// Too many wrong passwords.
    #[error("too many wrong passwords; try again after {0}")]
    Wait(Timestamp),
    /// The session has ended or never was.
    #[error("no valid session: sign in with `strongroom login NAME`")]
    NoSession,
    /// The same signatures a second time.
    #[error("this statement was used already; officers sign a new one for each change")]
    Used,
    /// The password cannot be hashed.
    #[error("a password has 8 to 1024 bytes")]
    UnfitPassword,
    /// Nobody could sign in under the name, or it would write more than itself into the access log.
    #[error("{0:?} is not a sign-in name: 1 to 64 printable characters, no blank at either end")]
    UnfitName(String),
    /// No mail can be for it.
    #[error(
        "{0:?} is not a mailbox: one whole address, such as anna@example.org; there are no wildcards"
    )]
    UnfitMailbox(String),
    /// Mostly a misspelt name, whose right one stays open.
    #[error("nobody has an account under the name {0:?}, so none was closed; see how it is spelt")]
    NoAccount(String),
}

/// A password's Argon2id hash with its salt, as a PHC string; empty for a closed account. It is never printed, for a
/// weak password can be guessed from it.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StoredPassword(String);

impl StoredPassword {
    /// What statements have in its place: its SHA-256.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(self.0.as_bytes())
    }

    fn fits(&self, password: &SecretBytes) -> bool {
        PasswordHash::new(&self.0).is_ok_and(|hash| {
            Argon2::default()
                .verify_password(password.expose(), &hash)
                .is_ok()
        })
    }
}

impl std::fmt::Debug for StoredPassword {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("StoredPassword(..)")
    }
}

/// What officers sign about a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PersonSubject {
    /// Sign-in name.
    pub name: String,
    /// The tenant whose archive the person reads.
    pub tenant: TenantId,
    /// Addresses whose mail the person reads, lower case.
    pub mailboxes: Vec<String>,
    /// [`StoredPassword::digest`]: the hash itself is in no statement.
    pub password: Digest,
    /// False to close the account.
    pub active: bool,
    /// The officer who the person is, where the name does not tell; earlier statements do not say.
    #[serde(default)]
    pub officer: Option<String>,
    /// Whether the person reads the access log of the whole tenant; earlier statements and files do not say.
    #[serde(default)]
    pub auditor: bool,
}

impl PersonSubject {
    /// The person, if `password` is the one that was signed for.
    #[must_use]
    pub fn with_password(self, password: StoredPassword) -> Option<Person> {
        (password.digest() == self.password).then_some(Person {
            name: self.name,
            tenant: self.tenant,
            mailboxes: self.mailboxes,
            password,
            active: self.active,
            officer: self.officer,
            auditor: self.auditor,
        })
    }
}

/// What a person may do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Person {
    /// Sign-in name.
    pub name: String,
    /// The tenant whose archive the person reads.
    pub tenant: TenantId,
    /// Addresses whose mail the person reads, lower case.
    pub mailboxes: Vec<String>,
    /// To compare passwords with.
    pub password: StoredPassword,
    /// False once officers have closed the account.
    pub active: bool,
    /// The officer who the person is, where the name does not tell.
    #[serde(default)]
    pub officer: Option<String>,
    /// Whether the person reads the access log of the whole tenant; earlier statements and files do not say.
    #[serde(default)]
    pub auditor: bool,
}

/// Hashes a password with Argon2id and a random salt, for a [`Person`].
pub fn hash_password(password: &SecretBytes) -> Result<StoredPassword, PeopleError> {
    if !(8..=1024).contains(&password.expose().len()) {
        return Err(PeopleError::UnfitPassword);
    }
    let hash = Argon2::default()
        .hash_password(password.expose())
        .map_err(|_| PeopleError::UnfitPassword)?;
    Ok(StoredPassword(hash.to_string()))
}

/// All people and the open sessions.
pub struct People {
    path: PathBuf,
    key: Key,
    persons: BTreeMap<String, Person>,
    sessions: BTreeMap<Digest, Session>,
    failures: BTreeMap<String, (u32, Timestamp)>,
    /// Statements that changed something, as the ledger has them: none does so twice.
    used: BTreeSet<Digest>,
    /// SHA-256 of the file that the ledger recorded last, while another one is there, or none.
    awaited: Option<Digest>,
}

struct Session {
    person: String,
    until: Timestamp,
}

/// What the ledger says of the people.
#[derive(Debug, Default)]
pub struct Recorded {
    /// Digests of all statements that changed something.
    pub statements: BTreeSet<Digest>,
    /// SHA-256 of the newest file; entries of earlier versions do not say.
    pub file: Option<Digest>,
}

/// A change that is on disk and does not count yet.
pub struct Change {
    persons: BTreeMap<String, Person>,
    name: String,
    statement: Digest,
    /// SHA-256 of the file to be.
    pub file: Digest,
}

impl People {
    /// Reads the file; an absent one means nobody yet. A file that is not the one that the ledger recorded last does not
    /// count: whoever put it back gains nothing.
    pub fn open(path: &Path, people_key: &Key, recorded: Recorded) -> Result<Self, PeopleError> {
        let key = derive(people_key, Label::PeopleFile, &[]);
        let mut people = Self {
            path: path.to_owned(),
            key,
            persons: BTreeMap::new(),
            sessions: BTreeMap::new(),
            failures: BTreeMap::new(),
            used: recorded.statements,
            awaited: recorded.file,
        };
        if people.awaited.is_some() {
            people.look_again()?;
        } else if let Some(sealed) = durable::read_if_present(path, LARGEST_FILE)? {
            people.read(&sealed)?;
        }
        Ok(people)
    }

    /// Takes the file that the ledger recorded last, once it is there; true where that is so now.
    pub fn look_again(&mut self) -> Result<bool, PeopleError> {
        let Some(file) = self.awaited else {
            return Ok(false);
        };
        self.finish(&file)?;
        let sealed = durable::read_if_present(&self.path, LARGEST_FILE)?;
        match sealed.filter(|sealed| Digest::of(sealed) == file) {
            Some(sealed) => self.read(&sealed).map(|()| true),
            None => Ok(false),
        }
    }

    fn read(&mut self, sealed: &[u8]) -> Result<(), PeopleError> {
        let plain = wrap::open(&self.key, LABEL, sealed).map_err(|_| PeopleError::Altered)?;
        self.persons = ciborium::from_reader(plain.expose()).map_err(|_| PeopleError::Altered)?;
        self.awaited = None;
        Ok(())
    }

    /// Finishes a change that the ledger has and a power cut stopped.
    fn finish(&self, file: &Digest) -> Result<(), PeopleError> {
        let next = self.next();
        if let Some(bytes) = durable::read_if_present(&next, LARGEST_FILE)?
            && Digest::of(&bytes) == *file
        {
            durable::replace(&self.path, &bytes)?;
        }
        Ok(durable::remove(&next)?)
    }

    /// What somebody should look at.
    #[must_use]
    pub const fn warning(&self) -> Option<&'static str> {
        if self.awaited.is_some() {
            Some(
                "the people file is not the one that the ledger recorded last: an older one was put back, or it is lost. \
                 Nobody can sign in; put back the newest, which counts at once, or have officers enter the people anew",
            )
        } else {
            None
        }
    }

    /// Whether a person can be entered so or, where they are not `active`, has an account to close.
    pub fn check(&self, name: &str, mailboxes: &[String], active: bool) -> Result<(), PeopleError> {
        let open = self.persons.get(name).is_some_and(|person| person.active);
        if !active && !open {
            return Err(PeopleError::NoAccount(name.to_owned()));
        }
        let plain = !name.chars().any(char::is_control) && name.trim() == name;
        if active && !(plain && (1..=64).contains(&name.chars().count())) {
            return Err(PeopleError::UnfitName(name.chars().take(80).collect()));
        }
        let unfit = |mailbox: &&String| !is_mail_address(mailbox) || mailbox.contains('*');
        mailboxes.iter().find(unfit).map_or(Ok(()), |mailbox| {
            Err(PeopleError::UnfitMailbox(
                mailbox.chars().take(80).collect(),
            ))
        })
    }

    /// Prepares to add or replace a person by a statement whose signatures the caller has checked. It counts from
    /// [`People::take`] on, once the ledger has it.
    pub fn prepare(&self, person: Person, statement: Digest) -> Result<Change, PeopleError> {
        if self.used.contains(&statement) {
            return Err(PeopleError::Used);
        }
        self.check(&person.name, &person.mailboxes, person.active)?;
        let (mut persons, name) = (self.persons.clone(), person.name.clone());
        persons.insert(name.clone(), person);
        let mut plain = Vec::new();
        ciborium::into_writer(&persons, &mut plain).map_err(|_| PeopleError::Altered)?;
        let sealed = wrap::seal(&self.key, LABEL, &plain);
        durable::replace(&self.next(), &sealed)?;
        Ok(Change {
            persons,
            name,
            statement,
            file: Digest::of(&sealed),
        })
    }

    /// Makes a change count that the ledger has. Open sessions of the person end. An error comes of the file alone, which
    /// the next change or the next start brings up to date.
    pub fn take(&mut self, change: Change) -> Result<(), PeopleError> {
        self.used.insert(change.statement);
        self.sessions
            .retain(|_, session| session.person != change.name);
        self.persons = change.persons;
        self.awaited = None;
        self.finish(&change.file)
    }

    /// The file that comes next, until the ledger has it.
    fn next(&self) -> PathBuf {
        self.path.with_extension("next")
    }

    /// Checks name and password (slow on purpose) and opens a session. The token is shown once.
    pub fn sign_in(
        &mut self,
        name: &str,
        password: &SecretBytes,
        now: Timestamp,
    ) -> Result<SecretBytes, PeopleError> {
        if let Some((count, last)) = self.failures.get(name) {
            let until = last.plus_seconds(WAIT_SECONDS);
            if *count >= PATIENCE && now < until {
                return Err(PeopleError::Wait(until));
            }
        }
        if !self.password_fits(name, password) {
            self.note_failure(name, now);
            return Err(PeopleError::WrongPassword);
        }
        self.failures.remove(name);
        let token = data_encoding::HEXLOWER.encode(&random::bytes::<32>());
        let session = Session {
            person: name.to_owned(),
            until: now.plus_seconds(SESSION_SECONDS),
        };
        self.sessions.retain(|_, session| session.until > now);
        self.sessions.insert(Digest::of(token.as_bytes()), session);
        Ok(SecretBytes::from(token))
    }

    fn note_failure(&mut self, name: &str, now: Timestamp) {
        if self.persons.contains_key(name) {
            let entry = self.failures.entry(name.to_owned()).or_insert((0, now));
            *entry = (entry.0 + 1, now);
        }
    }

    fn password_fits(&self, name: &str, password: &SecretBytes) -> bool {
        // An unknown name costs as much time as a known one.
        const NOBODY: &str = "$argon2id$v=19$m=19456,t=2,p=1$c3Ryb25ncm9vbXNhbHQ$1X5kKTIZvTtdkEuyzBYYwv0nZtmbYTpQVUU1ibNZcfc";
        let person = self.persons.get(name).filter(|person| person.active);
        let nobody = StoredPassword(NOBODY.to_owned());
        let stored = person.map_or(&nobody, |person| &person.password);
        stored.fits(password) && person.is_some()
    }

    /// The person of a session.
    pub fn person(&self, token: &SecretBytes, now: Timestamp) -> Result<&Person, PeopleError> {
        let session = self
            .sessions
            .get(&Digest::of(token.expose()))
            .ok_or(PeopleError::NoSession)?;
        if session.until <= now {
            return Err(PeopleError::NoSession);
        }
        self.persons
            .get(&session.person)
            .filter(|person| person.active)
            .ok_or(PeopleError::NoSession)
    }

    /// Ends a session.
    pub fn sign_out(&mut self, token: &SecretBytes) {
        self.sessions.remove(&Digest::of(token.expose()));
    }

    /// The names of a tenant's people, of closed accounts too.
    #[must_use]
    pub fn names_of(&self, tenant: &TenantId) -> BTreeSet<String> {
        let persons = self.persons.values();
        let own = persons.filter(|person| person.tenant == *tenant);
        own.map(|person| person.name.clone()).collect()
    }

    /// How many people there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.persons.len()
    }
}

#[cfg(test)]
mod tests;
