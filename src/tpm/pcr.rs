//! Platform configuration registers: what the machine booted, and the cap that ends unsealing.

use super::TpmError;
use super::device::Link;
use super::error::{code_of, explain};
use crate::id::Digest;
use serde::{Deserialize, Serialize};
use tss_esapi::handles::PcrHandle;
use tss_esapi::interface_types::algorithm::HashingAlgorithm;
use tss_esapi::structures::{DigestValues, PcrSelectionList, PcrSelectionListBuilder, PcrSlot};

/// One register of the SHA-256 bank.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PcrValue {
    /// Its number, 0 to 23.
    pub pcr: u8,
    /// Its value.
    pub value: Digest,
}

/// What the cap extends a register with; public, it only has to differ from "nothing".
const CAP: &[u8] = b"strongroom: the sealed secret was taken, the way is shut until the next boot";

/// PCR numbers in ascending order, each once, all of them valid.
pub(super) fn normalised(pcrs: &[u8]) -> Result<Vec<u8>, TpmError> {
    if let Some(&pcr) = pcrs.iter().find(|pcr| **pcr > 23) {
        return Err(TpmError::BadPcr {
            pcr,
            allowed: "0 to 23",
        });
    }
    let mut pcrs = pcrs.to_vec();
    pcrs.sort_unstable();
    pcrs.dedup();
    Ok(pcrs)
}

/// The TPM's form of a set of registers in the SHA-256 bank.
pub(super) fn selection(pcrs: &[u8]) -> Result<PcrSelectionList, TpmError> {
    let failed = |error| explain("select PCRs", code_of(error));
    let slots: Result<Vec<_>, _> = pcrs
        .iter()
        .map(|pcr| PcrSlot::try_from(1u32 << u32::from(*pcr)))
        .collect();
    let list = PcrSelectionListBuilder::new()
        .with_selection(HashingAlgorithm::Sha256, &slots.map_err(failed)?);
    list.build().map_err(failed)
}

/// The present values; `pcrs` is normalised. One read gives at most eight registers.
pub(super) fn read(link: &mut Link, pcrs: &[u8]) -> Result<Vec<PcrValue>, TpmError> {
    let doing = "read the PCRs";
    let mut values = Vec::with_capacity(pcrs.len());
    for some in pcrs.chunks(8) {
        let wanted = selection(some)?;
        let (_, given, digests) = link
            .device()?
            .plain(doing, |context| context.pcr_read(wanted.clone()))?;
        if given != wanted || digests.len() != some.len() {
            return Err(TpmError::Garbled { doing, code: 0 });
        }
        for (pcr, digest) in some.iter().zip(digests.value()) {
            let value = digest
                .value()
                .try_into()
                .map_err(|_| TpmError::Garbled { doing, code: 0 })?;
            values.push(PcrValue {
                pcr: *pcr,
                value: Digest(value),
            });
        }
    }
    Ok(values)
}

/// A register's value after [`cap`].
pub(super) fn capped(before: &Digest) -> Digest {
    Digest::of(&[before.0, Digest::of(CAP).0].concat())
}

/// Extends a register with [`CAP`].
pub(super) fn cap(link: &mut Link, pcr: u8) -> Result<(), TpmError> {
    if !matches!(pcr, 8..=16 | 23) {
        return Err(TpmError::BadPcr {
            pcr,
            allowed: "8 to 15 (16 and 23 for trials: root can reset them)",
        });
    }
    let doing = "cap a PCR";
    let failed = |error| explain(doing, code_of(error));
    let handle = PcrHandle::try_from(u32::from(pcr)).map_err(failed)?;
    let separator =
        tss_esapi::structures::Digest::try_from(Digest::of(CAP).0.as_slice()).map_err(failed)?;
    let mut values = DigestValues::new();
    values.set(HashingAlgorithm::Sha256, separator);
    link.device()?
        .guarded(doing, |context| context.pcr_extend(handle, values))
}
