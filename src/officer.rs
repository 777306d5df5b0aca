//! An officer's key file: a P-256 key to sign with and an X-Wing key to open shares with, both under a
//! passphrase (argon2id). The public part is what a founding and every later check know of the officer.

use crate::crypto::hpke::{OpeningKey, SealingKey};
use crate::crypto::kdf::{Label, derive, framed};
use crate::crypto::sign::{SigningKey, VerifyingKey};
use crate::crypto::wrap;
use crate::id::Digest;
use crate::secret::{Key, SecretBytes};
use argon2::{Algorithm, Argon2, Params, Version};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use zeroize::Zeroizing;

/// Largest officer file or public part, in bytes.
pub const LARGEST: u64 = 64 << 10;
const FORMAT: &str = "strongroom officer 1";
/// Shortest passphrase that a new file takes, in bytes.
pub const SHORTEST_PASSPHRASE: usize = 8;

/// Why an officer file was not made, read or unlocked.
#[derive(Debug, thiserror::Error)]
pub enum OfficerError {
    /// The name cannot be used.
    #[error(
        "{0:?} is not an officer's name: 1 to 64 printable characters, no =, no blank at either end"
    )]
    BadName(String),
    /// Not our JSON.
    #[error("not an officer file: {0}; `strongroom officer new` makes one")]
    NotAFile(#[source] serde_json::Error),
    /// Another version of the format.
    #[error("an officer file of the format {0:?}; this program reads {FORMAT:?}")]
    OtherFormat(String),
    /// The costs in the file are out of bounds, so that reading it would take memory or time without end.
    #[error(
        "argon2id with {memory_kib} KiB, {passes} passes and {lanes} lanes is out of bounds (8 KiB to 1 GiB, 1 to 20, 1 to 16)"
    )]
    BadCost {
        /// Memory in KiB.
        memory_kib: u32,
        /// Passes over it.
        passes: u32,
        /// Lanes.
        lanes: u32,
    },
    /// The passphrase is too short to protect anything.
    #[error("the passphrase is shorter than {SHORTEST_PASSPHRASE} bytes")]
    ShortPassphrase,
    /// The passphrase does not open the file.
    #[error("the passphrase does not open {0}'s officer file (or the file is altered)")]
    WrongPassphrase(OfficerName),
}

/// The name an officer goes by in ceremonies.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct OfficerName(String);

impl FromStr for OfficerName {
    type Err = OfficerError;
    fn from_str(text: &str) -> Result<Self, OfficerError> {
        let length = text.chars().count();
        let plain = !text.chars().any(|c| c.is_control() || c == '=');
        if (1..=64).contains(&length) && plain && text.trim() == text {
            Ok(Self(text.to_owned()))
        } else {
            Err(OfficerError::BadName(text.chars().take(80).collect()))
        }
    }
}

impl TryFrom<String> for OfficerName {
    type Error = OfficerError;
    fn try_from(text: String) -> Result<Self, OfficerError> {
        text.parse()
    }
}

impl From<OfficerName> for String {
    fn from(name: OfficerName) -> Self {
        name.0
    }
}

impl fmt::Display for OfficerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What everybody may know of an officer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfficerPublic {
    /// The officer's name, unique in one box.
    pub name: OfficerName,
    /// Verifies the officer's signatures.
    pub signing: VerifyingKey,
    /// Shares are sealed to it.
    pub sealing: SealingKey,
}

impl OfficerPublic {
    /// `frame(name) ‖ frame(signing key, 33 bytes) ‖ frame(sealing key, 1216 bytes)`.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let parts: [&[u8]; 3] = [
            self.name.0.as_bytes(),
            &self.signing.to_bytes(),
            self.sealing.as_bytes(),
        ];
        parts.into_iter().flat_map(framed).collect()
    }

    /// SHA-256 of [`OfficerPublic::to_bytes`]: what two people compare over the telephone.
    #[must_use]
    pub fn fingerprint(&self) -> Digest {
        Digest::of(&self.to_bytes())
    }

    /// Reads a public part, or takes it out of an officer file.
    pub fn parse(json: &[u8]) -> Result<Self, OfficerError> {
        serde_json::from_slice(json).map_err(OfficerError::NotAFile)
    }
}

/// What argon2id costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cost {
    /// Memory in KiB.
    pub memory_kib: u32,
    /// Passes over it.
    pub passes: u32,
    /// Lanes.
    pub lanes: u32,
}

impl Default for Cost {
    fn default() -> Self {
        Self {
            memory_kib: 64 << 10,
            passes: 3,
            lanes: 1,
        }
    }
}

/// An officer file as it lies on the officer's medium.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct OfficerFile {
    format: String,
    #[serde(flatten)]
    public: OfficerPublic,
    argon2id: Cost,
    salt: String,
    sealed: String,
}

/// An officer's private keys, unlocked.
pub struct OfficerKey {
    public: OfficerPublic,
    signing: SigningKey,
    opening: OpeningKey,
}

impl OfficerFile {
    /// Makes an officer's keys and locks them by `passphrase`.
    pub fn create(
        name: OfficerName,
        passphrase: &SecretBytes,
        cost: Cost,
    ) -> Result<Self, OfficerError> {
        if passphrase.expose().len() < SHORTEST_PASSPHRASE {
            return Err(OfficerError::ShortPassphrase);
        }
        let (signing, opening) = (SigningKey::generate(), OpeningKey::generate());
        let public = OfficerPublic {
            name,
            signing: signing.verifying_key(),
            sealing: opening.sealing_key(),
        };
        let mut seeds = Zeroizing::new([0u8; 64]);
        seeds[..32].copy_from_slice(signing.scalar().expose());
        seeds[32..].copy_from_slice(opening.seed().expose());
        let salt: [u8; 16] = crate::crypto::random::bytes();
        let key = stretched(passphrase, &salt, cost)?;
        let sealed = wrap::seal(&key, &public.to_bytes(), seeds.as_slice());
        let base64 = |bytes: &[u8]| data_encoding::BASE64.encode(bytes);
        Ok(Self {
            format: FORMAT.to_owned(),
            public,
            argon2id: cost,
            salt: base64(&salt),
            sealed: base64(&sealed),
        })
    }

    /// Reads a file's JSON.
    pub fn parse(json: &[u8]) -> Result<Self, OfficerError> {
        let file: Self = serde_json::from_slice(json).map_err(OfficerError::NotAFile)?;
        if file.format == FORMAT {
            Ok(file)
        } else {
            Err(OfficerError::OtherFormat(file.format))
        }
    }

    /// The file's JSON.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        pretty(self)
    }

    /// The public part.
    #[must_use]
    pub const fn public(&self) -> &OfficerPublic {
        &self.public
    }

    /// Unlocks the private keys. Takes the time and memory that the file names.
    pub fn unlock(&self, passphrase: &SecretBytes) -> Result<OfficerKey, OfficerError> {
        let wrong = || OfficerError::WrongPassphrase(self.public.name.clone());
        let decode = |text: &str| {
            data_encoding::BASE64
                .decode(text.as_bytes())
                .map_err(|_| wrong())
        };
        let key = stretched(passphrase, &decode(&self.salt)?, self.argon2id)?;
        let seeds = wrap::open(&key, &self.public.to_bytes(), &decode(&self.sealed)?)
            .map_err(|_| wrong())?;
        let (scalar, seed) = seeds.expose().split_at_checked(32).ok_or_else(wrong)?;
        let scalar = Key::from_slice(scalar).ok_or_else(wrong)?;
        let signing = SigningKey::from_scalar(&scalar).map_err(|_| wrong())?;
        let opening = OpeningKey::from_seed(Key::from_slice(seed).ok_or_else(wrong)?);
        Ok(OfficerKey {
            public: self.public.clone(),
            signing,
            opening,
        })
    }
}

impl OfficerKey {
    /// The public part.
    #[must_use]
    pub const fn public(&self) -> &OfficerPublic {
        &self.public
    }

    /// Signs a text that the officer has been shown.
    #[must_use]
    pub fn sign(&self, text: &[u8]) -> [u8; 64] {
        self.signing.sign(text)
    }

    /// The key that opens shares.
    #[must_use]
    pub const fn opening(&self) -> &OpeningKey {
        &self.opening
    }
}

/// JSON with line ends, as people read it.
///
/// # Panics
/// Never: our types have text keys and no failing serialisers.
#[allow(clippy::expect_used)]
pub(crate) fn pretty(value: &impl Serialize) -> Vec<u8> {
    let mut json = serde_json::to_vec_pretty(value).expect("plain structures become JSON");
    json.push(b'\n');
    json
}

fn stretched(passphrase: &SecretBytes, salt: &[u8], cost: Cost) -> Result<Key, OfficerError> {
    let Cost {
        memory_kib,
        passes,
        lanes,
    } = cost;
    let bad = || OfficerError::BadCost {
        memory_kib,
        passes,
        lanes,
    };
    let bounded = (8..=1 << 20).contains(&memory_kib)
        && (1..=20).contains(&passes)
        && (1..=16).contains(&lanes);
    let params = Params::new(memory_kib, passes, lanes, Some(32))
        .ok()
        .filter(|_| bounded)
        .ok_or_else(bad)?;
    let mut out = Zeroizing::new([0u8; 32]);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(passphrase.expose(), salt, out.as_mut_slice())
        .map_err(|_| bad())?;
    Ok(derive(&Key::copy_from(&out), Label::OfficerFile, &[]))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Cheap enough for tests.
    pub(crate) const CHEAP: Cost = Cost {
        memory_kib: 8,
        passes: 1,
        lanes: 1,
    };

    pub(crate) fn officer(name: &str) -> OfficerKey {
        let passphrase = SecretBytes::new(b"correct horse".to_vec());
        let file =
            OfficerFile::create(name.parse().expect("name"), &passphrase, CHEAP).expect("file");
        file.unlock(&passphrase).expect("unlocks")
    }

    #[test]
    fn a_file_opens_with_its_passphrase_alone() {
        let passphrase = SecretBytes::new(b"correct horse".to_vec());
        let made =
            OfficerFile::create("Ada".parse().expect("name"), &passphrase, CHEAP).expect("file");
        let read = OfficerFile::parse(&made.to_json()).expect("parses");
        let key = read.unlock(&passphrase).expect("unlocks");
        assert!(
            read.public()
                .signing
                .verify(b"text", &key.sign(b"text"))
                .is_ok()
        );
        let sealed = read.public().sealing.seal(b"i", b"a", b"share");
        assert_eq!(
            key.opening()
                .open(b"i", b"a", &sealed)
                .expect("opens")
                .expose(),
            b"share"
        );
        let wrong = read.unlock(&SecretBytes::new(b"wrong horse".to_vec()));
        assert!(matches!(wrong, Err(OfficerError::WrongPassphrase(_))));
        assert_eq!(
            OfficerPublic::parse(&made.to_json()).expect("public part"),
            *made.public()
        );
    }

    #[test]
    fn a_swapped_public_key_is_noticed() {
        let passphrase = SecretBytes::new(b"correct horse".to_vec());
        let mut file =
            OfficerFile::create("Ada".parse().expect("name"), &passphrase, CHEAP).expect("file");
        file.public.sealing = OpeningKey::generate().sealing_key();
        assert!(file.unlock(&passphrase).is_err());
    }

    #[test]
    fn hostile_costs_and_short_passphrases_are_refused() {
        let passphrase = SecretBytes::new(b"correct horse".to_vec());
        let mut file =
            OfficerFile::create("Ada".parse().expect("name"), &passphrase, CHEAP).expect("file");
        file.argon2id.memory_kib = u32::MAX;
        assert!(matches!(
            file.unlock(&passphrase),
            Err(OfficerError::BadCost { .. })
        ));
        let short = OfficerFile::create(
            "Ada".parse().expect("name"),
            &SecretBytes::new(b"short".to_vec()),
            CHEAP,
        );
        assert!(matches!(short, Err(OfficerError::ShortPassphrase)));
        for bad in ["", " Ada", "A=B", "A\nB"] {
            assert!(bad.parse::<OfficerName>().is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = OfficerFile::parse(&bytes);
            let _ = OfficerPublic::parse(&bytes);
        }
    }
}
