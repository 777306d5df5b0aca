//! `search`, `show` and `get`: what a signed-in person reads, of the own mail or under a case.

use super::client::{Client, ClientError};
use super::counted;
use super::failure::Failure;
use super::session::token;
use crate::id::{CaseId, RecordId};
use crate::keeper::manifest::{Arrival, ReportedRecipient};
use crate::keeper::protocol::{Answer, Form, MailView, Request};
use crate::mail::model::Mailbox;
use clap::{ArgGroup, Args};
use std::collections::HashMap;
use std::io::Write;
use std::path::PathBuf;

/// By which right.
#[derive(Debug, Args)]
struct Under {
    /// Read mail of this case instead of the own: one that you asked for with `case request --read` and officers approved
    #[arg(long, value_name = "ID")]
    case: Option<CaseId>,
}

/// Find mail: words, "phrases", from: to: subject: date: before: after: has:attachment encrypted: signed: -not OR
#[derive(Debug, Args)]
pub struct Search {
    #[command(flatten)]
    data: super::Data,
    /// What to look for; nothing finds everything
    query: Vec<String>,
    #[command(flatten)]
    under: Under,
    /// At most so many hits, and at most 500
    #[arg(long, default_value_t = 50)]
    limit: u32,
    /// Skip so many hits
    #[arg(long, default_value_t = 0)]
    offset: u32,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// Show one mail: headers, layers, verdicts, text
#[derive(Debug, Args)]
pub struct Show {
    #[command(flatten)]
    data: super::Data,
    /// The mail's id, as `search` prints it
    id: RecordId,
    #[command(flatten)]
    under: Under,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// Write one mail's bytes to standard output or a file
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("form").required(true)))]
pub struct Get {
    #[command(flatten)]
    data: super::Data,
    /// The mail's id, as `search` prints it
    id: RecordId,
    #[command(flatten)]
    under: Under,
    /// The exact bytes as received; of a mail in a journal report, those of the mail
    #[arg(long, group = "form")]
    original: bool,
    /// The readable form: each opened layer replaced in place
    #[arg(long, group = "form")]
    rendition: bool,
    /// The journal report around the mail, as received; it tells blind copies, and only the mail's sender gets it
    #[arg(long, group = "form")]
    report: bool,
    /// Write to this file
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl Search {
    /// Searches and lists the hits.
    pub fn run(&self) -> Result<(), Failure> {
        let request = Request::Search {
            session: token()?,
            case: self.under.case,
            query: self.query.join(" "),
            limit: self.limit,
            offset: self.offset,
        };
        let answer = Client::connect(&self.data.data, self.json)?.ask_plainly(&request)?;
        let Answer::Hits(found) = answer else {
            return Err(ClientError::Unexpected.into());
        };
        if self.json {
            return super::print_json(&found);
        }
        for hit in &found.hits {
            let date = hit.date.map(|date| date.to_string()).unwrap_or_default();
            let day = date.get(..10).unwrap_or("");
            println!(
                "{}  {day}  {:28.28}  {}",
                hit.record,
                printable(&hit.from),
                printable(&hit.subject)
            );
        }
        let all = counted(found.total, "mail", "mails");
        println!("{} of {all}", found.hits.len());
        Ok(())
    }
}

impl Show {
    /// Shows one mail.
    pub fn run(&self) -> Result<(), Failure> {
        let request = Request::Show {
            session: token()?,
            case: self.under.case,
            record: self.id,
        };
        let answer = Client::connect(&self.data.data, self.json)?.ask_plainly(&request)?;
        let Answer::Mail(mail) = answer else {
            return Err(ClientError::Unexpected.into());
        };
        if self.json {
            return super::print_json(&mail);
        }
        print_mail(&mail);
        Ok(())
    }
}

fn print_mail(mail: &MailView) {
    println!("Id:       {}", mail.record);
    println!("From:     {}", people(&mail.from));
    println!("To:       {}", people(&mail.to));
    println!("Subject:  {}", printable(&mail.subject));
    if let Some(date) = mail.date {
        println!("Date:     {date}");
    }
    for arrival in &mail.arrivals {
        println!("Arrived:  {}", printable(&arrived(arrival)));
    }
    println!(
        "Opened:   {}{}",
        text_of(&mail.outcome),
        mail.reason
            .as_ref()
            .map(|why| format!(" ({})", printable(why)))
            .unwrap_or_default()
    );
    for layer in &mail.layers {
        let key = layer
            .key
            .as_ref()
            .map(|key| format!(", opened by key {key}"))
            .unwrap_or_default();
        println!(
            "Layer {}:  {} {} [{}], integrity {}{key}",
            layer.depth,
            text_of(&layer.format),
            printable(&layer.kind),
            printable(&layer.algorithms.join(", ")),
            text_of(&layer.integrity)
        );
    }
    for signature in &mail.signatures {
        println!(
            "Signed:   {} by {} ({}; revocation {})",
            text_of(&signature.verdict),
            printable(&signature.signer),
            printable(&signature.reason),
            text_of(&signature.revocation)
        );
        if let Some(claimed) = &signature.claimed {
            println!(
                "          on {}, as the mail claims: {} ({}; revocation {})",
                claimed.time,
                text_of(&claimed.verdict),
                printable(&claimed.reason),
                text_of(&claimed.revocation)
            );
        }
    }
    for name in &mail.attachments {
        println!("Attached: {}", printable(name));
    }
    for note in &mail.notes {
        println!("Noted:    {}", printable(note));
    }
    println!("\n{}", printable_text(&mail.text));
}

/// How a mail arrived, in one line.
fn arrived(arrival: &Arrival) -> String {
    let (received, sender, source) = (arrival.received, &arrival.sender, &arrival.source);
    let Some(report) = &arrival.report else {
        let to = arrival.recipients.join(", ");
        return format!("{received} from <{sender}> for {to} ({source})");
    };
    let to = named_once(&arrival.recipients, &report.named);
    let behalf = report.on_behalf_of.as_ref();
    let behalf = behalf.map_or_else(String::new, |behalf| format!(" on behalf of <{behalf}>"));
    format!(
        "{received} from <{sender}>{behalf} for {} (journal report to {}; {source})",
        to.join(", "),
        report.recipients.join(", ")
    )
}

/// Each recipient of a journal report once, with all that it says of them: who is named in To is named again as a member of
/// a list.
fn named_once(recipients: &[String], named: &[ReportedRecipient]) -> Vec<String> {
    let mut people: Vec<(&String, Vec<&str>, Vec<&str>)> = Vec::new();
    let mut places = HashMap::new();
    for (address, named) in recipients.iter().zip(named) {
        let place = *places.entry(address.to_lowercase()).or_insert(people.len());
        if place == people.len() {
            people.push((address, Vec::new(), Vec::new()));
        }
        let (_, roles, originals) = &mut people[place];
        if !roles.contains(&named.role.as_str()) {
            roles.push(&named.role);
        }
        let original = named.original.as_deref();
        originals.extend(original.filter(|original| !originals.contains(original)));
    }
    let shown = people.iter().map(|(address, roles, originals)| {
        let originals = originals.iter().map(|original| format!(" [{original}]"));
        format!(
            "{} {address}{}",
            roles.join("+"),
            originals.collect::<String>()
        )
    });
    shown.collect()
}

impl Get {
    /// Writes the bytes.
    pub fn run(&self) -> Result<(), Failure> {
        let what = if self.original {
            Form::Original
        } else if self.report {
            Form::Report
        } else {
            Form::Rendition
        };
        let request = Request::Get {
            session: token()?,
            case: self.under.case,
            record: self.id,
            what,
        };
        let client = Client::connect(&self.data.data, true)?;
        let mut to: Box<dyn Write> = match &self.output {
            Some(path) => Box::new(crate::durable::create_file(path)?),
            None => Box::new(std::io::stdout().lock()),
        };
        let answer = client.ask(&request, &[], &mut |_, bytes| to.write_all(bytes))?;
        to.flush()?;
        match answer {
            Answer::Done => Ok(()),
            _ => Err(ClientError::Unexpected.into()),
        }
    }
}

fn people(list: &[Mailbox]) -> String {
    let one = |mailbox: &Mailbox| match mailbox.name.as_str() {
        "" => mailbox.address.clone(),
        name => format!("{name} <{}>", mailbox.address),
    };
    printable(&list.iter().map(one).collect::<Vec<_>>().join(", "))
}

/// An enum's name as in JSON.
pub(super) fn text_of<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_value(value)
        .ok()
        .and_then(|value| value.as_str().map(str::to_owned))
        .unwrap_or_default()
}

/// Text from a mail, harmless on a terminal: one line without control or direction characters.
pub(super) fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if is_harmless(c) { c } else { ' ' })
        .collect()
}

fn printable_text(text: &str) -> String {
    text.chars()
        .map(|c| {
            if c == '\n' || c == '\t' || is_harmless(c) {
                c
            } else {
                ' '
            }
        })
        .collect()
}

fn is_harmless(c: char) -> bool {
    !c.is_control()
        && !matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mail_cannot_drive_the_terminal() {
        assert_eq!(printable("a\u{1b}[2Jb\u{202e}c\n"), "a [2Jb c ");
    }

    #[test]
    fn a_report_names_each_recipient_once() {
        let told = [
            ("a@x", "To", None),
            ("b@x", "Cc", None),
            ("A@x", "Bcc", Some("Expanded: list@x")),
            ("a@x", "To", Some("Expanded: list@x")),
            ("a@x", "To", Some("Forwarded: c@x")),
        ];
        let recipients = told.map(|(address, ..)| address.to_owned());
        let named = told.map(|(_, role, original)| ReportedRecipient {
            role: role.to_owned(),
            original: original.map(str::to_owned),
        });
        assert_eq!(
            named_once(&recipients, &named),
            ["To+Bcc a@x [Expanded: list@x] [Forwarded: c@x]", "Cc b@x"]
        );
    }
}
