//! The place of a child: who fills it, and when it is filled again after its child died.

use super::children::Child;
use nix::unistd::Pid;
use std::time::{Duration, Instant};

/// A child that dies is restarted after this, doubled up to [`LONGEST`] while it keeps dying at once.
const SHORTEST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(60);
/// A child that ran for so long did not die at once.
const LONG_LIFE: Duration = Duration::from_secs(60);

/// One child's place. Each has a time of its own, so that one child that keeps dying delays no other.
#[derive(Default)]
pub(super) struct Post {
    child: Option<Child>,
    started: Option<Instant>,
    due: Option<Instant>,
    pause: Option<Duration>,
}

impl Post {
    /// The place is to be filled at once.
    pub(super) fn open(&mut self) {
        self.due = Some(Instant::now());
    }

    /// When it is to be filled; `None` while it is filled, or stays empty.
    pub(super) const fn due(&self) -> Option<Instant> {
        self.due
    }

    pub(super) fn is_due(&self) -> bool {
        self.due.is_some_and(|due| due <= Instant::now())
    }

    pub(super) fn fill(&mut self, child: Child) {
        (self.child, self.started, self.due) = (Some(child), Some(Instant::now()), None);
    }

    /// Is this the process that fills the place?
    pub(super) fn is_held_by(&self, pid: Pid) -> bool {
        self.child.as_ref().is_some_and(|child| child.pid() == pid)
    }

    /// Its child, if there is one, reads its files anew.
    pub(super) fn reload(&self) {
        if let Some(child) = &self.child {
            child.reload();
        }
    }

    /// Its child, if there is one, ends in order, and another follows.
    pub(super) fn terminate(&self) {
        if let Some(child) = &self.child {
            child.terminate();
        }
    }

    /// The child is gone, or none could be started: another one after a pause.
    pub(super) fn reopen(&mut self) {
        let lived = self.started.take().map(|since| since.elapsed());
        let pause = match self.pause {
            Some(before) if lived.is_none_or(|lived| lived < LONG_LIFE) => {
                (before * 2).min(LONGEST)
            }
            _ => SHORTEST,
        };
        (self.child, self.pause) = (None, Some(pause));
        self.due = Some(Instant::now() + pause);
    }

    /// The place stays empty from now on.
    pub(super) fn close(&mut self) -> Option<Child> {
        self.due = None;
        self.child.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_grows_while_nothing_lives_and_never_beyond_a_minute() {
        let mut post = Post::default();
        let mut pauses = Vec::new();
        for _ in 0..10 {
            post.reopen();
            assert!(!post.is_due());
            pauses.extend(post.pause);
        }
        assert_eq!(pauses.first(), Some(&SHORTEST));
        assert_eq!(pauses.get(1), Some(&(SHORTEST * 2)));
        assert_eq!(pauses.last(), Some(&LONGEST));
        post.started = Instant::now().checked_sub(LONG_LIFE);
        post.reopen();
        assert_eq!(post.pause, Some(SHORTEST), "it lived long");
        post.open();
        assert!(post.is_due());
        assert!(post.close().is_none());
        assert!(!post.is_due());
    }
}
