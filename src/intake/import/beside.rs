//! What lies beside mails and is none: what mail programs note about a folder, and empty mailbox files.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Lists of marks in MH folders. They look like header fields.
const LOOK_LIKE_MAIL: [&[u8]; 2] = [b".mh_sequences", b".mh_profile"];

/// Ends of the names of indexes and caches: Thunderbird, Evolution, Eudora, Claws Mail, Sylpheed.
const ENDS: [&[u8]; 12] = [
    b".msf",
    b".cmeta",
    b".ev-summary",
    b".ev-summary-meta",
    b".ibex.index",
    b".ibex.index.data",
    b".toc",
    b".claws_cache",
    b".claws_mark",
    b".claws_tags",
    b".sylpheed_cache",
    b".sylpheed_mark",
];

/// Names of such files: Gnus, Cyrus, Apple Mail, Dovecot, file managers.
const NAMES: [&[u8]; 15] = [
    b".overview",
    b".marks",
    b"cyrus.annotations",
    b"cyrus.cache",
    b"cyrus.header",
    b"cyrus.index",
    b"cyrus.squat",
    b"table_of_contents",
    b"Info.plist",
    b"dovecot.index",
    b"dovecot.index.cache",
    b"dovecot.index.log",
    b".subscriptions",
    b"subscriptions",
    b".DS_Store",
];

/// True for files that are left out whatever is in them.
pub fn is_never_mail(name: &[u8]) -> bool {
    LOOK_LIKE_MAIL.contains(&name)
}

/// True where nobody misses mail in `path`, which does not begin as mail does: an index, or an empty file that need not be
/// one mail.
pub fn is_expected(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().as_bytes();
    if NAMES.contains(&name) || ENDS.iter().any(|end| name.ends_with(end)) {
        return true;
    }
    let is_empty = || fs::metadata(path).is_ok_and(|status| status.len() == 0);
    !is_one_mail(path, name) && is_empty()
}

/// By its name, the file holds one mail, not a mailbox: those of MH and Maildir, and such as are called so.
fn is_one_mail(path: &Path, name: &[u8]) -> bool {
    let one = |suffix: &[u8]| matches!(suffix, b"eml" | b"emlx" | b"gz" | b"bz2" | b"zst");
    let suffix = path.extension().unwrap_or_default().as_bytes();
    let folder = path.parent().and_then(Path::file_name).unwrap_or_default();
    name.iter()
        .all(|c| c.is_ascii_digit() || matches!(c, b',' | b'#' | b'.'))
        || one(&suffix.to_ascii_lowercase())
        || folder == "cur"
        || folder == "new"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indexes_and_empty_mailboxes_are_expected_and_an_empty_mail_is_not() {
        let folder = tempfile::tempdir().expect("folder");
        let expected = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().expect("folder")).expect("folder");
            fs::write(&path, text).expect("write");
            is_expected(&path)
        };
        for (name, text) in [
            ("Inbox.msf", "// <!-- <mdb:mork:z v=\"1.4\"/> -->"),
            ("cyrus.header", "\u{1}"),
            ("Drafts", ""),
            ("lists.debian", ""),
            ("Sent.mbox", ""),
        ] {
            assert!(expected(name, text), "{name}");
        }
        for (name, text) in [
            ("Drafts", "x"),
            ("a.eml", ""),
            ("a.EML", ""),
            ("17", ""),
            (",17", ""),
            ("cur/1.host", ""),
            ("a.pdf", "x"),
            ("my subscriptions", "x"),
        ] {
            assert!(!expected(name, text), "{name}");
        }
    }
}
