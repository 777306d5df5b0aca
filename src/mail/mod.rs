//! Opening mail: bytes and [`KeyOps`] in; a tree of layers, a rendition and verdicts out.
//!
//! Pure: no disk, no network, no clock, no private key. It runs in a disposable worker process, and
//! the same code serves `strongroom inspect`.

pub mod bounds;
pub mod context;
pub mod keyops;
pub mod model;
pub mod openpgp;

pub use bounds::Bounds;
pub use keyops::KeyOps;
pub use model::{Layer, Opened, Outcome, Signature, Verdict};
