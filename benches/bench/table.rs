//! What was measured, beside its reference and its target.

use serde_json::{Value, json};
use std::fmt::Write as _;

/// What is to be reached.
#[derive(Clone, Copy)]
pub enum Target {
    /// At least this many a second.
    Rate(f64),
    /// At least this times the reference.
    Ratio(f64),
    /// At most this much.
    AtMost(f64),
}

/// One line of the table.
pub struct Row {
    what: String,
    value: f64,
    unit: &'static str,
    reference: Option<(String, f64)>,
    target: Option<Target>,
}

impl Row {
    /// A rate, in things a second.
    pub fn rate(what: impl Into<String>, value: f64) -> Self {
        Self::value(what, value, "/s")
    }

    /// Any other value.
    pub fn value(what: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self {
            what: what.into(),
            value,
            unit,
            reference: None,
            target: None,
        }
    }

    /// Compares it with a rate of the same run; without one, nothing changes.
    pub fn against(mut self, reference: &str, rate: Option<f64>) -> Self {
        self.reference = rate.map(|rate| (reference.to_owned(), rate));
        self
    }

    /// Sets what is to be reached.
    pub fn target(mut self, target: Target) -> Self {
        self.target = Some(target);
        self
    }

    fn ratio(&self) -> Option<f64> {
        self.reference.as_ref().map(|(_, rate)| self.value / rate)
    }

    /// `None` without target, or where the target is a ratio and the reference is not there.
    fn met(&self) -> Option<bool> {
        match self.target? {
            Target::Rate(least) => Some(self.value >= least),
            Target::Ratio(least) => self.ratio().map(|ratio| ratio >= least),
            Target::AtMost(most) => Some(self.value <= most),
        }
    }

    fn json(&self) -> Value {
        let target = self.target.map(|target| match target {
            Target::Rate(least) => json!({ "at_least": least }),
            Target::Ratio(least) => json!({ "ratio_at_least": least }),
            Target::AtMost(most) => json!({ "at_most": most }),
        });
        json!({
            "what": self.what,
            "value": self.value,
            "unit": self.unit,
            "reference": self.reference.as_ref().map(|(name, _)| name),
            "reference_value": self.reference.as_ref().map(|(_, rate)| rate),
            "ratio": self.ratio(),
            "target": target,
            "met": self.met(),
        })
    }
}

/// One JSON array.
pub fn json(rows: &[Row]) -> Value {
    rows.iter().map(Row::json).collect()
}

/// One aligned line for each row.
pub fn text(rows: &[Row]) -> String {
    let mut lines =
        vec![["what", "measured", "reference", "ratio", "target", ""].map(str::to_owned)];
    for row in rows {
        let reference = row.reference.as_ref();
        lines.push([
            row.what.clone(),
            number(row.value, row.unit),
            reference.map_or_else(String::new, |(name, rate)| {
                format!("{} {name}", number(*rate, row.unit))
            }),
            row.ratio()
                .map_or_else(String::new, |ratio| format!("{ratio:.2}")),
            match row.target {
                None => String::new(),
                Some(Target::Rate(least)) => format!("≥ {}", number(least, row.unit)),
                Some(Target::Ratio(least)) => format!("≥ {least} × reference"),
                Some(Target::AtMost(most)) => format!("≤ {}", number(most, row.unit)),
            },
            match row.met() {
                Some(true) => "met".to_owned(),
                Some(false) => "NOT MET".to_owned(),
                None => String::new(),
            },
        ]);
    }
    let mut out = String::new();
    for line in &lines {
        for (column, cell) in line.iter().enumerate() {
            let width = lines
                .iter()
                .map(|line| line[column].chars().count())
                .max()
                .unwrap_or(0);
            let _ = write!(out, "{cell:width$}  ");
        }
        out.truncate(out.trim_end().len());
        out.push('\n');
    }
    out
}

fn number(value: f64, unit: &str) -> String {
    if value < 20.0 {
        format!("{value:.1} {unit}").replace(" /", "/")
    } else {
        format!("{value:.0} {unit}").replace(" /", "/")
    }
}
