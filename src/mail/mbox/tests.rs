use super::*;
use proptest::prelude::*;

const LINE: &str = "From ann at example.org  Tue Apr  1 09:28:56 1997\n";

fn split(file: &str) -> Vec<&str> {
    let found = messages(file.as_bytes());
    found
        .into_iter()
        .map(|mail| std::str::from_utf8(mail).unwrap())
        .collect()
}

#[test]
fn a_field_with_a_blank_is_no_separator() {
    let mail = b"From : a@x.example\nFrom: b@x.example\nSubject: s\n\nhi\n";
    assert_eq!(messages(mail), [&mail[..]]);
}

#[test]
fn lines_may_end_with_carriage_returns_alone() {
    let file = format!("{LINE}A: 1\n\none\n\n{LINE}A: 2\n\nFrom here\n\n{LINE}A: 3\n");
    for before in ["", "\u{feff}\n"] {
        let file = format!("{before}{file}").replace('\n', "\r");
        let expected = ["A: 1\r\rone\r", "A: 2\r\rFrom here\r", "A: 3\r"];
        assert_eq!(split(&file), expected);
    }
}

#[test]
fn a_mark_or_blank_lines_may_come_first() {
    for before in ["\u{feff}", "\n\r\n", "\u{feff}\n"] {
        let file = format!("{before}{LINE}A: 1\n\none\n\n{LINE}A: 2\n\ntwo\n");
        assert_eq!(split(&file), ["A: 1\n\none\n", "A: 2\n\ntwo\n"]);
    }
    assert_eq!(split("\n\nA: 1\n"), ["\n\nA: 1\n"]);
    assert_eq!(split("\n\n"), ["\n\n"]);
}

#[test]
fn mails_are_split_at_dated_lines_only() {
    let file = format!(
        "{LINE}A: 1\n\nFrom here on\nit is text\n\nFrom now on:\nNote: too\n\n{LINE}B: 2\n\nx\n"
    );
    assert_eq!(
        split(&file),
        [
            "A: 1\n\nFrom here on\nit is text\n\nFrom now on:\nNote: too\n",
            "B: 2\n\nx\n"
        ]
    );
    assert_eq!(
        split(&format!("{LINE}A: 1\n\nx\n{LINE}B: 2\n")),
        ["A: 1\n\nx\n", "B: 2\n"]
    );
    let folded = "From a\"\n <a at b  Mon Jan 15 12:58:00 2001\n";
    assert_eq!(
        split(&format!("{LINE}A: 1\n\n{folded}B: 2\n")),
        ["A: 1\n", "B: 2\n"]
    );
    let crlf = LINE.replace('\n', "\r\n");
    assert_eq!(
        split(&format!("{crlf}\r\n{crlf}A: 1\r\n\r\n")),
        ["", "A: 1\r\n"]
    );
}

#[test]
fn writers_without_dates_and_quoting_of_every_kind() {
    let file = "From a Mon\nA: 1\n\nx\n>From y\n>>From z\n\nFrom here on it is text\n\nFrom b Tue\nB: 2\n\ny\n";
    let quoted = "A: 1\n\nx\n>From y\n>>From z\n\nFrom here on it is text\n";
    assert_eq!(split(file), [quoted, "B: 2\n\ny\n"]);
    assert_eq!(split("A: 1\n\nFrom x\n"), ["A: 1\n\nFrom x\n"]);
    assert_eq!(split(""), [""]);
}

// Thunderbird's newer versions put no date behind "From ", also into files that older ones began.
#[test]
fn thunderbird_wrote_dates_once_and_does_no_more() {
    let old = "From - Tue Apr 01 09:28:56 1997";
    let status = "X-Mozilla-Status: 0001\n";
    let file = format!(
        "{old}\n{status}A: 1\n\nFrom \nis text\n\nFrom \nis text\n\nFrom \n{status}A: 2\n\n>From \n\nFrom \nA: 3\n\nz\n\n{old}\nA: 4\n"
    );
    let expected = [
        format!("{status}A: 1\n\nFrom \nis text\n\nFrom \nis text\n"),
        format!("{status}A: 2\n\n>From \n"),
        "A: 3\n\nz\n".to_owned(),
        "A: 4\n".to_owned(),
    ];
    assert_eq!(split(&file), expected);
    let crlf = file.replace('\n', "\r\n");
    assert_eq!(split(&crlf).len(), 4);
    // Other programs quote no such line.
    let other = format!("{LINE}A: 1\n\nX-Mozilla-Status: 0001\n\nFrom \nNote: text\n");
    assert_eq!(split(&other).len(), 1);
}

#[test]
fn a_length_is_believed_where_a_separator_follows() {
    let inner = format!("x\n\n{LINE}Subject: quoted by nobody\n\ny\n");
    let places = |length: usize| {
        let mail = format!("A: 1\nContent-Length: {length}\n\n{inner}");
        let file = format!("\n{LINE}{mail}\n{LINE}B: 2\n\nz\n").into_bytes();
        let copy = file.clone();
        let look = move |at: u64| {
            let at = usize::try_from(at).unwrap().min(copy.len());
            Ok(copy[at..].to_vec())
        };
        let found = Mbox::at(&file[1..], 1, b'\n', look).map(Result::unwrap);
        let text = |at: u64| usize::try_from(at).unwrap();
        let found = found.map(|place| file[text(place.start)..text(place.end)].to_vec());
        (found.collect::<Vec<_>>(), mail.into_bytes())
    };
    let (found, mail) = places(inner.len());
    assert_eq!(found, [mail, b"B: 2\n\nz\n".to_vec()]);
    for wrong in [0, 1, inner.len() - 2, inner.len() + 5, 1 << 40] {
        assert_eq!(places(wrong).0.len(), 3, "{wrong}");
    }
}

#[test]
fn a_mailbox_without_dates_and_old_fields_are_known() {
    assert!(begins_mbox(b"From a@b\nSubject : x\n\ny\n"));
    assert!(begins_mbox(b"From \nA: 1\n"));
    assert!(!begins_mbox(b"From a@b\nis no field\n"));
    assert!(is_header(b"Subject : x") && is_header(b"Subject\t: x"));
    assert!(!is_header(b"From here on: x") && !is_header(b" : x"));
}

#[test]
fn dates_of_many_writers_are_known() {
    for good in [
        "From - Tue Apr 01 09:28:56 1997",
        "From a Tue Apr  1 09:28:56 +0200 1997",
        "From a Tue Apr  1 09:28:56 1997 +0200",
        "From a Tue Apr  1 09:28 MET 1997",
        "From a b c  Tue Apr  1 9:28:56 1997",
    ] {
        assert!(begins_mbox(good.as_bytes()), "{good}");
    }
    for bad in [
        "From Tue Apr onwards",
        "From a Tue Apr  1 09:28:56 1997 and much more text",
        "From a Tue Apr 1",
        ">From - Tue Apr 01 09:28:56 1997",
    ] {
        assert!(!begins_mbox(bad.as_bytes()), "{bad}");
    }
}

#[test]
fn every_mail_of_the_volume_corpus_is_found() {
    let Some(folder) = std::env::var_os("STRONGROOM_VOLUME") else {
        eprintln!("SKIPPED: STRONGROOM_VOLUME names no folder with the r-devel archive");
        return;
    };
    let (mut mails, mut obfuscated) = (0, 0);
    for entry in std::fs::read_dir(folder).unwrap() {
        let file = std::fs::read(entry.unwrap().path()).unwrap();
        for place in Mbox::new(file.as_slice(), line_end(&file)).map(Result::unwrap) {
            let at = |offset: u64| usize::try_from(offset).unwrap();
            assert!(
                is_header(&file[at(place.start)..]),
                "a mail begins with its header"
            );
            let line = file[at(place.separator)..]
                .split(|&byte| byte == b'\n')
                .next();
            obfuscated +=
                usize::from(line.is_some_and(|line| line.windows(4).any(|word| word == b" at ")));
            mails += 1;
        }
    }
    // 46,296 have an obfuscated address; list archives of the first years have plain ones.
    assert_eq!((mails, obfuscated), (77_345, 46_296));
}

proptest! {
    #[test]
    fn every_mail_comes_back_as_it_was(
        mails in proptest::collection::vec("A: b\n\n(>From |>>From |x|\n){0,12}\n", 1..5),
    ) {
        let file: String = mails.iter().map(|mail| format!("{LINE}{mail}\n")).collect();
        prop_assert_eq!(split(&file), mails);
    }

    #[test]
    fn places_cover_any_file(bytes in proptest::collection::vec(any::<u8>(), 0..300), texts in "(From |>|A: b|Tue Apr 1 9:28 1997|\r?\n|x){0,60}") {
        for file in [bytes, texts.into_bytes()] {
            let mut at = 0;
            for place in Mbox::new(file.as_slice(), line_end(&file)).map(Result::unwrap) {
                prop_assert_eq!(place.separator, at);
                prop_assert!(place.separator < place.start && place.start <= place.end && place.end <= place.next);
                at = place.next;
            }
            prop_assert_eq!(at, file.len() as u64);
            let _ = messages(&file);
        }
    }
}
