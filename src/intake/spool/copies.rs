//! The copies of one spool file, read side by side.

use super::SpoolError;
use super::format::{FRAME_HEAD, FrameKey, Head};
use super::reader::SpoolDamage;
use crate::durable::at;
use crate::secret::SecretBytes;
use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// All copies that exist, in the folders' order.
#[derive(Clone)]
pub struct Copies {
    files: Arc<Vec<Copy>>,
    writer_gone: bool,
    /// Those that the system could not read, and of which that has been told.
    told: BTreeSet<PathBuf>,
}

struct Copy {
    path: PathBuf,
    /// The system's code where it cannot be opened.
    file: Result<File, Option<i32>>,
}

/// What lies at an offset.
pub enum Found {
    /// A sound frame; `damaged` names the copies in which it is not.
    Frame {
        head: Head,
        plain: SecretBytes,
        damaged: Vec<SpoolDamage>,
    },
    /// The living writer has not got that far.
    NotYet,
    /// The file ends here: later bytes, if any, are a torn frame that was never acknowledged.
    Over,
    /// No copy has a sound frame here; it seems to be `skip` bytes long.
    Damaged {
        damage: SpoolDamage,
        skip: Option<u64>,
    },
}

enum Attempt {
    Frame(Head, SecretBytes),
    /// The file ends before the frame does.
    Short,
    Bad(Option<Head>),
}

/// What the copies have at an offset, taken together.
#[derive(Default)]
struct Look {
    frame: Option<(Head, SecretBytes)>,
    damaged: Vec<SpoolDamage>,
    /// How long the frame seems to be that no copy has soundly.
    skip: Option<u64>,
    /// A copy that ends before the frame does.
    ends: bool,
    /// Copies that the system cannot read.
    unread: Vec<(PathBuf, io::Error)>,
}

impl Copies {
    /// Opens those of `paths` that exist. One that cannot be opened is passed over while another can.
    pub fn open(paths: impl Iterator<Item = PathBuf>) -> Result<Self, SpoolError> {
        let mut files = Vec::new();
        let mut failed = None;
        for path in paths {
            let file = match open(&path) {
                Ok(file) => Ok(file),
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => {
                    let code = error.raw_os_error();
                    failed = failed.or(Some(at("open", &path)(error)));
                    Err(code)
                }
            };
            files.push(Copy { path, file });
        }
        match failed {
            Some(error) if files.iter().all(|copy| copy.file.is_err()) => Err(error.into()),
            _ => Ok(Self {
                files: Arc::new(files),
                writer_gone: false,
                told: BTreeSet::new(),
            }),
        }
    }

    /// True where no folder has the file.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// The first `N` bytes of each copy that has them. One that cannot be read is passed over while another can.
    pub fn headers<const N: usize>(&self) -> Result<Vec<Vec<u8>>, SpoolError> {
        let mut headers = Vec::new();
        let mut failed = None;
        for copy in self.files.iter() {
            let mut header = vec![0; N];
            match copy.read_whole(&mut header, 0) {
                Ok(true) => headers.push(header),
                Ok(false) => {}
                Err(error) => failed = failed.or(Some(at("read", &copy.path)(error))),
            }
        }
        match failed {
            Some(error) if headers.is_empty() => Err(error.into()),
            _ => Ok(headers),
        }
    }

    /// Damage at `offset`, named after the first copy.
    pub fn damage(&self, offset: u64, what: &str, recovered: bool) -> SpoolDamage {
        let path = self.files.first().map(|copy| copy.path.clone());
        SpoolDamage {
            path: path.unwrap_or_default(),
            offset,
            what: what.to_owned(),
            recovered,
        }
    }

    /// Reads the frame at `offset` from the first copy where it is sound.
    pub fn frame(&mut self, offset: u64, key: &FrameKey) -> Result<Found, SpoolError> {
        let mut look = self.look(offset, key);
        let doubtful = look.frame.is_none() || !look.damaged.is_empty();
        if doubtful && !self.writer_gone && !self.writer_lives()? {
            self.writer_gone = true;
            look = self.look(offset, key); // once more: it may have written before it went
        }
        let Some((head, plain)) = look.frame else {
            return self.without_frame(offset, look);
        };
        // While the writer lives, the other copy may just not be written yet.
        look.damaged.retain(|_| self.writer_gone);
        for (path, error) in look.unread {
            if self.told.insert(path.clone()) {
                look.damaged.push(unreadable(path, offset, &error));
            }
        }
        for damage in &mut look.damaged {
            damage.recovered = true;
        }
        Ok(Found::Frame {
            head,
            plain,
            damaged: look.damaged,
        })
    }

    /// No copy has the frame. Where the system could read none of them, reading them later may help.
    fn without_frame(&self, offset: u64, look: Look) -> Result<Found, SpoolError> {
        let unread = look.unread.into_iter().next();
        if let (Some(damage), true) = (look.damaged.into_iter().next(), self.writer_gone) {
            let skip = look.skip;
            return Ok(Found::Damaged { damage, skip });
        }
        match unread {
            Some((path, error)) if !look.ends => Err(at("read", &path)(error).into()),
            _ if !self.writer_gone => Ok(Found::NotYet),
            // The other copy ends here, and what this one has behind it nobody knows.
            Some((path, error)) => Ok(Found::Damaged {
                damage: unreadable(path, offset, &error),
                skip: None,
            }),
            None => Ok(Found::Over),
        }
    }

    fn look(&self, offset: u64, key: &FrameKey) -> Look {
        let mut look = Look::default();
        for copy in self.files.iter() {
            match copy.attempt(offset, key) {
                Ok(Attempt::Frame(head, plain)) => {
                    look.frame = look.frame.or(Some((head, plain)));
                }
                Ok(Attempt::Short) => look.ends = true,
                Ok(Attempt::Bad(head)) => {
                    look.skip = look.skip.or(head.map(|head| head.span()));
                    look.damaged.push(SpoolDamage {
                        path: copy.path.clone(),
                        offset,
                        what: "altered: this frame is not what was written".to_owned(),
                        recovered: false,
                    });
                }
                Err(error) => look.unread.push((copy.path.clone(), error)),
            }
        }
        look
    }

    fn writer_lives(&self) -> Result<bool, SpoolError> {
        for copy in self.files.iter() {
            let Ok(file) = &copy.file else { continue };
            match file.try_lock_shared() {
                Ok(()) => file.unlock().map_err(at("unlock", &copy.path))?,
                Err(std::fs::TryLockError::WouldBlock) => return Ok(true),
                Err(std::fs::TryLockError::Error(error)) => {
                    return Err(at("lock", &copy.path)(error).into());
                }
            }
        }
        Ok(false)
    }
}

/// Without waiting for a writer, should it be a pipe.
fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(nix::libc::O_NONBLOCK);
    options.open(path)
}

fn unreadable(path: PathBuf, offset: u64, error: &io::Error) -> SpoolDamage {
    SpoolDamage {
        path,
        offset,
        what: format!("the system cannot read it: {error}"),
        recovered: false,
    }
}

impl Copy {
    fn attempt(&self, offset: u64, key: &FrameKey) -> io::Result<Attempt> {
        let mut head = [0; FRAME_HEAD];
        if !self.read_whole(&mut head, offset)? || head == [0; FRAME_HEAD] {
            return Ok(Attempt::Short); // zeros: the file grew, the power failed before the bytes came
        }
        let Some(head) = Head::decode(&head) else {
            return Ok(Attempt::Bad(None));
        };
        let mut body = vec![0; head.length];
        if !self.read_whole(&mut body, offset + FRAME_HEAD as u64)? {
            return Ok(Attempt::Short);
        }
        Ok(match key.open(&head, &mut body) {
            Ok(()) => Attempt::Frame(head, SecretBytes::new(body)),
            Err(_) => Attempt::Bad(Some(head)),
        })
    }

    /// Fills `place` from `offset` on; false where the file ends before.
    fn read_whole(&self, place: &mut [u8], offset: u64) -> io::Result<bool> {
        let file = match &self.file {
            Ok(file) => file,
            Err(code) => {
                let unknown = || io::ErrorKind::Other.into();
                return Err(code.map_or_else(unknown, io::Error::from_raw_os_error));
            }
        };
        match file.read_exact_at(place, offset) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
            Err(error) => Err(error),
        }
    }
}
