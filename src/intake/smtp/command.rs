//! One SMTP or LMTP command line, parsed (RFC 5321 §4.1, RFC 2033, RFC 3030, RFC 3207).
//!
//! Addresses and parameters are kept exactly as sent: the envelope is evidence. So an odd address is
//! no reason to refuse a mail; only what cannot be understood as a command is.

use std::borrow::Cow;

/// A command. Texts are slices of the line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command<'a> {
    /// EHLO, HELO or LHLO with the client's name.
    Hello(Hello, Cow<'a, str>),
    /// MAIL FROM with the reverse path (empty for `<>`).
    Mail(Path<'a>),
    /// RCPT TO with the forward path.
    Rcpt(Path<'a>),
    /// DATA.
    Data,
    /// BDAT with the chunk's length; `last` where the mail ends with it.
    Bdat {
        /// Octets that follow the line.
        length: u64,
        /// The LAST keyword was there.
        last: bool,
    },
    /// STARTTLS.
    StartTls,
    /// NOOP.
    Noop,
    /// RSET.
    Rset,
    /// QUIT.
    Quit,
    /// VRFY: we never tell.
    Vrfy,
}

/// How a client says hello.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hello {
    /// Extended SMTP.
    Ehlo,
    /// SMTP without extensions.
    Helo,
    /// LMTP.
    Lhlo,
}

/// A path and its parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path<'a> {
    /// What stands between the angle brackets, which some devices leave out.
    pub address: &'a str,
    /// The words behind it.
    pub parameters: Vec<&'a str>,
}

impl Path<'_> {
    /// Bytes of the address and the parameters.
    #[must_use]
    pub fn size(&self) -> usize {
        let parameters = self.parameters.iter().map(|word| word.len());
        self.address.len() + parameters.sum::<usize>()
    }

    /// The value of a `KEYWORD=value` parameter.
    #[must_use]
    pub fn parameter(&self, keyword: &str) -> Option<&str> {
        self.parameters.iter().find_map(|parameter| {
            let (name, value) = parameter.split_once('=')?;
            name.eq_ignore_ascii_case(keyword).then_some(value)
        })
    }
}

/// Why a line is no command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadCommand {
    /// Not a command we know.
    #[error("5.5.1 command not recognised")]
    Unknown,
    /// A known command, wrongly written.
    #[error("5.5.4 syntax: {0}")]
    Syntax(&'static str),
}

impl BadCommand {
    /// The SMTP reply code.
    #[must_use]
    pub const fn code(self) -> u16 {
        match self {
            Self::Unknown => 500,
            Self::Syntax(_) => 501,
        }
    }
}

/// Parses a line without its CRLF.
pub fn parse(line: &[u8]) -> Result<Command<'_>, BadCommand> {
    match std::str::from_utf8(line) {
        Ok(line) => parse_text(line),
        Err(_) => foreign_hello(line).ok_or(BadCommand::Unknown),
    }
}

/// The greeting of a machine whose name is in its own charset, as Windows gives it. It is told nowhere but in the envelope.
fn foreign_hello(line: &[u8]) -> Option<Command<'_>> {
    let blank = line.iter().position(|&byte| byte == b' ')?;
    let line = format!(
        "{} {}",
        std::str::from_utf8(&line[..blank]).ok()?,
        String::from_utf8_lossy(&line[blank..])
    );
    match parse_text(&line).ok()? {
        Command::Hello(hello, name) => Some(Command::Hello(hello, Cow::Owned(name.into_owned()))),
        _ => None,
    }
}

fn parse_text(line: &str) -> Result<Command<'_>, BadCommand> {
    if line.chars().any(char::is_control) {
        return Err(BadCommand::Unknown);
    }
    let line = line.trim_end_matches(' ');
    let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
    let rest = rest.trim_start_matches(' ');
    match verb.to_ascii_uppercase().as_str() {
        "EHLO" => hello(Hello::Ehlo, rest),
        "HELO" => hello(Hello::Helo, rest),
        "LHLO" => hello(Hello::Lhlo, rest),
        "MAIL" => path(rest, "FROM:")
            .map(Command::Mail)
            .ok_or(BadCommand::Syntax("MAIL FROM:<address> [parameters]")),
        "RCPT" => path(rest, "TO:")
            .filter(|path| !path.address.is_empty())
            .map(Command::Rcpt)
            .ok_or(BadCommand::Syntax("RCPT TO:<address> [parameters]")),
        "BDAT" => bdat(rest).ok_or(BadCommand::Syntax("BDAT length [LAST]")),
        "DATA" => bare(Command::Data, rest),
        "STARTTLS" => bare(Command::StartTls, rest),
        "RSET" => bare(Command::Rset, rest),
        "QUIT" => bare(Command::Quit, rest),
        "NOOP" => Ok(Command::Noop),
        "VRFY" => Ok(Command::Vrfy),
        _ => Err(BadCommand::Unknown),
    }
}

fn hello(hello: Hello, name: &str) -> Result<Command<'_>, BadCommand> {
    if name.is_empty() {
        return Err(BadCommand::Syntax("EHLO your-name"));
    }
    Ok(Command::Hello(hello, Cow::Borrowed(name)))
}

fn bare<'a>(command: Command<'a>, rest: &str) -> Result<Command<'a>, BadCommand> {
    if rest.is_empty() {
        Ok(command)
    } else {
        Err(BadCommand::Syntax("this command has no parameters"))
    }
}

fn bdat(rest: &str) -> Option<Command<'_>> {
    let mut words = rest.split_ascii_whitespace();
    let length = words.next()?;
    if !length.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let length = length.parse().ok()?;
    let last = match words.next() {
        None => false,
        Some(word) if word.eq_ignore_ascii_case("LAST") => true,
        Some(_) => return None,
    };
    words
        .next()
        .is_none()
        .then_some(Command::Bdat { length, last })
}

/// `keyword <address> parameters`; a space behind the colon is common and harmless.
fn path<'a>(text: &'a str, keyword: &str) -> Option<Path<'a>> {
    let (start, rest) = text.split_at_checked(keyword.len())?;
    if !start.eq_ignore_ascii_case(keyword) {
        return None;
    }
    let rest = rest.trim_start_matches(' ');
    let (address, behind) = match rest.strip_prefix('<') {
        Some(rest) => {
            let end = closing_bracket(rest)?;
            (&rest[..end], &rest[end + 1..])
        }
        None => bare_address(rest)?,
    };
    if !behind.is_empty() && !behind.starts_with(' ') {
        return None;
    }
    Some(Path {
        address,
        parameters: behind.split_ascii_whitespace().collect(),
    })
}

/// An address without brackets, as scanners and old scripts send it, and what is behind it.
fn bare_address(text: &str) -> Option<(&str, &str)> {
    let (address, behind) = text.split_at(text.find(' ').unwrap_or(text.len()));
    let is_plain = address.contains('@') && !address.contains(['<', '>', '"', '\\']);
    is_plain.then_some((address, behind))
}

/// The first `>` outside a quoted local part.
fn closing_bracket(text: &str) -> Option<usize> {
    let (mut quoted, mut escaped) = (false, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'>' if !quoted => return Some(at),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rcpt(
        address: &'static str,
        parameters: &[&'static str],
    ) -> Result<Command<'static>, BadCommand> {
        Ok(Command::Rcpt(Path {
            address,
            parameters: parameters.to_vec(),
        }))
    }

    #[test]
    fn addresses_are_kept_as_sent() {
        assert_eq!(
            parse(b"RCPT TO:<Ann@Example.org>"),
            rcpt("Ann@Example.org", &[])
        );
        assert_eq!(
            parse(b"rcpt to: <a@b> NOTIFY=NEVER  ORCPT=rfc822;x"),
            rcpt("a@b", &["NOTIFY=NEVER", "ORCPT=rfc822;x"])
        );
        assert_eq!(
            parse(b"RCPT TO:<\"a> \\\"b\"@c>"),
            rcpt("\"a> \\\"b\"@c", &[])
        );
        assert_eq!(parse(b"RCPT TO:<@relay:a@b>"), rcpt("@relay:a@b", &[]));
        assert_eq!(
            parse("RCPT TO:<jürgen@bücher.example>".as_bytes()),
            rcpt("jürgen@bücher.example", &[])
        );
        assert_eq!(parse(b"RCPT TO:<Postmaster>"), rcpt("Postmaster", &[]));
        assert_eq!(
            parse(b"RCPT TO: a@b NOTIFY=NEVER"),
            rcpt("a@b", &["NOTIFY=NEVER"])
        );
        assert_eq!(
            parse(b"MAIL FROM:<>"),
            Ok(Command::Mail(Path {
                address: "",
                parameters: vec![]
            }))
        );
    }

    #[test]
    fn what_is_no_command_is_refused() {
        for line in [
            "RCPT TO:<>",
            "RCPT TO:a",
            "RCPT TO:a@b>",
            "RCPT TO:Ann <a@b>",
            "MAIL FROM:",
            "MAIL FROM: SIZE=3",
            "MAIL FROM:\"a b\"@c",
            "RCPT TO:<a@b",
            "MAIL FROM:<a>x",
            "BDAT -1",
            "BDAT +1",
            "BDAT 1 2",
            "BDAT 99999999999999999999",
            "DATA now",
            "EHLO",
        ] {
            assert!(
                matches!(parse(line.as_bytes()), Err(BadCommand::Syntax(_))),
                "{line}"
            );
        }
        for line in [
            &b""[..],
            b"\xff",
            b"EHLO\xff a",
            b"EHLO \xff\tb",
            b"NOOP \xff",
            b"RCPT TO:<\xff@b>",
            b"EHLO a\rQUIT",
            b"EHLO a\0",
            b"GET / HTTP/1.1",
        ] {
            assert_eq!(parse(line), Err(BadCommand::Unknown));
        }
    }

    #[test]
    fn a_machine_may_call_itself_something_in_its_own_charset() {
        for (line, name) in [
            (&b"EHLO B\xfcro-PC"[..], "B\u{fffd}ro-PC"),
            (b"ehlo  \xfc ", "\u{fffd}"),
            ("EHLO Büro-PC".as_bytes(), "Büro-PC"),
        ] {
            assert_eq!(parse(line), Ok(Command::Hello(Hello::Ehlo, name.into())));
        }
    }

    #[test]
    fn chunks_have_a_length() {
        assert_eq!(
            parse(b"BDAT 10"),
            Ok(Command::Bdat {
                length: 10,
                last: false
            })
        );
        assert_eq!(
            parse(b"bdat 0 last"),
            Ok(Command::Bdat {
                length: 0,
                last: true
            })
        );
    }

    proptest! {
        #[test]
        fn no_line_panics(line in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&line);
        }

        #[test]
        fn any_printable_address_comes_back(address in "[!#-;=?-~]{1,60}@[a-z.]{1,30}") {
            let line = format!("RCPT TO:<{address}>");
            prop_assert_eq!(parse(line.as_bytes()), Ok(Command::Rcpt(Path { address: &address, parameters: vec![] })));
        }
    }
}
