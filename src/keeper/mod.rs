//! The keeper: the only process that holds opened keys. It archives, discloses and answers.
//!
//! [`core`] is the opened box; [`archiving`] fills it from the spool; [`server`] answers requests, through
//! [`reading`], [`access`], [`case_requests`], [`release`], [`escrowing`], [`verify`], [`backup`]; [`heartbeat`] does what is done by the clock.

mod access;
pub mod archiving;
mod backup;
mod blind_copies;
mod case_requests;
pub mod cases;
pub mod core;
mod detail;
mod error;
mod escrow_store;
mod escrowing;
mod heartbeat;
mod indexer;
pub mod job;
pub mod manifest;
mod missing;
mod opening;
mod packing;
pub mod people;
mod pipes;
mod places;
mod policy_change;
pub mod pool;
mod proof;
pub mod protocol;
mod reading;
mod release;
mod reopen;
mod replay;
pub mod rights;
mod rollback;
mod server;
mod spool_keys;
mod status;
mod store;
mod transcripts;
mod troubles;
mod trust;
mod trust_watch;
mod verify;
mod verify_files;
mod view;

pub use policy_change::PolicySubject;
pub use proof::ReleaseProof;
pub use release::{Receipt, ReleasedMail, WithheldMail};

use self::core::{Core, CoreError};
use crate::boxfiles::{BoxConfig, DataFolder};
use crate::durable;
use crate::intake::spool::SpoolReader;
use crate::sandbox;
use crate::secret::Key;
use crate::time::SystemClock;
use crate::tpm_link::TpmLink;
use archiving::Archiver;
use archiving::opener::Openers;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::unistd::Pid;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};
use troubles::Work;
use zeroize::Zeroizing;

/// Exit status where the box must not start normally; the parent does not restart the keeper then.
pub const REFUSED: u8 = 3;
/// Exit status where another policy came into force: whatever works by the old one begins anew.
pub const POLICY_REPLACED: u8 = 4;
/// Exit status where the next keeper makes catalog and search anew.
pub const REBUILDING: u8 = 5;
/// Why the keeper ended, below the data folder; absent while it has not failed.
pub const FAILURE: &str = "run/failure";
/// Where the keeper is asked, below the data folder.
const SOCKET: &str = "run/keeper.sock";

/// How long a stop waits for the last step of the TPM's counter. Behind that the step is as one that a power cut stopped.
const LAST_STEP: Duration = Duration::from_secs(8);

/// Why the keeper ended in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It was told to.
    Stopped,
    /// Another policy came into force.
    PolicyReplaced,
    /// Catalog and search are to be made anew.
    Rebuilding,
}

/// Runs the keeper until SIGTERM. Standard input is the socket pair to the parent.
pub fn run(data: &Path) -> Result<Ended, CoreError> {
    sandbox::no_dumps().map_err(io::Error::other)?;
    sandbox::die_with_parent().map_err(io::Error::other)?;
    if let Err(error) = sandbox::lock_memory() {
        tracing::warn!(%error, "memory is not locked: secrets could reach swap");
    }
    let (opened, stopped) = watch_stops()?;
    let mut parent = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let candidates = read_secrets(&mut parent)?;
    let data = DataFolder::open(data)?;
    let _only_one = data.lock_keeper()?;
    let config = data.config()?;
    let core = Core::open(
        data,
        candidates,
        TpmLink::new(parent),
        Arc::new(SystemClock),
    )?;
    let tenants: Vec<_> = core.tenants().collect();
    let astray = config.intake.astray(&tenants);
    astray.iter().for_each(|one| tracing::warn!("{one}"));
    core.troubles.set_all(Work::Domains, astray);
    let _ = std::fs::remove_file(core.data.join(FAILURE));
    let stop = Arc::new(AtomicBool::new(false));
    let (new_keys, waiting) = channel();
    for keys in reopen::known_keys(&core)? {
        let _ = new_keys.send(keys);
    }
    server::listen(&core, &core.data.join(SOCKET), &new_keys)?;
    let told = new_keys.clone();
    let archiving = spawn(&core, &stop, move |core, stop| {
        archive(core, &config, stop, new_keys)
    });
    let heart = spawn(&core, &stop, move |core, stop| {
        heartbeat::run(&core, &stop, &told)
    });
    spawn(&core, &stop, move |core, _| reopen::run(&core, &waiting));
    tracing::info!("the archive is open");
    opened.store(true, Ordering::SeqCst);
    let _ = stopped.recv();
    stop.store(true, Ordering::SeqCst);
    let told = Instant::now();
    let _ = archiving.join();
    while !heart.is_finished() && told.elapsed() < LAST_STEP {
        std::thread::sleep(Duration::from_millis(20));
    }
    if !heart.is_finished() {
        tracing::error!("the TPM does not answer: the counter step of this stop is given up");
    }
    core.index_all();
    core.catalog().flush()?;
    Ok(if core.is_policy_replaced() {
        Ended::PolicyReplaced
    } else if core.is_to_rebuild() {
        Ended::Rebuilding
    } else {
        Ended::Stopped
    })
}

/// Blocks the stop signals in all threads. Until the flag is set, the first one ends the process at once: opening may wait for
/// a TPM that hangs, or catch up for hours, and what a power cut may stop in it this may too. Later ones come by the channel.
fn watch_stops() -> io::Result<(Arc<AtomicBool>, Receiver<()>)> {
    let stops = SigSet::from_iter([Signal::SIGTERM, Signal::SIGINT]);
    stops.thread_block()?;
    let ((sender, stopped), opened) = (channel(), Arc::new(AtomicBool::new(false)));
    let flag = Arc::clone(&opened);
    std::thread::Builder::new().spawn(move || {
        while stops.wait().is_ok() {
            if !flag.load(Ordering::SeqCst) {
                tracing::info!("stopped while the archive was being opened");
                let _ = kill(Pid::this(), Signal::SIGKILL);
            }
            let _ = sender.send(());
        }
    })?;
    Ok((opened, stopped))
}

/// Ends the process where catalog or search did not take what the ledger has (both are derived, and the next keeper
/// catches up from the ledger), or where no worker can be started. The parent starts the next one.
fn begin_anew(data: &Path, error: &dyn std::fmt::Display) -> ! {
    tracing::error!(%error, "the keeper cannot go on and begins anew");
    let _ = durable::replace(&data.join(FAILURE), error.to_string().as_bytes());
    std::process::exit(1)
}

/// Does work that the box cannot do without: where it dies, a new keeper takes it up.
fn or_begin_anew(data: &Path, work: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(work)).is_err() {
        begin_anew(
            data,
            &"one of its threads died; the log of `strongroom serve` says why",
        );
    }
}

fn spawn(
    core: &Arc<Core>,
    stop: &Arc<AtomicBool>,
    work: impl FnOnce(Arc<Core>, Arc<AtomicBool>) + Send + 'static,
) -> std::thread::JoinHandle<()> {
    let (core, stop) = (Arc::clone(core), Arc::clone(stop));
    std::thread::spawn(move || {
        let data = core.data.clone();
        or_begin_anew(data.path(), || work(core, stop));
    })
}

fn archive(
    core: Arc<Core>,
    config: &BoxConfig,
    stop: Arc<AtomicBool>,
    new_keys: Sender<reopen::NewKeys>,
) {
    let folders = config
        .spool
        .folders
        .iter()
        .map(|folder| core.data.join(folder))
        .collect();
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    let count = config.workers.count.map_or(cores, usize::from);
    let keys: Arc<dyn archiving::opener::TenantKeys> = Arc::clone(&core) as _;
    let openers = Openers::start(count, &core.setup, &keys, core.data.path());
    Archiver::new(core, openers, stop, new_keys).run(SpoolReader::new(folders));
}

/// The parent's first frame: a count, and two keys.
fn read_secrets(parent: &mut UnixStream) -> io::Result<Vec<Key>> {
    let mut frame = Zeroizing::new([0u8; 65]);
    parent.read_exact(frame.as_mut_slice())?;
    let count = usize::from(frame[0]).min(2);
    Ok(frame[1..]
        .chunks_exact(32)
        .take(count)
        .filter_map(Key::from_slice)
        .collect())
}
