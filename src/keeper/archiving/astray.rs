//! Journal reports that should be unwrapped and are not. By a wrong `journal.senders`, or by what a gateway adds, that can be all of
//! them: then nobody but the journaling mailbox's owner finds any mail, and without a word nobody would look for it.

use super::journal::{self, Journal};
use crate::intake::envelope::Envelope;
use crate::policy::{JournalPolicy, JournalRule};
use std::collections::BTreeMap;

/// Of which journaling mailboxes the last mail from their mail servers was not unwrapped, and why.
#[derive(Debug, Default)]
pub struct Astray(BTreeMap<String, String>);

impl Astray {
    /// What is to be told after this mail; `None` where it changes nothing.
    pub fn after(
        &mut self,
        envelope: &Envelope,
        policy: &JournalPolicy,
        journal: &Journal,
    ) -> Option<Vec<String>> {
        let mailbox = journaling_mailbox(envelope, policy)?;
        match journal {
            Journal::Report(_) => drop(self.0.remove(&mailbox)?),
            Journal::Not(why) => {
                let told = format!(
                    "the last mail from its mail server to the journaling mailbox {mailbox} was not unwrapped ({why}): nobody else \
                     finds it; see the policy's [journal], and what alters reports on their way"
                );
                self.0.insert(mailbox, told);
            }
        }
        Some(self.0.values().cloned().collect())
    }
}

/// The first recipient, where policy takes reports for all of them from where this mail came.
fn journaling_mailbox(envelope: &Envelope, policy: &JournalPolicy) -> Option<String> {
    let address = journal::peer(envelope)?;
    let recipients = journal::recipients(envelope);
    let takes = |rule: &JournalRule| {
        rule.is_peer(address) && recipients.iter().all(|mailbox| rule.is_mailbox(mailbox))
    };
    let is_its = policy.rules().iter().any(takes);
    recipients.into_iter().next().filter(|_| is_its)
}

#[cfg(test)]
mod tests {
    use super::super::journal::tests::{envelope, parsed};
    use super::*;

    #[test]
    fn each_journaling_mailbox_is_told_of_until_a_report_is_unwrapped() {
        let table = |tenant: &str, peer: &str| {
            format!(
                "[[journal]]\nrecipients = [\"journal@{tenant}.example\"]\npeers = [\"{peer}\"]\n"
            )
        };
        let policy = parsed(&(table("blue", "192.0.2.10") + &table("red", "192.0.2.11")));
        let message = "X-MS-Journal-Report:\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nSender: a@x\r\nTo: b@x\r\n\
                       --b\r\nContent-Type: message/rfc822\r\n\r\nText.\r\n--b--\r\n";
        let report = crate::mail::journal::unwrap(message.as_bytes()).expect("a report");
        let good = Journal::Report(Box::new(report));
        let bad = Journal::Not("altered".into());
        let mut astray = Astray::default();
        let mut told = |peer, tenant: &str, journal| {
            let mailbox = format!("journal@{tenant}.example");
            let came = envelope(peer, &[&mailbox]);
            astray.after(&came, &policy, journal).map(|told| told.len())
        };
        let (blue, red) = ("192.0.2.10:25", "192.0.2.11:25");
        assert_eq!(told(blue, "blue", &good), None);
        assert_eq!(told(blue, "blue", &bad), Some(1));
        assert_eq!(told(red, "red", &bad), Some(2));
        assert_eq!(told(red, "red", &good), Some(1));
        // Whoever else sends something there is not to be believed, and is no news.
        assert_eq!(told(red, "blue", &bad), None);
        assert_eq!(told("192.0.2.12:25", "red", &bad), None);
        assert_eq!(told(blue, "blue", &good), Some(0));
    }
}
