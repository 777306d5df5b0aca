//! Spool files whose mails are all archived, on their way out of the spool.

use crate::id::SpoolFileId;
use crate::intake::spool::{SpoolError, SpoolReader};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

/// What could not be removed is tried again after this.
const RETRY: Duration = Duration::from_secs(3);

/// Removes files, and those that the disk does not let go yet, later.
pub(super) struct Removals {
    archived: Receiver<SpoolFileId>,
    left: Vec<SpoolFileId>,
    due: Instant,
    trouble: Option<String>,
}

impl Removals {
    /// Of the files that come through `archived`.
    pub(super) fn new(archived: Receiver<SpoolFileId>) -> Self {
        Self {
            archived,
            left: Vec::new(),
            due: Instant::now(),
            trouble: None,
        }
    }

    /// Removes what can be removed; gives what is wrong with the rest.
    pub(super) fn go_on(&mut self, reader: &mut SpoolReader) -> Option<String> {
        let mut now: Vec<SpoolFileId> = self.archived.try_iter().collect();
        if self.due <= Instant::now() {
            now.append(&mut self.left);
            self.trouble = None;
            self.due = Instant::now() + RETRY;
        }
        for file in now {
            if let Err(error) = reader.remove(file) {
                self.note(file, &error);
            }
        }
        self.trouble.clone()
    }

    fn note(&mut self, file: SpoolFileId, error: &SpoolError) {
        tracing::error!(%error, "an archived spool file cannot be removed; this is tried again");
        self.left.push(file);
        self.trouble = Some(format!(
            "mail that is archived cannot be removed from the spool: {error}; this is tried again"
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    #[test]
    fn what_cannot_be_removed_is_tried_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = SpoolFileId::random();
        let path = folder.path().join(format!("{file}.spool"));
        let mut reader = SpoolReader::new(vec![folder.path().to_owned()]);
        let (sender, archived) = channel();
        let mut removals = Removals::new(archived);
        // A folder is not removed as a file is.
        std::fs::create_dir(&path).expect("a folder");
        sender.send(file).expect("sent");
        let trouble = removals.go_on(&mut reader).expect("a trouble");
        assert!(trouble.contains(&file.to_string()), "{trouble}");
        std::fs::remove_dir(&path).expect("removed");
        std::fs::write(&path, "").expect("written");
        assert_eq!(removals.go_on(&mut reader), Some(trouble), "not yet");
        removals.due = Instant::now();
        assert_eq!(removals.go_on(&mut reader), None);
        assert!(!path.exists());
    }
}
