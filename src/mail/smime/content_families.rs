//! The families of content ciphers: their names, modes and lengths of keys.

use super::oids::oid;
use const_oid::ObjectIdentifier;

/// How a cipher is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// Block mode with PKCS#7 padding.
    Padded,
    /// Stream mode, no padding.
    Stream,
    /// Authenticated, tag beside or behind the ciphertext.
    Aead,
    /// Authenticated; wants all lengths beforehand.
    Ccm,
}

/// A family of content ciphers.
pub(super) struct Family {
    /// Object identifiers, with the key length each stands for.
    pub(super) ids: &'static [(ObjectIdentifier, usize)],
    /// Name for people; the key length in bits takes the place of `{}`.
    pub(super) name: &'static str,
    /// OpenSSL's name, likewise.
    pub(super) openssl: &'static str,
    /// All key lengths in bytes; others are refused.
    pub(super) keys: &'static [usize],
    pub(super) mode: Mode,
}

const AES: &[usize] = &[16, 24, 32];

/// All that are known.
pub(super) const FAMILIES: &[Family] = &[
    Family {
        ids: &[
            (oid("2.16.840.1.101.3.4.1.2"), 16),
            (oid("2.16.840.1.101.3.4.1.22"), 24),
            (oid("2.16.840.1.101.3.4.1.42"), 32),
        ],
        name: "AES-{}-CBC",
        openssl: "AES-{}-CBC",
        keys: AES,
        mode: Mode::Padded,
    },
    Family {
        ids: &[
            (oid("2.16.840.1.101.3.4.1.6"), 16),
            (oid("2.16.840.1.101.3.4.1.26"), 24),
            (oid("2.16.840.1.101.3.4.1.46"), 32),
        ],
        name: "AES-{}-GCM",
        openssl: "AES-{}-GCM",
        keys: AES,
        mode: Mode::Aead,
    },
    Family {
        ids: &[
            (oid("2.16.840.1.101.3.4.1.7"), 16),
            (oid("2.16.840.1.101.3.4.1.27"), 24),
            (oid("2.16.840.1.101.3.4.1.47"), 32),
        ],
        name: "AES-{}-CCM",
        openssl: "AES-{}-CCM",
        keys: AES,
        mode: Mode::Ccm,
    },
    Family {
        ids: &[
            (oid("2.16.840.1.101.3.4.1.3"), 16),
            (oid("2.16.840.1.101.3.4.1.23"), 24),
            (oid("2.16.840.1.101.3.4.1.43"), 32),
        ],
        name: "AES-{}-OFB",
        openssl: "AES-{}-OFB",
        keys: AES,
        mode: Mode::Stream,
    },
    Family {
        ids: &[
            (oid("2.16.840.1.101.3.4.1.4"), 16),
            (oid("2.16.840.1.101.3.4.1.24"), 24),
            (oid("2.16.840.1.101.3.4.1.44"), 32),
        ],
        name: "AES-{}-CFB",
        openssl: "AES-{}-CFB",
        keys: AES,
        mode: Mode::Stream,
    },
    Family {
        ids: &[(oid("1.2.840.113549.1.9.16.3.18"), 32)],
        name: "ChaCha20-Poly1305",
        openssl: "ChaCha20-Poly1305",
        keys: &[32],
        mode: Mode::Aead,
    },
    Family {
        ids: &[(oid("1.2.840.113549.3.7"), 24)],
        name: "3DES-CBC",
        openssl: "DES-EDE3-CBC",
        keys: &[24],
        mode: Mode::Padded,
    },
    Family {
        ids: &[(oid("1.3.14.3.2.7"), 8)],
        name: "DES-CBC",
        openssl: "DES-CBC",
        keys: &[8],
        mode: Mode::Padded,
    },
    Family {
        ids: &[(oid("1.2.840.113549.3.2"), 16)],
        name: "RC2-{}-CBC",
        openssl: "RC2-{}-CBC",
        keys: &[5, 8, 16],
        mode: Mode::Padded,
    },
    Family {
        ids: &[(oid("1.2.840.113549.3.4"), 16)],
        name: "RC4",
        openssl: "RC4",
        keys: &[16],
        mode: Mode::Stream,
    },
    Family {
        ids: &[(oid("1.2.840.113533.7.66.10"), 16)],
        name: "CAST5-CBC",
        openssl: "CAST5-CBC",
        keys: &[5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16],
        mode: Mode::Padded,
    },
    Family {
        ids: &[
            (oid("1.2.392.200011.61.1.1.1.2"), 16),
            (oid("1.2.392.200011.61.1.1.1.3"), 24),
            (oid("1.2.392.200011.61.1.1.1.4"), 32),
        ],
        name: "Camellia-{}-CBC",
        openssl: "CAMELLIA-{}-CBC",
        keys: AES,
        mode: Mode::Padded,
    },
    Family {
        ids: &[(oid("1.2.410.200004.1.4"), 16)],
        name: "SEED-CBC",
        openssl: "SEED-CBC",
        keys: &[16],
        mode: Mode::Padded,
    },
    Family {
        ids: &[(oid("1.3.6.1.4.1.188.7.1.1.2"), 16)],
        name: "IDEA-CBC",
        openssl: "IDEA-CBC",
        keys: &[16],
        mode: Mode::Padded,
    },
    Family {
        ids: &[(oid("1.3.6.1.4.1.3029.1.2"), 16)],
        name: "Blowfish-CBC",
        openssl: "BF-CBC",
        keys: &[16],
        mode: Mode::Padded,
    },
    Family {
        ids: &[
            (oid("1.2.410.200046.1.1.2"), 16),
            (oid("1.2.410.200046.1.1.7"), 24),
            (oid("1.2.410.200046.1.1.12"), 32),
        ],
        name: "ARIA-{}-CBC",
        openssl: "ARIA-{}-CBC",
        keys: AES,
        mode: Mode::Padded,
    },
    Family {
        ids: &[
            (oid("1.2.410.200046.1.1.34"), 16),
            (oid("1.2.410.200046.1.1.35"), 24),
            (oid("1.2.410.200046.1.1.36"), 32),
        ],
        name: "ARIA-{}-GCM",
        openssl: "ARIA-{}-GCM",
        keys: AES,
        mode: Mode::Aead,
    },
    Family {
        ids: &[(oid("1.2.156.10197.1.104.2"), 16)],
        name: "SM4-CBC",
        openssl: "SM4-CBC",
        keys: &[16],
        mode: Mode::Padded,
    },
];
