//! Imports give way: they wait while much lies in the spool, so that mail that arrives meanwhile is archived and found
//! within seconds, and a large import does not fill the spool's disk.
//!
//! Where nothing is taken out of the spool (the box is locked), waiting is of no use and the import goes on.

use std::future::Future;
use std::time::{Duration, Instant};

/// Bytes in the spool above which an import waits: about two seconds of archiving. More than what is on its way into the archive
/// at one time, for that lies there too until it is committed; else the archive would wait for the import in turn.
const MUCH: u64 = 16 << 20;
/// Bytes that are imported between two looks.
const STEP: u64 = 1 << 20;
/// Between two looks while waiting.
const PAUSE: Duration = Duration::from_millis(50);
/// As long as this nothing has been taken out: nobody archives.
const NO_USE: Duration = Duration::from_secs(3);
/// Then the import goes on for this time.
const AT_FULL_SPEED: Duration = Duration::from_secs(60);

/// One import's pace.
#[derive(Default)]
pub struct Pace {
    unseen: u64,
    free_until: Option<Instant>,
}

impl Pace {
    /// To be called after each mail of so many bytes; `backlog` counts the bytes in the spool.
    pub async fn after<F: Future<Output = u64>>(&mut self, bytes: u64, backlog: impl Fn() -> F) {
        self.unseen += bytes;
        let free = self.free_until.is_some_and(|end| Instant::now() < end);
        if self.unseen < STEP || free {
            return;
        }
        self.unseen = 0;
        let mut least = u64::MAX;
        let mut since = Instant::now();
        loop {
            let now = backlog().await;
            if now <= MUCH {
                return;
            }
            if now < least {
                (least, since) = (now, Instant::now());
            }
            if since.elapsed() > NO_USE {
                self.free_until = Some(Instant::now() + AT_FULL_SPEED);
                return;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    #[tokio::test]
    async fn an_import_waits_for_the_archive_but_not_for_a_locked_box() {
        let looks = AtomicU64::new(0);
        let shrinking =
            || async { (MUCH + 3).saturating_sub(looks.fetch_add(1, Ordering::SeqCst)) };
        let mut pace = Pace::default();
        pace.after(STEP - 1, shrinking).await;
        assert_eq!(looks.load(Ordering::SeqCst), 0);
        pace.after(1, shrinking).await;
        assert_eq!(
            looks.load(Ordering::SeqCst),
            4,
            "until it is no longer much"
        );

        let since = Instant::now();
        let stuck = || async { MUCH + 1 };
        for _ in 0..100 {
            pace.after(STEP, stuck).await;
        }
        assert!((NO_USE..NO_USE * 3).contains(&since.elapsed()));
    }
}
