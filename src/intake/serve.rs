//! The intake process: binds everything, accepts until told to stop, and leaves in good order.

use super::config::{IntakeConfig, ListenerConfig, Shared};
use super::import::recent::Recent;
use super::import::server::serve_import;
use super::places::Places;
use super::smtp::listener::{send_away, serve_lmtp, serve_smtp};
use super::smtp::wire::WireError;
use super::spool::{CurrentKey, Spool, SpoolConfig, SpoolError, SpoolWriter};
use super::stop::{Stop, Stopper};
use super::tls::{Tls, TlsError};
use crate::durable::{FileError, at};
use crate::time::Clock;
use std::fs;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Why the intake does not run.
#[derive(Debug, thiserror::Error)]
pub enum IntakeError {
    /// The spool cannot be written.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// No usable certificate.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A port cannot be had.
    #[error("cannot listen on {address} ({name}): {source}")]
    Listen {
        /// The listener.
        name: String,
        /// Its address.
        address: SocketAddr,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// A socket file cannot be made.
    #[error(transparent)]
    Socket(#[from] FileError),
    /// The intake's own thread ended badly.
    #[error("the intake ended unexpectedly: {0}; start it again")]
    Died(#[source] tokio::task::JoinError),
}

/// The intake with its ports open, not yet accepting.
pub struct Intake {
    shared: Arc<Shared>,
    writer: SpoolWriter,
    tls: Arc<Tls>,
    smtp: Vec<(ListenerConfig, TcpListener)>,
    lmtp: Option<UnixListener>,
    import: Option<UnixListener>,
    stop: Stopper,
}

/// Binds, and runs until `shutdown` is ready.
pub async fn serve(
    config: IntakeConfig,
    spool_key: impl Into<CurrentKey>,
    clock: Arc<dyn Clock>,
    shutdown: impl Future<Output = ()>,
) -> Result<(), IntakeError> {
    Intake::bind(config, spool_key, clock)
        .await?
        .run(shutdown)
        .await
}

impl Intake {
    /// Reads the certificate, starts the spool, opens ports and sockets.
    pub async fn bind(
        config: IntakeConfig,
        spool_key: impl Into<CurrentKey>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, IntakeError> {
        let tls = Arc::new(Tls::load(&config.certificate, &config.private_key)?);
        let mut smtp = Vec::new();
        for listener in &config.listeners {
            let bound = TcpListener::bind(listener.address)
                .await
                .map_err(|source| IntakeError::Listen {
                    name: listener.name.clone(),
                    address: listener.address,
                    source,
                })?;
            smtp.push((listener.clone(), bound));
        }
        // A mail server of another user may hand over mail by its group; only we may import.
        let lmtp = config
            .lmtp_socket
            .as_deref()
            .map(|path| socket(path, 0o660))
            .transpose()?;
        if let (Some(path), Some(group)) = (&config.lmtp_socket, config.lmtp_group) {
            chown(path, None, Some(group)).map_err(at("give to the mail server's group", path))?;
        }
        let import = config
            .import_socket
            .as_deref()
            .map(|path| socket(path, 0o600))
            .transpose()?;
        let writer = SpoolWriter::start(
            SpoolConfig::new(config.spool.clone()),
            spool_key,
            clock.clone(),
        )?;
        let shared = Arc::new(Shared {
            config,
            spool: writer.spool(),
            clock,
            imported: Recent::default(),
        });
        let stop = Stopper::new();
        Ok(Self {
            shared,
            writer,
            tls,
            smtp,
            lmtp,
            import,
            stop,
        })
    }

    /// The SMTP listeners' names and true addresses.
    #[must_use]
    pub fn addresses(&self) -> Vec<(String, SocketAddr)> {
        self.smtp
            .iter()
            .filter_map(|(config, bound)| Some((config.name.clone(), bound.local_addr().ok()?)))
            .collect()
    }

    /// The spool, to be looked at.
    #[must_use]
    pub fn spool(&self) -> Spool {
        self.writer.spool()
    }

    /// The TLS configuration, to be reloaded.
    #[must_use]
    pub fn tls(&self) -> Arc<Tls> {
        self.tls.clone()
    }

    /// Accepts until `shutdown` is ready; then lets running mails finish for a few seconds and ends
    /// the spool file.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<(), IntakeError> {
        let Self {
            shared,
            writer,
            tls,
            smtp,
            lmtp,
            import,
            stop,
        } = self;
        let limits = &shared.config.rules.limits;
        let places = Places::new(limits.connections, limits.connections_per_peer);
        let lmtp_places = Arc::new(Semaphore::new(limits.lmtp_connections));
        let mut acceptors = JoinSet::new();
        for (config, bound) in smtp {
            let (shared, tls, stop) = (shared.clone(), tls.clone(), stop.watch());
            acceptors.spawn(accept_smtp(
                bound,
                config,
                shared,
                tls,
                places.clone(),
                stop,
            ));
        }
        if let Some(bound) = lmtp {
            acceptors.spawn(accept_lmtp(
                bound,
                shared.clone(),
                lmtp_places,
                stop.watch(),
            ));
        }
        if let Some(bound) = import {
            acceptors.spawn(accept_import(bound, shared.clone(), stop.watch()));
        }
        shutdown.await;
        stop.stop();
        while acceptors.join_next().await.is_some() {}
        tokio::task::spawn_blocking(move || writer.close())
            .await
            .map_err(IntakeError::Died)??;
        Ok(())
    }
}

fn socket(path: &Path, mode: u32) -> Result<UnixListener, FileError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(at("remove", path)(error));
        }
        _ => {}
    }
    let bound = UnixListener::bind(path).map_err(at("listen on", path))?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .map_err(at("set the mode of", path))?;
    Ok(bound)
}

async fn accept_smtp(
    bound: TcpListener,
    config: ListenerConfig,
    shared: Arc<Shared>,
    tls: Arc<Tls>,
    places: Arc<Places>,
    mut stop: Stop,
) {
    let (mut sessions, tls_mode) = (Sessions::new(&shared), config.tls);
    while let Some((stream, peer)) = until_stop(&mut stop, || bound.accept()).await {
        let place = match places.take(peer.ip()) {
            Ok(place) => place,
            Err(why) => {
                tracing::warn!(listener = %config.name, %peer, "{why}");
                let sent_away = async move { Ok(send_away(stream, Some(tls_mode)).await?) };
                sessions.spawn(peer.to_string(), sent_away);
                continue;
            }
        };
        let session = serve_smtp(
            stream,
            peer,
            config.clone(),
            shared.clone(),
            tls.clone(),
            stop.clone(),
        );
        sessions.spawn(peer.to_string(), async move {
            let _place = place;
            session.await
        });
    }
    drop(bound);
    sessions.finish().await;
}

async fn accept_lmtp(
    bound: UnixListener,
    shared: Arc<Shared>,
    places: Arc<Semaphore>,
    mut stop: Stop,
) {
    let mut sessions = Sessions::new(&shared);
    while let Some((stream, _)) = until_stop(&mut stop, || bound.accept()).await {
        let Ok(place) = places.clone().try_acquire_owned() else {
            tracing::warn!("too many connections for one more over LMTP");
            let sent_away = async move { Ok(send_away(stream, None).await?) };
            sessions.spawn("LMTP".to_owned(), sent_away);
            continue;
        };
        let session = serve_lmtp(stream, shared.clone(), stop.clone());
        sessions.spawn("LMTP".to_owned(), async move {
            let _place = place;
            session.await
        });
    }
    drop(bound);
    sessions.finish().await;
}

async fn accept_import(bound: UnixListener, shared: Arc<Shared>, mut stop: Stop) {
    let mut sessions = Sessions::new(&shared);
    while let Some((stream, _)) = until_stop(&mut stop, || bound.accept()).await {
        let session = serve_import(stream, shared.clone(), stop.clone());
        sessions.spawn("import".to_owned(), async move { Ok(session.await?) });
    }
    drop(bound);
    sessions.finish().await;
}

/// The next connection, or `None` when the intake stops.
async fn until_stop<T, F: Future<Output = io::Result<T>>>(
    stop: &mut Stop,
    accept: impl Fn() -> F,
) -> Option<T> {
    loop {
        tokio::select! {
            () = stop.requested() => return None,
            accepted = accept() => match accepted {
                Ok(connection) => return Some(connection),
                Err(error) => {
                    // Out of file handles, or the client is gone already. A pause lets others finish.
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
        }
    }
}

/// The running sessions of one listener.
struct Sessions {
    running: JoinSet<()>,
    stop_time: Duration,
}

impl Sessions {
    fn new(shared: &Shared) -> Self {
        Self {
            running: JoinSet::new(),
            stop_time: shared.config.rules.limits.stop_time(),
        }
    }

    /// `client`: who is served, for the log.
    fn spawn(
        &mut self,
        client: String,
        session: impl Future<Output = Result<(), WireError>> + Send + 'static,
    ) {
        while self.running.try_join_next().is_some() {}
        self.running.spawn(async move {
            if let Err(error) = session.await {
                tracing::info!(%client, %error, "session ended early");
            }
        });
    }

    /// Waits for the sessions, then ends those that go on. What they have not acknowledged stays
    /// with their clients.
    async fn finish(mut self) {
        let all = async { while self.running.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(self.stop_time, all).await;
        self.running.shutdown().await;
    }
}
