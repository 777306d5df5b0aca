//! A room with a TPM, officers and a narrator who can pull the plug.

use hsm_sim::Sim;
use std::path::{Path, PathBuf};
use strongroom::boxfiles::{self, DataFolder};
use strongroom::cli::ceremony::{
    CeremonyCommandError, FoundReport, FoundRequest, Narrator, RestoreReport, RestoreRequest,
    found, restore,
};
use strongroom::keyring::{Keyring, NvAuth, box_secret, nv_auth};
use strongroom::ledger::{Event, Ledger};
use strongroom::officer::{Cost, OfficerFile, OfficerKey};
use strongroom::policy::DEMO;
use strongroom::secret::SecretBytes;
use strongroom::time::SystemClock;
use strongroom::tpm::{Slot, Tpm};

/// Stops a ceremony before its step number `left`, as a power cut would; remembers what was said.
pub struct Cutter {
    left: usize,
    pub said: String,
}

impl Cutter {
    pub fn after(steps: usize) -> Self {
        Self {
            left: steps,
            said: String::new(),
        }
    }

    pub fn never() -> Self {
        Self::after(usize::MAX)
    }
}

impl Narrator for Cutter {
    fn step(&mut self, text: &str) -> Result<(), CeremonyCommandError> {
        if self.left == 0 {
            return Err(CeremonyCommandError::Interrupted(text.to_owned()));
        }
        self.left -= 1;
        Ok(())
    }

    fn say(&mut self, text: &str) {
        self.said.push_str(text);
        self.said.push('\n');
    }
}

/// A folder with a TPM and three officers' files.
pub struct Scene {
    folder: tempfile::TempDir,
    pub officers: Vec<OfficerFile>,
}

impl Scene {
    pub fn new() -> Self {
        let cheap = Cost {
            memory_kib: 8,
            passes: 1,
            lanes: 1,
        };
        let make = |name: &str| {
            OfficerFile::create(name.parse().expect("name"), &passphrase(), cheap).expect("file")
        };
        Self {
            folder: tempfile::tempdir().expect("folder"),
            officers: ["Ada", "Ben", "Cleo"].map(make).to_vec(),
        }
    }

    /// With a box in `data`, and the TPM that it was founded on.
    pub fn founded() -> (Self, Sim) {
        let scene = Self::new();
        let sim = scene.sim("tpm");
        scene.found(&sim, &mut Cutter::never()).expect("founded");
        (scene, sim)
    }

    /// With a box in `data` whose TPM is lost, and another TPM.
    pub fn bereft() -> (Self, Sim) {
        let (scene, first) = Self::founded();
        drop(first);
        let second = scene.sim("new tpm");
        (scene, second)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn sim(&self, name: &str) -> Sim {
        Sim::start(&self.path(name)).expect("a TPM")
    }

    pub fn keys(&self, which: &[usize]) -> Vec<OfficerKey> {
        which
            .iter()
            .map(|index| {
                self.officers[*index]
                    .unlock(&passphrase())
                    .expect("unlocks")
            })
            .collect()
    }

    pub fn found(
        &self,
        sim: &Sim,
        narrator: &mut Cutter,
    ) -> Result<FoundReport, CeremonyCommandError> {
        let request = FoundRequest {
            data: self.path("data"),
            policy: DEMO.to_owned(),
            policy_name: "demo.toml".to_owned(),
            tcti: sim.tcti(),
            hostname: "archive.example".to_owned(),
            officers: self.keys(&[0, 1, 2]),
        };
        found(request, &SystemClock, narrator)
    }

    pub fn restore(
        &self,
        sim: &Sim,
        (data, from): (&str, Option<&str>),
        officers: Vec<OfficerKey>,
        narrator: &mut Cutter,
    ) -> Result<RestoreReport, CeremonyCommandError> {
        let from = from.map(|from| self.path(from));
        let request = RestoreRequest {
            data: self.path(data),
            from,
            tcti: sim.tcti(),
            officers,
        };
        restore(request, &SystemClock, narrator, &mut |_| Ok(()))
    }

    /// Restores the box in `data`, by these officers.
    pub fn restore_by(
        &self,
        officers: &[usize],
        sim: &Sim,
        narrator: &mut Cutter,
    ) -> Result<RestoreReport, CeremonyCommandError> {
        self.restore(sim, ("data", None), self.keys(officers), narrator)
    }

    /// As [`Scene::restore_by`], uncut.
    pub fn restored_by(
        &self,
        officers: &[usize],
        sim: &Sim,
    ) -> Result<RestoreReport, CeremonyCommandError> {
        self.restore_by(officers, sim, &mut Cutter::never())
    }

    /// Restores the box in `data` up to the decision, and cuts off behind it.
    pub fn decide(&self, sim: &Sim) {
        let mut cuts = 0;
        while !self.path("data").join(boxfiles::RESTORED).exists() {
            let cut = self.restore_by(&[0, 2], sim, &mut Cutter::after(cuts));
            assert!(matches!(cut, Err(CeremonyCommandError::Interrupted(_))));
            cuts += 1;
        }
    }
}

fn passphrase() -> SecretBytes {
    SecretBytes::new(b"correct horse".to_vec())
}

/// Opens the box as a start does.
pub fn open_box(data: &Path, sim: &Sim) -> Result<Keyring, CeremonyCommandError> {
    open_keyring(data, &DataFolder::open(data)?.keyring()?, sim)
}

pub fn open_keyring(
    data: &Path,
    keyring: &[u8],
    sim: &Sim,
) -> Result<Keyring, CeremonyCommandError> {
    let file = DataFolder::open(data)?.tpm()?;
    let mut tpm = Tpm::open(&sim.tcti())?;
    tpm.pin(&file.storage_root_key)?;
    let sealed = tpm.unseal(&file.sealed_secret)?;
    let anchor = tpm
        .read_anchor(Slot::A, &nv_auth(&sealed, NvAuth::Anchor))?
        .expect("an anchor");
    Ok(Keyring::open_with_box_secret(
        keyring,
        &box_secret(&sealed, &anchor),
    )?)
}

pub fn events(data: &Path) -> Vec<Event> {
    let file = DataFolder::at(data).tpm().expect("tpm.json");
    let ledger = Ledger::open(&data.join(boxfiles::LEDGER), &file.ledger).expect("ledger");
    let size = ledger.tree().size();
    assert_eq!(
        ledger.checkpoint().map(|checkpoint| checkpoint.head().size),
        Some(size)
    );
    let entries = ledger.tree().entries(0..size);
    entries
        .map(|entry| entry.expect("entry").entry.event)
        .collect()
}

pub fn copy(from: &Path, to: &Path) {
    let done = std::process::Command::new("cp")
        .arg("-a")
        .arg(from)
        .arg(to)
        .status()
        .expect("cp");
    assert!(done.success());
}
