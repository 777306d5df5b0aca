use super::*;

fn anna() -> Person {
    Person {
        name: "anna".into(),
        tenant: "main".parse().expect("tenant"),
        mailboxes: vec!["anna@example.org".into()],
        password: hash_password(&secret("correct horse")).expect("hash"),
        active: true,
        officer: None,
        auditor: false,
    }
}

fn secret(text: &str) -> SecretBytes {
    SecretBytes::from(text.to_owned())
}

#[test]
fn a_session_needs_the_password_and_ends() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("people");
    let key = random::key();
    let mut people = People::open(&path, &key, Recorded::default()).expect("new");
    set(&mut people, anna(), "1");
    let now = Timestamp::from_seconds(1000);
    assert!(matches!(
        people.sign_in("anna", &secret("wrong password"), now),
        Err(PeopleError::WrongPassword)
    ));
    assert!(matches!(
        people.sign_in("berta", &secret("correct horse"), now),
        Err(PeopleError::WrongPassword)
    ));
    let token = people
        .sign_in("anna", &secret("correct horse"), now)
        .expect("sign in");
    assert_eq!(people.person(&token, now).expect("session").name, "anna");
    assert!(!format!("{:?}", anna()).contains("argon2"), "never printed");
    let later = now.plus_seconds(SESSION_SECONDS);
    assert!(people.person(&token, later).is_err(), "sessions end");
    let closed = Person {
        active: false,
        ..anna()
    };
    set(&mut people, closed, "2");
    assert!(
        people.person(&token, now).is_err(),
        "a closed account has no session"
    );
}

#[test]
fn guessing_has_to_wait() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("people");
    let mut people = People::open(&path, &random::key(), Recorded::default()).expect("new");
    set(&mut people, anna(), "1");
    let now = Timestamp::from_seconds(1000);
    for _ in 0..PATIENCE {
        assert!(
            people
                .sign_in("anna", &secret("wrong password"), now)
                .is_err()
        );
    }
    assert!(matches!(
        people.sign_in("anna", &secret("correct horse"), now),
        Err(PeopleError::Wait(_))
    ));
    assert!(
        people
            .sign_in("anna", &secret("correct horse"), now.plus_seconds(61))
            .is_ok()
    );
}

#[test]
fn the_file_is_sealed_and_any_change_is_noticed() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("people");
    let key = random::key();
    let open = || People::open(&path, &key, Recorded::default());
    set(&mut open().expect("new"), anna(), "1");
    let mut bytes = std::fs::read(&path).expect("read");
    assert!(
        !bytes.windows(4).any(|window| window == b"anna"),
        "no name in the clear"
    );
    assert_eq!(open().expect("again").count(), 1);
    bytes[20] ^= 1;
    std::fs::write(&path, &bytes).expect("write");
    assert!(matches!(open(), Err(PeopleError::Altered)));
}

#[test]
fn neither_an_old_statement_nor_an_old_file_counts_again() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("people");
    let key = random::key();
    let mut people = People::open(&path, &key, Recorded::default()).expect("new");
    set(&mut people, anna(), "1");
    let old = std::fs::read(&path).expect("read");
    let closed = Person {
        active: false,
        ..anna()
    };
    let file = set(&mut people, closed, "2");
    let again = people.prepare(anna(), Digest::of(b"1"));
    assert!(matches!(again, Err(PeopleError::Used)));

    let recorded = || Recorded {
        statements: ["1", "2"].map(|text| Digest::of(text.as_bytes())).into(),
        file: Some(file),
    };
    let open = || People::open(&path, &key, recorded()).expect("opens");
    assert!(open().warning().is_none());
    let new = std::fs::read(&path).expect("read");
    for put_back in [Some(old), None] {
        match put_back {
            Some(bytes) => std::fs::write(&path, bytes).expect("write"),
            None => std::fs::remove_file(&path).expect("remove"),
        }
        let mut people = open();
        assert!(people.warning().is_some());
        let now = Timestamp::from_seconds(1000);
        assert!(
            people
                .sign_in("anna", &secret("correct horse"), now)
                .is_err()
        );
        let again = people.prepare(anna(), Digest::of(b"1"));
        assert!(matches!(again, Err(PeopleError::Used)));
    }
    // The power went after the ledger had the change.
    std::fs::write(path.with_extension("next"), new).expect("write");
    let people = open();
    assert!(people.warning().is_none());
    assert_eq!(people.count(), 1);
}

#[test]
fn a_change_that_the_ledger_has_counts_though_the_disk_is_full() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("people");
    let key = random::key();
    let mut people = People::open(&path, &key, Recorded::default()).expect("new");
    let change = people.prepare(anna(), Digest::of(b"1")).expect("prepared");
    // Where the new file would be written, is a folder.
    let scratch = folder.path().join("people.new");
    std::fs::create_dir(&scratch).expect("a folder");
    assert!(people.take(change).is_err());
    let now = Timestamp::from_seconds(1000);
    people
        .sign_in("anna", &secret("correct horse"), now)
        .expect("signed in");
    std::fs::remove_dir(&scratch).expect("removed");
    let bert = Person {
        name: "bert".into(),
        ..anna()
    };
    let file = set(&mut people, bert, "2");
    let recorded = Recorded {
        file: Some(file),
        ..Recorded::default()
    };
    let people = People::open(&path, &key, recorded).expect("opens");
    assert!(people.warning().is_none());
    assert_eq!(people.count(), 2);
}

fn set(people: &mut People, person: Person, statement: &str) -> Digest {
    let change = people.prepare(person, Digest::of(statement.as_bytes()));
    let change = change.expect("prepared");
    let file = change.file;
    people.take(change).expect("set");
    file
}

#[test]
fn what_is_no_name_and_no_mailbox_is_not_entered_and_only_an_open_account_is_closed() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("people");
    let mut people = People::open(&path, &random::key(), Recorded::default()).expect("new");
    let enter = |name: &str, mailbox: &str| {
        people
            .check(name, &[mailbox.to_owned()], true)
            .map_err(|error| error.to_string())
    };
    assert_eq!(enter("Anna Bäcker", "anna@example.org"), Ok(()));
    for name in [
        "",
        " anna",
        "anna\n2026-01-01 bert",
        "a\u{1b}[2K",
        &"a".repeat(65),
    ] {
        assert!(enter(name, "anna@example.org").is_err_and(|why| why.contains("sign-in name")));
    }
    for mailbox in [
        "",
        "anna",
        "@example.org",
        "anna@",
        "an na@example.org",
        "*@example.org",
    ] {
        assert!(enter("anna", mailbox).is_err_and(|why| why.contains("not a mailbox")));
    }
    let closed = |people: &People| people.check("anna", &[], false);
    assert!(matches!(closed(&people), Err(PeopleError::NoAccount(_))));
    set(&mut people, anna(), "1");
    assert!(closed(&people).is_ok());
    set(
        &mut people,
        Person {
            active: false,
            ..anna()
        },
        "2",
    );
    assert!(matches!(closed(&people), Err(PeopleError::NoAccount(_))));
}
