//! A client that says exactly what a test tells it to say.

use crate::server::Server;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

pub struct Client(BufReader<Box<dyn Stream>>);

impl Client {
    fn new(stream: impl Stream + 'static) -> Self {
        Self(BufReader::new(Box::new(stream)))
    }

    /// On the STARTTLS port, still in the clear, greeting read.
    pub async fn plain(server: &Server) -> Self {
        let mut client = Self::new(TcpStream::connect(server.smtp).await.expect("connect"));
        assert!(client.reply().await.starts_with("220 "));
        client
    }

    /// Over implicit TLS, greeting read.
    pub async fn tls(server: &Server) -> Self {
        let mut client = Self::connect(server.smtps, &server.certificate())
            .await
            .expect("TLS");
        assert!(client.reply().await.starts_with("220 "));
        client
    }

    /// Over implicit TLS to any address.
    pub async fn connect(address: SocketAddr, certificate: &Path) -> std::io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        connector(certificate)
            .connect(name(), stream)
            .await
            .map(Self::new)
    }

    /// As [`Client::tls`], after EHLO.
    pub async fn ready(server: &Server) -> Self {
        let mut client = Self::tls(server).await;
        assert!(client.ask("EHLO client.example").await.starts_with("250"));
        client
    }

    pub async fn lmtp(server: &Server) -> Self {
        let mut client = Self::new(
            UnixStream::connect(server.socket("lmtp.sock"))
                .await
                .expect("connect"),
        );
        assert!(client.reply().await.starts_with("220 "));
        client
    }

    /// Goes on with TLS over the same connection.
    pub async fn upgrade(self, server: &Server) -> Result<Self, std::io::Error> {
        connector(&server.certificate())
            .connect(name(), self.0.into_inner())
            .await
            .map(Self::new)
    }

    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).await.expect("send");
    }

    pub async fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> std::io::Result<()> {
        self.0.write_all(bytes.as_ref()).await?;
        self.0.flush().await
    }

    /// One reply, all its lines; empty where the server closed.
    pub async fn reply(&mut self) -> String {
        let mut reply = String::new();
        loop {
            let mut line = String::new();
            let read = tokio::time::timeout(Duration::from_secs(20), self.0.read_line(&mut line));
            if read.await.expect("a reply in time").unwrap_or(0) == 0 {
                return reply;
            }
            let last = line.as_bytes().get(3) != Some(&b'-');
            reply.push_str(&line);
            if last {
                return reply;
            }
        }
    }

    pub async fn ask(&mut self, line: &str) -> String {
        self.send(format!("{line}\r\n")).await;
        self.reply().await
    }

    /// MAIL and one RCPT.
    pub async fn begin(&mut self) {
        assert!(
            self.ask("MAIL FROM:<ann@example.org>")
                .await
                .starts_with("250 ")
        );
        assert!(
            self.ask("RCPT TO:<bob@example.org>")
                .await
                .starts_with("250 ")
        );
    }

    /// A whole mail, already stuffed and ended.
    pub async fn mail(&mut self, text: impl AsRef<[u8]>) -> String {
        self.begin().await;
        assert!(self.ask("DATA").await.starts_with("354 "));
        self.send(text).await;
        self.reply().await
    }
}

fn name() -> ServerName<'static> {
    ServerName::try_from("localhost").expect("a name")
}

fn connector(certificate: &Path) -> TlsConnector {
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(certificate).expect("certificate"))
        .expect("root");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config))
}
