//! What the TPM itself remembers: two anchor slots, a counter, and an index that absorbs.
//!
//! All indices lie in the owner's range, are read and written with the authorisation value given at
//! their making, and stand outside the dictionary-attack logic (noDA): a power cut must never count
//! as a wrong guess. Only the owner authorisation deletes them.
//!
//! | index | holds |
//! |---|---|
//! | 0x01805301, 0x01805302 | anchor slots A and B, 32 bytes each |
//! | 0x01805303 | the counter, 8 bytes, big-endian |
//! | 0x01805304 | the absorbing index, SHA-256(old ‖ given), 32 bytes |

use super::TpmError;
use super::device::{Device, Link, auth_value};
use super::error::{code_of, explain, tpm_code};
use crate::secret::Key;
use serde::{Deserialize, Serialize};
use tss_esapi::Context;
use tss_esapi::attributes::NvIndexAttributesBuilder;
use tss_esapi::constants::NvIndexType;
use tss_esapi::constants::tss::{TPM2_RC_HANDLE, TPM2_RC_NV_DEFINED, TPM2_RC_NV_UNINITIALIZED};
use tss_esapi::handles::{NvIndexHandle, NvIndexTpmHandle, ObjectHandle, TpmHandle};
use tss_esapi::interface_types::algorithm::HashingAlgorithm;
use tss_esapi::interface_types::resource_handles::{NvAuth, Provision};
use tss_esapi::structures::{MaxNvBuffer, NvPublic, NvPublicBuilder};

/// One of the two anchor slots. A new anchor goes into the slot that is empty; the other is zeroed
/// once nothing needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Slot {
    /// Index 0x01805301.
    A,
    /// Index 0x01805302.
    B,
}

impl Slot {
    /// The slot that is not this one.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    const fn index(self) -> &'static Index {
        match self {
            Self::A => &ANCHOR_A,
            Self::B => &ANCHOR_B,
        }
    }
}

/// A place in the TPM's memory.
pub(super) struct Index {
    pub(super) handle: u32,
    what: &'static str,
    kind: NvIndexType,
    bytes: u16,
}

const ANCHOR_A: Index = Index {
    handle: 0x0180_5301,
    what: "anchor slot A",
    kind: NvIndexType::Ordinary,
    bytes: 32,
};
const ANCHOR_B: Index = Index {
    handle: 0x0180_5302,
    what: "anchor slot B",
    kind: NvIndexType::Ordinary,
    bytes: 32,
};
pub(super) const COUNTER: Index = Index {
    handle: 0x0180_5303,
    what: "ledger counter",
    kind: NvIndexType::Counter,
    bytes: 8,
};
pub(super) const ABSORBER: Index = Index {
    handle: 0x0180_5304,
    what: "absorbing index",
    kind: NvIndexType::Extend,
    bytes: 32,
};

/// Makes both anchor slots.
pub(super) fn define_anchor_slots(
    link: &mut Link,
    owner: &Key,
    auth: &Key,
) -> Result<(), TpmError> {
    define(link, &ANCHOR_A, owner, auth)?;
    define(link, &ANCHOR_B, owner, auth)
}

/// The anchor in a slot; `None` if the slot was never written, or zeroed.
pub(super) fn read_anchor(
    link: &mut Link,
    slot: Slot,
    auth: &Key,
) -> Result<Option<Key>, TpmError> {
    let anchor = read(link, slot.index(), auth)?;
    Ok(anchor
        .filter(|bytes| bytes.iter().any(|byte| *byte != 0))
        .and_then(|bytes| Key::from_slice(&bytes)))
}

/// Writes 32 bytes into a slot.
pub(super) fn write_anchor(
    link: &mut Link,
    slot: Slot,
    auth: &Key,
    bytes: &[u8; 32],
) -> Result<(), TpmError> {
    let data = MaxNvBuffer::try_from(bytes.as_slice())
        .map_err(|error| explain("write an anchor slot", code_of(error)))?;
    with_index(
        link,
        slot.index(),
        auth,
        "write an anchor slot",
        |context, index| context.nv_write(NvAuth::NvIndex(index), index, data, 0),
    )
}

/// Makes the counter and steps it once, since one that never stepped cannot be read. It begins
/// above every counter that this TPM ever had.
pub(super) fn define_counter(link: &mut Link, owner: &Key, auth: &Key) -> Result<u64, TpmError> {
    define(link, &COUNTER, owner, auth)?;
    increment_counter(link, auth)
}

/// Steps the counter; its new value.
pub(super) fn increment_counter(link: &mut Link, auth: &Key) -> Result<u64, TpmError> {
    with_index(
        link,
        &COUNTER,
        auth,
        "step the counter",
        |context, index| context.nv_increment(NvAuth::NvIndex(index), index),
    )?;
    read_counter(link, auth)
}

/// The counter's value.
pub(super) fn read_counter(link: &mut Link, auth: &Key) -> Result<u64, TpmError> {
    let garbled = TpmError::Garbled {
        doing: "read the counter",
        code: 0,
    };
    let bytes = read(link, &COUNTER, auth)?.ok_or(TpmError::NvMissing {
        what: COUNTER.what,
        code: 0,
    })?;
    bytes
        .as_slice()
        .try_into()
        .map(u64::from_be_bytes)
        .map_err(|_| garbled)
}

/// Makes the absorbing index.
pub(super) fn define_absorber(link: &mut Link, owner: &Key, auth: &Key) -> Result<(), TpmError> {
    define(link, &ABSORBER, owner, auth)
}

/// The absorbing index's value; zeros before anything was absorbed.
pub(super) fn read_absorber(link: &mut Link, auth: &Key) -> Result<[u8; 32], TpmError> {
    let bytes = read(link, &ABSORBER, auth)?.unwrap_or_else(|| vec![0; 32].into());
    bytes.as_slice().try_into().map_err(|_| TpmError::Garbled {
        doing: "read the absorbing index",
        code: 0,
    })
}

/// Absorbs 32 bytes: value := SHA-256(value ‖ bytes).
pub(super) fn absorb(link: &mut Link, auth: &Key, bytes: &[u8; 32]) -> Result<(), TpmError> {
    let doing = "absorb a checkpoint";
    let auth = auth_value(auth)?;
    let mut raw = link.raw(doing)?;
    raw.nv_extend(ABSORBER.handle, &auth, bytes)
        .map_err(|code| not_there(&ABSORBER, doing, code))
}

/// Deletes every index of ours that exists.
pub(super) fn undefine_all(link: &mut Link, owner: &Key) -> Result<(), TpmError> {
    for index in [&ANCHOR_A, &ANCHOR_B, &COUNTER, &ABSORBER] {
        let device = link.device()?;
        match device.open_index(index, "delete an NV index") {
            Ok(handle) => device.as_owner("delete an NV index", owner, |context| {
                context.nv_undefine_space(Provision::Owner, handle)
            })?,
            Err(TpmError::NvMissing { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn define(link: &mut Link, index: &Index, owner: &Key, auth: &Key) -> Result<(), TpmError> {
    let doing = "make an NV index";
    let public = index
        .public()
        .map_err(|error| explain(doing, code_of(error)))?;
    let auth = auth_value(auth)?;
    let device = link.device()?;
    let defined = device.as_owner(doing, owner, |context| {
        let mut handle =
            ObjectHandle::from(context.nv_define_space(Provision::Owner, Some(auth), public)?);
        context.tr_close(&mut handle)
    });
    defined.map_err(|error| match error {
        TpmError::Refused { code, .. } if tpm_code(code) == Some(TPM2_RC_NV_DEFINED) => {
            TpmError::NvExists {
                what: index.what,
                code,
            }
        }
        other => other,
    })
}

/// The content; `None` if nothing was ever written.
fn read(
    link: &mut Link,
    index: &Index,
    auth: &Key,
) -> Result<Option<zeroize::Zeroizing<Vec<u8>>>, TpmError> {
    let doing = "read an NV index";
    let content = with_index(link, index, auth, doing, |context, handle| {
        match context.nv_read(NvAuth::NvIndex(handle), handle, index.bytes, 0) {
            Err(error) if tpm_code(code_of(error)) == Some(TPM2_RC_NV_UNINITIALIZED) => Ok(None),
            other => other.map(Some),
        }
    })?;
    match content {
        Some(bytes) if bytes.value().len() != usize::from(index.bytes) => {
            Err(TpmError::Garbled { doing, code: 0 })
        }
        Some(bytes) => Ok(Some(zeroize::Zeroizing::new(bytes.value().to_vec()))),
        None => Ok(None),
    }
}

/// Runs `call` on an index with its authorisation value, in the salted session.
fn with_index<T>(
    link: &mut Link,
    index: &Index,
    auth: &Key,
    doing: &'static str,
    call: impl FnOnce(&mut Context, NvIndexHandle) -> tss_esapi::Result<T>,
) -> Result<T, TpmError> {
    let auth = auth_value(auth)?;
    let device = link.device()?;
    let handle = device.open_index(index, doing)?;
    device.guarded(doing, |context| {
        let mut object = ObjectHandle::from(handle);
        context.tr_set_auth(object, auth)?;
        let result = call(context, handle);
        context.tr_close(&mut object)?;
        result
    })
}

impl Device {
    fn open_index(
        &mut self,
        index: &Index,
        doing: &'static str,
    ) -> Result<NvIndexHandle, TpmError> {
        // A cleared TPM is to be called that, not "an index is missing".
        self.srk()?;
        let found = NvIndexTpmHandle::new(index.handle).and_then(|handle| {
            self.context.execute_without_session(|context| {
                context.tr_from_tpm_public(TpmHandle::NvIndex(handle))
            })
        });
        found
            .map(NvIndexHandle::from)
            .map_err(|error| not_there(index, doing, code_of(error)))
    }
}

fn not_there(index: &Index, doing: &'static str, code: u32) -> TpmError {
    match tpm_code(code) {
        Some(TPM2_RC_HANDLE) => TpmError::NvMissing {
            what: index.what,
            code,
        },
        _ => explain(doing, code),
    }
}

impl Index {
    fn public(&self) -> tss_esapi::Result<NvPublic> {
        let attributes = NvIndexAttributesBuilder::new()
            .with_auth_read(true)
            .with_auth_write(true)
            .with_no_da(true)
            .with_nv_index_type(self.kind);
        NvPublicBuilder::new()
            .with_nv_index(NvIndexTpmHandle::new(self.handle)?)
            .with_index_name_algorithm(HashingAlgorithm::Sha256)
            .with_index_attributes(attributes.build()?)
            .with_data_area_size(usize::from(self.bytes))
            .build()
    }
}
