//! Putting results together: layers and signatures at their depth, and the outcome of the whole mail.

use super::{Place, Walk, bare, scope, sender};
use crate::mail::context::{Failure, Unopened, Unwrapped};
use crate::mail::model::{
    Format, Integrity, Layer, Opened, Outcome, SearchText, Signature, Verdict,
};

impl Walk<'_> {
    /// Takes over an object's layers and signatures. Returns its plaintext and how many layers it had.
    fn absorb(&mut self, opened: Unwrapped, place: &Place) -> (Vec<u8>, u32) {
        let count = u32::try_from(opened.layers.len())
            .unwrap_or(u32::MAX)
            .max(1);
        self.place_results(opened.layers, opened.signatures, place);
        (opened.plaintext, count)
    }

    /// Takes over what is known of an object that did not open.
    pub(super) fn absorb_failure(&mut self, unopened: Unopened, format: Format, place: &Place) {
        let Unopened {
            failure,
            mut layers,
            signatures,
        } = unopened;
        let outcome = failure.outcome();
        match layers.last_mut() {
            Some(last) => {
                last.outcome = outcome;
                last.reason.get_or_insert_with(|| failure.to_string());
            }
            None => layers.push(unreadable(format, outcome, &failure)),
        }
        self.place_results(layers, signatures, place);
        if let Failure::NoKey { waiting_for } | Failure::Misfit { waiting_for } = failure {
            self.waiting_for.extend(waiting_for);
        }
    }

    fn place_results(&mut self, layers: Vec<Layer>, signatures: Vec<Signature>, place: &Place) {
        let scope = scope(place);
        self.layers.extend(layers.into_iter().map(|layer| Layer {
            depth: layer.depth + place.depth,
            ..layer
        }));
        self.signatures
            .extend(signatures.into_iter().map(|found| Signature {
                depth: found.depth + place.depth,
                scope,
                from: place.from.clone(),
                ..found
            }));
    }

    /// Takes over the result for an encrypted or opaque object.
    pub(super) fn settle(
        &mut self,
        result: Result<Unwrapped, Unopened>,
        format: Format,
        place: &Place,
    ) -> Option<(Vec<u8>, u32)> {
        match result {
            Ok(opened) => {
                let (plaintext, count) = self.absorb(opened, place);
                Some((bare::without_mark(plaintext), count))
            }
            Err(unopened) => {
                self.absorb_failure(unopened, format, place);
                None
            }
        }
    }

    /// Takes over the result for a detached or clear-text signature: one that cannot be read is `invalid`, and
    /// the mail is no less readable for it. Returns how many layers it had.
    pub(super) fn settle_signature(
        &mut self,
        result: Result<Unwrapped, Unopened>,
        format: Format,
        place: &Place,
    ) -> u32 {
        match result {
            Ok(opened) => self.absorb(opened, place).1,
            Err(Unopened {
                failure,
                mut layers,
                mut signatures,
            }) => {
                if layers.is_empty() {
                    layers.push(clear_signed(format));
                }
                for layer in &mut layers {
                    layer.outcome = Outcome::NotEncrypted;
                }
                if signatures.is_empty() {
                    signatures.push(unreadable_signature(format, &failure));
                }
                let count = u32::try_from(layers.len()).unwrap_or(u32::MAX);
                self.place_results(layers, signatures, place);
                count
            }
        }
    }

    /// Notes that what was announced as a signature is one of nobody: certificates alone, for one.
    pub(super) fn nobody_signed(&mut self, format: Format, place: &Place) {
        let reason = "missing: nobody signed it".to_owned();
        let signature = Signature::bare(format, Verdict::Invalid, reason);
        self.place_results(Vec::new(), vec![signature], place);
    }

    /// Compares the signers of the signatures since `first` with the From that their content brings along.
    pub(super) fn compare_senders(&mut self, first: usize, content: &[u8]) {
        self.compare_with(first, &sender::brought(content));
    }

    /// Compares the signers of the signatures since `first` with `senders`.
    pub(super) fn compare_with(&mut self, first: usize, senders: &[String]) {
        for signature in &mut self.signatures[first..] {
            sender::compare(signature, senders);
        }
    }

    /// The outcome of the whole mail, and all that was found.
    pub(super) fn into_opened(mut self, rendition: Option<Vec<u8>>, text: SearchText) -> Opened {
        let opened = self
            .layers
            .iter()
            .filter(|layer| is_encryption(layer) && layer.outcome == Outcome::Opened)
            .count();
        let layers_failed = self
            .layers
            .iter()
            .filter(|layer| !matches!(layer.outcome, Outcome::Opened | Outcome::NotEncrypted))
            .map(|layer| (layer.outcome, layer.reason.clone().unwrap_or_default()));
        let bounds_passed = self
            .failures
            .iter()
            .map(|failure| (failure.outcome(), failure.to_string()));
        let worst = layers_failed
            .chain(bounds_passed)
            .min_by_key(|(outcome, _)| rank(*outcome));
        let (outcome, reason) = match worst {
            None if opened > 0 => (Outcome::Opened, None),
            None => (Outcome::NotEncrypted, None),
            Some((_, reason)) if opened > 0 => (Outcome::Partly, Some(reason)),
            Some((outcome, reason)) => (outcome, Some(reason)),
        };
        self.waiting_for.sort();
        self.waiting_for.dedup();
        Opened {
            outcome,
            reason,
            layers: self.layers,
            signatures: self.signatures,
            rendition,
            text,
            waiting_for: self.waiting_for,
        }
    }
}

/// What can be done about it comes first: a passphrase, a key, a policy, nothing.
const fn rank(outcome: Outcome) -> u8 {
    match outcome {
        Outcome::LockedKey => 0,
        Outcome::NoKey => 1,
        Outcome::Refused => 2,
        _ => 3,
    }
}

pub(super) fn is_encryption(layer: &Layer) -> bool {
    matches!(
        layer.kind.as_str(),
        "enveloped" | "authenveloped" | "encrypted"
    )
}

fn bare_layer(format: Format, kind: &str, outcome: Outcome, reason: Option<String>) -> Layer {
    Layer {
        depth: 0,
        format,
        kind: kind.to_owned(),
        algorithms: Vec::new(),
        recipients: Vec::new(),
        key: None,
        integrity: Integrity::None,
        outcome,
        reason,
        plaintext_sha256: None,
        plaintext_lf_sha256: None,
    }
}

fn unreadable(format: Format, outcome: Outcome, failure: &Failure) -> Layer {
    bare_layer(format, "unreadable", outcome, Some(failure.to_string()))
}

fn clear_signed(format: Format) -> Layer {
    bare_layer(format, "clear-signed", Outcome::NotEncrypted, None)
}

fn unreadable_signature(format: Format, failure: &Failure) -> Signature {
    Signature::bare(format, Verdict::Invalid, format!("unreadable: {failure}"))
}
