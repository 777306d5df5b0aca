//! `strongroom policy`: checks a policy before anybody founds a box on it.

use crate::durable::{self, FileError};
use crate::policy::{Action, PolicyError, ValidPolicy};
use clap::Subcommand;
use std::io::{self, Write};
use std::path::PathBuf;

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
}

/// Carries out `command`, writing the answer to `to`.
pub fn run(command: &PolicyCommand, to: &mut dyn Write) -> Result<(), PolicyCommandError> {
    let PolicyCommand::Check { file, json } = command;
    let text = String::from_utf8(durable::read(file, 1 << 20)?)
        .map_err(|_| PolicyCommandError::NotText(file.clone()))?;
    let policy = ValidPolicy::parse(&text, &file.display().to_string())?;
    let quorum = policy.quorum();
    if *json {
        let said = serde_json::json!({
            "valid": true, "digest": policy.digest(), "officers": quorum.officers, "required": quorum.required,
            "tenants": policy.tenants(),
        });
        writeln!(to, "{said}")?;
    } else {
        writeln!(to, "{} is valid.", file.display())?;
        writeln!(
            to,
            "Officers:        {} of {} act together",
            quorum.required, quorum.officers
        )?;
        writeln!(
            to,
            "Release of mail: {} officers",
            policy.threshold(Action::CaseMail)
        )?;
        writeln!(
            to,
            "Release of keys: {} officers",
            policy.threshold(Action::CaseKey)
        )?;
        writeln!(to, "SHA-256:         {}", policy.digest())?;
    }
    Ok(())
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
        assert!(String::from_utf8(out).expect("text").contains("3 of 5"));
        std::fs::write(&file, DEFAULT.replace("\"online\"", "\"sealed\"")).expect("write");
        let error = run(&PolicyCommand::Check { file, json: true }, &mut Vec::new())
            .expect_err("not valid");
        assert!(
            error.to_string().contains("escrow is \"sealed\""),
            "{error}"
        );
    }
}
