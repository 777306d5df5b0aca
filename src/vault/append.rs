//! Appending to one file with few system calls: bytes gather in a buffer and go out in large writes.

use super::format::PartHeader;
use super::model::{PartPlace, VaultError};
use super::{OpenSegment, Vault};
use crate::durable::{self, FileError, at};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Buffered bytes are written out above this.
const BUFFER: usize = 1 << 20;

/// The end of one file that is being appended to.
pub(super) struct Appender {
    path: PathBuf,
    file: File,
    written: u64,
    buffer: Vec<u8>,
    unsynced: bool,
}

impl Appender {
    /// Appends behind what is in the file.
    pub(super) fn open(path: &Path) -> Result<Self, FileError> {
        let file = OpenOptions::new()
            .write(true)
            .open(path)
            .map_err(at("open", path))?;
        let written = file.metadata().map_err(at("read", path))?.len();
        Ok(Self {
            path: path.to_owned(),
            file,
            written,
            buffer: Vec::new(),
            unsynced: false,
        })
    }

    /// The file's length, with what is still in the buffer.
    pub(super) fn length(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    pub(super) fn append(&mut self, bytes: &[u8]) -> Result<(), FileError> {
        self.unsynced = true;
        if self.buffer.len() + bytes.len() <= BUFFER {
            self.buffer.extend_from_slice(bytes);
            return Ok(());
        }
        self.write_out()?;
        if bytes.len() <= BUFFER {
            self.buffer.extend_from_slice(bytes);
            return Ok(());
        }
        self.file
            .write_all_at(bytes, self.written)
            .map_err(at("write", &self.path))?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    /// Overwrites bytes that are not committed yet.
    fn patch(&mut self, offset: u64, bytes: &[u8]) -> Result<(), FileError> {
        match offset.checked_sub(self.written) {
            Some(start) => {
                let start = start as usize;
                self.buffer[start..start + bytes.len()].copy_from_slice(bytes);
                Ok(())
            }
            None => {
                self.write_out()?;
                self.file
                    .write_all_at(bytes, offset)
                    .map_err(at("write", &self.path))
            }
        }
    }

    /// Takes back everything from `length` on.
    pub(super) fn cut(&mut self, length: u64) -> Result<(), FileError> {
        match length.checked_sub(self.written) {
            Some(kept) => self.buffer.truncate(kept as usize),
            None => {
                self.buffer.clear();
                self.file.set_len(length).map_err(at("cut", &self.path))?;
                self.written = length;
                self.unsynced = true;
            }
        }
        Ok(())
    }

    fn write_out(&mut self) -> Result<(), FileError> {
        self.file
            .write_all_at(&self.buffer, self.written)
            .map_err(at("write", &self.path))?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    /// Writes elsewhere from here on, to see what a failing disk does.
    #[cfg(test)]
    pub(super) fn replace_file(&mut self, path: &Path) {
        self.file = OpenOptions::new().write(true).open(path).expect("open");
    }

    /// Makes everything appended durable; nothing happens where nothing was.
    pub(super) fn sync(&mut self) -> Result<(), FileError> {
        if self.unsynced {
            self.write_out()?;
            durable::sync_data(&self.file, &self.path)?;
            self.unsynced = false;
        }
        Ok(())
    }
}

/// Writes one part of any length. The length in its header is filled in by [`PartWriter::finish`].
pub struct PartWriter<'a> {
    vault: &'a mut Vault,
    header: PartHeader,
    offset: u64,
    sum: crc32fast::Hasher,
    finished: bool,
}

impl<'a> PartWriter<'a> {
    pub(super) fn start(vault: &'a mut Vault, header: PartHeader) -> Result<Self, VaultError> {
        let offset = vault.open_segment()?.parts.length();
        let sum = crc32fast::Hasher::new();
        let mut writer = Self {
            vault,
            header,
            offset,
            sum,
            finished: false,
        };
        writer.step(|open| open.parts.append(&header.encode()))?;
        Ok(writer)
    }

    /// After a failed step the batch can only be rolled back, as after any other failed append.
    fn step<T>(
        &mut self,
        step: impl FnOnce(&mut OpenSegment) -> Result<T, FileError>,
    ) -> Result<T, VaultError> {
        self.vault.guarded(|vault| Ok(step(vault.open_segment()?)?))
    }

    /// Ends the part and says where it lies. It counts after [`Vault::commit`].
    pub fn finish(mut self) -> Result<PartPlace, VaultError> {
        let sum = self.sum.clone().finalize().to_be_bytes();
        let (header, offset) = (self.header, self.offset);
        let segment = self.step(|open| {
            open.parts.append(&sum)?;
            open.parts.patch(offset, &header.encode())?;
            Ok(open.number)
        })?;
        self.finished = true;
        Ok(PartPlace {
            segment,
            offset,
            length: header.length,
        })
    }
}

impl Write for PartWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.step(|open| open.parts.append(bytes));
        written.map_err(|error| match error {
            VaultError::File(error) => io::Error::new(error.source.kind(), error),
            other => io::Error::other(other),
        })?;
        self.sum.update(bytes);
        self.header.length += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for PartWriter<'_> {
    fn drop(&mut self) {
        let offset = self.offset;
        if !self.finished && self.step(|open| open.parts.cut(offset)).is_err() {
            self.vault.failed = true;
        }
    }
}
