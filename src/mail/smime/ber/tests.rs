use super::*;
use proptest::prelude::*;

#[test]
fn an_indefinite_constructed_string_reads_as_its_pieces() {
    let bytes = [
        0x24, 0x80, 0x04, 0x02, 1, 2, 0x24, 0x80, 0x04, 0x81, 0x01, 3, 0, 0, 0, 0,
    ];
    let element = Element::only(&bytes).unwrap();
    assert_eq!(element.octet_string().unwrap().as_ref(), [1, 2, 3]);
    assert_eq!(element.to_der().unwrap(), [4, 3, 1, 2, 3]);
}

#[test]
fn longer_lengths_than_needed_become_minimal() {
    let bytes = [0x30, 0x84, 0, 0, 0, 3, 2, 1, 5];
    assert_eq!(
        Element::only(&bytes).unwrap().to_der().unwrap(),
        [0x30, 3, 2, 1, 5]
    );
}

#[test]
fn an_indefinite_length_as_long_as_a_definite_one_is_not_taken_for_it() {
    let inside = [&[4, 0x81, 0xfd][..], &[7; 253]].concat();
    let bytes = [&[0x30, 0x80][..], &inside, &[0, 0]].concat();
    let der = Element::only(&bytes).unwrap().to_der().unwrap();
    assert_eq!(der, [&[0x30, 0x82, 1, 0][..], &inside].concat());
}

#[test]
fn nesting_is_bounded_without_recursion() {
    let bomb = [0x30, 0x80].repeat(1_000_000);
    assert_eq!(Element::split(&bomb), Err(BerError::TooDeep));
}

#[test]
fn integers_lose_their_padding() {
    let element = Element::only(&[2, 3, 0, 0, 0x81]).unwrap();
    assert_eq!(element.integer().unwrap(), [0, 0x81]);
    assert_eq!(element.small().unwrap(), 0x81);
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        if let Ok((element, rest)) = Element::split(&bytes) {
            prop_assert_eq!(element.raw.len() + rest.len(), bytes.len());
            let _ = element.octets();
            if let Ok(der) = element.to_der() {
                // What was transcoded once stays as it is.
                let again = Element::only(&der).and_then(|again| again.to_der());
                prop_assert_eq!(again, Ok(der));
            }
        }
    }

    #[test]
    fn strings_round_trip(bytes in proptest::collection::vec(any::<u8>(), 0..70_000)) {
        let encoded = der(tag::OCTET_STRING, &bytes);
        let element = Element::only(&encoded).unwrap();
        let octets = element.octet_string().unwrap();
        prop_assert_eq!(octets.as_ref(), bytes.as_slice());
    }
}
