//! `hsm-sim`: the simulated machine for shell scripts, above all the demo. Each command acts on the
//! machine whose state is in one folder; swtpm runs on between commands.

mod faults;

use clap::{Parser, Subcommand, ValueEnum};
use hsm_sim::{Detached, Firmware, Sim, SimError};
use std::path::PathBuf;
use std::process::ExitCode;

/// A simulated machine with a TPM 2.0 (swtpm).
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// The folder of the machine's state; made by `start`.
    #[arg(long, global = true, default_value = "hsm-sim")]
    state: PathBuf,
    #[command(subcommand)]
    command: Order,
}

#[derive(Subcommand)]
enum Order {
    /// Switch the machine on and boot it with good firmware. Prints the TCTI string for strongroom.
    Start,
    /// Pull the plug and boot again. Stop `strongroom serve` first.
    Boot {
        /// The software the machine boots with.
        firmware: Profile,
    },
    /// Clear the TPM, as somebody in front of the machine could in its setup.
    Clear,
    /// Guess passwords until the TPM locks itself for a while.
    Lockout,
    /// Print the TCTI string for strongroom.
    Tcti,
    /// Stand between strongroom and the TPM until ended. Prints the TCTI string to use instead of the TPM's own; what
    /// passes is recorded in wire.txt of the machine's folder.
    Proxy,
    /// Have the proxy drop, delay, truncate or corrupt responses; `none` ends that.
    Fault {
        /// What happens to them.
        #[command(subcommand)]
        kind: faults::Kind,
        /// Only responses to this command code, in hexadecimal, such as 17e (TPM2_PCR_Read).
        #[arg(long, global = true, value_parser = faults::code)]
        code: Option<u32>,
    },
    /// Pull the plug.
    Stop,
}

#[derive(Clone, Copy, ValueEnum)]
enum Profile {
    /// What the box was founded with.
    Good,
    /// Firmware and kernel tampered with.
    Altered,
    /// A new release of boot loader and kernel.
    Updated,
}

impl From<Profile> for Firmware {
    fn from(profile: Profile) -> Self {
        match profile {
            Profile::Good => Self::Good,
            Profile::Altered => Self::Altered,
            Profile::Updated => Self::Updated,
        }
    }
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("hsm-sim: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), SimError> {
    let machine = || Detached::find(&arguments.state);
    let state = |source| SimError::State {
        path: arguments.state.clone(),
        source,
    };
    match arguments.command {
        Order::Start => boot(arguments, Firmware::Good)?,
        Order::Boot { firmware } => {
            machine()?;
            boot(arguments, firmware.into())?;
        }
        Order::Clear => machine()?.clear()?,
        Order::Lockout => machine()?.lockout()?,
        Order::Stop => machine()?.power_off(),
        Order::Proxy => {
            let proxy = machine()?.proxy()?;
            println!("{}", proxy.tcti());
            faults::run(&arguments.state, &proxy).map_err(state)?;
        }
        Order::Fault { kind, code } => {
            machine()?;
            faults::ask(&arguments.state, kind, code).map_err(state)?;
        }
        Order::Tcti => {}
    }
    if let Order::Start | Order::Tcti = arguments.command {
        println!("{}", machine()?.tcti());
    }
    Ok(())
}

/// Boots the machine of the state folder, from a power cut if it was on.
fn boot(arguments: &Arguments, firmware: Firmware) -> Result<(), SimError> {
    if let Ok(running) = Detached::find(&arguments.state) {
        running.power_off();
    }
    Sim::start_with(&arguments.state, firmware)?.detach();
    Ok(())
}
