//! Another policy in force: by officers' signatures and nothing else, whatever stops the box on the way.

use crate::rollback::{append, assert_refused, copy, ledger};
use crate::support::{TestBox, numbered_mail, text};
use hsm_sim::{Fault, Firmware};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;
use strongroom::boxfiles::{DataFolder, SignedPolicy};
use strongroom::id::Digest;
use strongroom::ledger::Event;

/// Settings without a table of their own, so that they come first.
fn altered(box_: &TestBox, name: &str, alter: &dyn Fn(String) -> String) -> PathBuf {
    let in_force = fs::read_to_string(box_.data().join("policy.toml")).expect("a policy");
    let file = box_.file(name);
    fs::write(&file, alter(in_force)).expect("a policy");
    file
}

/// One that takes mail of 100,000 bytes at most.
fn smaller(box_: &TestBox) -> PathBuf {
    altered(box_, "smaller.toml", &|policy| {
        let changed = policy.replace("# max_size = 157_286_400", "max_size = 100_000");
        assert_ne!(changed, policy);
        changed
    })
}

fn replace(box_: &TestBox, file: &Path, officers: usize) -> String {
    let officers = box_.officers(officers);
    let said = text(&box_.run(&format!("policy replace {} {officers}", file.display())));
    assert!(!said.contains("panicked"), "{said}");
    said
}

fn in_force(data: &Path) -> Digest {
    Digest::of(&fs::read(data.join("policy.toml")).expect("a policy"))
}

/// The last replacement in the ledger.
fn last_change(data: &Path) -> (Digest, Digest) {
    let ledger = ledger(data);
    let tree = ledger.tree();
    let mut entries = (0..tree.size()).rev().map(|index| tree.entry(index));
    entries
        .find_map(|entry| match entry.expect("an entry").entry.event {
            Event::PolicyChanged { policy, statement } => Some((policy, statement)),
            _ => None,
        })
        .expect("a replacement")
}

// A7, O6: officers together change the rules; the running box follows; all of it is in ledger and transcripts.
#[test]
fn officers_put_another_policy_in_force_and_the_box_follows() {
    let mut box_ = TestBox::running();
    let large = [&numbered_mail(1)[..], &b"x\r\n".repeat(60_000)].concat();
    box_.send(&large);
    let founding = in_force(&box_.data());
    let new = smaller(&box_);

    let said = replace(&box_, &new, 1);
    assert!(said.contains("1 of 2 officers have signed"), "{said}");
    assert!(said.contains("+ intake.max_size = 100000"), "{said}");
    let same = box_.data().join("policy.toml");
    assert!(replace(&box_, &same, 2).contains("in force already"));
    for (from, to, why) in [
        ("pcrs = [7, 11, 12]", "pcrs = [7, 11]", "cannot change tpm"),
        ("[\"main\"]", "[\"main\", \"two\"]", "cannot change tenants"),
        ("required = 2", "required = 9", "line "),
    ] {
        let file = altered(&box_, "bad.toml", &|policy| policy.replace(from, to));
        let said = replace(&box_, &file, 2);
        assert!(said.contains(why), "{from}: {said}");
    }
    assert_eq!(in_force(&box_.data()), founding, "nothing of that counts");

    let said = replace(&box_, &new, 2);
    assert!(said.contains("smaller.toml is in force"), "{said}");
    assert_eq!(
        fs::read(box_.data().join("policy.toml")).expect("a policy"),
        fs::read(&new).expect("a policy")
    );
    let digest = in_force(&box_.data()).to_string();
    assert_eq!(box_.json("status --json")["policy"], digest.as_str());
    box_.wait_until("the new limit", || {
        let client = box_.smtp();
        let reply = client.and_then(|mut client| client.mail("anna@example.org", &large));
        reply.is_ok_and(|reply| reply.starts_with("552 "))
    });
    box_.send(&numbered_mail(2));
    box_.wait_for_records(2);
    box_.ok("verify");

    box_.stop();
    box_.start();
    let back = box_.file("policy.toml");
    let said = box_.json(&format!(
        "policy replace {} --json {}",
        back.display(),
        box_.officers(2)
    ));
    assert_eq!(said["policy"], founding.to_string().as_str());
    box_.ok("verify");
    box_.stop();

    let (_, statement) = last_change(&box_.data());
    let file = DataFolder::at(&box_.data())
        .signed_policy(statement)
        .expect("it is kept");
    assert_eq!(file.approvals.len(), 2);
    let path = box_
        .data()
        .join(format!("transcript/policy-{statement}.json"));
    fs::remove_file(&path).expect("removed");
    box_.start();
    let said = text(&box_.run("verify"));
    assert!(said.contains("transcript/policy-"), "{said}");
    box_.stop();
    box_.assert_no_panic();
}

// C4: only an old copy is two changes behind.
#[test]
fn a_keyring_from_before_the_last_two_changes_is_refused_by_name() {
    let mut box_ = TestBox::running();
    let (data, old) = (box_.data(), box_.file("old"));
    copy(&data.join("keyring"), &old);
    replace(&box_, &smaller(&box_), 2);
    box_.wait_until("the first is in force", || {
        box_.run("status").status.success()
    });
    let other = altered(&box_, "other.toml", &|policy| {
        policy.replace("100_000", "200_000")
    });
    let digest = Digest::of(&fs::read(&other).expect("a policy"));
    box_.wait_until("the second is in force", || {
        replace(&box_, &other, 2);
        in_force(&data) == digest
    });
    box_.stop();
    copy(&old, &data.join("keyring"));
    assert_refused(&mut box_, "from before the last two changes");
    box_.assert_no_panic();
}

// O2: behind the ledger's entry nothing may be lost, whichever file the power cut left old.
#[test]
fn a_power_cut_in_a_replacement_is_made_up_for_at_the_start() {
    let mut box_ = TestBox::running();
    let (data, old) = (box_.data(), box_.file("old"));
    fs::create_dir(&old).expect("a folder");
    let new = smaller(&box_);
    let files = ["keyring", "policy.toml"];
    for name in files {
        copy(&data.join(name), &old.join(name));
    }
    replace(&box_, &new, 2);
    box_.stop();
    let digest = Digest::of(&fs::read(&new).expect("a policy"));
    for left_old in [&files[..], &files[1..], &files[..1]] {
        for name in left_old {
            copy(&old.join(name), &data.join(name));
        }
        box_.start();
        assert_eq!(in_force(&data), digest, "{left_old:?}");
        box_.ok("verify");
        box_.stop();
    }
    box_.machine.clear().expect("a cleared TPM");
    for name in files {
        copy(&old.join(name), &data.join(name));
    }
    let checkpoint = fs::read_to_string(data.join("ledger/checkpoint")).expect("text");
    box_.ok(&format!(
        "ceremony restore --data {} --tpm {} --accept-head {} {}",
        data.display(),
        box_.machine.tcti(),
        checkpoint.lines().nth(1).expect("a size"),
        box_.officers(2)
    ));
    box_.start();
    assert_eq!(in_force(&data), digest);
    box_.ok("verify");
    box_.stop();
    box_.assert_no_panic();
}

// A7, C4: whoever can write the data folder cannot make rules.
#[test]
fn a_policy_that_officers_did_not_sign_for_does_not_come_into_force() {
    let mut box_ = TestBox::running();
    let data = box_.data();
    let new = smaller(&box_);
    replace(&box_, &new, 2);
    replace(&box_, &box_.file("policy.toml"), 2);
    box_.stop();
    let (newest, founding) = (box_.file("newest"), in_force(&data));
    copy(&data, &newest);

    // A text of their own, with the signatures for another.
    let (_, statement) = last_change(&data);
    let folder = DataFolder::at(&data);
    let mut signed: SignedPolicy = folder.signed_policy(statement).expect("it is kept");
    signed.policy = signed.policy.replace("people = 2", "people = 1");
    signed.statement.0 = signed
        .statement
        .0
        .replace(&founding.to_string(), &signed.digest().to_string());
    folder.write_signed_policy(&signed).expect("written");
    append(
        &data,
        Event::PolicyChanged {
            policy: signed.digest(),
            statement: signed.statement.digest(),
        },
    );
    assert_refused(&mut box_, "0 of 2 officers have signed");

    // Signatures of an earlier time.
    copy(&newest, &data);
    let first = ledger(&data);
    let tree = first.tree();
    let again = (0..tree.size())
        .map(|index| tree.entry(index).expect("an entry").entry.event)
        .find(|event| matches!(event, Event::PolicyChanged { .. }));
    append(&data, again.expect("a replacement"));
    box_.start();
    assert_eq!(in_force(&data), founding);
    let said = text(&box_.run("verify"));
    assert!(said.contains("in the ledger twice"), "{said}");
    box_.stop();

    // The file alone.
    fs::copy(&new, data.join("policy.toml")).expect("copied");
    box_.start();
    assert_eq!(in_force(&data), founding, "the right one is put back");
    box_.stop();
    box_.assert_no_panic();
}

// A capsule that has the policy and a ledger from before it make no box: the policy's next replacement would be of another.
#[test]
fn a_ledger_from_before_the_policy_is_not_accepted_with_a_newer_capsule() {
    let mut box_ = TestBox::running();
    let (data, older) = (box_.data(), box_.file("older"));
    copy(&data, &older);
    let new = smaller(&box_);
    // No step of the counter: all that the keyring learns is the policy.
    box_.machine.power_off();
    replace(&box_, &new, 2);
    box_.wait_until("it is in force", || {
        in_force(&data) == Digest::of(&fs::read(&new).expect("a policy"))
    });
    box_.kill_all();
    box_.machine.boot(Firmware::Good).expect("a boot");
    copy(&older.join("ledger"), &data.join("ledger"));
    let restore = |box_: &TestBox| {
        let size = ledger(&data).tree().size();
        let (tpm, officers) = (box_.machine.tcti(), box_.officers(2));
        box_.run(&format!(
            "ceremony restore --data {} --tpm {tpm} --accept-head {size} {officers}",
            data.display(),
        ))
    };
    let said = text(&restore(&box_));
    assert!(
        said.contains("this copy is older than the capsule"),
        "{said}"
    );

    copy(&older.join("keyring"), &data.join("keyring"));
    let restored = restore(&box_);
    assert!(restored.status.success(), "{}", text(&restored));
    box_.start();
    assert_ne!(
        in_force(&data),
        Digest::of(&fs::read(&new).expect("a policy"))
    );
    box_.ok("verify");
    assert!(replace(&box_, &new, 2).contains("is in force"));
    box_.wait_until("it is in force", || box_.run("verify").status.success());
    box_.stop();
    box_.start();
    box_.ok("verify");
    box_.assert_no_panic();
}

// Officers who have signed are told that it counts, and what it waits for.
#[test]
fn what_a_replacement_waits_for_is_told_while_the_tpm_does_not_answer() {
    let mut box_ = TestBox::running();
    box_.stop();
    let proxy = box_.machine.proxy().expect("a proxy");
    let config = box_.data().join("strongroom.toml");
    let direct = fs::read_to_string(&config).expect("a configuration");
    let through = direct.replace(&box_.machine.tcti(), &proxy.tcti());
    fs::write(&config, through).expect("written");
    box_.start();
    let new = smaller(&box_);
    proxy.fault(Some(Fault::Truncate(4)));
    let said = std::thread::scope(|scope| {
        let replacing = scope.spawn(|| replace(&box_, &new, 2));
        std::thread::sleep(Duration::from_secs(12));
        proxy.fault(None);
        replacing.join().expect("it ends")
    });
    let waiting = "The policy is replaced; waiting for the box to begin anew: ";
    assert!(said.contains(waiting), "{said}");
    assert!(said.contains("smaller.toml is in force"), "{said}");
    box_.ok("verify");
    box_.assert_no_panic();
}

// A slip there would file one tenant's mail with another's, and nobody would look for it.
#[test]
fn slips_in_the_configuration_are_told_by_status() {
    let mut box_ = TestBox::running();
    box_.stop();
    let path = box_.data().join("strongroom.toml");
    let config = fs::read_to_string(&path).expect("a configuration");
    let slip = "[intake.domains]\n\"example.org\" = \"mian\"\n";
    fs::write(&path, config.replace("[intake.domains]\n", slip)).expect("a configuration");
    box_.start();
    let status = box_.ok("status");
    assert!(
        status.contains("gives the mail of example.org to mian"),
        "{status}"
    );
    box_.stop();
    let unfit = config.replace("hostname = \"localhost\"", "hostname = \"my archive\"");
    fs::write(&path, unfit).expect("a configuration");
    box_.start_only();
    box_.wait_until("the host name is told too", || {
        let status = text(&box_.run("status"));
        let told = [
            "no mail is taken in",
            "strongroom.toml",
            "hostname = ",
            "not a host name",
        ];
        told.iter().all(|part| status.contains(part))
    });
}
