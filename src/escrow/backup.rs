//! Keys that lie in a message under a passphrase, as the Autocrypt Setup Message defines it: what Delta Chat, K-9 Mail and
//! Enigmail hand keys over with, and what OpenKeychain's backups are.

use super::KeyProblem;
use super::keyholder::Keyholder;
use crate::mail::context::{Budget, Context, OpenPolicy, Trust};
use crate::mail::openpgp;
use crate::secret::SecretBytes;
use crate::time::Timestamp;
use memchr::memmem;

const BEGIN: &[u8] = b"-----BEGIN PGP MESSAGE-----";
/// The header that tells such a message from others, and how far behind the first line it is looked for.
const MARK: &[u8] = b"Passphrase-Format:";
const NEAR: usize = 512;
const KEY: &[u8] = b"-----BEGIN PGP PRIVATE KEY BLOCK-----";
/// Digits of a setup code, which is written in groups of four.
const CODE: usize = 36;

/// The armored keys in such a message; `None` if there is none in `bytes`.
pub(super) fn opened(
    bytes: &[u8],
    passphrases: &[SecretBytes],
) -> Result<Option<SecretBytes>, KeyProblem> {
    let Some(message) = message_in(bytes) else {
        return Ok(None);
    };
    decrypted(message, passphrases)
        .filter(|found| memmem::find(found.expose(), KEY).is_some())
        .map(Some)
        .ok_or(KeyProblem::WrongPassphrase)
}

fn message_in(bytes: &[u8]) -> Option<&[u8]> {
    let message = &bytes[memmem::find(bytes, BEGIN)?..];
    let head = &message[..message.len().min(NEAR)];
    memmem::find(head, MARK).map(|_| message)
}

fn decrypted(message: &[u8], passphrases: &[SecretBytes]) -> Option<SecretBytes> {
    let keys = Keyholder::with_passphrases(passphrases.iter().flat_map(readings).collect());
    let ctx = Context {
        keys: &keys,
        trust: &Trust::default(),
        attached: &[],
        policy: &OpenPolicy::default(),
        arrived: Timestamp::from_seconds(0),
        date: None,
        from: Vec::new(),
        around: None,
        budget: &Budget::default(),
    };
    let opened = openpgp::open(message, None, &ctx).ok()?;
    Some(SecretBytes::new(opened.plaintext))
}

/// The passphrase; a code of 36 digits also in its groups, however they were typed.
fn readings(passphrase: &SecretBytes) -> Vec<SecretBytes> {
    let digits = passphrase.expose().iter().copied();
    let digits = SecretBytes::new(digits.filter(u8::is_ascii_digit).collect());
    let mut readings = vec![passphrase.duplicate()];
    if digits.expose().len() == CODE {
        let groups: Vec<&[u8]> = digits.expose().chunks(4).collect();
        readings.push(SecretBytes::new(groups.join(&b'-')));
    }
    readings
}
