//! One connection from its acceptance to the session: limits, then TLS, then mail.

use super::before_tls::until_starttls;
use super::session::{Client, Session};
use super::wire::WireError;
use crate::intake::config::{ListenerConfig, Shared, TlsMode};
use crate::intake::stop::Stop;
use crate::intake::tls::Tls;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use tokio_rustls::server::TlsStream;

/// A client may take this long to agree on TLS.
const HANDSHAKE: Duration = Duration::from_secs(30);

/// Serves one SMTP connection to its end.
pub async fn serve_smtp(
    stream: TcpStream,
    peer: SocketAddr,
    listener: ListenerConfig,
    shared: Arc<Shared>,
    tls: Arc<Tls>,
    mut stop: Stop,
) -> Result<(), WireError> {
    stream.set_nodelay(true)?;
    let in_the_clear = match listener.tls {
        TlsMode::Implicit => Some(stream),
        TlsMode::Starttls => until_starttls(stream, &shared.config, &mut stop).await?,
    };
    let Some(stream) = in_the_clear else {
        return Ok(());
    };
    let stream = timeout(HANDSHAKE, tls.acceptor().accept(stream))
        .await
        .map_err(|_| WireError::TimedOut)??;
    let client = Client::Smtp {
        listener: listener.name,
        peer: peer.to_string(),
        tls: description(&stream),
    };
    let tenant = listener
        .tenant
        .unwrap_or_else(|| shared.config.tenant.clone());
    let mut session = Session::new(stream, shared, client, tenant, stop);
    if listener.tls == TlsMode::Implicit {
        session.greet();
    }
    session.run().await
}

/// Serves one LMTP connection to its end.
pub async fn serve_lmtp(
    stream: UnixStream,
    shared: Arc<Shared>,
    stop: Stop,
) -> Result<(), WireError> {
    let client = Client::Lmtp {
        uid: stream.peer_cred()?.uid(),
    };
    let tenant = shared.config.tenant.clone();
    let mut session = Session::new(stream, shared, client, tenant, stop);
    session.greet();
    session.run().await
}

/// Tells a client that there are too many, where it can hear it.
pub async fn send_away<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    tls: Option<TlsMode>,
) -> io::Result<()> {
    if tls == Some(TlsMode::Implicit) {
        return Ok(());
    }
    let reply = b"421 4.3.2 too many connections, try again later\r\n";
    timeout(Duration::from_secs(1), stream.write_all(reply)).await?
}

fn description(stream: &TlsStream<TcpStream>) -> String {
    let (_, connection) = stream.get_ref();
    let version = connection
        .protocol_version()
        .and_then(|version| version.as_str());
    let suite = connection
        .negotiated_cipher_suite()
        .and_then(|suite| suite.suite().as_str());
    format!(
        "{} {}",
        version.unwrap_or("TLS"),
        suite.unwrap_or("unknown")
    )
}
