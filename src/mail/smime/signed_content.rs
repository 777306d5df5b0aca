//! What a signature is over: the content in the object, or beside it in the mail, where transport may have changed
//! its line ends.

use super::ber::{BerError, Chunks};

/// The signed content.
#[derive(Clone)]
pub enum Content<'a> {
    /// In the object.
    Inside(Chunks<'a>),
    /// Beside it, in the mail; transport may have changed its line ends.
    Beside(&'a [u8]),
    /// A file beside it, whose bytes are what its writer made.
    File(&'a [u8]),
}

/// Line ends that content beside its signature is tried with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LineEnds {
    /// As they are.
    AsIs,
    /// All CRLF, the canonical form.
    Crlf,
    /// All LF.
    Lf,
}

impl<'a> Content<'a> {
    /// The content in pieces, with these line ends.
    pub fn pieces(
        &self,
        ends: LineEnds,
    ) -> Box<dyn Iterator<Item = Result<&'a [u8], BerError>> + 'a> {
        match (self, ends) {
            (Self::Inside(chunks), _) => Box::new(chunks.clone()),
            (Self::Beside(bytes) | Self::File(bytes), LineEnds::AsIs) => {
                Box::new([Ok(*bytes)].into_iter())
            }
            (Self::Beside(bytes) | Self::File(bytes), ends) => {
                let end: &[u8] = if ends == LineEnds::Crlf {
                    b"\r\n"
                } else {
                    b"\n"
                };
                let lines = bytes
                    .split_inclusive(|byte| *byte == b'\n')
                    .flat_map(move |line| match line.strip_suffix(b"\n") {
                        Some(text) => [text.strip_suffix(b"\r").unwrap_or(text), end],
                        None => [line, &[]],
                    });
                Box::new(lines.map(Ok))
            }
        }
    }

    /// The line ends to try, in order.
    pub const fn line_ends(&self) -> &'static [LineEnds] {
        match self {
            Self::Inside(_) => &[LineEnds::AsIs],
            Self::Beside(_) | Self::File(_) => &[LineEnds::AsIs, LineEnds::Crlf, LineEnds::Lf],
        }
    }

    /// Whether a signature over these line ends is over others than the canonical CRLF (RFC 8551 §3.1.1). A mail that
    /// was stored with LF and verifies over CRLF is as it was sent, and a file as it is.
    pub fn is_noncanonical(&self, ends: LineEnds) -> bool {
        match (self, ends) {
            (Self::Inside(_), _) | (_, LineEnds::Crlf) => false,
            (_, LineEnds::Lf) => true,
            (Self::File(_), LineEnds::AsIs) => false,
            (Self::Beside(bytes), LineEnds::AsIs) => {
                memchr::memchr_iter(b'\n', bytes).any(|at| !bytes[..at].ends_with(b"\r"))
            }
        }
    }

    /// All of it, with these line ends.
    pub fn all(&self, ends: LineEnds) -> Vec<u8> {
        self.pieces(ends)
            .filter_map(Result::ok)
            .flatten()
            .copied()
            .collect()
    }
}
