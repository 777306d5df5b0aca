//! The TPM module against a real TPM 2.0 in software, with power cuts, other firmware, clears,
//! lockout, and somebody on the wire. Each test has a machine of its own.

use hsm_sim::{Fault, Firmware, Sim};
use sha2::{Digest as _, Sha256};
use std::time::{Duration, Instant};
use strongroom::secret::Key;
use strongroom::tpm::{SealedBlob, Slot, SrkName, Tpm, TpmError};

/// What the machine boots: firmware, secure boot, kernel, command line.
const PCRS: [u8; 4] = [0, 7, 11, 12];

/// A key of a repeated byte: easy to find in recorded traffic.
fn key(byte: u8) -> Key {
    Key::copy_from(&[byte; 32])
}

fn owner() -> Key {
    key(0xB1)
}

fn lockout() -> Key {
    key(0xB2)
}

fn auth() -> Key {
    key(0xB3)
}

/// A machine that a box was founded on.
struct Founded {
    sim: Sim,
    srk: SrkName,
    blob: SealedBlob,
    _folder: tempfile::TempDir,
}

impl Founded {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let sim = Sim::start(folder.path()).expect("a TPM");
        let mut tpm = Tpm::open(&sim.tcti()).expect("a connection");
        let srk = tpm.provision(&owner(), &lockout()).expect("provisioned");
        let blob = tpm.seal(&key(0xA1), &PCRS).expect("sealed");
        tpm.shutdown().expect("shut down");
        Self {
            sim,
            srk,
            blob,
            _folder: folder,
        }
    }

    fn open(&self) -> Tpm {
        self.open_at(&self.sim.tcti())
    }

    fn open_at(&self, tcti: &str) -> Tpm {
        let mut tpm = Tpm::open_with_deadline(tcti, Duration::from_secs(20)).expect("a connection");
        tpm.pin(&self.srk).expect("the same TPM");
        tpm
    }
}

fn opens_to(tpm: &mut Tpm, blob: &SealedBlob) -> [u8; 32] {
    *tpm.unseal(blob).expect("unsealed").expose()
}

#[test]
fn a_sealed_secret_outlives_power_cuts_and_its_text_form() {
    let mut box_ = Founded::new();
    assert_eq!(opens_to(&mut box_.open(), &box_.blob), [0xA1; 32]);
    let json = serde_json::to_string(&box_.blob).expect("json");
    let blob: SealedBlob = serde_json::from_str(&json).expect("the same blob");
    for _ in 0..2 {
        box_.sim.boot(Firmware::Good).expect("booted");
        assert_eq!(opens_to(&mut box_.open(), &blob), [0xA1; 32]);
    }
}

#[test]
fn provisioning_may_be_run_again_but_only_with_the_same_owner() {
    let folder = tempfile::tempdir().expect("a folder");
    let sim = Sim::start(folder.path()).expect("a TPM");
    let mut tpm = Tpm::open(&sim.tcti()).expect("a connection");
    let first = tpm.provision(&owner(), &lockout()).expect("provisioned");
    assert_eq!(tpm.provision(&owner(), &lockout()).expect("again"), first);
    let other = tpm.provision(&key(1), &lockout());
    assert!(
        matches!(other, Err(TpmError::WrongAuth { .. })),
        "{other:?}"
    );
    tpm.set_owner_auth(&owner(), &key(1)).expect("a new owner");
    assert_eq!(
        tpm.provision(&key(1), &lockout()).expect("the new owner"),
        first
    );
    // The lockout is somebody's, and the owner nobody's: 32 zeros are no value.
    tpm.set_owner_auth(&key(1), &key(0)).expect("no owner");
    let taken = tpm.provision(&owner(), &key(2));
    assert!(matches!(taken, Err(TpmError::LockoutTaken)), "{taken:?}");
    assert!(!tpm.health().expect("health").owner_auth_set);
}

#[test]
fn altered_firmware_is_named_by_its_pcrs_and_good_firmware_opens_again() {
    let mut box_ = Founded::new();
    box_.sim.boot(Firmware::Altered).expect("booted");
    let error = box_.open().unseal(&box_.blob).expect_err("other firmware");
    assert!(
        matches!(&error, TpmError::PcrMismatch { differing } if differing == &[0, 11]),
        "{error:?}"
    );
    assert!(error.to_string().contains("PCR 0, 11 differ."), "{error}");

    box_.sim.boot(Firmware::Updated).expect("booted");
    let error = box_.open().unseal(&box_.blob).expect_err("an update");
    assert!(
        matches!(&error, TpmError::PcrMismatch { differing } if differing == &[11]),
        "{error:?}"
    );
    let resealed = box_
        .open()
        .seal(&key(0xA1), &PCRS)
        .expect("sealed to the update");
    assert_eq!(opens_to(&mut box_.open(), &resealed), [0xA1; 32]);

    box_.sim.boot(Firmware::Good).expect("booted");
    assert_eq!(opens_to(&mut box_.open(), &box_.blob), [0xA1; 32]);
}

#[test]
fn a_cap_shuts_the_way_until_the_next_boot() {
    let mut box_ = Founded::new();
    let mut tpm = box_.open();
    assert_eq!(opens_to(&mut tpm, &box_.blob), [0xA1; 32]);
    assert!(!tpm.is_capped(&box_.blob, 11).expect("not yet"));
    tpm.cap_pcr(11).expect("capped");
    assert!(tpm.is_capped(&box_.blob, 11).expect("capped"));
    let error = tpm.unseal(&box_.blob).expect_err("capped");
    assert!(
        matches!(&error, TpmError::PcrMismatch { differing } if differing == &[11]),
        "{error:?}"
    );
    assert!(matches!(
        tpm.cap_pcr(7),
        Err(TpmError::BadPcr { pcr: 7, .. })
    ));
    drop(tpm);
    box_.sim.boot(Firmware::Good).expect("booted");
    assert_eq!(opens_to(&mut box_.open(), &box_.blob), [0xA1; 32]);
}

#[test]
fn a_cleared_tpm_is_called_that() {
    let box_ = Founded::new();
    box_.sim.clear().expect("cleared");
    let mut tpm = Tpm::open(&box_.sim.tcti()).expect("a connection");
    let error = tpm.pin(&box_.srk).expect_err("cleared");
    assert!(matches!(error, TpmError::Cleared), "{error:?}");
    assert!(error.to_string().contains("ceremony restore"), "{error}");
    assert_eq!(tpm.health().expect("health").srk, None);
    for result in [
        tpm.unseal(&box_.blob).map(drop),
        tpm.read_counter(&auth()).map(drop),
    ] {
        assert!(matches!(result, Err(TpmError::Cleared)), "{result:?}");
    }
    // A founding on the cleared TPM makes another key: the old box does not take it for its own.
    tpm.provision(&owner(), &lockout()).expect("founded anew");
    assert!(matches!(tpm.pin(&box_.srk), Err(TpmError::OtherTpm)));
}

#[test]
fn a_missing_tpm_is_called_that() {
    let mut box_ = Founded::new();
    let mut tpm = box_.open();
    box_.sim.power_off();
    let gone = tpm.unseal(&box_.blob).expect_err("no TPM");
    assert!(matches!(gone, TpmError::Missing { .. }), "{gone:?}");
    assert!(matches!(
        tpm.unseal(&box_.blob),
        Err(TpmError::Missing { .. })
    ));
    assert!(matches!(
        Tpm::open(&box_.sim.tcti()),
        Err(TpmError::Missing { .. })
    ));
    assert!(matches!(
        Tpm::open("usb:first"),
        Err(TpmError::BadAddress(_))
    ));
    // The connection comes back by itself.
    box_.sim.boot(Firmware::Good).expect("booted");
    assert_eq!(opens_to(&mut tpm, &box_.blob), [0xA1; 32]);
}

#[test]
fn lockout_is_told_and_ended_and_does_not_touch_what_is_ours() {
    let box_ = Founded::new();
    box_.sim.lockout().expect("locked out");
    let mut tpm = box_.open();
    let health = tpm.health().expect("health");
    assert!(
        health.in_lockout && health.failed_tries >= health.max_tries,
        "{health:?}"
    );
    assert_eq!((health.max_tries, health.forget_after_seconds), (32, 600));
    assert!(health.owner_auth_set && health.lockout_auth_set);
    assert_eq!(opens_to(&mut tpm, &box_.blob), [0xA1; 32]);

    tpm.reset_lockout(&lockout()).expect("reset");
    assert!(!tpm.health().expect("health").in_lockout);
    assert!(matches!(
        tpm.reset_lockout(&key(9)),
        Err(TpmError::WrongAuth { .. })
    ));
    let shut = tpm.reset_lockout(&lockout()).expect_err("shut for a day");
    assert!(
        matches!(
            shut,
            TpmError::Lockout {
                seconds: 86_400,
                ..
            }
        ),
        "{shut:?}"
    );
}

#[test]
fn anchors_alternate_and_a_zeroed_one_is_gone() {
    let mut box_ = Founded::new();
    let mut tpm = box_.open();
    assert!(matches!(
        tpm.read_anchor(Slot::A, &auth()),
        Err(TpmError::NvMissing { .. })
    ));
    tpm.define_anchor_slots(&owner(), &auth()).expect("defined");
    assert!(matches!(
        tpm.define_anchor_slots(&owner(), &auth()),
        Err(TpmError::NvExists { .. })
    ));
    assert!(tpm.read_anchor(Slot::A, &auth()).expect("read").is_none());
    tpm.write_anchor(Slot::A, &auth(), &key(0xC1))
        .expect("written");
    tpm.write_anchor(Slot::A.other(), &auth(), &key(0xC2))
        .expect("written");
    drop(tpm);
    box_.sim.boot(Firmware::Good).expect("booted");

    let mut tpm = box_.open();
    let read = |tpm: &mut Tpm, slot| {
        tpm.read_anchor(slot, &auth())
            .expect("read")
            .map(|key| *key.expose())
    };
    assert_eq!(read(&mut tpm, Slot::A), Some([0xC1; 32]));
    assert_eq!(read(&mut tpm, Slot::B), Some([0xC2; 32]));
    tpm.zero_anchor(Slot::A, &auth()).expect("zeroed");
    assert_eq!(read(&mut tpm, Slot::A), None);
    assert_eq!(read(&mut tpm, Slot::B), Some([0xC2; 32]));
    let wrong = tpm
        .read_anchor(Slot::B, &key(1))
        .expect_err("a wrong value");
    assert!(matches!(wrong, TpmError::WrongAuth { .. }), "{wrong:?}");
    assert_eq!(tpm.health().expect("health").failed_tries, 0);

    let refused = tpm.undefine_all(&key(1)).expect_err("not the owner");
    assert!(matches!(refused, TpmError::WrongAuth { .. }), "{refused:?}");
    tpm.undefine_all(&owner()).expect("deleted");
    tpm.undefine_all(&owner()).expect("nothing is left");
    assert!(matches!(
        tpm.read_anchor(Slot::B, &auth()),
        Err(TpmError::NvMissing { .. })
    ));
}

#[test]
fn the_counter_never_goes_back() {
    let mut box_ = Founded::new();
    let mut tpm = box_.open();
    let first = tpm.define_counter(&owner(), &auth()).expect("defined");
    assert_eq!(tpm.increment_counter(&auth()).expect("stepped"), first + 1);
    drop(tpm);
    box_.sim.boot(Firmware::Good).expect("a power cut");
    let mut tpm = box_.open();
    assert_eq!(tpm.read_counter(&auth()).expect("read"), first + 1);
    assert_eq!(tpm.increment_counter(&auth()).expect("stepped"), first + 2);
    tpm.undefine_all(&owner()).expect("deleted");
    assert!(tpm.define_counter(&owner(), &auth()).expect("defined anew") > first + 2);
}

#[test]
fn the_absorber_chains_digests() {
    let mut box_ = Founded::new();
    let mut tpm = box_.open();
    assert!(matches!(
        tpm.absorb(&auth(), &[1; 32]),
        Err(TpmError::NvMissing { .. })
    ));
    tpm.define_absorber(&owner(), &auth()).expect("defined");
    assert_eq!(tpm.read_absorber(&auth()).expect("read"), [0; 32]);
    tpm.absorb(&auth(), &[1; 32]).expect("absorbed");
    tpm.absorb(&auth(), &[2; 32]).expect("absorbed");
    assert!(matches!(
        tpm.absorb(&key(1), &[3; 32]),
        Err(TpmError::WrongAuth { .. })
    ));
    drop(tpm);
    box_.sim.boot(Firmware::Good).expect("booted");
    let once: [u8; 32] = Sha256::digest([[0; 32], [1; 32]].concat()).into();
    let twice: [u8; 32] = Sha256::digest([once, [2; 32]].concat()).into();
    assert_eq!(box_.open().read_absorber(&auth()).expect("read"), twice);
}

#[test]
fn the_ledger_key_signs_only_with_its_authorisation() {
    let mut box_ = Founded::new();
    let mut tpm = box_.open();
    let (blob, public) = tpm.create_signing_key(&auth()).expect("a key");
    let (other, _) = tpm.create_signing_key(&auth()).expect("another key");
    let digest: [u8; 32] = Sha256::digest(b"checkpoint").into();
    for _ in 0..20 {
        let signature = tpm.sign(&blob, &auth(), &digest).expect("signed");
        public
            .verify(b"checkpoint", &signature)
            .expect("a good signature");
    }
    let signature = tpm.sign(&other, &auth(), &digest).expect("signed");
    public
        .verify(b"checkpoint", &signature)
        .expect_err("the other key's");
    assert!(matches!(
        tpm.sign(&blob, &key(1), &digest),
        Err(TpmError::WrongAuth { .. })
    ));
    drop(tpm);
    // Registers do not guard it: an update of the firmware does not cost the key.
    box_.sim.boot(Firmware::Updated).expect("booted");
    let signature = box_.open().sign(&blob, &auth(), &digest).expect("signed");
    public
        .verify(b"checkpoint", &signature)
        .expect("a good signature");
}

#[test]
fn a_foreign_or_altered_blob_is_refused() {
    let (one, two) = (Founded::new(), Founded::new());
    let error = one.open().unseal(&two.blob).expect_err("another TPM's");
    assert!(matches!(error, TpmError::BadBlob { .. }), "{error:?}");
    let json = serde_json::to_value(&one.blob).expect("json");
    for (part, field) in [("object", "public"), ("object", "private")] {
        let mut altered = json.clone();
        let text = altered[part][field].as_str().expect("text").to_owned();
        let middle = text.len() / 2;
        let other = if text.as_bytes()[middle] == b'A' {
            "B"
        } else {
            "A"
        };
        altered[part][field] = format!("{}{other}{}", &text[..middle], &text[middle + 1..]).into();
        let blob: SealedBlob = serde_json::from_value(altered).expect("a blob");
        let error = one.open().unseal(&blob).expect_err("altered");
        assert!(
            matches!(error, TpmError::BadBlob { .. }),
            "{field}: {error:?}"
        );
    }
}

#[test]
fn random_bytes_differ() {
    let box_ = Founded::new();
    let mut tpm = box_.open();
    let (one, two) = (tpm.random().expect("random"), tpm.random().expect("random"));
    assert_ne!(one.expose(), two.expose());
}

/// Requirement E3: what the TPM guards never crosses its bus in the clear.
#[test]
fn nothing_secret_crosses_the_wire_in_the_clear() {
    let folder = tempfile::tempdir().expect("a folder");
    let sim = Sim::start(folder.path()).expect("a TPM");
    let proxy = sim.proxy().expect("a proxy");
    let mut tpm = Tpm::open(&proxy.tcti()).expect("a connection");
    tpm.provision(&owner(), &lockout()).expect("provisioned");
    let blob = tpm.seal(&key(0xA1), &PCRS).expect("sealed");
    assert_eq!(opens_to(&mut tpm, &blob), [0xA1; 32]);
    tpm.define_anchor_slots(&owner(), &auth()).expect("defined");
    tpm.write_anchor(Slot::A, &auth(), &key(0xC1))
        .expect("written");
    assert!(tpm.read_anchor(Slot::A, &auth()).expect("read").is_some());
    tpm.define_counter(&owner(), &auth()).expect("defined");
    tpm.define_absorber(&owner(), &auth()).expect("defined");
    tpm.absorb(&auth(), &[0xC3; 32]).expect("absorbed");
    let (signer, _) = tpm.create_signing_key(&auth()).expect("a key");
    tpm.sign(&signer, &auth(), &[7; 32]).expect("signed");
    let random = tpm.random().expect("random");
    tpm.set_owner_auth(&owner(), &key(0xB4)).expect("set");
    tpm.reset_lockout(&lockout()).expect("reset");

    let traffic = proxy.recorded();
    assert!(
        traffic.len() > 30,
        "the proxy saw {} commands",
        traffic.len()
    );
    for exchange in &traffic {
        for bytes in [&exchange.command, &exchange.response] {
            for secret in [0xA1, 0xB1, 0xB2, 0xB3, 0xB4, 0xC1, 0xC3] {
                let seen = bytes.windows(16).any(|window| window == [secret; 16]);
                assert!(!seen, "{secret:#x} in command {:#x}", exchange.code());
            }
            assert!(
                !bytes
                    .windows(16)
                    .any(|window| window == &random.expose()[..16])
            );
        }
    }
}

/// Whatever happens to an answer ends in an error or, where the altered byte says nothing, in the
/// right result: never in a wrong one, a panic or a hang.
#[test]
fn corrupted_and_truncated_answers_are_errors() {
    let box_ = Founded::new();
    let proxy = box_.sim.proxy().expect("a proxy");
    let unseal = 0x15E;
    let mut faults: Vec<Fault> = (0..70).step_by(3).map(Fault::Corrupt).collect();
    faults.extend([0, 1, 9, 10, 11, 40].map(Fault::Truncate));
    for fault in faults {
        proxy.fault(None);
        let mut tpm =
            Tpm::open_with_deadline(&proxy.tcti(), Duration::from_secs(2)).expect("a connection");
        tpm.pin(&box_.srk).expect("pinned");
        proxy.fault_on(unseal, fault);
        match tpm.unseal(&box_.blob) {
            Ok(secret) => assert_eq!(secret.expose(), &[0xA1; 32], "{fault:?}"),
            Err(error) => assert!(error.to_string().contains("Remedy"), "{fault:?}: {error}"),
        }
    }
    // Every kind of answer on the way to the secret, not only the last.
    for offset in [0, 3, 5, 6, 9, 12, 17, 25, 40] {
        proxy.fault(Some(Fault::Corrupt(offset)));
        let opened =
            Tpm::open_with_deadline(&proxy.tcti(), Duration::from_secs(2)).and_then(|mut tpm| {
                tpm.pin(&box_.srk)?;
                tpm.unseal(&box_.blob)
            });
        assert!(opened.is_err(), "offset {offset}");
    }
    drop(proxy);
    assert_eq!(opens_to(&mut box_.open(), &box_.blob), [0xA1; 32]);
}

#[test]
fn a_silent_tpm_is_given_up_at_the_deadline_and_a_slow_one_is_not() {
    let box_ = Founded::new();
    let proxy = box_.sim.proxy().expect("a proxy");
    proxy.fault_on(0x15E, Fault::Delay(Duration::from_millis(500)));
    assert_eq!(
        opens_to(&mut box_.open_at(&proxy.tcti()), &box_.blob),
        [0xA1; 32]
    );
    let mut tpm =
        Tpm::open_with_deadline(&proxy.tcti(), Duration::from_secs(3)).expect("a connection");
    tpm.pin(&box_.srk).expect("pinned");
    proxy.fault_on(0x15E, Fault::Drop);
    let began = Instant::now();
    assert!(matches!(
        tpm.unseal(&box_.blob),
        Err(TpmError::NoAnswer { seconds: 3 })
    ));
    assert!(began.elapsed() < Duration::from_secs(6));
    proxy.fault(None); // a lost answer costs no later one, though this TPM takes one connection
    assert_eq!(opens_to(&mut tpm, &box_.blob), [0xA1; 32]);
}

/// A keeper or worker that the owner of the TPM starts must not inherit the way to it.
#[test]
fn a_child_process_does_not_inherit_the_connection() {
    let box_ = Founded::new();
    let _tpm = box_.open();
    let inherits = || {
        let listing = std::process::Command::new("ls")
            .args(["-l", "/proc/self/fd"])
            .output()
            .expect("ls");
        String::from_utf8_lossy(&listing.stdout).contains("socket:")
    };
    // Another test may be between connecting and closing at that moment; not five times.
    let always = (0..5).all(|_| {
        std::thread::sleep(Duration::from_millis(50));
        inherits()
    });
    assert!(!always);
}
