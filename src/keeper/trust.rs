//! The operator's folder of certificates: `trust/anchors`, `trust/certificates`, `trust/crls` (CRLs in PEM or
//! DER, OCSP responses in DER) and `trust/openpgp` (armored or binary). A file that cannot be read is named in the log and left out.
//! Policy may name the anchors and the OpenPGP certificates that count by their fingerprints.

use crate::durable::{self, FileError};
use crate::id::Digest;
use crate::mail::context::{OpenPgpCertificate, Trust};
use crate::policy::{Trusted, Vouched};
use openssl::ocsp::OcspResponse;
use openssl::x509::{X509, X509Crl};
use sequoia_openpgp::cert::{Cert, CertParser};
use sequoia_openpgp::parse::Parse;
use sequoia_openpgp::serialize::SerializeInto;
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

const LARGEST: u64 = 64 << 20;

/// A file of the folder with its bytes.
type File<'a> = (&'a PathBuf, &'a Vec<u8>);

/// The parts of the folder.
const PARTS: [&str; 4] = ["anchors", "certificates", "crls", "openpgp"];

/// How the folder's files look from outside (inode, length, time): where that changed, it is to be read again.
pub type Look = BTreeMap<PathBuf, (u64, u64, i64, i64)>;

/// See [`Look`].
pub fn look(folder: &Path) -> Look {
    let parts = PARTS
        .iter()
        .map(|part| std::fs::read_dir(folder.join(part)));
    let paths = parts
        .flatten()
        .flatten()
        .flatten()
        .map(|entry| entry.path());
    let about = |path: PathBuf| {
        let about = std::fs::metadata(&path).ok()?;
        Some((
            path,
            (about.ino(), about.len(), about.mtime(), about.mtime_nsec()),
        ))
    };
    paths.filter_map(about).collect()
}

/// The folder's files as they were read.
#[derive(Default)]
pub struct Contents(BTreeMap<PathBuf, Vec<u8>>);

impl Contents {
    /// Reads the folder anew; what is absent is empty. Files that change all the time stay as they were read before. With it
    /// come warnings about those, and about files that cannot be read.
    pub fn anew(
        &self,
        folder: &Path,
        restless: &BTreeSet<PathBuf>,
    ) -> Result<(Self, Vec<String>), FileError> {
        let (mut contents, mut warnings) = (BTreeMap::new(), Vec::new());
        for path in restless {
            let before = self.0.get(path);
            warnings.push(changes_all_the_time(path, before.is_some()));
            contents.extend(before.map(|bytes| (path.clone(), bytes.clone())));
        }
        for part in PARTS {
            for path in files(&folder.join(part))? {
                if restless.contains(&path) {
                    continue;
                }
                // A file that cannot be read keeps nobody from reading the others.
                match durable::read(&path, LARGEST) {
                    Ok(bytes) => drop(contents.insert(path, bytes)),
                    Err(error) => warnings.push(format!("{error}; it is left out")),
                }
            }
        }
        Ok((Self(contents), warnings))
    }

    fn part(&self, folder: &Path, part: &str) -> Vec<File<'_>> {
        let folder = folder.join(part);
        let files = self.0.iter();
        files
            .filter(|(path, _)| path.parent() == Some(&folder))
            .collect()
    }
}

#[cfg(test)]
impl Contents {
    pub fn of(&self, path: &Path) -> Option<&[u8]> {
        self.0.get(path).map(Vec::as_slice)
    }
}

fn changes_all_the_time(path: &Path, is_known: bool) -> String {
    let counts = if is_known {
        "what was read of it before counts"
    } else {
        "it is left out"
    };
    format!(
        "{} changes all the time, and {counts} until it rests: write it elsewhere and move it there whole",
        path.display()
    )
}

/// What counts of the folder's files by what policy trusts. With it come warnings about what policy names and is not there.
pub fn load(folder: &Path, policy: &Trusted, contents: &Contents) -> (Trust, Vec<String>) {
    let mut trust = Trust::default();
    let mut found = BTreeSet::new();
    let files = |part: &str| contents.part(folder, part);
    for certificate in files("anchors").into_iter().flat_map(certificates) {
        let fingerprint = Digest::of(&certificate).to_string();
        if policy.anchors.counts(&fingerprint) {
            trust.anchors.push(certificate);
        } else {
            trust.certificates.push(certificate);
        }
        found.insert(fingerprint);
    }
    let mut warnings = missing(&policy.anchors, &found, "anchors");
    for file in files("certificates") {
        trust.certificates.extend(certificates(file));
    }
    for file in files("crls") {
        if OcspResponse::from_der(file.1).is_ok() {
            trust.ocsp.push(file.1.clone().into());
        } else {
            trust.crls.extend(crls(file));
        }
    }
    let (vouched, found) = openpgp(&files("openpgp"), &policy.openpgp);
    trust.openpgp = vouched;
    warnings.extend(missing(&policy.openpgp, &found, "openpgp"));
    (trust, warnings)
}

fn missing(policy: &Vouched, found: &BTreeSet<String>, kind: &str) -> Vec<String> {
    let warning = |fingerprint: &String| {
        format!(
            "the policy's trust.{kind} names a certificate that is not in trust/{kind}: {fingerprint}"
        )
    };
    policy.missing(found).into_iter().map(warning).collect()
}

/// The OpenPGP certificates that count, and the fingerprints of those that are there, where policy names some. One that is
/// not named is left out: unlike an intermediate certificate it is of no use without being trusted.
fn openpgp(files: &[File<'_>], policy: &Vouched) -> (Vec<OpenPgpCertificate>, BTreeSet<String>) {
    let vouched = |bytes| OpenPgpCertificate {
        bytes,
        source: "directory".to_owned(),
    };
    if *policy == Vouched::Folder {
        let all = files.iter().map(|(_, file)| vouched(dearmored(file)));
        return (all.collect(), BTreeSet::new());
    }
    let (mut counting, mut found) = (Vec::new(), BTreeSet::new());
    let certs = files
        .iter()
        .filter_map(|(_, file)| CertParser::from_bytes(file).ok());
    for cert in certs.flatten().flatten() {
        let fingerprint = cert.fingerprint().to_hex().to_lowercase();
        if policy.counts(&fingerprint)
            && let Ok(bytes) = cert.to_vec()
        {
            counting.push(vouched(bytes));
        }
        found.insert(fingerprint);
    }
    (counting, found)
}

fn files(folder: &Path) -> Result<Vec<PathBuf>, FileError> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(durable::at("read", folder)(error)),
    };
    let paths = entries.flatten().map(|entry| entry.path());
    Ok(paths.filter(|path| path.is_file()).collect())
}

fn certificates((path, file): File<'_>) -> Vec<serde_bytes::ByteBuf> {
    let parsed = X509::stack_from_pem(file)
        .ok()
        .filter(|found| !found.is_empty())
        .or_else(|| X509::from_der(file).ok().map(|one| vec![one]));
    if parsed.is_none() {
        tracing::warn!(file = %path.display(), "it holds no certificate and is left out");
    }
    parsed
        .unwrap_or_default()
        .iter()
        .filter_map(|one| one.to_der().ok())
        .map(Into::into)
        .collect()
}

fn crls((path, file): File<'_>) -> Option<serde_bytes::ByteBuf> {
    let parsed = X509Crl::from_pem(file).or_else(|_| X509Crl::from_der(file));
    if parsed.is_err() {
        tracing::warn!(file = %path.display(), "it holds no revocation list and is left out");
    }
    parsed.ok()?.to_der().ok().map(Into::into)
}

fn dearmored(bytes: &[u8]) -> Vec<u8> {
    let cert = Cert::from_bytes(bytes).and_then(|cert| cert.to_vec());
    cert.unwrap_or_else(|_| bytes.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keeper::escrow_store::NoKeys;
    use crate::mail::context::OpenPolicy;
    use crate::mail::{Signature, Verdict};
    use crate::time::{Clock, SystemClock};
    use openssl::asn1::Asn1Time;
    use openssl::cms::{CMSOptions, CmsContentInfo};
    use openssl::hash::MessageDigest;
    use openssl::nid::Nid;
    use openssl::pkey::{PKey, Private};
    use openssl::x509::X509NameBuilder;
    use sequoia_openpgp::cert::CertBuilder;
    use std::fs;

    fn read(folder: &Path, policy: &Trusted) -> (Trust, Vec<String>) {
        let read = Contents::default().anew(folder, &BTreeSet::new());
        let (contents, unread) = read.expect("read");
        assert!(unread.is_empty(), "{unread:?}");
        load(folder, policy, &contents)
    }

    fn anchor(name: &str) -> Vec<u8> {
        signer(name).0.to_der().expect("DER")
    }

    /// A certificate of `NAME@example.org` that vouches for itself.
    fn signer(name: &str) -> (X509, PKey<Private>) {
        let group = openssl::ec::EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).expect("a curve");
        let key = openssl::ec::EcKey::generate(&group).expect("a key");
        let key = PKey::from_ec_key(key).expect("a key");
        let mut subject = X509NameBuilder::new().expect("a name");
        subject
            .append_entry_by_text("emailAddress", &format!("{name}@example.org"))
            .expect("an address");
        let subject = subject.build();
        let mut made = X509::builder().expect("a certificate");
        made.set_subject_name(&subject).expect("a subject");
        made.set_issuer_name(&subject).expect("an issuer");
        made.set_pubkey(&key).expect("a key");
        let (from, until) = (Asn1Time::days_from_now(0), Asn1Time::days_from_now(9));
        made.set_not_before(&from.expect("a day")).expect("set");
        made.set_not_after(&until.expect("a day")).expect("set");
        made.sign(&key, MessageDigest::sha256()).expect("signed");
        (made.build(), key)
    }

    fn judged((certificate, key): &(X509, PKey<Private>), trust: &Trust) -> Signature {
        let text = b"Content-Type: text/plain\r\n\r\nText.\r\n";
        let flags = CMSOptions::BINARY;
        let signed = CmsContentInfo::sign(Some(certificate), Some(key), None, Some(text), flags);
        let signed = signed.and_then(|signed| signed.to_der()).expect("signed");
        let mail = format!(
            "From: own@example.org\r\nContent-Type: application/pkcs7-mime; smime-type=signed-data\r\n\
             Content-Transfer-Encoding: base64\r\n\r\n{}\r\n",
            data_encoding::BASE64.encode(&signed)
        );
        let (policy, now) = (OpenPolicy::default(), SystemClock.now());
        let opened = crate::mail::open(mail.as_bytes(), &NoKeys, trust, &policy, now);
        opened.signatures.into_iter().next().expect("a signature")
    }

    fn listed(fingerprints: &[&str]) -> Vouched {
        Vouched::Listed(fingerprints.iter().map(|&one| one.to_owned()).collect())
    }

    #[test]
    fn of_the_anchors_only_the_listed_count_and_a_missing_one_is_told() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir(folder.path().join("anchors")).expect("a folder");
        let (signer, other) = (signer("own"), anchor("other"));
        let own = signer.0.to_der().expect("DER");
        for (name, certificate) in [("own.crt", &own), ("other.crt", &other)] {
            fs::write(folder.path().join("anchors").join(name), certificate).expect("a file");
        }
        let (all, warnings) = read(folder.path(), &Trusted::default());
        assert_eq!((all.anchors.len(), all.certificates.len()), (2, 0));
        assert!(warnings.is_empty(), "{warnings:?}");
        let absent = "0".repeat(64);
        let anchors = listed(&[&Digest::of(&own).to_string(), &absent]);
        let policy = Trusted {
            anchors,
            openpgp: Vouched::Folder,
        };
        let (some, warnings) = read(folder.path(), &policy);
        assert_eq!(some.anchors, [own]);
        assert_eq!(some.certificates, [other], "an intermediate one");
        let policy = Trusted {
            anchors: listed(&[&Digest::of(&some.certificates[0]).to_string()]),
            openpgp: Vouched::Folder,
        };
        let (without, _) = read(folder.path(), &policy);
        let (good, bad) = (judged(&signer, &some), judged(&signer, &without));
        assert_eq!(good.verdict, Verdict::Valid, "{}", good.reason);
        assert_eq!(bad.verdict, Verdict::UnknownSigner, "{}", bad.reason);
        assert_ne!(good.anchors, bad.anchors, "the evidence names the anchors");
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(
            warnings[0].contains("trust.anchors") && warnings[0].contains(&absent),
            "{warnings:?}"
        );
    }

    #[test]
    fn of_the_openpgp_certificates_only_the_listed_vouch_also_those_in_a_ring() {
        let cert = |id| {
            let built = CertBuilder::general_purpose(Some(id)).generate();
            built.expect("a certificate").0
        };
        let (own, other) = (cert("own@example.org"), cert("other@example.org"));
        let ring = (
            PathBuf::from("ring"),
            [own.to_vec().expect("bytes"), other.to_vec().expect("bytes")].concat(),
        );
        let ring = (&ring.0, &ring.1);
        let (all, _) = openpgp(&[ring], &Vouched::Folder);
        assert_eq!(all.len(), 1, "the ring as it is");
        let policy = listed(&[&own.fingerprint().to_hex().to_lowercase()]);
        let (some, found) = openpgp(&[ring], &policy);
        assert_eq!(some.len(), 1);
        assert_eq!(some[0].bytes, own.to_vec().expect("bytes"));
        assert!(policy.missing(&found).is_empty());
    }
}
