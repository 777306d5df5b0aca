//! S/MIME objects: in a part, or inside each other.

use super::file::file_in_cms;
use super::{Place, Spot, Walk};
use crate::mail::model::Format;
use crate::mail::rendition::{Edits, as_entity};
use crate::mail::smime;
use std::borrow::Cow;

/// What a CMS object held.
pub(super) struct Peeled {
    pub(super) plaintext: Vec<u8>,
    /// How many layers were peeled.
    pub(super) layers: u32,
    /// The plaintext is a CMS object that did not open, and has been told of.
    pub(super) closed: bool,
}

impl Walk<'_> {
    /// Opens a CMS object and every CMS object directly inside it. Returns the first plaintext that is something
    /// else, or a CMS object that did not open.
    pub(super) fn open_cms(&mut self, ber: Cow<'_, [u8]>, place: &Place) -> Option<Peeled> {
        let (mut plaintext, mut peeled, mut inner_is_cms) = self.open_one_cms(ber, place)?;
        while inner_is_cms {
            let inside = place.inside(peeled);
            if inside.nesting >= self.policy.bounds.depth {
                break;
            }
            let Some((next, count, more)) = self.open_one_cms(Cow::Borrowed(&plaintext), &inside)
            else {
                return Some(Peeled {
                    plaintext,
                    layers: peeled,
                    closed: true,
                });
            };
            (plaintext, peeled, inner_is_cms) = (next, peeled + count, more);
        }
        Some(Peeled {
            plaintext,
            layers: peeled,
            closed: false,
        })
    }

    /// A large object is not kept beside what is in it, where it is ours.
    fn open_one_cms(&mut self, ber: Cow<'_, [u8]>, place: &Place) -> Option<(Vec<u8>, u32, bool)> {
        let context = self.context(place);
        let result = match ber {
            Cow::Borrowed(ber) => smime::open(ber, None, &context),
            Cow::Owned(ber) => smime::open_owned(ber, &context),
        };
        let inner_is_cms = result.as_ref().is_ok_and(|opened| opened.inner_is_cms);
        let (plaintext, count) = self.settle(result, Format::Smime, place)?;
        Some((plaintext, count, inner_is_cms))
    }

    /// A signature that lies in a part of its own, outside `multipart/signed`: opened if it holds its content, else
    /// noted. The mail is no less readable for it.
    pub(super) fn lone_signature(&mut self, spot: Spot<'_>, ber: Vec<u8>, edits: &mut Edits) {
        let result = smime::open(&ber, None, &self.context(spot.place));
        if result.is_err() {
            self.settle_signature(result, Format::Smime, &spot.place.part());
        } else {
            self.cms_part(spot, ber, edits);
        }
    }

    /// Opens the CMS object that the part holds and puts its content in the part's place: a file where the object is
    /// named after one.
    pub(super) fn cms_part(&mut self, spot: Spot<'_>, ber: Vec<u8>, edits: &mut Edits) {
        let before = self.signatures.len();
        let place = spot.place_of_object(spot.part.file_name());
        let Some(peeled) = self.open_cms(Cow::Owned(ber), &place) else {
            return;
        };
        if spot.is_message {
            self.compare_senders(before, &peeled.plaintext);
        }
        if peeled.plaintext.is_empty() {
            return;
        }
        let inner = match file_in_cms(spot.part.file_name(), peeled.layers) {
            Some(name) if !peeled.closed => {
                let inside = place.inside(peeled.layers);
                self.inside_file(spot, peeled.plaintext, name, &inside)
            }
            _ => self.inside_cms(peeled, &place),
        };
        spot.replace(inner, edits);
    }

    /// What a CMS object in `place` held, opened further, as a MIME entity.
    fn inside_cms(&mut self, peeled: Peeled, place: &Place) -> Vec<u8> {
        if peeled.closed {
            as_entity(peeled.plaintext)
        } else {
            self.inside_entity(peeled.plaintext, &place.inside(peeled.layers))
        }
    }
}
