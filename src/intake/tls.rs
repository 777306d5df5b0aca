//! TLS for the listeners: versions 1.2 and 1.3, one certificate, read again on request.

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use tokio_rustls::TlsAcceptor;

/// Why the certificate or key is not usable.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file cannot be read or has nothing of the kind.
    #[error("cannot read a {what} from {}: {source}; it must be PEM", path.display())]
    Pem {
        /// What was looked for.
        what: &'static str,
        /// In which file.
        path: PathBuf,
        /// The reader's answer.
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    /// Certificate and key do not go together or are of no use for TLS.
    #[error("certificate {} and its key cannot be used for TLS: {source}", path.display())]
    Unusable {
        /// The certificate.
        path: PathBuf,
        /// rustls's answer.
        #[source]
        source: rustls::Error,
    },
}

/// The listeners' present TLS configuration.
pub struct Tls {
    certificate: PathBuf,
    private_key: PathBuf,
    current: RwLock<Arc<ServerConfig>>,
}

impl Tls {
    /// Reads certificate chain and private key.
    pub fn load(certificate: &Path, private_key: &Path) -> Result<Self, TlsError> {
        let current = RwLock::new(read(certificate, private_key)?);
        Ok(Self {
            certificate: certificate.to_owned(),
            private_key: private_key.to_owned(),
            current,
        })
    }

    /// Reads both files again, for new connections. After an error the old ones go on.
    pub fn reload(&self) -> Result<(), TlsError> {
        let fresh = read(&self.certificate, &self.private_key)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(())
    }

    /// For one connection.
    pub fn acceptor(&self) -> TlsAcceptor {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        TlsAcceptor::from(current.clone())
    }
}

fn read(certificate: &Path, private_key: &Path) -> Result<Arc<ServerConfig>, TlsError> {
    let pem = |what, path: &Path| {
        let path = path.to_owned();
        move |source| TlsError::Pem { what, path, source }
    };
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(pem("certificate", certificate))?;
    let key = PrivateKeyDer::from_pem_file(private_key).map_err(pem("private key", private_key))?;
    let unusable = |source| TlsError::Unusable {
        path: certificate.to_owned(),
        source,
    };
    // Named, because other crates in the tree bring other providers.
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(unusable)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(unusable)?;
    // rustls gives them a nonce of 32 bytes; wolfSSL, which devices have, ends the connection over more than 8.
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}
