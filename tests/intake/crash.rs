//! The intake is killed in the middle of a burst, again and again: what it acknowledged is there.

use crate::client::Client;
use crate::server::{config, spool};
use crate::support::read_all;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;
use strongroom::crypto::hpke::OpeningKey;
use strongroom::id::SpoolId;
use strongroom::intake::{Intake, Rules};
use strongroom::secret::Key;
use strongroom::time::SystemClock;

const FOLDER: &str = "STRONGROOM_TEST_CRASH_FOLDER";
const PORT: &str = "STRONGROOM_TEST_CRASH_PORT";

pub fn key() -> OpeningKey {
    OpeningKey::from_seed(Key::copy_from(&[7; 32]))
}

/// The process that is killed; started by the test below.
#[tokio::test(flavor = "multi_thread")]
async fn killed_process() {
    let Some(folder) = std::env::var_os(FOLDER) else {
        return;
    };
    let folder = Path::new(&folder);
    let mut config = config(folder, Rules::default());
    let port = std::env::var(PORT).expect("a port");
    config.listeners[0]
        .address
        .set_port(port.parse().expect("a number"));
    let intake = Intake::bind(config, key().sealing_key(), Arc::new(SystemClock))
        .await
        .expect("the intake starts");
    let addresses: Vec<String> = intake
        .addresses()
        .iter()
        .map(|(_, address)| address.to_string())
        .collect();
    std::fs::write(folder.join("address.new"), addresses.join("\n")).expect("write");
    std::fs::rename(folder.join("address.new"), folder.join("address")).expect("rename");
    intake.run(std::future::pending()).await.expect("runs");
}

/// An intake in a process of its own, killed when dropped.
pub struct Killable {
    process: Child,
    pub smtp: SocketAddr,
    pub smtps: SocketAddr,
}

impl Killable {
    /// Starts one on free ports.
    pub fn start(folder: &Path) -> Self {
        Self::start_on(folder, hsm_sim::free_ports(1))
    }

    /// Kills it and starts it again on the same SMTP port.
    pub fn kill_and_start(&mut self, folder: &Path) {
        self.kill();
        *self = Self::start_on(folder, self.smtp.port());
    }

    fn kill(&mut self) {
        self.process.kill().expect("killed");
        self.process.wait().expect("gone");
    }

    #[expect(clippy::zombie_processes)] // killed and waited for when dropped
    fn start_on(folder: &Path, port: u16) -> Self {
        let _ = std::fs::remove_file(folder.join("address"));
        let process = Command::new(std::env::current_exe().expect("this program"))
            .args(["crash::killed_process", "--exact"])
            .env(FOLDER, folder)
            .env(PORT, port.to_string())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("started");
        for _ in 0..500 {
            if let Ok(addresses) = std::fs::read_to_string(folder.join("address")) {
                let mut addresses = addresses.lines().map(|line| line.parse().expect("address"));
                let (smtp, smtps) = (addresses.next(), addresses.next());
                return Self {
                    process,
                    smtp: smtp.expect("an address"),
                    smtps: smtps.expect("an address"),
                };
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("the intake did not start");
    }
}

impl Drop for Killable {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Sends mails until the server is gone; returns those that were acknowledged.
async fn burst(address: SocketAddr, folder: &Path, name: String) -> Vec<(SpoolId, String)> {
    let mut acknowledged = Vec::new();
    let Ok(mut client) = Client::connect(address, &folder.join("cert.pem")).await else {
        return acknowledged;
    };
    client.reply().await;
    let _ = client.try_send("EHLO me\r\n").await;
    client.reply().await;
    for number in 0.. {
        let long = if number % 17 == 3 {
            "x".repeat(1_500_000)
        } else {
            String::new()
        };
        let text = format!("{name} {number} {long}\r\n");
        let mail = format!(
            "MAIL FROM:<>\r\nRCPT TO:<a@b>\r\nBDAT {} LAST\r\n{text}",
            text.len()
        );
        if client.try_send(mail).await.is_err() {
            break;
        }
        client.reply().await;
        client.reply().await;
        let reply = client.reply().await;
        match reply.trim_end().strip_prefix("250 2.0.0 queued as ") {
            Some(id) if reply.ends_with('\n') => acknowledged.push((id.parse().expect("id"), text)),
            _ => break,
        }
    }
    acknowledged
}

#[tokio::test(flavor = "multi_thread")]
async fn every_acknowledged_mail_survives_kill_9_exactly_once() {
    // C6, I2
    let folder = tempfile::tempdir().expect("folder");
    let mut acknowledged = BTreeMap::new();
    for round in 0..6u64 {
        let intake = Killable::start(folder.path());
        let address = intake.smtps;
        let path = Arc::new(folder.path().to_owned());
        let bursts: Vec<_> = (0..5)
            .map(|session| {
                let path = path.clone();
                tokio::spawn(
                    async move { burst(address, &path, format!("{round}.{session}")).await },
                )
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(150 + round * 173)).await;
        drop(intake);
        for burst in bursts {
            acknowledged.extend(burst.await.expect("no panic"));
        }
    }
    assert!(
        acknowledged.len() > 20,
        "only {} mails: the test shows nothing",
        acknowledged.len()
    );
    let found = read_all(&spool(folder.path()), &key());
    assert!(found.damage.is_empty(), "{:?}", found.damage);
    for (id, text) in &acknowledged {
        let times = found
            .mails
            .iter()
            .filter(|(found, bytes)| found == id && bytes == text.as_bytes())
            .count();
        assert_eq!(times, 1, "{id}");
    }
}
