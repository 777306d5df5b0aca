//! Each table of the policy file, with what is allowed in it.

use super::journal::{JournalPolicy, journal};
use super::names::{is_algorithm, nearest_algorithm};
use super::read::{Item, Section, Source, shortened};
use super::trust::{Trusted, trust};
use super::{Action, Period, PolicyError, Quorum, Retention, Rotation, ValidPolicy};
use crate::id::{Digest, TenantId};
use crate::mail::bounds::Bounds;
use crate::mail::context::OpenPolicy;
use std::collections::{BTreeMap, BTreeSet};
use toml::de::DeTable;

/// Largest policy file, in bytes.
const LARGEST: usize = 1 << 20;

/// Whether names of algorithms are checked. A box that was founded on a policy with a name that means nothing keeps it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Names {
    Checked,
    AsFounded,
}

pub(super) fn parse(text: &str, file: &str, names: Names) -> Result<ValidPolicy, PolicyError> {
    let source = Source { file, text };
    if text.len() > LARGEST {
        return Err(source.error(
            0,
            "the file",
            format!("has {} bytes", text.len()),
            "at most 1 MiB",
        ));
    }
    let document = DeTable::parse(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        source.error(
            at,
            "the text",
            format!("is not TOML: {}", error.message()),
            "TOML 1.0",
        )
    })?;
    let mut top = Section::new(source, String::new(), 0, document.get_ref());
    let quorum = officers(&top.require("officers", "a table [officers]")?)?;
    let thresholds = thresholds(&top.require("thresholds", "a table [thresholds]")?, quorum)?;
    let (pcrs, cap_pcr) = boot(&top.require("tpm", "a table [tpm]")?)?;
    escrow(&top.require("escrow", ESCROW)?)?;
    let policy = ValidPolicy {
        quorum,
        thresholds,
        pcrs,
        cap_pcr,
        tenants: tenants(&top.require("tenants", TENANTS)?)?,
        open: top
            .take("open")
            .map_or_else(|| Ok(OpenPolicy::default()), |item| open(&item, names))?,
        trust: top
            .take("trust")
            .map_or_else(|| Ok(Trusted::default()), |item| trust(&item))?,
        journal: top
            .take("journal")
            .map_or_else(|| Ok(JournalPolicy::default()), |item| journal(&item))?,
        max_size: top
            .take("intake")
            .map_or(Ok(None), |item| max_size(&item))?,
        retention: retention(&top.require("retention", "a table [retention]")?)?,
        exclusions: top
            .take("exclusions")
            .map_or_else(|| Ok(BTreeSet::new()), |item| exclusions(&item))?,
        rotation: rotation(top.take("rotation").as_ref())?,
        digest: Digest::of(text.as_bytes()),
    };
    top.end()?;
    Ok(policy)
}

fn officers(item: &Item<'_>) -> Result<Quorum, PolicyError> {
    let mut section = item.section()?;
    let number = "n, a whole number from 3 to 10";
    let officers = section.require("number", number)?.integer(3..=10)?;
    let highest = officers - 1;
    let allowed = format!(
        "m, a whole number from 2 to {highest} (one fewer than number, so that one officer can be missing)"
    );
    let required = section.require("required", &allowed)?;
    let required = required
        .integer(2..=highest)
        .map_err(|error| PolicyError { allowed, ..error })?;
    section.end()?;
    Ok(Quorum {
        required: narrow(required),
        officers: narrow(officers),
    })
}

fn thresholds(item: &Item<'_>, quorum: Quorum) -> Result<BTreeMap<Action, u8>, PolicyError> {
    let mut section = item.section()?;
    let (m, n) = (u64::from(quorum.required), u64::from(quorum.officers));
    let actions = [
        ("case_mail", Action::CaseMail, 2),
        ("case_key", Action::CaseKey, m),
        ("people", Action::People, 1),
        ("policy_change", Action::PolicyChange, m),
    ];
    let mut out = BTreeMap::new();
    for (key, action, lowest) in actions {
        let allowed = format!("a whole number from {lowest} to {n}");
        let value = section.require(key, &allowed)?.integer(lowest..=n)?;
        out.insert(action, narrow(value));
    }
    section.end()?;
    Ok(out)
}

fn boot(item: &Item<'_>) -> Result<(BTreeSet<u8>, Option<u8>), PolicyError> {
    let mut section = item.section()?;
    let allowed = "a list of PCR numbers from 0 to 23, without doubles, such as [7, 11, 12]";
    let list = section.require("pcrs", allowed)?;
    let mut pcrs = BTreeSet::new();
    for entry in list.items(allowed)? {
        if !pcrs.insert(narrow(entry.integer(0..=23)?)) {
            return Err(entry.refuse("is there twice", allowed));
        }
    }
    if pcrs.is_empty() {
        return Err(list.refuse("is empty", allowed));
    }
    let cap = section.take("cap_pcr");
    let cap_pcr = cap
        .as_ref()
        .map(|cap| cap.integer(0..=15).map(narrow))
        .transpose()?;
    if let (Some(cap), Some(number)) = (&cap, cap_pcr)
        && !pcrs.contains(&number)
    {
        return Err(cap.refuse(
            format!("is {number}, which is not one of tpm.pcrs"),
            "one of tpm.pcrs, below 16",
        ));
    }
    section.end()?;
    Ok((pcrs, cap_pcr))
}

const ESCROW: &str = "\"online\"";

fn escrow(item: &Item<'_>) -> Result<(), PolicyError> {
    match item.text(ESCROW)? {
        "online" => Ok(()),
        "sealed" => Err(item.refuse("is \"sealed\", which this version cannot do yet", ESCROW)),
        other => Err(item.refuse(format!("is {:?}", shortened(other)), ESCROW)),
    }
}

const TENANTS: &str = "a list of 1 to 100 tenant names, without doubles, such as [\"main\"]";

fn tenants(item: &Item<'_>) -> Result<BTreeSet<TenantId>, PolicyError> {
    let list = item.items(TENANTS)?;
    let mut out = BTreeSet::new();
    for entry in &list {
        let name = entry
            .text(TENANTS)?
            .parse()
            .map_err(|error| entry.refuse(format!("is wrong: {error}"), TENANTS))?;
        if !out.insert(name) {
            return Err(entry.refuse("is there twice", TENANTS));
        }
    }
    if list.is_empty() || list.len() > 100 {
        return Err(item.refuse(format!("has {} names", list.len()), TENANTS));
    }
    Ok(out)
}

fn open(item: &Item<'_>, names: Names) -> Result<OpenPolicy, PolicyError> {
    let mut section = item.section()?;
    let policy = OpenPolicy {
        bounds: section
            .take("bounds")
            .map_or_else(|| Ok(Bounds::default()), |item| bounds(&item))?,
        refuse: section
            .take("refuse")
            .map_or_else(|| Ok(BTreeSet::new()), |item| algorithms(&item, names))?,
        weak: algorithms(&section.require("weak", ALGORITHMS)?, names)?,
        folded_digests: false,
    };
    section.end()?;
    Ok(policy)
}

fn bounds(item: &Item<'_>) -> Result<Bounds, PolicyError> {
    let mut section = item.section()?;
    let default = Bounds::default();
    let bounds = Bounds {
        message_bytes: section.integer(
            "message_bytes",
            1 << 20..=4 << 30,
            default.message_bytes,
        )?,
        expanded_bytes: section.integer(
            "expanded_bytes",
            1 << 20..=8 << 30,
            default.expanded_bytes,
        )?,
        ratio: section.small("ratio", 2..=100_000, default.ratio)?,
        parts: section.small("parts", 1..=100_000, default.parts)?,
        depth: section.small("depth", 1..=100, default.depth)?,
        recipients: section.small("recipients", 1..=10_000, default.recipients)?,
        key_operations: section.small("key_operations", 1..=10_000, default.key_operations)?,
        seconds: section.small("seconds", 1..=3600, default.seconds)?,
        text_bytes: section.integer("text_bytes", 1 << 10..=64 << 20, default.text_bytes)?,
        documents: default.documents,
    };
    section.end()?;
    Ok(bounds)
}

const ALGORITHMS: &str =
    "a list of algorithm names as `strongroom show` prints them, such as [\"SHA-1\", \"RC2-40\"]";

fn algorithms(item: &Item<'_>, names: Names) -> Result<BTreeSet<String>, PolicyError> {
    let mut out = BTreeSet::new();
    for entry in item.items(ALGORITHMS)? {
        let name = entry.text(ALGORITHMS)?;
        if name.is_empty() || name.len() > 64 || !name.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(entry.refuse(format!("is {:?}", shortened(name)), ALGORITHMS));
        }
        if names == Names::Checked && !is_algorithm(name) {
            let meant = nearest_algorithm(name)
                .map_or_else(String::new, |meant| format!("; is {meant:?} meant?"));
            let problem = format!(
                "is {:?}, which no algorithm is called{meant}",
                shortened(name)
            );
            return Err(entry.refuse(problem, ALGORITHMS));
        }
        out.insert(name.to_owned());
    }
    Ok(out)
}

fn max_size(item: &Item<'_>) -> Result<Option<u64>, PolicyError> {
    let mut section = item.section()?;
    let value = section
        .take("max_size")
        .map(|item| item.integer(1 << 16..=1 << 40))
        .transpose()?;
    section.end()?;
    Ok(value)
}

fn retention(item: &Item<'_>) -> Result<Retention, PolicyError> {
    let mut section = item.section()?;
    let mut classes = BTreeMap::new();
    let list = section.require("classes", "a table [retention.classes]")?;
    for (name, entry) in list.section()?.take_all() {
        let good = name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        if !good || name.is_empty() || name.len() > 32 {
            return Err(entry.refuse("has a bad name", "names of 1 to 32 of a-z, 0-9 and -"));
        }
        classes.insert(name, period(&entry)?);
    }
    let names = classes.keys().cloned().collect::<Vec<_>>().join(", ");
    let default = section.require("default", &names)?;
    let name = default.text(&names)?;
    if !classes.contains_key(name) {
        return Err(default.refuse(format!("is {:?}", shortened(name)), &names));
    }
    let name = name.to_owned();
    section.end()?;
    Ok(Retention {
        default: name,
        classes,
    })
}

fn period(item: &Item<'_>) -> Result<Period, PolicyError> {
    let mut section = item.section()?;
    let years = section
        .take("years")
        .map(|item| item.integer(1..=100))
        .transpose()?;
    let months = section
        .take("months")
        .map(|item| item.integer(1..=36))
        .transpose()?;
    section.end()?;
    match (years, months) {
        (Some(years), None) => Ok(Period::Years(narrow(years))),
        (None, Some(months)) => Ok(Period::Months(narrow(months))),
        _ => Err(item.refuse(
            "names no single period",
            "{ years = 1 to 100 } or { months = 1 to 36 }",
        )),
    }
}

fn exclusions(item: &Item<'_>) -> Result<BTreeSet<String>, PolicyError> {
    let allowed = "a list of mail addresses, such as [\"works-council@example.org\"]";
    let mut out = BTreeSet::new();
    for entry in item.items(allowed)? {
        out.insert(entry.mail_address(allowed)?);
    }
    Ok(out)
}

fn rotation(item: Option<&Item<'_>>) -> Result<Rotation, PolicyError> {
    let default = Rotation {
        spool_key_days: 7,
        checkpoint_seconds: 1,
        counter_minutes: 60,
    };
    let Some(item) = item else { return Ok(default) };
    let mut section = item.section()?;
    let rotation = Rotation {
        spool_key_days: section.small("spool_key_days", 1..=31, default.spool_key_days)?,
        checkpoint_seconds: section.small(
            "checkpoint_seconds",
            1..=3600,
            default.checkpoint_seconds,
        )?,
        counter_minutes: section.small("counter_minutes", 10..=1440, default.counter_minutes)?,
    };
    section.end()?;
    Ok(rotation)
}

/// A number that its range has already brought below 256.
fn narrow(value: u64) -> u8 {
    u8::try_from(value).unwrap_or(u8::MAX)
}
