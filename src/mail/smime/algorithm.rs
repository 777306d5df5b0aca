//! `AlgorithmIdentifier`, and times.

use super::ber::{BerError, Element, Reader, tag};
use crate::time::Timestamp;
use const_oid::ObjectIdentifier;

/// An algorithm and its parameters, where they are in the message.
#[derive(Debug, Clone, Copy)]
pub struct Algorithm<'a> {
    /// Which.
    pub oid: ObjectIdentifier,
    /// Its parameters; `None` if absent.
    pub parameters: Option<Element<'a>>,
    /// The whole `AlgorithmIdentifier`.
    pub element: Element<'a>,
}

impl<'a> Algorithm<'a> {
    /// Reads the next value of `reader` as an `AlgorithmIdentifier`.
    pub fn read(reader: &mut Reader<'a>) -> Result<Self, BerError> {
        Self::of(reader.expect(tag::SEQUENCE, "an AlgorithmIdentifier")?)
    }

    /// Takes `element`, whatever its (implicit) tag, as an `AlgorithmIdentifier`.
    pub fn of(element: Element<'a>) -> Result<Self, BerError> {
        let mut inside = element.inside();
        let oid = inside.value("an algorithm")?.oid()?;
        let parameters = inside.next().transpose()?;
        Ok(Self {
            oid,
            parameters,
            element,
        })
    }

    /// Parameters other than NULL.
    #[must_use]
    pub fn real_parameters(&self) -> Option<Element<'a>> {
        self.parameters.filter(|element| element.tag != tag::NULL)
    }
}

/// A UTCTime or GeneralizedTime value.
#[must_use]
pub fn time(value: &Element<'_>) -> Option<Timestamp> {
    let text = std::str::from_utf8(value.body).ok()?;
    let (year_digits, base) = match value.tag {
        tag::UTC_TIME => (2, if text.get(..2)? < "50" { 2000 } else { 1900 }),
        tag::GENERALIZED_TIME => (4, 0),
        _ => return None,
    };
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<i16>().ok();
    let field = |nth: usize| {
        let from = year_digits + 2 * nth;
        if from + 2 <= digits {
            number(from, from + 2).and_then(|n| i8::try_from(n).ok())
        } else {
            Some(0)
        }
    };
    let year = base + number(0, year_digits)?;
    let date = jiff::civil::Date::new(year, field(0)?, field(1)?).ok()?;
    let time = jiff::civil::Time::new(field(2)?, field(3)?, field(4)?.min(59), 0).ok()?;
    let utc = date
        .to_datetime(time)
        .to_zoned(jiff::tz::TimeZone::UTC)
        .ok()?
        .timestamp()
        .as_second();
    let zone = text
        .get(digits..)?
        .trim_start_matches(|c: char| c == '.' || c.is_ascii_digit());
    let offset = match (zone.get(..1), zone.get(1..3), zone.get(3..5)) {
        (Some(sign @ ("+" | "-")), Some(hours), Some(minutes)) => {
            let seconds = hours.parse::<i64>().ok()? * 3600 + minutes.parse::<i64>().ok()? * 60;
            if sign == "+" { seconds } else { -seconds }
        }
        _ => 0,
    };
    u64::try_from(utc - offset)
        .ok()
        .map(Timestamp::from_seconds)
}
