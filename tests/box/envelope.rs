//! The envelope: who a mail was really for, what the sending server asked, and who learns of it.

use crate::reading::{enter, sign_in};
use crate::support::{TestBox, smtp};
use serde_json::{Value, json};

/// The one arrival of the one mail, as the person who is signed in is shown it.
fn arrival(box_: &TestBox, query: &str) -> Value {
    box_.wait_for_hits(1, query);
    let found = box_.json(&format!("search --json {query}"));
    let record = found["hits"][0]["record"].as_str().expect("a hit");
    let shown = box_.json(&format!("show --json {record}"));
    let arrivals = shown["arrivals"].as_array().expect("arrivals");
    assert_eq!(arrivals.len(), 1, "{shown}");
    arrivals[0].clone()
}

fn send(box_: &TestBox, commands: &[String], mail: &str) {
    let mut client = box_.smtp().expect("a connection");
    let reply = client.with_envelope(commands, mail.as_bytes());
    let reply = reply.expect("a reply");
    assert!(smtp::queue_id(&reply).is_some(), "{reply}");
    box_.wait_for_records(1);
}

// C1: one record, the true envelope. A: nobody learns of others' blind copies.
#[test]
fn a_mail_to_seventy_is_one_record_and_each_finds_it_without_the_others_blind_copies() {
    let mut box_ = TestBox::running();
    for (name, mailbox) in [
        ("bert", "bert@example.org"),
        ("first", "blind1@example.org"),
        ("last", "blind68@example.org"),
        ("stranger", "stranger@example.org"),
        ("sender", "sender@example.net"),
    ] {
        enter(&box_, name, &format!("--mailbox {mailbox}"));
    }
    let mut all = vec!["anna@example.org".to_owned(), "bert@example.org".to_owned()];
    all.extend((1..=68).map(|number| format!("blind{number}@example.org")));
    let mut commands = vec!["MAIL FROM:<sender@example.net>".to_owned()];
    commands.extend(all.iter().map(|address| format!("RCPT TO:<{address}>")));
    let mail = "From: sender@example.net\r\nTo: anna@example.org\r\nCc: Bert <bert@example.org>\r\n\
        Subject: Wombat\r\n\r\nThe wombat text.\r\n";
    send(&box_, &commands, mail);

    let told = |box_: &TestBox| arrival(box_, "wombat")["recipients"].clone();
    let open = json!(["anna@example.org", "bert@example.org"]);
    box_.login();
    assert_eq!(told(&box_), open);
    for (name, own) in [
        ("bert", None),
        ("first", Some("blind1@example.org")),
        ("last", Some("blind68@example.org")),
    ] {
        sign_in(&box_, name);
        let mut expected = open.clone();
        expected
            .as_array_mut()
            .expect("a list")
            .extend(own.map(Value::from));
        assert_eq!(told(&box_), expected, "{name}");
    }
    sign_in(&box_, "sender");
    assert_eq!(told(&box_), json!(all), "the sender knows them");
    sign_in(&box_, "stranger");
    assert_eq!(box_.json("search --json wombat")["total"], 0);

    box_.ok("verify");
    assert_eq!(box_.status("records"), 1);
    box_.stop();
    assert_eq!(box_.arrivals().len(), 1);
    box_.assert_no_panic();
}

// C1: what a peer asks for delivery status notifications (RFC 3461) is kept as sent, and ORCPT betrays no blind copy.
#[test]
fn notification_parameters_are_kept_with_their_recipient_and_hidden_with_blind_copies() {
    let box_ = TestBox::running();
    enter(&box_, "bert", "--mailbox bert@example.org");
    enter(&box_, "carl", "--mailbox carl@example.org");
    enter(&box_, "sender", "--mailbox sender@example.net");
    let commands = [
        "MAIL FROM:<sender@example.net> RET=HDRS ENVID=QQ+2B314159",
        "RCPT TO:<carl@example.org>",
        "RCPT TO:<bert@example.org> NOTIFY=NEVER ORCPT=rfc822;secret+2Bbert@example.org",
        "RCPT TO:<anna@example.org> NOTIFY=SUCCESS,FAILURE,DELAY ORCPT=rfc822;Anna@example.org",
    ]
    .map(str::to_owned);
    let mail = "From: sender@example.net\r\nTo: anna@example.org\r\nSubject: Tapir\r\n\r\nThe tapir text.\r\n";
    send(&box_, &commands, mail);

    let of_anna = json!([
        "NOTIFY=SUCCESS,FAILURE,DELAY",
        "ORCPT=rfc822;Anna@example.org"
    ]);
    let of_bert = json!(["NOTIFY=NEVER", "ORCPT=rfc822;secret+2Bbert@example.org"]);
    let told = |name: &str| {
        match name {
            "anna" => box_.login(),
            name => sign_in(&box_, name),
        }
        let arrival = arrival(&box_, "tapir");
        assert_eq!(
            arrival["parameters"],
            json!(["RET=HDRS", "ENVID=QQ+2B314159"])
        );
        (
            arrival["recipients"].clone(),
            arrival["recipient_parameters"].clone(),
        )
    };
    let [anna, bert, carl] = ["anna", "bert", "carl"].map(|name| format!("{name}@example.org"));
    assert_eq!(told("anna"), (json!([anna]), json!([of_anna])));
    assert_eq!(
        told("bert"),
        (json!([bert, anna]), json!([of_bert, of_anna]))
    );
    assert_eq!(told("carl"), (json!([carl, anna]), json!([[], of_anna])));
    let all = (json!([carl, bert, anna]), json!([[], of_bert, of_anna]));
    assert_eq!(told("sender"), all);
    box_.assert_no_panic();
}
