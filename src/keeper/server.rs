//! The keeper's Unix socket: one request a connection, each on a thread of its own.
//!
//! Whoever connects is known by the kernel's peer credentials. Root and the keeper's own user may ask for status,
//! verification, backups and the like; content needs a session or an approved case, whoever asks.

use super::core::{Core, CoreError, lock};
use super::detail::{PEOPLE, SESSION};
use super::people::{Person, PersonSubject, StoredPassword};
use super::places::Places;
use super::protocol::CaseView;
use super::protocol::{Answer, FROM_CLIENT, Prepare, Request, Status, Token};
use super::reopen::NewKeys;
use super::rights::Warrant;
use super::{case_requests, escrowing};
use crate::approval::{Approval, Statement};
use crate::frame::{self, FrameError};
use crate::id::{CaseId, RecordId};
use crate::ledger::Event;
use crate::policy::Action;
use crate::secret::SecretBytes;
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Duration;

/// How long a client may take to begin with its request, which every command has at hand.
const FIRST: Duration = Duration::from_secs(10);
/// How long a client may leave what it is given.
const IDLE: Duration = Duration::from_secs(120);
/// Officers have this long to sign a change of people or policy.
const STATEMENT_SECONDS: u64 = 24 * 3600;

/// The longest statement about a person, so that its ledger entry fits.
const LONGEST_CHANGE: usize = 40_000;

/// Why a request fails before the core sees it.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error(transparent)]
    Core(#[from] CoreError),
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("only root and the user that runs the keeper may ask for this")]
    NotForThisUser,
    #[error("this user has too many requests under way; try again")]
    TooMany,
    #[error("{0}")]
    Input(String),
}

impl<E: Into<CoreErrorLike>> From<E> for Refusal {
    fn from(error: E) -> Self {
        Self::Core(error.into().0)
    }
}

/// The inner errors that a handler meets directly.
struct CoreErrorLike(CoreError);

macro_rules! core_like {
    ($($from:ty),*) => {$(
        impl From<$from> for CoreErrorLike {
            fn from(error: $from) -> Self { Self(error.into()) }
        }
    )*};
}
core_like!(
    super::people::PeopleError,
    crate::approval::NotApproved,
    crate::catalog::CatalogError,
    crate::ledger::LedgerError,
    super::escrow_store::EscrowError,
    crate::durable::FileError
);

/// Listens until the process ends.
pub fn listen(core: &Arc<Core>, path: &Path, new_keys: &Sender<NewKeys>) -> io::Result<()> {
    let _ = std::fs::remove_file(path);
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666))?;
    let places = Arc::new(Places::default());
    let (core, new_keys) = (Arc::clone(core), new_keys.clone());
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let Ok(user) = user_of(&stream) else { continue };
            let Some(place) = places.take(user, is_trusted(user)) else {
                let _ = stream.set_write_timeout(Some(Duration::from_secs(1)));
                let refused = Answer::Failed(Refusal::TooMany.to_string());
                let _ = frame::write(&mut &stream, &refused, &[]);
                continue;
            };
            let (core, new_keys) = (Arc::clone(&core), new_keys.clone());
            let started = std::thread::Builder::new().spawn(move || {
                serve(&core, &stream, &new_keys);
                drop(place);
            });
            if let Err(error) = started {
                tracing::error!(%error, "no thread can be started for a request; it is dropped");
            }
        }
    });
    Ok(())
}

fn user_of(stream: &UnixStream) -> nix::Result<u32> {
    Ok(getsockopt(stream, PeerCredentials)?.uid())
}

/// Root, or whoever runs the keeper.
fn is_trusted(user: u32) -> bool {
    user == 0 || user == nix::unistd::geteuid().as_raw()
}

fn serve(core: &Core, stream: &UnixStream, new_keys: &Sender<NewKeys>) {
    let _ = stream.set_read_timeout(Some(FIRST));
    let _ = stream.set_write_timeout(Some(IDLE));
    let mut connection = Connection {
        core,
        stream,
        new_keys,
    };
    let last = match connection.handle() {
        Ok(answer) => answer,
        Err(Refusal::Frame(_)) => return,
        Err(refusal) => Answer::Failed(refusal.to_string()),
    };
    let _ = connection.send(&last, &[]);
    if core.is_policy_replaced()
        && let Err(error) = Core::begin_again()
    {
        tracing::error!(%error, "the new policy counts from the next start of the box");
    }
}

struct Connection<'a> {
    core: &'a Core,
    stream: &'a UnixStream,
    new_keys: &'a Sender<NewKeys>,
}

impl Connection<'_> {
    fn handle(&mut self) -> Result<Answer, Refusal> {
        let (request, raw): (Request, Vec<u8>) = frame::read(&mut &*self.stream, FROM_CLIENT)?;
        let raw = SecretBytes::new(raw);
        match request {
            Request::Status => Ok(Answer::Status(Box::new(self.status()?))),
            Request::Verify { checkpoint } => {
                self.trusted()?;
                let mut progress = Progress::new(self.stream, "verifying");
                let found = self
                    .core
                    .verify(checkpoint.as_deref(), &mut |done, total| {
                        progress.tell(done, total)
                    })?;
                Ok(Answer::Verified(found))
            }
            Request::Rebuild => self.rebuild(),
            Request::Backup => {
                self.trusted()?;
                let (head, files) = self.core.backup()?;
                Ok(Answer::Backup { head, files })
            }
            Request::BackupDone { head, files, place } => {
                self.trusted()?;
                self.core.note_backup(head, files, &place)?;
                Ok(Answer::Done)
            }
            Request::Worklist => Ok(Answer::Worklist(self.core.worklist()?)),
            Request::Tenants => Ok(Answer::Tenants(self.core.tenants().cloned().collect())),
            Request::EscrowAdd {
                tenant,
                passphrases,
                certificates,
                source,
            } => {
                self.trusted()?;
                let offer = escrowing::Offer {
                    tenant,
                    passphrases,
                    certificates,
                    source,
                    keys: raw,
                };
                Ok(Answer::Escrow(escrowing::take(
                    self.core,
                    offer,
                    self.new_keys,
                )?))
            }
            Request::EscrowList { session } => self.escrow_list(session.as_ref()),
            Request::Prepare(Prepare::PersonSet(person)) => self.prepare_person(&person),
            Request::Prepare(Prepare::PolicyReplace(text)) => {
                // The lines that differ can name mailboxes.
                self.trusted()?;
                let statement = self.core.prepare_policy(&text, STATEMENT_SECONDS)?;
                Ok(Answer::Statement(statement))
            }
            Request::Prepare(Prepare::CaseView(case)) => Ok(Answer::Statement(
                case_requests::statement(self.core, case_requests::VIEW, case),
            )),
            Request::Prepare(Prepare::CaseRefuse(case)) => Ok(Answer::Statement(
                case_requests::statement(self.core, case_requests::REFUSE, case),
            )),
            Request::SignIn { name, password } => self.sign_in(&name, &password),
            Request::SignOut(token) => {
                lock(&self.core.people).sign_out(&token.0);
                Ok(Answer::Done)
            }
            Request::Search {
                session,
                case,
                query,
                limit,
                offset,
            } => {
                let warrant = self.warrant(&session, case)?;
                Ok(Answer::Hits(
                    self.core.find(&warrant, &query, limit, offset)?,
                ))
            }
            Request::Show {
                session,
                case,
                record,
            } => {
                let warrant = self.warrant(&session, case)?;
                Ok(Answer::Mail(Box::new(self.core.show(&warrant, record)?)))
            }
            Request::Get {
                session,
                case,
                record,
                what,
            } => {
                let warrant = self.warrant(&session, case)?;
                let mut content = self.core.get(&warrant, record, what)?;
                self.stream_out(&mut content)
            }
            Request::PersonSet {
                statement,
                password,
                approvals,
            } => self.set_person(&statement, password, &approvals),
            Request::PolicyReplace {
                statement,
                approvals,
                text,
            } => {
                self.core.replace_policy(statement, approvals, text)?;
                Ok(Answer::Done)
            }
            Request::Access { session, filter } => {
                let person = self.person(&session)?;
                Ok(Answer::Access(self.core.access_log(&person, &filter)?))
            }
            Request::CaseRequest {
                session,
                scope,
                wanted,
            } => {
                let person = self.person(&session)?;
                let view = case_requests::request(self.core, &person, scope, wanted)?;
                Ok(one(view))
            }
            Request::Cases { session } => {
                let person = self.person_if_any(session.as_ref());
                let views = case_requests::list(self.core, person.as_ref())?;
                Ok(Answer::Cases(views))
            }
            Request::CaseShow { session, case } => {
                let person = self.person_if_any(session.as_ref());
                let view = case_requests::show(self.core, person.as_ref(), case)?;
                Ok(one(view))
            }
            Request::CaseOpen {
                statement,
                approval,
            } => Ok(one(case_requests::open(self.core, &statement, &approval)?)),
            Request::CaseApprove { case, approval } => {
                Ok(one(case_requests::approve(self.core, case, approval)?))
            }
            Request::CaseRefuse {
                statement,
                approval,
            } => Ok(one(case_requests::refuse(
                self.core, &statement, &approval,
            )?)),
            Request::CaseWithdraw { session, case } => {
                let person = self.person(&session)?;
                Ok(one(case_requests::withdraw(self.core, &person, case)?))
            }
            Request::CaseRelease { session, case } => {
                let person = self.person(&session)?;
                self.release(&person, case)
            }
            Request::CaseReleased { session, case } => {
                let person = self.person(&session)?;
                Ok(one(case_requests::released(self.core, &person, case)?))
            }
        }
    }

    /// Root, or whoever runs the keeper.
    fn trusted(&self) -> Result<(), Refusal> {
        match user_of(self.stream) {
            Ok(user) if is_trusted(user) => Ok(()),
            _ => Err(Refusal::NotForThisUser),
        }
    }

    fn person(&self, session: &Token) -> Result<Person, Refusal> {
        Ok(lock(&self.core.people)
            .person(&session.0, self.core.now())?
            .clone())
    }

    /// The session's person; nobody where there is none or it has ended.
    fn person_if_any(&self, session: Option<&Token>) -> Option<Person> {
        self.person(session?).ok()
    }

    /// The right to read the own mail, or that of a case: looked at anew for each request.
    fn warrant(&self, session: &Token, case: Option<CaseId>) -> Result<Warrant, Refusal> {
        let person = self.person(session)?;
        let Some(case) = case else {
            return Ok(Warrant::of_person(&person));
        };
        let approved = lock(&self.core.cases).reading(case, &person.name, self.core.now());
        Ok(Warrant::of_reading(&approved.map_err(CoreError::from)?))
    }

    fn status(&self) -> Result<Status, Refusal> {
        Ok(super::status::status(self.core)?)
    }

    fn rebuild(&self) -> Result<Answer, Refusal> {
        self.trusted()?;
        self.core.rebuild()?;
        Ok(Answer::Done)
    }

    fn escrow_list(&self, session: Option<&Token>) -> Result<Answer, Refusal> {
        let person = session.map(|session| self.person(session)).transpose()?;
        if person.is_none() {
            self.trusted()?;
        }
        Ok(Answer::Escrow(escrowing::list(self.core, person.as_ref())?))
    }

    fn sign_in(&self, name: &str, password: &Token) -> Result<Answer, Refusal> {
        let result = lock(&self.core.people).sign_in(name, &password.0, self.core.now());
        let sealed = self.core.sealed_detail(SESSION, &name);
        self.core.record(&[Event::Session {
            admitted: result.is_ok(),
            sealed,
        }])?;
        Ok(Answer::Session(Token(result?)))
    }

    fn prepare_person(&self, person: &PersonSubject) -> Result<Answer, Refusal> {
        let fits = self.core.tenants().any(|tenant| *tenant == person.tenant);
        if !fits {
            return Err(CoreError::NoTenant(person.tenant.clone()).into());
        }
        if let Some(officer) = &person.officer
            && !self.core.officers().contains_key(officer)
        {
            return Err(Refusal::Input(format!(
                "{officer:?} is not an officer of this box"
            )));
        }
        lock(&self.core.people).check(&person.name, &person.mailboxes, person.active)?;
        let expires = self.core.now().plus_seconds(STATEMENT_SECONDS);
        let statement = Statement::new("people.set", self.core.box_id(), expires, person);
        if statement.0.len() > LONGEST_CHANGE {
            return Err(Refusal::Input(format!(
                "the statement would have {} bytes, and the ledger takes {LONGEST_CHANGE}; give the person fewer mailboxes",
                statement.0.len()
            )));
        }
        Ok(Answer::Statement(statement))
    }

    fn set_person(
        &self,
        statement: &Statement,
        password: StoredPassword,
        approvals: &[Approval],
    ) -> Result<Answer, Refusal> {
        let (box_id, now) = (self.core.box_id(), self.core.now());
        let framed = statement.read::<PersonSubject>("people.set", box_id, now)?;
        let needed = self.core.policy.threshold(Action::People).into();
        let officers = self.core.officers();
        let signed = statement.approved_by(approvals, &officers, &[], needed)?;
        let person = framed.subject.with_password(password).ok_or_else(|| {
            Refusal::Input("the password is not the one that the officers signed for".to_owned())
        })?;
        let sealed = self.core.sealed_detail(PEOPLE, &(signed, &statement.0));
        let mut people = lock(&self.core.people);
        let change = people.prepare(person, statement.digest())?;
        // What the ledger does not have, does not take effect.
        self.core.record(&[Event::PeopleChanged {
            commitment: statement.digest(),
            file: Some(change.file),
            sealed,
        }])?;
        people.take(change)?;
        Ok(Answer::Done)
    }

    fn release(&self, person: &Person, case: CaseId) -> Result<Answer, Refusal> {
        let mut give = |record: RecordId, bytes: &[u8]| {
            let gone = |error: FrameError| CoreError::Release(error.to_string());
            self.send(&Answer::Released { record }, &[]).map_err(gone)?;
            bytes
                .chunks(1 << 20)
                .try_for_each(|piece| self.send(&Answer::Content, piece))
                .map_err(gone)
        };
        let (receipt, proof) = self.core.release(person, case, &mut give)?;
        Ok(Answer::Receipt { receipt, proof })
    }

    fn stream_out(&self, content: &mut dyn Read) -> Result<Answer, Refusal> {
        let mut buffer = vec![0; 256 * 1024];
        loop {
            let read = content.read(&mut buffer).map_err(CoreError::Io)?;
            if read == 0 {
                crate::secret::wipe(&mut buffer);
                return Ok(Answer::Done);
            }
            self.send(&Answer::Content, &buffer[..read])?;
        }
    }

    fn send(&self, answer: &Answer, raw: &[u8]) -> Result<(), FrameError> {
        frame::write(&mut &*self.stream, answer, raw)
    }
}

fn one(view: CaseView) -> Answer {
    Answer::Cases(vec![view])
}

/// Tells the client how far a long request is, a few times a second.
struct Progress<'a> {
    stream: &'a UnixStream,
    doing: &'static str,
    told: std::time::Instant,
}

impl<'a> Progress<'a> {
    fn new(stream: &'a UnixStream, doing: &'static str) -> Self {
        Self {
            stream,
            doing,
            told: std::time::Instant::now(),
        }
    }

    fn tell(&mut self, done: u64, total: u64) {
        if self.told.elapsed() > Duration::from_millis(250) {
            self.told = std::time::Instant::now();
            let answer = Answer::Progress {
                done,
                total,
                doing: self.doing.to_owned(),
            };
            let _ = frame::write(&mut &*self.stream, &answer, &[]);
        }
    }
}
