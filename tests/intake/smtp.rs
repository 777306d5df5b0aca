//! SMTP and LMTP as clients speak them, the well-behaved and the others.

use crate::client::Client;
use crate::server::Server;
use crate::support::text;
use strongroom::intake::envelope::Source;
use strongroom::intake::{Limits, Rules};

#[tokio::test]
async fn pipelined_mails_and_chunks_arrive_exactly() {
    let server = Server::start().await;
    let mut client = Client::ready(&server).await;
    client.send("MAIL FROM:<> BODY=8BITMIME ENVID=q1\r\nRCPT TO:<a@b> NOTIFY=NEVER\r\nRCPT TO:<\"odd > one\"@b>\r\nDATA\r\n").await;
    for expected in ["250 ", "250 ", "250 ", "354 "] {
        assert!(client.reply().await.starts_with(expected));
    }
    client.send(".\r\nMAIL FROM:<a@b> SMTPUTF8\r\nRCPT TO:<jürgen@bücher.example>\r\nBDAT 4\r\n.\r\nxBDAT 0\r\nBDAT 3 LAST\r\n\n.\nNOOP\r\n").await;
    for expected in [
        "250 2.0.0 queued as ",
        "250 ",
        "250 ",
        "250 2.0.0 4 ",
        "250 2.0.0 0 ",
        "250 2.0.0 queued as ",
        "250 2.0.0 fine",
    ] {
        let reply = client.reply().await;
        assert!(reply.starts_with(expected), "{reply}");
    }
    client.ask("QUIT").await;
    let found = server.stop().await;
    assert_eq!(found.mails[0].1, b"");
    assert_eq!(found.mails[1].1, b".\r\nx\n.\n");
    assert_eq!(found.envelopes[0].parameters, ["BODY=8BITMIME", "ENVID=q1"]);
    assert_eq!(
        found.envelopes[0].recipients[0].parameters,
        ["NOTIFY=NEVER"]
    );
    assert_eq!(found.envelopes[0].recipients[1].address, "\"odd > one\"@b");
    assert_eq!(
        found.envelopes[1].recipients[0].address,
        "jürgen@bücher.example"
    );
}

// Windows names itself in its own charset, and scanners know no angle brackets: their mail is mail.
#[tokio::test]
async fn sloppy_clients_deliver_all_the_same() {
    let server = Server::start().await;
    let mut client = Client::tls(&server).await;
    client.send(b"EHLO B\xfcro-PC\r\n").await;
    assert!(client.reply().await.starts_with("250-"));
    for line in ["MAIL FROM: scanner@example.org", "RCPT TO:bob@example.org"] {
        let reply = client.ask(line).await;
        assert!(reply.starts_with("250 "), "{reply}");
    }
    assert!(client.ask("DATA").await.starts_with("354 "));
    client.send("text\r\n.\r\n").await;
    assert!(client.reply().await.starts_with("250 2.0.0 queued"));
    let envelope = &server.stop().await.envelopes[0];
    let Source::Smtp { helo, .. } = &envelope.source else {
        panic!("{:?}", envelope.source)
    };
    assert_eq!(helo, "B\u{fffd}ro-PC");
    assert_eq!(envelope.sender, "scanner@example.org");
    assert_eq!(envelope.recipients[0].address, "bob@example.org");
}

#[tokio::test]
async fn bare_line_ends_smuggle_nothing() {
    let server = Server::start().await;
    let mut client = Client::ready(&server).await;
    let mut bodies = Vec::new();
    for end in ["\n.\n", "\n.\r\n", "\r.\r\n", "\r.\r", "\r\n.\r\r\n"] {
        let text = format!("one{end}MAIL FROM:<evil@x>\r\nRCPT TO:<y@z>\r\nDATA\r\ntwo\r\n");
        let reply = client.mail(format!("{text}.\r\n")).await;
        assert!(reply.starts_with("250 2.0.0 queued"), "{end:?}: {reply}");
        bodies.push(text.replace("\r\n.\r\r\n", "\r\n\r\r\n").into_bytes());
    }
    client.ask("QUIT").await;
    let found = server.stop().await;
    assert_eq!(
        found
            .mails
            .into_iter()
            .map(|(_, bytes)| bytes)
            .collect::<Vec<_>>(),
        bodies
    );
}

#[tokio::test]
async fn a_client_that_goes_away_in_its_mail_leaves_nothing() {
    let server = Server::start().await;
    for text in [&b"half a mail"[..], &text(3_000_000, 1)] {
        let mut client = Client::ready(&server).await;
        client.begin().await;
        client.ask("DATA").await;
        client.send(text).await;
        drop(client);
    }
    let mut client = Client::ready(&server).await;
    client.begin().await;
    client.send("BDAT 100 LAST\r\nfew").await;
    drop(client);
    let found = server.stop().await;
    assert!(found.mails.is_empty() && found.done.is_empty());
}

#[tokio::test]
async fn long_mails_stream_and_recipients_are_many() {
    let server = Server::start().await;
    let mut client = Client::ready(&server).await;
    client.ask("MAIL FROM:<a@b>").await;
    for number in 0..1000 {
        assert!(
            client
                .ask(&format!("RCPT TO:<user{number}@example.org>"))
                .await
                .starts_with("250 ")
        );
    }
    client.ask("DATA").await;
    let line = [&[b'x'; 998][..], b"\r\n"].concat();
    let body = line.repeat(5000);
    client.send(&body).await;
    client.send(".\r\n").await;
    assert!(client.reply().await.starts_with("250 2.0.0 queued"));
    drop(client);
    let found = server.stop().await;
    assert_eq!(found.mails[0].1, body);
    assert_eq!(found.envelopes[0].recipients.len(), 1000);
}

#[tokio::test]
async fn recipients_beyond_what_an_envelope_may_take_are_asked_for_again() {
    let server = Server::start().await;
    let mut client = Client::ready(&server).await;
    client.begin().await;
    let long = "x".repeat(4000);
    let (mut taken, mut refused) = (1, 0);
    for number in 0..1100 {
        let reply = client
            .ask(&format!(
                "RCPT TO:<{number}@example.org> ORCPT=rfc822;{long}"
            ))
            .await;
        if reply.starts_with("250 ") {
            assert_eq!(refused, 0);
            taken += 1;
        } else {
            assert!(reply.starts_with("452 4.5.3 "), "{reply}");
            refused += 1;
        }
    }
    assert!(refused > 50, "{refused}");
    assert!(client.ask("DATA").await.starts_with("354 "));
    client.send("text\r\n.\r\n").await;
    assert!(client.reply().await.starts_with("250 2.0.0 queued"));
    assert!(client.mail("next\r\n.\r\n").await.starts_with("250 "));
    drop(client);
    let found = server.stop().await;
    assert_eq!(found.mails.len(), 2);
    assert_eq!(found.envelopes[0].recipients.len(), taken);
}

#[tokio::test]
async fn only_the_configured_size_refuses_a_mail() {
    let server = Server::with(Rules {
        max_size: Some(1000),
        ..Rules::default()
    })
    .await;
    let mut client = Client::tls(&server).await;
    assert!(client.ask("EHLO me").await.contains("SIZE 1000"));
    assert!(
        client
            .ask("MAIL FROM:<a@b> SIZE=1001")
            .await
            .starts_with("552 ")
    );
    assert!(
        client
            .mail([&[b'x'; 2000][..], b"\r\n.\r\n"].concat())
            .await
            .starts_with("552 ")
    );
    client.begin().await;
    client
        .send([b"BDAT 2000 LAST\r\n".to_vec(), vec![b'x'; 2000]].concat())
        .await;
    assert!(client.reply().await.starts_with("552 "));
    assert!(
        client.mail("fits\r\n.\r\n").await.starts_with("250 "),
        "the session goes on"
    );
    drop(client);
    assert_eq!(server.stop().await.mails.len(), 1);
}

#[tokio::test]
async fn tenants_are_never_mixed_in_one_mail() {
    // I4
    let acme = ("acme.example".to_owned(), "acme".parse().expect("tenant"));
    let server = Server::with(Rules {
        domains: [acme].into(),
        ..Rules::default()
    })
    .await;
    let mut client = Client::ready(&server).await;
    client.ask("MAIL FROM:<a@b>").await;
    assert!(
        client
            .ask("RCPT TO:<x@ACME.example>")
            .await
            .starts_with("250 ")
    );
    assert!(
        client
            .ask("RCPT TO:<x@other.example>")
            .await
            .starts_with("452 4.5.3")
    );
    client.ask("DATA").await;
    client.send("one\r\n.\r\n").await;
    client.reply().await;
    client.mail("two\r\n.\r\n").await;
    drop(client);
    let found = server.stop().await;
    let tenants: Vec<_> = found
        .envelopes
        .iter()
        .map(|envelope| envelope.tenant.as_str())
        .collect();
    assert_eq!(tenants, ["acme", "main"]);
    assert_eq!(found.envelopes[0].recipients.len(), 1);
}

#[tokio::test]
async fn hostile_clients_are_bounded() {
    let limits = Limits {
        // One peer has half of them.
        connections: 4,
        mistakes: 3,
        recipients: 2,
        command_seconds: 1,
        data_seconds: 1,
        ..Limits::default()
    };
    let server = Server::with(Rules {
        limits,
        ..Rules::default()
    })
    .await;
    let mut client = Client::ready(&server).await;
    client.ask("MAIL FROM:<a@b>").await;
    for expected in ["250 ", "250 ", "452 4.5.3"] {
        assert!(client.ask("RCPT TO:<a@b>").await.starts_with(expected));
    }
    client.send([&[b'x'; 20_000][..], b"\r\n"].concat()).await;
    assert!(client.reply().await.starts_with("500 5.5.2"));
    for _ in 0..2 {
        assert!(client.ask("GET / HTTP/1.1").await.starts_with("500 "));
    }
    assert!(client.ask("\u{0}").await.starts_with("500 "));
    assert!(
        client.reply().await.starts_with("421 "),
        "too many mistakes"
    );

    let mut slow = Client::ready(&server).await;
    slow.send("EHL").await;
    assert!(
        slow.reply().await.starts_with("421 4.4.2"),
        "an unfinished line"
    );
    let mut slow = Client::ready(&server).await;
    slow.begin().await;
    slow.ask("DATA").await;
    let begun = std::time::Instant::now();
    let trickle = async move {
        loop {
            slow.send("x").await;
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            if begun.elapsed().as_secs() > 3 {
                return slow.reply().await;
            }
        }
    };
    let outcome = tokio::spawn(trickle);
    let mut second = Client::plain(&server).await;
    let third = tokio::net::TcpStream::connect(server.smtp)
        .await
        .expect("connect");
    let mut greeting = String::new();
    tokio::io::AsyncReadExt::read_to_string(&mut { third }, &mut greeting)
        .await
        .expect("read");
    assert!(greeting.starts_with("421 4.3.2"), "{greeting}");
    // LMTP has places of its own.
    let mut local = Client::lmtp(&server).await;
    assert!(local.ask("NOOP").await.starts_with("250 "));
    second.ask("QUIT").await;
    match outcome.await {
        Ok(reply) => assert_eq!(reply, ""),
        Err(panic) => assert!(panic.is_panic(), "sending failed: the server hung up"),
    }
    assert!(server.stop().await.mails.is_empty());
}

#[tokio::test]
async fn lmtp_answers_for_each_recipient() {
    let server = Server::start().await;
    let mut client = Client::lmtp(&server).await;
    assert!(client.ask("EHLO me").await.starts_with("500 "));
    assert!(client.ask("LHLO me").await.contains("PIPELINING"));
    client.begin().await;
    client.ask("RCPT TO:<carol@example.org>").await;
    client.ask("DATA").await;
    client.send("text\r\n.\r\n").await;
    let replies = [client.reply().await, client.reply().await];
    assert!(replies[0].starts_with("250 2.0.0 queued as ") && replies[0] == replies[1]);
    assert!(client.ask("NOOP").await.starts_with("250 2.0.0 fine"));
    drop(client);
    let found = server.stop().await;
    assert!(matches!(found.envelopes[0].source, Source::Lmtp { .. }));
    assert_eq!(
        (found.mails.len(), found.envelopes[0].recipients.len()),
        (1, 2)
    );
}

#[tokio::test]
async fn stopping_lets_a_running_mail_finish_and_sends_idle_clients_away() {
    let server = Server::start().await;
    let mut idle = Client::ready(&server).await;
    let mut without_tls = Client::plain(&server).await;
    let mut busy = Client::ready(&server).await;
    busy.begin().await;
    busy.ask("DATA").await;
    let stopping = tokio::spawn(server.stop());
    assert!(idle.reply().await.starts_with("421 4.3.2"));
    assert!(without_tls.reply().await.starts_with("421 4.3.2"));
    busy.send("text\r\n.\r\n").await;
    assert!(busy.reply().await.starts_with("250 2.0.0 queued"));
    assert!(busy.reply().await.starts_with("421 4.3.2"));
    assert_eq!(stopping.await.expect("stopped").mails.len(), 1);
}

/// How fast mail is taken: 20 sessions of 100 mails of 10 KB, sealed and synced. Run with
/// `--ignored --nocapture` and optimisation for a figure that means something.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement, not a check"]
async fn measure_tls_intake() {
    let server = Server::start().await;
    let text = [[b'x'; 98].as_slice(), b"\r\n"].concat().repeat(100);
    let mail = [
        b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nBDAT 10000 LAST\r\n".to_vec(),
        text,
    ]
    .concat();
    let mut clients = Vec::new();
    for _ in 0..20 {
        clients.push(Client::ready(&server).await);
    }
    let begun = std::time::Instant::now();
    let sessions: Vec<_> = clients
        .into_iter()
        .map(|mut client| {
            let mail = mail.clone();
            tokio::spawn(async move {
                for _ in 0..100 {
                    client.send(&mail).await;
                    client.reply().await;
                    client.reply().await;
                    assert!(client.reply().await.starts_with("250 2.0.0 queued"));
                }
            })
        })
        .collect();
    for session in sessions {
        session.await.expect("session");
    }
    let seconds = begun.elapsed().as_secs_f64();
    println!("{:.0} mails/s", 2000.0 / seconds);
    assert_eq!(server.stop().await.mails.len(), 2000);
}
