//! A connection to the TPM, the session that protects what passes over it, and the storage root key.
//!
//! Commands run in one HMAC session salted to the storage root key, with parameter encryption both
//! ways (AES-128 CFB, which every TPM 2.0 has): no secret and no authorisation value crosses the bus
//! in the clear. The key's name is compared with the pinned one before anything is said to it.

use super::error::{code_of, explain, tpm_code};
use super::raw::{RawConnection, close_on_exec};
use super::{SrkName, TpmError};
use crate::secret::Key;
use std::str::FromStr;
use tss_esapi::Context;
use tss_esapi::attributes::SessionAttributesBuilder;
use tss_esapi::constants::tss::{
    TPM2_LOADED_SESSION_FIRST, TPM2_RC_HANDLE, TPM2_RC_INITIALIZE, TPM2_TRANSIENT_FIRST,
};
use tss_esapi::constants::{CapabilityType, SessionType, StartupType};
use tss_esapi::handles::{KeyHandle, ObjectHandle, PersistentTpmHandle, TpmHandle};
use tss_esapi::interface_types::algorithm::HashingAlgorithm;
use tss_esapi::interface_types::session_handles::AuthSession;
use tss_esapi::structures::{Auth, CapabilityData, SymmetricDefinition};
use tss_esapi::tcti_ldr::TctiNameConf;

/// Where the storage root key lies (TCG TPM v2.0 Provisioning Guidance, 7.5.1).
pub(super) const SRK_HANDLE: u32 = 0x8100_0001;

/// The way to the TPM: a connection that is made when it is needed.
pub(super) struct Link {
    tcti: String,
    pinned: Option<SrkName>,
    device: Option<Device>,
}

impl Link {
    pub(super) fn new(tcti: String, pinned: Option<SrkName>) -> Self {
        Self {
            tcti,
            pinned,
            device: None,
        }
    }

    /// The open connection.
    pub(super) fn device(&mut self) -> Result<&mut Device, TpmError> {
        let device = match self.device.take() {
            Some(device) => device,
            None => Device::connect(&self.tcti, self.pinned.clone())?,
        };
        Ok(self.device.insert(device))
    }

    /// A connection for the commands that tss-esapi lacks. The ordinary one is closed for it, since
    /// a TPM without resource manager takes one connection only.
    pub(super) fn raw(&mut self, doing: &'static str) -> Result<RawConnection, TpmError> {
        self.device()?.srk()?;
        self.disconnect();
        let pinned = self.pinned.as_ref().ok_or(TpmError::NotPinned)?;
        RawConnection::open(&self.tcti, pinned).map_err(|code| explain(doing, code))
    }

    /// Accepts only this storage root key from now on.
    pub(super) fn pin(&mut self, name: SrkName) {
        self.pinned = Some(name);
        self.disconnect();
    }

    pub(super) fn disconnect(&mut self) {
        self.device = None;
    }
}

/// An open connection with what is loaded behind it.
pub(super) struct Device {
    pub(super) context: Context,
    pinned: Option<SrkName>,
    srk: Option<KeyHandle>,
    session: Option<AuthSession>,
    /// The signing key that is loaded, found again by its private blob.
    pub(super) signer: Option<(Vec<u8>, KeyHandle)>,
}

impl Device {
    fn connect(tcti: &str, pinned: Option<SrkName>) -> Result<Self, TpmError> {
        let config =
            TctiNameConf::from_str(tcti).map_err(|_| TpmError::BadAddress(tcti.to_owned()))?;
        let missing = |error| TpmError::Missing {
            tcti: tcti.to_owned(),
            code: code_of(error),
        };
        let mut context = Context::new(config).map_err(missing)?;
        close_on_exec(tcti);
        match context.startup(StartupType::Clear) {
            Ok(()) => {}
            Err(error) if tpm_code(code_of(error)) == Some(TPM2_RC_INITIALIZE) => {} // it runs already
            Err(error) => return Err(explain("start", code_of(error))),
        }
        let mut device = Self {
            context,
            pinned,
            srk: None,
            session: None,
            signer: None,
        };
        device.flush_leftovers();
        Ok(device)
    }

    /// Frees what a broken connection of ours left loaded. Behind a resource manager there is never
    /// anything; without one there is room for three objects only.
    fn flush_leftovers(&mut self) {
        for first in [TPM2_TRANSIENT_FIRST, TPM2_LOADED_SESSION_FIRST] {
            let listed = self
                .context
                .get_capability(CapabilityType::Handles, first, 32);
            let Ok((CapabilityData::Handles(handles), _)) = listed else {
                continue;
            };
            for handle in handles.into_inner() {
                if let Ok(handle) = self.context.tr_from_tpm_public(handle) {
                    // What cannot be flushed is in nobody's way.
                    let _ = self.context.flush_context(handle);
                }
            }
        }
    }

    /// Runs `call` without a session.
    pub(super) fn plain<T>(
        &mut self,
        doing: &'static str,
        call: impl FnOnce(&mut Context) -> tss_esapi::Result<T>,
    ) -> Result<T, TpmError> {
        self.context
            .execute_without_session(call)
            .map_err(|error| explain(doing, code_of(error)))
    }

    /// Runs `call` in the salted session.
    pub(super) fn guarded<T>(
        &mut self,
        doing: &'static str,
        call: impl FnOnce(&mut Context) -> tss_esapi::Result<T>,
    ) -> Result<T, TpmError> {
        self.guarded_coded(call)?
            .map_err(|code| explain(doing, code))
    }

    /// As [`Device::guarded`], for callers that look at the code themselves.
    pub(super) fn guarded_coded<T>(
        &mut self,
        call: impl FnOnce(&mut Context) -> tss_esapi::Result<T>,
    ) -> Result<Result<T, u32>, TpmError> {
        let session = self.session()?;
        Ok(self
            .context
            .execute_with_session(Some(session), call)
            .map_err(code_of))
    }

    /// Runs `call` in the salted session, with `auth` as the owner's authorisation value.
    pub(super) fn as_owner<T>(
        &mut self,
        doing: &'static str,
        auth: &Key,
        call: impl FnOnce(&mut Context) -> tss_esapi::Result<T>,
    ) -> Result<T, TpmError> {
        let auth = auth_value(auth)?;
        self.guarded(doing, |context| {
            context.tr_set_auth(ObjectHandle::Owner, auth)?;
            let result = call(context);
            context.tr_set_auth(ObjectHandle::Owner, Auth::default())?;
            result
        })
    }

    /// The storage root key, which is the pinned one.
    pub(super) fn srk(&mut self) -> Result<KeyHandle, TpmError> {
        if let Some(srk) = self.srk {
            return Ok(srk);
        }
        let pinned = self.pinned.clone().ok_or(TpmError::NotPinned)?;
        let (handle, name) = self.persistent_srk()?.ok_or(TpmError::Cleared)?;
        if name != pinned {
            return Err(TpmError::OtherTpm);
        }
        self.srk = Some(handle);
        Ok(handle)
    }

    /// Whatever key lies where the storage root key belongs, with its name.
    pub(super) fn persistent_srk(&mut self) -> Result<Option<(KeyHandle, SrkName)>, TpmError> {
        let doing = "look for the storage root key";
        let handle =
            PersistentTpmHandle::new(SRK_HANDLE).map_err(|error| explain(doing, code_of(error)))?;
        let found = self.context.execute_without_session(|context| {
            let handle = context.tr_from_tpm_public(TpmHandle::Persistent(handle))?;
            Ok((KeyHandle::from(handle), context.tr_get_name(handle)?))
        });
        match found {
            Ok((handle, name)) => Ok(Some((handle, SrkName::new(name.value())))),
            Err(error) if tpm_code(code_of(error)) == Some(TPM2_RC_HANDLE) => Ok(None),
            Err(error) => Err(explain(doing, code_of(error))),
        }
    }

    /// The salted session of this connection.
    fn session(&mut self) -> Result<AuthSession, TpmError> {
        if let Some(session) = self.session {
            return Ok(session);
        }
        let session = self.start_session(SessionType::Hmac)?;
        self.session = Some(session);
        Ok(session)
    }

    /// A new session, salted to the storage root key, that encrypts parameters both ways.
    pub(super) fn start_session(&mut self, kind: SessionType) -> Result<AuthSession, TpmError> {
        let srk = self.srk()?;
        let doing = "start a protected session";
        self.plain(doing, |context| {
            let (aes, sha) = (SymmetricDefinition::AES_128_CFB, HashingAlgorithm::Sha256);
            let Some(session) =
                context.start_auth_session(Some(srk), None, None, kind, aes, sha)?
            else {
                return Ok(None);
            };
            let attributes = SessionAttributesBuilder::new()
                .with_continue_session(true)
                .with_decrypt(true)
                .with_encrypt(true);
            let (attributes, mask) = attributes.build();
            context.tr_sess_set_attributes(session, attributes, mask)?;
            Ok(Some(session))
        })?
        .ok_or(TpmError::Garbled { doing, code: 0 })
    }
}

/// A key as authorisation value. The TPM ignores zeros at the end (Part 1, 19.6.5), so both sides
/// must.
pub(super) fn auth_value(key: &Key) -> Result<Auth, TpmError> {
    let bytes = key.expose();
    let length = bytes
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |last| last + 1);
    Auth::try_from(&bytes[..length])
        .map_err(|error| explain("take an authorisation value", code_of(error)))
}

/// 32 bytes from the TPM, encrypted on their way once there is a key to salt a session to.
pub(super) fn random(link: &mut Link) -> Result<Key, TpmError> {
    let doing = "give random bytes";
    let device = link.device()?;
    let ask = |context: &mut Context| context.get_random(32);
    let bytes = if device.pinned.is_some() {
        device.guarded(doing, ask)
    } else {
        device.plain(doing, ask)
    }?;
    Key::from_slice(bytes.value()).ok_or(TpmError::Garbled { doing, code: 0 })
}
