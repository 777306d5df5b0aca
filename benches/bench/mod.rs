//! The benchmarks. Each works on the real parts (a whole box, real TLS, real keys) and panics where they do not work.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod archive;
mod big;
mod intake;
mod mails;
mod opening;
#[allow(dead_code)]
#[path = "../../tests/intake/postfix.rs"]
mod postfix;
mod reference;
#[allow(dead_code)]
#[path = "../../tests/box/support/mod.rs"]
mod support;
pub mod table;

use std::time::{Duration, Instant};
use table::Row;

/// How much of everything.
pub struct Scale {
    /// Small plain mails to archive.
    pub mails: usize,
    /// S/MIME mails to archive.
    pub smime: usize,
    /// Sessions to intake, and mails in each.
    pub sessions: (usize, usize),
    /// Mails for slow references.
    pub reference: usize,
    /// How long a rate is measured.
    pub measure: Duration,
    /// The size of a big mail, in bytes.
    pub big: u64,
}

impl Scale {
    /// Shows that it works.
    pub const QUICK: Self = Self {
        mails: 300,
        smime: 100,
        sessions: (4, 10),
        reference: 50,
        measure: Duration::from_millis(100),
        big: 40 << 20,
    };
}

/// One benchmark, by name.
pub struct Bench {
    /// What `./dev bench NAME` calls it.
    pub name: &'static str,
    /// In a few words.
    pub what: &'static str,
    run: fn(&Scale, &mut Vec<Row>),
    /// Only when it is asked for.
    long: bool,
}

/// All of them.
pub const BENCHES: &[Bench] = &[
    Bench {
        name: "opening",
        what: "opening and verifying single mails, per core",
        run: opening::run,
        long: false,
    },
    Bench {
        name: "intake",
        what: "SMTP over TLS into the spool, against Postfix",
        run: intake::run,
        long: false,
    },
    Bench {
        name: "archive",
        what: "an import of small plain mails until all are archived and searchable",
        run: archive::plain,
        long: false,
    },
    Bench {
        name: "smime",
        what: "S/MIME mails through the whole box",
        run: archive::smime,
        long: false,
    },
    Bench {
        name: "big",
        what: "one mail of 2 GB through the whole box",
        run: big::run,
        long: true,
    },
];

/// Runs those named, or all but the long ones.
pub fn run(names: &[String], scale: &Scale) -> Vec<Row> {
    let mut rows = Vec::new();
    for bench in BENCHES {
        if names.iter().any(|name| name == bench.name) || names.is_empty() && !bench.long {
            eprintln!("{}: {} …", bench.name, bench.what);
            (bench.run)(scale, &mut rows);
        }
    }
    rows
}

/// How often a second `once` can be done, measured for `time`.
fn rate_of(time: Duration, mut once: impl FnMut()) -> f64 {
    once(); // what is made on first use
    let since = Instant::now();
    let mut times = 0;
    while since.elapsed() < time {
        once();
        times += 1;
    }
    per_second(times, since.elapsed())
}

#[allow(clippy::cast_precision_loss)]
fn per_second(count: usize, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64()
}
