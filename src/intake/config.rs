//! What the intake is told: where to listen, what to seal to, whose mail it is.

use super::import::recent::Recent;
use super::spool::Spool;
use crate::id::TenantId;
use crate::time::Clock;
use serde::{Deserialize, Deserializer, Serialize, de};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// The intake's configuration.
#[derive(Debug, Clone)]
pub struct IntakeConfig {
    /// The name given to clients.
    pub hostname: String,
    /// All tenants of the box.
    pub tenants: BTreeSet<TenantId>,
    /// One spool folder, or two on two disks.
    pub spool: Vec<PathBuf>,
    /// TLS certificate chain, PEM.
    pub certificate: PathBuf,
    /// Its private key, PEM.
    pub private_key: PathBuf,
    /// Where SMTP is spoken.
    pub listeners: Vec<ListenerConfig>,
    /// The socket for LMTP.
    pub lmtp_socket: Option<PathBuf>,
    /// The group that may use it, where that is not our own.
    pub lmtp_group: Option<u32>,
    /// The socket for `strongroom import`.
    pub import_socket: Option<PathBuf>,
    /// Whose archive mail goes to where nothing else says so.
    pub tenant: TenantId,
    /// What is taken, and for whom.
    pub rules: Rules,
}

/// The `[intake]` table of `strongroom.toml`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rules {
    /// The largest mail taken, in bytes. Without it every mail is taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_size: Option<u64>,
    /// Whose archive mail to a domain goes to, where not to the listener's tenant; written as [`folded`] has it.
    #[serde(deserialize_with = "folded_domains")]
    pub domains: BTreeMap<String, TenantId>,
    /// Bounds against hostile clients.
    pub limits: Limits,
}

/// One SMTP listener.
#[derive(Debug, Clone)]
pub struct ListenerConfig {
    /// Its name, kept in the envelope.
    pub name: String,
    /// Address and port.
    pub address: SocketAddr,
    /// How TLS begins.
    pub tls: TlsMode,
    /// Whose mail comes here, where the recipients' domains do not say.
    pub tenant: Option<TenantId>,
}

/// How TLS begins. Without TLS there is no mail (requirement I1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsMode {
    /// With the first byte (RFC 8314).
    Implicit,
    /// By STARTTLS (RFC 3207), without which no mail is taken.
    Starttls,
}

/// Bounds on what one client can take of time and memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Connections at one time over the network, all listeners together.
    pub connections: usize,
    /// Of them from one peer (an IPv4 address, an IPv6 network of 64 bits); never more than half.
    pub connections_per_peer: usize,
    /// Connections at one time to the LMTP socket.
    pub lmtp_connections: usize,
    /// Recipients of one mail; the client sends it again for the others.
    pub recipients: usize,
    /// Bytes of a command line.
    pub command_line: usize,
    /// Wrong commands before the client is sent away.
    pub mistakes: u32,
    /// Time for one command, or for taking our reply.
    pub command_seconds: u64,
    /// Time of grace for a text.
    pub data_seconds: u64,
    /// Bytes a second that a text must reach on the whole after that.
    pub data_rate: u64,
    /// Time for running mails when the intake stops.
    pub stop_seconds: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 256,
            connections_per_peer: 64,
            lmtp_connections: 64,
            recipients: 5000,
            command_line: 4096,
            mistakes: 20,
            command_seconds: 300,
            data_seconds: 180,
            data_rate: 1024,
            stop_seconds: 5,
        }
    }
}

impl Limits {
    /// Time for one command, or for taking our reply.
    #[must_use]
    pub const fn command_time(&self) -> Duration {
        Duration::from_secs(self.command_seconds)
    }

    /// Time of grace for a text.
    #[must_use]
    pub const fn data_time(&self) -> Duration {
        Duration::from_secs(self.data_seconds)
    }

    /// Time for running mails when the intake stops.
    #[must_use]
    pub const fn stop_time(&self) -> Duration {
        Duration::from_secs(self.stop_seconds)
    }
}

impl Rules {
    /// The tenant whose domain `address` is in, if the domain is named.
    #[must_use]
    pub fn tenant_of(&self, address: &str) -> Option<&TenantId> {
        let (_, domain) = address.rsplit_once('@')?;
        self.domains.get(&folded(domain))
    }

    /// What of `domains` does nothing: mail for these goes where all other mail does.
    #[must_use]
    pub fn astray(&self, tenants: &[&TenantId]) -> Vec<String> {
        let mut all = Vec::new();
        for (domain, tenant) in &self.domains {
            if !tenants.contains(&tenant) {
                all.push(format!(
                    "[intake.domains] in strongroom.toml gives the mail of {domain} to {tenant}, which is no tenant of this \
                     box: it goes to the first one that the policy names"
                ));
            }
            if domain.is_empty() || domain.contains('@') {
                all.push(format!(
                    "[intake.domains] in strongroom.toml names {domain:?}, which fits no address: write the domain alone"
                ));
            }
        }
        all
    }
}

/// A domain as it is compared: people and mail servers write it in capitals too, and with the dot of DNS at its end.
fn folded(domain: &str) -> String {
    domain.trim_end_matches('.').to_lowercase()
}

/// The domains of the configuration, of which two that are the same must not go to two tenants.
fn folded_domains<'de, D: Deserializer<'de>>(
    from: D,
) -> Result<BTreeMap<String, TenantId>, D::Error> {
    let written = BTreeMap::<String, TenantId>::deserialize(from)?;
    let mut all = BTreeMap::new();
    for (domain, tenant) in written {
        let domain = folded(&domain);
        if all.get(&domain).is_some_and(|other| *other != tenant) {
            let twice = format!("{domain} is named twice, for two tenants");
            return Err(de::Error::custom(twice));
        }
        all.insert(domain, tenant);
    }
    Ok(all)
}

/// What all sessions share.
pub struct Shared {
    /// The configuration.
    pub config: IntakeConfig,
    /// Where mail goes.
    pub spool: Spool,
    /// The time of arrival.
    pub clock: Arc<dyn Clock>,
    /// What was imported last.
    pub imported: Recent,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_domain_that_is_misspelt_or_has_no_tenant_is_told() {
        let tenant = |name: &str| name.parse::<TenantId>().expect("a tenant");
        let (main, other) = (tenant("main"), tenant("other"));
        let astray = |domain: &str, tenant: &TenantId| {
            let domains = BTreeMap::from([(domain.to_owned(), tenant.clone())]);
            let rules = Rules {
                domains,
                ..Rules::default()
            };
            rules.astray(&[&main])
        };
        assert!(astray("example.org", &main).is_empty());
        assert!(astray("example.org", &other)[0].contains("no tenant of this box"));
        for domain in ["", "@example.org"] {
            assert!(astray(domain, &main)[0].contains("fits no address"));
        }
    }

    #[test]
    fn a_domain_is_the_same_in_capitals_and_with_a_dot_at_its_end() {
        let rules = |text: &str| toml::from_str::<Rules>(&format!("[domains]\n{text}"));
        for domain in ["Two.Example", "TWO.EXAMPLE.", "two.example"] {
            let rules = rules(&format!("{domain:?} = \"two\"")).expect("rules");
            let two = rules.tenant_of("Anna@tWo.eXample.").map(TenantId::as_str);
            assert_eq!(two, Some("two"), "{domain}");
            assert!(rules.tenant_of("anna@one.example").is_none());
        }
        let same = rules("\"Two.Example\" = \"two\"\n\"two.example\" = \"two\"");
        assert_eq!(same.expect("rules").domains.len(), 1);
        let twice = rules("\"Two.Example\" = \"two\"\n\"two.example\" = \"main\"");
        let twice = twice.expect_err("two tenants").to_string();
        assert!(twice.contains("two.example is named twice"), "{twice}");
    }
}
