//! A record's content on its way to a reader or the index: its parts as streams, and its text through a worker that
//! has no keys.

use super::core::{Core, CoreError, lock};
use super::escrow_store::NoKeys;
use super::manifest::Manifest;
use super::pool::{Mail, Worker};
use super::protocol::Form;
use super::store::Content;
use crate::catalog::RecordMeta;
use crate::keeper::archiving::derive::slot_place;
use crate::keeper::archiving::opener::{self, header_of};
use crate::mail::model::{Opened, SearchText};
use crate::secret::Key;
use std::io::{self, Read};

impl Core {
    /// A part's content as a stream. A record without rendition gives its original for both forms.
    pub fn content(
        &self,
        meta: &RecordMeta,
        manifest: &Manifest,
        form: Form,
    ) -> Result<Content, CoreError> {
        let reader = self.reader(&meta.tenant)?;
        let key = reader.record_key(meta.record, slot_place(meta.slot))?;
        self.content_with(manifest, form, &key)
    }

    fn content_with(
        &self,
        manifest: &Manifest,
        form: Form,
        key: &Key,
    ) -> Result<Content, CoreError> {
        let entry = match (form, &manifest.rendition) {
            (Form::Rendition, Some(rendition)) => rendition,
            _ => &manifest.original,
        };
        Ok(self
            .reader(&manifest.tenant)?
            .open_part(manifest.record, key, entry)?)
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
        let entry = manifest.rendition.as_ref().unwrap_or(&manifest.original);
        let whole = || -> Box<dyn Read> {
            match self.content_with(manifest, Form::Rendition, key) {
                Ok(content) => Box::new(content),
                Err(error) => Box::new(Unreadable::because(error)),
            }
        };
        let arrived = manifest.arrival.received;
        let opened = if entry.length <= worker.largest_mail() {
            worker.open(
                &Mail {
                    length: entry.length,
                    arrived,
                    bytes: &whole,
                },
                &NoKeys,
            )
        } else {
            let header = header_of(&mut *whole()).unwrap_or_default();
            let bytes = || Box::new(header.as_slice()) as Box<dyn Read>;
            worker.open(
                &Mail {
                    length: header.len() as u64,
                    arrived,
                    bytes: &bytes,
                },
                &NoKeys,
            )
        };
        let opened: Opened = opened.unwrap_or_else(|failure| opener::unopened(&failure));
        Ok(opened.text)
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
