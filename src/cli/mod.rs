//! The commands: one file each. The only place with hints for people and progress bars.

mod access;
mod backup;
mod case;
pub mod ceremony;
mod client;
mod days;
mod escrow;
mod escrow_offer;
mod failure;
mod gnupg;
mod import;
mod inspect;
mod keyfiles;
mod manual;
pub mod officer;
mod officers;
pub mod passphrase;
mod passphrase_list;
mod people;
pub mod policy;
mod processes;
mod readable;
mod reading;
mod receipt;
mod session;
mod state;
mod tenant;

use crate::id::is_mail_address;
use clap::{ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use failure::Failure;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

/// JSON was asked for, and standard output has none yet.
static OWES_JSON: AtomicBool = AtomicBool::new(false);

/// The firmware of an archive box that keeps encrypted mail readable.
#[derive(Debug, Parser)]
#[command(name = "strongroom", version, about, max_term_width = 100)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

/// Which box.
#[derive(Debug, Args)]
struct Data {
    /// The box's data folder
    #[arg(
        long,
        env = "STRONGROOM_DATA",
        default_value = "/var/lib/strongroom",
        value_name = "FOLDER"
    )]
    data: PathBuf,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(processes::Serve),
    #[command(subcommand)]
    Ceremony(ceremony::CeremonyCommand),
    #[command(subcommand)]
    Officer(officer::OfficerCommand),
    #[command(subcommand)]
    Policy(policy::PolicyCommand),
    #[command(subcommand)]
    Escrow(escrow::EscrowCommand),
    #[command(subcommand)]
    User(people::UserCommand),
    Login(session::Login),
    Logout(session::Logout),
    Search(reading::Search),
    Show(reading::Show),
    Get(reading::Get),
    Access(access::Access),
    #[command(subcommand)]
    Case(case::CaseCommand),
    Status(state::Status),
    Worklist(state::Worklist),
    Verify(state::Verify),
    Rebuild(state::Rebuild),
    Backup(backup::Backup),
    /// Bring in mail that lies in files: EML, mbox, Maildir
    Import(import::Import),
    /// Open mail files with keys given on the command line; no box needed
    Inspect(inspect::Inspect),
    Manual(manual::Manual),
    #[command(hide = true)]
    Keeper(processes::Part),
    #[command(hide = true)]
    Intake(processes::Part),
    #[command(hide = true)]
    Worker,
}

impl Command {
    /// A process of the box, which must outlive whoever reads its output.
    const fn is_process(&self) -> bool {
        self.is_child() || matches!(self, Self::Serve(_))
    }

    /// A process of the box that another one starts.
    const fn is_child(&self) -> bool {
        matches!(self, Self::Keeper(_) | Self::Intake(_) | Self::Worker)
    }

    /// A command that is given keys or passphrases.
    const fn holds_keys(&self) -> bool {
        matches!(
            self,
            Self::Ceremony(_)
                | Self::Officer(_)
                | Self::Escrow(_)
                | Self::User(_)
                | Self::Login(_)
                | Self::Case(_)
                | Self::Policy(_)
                | Self::Inspect(_)
        )
    }
}

/// The command that was given. A command line that is wrong ends the process.
fn command_line() -> Command {
    let matches = Arguments::command().get_matches();
    OWES_JSON.store(wants_json(&matches), Ordering::Relaxed);
    match Arguments::from_arg_matches(&matches) {
        Ok(arguments) => arguments.command,
        Err(error) => error.exit(),
    }
}

/// Whether the innermost command has `--json`.
fn wants_json(matches: &ArgMatches) -> bool {
    match matches.subcommand() {
        Some((_, inner)) => wants_json(inner),
        None => matches!(matches.try_get_one::<bool>("json"), Ok(Some(true))),
    }
}

/// Runs the command line. The exit status is the command's; errors have been told on standard error.
#[must_use]
pub fn run() -> ExitCode {
    crate::tpm::quiet_library();
    tell_panics_by_place();
    let mut out = std::io::stdout();
    let command = command_line();
    if command.is_child() {
        crate::sandbox::close_inherited();
        crate::sandbox::take_name();
    }
    if let Err(error) = crate::sandbox::no_dumps() {
        return told(Err(error));
    }
    if command.is_process() || matches!(command, Command::Ceremony(_)) {
        crate::sandbox::private_files();
    }
    if command.holds_keys() {
        crate::sandbox::lock_memory_if_allowed();
    }
    if !command.is_process() {
        crate::sandbox::end_with_the_pipe();
    }
    match command {
        Command::Serve(command) => told(command.run()),
        Command::Ceremony(command) => told(ceremony::run(command, &mut out)),
        Command::Officer(command) => told(officer::run(&command, &mut out)),
        Command::Policy(command) => told(policy::run(&command, &mut out)),
        Command::Escrow(command) => told(command.run()),
        Command::User(command) => told(command.run()),
        Command::Login(command) => told(command.run()),
        Command::Logout(command) => told(command.run()),
        Command::Search(command) => told(command.run()),
        Command::Show(command) => told(command.run()),
        Command::Get(command) => told(command.run()),
        Command::Access(command) => told(command.run()),
        Command::Case(command) => told(command.run()),
        Command::Status(command) => told(command.run()),
        Command::Worklist(command) => told(command.run()),
        Command::Verify(command) => told(command.run()),
        Command::Rebuild(command) => told(command.run()),
        Command::Backup(command) => told(command.run()),
        Command::Import(command) => command.run(),
        Command::Inspect(command) => command.run(),
        Command::Manual(command) => told(command.run()),
        Command::Keeper(part) => part.keeper(),
        Command::Intake(part) => told(part.intake()),
        Command::Worker => processes::work(),
    }
}

/// Of a panic, in whatever process, the place alone is told: what it quotes can be of a mail or a key.
fn tell_panics_by_place() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        let place = place.unwrap_or_else(|| "an unknown place".to_owned());
        if tracing::dispatcher::has_been_set() {
            tracing::error!(place, "a thread panicked");
        } else if place.contains("/std/src/io/stdio.rs:") {
            // `print!` takes this way where its output goes to a full disk.
            let _ = writeln!(std::io::stderr(), "strongroom: cannot write the output");
            std::process::exit(1);
        } else {
            let _ = writeln!(
                std::io::stderr(),
                "strongroom: panicked at {place}, which is a mistake in this program; please report the place"
            );
        }
    }));
}

/// Exit status 1 for a command that failed, and why on standard error; as JSON on standard output where that is owed.
fn told<E: std::fmt::Display>(result: Result<(), E>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if OWES_JSON.load(Ordering::Relaxed) {
                let answer = serde_json::json!({ "error": error.to_string() });
                // Who closed standard output reads standard error.
                let _ = writeln!(std::io::stdout(), "{answer:#}");
            }
            eprintln!("strongroom: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The address of a mailbox, as an argument: a slip would file or ask for mail where nobody looks.
fn mailbox(text: &str) -> Result<String, String> {
    if is_mail_address(text) {
        Ok(text.to_owned())
    } else {
        Err("not an address such as anna@example.org".to_owned())
    }
}

/// A number and what it counts.
fn counted<N: std::fmt::Display + PartialEq + From<u8>>(
    number: N,
    one: &str,
    more: &str,
) -> String {
    let what = if number == N::from(1) { one } else { more };
    format!("{number} {what}")
}

/// The machine's form of an answer.
fn print_json<T: serde::Serialize>(value: &T) -> Result<(), Failure> {
    print_json_so_far(value)?;
    OWES_JSON.store(false, Ordering::Relaxed);
    Ok(())
}

/// What there is of an answer that a failure cut short; why it did is told after it.
fn print_json_so_far<T: serde::Serialize>(value: &T) -> Result<(), Failure> {
    println!("{}", serde_json::to_string_pretty(value)?);
    Ok(())
}
