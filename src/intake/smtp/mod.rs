//! The SMTP and LMTP server. Mail is taken over TLS or over the local socket, never otherwise
//! (requirement I1).

pub mod before_tls;
pub mod command;
pub mod data;
pub mod listener;
pub mod session;
pub mod wire;

use super::config::IntakeConfig;

/// What EHLO and LHLO offer besides `ENHANCEDSTATUSCODES` and `STARTTLS`.
fn extensions(config: &IntakeConfig) -> Vec<String> {
    let size = match config.rules.max_size {
        Some(max) => format!("SIZE {max}"),
        None => "SIZE".to_owned(), // any (RFC 1870 §3)
    };
    let others = ["PIPELINING", "8BITMIME", "SMTPUTF8", "CHUNKING", "DSN"];
    let others = others.into_iter().map(str::to_owned);
    std::iter::once(size).chain(others).collect()
}
