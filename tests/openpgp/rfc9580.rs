//! Messages and keys of RFC 9580 and RFC 9980 (version 6, AEAD, post-quantum), which no program of the distribution
//! writes yet: made with Sequoia's library.

use crate::support::pgp::{Keys, context};
use openpgp::Profile;
use openpgp::cert::{Cert, CertBuilder, CipherSuite};
use openpgp::crypto::Password;
use openpgp::policy::StandardPolicy;
use openpgp::serialize::stream::{Encryptor, LiteralWriter, Message, Recipient, Signer};
use openpgp::serialize::{Serialize, SerializeInto};
use openpgp::types::{AEADAlgorithm, SymmetricAlgorithm};
use sequoia_openpgp as openpgp;
use std::io::Write;
use strongroom::escrow::{UserKey, openpgp_key};
use strongroom::mail::context::{OpenPgpCertificate, Trust, TrustData};
use strongroom::mail::model::{Integrity, Verdict};
use strongroom::secret::SecretBytes;

const TEXT: &[u8] = b"kept for thirty years\n";

fn certificate(suite: CipherSuite, profile: Profile) -> Cert {
    let builder = CertBuilder::general_purpose(Some("Alice <alice@example.org>"));
    let builder = builder
        .set_profile(profile)
        .unwrap()
        .set_cipher_suite(suite);
    builder.generate().unwrap().0
}

/// Encrypted to the certificate (by name or hidden) or a passphrase, and signed by it.
fn sealed(cert: &Cert, hidden: bool, passphrase: Option<&str>, aead: AEADAlgorithm) -> Vec<u8> {
    let policy = StandardPolicy::new();
    let keys = cert.keys().with_policy(&policy, None);
    let recipients = keys.for_transport_encryption().map(|key| {
        let recipient: Recipient = key.into();
        if hidden {
            recipient.set_key_handle(None).unwrap()
        } else {
            recipient
        }
    });
    let mut out = Vec::new();
    let message = Message::new(&mut out);
    let encryptor = match passphrase {
        Some(passphrase) => Encryptor::with_passwords(message, [Password::from(passphrase)]),
        None => Encryptor::for_recipients(message, recipients),
    };
    let encryptor = encryptor
        .symmetric_algo(SymmetricAlgorithm::AES256)
        .aead_algo(aead);
    let signing = cert
        .keys()
        .secret()
        .with_policy(&policy, None)
        .for_signing();
    let signer = signing.map(|key| key.key().clone()).next().unwrap();
    let signer = Signer::new(encryptor.build().unwrap(), signer.into_keypair().unwrap()).unwrap();
    let mut writer = LiteralWriter::new(signer.build().unwrap()).build().unwrap();
    writer.write_all(TEXT).unwrap();
    writer.finalize().unwrap();
    out
}

fn opens(cert: &Cert, keys: Vec<Box<dyn UserKey>>, message: &[u8], what: &str) {
    let keys = Keys {
        keys,
        locked: Vec::new(),
        passphrases: vec![SecretBytes::from("geheim".to_owned())],
    };
    let trust = Trust::from(TrustData {
        openpgp: vec![OpenPgpCertificate {
            bytes: cert.to_vec().unwrap(),
            source: "directory".to_owned(),
        }],
        ..TrustData::default()
    });
    let opened = context(&keys, &trust, |ctx| {
        strongroom::mail::openpgp::open(message, None, ctx)
    });
    let opened = opened.unwrap_or_else(|unopened| panic!("{what}: {}", unopened.failure));
    assert_eq!(opened.plaintext, TEXT, "{what}");
    assert_eq!(
        opened.layers[0].integrity,
        Integrity::Authenticated,
        "{what}"
    );
    assert_eq!(
        opened.signatures[0].verdict,
        Verdict::Valid,
        "{what}: {:?}",
        opened.signatures
    );
}

#[test]
fn every_kind_of_key_in_both_versions_opens_and_goes_into_escrow() {
    for (suite, profile) in [
        (CipherSuite::Cv25519, Profile::RFC9580),
        (CipherSuite::Cv448, Profile::RFC9580),
        (CipherSuite::RSA2k, Profile::RFC9580),
        (CipherSuite::P256, Profile::RFC9580),
        (CipherSuite::P521, Profile::RFC4880),
        (CipherSuite::MLDSA65_Ed25519, Profile::RFC9580),
        (CipherSuite::MLDSA87_Ed448, Profile::RFC9580),
    ] {
        let cert = certificate(suite, profile);
        let what = format!("{suite:?} {profile:?}");
        let mut secret = Vec::new();
        cert.as_tsk().serialize(&mut secret).unwrap();
        for hidden in [false, true] {
            let message = sealed(&cert, hidden, None, AEADAlgorithm::OCB);
            let keys = openpgp_key::load(&secret, &[])
                .into_iter()
                .map(Result::unwrap);
            opens(&cert, keys.collect(), &message, &what);
            let kept = openpgp_key::load_for_escrow(&secret, &[]).into_iter();
            let kept = kept.map(|key| key.unwrap_or_else(|problem| panic!("{what}: {problem}")));
            let kept: Vec<_> = kept.collect();
            assert!(!kept[0].info().dual_use, "{what}");
            opens(&cert, kept, &message, &what);
        }
    }
}

/// Certificates that only sign: by the primary key alone, or by a subkey too.
#[test]
fn version_6_keys_that_only_sign_are_refused_by_name() {
    for suite in [
        CipherSuite::Cv25519,
        CipherSuite::Cv448,
        CipherSuite::MLDSA65_Ed25519,
    ] {
        for with_subkey in [false, true] {
            let builder = CertBuilder::new().add_userid("Signe <signe@example.org>");
            let builder = builder.set_profile(Profile::RFC9580).unwrap();
            let mut builder = builder.set_cipher_suite(suite);
            if with_subkey {
                builder = builder.add_signing_subkey();
            }
            let cert = builder.generate().unwrap().0;
            let mut secret = Vec::new();
            cert.as_tsk().serialize(&mut secret).unwrap();
            let refused = openpgp_key::load_for_escrow(&secret, &[]);
            let problem = match &refused[..] {
                [Err(problem)] => problem.to_string(),
                _ => panic!("{suite:?}: one refusal"),
            };
            assert!(
                problem.starts_with("a pure signing key is not escrowed")
                    && problem.contains("Signe"),
                "{suite:?}: {problem}"
            );
        }
    }
}

#[test]
fn every_aead_mode_opens_with_key_and_passphrase() {
    let cert = certificate(CipherSuite::Cv25519, Profile::RFC9580);
    let mut secret = Vec::new();
    cert.as_tsk().serialize(&mut secret).unwrap();
    for mode in [AEADAlgorithm::OCB, AEADAlgorithm::GCM] {
        for passphrase in [None, Some("geheim")] {
            let message = sealed(&cert, false, passphrase, mode);
            let keys = openpgp_key::load(&secret, &[])
                .into_iter()
                .map(Result::unwrap);
            let keys: Vec<_> = keys.filter(|_| passphrase.is_none()).collect();
            opens(&cert, keys, &message, &format!("{mode:?} {passphrase:?}"));
        }
    }
}

#[test]
fn what_we_encrypt_for_version_6_certificates_opens() {
    for suite in [CipherSuite::Cv25519, CipherSuite::MLDSA87_Ed448] {
        let cert = certificate(suite, Profile::RFC9580);
        let mut secret = Vec::new();
        cert.as_tsk().serialize(&mut secret).unwrap();
        let mail = b"From: bob@example.org\r\nContent-Type: text/plain\r\n\r\nhi\r\n";
        let sealed = strongroom::mail::openpgp::encrypt_for(&cert.to_vec().unwrap(), mail);
        let keys = openpgp_key::load(&secret, &[])
            .into_iter()
            .map(Result::unwrap);
        let keys = Keys {
            keys: keys.collect(),
            locked: Vec::new(),
            passphrases: Vec::new(),
        };
        let opened = context(&keys, &Trust::default(), |ctx| {
            strongroom::mail::openpgp::open(&sealed.expect("encrypts"), None, ctx)
        });
        let opened = opened.unwrap_or_else(|unopened| panic!("{suite:?}: {}", unopened.failure));
        assert_eq!(
            opened.plaintext,
            b"From: bob@example.org\r\nContent-Type: text/plain;\r\n protected-headers=\"v1\"\r\n\r\nhi\r\n"
        );
        assert_eq!(opened.layers[0].algorithms[0], "SEIPDv2", "{suite:?}");
    }
}
