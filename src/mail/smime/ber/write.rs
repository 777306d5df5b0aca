//! Writing DER: single values, and what was read as BER once more in DER.

use super::{BerError, Element, MAX_DEPTH, tag};

impl Element<'_> {
    /// The same value in definite, minimal lengths and primitive strings; order is kept. Equal to `raw` for what was DER
    /// already.
    pub fn to_der(&self) -> Result<Vec<u8>, BerError> {
        if is_der(self, 0) {
            return Ok(self.raw.to_vec());
        }
        let mut out = Vec::with_capacity(self.raw.len());
        write_der(self, &mut out, 0)?;
        Ok(out)
    }
}

fn write_der(element: &Element<'_>, out: &mut Vec<u8>, depth: usize) -> Result<(), BerError> {
    if depth > MAX_DEPTH {
        return Err(BerError::TooDeep);
    }
    let constructed = element.tag & tag::CONSTRUCTED != 0;
    let universal_string = is_universal_string(element.tag);
    if element.tag & 0x1f == 0x1f {
        out.extend_from_slice(element.raw);
    } else if !constructed {
        put(out, element.tag, element.body);
    } else if universal_string && element.tag & 0x1f != 0x03 {
        put(out, element.tag & !tag::CONSTRUCTED, &element.octets()?);
    } else {
        let mut inner = Vec::with_capacity(element.body.len());
        for child in element.inside() {
            write_der(&child?, &mut inner, depth + 1)?;
        }
        put(out, element.tag, &inner);
    }
    Ok(())
}

const fn is_universal_string(tag: u8) -> bool {
    tag & 0xc0 == 0 && matches!(tag & 0x1f, 0x03 | 0x04 | 0x0c | 0x12..=0x1e)
}

/// Whether a value is in definite, minimal lengths and primitive strings, all the way down. `false` may be said of what is.
fn is_der(element: &Element<'_>, depth: usize) -> bool {
    let primitive = element.tag & tag::CONSTRUCTED == 0;
    let minimal = element.tag & 0x1f != 0x1f
        && element.raw.len() == 1 + length_octets(element.body.len()) + element.body.len()
        && element.raw[1] != 0x80;
    minimal
        && (primitive
            || depth < MAX_DEPTH
                && !is_universal_string(element.tag)
                && element
                    .inside()
                    .all(|child| child.is_ok_and(|child| is_der(&child, depth + 1))))
}

/// Octets of a minimal length field.
const fn length_octets(len: usize) -> usize {
    if len < 0x80 {
        1
    } else {
        1 + (usize::BITS - len.leading_zeros()).div_ceil(8) as usize
    }
}

/// Appends one value in DER.
pub fn put(out: &mut Vec<u8>, tag: u8, body: &[u8]) {
    put_head(out, tag, body.len());
    out.extend_from_slice(body);
}

/// Appends tag and length of a value whose body has `len` octets.
pub fn put_head(out: &mut Vec<u8>, tag: u8, len: usize) {
    out.push(tag);
    if len < 0x80 {
        out.push(len as u8);
    } else {
        let bytes = len.to_be_bytes();
        let skip = bytes.iter().take_while(|byte| **byte == 0).count();
        out.push(0x80 | (bytes.len() - skip) as u8);
        out.extend_from_slice(&bytes[skip..]);
    }
}

/// One value in DER.
#[must_use]
pub fn der(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len() + 6);
    put(&mut out, tag, body);
    out
}
