//! A mail far larger than any process may hold in memory, from SMTP over TLS to the exact original.

use super::Scale;
use super::support::{TestBox, big};
use super::table::{Row, Target};
use std::time::Instant;

/// What no process may need, in MB.
const FLAT: f64 = 300.0;

/// Sends, archives and retrieves it.
pub fn run(scale: &Scale, rows: &mut Vec<Row>) {
    let box_ = TestBox::running();
    let megabytes = (scale.big >> 20) as f64;
    let mut row = |what: &str, since: Instant| {
        let rate = megabytes / since.elapsed().as_secs_f64();
        rows.push(Row::value(what, rate, "MB/s"));
    };
    let since = Instant::now();
    let sent = big::send(&box_, scale.big);
    row(&format!("intake of one mail of {megabytes} MB"), since);
    let since = Instant::now();
    box_.wait_for_records(1);
    row("  archived", since);
    let since = Instant::now();
    let (_, original) = big::fetch(&box_);
    row("  retrieved", since);
    assert_eq!(original, sent, "the original is what was sent");
    for role in ["intake", "keeper", "worker"] {
        let peak = box_.peak_memory(role) as f64;
        let what = format!("  {role}'s memory at most");
        rows.push(Row::value(what, peak, "MB").target(Target::AtMost(FLAT)));
    }
    box_.assert_no_panic();
}
