//! How much work a locked key file asks for before anything in it is believed.

use crate::mail::smime::ber::{Element, Reader, tag};
use crate::secret::SecretBytes;
use std::cell::Cell;

/// Most rounds of a derivation from a passphrase, some seconds of work; more is a file made to keep us busy.
pub const MOST: u64 = 10_000_000;
/// Most rounds of all derivations in a file together, of which each passphrase that is tried may need all.
pub const MOST_IN_ALL: u64 = 4 * MOST;
/// Most rounds of all passphrases that are tried on all that is in a file.
const MOST_TRIED: u64 = 2 * MOST_IN_ALL;
/// Deepest nesting looked at; a PKCS#12 has less than half of it.
const DEEPEST: u32 = 32;

/// The passphrases for what is locked in one file, and the work that may still be spent on trying them.
pub struct Tries<'p> {
    passphrases: &'p [SecretBytes],
    left: Cell<u64>,
}

impl<'p> Tries<'p> {
    /// Nothing tried yet.
    #[must_use]
    pub const fn of(passphrases: &'p [SecretBytes]) -> Self {
        Self {
            passphrases,
            left: Cell::new(MOST_TRIED),
        }
    }

    /// All of them, for what costs little.
    #[must_use]
    pub const fn passphrases(&self) -> &'p [SecretBytes] {
        self.passphrases
    }

    /// Takes off the rounds of one try; false where it is beyond what is allowed.
    #[must_use]
    pub fn may_spend(&self, rounds: u64) -> bool {
        let left = self.left.get().checked_sub(rounds);
        self.left.set(left.unwrap_or(0));
        left.is_some()
    }

    /// The passphrases, then the empty one, each for a try of so many rounds, as far as the work goes.
    pub fn each(&self, rounds: u64) -> impl Iterator<Item = &'p [u8]> {
        let given = self.passphrases.iter().map(SecretBytes::expose);
        let all = given.chain([b"".as_slice()]);
        all.take_while(move |_| self.may_spend(rounds))
    }
}

/// The most rounds that a PKCS#12 or an encrypted PKCS#8 asks for at once: for its MAC, a safe or a key. In all of them
/// it is the number right behind the salt. Three numbers there are scrypt's and count together. What lies inside an
/// encrypted safe is not seen.
#[must_use]
pub fn asked_for(bytes: &[u8]) -> u64 {
    Element::split(bytes).map_or(0, |(element, _)| inside(&element, 0, u64::max))
}

/// As [`asked_for`], the rounds of all of it together.
#[must_use]
pub fn in_all(bytes: &[u8]) -> u64 {
    Element::split(bytes).map_or(0, |(element, _)| inside(&element, 0, u64::saturating_add))
}

fn inside(element: &Element<'_>, depth: u32, both: fn(u64, u64) -> u64) -> u64 {
    if depth == DEEPEST {
        return 0;
    }
    if element.tag & !tag::CONSTRUCTED == tag::OCTET_STRING {
        let octets = element.octet_string().unwrap_or_default();
        let nested = Element::only(&octets).ok();
        let nested = nested.filter(|nested| nested.tag == tag::SEQUENCE);
        return nested.map_or(0, |nested| inside(&nested, depth + 1, both));
    }
    if element.tag & tag::CONSTRUCTED == 0 {
        return 0;
    }
    let deeper = values(element.inside()).map(|value| inside(&value, depth + 1, both));
    deeper.fold(behind_salt(element), both)
}

fn values(reader: Reader<'_>) -> impl Iterator<Item = Element<'_>> {
    reader.map_while(Result::ok)
}

/// The salt is the first value of a derivation's parameters, and the second of a MAC, behind its digest. Numbers that
/// follow another OCTET STRING are none of rounds: the curve of a key that spells it out has its order there.
fn behind_salt(element: &Element<'_>) -> u64 {
    let mut inside = values(element.inside()).skip_while(|value| value.tag == tag::SEQUENCE);
    let first = inside.next();
    if first.is_none_or(|value| value.tag & !tag::CONSTRUCTED != tag::OCTET_STRING) {
        return 0;
    }
    let numbers = inside
        .take_while(|value| value.tag == tag::INTEGER)
        .map(|value| number(value.body));
    match numbers.collect::<Vec<u64>>().as_slice() {
        [cost, block, parallel, ..] => cost.saturating_mul(*block).saturating_mul(*parallel),
        [rounds, ..] => *rounds,
        [] => 0,
    }
}

/// An unsigned number; what is longer than any is as large as can be.
fn number(octets: &[u8]) -> u64 {
    let significant = octets.iter().skip_while(|octet| **octet == 0);
    let shifted = significant.fold(0_u128, |value, octet| {
        (value.saturating_mul(256)).saturating_add(u128::from(*octet))
    });
    u64::try_from(shifted).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::smime::ber::der;
    use proptest::prelude::*;

    fn salted(numbers: &[&[u8]]) -> Vec<u8> {
        let numbers = numbers.iter().flat_map(|number| der(tag::INTEGER, number));
        let salt = der(tag::OCTET_STRING, b"salt");
        der(
            tag::SEQUENCE,
            &salt.into_iter().chain(numbers).collect::<Vec<u8>>(),
        )
    }

    #[test]
    fn the_numbers_behind_a_salt_are_rounds() {
        let pbkdf2 = salted(&[&[0x7f, 0xff, 0xff, 0xff], &[32]]);
        assert_eq!(asked_for(&pbkdf2), 0x7fff_ffff);
        let scrypt = salted(&[&[0x40, 0], &[8], &[1]]);
        assert_eq!(asked_for(&scrypt), 1 << 17);
        let safe = der(tag::context(0), &der(tag::OCTET_STRING, &pbkdf2));
        let few = salted(&[&[8, 0]]);
        let file = der(tag::SEQUENCE, &[few, safe].concat());
        assert_eq!(asked_for(&file), 0x7fff_ffff);
        assert_eq!(in_all(&file), 0x7fff_ffff + 2048);
        assert_eq!(asked_for(&der(tag::SEQUENCE, &der(tag::INTEGER, &[99]))), 0);
        let mac = [
            der(tag::SEQUENCE, b""),
            Element::only(&pbkdf2).unwrap().body.to_vec(),
        ]
        .concat();
        assert_eq!(asked_for(&der(tag::SEQUENCE, &mac)), 0x7fff_ffff);
    }

    #[test]
    fn what_all_tries_cost_is_bounded() {
        let passphrases: Vec<_> = (0..100)
            .map(|number| SecretBytes::from(number.to_string()))
            .collect();
        let tries = Tries::of(&passphrases);
        assert_eq!(tries.each(2048).count(), 101);
        assert_eq!(tries.each(MOST).count(), 7);
        assert_eq!(tries.each(2048).count(), 0);
        let none = Tries::of(&[]);
        assert_eq!(none.each(MOST_IN_ALL).collect::<Vec<_>>(), [b""]);
        assert!(none.may_spend(MOST_IN_ALL) && !none.may_spend(1));
    }

    #[test]
    fn the_order_of_a_curve_is_no_number_of_rounds() {
        let parts = [
            der(tag::INTEGER, &[1]),
            der(tag::SEQUENCE, b""),
            der(tag::SEQUENCE, b""),
            der(tag::OCTET_STRING, &[4; 65]),
            der(tag::INTEGER, &[0x7f; 32]),
            der(tag::INTEGER, &[1]),
        ];
        assert_eq!(asked_for(&der(tag::SEQUENCE, &parts.concat())), 0);
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let file = der(tag::SEQUENCE, &bytes);
            prop_assert!(asked_for(&file) <= in_all(&file));
        }
    }
}
