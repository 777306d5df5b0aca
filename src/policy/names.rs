//! The names of algorithms that a policy may speak of, as the readers of mail write them; and which of several names is
//! nearest to a misspelt one.

/// Names without a number of their own.
const NAMES: &[&str] = &[
    // keys and signatures
    "v3-key",
    "RSA",
    "RSA-PKCS1",
    "RSA-PSS",
    "RSA-KEM",
    "DSA",
    "ElGamal",
    "ECDH",
    "ECDSA",
    "EdDSA",
    "Ed25519",
    "Ed448",
    "X25519",
    "X448",
    "P-256",
    "P-384",
    "P-521",
    "Kyber-GnuPG",
    "ML-DSA-44",
    "ML-DSA-65",
    "ML-DSA-87",
    "ML-DSA-65+Ed25519",
    "ML-DSA-87+Ed448",
    "SLH-DSA-SHA2-128s",
    "SLH-DSA-SHA2-128f",
    "SLH-DSA-SHA2-192s",
    "SLH-DSA-SHA2-192f",
    "SLH-DSA-SHA2-256s",
    "SLH-DSA-SHA2-256f",
    "SLH-DSA-SHAKE-128s",
    "SLH-DSA-SHAKE-128f",
    "SLH-DSA-SHAKE-192s",
    "SLH-DSA-SHAKE-192f",
    "SLH-DSA-SHAKE-256s",
    "SLH-DSA-SHAKE-256f",
    "ML-KEM-512",
    "ML-KEM-768",
    "ML-KEM-1024",
    "ML-KEM-768+X25519",
    "ML-KEM-1024+X448",
    "ECMQV-SHA-1",
    "ECMQV-SHA-224",
    "ECMQV-SHA-256",
    "ECMQV-SHA-384",
    "ECMQV-SHA-512",
    "DH-SHA-1",
    "ECDH-HKDF-SHA-256",
    "ECDH-HKDF-SHA-384",
    "ECDH-HKDF-SHA-512",
    "KEA",
    // ciphers of OpenPGP; DES and RC2 with their key's length are in policies that were shipped
    "plaintext",
    "IDEA",
    "3DES",
    "CAST5",
    "Blowfish",
    "AES-128",
    "AES-192",
    "AES-256",
    "Twofish",
    "Camellia-128",
    "Camellia-192",
    "Camellia-256",
    "DES",
    "RC2-40",
    "RC2-64",
    "RC2-128",
    "SED",
    "SEIPDv1",
    "SEIPDv2",
    "GnuPG-AEAD",
    "EAX",
    "OCB",
    "GCM",
    // key wraps, and what else CMS names
    "AES-128-WRAP",
    "AES-192-WRAP",
    "AES-256-WRAP",
    "AES-128-WRAP-PAD",
    "AES-192-WRAP-PAD",
    "AES-256-WRAP-PAD",
    "Camellia-128-WRAP",
    "Camellia-192-WRAP",
    "Camellia-256-WRAP",
    "SEED-WRAP",
    "3DES-WRAP",
    "RC2-WRAP",
    "zlib",
];
/// Digests; also behind one of [`WITH_DIGEST`].
const DIGESTS: &[&str] = &[
    "MD2",
    "MD4",
    "MD5",
    "SHA-1",
    "RIPEMD-160",
    "SHA-224",
    "SHA-256",
    "SHA-384",
    "SHA-512",
    "SHA-512/224",
    "SHA-512/256",
    "SHA3-224",
    "SHA3-256",
    "SHA3-384",
    "SHA3-512",
    "SHAKE-128",
    "SHAKE-256",
    "SM3",
];
const WITH_DIGEST: &[&str] = &["RSA-OAEP-", "PBKDF2-", "HMAC-", "ECDH-"];
/// Content ciphers of CMS; also behind [`WITH_CIPHER`].
const CONTENT_CIPHERS: &[&str] = &[
    "AES-128-CBC",
    "AES-192-CBC",
    "AES-256-CBC",
    "AES-128-GCM",
    "AES-192-GCM",
    "AES-256-GCM",
    "AES-128-CCM",
    "AES-192-CCM",
    "AES-256-CCM",
    "AES-128-OFB",
    "AES-192-OFB",
    "AES-256-OFB",
    "AES-128-CFB",
    "AES-192-CFB",
    "AES-256-CFB",
    "ChaCha20-Poly1305",
    "3DES-CBC",
    "DES-CBC",
    "RC4",
    "RC2-CBC",
    "RC2-40-CBC",
    "RC2-56-CBC",
    "RC2-64-CBC",
    "RC2-128-CBC",
    "RC5-CBC",
    "CAST5-CBC",
    "Camellia-128-CBC",
    "Camellia-192-CBC",
    "Camellia-256-CBC",
    "SEED-CBC",
    "IDEA-CBC",
    "Blowfish-CBC",
    "ARIA-128-CBC",
    "ARIA-192-CBC",
    "ARIA-256-CBC",
    "ARIA-128-GCM",
    "ARIA-192-GCM",
    "ARIA-256-GCM",
    "SM4-CBC",
    "Skipjack-CBC",
];
const WITH_CIPHER: &str = "PWRI-";
/// Families of keys that are named with their length in bits.
const WITH_BITS: &[&str] = &["RSA-", "DSA-"];
/// Elliptic curves that have no name are named by the bits of their field.
const NAMELESS_CURVE: &str = "EC-";
/// Curves other than P-256 to P-521 are named as openssl names them.
const CURVES: &[&str] = &[
    "brainpoolP",
    "secp",
    "sect",
    "prime",
    "c2pnb",
    "c2tnb",
    "c2onb",
    "wap-wsg-idm-ecid-wtls",
];

/// Whether any reader of mail can name an algorithm so. Algorithms that have no name are shown by their object
/// identifier.
pub(super) fn is_algorithm(name: &str) -> bool {
    let ends_in = |prefix: &str, known: &[&str]| {
        name.strip_prefix(prefix)
            .is_some_and(|rest| known.contains(&rest))
    };
    NAMES.contains(&name)
        || DIGESTS.contains(&name)
        || CONTENT_CIPHERS.contains(&name)
        || WITH_DIGEST.iter().any(|prefix| ends_in(prefix, DIGESTS))
        || ends_in(WITH_CIPHER, CONTENT_CIPHERS)
        || WITH_BITS
            .iter()
            .any(|family| name.strip_prefix(family).is_some_and(is_key_length))
        || name.strip_prefix(NAMELESS_CURVE).is_some_and(is_curve_size)
        || CURVES.iter().any(|family| {
            name.strip_prefix(family)
                .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
        })
        || is_object_identifier(name)
}

fn is_key_length(bits: &str) -> bool {
    bits.parse::<u32>()
        .is_ok_and(|bits| (256..=32_768).contains(&bits))
}

fn is_curve_size(bits: &str) -> bool {
    bits.parse::<u32>()
        .is_ok_and(|bits| (64..=1024).contains(&bits))
}

fn is_object_identifier(name: &str) -> bool {
    let mut arcs = name.split('.');
    name.contains('.')
        && arcs.all(|arc| !arc.is_empty() && arc.bytes().all(|byte| byte.is_ascii_digit()))
}

/// The algorithm whose name is nearest.
pub(super) fn nearest_algorithm(name: &str) -> Option<&'static str> {
    let all = [NAMES, DIGESTS, CONTENT_CIPHERS]
        .into_iter()
        .flatten()
        .copied();
    nearest(name, all)
}

/// The name that is nearest to a misspelt one, if any is near. Case and what is neither letter nor digit count less than
/// anything else.
pub(super) fn nearest<'n>(misspelt: &str, names: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let sought = bare(misspelt);
    let most = sought.len().div_ceil(3).min(3);
    names
        .map(|name| {
            (
                distance(&sought, &bare(name)),
                name.len().abs_diff(misspelt.len()),
                name,
            )
        })
        .filter(|(distance, _, _)| *distance <= most)
        .min()
        .map(|(_, _, name)| name)
}

fn bare(name: &str) -> Vec<char> {
    let significant = name.chars().filter(|c| c.is_alphanumeric());
    significant.take(80).flat_map(char::to_lowercase).collect()
}

/// How many letters must be put in, left out or changed to make one of the other.
fn distance(one: &[char], other: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (above, letter) in one.iter().enumerate() {
        let mut diagonal = above;
        let mut left = above + 1;
        for (place, against) in row
            .iter_mut()
            .zip(std::iter::once(None).chain(other.iter().map(Some)))
        {
            let next = match against {
                None => above + 1,
                Some(same) => {
                    let changed = diagonal + usize::from(same != letter);
                    changed.min(*place + 1).min(left + 1)
                }
            };
            diagonal = std::mem::replace(place, next);
            left = next;
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_found() {
        for (misspelt, meant) in [
            ("SHA1", "SHA-1"),
            ("sha-256", "SHA-256"),
            ("3-DES", "3DES"),
            ("ripemd160", "RIPEMD-160"),
            ("Blowfsh", "Blowfish"),
            ("AES128-CBC", "AES-128-CBC"),
        ] {
            assert!(!is_algorithm(misspelt), "{misspelt}");
            assert_eq!(nearest_algorithm(misspelt), Some(meant), "{misspelt}");
        }
        assert_eq!(nearest_algorithm("nonsense of all kinds"), None);
        let keys = ["case_mail", "case_key"];
        assert_eq!(nearest("case_mal", keys.into_iter()), Some("case_mail"));
        assert_eq!(nearest("people", keys.into_iter()), None);
    }

    #[test]
    fn what_the_readers_of_mail_can_write_is_a_name() {
        for name in [
            "RSA-2048",
            "DSA-1024",
            "RSA-OAEP-SHA-256",
            "PWRI-AES-256-CBC",
            "HMAC-SHA-1",
            "brainpoolP256r1",
            "1.2.840.113549.3.11",
            "secp256k1",
        ] {
            assert!(is_algorithm(name), "{name}");
        }
        for number in 0..=255 {
            let name = crate::mail::openpgp::public_key_name(number);
            assert!(is_algorithm(&name) || name.contains(' '), "{name}");
        }
        for last in 17..=31 {
            let oid = format!("2.16.840.1.101.3.4.3.{last}");
            let name = crate::mail::smime::verify::plain_name(&oid);
            assert!(is_algorithm(&name) && name.contains("DSA-"), "{name}");
        }
        for name in ["", "RSA-", "RSA-1", "RSA-x", "1.", "HMAC-AES-128"] {
            assert!(!is_algorithm(name), "{name}");
        }
    }
}
