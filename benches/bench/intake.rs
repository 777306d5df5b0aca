//! SMTP over TLS: sealed, synced, then 250. The keeper does not run, as while the box is locked.

use super::postfix::Postfix;
use super::support::TestBox;
use super::support::smtp::Client;
use super::table::{Row, Target};
use super::{Scale, per_second};
use std::fmt::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Bytes of one mail.
const MAIL: usize = 10 << 10;

/// Sessions that send mails at the same time, to us and to Postfix.
pub fn run(scale: &Scale, rows: &mut Vec<Row>) {
    let box_ = TestBox::found();
    let certificate = box_.data().join("tls/certificate.pem");
    let key = box_.data().join("tls/key.pem");
    let intake = Running(start(&box_));
    let rate = best_of(3, || send_all(scale, box_.smtps, &certificate));
    drop(intake);
    // Postfix takes mail as we do (queued, synced, 250) and holds it back, so that it delivers nothing meanwhile.
    let port = hsm_sim::free_ports(1);
    let mut settings = "smtpd_tls_security_level = encrypt\n\
         smtpd_recipient_restrictions = check_recipient_access static:HOLD, permit_mynetworks, reject\n"
        .to_owned();
    let _ = writeln!(settings, "smtpd_tls_cert_file = {}", certificate.display());
    let _ = writeln!(settings, "smtpd_tls_key_file = {}", key.display());
    let service = format!("{port} inet n - n - - smtpd -o smtpd_tls_wrappermode=yes\n");
    let postfix = Postfix::start(&settings, &service);
    let reference = postfix.map(|_running| best_of(3, || send_all(scale, port, &certificate)));
    let (sessions, mails) = scale.sessions;
    rows.push(
        Row::rate(
            format!("intake over TLS, {sessions} sessions of {mails} mails of 10 KB"),
            rate,
        )
        .against("Postfix", reference)
        .target(Target::Rate(2400.0)),
    );
}

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(box_: &TestBox) -> Child {
    // The parent makes it, which would need the TPM and start the keeper.
    std::fs::create_dir_all(box_.data().join("run")).expect("a folder");
    let intake = Command::new(env!("CARGO_BIN_EXE_strongroom"))
        .args(["intake", "--data"])
        .arg(box_.data())
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .expect("the intake starts");
    box_.wait_until("intake", || box_.smtp().is_ok());
    intake
}

fn best_of(times: usize, mut rate: impl FnMut() -> f64) -> f64 {
    (0..times).map(|_| rate()).fold(0.0, f64::max)
}

/// Mails a second over all sessions, each pipelined as mail servers do. Connections are made before.
fn send_all(scale: &Scale, port: u16, certificate: &Path) -> f64 {
    let (sessions, mails) = scale.sessions;
    let mail = mail();
    let mut clients: Vec<Client> = (0..sessions)
        .map(|_| Client::connect(port, certificate).expect("a connection"))
        .collect();
    let since = Instant::now();
    std::thread::scope(|scope| {
        for client in &mut clients {
            let mail = &mail;
            scope.spawn(move || {
                for _ in 0..mails {
                    let reply = client.pipelined("anna@example.org", mail).expect("a reply");
                    assert!(reply.starts_with("250 "), "{reply}");
                }
            });
        }
    });
    let rate = per_second(sessions * mails, since.elapsed());
    std::thread::sleep(Duration::from_millis(200));
    rate
}

fn mail() -> Vec<u8> {
    let mut mail = b"From: sender@example.net\r\nSubject: ten kilobytes\r\n\r\n".to_vec();
    while mail.len() < MAIL {
        mail.extend_from_slice(
            b"The hippopotamus is at home and reads its mail in peace, line by line.\r\n",
        );
    }
    mail
}
