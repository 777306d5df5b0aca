//! What officers signed counts as far as they did, and in time.

use super::*;
use crate::approval::{Approval, Statement};
use crate::boxfiles::SignedPolicy;
use crate::officer::OfficerKey;
use crate::officer::tests::officer;
use crate::policy::DEMO;
use crate::time::Timestamp;

struct Made {
    data: tempfile::TempDir,
    id: BoxId,
    officers: Vec<OfficerKey>,
}

impl Made {
    fn new() -> Self {
        Self {
            data: tempfile::tempdir().unwrap(),
            id: BoxId::random(),
            officers: ["Ada", "Ben", "Cleo"].map(officer).into(),
        }
    }

    /// What the transcripts say of a replacement in an entry of this time, which as many officers signed.
    fn told(&self, signed: &SignedPolicy, time: Timestamp) -> Result<PolicySubject, String> {
        let data = DataFolder::at(self.data.path());
        data.write_signed_policy(signed).unwrap();
        let officers = Officers {
            required: 2,
            list: self
                .officers
                .iter()
                .map(|key| key.public().clone())
                .collect(),
        };
        let replacement = Replacement {
            policy: signed.digest(),
            statement: signed.statement.digest(),
            time,
        };
        Transcripts::of(self.data.path(), officers)
            .policy(&[self.id].into(), &replacement)
            .map_err(|doubt| doubt.to_string())
    }

    fn signed(&self, replaced: &str, policy: &str, count: usize) -> SignedPolicy {
        let subject = PolicySubject {
            replaces: Digest::of(replaced.as_bytes()),
            policy: Digest::of(policy.as_bytes()),
            changes: Vec::new(),
        };
        let statement = Statement::new(REPLACE, self.id, Timestamp::from_seconds(1000), subject);
        let approve = |key: &OfficerKey| -> Approval {
            statement.approve(&key.public().name.to_string(), |text| key.sign(text))
        };
        let approvals = self.officers[..count].iter().map(approve).collect();
        SignedPolicy {
            statement,
            approvals,
            replaced: replaced.to_owned(),
            policy: policy.to_owned(),
        }
    }
}

#[test]
fn a_replacement_counts_by_the_policy_before_it_and_in_time() {
    let made = Made::new();
    let all = DEMO.replace("policy_change = 2", "policy_change = 3");
    assert_ne!(all, DEMO);
    let now = Timestamp::from_seconds(990);
    let late = Timestamp::from_seconds(1001 + RECORDED_WITHIN);
    for (replaced, policy, count, time, wrong) in [
        (DEMO, &*all, 2, now, None),
        (DEMO, &all, 1, now, Some("1 of 2 officers")),
        (&all, DEMO, 2, now, Some("2 of 3 officers")),
        (&all, DEMO, 3, now, None),
        (DEMO, &all, 2, late, Some("had expired")),
    ] {
        let told = made.told(&made.signed(replaced, policy, count), time);
        match wrong {
            None => assert_eq!(told.unwrap().policy, Digest::of(policy.as_bytes())),
            Some(wrong) => assert!(
                told.as_ref().is_err_and(|why| why.contains(wrong)),
                "{told:?}"
            ),
        }
    }
}

#[test]
fn no_other_text_than_was_signed_is_taken_for_the_policy_before() {
    let made = Made::new();
    let all = DEMO.replace("policy_change = 2", "policy_change = 3");
    let mut signed = made.signed(&all, DEMO, 2);
    signed.replaced = DEMO.replace("people = 2", "people = 1");
    let told = made.told(&signed, Timestamp::from_seconds(990));
    assert!(told.is_err_and(|why| why.contains("is damaged")));
}
