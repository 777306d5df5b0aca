//! The spool: whatever happens to its files, a mail is given out once and right, or its loss named.

use crate::support::{envelope, files_in, put, read_all, read_on, start, text};
use proptest::prelude::*;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use strongroom::crypto::hpke::OpeningKey;
use strongroom::id::SpoolId;
use strongroom::intake::spool::{
    CurrentKey, SpoolConfig, SpoolError, SpoolReader, SpoolWriter, key_file,
};
use strongroom::time::SystemClock;

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("runtime")
        .block_on(work)
}

/// A closed spool file with these mails, in each of `folders`.
pub fn closed_file(folders: &[PathBuf], key: &OpeningKey, mails: &[Vec<u8>]) -> Vec<SpoolId> {
    let writer = start(folders, key);
    let ids = block_on(async {
        let mut ids = Vec::new();
        for mail in mails {
            ids.push(put(&writer.spool(), mail).await.expect("accepted"));
        }
        ids
    });
    writer.close().expect("closed");
    ids
}

#[test]
fn mails_come_back_exactly_and_in_order() {
    // C2, I2
    let folder = tempfile::tempdir().expect("folder");
    let folders = [folder.path().join("one"), folder.path().join("two")];
    let key = OpeningKey::generate();
    let mails = vec![
        text(0, 0),
        text(5, 1),
        text(1 << 20, 2),
        text((1 << 20) + 1, 3),
        text(5_000_000, 4),
        text(7, 5),
    ];
    let ids = closed_file(&folders, &key, &mails);
    let found = read_all(&folders, &key);
    for (id, mail) in ids.iter().zip(&mails) {
        assert_eq!(
            found
                .mails
                .iter()
                .filter(|(found, bytes)| found == id && bytes == mail)
                .count(),
            1
        );
    }
    assert_eq!(found.mails.len(), mails.len());
    assert!(
        found
            .envelopes
            .iter()
            .all(|found| *found == envelope("bob@example.org"))
    );
    assert!(found.damage.is_empty() && found.done.iter().all(|(_, sound)| *sound));
    for (one, two) in [(&folders[0], &folders[1]), (&folders[1], &folders[0])] {
        assert_eq!(files_in(one).len(), files_in(two).len());
    }
    assert_eq!(
        read_all(&folders, &OpeningKey::generate()).no_key,
        found.done.len()
    );
}

#[test]
fn what_lies_on_disk_shows_nothing_of_the_mail() {
    let folder = tempfile::tempdir().expect("folder");
    let key = OpeningKey::generate();
    closed_file(
        &[folder.path().to_owned()],
        &key,
        &[b"a very secret sentence".repeat(50)],
    );
    for path in files_in(folder.path()) {
        let bytes = fs::read(path).expect("read");
        for clear in [
            &b"secret sentence"[..],
            b"bob@example.org",
            b"ann@",
            b"main",
        ] {
            assert!(!bytes.windows(clear.len()).any(|window| window == clear));
        }
    }
}

#[tokio::test]
async fn a_reader_follows_the_writer_and_removes_what_is_done() {
    let folder = tempfile::tempdir().expect("folder");
    let folders = [folder.path().to_owned()];
    let key = OpeningKey::generate();
    let writer = start(&folders, &key);
    let mut reader = SpoolReader::new(folders.to_vec());
    let first = put(&writer.spool(), b"one").await.expect("accepted");
    assert_eq!(read_on(&mut reader, &key).ids(), [first]);
    let second = put(&writer.spool(), b"two").await.expect("accepted");
    let found = read_on(&mut reader, &key);
    assert_eq!(found.ids(), [second]);
    writer.close().expect("closed");
    let mut done = found.done;
    done.extend(read_on(&mut reader, &key).done);
    for (file, _) in done {
        reader.remove(file).expect("removed");
    }
    assert!(files_in(folder.path()).is_empty());
    assert!(read_on(&mut reader, &key).mails.is_empty());
}

#[tokio::test]
async fn an_idle_file_is_closed_by_itself() {
    let folder = tempfile::tempdir().expect("folder");
    let folders = [folder.path().to_owned()];
    let key = OpeningKey::generate();
    let writer = start(&folders, &key);
    put(&writer.spool(), b"one").await.expect("accepted");
    tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
    assert_eq!(
        read_all(&folders, &key).done.len(),
        1,
        "the writer still runs, the file is whole"
    );
    drop(writer);
}

#[tokio::test]
async fn a_mail_that_breaks_off_leaves_nothing() {
    let folder = tempfile::tempdir().expect("folder");
    let folders = [folder.path().to_owned()];
    let key = OpeningKey::generate();
    let writer = start(&folders, &key);
    for length in [10, 3_000_000] {
        let mut incoming = writer.spool().incoming();
        incoming.write(&text(length, 0)).await.expect("taken");
        drop(incoming);
    }
    assert!(files_in(folder.path()).is_empty());
    assert!(read_all(&folders, &key).mails.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn many_sessions_at_once_get_ids_of_their_own() {
    let folder = tempfile::tempdir().expect("folder");
    let folders = [folder.path().to_owned()];
    let key = OpeningKey::generate();
    let writer = start(&folders, &key);
    let sessions: Vec<_> = (0..20u8)
        .map(|session| {
            let spool = writer.spool();
            tokio::spawn(async move {
                let mut ids = Vec::new();
                for number in 0..25u8 {
                    let mail = vec![session, number];
                    ids.push((put(&spool, &mail).await.expect("accepted"), mail));
                }
                ids
            })
        })
        .collect();
    let mut acknowledged = Vec::new();
    for session in sessions {
        acknowledged.extend(session.await.expect("session"));
    }
    writer.close().expect("closed");
    let mut found = read_all(&folders, &key).mails;
    acknowledged.sort();
    found.sort();
    assert_eq!(found, acknowledged);
}

#[test]
fn a_full_disk_is_said_and_costs_no_accepted_mail() {
    let folder = tempfile::tempdir().expect("folder");
    let mounted = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=2m", "tmpfs"])
        .arg(folder.path())
        .status();
    if !mounted.is_ok_and(|status| status.success()) {
        eprintln!(
            "SKIPPED a_full_disk_is_said_and_costs_no_accepted_mail: cannot mount a small tmpfs here"
        );
        return;
    }
    let key = OpeningKey::generate();
    let folders = [folder.path().join("spool")];
    let outcome = std::panic::catch_unwind(|| fill_and_make_room(&folders, &key));
    let _ = std::process::Command::new("umount")
        .arg(folder.path())
        .status();
    outcome.expect("the checks hold");
}

fn fill_and_make_room(folders: &[PathBuf; 1], key: &OpeningKey) {
    let writer = start(folders, key);
    let ballast = folders[0].with_file_name("ballast");
    fs::write(&ballast, vec![0; 1 << 20]).expect("ballast");
    let mut accepted = Vec::new();
    let mut refused = 0;
    block_on(async {
        for number in 0..12 {
            match put(&writer.spool(), &text(200_000, number)).await {
                Ok(id) => accepted.push(id),
                Err(error) => {
                    assert!(matches!(*error, SpoolError::Full(_)), "{error}");
                    refused += 1;
                }
            }
        }
        assert!(
            put(&writer.spool(), &text(3_000_000, 0)).await.is_err(),
            "long mails too"
        );
        fs::remove_file(&ballast).expect("room");
        accepted.push(
            put(&writer.spool(), &text(200_000, 99))
                .await
                .expect("it goes on by itself"),
        );
    });
    writer.close().expect("closed");
    assert!(refused > 0 && accepted.len() > 1);
    let found = read_all(folders, key);
    assert_eq!(found.ids().len(), accepted.len());
    assert!(accepted.iter().all(|id| found.ids().contains(id)));
    assert!(found.damage.is_empty());
}

/// One file with mails of several sizes, for the properties below.
struct Sample {
    key: OpeningKey,
    folder: tempfile::TempDir,
    path: PathBuf,
    bytes: Vec<u8>,
    mails: Vec<(SpoolId, Vec<u8>)>,
    /// Where each mail's closing frame ends.
    ends: Vec<usize>,
}

fn sample() -> Sample {
    let folder = tempfile::tempdir().expect("folder");
    let folders = [folder.path().to_owned()];
    let key = OpeningKey::generate();
    let texts: Vec<_> = [0, 1, 100, 300]
        .into_iter()
        .zip(1..)
        .map(|(length, seed)| text(length, seed))
        .collect();
    let ids = closed_file(&folders, &key, &texts);
    let path = files_in(folder.path()).remove(0);
    let bytes = fs::read(&path).expect("read");
    let mut ends = Vec::new();
    let mut at = 1232;
    while at < bytes.len() {
        let length = u32::from_be_bytes(bytes[at + 5..at + 9].try_into().expect("length")) as usize;
        let closing = bytes[at] == 2;
        at += 9 + length;
        if closing {
            ends.push(at);
        }
    }
    assert_eq!(ends.len(), 4, "all in one file");
    Sample {
        key,
        folder,
        path,
        bytes,
        mails: ids.into_iter().zip(texts).collect(),
        ends,
    }
}

#[test]
fn a_file_cut_anywhere_gives_the_mails_before_the_cut() {
    let sample = sample();
    let folders = [sample.folder.path().to_owned()];
    for cut in (0..1232).step_by(77).chain(1232..=sample.bytes.len()) {
        fs::write(&sample.path, &sample.bytes[..cut]).expect("write");
        let found = read_all(&folders, &sample.key);
        let whole = sample.ends.iter().filter(|end| **end <= cut).count();
        assert_eq!(found.mails, sample.mails[..whole], "cut at {cut}");
        if cut < 1232 {
            // The header is synced before the file has its name, so this is no torn write.
            assert_eq!(found.damage[0].path, sample.path);
            continue;
        }
        assert_eq!(found.done.len(), 1, "a cut file is over, not awaited");
        assert!(
            found.damage.is_empty(),
            "a torn tail was never acknowledged: {:?}",
            found.damage
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn altered_bytes_are_named_and_never_give_a_wrong_mail(
        at in any::<prop::sample::Index>(),
        junk in proptest::collection::vec(any::<u8>(), 1..40),
    ) {
        let sample = sample();
        let folders = [sample.folder.path().to_owned()];
        let mut bad = sample.bytes.clone();
        let at = at.index(bad.len());
        for (place, junk) in bad[at..].iter_mut().zip(&junk) {
            *place = *junk;
        }
        fs::write(&sample.path, &bad).expect("write");
        let found = read_all(&folders, &sample.key);
        for mail in &found.mails {
            prop_assert!(sample.mails.contains(mail), "a mail that was never written");
        }
        let before = sample.ends.iter().filter(|end| **end <= at).count();
        prop_assert!(at < 1232 || found.mails.len() >= before, "mails before the damage are read");
        // Altering a length can make a frame look torn; everything else is named.
        prop_assert!(bad == sample.bytes || !found.damage.is_empty() || found.no_key > 0 || found.mails.len() <= before + 4);
    }
}

#[test]
fn one_damaged_mail_does_not_cost_the_next() {
    let sample = sample();
    let folders = [sample.folder.path().to_owned()];
    let mut bad = sample.bytes.clone();
    bad[sample.ends[1] + 20] ^= 1; // inside the third mail
    fs::write(&sample.path, bad).expect("write");
    let found = read_all(&folders, &sample.key);
    let kept: Vec<_> = [0, 1, 3].map(|number| sample.mails[number].clone()).into();
    assert_eq!(found.mails, kept);
    assert_eq!(found.damage[0].path, sample.path);
    assert_eq!(found.damage[0].offset, sample.ends[1] as u64);
    assert_eq!(
        found
            .done
            .iter()
            .map(|(_, sound)| *sound)
            .collect::<Vec<_>>(),
        [false]
    );
}

#[test]
fn a_renewed_key_seals_the_next_file_of_a_running_writer() {
    // design §5: the keeper renews the spool key while intake runs
    let folder = tempfile::tempdir().expect("folder");
    let folders = [folder.path().join("one")];
    let file = folder.path().join("spool.pub");
    let (old, new) = (OpeningKey::generate(), OpeningKey::generate());
    let config = SpoolConfig {
        rotate_bytes: 1,
        ..SpoolConfig::new(folders.to_vec())
    };
    let key = CurrentKey::renewed_in(old.sealing_key(), file.clone());
    let writer = SpoolWriter::start(config, key, Arc::new(SystemClock)).expect("spool");
    let send = |mail: &[u8]| block_on(put(&writer.spool(), mail)).expect("accepted");
    send(b"before");
    fs::write(file, new.sealing_key().as_bytes()).expect("renewed");
    send(b"after");
    send(&text(2 << 20, 1)); // gets a file of its own
    writer.close().expect("closed");
    let bodies = |key| {
        let found = read_all(&folders, key);
        found.mails.into_iter().map(|(_, mail)| mail)
    };
    assert_eq!(bodies(&old).collect::<Vec<_>>(), [b"before"]);
    let mut after: Vec<usize> = bodies(&new).map(|mail| mail.len()).collect();
    after.sort_unstable();
    assert_eq!(after, [5, 2 << 20]);
}

#[test]
fn an_envelope_that_no_frame_holds_is_refused_and_costs_no_other_mail() {
    let folder = tempfile::tempdir().expect("folder");
    let folders = [folder.path().join("one")];
    let key = OpeningKey::generate();
    let writer = start(&folders, &key);
    let mut large = envelope("bob@example.org");
    large.recipients = vec![envelope(&"b".repeat(4000)).recipients.remove(0); 4900];
    for length in [10, 2 << 20] {
        block_on(put(&writer.spool(), b"before")).expect("accepted");
        let refused = block_on(async {
            let mut incoming = writer.spool().incoming();
            incoming.write(&text(length, 1)).await?;
            incoming.finish(large.clone()).await
        });
        let refused = refused.expect_err("too large an envelope");
        assert!(matches!(*refused, SpoolError::Envelope), "{refused}");
        block_on(put(&writer.spool(), b"after")).expect("accepted");
    }
    writer.close().expect("closed");
    let found = read_all(&folders, &key);
    assert_eq!(found.mails.len(), 4);
    assert!(found.damage.is_empty(), "{:?}", found.damage);
}

#[test]
fn without_a_key_to_seal_to_no_mail_is_taken() {
    let folder = tempfile::tempdir().expect("folder");
    let folders = [folder.path().join("one")];
    let file = folder.path().join("spool.pub");
    let opening = OpeningKey::generate();
    let key = CurrentKey::renewed_in(None, file.clone());
    let config = SpoolConfig::new(folders.to_vec());
    let writer = SpoolWriter::start(config, key, Arc::new(SystemClock)).expect("spool");
    let mut damaged = key_file(&opening.sealing_key());
    damaged[600] ^= 1;
    fs::write(&file, damaged).expect("written");
    let refused = block_on(put(&writer.spool(), b"mail")).expect_err("no key");
    assert!(matches!(*refused, SpoolError::Key), "{refused}");
    fs::remove_file(&file).expect("removed");
    fs::write(&file, key_file(&opening.sealing_key())).expect("mended");
    block_on(put(&writer.spool(), b"mail")).expect("accepted");
    writer.close().expect("closed");
    assert_eq!(read_all(&folders, &opening).mails.len(), 1);
}
