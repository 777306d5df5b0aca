//! The SMTP and LMTP server. Mail is taken over TLS or over the local socket, never otherwise
//! (requirement I1).

pub mod before_tls;
pub mod command;
pub mod data;
pub mod listener;
pub mod session;
pub mod wire;
