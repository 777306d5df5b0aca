//! Founding: from a policy and n officers to a keyring, its capsule and a signed charter.
//!
//! [`Proposed`] → deal → [`Dealt`] → all n shares come back → [`Proven`] → the TPM's part →
//! [`Unsigned`] → all n sign → [`Founded`] → the ledger's first entry → keyring.

use super::deal::{Dealing, deal};
use super::transcript::{CHARTER, Charter, Signed};
use super::{CeremonyError, TpmFacts, TpmSecrets};
use crate::crypto::hpke::{OpeningKey, SealingKey};
use crate::crypto::random;
use crate::crypto::shares::{self, Share};
use crate::id::{BoxId, Digest};
use crate::keyring::{Founding, Keyring, Officers, TreeHead};
use crate::officer::{OfficerName, OfficerPublic, pretty};
use crate::policy::ValidPolicy;
use crate::time::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use subtle::ConstantTimeEq;

const TEST_INFO: &[u8] = b"strongroom/1 test capsule";

/// Policy and officers fit together.
#[derive(Debug)]
pub struct Proposed {
    policy: ValidPolicy,
    officers: Vec<OfficerPublic>,
}

impl Proposed {
    /// Checks that there are n different officers.
    pub fn new(policy: ValidPolicy, officers: Vec<OfficerPublic>) -> Result<Self, CeremonyError> {
        let expected = policy.quorum().officers;
        if officers.len() != usize::from(expected) {
            return Err(CeremonyError::OfficerCount {
                expected,
                given: officers.len(),
            });
        }
        let mut seen = BTreeSet::new();
        for officer in &officers {
            let marks = [
                officer.name.to_string().to_lowercase().into_bytes(),
                officer.signing.to_bytes(),
                officer.sealing.as_bytes().to_vec(),
            ];
            if !marks.into_iter().all(|mark| seen.insert(mark)) {
                return Err(CeremonyError::SameOfficer(officer.name.clone()));
            }
        }
        Ok(Self { policy, officers })
    }

    /// Makes the recovery key and deals its shares. Its private half is gone when this returns: from
    /// here on only the shares open anything.
    pub fn deal(self, box_id: BoxId) -> Result<Dealt, CeremonyError> {
        let key = OpeningKey::generate();
        let recovery = key.sealing_key();
        let required = self.policy.quorum().required;
        let shares = deal(key.seed(), &recovery, box_id, required, &self.officers)?;
        let content: [u8; 32] = random::bytes();
        let test = TestCapsule {
            sealed: recovery.seal(TEST_INFO, &[], &content),
            content,
        };
        Ok(Dealt {
            policy: self.policy,
            box_id,
            recovery,
            shares,
            test,
            returned: BTreeMap::new(),
        })
    }
}

#[derive(Debug)]
struct TestCapsule {
    sealed: Vec<u8>,
    content: [u8; 32],
}

impl TestCapsule {
    fn opened_by(&self, shares: &[&Share]) -> bool {
        let Ok(seed) = shares::combine(shares) else {
            return false;
        };
        let opened = OpeningKey::from_seed(seed).open(TEST_INFO, &[], &self.sealed);
        opened.is_ok_and(|content| content.expose().ct_eq(&self.content).into())
    }
}

/// Shares are dealt and have to come back.
#[derive(Debug)]
pub struct Dealt {
    policy: ValidPolicy,
    box_id: BoxId,
    recovery: SealingKey,
    shares: Vec<Dealing>,
    test: TestCapsule,
    returned: BTreeMap<OfficerName, Share>,
}

impl Dealt {
    /// The new box.
    #[must_use]
    pub const fn box_id(&self) -> BoxId {
        self.box_id
    }

    /// The recovery key's public half.
    #[must_use]
    pub const fn recovery(&self) -> &SealingKey {
        &self.recovery
    }

    /// m.
    #[must_use]
    pub const fn required(&self) -> u8 {
        self.policy.quorum().required
    }

    /// The share dealt to `name`.
    pub fn dealing(&self, name: &OfficerName) -> Result<&Dealing, CeremonyError> {
        let found = self
            .shares
            .iter()
            .find(|dealing| dealing.officer.name == *name);
        found.ok_or_else(|| CeremonyError::NotAnOfficer(name.clone()))
    }

    /// What was dealt, in the officers' order.
    #[must_use]
    pub fn shares(&self) -> &[Dealing] {
        &self.shares
    }

    /// Takes back the share that `name` opened. A bad one is refused and changes nothing.
    pub fn take_back(&mut self, name: &OfficerName, share: Share) -> Result<(), CeremonyError> {
        self.dealing(name)?.check(&share)?;
        self.returned.insert(name.clone(), share);
        Ok(())
    }

    /// With all n shares back: every subset of m must open the test capsule.
    pub fn prove(self) -> Result<Proven, CeremonyError> {
        let missing = self.shares.iter().map(|dealing| &dealing.officer.name);
        let missing: Vec<_> = missing
            .filter(|name| !self.returned.contains_key(*name))
            .cloned()
            .collect();
        if !missing.is_empty() {
            let (present, needed) = (self.returned.len(), self.shares.len());
            return Err(CeremonyError::TooFew {
                present,
                needed,
                missing,
            });
        }
        let returned: Vec<(&OfficerName, &Share)> = self.returned.iter().collect();
        let mut tested = 0;
        for subset in subsets(returned.len(), usize::from(self.policy.quorum().required)) {
            let chosen = || subset.iter().filter_map(|index| returned.get(*index));
            let shares: Vec<&Share> = chosen().map(|(_, share)| *share).collect();
            if !self.test.opened_by(&shares) {
                return Err(CeremonyError::SubsetFails(
                    chosen().map(|(name, _)| (*name).clone()).collect(),
                ));
            }
            tested += 1;
        }
        let Self {
            policy,
            box_id,
            recovery,
            shares,
            ..
        } = self;
        Ok(Proven {
            policy,
            box_id,
            recovery,
            shares,
            tested,
        })
    }
}

/// All subsets of `size` among `0..count`.
fn subsets(count: usize, size: usize) -> impl Iterator<Item = Vec<usize>> {
    let masks = (0u32..1 << count).filter(move |mask| mask.count_ones() as usize == size);
    masks.map(move |mask| (0..count).filter(|bit| mask & (1 << bit) != 0).collect())
}

/// Any m officers can restore the box that is now to be made.
#[derive(Debug)]
pub struct Proven {
    policy: ValidPolicy,
    box_id: BoxId,
    recovery: SealingKey,
    shares: Vec<Dealing>,
    tested: u32,
}

impl Proven {
    /// The new box.
    #[must_use]
    pub const fn box_id(&self) -> BoxId {
        self.box_id
    }

    /// How many subsets opened the test capsule.
    #[must_use]
    pub const fn subsets_tested(&self) -> u32 {
        self.tested
    }

    /// The TPM has taken `secrets`: the charter's text is fixed.
    #[must_use]
    pub fn charter(self, tpm: TpmFacts, secrets: TpmSecrets, now: Timestamp) -> Unsigned {
        let charter = Charter {
            format: CHARTER.to_owned(),
            box_id: self.box_id,
            time: now,
            policy: self.policy.digest(),
            recovery: self.recovery,
            required: self.policy.quorum().required,
            shares: self.shares,
            subsets_tested: self.tested,
            tpm,
        };
        let text = String::from_utf8_lossy(&pretty(&charter)).into_owned();
        Unsigned {
            policy: self.policy,
            charter,
            secrets,
            signed: Signed::unsigned(text),
        }
    }
}

/// The charter waits for all officers' signatures.
#[derive(Debug)]
pub struct Unsigned {
    policy: ValidPolicy,
    charter: Charter,
    secrets: TpmSecrets,
    signed: Signed,
}

impl Unsigned {
    /// What each officer signs.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.signed.text
    }

    /// Takes an officer's signature. A bad one is refused and changes nothing.
    pub fn sign(&mut self, name: &OfficerName, signature: &[u8]) -> Result<(), CeremonyError> {
        let officer = &self.charter.dealing(name)?.officer;
        self.signed.add(officer, signature)
    }

    /// With all signatures: founded, as far as officers and TPM are concerned.
    pub fn complete(self) -> Result<Founded, CeremonyError> {
        let names = self.charter.officers().map(|officer| &officer.name);
        let missing: Vec<_> = names
            .filter(|name| !self.signed.signatures.contains_key(*name))
            .cloned()
            .collect();
        if !missing.is_empty() {
            let (present, needed) = (self.signed.signatures.len(), self.charter.shares.len());
            return Err(CeremonyError::TooFew {
                present,
                needed,
                missing,
            });
        }
        let founding = Founding {
            box_id: self.charter.box_id,
            tenants: self.policy.tenants().iter().cloned().collect(),
            recovery: self.charter.recovery.clone(),
            officers: Officers {
                required: self.charter.required,
                list: self.charter.officers().cloned().collect(),
            },
            policy: self.policy.digest(),
            head: TreeHead {
                size: 0,
                root: Digest::of(b""),
                time: self.charter.time,
            },
        };
        let mut keyring = Keyring::found(founding, self.charter.time);
        keyring.ledger_auth = self.secrets.ledger_auth.duplicate();
        Ok(Founded {
            charter: self.charter,
            secrets: self.secrets,
            signed: self.signed,
            keyring,
        })
    }
}

/// Officers and TPM are done; the ledger's first entry is to be written.
#[derive(Debug)]
pub struct Founded {
    charter: Charter,
    secrets: TpmSecrets,
    signed: Signed,
    keyring: Keyring,
}

impl Founded {
    /// The charter with all signatures.
    #[must_use]
    pub const fn signed(&self) -> &Signed {
        &self.signed
    }

    /// The charter's content.
    #[must_use]
    pub const fn charter(&self) -> &Charter {
        &self.charter
    }

    /// The first keyring, which does not know the ledger's head yet.
    #[must_use]
    pub const fn keyring(&self) -> &Keyring {
        &self.keyring
    }

    /// The keyring to be written, with the ledger's head, and the secrets it is sealed by.
    #[must_use]
    pub fn with_head(mut self, head: TreeHead) -> (Keyring, TpmSecrets) {
        self.keyring.head = head;
        (self.keyring, self.secrets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ceremony::open_share;
    use crate::officer::tests::officer;
    use crate::policy::DEMO;

    #[test]
    fn a_quorum_that_opens_nothing_ends_the_founding() {
        let officers = ["Ada", "Ben", "Cleo"].map(officer);
        let policy = ValidPolicy::parse(DEMO, "demo.toml").expect("policy");
        let publics = officers
            .iter()
            .map(|officer| officer.public().clone())
            .collect();
        let proposed = Proposed::new(policy, publics).expect("proposed");
        let mut dealt = proposed.deal(BoxId::random()).expect("dealt");
        for officer in &officers {
            let name = &officer.public().name;
            let dealing = dealt.dealing(name).expect("dealt");
            let share =
                open_share(dealing, dealt.box_id(), dealt.recovery(), officer).expect("opens");
            dealt.take_back(name, share).expect("comes back");
        }
        // The box dealt shares of another key than the one it shows.
        dealt.test.sealed =
            OpeningKey::generate()
                .sealing_key()
                .seal(TEST_INFO, &[], &dealt.test.content);
        let refused = dealt
            .prove()
            .expect_err("the shares are good, the capsule is not theirs");
        assert!(
            matches!(refused, CeremonyError::SubsetFails(ref who) if who.len() == 2),
            "{refused}"
        );
    }
}
