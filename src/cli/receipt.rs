//! `case check`: whether a release is what officers approved and the box recorded, told offline. What is trusted are the
//! officers' public keys; by their signatures they name the box's own key, which signed the ledger.

use super::counted;
use super::failure::Failure;
use crate::approval::Framed;
use crate::boxfiles::{OfficersFile, ledger_origin};
use crate::ceremony::Signed;
use crate::crypto::note::NoteVerifier;
use crate::crypto::sign::VerifyingKey;
use crate::durable;
use crate::id::{BoxId, Digest, RecordId};
use crate::keeper::cases::{self, CaseSubject};
use crate::keeper::{Receipt, ReleaseProof};
use crate::ledger::{CaseStep, Event};
use crate::time::Timestamp;
use clap::Args;
use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// File name of a receipt.
pub const RECEIPT: &str = "receipt.json";
/// File name of the proof beside it.
pub const PROOF: &str = "receipt-proof.json";
const LARGEST_OFFICERS: u64 = 1 << 20;
const LARGEST_RECEIPT: u64 = 256 << 20;
const LARGEST_PROOF: u64 = 1 << 20;
const LARGEST_TRANSCRIPT: u64 = 16 << 20;
/// The fewest officers that any policy lets release mail.
const FEWEST: usize = 2;

/// What `case check` needs.
#[derive(Debug, Args)]
pub struct CheckReceipt {
    /// The folder that `case release` wrote
    folder: PathBuf,
    /// The box's officers.json
    #[arg(long, value_name = "FILE")]
    officers: PathBuf,
    /// The box's signed transcripts; without this, the folder `transcript` beside officers.json
    #[arg(long, value_name = "FOLDER")]
    transcripts: Option<PathBuf>,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// What the officers' signatures on transcripts vouch for.
#[derive(Default)]
struct Vouched {
    boxes: BTreeSet<BoxId>,
    origins: BTreeSet<String>,
    ledger_keys: Vec<VerifyingKey>,
}

/// A JSON file of the release or of the box.
fn parsed<T: DeserializeOwned>(path: &Path, text: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(text).map_err(|error| {
        let path = path.display();
        Failure::Input(format!(
            "{path} is altered, or another file than is wanted here: {error}"
        ))
    })
}

impl CheckReceipt {
    /// Checks approvals, ledger and files.
    pub fn run(&self) -> Result<(), Failure> {
        let text = durable::read(&self.folder.join(RECEIPT), LARGEST_RECEIPT)?;
        let receipt: Receipt = parsed(&self.folder.join(RECEIPT), &text)?;
        let officers = durable::read(&self.officers, LARGEST_OFFICERS)?;
        let officers: OfficersFile = parsed(&self.officers, &officers)?;
        let vouched = self.vouched(&officers)?;
        let released = self.recorded(&receipt, &text, &vouched)?;
        let signed = approved_by(&receipt, &officers, &vouched, released)?;
        self.check_files(&receipt)?;
        if self.json {
            return super::print_json(&serde_json::json!({
                "genuine": true,
                "case": receipt.case,
                "mails": receipt.mails.len(),
                "withheld": receipt.withheld.len(),
                "approved_by": signed,
                "released": receipt.released,
            }));
        }
        println!(
            "genuine: {}, approved by {}, released {}",
            counted(receipt.mails.len(), "mail", "mails"),
            signed.join(", "),
            receipt.released
        );
        Ok(())
    }

    /// Reads the transcripts that enough of the officers signed.
    fn vouched(&self, officers: &OfficersFile) -> Result<Vouched, Failure> {
        let folder = self.transcripts.clone().unwrap_or_else(|| {
            let beside = self.officers.parent().unwrap_or(Path::new(""));
            beside.join("transcript")
        });
        let entries = std::fs::read_dir(&folder).map_err(durable::at("read", &folder))?;
        let mut vouched = Vouched::default();
        for entry in entries.flatten() {
            let bytes = durable::read(&entry.path(), LARGEST_TRANSCRIPT)?;
            let Ok(signed) = Signed::parse(&bytes) else {
                continue;
            };
            let signers = signed.signers(&officers.officers.list);
            if signers.len() < usize::from(officers.officers.required) {
                continue;
            }
            if let Ok(charter) = signed.charter() {
                vouched.boxes.insert(charter.box_id);
                vouched.origins.insert(ledger_origin(charter.box_id));
                vouched.ledger_keys.push(charter.tpm.ledger_key);
            } else if let Ok(succession) = signed.succession() {
                vouched.boxes.insert(succession.new_box);
                vouched.ledger_keys.push(succession.tpm.ledger_key);
            }
        }
        if vouched.origins.is_empty() {
            return Err(Failure::Input(format!(
                "{} has no charter that these officers signed; give the box's folder with --transcripts",
                folder.display()
            )));
        }
        Ok(vouched)
    }

    /// That the box's ledger has a release with this very receipt; and when.
    fn recorded(
        &self,
        receipt: &Receipt,
        text: &[u8],
        vouched: &Vouched,
    ) -> Result<Timestamp, Failure> {
        let proof = self.folder.join(PROOF);
        let proof: ReleaseProof = parsed(&proof, &durable::read(&proof, LARGEST_PROOF)?)?;
        let mut keys = Vec::new();
        for origin in &vouched.origins {
            let key = |key| NoteVerifier::ecdsa(origin, key).ok();
            keys.extend(vouched.ledger_keys.iter().filter_map(key));
        }
        let entry = proof.verify(&keys).ok_or_else(|| {
            not_genuine("the proof beside it is not of a ledger that the box's TPM signed")
        })?;
        match entry.event {
            Event::Case {
                case,
                step: CaseStep::Released,
                document,
                ..
            } if case == receipt.case && document == Digest::of(text) => Ok(entry.time),
            _ => Err(not_genuine(
                "the ledger recorded another receipt: it was altered after the release",
            )),
        }
    }

    fn check_files(&self, receipt: &Receipt) -> Result<(), Failure> {
        for mail in &receipt.mails {
            let path = mail_file(&self.folder, mail.record);
            if Digest::of(&durable::read(&path, u64::MAX)?) != mail.sha256 {
                return Err(Failure::Input(format!(
                    "{} is not the file that was released",
                    path.display()
                )));
            }
        }
        Ok(())
    }
}

/// The officers who approved this case for this box in time, without whoever asked; as many as the statement wants.
fn approved_by(
    receipt: &Receipt,
    officers: &OfficersFile,
    vouched: &Vouched,
    released: Timestamp,
) -> Result<Vec<String>, Failure> {
    let statement = &receipt.statement;
    let framed: Framed<CaseSubject> = serde_json::from_str(&statement.0)
        .map_err(|_| not_genuine("what officers signed is no case"))?;
    let (subject, of) = (&framed.subject, framed.box_id);
    if framed.kind != cases::RELEASE || subject.case != receipt.case {
        return Err(not_genuine("what officers signed is another case"));
    }
    if of != officers.box_id && !vouched.boxes.contains(&of) {
        return Err(not_genuine("what officers signed is for another box"));
    }
    if framed.expires < released {
        return Err(not_genuine("it was released after the approvals expired"));
    }
    let keys: BTreeMap<_, _> = officers
        .officers
        .list
        .iter()
        .map(|officer| (officer.name.to_string(), officer.signing.clone()))
        .collect();
    let quorum = usize::from(officers.officers.required);
    let needed = subject.needed.unwrap_or(quorum).max(FEWEST);
    statement
        .approved_by(&receipt.approvals, &keys, &subject.requesters(), needed)
        .map_err(|error| not_genuine(&error.to_string()))
}

fn not_genuine(why: &str) -> Failure {
    Failure::Input(format!("the receipt is not genuine: {why}"))
}

/// The file of a released mail.
pub fn mail_file(folder: &Path, record: RecordId) -> PathBuf {
    folder.join(format!("{record}.eml"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::approval::Statement;
    use crate::crypto::hpke::OpeningKey;
    use crate::crypto::sign::SigningKey;
    use crate::id::CaseId;
    use crate::keeper::cases::{CaseScope, Grant};
    use crate::keyring::Officers;
    use crate::officer::OfficerPublic;

    const EXPIRES: Timestamp = Timestamp(1000);

    #[test]
    fn a_file_that_is_another_one_is_named() {
        let other = parsed::<OfficersFile>(Path::new("box/policy.toml"), b"escrow = 1");
        assert!(other.is_err_and(|error| error.to_string().starts_with("box/policy.toml is ")));
    }

    struct Room {
        keys: BTreeMap<String, SigningKey>,
        officers: OfficersFile,
        subject: CaseSubject,
    }

    impl Room {
        fn new() -> Self {
            let keys: BTreeMap<String, SigningKey> = ["a", "b", "c", "d"]
                .map(|name| (name.to_owned(), SigningKey::generate()))
                .into();
            let public = |(name, key): (&String, &SigningKey)| OfficerPublic {
                name: name.parse().expect("a name"),
                signing: key.verifying_key(),
                sealing: OpeningKey::generate().sealing_key(),
            };
            let list = keys.iter().map(public).collect();
            Self {
                officers: OfficersFile {
                    box_id: BoxId::random(),
                    recovery: Digest::of(b""),
                    officers: Officers { required: 3, list },
                },
                subject: CaseSubject {
                    case: CaseId::random(),
                    requester: "Anna".into(),
                    requester_officer: Some("c".into()),
                    needed: Some(2),
                    scope: CaseScope {
                        tenant: "main".parse().expect("a tenant"),
                        mailbox: "anna@example.org".into(),
                        from: None,
                        until: None,
                        purpose: "lost card".into(),
                        grant: Grant::Release {
                            output_certificate: String::new(),
                            output_fingerprint: String::new(),
                        },
                    },
                },
                keys,
            }
        }

        fn verdict(&self, kind: &str, case: CaseId, by: &[&str]) -> Result<Vec<String>, Failure> {
            let statement = Statement::new(kind, self.officers.box_id, EXPIRES, &self.subject);
            let sign = |name: &&str| statement.approve(name, |text| self.keys[*name].sign(text));
            let receipt = Receipt {
                format: "strongroom receipt/1".into(),
                case,
                approvals: by.iter().map(sign).collect(),
                statement,
                released: String::new(),
                mails: Vec::new(),
                withheld: Vec::new(),
            };
            approved_by(
                &receipt,
                &self.officers,
                &Vouched::default(),
                Timestamp(999),
            )
        }
    }

    #[test]
    fn only_this_case_for_this_box_by_others_than_the_requester_is_genuine() {
        let mut room = Room::new();
        let case = room.subject.case;
        let signed = room.verdict(cases::RELEASE, case, &["a", "b"]);
        assert_eq!(
            signed.expect("two of two"),
            ["a", "b"],
            "though three restore"
        );
        let refused = [
            room.verdict(cases::RELEASE, case, &["a"]),
            room.verdict(cases::RELEASE, case, &["a", "c"]),
            room.verdict(cases::RELEASE, CaseId::random(), &["a", "b"]),
            room.verdict(cases::READ, case, &["a", "b"]),
            room.verdict("people.set", case, &["a", "b"]),
        ];
        assert!(refused.iter().all(Result::is_err));
        room.subject.needed = Some(1);
        assert!(room.verdict(cases::RELEASE, case, &["a"]).is_err());
        room.subject.needed = None;
        assert!(room.verdict(cases::RELEASE, case, &["a", "b"]).is_err());
    }
}
