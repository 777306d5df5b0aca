//! Why search does not answer, and whether the index must be made again.

use crate::durable::FileError;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tantivy::TantivyError;
use tantivy::directory::error::OpenReadError;

/// Why the index does not answer.
#[derive(Debug, thiserror::Error)]
pub enum SearchError {
    /// Files are damaged, missing, or were written under another key.
    #[error("the search index in {} is damaged ({source}); if this lasts, `strongroom rebuild` makes it again", folder.display())]
    NeedsRebuild {
        /// The partition's folder.
        folder: PathBuf,
        /// What was found.
        #[source]
        source: Arc<TantivyError>,
    },
    /// The state file is damaged, or was written under another key.
    #[error("{} is damaged or of another box; if this lasts, `strongroom rebuild` makes the index again", path.display())]
    StateNeedsRebuild {
        /// The state file.
        path: PathBuf,
    },
    /// Another process has the index open.
    #[error("the search index in {} is in use by another process", folder.display())]
    InUse {
        /// The partition's folder.
        folder: PathBuf,
    },
    /// The index failed without being damaged: disk full, no threads. What was added since the last
    /// commit is lost; go on from the applied count.
    #[error("cannot use the search index in {}: {source}", folder.display())]
    Failed {
        /// The partition's folder.
        folder: PathBuf,
        /// tantivy's answer.
        #[source]
        source: Arc<TantivyError>,
    },
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
}

impl SearchError {
    /// Judges tantivy's error about the partition in `folder`.
    #[must_use]
    pub fn of(folder: &Path, error: TantivyError) -> Self {
        let is_damage = match &error {
            TantivyError::LockFailure(..) => {
                return Self::InUse {
                    folder: folder.to_owned(),
                };
            }
            TantivyError::OpenReadError(OpenReadError::IoError { io_error, .. })
            | TantivyError::IoError(io_error) => is_damage(io_error),
            TantivyError::OpenReadError(_)
            | TantivyError::DataCorruption(_)
            | TantivyError::FieldNotFound(_)
            | TantivyError::SchemaError(_)
            | TantivyError::IncompatibleIndex(_)
            | TantivyError::DeserializeError(_)
            | TantivyError::InternalError(_) => true,
            _ => false,
        };
        let (folder, source) = (folder.to_owned(), Arc::new(error));
        if is_damage {
            Self::NeedsRebuild { folder, source }
        } else {
            Self::Failed { folder, source }
        }
    }

    /// True where only making the index again helps.
    #[must_use]
    pub const fn needs_rebuild(&self) -> bool {
        matches!(
            self,
            Self::NeedsRebuild { .. } | Self::StateNeedsRebuild { .. }
        )
    }
}

fn is_damage(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidData, InvalidInput, NotFound, Other, UnexpectedEof};
    matches!(
        error.kind(),
        InvalidData | InvalidInput | NotFound | Other | UnexpectedEof
    )
}
