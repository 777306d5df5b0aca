//! The whole box: import, spool, workers, vault, ledger, catalog, index, until a search finds everything.

use super::mails::{Mails, as_mbox, generated};
use super::reference;
use super::support::{TestBox, descendants, numbered_mail, smtp};
use super::table::{Row, Target};
use super::{Scale, per_second};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Between two looks at what is archived: rare enough not to be what is measured.
const LOOK: Duration = Duration::from_millis(200);

/// 50,000 small plain mails.
pub fn plain(scale: &Scale, rows: &mut Vec<Row>) {
    let scratch = tempfile::tempdir().expect("a folder");
    let mails = Mails::gather(scratch.path(), scale.mails);
    let box_ = TestBox::running();
    let alone = found_after(&box_, 900_000);
    let loaded = AtomicBool::new(true);
    let (imported, slowest) = std::thread::scope(|scope| {
        let probing = scope.spawn(|| probe(&box_, &loaded));
        let imported = {
            let _end = Ended(&loaded);
            import(&box_, &mails.files)
        };
        (imported, probing.join().expect("the probe works"))
    });
    let rate = imported.rate();
    let what = format!("archive {} mails of {} bytes", imported.mails, mails.mean());
    let synced = reference::synced_append(scratch.path(), &mails);
    let indexed = reference::notmuch(scratch.path(), &mails, scale.reference);
    rows.push(
        Row::rate(&what, rate)
            .against("notmuch, indexing alone", indexed)
            .target(Target::Rate(2500.0)),
    );
    rows.push(Row::rate("  the same", rate).against("appended, fsync for 32", Some(synced)));
    rows.push(imported.processor_row());
    let memory = box_.peak_memory("keeper");
    rows.push(at_most(
        "  keeper's memory at most",
        memory as f64,
        "MB",
        300.0,
    ));
    rows.push(at_most("  found after its 250", alone, "s", 5.0));
    rows.push(at_most(
        "  found after its 250, in the import",
        slowest,
        "s",
        5.0,
    ));
    box_.assert_no_panic();
}

/// The load ends when this is dropped, also where it failed.
struct Ended<'a>(&'a AtomicBool);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

fn at_most(what: &str, value: f64, unit: &'static str, most: f64) -> Row {
    Row::value(what, value, unit).target(Target::AtMost(most))
}

/// S/MIME mails, each of its own, to one escrowed RSA-2048 key.
pub fn smime(scale: &Scale, rows: &mut Vec<Row>) {
    let scratch = tempfile::tempdir().expect("a folder");
    let at = |name: &str| scratch.path().join(name);
    let made = Command::new("openssl")
        .args(
            "req -x509 -newkey rsa:2048 -noenc -keyout anna.key -out anna.crt -days 30 -subj"
                .split(' '),
        )
        .args(["/CN=anna/emailAddress=anna@example.org"])
        .current_dir(scratch.path())
        .output();
    assert!(made.is_ok_and(|made| made.status.success()));
    let pem = fs::read(at("anna.crt")).expect("a certificate");
    let certificate = openssl::x509::X509::from_pem(&pem).expect("PEM");
    let certificate = certificate.to_der().expect("DER");
    let mut random = StdRng::seed_from_u64(2);
    let mails: Vec<Vec<u8>> = (0..scale.smime)
        .map(|number| {
            let mail = generated(&mut random, number);
            strongroom::mail::encrypt_for(&certificate, &mail).expect("encrypted")
        })
        .collect();
    fs::write(at("smime.mbox"), as_mbox(&mails)).expect("written");
    fs::write(
        at("anna.pem"),
        [fs::read(at("anna.key")).expect("a key"), pem].concat(),
    )
    .expect("written");
    let box_ = TestBox::running();
    box_.ok(&format!("escrow add {}", at("anna.pem").display()));
    let (imported, speed) =
        reference::beside(scale, "rsa2048", 2, || import(&box_, &[at("smime.mbox")]));
    assert_eq!(box_.status("waiting"), 0, "all are opened");
    rows.push(
        Row::rate(
            format!("archive {} S/MIME mails, RSA-2048", imported.mails),
            imported.rate(),
        )
        .against("openssl speed -multi 2", Some(speed.private))
        .target(Target::Ratio(0.4)),
    );
    rows.push(imported.processor_row());
    box_.assert_no_panic();
}

/// What an import took until its mails were archived and searchable.
struct Imported {
    mails: usize,
    time: Duration,
    /// Of all processes of the box, on all cores.
    processor: Duration,
}

impl Imported {
    fn rate(&self) -> f64 {
        per_second(self.mails, self.time)
    }

    /// Processor time for one mail: what is left of noise where other programs use the machine too.
    fn processor_row(&self) -> Row {
        let each = self.processor.as_secs_f64() * 1e6 / self.mails as f64;
        Row::value("  processor time for one", each, "µs")
    }
}

/// Processor time that the box's processes have used, their ended children included.
fn processor_time(box_: &TestBox) -> Duration {
    let ticks = |pid: u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let fields = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
        let times = fields.split(' ').skip(11).take(4);
        times
            .filter_map(|time| time.parse::<u64>().ok())
            .sum::<u64>()
    };
    let serve = box_.serve.as_ref().map_or(0, std::process::Child::id);
    let sum: u64 = descendants(serve).into_iter().map(ticks).sum();
    Duration::from_millis(sum * 10) // 100 ticks a second on Linux
}

/// Imports the files and waits until their mails are archived and searchable.
fn import(box_: &TestBox, files: &[PathBuf]) -> Imported {
    let processor = processor_time(box_);
    let entries = box_.status("ledger_size");
    let mut arguments: Vec<String> = files
        .iter()
        .map(|file| file.display().to_string())
        .collect();
    arguments.extend([
        "--mailbox anna@example.org --json --data".to_owned(),
        box_.data().display().to_string(),
        "--state".to_owned(),
        box_.file("import.state").display().to_string(),
    ]);
    let since = Instant::now();
    let said = box_.ok(&format!("import {}", arguments.join(" ")));
    let last = said.lines().last().unwrap_or_default();
    let sum: serde_json::Value = serde_json::from_str(last).expect("the import's sum");
    let imported = sum["imported"].as_u64().expect("a number");
    eprintln!(
        "  in the spool after {:.1} s",
        since.elapsed().as_secs_f64()
    );
    // Each mail is an entry. A few dozen more are of the probe, which reads meanwhile.
    wait(since, || box_.status("ledger_size") >= entries + imported);
    eprintln!("  archived after {:.1} s", since.elapsed().as_secs_f64());
    let records = box_.status("records");
    wait(since, || found(box_, "") >= records);
    let imported = Imported {
        mails: usize::try_from(imported).expect("a number"),
        time: since.elapsed(),
        processor: processor_time(box_).saturating_sub(processor),
    };
    // Intake keeps its last file open for a second; then nothing may be left.
    wait(since, || box_.status("spooled") == 0);
    imported
}

fn found(box_: &TestBox, query: &str) -> u64 {
    let hits = box_.json(&format!("search --json --limit 1 {query}"));
    hits["total"].as_u64().expect("a number")
}

fn wait(since: Instant, mut holds: impl FnMut() -> bool) {
    while !holds() {
        assert!(since.elapsed() < Duration::from_secs(900), "not in time");
        std::thread::sleep(LOOK);
    }
}

/// Sends a mail of its own over SMTP; gives the seconds from its 250 until a search finds it.
fn found_after(box_: &TestBox, number: usize) -> f64 {
    let mut client = box_.smtp().expect("a connection");
    let reply = client.mail("anna@example.org", &numbered_mail(number));
    let since = Instant::now();
    assert!(smtp::queue_id(&reply.expect("a reply")).is_some());
    wait(since, || {
        found(box_, &format!("id:<{number}@example.net>")) > 0
    });
    since.elapsed().as_secs_f64()
}

/// The longest time that a mail took to be found while `loaded`.
fn probe(box_: &TestBox, loaded: &AtomicBool) -> f64 {
    let mut slowest: f64 = 0.0;
    for number in 900_001.. {
        if !loaded.load(Ordering::SeqCst) {
            break;
        }
        slowest = slowest.max(found_after(box_, number));
        std::thread::sleep(Duration::from_secs(2));
    }
    slowest
}
