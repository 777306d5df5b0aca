//! The parent process: it goes on whatever its children, the disk and the operator do, and says what is wrong.

use crate::support::disk::Disk;
use crate::support::tasks::Tasks;
use crate::support::{TestBox, descendants, numbered_mail, signal, text};
use hsm_sim::{Fault, Firmware};
use nix::sys::signal::Signal;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What a child's restart and a stop may take, on a slow machine, while another child is kept from starting.
const SOON: Duration = Duration::from_secs(15);

#[test]
fn a_keeper_that_cannot_start_delays_neither_intake_nor_the_stop() {
    let mut box_ = TestBox::running();
    box_.stop();
    // Where its folder should be, is a file: nothing that it could mend, and no reason to refuse the start for good.
    let search = box_.data().join("search");
    std::fs::remove_dir_all(&search).expect("removed");
    std::fs::write(&search, "").expect("written");
    let before = box_.log().len();
    box_.start_only();
    // After its fifth end it waits for eight seconds and more.
    box_.wait_until("the keeper's pause is long", || {
        box_.log()[before..].matches("is started again").count() >= 5
    });
    assert!(box_.kill("intake"));
    let killed = Instant::now();
    box_.wait_until("intake", || box_.smtp().is_ok());
    assert!(killed.elapsed() < SOON, "{:?}", killed.elapsed());
    box_.send(&numbered_mail(1));
    let stopped = Instant::now();
    box_.stop();
    assert!(stopped.elapsed() < SOON, "{:?}", stopped.elapsed());
    box_.assert_no_panic();
}

#[test]
fn a_full_disk_below_run_ends_no_box() {
    let mut box_ = TestBox::running();
    box_.stop();
    let Some(disk) = Disk::mount(&box_.data().join("run"), 1) else {
        return;
    };
    box_.start();
    box_.send(&numbered_mail(0));
    box_.wait_for_records(1);
    disk.fill();
    assert!(box_.kill("keeper"));
    box_.wait_until("a complaint", || box_.log().contains("is not noted"));
    box_.wait_until("the keeper is back", || box_.status("records") == 1);
    box_.send(&numbered_mail(1));
    disk.clear();
    box_.wait_for_records(2);
    box_.stop();
    let state = std::fs::read_to_string(box_.data().join("run/state.json")).expect("a state");
    assert!(state.contains("stopped"), "{state}");
    box_.assert_no_panic();
}

// The process itself can be started, and not the thread that waits for its end.
#[test]
fn a_parent_that_can_start_no_thread_goes_on() {
    let box_ = TestBox::running();
    let serve = box_.serve.as_ref().expect("it runs").id();
    let Some(full) = Tasks::full(serve) else {
        return;
    };
    assert!(box_.kill("intake"));
    box_.wait_until("a complaint", || {
        box_.log()
            .contains("a process of the box cannot be started")
    });
    drop(full);
    box_.wait_until("intake", || box_.smtp().is_ok());
    box_.send(&numbered_mail(1));
    box_.wait_for_records(1);
}

#[test]
fn status_tells_that_no_mail_is_taken_in_and_that_a_box_is_dead() {
    let mut box_ = TestBox::running();
    box_.stop();
    let taken = TcpListener::bind(("127.0.0.1", box_.smtps)).expect("the port");
    box_.start_only();
    box_.wait_until("a warning", || {
        text(&box_.run("status")).contains("warning    no mail is taken in: cannot listen on")
    });
    for command in ["status", "status --json"] {
        let status = box_.run(command);
        let said = text(&status);
        assert_eq!(status.status.code(), Some(1), "{said}");
        assert!(
            said.contains("open") && said.contains("cannot listen on"),
            "{said}"
        );
    }
    drop(taken);
    box_.wait_until("mail is taken in again", || {
        box_.run("status").status.success()
    });

    box_.kill_all();
    let status = box_.run("status");
    assert!(!status.status.success());
    assert!(
        text(&status).contains("it does not run"),
        "{}",
        text(&status)
    );
    assert!(text(&box_.run("status --json")).contains("\"state\": \"stopped\""));
}

#[test]
fn a_damaged_policy_costs_no_mail() {
    let mut box_ = TestBox::running();
    box_.stop();
    let policy = box_.data().join("policy.toml");
    let good = std::fs::read(&policy).expect("a policy");
    std::fs::write(&policy, "junk").expect("written");
    box_.start_only();
    box_.wait_until("intake", || box_.smtp().is_ok());
    box_.send(&numbered_mail(1));
    std::fs::write(&policy, good).expect("written");
    box_.wait_for_records(1);
    box_.assert_no_panic();
}

#[test]
fn status_does_not_wait_for_a_stopped_keeper_or_a_tpm_that_is_gone() {
    let mut box_ = TestBox::running();
    box_.machine.power_off();
    let said = text(&box_.run("status"));
    assert!(said.contains("the TPM does not answer"), "{said}");
    assert!(said.contains("TPM counter not known"), "{said}");
    let [keeper] = box_.processes("keeper")[..] else {
        panic!("one keeper");
    };
    let keeper = nix::unistd::Pid::from_raw(i32::try_from(keeper).expect("a process id"));
    nix::sys::signal::kill(keeper, nix::sys::signal::Signal::SIGSTOP).expect("stopped");
    let asked = Instant::now();
    let said = text(&box_.run("status"));
    assert!(asked.elapsed() < Duration::from_secs(60));
    assert!(
        said.contains("has not answered within 10 seconds"),
        "{said}"
    );
    nix::sys::signal::kill(keeper, nix::sys::signal::Signal::SIGCONT).expect("goes on");
}

// Whoever may only go through the folder finds sockets, and nothing that is readable.
#[test]
fn nothing_in_the_data_folder_is_open_to_others_but_its_sockets() {
    let box_ = TestBox::running();
    box_.send(&numbered_mail(1));
    box_.wait_for_records(1);
    box_.ok("rebuild");
    let data = box_.data();
    let mut folders: Vec<PathBuf> = vec![data.clone()];
    let mut seen = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            let Ok(found) = path.symlink_metadata() else {
                continue;
            };
            let allowed = match path.strip_prefix(&data).expect("below").to_str() {
                Some("run") => 0o711,
                Some("run/keeper.sock") => 0o666,
                Some("run/lmtp.sock") => 0o660,
                _ if found.is_dir() => 0o700,
                _ => 0o600,
            };
            let mode = found.mode() & 0o777;
            assert_eq!(mode & !allowed, 0, "{}: {mode:o}", path.display());
            seen += 1;
            if found.is_dir() {
                folders.push(path);
            }
        }
    }
    assert!(seen > 30, "{seen}");
    assert_eq!(data.metadata().expect("metadata").mode() & 0o777, 0o711);
}

// E3: a child that begins while its parent opens the TPM keeps nothing of it.
#[test]
fn a_child_keeps_nothing_that_its_parent_had_open() {
    let folder = tempfile::tempdir().expect("a folder");
    let open = folder.path().join("open");
    fs::write(&open, "").expect("a file");
    let script = format!("exec 9<{} && exec \"$0\" worker", open.display());
    let mut worker = Command::new("sh")
        .args(["-c", &script, env!("CARGO_BIN_EXE_strongroom")])
        .stdin(Stdio::piped())
        .spawn()
        .expect("a worker");
    let process = Path::new("/proc").join(worker.id().to_string());
    let is_worker = || {
        fs::read(process.join("cmdline"))
            .is_ok_and(|line| line.ends_with(b"worker\0") && !line.starts_with(b"sh"))
    };
    let has_it = || {
        let files = fs::read_dir(process.join("fd")).expect("its files");
        let mut targets = files.flatten().map(|file| fs::read_link(file.path()));
        targets.any(|target| target.is_ok_and(|target| target == open))
    };
    let since = Instant::now();
    while !is_worker() || has_it() {
        assert!(
            since.elapsed() < Duration::from_secs(60),
            "it is still open"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
    drop(worker.stdin.take());
    worker.wait().expect("it ends");
}

// A TPM that hangs keeps no stop waiting, and what the counter missed costs nothing.
#[test]
fn a_stop_does_not_wait_for_a_tpm_that_hangs() {
    let mut box_ = TestBox::running();
    box_.stop();
    let proxy = box_.machine.proxy().expect("a proxy");
    let config = box_.data().join("strongroom.toml");
    let direct = fs::read_to_string(&config).expect("a configuration");
    let through = direct.replace(&box_.machine.tcti(), &proxy.tcti());
    assert_ne!(direct, through);
    fs::write(&config, through).expect("written");
    box_.start();
    // Nobody is asked before the stop; or the keeper waits for a signature already.
    for waits in [false, true] {
        box_.send(&numbered_mail(usize::from(waits)));
        box_.wait_for_records(1 + u64::from(waits));
        proxy.fault(Some(Fault::Drop));
        if waits {
            box_.send(&numbered_mail(2));
            box_.wait_for_records(3);
            std::thread::sleep(Duration::from_secs(2));
        }
        let _idle = box_.smtp().expect("a connection");
        let stopped = Instant::now();
        box_.stop();
        let took = stopped.elapsed();
        println!("waits {waits}: {took:?}");
        assert!(took < Duration::from_secs(25), "{took:?}");
        let log = box_.log();
        for said in [
            "the counter step of this stop is given up",
            "not shut down in order",
        ] {
            assert!(log.contains(said), "{said}: {log}");
        }
        proxy.fault(None);
        box_.start();
        let records = box_.status("records");
        assert_eq!(
            box_.json("verify --json")["records"].as_u64(),
            Some(records)
        );
    }
    // Or the keeper waits as it opens the box.
    proxy.fault(Some(Fault::Drop));
    box_.kill("keeper");
    box_.wait_until("a new one", || !box_.processes("keeper").is_empty());
    std::thread::sleep(Duration::from_secs(2));
    let stopped = Instant::now();
    box_.stop();
    assert!(stopped.elapsed() < SOON, "{:?}", stopped.elapsed());
    proxy.fault(None);
    box_.start();
    box_.stop();
    assert_eq!(box_.arrivals().len(), 3);
    box_.assert_no_panic();
}

// Children that were still being set up when their parent was killed go too.
#[test]
fn a_parent_that_is_killed_at_once_leaves_no_orphan() {
    let mut box_ = TestBox::running();
    box_.stop();
    for _ in 0..10 {
        box_.start_only();
        let serve = box_.serve.as_ref().expect("it runs").id();
        let child = loop {
            if let Some(child) = descendants(serve).first() {
                break *child;
            }
        };
        signal(child, Signal::SIGSTOP);
        box_.kill_all();
        signal(child, Signal::SIGCONT);
        box_.wait_until("the child is gone", || {
            let line = fs::read(format!("/proc/{child}/cmdline"));
            line.is_ok_and(|line| line.is_empty()) || !Path::new(&format!("/proc/{child}")).exists()
        });
    }
    box_.start();
    box_.send(&numbered_mail(1));
    box_.wait_for_records(1);
    box_.assert_no_panic();
}

// As a machine that is short of memory kills it: the same reason is told until it is back.
#[test]
fn a_keeper_that_was_killed_is_told_as_such() {
    let box_ = TestBox::running();
    for _ in 0..4 {
        box_.wait_until("a keeper", || box_.kill("keeper"));
        std::thread::sleep(Duration::from_millis(100));
    }
    let said = text(&box_.run("status"));
    assert!(
        said.contains("is started again: its process ended (signal: 9 (SIGKILL))"),
        "{said}"
    );
    box_.wait_until("the keeper is back", || box_.run("status").status.success());
}

// A7: whoever may connect keeps nobody else out.
#[test]
fn one_user_cannot_take_all_connections_to_the_keeper() {
    let box_ = TestBox::running();
    let through = fs::Permissions::from_mode(0o711);
    fs::set_permissions(box_.file("."), through).expect("a mode");
    let script = "import socket, sys\nheld = [socket.socket(socket.AF_UNIX) for _ in range(80)]\n\
                  for one in held: one.connect(sys.argv[1])\nprint(flush=True)\nsys.stdin.read()";
    let mut other = Command::new("python3")
        .args(["-c", script])
        .arg(box_.data().join("run/keeper.sock"))
        .uid(65534)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3");
    let mut line = String::new();
    let output = other.stdout.take().expect("its output");
    BufReader::new(output)
        .read_line(&mut line)
        .expect("they are connected");
    let asked = Instant::now();
    let status = box_.run("status");
    assert!(status.status.success(), "{}", text(&status));
    assert!(
        asked.elapsed() < Duration::from_secs(5),
        "{:?}",
        asked.elapsed()
    );
    drop(other.stdin.take());
    other.wait().expect("it ends");
}

// Whoever clears `run/` takes the locks in it too: no second keeper works on the archive all the same, and the box is there
// again by itself.
#[test]
fn a_run_folder_that_is_removed_comes_back_and_lets_no_second_keeper_in() {
    let mut box_ = TestBox::running();
    box_.send(&numbered_mail(1));
    box_.wait_for_records(1);
    let run = box_.data().join("run");
    let [keeper] = box_.processes("keeper")[..] else {
        panic!("one keeper");
    };
    signal(keeper, Signal::SIGSTOP);
    fs::remove_dir_all(&run).expect("removed");
    let first = box_.serve.take();
    box_.start_only();
    box_.wait_until("it is told", || {
        text(&box_.run("status")).contains("another keeper still works on")
    });
    box_.stop();
    box_.serve = first;
    signal(keeper, Signal::SIGCONT);
    fs::remove_dir_all(&run).expect("removed");
    box_.wait_until("the box is there again", || {
        box_.run("status").status.success() && run.join("lmtp.sock").exists()
    });
    box_.send(&numbered_mail(2));
    box_.wait_for_records(2);
    for socket in ["keeper.sock", "lmtp.sock", "import.sock"] {
        fs::remove_file(run.join(socket)).expect("removed");
        box_.wait_until(socket, || run.join(socket).exists());
    }
    box_.wait_until("the box", || box_.run("status").status.success());
    box_.ok("verify");
    box_.stop();
    assert_eq!(box_.arrivals().len(), 2);
    box_.assert_no_panic();
}

// As a package's update does, which asks nobody to start the box anew: the children that follow are still the parent's own.
#[test]
fn a_program_that_was_replaced_while_it_runs_still_starts_its_children() {
    let mut box_ = TestBox::running();
    box_.stop();
    let program = box_.file("program");
    fs::copy(env!("CARGO_BIN_EXE_strongroom"), &program).expect("a copy");
    let serve = Command::new(&program)
        .arg("serve")
        .env("STRONGROOM_DATA", box_.data())
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    box_.serve = Some(serve.expect("it runs"));
    let is_open = |box_: &TestBox| box_.run("status").status.success();
    box_.wait_until("it is open", || is_open(&box_));
    fs::remove_file(&program).expect("removed");
    fs::write(&program, "#!/bin/sh\nexit 1\n").expect("another program");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("it can run");
    for role in ["keeper", "intake"] {
        assert!(box_.kill(role));
        box_.wait_until("it is back", || {
            !box_.processes(role).is_empty() && is_open(&box_)
        });
    }
    box_.wait_until("mail is taken", || box_.smtp().is_ok());
    box_.send(&numbered_mail(1));
    box_.wait_for_records(1);
    assert!(!box_.processes("worker").is_empty());
}

// The shipped policies have the first opening in a boot shut the way for the next: that is no tampering, and says what to do.
#[test]
fn a_second_start_in_one_boot_asks_for_a_reboot_and_speaks_of_no_tampering() {
    let capping =
        |policy: String| policy.replace("pcrs = [7, 11, 12]", "pcrs = [7, 11, 12]\ncap_pcr = 12");
    let mut box_ = TestBox::running_with(&capping);
    box_.stop();
    box_.start_only();
    let status = |box_: &TestBox| text(&box_.run("status"));
    box_.wait_until("it is locked", || status(&box_).contains("it is locked"));
    let said = status(&box_);
    assert!(
        said.contains("reboot the machine") && !said.contains("tampered"),
        "{said}"
    );
    box_.send(&numbered_mail(1));
    box_.stop();
    box_.machine.boot(Firmware::Good).expect("a boot");
    box_.start();
    box_.wait_for_records(1);
    box_.stop();
    box_.machine.boot(Firmware::Altered).expect("a boot");
    box_.start_only();
    box_.wait_until("it is locked", || status(&box_).contains("tampered"));
}
