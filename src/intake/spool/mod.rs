//! The spool: sealed, append-only files that hold every accepted mail until it is archived
//! (requirement I2). See `docs/formats.md` for the bytes.
//!
//! The writer knows the public key alone; what it has written it cannot read. A mail is acknowledged
//! only when it is synced in every spool folder.

mod body;
mod copies;
mod file;
pub mod format;
mod health;
pub mod incoming;
mod key;
mod known;
pub mod reader;
pub mod writer;

pub use body::Body;
pub use health::{Folders, Trouble};
pub use incoming::Incoming;
pub use key::{CurrentKey, from_key_file, key_file};
pub use known::{NotReady, take_up};
pub use reader::{SpoolDamage, SpoolEvent, SpoolKeys, SpoolReader, SpooledMail};
pub use writer::{NotSpooled, Spool, SpoolConfig, SpoolWriter};

use crate::durable::FileError;
use crate::id::SpoolFileId;
use std::path::{Path, PathBuf};

/// Why the spool could not take or give a mail.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// A disk or quota is full. Senders keep the mail and try again.
    #[error("the spool is full ({0}); make room, the spool goes on by itself")]
    Full(#[source] FileError),
    /// The disk failed.
    #[error(transparent)]
    File(FileError),
    /// The number of folders is wrong.
    #[error("the spool has {0} folders; name one, or two on two disks")]
    Folders(usize),
    /// There is no key to seal to.
    #[error(
        "spool.pub is missing or damaged: unlock the box, whose keeper writes it anew, or put back its copy from a backup"
    )]
    Key,
    /// The envelope is longer than a frame of the spool file may be.
    #[error(
        "the envelope takes more than {} bytes; send the mail to fewer recipients at a time",
        format::MAX_FRAME
    )]
    Envelope,
    /// The writer has been closed or has died.
    #[error("the spool is closed; start the intake again")]
    Closed,
}

impl SpoolError {
    /// True where this process may not write there.
    #[must_use]
    pub fn is_denied(&self) -> bool {
        matches!(self, Self::File(error) if error.source.kind() == std::io::ErrorKind::PermissionDenied)
    }
}

impl From<FileError> for SpoolError {
    fn from(error: FileError) -> Self {
        let full = error.is_full() || error.source.kind() == std::io::ErrorKind::FileTooLarge;
        if full {
            Self::Full(error)
        } else {
            Self::File(error)
        }
    }
}

const SUFFIX: &str = "spool";
const UNPUBLISHED: &str = "spool.new";

fn path_of(folder: &Path, id: SpoolFileId) -> PathBuf {
    folder.join(format!("{id}.{SUFFIX}"))
}

fn unpublished_path_of(folder: &Path, id: SpoolFileId) -> PathBuf {
    folder.join(format!("{id}.{UNPUBLISHED}"))
}
