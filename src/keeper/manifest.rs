//! What the vault keeps about a mail beside its bytes: one manifest a record, one arrival part for each
//! further arrival. JSON, for it must be readable in thirty years (`docs/formats.md`).

use crate::id::{Digest, RecordId, SpoolId, TenantId};
use crate::mail::model::Opened;
use crate::time::Timestamp;
use data_encoding::BASE64;
use serde::{Deserialize, Serialize};
use std::io;
use std::ops::Range;

/// Version of the manifest's form.
pub const VERSION: u32 = 1;

/// Most bytes of JSON for what opening a mail yields: evidence, not content. With any envelope it is far below what is read
/// back of a manifest.
const LARGEST_EVIDENCE: u64 = 8 << 20;

/// Why the evidence of a mail cannot be kept, if it is too large.
#[must_use]
pub fn over_evidence(opened: &Opened) -> Option<String> {
    let mut counter = Counter(0);
    // Neither counting nor the JSON form of an opened mail fails.
    let _ = serde_json::to_writer(&mut counter, opened);
    (counter.0 > LARGEST_EVIDENCE).then(|| {
        format!(
            "evidence too large: {} bytes where {LARGEST_EVIDENCE} are kept: archived as received, not opened",
            counter.0
        )
    })
}

struct Counter(u64);

impl io::Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// How a mail came in, as the receiving side saw it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Arrival {
    /// 0 for the first, counting the record's arrivals.
    pub number: u32,
    /// Queue id.
    pub spool_id: SpoolId,
    /// When the last byte was accepted.
    pub received: Timestamp,
    /// Envelope sender, empty for bounces.
    pub sender: String,
    /// Envelope recipients: the true ones, Bcc included.
    pub recipients: Vec<String>,
    /// Parameters of MAIL as sent (`ENVID=…`, `RET=…`).
    #[serde(default)]
    pub parameters: Vec<String>,
    /// Parameters of each RCPT as sent (`NOTIFY=…`, `ORCPT=…`), in the order of `recipients`; empty where no RCPT has any.
    #[serde(default)]
    pub recipient_parameters: Vec<Vec<String>>,
    /// "smtp", "lmtp" or "import", with what is known of the peer.
    pub source: String,
    /// Trace header fields in front that differ from the record's original, byte for byte (base64); the arrival's
    /// exact bytes are these, then the original from `shared_from` on.
    pub own_prefix: Option<String>,
    /// Where the part shared with the original begins, in bytes of the original.
    pub shared_from: u64,
    /// Where it ends, where that is not the original's end: the original is a journal report around the mail.
    #[serde(default)]
    pub shared_until: Option<u64>,
    /// The mail came in this journal report: `sender` and `recipients` are what the report says.
    #[serde(default)]
    pub report: Option<JournalReport>,
}

/// A journal report (MS-XJRNL) that was believed: what it says beside sender and recipients, and its own envelope.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalReport {
    /// Envelope sender of the report.
    pub sender: String,
    /// Envelope recipients of the report: journaling mailboxes.
    pub recipients: Vec<String>,
    /// As in [`Arrival::parameters`].
    pub parameters: Vec<String>,
    /// As in [`Arrival::recipient_parameters`].
    pub recipient_parameters: Vec<Vec<String>>,
    /// In whose name the mail was sent, where the report says so.
    pub on_behalf_of: Option<String>,
    /// How it names each of the arrival's recipients, in their order.
    pub named: Vec<ReportedRecipient>,
    /// Where the mail begins in the arrival's exact bytes. It ends with the shared part.
    pub mail_from: u64,
    /// What follows the shared part in the arrival's exact bytes (base64); none for the first arrival.
    pub own_suffix: Option<String>,
}

/// How a report names a recipient.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportedRecipient {
    /// `To`, `Cc`, `Bcc`; `Recipient` where how it was addressed is not verified.
    pub role: String,
    /// What the sender had addressed, if a list or a forwarding lies between: `Expanded: LIST`, `Forwarded: MAILBOX`.
    pub original: Option<String>,
}

impl Arrival {
    /// Where the mail lies in the original of so many bytes, if this is the record's first arrival: all of it, or what is
    /// inside of the journal report.
    #[must_use]
    pub fn mail(&self, length: u64) -> Range<u64> {
        let from = self.report.as_ref().map_or(0, |report| report.mail_from);
        let until = self.shared_until.unwrap_or(length).min(length);
        from.min(until)..until
    }
}

/// Where a sealed part lies, and what it must contain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartEntry {
    /// Segment number.
    pub segment: u32,
    /// Offset of the part's frame in the segment file.
    pub offset: u64,
    /// Length of the sealed bytes.
    pub sealed_length: u64,
    /// Length of the content.
    pub length: u64,
    /// "zstd" or "none", applied before sealing.
    pub compression: String,
    /// SHA-256(salt ‖ content).
    pub commitment: Digest,
    /// The commitment's random salt, base64 of 32 bytes; it dies with the manifest.
    pub salt: String,
}

/// One record, as of its revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`VERSION`].
    pub version: u32,
    /// Makes the manifest's own digest unguessable: base64 of 32 random bytes.
    pub salt: String,
    /// The mail's permanent identification code.
    pub record: RecordId,
    /// Whose archive.
    pub tenant: TenantId,
    /// 1 at arrival; higher once a rendition was made later.
    pub revision: u32,
    /// The first arrival.
    pub arrival: Arrival,
    /// By which equal content is found within the tenant: a PRF output under the tenant's join key.
    pub join: Digest,
    /// The exact bytes as received.
    pub original: PartEntry,
    /// The readable rendition, where something was opened.
    pub rendition: Option<PartEntry>,
    /// Layers, verdicts and evidence, without rendition and text.
    pub opened: Opened,
}

impl Manifest {
    /// Where the mail lies in the original: all of it, or what is inside of the journal report.
    #[must_use]
    pub fn mail(&self) -> Range<u64> {
        self.arrival.mail(self.original.length)
    }

    /// How many bytes the mail's readable form has.
    #[must_use]
    pub fn readable_length(&self) -> u64 {
        let mail = self.mail();
        let rendition = self.rendition.as_ref();
        rendition.map_or(mail.end.saturating_sub(mail.start), |entry| entry.length)
    }
}

/// A further arrival of a record that is already there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaterArrival {
    /// [`VERSION`].
    pub version: u32,
    /// As in [`Manifest::salt`].
    pub salt: String,
    /// The record.
    pub record: RecordId,
    /// How it came.
    pub arrival: Arrival,
}

/// A fresh salt in its text form, with its bytes.
#[must_use]
pub fn salt() -> (String, [u8; 32]) {
    let bytes: [u8; 32] = crate::crypto::random::bytes();
    (BASE64.encode(&bytes), bytes)
}

/// SHA-256(salt ‖ content), incrementally.
pub struct Committer(sha2::Sha256);

impl Committer {
    /// Starts with the salt.
    #[must_use]
    pub fn new(salt: &[u8; 32]) -> Self {
        use sha2::Digest as _;
        Self(sha2::Sha256::new_with_prefix(salt))
    }

    /// Adds content.
    pub fn update(&mut self, content: &[u8]) {
        use sha2::Digest as _;
        self.0.update(content);
    }

    /// The commitment.
    #[must_use]
    pub fn finish(self) -> Digest {
        use sha2::Digest as _;
        Digest(self.0.finalize().into())
    }
}

impl PartEntry {
    /// That of a part which is not in the vault yet.
    #[must_use]
    pub const fn to_come() -> Self {
        Self {
            segment: 0,
            offset: 0,
            sealed_length: 0,
            length: 0,
            compression: String::new(),
            commitment: Digest([0; 32]),
            salt: String::new(),
        }
    }

    /// The salt's bytes, if the text form is intact.
    #[must_use]
    pub fn salt_bytes(&self) -> Option<[u8; 32]> {
        BASE64.decode(self.salt.as_bytes()).ok()?.try_into().ok()
    }
}

/// Trace fields are looked for in so many bytes.
pub const TRACE_WINDOW: u64 = 64 * 1024;

/// The length of the leading trace fields (Return-Path, Received, Delivered-To, X-Original-To, Envelope-To): copies
/// of one mail to several recipients differ only there. At most [`TRACE_WINDOW`] bytes are looked at.
#[must_use]
pub fn trace_prefix(mail: &[u8]) -> usize {
    const TRACE: [&str; 6] = [
        "return-path:",
        "received:",
        "delivered-to:",
        "x-original-to:",
        "envelope-to:",
        "x-envelope-to:",
    ];
    let window = &mail[..mail.len().min(TRACE_WINDOW as usize)];
    let mut end = 0;
    let mut in_trace = false;
    for line in window.split_inclusive(|&byte| byte == b'\n') {
        let folded = line.starts_with(b" ") || line.starts_with(b"\t");
        let starts_trace = TRACE.iter().any(|name| {
            line.len() >= name.len() && line[..name.len()].eq_ignore_ascii_case(name.as_bytes())
        });
        in_trace = if folded { in_trace } else { starts_trace };
        if !in_trace || !line.ends_with(b"\n") {
            break;
        }
        end += line.len();
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn evidence_beyond_what_is_kept_is_told() {
        let mut opened = Opened {
            outcome: crate::mail::model::Outcome::NoKey,
            reason: None,
            layers: Vec::new(),
            signatures: Vec::new(),
            rendition: None,
            text: crate::mail::model::SearchText::default(),
            waiting_for: Vec::new(),
        };
        assert_eq!(over_evidence(&opened), None);
        let hint = crate::mail::keyops::KeyHint::SubjectKeyId(vec![200; 9 << 20]);
        opened.waiting_for.push(hint);
        let reason = over_evidence(&opened).expect("too large");
        assert!(reason.starts_with("evidence too large: "), "{reason}");
    }

    #[test]
    fn a_mail_lies_within_its_original_whatever_its_manifest_says() {
        let report = JournalReport {
            sender: String::new(),
            recipients: Vec::new(),
            parameters: Vec::new(),
            recipient_parameters: Vec::new(),
            on_behalf_of: None,
            named: Vec::new(),
            mail_from: 90,
            own_suffix: None,
        };
        let arrival = Arrival {
            number: 0,
            spool_id: SpoolId {
                file: crate::id::SpoolFileId::random(),
                number: 0,
            },
            received: Timestamp(0),
            sender: String::new(),
            recipients: Vec::new(),
            parameters: Vec::new(),
            recipient_parameters: Vec::new(),
            source: String::new(),
            own_prefix: None,
            shared_from: 95,
            shared_until: Some(50),
            report: Some(report),
        };
        for length in [0, 40, 60, 100] {
            let mail = arrival.mail(length);
            assert!(mail.start <= mail.end && mail.end <= length, "{mail:?}");
        }
    }

    #[test]
    fn the_trace_prefix_ends_at_the_first_other_field() {
        let mail = b"Return-Path: <a@b>\r\nReceived: from x\r\n\tby y\r\nFrom: a\r\nReceived: z\r\n\r\nbody";
        assert_eq!(&mail[trace_prefix(mail)..][..7], b"From: a");
        assert_eq!(trace_prefix(b"From: a\r\n\r\n"), 0);
        assert_eq!(trace_prefix(b" folded first\r\n"), 0);
        assert_eq!(trace_prefix(b"Received: without line end"), 0);
    }
}
