//! Sequoia's command line, stateless.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// A folder for keys that goes away with this value.
pub struct Sq {
    folder: tempfile::TempDir,
}

impl Sq {
    pub fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    /// Runs sq with `input` and returns its output.
    pub fn run(&self, arguments: &[&str], input: &[u8]) -> Vec<u8> {
        let mut running = Command::new("sq")
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("sq is installed");
        let mut stdin = running.stdin.take().unwrap();
        stdin.write_all(input).unwrap();
        drop(stdin);
        let output = running.wait_with_output().unwrap();
        assert!(
            output.status.success(),
            "sq {arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        output.stdout
    }

    /// A new key: the files with the key and its certificate.
    pub fn make_key(&self, address: &str, suite: &str) -> (PathBuf, PathBuf) {
        let file = |ending: &str| self.folder.path().join(format!("{suite}.{ending}"));
        let (key, certificate) = (file("key"), file("cert"));
        let user_id = format!("Alice <{address}>");
        let arguments = [
            "key",
            "generate",
            "--userid",
            &user_id,
            "--cipher-suite",
            suite,
        ];
        self.run(
            &[&arguments[..], &["--export", key.to_str().unwrap()]].concat(),
            b"",
        );
        let extracted = self.run(&["key", "extract-cert", key.to_str().unwrap()], b"");
        std::fs::write(&certificate, extracted).unwrap();
        (key, certificate)
    }
}
