//! A machine with a TPM: swtpm as a child process, its state in a folder of its own.
//!
//! The folder holds `tpm/` (swtpm's state), `port`, `pid` and `swtpm.log`. The port stays the same
//! from one start to the next, so that the TCTI string in a configuration stays true.

use crate::ports::free_ports;
use crate::wire::Wire;
use crate::{Firmware, Proxy, SimError};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// libtss2 leaves its sockets open across exec. An swtpm that inherited another test's connection
/// would keep it open for ever, so all but the standard streams are closed first.
const EXEC_WITHOUT_INHERITED_FILES: &str = r#"
for file in /proc/self/fd/*; do
    number=${file##*/}
    if (( number > 2 )); then eval "exec $number>&-"; fi
done
exec swtpm "$@"
"#;

/// A machine with a TPM 2.0. Dropping it kills swtpm, as if the plug were pulled; [`Sim::detach`]
/// leaves it running.
pub struct Sim {
    folder: PathBuf,
    port: u16,
    swtpm: Option<Child>,
}

impl Sim {
    /// Switches a machine on whose state is in `folder` (made new if absent) and boots it with
    /// [`Firmware::Good`].
    pub fn start(folder: &Path) -> Result<Self, SimError> {
        Self::start_with(folder, Firmware::Good)
    }

    /// As [`Sim::start`], booting `firmware`.
    pub fn start_with(folder: &Path, firmware: Firmware) -> Result<Self, SimError> {
        let at = |path: &Path| {
            let path = path.to_owned();
            move |source| SimError::State { path, source }
        };
        std::fs::create_dir_all(folder.join("tpm")).map_err(at(folder))?;
        // swtpm answers TPM_RC_FAILURE when its state path is relative.
        let folder = folder.canonicalize().map_err(at(folder))?;
        let port = match read_number(&folder.join("port")) {
            Some(port) => port,
            None => {
                // The TCTI wants the control channel at port + 1.
                let port = free_ports(2);
                let path = folder.join("port");
                std::fs::write(&path, port.to_string()).map_err(at(&path))?;
                port
            }
        };
        let mut sim = Self {
            folder,
            port,
            swtpm: None,
        };
        sim.boot(firmware)?;
        Ok(sim)
    }

    /// What `strongroom` is told: the address of this TPM.
    #[must_use]
    pub fn tcti(&self) -> String {
        tcti(self.port)
    }

    /// Switches the machine off and on again, with a measured boot of `firmware`. Whatever was in
    /// volatile memory is lost; nobody told the TPM that power would go (a power cut).
    pub fn boot(&mut self, firmware: Firmware) -> Result<(), SimError> {
        self.power_off();
        self.power_on()?;
        let mut wire = Wire::connect(self.port)?;
        firmware
            .events()
            .into_iter()
            .try_for_each(|(pcr, event)| wire.measure(pcr, event))
    }

    /// Pulls the plug.
    pub fn power_off(&mut self) {
        if let Some(mut swtpm) = self.swtpm.take() {
            // Both fail only if swtpm is gone already.
            let _ = swtpm.kill();
            let _ = swtpm.wait();
        }
        let _ = std::fs::remove_file(self.folder.join("pid"));
    }

    /// Clears the TPM, as the firmware's setup or somebody with physical presence would.
    pub fn clear(&self) -> Result<(), SimError> {
        Wire::connect(self.port)?.clear()
    }

    /// Guesses a password until the TPM's dictionary-attack lockout begins.
    pub fn lockout(&self) -> Result<(), SimError> {
        Wire::connect(self.port)?.lockout()
    }

    /// A proxy in front of this TPM; connect to [`Proxy::tcti`] instead.
    pub fn proxy(&self) -> Result<Proxy, SimError> {
        Proxy::start(self.port)
    }

    /// Lets swtpm run on after this process.
    pub fn detach(mut self) {
        self.swtpm = None;
    }

    fn power_on(&mut self) -> Result<(), SimError> {
        let log = self.folder.join("swtpm.log");
        let mut child = Command::new("bash")
            .args(["-c", EXEC_WITHOUT_INHERITED_FILES, "bash"])
            .args(["socket", "--tpm2", "--flags", "startup-clear"])
            .arg("--tpmstate")
            .arg(format!(
                "dir={},mode=0600",
                self.folder.join("tpm").display()
            ))
            .args([
                "--server",
                &format!("type=tcp,bindaddr=127.0.0.1,port={}", self.port),
            ])
            .args([
                "--ctrl",
                &format!("type=tcp,bindaddr=127.0.0.1,port={}", self.port + 1),
            ])
            .arg("--log")
            .arg(format!("file={},level=1,truncate", log.display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .map_err(SimError::Spawn)?;
        let deadline = Instant::now() + Duration::from_secs(20);
        // The control port is asked: a connection to the other would be the only one it takes.
        while TcpStream::connect(("127.0.0.1", self.port + 1)).is_err() {
            let ended = !matches!(child.try_wait(), Ok(None));
            if ended || Instant::now() > deadline {
                let _ = child.kill();
                let _ = child.wait();
                return Err(SimError::NotUp(log));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let path = self.folder.join("pid");
        std::fs::write(&path, child.id().to_string())
            .map_err(|source| SimError::State { path, source })?;
        self.swtpm = Some(child);
        Ok(())
    }
}

impl Drop for Sim {
    fn drop(&mut self) {
        if self.swtpm.is_some() {
            self.power_off();
        }
    }
}

/// A machine that another process left running in a folder: what the `hsm-sim` commands act on.
pub struct Detached {
    folder: PathBuf,
    port: u16,
}

impl Detached {
    /// The machine of `folder`, which is switched on.
    pub fn find(folder: &Path) -> Result<Self, SimError> {
        let off = || SimError::Off(folder.to_owned());
        let port = read_number(&folder.join("port")).ok_or_else(off)?;
        Ok(Self {
            folder: folder.to_owned(),
            port,
        })
    }
}

impl Detached {
    /// Pulls the plug, if swtpm still runs.
    pub fn power_off(&self) {
        let path = self.folder.join("pid");
        if let Some(pid) = read_number::<i32>(&path).filter(|pid| is_swtpm(*pid)) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            while is_swtpm(pid) {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        let _ = std::fs::remove_file(path);
    }

    /// As [`Sim::tcti`].
    #[must_use]
    pub fn tcti(&self) -> String {
        tcti(self.port)
    }

    /// As [`Sim::proxy`].
    pub fn proxy(&self) -> Result<Proxy, SimError> {
        Proxy::start(self.port)
    }

    /// As [`Sim::clear`].
    pub fn clear(&self) -> Result<(), SimError> {
        Wire::connect(self.port)?.clear()
    }

    /// As [`Sim::lockout`].
    pub fn lockout(&self) -> Result<(), SimError> {
        Wire::connect(self.port)?.lockout()
    }
}

pub(crate) fn tcti(port: u16) -> String {
    format!("swtpm:host=127.0.0.1,port={port}")
}

/// Whether `pid` is (still) an swtpm, not some other process that got the number later.
fn is_swtpm(pid: i32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == "swtpm")
        && !std::fs::read_to_string(format!("/proc/{pid}/stat"))
            .is_ok_and(|stat| stat.contains(") Z "))
}

fn read_number<N: std::str::FromStr>(path: &Path) -> Option<N> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}
