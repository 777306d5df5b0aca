use super::*;
use crate::approval::NotApproved;
use crate::crypto::random;
use crate::crypto::sign::SigningKey;
use crate::keeper::people::StoredPassword;
use data_encoding::BASE64;
use serde_json::Value;

fn scope() -> MailScope {
    MailScope {
        tenant: "main".parse().expect("tenant"),
        mailbox: "anna@example.org".into(),
        from: None,
        until: None,
        purpose: "lost card".into(),
    }
}

fn release() -> Wanted {
    Wanted::Release {
        certificate: BASE64.encode(b"a certificate"),
    }
}

fn person(name: &str, officer: Option<&str>) -> Person {
    Person {
        name: name.into(),
        tenant: "main".parse().expect("tenant"),
        mailboxes: Vec::new(),
        password: StoredPassword::default(),
        active: true,
        officer: officer.map(str::to_owned),
        auditor: false,
    }
}

struct Room {
    folder: tempfile::TempDir,
    keys: BTreeMap<String, SigningKey>,
    cases: Cases,
    now: Timestamp,
}

impl Room {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("folder");
        let keys: BTreeMap<String, SigningKey> = ["a", "b", "c"]
            .map(|name| (name.to_owned(), SigningKey::generate()))
            .into();
        let officers = keys
            .iter()
            .map(|(name, key)| (name.clone(), key.verifying_key()))
            .collect();
        let path = folder.path().join("cases");
        let ended = BTreeMap::new();
        let cases = Cases::new(&path, &random::key(), BoxId::random(), officers, 2, ended);
        let now = Timestamp::from_seconds(1000);
        Self {
            folder,
            keys,
            cases,
            now,
        }
    }

    fn requested(&self, by: &Person) -> CaseId {
        self.wanted(by, release())
    }

    fn wanted(&self, by: &Person, wanted: Wanted) -> CaseId {
        let case = self.cases.request(by, scope(), wanted, self.now);
        let case = case.expect("request");
        self.cases.store(&case).expect("stored");
        case.id()
    }

    fn state(&self, id: CaseId, now: Timestamp) -> String {
        self.cases
            .view(&self.cases.case(id).expect("a case"), now)
            .state
    }

    fn approve(&self, id: CaseId, officer: &str) -> Result<String, CaseError> {
        let statement = self.cases.case(id)?.statement;
        let approval = statement.approve(officer, |bytes| self.keys[officer].sign(bytes));
        let case = self.cases.approve(id, approval, self.now)?;
        self.cases.store(&case)?;
        Ok(self.cases.view(&case, self.now).state)
    }
}

#[test]
fn a_case_needs_m_officers_other_than_the_requester_and_is_released_once() {
    let mut room = Room::new();
    let id = room.requested(&person("C ", None));
    assert!(
        matches!(room.approve(id, "c"), Err(CaseError::Rejected { .. })),
        "C is c"
    );
    room.approve(id, "a").expect("a");
    room.approve(id, "a").expect("a again");
    let now = room.now;
    assert!(
        room.cases.start(id, now).is_err(),
        "one officer twice is one"
    );
    assert_eq!(room.approve(id, "b").expect("b"), "approved");
    let late = now.plus_seconds(CASE_SECONDS + 1);
    assert!(room.cases.start(id, late).is_err(), "approvals expire");
    let approved = room.cases.start(id, now).expect("permission");
    let output_certificate = BASE64.encode(b"a certificate");
    let granted = Grant::Release {
        output_fingerprint: fingerprint(&output_certificate).expect("base64"),
        output_certificate,
    };
    assert_eq!(approved.scope().grant, granted);
    assert!(
        matches!(
            room.cases.reading(id, "C ", now),
            Err(CaseError::OnlyReleased(_))
        ),
        "a release lets nobody read"
    );
    assert!(matches!(room.cases.start(id, now), Err(CaseError::Busy(_))));
    room.cases.releasing(id, now).expect("marked");
    assert!(room.approve(id, "c").is_err(), "too late");
    room.cases.rest(id);
    room.cases
        .start(id, now)
        .expect("cut off, and taken up again");
    room.cases.rest(id);
    room.cases.released(id, now).expect("close");
    assert!(matches!(
        room.cases.start(id, now),
        Err(CaseError::Over(_, "released"))
    ));
    let raw = std::fs::read(room.folder.path().join("cases").join(id.to_string())).expect("file");
    assert!(
        !raw.windows(4).any(|bytes| bytes == b"anna"),
        "no address in the clear"
    );
}

#[test]
fn an_officer_under_another_name_does_not_count_for_the_own_case() {
    let room = Room::new();
    let id = room.requested(&person("anna", Some("b")));
    assert!(matches!(
        room.approve(id, "b"),
        Err(CaseError::Rejected { .. })
    ));
}

#[test]
fn a_case_ends_by_an_officers_no_or_the_requesters_wish() {
    let room = Room::new();
    let anna = person("anna", None);
    let now = room.now;
    let refused = room.requested(&anna);
    let statement = Statement::new("case.refuse", room.cases.box_id, now, "x");
    let no = statement.approve("a", |bytes| room.keys["a"].sign(bytes));
    let stranger = Approval {
        officer: "z".into(),
        ..no.clone()
    };
    assert!(
        room.cases
            .refuse(refused, &statement, &stranger, now)
            .is_err()
    );
    let case = room
        .cases
        .refuse(refused, &statement, &no, now)
        .expect("no");
    room.cases.store(&case).expect("stored");
    assert!(matches!(
        room.approve(refused, "b"),
        Err(CaseError::Over(_, "refused"))
    ));
    let own = room.requested(&anna);
    let bert = person("bert", None);
    assert!(room.cases.withdraw(own, &bert, now).is_err());
    let case = room.cases.withdraw(own, &anna, now).expect("withdrawn");
    assert_eq!(room.cases.view(&case, now).state, "withdrawn");
}

const DAY: u64 = 24 * 3600;

#[test]
fn a_reading_goes_on_behind_the_time_to_sign_and_not_a_moment_behind_its_own_end() {
    let mut room = Room::new();
    let (anna, now) = (person("anna", None), room.now);
    let id = room.wanted(&anna, Wanted::Read { days: 30 });
    room.approve(id, "a").expect("a");
    let early = room.cases.reading(id, "anna", now);
    assert!(matches!(
        early,
        Err(CaseError::NotApproved(NotApproved::TooFew { valid: 1, .. }))
    ));
    let late = now.plus_seconds(CASE_SECONDS + 1);
    assert!(
        matches!(
            room.cases.reading(id, "anna", late),
            Err(CaseError::NotApproved(NotApproved::Expired(_)))
        ),
        "what was not approved in time expires"
    );
    assert_eq!(room.state(id, late), "expired");
    assert_eq!(room.approve(id, "b").expect("b"), "approved");

    let end = now.plus_seconds(30 * DAY);
    for moment in [now, late, end] {
        let reading = room
            .cases
            .reading(id, "anna", moment)
            .expect("a permission");
        assert_eq!(reading.scope().mailbox, "anna@example.org");
        assert_eq!(room.state(id, moment), "approved");
    }
    let over = Timestamp(end.0 + 1);
    assert!(matches!(
        room.cases.reading(id, "anna", over),
        Err(CaseError::ReadToEnd(..))
    ));
    assert_eq!(room.state(id, over), "expired");
    room.now = late;
    assert!(room.approve(id, "c").is_err(), "the time to sign is over");

    for stranger in ["Anna", "a", "bert"] {
        assert!(matches!(
            room.cases.reading(id, stranger, now),
            Err(CaseError::NotTheReader(_))
        ));
    }
    assert!(matches!(
        room.cases.start(id, now),
        Err(CaseError::OnlyRead(_))
    ));
}

#[test]
fn a_reading_ends_when_it_is_withdrawn_or_refused() {
    let room = Room::new();
    let (anna, now) = (person("anna", None), room.now);
    let approved = || {
        let id = room.wanted(&anna, Wanted::Read { days: 90 });
        room.approve(id, "a").expect("a");
        room.approve(id, "b").expect("b");
        room.cases.reading(id, "anna", now).expect("a permission");
        id
    };
    // Also long after the time to sign.
    let later = now.plus_seconds(2 * CASE_SECONDS);
    let own = approved();
    let case = room.cases.withdraw(own, &anna, later).expect("withdrawn");
    room.cases.store(&case).expect("stored");
    let refused = approved();
    let statement = Statement::new("case.refuse", room.cases.box_id, later, "x");
    let no = statement.approve("c", |bytes| room.keys["c"].sign(bytes));
    let case = room.cases.refuse(refused, &statement, &no, later);
    room.cases.store(&case.expect("refused")).expect("stored");
    for id in [own, refused] {
        assert!(matches!(
            room.cases.reading(id, "anna", later),
            Err(CaseError::Over(..))
        ));
    }
}

#[test]
fn an_older_file_revives_no_case_that_the_ledger_ended() {
    let mut room = Room::new();
    let (anna, now) = (person("anna", None), room.now);
    let id = room.wanted(&anna, Wanted::Read { days: 30 });
    room.approve(id, "a").expect("a");
    room.approve(id, "b").expect("b");
    let path = room.folder.path().join("cases").join(id.to_string());
    let old = std::fs::read(&path).expect("the file");
    let case = room.cases.withdraw(id, &anna, now).expect("withdrawn");
    room.cases.end(&case).expect("ended");
    std::fs::write(&path, &old).expect("put back");
    let revived = room.cases.reading(id, "anna", now);
    assert!(matches!(revived, Err(CaseError::Over(_, "withdrawn"))));
    // The next keeper knows it from the ledger.
    for (step, word) in [
        (CaseStep::Closed, Some("withdrawn")),
        (CaseStep::Refused, Some("refused")),
        (CaseStep::Approved, None),
    ] {
        let ended = Ended::by_step(step, now).map(|ended| (id, ended));
        room.cases.ended = ended.into_iter().collect();
        match (room.cases.reading(id, "anna", now), word) {
            (Ok(_), None) => {}
            (Err(CaseError::Over(_, over)), Some(word)) => assert_eq!(over, word),
            _ => panic!("{step:?}"),
        }
    }
}

#[test]
fn nobody_signs_a_reading_that_is_over_or_lasts_too_long() {
    let room = Room::new();
    let anna = person("anna", None);
    for days in [0, MOST_DAYS + 1, u64::MAX] {
        let asked = room
            .cases
            .request(&anna, scope(), Wanted::Read { days }, room.now);
        assert!(matches!(asked, Err(CaseError::Days)), "{days}");
    }
    let case = room
        .cases
        .request(&anna, scope(), Wanted::Read { days: 1 }, room.now);
    let view = room.cases.view(&case.expect("a case"), room.now);
    assert_eq!(Some(view.expires), view.read_until);
    assert_eq!(view.kind, READ);
}

#[test]
fn what_was_signed_for_a_release_lets_nobody_read() {
    let mut room = Room::new();
    let anna = person("anna", None);
    let id = room.requested(&anna);
    room.approve(id, "a").expect("a");
    room.approve(id, "b").expect("b");
    // A file with the key of the box's own, that says to be a reading and has the signatures of a release.
    let mut case = room.cases.case(id).expect("a case");
    case.subject.scope.grant = Grant::Read {
        read_until: Timestamp(u64::MAX),
    };
    room.cases.store(&case).expect("stored");
    let now = room.now;
    assert!(matches!(
        room.cases.reading(id, "anna", now),
        Err(CaseError::NotApproved(NotApproved::NotThisKind(READ)))
    ));
    assert!(room.cases.start(id, now).is_err());
}

// Statements and files of earlier versions have the scope's fields in this order and no other.
#[test]
fn a_release_is_written_as_it_always_was() {
    let room = Room::new();
    let id = room.requested(&person("anna", None));
    let case = room.cases.case(id).expect("read back from its file");
    let text: Value = serde_json::from_str(&case.statement.0).expect("JSON");
    assert_eq!(text["kind"], "case.mail");
    let fields = text["subject"]["scope"].as_object().expect("a scope");
    let mut names: Vec<&String> = fields.keys().collect();
    names.sort();
    assert_eq!(
        names,
        [
            "from",
            "mailbox",
            "output_certificate",
            "output_fingerprint",
            "purpose",
            "tenant",
            "until"
        ]
    );
}
