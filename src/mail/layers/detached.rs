//! Detached signatures that are attached beside what they are over: `report.pdf` with `report.pdf.sig` or `report.pdf.p7s`,
//! `signature.asc` behind the text, `smime.p7s` in a multipart that lost its type and got a footer. Each is over a part of the
//! mail only, whatever it is.

use super::{Spot, Walk};
use crate::mail::context::{Unopened, Unwrapped};
use crate::mail::mime::Part;
use crate::mail::model::Format;
use crate::mail::openpgp::packets::{packets, tag};
use crate::mail::openpgp::{self, armor};
use crate::mail::{smime, sniff, transfer};

/// Endings of the file name of an OpenPGP signature.
const ENDINGS: [&str; 3] = [".sig", ".asc", ".sign"];
/// Those of a CMS signature, which says itself what it is.
const CMS_ENDINGS: [&str; 6] = [".p7s", ".p7m", ".pkcs7", ".p7", ".p7b", ".sig"];
/// Signatures looked at in one multipart.
const MOST: usize = 20;
/// Parts of a multipart that a signature without a telling name is tried on.
const MOST_CONTENTS: usize = 10;
/// Bytes of all contents that signatures of one mail are tried on: multiparts lie in each other, and each has some.
const MOST_TRIED: u64 = 256 << 20;
/// Largest CMS object that is looked at as a detached signature, encoded: lists of revoked certificates may be in it.
const LARGEST_CMS: usize = 4 << 20;

/// A detached signature in a part of its own.
struct Detached {
    at: usize,
    format: Format,
    bytes: Vec<u8>,
}

impl Walk<'_> {
    /// Checks the signatures among the parts of a multipart that is not `multipart/signed`. Returns which parts they are.
    pub(super) fn detached_files(&mut self, spot: Spot<'_>) -> Vec<usize> {
        let children = spot.part.children.iter().enumerate();
        let found = children.filter_map(|(at, child)| {
            let (format, bytes) = signature(spot.bytes, child)?;
            Some(Detached { at, format, bytes })
        });
        let found: Vec<Detached> = found.take(MOST).collect();
        let places: Vec<usize> = found.iter().map(|signature| signature.at).collect();
        for signature in &found {
            let result = self.detached_file(spot, signature, &places);
            self.settle_signature(result, signature.format, &spot.place.part());
        }
        places
    }

    /// Over the file that the signature is named after, or else over whichever part it fits: that may be the one before it,
    /// as the signature of a `multipart/signed` is, or any other.
    fn detached_file(
        &self,
        spot: Spot<'_>,
        signature: &Detached,
        signatures: &[usize],
    ) -> Result<Unwrapped, Unopened> {
        let children = &spot.part.children;
        let over = |content: &Part| self.over_file(spot.child(content, spot.place), signature);
        let signed_name = signed_name(
            signature,
            &children[signature.at].file_name().to_lowercase(),
        );
        let is_signed = |child: &&Part| {
            signed_name.as_deref() == Some(child.file_name().to_lowercase().as_str())
        };
        if let Some(named) = children.iter().find(is_signed) {
            return over(named);
        }
        // What is not named may be something else than what was signed.
        let (before, after) = children.split_at(signature.at);
        let nearest = before.iter().enumerate().rev();
        let nearest = nearest.chain(
            after
                .iter()
                .enumerate()
                .map(|(at, part)| (signature.at + at, part)),
        );
        let contents = nearest.filter(|(at, _)| !signatures.contains(at));
        let mut results = contents
            .take(MOST_CONTENTS)
            .map(|(_, content)| over(content));
        results
            .find(is_good)
            .unwrap_or_else(|| self.alone(signature, spot))
    }

    /// Whether a signature is to be tried on `content`; no more once a mail has taken enough of that.
    pub(super) fn may_try(&self, content: &[u8]) -> bool {
        let before = self.tried.get();
        self.tried.set(before.saturating_add(content.len() as u64));
        before < MOST_TRIED
    }

    /// Over the file, or over the MIME entity that has it.
    fn over_file(&self, content: Spot<'_>, signature: &Detached) -> Result<Unwrapped, Unopened> {
        let Detached { format, bytes, .. } = signature;
        let context = self.context(content.place);
        if !self.may_try(content.body()) {
            return self.alone(signature, content);
        }
        let file = content.decoded();
        let over_file = match format {
            Format::Smime => smime::open_over_file(bytes, &file, &context),
            Format::Openpgp => openpgp::open(bytes, Some(&file), &context),
        };
        let entity = &content.bytes[content.part.span.clone()];
        if is_good(&over_file) || !self.may_try(entity) {
            return over_file;
        }
        let over_entity = self.detached(*format, bytes, entity, content.place);
        if is_good(&over_entity) {
            over_entity
        } else {
            over_file
        }
    }

    fn alone(&self, signature: &Detached, spot: Spot<'_>) -> Result<Unwrapped, Unopened> {
        let context = self.context(spot.place);
        match signature.format {
            Format::Smime => smime::open(&signature.bytes, None, &context),
            Format::Openpgp => openpgp::open(&signature.bytes, None, &context),
        }
    }
}

/// The name of the file that a signature in a file called `name` is over.
fn signed_name(signature: &Detached, name: &str) -> Option<String> {
    let endings: &[&str] = match signature.format {
        Format::Smime => &CMS_ENDINGS,
        Format::Openpgp => &ENDINGS,
    };
    let signed = endings.iter().find_map(|ending| name.strip_suffix(ending));
    signed.map(str::to_owned)
}

fn is_good(result: &Result<Unwrapped, Unopened>) -> bool {
    result.as_ref().is_ok_and(Unwrapped::is_well_signed)
}

/// The detached signature that a part is.
fn signature(bytes: &[u8], part: &Part) -> Option<(Format, Vec<u8>)> {
    if !part.children.is_empty() {
        return None;
    }
    let cms = || cms_signature(bytes, part).map(|ber| (Format::Smime, ber));
    pgp_signature(bytes, part)
        .map(|packets| (Format::Openpgp, packets))
        .or_else(cms)
}

/// A detached CMS signature, whatever type and name it has.
fn cms_signature(bytes: &[u8], part: &Part) -> Option<Vec<u8>> {
    let body = &bytes[part.body.clone()];
    let encoding = part.encoding.as_str();
    let name = part.file_name().to_lowercase();
    let is_named = CMS_ENDINGS.iter().any(|ending| name.ends_with(ending));
    if body.len() > LARGEST_CMS || !is_named && !sniff::is_cms_text(body, encoding) {
        return None;
    }
    sniff::cms_in(body, encoding).filter(|ber| smime::is_detached_signature(ber))
}

/// The packets of a detached OpenPGP signature, by its type or name.
fn pgp_signature(bytes: &[u8], part: &Part) -> Option<Vec<u8>> {
    let name = part.file_name().to_lowercase();
    let declared = part.content_type.is("application/pgp-signature");
    let named = ENDINGS.iter().any(|ending| name.ends_with(ending));
    if !declared && !named {
        return None;
    }
    let body = &bytes[part.body.clone()];
    let encoding = part.encoding.as_str();
    // PGP 2 labels all of its armor `MESSAGE`.
    let found = sniff::openpgp_signatures_in(body, encoding)
        .or_else(|| sniff::openpgp_in(body, encoding, "MESSAGE"))?;
    // A clear-signed text has what it is over, and a file may have a message beside its signature.
    let text = transfer::decode(body, encoding);
    let labels: Vec<String> = armor::blocks(&text).map(|block| block.label).collect();
    let has = |label: &str| labels.iter().any(|found| found == label);
    if has(armor::SIGNED_MESSAGE) || has("MESSAGE") && has("SIGNATURE") {
        return None;
    }
    let first = packets(&found).next()?.ok()?;
    (first.tag == tag::SIGNATURE).then_some(found)
}
