//! X.501 names: shown to people, and brought into one form to look keys up by. Senders re-encode an
//! issuer's name (PrintableString as UTF8String), and the key must be found all the same.

use super::ber::{BerError, Element, der, tag};
use crate::mail::keyops::KeyHint;

/// Short names of attribute types, by the last bytes of their object identifiers.
const SHORT: &[(&str, &str)] = &[
    ("2.5.4.3", "CN"),
    ("2.5.4.4", "SN"),
    ("2.5.4.5", "serialNumber"),
    ("2.5.4.6", "C"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("2.5.4.42", "GN"),
    ("1.2.840.113549.1.9.1", "emailAddress"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("0.9.2342.19200300.100.1.1", "UID"),
];

/// The text of a directory string; `None` if it is another type.
#[must_use]
pub fn text(value: &Element<'_>) -> Option<String> {
    let bytes = value.octets().ok()?;
    match value.tag & 0x1f {
        // UTF8String; Latin-1 in it is a common error.
        0x0c => Some(match std::str::from_utf8(&bytes) {
            Ok(text) => text.to_owned(),
            Err(_) => latin1(&bytes),
        }),
        // Numeric, Printable, Teletex (Latin-1 in practice), IA5, Visible
        0x12 | 0x13 | 0x14 | 0x16 | 0x1a => Some(latin1(&bytes)),
        0x1c => Some(wide(&bytes, 4)),
        0x1e => Some(wide(&bytes, 2)),
        _ => None,
    }
}

fn latin1(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

fn wide(bytes: &[u8], width: usize) -> String {
    let points = bytes
        .chunks(width)
        .map(|unit| unit.iter().fold(0, |v, b| (v << 8) | u32::from(*b)));
    points
        .map(|point| char::from_u32(point).unwrap_or(char::REPLACEMENT_CHARACTER))
        .collect()
}

/// A Name as "CN=Alice, O=Example", in its own order.
pub fn show(name: &Element<'_>) -> Result<String, BerError> {
    let mut shown = Vec::new();
    for rdn in name.inside() {
        for attribute in rdn?.inside() {
            let mut inside = attribute?.inside();
            let kind = inside.value("an attribute type")?.oid()?.to_string();
            let value = inside.value("an attribute value")?;
            let short = SHORT
                .iter()
                .find(|(dotted, _)| *dotted == kind)
                .map(|(_, short)| *short);
            let value = text(&value).unwrap_or_else(|| data_encoding::HEXLOWER.encode(value.raw));
            let clean: String = value
                .chars()
                .filter(|c| !c.is_control())
                .take(200)
                .collect();
            shown.push(format!("{}={clean}", short.unwrap_or(&kind)));
        }
    }
    Ok(shown.join(", "))
}

/// A Name with every directory string as UTF8String and single spaces: two encodings of one name become equal.
pub fn canonical(name: &Element<'_>) -> Result<Vec<u8>, BerError> {
    with_text(name, |text| text)
}

/// The same in lower case, as names are compared (RFC 5280, section 7.1).
pub fn folded(name: &Element<'_>) -> Result<Vec<u8>, BerError> {
    with_text(name, |text| text.to_lowercase())
}

fn with_text(name: &Element<'_>, change: fn(String) -> String) -> Result<Vec<u8>, BerError> {
    let mut rdns = Vec::new();
    for rdn in name.inside() {
        let mut attributes = Vec::new();
        for attribute in rdn?.inside() {
            let mut inside = attribute?.inside();
            let kind = inside.value("an attribute type")?;
            let value = inside.value("an attribute value")?;
            let value = match text(&value) {
                Some(text) => {
                    let words: Vec<&str> = text.split_whitespace().collect();
                    der(tag::UTF8_STRING, change(words.join(" ")).as_bytes())
                }
                None => value.to_der()?,
            };
            attributes.push(der(tag::SEQUENCE, &[kind.raw, &value].concat()));
        }
        attributes.sort();
        rdns.extend(der(tag::SET, &attributes.concat()));
    }
    Ok(der(tag::SEQUENCE, &rdns))
}

/// The hint that names a key by issuer and serial number, in canonical form.
pub fn issuer_serial(issuer: &Element<'_>, serial: &Element<'_>) -> Result<KeyHint, BerError> {
    Ok(KeyHint::IssuerSerial {
        issuer: canonical(issuer)?,
        serial: serial.integer()?.to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_encodings_of_one_name_are_equal() {
        let name = |string_tag: u8| {
            let kind = [0x06, 0x03, 0x55, 0x04, 0x03];
            let value = der(string_tag, b"Example  CA");
            let attribute = der(tag::SEQUENCE, &[kind.as_slice(), &value].concat());
            der(tag::SEQUENCE, &der(tag::SET, &attribute))
        };
        let (printable, utf8) = (name(0x13), name(0x0c));
        let printable = Element::only(&printable).unwrap();
        let utf8 = Element::only(&utf8).unwrap();
        assert_eq!(canonical(&printable), canonical(&utf8));
        assert_eq!(show(&printable).unwrap(), "CN=Example  CA");
    }
}
