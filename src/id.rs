//! Names of things: newtypes with one text form each, so that no two kinds of id can be confused.

use data_encoding::{BASE32_NOPAD, HEXLOWER};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Why a text is not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a {kind}: {expected}")]
pub struct BadId {
    text: String,
    kind: &'static str,
    expected: &'static str,
}

fn bad(text: &str, kind: &'static str, expected: &'static str) -> BadId {
    let text = text.chars().take(80).collect();
    BadId {
        text,
        kind,
        expected,
    }
}

/// Whether this can be the address of a mailbox: something, an at sign, a domain, without blanks.
#[must_use]
pub fn is_mail_address(text: &str) -> bool {
    let unfit = |c: char| c.is_whitespace() || c.is_control();
    let halves = text.rsplit_once('@');
    let whole = halves.is_some_and(|(local, domain)| !local.is_empty() && !domain.is_empty());
    whole && text.len() <= 320 && !text.chars().any(unfit)
}

/// A name as greetings and certificates carry it, or why it is none.
pub fn host_name(text: &str) -> Result<String, &'static str> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-._:".contains(c);
    if (1..=64).contains(&text.len()) && text.chars().all(fits) {
        Ok(text.to_owned())
    } else {
        Err("not a host name such as archive.example.org, or an IP address")
    }
}

/// A customer of the box. One to 32 of `a-z 0-9 -`, beginning with a letter; it is a folder name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TenantId(String);

impl TenantId {
    /// The tenant's name, safe as one path component.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TenantId {
    type Err = BadId;
    fn from_str(text: &str) -> Result<Self, BadId> {
        let ok = text.len() <= 32
            && text.starts_with(|c: char| c.is_ascii_lowercase())
            && text
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if ok {
            Ok(Self(text.to_owned()))
        } else {
            Err(bad(
                text,
                "tenant name",
                "1 to 32 of a-z, 0-9 and -, beginning with a letter",
            ))
        }
    }
}

impl TryFrom<String> for TenantId {
    type Error = BadId;
    fn try_from(text: String) -> Result<Self, BadId> {
        text.parse()
    }
}

impl From<TenantId> for String {
    fn from(id: TenantId) -> Self {
        id.0
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A 128-bit random id whose text form is 26 characters of lower-case base32 (RFC 4648, no padding).
macro_rules! random_id {
    ($(#[$doc:meta])* $name:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name([u8; 16]);

        impl $name {
            /// A fresh random id.
            #[must_use]
            pub fn random() -> Self {
                Self(crate::crypto::random::bytes())
            }

            /// The id with these 16 bytes.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(bytes)
            }

            /// The 16 bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; 16] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&BASE32_NOPAD.encode(&self.0).to_ascii_lowercase())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl FromStr for $name {
            type Err = BadId;
            fn from_str(text: &str) -> Result<Self, BadId> {
                BASE32_NOPAD
                    .decode(text.to_ascii_uppercase().as_bytes())
                    .ok()
                    .and_then(|bytes| bytes.try_into().ok())
                    .map(Self)
                    .ok_or_else(|| bad(text, $kind, "26 characters of a-z and 2-7"))
            }
        }

        impl TryFrom<String> for $name {
            type Error = BadId;
            fn try_from(text: String) -> Result<Self, BadId> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.to_string()
            }
        }
    };
}

random_id!(
    /// A mail's permanent identification code (requirement C5).
    RecordId,
    "record id"
);
random_id!(
    /// One spool file.
    SpoolFileId,
    "spool file id"
);
random_id!(
    /// One box, from founding to its retirement.
    BoxId,
    "box id"
);
random_id!(
    /// A recovery case.
    CaseId,
    "case id"
);
random_id!(
    /// One sealed user key in escrow.
    EscrowId,
    "escrow id"
);

/// One accepted mail in the spool; its text form is the queue id in the SMTP reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SpoolId {
    /// The spool file.
    pub file: SpoolFileId,
    /// The mail's number in that file, from 0.
    pub number: u32,
}

impl fmt::Display for SpoolId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.file, self.number)
    }
}

impl FromStr for SpoolId {
    type Err = BadId;
    fn from_str(text: &str) -> Result<Self, BadId> {
        let whole = || bad(text, "queue id", "a spool file id, a point and a number");
        let (file, number) = text.split_once('.').ok_or_else(whole)?;
        Ok(Self {
            file: file.parse().map_err(|_| whole())?,
            number: number.parse().map_err(|_| whole())?,
        })
    }
}

/// A SHA-256 digest; text form lower-case hexadecimal.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// SHA-256 of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        use sha2::Digest as _;
        Self(sha2::Sha256::digest(bytes).into())
    }

    /// SHA-256 of `bytes` after CRLF → LF.
    #[must_use]
    pub fn of_lf(bytes: &[u8]) -> Self {
        use sha2::Digest as _;
        /// Lines are gathered up to this: hashing them one by one costs twice as much.
        const GATHERED: usize = 8 << 10;
        let mut sum = sha2::Sha256::new();
        let mut gathered = Vec::with_capacity(GATHERED.min(bytes.len()));
        let mut from = 0;
        let returns = memchr::memchr_iter(b'\r', bytes);
        for at in returns.filter(|at| bytes.get(at + 1) == Some(&b'\n')) {
            let line = &bytes[std::mem::replace(&mut from, at + 1)..at];
            if gathered.len() + line.len() > GATHERED {
                sum.update(&gathered);
                gathered.clear();
            }
            if line.len() > GATHERED {
                sum.update(line);
            } else {
                gathered.extend_from_slice(line);
            }
        }
        sum.update(&gathered);
        sum.update(&bytes[from..]);
        Self(sum.finalize().into())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

impl FromStr for Digest {
    type Err = BadId;
    fn from_str(text: &str) -> Result<Self, BadId> {
        HEXLOWER
            .decode(text.as_bytes())
            .ok()
            .and_then(|bytes| bytes.try_into().ok())
            .map(Self)
            .ok_or_else(|| bad(text, "SHA-256 digest", "64 characters of 0-9 and a-f"))
    }
}

impl TryFrom<String> for Digest {
    type Error = BadId;
    fn try_from(text: String) -> Result<Self, BadId> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_survive_their_text_form() {
        let id = RecordId::random();
        assert_eq!(id.to_string().parse(), Ok(id));
        let queue = SpoolId {
            file: SpoolFileId::random(),
            number: 7,
        };
        assert_eq!(queue.to_string().parse(), Ok(queue));
        assert_eq!(Digest::of_lf(b"\r\na\r\n\rb\r"), Digest::of(b"\na\n\rb\r"));
        for length in [0, 1, 60, 8190, 8191, 8192, 8193, 20_000] {
            let lines = ["x".repeat(length), "y".repeat(70), "x".repeat(length)].join("\r\n");
            let lines = lines.repeat(200);
            let folded = lines.replace("\r\n", "\n");
            assert_eq!(
                Digest::of_lf(lines.as_bytes()),
                Digest::of(folded.as_bytes()),
                "{length}"
            );
        }
        let digest = Digest::of(b"x");
        assert_eq!(digest.to_string().parse(), Ok(digest));
    }

    #[test]
    fn a_tenant_name_is_a_safe_path_component() {
        for good in ["main", "a", "acme-2"] {
            assert!(good.parse::<TenantId>().is_ok(), "{good}");
        }
        for bad in ["", "-a", "..", "a/b", "Acme", "a.b", "1a", &"a".repeat(33)] {
            assert!(bad.parse::<TenantId>().is_err(), "{bad}");
        }
    }
}
