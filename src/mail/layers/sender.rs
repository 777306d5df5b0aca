//! Whom a reader takes for the sender. Clients show display names, group names, comments and either of two From
//! fields, so that a signature vouches for a sender only if every address that stands anywhere in From is the signer's
//! ("Johnny, you are fired", section 4.4).

use crate::mail::header::{decode_words, unfolded};
use crate::mail::mime::{self, Part};
use crate::mail::model::{Signature, Verdict};
use crate::mail::{address, sniff};
use std::collections::HashSet;

/// Stands for the sender of a mail whose From has no address: nobody is that.
pub(super) const NOBODY: &str = "nobody (no address in From)";
/// Stands for the senders beyond [`MAX_SENDERS`], [`MAX_BYTES`] or [`MAX_FIELD`]: nobody is that either.
const OTHERS: &str = "others (too many addresses in From)";
/// Bytes of one field that are read.
const MAX_FIELD: usize = 64 << 10;
/// Addresses that are compared.
const MAX_SENDERS: usize = 200;
/// Bytes of all of them: every signature in the mail keeps them.
const MAX_BYTES: usize = 16 << 10;

/// All addresses that the From fields of `root` show, as they are compared; with those of the message that it wraps to protect its
/// header (RFC 8551, section 3.1).
pub(super) fn shown(bytes: &[u8], root: &Part) -> Vec<String> {
    let mut all = in_fields(bytes, root);
    if is_protected(root) {
        let wrapped = &bytes[root.body.clone()];
        all.extend(in_fields(wrapped, &mime::header_of(wrapped)));
    }
    all
}

/// Whether `part` is a message that is not a forwarded one but the mail itself, wrapped to protect its header (RFC 8551,
/// section 3.1).
pub(super) fn is_protected(part: &Part) -> bool {
    let forwarded = part.content_type.parameter("forwarded");
    part.content_type.is_message() && forwarded.is_some_and(|said| said.eq_ignore_ascii_case("no"))
}

fn in_fields(bytes: &[u8], root: &Part) -> Vec<String> {
    let mut all = Vec::new();
    for value in root.all(bytes, "from") {
        if all.len() > MAX_SENDERS {
            break;
        }
        let is_cut = value.len() > MAX_FIELD;
        let value = &value[..value.len().min(MAX_FIELD)];
        let mailboxes = address::mailboxes(value).into_iter();
        let named: Vec<String> = mailboxes
            .map(|mailbox| mailbox.address.to_lowercase())
            .filter(|address| !address.is_empty())
            .collect();
        all.extend(named.iter().map(|one| address::compared(one)));
        if let [one] = named.as_slice()
            && one.contains('@')
            && !is_cut
            && !may_hold_more(value)
        {
            continue;
        }
        let known: HashSet<&str> = named.iter().map(String::as_str).collect();
        let text = decode_words(&unfolded(value)).to_lowercase();
        let others = text
            .split(|c: char| c.is_whitespace() || c.is_control() || "<>()[],;:\"\\".contains(c))
            .filter(|word| !known.contains(word))
            .map(|word| word.trim_matches(|c: char| !c.is_alphanumeric()))
            .filter(|word| is_address(word) && !known.contains(word))
            .map(str::to_owned);
        let others: Vec<String> = others.collect();
        all.extend(others.iter().map(|one| address::compared(one)));
        if is_cut {
            all.push(OTHERS.to_owned());
        }
    }
    bounded(all)
}

/// The senders within the bounds, and [`OTHERS`] for those beyond.
pub(super) fn bounded(mut senders: Vec<String>) -> Vec<String> {
    let mut bytes = 0;
    let within = senders.iter().take(MAX_SENDERS).take_while(|sender| {
        bytes += sender.len();
        bytes <= MAX_BYTES
    });
    let kept = within.count();
    if kept < senders.len() {
        senders.truncate(kept);
        senders.push(OTHERS.to_owned());
    }
    senders
}

/// Whether a From field may show another address than that of its only mailbox.
fn may_hold_more(value: &[u8]) -> bool {
    memchr::memchr_iter(b'@', value).count() != 1
        || !value.is_ascii()
        || memchr::memmem::find(value, b"=?").is_some()
}

/// True if `root` is a mail's header, with more than the fields of MIME.
pub(super) fn is_mail(bytes: &[u8], root: &Part) -> bool {
    root.fields.iter().any(|field| {
        let name = bytes[field.name.clone()].to_ascii_lowercase();
        name != b"mime-version" && !name.starts_with(b"content-")
    })
}

/// The addresses in the From that a plaintext brings along (protected headers) and that the rendition shows.
pub(super) fn brought(plaintext: &[u8]) -> Vec<String> {
    if sniff::is_entity(plaintext) {
        shown(plaintext, &mime::header_of(plaintext))
    } else {
        Vec::new()
    }
}

/// Withdraws the verdict of a signature that is not by all of `senders`, whom a reader sees.
pub(super) fn compare(signature: &mut Signature, senders: &[String]) {
    for sender in senders {
        if !signature.from.contains(sender) {
            signature.from.push(sender.clone());
        }
    }
    let is_signer = |sender: &&String| signature.addresses.contains(sender);
    let Some(other) = senders.iter().find(|sender| !is_signer(sender)) else {
        return;
    };
    let why = format!(
        "from-mismatch: the content is from {other}, signed by {}",
        signature.signer
    );
    signature.from_matches = Some(false);
    if matches!(signature.verdict, Verdict::Valid | Verdict::ValidBut) {
        signature.verdict = Verdict::UnknownSigner;
        signature.reason.clone_from(&why);
    }
    if let Some(claimed) = &mut signature.claimed
        && matches!(claimed.verdict, Verdict::Valid | Verdict::ValidBut)
    {
        claimed.verdict = Verdict::UnknownSigner;
        claimed.reason = why;
    }
}

/// `local@domain.tld`; a nickname like `Max@home` is none.
fn is_address(word: &str) -> bool {
    word.rsplit_once('@')
        .is_some_and(|(local, domain)| !local.is_empty() && domain.contains('.'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn from(field: &str) -> Vec<String> {
        let message = format!("From: {field}\r\nSubject: x\r\n\r\n");
        shown(message.as_bytes(), &mime::header_of(message.as_bytes()))
    }

    #[test]
    fn every_address_counts_wherever_it_stands() {
        for spoof in [
            "boss@big.example <eve@evil.example>",
            "\"boss@big.example\" <eve@evil.example>",
            "=?utf-8?q?boss=40big.example?= <eve@evil.example>",
            "(boss@big.example) eve@evil.example",
            "<boss@big.example> <eve@evil.example>",
            "boss@big.example: eve@evil.example;",
            "<@boss@big.example:eve@evil.example>",
            "boss@big.example\0 <eve@evil.example>",
        ] {
            let shown = from(spoof);
            assert!(
                ["boss@big.example", "eve@evil.example"]
                    .iter()
                    .all(|address| shown.iter().any(|s| s == address)),
                "{spoof:?}: {shown:?}"
            );
        }
    }

    #[test]
    fn an_address_beside_a_mailbox_without_a_domain_counts() {
        for field in [
            "\"boss@big.example\" <eve>",
            "boss@big.example <eve>",
            "(boss@big.example) eve",
        ] {
            let shown = from(field);
            assert!(
                shown.iter().any(|s| s == "boss@big.example"),
                "{field}: {shown:?}"
            );
        }
    }

    #[test]
    fn an_honest_sender_is_shown_once() {
        for (field, address) in [
            ("Bob <bob@x.example>", "bob@x.example"),
            ("\"bob@x.example\" <Bob@X.example>", "bob@x.example"),
            ("\"'bob@x.example'\" <bob@x.example>", "bob@x.example"),
            ("Pat O'Brien <o'brien@x.example>", "o'brien@x.example"),
            ("Max@home <max@x.example>", "max@x.example"),
            ("_x_@x.example (Ann)", "_x_@x.example"),
            ("root@localhost", "root@localhost"),
        ] {
            assert_eq!(from(field), [address], "{field:?}");
        }
        assert!(from("\"The boss\"").is_empty());
        assert!(from("undisclosed-senders:;").is_empty());
    }

    #[test]
    fn of_very_many_senders_the_rest_is_nobody() {
        let many: Vec<String> = (0..MAX_SENDERS + 100)
            .map(|n| format!("a{n}@x.example"))
            .collect();
        let shown = from(&many.join(", "));
        assert_eq!(shown.len(), MAX_SENDERS + 1);
        assert_eq!(shown.last().map(String::as_str), Some(OTHERS));
    }

    #[test]
    fn of_very_long_senders_the_rest_is_nobody() {
        let long = format!("{}@x.example", "a".repeat(MAX_BYTES / 3));
        let fields: String = (0..5).map(|n| format!("From: {n}{long}\r\n")).collect();
        let message = fields + "\r\n";
        let shown = shown(message.as_bytes(), &mime::header_of(message.as_bytes()));
        assert_eq!(shown.len(), 3);
        assert_eq!(shown.last().map(String::as_str), Some(OTHERS));
    }

    #[test]
    fn who_stands_behind_the_end_of_a_long_field_is_nobody() {
        let long = format!(
            "{}eve@evil.example, boss@big.example",
            " ".repeat(MAX_FIELD - 16)
        );
        assert!(from(&long).iter().any(|sender| sender == OTHERS));
    }

    #[test]
    fn a_name_that_reads_like_a_list_is_no_address() {
        let mut signature = Signature {
            signer: "CN=x, boss@big.example".to_owned(),
            ..Signature::bare(
                crate::mail::model::Format::Smime,
                Verdict::Valid,
                String::new(),
            )
        };
        compare(&mut signature, &["boss@big.example".to_owned()]);
        assert_eq!(signature.verdict, Verdict::UnknownSigner);
    }

    #[test]
    fn a_domain_in_another_script_is_the_one_that_dns_has() {
        for field in ["Ü <a@BÜCHER.example>", "a@xn--bcher-kva.example"] {
            assert_eq!(from(field), ["a@xn--bcher-kva.example"]);
        }
    }

    proptest! {
        #[test]
        fn any_field_is_survived(field in "[a-z@.<>(),;:\"'= ?é]{0,60}") {
            let _ = from(&field);
        }
    }
}
