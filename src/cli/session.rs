//! `login` and `logout`. The token lies in a file that only its owner can read, never on a command line.

use super::client::{Client, ClientError};
use super::failure::Failure;
use super::passphrase::Source;
use crate::durable;
use crate::keeper::people::SESSION_SECONDS;
use crate::keeper::protocol::{Answer, Request, Token};
use crate::secret::SecretBytes;
use clap::Args;
use std::path::{Path, PathBuf};

/// Names another session file.
pub const ENVIRONMENT: &str = "STRONGROOM_SESSION";

/// Sign in for eight hours
#[derive(Debug, Args)]
pub struct Login {
    #[command(flatten)]
    data: super::Data,
    /// Your name, as the officers entered it
    name: String,
    /// Take the password from the first line of a file instead of asking
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
    /// One JSON object; never with the token
    #[arg(long)]
    json: bool,
}

/// End the session
#[derive(Debug, Args)]
pub struct Logout {
    #[command(flatten)]
    data: super::Data,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

impl Login {
    /// Signs in and keeps the token.
    pub fn run(&self) -> Result<(), Failure> {
        let password = Source::of(self.passphrase_file.as_deref()).read(&self.name)?;
        let request = Request::SignIn {
            name: self.name.clone(),
            password: Token(password),
        };
        let answer = Client::connect(&self.data.data, true)?.ask_plainly(&request)?;
        let Answer::Session(token) = answer else {
            return Err(ClientError::Unexpected.into());
        };
        let path = session_file()?;
        if let Some(folder) = path.parent() {
            durable::create_folder(folder)?;
        }
        durable::replace(&path, token.0.expose())?;
        if self.json {
            return super::print_json(&serde_json::json!({
                "name": self.name,
                "seconds": SESSION_SECONDS,
                "session_file": path,
            }));
        }
        println!("signed in as {} for eight hours", self.name);
        Ok(())
    }
}

impl Logout {
    /// Ends the session and forgets the token.
    pub fn run(&self) -> Result<(), Failure> {
        let token = token()?;
        durable::remove(&session_file()?)?;
        Client::connect(&self.data.data, true)?.ask_plainly(&Request::SignOut(token))?;
        if self.json {
            return super::print_json(&serde_json::json!({ "signed_out": true }));
        }
        println!("signed out");
        Ok(())
    }
}

/// The token of the present session.
pub fn token() -> Result<Token, Failure> {
    let path = session_file()?;
    match durable::read_if_present(&path, 1024)? {
        Some(bytes) => Ok(Token(SecretBytes::new(bytes))),
        None => Err(Failure::Input(
            "no session: sign in with `strongroom login NAME`".to_owned(),
        )),
    }
}

/// The token of the present session, if there is one.
pub fn token_if_any() -> Option<Token> {
    token().ok()
}

fn session_file() -> Result<PathBuf, Failure> {
    if let Some(path) = std::env::var_os(ENVIRONMENT) {
        return Ok(path.into());
    }
    let home = std::env::var_os("HOME").ok_or_else(|| {
        Failure::Input(format!(
            "HOME is not set; set {ENVIRONMENT} to a file for the session"
        ))
    })?;
    Ok(Path::new(&home).join(".config/strongroom/session"))
}
