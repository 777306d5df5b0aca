//! What a valid policy should not say all the same.

use super::{Action, ValidPolicy};

impl ValidPolicy {
    /// What whoever writes the policy should know before it is founded on.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings: Vec<String> = self.unapplied().into_iter().collect();
        let (people, required) = (self.threshold(Action::People), self.quorum().required);
        if people < required {
            warnings.push(format!(
                "thresholds.people is {people}, below officers.required ({required}): so few officers can give a person, or themselves, \
                 any mailbox; set it to {required}"
            ));
        }
        if self.journal().is_of_any_sender() {
            warnings.push(
                "journal.senders is missing: who can mail to the journaling mailbox through one of journal.peers can forge a report, and \
                 with it mail in anybody's mailbox; name the reports' envelope senders, and have the server take mail for that mailbox \
                 from nobody but itself"
                    .to_owned(),
            );
        }
        warnings
    }

    /// What the policy demands and this version does not do, so that nobody relies on it.
    #[must_use]
    pub fn unapplied(&self) -> Option<String> {
        let number = self.exclusions().len();
        (number > 0).then(|| {
            format!(
                "exclusions names {number} mailboxes, which this version does not exclude yet: their mail is archived like all other; have \
                 the mail server keep it from the box"
            )
        })
    }
}
