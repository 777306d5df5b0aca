//! The text of a PDF's page as it stands in lines: what a page shows is pieces at positions, and whether two pieces are
//! one word is told by the gap between them.

use super::font::{self, Font, as_float};
use super::pdf::take;
use lopdf::content::{Content, Operation};
use lopdf::{Dictionary, Document, Object, ObjectId};
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

/// A wider gap than this part of the font's size parts words.
const WORD_GAP: f64 = 0.15;
/// Text that lies higher or lower than this part of the font's size is in another line.
const LINE_GAP: f64 = 0.5;
/// States that are kept for `Q`.
const MAX_SAVED: usize = 500;

/// What each operation of a page is counted as, in bytes, beyond those of the content, which count again when it is read.
const OPERATION: usize = 8;
/// What each font that a page may use is counted as, in bytes: all are looked up before the first is used.
const LISTED: usize = 64;

/// What the pages of a document share.
pub struct Shared<'d, 'r> {
    document: &'d Document,
    /// Bytes that may still be unpacked.
    room: &'r mut u64,
    /// The fonts that were read, by where their dictionaries lie.
    fonts: HashMap<*const Dictionary, Rc<Font<'d>>>,
}

impl<'d, 'r> Shared<'d, 'r> {
    pub fn of(document: &'d Document, room: &'r mut u64) -> Self {
        Self {
            document,
            room,
            fonts: HashMap::new(),
        }
    }

    /// The font in a dictionary; `None` where the room does not reach for it.
    fn font(&mut self, dictionary: &'d Dictionary, limit: usize) -> Option<Rc<Font<'d>>> {
        if let Some(known) = self.fonts.get(&std::ptr::from_ref(dictionary)) {
            return Some(Rc::clone(known));
        }
        let cost = font::cost(self.document, dictionary, limit);
        take(self.room, cost).then(|| {
            let font = Rc::new(Font::read(self.document, dictionary, limit));
            self.fonts.insert(dictionary, Rc::clone(&font));
            font
        })
    }

    /// The fonts that a page may use; none where the room does not reach for their number.
    fn listed(&mut self, page: ObjectId) -> lopdf::Result<BTreeMap<Vec<u8>, &'d Dictionary>> {
        let (direct, others) = self.document.get_page_resources(page)?;
        let others = others.iter();
        let others = others.filter_map(|id| self.document.get_dictionary(*id).ok());
        let fonts = direct.into_iter().chain(others).filter_map(|resources| {
            let fonts = resources.get_deref(b"Font", self.document).ok()?;
            fonts.as_dict().ok().map(Dictionary::len)
        });
        let count: usize = fonts.sum();
        if !take(self.room, count.saturating_mul(LISTED)) {
            return Ok(BTreeMap::new());
        }
        self.document.get_page_fonts(page)
    }
}

/// Appends the text of a page to `out`, of no more than `limit` bytes of content; stops when `out` is that long.
pub fn text_of(
    shared: &mut Shared<'_, '_>,
    page: ObjectId,
    limit: usize,
    out: &mut String,
) -> lopdf::Result<()> {
    let content = shared.document.get_page_content_with_limit(page, limit)?;
    if !take(shared.room, content.len()) {
        return Ok(());
    }
    let mut reader = Reader {
        resources: shared.listed(page)?,
        shared,
        limit,
        saved: Vec::new(),
        base: IDENTITY,
        line: IDENTITY,
        at: IDENTITY,
        state: State::default(),
        end: None,
        out,
    };
    for operation in Content::decode_iter(&content) {
        reader.operation(&operation?);
        if reader.out.len() > limit || !take(reader.shared.room, OPERATION) {
            break;
        }
    }
    out.push('\n');
    Ok(())
}

/// A transformation, as PDF writes it.
type Matrix = [f64; 6];
const IDENTITY: Matrix = [1.0, 0.0, 0.0, 1.0, 0.0, 0.0];

/// First `a`, then `b`.
fn then(a: &Matrix, b: &Matrix) -> Matrix {
    [
        a[0] * b[0] + a[1] * b[2],
        a[0] * b[1] + a[1] * b[3],
        a[2] * b[0] + a[3] * b[2],
        a[2] * b[1] + a[3] * b[3],
        a[4] * b[0] + a[5] * b[2] + b[4],
        a[4] * b[1] + a[5] * b[3] + b[5],
    ]
}

const fn shifted(x: f64, y: f64) -> Matrix {
    [1.0, 0.0, 0.0, 1.0, x, y]
}

/// What the page says once for the text that follows.
#[derive(Clone)]
struct State<'d> {
    font: Option<Rc<Font<'d>>>,
    size: f64,
    spacing: f64,
    word_spacing: f64,
    stretch: f64,
    leading: f64,
}

impl Default for State<'_> {
    fn default() -> Self {
        Self {
            font: None,
            size: 1.0,
            spacing: 0.0,
            word_spacing: 0.0,
            stretch: 1.0,
            leading: 0.0,
        }
    }
}

/// Where the last piece ended on the page.
struct End {
    x: f64,
    y: f64,
    /// False if the font doesn't say how wide its characters are.
    known: bool,
    /// The next piece has a position of its own.
    moved: bool,
}

struct Reader<'d, 'r, 'o> {
    shared: &'o mut Shared<'d, 'r>,
    resources: BTreeMap<Vec<u8>, &'d Dictionary>,
    limit: usize,
    saved: Vec<(Matrix, State<'d>)>,
    /// From the page's current coordinates to those of the paper.
    base: Matrix,
    /// Beginning of the line, and where the next piece goes.
    line: Matrix,
    at: Matrix,
    state: State<'d>,
    end: Option<End>,
    out: &'o mut String,
}

impl Reader<'_, '_, '_> {
    fn operation(&mut self, operation: &Operation) {
        let operands = operation.operands.as_slice();
        let number = |at: usize| operands.get(at).and_then(as_float).unwrap_or(0.0);
        match operation.operator.as_str() {
            "q" if self.saved.len() < MAX_SAVED => self.saved.push((self.base, self.state.clone())),
            "Q" => {
                if let Some(saved) = self.saved.pop() {
                    (self.base, self.state) = saved;
                }
            }
            "cm" => self.base = then(&matrix(number), &self.base),
            "BT" => self.move_to(IDENTITY),
            "Tm" => self.move_to(matrix(number)),
            "Td" => self.next_line(number(0), number(1)),
            "TD" => {
                self.state.leading = -number(1);
                self.next_line(number(0), number(1));
            }
            "T*" => self.next_line(0.0, -self.state.leading),
            "Tf" => self.set_font(operands.first(), number(1)),
            "Tc" => self.state.spacing = number(0),
            "Tw" => self.state.word_spacing = number(0),
            "Tz" => self.state.stretch = number(0) / 100.0,
            "TL" => self.state.leading = number(0),
            "Tj" | "TJ" => operands.iter().for_each(|operand| self.show(operand)),
            "'" | "\"" => {
                if let [spacing, _, _] = operands {
                    self.state.word_spacing = as_float(spacing).unwrap_or(0.0);
                    self.state.spacing = number(1);
                }
                self.next_line(0.0, -self.state.leading);
                operands
                    .last()
                    .into_iter()
                    .for_each(|operand| self.show(operand));
            }
            _ => {}
        }
    }

    fn move_to(&mut self, place: Matrix) {
        self.line = place;
        self.at = place;
        if let Some(end) = &mut self.end {
            end.moved = true;
        }
    }

    fn next_line(&mut self, x: f64, y: f64) {
        self.move_to(then(&shifted(x, y), &self.line));
    }

    fn set_font(&mut self, name: Option<&Object>, size: f64) {
        self.state.size = size;
        let name = name
            .and_then(|name| name.as_name().ok())
            .unwrap_or_default();
        let dictionary = self.resources.get(name);
        self.state.font =
            dictionary.and_then(|dictionary| self.shared.font(dictionary, self.limit));
    }

    /// Shows a string, or strings with shifts between them.
    fn show(&mut self, operand: &Object) {
        match operand {
            Object::String(bytes, _) => self.piece(bytes),
            Object::Array(pieces) => {
                for piece in pieces {
                    match piece {
                        Object::String(bytes, _) => self.piece(bytes),
                        other => {
                            let shift = as_float(other).unwrap_or(0.0) / 1000.0;
                            self.advance(-shift * self.state.size * self.state.stretch);
                        }
                    }
                }
            }
            _ => {}
        }
    }

    fn piece(&mut self, bytes: &[u8]) {
        if self.out.len() > self.limit {
            return;
        }
        let Some(font) = self.state.font.clone() else {
            return;
        };
        let text = font.text(bytes, self.limit);
        let Some(text) = text.filter(|text| !text.is_empty()) else {
            return;
        };
        let State {
            size,
            spacing,
            word_spacing,
            stretch,
            ..
        } = self.state;
        let blanks = bytes.iter().filter(|byte| **byte == b' ').count() as f64;
        let count = text.chars().count() as f64;
        // What the font doesn't say is guessed: half a square each.
        let width = font.width(bytes);
        let known = width.is_some();
        let wide = width.unwrap_or(count / 2.0) * size + spacing * count + word_spacing * blanks;
        self.part(&text);
        self.out.push_str(&text);
        self.advance(wide * stretch);
        let place = then(&self.at, &self.base);
        self.end = Some(End {
            x: place[4],
            y: place[5],
            known,
            moved: false,
        });
    }

    fn advance(&mut self, x: f64) {
        self.at = then(&shifted(x, 0.0), &self.at);
    }

    /// Parts the next piece from the last one, if they are not of one word or line.
    fn part(&mut self, next: &str) {
        let Some(end) = &self.end else { return };
        let place = then(&self.at, &self.base);
        let stretched = place[0].hypot(place[1]);
        let size = stretched * self.state.size.abs();
        let (x, y) = (place[4] - end.x, place[5] - end.y);
        // Along the direction of writing, and across it.
        let along = (x * place[0] + y * place[1]) / stretched;
        let across = (y * place[0] - x * place[1]) / stretched;
        let is_line = across.abs() > LINE_GAP * size;
        let is_word =
            along > WORD_GAP * size || along < -LINE_GAP * size || end.moved && !end.known;
        if is_line {
            self.out.push('\n');
        } else if is_word && !self.out.ends_with(char::is_whitespace) && !next.starts_with(' ') {
            self.out.push(' ');
        }
    }
}

fn matrix(number: impl Fn(usize) -> f64) -> Matrix {
    [0, 1, 2, 3, 4, 5].map(number)
}

#[cfg(test)]
mod tests {
    use super::super::pdf::read;
    use proptest::prelude::*;

    /// A page with this content, its fonts having characters half as wide as high (F1, F2) and of unknown width (F3).
    fn shown(content: &str) -> String {
        within(content, &mut 10_000_000).trim().to_owned()
    }

    /// As [`shown`], of what may be unpacked.
    fn within(content: &str, room: &mut u64) -> String {
        let widths = "500 ".repeat(224);
        let font = format!(
            "<</Type/Font/Subtype/TrueType/Encoding/WinAnsiEncoding/FirstChar 32/LastChar 255/Widths[{widths}]>>"
        );
        let wide = "<</Type/Font/Subtype/Type1/BaseFont/Helvetica/Encoding/WinAnsiEncoding>>";
        let pdf = format!(
            "%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj\n3 0 obj<</Type/Page/Parent 2 0 R/Contents 4 0 R/Resources<</Font<</F1 {font}/F2 {font}/F3 {wide}>>>>/MediaBox[0 0 99 99]>>endobj\n4 0 obj<</Length {}>>stream\n{content}\nendstream endobj\ntrailer<</Root 1 0 R/Size 5>>\nstartxref\n0\n%%EOF\n",
            content.len()
        );
        read(pdf.as_bytes(), room).unwrap().text
    }

    #[test]
    fn operations_take_room() {
        let content = format!("{}BT /F1 9 Tf(word)Tj ET", "q Q ".repeat(20_000));
        let mut room = 10_000_000;
        assert_eq!(within(&content, &mut room).trim(), "word");
        let used = 10_000_000 - room;
        assert!(used > 8 * 40_000, "{used}");
        assert_eq!(within(&content, &mut (used - 100)).trim(), "");
    }

    fn operation() -> impl Strategy<Value = String> {
        let operator = prop::sample::select(vec![
            "q", "Q", "cm", "BT", "ET", "Tm", "Td", "TD", "T*", "Tf", "Tc", "Tw", "Tz", "TL", "Tj",
            "TJ", "'", "\"",
        ]);
        let number = prop_oneof![
            any::<i16>().prop_map(|number| number.to_string()),
            any::<f32>().prop_map(|number| format!("{number:.3}")),
        ];
        let string = "[a-z ]{0,9}".prop_map(|text| format!("({text})"));
        let operand = prop_oneof![
            number.clone(),
            string.clone(),
            prop::sample::select(vec!["/F1", "/F2", "/F3", "/F4"]).prop_map(str::to_owned),
            prop::collection::vec(prop_oneof![number, string], 0..4)
                .prop_map(|pieces| format!("[{}]", pieces.join(" "))),
        ];
        let operands = prop::collection::vec(operand, 0..7);
        (operands, operator)
            .prop_map(|(operands, operator)| format!("{} {operator}", operands.join(" ")))
    }

    proptest! {
        #[test]
        fn any_page_is_survived(operations in prop::collection::vec(operation(), 0..30)) {
            let content = operations.join(" ");
            let text = shown(&content);
            // All that is shown is in the content, and at most one line end or blank before each piece.
            prop_assert!(text.len() <= 2 * content.len(), "{text:?}");
        }

        #[test]
        fn any_content_is_survived(content in "[ -~]{0,200}") {
            shown(&content);
        }
    }

    #[test]
    fn pieces_are_joined_to_words_by_their_gaps() {
        for (content, text) in [
            // A word whose end is in another font, as LibreOffice writes it, then a table's cell.
            (
                "BT 10 50 Td /F1 10 Tf [(split)4(te)]TJ ET BT 45 50 Td /F2 10 Tf(drun)Tj ET BT 90 50 Td(cell)Tj ET",
                "splittedrun cell",
            ),
            (
                "BT /F1 10 Tf[(kern)-20(ed)-300(words)]TJ ET",
                "kerned words",
            ),
            (
                "BT /F3 10 Tf[(kern)-20(ed)-300(words)]TJ 1 0 Td (x)Tj ET",
                "kerned words x",
            ),
            (
                "BT /F1 10 Tf 12 TL(one)Tj T*(two)Tj(three)' 0 0(four)\" ET",
                "one\ntwo\nthree\nfour",
            ),
            ("BT /F1 10 Tf(a)Tj 0 -12 TD(b)Tj T*(c)Tj ET", "a\nb\nc"),
            ("BT /F1 10 Tf (with )Tj 25 0 Td(blank)Tj ET", "with blank"),
            (
                "q 0 1 -1 0 0 0 cm BT /F1 10 Tf(up)Tj 10 0 Td(ward)Tj ET Q",
                "upward",
            ),
            (
                "BT 2 0 0 2 0 0 Tm /F1 5 Tf(sca)Tj ET 2 0 0 2 0 0 cm BT 7.5 0 Td(led)Tj ET",
                "scaled",
            ),
            ("BT /F1 10 Tf 5 Tc(w)Tj 10 0 Td(ide)Tj ET", "wide"),
        ] {
            assert_eq!(shown(content), text, "{content}");
        }
    }
}
