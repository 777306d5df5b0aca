//! The certificates that GnuPG's keyboxd keeps (`public-keys.d/pubring.db`; kbx/backend-sqlite.c in GnuPG), as homes made
//! by GnuPG 2.4.1 and later have them: an SQLite file with one row a certificate in its table `pubkey`. Only as much of
//! SQLite's format (<https://www.sqlite.org/fileformat.html>) is read as leads to that table's rows.

const MAGIC: &[u8] = b"SQLite format 3\0";
/// The file's head, which stands before the first page's own.
const HEAD: usize = 100;
const INTERIOR: u8 = 5;
const LEAF: u8 = 13;
/// What the column `type` says of an OpenPGP certificate.
const OPENPGP: u64 = 1;
/// And of one of X.509.
const X509: u64 = 2;

/// The OpenPGP certificates in it; `None` if it is no such file.
pub(super) fn certificates(bytes: &[u8]) -> Option<Vec<Vec<u8>>> {
    Database::of(bytes).map(|database| of_kind(database, OPENPGP))
}

/// The X.509 certificates in it, DER; none if it is no such file.
pub(super) fn x509_certificates(bytes: &[u8]) -> Vec<Vec<u8>> {
    Database::of(bytes).map_or_else(Vec::new, |database| of_kind(database, X509))
}

fn of_kind(mut database: Database<'_>, kind: u64) -> Vec<Vec<u8>> {
    let schema = database.rows(1);
    let Some(root) = schema.iter().find_map(|row| root_of_pubkey(row)) else {
        return Vec::new();
    };
    let rows = database.rows(root);
    let found = rows.iter().filter_map(|row| certificate(row, kind));
    found.map(<[u8]>::to_vec).collect()
}

/// From a row of the schema (type, name, table, first page, SQL).
fn root_of_pubkey(row: &[u8]) -> Option<u32> {
    let columns = columns(row)?;
    let is_it = columns.first()?.octets == b"table" && columns.get(1)?.octets == b"pubkey";
    is_it.then(|| columns.get(3)?.number().try_into().ok())?
}

/// From a row of the table (id, type, ephemeral, revoked, certificate).
fn certificate(row: &[u8], kind: u64) -> Option<&[u8]> {
    let columns = columns(row)?;
    let last = columns.get(4)?;
    (columns.get(1)?.number() == kind).then_some(last.octets)
}

struct Database<'a> {
    bytes: &'a [u8],
    page_size: usize,
    /// What of a page is used; the rest belongs to extensions.
    usable: usize,
    /// How much may still be copied: in a sound file no octet belongs to two rows.
    budget: usize,
}

impl<'a> Database<'a> {
    fn of(bytes: &'a [u8]) -> Option<Self> {
        if !bytes.starts_with(MAGIC) || bytes.len() < HEAD {
            return None;
        }
        let page_size = match usize::from(u16::from_be_bytes([bytes[16], bytes[17]])) {
            1 => 1 << 16,
            size => size,
        };
        let usable = page_size.checked_sub(usize::from(bytes[20]))?;
        // SQLite's own least.
        (usable >= 480).then_some(Self {
            bytes,
            page_size,
            usable,
            budget: bytes.len(),
        })
    }

    fn page(&self, number: u32) -> Option<&'a [u8]> {
        let start = (number as usize)
            .checked_sub(1)?
            .checked_mul(self.page_size)?;
        self.bytes.get(start..start.checked_add(self.page_size)?)
    }

    /// The rows of the table whose first page this is, as far as they can be read.
    fn rows(&mut self, root: u32) -> Vec<Vec<u8>> {
        let mut rows = Vec::new();
        let mut pages = vec![root];
        // No page has two parents.
        let mut left = self.bytes.len() / self.page_size;
        while let Some(number) = pages.pop()
            && left > 0
        {
            left -= 1;
            let Some(page) = self.page(number) else {
                continue;
            };
            let head = if number == 1 { HEAD } else { 0 };
            match page[head] {
                INTERIOR => {
                    // The last page first: they are taken from the end.
                    pages.extend(long(page, head + 8));
                    let cells = cells(page, head, 12).into_iter().rev();
                    pages.extend(cells.filter_map(|cell| long(page, cell)));
                }
                LEAF => {
                    let cells = cells(page, head, 8).into_iter();
                    let found = cells.filter_map(|cell| self.row(page, cell));
                    rows.extend(found);
                }
                _ => {}
            }
        }
        rows
    }

    /// The row in a cell: its length, its number, and as much of it as fits here; the rest is in a chain of pages.
    fn row(&mut self, page: &[u8], cell: usize) -> Option<Vec<u8>> {
        let mut rest = page.get(cell..self.usable)?;
        let length = usize::try_from(varint(&mut rest)?).ok()?;
        varint(&mut rest)?;
        self.budget = self.budget.checked_sub(length)?;
        let (here, rest) = rest.split_at_checked(self.here(length))?;
        let mut row = here.to_vec();
        let mut next = if row.len() < length {
            long(rest, 0)?
        } else {
            0
        };
        while row.len() < length {
            let page = self.page(next)?;
            next = long(page, 0)?;
            let more = page.get(4..self.usable)?;
            row.extend_from_slice(&more[..more.len().min(length - row.len())]);
        }
        Some(row)
    }

    /// How much of a row of this length stands in its cell.
    const fn here(&self, length: usize) -> usize {
        let most = self.usable - 35;
        if length <= most {
            return length;
        }
        let least = (self.usable - 12) * 32 / 255 - 23;
        let filling = least + (length - least) % (self.usable - 4);
        if filling <= most { filling } else { least }
    }
}

/// Where the cells of a page begin.
fn cells(page: &[u8], head: usize, head_length: usize) -> Vec<usize> {
    let count = short(page, head + 3).unwrap_or(0);
    let pointers = (0..count).map(|nth| head + head_length + 2 * nth);
    pointers.map_while(|at| short(page, at)).collect()
}

fn short(bytes: &[u8], at: usize) -> Option<usize> {
    let octets = bytes.get(at..at + 2)?.try_into().ok()?;
    Some(usize::from(u16::from_be_bytes(octets)))
}

fn long(bytes: &[u8], at: usize) -> Option<u32> {
    let octets = bytes.get(at..at + 4)?.try_into().ok()?;
    Some(u32::from_be_bytes(octets))
}

/// A number of one to nine octets: seven bits of each, and all of the ninth.
fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for nth in 0..9 {
        let (octet, rest) = bytes.split_first()?;
        *bytes = rest;
        if nth == 8 {
            return Some((value << 8) | u64::from(*octet));
        }
        value = (value << 7) | u64::from(octet & 0x7f);
        if octet & 0x80 == 0 {
            break;
        }
    }
    Some(value)
}

/// A value of a row.
struct Column<'a> {
    kind: u64,
    octets: &'a [u8],
}

impl Column<'_> {
    /// An integer; 0 and 1 are kinds of their own.
    fn number(&self) -> u64 {
        match self.kind {
            9 => 1,
            _ => (self.octets.iter().take(8))
                .fold(0, |value, octet| (value << 8) | u64::from(*octet)),
        }
    }
}

fn columns(row: &[u8]) -> Option<Vec<Column<'_>>> {
    let mut rest = row;
    let head = usize::try_from(varint(&mut rest)?).ok()?;
    let mut kinds = row.get(row.len() - rest.len()..head)?;
    let mut values = row.get(head..)?;
    let mut columns = Vec::new();
    while !kinds.is_empty() {
        let kind = varint(&mut kinds)?;
        let length = match kind {
            0 | 8 | 9 => 0,
            1..=4 => kind,
            5 => 6,
            6 | 7 => 8,
            _ => kind.checked_sub(12)? / 2,
        };
        let (octets, rest) = values.split_at_checked(usize::try_from(length).ok()?)?;
        values = rest;
        columns.push(Column { kind, octets });
    }
    Some(columns)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_have_one_to_nine_octets() {
        let mut bytes: &[u8] = &[
            0x7f, 0x81, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
        ];
        assert_eq!(varint(&mut bytes), Some(0x7f));
        assert_eq!(varint(&mut bytes), Some(0x80));
        assert_eq!(varint(&mut bytes), Some(u64::MAX));
        assert_eq!(varint(&mut bytes), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(tail in proptest::collection::vec(any::<u8>(), 0..2000), kind in 0_u8..16) {
            let mut head = [0; HEAD];
            head[..MAGIC.len()].copy_from_slice(MAGIC);
            head[16..18].copy_from_slice(&512_u16.to_be_bytes());
            let file = [&head[..], &[kind], &tail].concat();
            let _ = (certificates(&file), x509_certificates(&file));
        }
    }
}
