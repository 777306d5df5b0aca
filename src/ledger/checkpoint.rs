//! Checkpoints: a tree head as a C2SP tlog-checkpoint, signed as a C2SP note. They leave the box, so that
//! no older state can be passed off as the newest.

use super::entry::Head;
use crate::crypto::note::{Note, NoteError, NoteSigner, NoteVerifier};
use crate::id::Digest;
use data_encoding::BASE64;
use std::fmt;
use std::str::FromStr;

/// Why a text is not a checkpoint, or not one to trust.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// Not a signed note, or not signed as it must be.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// A note, but not a checkpoint's.
    #[error("not a checkpoint: expected three lines with origin, number of entries and root hash")]
    NotACheckpoint,
}

/// A signed tree head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    note: Note,
    origin: String,
    head: Head,
}

impl Checkpoint {
    /// Signs `head` of the ledger named `origin` by every signer. Needs no ledger, so that none waits
    /// for a slow TPM; [`super::Ledger::publish`] comes next.
    pub fn sign(
        origin: &str,
        head: Head,
        signers: &[&dyn NoteSigner],
    ) -> Result<Self, CheckpointError> {
        let text = format!("{origin}\n{}\n{}\n", head.size, BASE64.encode(&head.root.0));
        Ok(Self {
            note: Note::sign(text, signers)?,
            origin: origin.to_owned(),
            head,
        })
    }

    /// The ledger's name.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The tree head.
    #[must_use]
    pub const fn head(&self) -> Head {
        self.head
    }

    /// Checks that every one of `keys` signed it.
    pub fn verify(&self, keys: &[NoteVerifier]) -> Result<(), CheckpointError> {
        Ok(self.note.verify(keys)?)
    }
}

impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.note.fmt(f)
    }
}

impl FromStr for Checkpoint {
    type Err = CheckpointError;

    /// Reads a checkpoint. Extension lines are refused: we write none.
    fn from_str(text: &str) -> Result<Self, CheckpointError> {
        let note: Note = text.parse()?;
        let mut lines = note.text.lines();
        let (Some(origin), Some(size), Some(root), None) =
            (lines.next(), lines.next(), lines.next(), lines.next())
        else {
            return Err(CheckpointError::NotACheckpoint);
        };
        let parsed: u64 = size.parse().map_err(|_| CheckpointError::NotACheckpoint)?;
        let root = BASE64
            .decode(root.as_bytes())
            .ok()
            .and_then(|root| root.try_into().ok())
            .map(Digest);
        match root {
            Some(root) if parsed.to_string() == size && !origin.is_empty() => Ok(Self {
                origin: origin.to_owned(),
                head: Head { size: parsed, root },
                note,
            }),
            _ => Err(CheckpointError::NotACheckpoint),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::note::Ed25519Signer;
    use proptest::prelude::*;

    #[test]
    fn the_example_of_the_specification_is_read() {
        let text = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n\
            \u{2014} example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n";
        let checkpoint: Checkpoint = text.parse().expect("checkpoint");
        assert_eq!(checkpoint.head().size, 20_852_163);
        assert_eq!(checkpoint.origin(), "example.com/behind-the-sofa");
        assert_eq!(checkpoint.to_string(), text);
    }

    #[test]
    fn a_signed_head_comes_back_and_other_forms_do_not() {
        let signer = Ed25519Signer::from_seed("strongroom.box/b", &crate::crypto::random::key())
            .expect("signer");
        let head = Head {
            size: 0,
            root: Digest::of(b""),
        };
        let checkpoint = Checkpoint::sign("strongroom.box/b", head, &[&signer]).expect("sign");
        let read: Checkpoint = checkpoint.to_string().parse().expect("read");
        assert_eq!(read, checkpoint);
        read.verify(&[signer.verifier()]).expect("fits");
        for bad in [
            checkpoint.to_string().replacen("\n0\n", "\n00\n", 1),
            checkpoint.to_string().replacen('\n', "\nx\n", 1),
        ] {
            assert!(bad.parse::<Checkpoint>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn reading_never_panics(text in "[a-z0-9=+/\n\u{2014} ]{0,300}") {
            let _ = text.parse::<Checkpoint>();
        }
    }
}
