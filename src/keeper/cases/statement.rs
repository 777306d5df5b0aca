//! What officers sign about a case. A release and a reading have statements of different kinds, so that a signature for
//! one can never be used for the other.

use super::CaseError;
use crate::approval::LONGEST;
use crate::approval::Statement;
use crate::id::{BoxId, CaseId, Digest, TenantId};
use crate::keeper::people::Person;
use crate::keeper::protocol::{MailScope, Wanted};
use crate::time::Timestamp;
use data_encoding::BASE64;
use serde::{Deserialize, Serialize};

/// How long officers have to sign, in seconds.
pub const CASE_SECONDS: u64 = 14 * DAY;
/// The statement kind of releases: mail goes out, re-encrypted.
pub const RELEASE: &str = "case.mail";
/// The statement kind of reading on the box.
pub const READ: &str = "case.read";
/// The longest reading that can be asked for, in days.
pub const MOST_DAYS: u64 = 90;
const DAY: u64 = 24 * 3600;
const PURPOSE_BYTES: usize = 2000;

/// What officers sign.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaseSubject {
    /// The case.
    pub case: CaseId,
    /// Who asks.
    pub requester: String,
    /// The officer who the requester is; earlier statements do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requester_officer: Option<String>,
    /// How many officers must sign; earlier statements do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub needed: Option<usize>,
    /// For what.
    pub scope: CaseScope,
}

/// Which mail a case is about, and what it allows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaseScope {
    /// Whose archive.
    pub tenant: TenantId,
    /// Whose mail: an address.
    pub mailbox: String,
    /// First moment of the mail's date, inclusive.
    pub from: Option<Timestamp>,
    /// Last moment, inclusive.
    pub until: Option<Timestamp>,
    /// Why.
    pub purpose: String,
    /// What it allows.
    #[serde(flatten)]
    pub grant: Grant,
}

/// What a case allows once it is approved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Grant {
    /// The mail goes out once, re-encrypted.
    Release {
        /// The certificate the mail is re-encrypted to: DER (S/MIME) or an OpenPGP certificate, base64.
        output_certificate: String,
        /// Its fingerprint, which officers compare; computed by the keeper.
        output_fingerprint: String,
    },
    /// The requester reads the mail on the box.
    Read {
        /// The last moment.
        read_until: Timestamp,
    },
}

impl Grant {
    /// What is granted to whoever wants this at this time, for a case that is being made.
    fn of(wanted: Wanted, case: CaseId, now: Timestamp) -> Result<Self, CaseError> {
        match wanted {
            Wanted::Release { certificate } => Ok(Self::Release {
                output_fingerprint: fingerprint(&certificate)
                    .ok_or(CaseError::Fingerprint(case))?,
                output_certificate: certificate,
            }),
            Wanted::Read { days } if (1..=MOST_DAYS).contains(&days) => Ok(Self::Read {
                read_until: now.plus_seconds(days * DAY),
            }),
            Wanted::Read { .. } => Err(CaseError::Days),
        }
    }

    /// The kind of a statement about it.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Release { .. } => RELEASE,
            Self::Read { .. } => READ,
        }
    }

    /// The last moment of a reading; `None` for a release.
    #[must_use]
    pub const fn read_until(&self) -> Option<Timestamp> {
        match self {
            Self::Release { .. } => None,
            Self::Read { read_until } => Some(*read_until),
        }
    }
}

impl CaseSubject {
    /// A new case's, with the statement and until when it can be signed. Nobody signs a reading that is over.
    pub(super) fn new(
        requester: &Person,
        needed: usize,
        asked: (MailScope, Wanted),
        box_id: BoxId,
        now: Timestamp,
    ) -> Result<(Self, Statement, Timestamp), CaseError> {
        let (scope, wanted) = asked;
        if scope.purpose.trim().is_empty() || scope.purpose.len() > PURPOSE_BYTES {
            return Err(CaseError::Purpose);
        }
        let case = CaseId::random();
        let grant = Grant::of(wanted, case, now)?;
        let in_time = now.plus_seconds(CASE_SECONDS);
        let expires = grant.read_until().map_or(in_time, |end| end.min(in_time));
        let kind = grant.kind();
        let subject = Self {
            case,
            requester: requester.name.clone(),
            requester_officer: requester.officer.clone(),
            needed: Some(needed),
            scope: CaseScope {
                tenant: scope.tenant,
                mailbox: scope.mailbox,
                from: scope.from,
                until: scope.until,
                purpose: scope.purpose,
                grant,
            },
        };
        let statement = Statement::new(kind, box_id, expires, &subject);
        if statement.0.len() > LONGEST {
            return Err(CaseError::Certificate);
        }
        Ok((subject, statement, expires))
    }

    /// The names whose signature does not count.
    #[must_use]
    pub fn requesters(&self) -> Vec<&str> {
        std::iter::once(self.requester.as_str())
            .chain(self.requester_officer.as_deref())
            .collect()
    }

    /// A statement of this kind must grant what its kind says, and what officers compare must be what the mail is
    /// encrypted to.
    pub fn check(&self, kind: &str) -> Result<(), CaseError> {
        if self.scope.grant.kind() != kind {
            return Err(CaseError::OtherKind(self.case));
        }
        match &self.scope.grant {
            Grant::Release {
                output_certificate,
                output_fingerprint,
            } if fingerprint(output_certificate).as_ref() != Some(output_fingerprint) => {
                Err(CaseError::Fingerprint(self.case))
            }
            _ => Ok(()),
        }
    }
}

/// The fingerprint that officers compare: SHA-256 of the certificate's bytes; `None` where they are not base64.
#[must_use]
pub fn fingerprint(output_certificate: &str) -> Option<String> {
    let bytes = BASE64.decode(output_certificate.as_bytes()).ok()?;
    Some(Digest::of(&bytes).to_string())
}
