//! gpgsm with a home of its own, without any question asked and without a network.

use super::Folder;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

/// Whether this gpgsm takes keys on elliptic curves: 2.2 crashes as it imports one.
pub fn knows_curves() -> bool {
    let version = Command::new("gpgsm").arg("--version").output();
    let text = version.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let old = text.unwrap_or_default().contains("(GnuPG) 2.2");
    if old {
        eprintln!("SKIPPED: gpgsm 2.2 does not know keys on elliptic curves");
    }
    !old
}

/// A gpgsm home that goes away with this value.
pub struct Gpgsm(tempfile::TempDir);

impl Gpgsm {
    /// A home with the key of each identity, all trusted. `None` where there is no gpgsm.
    pub fn with(folder: &Folder, names: &[&str]) -> Option<Self> {
        if Command::new("gpgsm").arg("--version").output().is_err() {
            eprintln!("SKIPPED: there is no gpgsm on this machine");
            return None;
        }
        let home = tempfile::tempdir().unwrap();
        std::fs::set_permissions(home.path(), PermissionsExt::from_mode(0o700)).unwrap();
        std::fs::write(
            home.path().join("gpg-agent.conf"),
            "allow-loopback-pinentry\n",
        )
        .unwrap();
        let gpgsm = Self(home);
        let mut trusted = String::new();
        for name in names {
            let digest = folder
                .certificate(name)
                .digest(openssl::hash::MessageDigest::sha1())
                .unwrap();
            trusted += &format!("{} S relax\n", data_encoding::HEXUPPER.encode(&digest));
        }
        std::fs::write(gpgsm.0.path().join("trustlist.txt"), trusted).unwrap();
        for name in names {
            // 2.2 takes one file of a hundred for one with a wrong passphrase, by its random salt.
            let imported = (0..4).any(|_| {
                folder.must(&format!(
                    "pkcs12 -export -legacy -inkey {name}.key -in {name}.crt -passout pass:x -out {name}.p12"
                ));
                gpgsm.succeeds(&["--import"], &folder.read(&format!("{name}.p12")))
            });
            assert!(imported, "gpgsm takes no key of {name}");
        }
        Some(gpgsm)
    }

    /// Its home folder.
    pub fn home(&self) -> &Path {
        self.0.path()
    }

    /// Runs it on `input`; `None` if it refuses.
    pub fn run(&self, arguments: &[&str], input: &[u8]) -> Option<Vec<u8>> {
        let done = self.succeeds(arguments, input);
        done.then(|| std::fs::read(self.0.path().join("out")).ok())?
    }

    fn succeeds(&self, arguments: &[&str], input: &[u8]) -> bool {
        std::fs::write(self.0.path().join("in"), input).unwrap();
        let _ = std::fs::remove_file(self.0.path().join("out"));
        let mut child = Command::new("gpgsm")
            .args(["--batch", "--yes", "--quiet", "--disable-dirmngr"])
            .args(["--disable-crl-checks", "--pinentry-mode", "loopback"])
            .args(["--passphrase-fd", "0"])
            .args(arguments)
            .arg("--output")
            .arg(self.0.path().join("out"))
            .arg(self.0.path().join("in"))
            .env("GNUPGHOME", self.0.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(b"x\n").unwrap();
        let output = child.wait_with_output().unwrap();
        if !output.status.success() {
            eprintln!(
                "gpgsm {arguments:?}: {}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
        output.status.success()
    }
}

impl Drop for Gpgsm {
    fn drop(&mut self) {
        let agent = ["--homedir", &self.0.path().to_string_lossy()].map(str::to_owned);
        let _ = Command::new("gpgconf")
            .args(agent)
            .args(["--kill", "all"])
            .output();
    }
}
