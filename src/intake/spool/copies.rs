//! The copies of one spool file, read side by side.

use super::SpoolError;
use super::format::{FRAME_HEAD, FrameKey, Head};
use super::reader::SpoolDamage;
use crate::durable::at;
use crate::secret::SecretBytes;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

/// All copies that exist, in the folders' order.
#[derive(Clone)]
pub struct Copies {
    files: Arc<Vec<(PathBuf, File)>>,
    writer_gone: bool,
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

impl Copies {
    /// Opens those of `paths` that exist.
    pub fn open(paths: impl Iterator<Item = PathBuf>) -> Result<Self, SpoolError> {
        let mut files = Vec::new();
        for path in paths {
            match File::open(&path) {
                Ok(file) => files.push((path, file)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(at("open", &path)(error).into()),
            }
        }
        Ok(Self {
            files: Arc::new(files),
            writer_gone: false,
        })
    }

    /// True where no folder has the file.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// The first `N` bytes of each copy that has them.
    pub fn headers<const N: usize>(&self) -> Result<Vec<Vec<u8>>, SpoolError> {
        let mut headers = Vec::new();
        for (path, file) in self.files.iter() {
            let mut header = vec![0; N];
            if read_whole(file, &mut header, 0).map_err(at("read", path))? {
                headers.push(header);
            }
        }
        Ok(headers)
    }

    /// Damage at `offset`, named after the first copy.
    pub fn damage(&self, offset: u64, what: &'static str, recovered: bool) -> SpoolDamage {
        let path = self
            .files
            .first()
            .map(|(path, _)| path.clone())
            .unwrap_or_default();
        SpoolDamage {
            path,
            offset,
            what,
            recovered,
        }
    }

    /// Reads the frame at `offset` from the first copy where it is sound.
    pub fn frame(&mut self, offset: u64, key: &FrameKey) -> Result<Found, SpoolError> {
        loop {
            let mut damaged = Vec::new();
            let mut skip = None;
            let mut frame = None;
            for (path, file) in self.files.iter() {
                match attempt(file, offset, key).map_err(at("read", path))? {
                    Attempt::Frame(head, plain) => frame = frame.or(Some((head, plain))),
                    Attempt::Short => {}
                    Attempt::Bad(head) => {
                        skip = skip.or(head.map(|head| head.span()));
                        let what = "altered: this frame is not what was written";
                        damaged.push(SpoolDamage {
                            path: path.clone(),
                            offset,
                            what,
                            recovered: false,
                        });
                    }
                }
            }
            let doubtful = frame.is_none() || !damaged.is_empty();
            if doubtful && !self.writer_gone && !self.writer_lives()? {
                self.writer_gone = true;
                continue; // look once more: it may have written before it went
            }
            if let Some((head, plain)) = frame {
                // While the writer lives, the other copy may just not be written yet.
                damaged.retain(|_| self.writer_gone);
                damaged
                    .iter_mut()
                    .for_each(|damage| damage.recovered = true);
                return Ok(Found::Frame {
                    head,
                    plain,
                    damaged,
                });
            }
            return Ok(match damaged.into_iter().next() {
                _ if !self.writer_gone => Found::NotYet,
                Some(damage) => Found::Damaged { damage, skip },
                None => Found::Over,
            });
        }
    }

    fn writer_lives(&self) -> Result<bool, SpoolError> {
        for (path, file) in self.files.iter() {
            match file.try_lock_shared() {
                Ok(()) => file.unlock().map_err(at("unlock", path))?,
                Err(std::fs::TryLockError::WouldBlock) => return Ok(true),
                Err(std::fs::TryLockError::Error(error)) => {
                    return Err(at("lock", path)(error).into());
                }
            }
        }
        Ok(false)
    }
}

fn attempt(file: &File, offset: u64, key: &FrameKey) -> io::Result<Attempt> {
    let mut head = [0; FRAME_HEAD];
    if !read_whole(file, &mut head, offset)? || head == [0; FRAME_HEAD] {
        return Ok(Attempt::Short); // zeros: the file grew, the power failed before the bytes came
    }
    let Some(head) = Head::decode(&head) else {
        return Ok(Attempt::Bad(None));
    };
    let mut body = vec![0; head.length];
    if !read_whole(file, &mut body, offset + FRAME_HEAD as u64)? {
        return Ok(Attempt::Short);
    }
    Ok(match key.open(&head, &mut body) {
        Ok(()) => Attempt::Frame(head, SecretBytes::new(body)),
        Err(_) => Attempt::Bad(Some(head)),
    })
}

/// Fills `place` from `offset` on; false where the file ends before.
fn read_whole(file: &File, place: &mut [u8], offset: u64) -> io::Result<bool> {
    match file.read_exact_at(place, offset) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}
