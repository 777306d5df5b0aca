//! What the libraries load on first use, loaded before a worker gives up its files.

/// Initialises OpenSSL with its legacy provider, and the OpenPGP library. Called once, before confinement.
pub fn warm_up() {
    openssl::init();
    if !super::legacy::enable() {
        tracing::warn!(
            "this build of OpenSSL lacks the legacy algorithms: old S/MIME mail does not open"
        );
    }
    // A first use of each library lets it read what it wants of its environment now.
    let _ = openssl::sha::sha256(b"");
    let _ = sequoia_openpgp::types::HashAlgorithm::SHA256.context();
}
