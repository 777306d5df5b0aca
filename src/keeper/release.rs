//! Handing out what an approved case covers: each mail re-encrypted to the case's certificate by a worker, and a
//! receipt with the officers' approvals inside that can be verified offline.

use super::cases::{Approved, CaseError, Grant};
use super::core::{Core, CoreError, lock};
use super::detail::{CASE, CaseDetail};
use super::people::Person;
use super::pool::Mail;
use super::protocol::Form;
use super::reading::{Access, scope};
use super::rights::Warrant;
use crate::approval::{Approval, Statement};
use crate::id::{CaseId, Digest, RecordId};
use crate::ledger::{CaseStep, Event};
use crate::mail::model::Outcome;
use crate::search::Query;
use crate::time::Timestamp;
use data_encoding::BASE64;
use serde::{Deserialize, Serialize};
use std::io::Read;

/// Hits asked for at once.
const PAGE: usize = 500;

/// Hands one re-encrypted mail to whoever asked.
pub type Give<'a> = dyn FnMut(RecordId, &[u8]) -> Result<(), CoreError> + 'a;

/// Proof of a release: who approved what, and what went out. Officers' keys are in `officers.json`.
#[derive(Debug, Serialize, Deserialize)]
pub struct Receipt {
    /// "strongroom receipt/1".
    pub format: String,
    /// The case.
    pub case: CaseId,
    /// What officers signed.
    pub statement: Statement,
    /// Their signatures.
    pub approvals: Vec<Approval>,
    /// When it was released, RFC 3339.
    pub released: String,
    /// Each mail, with SHA-256 of the file that was handed out.
    pub mails: Vec<ReleasedMail>,
    /// Mails of the case that could not be handed out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub withheld: Vec<WithheldMail>,
}

/// One mail that went out.
#[derive(Debug, Serialize, Deserialize)]
pub struct ReleasedMail {
    /// Its id.
    pub record: RecordId,
    /// SHA-256 of the re-encrypted message.
    pub sha256: Digest,
    /// How far the archive could open it: what no key opened goes out as it came, inside the new encryption.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
}

/// One mail that did not go out.
#[derive(Debug, Serialize, Deserialize)]
pub struct WithheldMail {
    /// Its id.
    pub record: RecordId,
    /// Why.
    pub reason: String,
}

/// A release that goes on; dropping it ends it.
struct Running<'a> {
    core: &'a Core,
    case: CaseId,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        lock(&self.core.cases).rest(self.case);
    }
}

impl Core {
    /// Releases an approved case to its requester, or to a person who is an officer. `give` gets each re-encrypted
    /// mail; the receipt's file comes back, whose digest the ledger has, and the proof that it does. The case is done
    /// only when the client says that it has everything; until then it can be fetched again.
    pub fn release(
        &self,
        person: &Person,
        case: CaseId,
        give: &mut Give<'_>,
    ) -> Result<(String, String), CoreError> {
        let now = self.now();
        let (approved, _running) = self.start_release(person, case, now)?;
        let Grant::Release {
            output_certificate, ..
        } = &approved.scope().grant
        else {
            return Err(CaseError::OnlyRead(case).into());
        };
        let certificate = BASE64
            .decode(output_certificate.as_bytes())
            .map_err(|_| CoreError::Release("the case's certificate is not base64".to_owned()))?;
        let warrant = Warrant::of_release(&approved, person);
        self.index_all();
        let records = self.all_of(&warrant)?;
        if records.is_empty() {
            return Err(CoreError::NothingInScope(case));
        }
        lock(&self.cases).releasing(case, now)?;
        let (mails, withheld) = self.hand_out(&warrant, &records, &certificate, give)?;
        let receipt = Receipt {
            format: "strongroom receipt/1".to_owned(),
            case,
            statement: approved.statement().clone(),
            approvals: approved.approvals().to_vec(),
            released: now.to_string(),
            mails,
            withheld,
        };
        let text = serde_json::to_string_pretty(&receipt)
            .map_err(|error| CoreError::Release(error.to_string()))?;
        let detail = CaseDetail {
            mails: Some(receipt.mails.len() as u64),
            ..CaseDetail::of(approved.requester(), approved.scope(), &person.name)
        };
        let sealed = self.sealed_detail(CASE, &detail);
        let recorded = self.record(&[Event::Case {
            case,
            step: CaseStep::Released,
            document: Digest::of(text.as_bytes()),
            sealed,
        }])?;
        let proof = super::proof::of(self, recorded.start)?;
        Ok((text, proof))
    }

    /// The permission, and that nobody else uses it at the same time.
    fn start_release(
        &self,
        person: &Person,
        case: CaseId,
        now: Timestamp,
    ) -> Result<(Approved, Running<'_>), CoreError> {
        let mut cases = lock(&self.cases);
        if !cases.may_see(&cases.case(case)?, person) {
            return Err(CaseError::NotYours(case).into());
        }
        let approved = cases.start(case, now)?;
        Ok((approved, Running { core: self, case }))
    }

    fn hand_out(
        &self,
        warrant: &Warrant,
        records: &[RecordId],
        certificate: &[u8],
        give: &mut Give<'_>,
    ) -> Result<(Vec<ReleasedMail>, Vec<WithheldMail>), CoreError> {
        let (mut mails, mut withheld) = (Vec::new(), Vec::new());
        for &record in records {
            match self.reencrypted(warrant, record, certificate) {
                Ok((bytes, outcome)) => {
                    give(record, &bytes)?;
                    mails.push(ReleasedMail {
                        record,
                        sha256: Digest::of(&bytes),
                        outcome: Some(outcome),
                    });
                }
                Err(error) => withheld.push(WithheldMail {
                    record,
                    reason: error.to_string(),
                }),
            }
        }
        match withheld.first() {
            Some(first) if mails.is_empty() => Err(CoreError::Release(first.reason.clone())),
            _ => Ok((mails, withheld)),
        }
    }

    fn all_of(&self, warrant: &Warrant) -> Result<Vec<RecordId>, CoreError> {
        let mut all = Vec::new();
        let mut cursor = None;
        loop {
            let page = self
                .search()
                .search(&Query::Everything, &scope(warrant), PAGE, cursor)?;
            all.extend(page.hits.iter().map(|hit| hit.record));
            cursor = page.next;
            if cursor.is_none() {
                return Ok(all);
            }
        }
    }

    fn reencrypted(
        &self,
        warrant: &Warrant,
        record: RecordId,
        certificate: &[u8],
    ) -> Result<(Vec<u8>, Outcome), CoreError> {
        let meta = self.record_meta(record)?;
        self.note_access(warrant, Access::to(&meta, "release", warrant))?;
        let manifest = self.manifest(&meta)?;
        let form = Form::Rendition;
        let length = self.in_form(warrant, &meta, &manifest, form)?.1;
        let bytes = || -> Box<dyn Read> {
            match self.in_form(warrant, &meta, &manifest, form) {
                Ok((content, _)) => content,
                Err(error) => Box::new(super::view::Unreadable::because(error)),
            }
        };
        let mail = Mail {
            length,
            arrived: manifest.arrival.received,
            bytes: &bytes,
        };
        let sealed = lock(&self.reading)
            .encrypt(&mail, certificate)
            .map_err(|error| CoreError::Release(error.to_string()))?;
        Ok((sealed, manifest.opened.outcome))
    }
}
