//! The Date field, as written by thirty years of clients.

use crate::time::Timestamp;
use jiff::civil;

const MONTHS: [&str; 12] = [
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
];

/// Months as programs name them that forgot to write English: German, French, Spanish, Italian, Dutch.
const FOREIGN_MONTHS: [(&str, i8); 26] = [
    ("ene", 1),
    ("gen", 1),
    ("fév", 2),
    ("mär", 3),
    ("mrz", 3),
    ("mrt", 3),
    ("avr", 4),
    ("abr", 4),
    ("mai", 5),
    ("mag", 5),
    ("mei", 5),
    ("juin", 6),
    ("giu", 6),
    ("juil", 7),
    ("lug", 7),
    ("aoû", 8),
    ("ago", 8),
    ("set", 9),
    ("okt", 10),
    ("ott", 10),
    ("out", 10),
    ("dez", 12),
    ("déc", 12),
    ("dic", 12),
    ("jän", 1),
    ("fev", 2),
];

/// Reads an RFC 5322 date and the commoner deviations from it: no weekday, a wrong one, two-digit years, named
/// zones, missing seconds or zone (UTC is assumed), dashes between the pieces, month before day or in another language, ISO 8601.
/// None of a time before 1970 or after [`Timestamp::LAST`].
#[must_use]
pub fn parse(text: &str) -> Option<Timestamp> {
    let text = text
        .split('(')
        .next()?
        .get(..)
        .map(|t| t.chars().take(100).collect::<String>())?;
    let text = rearranged(&text);
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
            let lower = piece.to_lowercase();
            if clock.is_none() && is_clock(piece) {
                clock = time_of(piece);
            } else if let Some(number) = month_of(&lower) {
                // What stood before the day was a weekday: "mar" is Tuesday in French.
                if month.is_none() || day.is_some() && year.is_none() {
                    month = Some(number);
                }
            } else if clock.is_some() && !piece.starts_with(|c: char| c.is_ascii_digit()) {
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

/// A date of ISO 8601 in the order of mail; any other as it is.
fn rearranged(text: &str) -> String {
    let text = text.trim().trim_matches('"');
    let bytes = text.as_bytes();
    let is_iso = bytes.len() > 10
        && text.is_ascii()
        && bytes[..10].iter().enumerate().all(|(at, byte)| match at {
            4 | 7 => *byte == b'-',
            _ => byte.is_ascii_digit(),
        });
    let month = if is_iso {
        text[5..7].parse::<usize>().ok()
    } else {
        None
    };
    let Some(month) = month.and_then(|number| MONTHS.get(number.wrapping_sub(1))) else {
        return text.to_owned();
    };
    let clock = text[10..].trim_start_matches(['T', 't', ' ']);
    let zone = clock.find(|c: char| !(c.is_ascii_digit() || ":.".contains(c)));
    let (clock, zone) = clock.split_at(zone.unwrap_or(clock.len()));
    format!("{} {month} {} {clock} {zone}", &text[8..10], &text[..4])
}

fn is_clock(piece: &str) -> bool {
    piece.contains(':')
        || piece.matches('.').count() == 2 && piece.chars().all(|c| c.is_ascii_digit() || c == '.')
}

fn month_of(lower: &str) -> Option<i8> {
    let english = lower
        .get(..3)
        .and_then(|start| MONTHS.iter().position(|month| *month == start));
    let foreign = || {
        FOREIGN_MONTHS
            .iter()
            .find(|(name, _)| lower.starts_with(name))
            .map(|(_, number)| *number)
    };
    english
        .and_then(|at| i8::try_from(at + 1).ok())
        .or_else(foreign)
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
    let text = text.replace(':', "").to_ascii_uppercase();
    let behind = text.strip_prefix("GMT").or(text.strip_prefix("UTC"));
    let text = behind
        .filter(|rest| rest.starts_with(['+', '-']))
        .unwrap_or(&text);
    let hours = match text {
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
        for text in [
            "2001-04-03T14:00:00Z",
            "2001-04-03 16:00:00.123 +0200",
            "Tue, 3 Apr 2001 16:00:00 +02:00",
            "Tue, 3 Apr 2001 16:00:00 GMT+0200",
            "Tue, 3 Apr 2001 14.00.00 +0000",
            "mar., 3 avr. 2001 14:00:00 +0000",
            "\"Tue, 3 Apr 2001 14:00:00 +0000\"",
        ] {
            assert_eq!(at(text), "2001-04-03T14:00:00Z", "{text}");
        }
        assert_eq!(at("Di, 3 Mär 2001 14:00:00 +0000"), "2001-03-03T14:00:00Z");
        assert_eq!(at("2001-13-03T14:00:00Z"), "");
        assert_eq!(at("soon"), "");
        assert_eq!(
            at("Thu, 30 Dec 9999 22:00:00 +0000"),
            "9999-12-30T22:00:00Z"
        );
        assert_eq!(at("Thu, 30 Dec 9999 21:00:00 -1200"), "");
    }

    proptest! {
        #[test]
        fn never_panics(text in ".{0,60}", digits in "[0-9:+ -]{0,40}", iso in "[0-9]{4}-[0-9]{2}-[0-9]{2}.{0,20}") {
            let _ = (parse(&text), parse(&digits), parse(&iso));
        }

        #[test]
        fn any_date_can_be_shown(day in 1..=31, year in 1900..=9999, hour in 0..24, zone in -9999..=9999) {
            let _ = parse(&format!("{day} Dec {year} {hour}:00:00 {zone:+05}")).map(|time| time.to_string());
        }
    }
}
