//! Reading under a case, and who is told of it: the requester reads what officers allowed and nothing more, and the
//! access log names person, purpose and record to auditors and to the people concerned.

use crate::people::certificate;
use crate::support::{TestBox, text};
use serde_json::Value;
use std::fs;

const SHARED: &str = "From: sender@example.net\r\nTo: anna@example.org\r\nSubject: Numbat\r\n\r\nThe numbat text.\r\n";
const ANNAS: &str = "From: sender@example.net\r\nTo: anna@example.org\r\nSubject: Quoll\r\nDate: Thu, 31 Dec 2015 23:59:59 +0000\r\n\r\nThe quoll text.\r\n";
const TEAMS: &str =
    "From: sender@example.net\r\nTo: team@example.org\r\nSubject: Bilby\r\n\r\nThe bilby text.\r\n";

/// Enters a person by two officers' signatures.
pub fn enter(box_: &TestBox, name: &str, rights: &str) {
    let password = box_.file(&format!("{name}.pass"));
    fs::write(&password, format!("the password of {name}\n")).expect("a password");
    box_.ok(&format!(
        "user set {name} {rights} --password-file {} {}",
        password.display(),
        box_.officers(2)
    ));
}

pub fn sign_in(box_: &TestBox, name: &str) {
    let password = box_.file(&format!("{name}.pass"));
    box_.ok(&format!(
        "login {name} --passphrase-file {}",
        password.display()
    ));
}

/// A box with anna, an auditor, an officer's account, and bert and dora, who share a mailbox; and mail: one to anna, one to
/// anna and bert, one to the shared mailbox.
fn peopled() -> (TestBox, String, String) {
    let box_ = TestBox::running();
    for name in ["bert", "dora"] {
        let mailboxes = format!("--mailbox {name}@example.org --mailbox team@example.org");
        enter(&box_, name, &mailboxes);
    }
    enter(
        &box_,
        "clara",
        "--mailbox clara@example.org --is-officer carol",
    );
    enter(&box_, "auditor", "--auditor");
    let mut client = box_.smtp().expect("a connection");
    for (to, mail) in [
        ("anna@example.org", SHARED),
        ("bert@example.org", SHARED),
        ("team@example.org", TEAMS),
        ("anna@example.org", ANNAS),
    ] {
        client.mail(to, mail.as_bytes()).expect("a reply");
        box_.wait_until("it is archived", || box_.status("spooled") == 0);
    }
    box_.wait_for_hits(1, "quoll");
    let shared = record(&box_, "numbat");
    let annas = record(&box_, "quoll");
    (box_, shared, annas)
}

fn record(box_: &TestBox, query: &str) -> String {
    let found = box_.json(&format!("search --json {query}"));
    found["hits"][0]["record"]
        .as_str()
        .expect("a hit")
        .to_owned()
}

/// Asks to read; the session is the requester's.
fn ask(box_: &TestBox, more: &str) -> String {
    let asked = format!("case request --read --purpose estate --json {more}");
    let case = box_.json(&asked);
    assert_eq!(case["kind"], "case.read");
    case["case"].as_str().expect("a case").to_owned()
}

fn approve(box_: &TestBox, case: &str) -> String {
    let approved = box_.run(&format!("case approve {case} {}", box_.officers(2)));
    assert!(approved.status.success(), "{}", text(&approved));
    text(&approved)
}

/// Runs a command that must fail, and gives what it says.
pub fn refused(box_: &TestBox, arguments: &str) -> String {
    let output = box_.run(arguments);
    assert!(!output.status.success(), "{arguments}: {}", text(&output));
    text(&output)
}

pub fn entries(box_: &TestBox, more: &str) -> Vec<Value> {
    let log = box_.json(&format!("access --json --limit 500 {more}"));
    assert_eq!(log["damaged"], Value::Array(Vec::new()));
    log["entries"].as_array().expect("entries").clone()
}

// D: only whom officers named reads only what they allowed, and only as long as they allow it.
#[test]
fn a_reading_case_lets_its_requester_read_and_nobody_else() {
    let (mut box_, shared, annas) = peopled();
    sign_in(&box_, "bert");
    refused(&box_, &format!("show {annas}"));
    let case = ask(&box_, "--mailbox anna@example.org --days 3");
    let early = refused(&box_, &format!("search --case {case}"));
    assert!(early.contains("0 of 2 officers have signed"), "{early}");
    let said = approve(&box_, &case);
    assert!(
        said.contains("bert READS the mail of anna@example.org on this box"),
        "{said}"
    );

    let found = box_.json(&format!("search --json --case {case}"));
    assert_eq!(found["total"], 2);
    let shown = box_.json(&format!("show --json --case {case} {annas}"));
    assert_eq!(shown["subject"], "Quoll");
    let shown = box_.json(&format!("show --json --case {case} {shared}"));
    let arrivals = shown["arrivals"].as_array().expect("arrivals");
    assert_eq!(arrivals.len(), 1, "the arrival of the case's mailbox alone");
    assert_eq!(
        arrivals[0]["recipients"],
        serde_json::json!(["anna@example.org"])
    );
    let bytes = box_.ok(&format!("get {annas} --original --case {case}"));
    assert!(bytes.contains("The quoll text."), "{bytes}");
    refused(&box_, &format!("show {annas}"));

    let narrow = goes_by_date(&box_, &shared, &annas);
    no_kind_of_case_serves_for_the_other(&box_, &case);
    for name in ["clara", "anna"] {
        sign_in(&box_, name);
        let said = refused(&box_, &format!("search --case {case}"));
        assert!(said.contains("only the person who asked"), "{name}: {said}");
    }
    ends_at_once(&mut box_, &case, &narrow, &annas);
    let request = "case request --purpose x --mailbox anna@example.org";
    refused(&box_, request);
    refused(&box_, &format!("{request} --read --days 91"));
    box_.assert_no_panic();
}

/// Cases for a day and for the time before it; the second one's id.
fn goes_by_date(box_: &TestBox, shared: &str, annas: &str) -> String {
    let mailbox = "--mailbox anna@example.org";
    let day = format!("{mailbox} --from 2015-12-31 --until 2015-12-31");
    let day = ask(box_, &day);
    let before = ask(box_, &format!("{mailbox} --until 2015-12-30"));
    for (case, hits) in [(&day, 1), (&before, 0)] {
        approve(box_, case);
        let found = box_.json(&format!("search --json --case {case}"));
        assert_eq!(found["total"], hits, "by the mail's own date");
    }
    box_.ok(&format!("show --case {day} {annas}"));
    for (case, record) in [(&before, annas), (&day, shared)] {
        let said = refused(box_, &format!("show --case {case} {record}"));
        assert!(said.contains("no record"), "{said}");
    }
    before
}

/// A reading releases nothing, a release lets nobody read.
fn no_kind_of_case_serves_for_the_other(box_: &TestBox, reading: &str) {
    let out = box_.file("out");
    let said = format!("case release {reading} --output {}", out.display());
    assert!(refused(box_, &said).contains("read on the box"));
    assert!(!out.exists());
    let new = certificate(box_, "new");
    let asked = box_.json(&format!(
        "case request --json --purpose x --mailbox bert@example.org --certificate {}",
        new.display()
    ));
    let release = asked["case"].as_str().expect("a case");
    approve(box_, release);
    let said = refused(box_, &format!("search --case {release}"));
    assert!(said.contains("is a release"), "{said}");
}

/// By the requester's wish and by an officer's no; also where root puts back the file of the time when bert could read.
fn ends_at_once(box_: &mut TestBox, withdrawn: &str, by_officer: &str, annas: &str) {
    sign_in(box_, "bert");
    let file = box_.data().join("cases").join(withdrawn);
    let old = fs::read(&file).expect("the case's file");
    box_.ok(&format!("case withdraw {withdrawn}"));
    box_.ok(&format!("case refuse {by_officer} {}", box_.officers(1)));
    let is_over = |box_: &TestBox, case: &str, word: &str| {
        let said = refused(box_, &format!("show --case {case} {annas}"));
        assert!(said.contains(word), "{said}");
    };
    is_over(box_, withdrawn, "is withdrawn");
    is_over(box_, by_officer, "is refused");
    box_.stop();
    fs::write(&file, old).expect("put back");
    box_.start();
    sign_in(box_, "bert");
    is_over(box_, withdrawn, "is withdrawn");
}

// A: who read what and why is told to auditors and to the people concerned, and to nobody else.
#[test]
fn the_access_log_names_person_purpose_and_record_to_those_whom_it_concerns() {
    let (box_, shared, annas) = peopled();
    sign_in(&box_, "bert");
    box_.ok(&format!("show {shared}"));
    let case = ask(&box_, "--mailbox anna@example.org");
    approve(&box_, &case);
    box_.ok(&format!("search --case {case} numbat"));
    box_.ok(&format!("show --case {case} {annas}"));
    let of_case = Value::from(case.as_str());

    sign_in(&box_, "auditor");
    auditors_are_told(&box_, &shared, &annas, &of_case);
    log_is_given_in_pages(&box_, &case);

    box_.login();
    let mine = entries(&box_, "");
    let told = find(&mine, "bert", "show", &of_case).expect("anna is told");
    assert_eq!(told["purpose"], format!("case {case}: estate"));
    assert!(find(&mine, "bert", "search", &of_case).is_some());
    assert!(
        find(&mine, "bert", "show", &Value::Null).is_none(),
        "that bert read his own copy does not concern her"
    );
    let own = find(&mine, "anna", "search", &Value::Null).expect("her own");
    assert!(own["query"].is_string());
    assert!(mine.iter().all(|row| row["who"] != "auditor"));

    sharers_are_told(&box_);
    // And who asked for a case, who approved it.
    assert!(find(&entries(&box_, ""), "bob", "case approved", &of_case).is_some());

    // An officer sees what the auditor saw, and that the auditor looked.
    sign_in(&box_, "clara");
    let seen = entries(&box_, &format!("--record {annas} --case {case}"));
    assert_eq!(seen.len(), 1);
    let looks = entries(&box_, "--person auditor");
    let asked = Value::from(format!("case {case}"));
    assert!(looks.iter().any(|row| row["query"] == asked), "{looks:?}");

    fs::write(box_.file("session"), "0123").expect("no session");
    assert!(refused(&box_, "access").contains("no valid session"));
    fs::remove_file(box_.file("session")).expect("no session");
    assert!(refused(&box_, "access").contains("no session"), "root too");
    box_.assert_no_panic();
}

fn find(rows: &[Value], who: &str, action: &str, case: &Value) -> Option<Value> {
    let fits =
        |row: &&Value| row["who"] == *who && row["action"] == *action && row["case"] == *case;
    rows.iter().find(fits).cloned()
}

fn ids(row: &Value) -> Vec<Value> {
    row["records"].as_array().expect("records").clone()
}

/// All of the tenant, but not what others search for in their own mail, and no mail.
fn auditors_are_told(box_: &TestBox, shared: &str, annas: &str, of_case: &Value) {
    let all = entries(box_, "");
    let search = find(&all, "bert", "search", of_case).expect("the search");
    let case = of_case.as_str().expect("an id");
    assert_eq!(search["purpose"], format!("case {case}: estate"));
    assert_eq!(ids(&search), [Value::from(shared)]);
    assert_eq!(search["query"], "numbat");
    let show = find(&all, "bert", "show", of_case).expect("the reading");
    assert_eq!(ids(&show), [Value::from(annas)]);
    let own = find(&all, "anna", "search", &Value::Null).expect("anna's own search");
    assert_eq!(own["purpose"], "own mail");
    assert_eq!(own["query"], Value::Null, "nobody else's business");
    for action in ["case requested", "case approved", "sign in", "person set"] {
        assert!(all.iter().any(|row| row["action"] == *action), "{action}");
    }
    assert_eq!(box_.json("search --json")["total"], 0);
    refused(box_, &format!("show {annas}"));
}

/// Newest first, without gaps.
fn log_is_given_in_pages(box_: &TestBox, case: &str) {
    let rows = entries(box_, &format!("--case {case}"));
    assert_eq!(rows.len(), 5, "{rows:?}");
    let numbers: Vec<u64> = rows
        .iter()
        .filter_map(|row| row["entry"].as_u64())
        .collect();
    assert!(numbers.len() == 5 && numbers.is_sorted_by(|newer, older| newer > older));
    let page = format!("access --json --case {case} --limit 2 --offset 1");
    let page = box_.json(&page);
    assert_eq!(page["entries"].as_array().expect("rows")[..], rows[1..3]);
    assert_eq!(page["more"], true);
}

/// Who shares a mailbox is told of others' reading in it, also when it is shared no longer. Leaves bert signed in.
fn sharers_are_told(box_: &TestBox) {
    sign_in(box_, "dora");
    let bilby = record(box_, "bilby");
    box_.ok(&format!("show {bilby}"));
    let hers = entries(box_, "");
    let is_hers = |row: &Value| row["who"] == "dora" || row["person"] == "dora";
    assert!(hers.iter().all(is_hers), "{hers:?}");
    enter(box_, "dora", "--mailbox dora@example.org");
    sign_in(box_, "bert");
    let his = entries(box_, "");
    let told = find(&his, "dora", "show", &Value::Null).expect("bert is told");
    assert_eq!(ids(&told), [Value::from(bilby.as_str())]);
    let told = find(&his, "dora", "search", &Value::Null).expect("of the search too");
    assert_eq!(told["query"], Value::Null);
}
