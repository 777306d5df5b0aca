//! Text of OOXML and OpenDocument files, within bounds.

use super::xml;
use crate::mail::charset;
use std::io::{Cursor, Read};

/// Entries looked at in one archive.
const MAX_ENTRIES: usize = 2000;

/// Why there is no text.
#[derive(Debug, thiserror::Error)]
pub enum NoText {
    /// Not a ZIP archive, or a damaged one.
    #[error("the archive is damaged")]
    Archive(#[from] zip::result::ZipError),
    /// An entry does not unpack.
    #[error("the archive does not unpack")]
    Unpack(#[from] std::io::Error),
    /// Other documents of the mail have used up what may be unpacked.
    #[error(
        "the documents in the mail unpack to more than {} bytes",
        super::MAX_UNPACKED
    )]
    Room,
    /// Too many entries.
    #[error("more than {MAX_ENTRIES} entries in the archive")]
    Entries,
}

/// True if `bytes` may be an office document.
#[must_use]
pub fn is_archive(bytes: &[u8]) -> bool {
    bytes.starts_with(b"PK\x03\x04")
}

/// The text of the parts that hold a document's text; empty for other archives. No more than `room` bytes are unpacked,
/// and taken off it.
pub fn to_text(bytes: &[u8], room: &mut u64) -> Result<String, NoText> {
    if *room == 0 {
        return Err(NoText::Room);
    }
    let mut archive = zip::ZipArchive::new(Cursor::new(bytes))?;
    if archive.len() > MAX_ENTRIES {
        return Err(NoText::Entries);
    }
    let mut out = String::new();
    for index in 0..archive.len() {
        let entry = archive.by_index(index)?;
        if !holds_text(&String::from_utf8_lossy(entry.name_raw())) {
            continue;
        }
        let mut content = Vec::new();
        // Also what does not unpack to its end has cost its part.
        let unpacked = entry.take(*room).read_to_end(&mut content);
        *room -= content.len() as u64;
        unpacked?;
        out.push_str(&xml::to_text(&charset::decode_xml(&content, None)));
        out.push('\n');
    }
    Ok(out)
}

fn holds_text(name: &str) -> bool {
    let ooxml = [
        "word/document",
        "word/footnotes",
        "word/endnotes",
        "word/header",
        "word/footer",
        "word/comments",
        "xl/sharedStrings",
        "xl/worksheets/sheet",
        "xl/comments",
        "xl/workbook",
        "ppt/slides/slide",
        "ppt/notesSlides/",
    ];
    name.ends_with(".xml")
        // OpenDocument keeps headers and footers with the styles of pages.
        && (matches!(name, "content.xml" | "styles.xml") || ooxml.iter().any(|start| name.starts_with(start)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write;

    #[test]
    fn the_text_of_a_document() {
        let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
        let options = zip::write::SimpleFileOptions::default();
        writer.start_file("word/document.xml", options).unwrap();
        writer
            .write_all(b"<w:p><w:t>Grundst</w:t><w:t>ein</w:t></w:p>")
            .unwrap();
        writer.start_file("word/styles.xml", options).unwrap();
        writer.write_all(b"<x>no</x>").unwrap();
        for (name, content) in [
            (
                "styles.xml",
                "<style:header><text:p>Kopf</text:p></style:header>",
            ),
            ("xl/workbook.xml", "<sheet name=\"Blatt\"/>"),
        ] {
            writer.start_file(name, options).unwrap();
            writer.write_all(content.as_bytes()).unwrap();
        }
        let file = writer.finish().unwrap().into_inner();
        assert!(is_archive(&file));
        let mut room = 140;
        let text = to_text(&file, &mut room).unwrap();
        let words: Vec<&str> = text.split_whitespace().collect();
        assert_eq!(words, ["Grundstein", "Kopf", "Blatt"]);
        assert!(to_text(&file[..file.len() / 2], &mut room).is_err());
        // What is left of the room, and then nothing.
        assert!(room < 40 && to_text(&file, &mut room).is_ok() && room == 0);
        assert!(matches!(to_text(&file, &mut room), Err(NoText::Room)));
    }

    #[test]
    fn what_does_not_unpack_takes_its_part_of_the_room() {
        let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
        let options = zip::write::SimpleFileOptions::default();
        writer.start_file("word/document.xml", options).unwrap();
        writer.write_all(&[b'x'; 10_000]).unwrap();
        let mut file = writer.finish().unwrap().into_inner();
        // Its checksum, in both headers.
        let directory = memchr::memmem::find(&file, b"PK\x01\x02").unwrap();
        file[14] ^= 1;
        file[directory + 16] ^= 1;
        let mut room = 15_000;
        assert!(matches!(to_text(&file, &mut room), Err(NoText::Unpack(_))));
        assert_eq!(room, 5000);
    }

    proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = to_text(&[b"PK\x03\x04".as_slice(), &bytes].concat(), &mut 1000);
        }
    }
}
