//! Bringing in mail that lies in files: the protocol of the import socket and its two ends, and the
//! finding and splitting of mailbox files (requirement C7). The mail takes the same way as any
//! other, through the spool.

pub mod client;
pub mod mbox;
pub mod protocol;
pub mod server;
pub mod sources;
