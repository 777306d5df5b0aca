//! One SMTP or LMTP session, after TLS where it needs that (RFC 5321, RFC 2033).
//!
//! A mail counts when its last byte is here and synced; a client that goes away before leaves
//! nothing. No mail is refused for what it says or who sent it: only `intake.max_size` refuses.

use super::command::{Command, Hello, Path, parse};
use super::data::DataDecoder;
use super::extensions;
use super::wire::{Line, Wire, WireError};
use crate::id::{SpoolId, TenantId};
use crate::intake::config::{Limits, Shared};
use crate::intake::envelope::{Envelope, Recipient, Source};
use crate::intake::spool::{Incoming, SpoolError};
use crate::intake::stop::Stop;
use crate::secret::wipe;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

/// Bytes of an envelope: addresses and parameters of MAIL and RCPT, and for each recipient what keeping it costs. Far
/// below what a frame of the spool and a manifest may have.
const LARGEST_ENVELOPE: usize = 4 << 20;
const EACH_RECIPIENT: usize = 64;

/// Who is on the other end.
#[derive(Debug, Clone)]
pub enum Client {
    /// Over TLS.
    Smtp {
        /// The listener's name.
        listener: String,
        /// Address and port.
        peer: String,
        /// TLS version and cipher suite.
        tls: String,
    },
    /// Over the local socket.
    Lmtp {
        /// The process's user id.
        uid: u32,
    },
}

impl Client {
    fn source(&self, helo: &str) -> Source {
        let helo = helo.to_owned();
        match self.clone() {
            Self::Smtp {
                listener,
                peer,
                tls,
            } => Source::Smtp {
                listener,
                peer,
                helo,
                tls,
            },
            Self::Lmtp { uid } => Source::Lmtp { uid, helo },
        }
    }
}

/// A session with one client.
pub struct Session<S> {
    wire: Wire<S>,
    shared: Arc<Shared>,
    client: Client,
    tenant: TenantId,
    helo: Option<String>,
    transaction: Option<Transaction>,
    stop: Stop,
    mistakes: u32,
}

/// A mail being handed over.
struct Transaction {
    sender: String,
    parameters: Vec<String>,
    recipients: Vec<Recipient>,
    /// Bytes of the envelope so far, as [`LARGEST_ENVELOPE`] counts them.
    size: usize,
    /// The tenant of the first recipient; all others are the same tenant's (requirement I4).
    tenant: Option<TenantId>,
    /// The text, once BDAT has begun it.
    chunks: Option<Text>,
}

/// The text so far, or why it cannot be taken.
type Text = Result<Incoming, Refusal>;

/// Why a mail is not taken.
enum Refusal {
    TooLarge,
    Spool(Arc<SpoolError>),
}

impl Refusal {
    fn reply(&self) -> &'static str {
        match self {
            Self::TooLarge => "552 5.3.4 message larger than this archive is configured to take",
            Self::Spool(error) => match **error {
                SpoolError::Full(_) => "452 4.3.1 archive spool is full, try again later",
                SpoolError::Envelope => "452 4.5.3 too large an envelope, send to fewer at a time",
                _ => "451 4.3.0 archive spool does not work, try again later",
            },
        }
    }
}

enum Next {
    Command,
    Quit,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Session<S> {
    /// A session of `client`, whose mail is `tenant`'s unless a recipient's domain says otherwise.
    pub fn new(
        stream: S,
        shared: Arc<Shared>,
        client: Client,
        tenant: TenantId,
        stop: Stop,
    ) -> Self {
        Self {
            wire: Wire::new(stream),
            shared,
            client,
            tenant,
            helo: None,
            transaction: None,
            stop,
            mistakes: 0,
        }
    }

    const fn is_lmtp(&self) -> bool {
        matches!(self.client, Client::Lmtp { .. })
    }

    fn limits(&self) -> &Limits {
        &self.shared.config.rules.limits
    }

    /// Greets the client. After STARTTLS there is no greeting.
    pub fn greet(&mut self) {
        let protocol = if self.is_lmtp() { "LMTP" } else { "ESMTP" };
        let greeting = format!("220 {} {protocol} Strongroom", self.shared.config.hostname);
        self.wire.reply(&greeting);
    }

    /// Serves the client until it quits, goes away or is too slow, or until the intake stops.
    pub async fn run(mut self) -> Result<(), WireError> {
        loop {
            let line = match self.next_line().await {
                Ok(Some(line)) => line,
                Ok(None) => {
                    return self
                        .farewell("421 4.3.2 archive is restarting, try again")
                        .await;
                }
                Err(WireError::TimedOut) => {
                    return self.farewell("421 4.4.2 you took too long").await;
                }
                Err(error) => return Err(error),
            };
            let next = match &line {
                Line::TooLong => self.mistake("500 5.5.2 line too long"),
                Line::Whole(line) => match parse(line) {
                    Ok(command) => self.obey(command).await?,
                    Err(bad) => self.mistake(&format!("{} {bad}", bad.code())),
                },
            };
            if matches!(next, Next::Quit) {
                return self.farewell("221 2.0.0 bye").await;
            }
            if self.mistakes > self.limits().mistakes {
                return self.farewell("421 4.7.0 too many mistakes").await;
            }
        }
    }

    /// `None` where the intake stops and no mail is under way.
    async fn next_line(&mut self) -> Result<Option<Line>, WireError> {
        let (longest, limit) = (self.limits().command_line, self.limits().command_time());
        if self.transaction.is_some() {
            return self.wire.line(longest, limit).await.map(Some);
        }
        tokio::select! {
            line = self.wire.line(longest, limit) => line.map(Some),
            () = self.stop.requested() => Ok(None),
        }
    }

    async fn farewell(&mut self, reply: &str) -> Result<(), WireError> {
        self.wire.reply(reply);
        self.wire.close(self.limits().command_time()).await
    }

    fn mistake(&mut self, reply: &str) -> Next {
        self.mistakes += 1;
        self.wire.reply(reply);
        Next::Command
    }

    async fn obey(&mut self, command: Command<'_>) -> Result<Next, WireError> {
        match command {
            Command::Hello(hello, name) => return Ok(self.hello(hello, &name)),
            Command::Mail(path) => return Ok(self.mail(&path)),
            Command::Rcpt(path) => return Ok(self.rcpt(&path)),
            Command::Data => return self.data().await,
            Command::Bdat { length, last } => return self.bdat(length, last).await,
            Command::StartTls => return Ok(self.mistake("503 5.5.1 TLS is already on")),
            Command::Noop => self.wire.reply("250 2.0.0 fine"),
            Command::Vrfy => self.wire.reply("252 2.1.5 send mail and see"),
            Command::Rset => {
                self.transaction = None;
                self.wire.reply("250 2.0.0 forgotten");
            }
            Command::Quit => return Ok(Next::Quit),
        }
        Ok(Next::Command)
    }

    fn hello(&mut self, hello: Hello, name: &str) -> Next {
        if (hello == Hello::Lhlo) != self.is_lmtp() {
            return self.mistake("500 5.5.1 wrong greeting for this protocol");
        }
        self.helo = Some(name.to_owned());
        self.transaction = None;
        let hostname = self.shared.config.hostname.clone();
        if hello == Hello::Helo {
            self.wire.reply(&format!("250 {hostname}"));
            return Next::Command;
        }
        self.wire.reply(&format!("250-{hostname}"));
        for extension in extensions(&self.shared.config) {
            self.wire.reply(&format!("250-{extension}"));
        }
        self.wire.reply("250 ENHANCEDSTATUSCODES");
        Next::Command
    }

    fn mail(&mut self, path: &Path<'_>) -> Next {
        if self.helo.is_none() {
            return self.mistake("503 5.5.1 say EHLO first");
        }
        if self.transaction.is_some() {
            return self.mistake("503 5.5.1 a mail is already under way");
        }
        if let Some(size) = path.parameter("SIZE") {
            let Ok(size) = size.parse::<u64>() else {
                return self.mistake("501 5.5.4 syntax: SIZE=number");
            };
            if self
                .shared
                .config
                .rules
                .max_size
                .is_some_and(|max| size > max)
            {
                return self.refuse(&Refusal::TooLarge);
            }
        }
        self.transaction = Some(Transaction {
            sender: path.address.to_owned(),
            parameters: owned(&path.parameters),
            recipients: Vec::new(),
            size: path.size(),
            tenant: None,
            chunks: None,
        });
        self.wire.reply("250 2.1.0 sender noted");
        Next::Command
    }

    fn rcpt(&mut self, path: &Path<'_>) -> Next {
        let tenant = self
            .shared
            .config
            .rules
            .tenant_of(path.address)
            .unwrap_or(&self.tenant)
            .clone();
        let most = self.limits().recipients;
        let Some(transaction) = self
            .transaction
            .as_mut()
            .filter(|mail| mail.chunks.is_none())
        else {
            return self.mistake("503 5.5.1 say MAIL first");
        };
        let larger = transaction.size + path.size() + EACH_RECIPIENT;
        // Also the answer for another tenant's recipient: the client sends it a mail of its own.
        if transaction.recipients.len() >= most
            || larger > LARGEST_ENVELOPE
            || transaction
                .tenant
                .as_ref()
                .is_some_and(|first| *first != tenant)
        {
            self.wire
                .reply("452 4.5.3 too many recipients, send the mail again for the rest");
            return Next::Command;
        }
        transaction.tenant = Some(tenant);
        transaction.size = larger;
        transaction.recipients.push(Recipient {
            address: path.address.to_owned(),
            parameters: owned(&path.parameters),
        });
        self.wire.reply("250 2.1.5 recipient noted");
        Next::Command
    }

    async fn data(&mut self) -> Result<Next, WireError> {
        match &self.transaction {
            Some(mail) if mail.recipients.is_empty() => {
                return Ok(self.mistake("554 5.5.1 no valid recipients"));
            }
            Some(mail) if mail.chunks.is_some() => {
                return Ok(self.mistake("503 5.5.1 BDAT has begun this mail"));
            }
            None => return Ok(self.mistake("503 5.5.1 say MAIL and RCPT first")),
            Some(_) => {}
        }
        self.wire.reply("354 go ahead, end with <CRLF>.<CRLF>");
        self.wire.flush(self.limits().command_time()).await?;
        let mut text = self.new_text();
        let mut decoder = DataDecoder::default();
        let mut plain = Vec::new();
        let mut pace = Pace::new(self.limits());
        loop {
            let buffered = self.wire.buffered();
            let length = buffered.len();
            let end = decoder.decode(buffered, &mut plain);
            self.wire.take(end.unwrap_or(length));
            text = self.extend(text, &plain).await;
            wipe(&mut plain);
            plain.clear();
            if end.is_some() {
                break;
            }
            self.wire
                .more(pace.deadline(length), self.limits().data_time())
                .await?;
        }
        self.accept(text).await;
        Ok(Next::Command)
    }

    async fn bdat(&mut self, length: u64, last: bool) -> Result<Next, WireError> {
        let ready = self
            .transaction
            .as_ref()
            .is_some_and(|mail| !mail.recipients.is_empty());
        let chunks = self
            .transaction
            .as_mut()
            .and_then(|mail| mail.chunks.take());
        let mut text = if ready {
            Some(chunks.unwrap_or_else(|| self.new_text()))
        } else {
            None
        };
        let mut left = length;
        let mut pace = Pace::new(self.limits());
        loop {
            let buffered = self.wire.buffered();
            let now = usize::try_from(left).map_or(buffered.len(), |left| left.min(buffered.len()));
            let mut piece = buffered[..now].to_vec();
            self.wire.take(now);
            left -= now as u64;
            if let Some(so_far) = text {
                text = Some(self.extend(so_far, &piece).await);
            }
            wipe(&mut piece);
            if left == 0 {
                break;
            }
            self.wire
                .more(pace.deadline(now), self.limits().data_time())
                .await?;
        }
        match text {
            None => return Ok(self.mistake("503 5.5.1 say MAIL and RCPT first")),
            Some(text) if last => self.accept(text).await,
            Some(text) => {
                match &text {
                    Ok(_) => self
                        .wire
                        .reply(&format!("250 2.0.0 {length} octets received")),
                    Err(refusal) => self.wire.reply(refusal.reply()),
                }
                if let Some(mail) = &mut self.transaction {
                    mail.chunks = Some(text);
                }
            }
        }
        Ok(Next::Command)
    }

    fn new_text(&self) -> Text {
        Ok(self.shared.spool.incoming())
    }

    /// Adds to the text. Once refused, the rest is read and thrown away.
    async fn extend(&self, text: Text, bytes: &[u8]) -> Text {
        let mut text = text?;
        let length = text.length() + bytes.len() as u64;
        if self
            .shared
            .config
            .rules
            .max_size
            .is_some_and(|max| length > max)
        {
            return Err(Refusal::TooLarge);
        }
        text.write(bytes).await.map_err(Refusal::Spool)?;
        Ok(text)
    }

    /// The mail is whole: spools it and answers, in LMTP once for each recipient.
    async fn accept(&mut self, text: Text) {
        let Some(mail) = self.transaction.take() else {
            return;
        };
        let replies = if self.is_lmtp() {
            mail.recipients.len()
        } else {
            1
        };
        let reply = match self.spool(mail, text).await {
            Ok(id) => format!("250 2.0.0 queued as {id}"),
            Err(refusal) => {
                self.log(&refusal);
                refusal.reply().to_owned()
            }
        };
        for _ in 0..replies {
            self.wire.reply(&reply);
        }
    }

    async fn spool(&self, mail: Transaction, text: Text) -> Result<SpoolId, Refusal> {
        let envelope = Envelope {
            tenant: mail.tenant.unwrap_or_else(|| self.tenant.clone()),
            sender: mail.sender,
            parameters: mail.parameters,
            recipients: mail.recipients,
            arrived: self.shared.clock.now(),
            source: self.client.source(self.helo.as_deref().unwrap_or_default()),
        };
        text?.finish(envelope).await.map_err(Refusal::Spool)
    }

    fn refuse(&mut self, refusal: &Refusal) -> Next {
        self.log(refusal);
        self.wire.reply(refusal.reply());
        Next::Command
    }

    fn log(&self, refusal: &Refusal) {
        tracing::warn!(client = ?self.client, reply = refusal.reply(), "mail refused");
    }
}

fn owned(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

/// How fast a text must come: some bytes a second on the whole, after a time of grace. Sending one
/// byte now and then does not keep a session alive.
struct Pace {
    begun: Instant,
    received: u64,
    grace: std::time::Duration,
    rate: u64,
}

impl Pace {
    fn new(limits: &Limits) -> Self {
        Self {
            begun: Instant::now(),
            received: 0,
            grace: limits.data_time(),
            rate: limits.data_rate.max(1),
        }
    }

    fn deadline(&mut self, received: usize) -> Instant {
        self.received += received as u64;
        self.begun + self.grace + std::time::Duration::from_secs(self.received / self.rate)
    }
}
