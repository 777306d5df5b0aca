//! A running intake for tests: own certificate, free ports, own spool.

use crate::support::{Found, read_all};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use strongroom::crypto::hpke::OpeningKey;
use strongroom::intake::{Intake, IntakeConfig, ListenerConfig, Rules, TlsMode};
use strongroom::time::SystemClock;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub struct Server {
    pub folder: tempfile::TempDir,
    pub key: OpeningKey,
    pub smtp: SocketAddr,
    pub smtps: SocketAddr,
    stop: oneshot::Sender<()>,
    running: JoinHandle<()>,
}

impl Server {
    pub async fn start() -> Self {
        Self::with(Rules::default()).await
    }

    pub async fn with(rules: Rules) -> Self {
        let folder = tempfile::tempdir().expect("folder");
        let key = OpeningKey::generate();
        let intake = Intake::bind(
            config(folder.path(), rules),
            key.sealing_key(),
            Arc::new(SystemClock),
        )
        .await
        .expect("the intake starts");
        let addresses = intake.addresses();
        let (stop, stopped) = oneshot::channel();
        let running = tokio::spawn(async move {
            let stopped = async { stopped.await.unwrap_or(()) };
            intake.run(stopped).await.expect("the intake ends well");
        });
        Self {
            folder,
            key,
            smtp: addresses[0].1,
            smtps: addresses[1].1,
            stop,
            running,
        }
    }

    pub fn socket(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn certificate(&self) -> PathBuf {
        self.folder.path().join("cert.pem")
    }

    /// Stops the intake and returns what its spool holds.
    pub async fn stop(self) -> Found {
        let _ = self.stop.send(());
        self.running.await.expect("no panic");
        let found = read_all(&spool(self.folder.path()), &self.key);
        assert!(found.damage.is_empty(), "{:?}", found.damage);
        found
    }
}

pub fn spool(folder: &Path) -> Vec<PathBuf> {
    vec![folder.join("spool-a"), folder.join("spool-b")]
}

pub fn config(folder: &Path, rules: Rules) -> IntakeConfig {
    make_certificate(folder);
    let listener = |name: &str, tls| ListenerConfig {
        name: name.into(),
        address: ([127, 0, 0, 1], 0).into(),
        tls,
        tenant: None,
    };
    IntakeConfig {
        hostname: "localhost".into(),
        spool: spool(folder),
        certificate: folder.join("cert.pem"),
        private_key: folder.join("key.pem"),
        listeners: vec![
            listener("smtp", TlsMode::Starttls),
            listener("smtps", TlsMode::Implicit),
        ],
        lmtp_socket: Some(folder.join("lmtp.sock")),
        lmtp_group: None,
        import_socket: Some(folder.join("import.sock")),
        tenant: "main".parse().expect("tenant"),
        rules,
    }
}

fn make_certificate(folder: &Path) {
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "2",
        ])
        .args([
            "-subj",
            "/CN=localhost",
            "-addext",
            "subjectAltName=DNS:localhost,IP:127.0.0.1",
        ])
        .args([
            "-addext",
            "basicConstraints=critical,CA:FALSE",
            "-keyout",
            "key.pem",
            "-out",
            "cert.pem",
        ])
        .current_dir(folder)
        .output()
        .expect("openssl is installed");
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
}
