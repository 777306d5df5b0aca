//! Opening mail: bytes and [`KeyOps`] in; a tree of layers, a rendition and verdicts out.
//!
//! Pure: no disk, no network, no clock, no private key. It runs in a disposable worker process, and
//! the same code serves `strongroom inspect`.

pub mod address;
pub mod bounds;
pub mod charset;
mod collision;
pub mod context;
pub mod date;
pub mod digest;
pub mod emlx;
pub mod encrypt;
pub mod foreign;
pub mod header;
mod inflate;
pub mod journal;
pub mod keyops;
pub mod layers;
pub mod legacy;
pub mod mbox;
pub mod mime;
pub mod model;
pub mod msg;
pub mod openpgp;
mod outside;
pub mod rendition;
mod rsa;
mod rtf;
pub mod smime;
pub mod sniff;
mod tar;
pub mod text;
pub mod tnef;
pub mod transfer;
mod warm_up;

pub use bounds::Bounds;
pub use encrypt::{CannotEncrypt, encrypt_for};
pub use keyops::KeyOps;
pub use layers::open;
pub use model::{Layer, Opened, Outcome, Signature, Verdict};
pub use warm_up::warm_up;
