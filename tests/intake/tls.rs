//! TLS: real clients by both ways, no mail without it, and nothing said before it counts.

use crate::client::Client;
use crate::server::Server;
use std::io::Write;
use std::process::{Command, Output, Stdio};
use strongroom::intake::envelope::Source;

#[tokio::test(flavor = "multi_thread")]
async fn curl_delivers_over_implicit_tls_and_starttls() {
    let server = Server::start().await;
    let mail = b"From: a@example.org\r\nSubject: x\r\n\r\n.dot\r\n..\r\nlast line\r\n";
    let file = server.socket("mail.eml");
    std::fs::write(&file, mail).expect("write");
    for url in [
        format!("smtps://localhost:{}/me", server.smtps.port()),
        format!("smtp://localhost:{}/me", server.smtp.port()),
    ] {
        let sent = curl(
            &server,
            &[
                "--ssl-reqd",
                &url,
                "--upload-file",
                &file.display().to_string(),
            ],
        )
        .await;
        assert!(
            sent.status.success(),
            "{}",
            String::from_utf8_lossy(&sent.stderr)
        );
    }
    let found = server.stop().await;
    assert_eq!(found.mails.len(), 2);
    assert!(
        found.mails.iter().all(|(_, bytes)| bytes == mail),
        "every byte as sent"
    ); // C2
    for envelope in &found.envelopes {
        assert_eq!(envelope.sender, "ann@example.org");
        let recipients: Vec<_> = envelope
            .recipients
            .iter()
            .map(|to| to.address.as_str())
            .collect();
        assert_eq!(recipients, ["bob@example.org", "hidden@example.org"]); // C1: Bcc
        let Source::Smtp { helo, tls, .. } = &envelope.source else {
            panic!("{:?}", envelope.source)
        };
        assert!(helo == "me" && tls.starts_with("TLSv1"), "{tls}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_1_2_is_taken_and_older_refused() {
    let server = Server::start().await;
    let address = format!("localhost:{}", server.smtps.port());
    for (version, taken) in [("-tls1_3", true), ("-tls1_2", true), ("-tls1_1", false)] {
        let address = address.clone();
        let output =
            tokio::task::spawn_blocking(move || openssl_client(&address, version, "-quiet"));
        let output = output.await.expect("openssl");
        let greeted = String::from_utf8_lossy(&output.stdout).contains("220 localhost");
        assert_eq!(
            greeted,
            taken,
            "{version}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    server.stop().await;
}

// wolfSSL, which scanners and controllers have, ends a TLS 1.3 connection over a ticket like those that rustls makes.
#[tokio::test(flavor = "multi_thread")]
async fn no_ticket_is_sent_that_small_clients_cannot_read() {
    let server = Server::start().await;
    let address = format!("localhost:{}", server.smtps.port());
    let output = tokio::task::spawn_blocking(move || openssl_client(&address, "-tls1_3", "-msg"));
    let output = output.await.expect("openssl");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("221 2.0.0 bye"), "{said}");
    assert!(said.contains("Handshake") && !said.contains("NewSessionTicket"));
    server.stop().await;
}

fn openssl_client(address: &str, version: &str, shown: &str) -> Output {
    let mut openssl = Command::new("openssl")
        .args([
            "s_client",
            "-connect",
            address,
            version,
            "-cipher",
            "ALL:@SECLEVEL=0",
            "-ign_eof",
            shown,
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("openssl is installed");
    let mut stdin = openssl.stdin.take().expect("a pipe");
    let _ = stdin.write_all(b"QUIT\r\n"); // it may have ended already
    openssl.wait_with_output().expect("openssl ends")
}

async fn curl(server: &Server, arguments: &[&str]) -> Output {
    let mut curl = Command::new("curl");
    curl.args(["-sS", "--cacert"]).arg(server.certificate());
    curl.args([
        "--mail-from",
        "ann@example.org",
        "--mail-rcpt",
        "bob@example.org",
        "--mail-rcpt",
        "hidden@example.org",
    ]);
    curl.args(arguments);
    tokio::task::spawn_blocking(move || curl.output().expect("curl is installed"))
        .await
        .expect("curl")
}

#[tokio::test]
async fn without_tls_there_is_no_mail() {
    // I1
    let server = Server::start().await;
    let mut client = Client::plain(&server).await;
    // Postfix decides by this answer whether it can send internationalised mail.
    let offered = client.ask("EHLO me").await;
    for extension in ["STARTTLS", "SMTPUTF8", "PIPELINING", "SIZE\r\n"] {
        assert!(offered.contains(extension), "{offered}");
    }
    for line in [
        "MAIL FROM:<a@b>",
        "RCPT TO:<a@b>",
        "DATA",
        "BDAT 3 LAST",
        "VRFY a",
    ] {
        assert_eq!(
            client.ask(line).await,
            "530 5.7.0 Must issue a STARTTLS command first\r\n"
        );
    }
    assert!(client.ask("NOOP").await.starts_with("250 "));
    assert!(client.ask("QUIT").await.starts_with("221 "));
    assert!(server.stop().await.mails.is_empty());
}

#[tokio::test]
async fn nothing_said_before_tls_counts_after_it() {
    // CVE-2011-0411
    let server = Server::start().await;
    let mut client = Client::plain(&server).await;
    client.ask("EHLO evil").await;
    client
        .send("STARTTLS\r\nEHLO evil\r\nMAIL FROM:<evil@example.org>\r\n")
        .await;
    assert!(client.reply().await.starts_with("220 "));
    let mut client = client.upgrade(&server).await.expect("TLS");
    assert!(
        client.ask("MAIL FROM:<a@b>").await.starts_with("503 "),
        "the EHLO from before is forgotten"
    );
    assert!(client.ask("EHLO me").await.contains("SMTPUTF8"));
    assert!(client.ask("STARTTLS").await.starts_with("503 "));
    client.begin().await;
    assert!(client.ask("QUIT").await.starts_with("221 "));
    server.stop().await;
}
