//! The Date field, as written by thirty years of clients.

use crate::time::Timestamp;
use jiff::civil;

const MONTHS: [&str; 12] = [
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
];

/// Reads an RFC 5322 date and the commoner deviations from it: no weekday, a wrong one, two-digit years, named
/// zones, missing seconds or zone (UTC is assumed), dashes between the pieces, month before day. None of a time before
/// 1970 or after [`Timestamp::LAST`].
#[must_use]
pub fn parse(text: &str) -> Option<Timestamp> {
    let text = text
        .split('(')
        .next()?
        .get(..)
        .map(|t| t.chars().take(100).collect::<String>())?;
    let (mut day, mut month, mut year, mut clock, mut offset) = (None, None, None, None, 0);
    for token in text
        .split(|c: char| c == ',' || c.is_whitespace())
        .filter(|token| !token.is_empty())
    {
        let pieces: Vec<&str> = if clock.is_none() {
            token.split('-').filter(|p| !p.is_empty()).collect()
        } else {
            vec![token]
        };
        for piece in pieces {
            let lower = piece.to_ascii_lowercase();
            if piece.contains(':') {
                clock = clock.or_else(|| time_of(piece));
            } else if let Some(number) = lower
                .get(..3)
                .and_then(|start| MONTHS.iter().position(|m| *m == start))
            {
                month = month.or_else(|| i8::try_from(number + 1).ok());
            } else if clock.is_some()
                && (piece.starts_with(['+', '-']) || piece.chars().all(char::is_alphabetic))
            {
                offset = zone(piece).unwrap_or(offset);
            } else if let Ok(number) = piece.parse::<i16>() {
                if day.is_none() && piece.len() <= 2 {
                    day = i8::try_from(number).ok();
                } else if year.is_none() {
                    year = Some(full_year(number, piece.len()));
                }
            }
        }
    }
    let (hour, minute, second) = clock.unwrap_or((0, 0, 0));
    let date = civil::Date::new(year?, month?, day?).ok()?;
    let time = date.at(hour, minute, second, 0);
    let utc = time
        .to_zoned(jiff::tz::TimeZone::UTC)
        .ok()?
        .timestamp()
        .as_second()
        - i64::from(offset) * 60;
    let time = Timestamp::from_seconds(u64::try_from(utc).ok()?);
    (time <= Timestamp::LAST).then_some(time)
}

fn full_year(number: i16, digits: usize) -> i16 {
    match digits {
        ..=2 if number < 50 => number + 2000,
        ..=3 => number.saturating_add(1900),
        _ => number,
    }
}

fn time_of(text: &str) -> Option<(i8, i8, i8)> {
    let mut pieces = text.split([':', '.']).map(|piece| piece.parse::<i8>().ok());
    let hour = pieces.next()??;
    let minute = pieces.next()??;
    let second = pieces.next().flatten().unwrap_or(0).min(59);
    ((0..24).contains(&hour) && (0..60).contains(&minute) && second >= 0)
        .then_some((hour, minute, second))
}

/// Minutes east of UTC.
fn zone(text: &str) -> Option<i32> {
    let hours = match text.to_ascii_uppercase().as_str() {
        "UT" | "GMT" | "UTC" | "Z" | "WET" => 0,
        "EST" => -5,
        "EDT" | "AST" => -4,
        "CST" => -6,
        "CDT" => -5,
        "MST" => -7,
        "MDT" => -6,
        "PST" => -8,
        "PDT" => -7,
        "CET" | "MET" | "BST" | "WEST" => 1,
        "CEST" | "MEST" | "EET" => 2,
        "JST" => 9,
        _ => {
            let digits = text.get(1..)?;
            let number: i32 = digits.parse().ok().filter(|_| digits.len() == 4)?;
            let minutes = number / 100 * 60 + number % 100;
            return Some(if text.starts_with('-') {
                -minutes
            } else {
                minutes
            });
        }
    };
    Some(hours * 60)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn dates_of_thirty_years() {
        let at = |text: &str| parse(text).map(|t| t.to_string()).unwrap_or_default();
        assert_eq!(
            at("Fri, 21 Nov 1997 09:55:06 -0600"),
            "1997-11-21T15:55:06Z"
        );
        assert_eq!(at("21 Nov 97 09:55 GMT"), "1997-11-21T09:55:00Z");
        assert_eq!(
            at("Thu, 1 Jan 2015 00:00:00 +0100 (CET)"),
            "2014-12-31T23:00:00Z"
        );
        assert_eq!(at("Tue Apr  3 10:00:00 EDT 2001"), "2001-04-03T14:00:00Z");
        assert_eq!(at("01-Feb-2003 04:05:06 +0000"), "2003-02-01T04:05:06Z");
        assert_eq!(at("soon"), "");
        assert_eq!(
            at("Thu, 30 Dec 9999 22:00:00 +0000"),
            "9999-12-30T22:00:00Z"
        );
        assert_eq!(at("Thu, 30 Dec 9999 21:00:00 -1200"), "");
    }

    proptest! {
        #[test]
        fn never_panics(text in ".{0,60}", digits in "[0-9:+ -]{0,40}") {
            let _ = (parse(&text), parse(&digits));
        }

        #[test]
        fn any_date_can_be_shown(day in 1..=31, year in 1900..=9999, hour in 0..24, zone in -9999..=9999) {
            let _ = parse(&format!("{day} Dec {year} {hour}:00:00 {zone:+05}")).map(|time| time.to_string());
        }
    }
}
