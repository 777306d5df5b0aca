//! What keeper and worker say to each other.
//!
//! The keeper sends [`ToWorker::Setup`] once, which the worker answers by [`FromWorker::Ready`], then one [`ToWorker::Open`] at
//! a time with the mail as raw bytes. The worker may ask for session keys in between, and ends with [`FromWorker::Opened`] and
//! the rendition as raw bytes.

use crate::frame::Limits;
use crate::mail::context::{OpenPolicy, Trust};
use crate::mail::journal::Report;
use crate::mail::keyops::{KeyHint, KeyRefusal, SessionKey, Wrapped};
use crate::mail::model::Opened;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

/// Keeper to worker.
#[derive(Debug, Serialize, Deserialize)]
pub enum ToWorker {
    /// Certificates and policy, once.
    Setup {
        /// For signatures.
        trust: Box<Trust>,
        /// Algorithms and bounds.
        policy: Box<OpenPolicy>,
    },
    /// Open the mail in the raw part.
    Open {
        /// When it arrived.
        arrived: Timestamp,
        /// Look into documents for text.
        documents: bool,
    },
    /// Read the mail in the raw part as a journal report.
    ReadReport,
    /// Encrypt the mail in the raw part to this certificate: DER (S/MIME) or OpenPGP.
    Encrypt {
        /// The certificate.
        #[serde(with = "serde_bytes")]
        certificate: Vec<u8>,
    },
    /// The answer to [`FromWorker::Unwrap`].
    SessionKey(Result<SessionKey, KeyRefusal>),
}

/// Worker to keeper.
#[derive(Debug, Serialize, Deserialize)]
pub enum FromWorker {
    /// A session key is wanted.
    Unwrap {
        /// For which key.
        hint: KeyHint,
        /// What is to be undone.
        wrapped: Wrapped,
        /// Which of several fitting keys, from 0.
        attempt: u32,
    },
    /// The end of one mail. The rendition, if any, is the raw part.
    Opened {
        /// All but the rendition.
        opened: Box<Opened>,
        /// Whether there is a rendition.
        has_rendition: bool,
    },
    /// The journal report; none where the mail is not strictly one.
    Report(Option<Box<Report>>),
    /// The encrypted mail is the raw part, or why there is none.
    Encrypted(Result<(), String>),
    /// It is set up and confined: what ends it from now on is a mail's doing.
    Ready,
}

/// What a worker accepts from the keeper.
pub const FROM_KEEPER: Limits = Limits {
    head: 256 << 20,
    raw: 4 << 30,
};

/// What the keeper accepts from a worker that may have been taken over, given the policy's bound on
/// expanded bytes.
#[must_use]
pub fn from_worker(expanded_bytes: u64) -> Limits {
    Limits {
        head: 64 << 20,
        raw: expanded_bytes.saturating_mul(2),
    }
}
