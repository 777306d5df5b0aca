//! Reads the spool for the keeper: every whole mail once, in order, while the writer goes on.
//!
//! A mail is given out only when its closing frame is there. Where one folder's copy is missing or
//! damaged, the other serves; what neither has is named by file and offset, and reading goes on
//! behind it. Private keys stay with the caller, behind [`SpoolKeys`].

use super::body::{Body, Gathered};
use super::copies::{Copies, Found};
use super::format::{Closing, HEADER, INFO, Kind, PREAMBLE, Preamble, Ratchet};
use super::{SUFFIX, SpoolError, path_of};
use crate::crypto::hpke::HpkeError;
use crate::durable::{self, at};
use crate::id::{Digest, SpoolFileId, SpoolId};
use crate::intake::envelope::Envelope;
use crate::secret::{Key, SecretBytes};
use crate::time::Timestamp;
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};

/// Opens what is sealed to one of the box's spool keys.
pub trait SpoolKeys {
    /// HPKE-opens `sealed` with the key of this `fingerprint`; `None` where there is no such key.
    fn open(
        &self,
        fingerprint: &Digest,
        info: &[u8],
        associated: &[u8],
        sealed: &[u8],
    ) -> Option<Result<SecretBytes, HpkeError>>;
}

impl<F> SpoolKeys for F
where
    F: Fn(&Digest, &[u8], &[u8], &[u8]) -> Option<Result<SecretBytes, HpkeError>>,
{
    fn open(
        &self,
        key: &Digest,
        info: &[u8],
        associated: &[u8],
        sealed: &[u8],
    ) -> Option<Result<SecretBytes, HpkeError>> {
        self(key, info, associated, sealed)
    }
}

/// One accepted mail.
pub struct SpooledMail {
    /// Its queue id.
    pub id: SpoolId,
    /// Its envelope.
    pub envelope: Envelope,
    /// Its length in bytes.
    pub length: u64,
    /// Its SHA-256, already checked.
    pub sha256: Digest,
    /// Its bytes.
    pub body: Body,
}

/// Bytes of the spool that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("spool file {} at offset {offset}: {what}{}", path.display(), if *.recovered { " (read from the other folder's copy)" } else { "" })]
pub struct SpoolDamage {
    /// The damaged copy.
    pub path: PathBuf,
    /// Where the damaged frame begins.
    pub offset: u64,
    /// What is wrong.
    pub what: String,
    /// True where the other copy was sound, so that nothing is lost.
    pub recovered: bool,
}

/// What the spool has to tell.
pub enum SpoolEvent {
    /// The next mail.
    Mail(Box<SpooledMail>),
    /// Everything in this file has been given out and nothing follows: once its mails are archived it
    /// can be removed.
    FileDone {
        /// The file.
        file: SpoolFileId,
        /// True if no part of it was lost; otherwise keep it for the operator.
        sound: bool,
    },
    /// Something cannot be read. Reading goes on behind it.
    Damage(SpoolDamage),
    /// The file is sealed to a spool key that the box does not have.
    NoKey {
        /// The file; it is looked at again by a new reader.
        file: SpoolFileId,
        /// The key's fingerprint.
        key: Digest,
    },
    /// Nothing more for now.
    Idle,
}

/// Reads all spool files, oldest first. However many wait, only those being written are open.
pub struct SpoolReader {
    folders: Vec<PathBuf>,
    /// Those of them that were not there when files were last looked for.
    missing: Vec<PathBuf>,
    /// All files seen and not removed, with the time they were begun.
    known: HashMap<SpoolFileId, Timestamp>,
    /// Those of them that are not over, in order; `None` until it is their turn.
    waiting: BTreeMap<(Timestamp, SpoolFileId), Option<Box<FileReader>>>,
}

impl SpoolReader {
    /// A reader over these folders; it begins with everything that lies there.
    #[must_use]
    pub fn new(folders: Vec<PathBuf>) -> Self {
        Self {
            folders,
            missing: Vec::new(),
            known: HashMap::new(),
            waiting: BTreeMap::new(),
        }
    }

    /// Folders that are not there or cannot be listed, while another one serves.
    #[must_use]
    pub fn missing(&self) -> &[PathBuf] {
        &self.missing
    }

    /// The next thing to know. [`SpoolEvent::Idle`] means: ask again later. An error is one of a file that the system
    /// cannot read now, and comes when all other files have nothing to give.
    pub fn next(&mut self, keys: &dyn SpoolKeys) -> Result<SpoolEvent, SpoolError> {
        if let Ok(Some(event)) = self.advance(keys) {
            return Ok(event);
        }
        self.find_files()?;
        Ok(self.advance(keys)?.unwrap_or(SpoolEvent::Idle))
    }

    fn advance(&mut self, keys: &dyn SpoolKeys) -> Result<Option<SpoolEvent>, SpoolError> {
        let mut failed = None;
        for (&place, reader) in &mut self.waiting {
            let event = match next_of(reader, &self.folders, place.1, keys) {
                Ok(event) => event,
                Err(error) => {
                    failed = failed.or(Some(error));
                    continue;
                }
            };
            if matches!(event, SpoolEvent::FileDone { .. }) || reader.is_none() {
                self.waiting.remove(&place);
            } else if matches!(event, SpoolEvent::Idle) {
                continue;
            }
            return Ok(Some(event));
        }
        failed.map_or(Ok(None), Err)
    }

    /// Takes note of files that are new.
    fn find_files(&mut self) -> Result<(), SpoolError> {
        for id in self.list()? {
            if self.known.contains_key(&id) {
                continue;
            }
            let created = match created(&self.folders, id) {
                Ok(None) => continue, // its writer took it back: nothing in it was acknowledged
                Ok(Some(created)) => created,
                Err(_) => Timestamp(0), // told when it is its turn
            };
            self.known.insert(id, created);
            self.waiting.insert((created, id), None);
        }
        Ok(())
    }

    /// The ids of all files in any folder. One of two folders may be gone with its disk.
    fn list(&mut self) -> Result<Vec<SpoolFileId>, SpoolError> {
        self.missing.clear();
        let mut ids = Vec::new();
        for folder in &self.folders {
            match ids_in(folder) {
                Ok(found) => ids.extend(found),
                Err(_) if self.missing.len() + 1 < self.folders.len() => {
                    self.missing.push(folder.clone());
                }
                Err(error) => return Err(at("list", folder)(error).into()),
            }
        }
        ids.sort_unstable();
        ids.dedup();
        Ok(ids)
    }

    /// Removes a file durably from every folder. Only for files whose mails are all archived.
    pub fn remove(&mut self, file: SpoolFileId) -> Result<(), SpoolError> {
        let remove = |folder: &PathBuf| durable::remove(&path_of(folder, file));
        let removed: Vec<_> = self.folders.iter().map(remove).collect();
        removed.into_iter().collect::<Result<Vec<()>, _>>()?;
        if let Some(created) = self.known.remove(&file) {
            self.waiting.remove(&(created, file));
        }
        Ok(())
    }
}

fn ids_in(folder: &Path) -> io::Result<Vec<SpoolFileId>> {
    let mut ids = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let name = PathBuf::from(entry?.file_name());
        let stem = name.file_stem().unwrap_or_default().to_string_lossy();
        if name.extension().is_some_and(|suffix| suffix == SUFFIX) {
            ids.extend(stem.parse::<SpoolFileId>());
        }
    }
    Ok(ids)
}

fn copies_of(folders: &[PathBuf], id: SpoolFileId) -> Result<Copies, SpoolError> {
    Copies::open(folders.iter().map(|folder| path_of(folder, id)))
}

/// When the file was begun, as far as its header tells; `None` where there is no such file.
fn created(folders: &[PathBuf], id: SpoolFileId) -> Result<Option<Timestamp>, SpoolError> {
    let copies = copies_of(folders, id)?;
    if copies.is_empty() {
        return Ok(None);
    }
    let headers = copies.headers::<PREAMBLE>()?;
    let mut preambles = headers.iter().filter_map(|header| Preamble::decode(header));
    let created = preambles.next().map(|preamble| preamble.created);
    Ok(Some(created.unwrap_or(Timestamp(0))))
}

/// The next event of a file, which is begun where it is its turn.
fn next_of(
    reader: &mut Option<Box<FileReader>>,
    folders: &[PathBuf],
    id: SpoolFileId,
    keys: &dyn SpoolKeys,
) -> Result<SpoolEvent, SpoolError> {
    match reader {
        Some(reader) => reader.next(),
        None => match begin(copies_of(folders, id)?, id, keys)? {
            Ok(begun) => reader.insert(Box::new(begun)).next(),
            Err(event) => Ok(event),
        },
    }
}

/// Opens the chain key from the first copy whose header allows it; else what is to be told.
fn begin(
    copies: Copies,
    id: SpoolFileId,
    keys: &dyn SpoolKeys,
) -> Result<Result<FileReader, SpoolEvent>, SpoolError> {
    if copies.is_empty() {
        return Ok(Err(SpoolEvent::FileDone {
            file: id,
            sound: true,
        })); // taken back by its writer
    }
    let mut no_key = None;
    for header in copies.headers::<HEADER>()? {
        let Some(preamble) = Preamble::decode(&header).filter(|preamble| preamble.file == id)
        else {
            continue;
        };
        let (associated, sealed) = header.split_at(PREAMBLE);
        match keys.open(&preamble.key, INFO, associated, sealed) {
            None => {
                no_key = Some(SpoolEvent::NoKey {
                    file: id,
                    key: preamble.key,
                })
            }
            Some(Err(_)) => {}
            Some(Ok(chain)) => {
                if let Some(chain) = Key::from_slice(chain.expose()) {
                    return Ok(Ok(FileReader::new(id, copies, Ratchet::new(chain))));
                }
            }
        }
    }
    let what = "the header does not open; no mail in it can be read";
    Ok(Err(no_key.unwrap_or_else(|| {
        SpoolEvent::Damage(copies.damage(0, what, false))
    })))
}

struct FileReader {
    id: SpoolFileId,
    copies: Copies,
    ratchet: Ratchet,
    offset: u64,
    gathered: Option<Gathered>,
    /// The previous frame could not be read.
    lost_before: bool,
    /// Nothing follows, or nothing that can be read.
    over: bool,
    sound: bool,
    /// Damage already found, to be told before anything else.
    pending: Vec<SpoolDamage>,
}

impl FileReader {
    const fn new(id: SpoolFileId, copies: Copies, ratchet: Ratchet) -> Self {
        let offset = HEADER as u64;
        Self {
            id,
            copies,
            ratchet,
            offset,
            gathered: None,
            lost_before: false,
            over: false,
            sound: true,
            pending: Vec::new(),
        }
    }

    fn next(&mut self) -> Result<SpoolEvent, SpoolError> {
        loop {
            if let Some(damage) = self.pending.pop() {
                return Ok(SpoolEvent::Damage(damage));
            }
            if self.over {
                return Ok(self.done());
            }
            let before = self.ratchet.duplicate();
            let key = self.ratchet.next_key();
            let found = self.copies.frame(self.offset, &key);
            match found.inspect_err(|_| self.ratchet = before.duplicate())? {
                Found::Frame {
                    head,
                    plain,
                    damaged,
                } => {
                    self.pending.extend(damaged);
                    let start = (self.offset, before);
                    self.offset += head.span();
                    self.lost_before = false;
                    match head.kind {
                        Kind::Data => self.gather(head.mail, start, plain),
                        Kind::Close => {
                            if let Some(event) = self.close(head.mail, &plain) {
                                return Ok(event);
                            }
                        }
                        Kind::End => self.over = true,
                    }
                }
                Found::NotYet => {
                    self.ratchet = before;
                    return Ok(SpoolEvent::Idle);
                }
                Found::Over => self.over = true,
                Found::Damaged { damage, skip } => {
                    self.sound = false;
                    self.gathered = None;
                    // Twice in a row: where the next frame begins is lost, and all behind it.
                    match skip.filter(|_| !self.lost_before) {
                        Some(span) => self.offset += span,
                        None => self.over = true,
                    }
                    self.lost_before = true;
                    return Ok(SpoolEvent::Damage(damage));
                }
            }
        }
    }

    const fn done(&self) -> SpoolEvent {
        SpoolEvent::FileDone {
            file: self.id,
            sound: self.sound,
        }
    }

    fn gather(&mut self, mail: u32, start: (u64, Ratchet), plain: SecretBytes) {
        match self
            .gathered
            .take()
            .filter(|gathered| gathered.mail() == mail)
        {
            Some(mut gathered) => {
                gathered.push(plain);
                self.gathered = Some(gathered);
            }
            None => self.gathered = Some(Gathered::new(mail, start, plain)),
        }
    }

    /// The mail that this closing frame completes, if all its frames were there.
    fn close(&mut self, mail: u32, plain: &SecretBytes) -> Option<SpoolEvent> {
        let gathered = self
            .gathered
            .take()
            .filter(|gathered| gathered.mail() == mail);
        let closing = Closing::decode(plain.expose());
        if let (Some(gathered), Some(closing)) = (gathered, closing)
            && gathered.length() == closing.length
            && gathered.sha256() == closing.sha256
        {
            return Some(SpoolEvent::Mail(Box::new(SpooledMail {
                id: SpoolId {
                    file: self.id,
                    number: mail,
                },
                envelope: closing.envelope,
                length: closing.length,
                sha256: closing.sha256,
                body: gathered.into_body(&self.copies, closing.length),
            })));
        }
        self.sound = false;
        let what = "the mail closed here lacks frames that are damaged";
        self.pending
            .push(self.copies.damage(self.offset, what, false));
        None
    }
}

#[cfg(test)]
mod tests {
    use super::super::file::SpoolFile;
    use super::*;
    use crate::crypto::hpke::OpeningKey;
    use crate::intake::envelope::Source;

    /// A published file with one mail, whose writer is gone.
    fn one_mail(folders: &[PathBuf], key: &OpeningKey) -> SpoolFileId {
        let sealing = key.sealing_key();
        let mut file = SpoolFile::create(folders, &sealing, Timestamp(1)).expect("a file");
        let closing = Closing {
            length: 4,
            sha256: Digest::of(b"mail"),
            envelope: Envelope {
                tenant: "main".parse().expect("a tenant"),
                sender: String::new(),
                parameters: Vec::new(),
                recipients: Vec::new(),
                arrived: Timestamp(1),
                source: Source::Lmtp {
                    uid: 0,
                    helo: String::new(),
                },
            },
        };
        let closing = closing.encode().expect("fits");
        let mut frames = Vec::new();
        file.seal(Kind::Data, 0, &[b"mail"], &mut frames);
        file.seal(Kind::Close, 0, &[&closing], &mut frames);
        file.commit(&frames, 1).expect("written");
        file.publish().expect("published");
        let id = file.id();
        file.finish();
        id
    }

    #[test]
    fn a_passing_error_of_the_disk_costs_no_mail() {
        let folder = tempfile::tempdir().expect("a folder");
        let folders = [folder.path().to_owned()];
        let key = OpeningKey::generate();
        let id = one_mail(&folders, &key);
        let keys = |_: &Digest, info: &[u8], associated: &[u8], sealed: &[u8]| {
            Some(key.open(info, associated, sealed))
        };
        let copies = copies_of(&folders, id).expect("opened");
        let begun = begin(copies, id, &keys).expect("read");
        let Ok(mut reader) = begun else {
            panic!("a header that opens");
        };
        // A folder opens like a file, and no read of it succeeds.
        let broken = Copies::open([folder.path().to_owned()].into_iter()).expect("opened");
        let good = std::mem::replace(&mut reader.copies, broken);
        assert!(reader.next().is_err());
        assert!(reader.next().is_err(), "tried again");
        reader.copies = good;
        let event = reader.next().expect("read");
        assert!(matches!(event, SpoolEvent::Mail(mail) if mail.length == 4));
    }
}
