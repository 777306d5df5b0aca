//! Walking a whole segment without keys: for verifying, for rebuilding what is derived, and for finding
//! the end of the last one at start. Damage is reported and the walk goes on behind it.

use super::format::{
    FILE_HEADER, FileKind, PART_HEADER, PART_MAGIC, PART_TRAILER, PartHeader, SLOT, Slot,
    file_header, slot_offset,
};
use super::model::{Damage, DamageKind, PartKind, PartPlace, SegmentNo, SlotPlace, VaultError};
use super::read::{VaultReader, whole_slots};
use crate::durable::{FileError, at};
use crate::id::RecordId;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

const WINDOW: usize = 256 << 10;

/// One part that a walk came by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartInfo {
    /// Where it lies.
    pub place: PartPlace,
    /// The record it belongs to.
    pub record: RecordId,
    /// What it is.
    pub kind: PartKind,
    /// Where the record's wrapped key lies.
    pub slot: SlotPlace,
}

impl VaultReader {
    /// Walks the committed parts of `segment`, in order, and checks every checksum. An item is a part,
    /// a [`VaultError::Damage`] (the walk goes on), or an error of the disk (it ends).
    pub fn scan(&self, segment: SegmentNo) -> Result<Scan, VaultError> {
        self.walk(segment, self.committed_length(segment), true)
    }

    /// The damaged slots of `segment`, up to the last committed one.
    pub fn damaged_slots(&self, segment: SegmentNo) -> Result<Vec<Damage>, VaultError> {
        let committed = self
            .committed()
            .filter(|committed| committed.segment == segment);
        let path = self.path(FileKind::Slots, segment);
        let file = match self.file(FileKind::Slots, segment) {
            Err(error) if error.is_absent() => {
                return Ok(vec![self.damage(segment, 0, None, DamageKind::SlotsCut)]);
            }
            other => other?,
        };
        let length = file.metadata().map_err(at("read", &path))?.len();
        let mut damage = Vec::new();
        let mut reader = Window::new(file, path, 0, length);
        if reader.take(FILE_HEADER)? != Some(&file_header(FileKind::Slots, self.tenant(), segment))
        {
            damage.push(self.damage(segment, 0, None, DamageKind::SlotsHeader));
        }
        let present = whole_slots(length);
        let expected = committed.map_or(present, |committed| committed.slots);
        for index in 0..present.min(expected) as u32 {
            let slot = reader
                .take(SLOT)?
                .and_then(<[u8]>::first_chunk)
                .map(Slot::decode);
            if slot == Some(None) {
                damage.push(self.damage(segment, slot_offset(index), None, DamageKind::Slot));
            }
        }
        let torn = committed.is_none() && length != slot_offset(present as u32);
        if present < expected || torn {
            damage.push(self.damage(segment, length, None, DamageKind::SlotsCut));
        }
        Ok(damage)
    }

    /// What is damaged of the vault outside of its parts: key table, headers of segments, slots.
    pub fn damaged_frame(&self) -> Result<Vec<Damage>, VaultError> {
        let mut damage = Vec::new();
        if !self.table_is_on_disk()? {
            damage.push(self.damage(SegmentNo(0), 0, None, DamageKind::Table));
        }
        for number in 1..=self.newest_segment().map_or(0, |newest| newest.0) {
            let segment = SegmentNo(number);
            match self.walk(segment, self.committed_length(segment), false) {
                Ok(walk) => damage.extend(walk.pending),
                Err(VaultError::Damage(found)) => damage.push(found),
                Err(other) => return Err(other),
            }
            damage.extend(self.damaged_slots(segment)?);
        }
        Ok(damage)
    }

    /// Looks whether the segment of the ledger's last part can be written on: how many slots its parts
    /// use, and what stands in the way.
    pub(super) fn examine(&self, last: PartPlace) -> Result<(u64, Vec<Damage>), VaultError> {
        let segment = last.segment;
        let (mut slots, mut damage) = (0, Vec::new());
        match self.walk(segment, Some(last.end()), false) {
            Err(VaultError::Damage(found)) => damage.push(found),
            Err(other) => return Err(other),
            Ok(parts) => {
                for part in parts {
                    match part {
                        Ok(part) if part.slot.segment == segment => {
                            slots = slots.max(u64::from(part.slot.index) + 1)
                        }
                        Ok(_) => {}
                        Err(VaultError::Damage(found)) => damage.push(found),
                        Err(other) => return Err(other),
                    }
                }
            }
        }
        damage.extend(self.damaged_slots_among(segment, slots)?);
        Ok((slots, damage))
    }

    /// Damage to the slot file's header, or a slot file with fewer than `slots` slots.
    fn damaged_slots_among(
        &self,
        segment: SegmentNo,
        slots: u64,
    ) -> Result<Option<Damage>, VaultError> {
        let path = self.path(FileKind::Slots, segment);
        let cut = |length| Some(self.damage(segment, length, None, DamageKind::SlotsCut));
        let file = match self.file(FileKind::Slots, segment) {
            Err(error) if error.is_absent() => return Ok(cut(0)),
            other => other?,
        };
        let length = file.metadata().map_err(at("read", &path))?.len();
        if length < FILE_HEADER as u64 + slots * SLOT as u64 {
            return Ok(cut(length));
        }
        let mut header = [0; FILE_HEADER];
        file.read_exact_at(&mut header, 0)
            .map_err(at("read", &path))?;
        let fits = header == file_header(FileKind::Slots, self.tenant(), segment);
        Ok((!fits).then(|| self.damage(segment, 0, None, DamageKind::SlotsHeader)))
    }

    /// Where the committed part of `segment` ends; `None` where the whole file counts.
    fn committed_length(&self, segment: SegmentNo) -> Option<u64> {
        self.committed()
            .filter(|committed| committed.segment == segment)
            .map(|committed| committed.length)
    }

    /// Walks up to `end`, which the file must reach, or to the end of the file.
    fn walk(&self, segment: SegmentNo, end: Option<u64>, bodies: bool) -> Result<Scan, VaultError> {
        let path = self.path(FileKind::Segment, segment);
        let file = match self.file(FileKind::Segment, segment) {
            Err(error) if error.is_absent() => {
                return Err(self
                    .damage(segment, 0, None, DamageKind::SegmentMissing)
                    .into());
            }
            other => other?,
        };
        let length = file.metadata().map_err(at("read", &path))?.len();
        let mut window = Window::new(file, path, 0, length.min(end.unwrap_or(length)));
        let header = file_header(FileKind::Segment, self.tenant(), segment);
        let mut pending = Vec::new();
        if end.is_some_and(|end| length < end) {
            pending.push(self.damage(segment, length, None, DamageKind::SegmentCut));
        }
        if window.take(FILE_HEADER)? != Some(&header) {
            pending.push(self.damage(segment, 0, None, DamageKind::SegmentHeader));
        }
        Ok(Scan {
            reader: self.clone(),
            segment,
            window,
            pending,
            bodies,
            ended: false,
        })
    }
}

/// A walk along a segment; see [`VaultReader::scan`].
pub struct Scan {
    reader: VaultReader,
    segment: SegmentNo,
    window: Window,
    pending: Vec<Damage>,
    bodies: bool,
    ended: bool,
}

impl Iterator for Scan {
    type Item = Result<PartInfo, VaultError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(damage) = self.pending.pop() {
            return Some(Err(damage.into()));
        }
        if self.ended || self.window.left() == 0 {
            return None;
        }
        let item = self.part();
        self.ended = matches!(&item, Err(VaultError::File(_)));
        Some(item)
    }
}

impl Scan {
    fn part(&mut self) -> Result<PartInfo, VaultError> {
        let offset = self.window.at;
        let header = self
            .window
            .peek(PART_HEADER)?
            .and_then(<[u8]>::first_chunk)
            .and_then(PartHeader::decode);
        let Some(header) = header else {
            self.find_next_header()?;
            return Err(self
                .reader
                .damage(self.segment, offset, None, DamageKind::PartHeader)
                .into());
        };
        let record = Some(header.record);
        let place = PartPlace {
            segment: self.segment,
            offset,
            length: header.length,
        };
        if place.end() > self.window.end {
            self.window.skip(self.window.left());
            return Err(self
                .reader
                .damage(self.segment, offset, record, DamageKind::SegmentCut)
                .into());
        }
        self.window.skip(PART_HEADER as u64);
        if !self.body_fits(header.length)? {
            return Err(self
                .reader
                .damage(self.segment, offset, record, DamageKind::PartBytes)
                .into());
        }
        Ok(PartInfo {
            place,
            record: header.record,
            kind: header.kind,
            slot: header.slot,
        })
    }

    fn body_fits(&mut self, length: u64) -> Result<bool, FileError> {
        if !self.bodies {
            self.window.skip(length + PART_TRAILER as u64);
            return Ok(true);
        }
        let mut sum = crc32fast::Hasher::new();
        let mut left = length;
        while left > 0 {
            let piece = left.min(WINDOW as u64) as usize;
            sum.update(self.window.take(piece)?.unwrap_or_default());
            left -= piece as u64;
        }
        let expected = sum.finalize().to_be_bytes();
        Ok(self.window.take(PART_TRAILER)? == Some(&expected))
    }

    /// Goes to the next bytes that are a part's header, checksum and all, or to the end.
    fn find_next_header(&mut self) -> Result<(), FileError> {
        self.window.skip(1);
        loop {
            let wanted = self.window.left().min(WINDOW as u64) as usize;
            let Some(bytes) = self.window.peek(wanted)? else {
                return Ok(());
            };
            let is_header = |bytes: &[u8]| {
                bytes.starts_with(PART_MAGIC)
                    && bytes.first_chunk().and_then(PartHeader::decode).is_some()
            };
            if let Some(found) = bytes.windows(PART_HEADER).position(is_header) {
                self.window.skip(found as u64);
                return Ok(());
            }
            let last = wanted as u64 == self.window.left();
            self.window
                .skip(if last { wanted } else { wanted - PART_HEADER } as u64);
            if last {
                return Ok(());
            }
        }
    }
}

/// Reads a file forwards through one large buffer.
struct Window {
    file: Arc<File>,
    path: PathBuf,
    at: u64,
    end: u64,
    buffer: Vec<u8>,
    start: usize,
}

impl Window {
    fn new(file: Arc<File>, path: PathBuf, at: u64, end: u64) -> Self {
        Self {
            file,
            path,
            at,
            end,
            buffer: Vec::new(),
            start: 0,
        }
    }

    const fn left(&self) -> u64 {
        self.end.saturating_sub(self.at)
    }

    /// The next `count` bytes (at most [`WINDOW`]), without going on; `None` where fewer are left.
    fn peek(&mut self, count: usize) -> Result<Option<&[u8]>, FileError> {
        if (count as u64) > self.left() {
            return Ok(None);
        }
        if self.buffer.len() - self.start < count {
            let wanted = self.left().min(WINDOW as u64) as usize;
            self.buffer.resize(wanted, 0);
            self.start = 0;
            match self.file.read_exact_at(&mut self.buffer, self.at) {
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
                other => other.map_err(at("read", &self.path))?,
            }
        }
        Ok(Some(&self.buffer[self.start..self.start + count]))
    }

    fn take(&mut self, count: usize) -> Result<Option<&[u8]>, FileError> {
        if self.peek(count)?.is_none() {
            return Ok(None);
        }
        let start = self.start;
        self.skip(count as u64);
        Ok(Some(&self.buffer[start..start + count]))
    }

    fn skip(&mut self, count: u64) {
        self.at += count;
        let in_buffer = (self.buffer.len() - self.start) as u64;
        self.start = if count < in_buffer {
            self.start + count as usize
        } else {
            self.buffer.len()
        };
    }
}
