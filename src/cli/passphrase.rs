//! Passphrases come from a file or from the terminal without echo, never from the command line, where
//! every process of the machine could read them.

use crate::durable::{self, FileError};
use crate::secret::{SecretBytes, wipe};
use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};
use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// Names a file whose first line is the passphrase.
pub const ENVIRONMENT: &str = "STRONGROOM_PASSPHRASE_FILE";
const LONGEST: usize = 4096;

/// Why there is no passphrase.
#[derive(Debug, thiserror::Error)]
pub enum PassphraseError {
    /// The file cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// No terminal to ask on.
    #[error(
        "there is no terminal to ask for a passphrase on; put it into the first line of a file, and give that by the option that --help names, or by {ENVIRONMENT}"
    )]
    NoTerminal(#[source] io::Error),
    /// Reading from the terminal failed.
    #[error("the passphrase could not be read from the terminal")]
    Terminal(#[source] io::Error),
    /// Two different ones were typed.
    #[error("the two passphrases differ")]
    Differ,
    /// Too long.
    #[error("a passphrase has at most {LONGEST} bytes")]
    TooLong,
}

/// Where a passphrase comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The first line of this file.
    File(PathBuf),
    /// The terminal.
    Terminal,
}

impl Source {
    /// `given` (from `--passphrase-file`), else the environment's file, else the terminal.
    #[must_use]
    pub fn choose(given: Option<&Path>, environment: Option<&OsStr>) -> Self {
        let file = given
            .map(Path::to_owned)
            .or_else(|| environment.map(PathBuf::from));
        file.map_or(Self::Terminal, Self::File)
    }

    /// As [`Source::choose`] with this process's environment.
    #[must_use]
    pub fn of(given: Option<&Path>) -> Self {
        Self::choose(given, std::env::var_os(ENVIRONMENT).as_deref())
    }

    /// The passphrase for `what`.
    pub fn read(&self, what: &str) -> Result<SecretBytes, PassphraseError> {
        match self {
            Self::File(path) => first_line(path),
            Self::Terminal => ask(&format!("Passphrase for {what}: ")),
        }
    }

    /// A new passphrase for `what`; on the terminal it is asked for twice.
    pub fn read_new(&self, what: &str) -> Result<SecretBytes, PassphraseError> {
        let first = self.read(what)?;
        if *self == Self::Terminal && ask("The same again: ")?.expose() != first.expose() {
            return Err(PassphraseError::Differ);
        }
        Ok(first)
    }
}

fn first_line(path: &Path) -> Result<SecretBytes, PassphraseError> {
    let content = SecretBytes::new(durable::read(path, LONGEST as u64 * 2)?);
    let line = content
        .expose()
        .split(|byte| *byte == b'\n')
        .next()
        .unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.len() > LONGEST {
        Err(PassphraseError::TooLong)
    } else {
        Ok(SecretBytes::new(line.to_vec()))
    }
}

/// Whether whoever sits at the terminal types `yes`.
pub fn agreed(prompt: &str) -> Result<bool, PassphraseError> {
    let opened = OpenOptions::new().read(true).write(true).open("/dev/tty");
    let mut terminal = opened.map_err(PassphraseError::NoTerminal)?;
    terminal
        .write_all(prompt.as_bytes())
        .map_err(PassphraseError::Terminal)?;
    Ok(line_from(&terminal)?.expose() == b"yes")
}

fn ask(prompt: &str) -> Result<SecretBytes, PassphraseError> {
    let opened = OpenOptions::new().read(true).write(true).open("/dev/tty");
    let mut terminal = opened.map_err(PassphraseError::NoTerminal)?;
    // Before anybody is asked: what is typed meanwhile would be shown, and lost.
    let quiet = Quiet::begin(&terminal).map_err(PassphraseError::Terminal)?;
    let asked = (&terminal).write_all(prompt.as_bytes());
    let line = asked
        .map_err(PassphraseError::Terminal)
        .and_then(|()| line_from(&terminal));
    drop(quiet);
    terminal
        .write_all(b"\n")
        .map_err(PassphraseError::Terminal)?;
    line
}

fn line_from(mut terminal: &File) -> Result<SecretBytes, PassphraseError> {
    // Filled in place: a buffer that grew would leave copies behind.
    let mut line = Vec::with_capacity(LONGEST);
    let mut byte = [0u8];
    while terminal
        .read(&mut byte)
        .map_err(PassphraseError::Terminal)?
        == 1
        && byte[0] != b'\n'
    {
        if line.len() == LONGEST {
            wipe(&mut line);
            return Err(PassphraseError::TooLong);
        }
        line.push(byte[0]);
    }
    wipe(&mut byte);
    Ok(SecretBytes::new(line))
}

/// The terminal does not show what is typed until this is dropped.
struct Quiet<'a> {
    terminal: &'a File,
    before: Termios,
}

impl<'a> Quiet<'a> {
    fn begin(terminal: &'a File) -> io::Result<Self> {
        let before = tcgetattr(terminal)?;
        let mut quiet = before.clone();
        quiet.local_flags.remove(LocalFlags::ECHO);
        tcsetattr(terminal, SetArg::TCSAFLUSH, &quiet)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Quiet<'_> {
    fn drop(&mut self) {
        // Nothing more can be done; the shell resets the terminal itself.
        let _ = tcsetattr(self.terminal, SetArg::TCSAFLUSH, &self.before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_of_a_file_is_the_passphrase() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("pass");
        for (content, expected) in [
            ("one\ntwo\n", "one"),
            ("one\r\n", "one"),
            ("one two", "one two"),
            ("", ""),
        ] {
            std::fs::write(&path, content).expect("write");
            let source = Source::choose(Some(&path), None);
            assert_eq!(
                source.read("Ada").expect("read").expose(),
                expected.as_bytes()
            );
        }
        std::fs::write(&path, vec![b'x'; LONGEST + 1]).expect("write");
        assert!(matches!(
            Source::File(path).read("Ada"),
            Err(PassphraseError::TooLong)
        ));
    }

    #[test]
    fn the_command_line_wins_over_the_environment() {
        let (given, environment) = (Path::new("a"), OsStr::new("b"));
        assert_eq!(
            Source::choose(Some(given), Some(environment)),
            Source::File("a".into())
        );
        assert_eq!(
            Source::choose(None, Some(environment)),
            Source::File("b".into())
        );
        assert_eq!(Source::choose(None, None), Source::Terminal);
    }
}
