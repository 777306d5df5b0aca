//! A mail server's side of SMTP over TLS, blocking: it takes note of what it was told and never retries.

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

pub struct Client(BufReader<StreamOwned<ClientConnection, TcpStream>>);

impl Client {
    /// Connects and says EHLO.
    pub fn connect(port: u16, certificate: &Path) -> io::Result<Self> {
        Self::over(TcpStream::connect(("127.0.0.1", port))?, certificate)
    }

    /// As [`Client::connect`], from this address of the machine.
    pub fn connect_from(source: Ipv4Addr, port: u16, certificate: &Path) -> io::Result<Self> {
        let socket = tokio::net::TcpSocket::new_v4()?;
        socket.bind(SocketAddr::from((source, 0)))?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let stream = runtime.block_on(socket.connect(address))?;
        let stream = runtime.block_on(async { stream.into_std() })?;
        stream.set_nonblocking(false)?;
        Self::over(stream, certificate)
    }

    fn over(stream: TcpStream, certificate: &Path) -> io::Result<Self> {
        stream.set_read_timeout(Some(Duration::from_secs(120)))?;
        let mut roots = RootCertStore::empty();
        let certificate = CertificateDer::from_pem_file(certificate).map_err(io::Error::other)?;
        roots.add(certificate).map_err(io::Error::other)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
        let tls = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
        let mut client = Self(BufReader::new(StreamOwned::new(tls, stream)));
        client.reply()?;
        client.ask("EHLO client.example")?;
        Ok(client)
    }

    /// Sends one mail whose lines end in CRLF and do not begin with a dot; gives the last reply.
    pub fn mail(&mut self, recipient: &str, mail: &[u8]) -> io::Result<String> {
        self.mail_from(recipient, &mut |out| out.write_all(mail))
    }

    /// As [`Client::mail`], for a mail that is made while it is sent.
    pub fn mail_from(
        &mut self,
        recipient: &str,
        write: &mut dyn FnMut(&mut dyn Write) -> io::Result<()>,
    ) -> io::Result<String> {
        let recipient = format!("RCPT TO:<{recipient}>");
        let commands = ["MAIL FROM:<sender@example.net>".to_owned(), recipient];
        self.transaction(&commands, write)
    }

    /// As [`Client::mail`], for any envelope: the commands before DATA.
    pub fn with_envelope(&mut self, commands: &[String], mail: &[u8]) -> io::Result<String> {
        self.transaction(commands, &mut |out| out.write_all(mail))
    }

    fn transaction(
        &mut self,
        commands: &[String],
        write: &mut dyn FnMut(&mut dyn Write) -> io::Result<()>,
    ) -> io::Result<String> {
        for command in commands.iter().map(String::as_str).chain(["DATA"]) {
            let reply = self.ask(command)?;
            if !reply.starts_with(['2', '3']) {
                return Ok(reply);
            }
        }
        write(self.0.get_mut())?;
        self.ask(".")
    }

    /// As [`Client::mail`], with the commands in one go as mail servers send them.
    pub fn pipelined(&mut self, recipient: &str, mail: &[u8]) -> io::Result<String> {
        let mut text =
            format!("MAIL FROM:<sender@example.net>\r\nRCPT TO:<{recipient}>\r\nDATA\r\n")
                .into_bytes();
        self.0.get_mut().write_all(&text)?;
        self.0.get_mut().flush()?;
        for _ in 0..3 {
            let reply = self.reply()?;
            if !reply.starts_with(['2', '3']) {
                return Ok(reply);
            }
        }
        text.clear();
        text.extend_from_slice(mail);
        text.extend_from_slice(b".\r\n");
        self.0.get_mut().write_all(&text)?;
        self.0.get_mut().flush()?;
        self.reply()
    }

    fn ask(&mut self, line: &str) -> io::Result<String> {
        self.0
            .get_mut()
            .write_all(format!("{line}\r\n").as_bytes())?;
        self.0.get_mut().flush()?;
        self.reply()
    }

    /// One reply, all its lines.
    fn reply(&mut self) -> io::Result<String> {
        let mut reply = String::new();
        loop {
            let mut line = String::new();
            if self.0.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            reply.push_str(&line);
            if line.as_bytes().get(3) != Some(&b'-') {
                return Ok(reply);
            }
        }
    }
}

/// The id in "250 2.0.0 queued as ID".
pub fn queue_id(reply: &str) -> Option<String> {
    let (_, id) = reply.trim_end().split_once("250 2.0.0 queued as ")?;
    Some(id.to_owned())
}
