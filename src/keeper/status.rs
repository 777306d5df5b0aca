//! How the box is, for people and machines. No address, no subject.

use super::core::{Core, CoreError, lock};
use super::protocol::Status;
use crate::time::Timestamp;
use std::path::Path;

/// Less free space than this share of the disk is worth a warning, in percent.
const LOW_SPACE: u64 = 10;

/// Takes stock.
pub fn status(core: &Core) -> Result<Status, CoreError> {
    let (ledger_size, checkpoint) = {
        let ledger = lock(&core.ledger);
        (
            ledger.tree().size(),
            ledger.checkpoint().is_some().then(|| ledger.last_time()),
        )
    };
    let mut warnings = core.warnings();
    let counter = match lock(&core.tpm).position() {
        Ok(position) => position.counter,
        Err(error) => {
            warnings.push(format!("the TPM does not answer: {error}"));
            0
        }
    };
    let (disk_used, disk_size) = disk(core.data.path()).unwrap_or((0, 0));
    if disk_size > 0 && (disk_size - disk_used) * 100 < disk_size * LOW_SPACE {
        warnings.push(format!(
            "less than {LOW_SPACE} % of the disk is free: add space before archiving stops"
        ));
    }
    let (spooled, oldest_spooled) = spool(core);
    let mut escrowed_keys = 0;
    for tenant in core.tenants() {
        escrowed_keys += core.escrow(tenant)?.list().len() as u64;
    }
    Ok(Status {
        box_id: core.box_id().to_string(),
        state: "open".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
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
        warnings,
    })
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
