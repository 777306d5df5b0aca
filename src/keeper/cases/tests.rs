use super::*;
use crate::crypto::random;
use crate::crypto::sign::SigningKey;
use crate::keeper::people::StoredPassword;

fn scope() -> CaseScope {
    CaseScope {
        tenant: "main".parse().expect("tenant"),
        mailbox: "anna@example.org".into(),
        from: None,
        until: None,
        purpose: "lost card".into(),
        output_certificate: BASE64.encode(b"a certificate"),
        output_fingerprint: "ab".into(),
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
        let cases = Cases::new(&path, &random::key(), BoxId::random(), officers, 2);
        let now = Timestamp::from_seconds(1000);
        Self {
            folder,
            keys,
            cases,
            now,
        }
    }

    fn requested(&self, by: &Person) -> CaseId {
        let case = self.cases.request(by, scope(), self.now).expect("request");
        self.cases.store(&case).expect("stored");
        case.id()
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
    assert_eq!(
        Some(&approved.scope().output_fingerprint),
        fingerprint(&scope().output_certificate).as_ref(),
        "not what the requester says"
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
