//! Everything that reads bytes from outside, one function each. Nothing may panic, hang or pass a bound, whatever the
//! bytes are. Shared by the bounded run of the tests and by the fuzzer (`fuzz/`).

use std::collections::BTreeSet;
use std::sync::OnceLock;
use strongroom::escrow::keyholder::Keyholder;
use strongroom::escrow::{self, Certificates, openpgp_key};
use strongroom::frame::{self, Limits};
use strongroom::intake::smtp::command;
use strongroom::intake::spool::format::Preamble;
use strongroom::keeper::protocol::{Answer, Request};
use strongroom::ledger::{Checkpoint, Entry};
use strongroom::mail::context::{
    Budget, Context, OpenPgpCertificate, OpenPolicy, Trust, TrustData,
};
use strongroom::mail::keyops::{KeyHint, KeyOps, Wrapped};
use strongroom::mail::openpgp::{altered, armor, cleartext, packets};
use strongroom::mail::smime::ber::Element;
use strongroom::mail::{
    self, Bounds, address, charset, date, emlx, foreign, header, journal, mbox, mime, msg, sniff,
    text, tnef, transfer,
};
use strongroom::policy::ValidPolicy;
use strongroom::search::Query;
use strongroom::secret::SecretBytes;
use strongroom::time::Timestamp;

/// A reader of bytes from outside.
pub type Target = fn(&[u8]);

/// All of them, by name.
pub const ALL: [(&str, Target); 20] = [
    ("mail", whole_mail),
    ("attached", attached),
    ("opened", mail_to_known_keys),
    ("ber", ber),
    ("cms", cms),
    ("packets", openpgp_packets),
    ("openpgp", openpgp),
    ("armor", openpgp_armor),
    ("mime", mime_parts),
    ("headers", headers),
    ("charsets", charsets),
    ("journal", journal_report),
    ("tnef", winmail),
    ("msg", saved_by_outlook),
    ("mbox", mailbox_file),
    ("text", searchable_text),
    ("keys", private_keys),
    ("smtp", smtp_command),
    ("frames", frames),
    ("documents", documents),
];

/// The target of this name.
///
/// # Panics
/// If there is none.
#[allow(dead_code)] // the fuzzer's programs use one each, the bounded run uses them all
pub fn named(name: &str) -> Target {
    let found = ALL.iter().find(|(known, _)| *known == name);
    found.expect("a target of this name").1
}

fn small() -> OpenPolicy {
    OpenPolicy {
        bounds: Bounds {
            expanded_bytes: 16 << 20,
            text_bytes: 64 << 10,
            ..Bounds::default()
        },
        ..OpenPolicy::default()
    }
}

fn in_context<T>(open: impl FnOnce(&Context) -> T) -> T {
    trusting(&Trust::default(), open)
}

fn trusting<T>(trust: &Trust, open: impl FnOnce(&Context) -> T) -> T {
    let policy = small();
    open(&Context {
        keys: &Keyholder::default(),
        trust,
        attached: &[],
        policy: &policy,
        arrived: Timestamp::from_seconds(1_800_000_000),
        around: None,
        date: Some(Timestamp::from_seconds(1_700_000_000)),
        from: vec!["anna@example.org".to_owned()],
        budget: &Budget::default(),
    })
}

fn whole_mail(input: &[u8]) {
    open(input, &Keyholder::default());
}

/// A mail with the input in its one part, of types and names that differ in what is looked for: archives, armor that is escaped
/// or in HTML, objects in text, TNEF, `.msg`.
fn attached(input: &[u8]) {
    for kind in [
        "application/octet-stream; name=a.tgz",
        "application/json; name=a.json",
        "application/pkcs7-mime; name=a.txt.p7m",
        "text/html",
        "text/plain; charset=utf-16",
    ] {
        let head = format!("From: anna@example.org\r\nContent-Type: {kind}\r\n\r\n");
        whole_mail(&[head.as_bytes(), input].concat());
    }
}

/// What a mail is wrapped in reaches the private keys, which lie in the keeper, and what is in it another reader.
fn mail_to_known_keys(input: &[u8]) {
    static KEYS: OnceLock<Keyholder> = OnceLock::new();
    open(input, KEYS.get_or_init(keys_of_the_corpus));
}

/// The keys that the corpus's manifests name, but for those behind a passphrase, which take long to unlock. None without the
/// corpus.
fn keys_of_the_corpus() -> Keyholder {
    let corpus = std::env::var_os("STRONGROOM_CORPUS");
    let sources = corpus.and_then(|corpus| std::fs::read_dir(corpus).ok());
    let mut files = BTreeSet::new();
    for source in sources.into_iter().flatten().flatten() {
        let source = source.path();
        let manifest = std::fs::read(source.join("manifest.tsv")).unwrap_or_default();
        for row in String::from_utf8_lossy(&manifest).lines().skip(1) {
            if let [_, _, keys, "", ..] = row.split('\t').collect::<Vec<_>>()[..] {
                files.insert(source.join(keys));
            }
        }
    }
    let mut keys = Keyholder::default();
    for bytes in files.iter().filter_map(|file| std::fs::read(file).ok()) {
        keys.add_loaded(escrow::load(&bytes, &[], &Certificates::default()));
    }
    // A hidden recipient's message is tried by all: what is unlocked on first use, now is.
    let body = vec![3; 16];
    let cipher_inside = true;
    let wrapped = Wrapped::OpenPgpPkesk {
        body,
        cipher_inside,
    };
    let _ = keys.unwrap_session_key(&KeyHint::Hidden, &wrapped, 0);
    keys
}

fn open(input: &[u8], keys: &Keyholder) {
    let policy = small();
    let opened = mail::open(
        input,
        keys,
        &Trust::default(),
        &policy,
        Timestamp::from_seconds(1_800_000_000),
    );
    let deepest = opened.layers.iter().map(|layer| layer.depth).max();
    assert!(
        deepest.unwrap_or(0) <= policy.bounds.depth,
        "deeper than the bound"
    );
    assert!(
        opened.text.body.len() as u64 <= policy.bounds.text_bytes,
        "more text than the bound"
    );
}

fn ber(input: &[u8]) {
    let Ok((element, rest)) = Element::split(input) else {
        return;
    };
    assert!(rest.len() < input.len());
    if let Ok(der) = element.to_der() {
        let again = Element::only(&der).and_then(|element| element.to_der());
        assert_eq!(again.ok(), Some(der), "DER is its own DER");
    }
}

fn cms(input: &[u8]) {
    let _ = in_context(|context| mail::smime::open(input, None, context));
    let _ = in_context(|context| mail::smime::open(input, Some(b"signed\r\n"), context));
    let _ = mail::smime::decode_container(input);
}

fn openpgp_packets(input: &[u8]) {
    let mut left = input.len();
    for packet in packets::packets(input) {
        if packet.is_err() {
            break;
        }
        assert!(left > 0, "more packets than bytes");
        left -= 1;
    }
}

fn openpgp(input: &[u8]) {
    let _ = in_context(|context| mail::openpgp::open(input, None, context));
    let _ = in_context(|context| mail::openpgp::open(input, Some(b"signed\r\n"), context));
    let _ = in_context(|context| mail::openpgp::open_clear_signed(input, context));
    as_certificate(input);
}

/// The input as the certificate for signatures that name no key: all keys in it are tried.
fn as_certificate(input: &[u8]) {
    let armored = armor::blocks(input).next().map(|block| block.bytes);
    let trust = Trust::from(TrustData {
        openpgp: vec![OpenPgpCertificate {
            bytes: armored.unwrap_or_else(|| input.to_vec()),
            source: "directory".to_owned(),
        }],
        ..TrustData::default()
    });
    // Version, kind, algorithm, digest, no subpackets; then numbers.
    let rsa = [5, 0, 1, 8, 0, 0, 0, 0, 0, 0, 0, 1, 1];
    let eddsa = [5, 0, 22, 8, 0, 0, 0, 0, 0, 0, 0, 1, 1, 0, 1, 1];
    for signature in [&rsa[..], &eddsa] {
        let signature = packets::framed(packets::tag::SIGNATURE, signature);
        let _ = trusting(&trust, |context| {
            mail::openpgp::open(&signature, Some(b"signed\r\n"), context)
        });
    }
}

fn openpgp_armor(input: &[u8]) {
    assert!(armor::blocks(input).count() <= input.len());
    let _ = cleartext::parse(input, 0);
    let _ = altered::restored(input);
    for encoding in ["", "base64", "quoted-printable", "x-uuencode"] {
        let _ = transfer::decode(input, encoding);
        let _ = sniff::cms_in(input, encoding);
        let _ = sniff::openpgp_text(input, encoding);
        let _ = sniff::openpgp_signatures_in(input, encoding);
    }
}

fn mime_parts(input: &[u8]) {
    let bounds = Bounds::default();
    let (root, _) = mime::parse(input, 0, &bounds, &Budget::default());
    let _ = root.file_name();
}

fn headers(input: &[u8]) {
    let _ = header::decode_words(&header::unfolded(input));
    let _ = header::ContentType::parse(input);
    assert!(address::mailboxes(input).len() <= input.len());
    let _ = date::parse(&String::from_utf8_lossy(input));
}

fn charsets(input: &[u8]) {
    for label in [
        "utf-7",
        "utf-8",
        "utf-16",
        "utf-32",
        "hz-gb-2312",
        "iso-2022-cn",
        "iso-2022-jp",
        "iso-2022-kr",
        "gb18030",
        "cp437",
        "",
    ] {
        // A byte is one character of three bytes at most.
        assert!(charset::decode(input, Some(label)).len() <= input.len() * 3 + 3);
    }
    let _ = (
        charset::decode_html(input, None),
        charset::decode_xml(input, None),
    );
}

fn journal_report(input: &[u8]) {
    let _ = journal::unwrap(input);
}

fn winmail(input: &[u8]) {
    let _ = tnef::parse(input);
}

fn saved_by_outlook(input: &[u8]) {
    let _ = msg::as_mail(input);
}

fn mailbox_file(input: &[u8]) {
    let _ = mbox::messages(input);
    let _ = foreign::told(input);
    if let Some(found) = emlx::message(input, input.len() as u64) {
        assert!(found.start <= found.end && found.end <= input.len() as u64);
    }
}

fn searchable_text(input: &[u8]) {
    let bounds = small().bounds;
    for kind in [
        "text/plain; charset=utf-7",
        "text/html",
        "application/pdf",
        "application/vnd.oasis.opendocument.text",
        "application/xml",
        "text/calendar",
        "text/rtf",
    ] {
        let header = format!("Content-Type: {kind}\r\nContent-Disposition: attachment\r\n\r\n");
        let found = text::search_text(&[header.as_bytes(), input].concat(), &bounds);
        assert!(found.body.len() as u64 <= bounds.text_bytes);
    }
}

fn private_keys(input: &[u8]) {
    let passphrase = SecretBytes::from("secret".to_owned());
    let certificates = Certificates {
        openpgp: openpgp_key::certificates_in(input),
        ..Certificates::default()
    };
    let _ = escrow::load(input, &[passphrase], &certificates);
    let _ = escrow::plain(input);
}

fn smtp_command(input: &[u8]) {
    let _ = command::parse(input);
}

fn frames(input: &[u8]) {
    let limits = Limits {
        head: 1 << 16,
        raw: 1 << 20,
    };
    let _ = frame::read::<Request>(&mut &input[..], limits);
    let _ = frame::read::<Answer>(&mut &input[..], limits);
    let _ = Preamble::decode(input);
}

fn documents(input: &[u8]) {
    let _ = Entry::decode(input);
    let text = String::from_utf8_lossy(input);
    let _ = text.parse::<Checkpoint>();
    let _ = text.parse::<Query>();
    let _ = ValidPolicy::parse(&text, "fuzz.toml");
}
