//! What is said about cases.

use crate::approval::Statement;
use crate::id::{CaseId, TenantId};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

/// What officers sign to see or refuse a case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaseAct {
    /// Which.
    pub case: CaseId,
}

/// Which mail a requester asks for, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MailScope {
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
}

/// What a requester wants to do with mail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Wanted {
    /// To take it out, re-encrypted.
    Release {
        /// The certificate to encrypt to: DER (S/MIME) or an OpenPGP certificate, base64.
        certificate: String,
    },
    /// To read it on the box.
    Read {
        /// For so many days from now on.
        days: u64,
    },
}

/// A case on its way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaseView {
    /// Id.
    pub case: CaseId,
    /// The kind of its statement: "case.mail" is a release, "case.read" lets the requester read.
    pub kind: String,
    /// "requested", "approved", "releasing", "released", "refused", "withdrawn", "expired".
    pub state: String,
    /// Who asked; empty where the asker may not see it.
    pub requester: String,
    /// When.
    pub requested: Timestamp,
    /// Until when it can be approved, and released.
    pub expires: Timestamp,
    /// Until when the requester reads, once it is approved; `None` for a release.
    pub read_until: Option<Timestamp>,
    /// When it was released, refused or withdrawn.
    pub ended: Option<Timestamp>,
    /// The officer who refused it.
    pub refused_by: Option<String>,
    /// The text officers sign; `None` in lists, and where the asker may not see it.
    pub statement: Option<Statement>,
    /// Officers who signed; empty where the asker may not see them.
    pub approvals: Vec<String>,
    /// How many they are.
    pub signed: usize,
    /// How many must.
    pub needed: usize,
}

impl CaseView {
    /// What everybody may see: no name, no content.
    #[must_use]
    pub fn in_numbers(self) -> Self {
        Self {
            requester: String::new(),
            refused_by: None,
            statement: None,
            approvals: Vec::new(),
            ..self
        }
    }
}
