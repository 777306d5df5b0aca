//! `./dev bench`: how fast the box is, as ratios to plain references measured in the same run, so that numbers from
//! different machines can be compared. Exit status 0 whatever the ratios: machines are noisy. Non-zero if something does
//! not work.

mod bench;

use bench::{BENCHES, Scale, table};
use std::process::ExitCode;
use std::time::Duration;

/// As in the program.
#[global_allocator]
static ALLOCATOR: strongroom::allocator::Allocator = strongroom::allocator::Allocator;

const USAGE: &str = "usage: ./dev bench [--json] [--quick] [NAME]...";

/// What the targets are about.
const FULL: Scale = Scale {
    mails: 50_000,
    smime: 50_000,
    sessions: (20, 100),
    reference: 2000,
    measure: Duration::from_secs(3),
    big: 2 << 30,
};

fn main() -> ExitCode {
    let (mut json, mut scale, mut names) = (false, FULL, Vec::new());
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--json" => json = true,
            "--quick" => scale = Scale::QUICK,
            "--bench" => {} // what cargo adds
            name if BENCHES.iter().any(|bench| bench.name == name) => names.push(name.to_owned()),
            _ => {
                eprintln!("{USAGE}\nNAME is one of:");
                for bench in BENCHES {
                    eprintln!("  {:9} {}", bench.name, bench.what);
                }
                return ExitCode::from(2);
            }
        }
    }
    let rows = bench::run(&names, &scale);
    if json {
        println!("{}", table::json(&rows));
    } else {
        print!("{}", table::text(&rows));
    }
    ExitCode::SUCCESS
}
