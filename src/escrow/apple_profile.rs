//! Configuration profiles of Apple's systems (`.mobileconfig`) with identities in them: a property list, bare or signed,
//! that holds PKCS#12 in base64, and often its passphrase.

use super::SecretBytes;
use memchr::memmem;
use zeroize::Zeroizing;

/// The type of a payload that is PKCS#12.
const IDENTITY: &str = "com.apple.security.pkcs12";
/// Most values taken from one profile.
const MOST: usize = 100;

/// What a profile holds.
pub(super) struct Profile {
    /// PKCS#12 and certificates.
    pub containers: Vec<SecretBytes>,
    /// The passphrases that are beside them.
    pub passphrases: Vec<SecretBytes>,
}

/// Reads the profile that a file holds; `None` if there is none with an identity in it.
pub(super) fn read(file: &[u8]) -> Option<Profile> {
    let begin = memmem::find(file, b"<plist")?;
    let end = begin + memmem::find(&file[begin..], b"</plist>")?;
    let list = std::str::from_utf8(&file[begin..end]).ok()?;
    list.contains(IDENTITY).then(|| Profile {
        containers: between(list, "<data>", "</data>")
            .filter_map(decoded)
            .collect(),
        passphrases: passphrases(list),
    })
}

fn decoded(base64: &str) -> Option<SecretBytes> {
    let digits: Vec<u8> = base64
        .bytes()
        .filter(|octet| !octet.is_ascii_whitespace())
        .collect();
    let bytes = data_encoding::BASE64.decode(&digits).ok()?;
    Some(SecretBytes::new(bytes))
}

/// The strings behind the key `Password`.
fn passphrases(list: &str) -> Vec<SecretBytes> {
    let behind = list.split("<key>Password</key>").skip(1).take(MOST);
    let strings = behind.filter_map(|rest| {
        let rest = rest.trim_start().strip_prefix("<string>")?;
        Some(&rest[..rest.find("</string>")?])
    });
    strings
        .map(|text| SecretBytes::new(unescaped(text).as_bytes().to_vec()))
        .collect()
}

fn unescaped(text: &str) -> Zeroizing<String> {
    let pairs = [
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&apos;", "'"),
        ("&amp;", "&"),
    ];
    pairs
        .iter()
        .fold(Zeroizing::new(text.to_owned()), |text, (from, to)| {
            Zeroizing::new(text.replace(from, to))
        })
}

fn between<'a>(text: &'a str, begin: &'a str, end: &'a str) -> impl Iterator<Item = &'a str> {
    let pieces = text.split(begin).skip(1).take(MOST);
    pieces.filter_map(move |piece| Some(&piece[..piece.find(end)?]))
}
