//! Users' private keys: read from any container, proven to work, kept with their history, and used to
//! undo one wrap at a time.

mod apple_profile;
mod backup;
mod kem;
pub mod keyholder;
pub mod offer;
pub mod openpgp_key;
mod pbes2;
mod pkcs12;
mod plain;
mod rounds;
pub mod smime_key;
pub mod smime_load;

use crate::id::Digest;
use crate::mail::keyops::{KeyHint, KeyRefusal, SessionKey, Wrapped};
use crate::secret::SecretBytes;
use crate::time::Timestamp;
use openssl::x509::X509;
pub use plain::plain;
use serde::{Deserialize, Serialize};

/// The public facts about a user's key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyInfo {
    /// SHA-256 of the certificate (S/MIME) or the OpenPGP fingerprint of the primary key; lower-case hexadecimal.
    pub fingerprint: String,
    /// "S/MIME" or "OpenPGP".
    pub format: String,
    /// "RSA-2048", "P-256", "X25519", "ML-KEM-768+X25519", ….
    pub algorithm: String,
    /// Addresses in the certificate (rfc822Name, emailAddress) or user ids, lower case.
    pub addresses: Vec<String>,
    /// Subject or primary user id.
    pub name: String,
    /// Start of validity.
    pub valid_from: Option<Timestamp>,
    /// End of validity.
    pub valid_until: Option<Timestamp>,
    /// The key may also sign (no key usage, or both usages). It is never used to; its release warns.
    pub dual_use: bool,
    /// All hints by which a message may name this key.
    pub hints: Vec<KeyHint>,
    /// The public part: certificate (DER), or OpenPGP certificate (binary). Used to verify signatures.
    #[serde(with = "serde_bytes")]
    pub certificate: Vec<u8>,
}

/// Why a key was not taken. The text is shown to the person who brought it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyProblem {
    /// Not a key in any known container.
    #[error("not a PKCS#12, PEM, DER or OpenPGP private key: {0}")]
    Unreadable(String),
    /// No passphrase given opens it.
    #[error("no passphrase that was given opens it")]
    WrongPassphrase,
    /// Key and certificate are of different pairs.
    #[error("the private key does not belong to the certificate {0}")]
    Mismatch(String),
    /// There is a key but no certificate to name it by.
    #[error(
        "a private key without its certificate: give both, in one file or as NAME.pem and NAME.crt"
    )]
    NoCertificate,
    /// There is a certificate and no key.
    #[error("a certificate alone: give its private key too, unless that is in escrow already")]
    CertificateAlone,
    /// As before, OpenPGP.
    #[error(
        "an OpenPGP public key alone: give the secret key, as gpg --export-secret-keys writes it"
    )]
    PublicKeyAlone,
    /// A key of GnuPG's agent, which only its certificate can name.
    #[error(
        "a GnuPG agent key ({0}) without its certificate: give the whole .gnupg folder, or put the exported certificate beside the key file"
    )]
    NoOpenPgpCertificate(String),
    /// A certificate says that the key only signs.
    #[error("a pure signing key is not escrowed: that would end its value as proof ({0})")]
    SigningOnly(String),
    /// The test decryption failed.
    #[error("a test message encrypted to the certificate does not decrypt with the key")]
    ProofFailed,
    /// The algorithm is not supported.
    #[error("unsupported: {0}")]
    Unsupported(String),
}

/// A user's private key that has been read and unlocked.
pub trait UserKey: Send + Sync {
    /// The public facts.
    fn info(&self) -> &KeyInfo;
    /// Undoes one wrap.
    fn unwrap_session_key(&self, wrapped: &Wrapped) -> Result<SessionKey, KeyRefusal>;
    /// The form that is stored sealed; the reader of the same format takes it back.
    fn to_secret_bytes(&self) -> SecretBytes;
    /// SHA-256 of the public half, which all X.509 certificates of this key share; `None` of another kind of key.
    fn public_half(&self) -> Option<Digest> {
        None
    }
    /// The same key under a further certificate; `None` where that is of another key.
    fn under(&self, _certificate: &X509) -> Option<Result<Box<dyn UserKey>, KeyProblem>> {
        None
    }
}

/// What a key file held.
#[derive(Default)]
pub struct Loaded {
    /// Keys that were read and unlocked.
    pub keys: Vec<Box<dyn UserKey>>,
    /// Keys without their certificate: they open mail in `inspect`, but are not escrowed.
    pub nameless: Vec<Box<dyn UserKey>>,
    /// Keys whose public facts are readable, but which no passphrase given unlocks.
    pub locked: Vec<KeyInfo>,
    /// True if a container cannot be looked into at all without its passphrase (PKCS#12, a backup).
    pub sealed: bool,
    /// What was not taken, and why.
    pub problems: Vec<KeyProblem>,
}

/// Certificates of keys that come without.
#[derive(Default)]
pub struct Certificates {
    /// For S/MIME.
    pub x509: Vec<X509>,
    /// Transferable public keys, binary.
    pub openpgp: Vec<Vec<u8>>,
}

/// Reads private keys from any container: OpenPGP (armored or binary, whole rings), PKCS#12, PEM, DER. Each
/// passphrase is tried, the empty one too. `certificates` name keys that come without.
#[must_use]
pub fn load(bytes: &[u8], passphrases: &[SecretBytes], certificates: &Certificates) -> Loaded {
    let plain = plain(bytes);
    let bytes = plain.as_ref().map_or(bytes, SecretBytes::expose);
    let backup = match backup::opened(bytes, passphrases) {
        Ok(backup) => backup,
        Err(problem) => {
            return Loaded {
                problems: vec![problem],
                sealed: true,
                ..Loaded::default()
            };
        }
    };
    let bytes = backup.as_ref().map_or(bytes, SecretBytes::expose);
    if openpgp_key::is_agent_file(bytes) {
        let mut loaded = openpgp_key::load_agent_file(bytes, passphrases, &certificates.openpgp);
        if !certificates.x509.is_empty() {
            load_agent_smime(&mut loaded, bytes, passphrases, &certificates.x509);
        }
        return loaded;
    }
    let certificates = &certificates.x509;
    let openpgp = is_openpgp(bytes);
    let mut loaded = Loaded::default();
    let results = if openpgp {
        openpgp_key::load(bytes, passphrases)
    } else {
        let found = smime_load::load(bytes, passphrases, certificates);
        loaded.nameless = found.nameless;
        found.named
    };
    for result in results {
        match result {
            Ok(key) => loaded.keys.push(key),
            Err(problem) => loaded.problems.push(problem),
        }
    }
    if openpgp {
        let unlocked = |info: &KeyInfo| {
            loaded
                .keys
                .iter()
                .any(|key| key.info().fingerprint == info.fingerprint)
        };
        loaded.locked = openpgp_key::facts(bytes)
            .into_iter()
            .filter(|info| !unlocked(info))
            .collect();
    } else {
        loaded.sealed = loaded.problems.contains(&KeyProblem::WrongPassphrase);
    }
    loaded
}

/// Adds gpgsm's keys from a file of GnuPG's agent: those that one of `certificates` names.
fn load_agent_smime(
    loaded: &mut Loaded,
    bytes: &[u8],
    passphrases: &[SecretBytes],
    certificates: &[X509],
) {
    let pkeys = openpgp_key::agent_pkeys(bytes, passphrases, certificates);
    let named = smime_load::named(&pkeys, certificates);
    let keys: Vec<_> = named.into_iter().filter_map(Result::ok).collect();
    let protected = openpgp_key::x509_naming_protected(bytes, certificates);
    let infos = protected.iter().flat_map(smime_key::describe);
    let fingerprint = |key: &dyn UserKey| key.info().fingerprint.clone();
    let unlocked: Vec<_> = keys.iter().map(|key| fingerprint(key.as_ref())).collect();
    let locked = infos.filter(|info| !unlocked.contains(&info.fingerprint));
    loaded.locked.extend(locked);
    loaded.keys.extend(keys);
}

/// OpenPGP armor, or a binary secret or public key packet.
pub(crate) fn is_openpgp(bytes: &[u8]) -> bool {
    let armored = bytes
        .windows(15)
        .take(64 << 10)
        .any(|window| window == b"-----BEGIN PGP ");
    armored || matches!(bytes.first(), Some(0x94..=0x97 | 0x98..=0x9b | 0xc5 | 0xc6))
}
