//! Two copies of each spool file: whatever happens to one, the other serves.

use crate::spool::closed_file;
use crate::support::{files_in, read_all, read_on, text};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use strongroom::crypto::hpke::OpeningKey;
use strongroom::id::Digest;
use strongroom::intake::spool::{SpoolEvent, SpoolReader};

#[test]
fn the_second_folder_serves_where_the_first_is_damaged_or_missing() {
    // I2
    let folder = tempfile::tempdir().expect("folder");
    let folders = [folder.path().join("one"), folder.path().join("two")];
    let key = OpeningKey::generate();
    let ids = closed_file(&folders, &key, &[text(3000, 1), text(3000, 2)]);
    let path = files_in(&folders[0]).remove(0);
    let good = fs::read(&path).expect("read");
    for at in [70, 2000, 1232 + 5, good.len() - 3] {
        let mut bad = good.clone();
        bad[at] ^= 1;
        fs::write(&path, bad).expect("write");
        let found = read_all(&folders, &key);
        assert_eq!(found.ids(), ids, "flipped at {at}");
        assert!(
            at < 1232
                || found
                    .damage
                    .iter()
                    .any(|damage| damage.path == path && damage.recovered)
        );
        assert!(found.done.iter().all(|(_, sound)| *sound));
    }
    fs::remove_file(&path).expect("remove");
    assert_eq!(read_all(&folders, &key).ids(), ids);
    fs::remove_dir(&folders[0]).expect("remove");
    let mut reader = SpoolReader::new(folders.to_vec());
    let found = read_on(&mut reader, &key);
    assert_eq!(found.ids(), ids);
    assert_eq!(reader.missing(), &folders[..1]);
    reader.remove(found.done[0].0).expect("removed");
    fs::remove_dir(&folders[1]).expect("remove");
    let none = |_: &Digest, _: &[u8], _: &[u8], _: &[u8]| None;
    assert!(reader.next(&none).is_err(), "no folder is left");
}

type Put = fn(&Path);

/// What may lie in the place of a copy that no system call reads: each gives an error of its own.
const UNREADABLE: [(&str, Put); 3] = [
    ("a folder", |path| fs::create_dir(path).expect("a folder")),
    ("a pipe", |path| {
        nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
    }),
    ("a link to itself", |path| {
        symlink(path, path).expect("a link");
    }),
];

fn clear(path: &Path) {
    if path.is_dir() {
        fs::remove_dir(path).expect("removed");
    } else {
        let _ = fs::remove_file(path);
    }
}

#[test]
fn a_copy_that_the_system_cannot_read_is_told_once_and_the_other_serves() {
    // I2
    let folder = tempfile::tempdir().expect("folder");
    let folders = [folder.path().join("one"), folder.path().join("two")];
    let key = OpeningKey::generate();
    // The second mail lies in several frames and is read from the disk twice.
    let ids = closed_file(&folders, &key, &[text(3000, 1), text((1 << 20) + 1, 2)]);
    for copy in folders.iter().flat_map(|folder| files_in(folder)) {
        let good = fs::read(&copy).expect("read");
        for (what, put) in UNREADABLE {
            clear(&copy);
            put(&copy);
            let found = read_all(&folders, &key);
            let mut given = found.ids();
            given.sort();
            let mut sent = ids.clone();
            sent.sort();
            assert_eq!(given, sent, "{what}");
            let told: Vec<_> = found.damage.iter().map(|one| &one.path).collect();
            assert_eq!(told, [&copy], "{what}: {:?}", found.damage);
            assert!(found.damage[0].recovered && found.damage[0].what.contains("cannot read"));
            assert!(found.done.iter().all(|(_, sound)| *sound), "{what}");
        }
        clear(&copy);
        fs::write(&copy, good).expect("put back");
    }
}

#[test]
fn a_file_is_kept_where_its_sound_copy_ends_early_and_the_other_cannot_be_read() {
    let folder = tempfile::tempdir().expect("folder");
    let folders = [folder.path().join("one"), folder.path().join("two")];
    let key = OpeningKey::generate();
    let ids = closed_file(&folders, &key, &[text(3000, 1), text(3000, 2)]);
    let copies = folders.each_ref().map(|folder| files_in(folder).remove(0));
    let whole = fs::read(&copies[1]).expect("read");
    clear(&copies[0]);
    fs::create_dir(&copies[0]).expect("a folder");
    fs::write(&copies[1], &whole[..whole.len() * 3 / 4]).expect("cut");
    let found = read_all(&folders, &key);
    assert_eq!(found.ids(), ids[..1], "{:?}", found.damage);
    assert!(found.damage.iter().any(|damage| damage.path == copies[0]));
    assert!(matches!(found.done[..], [(_, false)]), "kept for people");
}

#[test]
fn a_spool_folder_that_cannot_be_listed_is_named_and_the_other_serves() {
    let folder = tempfile::tempdir().expect("folder");
    let folders = [folder.path().join("one"), folder.path().join("two")];
    let key = OpeningKey::generate();
    let ids = closed_file(&folders, &key, &[text(3000, 1)]);
    fs::remove_dir_all(&folders[0]).expect("removed");
    fs::write(&folders[0], "not a folder").expect("a file");
    let mut reader = SpoolReader::new(folders.to_vec());
    let found = read_on(&mut reader, &key);
    assert_eq!(found.ids(), ids);
    assert_eq!(reader.missing(), &folders[..1]);
    let second: PathBuf = files_in(&folders[1]).remove(0);
    assert!(reader.remove(found.done[0].0).is_err(), "the first is told");
    assert!(!second.exists(), "and the second removed all the same");
}

#[test]
fn a_file_that_the_system_cannot_read_for_a_while_holds_up_no_other() {
    let folder = tempfile::tempdir().expect("folder");
    let folders = [folder.path().to_owned()];
    let key = OpeningKey::generate();
    let older = closed_file(&folders, &key, &[text(3000, 1)]);
    let broken = files_in(folder.path()).remove(0);
    let younger = closed_file(&folders, &key, &[text(3000, 2)]);
    let good = fs::read(&broken).expect("read");
    clear(&broken);
    fs::create_dir(&broken).expect("a folder");
    let mut reader = SpoolReader::new(folders.to_vec());
    let keys = |_: &Digest, info: &[u8], associated: &[u8], sealed: &[u8]| {
        Some(key.open(info, associated, sealed))
    };
    let event = reader.next(&keys).expect("the younger file is read");
    assert!(matches!(event, SpoolEvent::Mail(mail) if mail.id == younger[0]));
    let event = reader.next(&keys).expect("and to its end");
    assert!(matches!(event, SpoolEvent::FileDone { .. }));
    assert!(reader.next(&keys).is_err(), "then the older one is told");
    clear(&broken);
    fs::write(&broken, good).expect("put back");
    assert_eq!(read_on(&mut reader, &key).ids(), older);
}
