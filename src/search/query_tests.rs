use super::*;
use proptest::prelude::*;

fn parse(text: &str) -> Query {
    text.parse()
        .unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn shape(text: &str) -> String {
    parse(text).to_string()
}

#[test]
fn what_people_type_means_what_they_expect() {
    for (text, expected) in [
        ("", ""),
        ("  Rechnung ", "rechnung"),
        ("from:Anna.Huber@Example.org", "from:anna.huber@example.org"),
        ("from:anna@", "from:anna"),
        ("with:\"Huber, Anna\" offer", "with:\"huber anna\" offer"),
        ("john.doe@example.org", "\"john doe example org\""),
        ("a OR b c", "a OR (b c)"),
        ("(a OR b) c", "(a OR b) c"),
        ("-a -(b OR c)", "-a -(b OR c)"),
        ("or", "or"),
        ("ORDER", "order"),
        ("10:30", "\"10 30\""),
        ("date:2024-02", "date:2024-02-01..2024-02-29"),
        ("date:2024-01..2024-03", "date:2024-01-01..2024-03-31"),
        ("date:2024..", "date:2024-01-01.."),
        ("date:..2024-03-05", "date:..2024-03-05"),
        ("before:2024-03", "date:..2024-02-29"),
        ("after:2024-03-31", "date:2024-04-01.."),
        (
            "has:attachment encrypted:YES signed:valid-but",
            "has:attachment encrypted:yes signed:valid-but",
        ),
        ("id:<A.B@c>", "id:<a.b@c>"),
        (
            "subject:\"Müller's Straße\"",
            "subject:\"muller s strasse\"",
        ),
        ("(((a)))", "a"),
        ("a\"b c\"", "a \"b c\""),
    ] {
        assert_eq!(shape(text), expected, "{text}");
    }
    let id = RecordId::from_bytes([7; 16]);
    assert_eq!(parse(&format!("id:{id}")), Query::Record(id));
}

#[test]
fn errors_name_the_place_and_what_is_allowed() {
    for (text, expected) in [
        (
            "a colour:red",
            "at character 3 of the query: \"colour\" is not a field; there are from, to",
        ),
        (
            "ä (b",
            "at character 3 of the query: a closing parenthesis is missing",
        ),
        (
            "a)",
            "at character 2 of the query: there is no opening parenthesis",
        ),
        (
            "\"a",
            "at character 1 of the query: a closing quotation mark is missing",
        ),
        ("a OR", "at character 5 of the query: a word, a \"phrase\""),
        ("OR a", "at character 1 of the query: a word"),
        ("from: anna", "at character 6 of the query: a word"),
        ("-", "at character 2 of the query: a word"),
        ("()", "at character 2 of the query: a word"),
        (
            "!!!",
            "at character 1 of the query: there is no letter or digit",
        ),
        (
            "date:2024-13",
            "at character 6 of the query: date: takes a year, month or day",
        ),
        ("date:..", "at character 6 of the query: date: takes"),
        (
            "before:2024-02-30",
            "at character 8 of the query: before: takes",
        ),
        (
            "has:flag",
            "at character 5 of the query: has: takes attachment",
        ),
        (
            "encrypted:maybe",
            "at character 11 of the query: encrypted: takes yes, no, smime or openpgp",
        ),
        (
            "signed:",
            "at character 8 of the query: signed: takes yes, no, valid",
        ),
        ("id:", "at character 4 of the query: id: takes a record id"),
    ] {
        let error = text.parse::<Query>().expect_err(text).to_string();
        assert!(error.starts_with(expected), "{text}: {error}");
    }
}

#[test]
fn length_depth_and_number_are_bounded() {
    let problem = |text: &str| text.parse::<Query>().expect_err("too much").problem;
    assert_eq!(
        problem(&"a".repeat(LONGEST_QUERY + 1)),
        QueryProblem::TooLong
    );
    assert_eq!(problem(&"(".repeat(LONGEST_QUERY)), QueryProblem::TooDeep);
    assert_eq!(problem(&"-".repeat(LONGEST_QUERY)), QueryProblem::TooDeep);
    assert_eq!(problem(&"a ".repeat(MOST_TERMS + 1)), QueryProblem::TooMany);
    assert!("a ".repeat(MOST_TERMS).parse::<Query>().is_ok());
}

/// Pieces of the language in any order, so that random tests meet its corners.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("(".to_owned()),
        Just(")".to_owned()),
        Just("-".to_owned()),
        Just("\"".to_owned()),
        Just(" ".to_owned()),
        Just(" OR ".to_owned()),
        "(from|to|with|subject|body|date|before|after|has|encrypted|signed|id|x):",
        "[0-9]{4}(-[0-9]{2}){0,2}(\\.\\.)?",
        "(yes|no|any|smime|valid|attachment|a@b.c|<m@x>)",
        "\\PC{0,4}",
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_text_parses_or_is_refused_and_prints_to_itself(text in prop_oneof![pieces(), any::<String>()]) {
        if let Ok(query) = text.parse::<Query>() {
            let printed = query.to_string();
            // Printing may be longer than what was typed (`()` around alternatives), so not every print fits.
            if printed.len() <= LONGEST_QUERY {
                prop_assert_eq!(printed.parse::<Query>(), Ok(query), "{}", printed);
            }
        }
    }
}
