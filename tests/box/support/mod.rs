//! A whole box on a simulated machine, driven as people and mail servers drive it: by the command line and by SMTP.

pub mod big;
pub mod disk;
pub mod hostile;
pub mod smtp;
pub mod tasks;

use hsm_sim::{Sim, free_ports};
use serde_json::Value;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use strongroom::ledger::{Event, Ledger};

const STRONGROOM: &str = env!("CARGO_BIN_EXE_strongroom");
const OFFICERS: [&str; 3] = ["alice", "bob", "carol"];
/// How long anything may take that a test waits for.
pub const PATIENCE: Duration = Duration::from_secs(300);

/// A founded box. Dropping it stops its processes and pulls the machine's plug.
pub struct TestBox {
    pub machine: Sim,
    pub smtps: u16,
    home: tempfile::TempDir,
    pub serve: Option<Child>,
}

/// An arrival as the ledger has it.
pub struct LedgerArrival {
    pub record: String,
    pub spool: String,
    pub number: u32,
}

impl TestBox {
    /// Founds a box (2 of 3 officers) that can be unsealed more than once a boot and opens mail of at most 32 MB. It does
    /// not run yet.
    pub fn found() -> Self {
        Self::found_with(&|policy| policy)
    }

    /// As [`TestBox::found`], with an altered policy.
    pub fn found_with(altered: &dyn Fn(String) -> String) -> Self {
        let home = tempfile::tempdir().expect("a folder");
        let machine = Sim::start(&home.path().join("machine")).expect("a machine");
        let mut this = Self {
            machine,
            smtps: free_ports(1),
            home,
            serve: None,
        };
        let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("keys-policy/demo.toml");
        let policy = fs::read_to_string(demo).expect("the demo's policy");
        let policy = policy
            .replace("cap_pcr = 12\n", "")
            .replace("message_bytes = 268_435_456", "message_bytes = 33_554_432");
        fs::write(this.file("policy.toml"), altered(policy)).expect("a policy");
        for name in OFFICERS {
            let passphrase = this.file(&format!("{name}.pass"));
            fs::write(&passphrase, format!("the passphrase of {name}\n")).expect("a passphrase");
            this.ok(&format!(
                "officer new {name} --out {} --passphrase-file {}",
                this.file(&format!("{name}.officer")).display(),
                passphrase.display()
            ));
        }
        this.ok(&format!(
            "ceremony found --data {} --policy {} --tpm {} --hostname localhost {}",
            this.data().display(),
            this.file("policy.toml").display(),
            this.machine.tcti(),
            this.officers(3)
        ));
        this.set_ports();
        this
    }

    /// Founds a box, gives anna an account, starts it and signs her in.
    pub fn running() -> Self {
        Self::running_with(&|policy| policy)
    }

    /// As [`TestBox::running`], with an altered policy.
    pub fn running_with(altered: &dyn Fn(String) -> String) -> Self {
        let mut this = Self::found_with(altered);
        this.start();
        this.add_person("anna", "anna@example.org");
        this.login();
        this
    }

    /// Gives somebody an account with one mailbox.
    pub fn add_person(&self, name: &str, mailbox: &str) {
        let password = self.file(&format!("{name}.pass"));
        fs::write(&password, format!("{name}'s password\n")).expect("a password");
        self.ok(&format!(
            "user set {name} --mailbox {mailbox} --password-file {} {}",
            password.display(),
            self.officers(2)
        ));
    }

    /// A box on a new machine, restored from a golden vault's backup by the two officers whose files lie beside it. It
    /// does not run yet.
    pub fn restored(golden: &Path) -> Self {
        let home = tempfile::tempdir().expect("a folder");
        let machine = Sim::start(&home.path().join("machine")).expect("a machine");
        let mut this = Self {
            machine,
            smtps: free_ports(1),
            home,
            serve: None,
        };
        let mut officers = String::new();
        for name in ["alice", "carol"] {
            let (key, passphrase) = (format!("{name}.officer"), format!("{name}.pass"));
            fs::copy(golden.join(&key), this.file(&key)).expect("an officer's file");
            fs::copy(golden.join(&passphrase), this.file(&passphrase)).expect("a passphrase");
            officers += &format!(
                " --officer {} --passphrase-file {name}={}",
                this.file(&key).display(),
                this.file(&passphrase).display()
            );
        }
        fs::copy(golden.join("anna.pass"), this.file("anna.pass")).expect("a password");
        let backup = golden.join("backup");
        let checkpoint = fs::read_to_string(backup.join("ledger/checkpoint")).expect("text");
        let head = checkpoint.lines().nth(1).expect("a size");
        this.ok(&format!(
            "ceremony restore --data {} --from {} --tpm {} --accept-head {head}{officers}",
            this.data().display(),
            backup.display(),
            this.machine.tcti(),
        ));
        this.set_ports();
        this
    }

    /// Signs anna in; sessions do not outlive a keeper.
    pub fn login(&self) {
        self.login_as("anna");
    }

    /// Signs a person in, in whose name the next commands are.
    pub fn login_as(&self, name: &str) {
        let password = self.file(&format!("{name}.pass"));
        self.ok(&format!(
            "login {name} --passphrase-file {}",
            password.display()
        ));
    }

    fn set_ports(&mut self) {
        let path = self.data().join("strongroom.toml");
        let text = fs::read_to_string(&path).expect("a configuration");
        let set = |line: &str| match line.split(" = ").next() {
            Some("smtp") => format!("smtp = \"127.0.0.1:{}\"", free_ports(1)),
            Some("smtps") => format!("smtps = \"127.0.0.1:{}\"", self.smtps),
            _ => line.to_owned(),
        };
        let lines: Vec<String> = text.lines().map(set).collect();
        fs::write(&path, lines.join("\n")).expect("a configuration");
    }

    /// Arguments that let so many officers act.
    pub fn officers(&self, count: usize) -> String {
        let one = |name: &&str| {
            let key = self.file(&format!("{name}.officer"));
            let passphrase = self.file(&format!("{name}.pass"));
            format!(
                "--officer {} --passphrase-file {name}={}",
                key.display(),
                passphrase.display()
            )
        };
        let all: Vec<String> = OFFICERS.iter().take(count).map(one).collect();
        all.join(" ")
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    pub fn data(&self) -> PathBuf {
        self.file("box")
    }

    /// Starts the box and does not wait.
    pub fn start_only(&mut self) {
        self.start_with(&[]);
    }

    /// As [`TestBox::start_only`], with arguments for `serve`.
    pub fn start_with(&mut self, arguments: &[&str]) {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.file("serve.log"))
            .expect("a log");
        self.start_with_log(log, arguments);
    }

    /// As [`TestBox::start_with`], with the log going elsewhere.
    pub fn start_with_log(&mut self, log: File, arguments: &[&str]) {
        let child = self
            .command()
            .arg("serve")
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log)
            .spawn();
        self.serve = Some(child.expect("strongroom serve"));
    }

    /// Starts the box and waits until it is open.
    pub fn start(&mut self) {
        self.start_only();
        self.wait_until("the box is open", || self.run("status").status.success());
    }

    /// Stops the box in order.
    pub fn stop(&mut self) {
        let Some(mut serve) = self.serve.take() else {
            return;
        };
        signal(serve.id(), nix::sys::signal::Signal::SIGTERM);
        let since = Instant::now();
        while serve.try_wait().expect("a status").is_none() {
            if since.elapsed() > PATIENCE {
                let _ = serve.kill();
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// As a power cut ends all processes of the box.
    pub fn kill_all(&mut self) {
        if let Some(mut serve) = self.serve.take() {
            let _ = serve.kill();
            let _ = serve.wait();
            // Children die with the parent; their sockets are free once they are gone.
            std::thread::sleep(Duration::from_millis(300));
        }
    }

    /// Process ids of the box's processes with this role: "intake", "keeper" or "worker".
    pub fn processes(&self, role: &str) -> Vec<u32> {
        let serve = self.serve.as_ref().map_or(0, Child::id);
        let mut family = descendants(serve);
        family.retain(|pid| argument(*pid).as_deref() == Some(role));
        family
    }

    /// Kills a process of this role; false where there is none.
    pub fn kill(&self, role: &str) -> bool {
        let found = self.processes(role);
        if let Some(pid) = found.first() {
            signal(*pid, nix::sys::signal::Signal::SIGKILL);
        }
        !found.is_empty()
    }

    /// The most memory that a process of this role has had, in MB.
    pub fn peak_memory(&self, role: &str) -> u64 {
        let pid = self.processes(role)[0];
        let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("a status");
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kilobytes = peak.and_then(|line| line.trim().strip_suffix(" kB"));
        kilobytes.expect("a peak").parse::<u64>().expect("a number") >> 10
    }

    fn command(&self) -> Command {
        let mut command = Command::new(STRONGROOM);
        command
            .env("STRONGROOM_DATA", self.data())
            .env("STRONGROOM_SESSION", self.file("session"))
            .env_remove("STRONGROOM_PASSPHRASE_FILE");
        command
    }

    /// Runs a command; arguments are divided at blanks.
    pub fn run(&self, arguments: &str) -> Output {
        let mut command = self.command();
        command.args(arguments.split_whitespace());
        command.output().expect("strongroom runs")
    }

    /// Runs a shell script in which `$STRONGROOM` is the program.
    pub fn run_in_shell(&self, script: &str) -> Output {
        let mut shell = Command::new("sh");
        for (name, value) in self.command().get_envs() {
            shell.envs(value.map(|value| (name, value)));
        }
        shell.env("STRONGROOM", STRONGROOM).args(["-c", script]);
        shell.output().expect("sh")
    }

    /// Runs a command that must succeed and gives its output.
    pub fn ok(&self, arguments: &str) -> String {
        let output = self.run(arguments);
        assert!(
            output.status.success(),
            "strongroom {arguments}: {}",
            text(&output)
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Runs a command that must succeed and gives its JSON.
    pub fn json(&self, arguments: &str) -> Value {
        serde_json::from_str(&self.ok(arguments)).expect("JSON")
    }

    /// A number of the box's status, 0 while it does not answer.
    pub fn status(&self, name: &str) -> u64 {
        let output = self.run("status --json");
        let status: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        status[name].as_u64().unwrap_or(0)
    }

    /// Waits until so many records are archived and the spool is empty.
    pub fn wait_for_records(&self, count: u64) {
        self.wait_until(&format!("{count} records"), || {
            self.status("records") >= count && self.status("spooled") == 0
        });
    }

    /// Waits until a search finds so many.
    pub fn wait_for_hits(&self, count: u64, query: &str) {
        let since = Instant::now();
        loop {
            let found = self.json(&format!("search --json {query}"))["total"].as_u64();
            if found == Some(count) {
                return;
            }
            assert!(
                since.elapsed() < PATIENCE,
                "{query}: {found:?}, not {count}"
            );
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    pub fn wait_until(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let since = Instant::now();
        while !holds() {
            assert!(
                since.elapsed() < PATIENCE,
                "not in time: {what}; status: {}",
                text(&self.run("status"))
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// What the box wrote while it ran.
    pub fn log(&self) -> String {
        fs::read_to_string(self.file("serve.log")).unwrap_or_default()
    }

    /// No process of the box panicked.
    pub fn assert_no_panic(&self) {
        assert!(!self.log().contains("panicked"), "{}", self.log());
    }

    /// A connection to the box's SMTP over TLS.
    pub fn smtp(&self) -> std::io::Result<smtp::Client> {
        smtp::Client::connect(self.smtps, &self.data().join("tls/certificate.pem"))
    }

    /// As [`TestBox::smtp`], from another address of this machine (127.0.0.0/8).
    pub fn smtp_from(&self, source: std::net::Ipv4Addr) -> std::io::Result<smtp::Client> {
        let certificate = self.data().join("tls/certificate.pem");
        smtp::Client::connect_from(source, self.smtps, &certificate)
    }

    /// Sends one mail to anna, which must be accepted; gives its queue id.
    pub fn send(&self, mail: &[u8]) -> String {
        let mut client = self.smtp().expect("a connection");
        let reply = client.mail("anna@example.org", mail).expect("a reply");
        smtp::queue_id(&reply).unwrap_or_else(|| panic!("not accepted: {reply}"))
    }

    /// All arrivals in the ledger of the stopped box.
    pub fn arrivals(&self) -> Vec<LedgerArrival> {
        let tpm = fs::read(self.data().join("tpm.json")).expect("tpm.json");
        let tpm: Value = serde_json::from_slice(&tpm).expect("JSON");
        let origin = tpm["ledger"].as_str().expect("an origin");
        let ledger = Ledger::open(&self.data().join("ledger"), origin).expect("the ledger");
        let size = ledger.tree().size();
        let entries = ledger.tree().entries(0..size);
        let arrival = |event| match event {
            Event::Arrival {
                record,
                spool,
                arrival,
                ..
            } => Some(LedgerArrival {
                record: record.to_string(),
                spool: spool.to_string(),
                number: arrival,
            }),
            _ => None,
        };
        entries
            .filter_map(|entry| arrival(entry.expect("an entry").entry.event))
            .collect()
    }
}

impl Drop for TestBox {
    fn drop(&mut self) {
        self.kill_all();
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().rev().take(40).collect();
            eprintln!("the box said, the newest first:\n{}", lines.join("\n"));
        }
    }
}

/// A plain mail with this number in subject and text.
pub fn numbered_mail(number: usize) -> Vec<u8> {
    format!(
        "From: sender@example.net\r\nTo: anna@example.org\r\nSubject: Crocodile {number}\r\n\
         Message-ID: <{number}@example.net>\r\n\r\nThe hippopotamus number {number} is at home.\r\n"
    )
    .into_bytes()
}

/// What openssl writes, run in this folder.
pub fn openssl(folder: &Path, arguments: &str) -> Vec<u8> {
    let output = Command::new("openssl")
        .args(arguments.split_whitespace())
        .current_dir(folder)
        .output()
        .expect("openssl");
    assert!(output.status.success(), "{}", text(&output));
    output.stdout
}

/// Standard output and standard error.
pub fn text(output: &Output) -> String {
    let out = String::from_utf8_lossy(&output.stdout);
    format!("{out}{}", String::from_utf8_lossy(&output.stderr))
}

pub fn signal(pid: u32, signal: nix::sys::signal::Signal) {
    let pid = nix::unistd::Pid::from_raw(i32::try_from(pid).expect("a process id"));
    let _ = nix::sys::signal::kill(pid, signal);
}

pub fn descendants(pid: u32) -> Vec<u32> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task"));
    let children = tasks
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|task| fs::read_to_string(task.path().join("children")).ok())
        .collect::<Vec<_>>()
        .join(" ");
    let mut all = Vec::new();
    for child in children
        .split_whitespace()
        .filter_map(|pid| pid.parse().ok())
    {
        all.push(child);
        all.extend(descendants(child));
    }
    all
}

/// The first argument of a process.
fn argument(pid: u32) -> Option<String> {
    let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let argument = line.split(|byte| *byte == 0).nth(1)?;
    Some(String::from_utf8_lossy(argument).into_owned())
}
