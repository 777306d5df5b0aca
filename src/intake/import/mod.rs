//! Bringing in mail that lies in files: the protocol of the import socket and its two ends, and the
//! finding of the mails (requirement C7). The mail takes the same way as any
//! other, through the spool.

mod beside;
pub mod client;
mod pace;
pub mod packed;
pub mod protocol;
pub mod recent;
pub mod server;
pub mod sources;
