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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A profile with these containers and passphrases.
    fn profile(containers: &[Vec<u8>], passphrases: &[String]) -> String {
        let containers = containers.iter().map(|container| {
            let digits = data_encoding::BASE64.encode(container);
            format!("<data>\n{digits}\n</data>")
        });
        let passphrases = passphrases.iter().map(|text| {
            let text = text.replace('&', "&amp;").replace('<', "&lt;");
            format!("<key>Password</key>\n<string>{text}</string>")
        });
        let values: String = containers.chain(passphrases).collect();
        format!("<plist><string>{IDENTITY}</string>{values}</plist>")
    }

    #[test]
    fn so_many_values_are_taken() {
        let many = profile(&vec![vec![1]; 150], &vec!["x".to_owned(); 150]);
        let read = read(many.as_bytes()).expect("a profile");
        assert_eq!(
            (read.containers.len(), read.passphrases.len()),
            (MOST, MOST)
        );
    }

    proptest! {
        #[test]
        fn what_is_in_it_comes_out(
            containers in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..4),
            passphrases in prop::collection::vec("[^\\PC>]{0,12}", 0..4),
        ) {
            let file = [b"signed".as_slice(), profile(&containers, &passphrases).as_bytes()].concat();
            let read = read(&file).expect("a profile");
            let shown = |all: &[SecretBytes]| -> Vec<Vec<u8>> {
                all.iter().map(|one| one.expose().to_vec()).collect()
            };
            prop_assert_eq!(shown(&read.containers), containers);
            let given: Vec<_> = passphrases.iter().map(|text| text.as_bytes().to_vec()).collect();
            prop_assert_eq!(shown(&read.passphrases), given);
        }

        #[test]
        fn any_list_is_survived(
            pieces in prop::collection::vec("<data>|</data>|<key>Password</key>|<string>|</string>|</plist>|&[a-z]{0,4};|[ -~]{0,6}", 0..30),
        ) {
            let file = format!("<plist>{IDENTITY}{}</plist>", pieces.concat());
            read(file.as_bytes());
            read(pieces.concat().as_bytes());
        }
    }
}
