//! PKCS#12 files (RFC 7292): the reading of a passphrase that opens one, and every key and certificate in it.
//!
//! OpenSSL checks the MAC and reads what is written as the standard has it. What it leaves out, or does not open although
//! the MAC fits, is read here: further keys, keys in encrypted safes, and PBES2 over the passphrase in other octets than
//! UTF-8, as NSS before 3.30 (BMPString) and programs of Latin-1 times wrote it.

use super::pbes2;
use super::rounds::{self, Tries};
use super::smime_load::unlocked;
use crate::mail::smime::algorithm::Algorithm;
use crate::mail::smime::ber::{Element, tag};
use crate::mail::smime::oids;
use crate::secret::SecretBytes;
use openssl::error::ErrorStack;
use openssl::pkcs12::Pkcs12;
use openssl::pkey::{PKey, Private};
use openssl::x509::X509;

const KEY_BAG: &str = "1.2.840.113549.1.12.10.1.1";
const SHROUDED_KEY_BAG: &str = "1.2.840.113549.1.12.10.1.2";
const CERTIFICATE_BAG: &str = "1.2.840.113549.1.12.10.1.3";
const SAFE_BAG: &str = "1.2.840.113549.1.12.10.1.6";

/// Most bags looked at in one file.
const MOST_BAGS: usize = 1000;
/// Deepest nesting of safes in bags.
const DEEPEST: u32 = 4;

/// What the bags of a file are opened with.
struct Opening<'o> {
    octets: &'o [u8],
    tries: &'o Tries<'o>,
    /// Bags that are still looked at.
    left: usize,
}

/// What a file holds.
#[derive(Default)]
pub(super) struct Opened {
    pub keys: Vec<PKey<Private>>,
    pub certificates: Vec<X509>,
}

/// Opens the file `bytes`, which `container` was read from, with the first of the passphrases that fits, or with none.
pub(super) fn open(container: &Pkcs12, bytes: &[u8], tries: &Tries<'_>) -> Option<Opened> {
    tries.each(rounds::in_all(bytes)).find_map(|passphrase| {
        let texts = texts(passphrase);
        texts
            .iter()
            .find_map(|text| open_with(container, bytes, passphrase, text, tries))
    })
}

fn open_with(
    container: &Pkcs12,
    bytes: &[u8],
    passphrase: &[u8],
    text: &SecretBytes,
    tries: &Tries<'_>,
) -> Option<Opened> {
    match container.parse2(std::str::from_utf8(text.expose()).ok()?) {
        Ok(parsed) => {
            let mut opened = Opened {
                keys: parsed.pkey.into_iter().collect(),
                certificates: parsed.cert.into_iter().collect(),
            };
            opened.certificates.extend(parsed.ca.into_iter().flatten());
            opened.add_bags(bytes, text.expose(), tries);
            Some(opened)
        }
        Err(error) if is_wrong_mac(&error) => None,
        Err(_) => octets_of(passphrase, text).iter().find_map(|octets| {
            let mut opened = Opened::default();
            opened.add_bags(bytes, octets.expose(), tries);
            (!opened.keys.is_empty()).then_some(opened)
        }),
    }
}

fn is_wrong_mac(error: &ErrorStack) -> bool {
    /// `PKCS12_R_MAC_VERIFY_FAILURE` of `ERR_LIB_PKCS12`.
    const WRONG_MAC: (i32, i32) = (35, 113);
    let mut errors = error.errors().iter();
    errors.any(|error| (error.library_code(), error.reason_code()) == WRONG_MAC)
}

/// The texts that a passphrase may be, in UTF-8: octets that are none are Latin-1, and OpenSSL before 1.1 took UTF-8 for
/// Latin-1 too. No text has a NUL.
fn texts(passphrase: &[u8]) -> Vec<SecretBytes> {
    if passphrase.contains(&0) {
        return Vec::new();
    }
    let latin1: String = passphrase.iter().map(|octet| char::from(*octet)).collect();
    let mut texts = vec![SecretBytes::from(latin1)];
    if !passphrase.is_ascii() && std::str::from_utf8(passphrase).is_ok() {
        texts.insert(0, SecretBytes::new(passphrase.to_vec()));
    }
    texts
}

/// The octets that PBES2 may have been given for `text`: those of the passphrase itself, UTF-8, Latin-1, and a BMPString
/// with and without the zero at its end.
fn octets_of(passphrase: &[u8], text: &SecretBytes) -> Vec<SecretBytes> {
    let mut all = vec![SecretBytes::new(passphrase.to_vec()), text.duplicate()];
    let text = std::str::from_utf8(text.expose()).unwrap_or_default();
    let latin1: Option<Vec<u8>> = text.chars().map(|c| u8::try_from(c).ok()).collect();
    all.extend(latin1.map(SecretBytes::new));
    let units = text.encode_utf16().chain([0]);
    let wide: Vec<u8> = units.flat_map(u16::to_be_bytes).collect();
    all.push(SecretBytes::new(wide[..wide.len() - 2].to_vec()));
    all.push(SecretBytes::new(wide));
    let mut different: Vec<SecretBytes> = Vec::new();
    for octets in all {
        if !different.iter().any(|one| one.expose() == octets.expose()) {
            different.push(octets);
        }
    }
    different
}

impl Opened {
    /// Adds what is not there yet of the bags that open with these octets. The keys' safes come first: where none of
    /// their keys opens, nothing else is tried.
    fn add_bags(&mut self, pfx: &[u8], octets: &[u8], tries: &Tries<'_>) {
        let Some(safes) = authenticated_safes(pfx) else {
            return;
        };
        let Ok(safes) = Element::only(&safes) else {
            return;
        };
        let safes: Vec<_> = safes.inside().filter_map(Result::ok).collect();
        let mut opening = Opening {
            octets,
            tries,
            left: MOST_BAGS,
        };
        let (plain, locked): (Vec<_>, Vec<_>) =
            safes.iter().partition(|safe| is_of_type(safe, oids::DATA));
        for safe in plain {
            if let Some(bags) = plain_content(safe)
                && self.add_safe(&bags, &mut opening, 0).is_none()
            {
                return;
            }
        }
        for safe in locked {
            if !tries.may_spend(rounds::asked_for(safe.raw)) {
                return;
            }
            let Some(bags) = locked_content(safe, octets) else {
                continue;
            };
            if self.add_safe(bags.expose(), &mut opening, 0).is_none() {
                return;
            }
        }
    }

    /// `None` once there is nothing to go on for.
    fn add_safe(&mut self, bags: &[u8], opening: &mut Opening<'_>, depth: u32) -> Option<()> {
        let Ok(bags) = Element::only(bags) else {
            return Some(());
        };
        for bag in bags.inside().map_while(Result::ok) {
            opening.left = opening.left.checked_sub(1)?;
            let Some((kind, value)) = bag_value(&bag) else {
                continue;
            };
            match kind.as_str() {
                SHROUDED_KEY_BAG => self.add_shrouded(&value, opening)?,
                KEY_BAG => self.add_key(plain_key(&value)),
                CERTIFICATE_BAG => self.add_certificate(&value),
                SAFE_BAG if depth < DEEPEST => {
                    self.add_safe(value.raw, opening, depth + 1)?;
                }
                _ => (),
            }
        }
        Some(())
    }

    fn add_shrouded(&mut self, value: &Element<'_>, opening: &Opening<'_>) -> Option<()> {
        // What lay in an encrypted safe was not looked at before.
        let der = value.to_der().ok();
        let affordable = der.filter(|der| {
            let asked = rounds::asked_for(der);
            asked <= rounds::MOST && opening.tries.may_spend(asked)
        });
        let key = affordable.and_then(|der| unlocked(&der, opening.octets).ok());
        let goes_on = key.is_some() || !self.keys.is_empty();
        self.add_key(key);
        goes_on.then_some(())
    }

    fn add_key(&mut self, key: Option<PKey<Private>>) {
        let new = key.filter(|key| !self.keys.iter().any(|known| known.public_eq(key)));
        self.keys.extend(new);
    }

    fn add_certificate(&mut self, bag: &Element<'_>) {
        let new = certificate(bag).filter(|certificate| !self.certificates.contains(certificate));
        self.certificates.extend(new);
    }
}

fn authenticated_safes(pfx: &[u8]) -> Option<Vec<u8>> {
    let mut inside = Element::split(pfx).ok()?.0.inside();
    inside.expect(tag::INTEGER, "a version").ok()?;
    plain_content(&inside.value("safes").ok()?)
}

fn is_of_type(content_info: &Element<'_>, kind: const_oid::ObjectIdentifier) -> bool {
    let first = content_info.inside().value("a content type");
    first
        .and_then(|first| first.oid())
        .is_ok_and(|oid| oid == kind)
}

/// What a ContentInfo holds.
fn content<'a>(content_info: &Element<'a>) -> Option<Element<'a>> {
    let mut inside = content_info.inside();
    inside.value("a content type").ok()?;
    let explicit = inside.expect(tag::context(0), "content").ok()?;
    explicit.inside().value("content").ok()
}

/// The octets of a ContentInfo of type `id-data`.
fn plain_content(content_info: &Element<'_>) -> Option<Vec<u8>> {
    let octets = content(content_info)?.octet_string().ok()?;
    is_of_type(content_info, oids::DATA).then(|| octets.into_owned())
}

/// The plaintext of a ContentInfo of type `id-encryptedData` under PBES2.
fn locked_content(content_info: &Element<'_>, octets: &[u8]) -> Option<SecretBytes> {
    let mut encrypted = content(content_info)?.inside();
    encrypted.expect(tag::INTEGER, "a version").ok()?;
    let mut info = encrypted
        .expect(tag::SEQUENCE, "an EncryptedContentInfo")
        .ok()?
        .inside();
    info.value("a content type").ok()?;
    let algorithm = Algorithm::read(&mut info).ok()?;
    let ciphertext = info.value("ciphertext").ok()?;
    pbes2::decrypt(&algorithm, &ciphertext.chunks(), octets)
}

fn bag_value<'a>(bag: &Element<'a>) -> Option<(String, Element<'a>)> {
    let mut inside = bag.inside();
    let kind = inside.value("a bag type").ok()?.oid().ok()?.to_string();
    let explicit = inside.expect(tag::context(0), "a bag").ok()?;
    Some((kind, explicit.inside().value("a bag").ok()?))
}

fn plain_key(value: &Element<'_>) -> Option<PKey<Private>> {
    let encoded = SecretBytes::new(value.to_der().ok()?);
    PKey::private_key_from_der(encoded.expose()).ok()
}

/// The certificate in a bag: its kind, then its octets. Another kind than X.509 is none.
fn certificate(bag: &Element<'_>) -> Option<X509> {
    let octets = content(bag)?.octet_string().ok()?;
    X509::from_der(&octets).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::smime::ber::der;
    use const_oid::ObjectIdentifier;
    use proptest::prelude::*;

    fn oid(dotted: &str) -> Vec<u8> {
        der(tag::OID, ObjectIdentifier::new_unwrap(dotted).as_bytes())
    }

    fn bag(kind: &str, value: &[u8]) -> Vec<u8> {
        let explicit = der(tag::context(0), value);
        der(tag::SEQUENCE, &[oid(kind), explicit].concat())
    }

    /// A file whose one safe, in the clear, holds these bags.
    fn file(bags: &[u8]) -> Vec<u8> {
        let data = |octets: &[u8]| {
            let explicit = der(tag::context(0), &der(tag::OCTET_STRING, octets));
            let kind = der(tag::OID, oids::DATA.as_bytes());
            der(tag::SEQUENCE, &[kind, explicit].concat())
        };
        let safes = der(tag::SEQUENCE, &data(&der(tag::SEQUENCE, bags)));
        der(
            tag::SEQUENCE,
            &[der(tag::INTEGER, &[3]), data(&safes)].concat(),
        )
    }

    fn key() -> PKey<Private> {
        PKey::ec_gen("P-256").unwrap()
    }

    /// How many keys are found in a file with these bags, under the passphrase "x".
    fn found(bags: &[u8]) -> usize {
        let mut opened = Opened::default();
        opened.add_bags(&file(bags), b"x", &Tries::of(&[]));
        opened.keys.len()
    }

    #[test]
    fn keys_are_found_in_safes_in_bags_so_deep() {
        let plain = bag(KEY_BAG, &key().private_key_to_pkcs8().unwrap());
        let nested = |depth| {
            (0..depth).fold(plain.clone(), |bags, _| {
                bag(SAFE_BAG, &der(tag::SEQUENCE, &bags))
            })
        };
        assert_eq!(found(&nested(0)), 1);
        assert_eq!(found(&nested(DEEPEST)), 1);
        assert_eq!(found(&nested(DEEPEST + 1)), 0);
    }

    #[test]
    fn bags_of_all_safes_are_counted() {
        let (first, last) = (key(), key());
        let plain = |key: &PKey<Private>| bag(KEY_BAG, &key.private_key_to_pkcs8().unwrap());
        let others = |count: usize| {
            bag(
                SAFE_BAG,
                &der(tag::SEQUENCE, &bag(CERTIFICATE_BAG, &[5, 0]).repeat(count)),
            )
        };
        let bags = |count| [plain(&first), others(count), plain(&last)].concat();
        assert_eq!(found(&bags(MOST_BAGS - 3)), 2);
        assert_eq!(found(&bags(MOST_BAGS - 2)), 1);
    }

    #[test]
    fn rounds_of_keys_in_bags_are_counted_together() {
        let cipher = openssl::symm::Cipher::aes_256_cbc();
        let locked = key().private_key_to_pkcs8_passphrase(cipher, b"x").unwrap();
        let bags = bag(SHROUDED_KEY_BAG, &locked);
        let tries = Tries::of(&[]);
        let opened = || {
            let mut opened = Opened::default();
            opened.add_bags(&file(&bags), b"x", &tries);
            opened.keys.len()
        };
        assert_eq!(opened(), 1);
        while tries.may_spend(1_000_000) {}
        assert_eq!(opened(), 0);
    }

    proptest! {
        #[test]
        fn any_bags_are_survived(
            pieces in prop::collection::vec((0_usize..5, prop::collection::vec(any::<u8>(), 0..30)), 0..5),
            depth in 0_u32..8,
        ) {
            let kinds = [KEY_BAG, SHROUDED_KEY_BAG, CERTIFICATE_BAG, SAFE_BAG, "1.2.3"];
            let bags = pieces.iter().flat_map(|(kind, value)| bag(kinds[*kind], &der(tag::SEQUENCE, value)));
            let wrapped = (0..depth).fold(bags.collect::<Vec<u8>>(), |bags, _| {
                bag(SAFE_BAG, &der(tag::SEQUENCE, &bags))
            });
            found(&wrapped);
        }

        #[test]
        fn any_change_is_survived(at in 0_usize..200, byte: u8) {
            let mut file = file(&bag(KEY_BAG, &der(tag::SEQUENCE, &[1; 100])));
            let at = at % file.len();
            file[at] = byte;
            let mut opened = Opened::default();
            opened.add_bags(&file, b"x", &Tries::of(&[]));
            prop_assert!(opened.keys.is_empty());
            let _ = Pkcs12::from_der(&file).map(|container| open(&container, &file, &Tries::of(&[])));
        }
    }

    #[test]
    fn a_passphrase_is_read_as_programs_wrote_it() {
        let shown = |all: Vec<SecretBytes>| -> Vec<Vec<u8>> {
            all.iter().map(|one| one.expose().to_vec()).collect()
        };
        assert_eq!(shown(texts(b"ab")), [b"ab"]);
        assert_eq!(shown(texts(b"\xe4")), ["ä".as_bytes()]);
        assert_eq!(
            shown(texts("ä".as_bytes())),
            ["ä".as_bytes(), "Ã¤".as_bytes()]
        );
        assert!(texts(b"a\0").is_empty());
        let octets = octets_of("ä".as_bytes(), &SecretBytes::from("ä".to_owned()));
        let expected: [&[u8]; 4] = ["ä".as_bytes(), b"\xe4", b"\0\xe4", b"\0\xe4\0\0"];
        assert_eq!(shown(octets), expected);
        let none = octets_of(b"", &SecretBytes::new(Vec::new()));
        assert_eq!(shown(none), [b"".as_slice(), b"\0\0"]);
    }
}
