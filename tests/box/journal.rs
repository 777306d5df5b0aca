//! Exchange's journal reports: what they say of a mail's recipients counts, where policy believes whoever sends them, and
//! nowhere else.

use crate::people::certificate;
use crate::support::{TestBox, numbered_mail, openssl, smtp, text};
use serde_json::Value;
use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;
use strongroom::id::Digest;

const JOURNAL: &str = "journal@archive.example";
const EXCHANGE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// A box that believes reports from 127.0.0.2 to the journaling mailbox, whose owner is jack.
fn journaled() -> TestBox {
    let box_ = TestBox::running_with(&|policy| {
        policy
            .replace(
                "recipients = [] ",
                &format!("recipients = [\"{JOURNAL}\"] "),
            )
            .replace("peers = [] ", &format!("peers = [\"{EXCHANGE}\"] "))
    });
    box_.add_person("bert", "bert@example.org");
    box_.add_person("mallory", "mallory@example.org");
    box_.add_person("jack", JOURNAL);
    box_
}

/// A report as Exchange 2016 and later write it. `mail` ends with a line end, behind which Exchange puts the boundary's.
fn report(recipients: &str, mail: &[u8]) -> Vec<u8> {
    let head = "Received: from exchange.example.org by hub.example.org; Sun, 29 Nov 2026 10:00:00 +0000\r\n\
        Sender: <MicrosoftExchange329e71ec88ae4615bbc36ab6ce41109e@example.org>\r\n\
        From: sender@example.net\r\nTo: anna@example.org\r\nSubject: ...\r\n\
        Message-ID: <1c0ffee5-8f4e-4c52-8a2b-1ce1ce1ce1ce@journal.report.generator>\r\n\
        X-MS-Journal-Report:\r\nAuto-Submitted: auto-generated\r\nMIME-Version: 1.0\r\n\
        Content-Type: multipart/mixed;\r\n\tboundary=\"_7d3ee6e1-6b5f-4bb4-9c0e-90a1b2c3d4e5_\"\r\n\r\n\
        --_7d3ee6e1-6b5f-4bb4-9c0e-90a1b2c3d4e5_\r\nContent-Type: text/plain; charset=\"utf-8\"\r\n\
        Content-Transfer-Encoding: 7bit\r\n\r\n\
        Sender: sender@example.net\r\nSubject: ...\r\nMessage-Id: <1@example.net>\r\n";
    let between =
        "\r\n--_7d3ee6e1-6b5f-4bb4-9c0e-90a1b2c3d4e5_\r\nContent-Type: message/rfc822\r\n\r\n";
    let end = "\r\n--_7d3ee6e1-6b5f-4bb4-9c0e-90a1b2c3d4e5_--\r\n";
    let parts = [
        head.as_bytes(),
        recipients.as_bytes(),
        between.as_bytes(),
        mail,
        end.as_bytes(),
    ];
    parts.concat()
}

/// A mail to anna that is signed by `sender` and encrypted to `anna`.
fn secret(box_: &TestBox) -> Vec<u8> {
    let folder = box_.file("certificates");
    certificate(box_, "anna");
    certificate(box_, "sender");
    fs::write(
        folder.join("text"),
        "Content-Type: text/plain\r\n\r\nThe quokka text.\r\n",
    )
    .expect("a file");
    let sign =
        "cms -sign -binary -nodetach -outform SMIME -in text -signer sender.crt -inkey sender.key";
    fs::write(folder.join("signed"), openssl(&folder, sign)).expect("a file");
    let encrypt = "cms -encrypt -aes256 -binary -outform SMIME -in signed anna.crt";
    let body = openssl(&folder, encrypt);
    let head = "Received: by mx.example.org; Sun, 29 Nov 2026 09:59:00 +0000\r\nFrom: sender@example.org\r\n\
                To: anna@example.org\r\nSubject: Wombat\r\nMessage-ID: <1@example.net>\r\n";
    let text = format!("{head}{}", String::from_utf8_lossy(&body));
    let lines: Vec<&str> = text.lines().collect();
    (lines.join("\r\n") + "\r\n").into_bytes()
}

fn send(client: &mut smtp::Client, to: &str, mail: &[u8]) {
    let reply = client.mail(to, mail).expect("a reply");
    assert!(smtp::queue_id(&reply).is_some(), "{reply}");
}

/// The one mail that this person finds.
fn found(box_: &TestBox, name: &str, query: &str) -> (String, Value) {
    box_.login_as(name);
    box_.wait_for_hits(1, query);
    let hits = box_.json(&format!("search --json {query}"));
    let id = hits["hits"][0]["record"]
        .as_str()
        .expect("a hit")
        .to_owned();
    let shown = box_.json(&format!("show --json {id}"));
    (id, shown)
}

fn assert_finds_nothing(box_: &TestBox, name: &str) {
    box_.login_as(name);
    assert_eq!(box_.json("search --json")["total"], 0, "{name}");
}

fn original(box_: &TestBox, id: &str) -> Vec<u8> {
    box_.run(&format!("get {id} --original")).stdout
}

/// What is sent to a box, to be compared with what it keeps.
struct Sent<'a> {
    box_: &'a TestBox,
    exchange: smtp::Client,
    client: smtp::Client,
    mails: Vec<Vec<u8>>,
}

impl<'a> Sent<'a> {
    fn to(box_: &'a TestBox) -> Self {
        Self {
            box_,
            exchange: box_.smtp_from(EXCHANGE).expect("a connection"),
            client: box_.smtp().expect("a connection"),
            mails: Vec::new(),
        }
    }

    fn directly(&mut self, mail: &[u8]) {
        send(&mut self.client, "anna@example.org", mail);
        self.mails.push(mail.to_vec());
    }

    fn in_report(&mut self, recipients: &str, mail: &[u8]) {
        let report = report(recipients, mail);
        send(&mut self.exchange, JOURNAL, &report);
        self.mails.push(report);
    }

    /// Everything verifies, and a backup has the exact bytes of each arrival, as the independent reader gives them.
    fn assert_kept(self) {
        let box_ = self.box_;
        assert_eq!(box_.json("verify --json")["damage"], serde_json::json!([]));
        let (backup, out) = (box_.file("backup"), box_.file("read"));
        box_.ok(&format!("backup {}", backup.display()));
        let Ok(python) = std::env::var("STRONGROOM_READER_PYTHON") else {
            eprintln!("SKIPPED: STRONGROOM_READER_PYTHON is not set (./dev sets it)");
            return;
        };
        fs::create_dir(&out).expect("a folder");
        let mut reader = Command::new(python);
        reader
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/independent_reader.py"))
            .arg("--data")
            .arg(&backup)
            .arg("--out")
            .arg(&out);
        for officer in ["alice", "bob"] {
            reader
                .arg("--officer")
                .arg(box_.file(&format!("{officer}.officer")))
                .arg("--passphrase-file")
                .arg(box_.file(&format!("{officer}.pass")));
        }
        let output = reader.output().expect("the reader");
        assert!(output.status.success(), "{}", text(&output));
        let files = fs::read_dir(&out).expect("a folder").flatten();
        let mut read: Vec<Digest> = files
            .map(|file| file.path())
            .filter(|path| !path.to_string_lossy().ends_with(".rendition.eml"))
            .map(|path| Digest::of(&fs::read(path).expect("a mail")))
            .collect();
        let mut sent: Vec<Digest> = self.mails.iter().map(|mail| Digest::of(mail)).collect();
        read.sort_by_key(|digest| digest.0);
        sent.sort_by_key(|digest| digest.0);
        assert_eq!(read, sent);
    }
}

fn escrow(box_: &TestBox, name: &str) {
    let folder = box_.file("certificates");
    let halves = ["key", "crt"].map(|end| folder.join(format!("{name}.{end}")));
    let pem = halves.map(|half| fs::read_to_string(half).expect("PEM"));
    let file = folder.join(format!("{name}.pem"));
    fs::write(&file, pem.concat()).expect("a key");
    box_.ok(&format!("escrow add {}", file.display()));
}

// C1, A1: an encrypted mail in a report is opened, and is its recipients', blind copies too.
#[test]
fn a_believed_report_is_the_mail_in_it_for_those_whom_it_names() {
    let box_ = journaled();
    let mail = secret(&box_);
    escrow(&box_, "anna");
    let mut sent = Sent::to(&box_);
    sent.in_report("To: anna@example.org\r\nBcc: bert@example.org\r\n", &mail);
    let (id, shown) = found(&box_, "anna", "quokka");
    assert_eq!(shown["outcome"], "opened");
    assert_eq!(shown["subject"], "Wombat");
    assert_eq!(shown["signatures"][0]["scope"], "whole", "{shown}");
    assert_eq!(shown["signatures"][0]["math"], "good", "{shown}");
    assert_eq!(shown["notes"], serde_json::json!([]));
    let arrival = &shown["arrivals"][0];
    assert_eq!(
        arrival["recipients"],
        serde_json::json!(["anna@example.org"])
    );
    assert_eq!(
        arrival["report"]["recipients"],
        serde_json::json!([JOURNAL])
    );
    assert!(!shown.to_string().contains("bert@"), "{shown}");
    assert_eq!(original(&box_, &id), mail);
    let rendition = box_.ok(&format!("get {id} --rendition"));
    assert!(rendition.contains("The quokka text."));
    let (_, shown) = found(&box_, "bert", "quokka");
    assert_eq!(shown["arrivals"][0]["report"]["named"][1]["role"], "Bcc");
    let lines = box_.ok(&format!("show {id}"));
    assert!(lines.contains("Bcc bert@example.org"), "{lines}");
    assert_eq!(original(&box_, &id), mail);
    assert_finds_nothing(&box_, "jack");
    assert_finds_nothing(&box_, "mallory");

    // The report itself tells blind copies: it is the sender's.
    let told = box_.run(&format!("get {id} --report"));
    assert!(!told.status.success() && told.stdout.is_empty());
    box_.login_as("bert");
    let told = text(&box_.run(&format!("get {id} --report")));
    assert!(told.contains("not its sender"), "{told}");
    box_.add_person("sender", "sender@example.net");
    sent.in_report("Recipient: mallory@example.org\r\n", &mail);
    found(&box_, "mallory", "quokka");
    box_.login_as("sender");
    let report = box_.run(&format!("get {id} --report")).stdout;
    assert!(report == sent.mails[0]);
    sent.assert_kept();
    box_.assert_no_panic();
}

// C1: ways of one mail are one record, whichever came first, and a rebuild makes the same of it.
#[test]
fn a_mail_that_came_directly_and_in_reports_is_one_record() {
    let box_ = journaled();
    let mut sent = Sent::to(&box_);
    let traced = |way: &str| {
        [
            format!("Received: by {way}\r\n").as_bytes(),
            &numbered_mail(1),
        ]
        .concat()
    };
    sent.in_report("To: anna@example.org\r\n", &traced("first"));
    found(&box_, "anna", "crocodile");
    sent.directly(&traced("second"));
    // Another fork of the way of the mail has other recipients.
    let expanded = "Recipient: mallory@example.org, Expanded: team@example.org\r\n";
    sent.in_report(expanded, &traced("third"));
    let (id, shown) = found(&box_, "mallory", "crocodile");
    assert_eq!(shown["arrivals"].as_array().map(Vec::len), Some(1));
    assert_eq!(original(&box_, &id), traced("third"));
    let (_, shown) = found(&box_, "anna", "crocodile");
    assert_eq!(shown["arrivals"].as_array().map(Vec::len), Some(2));
    assert_eq!(box_.status("records"), 1);

    // First directly, then in a report that puts no line end of its own behind the mail.
    let plain = numbered_mail(2);
    sent.directly(&plain);
    sent.in_report("Bcc: bert@example.org\r\n", &plain[..plain.len() - 2]);
    let (id, shown) = found(&box_, "bert", "crocodile");
    assert_eq!(shown["arrivals"][0]["number"], 1);
    assert_eq!(original(&box_, &id), plain);
    assert_eq!(box_.status("records"), 2);
    // The same of a mail that ends with an empty line.
    let ending = [numbered_mail(3), b"\r\n".to_vec()].concat();
    sent.directly(&ending);
    found(&box_, "anna", "crocodile 3");
    sent.in_report("Bcc: bert@example.org\r\n", &ending[..ending.len() - 2]);
    let (id, _) = found(&box_, "bert", "crocodile 3");
    assert_eq!(original(&box_, &id), ending);
    assert_eq!(box_.status("records"), 3);

    box_.ok("rebuild");
    box_.wait_until("the box is open again", || {
        box_.run("status").status.success()
    });
    found(&box_, "bert", "crocodile 2");
    found(&box_, "mallory", "crocodile");
    assert_finds_nothing(&box_, "jack");
    sent.assert_kept();
    box_.assert_no_panic();
}

// Envelope recipients stand in the trace fields: a copy's own are shown, for those of another tell of a blind copy.
#[test]
fn the_way_of_anothers_copy_is_in_no_form_of_a_mail() {
    let box_ = journaled();
    let (sealed, plain) = (secret(&box_), numbered_mail(7));
    escrow(&box_, "anna");
    let way = |name: &str, mail: &[u8]| {
        let trace = format!("Delivered-To: {name}@example.org\r\n");
        [trace.as_bytes(), mail].concat()
    };
    for name in ["bert", "anna"] {
        let mut client = box_.smtp().expect("a connection");
        for mail in [&sealed, &plain] {
            send(
                &mut client,
                &format!("{name}@example.org"),
                &way(name, mail),
            );
        }
        found(&box_, name, "quokka");
        found(&box_, name, "crocodile");
    }
    assert_eq!(box_.status("records"), 2);
    let (id, _) = found(&box_, "anna", "quokka");
    let rendition = box_.ok(&format!("get {id} --rendition"));
    assert!(rendition.starts_with("Delivered-To: anna@"), "{rendition}");
    assert!(rendition.contains("The quokka text."), "{rendition}");
    assert!(!rendition.contains("bert@"), "{rendition}");
    let (id, _) = found(&box_, "bert", "quokka");
    let rendition = box_.ok(&format!("get {id} --rendition"));
    assert!(rendition.starts_with("Delivered-To: bert@"), "{rendition}");

    // What is released of her mailbox is her copy too.
    let (new, out) = (certificate(&box_, "new"), box_.file("out"));
    box_.login();
    let asked = box_.json(&format!(
        "case request --json --purpose x --mailbox anna@example.org --certificate {}",
        new.display()
    ));
    let case = asked["case"].as_str().expect("a case");
    box_.ok(&format!("case approve {case} {}", box_.officers(2)));
    box_.ok(&format!("case release {case} --output {}", out.display()));
    let folder = box_.file("certificates");
    let mails = fs::read_dir(&out).expect("a folder").flatten();
    let mails = mails.filter(|file| file.path().extension().is_some_and(|end| end == "eml"));
    let opened: Vec<String> = mails
        .map(|file| {
            let decrypt = "cms -decrypt -inkey new.key -recip new.crt -in";
            let opened = openssl(&folder, &format!("{decrypt} {}", file.path().display()));
            String::from_utf8_lossy(&opened).into_owned()
        })
        .collect();
    assert_eq!(opened.len(), 2);
    for mail in &opened {
        assert!(mail.contains("Delivered-To: anna@"), "{mail}");
        assert!(!mail.contains("bert@"), "{mail}");
    }
    box_.assert_no_panic();
}

// A mail that lies in the spool's file, one for as many as a report may name, one of nothing but rubbish, and one that waits.
#[test]
fn a_report_may_be_large_long_and_around_a_damaged_mail() {
    let box_ = journaled();
    let mut sent = Sent::to(&box_);
    let line = format!("{}\r\n", "platypus ".repeat(8));
    let large = [numbered_mail(1), line.repeat(40_000).into_bytes()].concat();
    sent.in_report("Bcc: bert@example.org\r\n", &large);
    let (id, shown) = found(&box_, "bert", "platypus");
    assert_eq!(shown["original_bytes"], large.len());
    assert!(original(&box_, &id) == large);
    sent.directly(&large);
    let (id, _) = found(&box_, "anna", "platypus");
    assert!(original(&box_, &id) == large);
    assert_eq!(box_.status("records"), 1);

    let line = |number| format!("Bcc: r{number}@example.org\r\n");
    let many: String = (1..10_000).map(line).collect();
    sent.in_report(
        &format!("{many}To: mallory@example.org\r\n"),
        &numbered_mail(2),
    );
    let (_, shown) = found(&box_, "mallory", "crocodile");
    let named = shown["arrivals"][0]["report"]["named"].as_array();
    assert_eq!(named.map(Vec::len), Some(1));
    sent.in_report(
        "To: mallory@example.org\r\n",
        b"\xff\x00: rubbish\r\n--_7d\r\n",
    );
    found(&box_, "mallory", "rubbish");

    // E7: what waits for its key is opened inside of its report.
    let waiting = report("Cc: bert@example.org\r\n", &secret(&box_));
    let waiting = String::from_utf8(waiting).expect("ASCII");
    let boundary = "\r\n--_7d3ee6e1-6b5f-4bb4-9c0e-90a1b2c3d4e5_";
    let clear_copy = "\r\nContent-Type: message/rfc822\r\n\r\nFrom: x@example.net\r\n\r\nClear.";
    let waiting = waiting.replace(
        &format!("{boundary}--"),
        &format!("{boundary}{clear_copy}{boundary}--"),
    );
    send(&mut sent.exchange, JOURNAL, waiting.as_bytes());
    sent.mails.push(waiting.into_bytes());
    let (_, shown) = found(&box_, "bert", "wombat");
    assert_eq!(shown["outcome"], "no-key");
    let noted = shown["notes"].clone();
    assert!(noted.to_string().contains("has 1 more"), "{shown}");
    escrow(&box_, "anna");
    let (_, shown) = found(&box_, "bert", "quokka");
    assert_eq!(shown["signatures"][0]["scope"], "whole", "{shown}");
    assert_eq!(shown["notes"], noted);
    sent.assert_kept();
    box_.assert_no_panic();
}

// A7: whoever is not believed plants nothing, and what came is archived as it came.
#[test]
fn a_forged_report_is_archived_as_it_came_and_plants_no_recipient() {
    let box_ = journaled();
    let forged = report("Bcc: mallory@example.org\r\n", &numbered_mail(1));
    send(&mut box_.smtp().expect("a connection"), JOURNAL, &forged);
    let mut exchange = box_.smtp_from(EXCHANGE).expect("a connection");
    send(&mut exchange, "anna@example.org", &forged);
    let strange =
        String::from_utf8_lossy(&forged).replace("Bcc: mallory@", "Greetings\r\nBcc: mallory@");
    send(&mut exchange, JOURNAL, strange.as_bytes());
    // An operator learns that reports are not read: else nobody would look for what nobody finds.
    let is_told = || box_.ok("status").contains("unwrapped (it is not strictly");
    box_.wait_until("it is told", is_told);
    let mut inside = forged.clone();
    inside.extend_from_slice(b"Epilogue\r\n");
    send(
        &mut exchange,
        JOURNAL,
        &report("To: bert@example.org\r\n", &inside),
    );
    box_.wait_for_records(3);
    let notes = |name: &str| {
        box_.login_as(name);
        let hits = box_.json("search --json");
        let hits = hits["hits"].as_array().expect("hits").clone();
        let note = |hit: &Value| {
            let id = hit["record"].as_str().expect("an id");
            box_.json(&format!("show --json {id}"))["notes"][0]
                .as_str()
                .unwrap_or_default()
                .to_owned()
        };
        hits.iter().map(note).collect::<Vec<_>>().join("\n")
    };
    box_.wait_until("all is found", || {
        notes("jack").lines().count() == 2 && !notes("bert").is_empty()
    });
    let jack = notes("jack");
    assert!(
        jack.contains("journal report, not unwrapped: it did not come from one of"),
        "{jack}"
    );
    assert!(jack.contains("not strictly of the known form"), "{jack}");
    assert!(notes("anna").contains("journal report, not unwrapped"));
    assert!(notes("bert").contains("it lies in another one"));
    assert_finds_nothing(&box_, "mallory");
    assert!(!is_told());
    box_.assert_no_panic();
}
