//! What went wrong with the TPM, in plain words with the remedy; codes come last.

use super::provision::FORGET_AFTER;
use tss_esapi::constants::tss as rc;

/// Why the TPM did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum TpmError {
    /// No TPM answers at the configured address.
    #[error(
        "no TPM answers at {tcti:?}. Remedy: check that the TPM is switched on in the firmware's setup, that the \
         device exists and that no other program holds it; `tpm.tcti` in strongroom.toml is the address. If the \
         TPM or the main board was replaced: `strongroom ceremony restore` (code {code:#x})"
    )]
    Missing {
        /// The address tried.
        tcti: String,
        /// The library's code.
        code: u32,
    },
    /// The address is not one that we can use.
    #[error(
        "{0:?} is not a TPM address. Allowed: \"device:/dev/tpmrm0\" or \"swtpm:host=127.0.0.1,port=2321\""
    )]
    BadAddress(String),
    /// A command got no answer in time.
    #[error(
        "the TPM did not answer within {seconds} s. Remedy: try again; if it stays silent, switch the machine off \
         and on; then have the hardware checked"
    )]
    NoAnswer {
        /// How long we waited.
        seconds: u64,
    },
    /// The answer was cut short, altered on its way, or makes no sense.
    #[error(
        "the TPM's answer was damaged on its way while trying to {doing}. Remedy: try again; if it happens again, \
         somebody or something disturbs the TPM's bus: inspect the machine{}",
        in_parentheses(*.code)
    )]
    Garbled {
        /// What was tried.
        doing: &'static str,
        /// The library's code; 0 if the damage was found by us.
        code: u32,
    },
    /// The storage root key is gone: somebody cleared the TPM.
    #[error(
        "the TPM was cleared: its storage root key is gone, and with it every secret that it kept. Nothing in the \
         archive is lost. Remedy: find out who cleared it, then `strongroom ceremony restore` with the officers"
    )]
    Cleared,
    /// There is a storage root key, but not this box's.
    #[error(
        "this is not the TPM that the box was founded on: its storage root key is another one. Remedy: put the \
         right TPM or main board back, or bring this one in with `strongroom ceremony restore`"
    )]
    OtherTpm,
    /// A call that needs the storage root key came before [`super::Tpm::pin`] or [`super::Tpm::provision`].
    #[error("the storage root key of this box is not known yet: found or restore the box first")]
    NotPinned,
    /// The TPM refuses guarded objects because too many wrong passwords were tried.
    #[error(
        "the TPM has locked itself because wrong passwords were tried on it. It listens again after at most \
         {seconds} s without power loss. Remedy: wait, and find out who tried \
         (code {code:#x})"
    )]
    Lockout {
        /// Seconds until the TPM listens again at the latest.
        seconds: u32,
        /// The TPM's code.
        code: u32,
    },
    /// An authorisation value does not fit.
    #[error(
        "the TPM did not accept the authorisation to {doing}. Remedy: the TPM belongs to another founding, or the \
         data folder is not this box's; clear the TPM in the firmware's setup to begin anew, or bring the box back \
         with `strongroom ceremony restore` (code {code:#x})"
    )]
    WrongAuth {
        /// What was tried.
        doing: &'static str,
        /// The TPM's code.
        code: u32,
    },
    /// Somebody has set the lockout authorisation, and the owner's not.
    #[error(
        "the TPM's lockout authorisation is set, by somebody else: nothing was changed. Remedy: if nothing on this TPM is \
         needed any more, clear it in the firmware's setup, then run this again"
    )]
    LockoutTaken,
    /// The machine did not boot what the secret was sealed to.
    #[error(
        "the machine booted other software than the box was sealed to: PCR {} differ{}. The box stays locked, mail \
         is still taken in. Remedy: if you did not change firmware, kernel or command line, treat the machine as \
         tampered with; if you did, `strongroom ceremony restore` on this TPM seals anew",
        list(.differing),
        if .differing.len() == 1 { "s" } else { "" }
    )]
    PcrMismatch {
        /// The PCRs whose values are not those recorded when the secret was sealed, ascending.
        differing: Vec<u8>,
    },
    /// The sealed blob in `tpm.json` is damaged or of another TPM.
    #[error(
        "the {what} in tpm.json is damaged or belongs to another TPM. Remedy: put tpm.json back from the backup of \
         this box, or `strongroom ceremony restore`{}",
        in_parentheses(*.code)
    )]
    BadBlob {
        /// Which blob.
        what: &'static str,
        /// The TPM's code; 0 if the damage was found by us.
        code: u32,
    },
    /// An NV index that should be there is not.
    #[error(
        "the TPM holds no {what}: it was cleared, or somebody deleted it. Remedy: `strongroom ceremony restore` with \
         the officers (code {code:#x})"
    )]
    NvMissing {
        /// Which index.
        what: &'static str,
        /// The TPM's code.
        code: u32,
    },
    /// An NV index or key that should be made anew is there already.
    #[error(
        "the TPM already holds a {what} from an earlier founding. Remedy: a restore removes it with the owner \
         authorisation; to found a new box, clear the TPM in the firmware's setup (code {code:#x})"
    )]
    NvExists {
        /// Which index.
        what: &'static str,
        /// The TPM's code.
        code: u32,
    },
    /// A PCR number that cannot be used so.
    #[error("PCR {pcr} cannot be used here. Allowed: {allowed}")]
    BadPcr {
        /// The number.
        pcr: u8,
        /// Which are allowed.
        allowed: &'static str,
    },
    /// The TPM is in failure mode.
    #[error(
        "the TPM reports that it is broken (failure mode). Remedy: switch the machine off and on; if that does not \
         help, replace the TPM and `strongroom ceremony restore` (code {code:#x})"
    )]
    Broken {
        /// The TPM's code.
        code: u32,
    },
    /// Anything else that the TPM refuses.
    #[error(
        "the TPM refused to {doing}. Remedy: try again; if it happens again, report it with the code (code {code:#x})"
    )]
    Refused {
        /// What was tried.
        doing: &'static str,
        /// The TPM's or library's code.
        code: u32,
    },
}

/// The code that the TPM or a layer of the library gave.
pub(super) fn code_of(error: tss_esapi::Error) -> u32 {
    use tss_esapi::Error::{Tss2Error, WrapperError};
    use tss_esapi::constants::response_code::Tss2ResponseCode::{FormatOne, FormatZero, Success};
    // The number itself is private to tss-esapi 7.7; its text form ends with it.
    let text = match error {
        Tss2Error(Success) | WrapperError(_) => return 0,
        Tss2Error(FormatZero(code)) => code.to_string(),
        Tss2Error(FormatOne(code)) => code.to_string(),
    };
    text.rsplit_once("0x")
        .and_then(|(_, digits)| u32::from_str_radix(digits, 16).ok())
        .unwrap_or(0)
}

/// The TPM's own part of a code, without the number of the handle, session or parameter at fault;
/// `None` if a layer of the library made it.
pub(super) fn tpm_code(code: u32) -> Option<u32> {
    const RESOURCE_MANAGERS: [u32; 2] = [11, 12];
    let layer = code >> 16;
    if layer != 0 && !RESOURCE_MANAGERS.contains(&layer) {
        return None;
    }
    let code = code & 0xFFFF;
    Some(if code & rc::TPM2_RC_FMT1 != 0 {
        code & 0xBF
    } else {
        code
    })
}

/// Whether a code says that the connection itself failed, not a command on it.
pub(super) fn is_disconnection(code: u32) -> bool {
    const TCTI_LAYER: u32 = 10;
    code >> 16 == TCTI_LAYER
}

/// Tells what a code means for somebody who wanted to do `doing`. What no TPM said, the library found
/// wrong with the answer.
pub(super) fn explain(doing: &'static str, code: u32) -> TpmError {
    match tpm_code(code) {
        Some(rc::TPM2_RC_AUTH_FAIL | rc::TPM2_RC_BAD_AUTH) => TpmError::WrongAuth { doing, code },
        Some(rc::TPM2_RC_LOCKOUT) => TpmError::Lockout {
            seconds: FORGET_AFTER,
            code,
        },
        Some(rc::TPM2_RC_FAILURE) => TpmError::Broken { code },
        Some(0) | None => TpmError::Garbled { doing, code },
        Some(_) => TpmError::Refused { doing, code },
    }
}

fn in_parentheses(code: u32) -> String {
    if code == 0 {
        String::new()
    } else {
        format!(" (code {code:#x})")
    }
}

fn list(numbers: &[u8]) -> String {
    numbers
        .iter()
        .map(u8::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_found_whichever_handle_it_names() {
        assert_eq!(tpm_code(0x98E), Some(rc::TPM2_RC_AUTH_FAIL));
        assert_eq!(tpm_code(0x9A2), Some(rc::TPM2_RC_BAD_AUTH));
        assert_eq!(tpm_code(0x000B_0921), Some(rc::TPM2_RC_LOCKOUT));
        assert_eq!(tpm_code(0x000A_000A), None);
    }

    #[test]
    fn a_mismatch_names_the_pcrs() {
        let one = TpmError::PcrMismatch {
            differing: vec![11],
        }
        .to_string();
        assert!(one.contains("PCR 11 differs."), "{one}");
        let two = TpmError::PcrMismatch {
            differing: vec![0, 11],
        }
        .to_string();
        assert!(two.contains("PCR 0, 11 differ."), "{two}");
    }
}
