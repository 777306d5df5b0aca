//! What the fuzzer's programs share: the targets, which the tests run too, and what happens when something panics.

#[path = "../../tests/fuzz/targets.rs"]
mod targets;

pub use targets::{ALL, Target, named};

use std::panic::{PanicHookInfo, set_hook, take_hook};

/// Lets a library's panic unwind: where we call one that is known to panic (PDF, OpenPGP) we catch it, and anywhere
/// else it still ends the fuzzer's run. Our own panics end it at once, caught or not.
pub fn tolerate_caught_panics() {
    let abort = take_hook();
    set_hook(Box::new(move |panic| {
        if !in_a_library(panic) {
            abort(panic);
        }
    }));
}

fn in_a_library(panic: &PanicHookInfo) -> bool {
    let place = panic.location();
    place.is_some_and(|place| place.file().contains("/registry/src/"))
}
