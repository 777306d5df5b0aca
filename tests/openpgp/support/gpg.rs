//! gpg with a home of its own, without any question asked.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// A gpg home that goes away with this value. All keys have the passphrase "geheim".
pub struct Gpg {
    home: tempfile::TempDir,
    time: Option<String>,
}

impl Gpg {
    pub fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        std::fs::set_permissions(home.path(), PermissionsExt::from_mode(0o700)).unwrap();
        let gpg = Self { home, time: None };
        // Left alone, the agent calibrates its passphrase hashing to a tenth of a second.
        gpg.with_agent_options(&[])
    }

    /// The home directory.
    pub fn home(&self) -> &std::path::Path {
        self.home.path()
    }

    /// With these lines in the agent's configuration.
    pub fn with_agent_options(self, lines: &[&str]) -> Self {
        let lines = [&["s2k-count 65536"], lines].concat().join("\n");
        self.write("gpg-agent.conf", format!("{lines}\n").as_bytes());
        self
    }

    /// As if it were this time (gpg's ISO form).
    pub fn at(mut self, time: &str) -> Self {
        self.time = Some(time.to_owned());
        self
    }

    /// Runs gpg with `input` and returns its output.
    pub fn run(&self, options: &[&str], input: &[u8]) -> Vec<u8> {
        let mut gpg = Command::new("gpg");
        gpg.arg("--homedir").arg(self.home.path());
        gpg.args([
            "--batch",
            "--yes",
            "--no-tty",
            "--quiet",
            "--pinentry-mode",
            "loopback",
            "--passphrase",
            "geheim",
        ]);
        gpg.args(["--trust-model", "always", "--s2k-count", "65536"]);
        if let Some(time) = &self.time {
            // Each call begins at this time anew, so that a key made late in one is of the next one's future.
            gpg.args(["--faked-system-time", time]);
            gpg.args(["--ignore-time-conflict", "--ignore-valid-from"]);
        }
        gpg.args(options)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut running = gpg.spawn().expect("gpg is installed");
        let mut stdin = running.stdin.take().unwrap();
        let input = input.to_vec();
        let writer = std::thread::spawn(move || stdin.write_all(&input));
        let output = running.wait_with_output().unwrap();
        writer.join().unwrap().ok();
        assert!(
            output.status.success(),
            "gpg {options:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        output.stdout
    }

    pub fn encrypt(&self, options: &[&str], plaintext: &[u8]) -> Vec<u8> {
        self.run(&[&["--encrypt"], options].concat(), plaintext)
    }

    pub fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.home.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    /// A primary key that signs and certifies, and an encryption subkey of the named kind.
    pub fn make_key(&self, user_id: &str, algorithm: &str, expires: &str) {
        let (primary, subkey) = match algorithm {
            "cv25519" => (
                "Key-Type: eddsa\nKey-Curve: ed25519".to_owned(),
                "Subkey-Type: ecdh\nSubkey-Curve: cv25519".to_owned(),
            ),
            "elg" => (
                "Key-Type: dsa\nKey-Length: 1024".to_owned(),
                "Subkey-Type: ELG-E\nSubkey-Length: 1024".to_owned(),
            ),
            rsa if rsa.starts_with("rsa") => (
                format!("Key-Type: rsa\nKey-Length: {}", &rsa[3..]),
                format!("Subkey-Type: rsa\nSubkey-Length: {}", &rsa[3..]),
            ),
            curve => (
                format!("Key-Type: ecdsa\nKey-Curve: {curve}"),
                format!("Subkey-Type: ecdh\nSubkey-Curve: {curve}"),
            ),
        };
        let parameters = format!(
            "{primary}\nKey-Usage: sign\n{subkey}\nSubkey-Usage: encrypt\n{}Expire-Date: {expires}\nPassphrase: geheim\n%commit\n",
            user_id_lines(user_id)
        );
        self.run(&["--gen-key"], parameters.replace("never", "0").as_bytes());
    }

    /// A key without any encryption subkey.
    pub fn make_signing_key(&self, user_id: &str) {
        let lines = user_id_lines(user_id);
        let parameters = format!(
            "Key-Type: rsa\nKey-Length: 2048\nKey-Usage: sign\n{lines}Expire-Date: 0\nPassphrase: geheim\n%commit\n"
        );
        self.run(&["--gen-key"], parameters.as_bytes());
    }

    /// Imports the revocation certificate that gpg made with the key.
    pub fn revoke(&self, user_id: &str) {
        let listing = self.run(&["--with-colons", "--list-keys", user_id], b"");
        let listing = String::from_utf8(listing).unwrap();
        let fingerprint = listing
            .lines()
            .find_map(|line| line.strip_prefix("fpr:::::::::"))
            .unwrap()
            .trim_end_matches(':')
            .to_owned();
        let file = self
            .home
            .path()
            .join("openpgp-revocs.d")
            .join(format!("{fingerprint}.rev"));
        let certificate = std::fs::read_to_string(file)
            .unwrap()
            .replace(":-----BEGIN", "-----BEGIN");
        self.run(&["--import"], certificate.as_bytes());
    }
}

impl Drop for Gpg {
    fn drop(&mut self) {
        let _ = Command::new("gpgconf")
            .arg("--homedir")
            .arg(self.home.path())
            .args(["--kill", "all"])
            .status();
    }
}

fn user_id_lines(user_id: &str) -> String {
    let (name, rest) = user_id.split_once(" <").unwrap();
    format!(
        "Name-Real: {name}\nName-Email: {}\n",
        rest.trim_end_matches('>')
    )
}
