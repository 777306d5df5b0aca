//! Keys of versions 3 and 5 and signatures by them, made here from the text of RFC 4880 and draft-koch-librepgp with
//! OpenSSL's primitives: no tool on these machines writes them.

use openssl::hash::{MessageDigest, hash};
use openssl::md::Md;
use openssl::pkey::{Id, PKey, Private};
use openssl::pkey_ctx::PkeyCtx;
use openssl::rsa::Rsa;
use openssl::sign::Signer;
use strongroom::mail::openpgp::packets::framed;

pub const MD5: u8 = 1;
pub const SHA256: u8 = 8;
pub const SHA512: u8 = 10;
const RSA: u8 = 1;
const EDDSA: u8 = 22;
const ED25519: &[u8] = &[9, 0x2b, 6, 1, 4, 1, 0xda, 0x47, 0x0f, 1];
const ED448: &[u8] = &[3, 0x2b, 0x65, 0x71];

/// A key with its public part as in its packet.
pub struct OldKey {
    pub body: Vec<u8>,
    secret: PKey<Private>,
}

fn mpi(number: &[u8]) -> Vec<u8> {
    let zeros = number.iter().take_while(|b| **b == 0).count();
    let number = &number[zeros..];
    let bits = number
        .first()
        .map_or(0, |b| number.len() * 8 - b.leading_zeros() as usize);
    [&u16::try_from(bits).unwrap().to_be_bytes(), number].concat()
}

fn take<'a>(rest: &mut &'a [u8]) -> &'a [u8] {
    let size = usize::from(u16::from_be_bytes([rest[0], rest[1]])).div_ceil(8);
    let (number, after) = rest[2..].split_at(size);
    *rest = after;
    number
}

impl OldKey {
    /// A fresh RSA key as PGP 2 wrote them.
    pub fn version_3(created: u32) -> Self {
        let rsa = Rsa::generate(1024).unwrap();
        let numbers = [mpi(&rsa.n().to_vec()), mpi(&rsa.e().to_vec())].concat();
        let body = [&[3], &created.to_be_bytes()[..], &[0, 0, RSA], &numbers].concat();
        let secret = PKey::from_rsa(rsa).unwrap();
        Self { body, secret }
    }

    /// A fresh Ed25519 key as GnuPG writes them.
    pub fn version_5(created: u32) -> Self {
        let secret = PKey::generate_ed25519().unwrap();
        let point = [&[0x40], &secret.raw_public_key().unwrap()[..]].concat();
        let material = [ED25519, &mpi(&point)].concat();
        let size = u32::try_from(material.len()).unwrap().to_be_bytes();
        let body = [&[5], &created.to_be_bytes()[..], &[EDDSA], &size, &material].concat();
        Self { body, secret }
    }

    /// From the body of a secret key packet in the clear.
    pub fn from_secret(packet: &[u8]) -> Self {
        let material = if packet[0] == 5 { 10 } else { 8 };
        if packet[material - 1] == RSA {
            let mut rest = &packet[material..];
            let (n, e) = (take(&mut rest), take(&mut rest));
            let end = packet.len() - rest.len();
            assert_eq!(rest[0], 0, "in the clear");
            rest = &rest[1..];
            let number = |bytes: &[u8]| openssl::bn::BigNum::from_slice(bytes).unwrap();
            let (d, p, q) = (take(&mut rest), take(&mut rest), take(&mut rest));
            let rsa = openssl::rsa::RsaPrivateKeyBuilder::new(number(n), number(e), number(d))
                .and_then(|key| key.set_factors(number(p), number(q)))
                .unwrap();
            let secret = PKey::from_rsa(rsa.build()).unwrap();
            return Self {
                body: packet[..end].to_vec(),
                secret,
            };
        }
        let end = 10 + usize::from(packet[9]);
        // Usage, no parameters, four octets of length.
        let seed = take(&mut &packet[end + 6..]);
        let (id, size) = if packet[10..].starts_with(ED448) {
            (Id::ED448, 57)
        } else {
            (Id::ED25519, 32)
        };
        let seed = [&vec![0; size - seed.len()], seed].concat();
        Self {
            body: packet[..end].to_vec(),
            secret: PKey::private_key_from_raw_bytes(&seed, id).unwrap(),
        }
    }

    pub fn version(&self) -> u8 {
        self.body[0]
    }

    fn algorithm(&self) -> u8 {
        if self.secret.id() == Id::RSA {
            RSA
        } else {
            EDDSA
        }
    }

    /// As hashed in signatures over keys.
    pub fn hashed(&self) -> Vec<u8> {
        let size = u32::try_from(self.body.len()).unwrap().to_be_bytes();
        let head: &[u8] = if self.version() == 5 {
            &[&[0x9a], &size[..]].concat()
        } else {
            &[&[0x99], &size[2..]].concat()
        };
        [head, &self.body].concat()
    }

    pub fn fingerprint(&self) -> Vec<u8> {
        if self.version() == 5 {
            return hash(MessageDigest::sha256(), &self.hashed())
                .unwrap()
                .to_vec();
        }
        let mut rest = &self.body[8..];
        let numbers = [take(&mut rest), take(&mut rest)].concat();
        hash(MessageDigest::md5(), &numbers).unwrap().to_vec()
    }

    pub fn key_id(&self) -> Vec<u8> {
        if self.version() == 5 {
            return self.fingerprint()[..8].to_vec();
        }
        let modulus = take(&mut &self.body[8..]);
        modulus[modulus.len() - 8..].to_vec()
    }

    /// The body of a signature packet: version, kind and digest algorithm, over this content.
    pub fn sign(&self, making: Making, content: &[u8]) -> Vec<u8> {
        let Making {
            version,
            kind,
            digest,
            time,
            header,
            subpackets,
        } = making;
        let time = time.to_be_bytes();
        if version == 3 {
            let fields = [&[kind], &time[..]].concat();
            let digested = digested(digest, &[content, &fields].concat());
            let head = [
                &[3, 5],
                &fields[..],
                &self.key_id(),
                &[self.algorithm(), digest],
            ]
            .concat();
            return [&head, &digested[..2], &self.numbers(digest, &digested)].concat();
        }
        let issuer = if self.version() == 5 {
            [&[34, 33, 5], &self.fingerprint()[..]].concat()
        } else {
            [&[9, 16], &self.key_id()[..]].concat()
        };
        let area = [&[5, 2], &time[..], &issuer, &subpackets].concat();
        let head = [version, kind, self.algorithm(), digest];
        let size = u16::try_from(area.len()).unwrap().to_be_bytes();
        let fields = [&head[..], &size, &area].concat();
        let count = u32::try_from(fields.len()).unwrap().to_be_bytes();
        let document: &[u8] = if version == 5 && kind < 2 {
            header
        } else {
            &[]
        };
        let long: &[u8] = if version == 5 { &[0; 4] } else { &[] };
        let trailer = [document, &[version, 0xff], long, &count].concat();
        let digested = digested(digest, &[content, &fields, &trailer].concat());
        let numbers = self.numbers(digest, &digested);
        [&fields[..], &[0, 0], &digested[..2], &numbers].concat()
    }

    fn numbers(&self, digest: u8, digested: &[u8]) -> Vec<u8> {
        if self.algorithm() == EDDSA {
            let mut signer = Signer::new_without_digest(&self.secret).unwrap();
            let signature = signer.sign_oneshot_to_vec(digested).unwrap();
            let (r, s) = signature.split_at(signature.len() / 2);
            return [mpi(r), mpi(s)].concat();
        }
        let mut context = PkeyCtx::new(&self.secret).unwrap();
        context.sign_init().unwrap();
        let algorithm = if digest == MD5 {
            Md::md5()
        } else {
            Md::sha256()
        };
        context.set_signature_md(algorithm).unwrap();
        let mut signature = Vec::new();
        context.sign_to_vec(digested, &mut signature).unwrap();
        mpi(&signature)
    }

    /// Public key, user id, self-signature.
    pub fn certificate(&self, user_id: &str, making: Making) -> Vec<u8> {
        let size = u32::try_from(user_id.len()).unwrap().to_be_bytes();
        let head = [&[0xb4], &size[..]].concat();
        let head = if making.version == 3 { &[][..] } else { &head };
        let content = [&self.hashed(), head, user_id.as_bytes()].concat();
        [
            framed(6, &self.body),
            framed(13, user_id.as_bytes()),
            framed(2, &self.sign(making, &content)),
        ]
        .concat()
    }
}

/// What a signature is to be like.
#[derive(Clone)]
pub struct Making {
    pub version: u8,
    pub kind: u8,
    pub digest: u8,
    pub time: u32,
    /// Of the literal data packet.
    pub header: &'static [u8],
    /// More subpackets.
    pub subpackets: Vec<u8>,
}

impl Making {
    pub fn new(version: u8, kind: u8, digest: u8, time: u32) -> Self {
        Self {
            version,
            kind,
            digest,
            time,
            header: &[0; 6],
            subpackets: Vec::new(),
        }
    }
}

fn digested(algorithm: u8, content: &[u8]) -> Vec<u8> {
    let algorithm = match algorithm {
        MD5 => MessageDigest::md5(),
        SHA256 => MessageDigest::sha256(),
        _ => MessageDigest::sha512(),
    };
    hash(algorithm, content).unwrap().to_vec()
}
