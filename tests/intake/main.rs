//! The intake from outside: spool files under every kind of damage, real SMTP clients, imports.

mod client;
mod copies;
mod crash;
mod import;
mod peers;
mod postfix;
mod server;
mod smtp;
mod spool;
mod support;
mod tls;
