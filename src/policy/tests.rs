use super::*;
use proptest::prelude::*;

fn error_of(text: &str) -> PolicyError {
    ValidPolicy::parse(text, "p.toml").expect_err("must not be valid")
}

#[test]
fn the_shipped_policies_are_valid() {
    let default = ValidPolicy::parse(DEFAULT, "default.toml").expect("default.toml");
    assert_eq!(
        default.quorum(),
        Quorum {
            required: 3,
            officers: 5
        }
    );
    assert_eq!(default.threshold(Action::Found), 5);
    assert_eq!(default.threshold(Action::Restore), 3);
    assert_eq!(
        default.max_size(),
        None,
        "C1: no mail is refused by default"
    );
    assert!(
        default.open().refuse.is_empty(),
        "an archive reads what a client would refuse"
    );
    assert!(
        default.exclusions().is_empty(),
        "C1: no exclusion by default"
    );
    // A8
    for (class, years) in [("correspondence", 6), ("vouchers", 8), ("books", 10)] {
        assert_eq!(
            default.retention().classes.get(class),
            Some(&Period::Years(years)),
            "{class}"
        );
    }
    let demo = ValidPolicy::parse(DEMO, "demo.toml").expect("demo.toml");
    assert_eq!(
        demo.quorum(),
        Quorum {
            required: 2,
            officers: 3
        }
    );
}

#[test]
fn an_error_names_file_line_key_and_what_is_allowed() {
    let error = error_of(&DEMO.replace("required = 2", "required = 3"));
    assert_eq!(
        (error.file.as_str(), error.key.as_str()),
        ("p.toml", "officers.required")
    );
    let line = 1 + DEMO
        .lines()
        .position(|line| line.starts_with("required"))
        .expect("key is there");
    assert_eq!(error.line, line);
    assert!(error.to_string().contains("from 2 to 2"), "{error}");
}

#[test]
fn each_wrong_value_is_named_by_its_key() {
    let cases = [
        ("escrow = \"online\"", "escrow = \"sealed\"", "escrow"),
        ("escrow = \"online\"", "escrow = \"Online\"", "escrow"),
        ("escrow = \"online\"", "", "escrow"),
        ("number = 3", "number = \"3\"", "officers.number"),
        ("number = 3", "number = 11", "officers.number"),
        ("case_mail = 2", "case_mail = 4", "thresholds.case_mail"),
        ("case_mail = 2", "case_mail = 1", "thresholds.case_mail"),
        ("case_mail = 2", "case_male = 2", "thresholds.case_male"),
        ("case_mail = 2", "", "thresholds.case_mail"),
        ("escrow = \"online\"", "escrov = \"online\"", "escrov"),
        ("people = 2", "people = 0", "thresholds.people"),
        ("pcrs = [7, 11, 12]", "pcrs = []", "tpm.pcrs"),
        ("pcrs = [7, 11, 12]", "pcrs = [7, 7]", "tpm.pcrs[1]"),
        ("pcrs = [7, 11, 12]", "pcrs = [7, 24]", "tpm.pcrs[1]"),
        ("cap_pcr = 12", "cap_pcr = 13", "tpm.cap_pcr"),
        ("tenants = [\"main\"]", "tenants = [\"..\"]", "tenants[0]"),
        ("tenants = [\"main\"]", "tenants = []", "tenants"),
        (
            "default = \"correspondence\"",
            "default = \"eternal\"",
            "retention.default",
        ),
        (
            "vouchers = { years = 8 }",
            "vouchers = { years = 8, months = 1 }",
            "retention.classes.vouchers",
        ),
        (
            "vouchers = { years = 8 }",
            "vouchers = { weeks = 8 }",
            "retention.classes.vouchers.weeks",
        ),
        (
            "exclusions = []",
            "exclusions = [\"nobody\"]",
            "exclusions[0]",
        ),
        ("exclusions = []", "exclusion = []", "exclusion"),
        ("exclusions = []", "exclusions = [", "the text"),
        ("anchors = \"folder\"", "anchors = \"all\"", "trust.anchors"),
        ("anchors = \"folder\"", "anchors = true", "trust.anchors"),
        (
            "anchors = \"folder\"",
            "anchors = [\"AB\"]",
            "trust.anchors[0]",
        ),
        ("openpgp = \"folder\"", "openpgp = [7]", "trust.openpgp[0]"),
        ("openpgp = \"folder\"", "pgp = \"folder\"", "trust.pgp"),
        (
            "recipients = [] ",
            "recipients = [\"journal@x.example\"] ",
            "journal",
        ),
        ("peers = [] ", "peers = [\"192.0.2.1\"] ", "journal"),
        (
            "peers = [] ",
            "peers = [\"192.0.2.1/24\"] ",
            "journal.peers[0]",
        ),
        (
            "peers = [] ",
            "peers = [\"::1\", \"::1/128\"] ",
            "journal.peers[1]",
        ),
        ("peers = [] ", "peers = [7] ", "journal.peers[0]"),
        ("peers = [] ", "peer = [] ", "journal.peer"),
        (
            "peers = [] ",
            "senders = [\"\"]\npeers = [] ",
            "journal.senders[0]",
        ),
        (
            "peers = [] ",
            "senders = [\"<>\", \"<>\"]\npeers = [] ",
            "journal.senders[1]",
        ),
        (
            "recipients = [] ",
            "recipients = [\"journal\"] ",
            "journal.recipients[0]",
        ),
        (
            "\n[journal]",
            "\n[[journal]]\nrecipients = []\npeers = []\n[[journal]]\nsenders = [7]",
            "journal[1].senders[0]",
        ),
    ];
    for (from, to, key) in cases {
        let text = DEMO.replace(from, to);
        assert_ne!(text, DEMO, "{from} is in demo.toml");
        assert_eq!(error_of(&text).key, key, "{from} -> {to}");
    }
}

#[test]
fn trust_is_the_folder_unless_fingerprints_are_listed() {
    let (one, two, pgp) = ("a1".repeat(32), "0f".repeat(32), "9c".repeat(20));
    let with = |table: &str| {
        let whole = "[trust]\nanchors = \"folder\"\nopenpgp = \"folder\"\n";
        assert!(DEMO.contains(whole));
        DEMO.replace(whole, table)
    };
    let old = ValidPolicy::parse(&with(""), "p.toml").expect("policies of old");
    let shipped = ValidPolicy::parse(DEMO, "p.toml").expect("demo.toml");
    assert_eq!(old.trust(), shipped.trust());
    assert!(old.trust().anchors.counts(&one));
    let text = with(&format!(
        "[trust]\nanchors = [\"{one}\", \"{two}\"]\nopenpgp = [\"{pgp}\"]\n"
    ));
    let listed = ValidPolicy::parse(&text, "p.toml").expect("valid");
    let anchors = &listed.trust().anchors;
    assert!(anchors.counts(&two) && !anchors.counts(&"00".repeat(32)));
    assert_eq!(anchors.missing(&[one.clone()].into()), [&two]);
    let none = ValidPolicy::parse(&with("[trust]\nanchors = []\n"), "p.toml").expect("valid");
    assert!(!none.trust().anchors.counts(&one));
    for (list, key) in [
        (format!("\"{one}\", \"{one}\""), "trust.anchors[1]"),
        (format!("\"{}\"", one.to_uppercase()), "trust.anchors[0]"),
        (format!("\"{pgp}\""), "trust.anchors[0]"),
    ] {
        let error = error_of(&with(&format!("[trust]\nanchors = [{list}]\n")));
        assert_eq!(error.key, key, "{error}");
        assert!(error.allowed.contains("64 digits"), "{error}");
    }
}

#[test]
fn a_misspelt_algorithm_is_named_with_the_one_that_is_meant_but_closes_no_founded_box() {
    for (misspelt, meant) in [("SHA1", "SHA-1"), ("3-DES", "3DES")] {
        let text = DEFAULT.replace("refuse = []", &format!("refuse = [\"{misspelt}\"]"));
        let error = error_of(&text);
        assert_eq!(error.key, "open.refuse[0]");
        assert!(
            error.problem.contains(&format!("is \"{meant}\" meant?")),
            "{error}"
        );
        assert!(ValidPolicy::parse_founded(&text, "p.toml").is_ok());
    }
}

#[test]
fn years_count_from_the_end_of_the_calendar_year() {
    let arrived = Timestamp::from_seconds(1_700_000_000); // 2023-11-14
    assert_eq!(
        Period::Years(6)
            .ends(arrived)
            .expect("in range")
            .to_string(),
        "2030-01-01T00:00:00Z"
    );
    assert_eq!(
        Period::Months(3)
            .ends(arrived)
            .expect("in range")
            .to_string(),
        "2024-02-14T22:13:20Z"
    );
    assert_eq!(Period::Years(6).ends(Timestamp(u64::MAX)), None);
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in ".{0,400}") {
        let _ = ValidPolicy::parse(&text, "p.toml");
    }

    #[test]
    fn no_alteration_makes_it_panic(at in any::<prop::sample::Index>(), with in "[\\[\\]{}=\"'0-9a-z.#\\n-]{0,4}") {
        let mut text = DEFAULT.to_owned();
        let place = at.index(text.len());
        if text.is_char_boundary(place) && text.is_char_boundary(place + 1) {
            text.replace_range(place..=place, &with);
            if let Err(error) = ValidPolicy::parse(&text, "p.toml") {
                prop_assert!(error.line <= text.lines().count() + 1);
                prop_assert!(!error.allowed.is_empty());
            }
        }
    }
}
