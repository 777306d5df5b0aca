//! The few TPM commands that the *machine* around a TPM sends: measurements of a boot, a clear from
//! the firmware's setup, and somebody guessing a password. Bytes as in TPM 2.0 Library, Part 3.

use crate::SimError;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// swtpm listens for commands a moment later than on its control port.
const NOT_YET: Duration = Duration::from_secs(2);

const NO_SESSIONS: u16 = 0x8001;
const SESSIONS: u16 = 0x8002;
const PLATFORM: u32 = 0x4000_000C;
const NULL_HIERARCHY: u32 = 0x4000_0007;
const PASSWORD_SESSION: u32 = 0x4000_0009;
const LOCKOUT: u32 = 0x921;
const RETRY: u32 = 0x922;

/// A connection of the machine to its TPM.
pub(crate) struct Wire(TcpStream);

impl Wire {
    /// Connects to the swtpm at `port` on this machine.
    pub(crate) fn connect(port: u16) -> Result<Self, SimError> {
        let deadline = Instant::now() + NOT_YET;
        let stream = loop {
            match TcpStream::connect(("127.0.0.1", port)) {
                Err(error)
                    if error.kind() == ErrorKind::ConnectionRefused
                        && Instant::now() < deadline =>
                {
                    std::thread::sleep(Duration::from_millis(5));
                }
                connected => break connected.map_err(SimError::Wire)?,
            }
        };
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .map_err(SimError::Wire)?;
        Ok(Self(stream))
    }

    /// Measures `event` into a PCR, in every bank (TPM2_PCR_Event).
    pub(crate) fn measure(&mut self, pcr: u8, event: &str) -> Result<(), SimError> {
        let mut body = authorised(u32::from(pcr), b"");
        counted(&mut body, event.as_bytes());
        self.expect("measure a boot step", SESSIONS, 0x13C, &body)
            .map(drop)
    }

    /// Clears the owner's hierarchy as the firmware's setup does (TPM2_Clear).
    pub(crate) fn clear(&mut self) -> Result<(), SimError> {
        self.expect("clear", SESSIONS, 0x126, &authorised(PLATFORM, b""))
            .map(drop)
    }

    /// Guesses a wrong password until the TPM refuses to listen (TPM_RC_LOCKOUT).
    pub(crate) fn lockout(&mut self) -> Result<(), SimError> {
        let object = self.make_guarded_object()?;
        for _ in 0..1000 {
            let (code, _) = self.command(SESSIONS, 0x15E, &authorised(object, b"wrong"))?;
            if code == LOCKOUT {
                let flush = object.to_be_bytes();
                return self
                    .expect("forget an object", NO_SESSIONS, 0x165, &flush)
                    .map(drop);
            }
        }
        Err(SimError::Refused {
            doing: "go into lockout",
            code: 0,
        })
    }

    /// A sealed object in the null hierarchy whose password counts as a guess when it is wrong.
    fn make_guarded_object(&mut self) -> Result<u32, SimError> {
        let mut sensitive = Vec::new();
        counted(&mut sensitive, b"right");
        counted(&mut sensitive, b"content");
        let mut public = Vec::new();
        public.extend(0x0008u16.to_be_bytes()); // TPM_ALG_KEYEDHASH
        public.extend(0x000Bu16.to_be_bytes()); // named by SHA-256
        public.extend(0x0000_0052u32.to_be_bytes()); // fixedTPM, fixedParent, userWithAuth; not noDA
        counted(&mut public, b""); // no policy
        public.extend(0x0010u16.to_be_bytes()); // no scheme: sealed data
        counted(&mut public, b""); // unique
        let mut body = authorised(NULL_HIERARCHY, b"");
        counted(&mut body, &sensitive);
        counted(&mut body, &public);
        counted(&mut body, b""); // outside information
        body.extend(0u32.to_be_bytes()); // no creation PCRs
        let answer = self.expect("make an object", SESSIONS, 0x131, &body)?;
        let handle = answer.first_chunk().ok_or_else(short)?;
        Ok(u32::from_be_bytes(*handle))
    }

    fn expect(
        &mut self,
        doing: &'static str,
        tag: u16,
        code: u32,
        body: &[u8],
    ) -> Result<Vec<u8>, SimError> {
        match self.command(tag, code, body)? {
            (0, answer) => Ok(answer),
            (code, _) => Err(SimError::Refused { doing, code }),
        }
    }

    fn command(&mut self, tag: u16, code: u32, body: &[u8]) -> Result<(u32, Vec<u8>), SimError> {
        let size = u32::try_from(10 + body.len()).unwrap_or(u32::MAX);
        let mut frame = tag.to_be_bytes().to_vec();
        frame.extend(size.to_be_bytes());
        frame.extend(code.to_be_bytes());
        frame.extend(body);
        loop {
            self.0.write_all(&frame).map_err(SimError::Wire)?;
            let answer = read_frame(&mut self.0)
                .map_err(SimError::Wire)?
                .ok_or_else(short)?;
            let code = u32::from_be_bytes(*answer[6..].first_chunk().ok_or_else(short)?);
            if code != RETRY {
                return Ok((code, answer[10..].to_vec()));
            }
        }
    }
}

/// One command or response, whose bytes 2..6 give its length; `None` at an orderly end.
pub(crate) fn read_frame(from: &mut impl Read) -> std::io::Result<Option<Vec<u8>>> {
    let mut head = [0u8; 10];
    let first = from.read(&mut head)?;
    if first == 0 {
        return Ok(None);
    }
    from.read_exact(&mut head[first..])?;
    let size = u32::from_be_bytes([head[2], head[3], head[4], head[5]]) as usize;
    let mut frame = head.to_vec();
    frame.resize(size.clamp(10, 65536), 0);
    from.read_exact(&mut frame[10..])?;
    Ok(Some(frame))
}

fn short() -> SimError {
    SimError::Wire(std::io::ErrorKind::UnexpectedEof.into())
}

/// A handle and one password authorisation for it.
fn authorised(handle: u32, password: &[u8]) -> Vec<u8> {
    let mut area = PASSWORD_SESSION.to_be_bytes().to_vec();
    counted(&mut area, b""); // nonce
    area.push(1); // the session goes on
    counted(&mut area, password);
    let mut out = handle.to_be_bytes().to_vec();
    out.extend(u32::try_from(area.len()).unwrap_or(u32::MAX).to_be_bytes());
    out.extend(area);
    out
}

/// Appends a TPM2B: 16 bits of length, then the bytes.
fn counted(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend(u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_be_bytes());
    out.extend(bytes);
}
