//! Folders with identities made by the `openssl` on this machine, and openers for what it writes.

pub mod build;
pub mod gpgsm;

use std::path::Path;
use std::process::Command;
use strongroom::escrow::{keyholder::Keyholder, smime_key};
use strongroom::mail::context::{
    Budget, Context, OpenPolicy, Trust, TrustData, Unopened, Unwrapped,
};
use strongroom::mail::keyops::KeyOps;
use strongroom::mail::model::Outcome;
use strongroom::mail::smime;
use strongroom::secret::SecretBytes;
use strongroom::time::Timestamp;

pub const MESSAGE: &[u8] = b"Content-Type: text/plain\r\n\r\nStreng geheime Botschaft.\r\n";

/// 2027-01-01.
pub const ARRIVED: Timestamp = Timestamp::from_seconds(1_798_761_600);

/// A folder with the file `message`.
pub struct Folder(tempfile::TempDir);

impl Folder {
    pub fn new() -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        folder.write("message", MESSAGE);
        folder
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path().join(name)).unwrap()
    }

    pub fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.path().join(name), bytes).unwrap();
    }

    /// Runs `openssl`; false if it refuses.
    pub fn openssl(&self, arguments: &str) -> bool {
        let run = Command::new("openssl")
            .args(arguments.split_whitespace())
            .current_dir(self.path())
            .output();
        run.is_ok_and(|output| output.status.success())
    }

    /// Runs `openssl`, which must succeed.
    pub fn must(&self, arguments: &str) {
        let output = Command::new("openssl")
            .args(arguments.split_whitespace())
            .current_dir(self.path())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "openssl {arguments}: {said}");
    }

    /// A self-signed certificate NAME.crt with NAME.key, both in NAME.pem.
    pub fn identity(&self, name: &str, algorithm: &str, more: &str) {
        self.must(&format!(
            "req -x509 -newkey {algorithm} -noenc -keyout {name}.key -out {name}.crt -days 36500 -subj \
             /CN={name}/emailAddress={name}@example.org {more}"
        ));
        self.bundle(name);
    }

    /// Puts NAME.key and NAME.crt into NAME.pem.
    pub fn bundle(&self, name: &str) {
        let both = [
            self.read(&format!("{name}.key")),
            self.read(&format!("{name}.crt")),
        ];
        self.write(&format!("{name}.pem"), &both.concat());
    }

    /// The key in NAME.pem.
    pub fn keys(&self, name: &str) -> Keyholder {
        let mut holder = Keyholder::default();
        for loaded in smime_key::load(&self.read(&format!("{name}.pem")), &[], &[]).named {
            holder.add(loaded.unwrap());
        }
        holder
    }

    /// The certificate NAME.crt.
    pub fn certificate(&self, name: &str) -> openssl::x509::X509 {
        openssl::x509::X509::from_pem(&self.read(&format!("{name}.crt"))).unwrap()
    }

    /// Trust in NAME.crt as an anchor.
    pub fn trust(&self, name: &str) -> Trust {
        Trust::from(TrustData {
            anchors: vec![self.certificate(name).to_der().unwrap().into()],
            ..TrustData::default()
        })
    }
}

/// No key but these passphrases.
pub fn passphrases(given: &[&str]) -> Keyholder {
    let given = given
        .iter()
        .map(|text| SecretBytes::from((*text).to_owned()));
    Keyholder::with_passphrases(given.collect())
}

/// Opens one CMS object.
pub fn open(
    keys: &dyn KeyOps,
    trust: &Trust,
    object: &[u8],
    detached: Option<&[u8]>,
) -> Result<Unwrapped, Unopened> {
    open_at(keys, trust, object, detached, ARRIVED)
}

/// The same, as if it had arrived then.
pub fn open_at(
    keys: &dyn KeyOps,
    trust: &Trust,
    object: &[u8],
    detached: Option<&[u8]>,
    arrived: Timestamp,
) -> Result<Unwrapped, Unopened> {
    let policy = OpenPolicy::default();
    smime::open(
        object,
        detached,
        &context(&policy, &Budget::default(), keys, trust, arrived),
    )
}

/// Opens one CMS object under a policy.
pub fn open_by(
    policy: &OpenPolicy,
    keys: &dyn KeyOps,
    trust: &Trust,
    object: &[u8],
) -> Result<Unwrapped, Unopened> {
    let budget = Budget::default();
    smime::open(
        object,
        None,
        &context(policy, &budget, keys, trust, ARRIVED),
    )
}

/// What an object is opened in.
pub fn context<'a>(
    policy: &'a OpenPolicy,
    budget: &'a Budget,
    keys: &'a dyn KeyOps,
    trust: &'a Trust,
    arrived: Timestamp,
) -> Context<'a> {
    Context {
        keys,
        trust,
        attached: &[],
        policy,
        arrived,
        around: None,
        date: None,
        from: Vec::new(),
        budget,
    }
}

/// Opens an encrypted object, which must give [`MESSAGE`].
pub fn opens(keys: &dyn KeyOps, object: &[u8], what: &str) -> Unwrapped {
    let container = smime::decode_container(object).unwrap_or_else(|| object.to_vec());
    let opened = open(keys, &Trust::default(), &container, None);
    let opened = opened.unwrap_or_else(|unopened| panic!("{what}: {unopened:?}"));
    assert_eq!(opened.plaintext, MESSAGE, "{what}");
    assert_eq!(opened.layers[0].outcome, Outcome::Opened, "{what}");
    opened
}
