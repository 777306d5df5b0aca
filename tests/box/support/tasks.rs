//! A control group in which no more processes and threads can be started.

use std::fs;
use std::path::{Path, PathBuf};

/// The group; removed when it is dropped and empty.
pub struct Tasks(PathBuf);

impl Tasks {
    /// Takes the process in and lets it start nothing more. `None`, and says so, where this system has no such groups for us.
    pub fn full(pid: u32) -> Option<Self> {
        Self::with_room(pid, 0)
    }

    /// As [`Tasks::full`], with room for so many more.
    pub fn with_room(pid: u32, room: u32) -> Option<Self> {
        let group = Self::made(pid, room);
        if group.is_none() {
            eprintln!("SKIPPED: no control group can be made here");
        }
        group
    }

    fn made(pid: u32, room: u32) -> Option<Self> {
        let name = format!("strongroom-test-{pid}");
        let parents = ["/sys/fs/cgroup/pids", "/sys/fs/cgroup"].map(Path::new);
        let group = parents
            .iter()
            .map(|parent| parent.join(&name))
            .find(|path| {
                let made = fs::create_dir(path).is_ok();
                let usable = made && path.join("pids.max").exists();
                if made && !usable {
                    let _ = fs::remove_dir(path);
                }
                usable
            })?;
        fs::write(group.join("cgroup.procs"), pid.to_string()).ok()?;
        let tasks = fs::read_to_string(group.join("pids.current")).ok()?;
        let most = tasks.trim().parse::<u32>().ok()? + room;
        fs::write(group.join("pids.max"), most.to_string()).ok()?;
        Some(Self(group))
    }
}

impl Drop for Tasks {
    /// Whoever still lives in it may start as many as before.
    fn drop(&mut self) {
        let members = fs::read_to_string(self.0.join("cgroup.procs")).unwrap_or_default();
        for member in members.lines() {
            let _ = fs::write(self.0.join("../cgroup.procs"), member);
        }
        let _ = fs::remove_dir(&self.0);
    }
}
