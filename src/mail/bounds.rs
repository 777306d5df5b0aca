//! How much one mail may cost. Above a bound the original is archived all the same, with its outcome named.

use serde::{Deserialize, Serialize};

/// The bounds that `keys-policy` sets under `[bounds]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Bounds {
    /// Largest mail that is opened at all, in bytes.
    pub message_bytes: u64,
    /// Most plaintext that all layers of a mail together may yield, in bytes.
    pub expanded_bytes: u64,
    /// Most bytes out of a decompressor for each byte in.
    pub ratio: u32,
    /// Most MIME parts, and armored blocks in text, in all layers together.
    pub parts: u32,
    /// Deepest nesting of MIME parts and cryptographic layers.
    pub depth: u32,
    /// Most recipients looked at in one layer.
    pub recipients: u32,
    /// Most private-key operations for one mail.
    pub key_operations: u32,
    /// Most seconds for one mail (enforced by the keeper, which kills the worker).
    pub seconds: u32,
    /// Most bytes of text kept for search.
    pub text_bytes: u64,
    /// Text for search is taken out of documents too (office files, PDF). Not set by policy: the keeper does without where a
    /// worker died or took too long over a mail.
    pub documents: bool,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            message_bytes: 256 << 20,
            expanded_bytes: 512 << 20,
            ratio: 1000,
            parts: 2000,
            depth: 50,
            recipients: 500,
            key_operations: 64,
            seconds: 60,
            text_bytes: 1 << 20,
            documents: true,
        }
    }
}
