//! Text and embedded files of PDF documents, within bounds. The library's panics are caught: one odd attachment
//! must not cost the whole mail.

mod lengths;
mod names;

use super::page::{self, Shared};
use lopdf::{Document, LoadOptions, Object, ObjectId};
use std::cell::Cell;
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Largest document that is looked into, in bytes.
const MAX_FILE: usize = 64 << 20;
/// Bytes that an embedded file may expand to.
const MAX_STREAM: usize = 32 << 20;
/// Bytes that the content of a page, or any one stream of the document's own structure, may expand to. The library makes
/// an object of every number in them, which takes some sixty times the memory.
const MAX_PARSED: usize = 2 << 20;
/// Bytes that all streams of objects in a document together may expand to.
const MAX_OBJECTS: usize = 8 << 20;
/// The same where the document is encrypted: the library copies what is in them.
const MAX_ENCRYPTED_OBJECTS: usize = 4 << 20;
/// Pages whose text is taken.
const MAX_PAGES: usize = 1000;
/// What a page whose content does not unpack is counted as, in bytes.
const UNREADABLE: usize = 1 << 20;
/// What each step to the length of a stream is counted as, in bytes, beyond one for each.
const STEP: usize = 64;
/// Objects within one object in which file specifications are looked for.
const MAX_NESTING: u32 = 10;
/// Embedded files that are looked at.
const MAX_EMBEDDED: usize = 20;

/// What a PDF holds.
pub struct Contents {
    /// The text of its pages.
    pub text: String,
    /// Embedded files (ZUGFeRD and Factur-X carry the invoice in one).
    pub embedded: Vec<Vec<u8>>,
}

/// Why there is no text.
#[derive(Debug, thiserror::Error)]
pub enum NoText {
    /// Over a bound.
    #[error("larger than {MAX_FILE} bytes")]
    Large,
    /// Nothing may be unpacked any more.
    #[error("the documents in the mail unpack to too many bytes, or none is looked into")]
    Room,
    /// The structure cannot be read.
    #[error("the PDF is damaged or encrypted: {0}")]
    Unreadable(#[from] lopdf::Error),
    /// The library gave up.
    #[error("the PDF's structure makes the parser give up")]
    GaveUp,
}

/// True if `bytes` begin as a PDF.
#[must_use]
pub fn is_pdf(bytes: &[u8]) -> bool {
    bytes.starts_with(b"%PDF-")
}

/// Reads text and embedded files. No more than `room` bytes of them are unpacked, and taken off it.
pub fn read(bytes: &[u8], room: &mut u64) -> Result<Contents, NoText> {
    if bytes.len() > MAX_FILE {
        return Err(NoText::Large);
    }
    if *room == 0 {
        return Err(NoText::Room);
    }
    catch_unwind(AssertUnwindSafe(|| extract(bytes, room))).unwrap_or(Err(NoText::GaveUp))
}

fn extract(bytes: &[u8], room: &mut u64) -> Result<Contents, NoText> {
    if !take(room, lengths::steps(bytes).saturating_mul(STEP)) {
        return Err(NoText::Room);
    }
    let document = load(bytes, room)?;
    let pages = affordable_pages(&document, room);
    let mut text = String::new();
    let mut shared = Shared::of(&document, room);
    for page in pages {
        // Of a damaged page there is what stands before the damage.
        let _ = page::text_of(&mut shared, page, MAX_PARSED, &mut text);
        if text.len() > MAX_STREAM {
            break;
        }
    }
    let streams = embedded_files(&document).into_iter().filter_map(|id| {
        let stream = document.get_object(id).and_then(Object::as_stream);
        stream.ok()
    });
    let embedded = streams.take(MAX_EMBEDDED).filter_map(|stream| {
        let most = at_most(*room);
        let file = stream.decompressed_content_with_limit(most);
        let file = file.unwrap_or_else(|_| stream.content.clone());
        take(room, file.len()).then_some(file)
    });
    Ok(Contents {
        text,
        embedded: embedded.collect(),
    })
}

/// Streams that say that they are embedded files, and those that file specifications name: the type is optional.
fn embedded_files(document: &Document) -> BTreeSet<ObjectId> {
    let mut found = BTreeSet::new();
    for (id, object) in &document.objects {
        if let Object::Stream(stream) = object
            && stream.dict.has_type(b"EmbeddedFile")
        {
            found.insert(*id);
        }
        specified_files(document, object, 0, &mut found);
    }
    found
}

/// The names under which a file specification has its file.
const FILES: [&[u8]; 5] = [b"F", b"UF", b"DOS", b"Mac", b"Unix"];

/// Follows the `/EF` of file specifications in `object`.
fn specified_files(
    document: &Document,
    object: &Object,
    depth: u32,
    found: &mut BTreeSet<ObjectId>,
) {
    let inner: &mut dyn Iterator<Item = &Object> = match object {
        _ if depth > MAX_NESTING => return,
        Object::Array(items) => &mut items.iter(),
        Object::Dictionary(dictionary) => {
            let files = dictionary.get_deref(b"EF", document);
            let files = files.and_then(Object::as_dict).into_iter();
            let streams = files.flat_map(|files| FILES.map(|name| files.get(name)));
            found.extend(streams.filter_map(|stream| stream.ok()?.as_reference().ok()));
            &mut dictionary.iter().map(|(_, value)| value)
        }
        _ => return,
    };
    for object in inner {
        specified_files(document, object, depth + 1, found);
    }
}

thread_local! {
    /// Bytes that further streams of objects of the document that is being loaded may expand to.
    static OBJECTS_LEFT: Cell<usize> = const { Cell::new(0) };
}

/// Loads the document within the bounds; what lies in streams of objects beyond them is left out.
fn load(bytes: &[u8], room: &mut u64) -> Result<Document, lopdf::Error> {
    let mut attempt = |force_reconstruct| {
        let most = at_most(*room).min(MAX_OBJECTS);
        OBJECTS_LEFT.set(most);
        let options = LoadOptions {
            max_decompressed_size: Some(most_parsed(bytes)),
            filter: Some(affordable_object),
            force_reconstruct,
            ..LoadOptions::default()
        };
        let document = Document::load_mem_with_options(bytes, options);
        take(room, most - OBJECTS_LEFT.get());
        document
    };
    let document = attempt(false)?;
    if !document.get_pages().is_empty() {
        return Ok(document);
    }
    Ok(attempt(true).unwrap_or(document))
}

/// What any one stream may expand to. Of an encrypted document the streams of objects are not shown to
/// [`affordable_object`]: they share the bound by their number, which their dictionaries tell in the clear.
fn most_parsed(bytes: &[u8]) -> usize {
    if names::behind(bytes, b"Encrypt").next().is_none() {
        return MAX_PARSED;
    }
    let streams = names::behind(bytes, b"First").count().max(1);
    MAX_PARSED.min(MAX_ENCRYPTED_OBJECTS / streams)
}

/// Shown every object before it is used: leaves out a stream of objects over the bound. What it gives back is used of
/// objects that lie in such a stream, none of which is a stream itself.
fn affordable_object(id: ObjectId, object: &mut Object) -> Option<(ObjectId, Object)> {
    let Object::Stream(stream) = object else {
        return Some((id, object.clone()));
    };
    if stream.dict.has_type(b"ObjStm") {
        // What does not unpack, or is too long, has been unpacked as far as it goes.
        let content = stream.get_plain_content_with_limit(MAX_PARSED).ok();
        let length = content.as_ref().map_or(MAX_PARSED, Vec::len);
        let left = OBJECTS_LEFT.get();
        OBJECTS_LEFT.set(left.saturating_sub(length));
        content.filter(|_| length <= left)?;
    }
    Some((id, Object::Null))
}

/// The first pages, as far as the room reaches: many may share one long stream.
fn affordable_pages(document: &Document, room: &mut u64) -> Vec<ObjectId> {
    let pages = document.get_pages().into_iter().take(MAX_PAGES);
    let affordable = pages.filter(|(_, page)| {
        let most = at_most(*room).min(MAX_PARSED);
        let content = document.get_page_content_with_limit(*page, most);
        take(room, content.map_or(UNREADABLE, |content| content.len()))
    });
    affordable.map(|(_, page)| page).collect()
}

fn at_most(room: u64) -> usize {
    usize::try_from(room).unwrap_or(usize::MAX).min(MAX_STREAM)
}

/// Takes bytes off the room; false if there is not that much.
pub(super) fn take(room: &mut u64, bytes: usize) -> bool {
    let left = room.checked_sub(bytes as u64);
    *room = left.unwrap_or(0);
    left.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write;

    const ONE_PAGE: &str = "%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj\n3 0 obj<</Type/Page/Parent 2 0 R/Contents 4 0 R/Resources<</Font<</F1 5 0 R>>>>/MediaBox[0 0 99 99]>>endobj\n4 0 obj<</Length 36>>stream\nBT /F1 12 Tf 9 9 Td (Mauerwerk) Tj ET\nendstream endobj\n5 0 obj<</Type/Font/Subtype/Type1/BaseFont/Helvetica/Encoding/WinAnsiEncoding>>endobj\n6 0 obj<</Type/EmbeddedFile/Length 5>>stream\n<xml>\nendstream endobj\ntrailer<</Root 1 0 R/Size 7>>\nstartxref\n0\n%%EOF\n";

    #[test]
    fn text_and_embedded_files_come_out() {
        let mut room = 230;
        let contents = read(ONE_PAGE.as_bytes(), &mut room).unwrap();
        assert!(contents.text.contains("Mauerwerk"), "{:?}", contents.text);
        assert_eq!(contents.embedded, [b"<xml>"]);
        // What is left is too little for the page, then for the file too.
        let again = read(ONE_PAGE.as_bytes(), &mut room.min(20)).unwrap();
        assert_eq!((again.text.as_str(), again.embedded.len()), ("", 0));
        assert!(room < 60, "{room}");
    }

    #[test]
    fn files_are_found_by_their_specification() {
        let untyped = ONE_PAGE.replace("/Type/EmbeddedFile", "/Subtype/text");
        let read = |pdf: &str| read(pdf.as_bytes(), &mut 1000).unwrap().embedded.len();
        assert_eq!(read(&untyped), 0);
        let specified = "[<</Type/Filespec/F(a.xml)/EF<</F 6 0 R/UF 6 0 R>>>>]";
        let catalog = format!("<</Type/Catalog/AF{specified}");
        assert_eq!(read(&untyped.replace("<</Type/Catalog", &catalog)), 1);
    }

    /// `ONE_PAGE` without its text, and streams of objects, each with one array of a million numbers.
    fn with_object_streams(count: usize, trailer: &str) -> Vec<u8> {
        let (page, _) = ONE_PAGE.split_once("trailer").unwrap();
        let mut out = page.as_bytes().to_vec();
        let content = format!("100 0 [{}]", "0 ".repeat(1_000_000));
        let mut packed = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
        packed.write_all(content.as_bytes()).unwrap();
        let packed = packed.finish().unwrap();
        for number in 10..10 + count {
            let head = format!(
                "{number} 0 obj<</Type/ObjStm/N 1/Fir#73t 6/Filter/FlateDecode/Length {}>>stream\n",
                packed.len()
            );
            out.extend([head.as_bytes(), &packed, b"\nendstream endobj\n"].concat());
        }
        out.extend(
            format!("trailer<<{trailer}/Root 1 0 R/Size 200>>\nstartxref\n0\n%%EOF\n").bytes(),
        );
        out
    }

    #[test]
    fn streams_of_objects_share_a_bound() {
        let bomb = with_object_streams(20, "");
        let mut room = 100 << 20;
        let document = load(&bomb, &mut room).unwrap();
        let streams = document
            .objects
            .values()
            .filter_map(|object| object.as_stream().ok());
        let taken = streams
            .filter(|stream| stream.dict.has_type(b"ObjStm"))
            .count();
        assert_eq!(taken, MAX_OBJECTS / 2_000_000);
        // The next one was too long for what was left.
        assert_eq!((100 << 20) - room, MAX_OBJECTS as u64);
        let text = extract(&bomb, &mut (10 << 20)).unwrap().text;
        assert!(text.contains("Mauerwerk"), "{text}");
        assert_eq!(most_parsed(&bomb), MAX_PARSED);
        let encrypted = with_object_streams(20, "/#45ncrypt 9 0 R");
        assert_eq!(most_parsed(&encrypted), MAX_ENCRYPTED_OBJECTS / 20);
        assert_eq!(
            names::behind(b"/First/FirstChar /First", b"First").count(),
            2
        );
    }

    /// A document whose pages share one content and these fonts, called `F0` and so on.
    fn with_fonts(pages: usize, content: &str, fonts: &str, objects: &str) -> String {
        let kids: String = (0..pages).map(|n| format!("{} 0 R ", n + 100)).collect();
        let page = |n: usize| {
            format!(
                "{} 0 obj<</Type/Page/Parent 2 0 R/Contents 4 0 R/Resources 5 0 R>>endobj\n",
                n + 100
            )
        };
        let pages: String = (0..pages).map(page).collect();
        format!(
            "%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n2 0 obj<</Type/Pages/Kids[{kids}]>>endobj\n4 0 obj<</Length {}>>stream\n{content}\nendstream endobj\n5 0 obj<</Font<<{fonts}>>>>endobj\n{objects}{pages}trailer<</Root 1 0 R/Size 2000>>\nstartxref\n0\n%%EOF\n",
            content.len()
        )
    }

    /// How often the word on each page is read with so much room.
    fn words(pdf: &str, mut room: u64) -> usize {
        read(pdf.as_bytes(), &mut room)
            .unwrap()
            .text
            .matches("aa")
            .count()
    }

    #[test]
    fn fonts_are_read_once_and_within_the_room() {
        let names = "/a".repeat(50_000);
        let encoding = format!("8 0 obj<</Type/Encoding/Differences[0{names}]>>endobj\n");
        let font = |n: usize| format!("/F{n}<</Type/Font/Subtype/Type1/Encoding 8 0 R>>");
        // Each costs sixteen times the number of its names.
        let room = 1_000_000;
        let one = with_fonts(20, "BT /F0 9 Tf (xx)Tj ET", &font(0), &encoding);
        assert_eq!(words(&one, room), 20);
        let fonts: String = (0..9).map(font).collect();
        let show: String = (0..9)
            .map(|n| format!("BT /F{n} 9 Tf (xx)Tj ET\n"))
            .collect();
        let many = with_fonts(1, &show, &fonts, &encoding);
        assert_eq!(words(&many, room), 1);
        assert_eq!(words(&many, 9 * room), 9);
    }

    #[test]
    fn the_fonts_that_each_page_lists_take_room() {
        let listed: String = (0..20_000).map(|n| format!("/F{n} 8 0 R")).collect();
        let font = "8 0 obj<</Type/Font/Subtype/Type1/Encoding<</Differences[0".to_owned()
            + &"/a".repeat(256)
            + "]>>>>endobj\n";
        let pdf = with_fonts(50, "BT /F0 9 Tf (xx)Tj ET", &listed, &font);
        assert_eq!(words(&pdf, 4_000_000), 3);
    }

    #[test]
    fn chains_of_lengths_are_not_followed() {
        let links: String = (0..2000)
            .map(|n| {
                format!(
                    "{} 0 obj<</Length {} 0 R>>stream\nx\nendstream endobj\n",
                    n + 100,
                    n + 101
                )
            })
            .collect();
        let pdf = ONE_PAGE.replace("trailer", &(links + "trailer"));
        assert!(matches!(
            read(pdf.as_bytes(), &mut (64 << 20)),
            Err(NoText::Room)
        ));
    }

    #[test]
    fn a_specification_names_few_files() {
        let streams: String = (0..100)
            .map(|n| format!("/F{n} 6 0 R/A{n} {} 0 R", n + 1000))
            .collect();
        let specified = format!("<</Type/Catalog/AF[<</EF<<{streams}/F 6 0 R>>>>]");
        let untyped = ONE_PAGE.replace("/Type/EmbeddedFile", "/Subtype/text");
        let pdf = untyped.replace("<</Type/Catalog", &specified);
        let document = load(pdf.as_bytes(), &mut 1000).unwrap();
        assert_eq!(embedded_files(&document).len(), 1);
    }

    #[test]
    fn a_long_page_is_left_out() {
        let long = ONE_PAGE.replace("BT /F1", &format!("{}BT /F1", "0 ".repeat(MAX_PARSED / 2)));
        let long = long.replace("/Length 36", &format!("/Length {}", 36 + MAX_PARSED));
        assert_eq!(read(long.as_bytes(), &mut (100 << 20)).unwrap().text, "");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn never_panics(at in 0..ONE_PAGE.len(), byte in any::<u8>(), cut in 0..ONE_PAGE.len()) {
            let mut bytes = ONE_PAGE.as_bytes().to_vec();
            bytes[at] = byte;
            bytes.truncate(ONE_PAGE.len() - cut / 4);
            let _ = read(&bytes, &mut 1000);
        }
    }
}
