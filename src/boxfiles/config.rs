//! `strongroom.toml`: what whoever runs the box says about it.

use crate::id::host_name;
use crate::intake::Rules;
use serde::{Deserialize, Deserializer, Serialize, de};
use std::net::SocketAddr;
use std::path::PathBuf;

/// `strongroom.toml`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BoxConfig {
    /// The TPM.
    pub tpm: TpmConfig,
    /// Where mail comes in.
    pub listen: ListenConfig,
    /// TLS for the listeners.
    pub tls: TlsConfig,
    /// The socket for a mail server on this machine.
    #[serde(default, skip_serializing_if = "LmtpConfig::is_default")]
    pub lmtp: LmtpConfig,
    /// Where accepted mail waits.
    #[serde(default)]
    pub spool: SpoolConfig,
    /// What mail is taken, and for whom.
    #[serde(default)]
    pub intake: Rules,
    /// Processes that open mail.
    #[serde(default)]
    pub workers: WorkerConfig,
}

/// `[tpm]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TpmConfig {
    /// TCTI address: `device:/dev/tpmrm0`, or `swtpm:host=127.0.0.1,port=2321`.
    pub tcti: String,
}

/// `[listen]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListenConfig {
    /// The name in greetings and in the certificate.
    #[serde(deserialize_with = "checked_host_name")]
    pub hostname: String,
    /// SMTP with STARTTLS.
    pub smtp: Option<SocketAddr>,
    /// SMTP over implicit TLS.
    pub smtps: Option<SocketAddr>,
}

fn checked_host_name<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    host_name(&String::deserialize(from)?).map_err(de::Error::custom)
}

/// `[tls]`; relative paths start at the data folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// Certificate and chain, PEM.
    pub certificate: PathBuf,
    /// Private key, PEM.
    pub key: PathBuf,
}

/// `[lmtp]`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LmtpConfig {
    /// The group, of the mail server, that may hand over mail at `run/lmtp.sock`. Absent: the box's own.
    pub group: Option<String>,
}

impl LmtpConfig {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// `[spool]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpoolConfig {
    /// One or two folders, best on different disks; relative paths start at the data folder.
    pub folders: Vec<PathBuf>,
}

impl Default for SpoolConfig {
    fn default() -> Self {
        Self {
            folders: vec![PathBuf::from("spool")],
        }
    }
}

/// `[workers]`
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkerConfig {
    /// How many. Absent: one for each core.
    pub count: Option<u16>,
}

impl BoxConfig {
    /// What a founding writes: listeners on this machine only, until somebody who knows the network opens them.
    #[must_use]
    pub fn new(tcti: &str, hostname: &str) -> Self {
        let local = |port| Some(SocketAddr::from(([127, 0, 0, 1], port)));
        Self {
            tpm: TpmConfig {
                tcti: tcti.to_owned(),
            },
            listen: ListenConfig {
                hostname: hostname.to_owned(),
                smtp: local(2525),
                smtps: local(2465),
            },
            tls: TlsConfig {
                certificate: "tls/certificate.pem".into(),
                key: "tls/key.pem".into(),
            },
            lmtp: LmtpConfig::default(),
            spool: SpoolConfig::default(),
            intake: Rules::default(),
            workers: WorkerConfig::default(),
        }
    }

    /// The file's text.
    ///
    /// # Panics
    /// Never: paths and addresses become TOML strings.
    #[must_use]
    #[allow(clippy::expect_used)]
    pub fn to_toml(&self) -> String {
        let text = toml::to_string(self).expect("the configuration becomes TOML");
        format!("# Configuration of this box; see docs/architecture.md. Read at start.\n\n{text}")
    }
}
