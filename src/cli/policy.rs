//! `strongroom policy`: checks a policy before anybody founds a box on it, and has officers put another in force.

use super::client::{Client, ClientError};
use super::counted;
use super::failure::Failure;
use super::officers::{SigningOfficer, sign};
use crate::approval::{Framed, Statement};
use crate::durable::{self, FileError};
use crate::id::Digest;
use crate::keeper::PolicySubject;
use crate::keeper::protocol::{Answer, Prepare, Request};
use crate::policy::{Action, PolicyError, ValidPolicy, Vouched};
use clap::{Args, Subcommand};
use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long a box may take to begin anew.
const BEGINNING: Duration = Duration::from_secs(60);
/// How long it mostly takes; what it waits for is told after that.
const SOON: Duration = Duration::from_secs(3);
/// And again so often.
const EACH_WORD: Duration = Duration::from_secs(15);

/// Why a policy command failed.
#[derive(Debug, thiserror::Error)]
pub enum PolicyCommandError {
    /// Reading the file.
    #[error(transparent)]
    File(#[from] FileError),
    /// The file is not text.
    #[error("{} is not UTF-8 text", .0.display())]
    NotText(PathBuf),
    /// The policy is wrong.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// Standard output is gone.
    #[error("cannot write the answer")]
    Output(#[from] io::Error),
    /// All else.
    #[error(transparent)]
    Failed(#[from] Failure),
}

/// Policy files.
#[derive(Debug, Subcommand)]
pub enum PolicyCommand {
    /// Check a policy file; an error names line, key and what is allowed
    Check {
        /// The policy, TOML as in keys-policy/default.toml
        file: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Put another policy in force; as many officers sign as thresholds.policy_change of the policy until then says
    Replace(Replace),
}

/// What `policy replace` needs.
#[derive(Debug, Args)]
pub struct Replace {
    #[command(flatten)]
    data: super::Data,
    /// The new policy, a whole one. The number of officers, the tenants and the TPM's PCRs stay as they are
    file: PathBuf,
    #[command(flatten)]
    officers: SigningOfficer,
    /// One JSON object: what was signed
    #[arg(long)]
    json: bool,
}

/// Carries out `command`, writing the answer to `to`.
pub fn run(command: &PolicyCommand, to: &mut dyn Write) -> Result<(), PolicyCommandError> {
    match command {
        PolicyCommand::Check { file, json } => check(file, *json, to),
        PolicyCommand::Replace(replace) => replace.run(to),
    }
}

fn read(file: &Path) -> Result<(String, ValidPolicy), PolicyCommandError> {
    let text = String::from_utf8(durable::read(file, 1 << 20)?)
        .map_err(|_| PolicyCommandError::NotText(file.to_owned()))?;
    let policy = ValidPolicy::parse(&text, &file.display().to_string())?;
    Ok((text, policy))
}

impl Replace {
    fn run(&self, to: &mut dyn Write) -> Result<(), PolicyCommandError> {
        let (text, policy) = read(&self.file)?;
        for warning in policy.warnings() {
            eprintln!("Warning: {warning}");
        }
        let prepare = Request::Prepare(Prepare::PolicyReplace(text.clone()));
        let Answer::Statement(statement) = self.ask(&prepare)? else {
            return Err(Failure::from(ClientError::Unexpected).into());
        };
        let subject = subject_of(&statement, policy.digest())?;
        let approvals = sign(&statement, &self.officers)?;
        let request = Request::PolicyReplace {
            statement,
            approvals,
            text,
        };
        let Answer::Done = self.ask(&request)? else {
            return Err(Failure::from(ClientError::Unexpected).into());
        };
        self.wait_for(policy.digest())?;
        if self.json {
            let said = serde_json::to_string_pretty(&subject).map_err(Failure::from)?;
            writeln!(to, "{said}")?;
        } else {
            writeln!(
                to,
                "{} is in force: {}",
                self.file.display(),
                policy.digest()
            )?;
        }
        Ok(())
    }

    fn ask(&self, request: &Request) -> Result<Answer, Failure> {
        Ok(Client::connect(&self.data.data, true)?.ask_plainly(request)?)
    }

    /// Until the box has begun anew with the policy. What keeps it from that, such as a TPM that does not answer, is told
    /// meanwhile.
    fn wait_for(&self, digest: Digest) -> Result<(), Failure> {
        let since = Instant::now();
        let mut next_word = SOON;
        loop {
            let why = match self.ask(&Request::Status) {
                Ok(Answer::Status(status)) if status.policy != digest => {
                    "it still works by the former one".to_owned()
                }
                Ok(Answer::Status(status)) => match status.intake {
                    None => return Ok(()),
                    Some(why) => format!("no mail is taken in yet: {why}"),
                },
                Ok(_) => ClientError::Unexpected.to_string(),
                Err(error) => error.to_string(),
            };
            if since.elapsed() >= BEGINNING {
                return Err(Failure::Input(format!(
                    "the policy is replaced, but the box did not begin anew in time ({why}); see `strongroom status`"
                )));
            }
            if since.elapsed() >= next_word {
                eprintln!("The policy is replaced; waiting for the box to begin anew: {why}");
                next_word = since.elapsed() + EACH_WORD;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

/// What the statement says, if it is about the policy that is at hand here: the officers sign what they have read.
fn subject_of(statement: &Statement, digest: Digest) -> Result<PolicySubject, Failure> {
    let framed: Result<Framed<PolicySubject>, _> = serde_json::from_str(&statement.0);
    let subject = framed.ok().map(|framed| framed.subject);
    subject
        .filter(|subject| subject.policy == digest)
        .ok_or_else(|| {
            Failure::Input("the box wants another policy signed than this file".to_owned())
        })
}

fn check(file: &Path, json: bool, to: &mut dyn Write) -> Result<(), PolicyCommandError> {
    let (_, policy) = read(file)?;
    let quorum = policy.quorum();
    let warnings = policy.warnings();
    if json {
        let said = serde_json::json!({
            "valid": true, "digest": policy.digest(), "officers": quorum.officers, "required": quorum.required,
            "thresholds": {
                "case_mail": policy.threshold(Action::CaseMail), "case_key": policy.threshold(Action::CaseKey),
                "people": policy.threshold(Action::People), "policy_change": policy.threshold(Action::PolicyChange),
            },
            "tenants": policy.tenants(), "anchors": listed(&policy.trust().anchors),
            "openpgp": listed(&policy.trust().openpgp), "journals": policy.journal().recipients(), "warnings": warnings,
        });
        writeln!(to, "{said}")?;
    } else {
        let officers = |action| counted(policy.threshold(action), "officer", "officers");
        writeln!(to, "{} is valid.", file.display())?;
        writeln!(
            to,
            "Officers:        {} of {} act together",
            quorum.required, quorum.officers
        )?;
        writeln!(to, "Release of mail: {}", officers(Action::CaseMail))?;
        writeln!(to, "Release of keys: {}", officers(Action::CaseKey))?;
        writeln!(to, "Change of users: {}", officers(Action::People))?;
        writeln!(to, "Another policy:  {}", officers(Action::PolicyChange))?;
        let trusted = policy.trust();
        writeln!(
            to,
            "S/MIME anchors:  {}",
            vouched(&trusted.anchors, "anchors")
        )?;
        writeln!(
            to,
            "OpenPGP trusted: {}",
            vouched(&trusted.openpgp, "openpgp")
        )?;
        let journals: Vec<&str> = policy.journal().recipients().into_iter().collect();
        if !journals.is_empty() {
            writeln!(to, "Journal reports: to {}", journals.join(", "))?;
        }
        writeln!(to, "SHA-256:         {}", policy.digest())?;
        for warning in &warnings {
            writeln!(to, "Warning: {warning}")?;
        }
    }
    Ok(())
}

/// What of a folder of `trust/` counts, in words.
fn vouched(policy: &Vouched, kind: &str) -> String {
    match policy {
        Vouched::Folder => format!("every certificate in trust/{kind}"),
        Vouched::Listed(listed) => {
            format!(
                "{} listed by fingerprint, of those in trust/{kind}",
                listed.len()
            )
        }
    }
}

/// The fingerprints; none where all of the folder counts.
const fn listed(policy: &Vouched) -> Option<&BTreeSet<String>> {
    match policy {
        Vouched::Folder => None,
        Vouched::Listed(listed) => Some(listed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::DEFAULT;

    #[test]
    fn says_what_is_right_and_what_is_wrong() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let file = folder.path().join("policy.toml");
        std::fs::write(&file, DEFAULT).expect("write");
        let mut out = Vec::new();
        run(
            &PolicyCommand::Check {
                file: file.clone(),
                json: false,
            },
            &mut out,
        )
        .expect("valid");
        let said = String::from_utf8(out).expect("text");
        assert!(said.contains("3 of 5") && !said.contains("Warning"));
        assert!(
            said.contains("every certificate in trust/anchors"),
            "{said}"
        );
        std::fs::write(&file, DEFAULT.replace("people = 3", "people = 1")).expect("write");
        let (mut out, json) = (Vec::new(), false);
        let check = PolicyCommand::Check {
            file: file.clone(),
            json,
        };
        run(&check, &mut out).expect("old policies stay valid");
        assert!(String::from_utf8(out).expect("text").contains("Warning"));
        let journal = DEFAULT
            .replace(
                "recipients = [] ",
                "recipients = [\"journal@archive.example\"] ",
            )
            .replace("peers = [] ", "peers = [\"192.0.2.10\"] ");
        let senders = journal.replace("peers = [", "senders = [\"<>\"]\npeers = [");
        let excluded = DEFAULT.replace("exclusions = []", "exclusions = [\"doctor@example.org\"]");
        for (text, warns) in [(journal, true), (senders, false), (excluded, true)] {
            let policy = ValidPolicy::parse(&text, "p.toml").expect("valid");
            assert_eq!(policy.warnings().len(), usize::from(warns), "{text}");
        }
        std::fs::write(&file, DEFAULT.replace("people = 3", "people = 4")).expect("write");
        let (mut out, json) = (Vec::new(), true);
        let check = PolicyCommand::Check {
            file: file.clone(),
            json,
        };
        run(&check, &mut out).expect("valid");
        let said: serde_json::Value = serde_json::from_slice(&out).expect("JSON");
        assert_eq!(said["thresholds"]["people"], 4);
        std::fs::write(&file, DEFAULT.replace("\"online\"", "\"sealed\"")).expect("write");
        let error = run(&PolicyCommand::Check { file, json: true }, &mut Vec::new())
            .expect_err("not valid");
        assert!(
            error.to_string().contains("escrow is \"sealed\""),
            "{error}"
        );
    }
}
