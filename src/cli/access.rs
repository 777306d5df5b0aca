//! `access`: who read what, and why.

use super::client::{Client, ClientError};
use super::counted;
use super::days::{first_moment, last_moment};
use super::failure::Failure;
use super::reading::printable;
use super::session::token;
use crate::id::{CaseId, RecordId};
use crate::keeper::protocol::{AccessFilter, AccessPage, AccessRow, Answer, Request};
use crate::time::Timestamp;
use clap::Args;

/// Most entries asked for at once.
const PAGE: u32 = 500;

/// Who read what, and why: the access log, newest first (needs a session)
///
/// Auditors and officers see all of their tenant, everybody else what they did themselves and who read their mail. What
/// somebody searched for in the own mail is told to nobody else. Reading the log is in the log.
#[derive(Debug, Args)]
pub struct Access {
    #[command(flatten)]
    data: super::Data,
    /// Of this case only
    #[arg(long, value_name = "ID")]
    case: Option<CaseId>,
    /// By or about this person only
    #[arg(long, value_name = "NAME")]
    person: Option<String>,
    /// Of this mail only
    #[arg(long, value_name = "ID")]
    record: Option<RecordId>,
    /// First day, YYYY-MM-DD
    #[arg(long, value_name = "DAY", value_parser = first_moment)]
    since: Option<Timestamp>,
    /// Last day, YYYY-MM-DD
    #[arg(long, value_name = "DAY", value_parser = last_moment)]
    until: Option<Timestamp>,
    /// At most so many entries, and at most 500
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// Skip so many entries
    #[arg(long, default_value_t = 0)]
    offset: u32,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

impl Access {
    /// Lists the entries.
    pub fn run(&self) -> Result<(), Failure> {
        let log = self.entries()?;
        for damage in &log.damaged {
            eprintln!("strongroom: {damage}");
        }
        if self.json {
            return super::print_json(&serde_json::json!({
                "entries": log.entries,
                "damaged": log.damaged,
                "more": log.next.is_some(),
            }));
        }
        for entry in &log.entries {
            println!("{}", in_a_line(entry));
        }
        if log.entries.is_empty() && log.next.is_none() {
            println!("no entries");
        }
        if log.next.is_some() {
            println!("there is more behind it: see --limit and --offset");
        }
        Ok(())
    }

    /// The entries wanted, from as many pages as it takes.
    fn entries(&self) -> Result<AccessPage, Failure> {
        let mut log = AccessPage::default();
        let mut skip = self.offset as usize;
        loop {
            let missing = (self.limit as usize).saturating_sub(log.entries.len());
            let wanted = u32::try_from(missing + skip).unwrap_or(PAGE);
            let mut page = self.page(log.next, wanted.min(PAGE))?;
            let skipped = skip.min(page.entries.len());
            skip -= skipped;
            log.entries.extend(page.entries.drain(skipped..));
            log.damaged.append(&mut page.damaged);
            log.next = page.next;
            if log.next.is_none() || log.entries.len() >= self.limit as usize {
                return Ok(log);
            }
        }
    }

    fn page(&self, before: Option<u64>, limit: u32) -> Result<AccessPage, Failure> {
        let filter = AccessFilter {
            case: self.case,
            person: self.person.clone(),
            record: self.record,
            since: self.since,
            until: self.until,
            before,
            limit,
        };
        let session = token()?;
        let request = Request::Access { session, filter };
        match Client::connect(&self.data.data, true)?.ask_plainly(&request)? {
            Answer::Access(page) => Ok(page),
            _ => Err(ClientError::Unexpected.into()),
        }
    }
}

fn in_a_line(entry: &AccessRow) -> String {
    let mut line = format!("{}  {:20}  {}", entry.time, entry.who, entry.action);
    let mut add = |text: String| line.push_str(&format!("  {text}"));
    if let Some(person) = &entry.person {
        add(format!("person {person}"));
    }
    // The purpose of a read under a case names the case.
    if let Some(case) = entry
        .case
        .filter(|case| !entry.purpose.contains(&case.to_string()))
    {
        add(format!("case {case}"));
    }
    if !entry.purpose.is_empty() {
        add(format!("({})", entry.purpose));
    }
    if let Some(mails) = entry.mails {
        add(counted(mails, "mail", "mails"));
    }
    let records: Vec<String> = entry.records.iter().map(ToString::to_string).collect();
    if !records.is_empty() {
        add(records.join(" "));
    }
    if let Some(query) = entry.query.as_ref().filter(|query| !query.is_empty()) {
        add(format!("asked: {query}"));
    }
    printable(&line)
}
