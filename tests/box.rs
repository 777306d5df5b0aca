//! The whole box against what can go wrong around it: killed processes, flipped bits, hostile mail, other firmware,
//! full disks, curious operators. Real processes, a simulated TPM, SMTP over TLS.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use rand::RngExt as _;
use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use support::{TestBox, numbered_mail, smtp, text};

/// Sends numbered mails over several connections until told to stop; gives the queue ids that were promised.
struct Load {
    next: AtomicUsize,
    stop: AtomicBool,
    accepted: Mutex<BTreeSet<String>>,
}

impl Load {
    fn new() -> Self {
        Self {
            next: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
            accepted: Mutex::default(),
        }
    }

    /// One connection after the other, each until it breaks.
    fn send(&self, to: &TestBox) {
        while !self.stop.load(Ordering::SeqCst) {
            let Ok(mut client) = to.smtp() else {
                std::thread::sleep(Duration::from_millis(50));
                continue;
            };
            while !self.stop.load(Ordering::SeqCst) {
                let mail = numbered_mail(self.next.fetch_add(1, Ordering::SeqCst));
                let Ok(reply) = client.mail("anna@example.org", &mail) else {
                    break;
                };
                self.accepted
                    .lock()
                    .expect("no sender panics")
                    .extend(smtp::queue_id(&reply));
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }

    fn accepted(&self) -> usize {
        self.accepted.lock().expect("no sender panics").len()
    }
}

// I2, C6: a 250 is a promise, whichever process dies and whenever. E1, C4: and the archive is whole afterwards.
#[test]
fn every_accepted_mail_is_archived_exactly_once_whatever_is_killed() {
    let mut box_ = TestBox::running();
    let load = Load::new();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| load.send(&box_));
        }
        for role in ["worker", "keeper", "worker", "intake", "worker", "keeper"] {
            let pause = rand::rng().random_range(100..1500);
            std::thread::sleep(Duration::from_millis(pause));
            box_.wait_until(role, || box_.kill(role));
        }
        box_.wait_until("300 mails", || load.accepted() >= 300);
        load.stop.store(true, Ordering::SeqCst);
    });
    box_.kill_all();
    box_.start();
    let accepted = load.accepted.into_inner().expect("no sender panics");
    box_.wait_for_records(accepted.len() as u64);
    let records = box_.status("records");
    let verified = box_.json("verify --json");
    assert_eq!(verified["records"].as_u64(), Some(records));
    box_.login();
    box_.wait_until("the search index", || {
        box_.json("search --json hippopotamus")["total"].as_u64() == Some(records)
    });
    box_.stop();

    let arrivals = box_.arrivals();
    let spool: BTreeSet<String> = arrivals.iter().map(|one| one.spool.clone()).collect();
    let ids: BTreeSet<&String> = arrivals.iter().map(|one| &one.record).collect();
    let lost: Vec<_> = accepted.difference(&spool).collect();
    assert!(lost.is_empty(), "promised and not archived: {lost:?}");
    assert_eq!(spool.len(), arrivals.len(), "a mail was archived twice");
    assert_eq!(ids.len(), arrivals.len(), "different mails share a record");
    assert!(arrivals.iter().all(|one| one.number == 0));
    assert!(arrivals.len() <= load.next.load(Ordering::SeqCst));
    box_.assert_no_panic();
}

// A7: who can reach the socket without a session learns numbers, never who wrote to whom about what.
#[test]
fn without_a_session_no_command_tells_an_address_or_a_subject() {
    let box_ = TestBox::running();
    box_.send(&numbered_mail(1));
    box_.wait_for_records(1);
    box_.ok("logout");
    let open = [
        "status",
        "status --json",
        "verify",
        "verify --json",
        "worklist",
        "worklist --json",
        "escrow list",
        "escrow list --json",
        "case list",
        "case list --json",
        "search crocodile",
        "user list",
    ];
    for command in open {
        let said = text(&box_.run(command)).to_lowercase();
        for secret in ["example.org", "example.net", "crocodile 1", "hippopotamus"] {
            assert!(!said.contains(secret), "{command} tells: {said}");
        }
    }
    let log = box_.log();
    assert!(!log.contains("Crocodile") && !log.contains("example.org"));
    box_.assert_no_panic();
}
