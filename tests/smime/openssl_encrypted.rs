//! What `openssl cms` encrypts: every cipher, key transport, key agreement, wrap, container and kind of recipient.

use crate::support::{ARRIVED, Folder, MESSAGE, context, open, open_by, opens, passphrases};
use strongroom::mail::bounds::Bounds;
use strongroom::mail::context::{Budget, Failure, OpenPolicy, Trust, Unopened};
use strongroom::mail::model::{Integrity, Outcome};
use strongroom::mail::smime;

const CIPHERS: &str = "aes-128-cbc aes-192-cbc aes-256-cbc aes-128-gcm aes-192-gcm aes-256-gcm des3 des-cbc rc2-40-cbc \
     rc2-64-cbc rc2-cbc cast5-cbc camellia-128-cbc camellia-192-cbc camellia-256-cbc seed-cbc bf-cbc aria-128-cbc \
     aria-192-cbc aria-256-cbc aria-128-gcm aria-256-gcm sm4-cbc aes-128-cfb aes-192-cfb aes-256-cfb aes-128-ofb \
     aes-256-ofb rc4";

#[test]
fn every_cipher_in_every_form() {
    let folder = Folder::new();
    folder.identity("rsa", "rsa:2048", "");
    let keys = folder.keys("rsa");
    for cipher in CIPHERS.split_whitespace() {
        for form in ["-outform DER", "-stream -outform DER", "-outform PEM"] {
            folder.must(&format!(
                "cms -encrypt -{cipher} -provider legacy -provider default -binary -in message {form} -out out rsa.crt"
            ));
            let opened = opens(&keys, &folder.read("out"), cipher);
            let authenticated = opened.layers[0].integrity == Integrity::Authenticated;
            assert_eq!(authenticated, cipher.ends_with("gcm"), "{cipher}");
        }
    }
}

#[test]
fn every_key_transport() {
    let folder = Folder::new();
    folder.identity("rsa", "rsa:2048", "");
    let keys = folder.keys("rsa");
    for digest in ["sha1", "sha224", "sha256", "sha384", "sha512"] {
        for mgf in ["sha1", "sha256", "sha384", "sha512"] {
            for more in ["", "-keyopt rsa_oaep_label:0102 -keyid"] {
                let options = format!(
                    "-keyopt rsa_padding_mode:oaep -keyopt rsa_oaep_md:{digest} -keyopt rsa_mgf1_md:{mgf} {more}"
                );
                folder.must(&format!(
                    "cms -encrypt -aes128 -binary -in message -outform DER -out out -recip rsa.crt {options}"
                ));
                opens(&keys, &folder.read("out"), &options);
            }
        }
    }
}

#[test]
fn every_key_length() {
    let folder = Folder::new();
    for bits in [1024, 2048, 3072, 4096] {
        folder.identity("rsa", &format!("rsa:{bits}"), "");
        let keys = folder.keys("rsa");
        for options in ["", "-keyid"] {
            folder.must(&format!(
                "cms -encrypt -aes256 -binary {options} -in message -outform DER -out out rsa.crt"
            ));
            opens(&keys, &folder.read("out"), &format!("{bits} {options}"));
        }
    }
}

#[test]
fn every_key_agreement() {
    let folder = Folder::new();
    let curves = "prime256v1 secp384r1 secp521r1 brainpoolP256r1 brainpoolP384r1 brainpoolP512r1 secp256k1 \
         prime192v1";
    for curve in curves.split_whitespace() {
        let shape = format!("-pkeyopt ec_paramgen_curve:{curve}");
        folder.identity("ec", "ec", &shape);
        let keys = folder.keys("ec");
        for options in [
            "",
            "-keyopt ecdh_kdf_md:sha224",
            "-keyopt ecdh_kdf_md:sha256 -keyid",
            "-keyopt ecdh_kdf_md:sha384",
            "-keyopt ecdh_kdf_md:sha512 -keyopt ecdh_cofactor_mode:1",
        ] {
            for cipher in ["aes-128-cbc", "aes-256-gcm"] {
                written_and_opened(&folder, &keys, cipher, options, curve);
            }
        }
        for wrap in ["aes128-wrap", "aes192-wrap", "aes256-wrap", "des3-wrap"] {
            written_and_opened(&folder, &keys, "aes-192-cbc", &format!("-{wrap}"), curve);
        }
        written_and_opened(&folder, &keys, "des3", "", curve);
    }
}

fn written_and_opened(
    folder: &Folder,
    keys: &dyn strongroom::mail::keyops::KeyOps,
    cipher: &str,
    options: &str,
    what: &str,
) {
    // A wrap stands before the recipient, a key option behind it.
    let (before, behind) = if options.ends_with("-wrap") {
        (options, "")
    } else {
        ("", options)
    };
    folder.must(&format!(
        "cms -encrypt -{cipher} -binary -in message -outform DER -out out {before} -recip ec.crt {behind}"
    ));
    opens(
        keys,
        &folder.read("out"),
        &format!("{what} {cipher} {options}"),
    );
}

/// A curve with a cofactor, where the originator's point needs the full check.
#[test]
fn key_agreement_on_a_binary_curve() {
    let folder = Folder::new();
    folder.identity("ec", "ec", "-pkeyopt ec_paramgen_curve:sect283k1");
    written_and_opened(&folder, &folder.keys("ec"), "aes-128-cbc", "", "sect283k1");
}

#[test]
fn several_recipients_of_all_kinds() {
    let folder = Folder::new();
    folder.identity("rsa", "rsa:2048", "");
    folder.identity("ec", "ec", "-pkeyopt ec_paramgen_curve:prime256v1");
    folder.identity("other", "rsa:2048", "");
    let hex = "000102030405060708090a0b0c0d0e0f";
    folder.must(&format!(
        "cms -encrypt -aes-128-cbc -binary -in message -outform DER -out out -pwri_password geheim -secretkey {hex} \
         -secretkeyid c0fee0 other.crt ec.crt rsa.crt"
    ));
    let object = folder.read("out");
    for keys in [
        folder.keys("rsa"),
        folder.keys("ec"),
        passphrases(&["wrong", "geheim"]),
        passphrases(&[hex]),
    ] {
        let opened = opens(&keys, &object, "several recipients");
        assert_eq!(opened.layers[0].recipients.len(), 5);
    }
    folder.identity("stranger", "rsa:2048", "");
    let unopened = open(&folder.keys("stranger"), &Trust::default(), &object, None).unwrap_err();
    let Failure::NoKey { waiting_for } = unopened.failure else {
        panic!("{:?}", unopened.failure)
    };
    assert_eq!(waiting_for.len(), 4 + 1);
}

#[test]
fn passwords_and_pre_shared_keys() {
    let folder = Folder::new();
    let hexes = [
        "000102030405060708090a0b0c0d0e0f",
        "000102030405060708090a0b0c0d0e0f0001020304050607",
        "000102030405060708090a0b0c0d0e0f000102030405060708090a0b0c0d0e0f",
    ];
    let keys = passphrases(&["wrong", "geheim", hexes[0], hexes[1], hexes[2]]);
    for cipher in [
        "aes-128-cbc",
        "aes-192-cbc",
        "aes-256-cbc",
        "des3",
        "camellia-256-cbc",
    ] {
        folder.must(&format!(
            "cms -encrypt -{cipher} -binary -in message -outform DER -out out -pwri_password geheim"
        ));
        opens(&keys, &folder.read("out"), cipher);
        for hex in hexes {
            folder.must(&format!(
                "cms -encrypt -{cipher} -binary -in message -outform DER -out out -secretkey {hex} -secretkeyid c0fee0"
            ));
            opens(&keys, &folder.read("out"), cipher);
        }
    }
    for cipher in [
        "rc2-40",
        "rc2-64",
        "rc2-128",
        "bf-cbc",
        "cast5-cbc",
        "des",
        "seed",
    ] {
        folder.must(&format!(
            "cms -encrypt -{cipher} -provider legacy -provider default -binary -in message -outform DER -out out \
             -pwri_password geheim"
        ));
        opens(&keys, &folder.read("out"), cipher);
    }
    for (cipher, hex) in ["aes-128-cbc", "aes-192-cbc", "aes-256-cbc"]
        .iter()
        .zip(hexes)
    {
        for stream in ["", "-stream"] {
            folder.must(&format!(
                "cms -EncryptedData_encrypt -{cipher} -binary {stream} -in message -outform DER -out out -secretkey {hex}"
            ));
            opens(&keys, &folder.read("out"), "EncryptedData");
        }
    }
}

#[test]
fn many_passwords_that_are_slow_to_derive_end_at_the_bound() {
    let folder = Folder::new();
    folder.must(
        "cms -encrypt -aes-128-cbc -binary -in message -outform DER -out out -pwri_password geheim",
    );
    let keys = passphrases(&["geheim"]);
    let mut policy = OpenPolicy::default();
    for (key_operations, opens) in [(0, false), (1, true)] {
        policy.bounds.key_operations = key_operations;
        let opened = open_by(&policy, &keys, &Trust::default(), &folder.read("out"));
        let failure = opened.map(|_| ()).map_err(|unopened| unopened.failure);
        match failure {
            Ok(()) => assert!(opens),
            Err(Failure::OverBound { bound, .. }) => {
                assert!(!opens && bound == "key_operations", "{bound}");
            }
            Err(other) => panic!("{other}"),
        }
    }
}

/// Of 600 wrong keys two or three give a right padding: none of them may be believed before the right one.
#[test]
fn wrong_pre_shared_keys_give_no_wrong_text() {
    let folder = Folder::new();
    let right = "000102030405060708090a0b0c0d0e0f";
    folder.must(&format!(
        "cms -EncryptedData_encrypt -aes-128-cbc -binary -in message -outform DER -out out -secretkey {right}"
    ));
    let wrong: Vec<String> = (1..=600).map(|number| format!("{number:032x}")).collect();
    let given: Vec<&str> = wrong.iter().map(String::as_str).chain([right]).collect();
    opens(&passphrases(&given), &folder.read("out"), "EncryptedData");
}

#[test]
fn diffie_hellman_of_x942() {
    let folder = Folder::new();
    folder.identity("ca", "rsa:2048", "");
    folder.must("genpkey -algorithm DHX -pkeyopt group:dh_2048_256 -out dh.key");
    folder.must("pkey -in dh.key -pubout -out dh.pub");
    folder.must(
        "x509 -new -CA ca.crt -CAkey ca.key -force_pubkey dh.pub -subj /CN=dh -days 9999 -out dh.crt",
    );
    folder.bundle("dh");
    let keys = folder.keys("dh");
    for (cipher, wrap) in [
        ("aes-128-cbc", ""),
        ("aes-256-cbc", "-aes256-wrap"),
        ("aes-128-cbc", "-aes192-wrap"),
        ("des3", ""),
        ("aes-256-gcm", "-des3-wrap"),
    ] {
        for _ in 0..3 {
            folder.must(&format!(
                "cms -encrypt -{cipher} -binary -in message -outform DER -out out {wrap} dh.crt"
            ));
            let opened = opens(&keys, &folder.read("out"), &format!("DH {cipher} {wrap}"));
            assert!(opened.layers[0].algorithms.contains(&"DH-SHA-1".to_owned()));
        }
    }
}

#[test]
fn a_wrong_key_fails_cleanly() {
    let folder = Folder::new();
    folder.identity("rsa", "rsa:2048", "-set_serial 7");
    let right = folder.read("rsa.crt");
    for _ in 0..3 {
        // The same name and serial number, another key.
        folder.identity("rsa", "rsa:2048", "-set_serial 7");
        folder.write("right.crt", &right);
        folder.must("cms -encrypt -aes128 -binary -in message -outform DER -out out right.crt");
        let keys = folder.keys("rsa");
        let unopened = open(&keys, &Trust::default(), &folder.read("out"), None).unwrap_err();
        assert!(
            matches!(unopened.failure, Failure::Misfit { .. }),
            "{:?}",
            unopened.failure
        );
    }
}

#[test]
fn altered_content_is_damaged() {
    let folder = Folder::new();
    folder.identity("rsa", "rsa:2048", "");
    folder.must("cms -encrypt -aes-256-gcm -binary -in message -outform DER -out out -recip rsa.crt -keyopt rsa_padding_mode:oaep");
    let mut altered = folder.read("out");
    *altered.last_mut().unwrap() ^= 1;
    let Unopened {
        failure, layers, ..
    } = open(&folder.keys("rsa"), &Trust::default(), &altered, None).unwrap_err();
    assert!(matches!(failure, Failure::Damaged(_)));
    assert_eq!(layers[0].integrity, Integrity::Broken);
}

/// Bleichenbacher's question: is what the private key makes of this well-formed?
#[test]
fn what_is_wrong_under_an_rsa_v15_wrap_is_not_told() {
    let folder = Folder::new();
    folder.identity("rsa", "rsa:2048", "");
    let keys = folder.keys("rsa");
    for cipher in ["aes-256-gcm", "aes-256-cbc"] {
        folder.must(&format!(
            "cms -encrypt -{cipher} -binary -in message -outform DER -out out rsa.crt"
        ));
        let sent = folder.read("out");
        let answer = |altered: &[u8]| {
            let unopened = open(&keys, &Trust::default(), altered, None).unwrap_err();
            let layer = unopened.layers.into_iter().next().unwrap();
            (unopened.failure, layer.reason, layer.integrity)
        };
        // The content under a right key; then the wrap, whose 256 octets stand behind their own head.
        let mut content = sent.clone();
        let near_the_end = content.len() - 20;
        content[near_the_end] ^= 0x55;
        let head = [4, 0x82, 1, 0];
        let wrap = sent.windows(4).position(|part| part == head).unwrap();
        let mut wrapped = sent.clone();
        wrapped[wrap + 100] ^= 1;
        assert_eq!(answer(&content), answer(&wrapped), "{cipher}");
        let (failure, ..) = answer(&content);
        assert_eq!(failure.outcome(), Outcome::Damaged, "{failure}");
        // It may be another key's of that name.
        assert!(matches!(failure, Failure::Misfit { waiting_for } if waiting_for.len() == 1));
    }
}

/// The same question, asked by a content that no key opens.
#[test]
fn what_no_key_would_open_is_told_whatever_the_rsa_v15_wrap_is() {
    let folder = Folder::new();
    folder.write("message", &MESSAGE.repeat(10));
    folder.identity("rsa", "rsa:2048", "");
    let keys = folder.keys("rsa");
    folder.must("cms -encrypt -aes128 -stream -binary -in message -outform DER -out out rsa.crt");
    let sent = folder.read("out");
    let head = [4, 0x82, 1, 0];
    let wrap = sent.windows(4).position(|part| part == head).unwrap();
    // The content's only piece, in which there are to be others.
    let piece = wrap
        + sent[wrap..]
            .windows(3)
            .position(|part| part == [0xa0, 0x80, 4])
            .unwrap();
    let mut altered = sent.clone();
    altered[piece + 2] = 0x24;
    let small = Bounds {
        expanded_bytes: 1,
        ..Bounds::default()
    };
    for (message, bounds, why) in [
        (&altered, Bounds::default(), "damaged"),
        (&sent, small, "over the bound"),
    ] {
        let policy = OpenPolicy {
            bounds,
            ..OpenPolicy::default()
        };
        let answer = |message: &[u8]| {
            let (budget, trust) = (Budget::default(), Trust::default());
            let context = context(&policy, &budget, &keys, &trust, ARRIVED);
            let unopened = smime::open(message, None, &context).unwrap_err();
            (
                unopened.failure,
                unopened.layers[0].reason.clone(),
                unopened.layers[0].integrity,
            )
        };
        let mut wrapped = message.clone();
        wrapped[wrap + 100] ^= 1;
        assert_eq!(answer(message), answer(&wrapped), "{why}");
        let (failure, ..) = answer(message);
        assert!(
            !matches!(failure, Failure::Misfit { .. }) && failure.to_string().contains(why),
            "{failure}"
        );
    }
}

#[test]
fn digested_content() {
    let folder = Folder::new();
    for digest in ["sha1", "sha256", "sha3-512"] {
        folder.must(&format!(
            "cms -digest_create -md {digest} -binary -in message -outform DER -out out"
        ));
        let opened = open(
            &passphrases(&[]),
            &Trust::default(),
            &folder.read("out"),
            None,
        )
        .unwrap();
        assert_eq!(opened.plaintext, MESSAGE);
        assert_eq!(opened.layers[0].integrity, Integrity::Unauthenticated);
    }
}
