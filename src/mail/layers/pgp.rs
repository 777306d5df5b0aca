//! OpenPGP objects: PGP/MIME, armored and binary attachments, and the keys a message brings along.

use super::file::{file_in, stripped};
use super::{Place, Spot, Walk};
use crate::mail::context::OpenPgpCertificate;
use crate::mail::mime::Part;
use crate::mail::model::Format;
use crate::mail::openpgp::packets::{packets, tag};
use crate::mail::openpgp::{self, armor};
use crate::mail::rendition::Edits;
use crate::mail::transfer;

/// Keys taken from one message.
const MAX_MESSAGE_KEYS: usize = 16;
/// Largest key taken from a message, in bytes.
const MAX_KEY_BYTES: usize = 1 << 20;
/// Most signatures in one of them.
const MAX_KEY_SIGNATURES: usize = 200;
/// Most packets of other kinds in one of them: keys and user ids, each of which is looked for elsewhere.
const MAX_KEY_PACKETS: usize = 64;

impl Walk<'_> {
    /// Opens an OpenPGP message. Returns its literal data and how many layers it had; nothing for a detached signature,
    /// which stays as it is.
    pub(super) fn open_pgp(&mut self, packets: Vec<u8>, place: &Place) -> Option<(Vec<u8>, u32)> {
        let result = openpgp::open_owned(packets, &self.context(place));
        let detached = matches!(&result, Ok(opened) if opened.layers.iter().any(|layer| layer.kind == openpgp::DETACHED));
        self.settle(result, Format::Openpgp, place)
            .filter(|_| !detached)
    }

    /// Opens `packets` and puts the MIME entity inside in the part's place.
    pub(super) fn pgp_entity(&mut self, spot: Spot<'_>, packets: Vec<u8>, edits: &mut Edits) {
        let before = self.signatures.len();
        let Some((plaintext, count)) = self.open_pgp(packets, spot.place) else {
            return;
        };
        if spot.is_message {
            self.compare_senders(before, &plaintext);
        }
        let inner = self.inside_entity(plaintext, &spot.place.inside(count));
        spot.replace(inner, edits);
    }

    /// Opens an attached message. An encrypted file is replaced by the file, without the ending `.gpg`, `.pgp` or
    /// `.asc`; what is a MIME entity, or all of the mail and not named as a file, is put there as such.
    pub(super) fn pgp_attachment(
        &mut self,
        spot: Spot<'_>,
        packets: Vec<u8>,
        name: &str,
        edits: &mut Edits,
    ) {
        if spot.is_message && file_in(name).is_none() {
            return self.pgp_entity(spot, packets, edits);
        }
        let before = self.signatures.len();
        let place = spot.place_of_object(name);
        let Some((plaintext, count)) = self.open_pgp(packets, &place) else {
            return;
        };
        if spot.is_message {
            self.compare_senders(before, &plaintext);
        }
        let inside = place.inside(count);
        let inner = self.inside_file(spot, plaintext, stripped(name), &inside);
        spot.replace(inner, edits);
    }

    /// Remembers the OpenPGP keys that a message brings: Autocrypt fields, `application/pgp-keys`, armored blocks
    /// in attachments. They serve for the bare check of a signature and are never trusted.
    pub(super) fn collect_keys(&mut self, bytes: &[u8], root: &Part) {
        for name in ["autocrypt", "autocrypt-gossip"] {
            for value in root.all(bytes, name) {
                let text = String::from_utf8_lossy(value);
                if let Some((_, data)) = text.split_once("keydata=") {
                    self.remember_key(transfer::base64(data.as_bytes()));
                }
            }
        }
        self.collect_attached_keys(bytes, root);
    }

    fn collect_attached_keys(&mut self, bytes: &[u8], part: &Part) {
        for child in &part.children {
            self.collect_attached_keys(bytes, child);
        }
        let is_cms = part.content_type.subtype.contains("pkcs7");
        if is_cms || !part.children.is_empty() || part.body.len() > MAX_KEY_BYTES * 2 {
            return;
        }
        let declared = part.content_type.is("application/pgp-keys");
        let body = transfer::decode(&bytes[part.body.clone()], &part.encoding);
        let mut found = false;
        if armor::KEYS.find(&body).is_some() {
            for block in armor::blocks(&body).filter(|block| block.label == "PUBLIC KEY BLOCK") {
                found = true;
                self.remember_key(block.bytes);
            }
        }
        if declared && !found {
            self.remember_key(body.into_owned());
        }
    }

    fn remember_key(&mut self, mut key: Vec<u8>) {
        key.truncate(checkable(&key));
        let is_key = matches!(key.first(), Some(0x98..=0x9b | 0xc6));
        if is_key && key.len() <= MAX_KEY_BYTES && self.attached.len() < MAX_MESSAGE_KEYS {
            self.attached.push(OpenPgpCertificate {
                bytes: key,
                source: openpgp::FROM_MESSAGE.to_owned(),
            });
        }
    }
}

/// How much of a key that came with a mail is looked at: as far as a number of signatures, each of which costs a check,
/// and of other packets.
fn checkable(key: &[u8]) -> usize {
    let mut all = packets(key);
    let (mut signatures, mut others) = (0, 0);
    let mut end = 0;
    while let Some(Ok(packet)) = all.next() {
        let kind = if packet.tag == tag::SIGNATURE {
            &mut signatures
        } else {
            &mut others
        };
        *kind += 1;
        if signatures > MAX_KEY_SIGNATURES || others > MAX_KEY_PACKETS {
            break;
        }
        end = key.len() - all.rest().len();
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::openpgp::packets::framed;
    use proptest::prelude::*;

    #[test]
    fn a_key_is_cut_before_one_signature_too_many() {
        let signature = framed(tag::SIGNATURE, b"x");
        let key = framed(tag::PUBLIC_KEY, b"key");
        let all = [&key[..], &signature.repeat(MAX_KEY_SIGNATURES)].concat();
        assert_eq!(checkable(&all), all.len());
        assert_eq!(checkable(&[&all[..], &signature, &key].concat()), all.len());
        let ring = key.repeat(MAX_KEY_PACKETS);
        assert_eq!(checkable(&[&ring[..], &key].concat()), ring.len());
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(key in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(checkable(&key) <= key.len());
        }
    }
}
