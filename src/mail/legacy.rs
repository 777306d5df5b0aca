//! OpenSSL keeps old ciphers and digests (RC2, DES, CAST5, IDEA, SEED, MD4) in its legacy provider. An
//! archive reads old mail, so it is loaded once and stays.

use openssl::provider::Provider;
use std::sync::LazyLock;

static PROVIDERS: LazyLock<Vec<Provider>> = LazyLock::new(|| {
    // Naming any provider switches off the implicit loading of the default one.
    ["legacy", "default"]
        .into_iter()
        .filter_map(|name| Provider::load(None, name).ok())
        .collect()
});

/// Makes the legacy algorithms available. True if this build of OpenSSL has them.
pub fn enable() -> bool {
    PROVIDERS.len() == 2
}
