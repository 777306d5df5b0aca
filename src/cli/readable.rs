//! Statements in lines that an officer can read before signing. What others wrote is shown with all control, invisible
//! and direction characters escaped, so that nothing looks like what it is not; the certificate's facts are computed
//! here, from the certificate itself.

use super::failure::Failure;
use crate::approval::{Framed, Statement};
use crate::keeper::cases::{self, CaseSubject, Grant};
use crate::mail::openpgp::certificates_in;
use crate::time::Timestamp;
use data_encoding::BASE64;
use openssl::x509::X509;
use sequoia_openpgp as openpgp;
use sequoia_openpgp::parse::Parse;
use serde_json::Value;

/// What the statement says. A statement that contradicts itself is an error: nobody may sign it.
pub fn lines(statement: &Statement) -> Result<Vec<String>, Failure> {
    let unreadable = || Failure::Input("this is no statement that could be signed".to_owned());
    let framed: Framed<Value> = serde_json::from_str(&statement.0).map_err(|_| unreadable())?;
    let mut lines = vec![
        line("what", &framed.kind),
        line("box", &framed.box_id.to_string()),
        line("expires", &framed.expires.to_string()),
    ];
    if [cases::RELEASE, cases::READ].contains(&framed.kind.as_str()) {
        let subject = serde_json::from_value(framed.subject).map_err(|_| unreadable())?;
        lines.extend(case(&framed.kind, &subject)?);
    } else {
        push("", &framed.subject, &mut lines);
    }
    Ok(lines)
}

fn case(kind: &str, subject: &CaseSubject) -> Result<Vec<String>, Failure> {
    subject.check(kind).map_err(|error| {
        Failure::Input(format!(
            "somebody altered the statement; do not sign: {error}"
        ))
    })?;
    let scope = &subject.scope;
    let day = |at: Option<Timestamp>| at.map_or_else(|| "any".to_owned(), |at| at.to_string());
    let mut lines = vec![
        line("case", &subject.case.to_string()),
        line("requester", &subject.requester),
        line("mailbox", &scope.mailbox),
        line("tenant", scope.tenant.as_str()),
        line("first day", &day(scope.from)),
        line("last day", &day(scope.until)),
        line("purpose", &scope.purpose),
    ];
    if let Some(officer) = &subject.requester_officer {
        lines.push(line("is officer", officer));
    }
    if let Some(needed) = subject.needed {
        lines.push(line("officers", &format!("{needed} must sign")));
    }
    lines.extend(granted(subject));
    Ok(lines)
}

/// What the officers allow, and what they do not.
fn granted(subject: &CaseSubject) -> Vec<String> {
    let (who, whose) = (&subject.requester, &subject.scope.mailbox);
    match &subject.scope.grant {
        Grant::Read { read_until } => vec![
            line("read until", &read_until.to_string()),
            line(
                "allows",
                &format!(
                    "{who} READS the mail of {whose} on this box, opened and as often as wanted, until {read_until}; each read is in the access log"
                ),
            ),
            line(
                "other way",
                "a release (case.mail) would hand the mail out once, encrypted to one person's certificate, and let nobody read on the box",
            ),
            line(
                "to end it",
                "any officer's `case refuse`, also while the reading goes on",
            ),
        ],
        Grant::Release {
            output_certificate,
            output_fingerprint,
        } => {
            let bytes = BASE64
                .decode(output_certificate.as_bytes())
                .unwrap_or_default();
            let mut lines = vec![
                line(
                    "allows",
                    &format!(
                        "the mail of {whose} goes out once, encrypted to the certificate below; nobody reads on the box"
                    ),
                ),
                line("SHA-256", output_fingerprint),
            ];
            lines.extend(certificate(&bytes));
            lines
        }
    }
}

/// Whose certificate it is.
fn certificate(bytes: &[u8]) -> Vec<String> {
    if let Ok(x509) = X509::from_der(bytes) {
        return smime(&x509);
    }
    match openpgp::Cert::from_bytes(&*certificates_in(bytes)) {
        Ok(cert) => pgp(&cert),
        Err(_) => vec![line("readable by", "a certificate of no known kind")],
    }
}

fn smime(x509: &X509) -> Vec<String> {
    let names = |name: &openssl::x509::X509NameRef| {
        let entry = |entry: &openssl::x509::X509NameEntryRef| {
            let kind = entry.object().nid().short_name().unwrap_or("?").to_owned();
            let value = entry.data().to_string();
            format!("{kind}={}", value.unwrap_or_default())
        };
        name.entries().map(entry).collect::<Vec<_>>().join(", ")
    };
    let mut lines = vec![
        line(
            "readable by",
            &format!("S/MIME, {}", names(x509.subject_name())),
        ),
        line("issued by", &names(x509.issuer_name())),
    ];
    for name in x509.subject_alt_names().into_iter().flatten() {
        if let Some(address) = name.email() {
            lines.push(line("address", address));
        }
    }
    let (from, until) = (x509.not_before(), x509.not_after());
    lines.push(line("valid", &format!("from {from} until {until}")));
    lines
}

fn pgp(cert: &openpgp::Cert) -> Vec<String> {
    let mut lines = vec![line(
        "readable by",
        &format!("OpenPGP, {}", cert.fingerprint()),
    )];
    for id in cert.userids() {
        let text = String::from_utf8_lossy(id.userid().value()).into_owned();
        lines.push(line("user id", &text));
    }
    lines
}

/// Any other subject, field by field.
fn push(name: &str, value: &Value, lines: &mut Vec<String>) {
    match value {
        Value::Object(fields) => fields
            .iter()
            .for_each(|(name, value)| push(name, value, lines)),
        Value::Array(values) => values.iter().for_each(|value| push(name, value, lines)),
        Value::String(text) => lines.push(line(name, text)),
        other => lines.push(line(name, &other.to_string())),
    }
}

fn line(name: &str, value: &str) -> String {
    format!("{:12}{}", escaped(name), escaped(value))
}

/// Without anything that could move, hide or reorder what stands beside it.
fn escaped(text: &str) -> String {
    let harmful = |c: char| {
        c.is_control()
            || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
            || matches!(c, '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
    };
    let mut out = String::new();
    for c in text.chars() {
        if harmful(c) {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{BoxId, CaseId};
    use crate::keeper::cases::CaseScope;

    fn release() -> Grant {
        let output_certificate = BASE64.encode(b"a certificate");
        Grant::Release {
            output_fingerprint: cases::fingerprint(&output_certificate).expect("base64"),
            output_certificate,
        }
    }

    fn subject(grant: Grant) -> CaseSubject {
        CaseSubject {
            case: CaseId::random(),
            requester: "anna".into(),
            requester_officer: None,
            needed: Some(2),
            scope: CaseScope {
                tenant: "main".parse().expect("tenant"),
                mailbox: "anna@example.org".into(),
                from: None,
                until: None,
                purpose: "lost\npurpose     \u{202e}esle gnihtemos".into(),
                grant,
            },
        }
    }

    fn read(kind: &str, subject: &CaseSubject) -> Result<String, Failure> {
        let statement = Statement::new(kind, BoxId::random(), Timestamp(0), subject);
        Ok(lines(&statement)?.join("\n"))
    }

    #[test]
    fn what_is_signed_is_shown_line_by_line_and_nothing_can_hide() {
        let said = read(cases::RELEASE, &subject(release())).expect("readable");
        assert!(said.contains("\npurpose     lost\\u{a}purpose"), "{said}");
        assert!(
            !said.contains('\u{202e}') && said.contains("\\u{202e}"),
            "{said}"
        );
        let own = cases::fingerprint(&BASE64.encode(b"a certificate")).expect("base64");
        assert!(said.contains(&own), "{said}");
    }

    #[test]
    fn another_certificates_fingerprint_is_not_shown_as_its_own() {
        let mut lie = release();
        if let Grant::Release {
            output_certificate, ..
        } = &mut lie
        {
            *output_certificate = BASE64.encode(b"somebody else's");
        }
        assert!(read(cases::RELEASE, &subject(lie)).is_err());
    }

    #[test]
    fn officers_are_told_in_words_who_reads_whose_mail_and_until_when() {
        let read_until = Timestamp::from_seconds(1_800_000_000);
        let reading = subject(Grant::Read { read_until });
        let said = read(cases::READ, &reading).expect("readable");
        let words = "anna READS the mail of anna@example.org on this box";
        assert!(
            said.contains(words) && said.contains(&read_until.to_string()),
            "{said}"
        );
        assert!(said.contains("a release (case.mail) would"), "{said}");
        // Neither kind can be signed for the other.
        assert!(read(cases::RELEASE, &reading).is_err());
        assert!(read(cases::READ, &subject(release())).is_err());
    }
}
