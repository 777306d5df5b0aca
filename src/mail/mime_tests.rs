use super::*;
use proptest::prelude::*;

fn parsed(message: &[u8]) -> (Part, Option<Failure>) {
    parse(message, 0, &Bounds::default(), &Budget::default())
}

fn body<'m>(message: &'m [u8], part: &Part) -> &'m [u8] {
    &message[part.body.clone()]
}

#[test]
fn parts_are_found_to_the_byte() {
    let message = b"A: 1\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\npre\r\n--b\r\nX: y\r\n\r\none\r\n--b\r\n\r\ntwo\r\n\r\n--b--\r\npost\r\n";
    let (root, over) = parsed(message);
    assert_eq!(over, None);
    assert_eq!(root.children.len(), 2);
    assert_eq!(&message[root.children[0].span.clone()], b"X: y\r\n\r\none");
    assert_eq!(body(message, &root.children[1]), b"two\r\n");
    assert_eq!(root.first(message, "a"), Some(&b" 1"[..]));
}

#[test]
fn broken_structures_are_read_as_far_as_they_go() {
    let open = b"Content-Type: multipart/mixed; boundary=b\n\n--b\n\none\n";
    assert_eq!(body(open, &parsed(open).0.children[0]), b"one\n");
    let wrong = b"Content-Type: multipart/mixed; boundary=other\n\n--b\nContent-Type: text/plain\n\none\n--b\n\ntwo\n--b--\n";
    assert_eq!(parsed(wrong).0.children.len(), 2);
    let inner_open = b"Content-Type: multipart/mixed; boundary=o\n\n--o\nContent-Type: multipart/mixed; boundary=i\n\n--i\n\none\n--o\n\ntwo\n--o--\n";
    let (root, _) = parsed(inner_open);
    assert_eq!(
        (root.children.len(), root.children[0].children.len()),
        (2, 1)
    );
    let embedded = b"Content-Type: message/rfc822\n\nSubject: in\n\nbody";
    assert_eq!(
        parsed(embedded).0.children[0].first(embedded, "subject"),
        Some(&b" in"[..])
    );
}

#[test]
fn nesting_and_part_counts_are_bounded() {
    let mut deep = Vec::new();
    for level in 0..200 {
        deep.extend_from_slice(
            format!("Content-Type: multipart/mixed; boundary=b{level}x\r\n\r\n--b{level}x\r\n")
                .as_bytes(),
        );
    }
    let (_, over) = parsed(&deep);
    assert_eq!(
        over,
        Some(Failure::OverBound {
            bound: "depth",
            limit: 50
        })
    );

    let mut wide = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n".to_vec();
    for _ in 0..10_000 {
        wide.extend_from_slice(b"--b\r\n\r\nx\r\n");
    }
    let (root, over) = parsed(&wide);
    assert_eq!(
        over,
        Some(Failure::OverBound {
            bound: "parts",
            limit: 2000
        })
    );
    assert_eq!(root.children.len(), 1999);
}

fn check(part: &Part, outer: &Range<usize>) {
    assert!(
        outer.start <= part.span.start && part.span.end <= outer.end,
        "{part:?} in {outer:?}"
    );
    assert!(part.body.start <= part.body.end && part.body.end <= outer.end);
    for child in &part.children {
        check(child, &part.body);
    }
}

proptest! {
    #[test]
    fn parts_lie_inside_their_parents(
        pieces in proptest::collection::vec(
            prop_oneof![
                Just("Content-Type: multipart/mixed; boundary=b\n"), Just("Content-Type: message/rfc822\n"),
                Just("Content-Type: multipart/digest; boundary=c\r\n"), Just("\n"), Just("\r\n"), Just("--b\n"),
                Just("--c\r\n"), Just("--b--\n"), Just("text"), Just(" fold\n"), Just("--b"), Just("Content-Type:\n"),
            ],
            0..40,
        ),
    ) {
        let message = pieces.concat().into_bytes();
        let (root, _) = parsed(&message);
        check(&root, &(0..message.len()));
    }

    #[test]
    fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = parsed(&bytes);
    }
}
