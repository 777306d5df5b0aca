//! What is known about a mail besides its bytes: who handed it over, for whom, when and how.

use crate::id::{Digest, TenantId};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

/// The envelope of one arrival. It holds the true recipients, Bcc included (requirement C1).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    /// Whose archive the mail belongs to. All recipients of one arrival are this tenant's.
    pub tenant: TenantId,
    /// The reverse path (RFC 5321 §4.1.1.2) without its angle brackets; empty for `<>` and imports.
    pub sender: String,
    /// Parameters of MAIL as sent (`BODY=8BITMIME`, `ENVID=…`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parameters: Vec<String>,
    /// The forward paths in the order given; for an import the mailbox it is for.
    pub recipients: Vec<Recipient>,
    /// When the last byte of the mail was here.
    pub arrived: Timestamp,
    /// The way it came.
    pub source: Source,
}

/// One forward path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recipient {
    /// The address without its angle brackets, exactly as given.
    pub address: String,
    /// Parameters of RCPT as sent (`NOTIFY=…`, `ORCPT=…`, RFC 3461).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parameters: Vec<String>,
}

/// The way a mail came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// SMTP over TLS.
    Smtp {
        /// The listener's name in the configuration.
        listener: String,
        /// The client's address and port.
        peer: String,
        /// What the client called itself.
        helo: String,
        /// The TLS version and cipher suite in use.
        tls: String,
    },
    /// LMTP over the local socket (RFC 2033).
    Lmtp {
        /// The client process's user id.
        uid: u32,
        /// What the client called itself.
        helo: String,
    },
    /// `strongroom import`.
    Import {
        /// The user id of whoever imported.
        uid: u32,
        /// SHA-256 of the claimed place of origin (path, and offset within an mbox).
        origin: Digest,
    },
}
