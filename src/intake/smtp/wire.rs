//! Lines in, replies out, over any stream. Replies to pipelined commands are collected and sent when
//! the client's input is used up (RFC 2920).

use crate::secret::wipe;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, timeout_at};
use zeroize::Zeroizing;

/// Bytes read from the stream at once.
const READ: usize = 64 << 10;

/// Why a session ends without QUIT.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The client closed the connection.
    #[error("the client is gone")]
    Gone,
    /// The client was too slow.
    #[error("the client was silent or too slow")]
    TimedOut,
    /// The connection failed.
    #[error("the connection failed: {0}")]
    Io(#[from] std::io::Error),
}

/// A line of input.
#[derive(Debug, PartialEq, Eq)]
pub enum Line {
    /// The line without its CRLF.
    Whole(Vec<u8>),
    /// It was longer than allowed and has been thrown away.
    TooLong,
}

/// A stream with a buffer on both sides.
pub struct Wire<S> {
    stream: S,
    input: Zeroizing<Vec<u8>>,
    taken: usize,
    output: Vec<u8>,
    /// A line that is too long is being thrown away.
    discarding: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    /// Takes over the stream.
    pub fn new(stream: S) -> Self {
        Self {
            stream,
            input: Zeroizing::new(Vec::new()),
            taken: 0,
            output: Vec::new(),
            discarding: false,
        }
    }

    /// Gives the stream back. Input that was not read is lost, and must be: before TLS it may be an
    /// attacker's (CVE-2011-0411).
    pub fn into_stream(self) -> S {
        self.stream
    }

    /// Collects a reply line.
    pub fn reply(&mut self, line: &str) {
        self.output.extend_from_slice(line.as_bytes());
        self.output.extend_from_slice(b"\r\n");
    }

    /// Sends the collected replies.
    pub async fn flush(&mut self, limit: Duration) -> Result<(), WireError> {
        let send = async {
            self.stream.write_all(&self.output).await?;
            self.stream.flush().await
        };
        timeout_at(Instant::now() + limit, send)
            .await
            .map_err(|_| WireError::TimedOut)??;
        self.output.clear();
        Ok(())
    }

    /// Sends the collected replies and ends the stream, as TLS wants it ended.
    pub async fn close(&mut self, limit: Duration) -> Result<(), WireError> {
        self.flush(limit).await?;
        timeout_at(Instant::now() + limit, self.stream.shutdown())
            .await
            .map_err(|_| WireError::TimedOut)??;
        Ok(())
    }

    /// The next line, which must be whole before `limit` has passed. A line ends with LF; the CR in
    /// front of it may be missing in commands. May be dropped while waiting: nothing is lost.
    pub async fn line(&mut self, longest: usize, limit: Duration) -> Result<Line, WireError> {
        let deadline = Instant::now() + limit;
        loop {
            let rest = &self.input[self.taken..];
            match rest.iter().position(|&byte| byte == b'\n') {
                Some(end) => {
                    let line = rest[..end].strip_suffix(b"\r").unwrap_or(&rest[..end]);
                    let too_long = std::mem::take(&mut self.discarding) || line.len() > longest;
                    let line = if too_long {
                        Line::TooLong
                    } else {
                        Line::Whole(line.to_vec())
                    };
                    self.taken += end + 1;
                    return Ok(line);
                }
                None if rest.len() > longest => {
                    self.taken = self.input.len();
                    self.discarding = true;
                }
                None => {}
            }
            self.more(deadline, limit).await?;
        }
    }

    /// What has been read and not been taken.
    pub fn buffered(&self) -> &[u8] {
        &self.input[self.taken..]
    }

    /// Marks bytes of [`Wire::buffered`] as taken.
    pub fn take(&mut self, bytes: usize) {
        self.taken += bytes;
    }

    /// Waits for more input, after sending what was collected.
    pub async fn more(&mut self, deadline: Instant, limit: Duration) -> Result<(), WireError> {
        if !self.output.is_empty() {
            self.flush(limit).await?;
        }
        wipe(&mut self.input[..self.taken]);
        self.input.drain(..self.taken);
        self.taken = 0;
        self.input.reserve(READ);
        match timeout_at(deadline, self.stream.read_buf(&mut *self.input)).await {
            Err(_) => Err(WireError::TimedOut),
            Ok(Ok(0)) => Err(WireError::Gone),
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(5);

    #[tokio::test]
    async fn lines_come_whole_and_long_ones_are_thrown_away() {
        let (mut client, server) = tokio::io::duplex(1 << 20);
        let mut wire = Wire::new(server);
        client.write_all(b"one\r\ntwo\n").await.expect("write");
        client.write_all(&[b'x'; 5000]).await.expect("write");
        client.write_all(b"\nthree\r\n").await.expect("write");
        drop(client);
        assert_eq!(
            wire.line(100, LIMIT).await.expect("line"),
            Line::Whole(b"one".to_vec())
        );
        assert_eq!(
            wire.line(100, LIMIT).await.expect("line"),
            Line::Whole(b"two".to_vec())
        );
        assert_eq!(wire.line(100, LIMIT).await.expect("line"), Line::TooLong);
        assert_eq!(
            wire.line(100, LIMIT).await.expect("line"),
            Line::Whole(b"three".to_vec())
        );
        assert!(matches!(wire.line(100, LIMIT).await, Err(WireError::Gone)));
    }

    #[tokio::test]
    async fn a_line_that_trickles_in_is_cut_off() {
        let (mut client, server) = tokio::io::duplex(1 << 20);
        let mut wire = Wire::new(server);
        let trickle = async {
            loop {
                client.write_all(b"a").await.expect("write");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::select! {
            () = trickle => unreachable!("it never ends"),
            line = wire.line(100, Duration::from_millis(200)) => assert!(matches!(line, Err(WireError::TimedOut))),
        }
    }
}
