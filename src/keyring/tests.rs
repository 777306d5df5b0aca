use super::*;
use crate::officer::tests::officer;
use crate::secret::Key;
use proptest::prelude::*;

fn keyring(recovery: &OpeningKey) -> Keyring {
    let officers = Officers {
        required: 2,
        list: ["Ada", "Ben"]
            .map(|name| officer(name).public().clone())
            .to_vec(),
    };
    let founding = Founding {
        box_id: BoxId::random(),
        tenants: vec!["main".parse().expect("tenant")],
        recovery: recovery.sealing_key(),
        officers,
        policy: Digest::of(b"policy"),
        head: TreeHead {
            size: 0,
            root: Digest::of(b""),
            time: Timestamp(0),
        },
    };
    Keyring::found(founding, Timestamp(0))
}

fn secret(anchor: u8) -> Key {
    box_secret(&Key::copy_from(&[1; 32]), &Key::copy_from(&[anchor; 32]))
}

#[test]
fn one_file_opens_in_two_ways() {
    let recovery = OpeningKey::generate();
    let made = keyring(&recovery);
    let file = made.seal(&secret(1)).expect("sealed");
    let main = "main".parse().expect("tenant");
    let by_box = Keyring::open_with_box_secret(&file, &secret(1)).expect("box");
    let by_officers = Keyring::open_with_recovery_key(&file, &recovery).expect("officers");
    for opened in [by_box, by_officers] {
        assert_eq!(
            opened.tenants[&main].archive[&1].expose(),
            made.tenants[&main].archive[&1].expose()
        );
        assert_eq!(opened.ledger_auth.expose(), made.ledger_auth.expose());
        assert_eq!(opened.spool[0].seed.expose(), made.spool[0].seed.expose());
        assert_eq!(
            (opened.officers, opened.head),
            (made.officers.clone(), made.head)
        );
    }
    assert_eq!(describe(&file).expect("description").generation, 1);
}

#[test]
fn a_new_anchor_locks_every_older_keyring() {
    let recovery = OpeningKey::generate();
    let older = keyring(&recovery).seal(&secret(1)).expect("sealed");
    assert!(matches!(
        Keyring::open_with_box_secret(&older, &secret(2)),
        Err(KeyringError::OtherBoxSecret)
    ));
    let other = OpeningKey::generate();
    assert!(matches!(
        Keyring::open_with_recovery_key(&older, &other),
        Err(KeyringError::OtherRecoveryKey(_))
    ));
}

#[test]
fn a_body_of_another_generation_does_not_fit() {
    let recovery = OpeningKey::generate();
    let mut ring = keyring(&recovery);
    let first = ring.seal(&secret(1)).expect("sealed");
    ring.generation = 2;
    let second = ring.seal(&secret(1)).expect("sealed");
    let front = 8 + 2 + 16 + 8 + 60 + 1168;
    let mut mixed = second[..front].to_vec();
    mixed.extend(&first[front..first.len() - 32]);
    let checksum = Digest::of(&mixed);
    mixed.extend(checksum.0);
    assert!(matches!(
        Keyring::open_with_box_secret(&mixed, &secret(1)),
        Err(KeyringError::Body(_))
    ));
}

#[test]
fn the_static_capsule_opens_with_the_recovery_key_alone() {
    let recovery = OpeningKey::generate();
    let capsule = StaticCapsule {
        owner_auth: random::key(),
        lockout_auth: random::key(),
    };
    let box_id = BoxId::random();
    let file = capsule
        .seal(box_id, &recovery.sealing_key())
        .expect("sealed");
    let (read_id, read) = StaticCapsule::open(&file, &recovery).expect("opens");
    assert_eq!(
        (read_id, read.owner_auth.expose()),
        (box_id, capsule.owner_auth.expose())
    );
    assert!(StaticCapsule::open(&file, &OpeningKey::generate()).is_err());
    for at in 0..file.len() {
        let mut altered = file.clone();
        altered[at] ^= 1;
        assert!(
            StaticCapsule::open(&altered, &recovery).is_err(),
            "byte {at}"
        );
    }
}

#[test]
fn the_spool_key_rotates_when_it_is_due() {
    let mut ring = keyring(&OpeningKey::generate());
    assert!(!ring.rotate_spool_key(Timestamp::from_seconds(6 * 86_400), 7));
    assert!(ring.rotate_spool_key(Timestamp::from_seconds(7 * 86_400), 7));
    assert_eq!(
        ring.spool.len(),
        2,
        "the old key stays for what lies in the spool"
    );
}

#[test]
fn debug_shows_no_key() {
    let ring = keyring(&OpeningKey::generate());
    let shown = format!("{ring:?}");
    assert!(shown.contains("index: Key(..)") && shown.contains("seed: Key(..)"));
}

#[test]
fn every_flipped_byte_and_every_cut_is_named() {
    let recovery = OpeningKey::generate();
    let file = keyring(&recovery).seal(&secret(1)).expect("sealed");
    for at in 0..file.len() {
        let mut altered = file.clone();
        altered[at] ^= 1 << (at % 8);
        for result in [
            Keyring::open_with_box_secret(&altered, &secret(1)),
            Keyring::open_with_recovery_key(&altered, &recovery),
        ] {
            let error = result.expect_err("altered");
            let named = matches!(
                error,
                KeyringError::Damaged | KeyringError::OtherFile { .. }
            );
            assert!(named, "byte {at}: {error}");
        }
        assert!(
            Keyring::open_with_box_secret(&file[..at], &secret(1)).is_err(),
            "cut at {at}"
        );
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..1500), kind in 0..3) {
        let magic: &[u8] = match kind { 0 => b"SRkeyrng", 1 => b"SRstatic", _ => b"" };
        bytes.splice(..0, magic.iter().copied());
        let checksum = Digest::of(&bytes);
        bytes.extend(checksum.0);
        prop_assert!(Keyring::open_with_box_secret(&bytes, &secret(1)).is_err());
        prop_assert!(StaticCapsule::open(&bytes, &OpeningKey::from_seed(secret(2))).is_err());
    }
}
