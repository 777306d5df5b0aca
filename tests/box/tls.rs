//! The certificate of the listeners, as certbot keeps and renews it.

use crate::support::{TestBox, numbered_mail, smtp};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

/// certbot's folders: `live/NAME.pem` is a link to `../archive/NAME1.pem`, after a renewal to `../archive/NAME2.pem`.
struct Certbot(PathBuf);

impl Certbot {
    /// The box's first certificate, and `strongroom.toml` naming the links.
    fn of(box_: &TestBox) -> Self {
        let this = Self(box_.file("letsencrypt"));
        for folder in ["live", "archive"] {
            fs::create_dir_all(this.0.join(folder)).expect("a folder");
        }
        let tls = box_.data().join("tls");
        for (from, to) in [
            ("certificate.pem", "fullchain1.pem"),
            ("key.pem", "privkey1.pem"),
        ] {
            fs::rename(tls.join(from), this.archive(to)).expect("moved");
        }
        let path = box_.data().join("strongroom.toml");
        let mut config = fs::read_to_string(&path).expect("a configuration");
        for (old, new) in [("certificate.pem", "fullchain"), ("key.pem", "privkey")] {
            this.link(new, 1);
            let live = this.0.join(format!("live/{new}.pem")).display().to_string();
            config = config.replace(&format!("tls/{old}"), &live);
        }
        fs::write(&path, config).expect("a configuration");
        this
    }

    fn archive(&self, name: &str) -> PathBuf {
        self.0.join("archive").join(name)
    }

    fn link(&self, name: &str, number: u32) {
        let link = self.0.join(format!("live/{name}.pem"));
        let _ = fs::remove_file(&link);
        symlink(format!("../archive/{name}{number}.pem"), link).expect("a link");
    }

    /// The second certificate and its key, in `archive`.
    fn renew(&self) {
        let made = Command::new("openssl")
            .args("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2".split(' '))
            .args("-subj /CN=localhost -addext subjectAltName=DNS:localhost".split(' '))
            .args("-addext basicConstraints=critical,CA:FALSE".split(' '))
            .args("-keyout privkey2.pem -out fullchain2.pem".split(' '))
            .current_dir(self.0.join("archive"))
            .output();
        assert!(made.expect("openssl").status.success());
    }
}

fn connects(box_: &TestBox, certificate: &Path) -> bool {
    smtp::Client::connect(box_.smtps, certificate).is_ok()
}

/// Tells the running box to read its certificate anew, as `systemctl reload` does.
fn reload(box_: &TestBox) {
    let serve = box_.serve.as_ref().expect("it runs").id();
    let serve = Pid::from_raw(i32::try_from(serve).expect("a process id"));
    kill(serve, Signal::SIGHUP).expect("a signal");
}

fn deliver(client: &mut smtp::Client, number: usize) {
    let reply = client.mail("anna@example.org", &numbered_mail(number));
    let reply = reply.expect("the connection is there");
    assert!(smtp::queue_id(&reply).is_some(), "{reply}");
}

// I1: a renewal costs no connection, and a half-written one no certificate.
#[test]
fn a_certificate_renewed_by_certbot_is_served_and_a_half_written_one_is_not() {
    let mut box_ = TestBox::found();
    let certbot = Certbot::of(&box_);
    let first = certbot.archive("fullchain1.pem");
    let second = certbot.archive("fullchain2.pem");
    box_.start();
    box_.wait_until("intake", || connects(&box_, &first));
    let mut long = smtp::Client::connect(box_.smtps, &first).expect("a connection");
    deliver(&mut long, 1);

    certbot.renew();
    let whole = fs::read(&second).expect("a certificate");
    let old_stays = |what: &str, times: usize| {
        reload(&box_);
        box_.wait_until(what, || {
            box_.log()
                .matches("the TLS certificate is not reloaded")
                .count()
                == times
        });
        assert!(connects(&box_, &first), "{what}");
    };
    certbot.link("fullchain", 2);
    old_stays("the new certificate beside the old key", 1);
    fs::write(&second, &whole[..whole.len() / 2]).expect("half a file");
    certbot.link("privkey", 2);
    old_stays("half of the new certificate", 2);
    fs::remove_file(&second).expect("removed");
    old_stays("a link to nothing", 3);
    deliver(&mut long, 2);

    fs::write(&second, whole).expect("a certificate");
    reload(&box_);
    box_.wait_until("the new certificate", || connects(&box_, &second));
    assert!(!connects(&box_, &first), "the old one is served no more");
    // A mail server whose administrator asks why is found by its address.
    let names_client =
        |line: &str| line.contains("session ended early") && line.contains("127.0.0.1:");
    box_.wait_until("the log names the client", || {
        box_.log().lines().any(names_client)
    });
    deliver(&mut long, 3);
    box_.wait_for_records(3);
    box_.assert_no_panic();
}
