//! A small disk that can be made larger: a tmpfs in place of a folder.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const FILLER: &str = "filler";

/// Unmounted when dropped.
pub struct Disk(PathBuf);

/// A folder in the place of another, which can be taken out and put back with what lies in it. Taken out when dropped.
pub struct Attached {
    disk: PathBuf,
    place: PathBuf,
}

impl Attached {
    pub fn new(disk: &Path, place: &Path) -> Self {
        let (disk, place) = (disk.to_owned(), place.to_owned());
        let this = Self { disk, place };
        this.put_back();
        this
    }

    /// Who has files in it open keeps them.
    pub fn take_out(&self) {
        assert!(run("umount", &["-l"], &self.place), "unmounted");
    }

    pub fn put_back(&self) {
        let disk = self.disk.to_str().expect("UTF-8");
        assert!(run("mount", &["--bind", disk], &self.place), "mounted");
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        run("umount", &["-l"], &self.place);
    }
}

impl Disk {
    /// Mounts a disk of so many MB on `folder`, with what lay in it; `None`, and says so, where mounting is refused.
    pub fn mount(folder: &Path, megabytes: u32) -> Option<Self> {
        Self::in_place_of(folder, folder, megabytes)
    }

    /// As [`Disk::mount`], on `at`, with what lay in `folder`, of which the empty folder is left.
    pub fn in_place_of(folder: &Path, at: &Path, megabytes: u32) -> Option<Self> {
        let aside = folder.with_extension("aside");
        std::fs::create_dir_all(folder).expect("a folder");
        std::fs::rename(folder, &aside).expect("moved aside");
        std::fs::create_dir(folder).expect("a folder");
        std::fs::create_dir_all(at).expect("a folder");
        let size = format!("size={megabytes}m,mode=700");
        let mounted = run("mount", &["-t", "tmpfs", "-o", &size, "tmpfs"], at);
        if !mounted {
            eprintln!("SKIPPED: mounting a tmpfs is refused here (run as root)");
            return None;
        }
        let disk = Self(at.to_owned());
        let all = format!("{}/.", aside.display());
        assert!(run("cp", &["-a", &all], at), "copied back");
        Some(disk)
    }

    /// Fills the disk to its last byte.
    pub fn fill(&self) {
        let mut file = File::create(self.0.join(FILLER)).expect("a file");
        while file.write_all(&[0; 512]).is_ok() {}
    }

    /// Takes back what [`Disk::fill`] wrote.
    pub fn clear(&self) {
        std::fs::remove_file(self.0.join(FILLER)).expect("removed");
    }

    /// More space, as a larger disk would give.
    pub fn resize(&self, megabytes: u32) {
        let size = format!("remount,size={megabytes}m");
        assert!(run("mount", &["-o", &size], &self.0), "remounted");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        run("umount", &["-l"], &self.0);
    }
}

fn run(program: &str, arguments: &[&str], folder: &Path) -> bool {
    let mut command = Command::new(program);
    command.args(arguments).arg(folder).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
