//! What a PDF's font says of its strings: their text and their width.

use lopdf::{Dictionary, Document, Encoding, Object};

/// Widths read of one font.
const MAX_WIDTHS: usize = 70_000;

/// Bytes of a string that are made text at once: whole characters, which have one, two or four.
const AT_ONCE: usize = 64;
/// What a font is counted as whose table of characters does not unpack, in bytes.
const UNREADABLE: usize = 1 << 20;

/// What it costs to read a font, in bytes.
pub fn cost(document: &Document, font: &Dictionary, limit: usize) -> usize {
    const EACH: usize = 16;
    let characters = font.get_deref(b"ToUnicode", document);
    let characters = characters.and_then(Object::as_stream).map(|stream| {
        let content = stream.get_plain_content_with_limit(limit);
        content.map_or(UNREADABLE, |content| content.len())
    });
    let encoding = font.get_deref(b"Encoding", document);
    let encoding = encoding.and_then(Object::as_dict);
    let names = encoding.and_then(|encoding| encoding.get(b"Differences"));
    let names = names.and_then(Object::as_array).map_or(0, Vec::len);
    let descendant = descendant(document, font);
    let widths = descendant.and_then(|font| font.get_deref(b"W", document).ok());
    let widths = widths.map_or(0, |widths| values(document, widths));
    characters.unwrap_or(0) + (names + widths).saturating_mul(EACH) + EACH
}

/// How many values are in an array and the arrays in it, as far as they are read.
fn values(document: &Document, array: &Object) -> usize {
    let Ok(array) = array.as_array() else {
        return 0;
    };
    let mut count = array.len();
    for value in array {
        let inner = document.dereference(value);
        count += inner.map_or(0, |(_, inner)| inner.as_array().map_or(0, Vec::len));
        if count > 2 * MAX_WIDTHS {
            break;
        }
    }
    count
}

/// The font that a composite one has its glyphs from.
fn descendant<'d>(document: &'d Document, font: &'d Dictionary) -> Option<&'d Dictionary> {
    let descendants = font.get_deref(b"DescendantFonts", document).ok()?;
    let (_, descendant) = document
        .dereference(descendants.as_array().ok()?.first()?)
        .ok()?;
    descendant.as_dict().ok()
}

/// A font of a page.
pub struct Font<'d> {
    encoding: Option<Encoding<'d>>,
    widths: Option<Widths>,
}

/// How wide characters are, in thousandths of the font's size.
struct Widths {
    /// Bytes of one code.
    code: usize,
    /// First and last code, and their width; in the order of codes.
    ranges: Vec<(u32, u32, f64)>,
    /// Of all other codes.
    other: f64,
}

impl<'d> Font<'d> {
    /// Reads the font, unpacking no more than `limit` bytes.
    pub fn read(document: &'d Document, font: &'d Dictionary, limit: usize) -> Self {
        let subtype = font.get(b"Subtype").and_then(Object::as_name);
        let widths = match subtype {
            Ok(b"Type0") => composite(document, font),
            // Its widths are in units of its own.
            Ok(b"Type3") => None,
            _ => simple(document, font),
        };
        Self {
            encoding: font.get_font_encoding_with_limit(document, limit).ok(),
            widths,
        }
    }

    /// The text of a string, of which no more is taken once it is longer than `limit`: a font may make much of each byte.
    pub fn text(&self, bytes: &[u8], limit: usize) -> Option<String> {
        let encoding = self.encoding.as_ref()?;
        let mut text = String::new();
        for piece in bytes.chunks(AT_ONCE) {
            text.push_str(&encoding.bytes_to_string(piece).ok()?);
            if text.len() > limit {
                break;
            }
        }
        Some(text)
    }

    /// The width of a string in sizes of the font, if the font says it.
    pub fn width(&self, bytes: &[u8]) -> Option<f64> {
        let widths = self.widths.as_ref()?;
        let codes = bytes.chunks(widths.code);
        let each = codes.map(|code| {
            let code = code
                .iter()
                .fold(0, |code, byte| code << 8 | u32::from(*byte));
            widths.of(code)
        });
        Some(each.sum::<f64>() / 1000.0)
    }
}

impl Widths {
    fn new(code: usize, mut ranges: Vec<(u32, u32, f64)>, other: f64) -> Self {
        ranges.sort_by_key(|range| range.0);
        Self {
            code,
            ranges,
            other,
        }
    }

    fn of(&self, code: u32) -> f64 {
        let behind = self.ranges.partition_point(|range| range.0 <= code);
        let range = behind.checked_sub(1).and_then(|at| self.ranges.get(at));
        range
            .filter(|range| code <= range.1)
            .map_or(self.other, |range| range.2)
    }
}

/// Of a font of one byte each: `/FirstChar` and `/Widths`.
fn simple(document: &Document, font: &Dictionary) -> Option<Widths> {
    let first = font.get_deref(b"FirstChar", document).ok()?.as_i64().ok()?;
    let first = u32::try_from(first).ok()?;
    let widths = font.get_deref(b"Widths", document).ok()?.as_array().ok()?;
    let ranges = (first..)
        .zip(widths.iter().take(256))
        .filter_map(|(code, width)| Some((code, code, number(document, width)?)));
    Some(Widths::new(1, ranges.collect(), 0.0))
}

/// Of a font of two bytes each, which are its glyphs' numbers: `/W` and `/DW` of its descendant.
fn composite(document: &Document, font: &Dictionary) -> Option<Widths> {
    let encoding = font.get(b"Encoding").and_then(Object::as_name).ok()?;
    if encoding != b"Identity-H" {
        return None;
    }
    let descendant = descendant(document, font)?;
    let other = descendant.get(b"DW").ok().and_then(|w| number(document, w));
    let listed = descendant
        .get_deref(b"W", document)
        .and_then(Object::as_array);
    let mut ranges = Vec::new();
    let mut rest = listed.map(Vec::as_slice).unwrap_or_default();
    while let [first, second, tail @ ..] = rest {
        let first = code(document, first)?;
        let (_, second) = document.dereference(second).ok()?;
        if let Ok(widths) = second.as_array() {
            let each = (first..).zip(widths.iter().take(MAX_WIDTHS));
            ranges.extend(each.filter_map(|(code, w)| Some((code, code, number(document, w)?))));
            rest = tail;
        } else {
            let (width, tail) = tail.split_first()?;
            ranges.push((first, code(document, second)?, number(document, width)?));
            rest = tail;
        }
        if ranges.len() > MAX_WIDTHS {
            return None;
        }
    }
    Some(Widths::new(2, ranges, other.unwrap_or(1000.0)))
}

fn number(document: &Document, object: &Object) -> Option<f64> {
    document
        .dereference(object)
        .ok()
        .and_then(|(_, object)| as_float(object))
}

/// A number as it stands.
pub fn as_float(object: &Object) -> Option<f64> {
    object.as_float().ok().map(f64::from)
}

fn code(document: &Document, object: &Object) -> Option<u32> {
    let (_, object) = document.dereference(object).ok()?;
    u16::try_from(object.as_i64().ok()?).ok().map(u32::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use lopdf::dictionary;
    use proptest::prelude::*;

    /// Numbers and what is none, and arrays of them.
    fn value() -> impl Strategy<Value = Object> {
        let leaf = prop_oneof![
            any::<i64>().prop_map(Object::from),
            (-9_i64..300).prop_map(Object::from),
            any::<f32>().prop_map(Object::from),
            Just(Object::Null),
            Just(Object::from("Identity-H")),
        ];
        leaf.prop_recursive(2, 20, 5, |inner| {
            prop::collection::vec(inner, 0..5).prop_map(Object::from)
        })
    }

    proptest! {
        #[test]
        fn any_font_is_survived(
            composite: bool,
            first in value(),
            widths in prop::collection::vec(value(), 0..20),
            other in value(),
            bytes in prop::collection::vec(any::<u8>(), 0..40),
        ) {
            let document = Document::new();
            let descendant = dictionary! { "DW" => other, "W" => widths.clone() };
            let font = dictionary! {
                "Subtype" => if composite { "Type0" } else { "TrueType" },
                "Encoding" => if composite { "Identity-H" } else { "WinAnsiEncoding" },
                "FirstChar" => first,
                "Widths" => widths,
                "DescendantFonts" => vec![descendant.into()],
            };
            let cost = cost(&document, &font, 1000);
            prop_assert!((16..10_000).contains(&cost), "{cost}");
            let font = Font::read(&document, &font, 1000);
            let _ = font.width(&bytes);
            let text = font.text(&bytes, 1000).unwrap_or_default();
            prop_assert!(text.chars().count() <= bytes.len(), "{text:?}");
        }
    }

    #[test]
    fn glyphs_of_composite_fonts_have_their_widths() {
        let document = Document::new();
        let descendant = dictionary! {
            "DW" => 600,
            "W" => vec![1.into(), vec![250.into(), 300.into()].into(), 10.into(), 12.into(), 400.into()],
        };
        let font = dictionary! {
            "Type" => "Font",
            "Subtype" => "Type0",
            "Encoding" => "Identity-H",
            "DescendantFonts" => vec![descendant.into()],
        };
        let font = Font::read(&document, &font, 1000);
        let width = font.width(&[0, 1, 0, 2, 0, 11, 0, 99]);
        assert_eq!(width, Some(0.25 + 0.3 + 0.4 + 0.6));
    }
}
