//! What several tests need: a key, a spool, an envelope, and what a reader finds.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use strongroom::crypto::hpke::{HpkeError, OpeningKey};
use strongroom::id::{Digest, SpoolFileId, SpoolId};
use strongroom::intake::envelope::{Envelope, Recipient, Source};
use strongroom::intake::spool::{
    NotSpooled, Spool, SpoolConfig, SpoolDamage, SpoolEvent, SpoolReader, SpoolWriter, SpooledMail,
};
use strongroom::secret::SecretBytes;
use strongroom::time::{SystemClock, Timestamp};

pub fn envelope(recipient: &str) -> Envelope {
    Envelope {
        tenant: "main".parse().expect("tenant"),
        sender: "ann@example.org".into(),
        parameters: vec!["BODY=8BITMIME".into()],
        recipients: vec![Recipient {
            address: recipient.into(),
            parameters: vec![],
        }],
        arrived: Timestamp(1_700_000_000_000),
        source: Source::Lmtp {
            uid: 0,
            helo: "test".into(),
        },
    }
}

pub fn start(folders: &[PathBuf], key: &OpeningKey) -> SpoolWriter {
    SpoolWriter::start(
        SpoolConfig::new(folders.to_vec()),
        key.sealing_key(),
        Arc::new(SystemClock),
    )
    .expect("spool")
}

pub async fn put(spool: &Spool, body: &[u8]) -> Result<SpoolId, NotSpooled> {
    let mut incoming = spool.incoming();
    for piece in body.chunks(100_000) {
        incoming.write(piece).await?;
    }
    incoming.finish(envelope("bob@example.org")).await
}

/// Everything a fresh reader finds.
#[derive(Default)]
pub struct Found {
    pub mails: Vec<(SpoolId, Vec<u8>)>,
    pub envelopes: Vec<Envelope>,
    pub damage: Vec<SpoolDamage>,
    pub done: Vec<(SpoolFileId, bool)>,
    pub no_key: usize,
}

impl Found {
    pub fn ids(&self) -> Vec<SpoolId> {
        self.mails.iter().map(|(id, _)| *id).collect()
    }
}

pub fn read_all(folders: &[PathBuf], key: &OpeningKey) -> Found {
    read_on(&mut SpoolReader::new(folders.to_vec()), key)
}

pub fn read_on(reader: &mut SpoolReader, key: &OpeningKey) -> Found {
    let fingerprint = key.sealing_key().fingerprint();
    let keys = |wanted: &Digest,
                info: &[u8],
                associated: &[u8],
                sealed: &[u8]|
     -> Option<Result<SecretBytes, HpkeError>> {
        (*wanted == fingerprint).then(|| key.open(info, associated, sealed))
    };
    let mut found = Found::default();
    loop {
        match reader.next(&keys).expect("the disk works") {
            SpoolEvent::Mail(mail) => {
                found.mails.push((mail.id, bytes_of(&mail)));
                found.envelopes.push(mail.envelope);
            }
            SpoolEvent::FileDone { file, sound } => found.done.push((file, sound)),
            SpoolEvent::Damage(damage) => found.damage.push(damage),
            SpoolEvent::NoKey { .. } => found.no_key += 1,
            SpoolEvent::Idle => return found,
        }
    }
}

fn bytes_of(mail: &SpooledMail) -> Vec<u8> {
    let mut bytes = Vec::new();
    mail.body
        .open()
        .read_to_end(&mut bytes)
        .expect("the body opens");
    assert_eq!(bytes.len() as u64, mail.length);
    assert_eq!(Digest::of(&bytes), mail.sha256);
    bytes
}

/// The spool files in a folder, whatever they are called.
pub fn files_in(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("list");
    entries.map(|entry| entry.expect("entry").path()).collect()
}

pub fn text(length: usize, seed: u8) -> Vec<u8> {
    (0..length)
        .map(|at| (at as u8).wrapping_mul(31).wrapping_add(seed))
        .collect()
}
