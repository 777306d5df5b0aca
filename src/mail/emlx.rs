//! Files of Apple Mail (`.emlx`): a line with the message's length in bytes, the message, a property list.

use super::mbox::is_header;
use std::ops::Range;

/// The first line has the digits of a length, and blanks.
const LONGEST_LINE: usize = 20;

/// Where the message lies in a file of `size` bytes that begins so; `None` if it is no such file.
#[must_use]
pub fn message(start: &[u8], size: u64) -> Option<Range<u64>> {
    let line = start.iter().take(LONGEST_LINE).position(|c| *c == b'\n')? + 1;
    let digits = std::str::from_utf8(start[..line].trim_ascii()).ok()?;
    let begin = line as u64;
    let end = begin.checked_add(digits.parse().ok()?)?;
    (end <= size && is_header(&start[line..])).then_some(begin..end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_message_that_the_file_has_whole_is_found() {
        let file = b"6      \nA: b\n\n<?xml version=\"1.0\"?>";
        let size = file.len() as u64;
        assert_eq!(message(file, size), Some(8..14));
        assert_eq!(message(file, 13), None, "cut off");
        assert_eq!(message(b"6\nno field\n", 11), None);
        assert_eq!(message(b"18446744073709551615\nA: b\n", 26), None);
    }

    proptest! {
        #[test]
        fn what_is_found_lies_in_the_file(start in "[0-9 ]{0,22}\n?(A: b)?\n{0,3}", more in 0..100_u64) {
            let size = start.len() as u64 + more;
            if let Some(found) = message(start.as_bytes(), size) {
                prop_assert!(found.start <= found.end && found.end <= size);
            }
        }
    }
}
