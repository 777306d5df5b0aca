//! How one policy differs from another, in lines that people compare, and what a policy can never change.

use super::ValidPolicy;

/// Most lines that are told.
const MOST: usize = 100;
/// Longest line, in characters.
const LONGEST: usize = 200;

/// The settings of `old` that `new` does not have (`- `), then those that only `new` has (`+ `), each with its table.
/// Comments and blank lines say nothing.
#[must_use]
pub fn changes(old: &str, new: &str) -> Vec<String> {
    let (before, after) = (settings(old), settings(new));
    let gone = before.iter().filter(|line| !after.contains(line));
    let come = after.iter().filter(|line| !before.contains(line));
    let told = gone.map(|line| format!("- {line}"));
    let mut all: Vec<String> = told.chain(come.map(|line| format!("+ {line}"))).collect();
    if all.len() > MOST {
        let more = all.len() - MOST;
        all.truncate(MOST);
        all.push(format!("and {more} more lines: read the file"));
    }
    all
}

fn settings(text: &str) -> Vec<String> {
    let mut table = "";
    let mut all = Vec::new();
    for line in text.lines().map(str::trim) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if line.starts_with('[') && line.ends_with(']') && !line.contains([',', '"']) {
            table = line;
            continue;
        }
        let setting = format!("{table} {line}");
        all.push(setting.trim_start().chars().take(LONGEST).collect());
    }
    all
}

impl ValidPolicy {
    /// What `new` says otherwise of that which more than a text would have to be changed for; `None` where it says the same.
    #[must_use]
    pub fn fixed_against(&self, new: &Self) -> Option<&'static str> {
        if self.quorum != new.quorum {
            return Some(
                "officers: their shares are dealt for this number, and a reshare is not built yet",
            );
        }
        if (&self.pcrs, self.cap_pcr) != (&new.pcrs, new.cap_pcr) {
            return Some(
                "tpm: the sealed secret is bound to these PCRs; `strongroom ceremony restore` binds it anew, by the policy in force",
            );
        }
        if self.tenants != new.tenants {
            return Some("tenants: each has keys of its own, which only a founding makes so far");
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{DEFAULT, DEMO};
    use proptest::prelude::*;

    #[test]
    fn each_changed_setting_is_told_with_its_table() {
        let comment = "# A comment.\n";
        let new = comment.to_owned() + &DEFAULT.replace("people = 3", "people = 4");
        assert_eq!(
            changes(DEFAULT, &new),
            ["- [thresholds] people = 3", "+ [thresholds] people = 4"]
        );
        assert!(changes(DEFAULT, DEFAULT).is_empty());
    }

    #[test]
    fn officers_tpm_and_tenants_stay() {
        let parse = |text: &str| ValidPolicy::parse(text, "p.toml").expect("valid");
        let old = parse(DEFAULT);
        assert_eq!(old.fixed_against(&old), None);
        assert!(old.fixed_against(&parse(DEMO)).is_some());
        for (from, to, what) in [
            ("pcrs = [7, 11, 12]", "pcrs = [7, 11, 12, 14]", "tpm"),
            ("[\"main\"]", "[\"main\", \"second\"]", "tenants"),
        ] {
            let new = DEFAULT.replace(from, to);
            assert_ne!(new, DEFAULT, "{from}");
            let why = old.fixed_against(&parse(&new));
            assert!(why.is_some_and(|why| why.starts_with(what)), "{why:?}");
        }
    }

    proptest! {
        #[test]
        fn any_texts_are_compared(old in "(\\[?[a-z=# \"]{0,9}\\]?\n){0,300}", new in "(\\[?[a-z=# \"]{0,9}\\]?\n){0,300}") {
            let told = changes(&old, &new);
            prop_assert!(told.len() <= MOST + 1);
            prop_assert!(changes(&old, &old).is_empty());
        }
    }
}
