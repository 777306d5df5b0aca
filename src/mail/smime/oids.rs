//! The object identifiers of CMS and their usual names, in one table.

use const_oid::ObjectIdentifier;
use std::collections::HashMap;
use std::sync::LazyLock;

pub(super) const fn oid(dotted: &str) -> ObjectIdentifier {
    ObjectIdentifier::new_unwrap(dotted)
}

/// `id-data`.
pub const DATA: ObjectIdentifier = oid("1.2.840.113549.1.7.1");
/// `id-signedData`.
pub const SIGNED_DATA: ObjectIdentifier = oid("1.2.840.113549.1.7.2");
/// `id-envelopedData`.
pub const ENVELOPED_DATA: ObjectIdentifier = oid("1.2.840.113549.1.7.3");
/// PKCS#7 `signedAndEnvelopedData`, dropped by CMS.
pub const SIGNED_AND_ENVELOPED_DATA: ObjectIdentifier = oid("1.2.840.113549.1.7.4");
/// `id-digestedData`.
pub const DIGESTED_DATA: ObjectIdentifier = oid("1.2.840.113549.1.7.5");
/// `id-encryptedData`.
pub const ENCRYPTED_DATA: ObjectIdentifier = oid("1.2.840.113549.1.7.6");
/// `id-ct-authData`.
pub const AUTHENTICATED_DATA: ObjectIdentifier = oid("1.2.840.113549.1.9.16.1.2");
/// `id-ct-authEnvelopedData`.
pub const AUTH_ENVELOPED_DATA: ObjectIdentifier = oid("1.2.840.113549.1.9.16.1.23");
/// `id-ct-compressedData`.
pub const COMPRESSED_DATA: ObjectIdentifier = oid("1.2.840.113549.1.9.16.1.9");
/// `id-alg-zlibCompress`.
pub const ZLIB: ObjectIdentifier = oid("1.2.840.113549.1.9.16.3.8");

/// Content types that are themselves CMS objects.
pub const CMS_TYPES: [ObjectIdentifier; 8] = [
    SIGNED_DATA,
    ENVELOPED_DATA,
    SIGNED_AND_ENVELOPED_DATA,
    DIGESTED_DATA,
    ENCRYPTED_DATA,
    AUTHENTICATED_DATA,
    AUTH_ENVELOPED_DATA,
    COMPRESSED_DATA,
];

/// Attribute `contentType`.
pub const CONTENT_TYPE: ObjectIdentifier = oid("1.2.840.113549.1.9.3");
/// Attribute `messageDigest`.
pub const MESSAGE_DIGEST: ObjectIdentifier = oid("1.2.840.113549.1.9.4");
/// Attribute `signingTime`.
pub const SIGNING_TIME: ObjectIdentifier = oid("1.2.840.113549.1.9.5");
/// Attribute `signingCertificate` (RFC 2634).
pub const SIGNING_CERTIFICATE: ObjectIdentifier = oid("1.2.840.113549.1.9.16.2.12");
/// Attribute `signingCertificateV2` (RFC 5035).
pub const SIGNING_CERTIFICATE_V2: ObjectIdentifier = oid("1.2.840.113549.1.9.16.2.47");
/// Name attribute `emailAddress`.
pub const EMAIL_ADDRESS: ObjectIdentifier = oid("1.2.840.113549.1.9.1");

/// `rsaEncryption`.
pub const RSA: ObjectIdentifier = oid("1.2.840.113549.1.1.1");
/// What stands in the place of [`RSA`] at times: X.500's `rsa`, and the algorithms that a certificate is signed with (MD2, MD4,
/// MD5, SHA-1 and SHA-2 with RSA).
pub const RSA_ALIASES: [ObjectIdentifier; 9] = [
    oid("2.5.8.1.1"),
    oid("1.2.840.113549.1.1.2"),
    oid("1.2.840.113549.1.1.3"),
    oid("1.2.840.113549.1.1.4"),
    oid("1.2.840.113549.1.1.5"),
    oid("1.2.840.113549.1.1.11"),
    oid("1.2.840.113549.1.1.12"),
    oid("1.2.840.113549.1.1.13"),
    oid("1.2.840.113549.1.1.14"),
];
/// `id-RSAES-OAEP`.
pub const OAEP: ObjectIdentifier = oid("1.2.840.113549.1.1.7");
/// `id-mgf1`.
pub const MGF1: ObjectIdentifier = oid("1.2.840.113549.1.1.8");
/// `id-pSpecified`.
pub const P_SPECIFIED: ObjectIdentifier = oid("1.2.840.113549.1.1.9");
/// `id-RSASSA-PSS`.
pub const PSS: ObjectIdentifier = oid("1.2.840.113549.1.1.10");

/// `id-on-SmtpUTF8Mailbox` (RFC 8398), a name that is no rfc822Name.
pub const SMTP_UTF8_MAILBOX: ObjectIdentifier = oid("1.3.6.1.5.5.7.8.9");

/// `id-oriKEM` (RFC 9629).
pub const ORI_KEM: ObjectIdentifier = oid("1.2.840.113549.1.9.16.13.3");
/// `id-alg-PWRI-KEK` (RFC 3211).
pub const PWRI_KEK: ObjectIdentifier = oid("1.2.840.113549.1.9.16.3.9");
/// `id-PBKDF2`.
pub const PBKDF2: ObjectIdentifier = oid("1.2.840.113549.1.5.12");
/// `id-alg-CMS3DESwrap`.
pub const TRIPLE_DES_WRAP: ObjectIdentifier = oid("1.2.840.113549.1.9.16.3.6");

/// `id-ri-ocsp-response` (RFC 5940).
pub const RI_OCSP: ObjectIdentifier = oid("1.3.6.1.5.5.7.16.2");
/// Adobe's `adbe-revocationInfoArchival`, an attribute with revocation data.
pub const REVOCATION_ARCHIVAL: ObjectIdentifier = oid("1.2.840.113583.1.1.8");

/// CAdES `id-aa-ets-revocationValues`.
pub const REVOCATION_VALUES: ObjectIdentifier = oid("1.2.840.113549.1.9.16.2.24");
/// `id-pkix-ocsp-basic`.
pub const OCSP_BASIC: ObjectIdentifier = oid("1.3.6.1.5.5.7.48.1.1");

/// Digest names by object identifier: plain digests, HMACs with them, and signature algorithms naming them.
const DIGESTS: &[(&str, &str)] = &[
    ("1.2.840.113549.2.2", "MD2"),
    ("1.2.840.113549.2.4", "MD4"),
    ("1.2.840.113549.2.5", "MD5"),
    ("1.3.14.3.2.26", "SHA-1"),
    ("1.3.36.3.2.1", "RIPEMD-160"),
    ("2.16.840.1.101.3.4.2.1", "SHA-256"),
    ("2.16.840.1.101.3.4.2.2", "SHA-384"),
    ("2.16.840.1.101.3.4.2.3", "SHA-512"),
    ("2.16.840.1.101.3.4.2.4", "SHA-224"),
    ("2.16.840.1.101.3.4.2.5", "SHA-512/224"),
    ("2.16.840.1.101.3.4.2.6", "SHA-512/256"),
    ("2.16.840.1.101.3.4.2.7", "SHA3-224"),
    ("2.16.840.1.101.3.4.2.8", "SHA3-256"),
    ("2.16.840.1.101.3.4.2.9", "SHA3-384"),
    ("2.16.840.1.101.3.4.2.10", "SHA3-512"),
    ("2.16.840.1.101.3.4.2.11", "SHAKE-128"),
    ("2.16.840.1.101.3.4.2.12", "SHAKE-256"),
    // id-shake256-len, with 512 bits as its parameter, as RFC 8419 wants it beside Ed448.
    ("2.16.840.1.101.3.4.2.18", "SHAKE-256"),
    ("1.2.156.10197.1.401", "SM3"),
    // HMACs, as PBKDF2 names them
    ("1.2.840.113549.2.7", "SHA-1"),
    ("1.2.840.113549.2.8", "SHA-224"),
    ("1.2.840.113549.2.9", "SHA-256"),
    ("1.2.840.113549.2.10", "SHA-384"),
    ("1.2.840.113549.2.11", "SHA-512"),
    ("2.16.840.1.101.3.4.2.13", "SHA3-224"),
    ("2.16.840.1.101.3.4.2.14", "SHA3-256"),
    ("2.16.840.1.101.3.4.2.15", "SHA3-384"),
    ("2.16.840.1.101.3.4.2.16", "SHA3-512"),
    // digests that a signature algorithm names
    ("1.2.840.113549.1.1.3", "MD4"),
    ("1.2.840.113549.1.1.4", "MD5"),
    ("1.2.840.113549.1.1.5", "SHA-1"),
    ("1.3.14.3.2.29", "SHA-1"),
    ("1.2.840.113549.1.1.11", "SHA-256"),
    ("1.2.840.113549.1.1.12", "SHA-384"),
    ("1.2.840.113549.1.1.13", "SHA-512"),
    ("1.2.840.113549.1.1.14", "SHA-224"),
    ("1.3.36.3.3.1.2", "RIPEMD-160"),
    ("1.2.840.10040.4.3", "SHA-1"),
    ("1.3.14.3.2.27", "SHA-1"),
    ("2.16.840.1.101.3.4.3.1", "SHA-224"),
    ("2.16.840.1.101.3.4.3.2", "SHA-256"),
    ("2.16.840.1.101.3.4.3.3", "SHA-384"),
    ("2.16.840.1.101.3.4.3.4", "SHA-512"),
    ("1.2.840.10045.4.1", "SHA-1"),
    ("1.2.840.10045.4.3.1", "SHA-224"),
    ("1.2.840.10045.4.3.2", "SHA-256"),
    ("1.2.840.10045.4.3.3", "SHA-384"),
    ("1.2.840.10045.4.3.4", "SHA-512"),
    ("2.16.840.1.101.3.4.3.10", "SHA3-256"),
    ("2.16.840.1.101.3.4.3.14", "SHA3-256"),
    ("2.16.840.1.101.3.4.3.15", "SHA3-384"),
    ("2.16.840.1.101.3.4.3.16", "SHA3-512"),
    ("0.4.0.127.0.7.1.1.4.1.1", "SHA-1"),
    ("0.4.0.127.0.7.1.1.4.1.2", "SHA-224"),
    ("0.4.0.127.0.7.1.1.4.1.3", "SHA-256"),
    ("0.4.0.127.0.7.1.1.4.1.4", "SHA-384"),
    ("0.4.0.127.0.7.1.1.4.1.5", "SHA-512"),
];

/// The digest that `oid` is or names: a digest, an HMAC, or a signature algorithm.
#[must_use]
pub fn digest_name(oid: &ObjectIdentifier) -> Option<&'static str> {
    static BY_OID: LazyLock<HashMap<ObjectIdentifier, &str>> = LazyLock::new(|| {
        let parsed = |(dotted, name): &(&str, &'static str)| Some((dotted.parse().ok()?, *name));
        DIGESTS.iter().filter_map(parsed).collect()
    });
    BY_OID.get(oid).copied()
}

/// Algorithms and types that are only named, never understood here; and KEMs, which name themselves.
const NAMES: &[(&str, &str)] = &[
    ("2.16.840.1.101.3.4.4.1", "ML-KEM-512"),
    ("2.16.840.1.101.3.4.4.2", "ML-KEM-768"),
    ("2.16.840.1.101.3.4.4.3", "ML-KEM-1024"),
    ("1.0.18033.2.2.4", "RSA-KEM"),
    (
        "1.2.840.113549.1.9.16.3.14",
        "RSA-KEM key transport (RFC 5990)",
    ),
    ("1.2.840.113549.1.9.16.3.7", "RC2-WRAP"),
    (
        "1.2.840.113549.1.9.16.13.1",
        "key transport with a pre-shared key (RFC 8696)",
    ),
    (
        "1.2.840.113549.1.9.16.13.2",
        "key agreement with a pre-shared key (RFC 8696)",
    ),
    ("1.3.133.16.840.63.0.16", "ECMQV-SHA-1"),
    ("1.3.132.1.15.0", "ECMQV-SHA-224"),
    ("1.3.132.1.15.1", "ECMQV-SHA-256"),
    ("1.3.132.1.15.2", "ECMQV-SHA-384"),
    ("1.3.132.1.15.3", "ECMQV-SHA-512"),
    ("1.2.643.2.2.19", "GOST R 34.10-2001"),
    ("1.2.643.2.2.21", "GOST 28147-89"),
    ("1.2.643.7.1.1.1.1", "GOST R 34.10-2012 (256)"),
    ("1.2.643.7.1.1.1.2", "GOST R 34.10-2012 (512)"),
    ("1.2.643.7.1.1.6.1", "GOST VKO 2012 (256)"),
    ("1.2.643.7.1.1.5.1.1", "GOST Magma"),
    ("1.2.643.7.1.1.5.2.1", "GOST Kuznyechik"),
    ("1.2.840.113549.3.9", "RC5-CBC"),
    ("2.16.840.1.101.2.1.1.4", "Skipjack-CBC"),
    ("2.16.840.1.101.2.1.1.22", "KEA"),
    ("2.16.840.1.101.2.1.1.24", "Skipjack wrap"),
    ("1.2.156.10197.1.301.3", "SM2 encryption"),
    ("1.2.840.113549.1.9.16.1.1", "signed receipt"),
];

/// "Name (dotted)" for a known name, else the dotted form alone.
#[must_use]
pub fn show(oid: &ObjectIdentifier) -> String {
    let dotted = oid.to_string();
    match NAMES.iter().find(|(known, _)| *known == dotted) {
        Some((_, name)) => format!("{name} ({dotted})"),
        None => dotted,
    }
}

/// The bare name of `oid`, else its dotted form: for lists of algorithms.
#[must_use]
pub fn name(oid: &ObjectIdentifier) -> String {
    let dotted = oid.to_string();
    let known = NAMES.iter().find(|(known, _)| *known == dotted);
    known.map_or(dotted, |(_, name)| (*name).to_owned())
}
