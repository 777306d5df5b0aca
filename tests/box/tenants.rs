//! Two tenants with mail servers of their own on one box: what is one's is the other's in no way.

use crate::keys::make_key;
use crate::support::{TestBox, smtp, text};
use serde_json::Value;
use std::fs;
use std::net::Ipv4Addr;

const BLUE_SERVER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const RED_SERVER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);

fn table(tenant: &str, server: Ipv4Addr) -> String {
    format!("[[journal]]\nrecipients = [\"journal@{tenant}.example\"]\npeers = [\"{server}\"]\n")
}

/// In either tenant there is an anna with the same address.
fn shared() -> TestBox {
    let tables = table("blue", BLUE_SERVER) + &table("red", RED_SERVER);
    let mut box_ = TestBox::found_with(&|policy| {
        policy
            .replace("[\"main\"]", "[\"blue\", \"red\"]")
            .replace("\n[journal]\n", &format!("\n{tables}"))
            .replace("recipients = [] ", "")
            .replace("peers = [] ", "")
    });
    let path = box_.data().join("strongroom.toml");
    let config = fs::read_to_string(&path).expect("a configuration");
    let domains = "[intake.domains]\n\"blue.example\" = \"blue\"\n\"red.example\" = \"red\"\n";
    fs::write(&path, config.replace("[intake.domains]\n", domains)).expect("a configuration");
    box_.start();
    for tenant in ["blue", "red"] {
        let journal = format!("journal@{tenant}.example");
        for (name, mailbox) in [("anna", "anna@example.org"), ("jack", &journal)] {
            let password = box_.file(&format!("{tenant}-{name}.pass"));
            fs::write(&password, format!("{tenant}-{name}'s password\n")).expect("a password");
            box_.ok(&format!(
                "user set {tenant}-{name} --tenant {tenant} --mailbox {mailbox} --password-file {} {}",
                password.display(),
                box_.officers(2)
            ));
        }
    }
    box_
}

fn report(mail: &str) -> Vec<u8> {
    format!(
        "Message-ID: <1@journal.report.generator>\r\nX-MS-Journal-Report:\r\nSubject: report\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/mixed; boundary=\"_4be1_\"\r\n\r\n--_4be1_\r\nContent-Type: text/plain\r\n\r\n\
         Sender: boss@example.net\r\nSubject: ...\r\nMessage-Id: <1@example.net>\r\nTo: anna@example.org\r\n\r\n--_4be1_\r\n\
         Content-Type: message/rfc822\r\n\r\n{mail}\r\n--_4be1_--\r\n"
    )
    .into_bytes()
}

fn send(box_: &TestBox, server: Ipv4Addr, tenant: &str, mail: &str) {
    let mut client = box_.smtp_from(server).expect("a connection");
    let reply = client.mail(&format!("journal@{tenant}.example"), &report(mail));
    let reply = reply.expect("a reply");
    assert!(smtp::queue_id(&reply).is_some(), "{reply}");
}

/// What this person finds, each as `show` has it.
fn found(box_: &TestBox, name: &str) -> Vec<Value> {
    box_.login_as(name);
    let hits = box_.json("search --json");
    let hits = hits["hits"].as_array().expect("hits").clone();
    let id = |hit: &Value| hit["record"].as_str().expect("an id").to_owned();
    let show = |hit| box_.json(&format!("show --json {}", id(hit)));
    hits.iter().map(show).collect()
}

#[test]
fn what_is_one_tenants_is_the_others_in_no_way() {
    let box_ = shared();
    let mail = "From: boss@example.net\r\nTo: anna@example.org\r\nSubject: Wombat\r\n\r\nThe same for both.\r\n";
    let other = mail.replace("Wombat", "Quokka");
    send(&box_, BLUE_SERVER, "blue", mail);
    send(&box_, RED_SERVER, "red", mail);
    send(&box_, BLUE_SERVER, "blue", &other);
    send(&box_, RED_SERVER, "blue", &mail.replace("Wombat", "Forged"));
    box_.wait_for_records(4);
    box_.wait_until("all is found", || {
        let count = |name| found(&box_, name).len();
        (count("blue-anna"), count("red-anna"), count("blue-jack")) == (2, 1, 1)
    });
    for shown in found(&box_, "blue-anna")
        .iter()
        .chain(&found(&box_, "red-anna"))
    {
        assert_eq!(shown["arrivals"].as_array().map(Vec::len), Some(1));
        assert_ne!(shown["subject"], "Forged");
    }
    // A server that speaks for another tenant's mailbox is not believed: the report is that mailbox's mail.
    let forged = &found(&box_, "blue-jack")[0];
    let note = forged["notes"][0].as_str().expect("a note");
    assert!(note.contains("its recipients are not all among"), "{note}");

    box_.login_as("blue-anna");
    let id = box_.json("search --json quokka")["hits"][0]["record"].clone();
    let id = id.as_str().expect("an id").to_owned();
    box_.ok(&format!("show {id}"));
    box_.login_as("red-anna");
    for command in ["show", "get --original", "get --rendition", "get --report"] {
        let refused = box_.run(&format!("{command} {id}"));
        assert!(!refused.status.success(), "{}", text(&refused));
        assert!(refused.stdout.is_empty(), "{command}");
    }
    assert_eq!(box_.json("verify --json")["damage"], serde_json::json!([]));
    box_.assert_no_panic();
}

// Who has one tenant alone, of whatever name, need not name it; of several all are told.
#[test]
fn the_only_tenant_need_not_be_named_and_several_are_listed() {
    let box_ = TestBox::running_with(&|policy| policy.replace("[\"main\"]", "[\"solo\"]"));
    let keys = box_.file("keys");
    fs::create_dir(&keys).expect("a folder");
    make_key(&keys, "anna");
    fs::write(box_.file("pass"), "secret\n").expect("a passphrase");
    box_.ok(&format!(
        "escrow add {} --passphrase-file {}",
        keys.join("anna.p12").display(),
        box_.file("pass").display()
    ));
    let request = "case request --mailbox anna@example.org --purpose illness --read --days 3";
    let case = box_.json(&format!("{request} --json"));
    let statement = case["statement"].as_str().expect("a statement");
    assert!(statement.contains("\"tenant\":\"solo\""), "{statement}");
    let case = case["case"].as_str().expect("a case");
    let early = text(&box_.run(&format!("search --case {case}")));
    assert!(
        early.contains("signs with `strongroom case approve`"),
        "{early}"
    );
    let alone = text(&box_.run(&format!("user close anna {}", box_.officers(1))));
    assert!(alone.contains("give --officer once for each"), "{alone}");
    let close = format!("user close anna --tenant main {}", box_.officers(2));
    let unknown = text(&box_.run(&close));
    assert!(unknown.contains("no tenant main; it has solo"), "{unknown}");
    box_.ok(&close.replace("--tenant main", ""));

    let several = shared();
    several.login_as("blue-anna");
    let close = format!("user close blue-anna {}", several.officers(2));
    let add = format!("escrow add {}", keys.join("anna.crt").display());
    for command in [request, &close, &add] {
        let told = text(&several.run(command));
        assert!(
            told.contains("give --tenant with one of blue, red"),
            "{command}: {told}"
        );
    }
}
