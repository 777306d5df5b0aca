//! What the box says, and where nobody can write that down.

use crate::support::{TestBox, numbered_mail};
use std::fs::File;

// As where its disk is full.
#[test]
fn a_log_that_cannot_be_written_stops_nothing() {
    let mut box_ = TestBox::running();
    box_.stop();
    let full = File::options().write(true).open("/dev/full");
    box_.start_with_log(full.expect("a device"), &[]);
    box_.wait_until("the box is open", || box_.run("status").status.success());
    box_.login();
    box_.send(&numbered_mail(1));
    box_.wait_for_hits(1, "crocodile");
    assert!(box_.kill("keeper"));
    box_.send(&numbered_mail(2));
    box_.wait_until("the box is open again", || {
        box_.run("status").status.success()
    });
    box_.login();
    box_.wait_for_hits(2, "crocodile");
    box_.stop();
}
