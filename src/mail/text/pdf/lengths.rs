//! Streams whose length stands in an object of its own. Where that object is a stream again, with its length in a third one,
//! the library follows such a chain from each stream in it: by the square of their number, as deep as its stack is.

use super::names::{self, is_regular};
use std::collections::HashMap;

/// How many steps it takes to find the lengths of all streams, at most, beyond one for each.
pub fn steps(bytes: &[u8]) -> usize {
    let behind = names::behind(bytes, b"Length");
    let references: Vec<u64> = behind.filter_map(|at| reference(&bytes[at..])).collect();
    if references.is_empty() {
        return 0;
    }
    let objects = Objects::of(bytes);
    let count = |kind| {
        let of_kind = |number: &&u64| objects.kind(**number) == kind;
        references.iter().filter(of_kind).count()
    };
    // What lies in a stream of objects is no stream, but that one may have its length elsewhere.
    let packed = names::behind(bytes, b"ObjStm").count();
    let links = count(Some(false)).saturating_add(count(None).min(packed));
    links.saturating_mul(references.len())
}

/// The number of the object that is referred to in the beginning of `bytes`.
fn reference(bytes: &[u8]) -> Option<u64> {
    let (number, rest) = number(after_blanks(bytes))?;
    let (_, rest) = self::number(after_blanks(rest))?;
    after_blanks(rest).starts_with(b"R").then_some(number)
}

/// What the objects in a document are that are not packed: numbers and nothing else, or something else.
struct Objects {
    are_numbers: HashMap<u64, bool>,
    /// Some have a head that is read in another way than here.
    has_others: bool,
}

impl Objects {
    fn of(bytes: &[u8]) -> Self {
        let mut objects = Self {
            are_numbers: HashMap::new(),
            has_others: false,
        };
        for at in memchr::memmem::find_iter(bytes, b"obj") {
            let (before, behind) = (&bytes[..at], &bytes[at + 3..]);
            let is_word = !before
                .last()
                .is_some_and(|c| is_regular(*c) && !c.is_ascii_digit())
                && !behind
                    .first()
                    .is_some_and(|c| is_regular(*c) && !c.is_ascii_digit());
            if !is_word {
                continue;
            }
            match head(before) {
                Some(number) => {
                    let known = objects.are_numbers.entry(number).or_insert(true);
                    *known &= is_number(behind);
                }
                None => objects.has_others = true,
            }
        }
        objects
    }

    /// Whether all objects of this number are numbers themselves; `None` if none is there.
    fn kind(&self, number: u64) -> Option<bool> {
        let known = self.are_numbers.get(&number).copied();
        known.map(|known| known && !self.has_others)
    }
}

/// The number of the object whose head, `5 0 obj`, ends with `before` and the word.
fn head(before: &[u8]) -> Option<u64> {
    let (rest, _) = number_before(before.trim_ascii_end())?;
    let blanks = rest.trim_ascii_end();
    let (_, digits) = number_before(blanks).filter(|_| blanks.len() < rest.len())?;
    number(digits).map(|(number, _)| number)
}

/// Whether an object is an integer and nothing else.
fn is_number(object: &[u8]) -> bool {
    number(after_blanks(object)).is_some_and(|(_, rest)| after_blanks(rest).starts_with(b"endobj"))
}

fn number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    const LONGEST: usize = 18;
    let length = bytes.iter().take_while(|c| c.is_ascii_digit()).count();
    let (digits, rest) = bytes.split_at(length);
    let value = digits.iter().rev().take(LONGEST).rev();
    let value = value.fold(0, |value, digit| value * 10 + u64::from(digit - b'0'));
    (length > 0).then_some((value, rest))
}

/// The digits that `bytes` end with, and what is before them.
fn number_before(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    const LONGEST: usize = 20;
    let digits = bytes.iter().rev().take(LONGEST);
    let length = digits.take_while(|c| c.is_ascii_digit()).count();
    (length > 0).then(|| bytes.split_at(bytes.len() - length))
}

/// What follows blanks and comments.
fn after_blanks(bytes: &[u8]) -> &[u8] {
    const MOST: usize = 1000;
    let is_blank = |c: &u8| matches!(c, 0 | b'\t' | b'\n' | 12 | b'\r' | b' ');
    let mut rest = bytes;
    for _ in 0..MOST {
        let blanks = rest.iter().take_while(|c| is_blank(c)).count();
        rest = &rest[blanks..];
        if !rest.starts_with(b"%") {
            break;
        }
        let end = memchr::memchr2(b'\r', b'\n', rest);
        rest = &rest[end.unwrap_or(rest.len())..];
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Streams, each with its length in the next.
    fn chain(count: usize, last: &str) -> String {
        let stream = |n: usize| {
            let next = n + 1;
            format!("{n} 0 obj<</Length {next} 0 R>>stream\nx\nendstream endobj\n")
        };
        (0..count).map(stream).collect::<String>() + &format!("{count} 0 obj {last} endobj\n")
    }

    #[test]
    fn only_chains_cost_more_than_a_step_for_each() {
        assert_eq!(steps(b"1 0 obj<</Length 5>>stream"), 0);
        let usual = |n: usize| {
            let length = n + 1000;
            format!(
                "{n} 0 obj<</Length {length} 0 R>>stream\nendstream endobj\n{length} 0 obj\n36\nendobj\n"
            )
        };
        let usual: String = (0..100).map(usual).collect();
        assert_eq!(steps(usual.as_bytes()), 0);
        // The last has its length in a number.
        assert_eq!(steps(chain(50, "7").as_bytes()), 49 * 50);
        let spelt = chain(50, "7").replace("/Length", "/L#65ngth");
        let commented = chain(50, "7").replace(" 0 R", "%c\n0 %\nR");
        assert_eq!(steps(spelt.as_bytes()), 49 * 50);
        assert_eq!(steps(commented.as_bytes()), 49 * 50);
        let odd = chain(50, "7").replace("49 0 obj", "49 %c\n0%c\nobj") + "49 0 obj 7 endobj";
        assert_eq!(steps(odd.as_bytes()), 50 * 50);
        // Lengths in streams of objects, which may go on in others.
        let packed = "<</Length 9 0 R>>/ObjStm<</Length 8 0 R>><</Length 8 0 R>>";
        assert_eq!(steps(packed.as_bytes()), 3);
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(text in "(/Length|[0-9]{1,20}|obj|endobj| |R|%|\n|#65){0,40}", bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = (steps(text.as_bytes()), steps(&bytes));
        }
    }
}
