//! Days on the command line, in UTC.

use crate::time::Timestamp;

/// The first moment of a day given as `YYYY-MM-DD`.
pub fn first_moment(day: &str) -> Result<Timestamp, String> {
    let date: jiff::civil::Date = day
        .parse()
        .map_err(|_| format!("{day:?} is not a day as YYYY-MM-DD"))?;
    let start = date
        .to_zoned(jiff::tz::TimeZone::UTC)
        .map_err(|error| error.to_string())?;
    u64::try_from(start.timestamp().as_second())
        .map(Timestamp::from_seconds)
        .map_err(|_| "before 1970".to_owned())
}

/// The last moment of a day given as `YYYY-MM-DD`.
pub fn last_moment(day: &str) -> Result<Timestamp, String> {
    first_moment(day).map(|start| Timestamp(start.plus_seconds(86_400).0 - 1))
}
