//! A mail on its way into the spool. Up to 1 MiB it stays in memory and goes to the shared file as
//! one piece; a longer one gets a spool file of its own and streams into it in constant memory.

use super::SpoolError;
use super::file::SpoolFile;
use super::format::{Closing, FULL_FRAME, Kind};
use super::writer::{NotSpooled, Spool};
use crate::id::{Digest, SpoolId};
use crate::intake::envelope::Envelope;
use crate::secret::{SecretBytes, wipe};
use sha2::{Digest as _, Sha256};
use std::sync::Arc;

/// A mail of which not all bytes are here. Dropped before [`Incoming::finish`], it leaves nothing.
pub struct Incoming {
    spool: Spool,
    /// At most one full frame.
    buffer: Vec<u8>,
    own_file: Option<SpoolFile>,
    hash: Sha256,
    length: u64,
}

impl Incoming {
    pub(super) fn new(spool: Spool) -> Self {
        Self {
            spool,
            buffer: Vec::new(),
            own_file: None,
            hash: Sha256::new(),
            length: 0,
        }
    }

    /// Bytes so far.
    #[must_use]
    pub const fn length(&self) -> u64 {
        self.length
    }

    /// Takes more of the mail.
    pub async fn write(&mut self, mut bytes: &[u8]) -> Result<(), NotSpooled> {
        self.hash.update(bytes);
        self.length += bytes.len() as u64;
        while !bytes.is_empty() {
            if self.buffer.len() == FULL_FRAME {
                self.spill().await?;
            }
            let (now, later) = bytes.split_at(bytes.len().min(FULL_FRAME - self.buffer.len()));
            self.buffer_more(now);
            bytes = later;
        }
        Ok(())
    }

    /// Grows by hand, so that no unwiped copy of the mail stays behind in freed memory.
    fn buffer_more(&mut self, bytes: &[u8]) {
        let wanted = self.buffer.len() + bytes.len();
        if wanted > self.buffer.capacity() {
            let mut larger =
                Vec::with_capacity(wanted.next_power_of_two().clamp(16 << 10, FULL_FRAME));
            larger.extend_from_slice(&self.buffer);
            wipe(&mut self.buffer);
            self.buffer = larger;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// Moves the full buffer into the mail's own file.
    async fn spill(&mut self) -> Result<(), NotSpooled> {
        let plain = SecretBytes::new(std::mem::take(&mut self.buffer));
        let file = self.own_file.take();
        let shared = self.spool.shared().clone();
        let file = on_disk(move || {
            let mut file = match file {
                Some(file) => file,
                None => SpoolFile::create(
                    &shared.config.folders,
                    &*shared.key.now()?,
                    shared.clock.now(),
                )?,
            };
            let mut frame = Vec::new();
            file.seal(Kind::Data, 0, &[plain.expose()], &mut frame);
            file.append(&frame)?;
            Ok(file)
        });
        let file = file.await;
        if file.is_err() {
            self.spool.shared().note(&file);
        }
        self.own_file = Some(file?);
        Ok(())
    }

    /// The mail is whole: returns its queue id once it is synced in every folder.
    pub async fn finish(self, envelope: Envelope) -> Result<SpoolId, NotSpooled> {
        let shared = self.spool.shared().clone();
        let taken = self.write_out(envelope).await;
        shared.note(&taken);
        taken
    }

    async fn write_out(mut self, envelope: Envelope) -> Result<SpoolId, NotSpooled> {
        let sha256 = Digest(self.hash.finalize_reset().into());
        let closing = Closing {
            envelope,
            length: self.length,
            sha256,
        };
        let closing = closing.encode().ok_or(SpoolError::Envelope)?;
        let body = SecretBytes::new(std::mem::take(&mut self.buffer));
        match self.own_file.take() {
            None => self.spool.submit(body, closing).await,
            Some(mut file) => {
                on_disk(move || {
                    let mut frames = Vec::new();
                    file.seal(Kind::Data, 0, &[body.expose()], &mut frames);
                    file.seal(Kind::Close, 0, &[&closing], &mut frames);
                    file.commit(&frames, 1)?;
                    file.publish()?;
                    let id = SpoolId {
                        file: file.id(),
                        number: 0,
                    };
                    file.finish();
                    Ok(id)
                })
                .await
            }
        }
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        wipe(&mut self.buffer);
    }
}

async fn on_disk<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SpoolError> + Send + 'static,
) -> Result<T, NotSpooled> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result.map_err(Arc::new),
        Err(_) => Err(Arc::new(SpoolError::Closed)),
    }
}
