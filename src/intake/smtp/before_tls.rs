//! The little that a client may say in the clear (RFC 3207): hello, and STARTTLS.

use super::command::{Command, Hello, parse};
use super::extensions;
use super::wire::{Line, Wire, WireError};
use crate::intake::config::IntakeConfig;
use crate::intake::stop::Stop;
use tokio::io::{AsyncRead, AsyncWrite};

/// Talks until the client asks for TLS and returns the stream, about to begin TLS; `None` where it
/// leaves, is sent away, or the intake stops. What the client sent behind STARTTLS is thrown away.
pub async fn until_starttls<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    config: &IntakeConfig,
    stop: &mut Stop,
) -> Result<Option<S>, WireError> {
    let (limits, command_time) = (&config.rules.limits, config.rules.limits.command_time());
    let mut wire = Wire::new(stream);
    wire.reply(&format!("220 {} ESMTP Strongroom", config.hostname));
    for _ in 0..=limits.mistakes {
        let line = tokio::select! {
            line = wire.line(limits.command_line, command_time) => line?,
            () = stop.requested() => {
                wire.reply("421 4.3.2 archive is restarting, try again");
                return wire.flush(command_time).await.map(|()| None);
            }
        };
        let command = match line {
            Line::TooLong => None,
            Line::Whole(line) => Some(line),
        };
        match command.as_deref().map(parse) {
            Some(Ok(Command::StartTls)) => {
                wire.reply("220 2.0.0 begin TLS");
                wire.flush(command_time).await?;
                return Ok(Some(wire.into_stream()));
            }
            Some(Ok(Command::Hello(Hello::Ehlo, _))) => {
                wire.reply(&format!("250-{}", config.hostname));
                // All of them: a client may decide by this answer whether it can send the mail at all.
                for extension in extensions(config) {
                    wire.reply(&format!("250-{extension}"));
                }
                wire.reply("250-STARTTLS");
                wire.reply("250 ENHANCEDSTATUSCODES");
            }
            Some(Ok(Command::Hello(Hello::Helo, _))) => {
                wire.reply(&format!("250 {}", config.hostname))
            }
            Some(Ok(Command::Noop)) => wire.reply("250 2.0.0 fine"),
            Some(Ok(Command::Quit)) => {
                wire.reply("221 2.0.0 bye");
                return wire.flush(command_time).await.map(|()| None);
            }
            Some(Ok(_)) => wire.reply("530 5.7.0 Must issue a STARTTLS command first"),
            Some(Err(bad)) => wire.reply(&format!("{} {bad}", bad.code())),
            None => wire.reply("500 5.5.2 line too long"),
        }
    }
    wire.reply("421 4.7.0 too many commands without TLS");
    wire.flush(command_time).await.map(|()| None)
}
