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

fn key() -> OpeningKey {
    OpeningKey::from_seed(Key::copy_from(&[7; 32]))
}

/// The process that is killed; started by the test below.
#[tokio::test(flavor = "multi_thread")]
async fn killed_process() {
    let Some(folder) = std::env::var_os(FOLDER) else {
        return;
    };
    let folder = Path::new(&folder);
    let intake = Intake::bind(
        config(folder, Rules::default()),
        key().sealing_key(),
        Arc::new(SystemClock),
    )
    .await
    .expect("the intake starts");
    std::fs::write(
        folder.join("address.new"),
        intake.addresses()[1].1.to_string(),
    )
    .expect("write");
    std::fs::rename(folder.join("address.new"), folder.join("address")).expect("rename");
    intake.run(std::future::pending()).await.expect("runs");
}

#[expect(clippy::zombie_processes)] // it is given to the caller, who kills it and waits
async fn start(folder: &Path) -> (Child, SocketAddr) {
    let _ = std::fs::remove_file(folder.join("address"));
    let child = Command::new(std::env::current_exe().expect("this program"))
        .args(["crash::killed_process", "--exact"])
        .env(FOLDER, folder)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("started");
    for _ in 0..500 {
        if let Ok(address) = std::fs::read_to_string(folder.join("address")) {
            return (child, address.parse().expect("address"));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the intake did not start");
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
        let (mut child, address) = start(folder.path()).await;
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
        child.kill().expect("killed");
        child.wait().expect("gone");
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
