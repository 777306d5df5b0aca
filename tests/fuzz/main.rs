//! A bounded fuzz run of every reader of bytes from outside ([`targets`]) over mutated seeds. The corpus gives seeds
//! where `STRONGROOM_CORPUS` names it; `STRONGROOM_FUZZ_SECONDS` sets how long (16 by default, all targets together).
//! The seed of the run is printed, and `STRONGROOM_FUZZ_SEED` repeats it; `STRONGROOM_FUZZ_TARGET` runs one target alone, and
//! input that took too long is kept. `./dev fuzz` runs the same targets under a
//! fuzzer that watches which branches are taken.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod targets;

use std::io::{Cursor, Write};
use std::path::Path;
use std::time::{Duration, Instant};

/// Largest seed, in bytes: small ones are mutated more often.
const LARGEST_SEED: u64 = 32 << 10;
/// Longest that one small input may take, in an unoptimised build on a busy machine.
const SLOWEST: Duration = Duration::from_secs(20);

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % (limit.max(1) as u64)).unwrap()
    }
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn built_in() -> Vec<Vec<u8>> {
    let signed = "Content-Type: multipart/signed; protocol=\"application/pgp-signature\"; boundary=b\r\n\r\n--b\r\n\r\nx\r\n--b\r\nContent-Type: application/pgp-signature\r\n\r\n-----BEGIN PGP SIGNATURE-----\r\n\r\niHUEABYKAB0=\r\n-----END PGP SIGNATURE-----\r\n--b--\r\n";
    let smime = "Content-Type: application/pkcs7-mime; name=smime.p7m\r\nContent-Transfer-Encoding: base64\r\n\r\nMIAGCSqGSIb3DQEHA6CAMIACAQAxADCABgkqhkiG9w0BBwEwHQYJYIZIAWUDBAEqBBAAAAAAAAAAAAAAAAAAAAAAoIAEAAAAAAAA\r\n";
    let journal = "X-MS-Journal-Report:\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\nSender: a@x\r\nTo: b@y\r\n--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: =?utf-8?q?x?=\r\n\r\ny\r\n--b--\r\n";
    let tnef = [
        0x78, 0x9f, 0x3e, 0x22, 1, 0, 2, 0x02, 0x90, 6, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    ]
    .to_vec();
    let document =
        r#"{"time":1,"kind":"tenant-added","tenant":"main"} from:a "b c" after:2024-01-01"#;
    let der = "\u{30}\u{09}\u{06}\u{03}\u{2a}\u{03}\u{04}\u{04}\u{02}\u{01}\u{02}";
    let smtp = "MAIL FROM:<a@example.org> SIZE=10 BODY=8BITMIME";
    let agent_key = "Created: 20240419T124916\nKey: (protected-private-key (ecc (curve Curve25519)(q\n  #40A1#)\n (protected openpgp-s2k3-ocb-aes ((sha1 #496A268F9960EFC7#\n  \"65536\")#92F383D5A8B61D9BD4B0E4E8#)#FCBC#)(protected-at \"20211109T024837\")))\n";
    let profile = "<plist><array><dict><key>Password</key><string>secret&amp;</string><key>PayloadContent</key><data>MIIB</data><string>com.apple.security.pkcs12</string></dict></array></plist>";
    let escaped = r"-----BEGIN PGP MESSAGE-----\n\nwcBM\n=abcd\n-----END PGP MESSAGE-----";
    let shifted = "+AOQ- +2D0 \u{e}\u{1b}$)A~{<:~}";
    let texts = [
        signed, smime, journal, document, der, smtp, agent_key, profile, escaped, shifted,
    ];
    let texts = texts.into_iter().map(|seed| seed.as_bytes().to_vec());
    texts.chain([tnef]).chain(archives()).collect()
}

/// An encrypted file packed in each way, and packed twice.
fn archives() -> Vec<Vec<u8>> {
    let sealed = b"\xc1\x0d\x03\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x01\x01\xd2\x01\x01";
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    zip.start_file("a.gpg", zip::write::SimpleFileOptions::default())
        .unwrap();
    zip.write_all(sealed).unwrap();
    let zip = zip.finish().unwrap().into_inner();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(&zip).unwrap();
    let mut bzip2 = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::default());
    bzip2.write_all(sealed).unwrap();
    let mut tar = b"a.gpg".to_vec();
    tar.resize(512, 0);
    tar[124..135].copy_from_slice(b"00000000022");
    tar[148..156].fill(b' ');
    let sum: usize = tar.iter().map(|octet| usize::from(*octet)).sum();
    tar[148..154].copy_from_slice(format!("{sum:06o}").as_bytes());
    tar.extend_from_slice(sealed);
    tar.resize(1024, 0);
    vec![zip, gzip.finish().unwrap(), bzip2.finish().unwrap(), tar]
}

fn collect(folder: &Path, seeds: &mut Vec<Vec<u8>>) {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        let Ok(about) = entry.metadata() else {
            continue;
        };
        if about.is_dir() {
            collect(&entry.path(), seeds);
        } else if about.len() <= LARGEST_SEED {
            seeds.extend(std::fs::read(entry.path()));
        }
    }
}

/// Flips, cuts, repeats and splices.
fn mutate(seeds: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut input = seeds[random.below(seeds.len())].clone();
    for _ in 0..=random.below(6) {
        let at = random.below(input.len());
        let end = at + random.below((input.len() - at).min(200));
        match random.below(6) {
            0 if at < input.len() => input[at] = random.next().to_le_bytes()[0],
            1 if at < input.len() => input[at] ^= 1 << random.below(8),
            2 => drop(input.drain(at..end)),
            3 => {
                let piece = input[at..end].to_vec();
                input.splice(at..at, piece);
            }
            4 => {
                let other = &seeds[random.below(seeds.len())];
                let from = random.below(other.len());
                let to = from + random.below((other.len() - from).min(400));
                input.splice(at..at, other[from..to].to_vec());
            }
            _ => input.truncate(at.max(1)),
        }
    }
    input
}

#[test]
fn mutated_input_never_panics_hangs_or_passes_a_bound() {
    let mut seeds = built_in();
    if let Some(corpus) = std::env::var_os("STRONGROOM_CORPUS") {
        collect(Path::new(&corpus), &mut seeds);
    } else {
        println!("without the corpus: STRONGROOM_CORPUS does not name one");
    }
    let seed = setting("STRONGROOM_FUZZ_SEED")
        .unwrap_or_else(|| u64::from(std::process::id()) << 20 | 0x5eed);
    println!("STRONGROOM_FUZZ_SEED={seed}, {} seeds", seeds.len());
    let mut random = Random(seed.max(1));
    let seconds = setting("STRONGROOM_FUZZ_SECONDS").unwrap_or(16);
    let only = std::env::var("STRONGROOM_FUZZ_TARGET").ok();
    let mut chosen = targets::ALL.to_vec();
    chosen.retain(|(name, _)| only.as_deref().is_none_or(|only| only == *name));
    let share = Duration::from_secs(seconds) / u32::try_from(chosen.len()).unwrap();
    for (name, target) in chosen {
        let end = Instant::now() + share;
        let mut runs = 0_u64;
        while Instant::now() < end {
            let input = mutate(&seeds, &mut random);
            let started = Instant::now();
            target(&input);
            let took = started.elapsed();
            if took >= SLOWEST {
                let file = std::env::temp_dir().join(format!("slow-{name}"));
                std::fs::write(&file, &input).unwrap();
                panic!("{name}: {} took {took:?}", file.display());
            }
            runs += 1;
        }
        println!("{name}: {runs} inputs");
    }
}
