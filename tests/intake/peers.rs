//! The most common mail server as sender: Postfix, over SMTP with TLS and over LMTP.

use crate::crash::{Killable, key};
use crate::postfix::Postfix;
use crate::server::{Server, spool};
use crate::support::{Found, read_all};
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::time::{Duration, Instant};

const SENDER: &str = "ann@sender.example";
const RECIPIENT: &str = "bob@example.org";
const MAILS: usize = 200;

fn numbered(number: usize) -> Vec<u8> {
    format!("Subject: number {number}.\n\n.a line with a dot in front\n{number}\n").into_bytes()
}

/// How often the mail of each number arrived, as far as it arrived whole and with its envelope.
fn arrivals(found: &Found) -> Vec<usize> {
    let whole = |number: usize, mail: &[u8]| {
        let text = String::from_utf8_lossy(mail);
        let end = format!("\r\n\r\n.a line with a dot in front\r\n{number}\r\n");
        text.contains(&format!("\r\nSubject: number {number}.\r\n")) && text.ends_with(&end)
    };
    let times = |number| {
        let mails = found.mails.iter().zip(&found.envelopes);
        mails
            .filter(|((_, mail), envelope)| {
                whole(number, mail)
                    && envelope.sender == SENDER
                    && envelope.recipients.len() == 1
                    && envelope.recipients[0].address == RECIPIENT
            })
            .count()
    };
    (0..MAILS).map(times).collect()
}

fn wait_until(what: &str, limit: u64, mut holds: impl FnMut() -> bool) {
    let since = Instant::now();
    while !holds() {
        assert!(since.elapsed() < Duration::from_secs(limit), "{what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn submit_all(postfix: &Postfix) {
    std::thread::scope(|scope| {
        for first in 0..4 {
            let numbers = (first..MAILS).step_by(4);
            scope.spawn(move || {
                for number in numbers {
                    postfix.submit(SENDER, RECIPIENT, &numbered(number));
                }
            });
        }
    });
}

// C6, I2, with the most common sender there is: what Postfix takes off its queue is in the spool.
#[test]
fn postfix_loses_no_mail_to_an_intake_that_is_killed_again_and_again() {
    let folder = tempfile::tempdir().expect("folder");
    let mut intake = Killable::start(folder.path());
    let settings = format!(
        "relayhost = [127.0.0.1]:{}\nsmtp_tls_security_level = encrypt\ndefault_destination_concurrency_limit = 5\n",
        intake.smtp.port()
    );
    let Some(postfix) = Postfix::start(&settings, "") else {
        return;
    };
    let sent = || postfix.log().matches("status=sent").count();
    std::thread::scope(|scope| {
        scope.spawn(|| submit_all(&postfix));
        for part in [20, 70, 120] {
            wait_until("Postfix sends", 60, || sent() >= part);
            intake.kill_and_start(folder.path());
            postfix.flush();
        }
    });
    wait_until("Postfix's queue is empty", 90, || {
        postfix.flush();
        postfix.queued() == 0
    });
    drop(intake);
    let found = read_all(&spool(folder.path()), &key());
    assert!(found.damage.is_empty(), "{:?}", found.damage);
    let times = arrivals(&found);
    let lost: Vec<usize> = (0..MAILS).filter(|number| times[*number] == 0).collect();
    assert!(lost.is_empty(), "lost: {lost:?}");
    assert_eq!(found.mails.len(), times.iter().sum::<usize>());
    // An arrival is counted twice only where its 250 did not reach Postfix: a handful at each kill.
    assert!(found.mails.len() < MAILS + 60, "{}", found.mails.len());
    assert!(
        found.mails.iter().all(
            |(_, mail)| mail.starts_with(b"Received: from sender.example")
                || mail.starts_with(b"Received: by sender.example")
        ),
        "mails are kept as they came"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn postfix_delivers_over_lmtp() {
    let server = Server::start().await;
    let socket = server.socket("lmtp.sock");
    let settings = format!("default_transport = lmtp:unix:{}\n", socket.display());
    let Some(postfix) = Postfix::start(&settings, "") else {
        return;
    };
    open_to_postfix(server.folder.path(), &socket);
    tokio::task::block_in_place(|| {
        submit_all(&postfix);
        wait_until("Postfix's queue is empty", 60, || postfix.queued() == 0);
    });
    let found = server.stop().await;
    assert_eq!(arrivals(&found), vec![1; MAILS]);
    let uid = user().uid.as_raw();
    let by_postfix = |envelope: &strongroom::intake::envelope::Envelope| matches!(envelope.source, strongroom::intake::envelope::Source::Lmtp { uid: peer, .. } if peer == uid);
    assert!(found.envelopes.iter().all(by_postfix));
}

fn user() -> nix::unistd::User {
    let user = nix::unistd::User::from_name("postfix").expect("users");
    user.expect("the package made its user")
}

/// As an operator does who lets a mail server hand mail over: its group may use the socket.
fn open_to_postfix(folder: &Path, socket: &Path) {
    fs::set_permissions(folder, fs::Permissions::from_mode(0o711)).expect("a mode");
    chown(socket, None, Some(user().gid.as_raw())).expect("a group");
}
