//! What opening a mail yields. `inspect --json` prints these, the manifest keeps them.

use super::keyops::KeyHint;
use crate::id::Digest;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

/// The beginning of a name that somebody else chose, which stays in the records of the mail.
pub(super) fn shortened(name: &str) -> String {
    const MOST: usize = 4096;
    name[..name.floor_char_boundary(MOST)].to_owned()
}

/// How far a mail could be opened, all layers together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Every encrypted layer was opened.
    Opened,
    /// At least one layer was opened and at least one was not.
    Partly,
    /// No key here opens it.
    NoKey,
    /// The key is here but locked by a passphrase that was not given.
    LockedKey,
    /// Policy refuses the algorithm, or a bound was passed.
    Refused,
    /// Broken structure or failed integrity check.
    Damaged,
    /// There is no encrypted layer.
    NotEncrypted,
}

/// The family of a cryptographic layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// CMS, RFC 8551 and older.
    Smime,
    /// RFC 9580 and older.
    Openpgp,
}

/// What protected a layer's plaintext against change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Integrity {
    /// AEAD or MDC, checked and good.
    Authenticated,
    /// None in the format (CBC EnvelopedData, SED).
    Unauthenticated,
    /// A check failed: the plaintext is not used.
    Broken,
    /// Not an encryption layer, or not opened.
    None,
}

/// One cryptographic layer, outermost first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layer {
    /// 0 for the outermost; a layer found inside another's plaintext is one deeper.
    pub depth: u32,
    /// S/MIME or OpenPGP.
    pub format: Format,
    /// `enveloped`, `authenveloped`, `encrypted`, `authenticated`, `signed`, `clear-signed`, `compressed`,
    /// `digested`, `certs-only`; for OpenPGP `encrypted`, `signed`, `clear-signed`, `compressed`, `literal`.
    pub kind: String,
    /// Names as in the RFCs: content cipher, key transport, digests ("AES-256-CBC", "RSA-PKCS1", "SEIPDv1").
    pub algorithms: Vec<String>,
    /// Recipients as the message names them, in readable form ("issuer CN=…, serial 0A", key id in hex).
    pub recipients: Vec<String>,
    /// Fingerprint of the key that opened the layer.
    pub key: Option<String>,
    /// See [`Integrity`].
    pub integrity: Integrity,
    /// Of this layer alone: opened, or why not.
    pub outcome: Outcome,
    /// Why the layer was not opened, in plain words.
    pub reason: Option<String>,
    /// SHA-256 of exactly the bytes that opening this layer yields.
    pub plaintext_sha256: Option<Digest>,
    /// The same after CRLF → LF; only where it was asked for ([`super::context::OpenPolicy::folded_digests`]).
    pub plaintext_lf_sha256: Option<Digest>,
}

/// How far a signature can be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Good, by a signer that a trust anchor or a directory vouches for.
    Valid,
    /// Good, with a reservation named in the reason (expired since, noncanonical line ends, weak algorithm).
    ValidBut,
    /// Nobody who is trusted vouches that the person in From signed: there is no trusted key or certificate for the
    /// signer, whatever came with the mail, or it is one of somebody else (`from-mismatch: …`).
    UnknownSigner,
    /// Bad signature, altered content, or a signer that may not sign this.
    Invalid,
}

/// The bare signature check, whatever the trust in the signer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SignatureMath {
    /// The signature fits the bytes and the key.
    Good,
    /// It does not.
    Bad,
    /// There was no key to check with.
    Unchecked,
}

/// How much of the mail a signature covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// The whole body as a reader sees it.
    Whole,
    /// One part of several.
    Part,
}

/// Revocation of the signer's certificate or key, apart from the verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Revocation {
    /// Fresh data says it was not revoked.
    Good,
    /// Revoked.
    Revoked,
    /// No data.
    Unknown,
    /// There is data, but too old for the time in question.
    Stale,
}

/// One signature and the evidence for its verdict (requirement E6).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signature {
    /// Depth of the signed layer.
    pub depth: u32,
    /// S/MIME or OpenPGP.
    pub format: Format,
    /// See [`Verdict`].
    pub verdict: Verdict,
    /// See [`SignatureMath`].
    pub math: SignatureMath,
    /// Why this verdict, in plain words; machine-readable beginnings ("expired: …", "noncanonical: …").
    pub reason: String,
    /// Addresses or name of the signer as the certificate or key says, else the key id.
    pub signer: String,
    /// The signer's addresses as the certificate or key proves them, in the form in which they are compared.
    /// Manifests written before 2026-11-28 do not have it.
    #[serde(default)]
    pub addresses: Vec<String>,
    /// Fingerprint of the signer's certificate (SHA-256) or key, where known.
    pub fingerprint: Option<String>,
    /// See [`Scope`].
    pub scope: Scope,
    /// Signing time as the signer claims it.
    pub time: Option<Timestamp>,
    /// Signature and digest algorithms.
    pub algorithms: Vec<String>,
    /// How the policy rates these, and those that the signer's chain hangs on.
    /// Manifests written before 2026-11-28 do not have it.
    #[serde(default)]
    pub rated: Vec<Rated>,
    /// Signer's certificate and chain up to the anchor, DER (S/MIME), or the certificate (OpenPGP).
    pub chain: Vec<serde_bytes::ByteBuf>,
    /// Digest of the set of trust anchors that it was judged with (S/MIME): SHA-256 of their SHA-256, sorted.
    /// Manifests written before 2026-11-28 do not have it.
    #[serde(default)]
    pub anchors: Option<Digest>,
    /// Where the key came from: "anchors", "escrow", "directory", "message".
    pub key_source: Option<String>,
    /// See [`Revocation`].
    pub revocation: Revocation,
    /// Where the revocation data came from.
    pub revocation_source: Option<String>,
    /// The From addresses that the signer's were compared with. Manifests written before 2026-11-28 do not have it.
    #[serde(default)]
    pub from: Vec<String>,
    /// Whether the From address is one of the signer's addresses; `None` if there is no From.
    pub from_matches: Option<bool>,
    /// The verdict for the time that the mail claims, where that lies well before its arrival (imported mail).
    /// Manifests written before 2026-11-22 do not have it.
    #[serde(default)]
    pub claimed: Option<Claimed>,
}

impl Signature {
    /// A signature of which nothing is known but this: not checked, no signer, no chain.
    #[must_use]
    pub const fn bare(format: Format, verdict: Verdict, reason: String) -> Self {
        Self {
            depth: 0,
            format,
            verdict,
            math: SignatureMath::Unchecked,
            reason,
            signer: String::new(),
            addresses: Vec::new(),
            fingerprint: None,
            scope: Scope::Whole,
            time: None,
            algorithms: Vec::new(),
            rated: Vec::new(),
            anchors: None,
            from: Vec::new(),
            chain: Vec::new(),
            key_source: None,
            revocation: Revocation::Unknown,
            revocation_source: None,
            from_matches: None,
            claimed: None,
        }
    }
}

/// An algorithm as the policy rates it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rated {
    /// Its name.
    pub name: String,
    /// It is weak.
    pub weak: bool,
}

/// A verdict as it would have been at a time that nobody but the mail itself attests: as good as that claim.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claimed {
    /// The claimed time.
    pub time: Timestamp,
    /// Who claims it.
    pub source: ClaimSource,
    /// The verdict for that time.
    pub verdict: Verdict,
    /// Why this verdict.
    pub reason: String,
    /// Revocation at that time.
    pub revocation: Revocation,
    /// Where the revocation data came from.
    pub revocation_source: Option<String>,
}

/// What claims a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClaimSource {
    /// The signer, in the signature.
    SigningTime,
    /// The Date field of the mail.
    Date,
}

/// Header fields and text for search, decoded to UTF-8.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SearchText {
    /// `Message-ID` without angle brackets.
    pub message_id: Option<String>,
    /// From addresses and names.
    pub from: Vec<Mailbox>,
    /// To, Cc, Bcc and Resent- recipients.
    pub to: Vec<Mailbox>,
    /// The decoded subject; of protected headers the inner one.
    pub subject: String,
    /// The Date field.
    pub date: Option<Timestamp>,
    /// Text of all readable parts and attachments, within the bound.
    pub body: String,
    /// Names of attachments.
    pub attachments: Vec<String>,
    /// Whether a reader sees attachments, with or without a name. Manifests written before 2026-11-28 do not have it.
    #[serde(default)]
    pub has_attachment: Option<bool>,
    /// Structured e-invoices found ("XRechnung", "Factur-X"), and parts whose text could not be taken, with why.
    pub notes: Vec<String>,
}

impl SearchText {
    /// Whether there are attachments; where nobody said, whether there are names of any.
    #[must_use]
    pub fn is_with_attachment(&self) -> bool {
        self.has_attachment.unwrap_or(!self.attachments.is_empty())
    }
}

/// A display name and an address.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Mailbox {
    /// Decoded display name, or empty.
    pub name: String,
    /// `local@domain` as written.
    pub address: String,
}

/// All that opening one mail yields.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opened {
    /// Of all layers together.
    pub outcome: Outcome,
    /// Why it is not `Opened`, in plain words.
    pub reason: Option<String>,
    /// Layers in the order they were met, outermost first.
    pub layers: Vec<Layer>,
    /// Signatures in layer order.
    pub signatures: Vec<Signature>,
    /// The mail with each opened layer replaced in place (RFC 5322); `None` if nothing was opened.
    #[serde(with = "serde_bytes")]
    pub rendition: Option<Vec<u8>>,
    /// For search.
    pub text: SearchText,
    /// The keys that unopened layers wait for (the worklist).
    pub waiting_for: Vec<KeyHint>,
}
