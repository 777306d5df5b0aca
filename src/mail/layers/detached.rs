//! Detached OpenPGP signatures that are attached beside the file they are over: `report.pdf` with `report.pdf.sig`, or
//! `signature.asc` behind the text. Each is over a part of the mail only, whatever it is.

use super::{Spot, Walk};
use crate::mail::context::{Unopened, Unwrapped};
use crate::mail::mime::Part;
use crate::mail::model::Format;
use crate::mail::openpgp::armor;
use crate::mail::openpgp::packets::{packets, tag};
use crate::mail::{sniff, transfer};

/// Endings of a signature's file name.
const ENDINGS: [&str; 3] = [".sig", ".asc", ".sign"];
/// Signatures looked at in one multipart.
const MOST: usize = 20;

impl Walk<'_> {
    /// Checks the signatures among the parts of a multipart that is not `multipart/signed`. Returns which parts they are.
    pub(super) fn detached_files(&mut self, spot: Spot<'_>) -> Vec<usize> {
        let Spot { bytes, part, .. } = spot;
        let signatures = part.children.iter().enumerate();
        let signatures = signatures.filter_map(|(at, child)| Some((at, signature(bytes, child)?)));
        let mut found = Vec::new();
        for (at, signature) in signatures.take(MOST) {
            self.detached_file(spot, at, &signature);
            found.push(at);
        }
        found
    }

    fn detached_file(&mut self, spot: Spot<'_>, at: usize, signature: &[u8]) {
        let Spot { bytes, part, .. } = spot;
        let place = spot.place.part();
        let name = part.children[at].file_name().to_lowercase();
        let signed_name = ENDINGS.iter().find_map(|ending| name.strip_suffix(ending));
        let is_signed = |child: &&Part| {
            signed_name.is_some_and(|signed| child.file_name().to_lowercase() == signed)
        };
        let named = part.children.iter().find(is_signed);
        let before = part.children[..at].iter().rev();
        let mut before = before.filter(|child| self::signature(bytes, child).is_none());
        let result = match named.or_else(|| before.next()) {
            Some(content) => {
                let content = spot.child(content, spot.place);
                let result = self.over_file(content, signature);
                // What is not named may be something else than what was signed.
                let told = named.is_some() || is_good(&result);
                if told {
                    result
                } else {
                    self.alone(signature, &spot)
                }
            }
            None => self.alone(signature, &spot),
        };
        self.settle_signature(result, Format::Openpgp, &place);
    }

    /// Over the file, or over the MIME entity that has it.
    fn over_file(&self, content: Spot<'_>, signature: &[u8]) -> Result<Unwrapped, Unopened> {
        let check = |bytes: &[u8]| self.detached(Format::Openpgp, signature, bytes, content.place);
        let over_file = check(&content.decoded());
        if is_good(&over_file) {
            return over_file;
        }
        let over_entity = check(&content.bytes[content.part.span.clone()]);
        if is_good(&over_entity) {
            over_entity
        } else {
            over_file
        }
    }

    fn alone(&self, signature: &[u8], spot: &Spot<'_>) -> Result<Unwrapped, Unopened> {
        crate::mail::openpgp::open(signature, None, &self.context(spot.place))
    }
}

fn is_good(result: &Result<Unwrapped, Unopened>) -> bool {
    result.as_ref().is_ok_and(Unwrapped::is_well_signed)
}

/// The packets of a detached signature in a part of its own, by its type or name.
fn signature(bytes: &[u8], part: &Part) -> Option<Vec<u8>> {
    if !part.children.is_empty() {
        return None;
    }
    let name = part.file_name().to_lowercase();
    let declared = part.content_type.is("application/pgp-signature");
    let named = ENDINGS.iter().any(|ending| name.ends_with(ending));
    if !declared && !named {
        return None;
    }
    let body = &bytes[part.body.clone()];
    let encoding = part.encoding(bytes);
    // PGP 2 labels all of its armor `MESSAGE`.
    let found = sniff::openpgp_signatures_in(body, &encoding)
        .or_else(|| sniff::openpgp_in(body, &encoding, "MESSAGE"))?;
    // A clear-signed text has what it is over, and a file may have a message beside its signature.
    let text = transfer::decode(body, &encoding);
    let labels: Vec<String> = armor::blocks(&text).map(|block| block.label).collect();
    let has = |label: &str| labels.iter().any(|found| found == label);
    if has(armor::SIGNED_MESSAGE) || has("MESSAGE") && has("SIGNATURE") {
        return None;
    }
    let first = packets(&found).next()?.ok()?;
    (first.tag == tag::SIGNATURE).then_some(found)
}
