//! How one policy differs from another, in lines that people compare, and what a policy can never change.

use super::ValidPolicy;
use std::collections::BTreeMap;
use toml::{Table, Value};

/// Most lines that are told.
const MOST: usize = 100;
/// Longest line, in bytes.
const LONGEST: usize = 200;

/// The settings of `old` that `new` does not have (`- `), then those that only `new` has (`+ `), each with its whole name. It
/// is told of what they mean, not of how it is written down: lines that are moved, split, commented or longer than a screen
/// hide nothing.
#[must_use]
pub fn changes(old: &str, new: &str) -> Vec<String> {
    let (before, after) = (settings(old), settings(new));
    let gone = surplus(&before, &after).map(|line| told('-', line));
    let come = surplus(&after, &before).map(|line| told('+', line));
    let mut all: Vec<String> = gone.chain(come).collect();
    if all.is_empty() && old != new {
        all.push("nothing but comments, order and layout".to_owned());
    }
    if all.len() > MOST {
        let more = all.len() - MOST;
        all.truncate(MOST);
        all.push(format!("and {more} more lines: read the file"));
    }
    all
}

fn told(sign: char, line: &str) -> String {
    let end = line.floor_char_boundary(LONGEST);
    let more = if end < line.len() { "…" } else { "" };
    format!("{sign} {}{more}", &line[..end])
}

/// How often a policy says what.
type Settings = BTreeMap<String, usize>;

/// What is in one and not, or not as often, in the other.
fn surplus<'a>(one: &'a Settings, other: &'a Settings) -> impl Iterator<Item = &'a str> {
    one.iter()
        .filter(|(line, count)| other.get(*line).is_none_or(|there| there < *count))
        .map(|(line, _)| line.as_str())
}

fn settings(text: &str) -> Settings {
    let mut all = Settings::new();
    if let Ok(table) = text.parse::<Table>() {
        collect("", &Value::Table(table), &mut all);
    }
    all
}

/// Each value with the names of the tables around it; of a list each element, and an empty list as such.
fn collect(name: &str, value: &Value, all: &mut Settings) {
    let mut say = |what: String| *all.entry(what).or_default() += 1;
    match value {
        Value::Table(table) => {
            let prefix = if name.is_empty() {
                String::new()
            } else {
                format!("{name}.")
            };
            for (key, value) in table {
                collect(&format!("{prefix}{}", plain(key)), value, all);
            }
        }
        Value::Array(values) if values.is_empty() => say(format!("{name} = []")),
        Value::Array(values) => {
            for (index, value) in values.iter().enumerate() {
                // What has values of its own is named by its place: else one could go to another, and no line would tell.
                let place = match value {
                    Value::Table(_) | Value::Array(_) => index.to_string(),
                    _ => String::new(),
                };
                collect(&format!("{name}[{place}]"), value, all);
            }
        }
        Value::String(text) => say(format!("{name} = {text:?}")),
        other => say(format!("{name} = {other}")),
    }
}

fn plain(key: &str) -> String {
    let is_bare = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    if !key.is_empty() && key.bytes().all(is_bare) {
        key.to_owned()
    } else {
        format!("{key:?}")
    }
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
    fn each_changed_setting_is_told_with_its_name() {
        let comment = "# A comment.\n";
        let new = comment.to_owned() + &DEFAULT.replace("people = 3", "people = 4");
        assert_eq!(
            changes(DEFAULT, &new),
            ["- thresholds.people = 3", "+ thresholds.people = 4"]
        );
        assert!(changes(DEFAULT, DEFAULT).is_empty());
        let layout = comment.to_owned() + DEFAULT;
        assert_eq!(
            changes(DEFAULT, &layout),
            ["nothing but comments, order and layout"]
        );
    }

    #[test]
    fn no_way_of_writing_hides_a_change() {
        let list = |fingerprints: &[&str]| {
            let all: Vec<String> = fingerprints
                .iter()
                .map(|one| format!("{:?}", one.repeat(32)))
                .collect();
            format!("[trust]\nanchors = [{}]\n", all.join(", "))
        };
        let added = format!("+ trust.anchors[] = {:?}", "dd".repeat(32));
        assert_eq!(
            changes(&list(&["aa", "bb", "cc"]), &list(&["aa", "bb", "cc", "dd"])),
            [added]
        );
        for (old, new, expected) in [
            (
                "[open]\nrefuse = [\n\"RC4\",\n]\nweak = [\n\"DES\",\n]\n",
                "[open]\nrefuse = [\n\"DES\",\n]\nweak = [\n\"RC4\",\n]\n",
                &[
                    "- open.refuse[] = \"RC4\"",
                    "- open.weak[] = \"DES\"",
                    "+ open.refuse[] = \"DES\"",
                    "+ open.weak[] = \"RC4\"",
                ][..],
            ),
            (
                "[a]\nb = [\n1,\n]",
                "[a]\nb = [\n1,\n1,\n]",
                &["+ a.b[] = 1"],
            ),
            (
                "[a]\nb = 1\n[c] # x\nb = 2",
                "[a]\nb = 2\n[c] # x\nb = 1",
                &["- a.b = 1", "- c.b = 2", "+ a.b = 2", "+ c.b = 1"],
            ),
            (
                "[[a]]\nb = [1]\n[[a]]\nb = [2, 3]",
                "[[a]]\nb = [2]\n[[a]]\nb = [3, 1]",
                &[
                    "- a[0].b[] = 1",
                    "- a[1].b[] = 2",
                    "+ a[0].b[] = 2",
                    "+ a[1].b[] = 1",
                ],
            ),
            (
                "a.b = \"folder\"",
                "[a]\nb = []",
                &["- a.b = \"folder\"", "+ a.b = []"],
            ),
            (
                "a = 1",
                "a = \"\"\"\n# b\n\"\"\"",
                &["- a = 1", "+ a = \"# b\\n\""],
            ),
        ] {
            assert_eq!(changes(old, new), expected, "{new}");
        }
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
            prop_assert!(told.iter().all(|line| line.len() <= LONGEST + 10));
            prop_assert!(changes(&old, &old).is_empty());
        }
    }
}
