//! The wire between a host and its TPM, in somebody else's hands.
//!
//! Commands pass unchanged. Responses may be dropped, delayed, cut short or corrupted, all of them
//! or only those to one command code. Everything that passes is recorded as it was *before* the
//! fault, for tests that no secret ever travels in the clear.

use crate::ports::free_ports;
use crate::wire::read_frame;
use crate::{SimError, sim};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// What happens to a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It never arrives.
    Drop,
    /// It arrives later.
    Delay(Duration),
    /// Only its first bytes arrive, then the connection ends.
    Truncate(usize),
    /// The byte at this offset (counted modulo the length) is inverted.
    Corrupt(usize),
}

/// One command with its response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchange {
    /// The bytes the host sent.
    pub command: Vec<u8>,
    /// The bytes the TPM answered.
    pub response: Vec<u8>,
}

impl Exchange {
    /// The command code (TPM 2.0 Library, Part 2, 6.5.2).
    #[must_use]
    pub fn code(&self) -> u32 {
        self.command.get(6..10).map_or(0, |bytes| {
            bytes.iter().fold(0, |code, b| code << 8 | u32::from(*b))
        })
    }
}

#[derive(Default)]
struct State {
    fault: Option<(Option<u32>, Fault)>,
    record: Vec<Exchange>,
}

/// A listening proxy; it ends when dropped.
pub struct Proxy {
    port: u16,
    state: Arc<Mutex<State>>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Proxy {
    /// Puts a proxy in front of the swtpm at port `tpm` (control channel at `tpm + 1`).
    pub(crate) fn start(tpm: u16) -> Result<Self, SimError> {
        let (commands, control, port) = loop {
            let port = free_ports(2);
            let bind = |port| TcpListener::bind(("127.0.0.1", port));
            if let (Ok(commands), Ok(control)) = (bind(port), bind(port + 1)) {
                break (commands, control, port);
            }
        };
        let state = Arc::new(Mutex::new(State::default()));
        let stop = Arc::new(AtomicBool::new(false));
        let (for_commands, shared) = (stop.clone(), state.clone());
        let for_control = stop.clone();
        let threads = vec![
            thread::spawn(move || {
                accept_each(&commands, &for_commands, |host| relay(host, tpm, &shared));
            }),
            thread::spawn(move || accept_each(&control, &for_control, |host| pass(host, tpm + 1))),
        ];
        Ok(Self {
            port,
            state,
            stop,
            threads,
        })
    }

    /// The address to connect to instead of the TPM's own.
    #[must_use]
    pub fn tcti(&self) -> String {
        sim::tcti(self.port)
    }

    /// From now on every response suffers `fault`; `None` lets all pass.
    pub fn fault(&self, fault: Option<Fault>) {
        self.state().fault = fault.map(|fault| (None, fault));
    }

    /// From now on responses to the command `code` suffer `fault`, all others pass.
    pub fn fault_on(&self, code: u32, fault: Fault) {
        self.state().fault = Some((Some(code), fault));
    }

    /// Everything that passed so far.
    #[must_use]
    pub fn recorded(&self) -> Vec<Exchange> {
        self.state().record.clone()
    }

    /// Everything that passed since this was asked last.
    #[must_use]
    pub fn take_recorded(&self) -> Vec<Exchange> {
        std::mem::take(&mut self.state().record)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        for port in [self.port, self.port + 1] {
            // Wakes the thread that waits for a connection.
            drop(TcpStream::connect(("127.0.0.1", port)));
        }
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Serves each connection in a thread of its own, which ends with the connection.
fn accept_each(listener: &TcpListener, stop: &AtomicBool, serve: impl Fn(TcpStream) + Sync) {
    thread::scope(|scope| {
        let serve = &serve;
        let mut open: Vec<TcpStream> = Vec::new();
        for host in listener.incoming().flatten() {
            if stop.load(Ordering::SeqCst) {
                break;
            }
            open.extend(host.try_clone());
            scope.spawn(move || serve(host));
        }
        for host in open {
            let _ = host.shutdown(Shutdown::Both);
        }
    });
}

/// Passes commands and responses until either side ends.
fn relay(mut host: TcpStream, tpm: u16, state: &Mutex<State>) {
    let Ok(mut tpm) = TcpStream::connect(("127.0.0.1", tpm)) else {
        return;
    };
    while let Ok(Some(command)) = read_frame(&mut host) {
        if tpm.write_all(&command).is_err() {
            break;
        }
        let Ok(Some(response)) = read_frame(&mut tpm) else {
            break;
        };
        let exchange = Exchange { command, response };
        let fault = {
            let mut state = lock(state);
            let fault = state
                .fault
                .filter(|(code, _)| code.is_none_or(|code| code == exchange.code()));
            state.record.push(exchange.clone());
            fault.map(|(_, fault)| fault)
        };
        if !answer(&mut host, exchange.response, fault) {
            break;
        }
    }
    let _ = host.shutdown(Shutdown::Both);
}

/// Sends the response on as `fault` leaves it; `false` ends the connection.
fn answer(host: &mut TcpStream, mut response: Vec<u8>, fault: Option<Fault>) -> bool {
    match fault {
        Some(Fault::Drop) => return true,
        Some(Fault::Delay(time)) => thread::sleep(time),
        Some(Fault::Truncate(length)) => {
            response.truncate(length);
            let _ = host.write_all(&response);
            return false;
        }
        Some(Fault::Corrupt(offset)) => {
            let offset = offset % response.len();
            response[offset] ^= 0xFF;
        }
        None => {}
    }
    host.write_all(&response).is_ok()
}

/// Passes the control channel's bytes both ways, unread.
fn pass(host: TcpStream, tpm: u16) {
    let Ok(tpm) = TcpStream::connect(("127.0.0.1", tpm)) else {
        return;
    };
    let (Ok(host_in), Ok(tpm_in)) = (host.try_clone(), tpm.try_clone()) else {
        return;
    };
    thread::scope(|scope| {
        scope.spawn(move || copy(host_in, tpm));
        copy(tpm_in, host);
    });
}

fn copy(mut from: TcpStream, mut to: TcpStream) {
    let mut buffer = [0u8; 4096];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        if to.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}
