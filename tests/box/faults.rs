//! The whole box against what can go wrong around it: killed processes, flipped bits, hostile mail, other firmware,
//! full disks, curious operators.

use crate::support::disk::Disk;
use crate::support::{TestBox, big, hostile, numbered_mail, signal, smtp, text};
use hsm_sim::Firmware;
use nix::sys::signal::Signal;
use rand::RngExt as _;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

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
                let Ok(reply) = client.pipelined("anna@example.org", &mail) else {
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
    box_.wait_for_hits(records, "hippopotamus");
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

// I2: what a worker has under way lies in the spool. A stop does not wait for it.
#[test]
fn a_stop_waits_for_no_worker_and_loses_nothing() {
    let mut box_ = TestBox::found();
    let config = box_.data().join("strongroom.toml");
    let all = std::fs::read_to_string(&config).expect("a configuration");
    let one = all.replace("[workers]", "[workers]\ncount = 1");
    std::fs::write(&config, one).expect("written");
    box_.start();
    box_.send(&numbered_mail(1));
    box_.wait_for_records(1);
    let [worker] = box_.processes("worker")[..] else {
        panic!("one worker");
    };
    signal(worker, Signal::SIGSTOP);
    box_.send(&numbered_mail(2));
    std::thread::sleep(Duration::from_secs(1));
    let since = Instant::now();
    box_.stop();
    assert!(since.elapsed() < Duration::from_secs(20));
    box_.start();
    box_.wait_for_records(2);
    box_.stop();
    assert_eq!(box_.arrivals().len(), 2);
    box_.assert_no_panic();
}

// A7: who can reach the socket without a session learns numbers, never who wrote to whom about what.
#[test]
fn without_a_session_no_command_tells_an_address_or_a_subject() {
    let box_ = TestBox::running();
    box_.send(&numbered_mail(1));
    box_.wait_for_records(1);
    let certificate = crate::people::certificate(&box_, "leaver");
    let case = box_.json(&format!(
        "case request --mailbox anna@example.org --purpose ocelot --certificate {} --json",
        certificate.display()
    ));
    let case = case["case"].as_str().expect("a case").to_owned();
    box_.ok(&format!("case approve {case} {}", box_.officers(2)));
    box_.send(&crate::people::sealed(&box_, "leaver", "Hidden"));
    box_.wait_for_records(2);
    box_.ok("logout");
    assert_eq!(box_.json("worklist --json")[0]["mails"], 1);
    assert!(box_.ok("case list").contains("approved"));
    let (show, release) = (
        format!("case show {case}"),
        format!(
            "case release {case} --output {}",
            box_.file("out").display()
        ),
    );
    let show_json = format!("{show} --json");
    assert!(box_.ok(&show).contains("2 of 2"), "numbers are told");
    assert!(!box_.run(&release).status.success());
    assert!(!box_.file("out").exists());
    let open = [
        show.as_str(),
        &show_json,
        &release,
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
        for secret in [
            "example.org",
            "example.net",
            "crocodile 1",
            "hippopotamus",
            "ocelot",
            "alice",
        ] {
            assert!(!said.contains(secret), "{command} tells: {said}");
        }
    }
    let log = box_.log();
    assert!(!log.contains("Crocodile") && !log.contains("example.org"));
    box_.assert_no_panic();
}

// E3: other firmware gets no key. C1: and costs no mail.
#[test]
fn a_machine_with_other_software_or_a_cleared_tpm_stays_locked_and_takes_mail_in() {
    let mut box_ = TestBox::running();
    box_.stop();
    box_.machine.boot(Firmware::Altered).expect("a boot");
    assert_locked(&mut box_, "PCR 11 differs");
    box_.machine.boot(Firmware::Good).expect("a boot");
    box_.start();
    box_.wait_for_records(1);

    box_.stop();
    box_.machine.clear().expect("a cleared TPM");
    assert_locked(&mut box_, "the TPM was cleared");
    box_.assert_no_panic();
}

/// The box says that it is locked, why, and what to do; and accepts a mail. It is stopped afterwards.
fn assert_locked(box_: &mut TestBox, why: &str) {
    box_.start_only();
    box_.wait_until(why, || text(&box_.run("status")).contains(why));
    let status = box_.run("status");
    assert!(!status.status.success());
    let said = text(&status);
    assert!(said.contains("locked since"), "{said}");
    assert!(said.contains("strongroom ceremony restore"), "{said}");
    assert!(text(&box_.run("status --json")).contains("\"state\": \"locked\""));
    assert!(box_.processes("keeper").is_empty());
    box_.wait_until("intake", || box_.smtp().is_ok());
    box_.send(&numbered_mail(7));
    box_.stop();
}

// C4: no change to an archived object goes unnoticed. Each file of vault, ledger and keyring, in two places.
#[test]
fn a_flipped_bit_is_named_by_verify_or_refuses_the_start() {
    let mut box_ = TestBox::running();
    let mut client = box_.smtp().expect("a connection");
    for number in 0..300 {
        let reply = client.mail("anna@example.org", &numbered_mail(number));
        assert!(smtp::queue_id(&reply.expect("a reply")).is_some());
    }
    drop(client);
    box_.wait_for_records(300);
    box_.json("verify --json");
    box_.stop();
    let files = precious_files(&box_.data());
    assert!(files.len() >= 6, "{files:?}");
    let mut unnoticed = Vec::new();
    for file in files {
        let good = std::fs::read(&file).expect("a file");
        for place in [good.len() / 2, good.len() - 1] {
            let mut bad = good.clone();
            bad[place] ^= 0x10;
            std::fs::write(&file, &bad).expect("written");
            let said = what_the_box_says(&mut box_);
            let name = file.strip_prefix(box_.data()).expect("in the box");
            println!("{} at {place}: {}", name.display(), said.trim());
            if said.is_empty() {
                unnoticed.push((name.to_owned(), place));
            }
            std::fs::write(&file, &good).expect("written");
        }
    }
    assert!(unnoticed.is_empty(), "{unnoticed:?}");
    box_.assert_no_panic();
    box_.start();
    let verified = box_.json("verify --json");
    assert_eq!(verified["records"].as_u64(), Some(300));
}

/// All files of the vault and of the ledger, and the keyring. Without the partial tiles (`….p/N`): they are copies of
/// what lies in the tail, for readers from outside, who check them against the checkpoint; the box never reads them.
fn precious_files(data: &Path) -> Vec<PathBuf> {
    let mut files = vec![data.join("keyring")];
    let mut folders = vec![data.join("vault"), data.join("ledger")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            let length = path.metadata().expect("metadata").len();
            if path.is_dir() && path.extension().is_none() {
                folders.push(path);
            } else if path.is_file() && length > 0 {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

/// What is said about damage: the reason why the box does not open, else what verify finds. Empty if nothing.
fn what_the_box_says(box_: &mut TestBox) -> String {
    let before = box_.log().len();
    box_.start_only();
    let mut said = String::new();
    box_.wait_until("an answer", || {
        let status = box_.run("status");
        let reasons = text(&status);
        let told = box_.log()[before..].to_owned();
        if status.status.success() {
            let verified = box_.run("verify");
            said = if verified.status.success() {
                String::new()
            } else {
                text(&verified)
            };
            return true;
        }
        said = reasons;
        said.contains("is refused since") || told.contains("is started again")
    });
    box_.stop();
    said.lines().take(2).collect::<Vec<_>>().join(" | ")
}

// C1: hostile mail is archived like any other, its outcome names the bound, and the box goes on.
#[test]
fn hostile_mail_is_archived_with_its_outcome_named() {
    let box_ = TestBox::running();
    box_.send(&hostile::many_parts(10_000));
    box_.send(&hostile::nested(200));
    box_.send(&hostile::compressed(256 << 20));
    box_.wait_for_records(3);
    let before = box_.peak_memory("keeper");
    let mut client = box_.smtp().expect("a connection");
    let reply = client.mail_from("anna@example.org", &mut |out| hostile::large(out, 40 << 20));
    assert!(smtp::queue_id(&reply.expect("a reply")).is_some());
    box_.send(&numbered_mail(1));
    box_.wait_for_records(5);
    for (word, bound) in [
        ("manyparts", "parts"),
        ("nested", "depth"),
        ("compressed", "ratio"),
        ("large", "message_bytes"),
        ("crocodile", ""),
    ] {
        let mut id = String::new();
        box_.wait_until(word, || {
            let found = box_.json(&format!("search --json subject:{word}"));
            id = found["hits"][0]["record"]
                .as_str()
                .unwrap_or_default()
                .to_owned();
            !id.is_empty()
        });
        let shown = box_.json(&format!("show --json {id}"));
        let reason = shown["reason"].as_str().unwrap_or_default();
        println!("{word}: {} ({reason})", shown["outcome"]);
        assert!(
            reason.contains(bound),
            "{word}: {} ({reason})",
            shown["outcome"]
        );
    }
    let peak = box_.peak_memory("keeper");
    assert!(
        peak < before + 30,
        "the keeper held the large mail: {before} MB, then {peak} MB"
    );
    box_.ok("verify");
    box_.assert_no_panic();
}

// C1, C2: whatever its size, a mail is archived exactly, and no process holds it in memory. `./dev bench big` does the same
// with 2 GB.
#[test]
fn a_mail_of_40_mb_comes_back_exactly_and_memory_stays_flat() {
    let box_ = TestBox::running();
    box_.send(&numbered_mail(1));
    box_.wait_for_records(1);
    let roles = ["intake", "keeper", "worker"];
    let before = roles.map(|role| box_.peak_memory(role));
    let sent = big::send(&box_, 40 << 20);
    box_.wait_for_records(2);
    let (reason, original) = big::fetch(&box_);
    assert!(reason.contains("message_bytes"), "{reason}");
    assert_eq!(original, sent);
    for (role, before) in roles.iter().zip(before) {
        let peak = box_.peak_memory(role);
        assert!(peak < before + 40, "{role}: {before} MB, then {peak} MB");
    }
    box_.assert_no_panic();
}

// I2, C6: a full disk loses nothing. The vault's disk fills up, then the spool's.
#[test]
fn a_full_disk_delays_mail_and_loses_none() {
    let mut box_ = TestBox::running();
    box_.stop();
    let mounted = (
        Disk::mount(&box_.data().join("vault"), 8),
        Disk::mount(&box_.data().join("spool"), 24),
    );
    let (Some(vault), Some(_spool)) = mounted else {
        return;
    };
    box_.start();
    for number in 0..12 {
        box_.send(&hostile::incompressible(
            &format!("crocodile {number}"),
            1 << 20,
        ));
    }
    box_.wait_until("the vault is full", || {
        text(&box_.run("status")).contains("archiving is stuck")
    });
    let mut client = box_.smtp().expect("a connection");
    let reply = client.mail(
        "anna@example.org",
        &hostile::incompressible("too much", 30 << 20),
    );
    assert!(reply.expect("a reply").starts_with("452 "));
    vault.resize(64);
    box_.wait_for_records(12);
    box_.send(&numbered_mail(12));
    box_.wait_for_records(13);
    let verified = box_.json("verify --json");
    assert_eq!(verified["records"].as_u64(), Some(13));
    assert!(!text(&box_.run("status")).contains("stuck"));
    box_.stop();
    assert_eq!(box_.arrivals().len(), 13);
    box_.assert_no_panic();
}

// I2, C6: the disk below the ledger fills up, then the one below the catalog, which is written after the ledger has the
// mail: nothing is lost, and nothing is archived twice.
#[test]
fn a_full_disk_below_ledger_or_catalog_loses_nothing_and_doubles_nothing() {
    let mut box_ = TestBox::running();
    box_.stop();
    let mounted = (
        Disk::mount(&box_.data().join("ledger"), 16),
        Disk::mount(&box_.data().join("catalog"), 32),
    );
    let (Some(ledger), Some(catalog)) = mounted else {
        return;
    };
    box_.start();
    box_.send(&numbered_mail(0));
    box_.wait_for_records(1);

    let mut sent = 1;
    for (disk, complaint) in [
        (&ledger, "archiving is stuck"),
        (&catalog, "could not go on"),
    ] {
        disk.fill();
        box_.wait_until(complaint, || {
            for _ in 0..20 {
                box_.send(&numbered_mail(sent));
                sent += 1;
            }
            text(&box_.run("status")).contains(complaint)
        });
        disk.clear();
        box_.wait_for_records(sent as u64);
    }
    let verified = box_.json("verify --json");
    assert_eq!(verified["damage"].as_array().map(Vec::len), Some(0));
    box_.stop();
    let arrivals = box_.arrivals();
    let spool: BTreeSet<&String> = arrivals.iter().map(|one| &one.spool).collect();
    assert_eq!((arrivals.len(), spool.len()), (sent, sent));
    box_.assert_no_panic();
}
