//! How the box is, for people and machines. No address, no subject.

use super::core::{Core, CoreError, lock};
use super::protocol::Status;
use crate::boxfiles::{LEDGER, RUN, TRANSCRIPTS, VAULT};
use crate::time::Timestamp;
use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

/// Less free space than this share of the disk is worth a warning, in percent.
const LOW_SPACE: u64 = 10;

/// Folders of the data folder that grow.
const WRITTEN: [&str; 8] = [
    LEDGER,
    VAULT,
    "escrow",
    "catalog",
    "search",
    "cases",
    TRANSCRIPTS,
    RUN,
];

/// How long the TPM may take to tell its counter.
const TPM_TIME: Duration = Duration::from_secs(5);
const NO_TPM: &str = "the TPM does not answer (the log of `strongroom serve` says why): mail is archived, but no checkpoint is signed, \
     and the box cannot be opened again after a stop";
/// The ledger's last time may be so many seconds ahead of the clock before it is worth a warning.
const CLOCK_AHEAD: u64 = 24 * 3600;

/// Takes stock.
pub fn status(core: &Core) -> Result<Status, CoreError> {
    let (ledger_size, checkpoint, last_time) = {
        let ledger = lock(&core.ledger);
        (
            ledger.tree().size(),
            ledger.checkpoint().is_some().then(|| ledger.last_time()),
            ledger.last_time(),
        )
    };
    let mut warnings = core.warnings();
    let intake = core.data.state().and_then(|state| state.intake);
    warnings.extend(
        intake
            .as_ref()
            .map(|why| format!("no mail is taken in: {why}")),
    );
    warnings.extend(clock_warning(last_time, core.clock.now()));
    let counter = counter(core);
    if counter.is_none() {
        warnings.push(NO_TPM.to_owned());
    }
    let (disk_used, disk_size) = disk(core.data.path()).unwrap_or((0, 0));
    warnings.extend(full_disks(&folders(core)));
    let (spooled, oldest_spooled) = spool(core);
    let mut escrowed_keys = 0;
    for tenant in core.tenants() {
        escrowed_keys += core.escrow(tenant)?.list().len() as u64;
    }
    Ok(Status {
        box_id: core.box_id().to_string(),
        state: "open".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        policy: core.policy.digest(),
        records: core.records(),
        waiting: core.worklist()?.iter().map(|waiting| waiting.mails).sum(),
        ledger_size,
        checkpoint,
        spooled,
        oldest_spooled,
        escrowed_keys,
        counter,
        disk_used,
        disk_size,
        intake,
        warnings,
    })
}

/// Where the TPM's counter stands, if the TPM says so in time: one that hangs must not keep the rest from being told.
fn counter(core: &Core) -> Option<u64> {
    let (tpm, deadline) = (Arc::clone(&core.tpm), Instant::now() + TPM_TIME);
    let (sender, answer) = channel();
    std::thread::Builder::new()
        .spawn(move || {
            while Instant::now() < deadline {
                if let Ok(mut tpm) = tpm.try_lock() {
                    let _ = sender.send(tpm.position());
                    return;
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        })
        .ok()?;
    let position = answer.recv_timeout(TPM_TIME).ok()?.ok()?;
    Some(position.counter)
}

/// Times in the ledger only grow, so a clock that was ahead once makes all later entries as late as it was.
fn clock_warning(last: Timestamp, now: Timestamp) -> Option<String> {
    (last > now.plus_seconds(CLOCK_AHEAD)).then(|| {
        format!(
            "the ledger's last entry is of {last}, and this machine's clock says {now}: the clock was ahead, or is behind now. \
             Entries keep the later time until the clock is there; set the clock, and note the days concerned for your auditors"
        )
    })
}

/// Every folder that the box writes to, and that may be a disk of its own.
fn folders(core: &Core) -> Vec<PathBuf> {
    let mut all = vec![core.data.path().to_owned()];
    all.extend(WRITTEN.map(|name| core.data.join(name)));
    for tenant in core.tenants() {
        all.extend([VAULT, "escrow"].map(|name| core.data.join(name).join(tenant.as_str())));
    }
    let spool = core.data.config().map(|config| config.spool.folders);
    all.extend(
        spool
            .into_iter()
            .flatten()
            .map(|folder| core.data.join(folder)),
    );
    all
}

/// A warning for each disk below these folders that has little space, named by the first folder on it.
fn full_disks(folders: &[PathBuf]) -> Vec<String> {
    let (mut seen, mut warnings) = (BTreeSet::new(), Vec::new());
    for folder in folders {
        let Ok(about) = folder.metadata() else {
            continue;
        };
        if !seen.insert(about.dev()) {
            continue;
        }
        let (used, size) = disk(folder).unwrap_or((0, 0));
        if (size - used) * 100 < size * LOW_SPACE {
            warnings.push(format!(
                "less than {LOW_SPACE} % of the disk of {} is free: add space before the box stops there",
                folder.display()
            ));
        }
    }
    warnings
}

fn disk(folder: &Path) -> Option<(u64, u64)> {
    let stat = nix::sys::statvfs::statvfs(folder).ok()?;
    let unit = stat.fragment_size();
    let size = stat.blocks() * unit;
    Some((size - stat.blocks_available() * unit, size))
}

/// Bytes in the spool that are not archived yet, and since when.
fn spool(core: &Core) -> (u64, Option<Timestamp>) {
    let folders = core
        .data
        .config()
        .map(|config| config.spool.folders)
        .unwrap_or_default();
    let Some(first) = folders.first() else {
        return (0, None);
    };
    let entries = std::fs::read_dir(core.data.join(first))
        .into_iter()
        .flatten()
        .flatten();
    let files: Vec<_> = entries
        .filter_map(|entry| entry.metadata().ok())
        .filter(std::fs::Metadata::is_file)
        .collect();
    let bytes = files.iter().map(std::fs::Metadata::len).sum();
    let oldest = files.iter().filter_map(|file| file.modified().ok()).min();
    let oldest = oldest
        .and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok())
        .map(|since| Timestamp(u64::try_from(since.as_millis()).unwrap_or(0)));
    (bytes, oldest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ledger_more_than_a_day_ahead_of_the_clock_is_worth_a_warning() {
        let now = Timestamp::from_seconds(1_700_000_000);
        assert_eq!(clock_warning(now.plus_seconds(CLOCK_AHEAD), now), None);
        let far = clock_warning(now.plus_seconds(CLOCK_AHEAD + 1), now).expect("a warning");
        assert!(
            far.contains("2023-11-15") && far.contains("2023-11-14"),
            "{far}"
        );
        assert_eq!(clock_warning(Timestamp(0), now), None);
    }
}
