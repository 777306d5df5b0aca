//! Messages by gpg whose armor text software has altered, through `inspect`.

use crate::support::gpg::Gpg;
use std::path::Path;
use std::process::Command;
use strongroom::mail::bounds::Bounds;
use strongroom::mail::text::search_text;

const TEXT: &[u8] = b"for the archive\n";
/// What word processors make of five hyphens.
const DASHES: [&str; 4] = ["–––––", "—————", "——-", "––-"];

struct Inspect {
    gpg: Gpg,
}

impl Inspect {
    fn new() -> Self {
        let gpg = Gpg::new();
        gpg.make_key("Alice <alice@example.org>", "cv25519", "never");
        gpg.write("passphrases", b"geheim\n");
        gpg.write("alice.asc", &gpg.run(&["--armor", "--export"], b""));
        Self { gpg }
    }

    fn armored(&self, options: &[&str]) -> String {
        let options = [&["--armor", "-r", "alice@example.org"], options].concat();
        String::from_utf8(self.gpg.run(&options, TEXT)).unwrap()
    }

    /// What `inspect` says of these bytes, and the rendition's text.
    fn of(&self, bytes: &[u8]) -> (serde_json::Value, Vec<u8>) {
        let home: &Path = self.gpg.home();
        let file = self.gpg.write("message", bytes);
        let rendition = home.join("rendition");
        let _ = std::fs::remove_file(&rendition);
        let output = Command::new(env!("CARGO_BIN_EXE_strongroom"))
            .args(["inspect", "--json", "--passphrase-file"])
            .arg(home.join("passphrases"))
            .args(["--keys".as_ref(), home.as_os_str()])
            .args(["--certs".as_ref(), home.join("alice.asc").as_os_str()])
            .args(["--rendition".as_ref(), rendition.as_os_str()])
            .arg(file)
            .output()
            .unwrap();
        let told = serde_json::from_slice(&output.stdout).unwrap();
        (told, std::fs::read(rendition).unwrap_or_default())
    }

    #[track_caller]
    fn opens(&self, what: &str, bytes: &[u8]) {
        let (told, rendition) = self.of(bytes);
        assert_eq!(told["outcome"], "opened", "{what}: {told}");
        let readable = search_text(&rendition, &Bounds::default()).body;
        assert!(readable.contains("for the archive"), "{what}: {readable}");
    }
}

fn utf16(text: &str, unit: fn(u16) -> [u8; 2]) -> Vec<u8> {
    let marked = format!("\u{feff}{}", text.replace('\n', "\r\n"));
    marked.encode_utf16().flat_map(unit).collect()
}

fn windows_1252(text: &str) -> Vec<u8> {
    text.chars()
        .map(|c| match c {
            '–' => 0x96,
            '—' => 0x97,
            c => c as u8,
        })
        .collect()
}

fn mail(fields: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("From: alice@example.org\nSubject: s\nMIME-Version: 1.0\n{fields}\n");
    [head.as_bytes(), body].concat()
}

fn base64(bytes: &[u8]) -> Vec<u8> {
    let digits = data_encoding::BASE64.encode(bytes).into_bytes();
    digits.chunks(76).collect::<Vec<_>>().join(&b'\n')
}

#[test]
fn messages_with_other_dashes_open() {
    let inspect = Inspect::new();
    let armored = inspect.armored(&["--encrypt"]);
    for dashes in DASHES {
        let altered = armored.replace("-----", dashes);
        inspect.opens(dashes, altered.as_bytes());
        inspect.opens(dashes, &windows_1252(&altered));
        let plain = "Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n";
        inspect.opens(dashes, &mail(plain, altered.as_bytes()));
        let around = format!("Hello – see below\n\n{altered}\nBye – Bob\n");
        inspect.opens(dashes, &mail(plain, around.as_bytes()));
        let narrow =
            "Content-Type: text/plain; charset=windows-1252\nContent-Transfer-Encoding: 8bit\n";
        inspect.opens(dashes, &mail(narrow, &windows_1252(&around)));
        let html = "Content-Type: text/html; charset=utf-8\nContent-Transfer-Encoding: base64\n";
        let entities = altered.replace('–', "&ndash;").replace('—', "&#8212;");
        let page = format!("<html><p>{}</p></html>", entities.replace('\n', "<br>\n"));
        inspect.opens(dashes, &mail(html, &base64(page.as_bytes())));
    }
}

#[test]
fn messages_in_utf_16_open() {
    let inspect = Inspect::new();
    let armored = inspect.armored(&["--encrypt"]);
    for unit in [u16::to_le_bytes, u16::to_be_bytes] {
        for text in [armored.clone(), armored.replace("-----", "—————")] {
            let wide = utf16(&text, unit);
            inspect.opens("a file", &wide);
            for fields in [
                "Content-Type: text/plain; charset=utf-16\n",
                "Content-Type: application/octet-stream; name=message.asc\n",
                "Content-Type: application/octet-stream; name=message\n",
            ] {
                let fields = format!("{fields}Content-Transfer-Encoding: base64\n");
                inspect.opens(&fields, &mail(&fields, &base64(&wide)));
            }
        }
    }
}

#[test]
fn clear_signed_text_is_judged() {
    let inspect = Inspect::new();
    let signed = inspect.armored(&["--clear-sign"]).replace("-----", "–––––");
    for bytes in [
        signed.clone().into_bytes(),
        utf16(&signed, u16::to_le_bytes),
    ] {
        let (told, _) = inspect.of(&bytes);
        assert_eq!(told["signatures"][0]["math"], "good", "{told}");
        let changed = signed.replace("archive", "Archive");
        let (told, _) = inspect.of(changed.as_bytes());
        assert_eq!(told["signatures"][0]["verdict"], "invalid", "{told}");
    }
}

#[test]
fn talk_about_armor_is_no_message() {
    let inspect = Inspect::new();
    let talk = "It begins with –––––BEGIN PGP MESSAGE––––– and ends\nwith –––––END PGP MESSAGE–––––, as you know.\n";
    let fields = "Content-Type: text/plain; charset=utf-8\n";
    for bytes in [mail(fields, talk.as_bytes()), talk.as_bytes().to_vec()] {
        let (told, _) = inspect.of(&bytes);
        assert_eq!(told["outcome"], "not-encrypted", "{told}");
        assert_eq!(told["layers"], serde_json::json!([]), "{told}");
    }
}
