//! What the command line (and later the portal) says to the keeper, over `run/keeper.sock`.
//!
//! One request a connection: a frame with [`Request`] and raw bytes, answered by any number of
//! [`Answer::Progress`] and [`Answer::Content`] frames and exactly one final answer. Whoever connects is known by
//! the kernel's peer credentials; content needs a session's token in the request.

mod access;
mod cases;
mod escrow;

pub use access::{AccessFilter, AccessPage, AccessRow};
pub use cases::{CaseAct, CaseView, MailScope, Wanted};
pub use escrow::EscrowRow;

use crate::approval::{Approval, Statement};
use crate::frame::Limits;
use crate::id::{CaseId, RecordId, TenantId};
use crate::keeper::manifest::Arrival;
use crate::keeper::people::{PersonSubject, StoredPassword};
use crate::mail::model::{Layer, Mailbox, Outcome, Signature};
use crate::secret::SecretBytes;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// What the keeper accepts from a client.
pub const FROM_CLIENT: Limits = Limits {
    head: 4 << 20,
    raw: 64 << 20,
};
/// What a client accepts from the keeper.
pub const FROM_KEEPER: Limits = Limits {
    head: 256 << 20,
    raw: 4 << 20,
};

/// A session's token on the wire.
#[derive(Debug, Serialize, Deserialize)]
pub struct Token(#[serde(with = "crate::secret::on_the_wire")] pub SecretBytes);

/// A request. The first group needs nothing but the socket; the second a session; the third officers' signatures.
#[derive(Debug, Serialize, Deserialize)]
pub enum Request {
    /// How the box is.
    Status,
    /// Recompute everything; `checkpoint` is an older signed checkpoint that must be a prefix.
    Verify {
        /// Text of the checkpoint file.
        checkpoint: Option<String>,
    },
    /// Make catalog and search again.
    Rebuild,
    /// What to copy for a consistent backup. The connection holds the moment: files keep at least these lengths.
    Backup,
    /// A backup was written and verified.
    BackupDone {
        /// The ledger's head in it, as the answer to [`Request::Backup`] said.
        head: crate::ledger::Head,
        /// Digest of its list of files.
        files: crate::id::Digest,
        /// Where to, for the ledger.
        place: String,
    },
    /// The keys that archived mail waits for.
    Worklist,
    /// The names of the box's tenants.
    Tenants,
    /// Take the private keys in the raw part into escrow.
    EscrowAdd {
        /// Whose archive.
        tenant: TenantId,
        /// Passphrases to try.
        passphrases: Vec<Token>,
        /// Certificates that belong to keys in the raw part, DER or PEM.
        certificates: Vec<serde_bytes::ByteBuf>,
        /// Where they come from, for the list (a file's name).
        source: String,
    },
    /// Keys in escrow; addresses only of the session's mailboxes.
    EscrowList {
        /// A session, if any.
        session: Option<Token>,
    },
    /// What officers must sign: statement texts are made by the keeper so that box id and nonce are right.
    Prepare(Prepare),
    /// Open a session.
    SignIn {
        /// Sign-in name.
        name: String,
        /// Password.
        password: Token,
    },

    /// End a session.
    SignOut(Token),
    /// Find mail.
    Search {
        /// Session.
        session: Token,
        /// The case to read under; without one the person's own mail is read.
        case: Option<CaseId>,
        /// Query language text.
        query: String,
        /// At most so many hits.
        limit: u32,
        /// Hits to skip.
        offset: u32,
    },
    /// Everything about one mail but its bytes.
    Show {
        /// Session.
        session: Token,
        /// As for a search.
        case: Option<CaseId>,
        /// Which.
        record: RecordId,
    },
    /// One mail's bytes.
    Get {
        /// Session.
        session: Token,
        /// As for a search.
        case: Option<CaseId>,
        /// Which.
        record: RecordId,
        /// Original or rendition.
        what: Form,
    },
    /// Who read what, and why: a page of the access log.
    Access {
        /// Session.
        session: Token,
        /// Which entries.
        filter: AccessFilter,
    },
    /// Ask officers for mail.
    CaseRequest {
        /// Session of the person who asks.
        session: Token,
        /// Of which mail.
        scope: MailScope,
        /// What the requester wants to do with it.
        wanted: Wanted,
    },

    /// Add or change a person.
    PersonSet {
        /// "people.set".
        statement: Statement,
        /// The one whose digest the statement has.
        password: StoredPassword,
        /// Officers' signatures.
        approvals: Vec<Approval>,
    },
    /// Put another policy in force.
    PolicyReplace {
        /// "policy.replace".
        statement: Statement,
        /// Officers' signatures.
        approvals: Vec<Approval>,
        /// The policy's text.
        text: String,
    },
    /// All cases, without their contents; names only to those who may see them.
    Cases {
        /// A session, if any.
        session: Option<Token>,
    },
    /// One case; all of it only to the requester and to people who are officers.
    CaseShow {
        /// A session, if any.
        session: Option<Token>,
        /// Which.
        case: CaseId,
    },
    /// All of one case, to an officer who proves to be one.
    CaseOpen {
        /// "case.view".
        statement: Statement,
        /// The officer's signature.
        approval: Approval,
    },
    /// An officer's signature for a case.
    CaseApprove {
        /// Which.
        case: CaseId,
        /// The signature over the case's statement.
        approval: Approval,
    },
    /// An officer's no.
    CaseRefuse {
        /// "case.refuse".
        statement: Statement,
        /// The officer's signature.
        approval: Approval,
    },
    /// The requester wants it no more.
    CaseWithdraw {
        /// Session.
        session: Token,
        /// Which.
        case: CaseId,
    },
    /// Hand out what an approved case covers: mails one after another, re-encrypted, then the receipt.
    CaseRelease {
        /// Session.
        session: Token,
        /// Which.
        case: CaseId,
    },
    /// All that was handed out is kept: the case is done.
    CaseReleased {
        /// Session.
        session: Token,
        /// Which.
        case: CaseId,
    },
}

/// Statements a client can ask for.
#[derive(Debug, Serialize, Deserialize)]
pub enum Prepare {
    /// To be signed for [`Request::PersonSet`].
    PersonSet(PersonSubject),
    /// To be signed for [`Request::PolicyReplace`]: the policy's text.
    PolicyReplace(String),
    /// To be signed for [`Request::CaseOpen`].
    CaseView(CaseId),
    /// To be signed for [`Request::CaseRefuse`].
    CaseRefuse(CaseId),
}

/// Which bytes of a mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Form {
    /// As received.
    Original,
    /// With opened layers replaced in place.
    Rendition,
    /// The journal report around it, as received: only for the mail's sender, to whom it tells no blind copy.
    Report,
}

/// An answer.
#[derive(Debug, Serialize, Deserialize)]
pub enum Answer {
    /// Still working.
    Progress {
        /// Done so far.
        done: u64,
        /// Of so many, 0 if not known.
        total: u64,
        /// What is being done.
        doing: String,
    },
    /// Bytes in the raw part, more to come.
    Content,
    /// A released mail begins: its bytes follow as [`Answer::Content`].
    Released {
        /// Which.
        record: RecordId,
    },
    /// Done, nothing to say.
    Done,
    /// See [`Request::Status`].
    Status(Box<Status>),
    /// See [`Request::Verify`].
    Verified(Verified),
    /// See [`Request::Backup`].
    Backup {
        /// The ledger's head at that moment.
        head: crate::ledger::Head,
        /// What to copy.
        files: Vec<BackupFile>,
    },
    /// See [`Request::Worklist`].
    Worklist(Vec<Waiting>),
    /// See [`Request::Tenants`].
    Tenants(Vec<TenantId>),
    /// One row for each key given.
    Escrow(Vec<EscrowRow>),
    /// A statement to sign.
    Statement(Statement),
    /// A session.
    Session(Token),
    /// Hits.
    Hits(Hits),
    /// One mail.
    Mail(Box<MailView>),
    /// Cases.
    Cases(Vec<CaseView>),
    /// See [`Request::Access`].
    Access(AccessPage),
    /// The receipt of a release: JSON, verifiable offline with its proof from the ledger.
    Receipt {
        /// The text whose digest the ledger has.
        receipt: String,
        /// That it does.
        proof: String,
    },
    /// It did not work; what and why, for the person at the terminal.
    Failed(String),
}

/// How the box is. No address, no subject.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Status {
    /// The box's id.
    pub box_id: String,
    /// "open"; while locked there is no keeper to ask.
    pub state: String,
    /// Version of the program.
    pub version: String,
    /// SHA-256 of the text of the policy in force.
    pub policy: crate::id::Digest,
    /// Records in the archive.
    pub records: u64,
    /// Of them with an encrypted layer that nothing opens yet.
    pub waiting: u64,
    /// Ledger entries, and the last checkpoint.
    pub ledger_size: u64,
    /// Time of the last checkpoint.
    pub checkpoint: Option<Timestamp>,
    /// Bytes in the spool that are not archived yet.
    pub spooled: u64,
    /// The oldest of them.
    pub oldest_spooled: Option<Timestamp>,
    /// Keys in escrow.
    pub escrowed_keys: u64,
    /// TPM counter; `None` while the TPM does not answer.
    pub counter: Option<u64>,
    /// Bytes used by the data folder's file system, and its size.
    pub disk_used: u64,
    /// Size of the file system.
    pub disk_size: u64,
    /// Why no mail is taken in; `None` while intake runs. Among the warnings too.
    pub intake: Option<String>,
    /// Things somebody should look at.
    pub warnings: Vec<String>,
}

/// What verification found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verified {
    /// Ledger entries checked.
    pub entries: u64,
    /// Records whose every part was opened and compared.
    pub records: u64,
    /// Bytes of sealed parts read.
    pub bytes: u64,
    /// Damage, the first first. Empty is good.
    pub damage: Vec<String>,
    /// With an older checkpoint: its size, proven to be a prefix.
    pub prefix_of: Option<u64>,
}

/// One file of a backup: copy so many bytes of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupFile {
    /// Relative to the data folder.
    pub path: PathBuf,
    /// Bytes that belong to this moment.
    pub length: u64,
    /// The bytes themselves, for files that are replaced as a whole; copied from here, not from disk.
    #[serde(with = "serde_bytes")]
    pub content: Option<Vec<u8>>,
    /// True where bytes that were written once stay as they are: what a copy has must be what is here.
    pub keeps: bool,
}

/// A line of the worklist.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// The tenant.
    pub tenant: TenantId,
    /// The key as the mails name it.
    pub key: String,
    /// Mails that wait for it.
    pub mails: u64,
}

/// A page of hits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hits {
    /// All that match.
    pub total: u64,
    /// This page.
    pub hits: Vec<Hit>,
}

/// One hit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hit {
    /// Id.
    pub record: RecordId,
    /// Date field or arrival.
    pub date: Option<Timestamp>,
    /// From.
    pub from: String,
    /// Subject.
    pub subject: String,
    /// How far it was opened.
    pub outcome: Outcome,
}

/// One mail for reading.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MailView {
    /// Id.
    pub record: RecordId,
    /// How it arrived, each time.
    pub arrivals: Vec<Arrival>,
    /// Message-ID.
    pub message_id: Option<String>,
    /// From.
    pub from: Vec<Mailbox>,
    /// To, Cc.
    pub to: Vec<Mailbox>,
    /// Subject.
    pub subject: String,
    /// Date field.
    pub date: Option<Timestamp>,
    /// Outcome of opening.
    pub outcome: Outcome,
    /// Why, if not opened.
    pub reason: Option<String>,
    /// Layers.
    pub layers: Vec<Layer>,
    /// Signatures.
    pub signatures: Vec<Signature>,
    /// Text.
    pub text: String,
    /// Names of attachments.
    pub attachments: Vec<String>,
    /// What the record notes of its text: structured e-invoices, parts whose text could not be taken.
    pub notes: Vec<String>,
    /// Bytes of the original.
    pub original_bytes: u64,
    /// Bytes of the rendition.
    pub rendition_bytes: Option<u64>,
}
