//! The proxy as a process of its own, and how other commands tell it what to do: by a file in the machine's folder.

use clap::Subcommand;
use hsm_sim::{Exchange, Fault, Proxy};
use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, Instant};

/// What is asked for, and what the proxy does.
const ASKED: &str = "fault";
const DONE: &str = "fault.done";
/// Everything that passed, a line for each command: the command and the response in hexadecimal.
const RECORD: &str = "wire.txt";
const PAUSE: Duration = Duration::from_millis(20);

/// What happens to the TPM's responses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Subcommand)]
pub enum Kind {
    /// They pass unchanged.
    None,
    /// They never arrive.
    Drop,
    /// They arrive later.
    Delay {
        /// By so many milliseconds.
        milliseconds: u64,
    },
    /// Only their first bytes arrive, then the connection ends.
    Truncate {
        /// So many bytes.
        bytes: usize,
    },
    /// One byte of them is inverted.
    Corrupt {
        /// The byte at this offset, counted from 0 modulo the length.
        offset: usize,
    },
}

/// Has the machine's proxy do this to responses, or to those to the command `code` only.
pub fn ask(machine: &Path, kind: Kind, code: Option<u32>) -> io::Result<()> {
    let line = line_of(kind, code);
    fs::write(machine.join(ASKED), &line)?;
    let deadline = Instant::now() + Duration::from_secs(5);
    while fs::read_to_string(machine.join(DONE)).ok().as_ref() != Some(&line) {
        if Instant::now() > deadline {
            return Err(io::Error::other(
                "no proxy answers; start one with `hsm-sim proxy`, and give strongroom the TCTI string it prints",
            ));
        }
        std::thread::sleep(PAUSE);
    }
    Ok(())
}

/// Does what is asked for until the process is ended.
pub fn run(machine: &Path, proxy: &Proxy) -> io::Result<()> {
    fs::write(machine.join(ASKED), line_of(Kind::None, None))?;
    let mut record = OpenOptions::new()
        .create(true)
        .append(true)
        .open(machine.join(RECORD))?;
    let mut done = String::new();
    loop {
        let asked = fs::read_to_string(machine.join(ASKED))?;
        if let (true, Some((fault, code))) = (asked != done, read(&asked)) {
            match (fault, code) {
                (Some(fault), Some(code)) => proxy.fault_on(code, fault),
                (fault, _) => proxy.fault(fault),
            }
            fs::write(machine.join(DONE), &asked)?;
            done = asked;
        }
        for exchange in proxy.take_recorded() {
            record.write_all(shown(&exchange).as_bytes())?;
        }
        std::thread::sleep(PAUSE);
    }
}

fn shown(exchange: &Exchange) -> String {
    let mut line = String::new();
    for (bytes, end) in [(&exchange.command, ' '), (&exchange.response, '\n')] {
        for byte in bytes {
            let _ = write!(line, "{byte:02x}");
        }
        line.push(end);
    }
    line
}

/// Kind, number, command code, and a newline: only a whole line is read.
fn line_of(kind: Kind, code: Option<u32>) -> String {
    let (word, number) = match kind {
        Kind::None => ("none", 0),
        Kind::Drop => ("drop", 0),
        Kind::Delay { milliseconds } => ("delay", milliseconds),
        Kind::Truncate { bytes } => ("truncate", bytes as u64),
        Kind::Corrupt { offset } => ("corrupt", offset as u64),
    };
    let code = code.map_or_else(|| "all".to_owned(), |code| format!("{code:x}"));
    format!("{word} {number} {code}\n")
}

fn read(line: &str) -> Option<(Option<Fault>, Option<u32>)> {
    let mut words = line.strip_suffix('\n')?.split(' ');
    let (word, number) = (words.next()?, words.next()?.parse::<u64>().ok()?);
    let size = usize::try_from(number).ok()?;
    let fault = match word {
        "none" => None,
        "drop" => Some(Fault::Drop),
        "delay" => Some(Fault::Delay(Duration::from_millis(number))),
        "truncate" => Some(Fault::Truncate(size)),
        "corrupt" => Some(Fault::Corrupt(size)),
        _ => return None,
    };
    Some((fault, code(words.next()?).ok()))
}

/// A command code in hexadecimal (TPM 2.0 Library, Part 2, 6.5.2).
pub fn code(text: &str) -> Result<u32, std::num::ParseIntError> {
    u32::from_str_radix(text.trim_start_matches("0x"), 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_is_what_is_read() {
        for (kind, fault) in [
            (Kind::None, None),
            (Kind::Drop, Some(Fault::Drop)),
            (
                Kind::Delay { milliseconds: 7 },
                Some(Fault::Delay(Duration::from_millis(7))),
            ),
            (Kind::Truncate { bytes: 12 }, Some(Fault::Truncate(12))),
            (Kind::Corrupt { offset: 3 }, Some(Fault::Corrupt(3))),
        ] {
            assert_eq!(read(&line_of(kind, None)), Some((fault, None)));
            let one = read(&line_of(kind, Some(0x17e)));
            assert_eq!(one, Some((fault, Some(0x17e))));
        }
        assert_eq!(read("drop 0"), None);
        assert_eq!(code("0x17E"), Ok(0x17e));
    }
}
