//! What other programs do on the same machine in the same run.

use super::mails::Mails;
use super::{Scale, per_second};
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// Operations a second as `openssl speed` counts them, on so many cores.
pub struct Speed {
    /// Private-key operations: signing, decrypting; for ECDH the exchange.
    pub private: f64,
    /// Signature checks.
    pub public: f64,
}

/// Runs `openssl speed` for one algorithm; each operation for `time`, a second at least.
fn openssl_speed(time: Duration, algorithm: &str, cores: usize) -> Speed {
    let seconds = time.as_secs().max(1).to_string();
    let cores = cores.to_string();
    let run = Command::new("openssl")
        .args([
            "speed", "-mr", "-elapsed", "-seconds", &seconds, "-multi", &cores, algorithm,
        ])
        .output()
        .expect("openssl is installed");
    let said = String::from_utf8_lossy(&run.stdout).into_owned();
    // The last line is the sum of all cores: `+F2:NUMBER:BITS:PRIVATE:PUBLIC`, rates.
    let sum = said.lines().rev().find(|line| line.starts_with("+F"));
    let fields = sum.unwrap_or_default().split(':').skip(3);
    let rates: Vec<f64> = fields.filter_map(|field| field.parse().ok()).collect();
    assert_eq!(rates.len(), 2, "openssl speed {algorithm} said: {said}");
    Speed {
        private: rates[0],
        public: rates[1],
    }
}

/// Runs `work` between two runs of `openssl speed`, whose mean is given: the machine's own speed changes within minutes.
/// One run is enough where nothing is measured but that it works.
pub fn beside<T>(
    scale: &Scale,
    algorithm: &str,
    cores: usize,
    work: impl FnOnce() -> T,
) -> (T, Speed) {
    let before = openssl_speed(scale.measure, algorithm, cores);
    let done = work();
    if scale.measure < Duration::from_secs(1) {
        return (done, before);
    }
    let after = openssl_speed(scale.measure, algorithm, cores);
    let mean = Speed {
        private: f64::midpoint(before.private, after.private),
        public: f64::midpoint(before.public, after.public),
    };
    (done, mean)
}

/// Runs `openssl speed` and `work`, which gives its own rate, by turns. Gives the rate and what is compared with it, of the
/// round whose ratio is the median: other programs slow down one or the other for moments.
pub fn by_turns(
    scale: &Scale,
    algorithm: &str,
    compared: fn(&Speed) -> f64,
    mut work: impl FnMut(Duration) -> f64,
) -> (f64, f64) {
    const ROUNDS: u32 = 7;
    let (rounds, time) = if scale.measure < Duration::from_secs(1) {
        (1, scale.measure)
    } else {
        (ROUNDS, Duration::from_secs(1))
    };
    let mut measured: Vec<(f64, f64)> = (0..rounds)
        .map(|_| (work(time), compared(&openssl_speed(time, algorithm, 1))))
        .collect();
    measured.sort_by(|a, b| (a.0 / a.1).total_cmp(&(b.0 / b.1)));
    measured[measured.len() / 2]
}

/// Small mails a second that are only appended to a file with an fsync for every 32.
pub fn synced_append(folder: &Path, mails: &Mails) -> f64 {
    let mut file = File::create(folder.join("appended")).expect("a file");
    let since = Instant::now();
    let mut count = 0;
    for mail in mails.iter().take(20_000) {
        file.write_all(mail).expect("written");
        count += 1;
        if count % 32 == 0 {
            file.sync_data().expect("synced");
        }
    }
    per_second(count, since.elapsed())
}

/// Mails a second that notmuch indexes, without keeping them safe; `None` where it is not installed.
pub fn notmuch(folder: &Path, mails: &Mails, count: usize) -> Option<f64> {
    let maildir = folder.join("mail/cur");
    for name in ["cur", "new", "tmp"] {
        fs::create_dir_all(folder.join("mail").join(name)).expect("a folder");
    }
    for (number, mail) in mails.iter().take(count).enumerate() {
        fs::write(maildir.join(format!("{number}:2,S")), mail).expect("a mail");
    }
    let config = folder.join("notmuch.conf");
    let text = format!(
        "[database]\npath={}\n[user]\nname=x\nprimary_email=x@example.org\n",
        folder.join("mail").display()
    );
    fs::write(&config, text).expect("a configuration");
    let since = Instant::now();
    let run = Command::new("notmuch")
        .env("NOTMUCH_CONFIG", &config)
        .args(["new", "--quiet", "--no-hooks"])
        .status();
    run.is_ok_and(|status| status.success())
        .then(|| per_second(count, since.elapsed()))
}
