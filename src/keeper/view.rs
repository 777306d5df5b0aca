//! A record's content on its way to a reader or the index: its parts as streams, and its text through a worker that
//! has no keys.

use super::core::{Core, CoreError, lock};
use super::escrow_store::NoKeys;
use super::manifest::Manifest;
use super::pool::{Mail, Worker, WorkerFailure};
use super::protocol::Form;
use super::store::Content;
use crate::catalog::RecordMeta;
use crate::keeper::archiving::derive::slot_place;
use crate::keeper::archiving::opener::{self, header_of};
use crate::mail::model::SearchText;
use crate::secret::Key;
use std::io::{self, Read};
use std::ops::Range;

impl Core {
    /// The mail as a stream: of one that came in a journal report what is inside, for the report tells blind copies. A record
    /// without rendition gives its original for both forms.
    pub fn content(
        &self,
        meta: &RecordMeta,
        manifest: &Manifest,
        form: Form,
    ) -> Result<Stretch, CoreError> {
        let reader = self.reader(&meta.tenant)?;
        let key = reader.record_key(meta.record, slot_place(meta.slot))?;
        self.content_with(manifest, form, &key)
    }

    /// A stretch of the original.
    pub(super) fn original(
        &self,
        meta: &RecordMeta,
        manifest: &Manifest,
        range: Range<u64>,
    ) -> Result<Stretch, CoreError> {
        let reader = self.reader(&meta.tenant)?;
        let key = reader.record_key(meta.record, slot_place(meta.slot))?;
        let content = reader.open_part(manifest.record, &key, &manifest.original)?;
        Ok(Stretch::of(content, range))
    }

    fn content_with(
        &self,
        manifest: &Manifest,
        form: Form,
        key: &Key,
    ) -> Result<Stretch, CoreError> {
        let (entry, range) = match (form, &manifest.rendition) {
            (Form::Rendition, Some(rendition)) => (rendition, 0..rendition.length),
            _ => (&manifest.original, manifest.mail()),
        };
        let reader = self.reader(&manifest.tenant)?;
        let content = reader.open_part(manifest.record, key, entry)?;
        Ok(Stretch::of(content, range))
    }

    /// Header fields and text of a record's readable form, decoded by a worker.
    pub fn text(&self, meta: &RecordMeta, manifest: &Manifest) -> Result<SearchText, CoreError> {
        let key = self
            .reader(&meta.tenant)?
            .record_key(meta.record, slot_place(meta.slot))?;
        self.text_with(&mut lock(&self.reading), manifest, &key)
    }

    /// As [`Core::text`], through a worker of the caller's.
    pub fn text_with(
        &self,
        worker: &mut Worker,
        manifest: &Manifest,
        key: &Key,
    ) -> Result<SearchText, CoreError> {
        let length = manifest.readable_length();
        let whole = || -> Box<dyn Read> {
            match self.content_with(manifest, Form::Rendition, key) {
                Ok(content) => Box::new(content),
                Err(error) => Box::new(Unreadable::because(error)),
            }
        };
        let arrived = manifest.arrival.received;
        let mut failed = None;
        let opened = if length <= worker.largest_mail() {
            let mail = Mail {
                length,
                arrived,
                bytes: &whole,
            };
            worker.open(&mail, &NoKeys).map(Some)
        } else {
            Ok(None)
        };
        let opened = match opened {
            Ok(Some(opened)) => opened,
            // Not the mail's fault: what is indexed for want of a process would stay so.
            Err(WorkerFailure::Start(error)) => return Err(error.into()),
            // Too large, or its worker gave up: the header alone says from whom it is, and about what.
            other => {
                failed = other.err().map(|failure| failure.to_string());
                let header = header_of(&mut *whole()).unwrap_or_default();
                let bytes = || Box::new(header.as_slice()) as Box<dyn Read>;
                let mail = Mail {
                    length: header.len() as u64,
                    arrived,
                    bytes: &bytes,
                };
                let opened = worker.open(&mail, &NoKeys);
                opened.unwrap_or_else(|failure| opener::unopened(&failure))
            }
        };
        let mut text = opened.text;
        if !manifest.opened.text.notes.is_empty() {
            text.notes.clone_from(&manifest.opened.text.notes);
        }
        text.notes.extend(failed);
        Ok(text)
    }
}

/// A stretch of a part's content. The part is read to its end all the same, where its commitment is compared.
pub struct Stretch {
    content: Content,
    skip: u64,
    left: u64,
}

impl Stretch {
    fn of(content: Content, range: Range<u64>) -> Self {
        Self {
            content,
            skip: range.start,
            left: range.end.saturating_sub(range.start),
        }
    }

    /// How many bytes are still to come.
    pub(super) fn length(&self) -> u64 {
        self.left
    }

    /// What comes behind so many bytes.
    pub(super) fn behind(self, bytes: u64) -> Self {
        let bytes = bytes.min(self.left);
        Self {
            skip: self.skip + bytes,
            left: self.left - bytes,
            ..self
        }
    }
}

impl Read for Stretch {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.skip > 0 {
            io::copy(&mut (&mut self.content).take(self.skip), &mut io::sink())?;
            self.skip = 0;
        }
        if self.left == 0 {
            return io::copy(&mut self.content, &mut io::sink()).map(|_| 0);
        }
        let read = (&mut self.content).take(self.left).read(out)?;
        self.left -= read as u64;
        Ok(read)
    }
}

/// A stream that could not be started.
pub(super) struct Unreadable(Option<io::Error>);

impl Unreadable {
    pub(super) fn because(error: CoreError) -> Self {
        Self(Some(io::Error::other(error)))
    }
}

impl Read for Unreadable {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        self.0.take().map_or(Ok(0), Err)
    }
}
