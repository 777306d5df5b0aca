//! `[journal]`: from whom journal reports (MS-XJRNL) are believed. A report names a mail's recipients, so whoever could forge
//! one could give a mail to anybody.

use super::PolicyError;
use super::read::{Item, Section, shortened};
use std::collections::BTreeSet;
use std::net::IpAddr;

/// Where journal reports come from. Empty: none is believed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JournalPolicy(Vec<JournalRule>);

impl JournalPolicy {
    /// The tables: a report is believed that fits one of them.
    #[must_use]
    pub fn rules(&self) -> &[JournalRule] {
        &self.0
    }

    /// Whether some reports may have any envelope sender, so that somebody whose mail such a peer relays can forge one.
    #[must_use]
    pub fn is_of_any_sender(&self) -> bool {
        self.0.iter().any(|rule| rule.senders.is_none())
    }

    /// The journaling mailboxes, in lower case.
    #[must_use]
    pub fn recipients(&self) -> BTreeSet<&str> {
        let all = self.0.iter().flat_map(|rule| &rule.recipients);
        all.map(String::as_str).collect()
    }
}

/// Whose reports are believed for which journaling mailboxes. Tenants with mail servers of their own have one each, so that no
/// server gives mail to another tenant's people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalRule {
    recipients: BTreeSet<String>,
    peers: BTreeSet<Network>,
    senders: Option<BTreeSet<String>>,
}

impl JournalRule {
    /// Whether a mail server at this address may send reports.
    #[must_use]
    pub fn is_peer(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.peers.iter().any(|network| network.has(address))
    }

    /// Whether this address, in lower case, is a journaling mailbox: one that reports are sent to.
    #[must_use]
    pub fn is_mailbox(&self, address: &str) -> bool {
        self.recipients.contains(address)
    }

    /// Whether reports may have this envelope sender, in lower case and empty for `<>`.
    #[must_use]
    pub fn is_sender(&self, address: &str) -> bool {
        let senders = self.senders.as_ref();
        senders.is_none_or(|senders| senders.contains(address))
    }
}

/// An address, or all that begin with the same bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Network {
    address: IpAddr,
    bits: u8,
}

impl Network {
    /// `192.0.2.10`, `192.0.2.0/24`, `2001:db8::/32`.
    fn parse(text: &str) -> Result<Self, String> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let wrong = || format!("is {:?}", shortened(text));
        let written: IpAddr = address.parse().map_err(|_| wrong())?;
        let most: u8 = if written.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(most), |bits| bits.parse().map_err(|_| wrong()))?;
        // A peer's IPv4 address is compared as such, in whatever form a listener sees it.
        let address = written.to_canonical();
        let (bits, most) = match address.is_ipv4() {
            true if most == 128 => (bits.saturating_sub(96), 32),
            _ => (bits, most),
        };
        if bits == 0 || bits > most {
            return Err(format!(
                "is {text:?}, whose prefix is not of 1 to {most} bits"
            ));
        }
        let network = Self { address, bits };
        if network.first() == bits_of(address) {
            Ok(network)
        } else {
            Err(format!("is {text:?}, which has ones behind its prefix"))
        }
    }

    /// The first address, as a number.
    fn first(self) -> u128 {
        bits_of(self.address) & (u128::MAX << (128 - u32::from(self.bits)))
    }

    fn has(self, address: IpAddr) -> bool {
        let same_kind = self.address.is_ipv4() == address.is_ipv4();
        let mask = u128::MAX << (128 - u32::from(self.bits));
        same_kind && bits_of(address) & mask == self.first()
    }
}

/// The address's bits, from the highest on.
fn bits_of(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()) << 96,
        IpAddr::V6(address) => address.to_bits(),
    }
}

const PEERS: &str = "a list of IP addresses or networks, without doubles, such as [\"192.0.2.10\", \"2001:db8::/32\"]";
const RECIPIENTS: &str =
    "a list of mail addresses, without doubles, such as [\"journal@archive.example\"]";

const SENDERS: &str =
    "a list of mail addresses and \"<>\" (the empty sender), without doubles, such as [\"<>\"]";

/// Reads the table, or tables (`[[journal]]`).
pub(super) fn journal(item: &Item<'_>) -> Result<JournalPolicy, PolicyError> {
    let rules: Vec<Option<JournalRule>> = if item.is_array() {
        let tables = item.items("tables")?;
        tables.iter().map(rule).collect::<Result<_, _>>()?
    } else {
        vec![rule(item)?]
    };
    Ok(JournalPolicy(rules.into_iter().flatten().collect()))
}

/// Reads one table; `None` if it believes nobody.
fn rule(item: &Item<'_>) -> Result<Option<JournalRule>, PolicyError> {
    let mut section = item.section()?;
    let rule = JournalRule {
        recipients: list(&mut section, "recipients", RECIPIENTS, |entry| {
            entry.mail_address(RECIPIENTS)
        })?,
        peers: list(&mut section, "peers", PEERS, |entry| {
            Network::parse(entry.text(PEERS)?).map_err(|problem| entry.refuse(problem, PEERS))
        })?,
        senders: section
            .take("senders")
            .map(|item| distinct(&item, SENDERS, sender))
            .transpose()?,
    };
    section.end()?;
    if rule.recipients.is_empty() != rule.peers.is_empty() {
        let problem =
            "believes nobody: a report must come from one of peers, for one of recipients";
        return Err(item.refuse(
            problem,
            "both recipients and peers, or (no report is believed) neither",
        ));
    }
    Ok((!rule.peers.is_empty()).then_some(rule))
}

fn list<T: Ord>(
    section: &mut Section<'_>,
    key: &str,
    allowed: &str,
    read: impl Fn(&Item<'_>) -> Result<T, PolicyError>,
) -> Result<BTreeSet<T>, PolicyError> {
    distinct(&section.require(key, allowed)?, allowed, read)
}

fn sender(entry: &Item<'_>) -> Result<String, PolicyError> {
    match entry.text(SENDERS)? {
        "<>" => Ok(String::new()),
        _ => entry.mail_address(SENDERS),
    }
}

fn distinct<T: Ord>(
    list: &Item<'_>,
    allowed: &str,
    read: impl Fn(&Item<'_>) -> Result<T, PolicyError>,
) -> Result<BTreeSet<T>, PolicyError> {
    let mut out = BTreeSet::new();
    for entry in list.items(allowed)? {
        if !out.insert(read(&entry)?) {
            return Err(entry.refuse("is there twice", allowed));
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_has_the_addresses_that_begin_alike() {
        let has = |network: &str, address: &str| {
            let network = Network::parse(network).expect("a network");
            network.has(address.parse().expect("an address"))
        };
        assert!(has("192.0.2.10", "192.0.2.10") && !has("192.0.2.10", "192.0.2.11"));
        assert!(has("192.0.2.0/24", "192.0.2.255") && !has("192.0.2.0/24", "192.0.3.0"));
        assert!(has("2001:db8::/32", "2001:db8::1") && !has("2001:db8::/32", "2001:db9::1"));
        assert!(has("::ffff:192.0.2.10", "192.0.2.10"), "as the box logs it");
        assert!(has("::ffff:192.0.2.0/120", "192.0.2.255"));
        assert!(!has("::ffff:192.0.2.0/120", "192.0.3.0"));
        assert!(has("128.0.0.0/1", "255.1.1.1") && !has("::/1", "10.0.0.1"));
        for wrong in [
            "192.0.2.10/24",
            "0.0.0.0/0",
            "10.0.0.0/33",
            "mail.example",
            "10.0.0.0/",
            "::ffff:0.0.0.0/96",
            "/8",
            "",
        ] {
            assert!(Network::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_ipv4_peer_is_known_on_an_ipv6_listener() {
        let peers = BTreeSet::from([Network::parse("192.0.2.10").expect("an address")]);
        let rule = JournalRule {
            recipients: BTreeSet::new(),
            peers,
            senders: None,
        };
        assert!(rule.is_peer("::ffff:192.0.2.10".parse().expect("an address")));
        assert!(!rule.is_peer("::192.0.2.10".parse().expect("an address")));
    }
}
