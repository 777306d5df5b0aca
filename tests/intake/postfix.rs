//! A real Postfix in a folder of its own, without any part of the system's: it sends to us, or takes mail as we do.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The services of a plain Postfix, none of them in a chroot.
const SERVICES: &str = "
pickup    unix  n - n 60  1 pickup
cleanup   unix  n - n -   0 cleanup
qmgr      unix  n - n 1   1 qmgr
tlsmgr    unix  - - n -   1 tlsmgr
rewrite   unix  - - n -   - trivial-rewrite
bounce    unix  - - n -   0 bounce
defer     unix  - - n -   0 bounce
trace     unix  - - n -   0 bounce
proxymap  unix  - - n -   - proxymap
smtp      unix  - - n -   - smtp
lmtp      unix  - - n -   - lmtp
error     unix  - - n -   - error
retry     unix  - - n -   - error
anvil     unix  - - n -   1 anvil
scache    unix  - - n -   1 scache
postlog   unix-dgram n - n - 1 postlogd
";

/// What every instance has in `main.cf`; times are short, so that a test need not wait for a retry.
const SETTINGS: &str = "compatibility_level = 3.6
myhostname = sender.example
mydestination =
alias_maps =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
minimal_backoff_time = 1s
maximal_backoff_time = 2s
queue_run_delay = 1s
smtpd_peername_lookup = no
smtpd_client_connection_count_limit = 0
smtpd_client_connection_rate_limit = 0
";

/// A running Postfix; it is stopped when dropped.
pub struct Postfix {
    folder: tempfile::TempDir,
    master: Child,
}

impl Postfix {
    /// Starts one with further lines in `main.cf` and `master.cf`; `None`, said aloud, where Postfix is not installed or
    /// this is not root.
    pub fn start(settings: &str, services: &str) -> Option<Self> {
        if !nix::unistd::Uid::effective().is_root() || !Path::new("/usr/sbin/postfix").exists() {
            eprintln!("SKIPPED: needs root and Debian's package postfix (./dev installs it)");
            return None;
        }
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        for name in ["etc", "queue", "data"] {
            fs::create_dir(at(name)).expect("a folder");
        }
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o711)).expect("a mode");
        let user = nix::unistd::User::from_name("postfix").expect("users");
        let user = user.expect("the package made its user");
        chown(at("data"), Some(user.uid.as_raw()), None).expect("an owner");
        let mut main = SETTINGS.to_owned();
        for (name, value) in [
            ("queue_directory", at("queue")),
            ("data_directory", at("data")),
            ("maillog_file", at("log")),
            ("maillog_file_prefixes", folder.path().to_owned()),
        ] {
            let _ = writeln!(main, "{name} = {}", value.display());
        }
        fs::write(at("etc/main.cf"), main + settings).expect("main.cf");
        let services = format!("{SERVICES}{services}");
        fs::write(at("etc/master.cf"), services.trim_start()).expect("master.cf");
        let master = Command::new("postfix")
            .arg("-c")
            .arg(at("etc"))
            .arg("start-fg")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("postfix starts");
        let this = Self { folder, master };
        let since = Instant::now();
        while !this.log().contains("daemon started") {
            assert!(since.elapsed() < Duration::from_secs(30), "{}", this.log());
            std::thread::sleep(Duration::from_millis(50));
        }
        Some(this)
    }

    fn etc(&self) -> PathBuf {
        self.folder.path().join("etc")
    }

    /// What it wrote about its work.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Hands it a mail, as a local program does.
    pub fn submit(&self, sender: &str, recipient: &str, mail: &[u8]) {
        use std::io::Write as _;
        let mut sendmail = Command::new("/usr/sbin/sendmail")
            .arg("-C")
            .arg(self.etc())
            .args(["-i", "-f", sender, recipient])
            .stdin(Stdio::piped())
            .spawn()
            .expect("sendmail starts");
        let mut input = sendmail.stdin.take().expect("a pipe");
        input.write_all(mail).expect("taken");
        drop(input);
        assert!(sendmail.wait().expect("a status").success());
    }

    /// Has it try everything that waits, now.
    pub fn flush(&self) {
        let flushed = Command::new("postqueue")
            .arg("-c")
            .arg(self.etc())
            .arg("-f")
            .status();
        assert!(flushed.is_ok_and(|status| status.success()));
    }

    /// How many mails are in its queue.
    pub fn queued(&self) -> usize {
        let listing = Command::new("postqueue")
            .arg("-c")
            .arg(self.etc())
            .arg("-j")
            .output();
        let listing = listing.expect("postqueue runs").stdout;
        listing.iter().filter(|byte| **byte == b'\n').count()
    }
}

impl Drop for Postfix {
    fn drop(&mut self) {
        let stopped = Command::new("postfix")
            .arg("-c")
            .arg(self.etc())
            .arg("stop")
            .stderr(Stdio::null())
            .status();
        if !stopped.is_ok_and(|status| status.success()) {
            let _ = self.master.kill();
        }
        let _ = self.master.wait();
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().rev().take(30).collect();
            eprintln!("Postfix said, the newest first:\n{}", lines.join("\n"));
        }
    }
}
