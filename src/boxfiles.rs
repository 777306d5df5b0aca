//! The small files of the data folder, each with its type: one place for ceremonies, daemons and commands.

use crate::crypto::hpke::{HpkeError, SealingKey};
use crate::crypto::sign::VerifyingKey;
use crate::durable::{self, FileError};
use crate::id::{BoxId, Digest};
use crate::intake::spool::{from_key_file, key_file};
use crate::keyring::Officers;
use crate::officer::pretty;
use crate::policy::PolicyError;
use crate::tpm::{ObjectBlob, SealedBlob, SrkName};
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::fs::File;
use std::path::{Path, PathBuf};

mod config;
mod policy;

pub use config::{
    BoxConfig, ListenConfig, LmtpConfig, SpoolConfig, TlsConfig, TpmConfig, WorkerConfig,
};
pub use policy::{LONGEST_POLICY, SignedPolicy, signed_policy_name};

const LARGEST: u64 = 1 << 20;

/// Why a file of the data folder could not be used.
#[derive(Debug, thiserror::Error)]
pub enum BoxFileError {
    /// Reading or writing.
    #[error(transparent)]
    File(#[from] FileError),
    /// There is no box.
    #[error("{} holds no box (no {}): `strongroom ceremony found` makes one, or give the right --data", .0.display(), CONFIG)]
    NoBox(PathBuf),
    /// A restore from a backup was interrupted before the box was there.
    #[error("{} holds no box yet: a restore into it was interrupted; run `strongroom ceremony restore` again", .0.display())]
    RestoreBegun(PathBuf),
    /// Not the JSON that is expected.
    #[error("{}: {source}; put a copy from a backup in its place", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: serde_json::Error,
    },
    /// Not UTF-8.
    #[error("{} is not UTF-8 text", .0.display())]
    NotText(PathBuf),
    /// Not the configuration that is expected.
    #[error("{}: {source}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong, with line and key.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// The policy.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// The policy at hand is not the keyring's.
    #[error("{} is not the policy in force: its SHA-256 differs from the keyring's. Put the right one back, from a backup", .0.display())]
    OtherPolicy(PathBuf),
    /// It would not be read again.
    #[error("{} would have more than {LARGEST} bytes: make the policy shorter", .0.display())]
    TooLarge(PathBuf),
    /// The spool's public key.
    #[error("{}: {source}; the keeper writes it anew when the box is unlocked", path.display())]
    SpoolKey {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: HpkeError,
    },
    /// A restore was cut off after its point of no return.
    #[error("a restore was interrupted: run `strongroom ceremony restore --data {}` again, it goes on by itself", .0.display())]
    RestorePending(PathBuf),
    /// Another keeper works on it.
    #[error("another keeper still works on {}: end that `strongroom serve` first", .0.display())]
    Keeper(PathBuf),
    /// Another process works on it.
    #[error("`strongroom serve` or a ceremony runs on {}; stop it first, then run this again (beside a ceremony only `strongroom serve --no-unlock` may run)", .0.display())]
    Running(PathBuf),
}

/// File name of the configuration.
pub const CONFIG: &str = "strongroom.toml";
/// File name of the policy.
pub const POLICY: &str = "policy.toml";
/// File name of what the TPM made.
pub const TPM: &str = "tpm.json";
/// File name of keyring and capsule.
pub const KEYRING: &str = "keyring";
/// File name of the static capsule.
pub const STATIC_CAPSULE: &str = "static-capsule";
/// File name of the spool's public key.
pub const SPOOL_KEY: &str = "spool.pub";
/// File name of the list of spool folders that were there before.
pub const SPOOL_FOLDERS: &str = "spool-folders";
/// File name of the officers' public keys.
pub const OFFICERS: &str = "officers.json";
/// Folder of the signed transcripts.
pub const TRANSCRIPTS: &str = "transcript";
/// The founding's transcript in that folder.
pub const CHARTER: &str = "transcript/charter.json";
/// The list of a backup's files, as `sha256sum --check` reads it; also the sign that a folder is a backup.
pub const BACKUP_LIST: &str = "backup.sha256";
/// Folder of the sealed mail.
pub const VAULT: &str = "vault";
/// Folder of the ledger.
pub const LEDGER: &str = "ledger";
/// Folder of sockets and pid files.
pub const RUN: &str = "run";
/// What the parent last noted of the box, see [`State`].
pub const STATE: &str = "run/state.json";
/// While catalog and search catch up with the ledger: entries done, a blank, and entries in all.
pub const CATCHING_UP: &str = "run/catching-up";
/// What a restore has decided and not yet put in place.
pub const RESTORED: &str = ".restored";

/// What `strongroom status` shows where no keeper answers. Lies in `run/state.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// "starting", "open", "locked", "refused" or "stopped".
    pub state: String,
    /// Why it is locked or refused, and the remedy; of an open box, why the keeper ended last time.
    pub reason: Option<String>,
    /// Since when, RFC 3339.
    pub since: String,
    /// Process id of the parent.
    pub parent: u32,
    /// Why no mail is taken in; `None` while intake runs.
    #[serde(default)]
    pub intake: Option<String>,
}

/// `officers.json`: public, for programs that check officers' signatures without the keyring.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OfficersFile {
    /// The box.
    pub box_id: BoxId,
    /// SHA-256 of the recovery key's public half.
    pub recovery: Digest,
    /// Officers and quorum.
    pub officers: Officers,
}

/// `tpm.json`: what only this box's TPM opens, and its public keys. Nothing in it is secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TpmFile {
    /// The box.
    pub box_id: BoxId,
    /// The ledger's origin ([`ledger_origin`]); it stays the same over restores.
    pub ledger: String,
    /// The TPM's storage root key: no other TPM is spoken to.
    pub storage_root_key: SrkName,
    /// The sealed secret.
    pub sealed_secret: SealedBlob,
    /// The ledger's signing key.
    pub ledger_key: ObjectBlob,
    /// Its public half.
    pub ledger_public: VerifyingKey,
}

/// The name under which the checkpoints of a box go out: `strongroom.box/` and the id it was founded with.
#[must_use]
pub fn ledger_origin(founded: BoxId) -> String {
    format!("strongroom.box/{founded}")
}

/// `DATA.restoring`, where a backup becomes a data folder.
#[must_use]
pub fn restore_stage(data: &Path) -> PathBuf {
    let mut name = data.file_name().unwrap_or_default().to_owned();
    name.push(".restoring");
    data.with_file_name(name)
}

/// A data folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataFolder(PathBuf);

impl DataFolder {
    /// The folder at `path`, without looking at it.
    #[must_use]
    pub fn at(path: &Path) -> Self {
        Self(path.to_owned())
    }

    /// The data folder of a box that is founded and not in the middle of a restore.
    pub fn open(path: &Path) -> Result<Self, BoxFileError> {
        let config = path.join(CONFIG);
        let found = config.try_exists();
        if !found.map_err(durable::at("look for", &config))? {
            return Err(if restore_stage(path).exists() {
                BoxFileError::RestoreBegun(path.to_owned())
            } else {
                BoxFileError::NoBox(path.to_owned())
            });
        }
        if path.join(RESTORED).exists() {
            return Err(BoxFileError::RestorePending(path.to_owned()));
        }
        Ok(Self::at(path))
    }

    /// A file or folder in it; an absolute `name` stays as it is.
    #[must_use]
    pub fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.0.join(name)
    }

    /// The folder itself.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Keeps everybody else who asks for it out of the folder, as long as the lock lives: ceremonies ask, and `serve`
    /// unless it leaves the TPM alone.
    pub fn lock_alone(&self) -> Result<Flock<File>, BoxFileError> {
        self.lock("parent.lock")
    }

    /// Keeps every other `serve` out.
    pub fn lock_serve(&self) -> Result<Flock<File>, BoxFileError> {
        self.lock("serve.lock")
    }

    /// Keeps every other keeper out, also where the locks below `run/` were removed with it, or where an old keeper still
    /// waits for a disk.
    pub fn lock_keeper(&self) -> Result<Flock<File>, BoxFileError> {
        let folder = File::open(&self.0).map_err(durable::at("open", &self.0))?;
        Flock::lock(folder, FlockArg::LockExclusiveNonblock)
            .map_err(|_| BoxFileError::Keeper(self.0.clone()))
    }

    fn lock(&self, name: &str) -> Result<Flock<File>, BoxFileError> {
        durable::create_folder(&self.join(RUN))?;
        let path = self.join(RUN).join(name);
        let file = File::create(&path).map_err(durable::at("create", &path))?;
        Flock::lock(file, FlockArg::LockExclusiveNonblock)
            .map_err(|_| BoxFileError::Running(self.0.clone()))
    }

    /// `strongroom.toml`.
    pub fn config(&self) -> Result<BoxConfig, BoxFileError> {
        let path = self.join(CONFIG);
        let text = self.text(CONFIG)?;
        toml::from_str(&text).map_err(|source| BoxFileError::Config {
            path,
            source: Box::new(source),
        })
    }

    /// What the parent last noted; `None` where it noted nothing yet.
    #[must_use]
    pub fn state(&self) -> Option<State> {
        serde_json::from_slice(&durable::read(&self.join(STATE), LARGEST).ok()?).ok()
    }

    /// How many of how many ledger entries catalog and search have caught up with; `None` while nothing is caught up.
    #[must_use]
    pub fn catching_up(&self) -> Option<(u64, u64)> {
        let text = self.text(CATCHING_UP).ok()?;
        let (done, all) = text.trim().split_once(' ')?;
        Some((done.parse().ok()?, all.parse().ok()?))
    }

    /// `officers.json`.
    pub fn officers(&self) -> Result<OfficersFile, BoxFileError> {
        self.json(OFFICERS)
    }

    /// `tpm.json`.
    pub fn tpm(&self) -> Result<TpmFile, BoxFileError> {
        self.json(TPM)
    }

    /// The keyring file's bytes.
    pub fn keyring(&self) -> Result<Vec<u8>, BoxFileError> {
        Ok(durable::read(&self.join(KEYRING), crate::keyring::LARGEST)?)
    }

    /// Replaces the keyring file, which replaces the capsule with it.
    pub fn write_keyring(&self, bytes: &[u8]) -> Result<(), BoxFileError> {
        Ok(durable::replace(&self.join(KEYRING), bytes)?)
    }

    /// The key intake seals to; see [`crate::intake::spool::key_file`].
    pub fn spool_key(&self) -> Result<SealingKey, BoxFileError> {
        let path = self.join(SPOOL_KEY);
        let bytes = durable::read(&path, LARGEST)?;
        from_key_file(&bytes).map_err(|source| BoxFileError::SpoolKey { path, source })
    }

    /// True if the file of [`DataFolder::spool_key`] is there just as it would be written now.
    #[must_use]
    pub fn has_spool_key(&self, key: &SealingKey) -> bool {
        durable::read(&self.join(SPOOL_KEY), LARGEST).is_ok_and(|bytes| bytes == key_file(key))
    }

    /// Gives intake a new key to seal to. The keyring that opens it must be written before.
    pub fn write_spool_key(&self, key: &SealingKey) -> Result<(), BoxFileError> {
        Ok(durable::replace(&self.join(SPOOL_KEY), &key_file(key))?)
    }

    /// Writes a JSON file.
    pub fn write_json(&self, name: &str, value: &impl Serialize) -> Result<(), BoxFileError> {
        Ok(durable::replace(&self.join(name), &pretty(value))?)
    }

    fn text(&self, name: &str) -> Result<String, BoxFileError> {
        let path = self.join(name);
        String::from_utf8(durable::read(&path, LARGEST)?).map_err(|_| BoxFileError::NotText(path))
    }

    fn json<T: DeserializeOwned>(&self, name: &str) -> Result<T, BoxFileError> {
        let path = self.join(name);
        let bytes = durable::read(&path, LARGEST)?;
        serde_json::from_slice(&bytes).map_err(|source| BoxFileError::Json { path, source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_survives_its_text() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let config = BoxConfig::new("device:/dev/tpmrm0", "archive.example");
        std::fs::write(folder.path().join(CONFIG), config.to_toml()).expect("write");
        let data = DataFolder::open(folder.path()).expect("a box");
        assert_eq!(data.config().expect("config"), config);
        std::fs::write(
            folder.path().join(CONFIG),
            config.to_toml().replace("hostname", "host"),
        )
        .expect("write");
        let error = data.config().expect_err("unknown key").to_string();
        assert!(
            error.contains("strongroom.toml") && error.contains("line"),
            "{error}"
        );
        for unfit in [
            "",
            "two words",
            "archive.example\\r\\n250 it is",
            "é.example",
        ] {
            let text = config.to_toml().replace("archive.example", unfit);
            std::fs::write(folder.path().join(CONFIG), text).expect("write");
            let error = data.config().expect_err("no host name").to_string();
            let told = ["strongroom.toml", "hostname = ", "not a host name such as"];
            assert!(told.iter().all(|part| error.contains(part)), "{error}");
        }
    }

    #[test]
    fn a_folder_without_box_or_with_half_a_restore_is_not_opened() {
        let folder = tempfile::tempdir().expect("temporary folder");
        assert!(matches!(
            DataFolder::open(folder.path()),
            Err(BoxFileError::NoBox(_))
        ));
        let begun = folder.path().join("box");
        std::fs::create_dir(restore_stage(&begun)).expect("folder");
        let error = DataFolder::open(&begun).expect_err("no box");
        assert!(error.to_string().contains("ceremony restore"), "{error}");
        std::fs::write(folder.path().join(CONFIG), "").expect("write");
        std::fs::create_dir(folder.path().join(RESTORED)).expect("folder");
        assert!(matches!(
            DataFolder::open(folder.path()),
            Err(BoxFileError::RestorePending(_))
        ));
    }
}
