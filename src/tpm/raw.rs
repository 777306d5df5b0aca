//! The commands that tss-esapi 7.7 lacks, called through libtss2-esys directly. This is the only
//! place with `unsafe` in `tpm/`; it has its own connection, open for one command at a time.
#![allow(unsafe_code)]

use super::SrkName;
use super::device::SRK_HANDLE;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use std::ffi::CString;
use std::net::{Shutdown, TcpStream};
use std::os::fd::{BorrowedFd, RawFd};
use std::path::Path;
use std::ptr::{null, null_mut};
use tss_esapi::constants::tss::{
    TPM2_ALG_SHA256, TPM2_SE_HMAC, TPMA_SESSION_CONTINUESESSION, TPMA_SESSION_DECRYPT,
    TPMA_SESSION_ENCRYPT,
};
use tss_esapi::structures::{Auth, MaxNvBuffer, SymmetricDefinition};
use tss_esapi_sys as sys;
use zeroize::Zeroize;

/// A code made by us in the place of the library: "malformed answer" of the ESYS layer.
const MALFORMED: u32 = 7 << 16 | 13;
const NONE: sys::ESYS_TR = sys::ESYS_TR_NONE;
const LOCKOUT: sys::ESYS_TR = sys::ESYS_TR_RH_LOCKOUT;

/// A connection with one salted session. All errors are the library's codes.
pub(super) struct RawConnection {
    tcti: *mut sys::TSS2_TCTI_CONTEXT,
    esys: *mut sys::ESYS_CONTEXT,
    session: sys::ESYS_TR,
}

impl RawConnection {
    /// Connects, compares the storage root key's name, and starts a session salted to that key with
    /// parameter encryption both ways.
    pub(super) fn open(tcti: &str, srk: &SrkName) -> Result<Self, u32> {
        let address = CString::new(tcti).map_err(|_| MALFORMED)?;
        let mut raw = Self {
            tcti: null_mut(),
            esys: null_mut(),
            session: NONE,
        };
        // SAFETY: `address` is NUL-terminated and outlives the call; `raw.tcti` is a place for a
        // pointer, which on success owns a context that `Drop` finalises.
        check(unsafe { sys::Tss2_TctiLdr_Initialize(address.as_ptr(), &mut raw.tcti) })?;
        // SAFETY: `raw.tcti` was just made and lives until `Drop`, which finalises ESYS before it;
        // a null ABI version is allowed.
        check(unsafe { sys::Esys_Initialize(&mut raw.esys, raw.tcti, null_mut()) })?;
        close_on_exec(tcti);
        let key = raw.object(SRK_HANDLE)?;
        if raw.name(key)? != *srk {
            return Err(MALFORMED);
        }
        raw.start_session(key)?;
        Ok(raw)
    }

    /// TPM2_NV_Extend, authorised by the index itself.
    pub(super) fn nv_extend(
        &mut self,
        index: u32,
        auth: &Auth,
        data: &[u8; 32],
    ) -> Result<(), u32> {
        let index = self.object(index)?;
        self.set_auth(index, auth)?;
        let data: sys::TPM2B_MAX_NV_BUFFER = MaxNvBuffer::try_from(data.as_slice())
            .map_err(|_| MALFORMED)?
            .into();
        // SAFETY: the context is open, the handles are of this context, `data` outlives the call.
        check(unsafe {
            sys::Esys_NV_Extend(self.esys, index, index, self.session, NONE, NONE, &data)
        })
    }

    /// TPM2_DictionaryAttackLockReset.
    pub(super) fn reset_lockout(&mut self, lockout_auth: &Auth) -> Result<(), u32> {
        self.set_auth(LOCKOUT, lockout_auth)?;
        // SAFETY: the context is open, the handles are of this context.
        check(unsafe {
            sys::Esys_DictionaryAttackLockReset(self.esys, LOCKOUT, self.session, NONE, NONE)
        })
    }

    /// TPM2_DictionaryAttackParameters: how many wrong guesses, after how many seconds one is
    /// forgotten, and for how many seconds a wrong lockout authorisation shuts lockout itself.
    pub(super) fn lockout_parameters(
        &mut self,
        lockout_auth: &Auth,
        tries: u32,
        forget_after: u32,
        lockout_recovery: u32,
    ) -> Result<(), u32> {
        self.set_auth(LOCKOUT, lockout_auth)?;
        // SAFETY: the context is open, the handles are of this context.
        check(unsafe {
            sys::Esys_DictionaryAttackParameters(
                self.esys,
                LOCKOUT,
                self.session,
                NONE,
                NONE,
                tries,
                forget_after,
                lockout_recovery,
            )
        })
    }

    /// The library's handle for something that lies in the TPM.
    fn object(&mut self, handle: u32) -> Result<sys::ESYS_TR, u32> {
        let mut object = NONE;
        // SAFETY: the context is open, `object` is a place for the result.
        check(unsafe {
            sys::Esys_TR_FromTPMPublic(self.esys, handle, NONE, NONE, NONE, &mut object)
        })?;
        Ok(object)
    }

    fn name(&mut self, object: sys::ESYS_TR) -> Result<SrkName, u32> {
        let mut name: *mut sys::TPM2B_NAME = null_mut();
        // SAFETY: the context is open, `object` is of this context, `name` is a place for the result.
        check(unsafe { sys::Esys_TR_GetName(self.esys, object, &mut name) })?;
        // SAFETY: on success `name` points to one initialised TPM2B_NAME that is ours until freed,
        // and it is copied before that.
        let copy = unsafe { *name };
        // SAFETY: `name` was allocated by the library and is not used any more.
        unsafe { sys::Esys_Free(name.cast()) };
        let bytes = copy.name.get(..usize::from(copy.size)).ok_or(MALFORMED)?;
        Ok(SrkName::new(bytes))
    }

    fn start_session(&mut self, key: sys::ESYS_TR) -> Result<(), u32> {
        let aes: sys::TPMT_SYM_DEF = SymmetricDefinition::AES_128_CFB
            .try_into()
            .map_err(|_| MALFORMED)?;
        // SAFETY: the context is open, `key` is of this context, a null nonce lets the library
        // choose one, `aes` outlives the call, `self.session` is a place for the result.
        check(unsafe {
            sys::Esys_StartAuthSession(
                self.esys,
                key,
                NONE,
                NONE,
                NONE,
                NONE,
                null(),
                TPM2_SE_HMAC,
                &aes,
                TPM2_ALG_SHA256,
                &mut self.session,
            )
        })?;
        let flags = TPMA_SESSION_CONTINUESESSION | TPMA_SESSION_DECRYPT | TPMA_SESSION_ENCRYPT;
        // SAFETY: the context is open, the session is of this context.
        check(unsafe { sys::Esys_TRSess_SetAttributes(self.esys, self.session, flags, flags) })
    }

    fn set_auth(&mut self, object: sys::ESYS_TR, auth: &Auth) -> Result<(), u32> {
        let mut auth: sys::TPM2B_AUTH = auth.clone().into();
        // SAFETY: the context is open, `object` is of this context, `auth` outlives the call.
        let code = unsafe { sys::Esys_TR_SetAuth(self.esys, object, &auth) };
        auth.buffer.zeroize();
        check(code)
    }
}

impl Drop for RawConnection {
    fn drop(&mut self) {
        if self.session != NONE {
            // SAFETY: a session exists only in an open context; a failure leaves nothing to do.
            let _ = unsafe { sys::Esys_FlushContext(self.esys, self.session) };
        }
        if !self.esys.is_null() {
            // SAFETY: made by Esys_Initialize, finalised once, and before its TCTI.
            unsafe { sys::Esys_Finalize(&mut self.esys) };
        }
        if !self.tcti.is_null() {
            // SAFETY: made by Tss2_TctiLdr_Initialize, finalised once, and nothing uses it any more.
            unsafe { sys::Tss2_TctiLdr_Finalize(&mut self.tcti) };
        }
    }
}

fn check(code: u32) -> Result<(), u32> {
    if code == 0 { Ok(()) } else { Err(code) }
}

/// Keeps the connection to the TPM from the programs that this process starts: libtss2 opens it
/// without close-on-exec, and a keeper or worker that inherits it could talk to the TPM. To be called
/// right after connecting; it looks for the open files that lead to the address.
pub(super) fn close_on_exec(tcti: &str) {
    each_file(|file, path| {
        if leads_to(tcti, file, path) {
            let _ = fcntl(file, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC));
        }
    });
}

/// Ends the connections to a TPM that owes an answer: who waits for it on one learns so, and a TPM that takes one connection
/// is free for the next. What is still written goes through, for a broken pipe would end a command. A device is the kernel's,
/// which has deadlines of its own.
pub(super) fn cut(tcti: &str) {
    each_file(|file, _| {
        if let Some(connection) = connection_to(tcti, file) {
            let _ = connection.shutdown(Shutdown::Read);
        }
    });
}

/// Does something with each file that this process has open.
fn each_file(act: impl Fn(BorrowedFd<'_>, &Path)) {
    let Ok(files) = std::fs::read_dir("/proc/self/fd") else {
        return;
    };
    for path in files.flatten().map(|file| file.path()) {
        let number = path
            .file_name()
            .and_then(|name| name.to_str()?.parse::<RawFd>().ok());
        let Some(number) = number else { continue };
        // SAFETY: the number came from the list of open files. Should another thread have closed it
        // meanwhile, the calls fail, or mark that thread's newer file close-on-exec, which every
        // file of ours is anyway; what ends a connection looks at a copy of its own.
        act(unsafe { BorrowedFd::borrow_raw(number) }, &path);
    }
}

/// Whether an open file is the device of this address, or a connection to its ports.
fn leads_to(tcti: &str, file: BorrowedFd<'_>, path: &Path) -> bool {
    if let Some(device) = tcti.strip_prefix("device:") {
        return std::fs::read_link(path).is_ok_and(|target| target == Path::new(device));
    }
    connection_to(tcti, file).is_some()
}

/// A copy of an open file that is a connection to the ports of this address.
fn connection_to(tcti: &str, file: BorrowedFd<'_>) -> Option<TcpStream> {
    let (_, rest) = tcti.split_once("port=")?;
    let port: u16 = rest.split(',').next()?.parse().ok()?;
    let copy = TcpStream::from(file.try_clone_to_owned().ok()?);
    let peer = copy.peer_addr().ok()?.port();
    (peer == port || Some(peer) == port.checked_add(1)).then_some(copy)
}

/// Stops libtss2 from writing its own messages to standard error, which repeat ours with bare codes,
/// unless the operator set `TSS2_LOG`. To be called first in `main`: it does nothing once the
/// process has a second thread, as the environment may then be in use.
pub fn quiet_library() {
    let threads = std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count);
    if threads == 1 && std::env::var_os("TSS2_LOG").is_none() {
        // SAFETY: this is the process's only thread, so nothing reads the environment meanwhile.
        unsafe { std::env::set_var("TSS2_LOG", "all+none") };
    }
}
