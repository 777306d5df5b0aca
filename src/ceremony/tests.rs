//! Founding and restoring with the state machines alone: every subset, every bad share and signature.

use super::transcript::sign;
use super::*;
use crate::crypto::shares::Share;
use crate::crypto::sign::SigningKey;
use crate::id::BoxId;
use crate::keyring::{Keyring, TreeHead, box_secret};
use crate::officer::OfficerKey;
use crate::officer::tests::officer;
use crate::policy::{DEFAULT, DEMO, ValidPolicy};
use crate::secret::SecretBytes;
use crate::time::Timestamp;

const NAMES: [&str; 5] = ["Ada", "Ben", "Cleo", "Dan", "Eva"];

fn officers(count: usize) -> Vec<OfficerKey> {
    NAMES[..count].iter().map(|name| officer(name)).collect()
}

fn facts() -> TpmFacts {
    TpmFacts {
        storage_root_key: "000b".to_owned(),
        ledger_key: SigningKey::generate().verifying_key(),
    }
}

fn head(size: u64) -> TreeHead {
    TreeHead {
        size,
        root: digest_of("root"),
        time: Timestamp(5),
    }
}

fn propose(policy: &str, officers: &[OfficerKey]) -> Result<Proposed, CeremonyError> {
    let policy = ValidPolicy::parse(policy, "policy.toml").expect("policy");
    Proposed::new(
        policy,
        officers
            .iter()
            .map(|officer| officer.public().clone())
            .collect(),
    )
}

fn open(dealt: &Dealt, officer: &OfficerKey) -> Share {
    let dealing = dealt
        .shares()
        .iter()
        .find(|dealing| dealing.officer == *officer.public())
        .expect("dealt");
    open_share(dealing, dealt.box_id(), dealt.recovery(), officer).expect("opens")
}

fn altered(share: &Share) -> Share {
    let mut bytes = share.expose().to_vec();
    bytes[20] ^= 1;
    Share::from_bytes(SecretBytes::new(bytes)).expect("a share by its form")
}

fn proven(policy: &str, officers: &[OfficerKey]) -> Proven {
    let mut dealt = propose(policy, officers)
        .expect("proposed")
        .deal(BoxId::random())
        .expect("dealt");
    for officer in officers {
        let share = open(&dealt, officer);
        dealt
            .take_back(&officer.public().name, share)
            .expect("comes back");
    }
    dealt.prove().expect("proven")
}

fn founded(policy: &str, officers: &[OfficerKey]) -> Founded {
    let mut unsigned =
        proven(policy, officers).charter(facts(), TpmSecrets::generate(), Timestamp(9));
    for officer in officers {
        let signature = sign(officer, unsigned.text());
        unsigned
            .sign(&officer.public().name, &signature)
            .expect("signature fits");
    }
    unsigned.complete().expect("all have signed")
}

/// The keyring file and the charter that a founding leaves.
fn box_of(policy: &str, officers: &[OfficerKey]) -> (Signed, Vec<u8>) {
    let founded = founded(policy, officers);
    let signed = founded.signed().clone();
    let (keyring, secrets) = founded.with_head(head(1));
    let file = keyring
        .seal(&box_secret(&secrets.sealed, &secrets.anchor))
        .expect("sealed");
    (signed, file)
}

fn offer(gathering: &mut Gathering, officer: &OfficerKey) -> Result<(), CeremonyError> {
    let charter = gathering.charter().clone();
    let dealing = charter.dealing(&officer.public().name)?;
    let share = open_share(dealing, charter.box_id, &charter.recovery, officer)?;
    gathering.offer(&officer.public().name, share)
}

#[test]
fn every_subset_of_m_is_tested() {
    assert_eq!(proven(DEMO, &officers(3)).subsets_tested(), 3);
    assert_eq!(proven(DEFAULT, &officers(5)).subsets_tested(), 10);
}

#[test]
fn officers_must_be_n_and_different() {
    let mut three = officers(3);
    assert!(matches!(
        propose(DEFAULT, &three),
        Err(CeremonyError::OfficerCount {
            expected: 5,
            given: 3
        })
    ));
    three[2] = officer("ada");
    assert!(
        matches!(propose(DEMO, &three), Err(CeremonyError::SameOfficer(_))),
        "same name but for case"
    );
}

#[test]
fn no_share_may_be_missing_and_a_bad_one_is_named() {
    let three = officers(3);
    let mut dealt = propose(DEMO, &three)
        .expect("proposed")
        .deal(BoxId::random())
        .expect("dealt");
    let (first, second) = (open(&dealt, &three[0]), open(&dealt, &three[1]));
    let name = |index: usize| three[index].public().name.clone();
    let bad = dealt
        .take_back(&name(0), altered(&first))
        .expect_err("altered");
    assert!(matches!(bad, CeremonyError::BadShare(ref who) if *who == name(0)));
    let swapped = dealt
        .take_back(&name(0), open(&dealt, &three[1]))
        .expect_err("another's share");
    assert!(matches!(swapped, CeremonyError::BadShare(_)));
    dealt.take_back(&name(0), first).expect("good");
    dealt.take_back(&name(1), second).expect("good");
    let missing = dealt.prove().expect_err("one is missing");
    assert!(
        matches!(missing, CeremonyError::TooFew { ref missing, .. } if *missing == [name(2)]),
        "{missing}"
    );
}

#[test]
fn a_share_opens_for_its_officer_alone() {
    let three = officers(3);
    let dealt = propose(DEMO, &three)
        .expect("proposed")
        .deal(BoxId::random())
        .expect("dealt");
    let stranger = open_share(
        &dealt.shares()[0],
        dealt.box_id(),
        dealt.recovery(),
        &three[1],
    );
    assert!(matches!(stranger, Err(CeremonyError::OtherKeys(_))));
    let other_box = open_share(
        &dealt.shares()[0],
        BoxId::random(),
        dealt.recovery(),
        &three[0],
    );
    assert!(matches!(other_box, Err(CeremonyError::SealedShare { .. })));
    let other_key = &three[2].public().sealing;
    let fingerprint = open_share(&dealt.shares()[0], dealt.box_id(), other_key, &three[0]);
    assert!(matches!(
        fingerprint,
        Err(CeremonyError::OtherRecoveryKey(_))
    ));
}

#[test]
fn all_officers_sign_the_charter() {
    let three = officers(3);
    let mut unsigned = proven(DEMO, &three).charter(facts(), TpmSecrets::generate(), Timestamp(9));
    let name = |index: usize| three[index].public().name.clone();
    let wrong = unsigned
        .sign(&name(0), &sign(&three[1], unsigned.text()))
        .expect_err("another's signature");
    assert!(
        matches!(wrong, CeremonyError::BadSignature { ref officer, .. } if *officer == name(0))
    );
    for (index, officer) in three.iter().enumerate().take(2) {
        let signature = sign(officer, unsigned.text());
        unsigned.sign(&name(index), &signature).expect("fits");
    }
    assert!(matches!(
        unsigned.complete(),
        Err(CeremonyError::TooFew {
            present: 2,
            needed: 3,
            ..
        })
    ));
}

#[test]
fn a_transcript_verifies_and_an_altered_one_does_not() {
    let three = officers(3);
    let (signed, _) = box_of(DEMO, &three);
    let read = Signed::parse(&signed.to_json()).expect("parses");
    let charter = read.charter().expect("a charter");
    assert_eq!(read.signers(charter.officers()).len(), 3);
    assert_eq!(charter.policy, digest_of(DEMO));
    assert!(read.succession().is_err(), "another kind");
    let mut altered = read;
    altered.text = altered
        .text
        .replacen("\"required\": 2", "\"required\": 1", 1);
    assert!(altered.signers(charter.officers()).is_empty());
}

#[test]
fn any_m_officers_open_the_capsule_and_fewer_do_not() {
    let five = officers(5);
    let (signed, file) = box_of(DEFAULT, &five);
    for mask in 0u32..32 {
        let mut gathering = Gathering::new(signed.clone(), file.clone()).expect("gathering");
        for (_, officer) in five
            .iter()
            .enumerate()
            .filter(|(index, _)| mask & (1 << index) != 0)
        {
            offer(&mut gathering, officer).expect("counts");
        }
        assert_eq!(gathering.open().is_ok(), mask.count_ones() >= 3, "{mask:b}");
    }
}

#[test]
fn a_bad_share_is_named_and_stops_nobody() {
    let three = officers(3);
    let (signed, file) = box_of(DEMO, &three);
    let mut gathering = Gathering::new(signed, file).expect("gathering");
    let charter = gathering.charter().clone();
    let share = open_share(
        &charter.shares[0],
        charter.box_id,
        &charter.recovery,
        &three[0],
    )
    .expect("opens");
    let name = three[0].public().name.clone();
    let refused = gathering.offer(&name, altered(&share)).expect_err("bad");
    assert!(
        refused.to_string().starts_with("Ada's share is bad"),
        "{refused}"
    );
    assert_eq!(gathering.still_needed(), 2);
    offer(&mut gathering, &three[1]).expect("counts");
    offer(&mut gathering, &three[1]).expect("the same officer again");
    assert_eq!(gathering.still_needed(), 1, "an officer counts once");
    offer(&mut gathering, &three[2]).expect("counts");
    gathering.open().expect("two of three");
}

#[test]
fn an_officer_whose_charter_signature_is_bad_is_refused_alone() {
    let three = officers(3);
    let (mut signed, file) = box_of(DEMO, &three);
    let theirs = signed.signatures[&three[1].public().name].clone();
    signed
        .signatures
        .insert(three[0].public().name.clone(), theirs);
    let mut gathering = Gathering::new(signed, file).expect("gathering");
    assert!(matches!(
        offer(&mut gathering, &three[0]),
        Err(CeremonyError::BadSignature { .. })
    ));
    offer(&mut gathering, &three[1]).expect("counts");
    offer(&mut gathering, &three[2]).expect("counts");
    gathering.open().expect("two of three");
}

#[test]
fn a_capsule_of_another_box_is_refused() {
    let three = officers(3);
    let (signed, _) = box_of(DEMO, &three);
    let (_, other) = box_of(DEMO, &three);
    let mut gathering = Gathering::new(signed, other).expect("gathering");
    offer(&mut gathering, &three[0]).expect("counts");
    offer(&mut gathering, &three[1]).expect("counts");
    assert!(matches!(
        gathering.open(),
        Err(CeremonyError::Keyring {
            what: "capsule",
            ..
        })
    ));
}

#[test]
fn a_restore_keeps_what_opens_the_archive_and_renews_the_rest() {
    // O2
    let three = officers(3);
    let (signed, file) = box_of(DEMO, &three);
    let mut gathering = Gathering::new(signed.clone(), file.clone()).expect("gathering");
    for officer in &three[1..] {
        offer(&mut gathering, officer).expect("counts");
    }
    let opened = gathering.open().expect("opens");
    let main = "main".parse().expect("tenant");
    let archive = opened.keyring().tenants[&main].archive[&1].duplicate();
    let old_auth = opened.keyring().ledger_auth.duplicate();
    let facts = RestoreFacts {
        new_box: BoxId::from_bytes([9; 16]),
        tpm: facts(),
        ledger_head: head(40),
    };
    let mut proposal = opened.propose(facts.clone(), TpmSecrets::generate(), Timestamp(10));
    let signature = sign(&three[1], proposal.text());
    proposal
        .sign(&three[1].public().name, &signature)
        .expect("fits");
    assert!(
        proposal.sign(&three[2].public().name, &signature).is_err(),
        "another's signature"
    );
    let signature = sign(&three[0], proposal.text());
    proposal
        .sign(&three[0].public().name, &signature)
        .expect("any officer may sign");
    let accepted = proposal.complete().expect("two of three");
    let text = accepted.signed().succession().expect("a succession");
    assert_eq!(
        (text.accepted_head, text.capsule_head, text.charter),
        (head(40), head(1), signed.digest())
    );
    assert_eq!(text.tpm, facts.tpm);
    let (keyring, secrets) = (accepted.keyring(), accepted.secrets());
    assert_eq!(keyring.box_id, BoxId::from_bytes([9; 16]));
    assert_eq!(keyring.generation, 2);
    assert_eq!(keyring.head, head(40));
    assert_eq!(keyring.spool.len(), 2);
    assert_eq!(
        keyring.tenants[&main].archive[&1].expose(),
        archive.expose()
    );
    assert_ne!(keyring.ledger_auth.expose(), old_auth.expose());
    let secret = box_secret(&secrets.sealed, &secrets.anchor);
    let new_file = keyring.seal(&secret).expect("sealed");
    Keyring::open_with_box_secret(&new_file, &secret).expect("the new TPM's secret opens it");
    assert!(
        Keyring::open_with_box_secret(&file, &secret).is_err(),
        "and not the old file"
    );
}

#[test]
fn a_restore_needs_m_signatures() {
    let three = officers(3);
    let (signed, file) = box_of(DEMO, &three);
    let mut gathering = Gathering::new(signed, file).expect("gathering");
    for officer in &three[1..] {
        offer(&mut gathering, officer).expect("counts");
    }
    let facts = RestoreFacts {
        new_box: BoxId::from_bytes([9; 16]),
        tpm: facts(),
        ledger_head: head(40),
    };
    let opened = gathering.open().expect("opens");
    let mut proposal = opened.propose(facts, TpmSecrets::generate(), Timestamp(10));
    let signature = sign(&three[1], proposal.text());
    for _ in 0..2 {
        proposal
            .sign(&three[1].public().name, &signature)
            .expect("fits");
    }
    assert!(matches!(
        proposal.complete(),
        Err(CeremonyError::TooFew {
            present: 1,
            needed: 2,
            ..
        })
    ));
}
