//! A look at a mail before it is opened: whose it is, what of it further arrivals would share, and whether the archive has
//! that already.

use super::Archiver;
use super::journal::Journal;
use crate::crypto::kdf::{Label, derive_bytes};
use crate::id::TenantId;
use crate::intake::spool::SpooledMail;
use crate::keeper::core::{CoreError, lock};
use crate::keeper::manifest::trace_prefix;
use crate::keeper::troubles::Work;
use sha2::{Digest as _, Sha256};
use std::io::{self, Read};
use std::ops::Range;

/// Most bytes that an arrival may have of its own beside what it shares, in bytes. A mail with more is a record of its own.
const MOST_OWN: u64 = 8 << 20;

/// Where the shared part may lie, and the PRF of what lies there.
type Candidate = (Range<u64>, [u8; 32]);

/// What a look at a mail tells.
pub(super) struct Seen {
    pub tenant: TenantId,
    pub journal: Journal,
    /// Where the shared part lies in its bytes.
    pub shared: Range<u64>,
    /// PRF of the shared part.
    pub join: [u8; 32],
    /// What stands in front of the shared part and behind it, where that is in the archive or on its way there.
    pub own: Option<(Vec<u8>, Vec<u8>)>,
}

impl Archiver {
    /// What a mail is to the archive; `None` if the ledger has this very mail.
    pub(super) fn look_at(&self, mail: &SpooledMail) -> Result<Option<Seen>, CoreError> {
        if self.core.catalog().by_spool_id(&mail.id)?.is_some() {
            return Ok(None);
        }
        let tenant = self.core.tenant_or_default(&mail.envelope.tenant);
        let journal = self.journal(mail);
        let key = self.core.join_key(&tenant)?;
        let candidate = |place: Range<u64>| -> Result<Candidate, CoreError> {
            let (start, digest) = fingerprint(mail, &place)?;
            let join = derive_bytes(&key, Label::JoinHash, &[&digest]);
            Ok((start..place.end, join))
        };
        let (likeliest, other) = journal.places(mail.length);
        let other = other.map(candidate).transpose()?;
        let ((shared, join), known) = self.settle(&tenant, candidate(likeliest)?, other)?;
        let own = shared.start + (mail.length - shared.end);
        let own = if known && own <= MOST_OWN {
            Some((
                bytes(mail, &(0..shared.start))?,
                bytes(mail, &(shared.end..mail.length))?,
            ))
        } else {
            None
        };
        Ok(Some(Seen {
            tenant,
            journal,
            shared,
            join,
            own,
        }))
    }

    fn journal(&self, mail: &SpooledMail) -> Journal {
        let policy = self.core.policy.journal();
        let journal = match Journal::of(mail, policy, &mut lock(&self.reports)) {
            Ok(journal) => journal,
            // Not the mail's fault: it stays in the spool until the machine can start processes again.
            Err(failure) => crate::keeper::begin_anew(self.core.data.path(), &failure),
        };
        let told = lock(&self.astray).after(&mail.envelope, policy, &journal);
        if let Some(told) = told {
            self.core.troubles.set_all(Work::Journal, told);
        }
        journal
    }

    /// Which of two candidates it is: the one whose content is known, or else the likeliest. From now on that is under way.
    /// Whether it was known comes with it.
    fn settle(
        &self,
        tenant: &TenantId,
        likeliest: Candidate,
        other: Option<Candidate>,
    ) -> Result<(Candidate, bool), CoreError> {
        let mut under_way = lock(&self.under_way);
        // First under way, then the catalog: what a commit takes from the one is in the other by then.
        let is_known = |(_, join): &Candidate| -> Result<bool, CoreError> {
            Ok(under_way.contains(&(tenant.clone(), *join))
                || self.core.catalog().by_content(tenant, join)?.is_some())
        };
        let (chosen, known) = match other {
            _ if is_known(&likeliest)? => (likeliest, true),
            Some(other) if is_known(&other)? => (other, true),
            _ => (likeliest, false),
        };
        under_way.insert((tenant.clone(), chosen.1));
        Ok((chosen, known))
    }
}

/// A stretch of a mail's bytes.
pub(super) fn part<'a>(
    mail: &'a SpooledMail,
    range: &Range<u64>,
) -> io::Result<Box<dyn Read + Send + 'a>> {
    let mut body = mail.body.open();
    io::copy(&mut (&mut body).take(range.start), &mut io::sink())?;
    Ok(Box::new(body.take(range.end.saturating_sub(range.start))))
}

fn bytes(mail: &SpooledMail, range: &Range<u64>) -> io::Result<Vec<u8>> {
    if range.is_empty() {
        return Ok(Vec::new());
    }
    let mut out = Vec::new();
    part(mail, range)?.read_to_end(&mut out)?;
    Ok(out)
}

/// Of the mail that lies there: where the trace fields in front end, and SHA-256 of what follows them.
fn fingerprint(mail: &SpooledMail, place: &Range<u64>) -> io::Result<(u64, [u8; 32])> {
    let whole = mail.body.in_memory();
    let within = |bytes: &u64| usize::try_from(*bytes).ok();
    if let Some(inside) = whole.and_then(|all| all.get(within(&place.start)?..within(&place.end)?))
    {
        let prefix = trace_prefix(inside);
        let digest = Sha256::digest(&inside[prefix..]).into();
        return Ok((place.start + prefix as u64, digest));
    }
    let mut body = part(mail, place)?;
    let mut start = Vec::new();
    (&mut body).take(64 * 1024).read_to_end(&mut start)?;
    let prefix = trace_prefix(&start);
    let mut sum = Sha256::new_with_prefix(&start[prefix..]);
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match body.read(&mut buffer)? {
            0 => break,
            read => sum.update(&buffer[..read]),
        }
    }
    Ok((place.start + prefix as u64, sum.finalize().into()))
}
