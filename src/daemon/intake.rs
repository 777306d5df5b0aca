//! `strongroom intake`: the process that faces the network, configured from the data folder.

use super::children::LISTENING;
use crate::boxfiles::{BoxFileError, DataFolder, RUN, SPOOL_FOLDERS, SPOOL_KEY};
use crate::durable::FileError;
use crate::intake::spool::{self, CurrentKey, Folders, NotReady, NotSpooled, Spool};
use crate::intake::{self, IntakeConfig, IntakeError, ListenerConfig, TlsMode};
use crate::sandbox::{self, SandboxError};
use crate::time::SystemClock;
use nix::unistd::Group;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// The tenant of mail that arrives while the policy cannot be read.
const NO_POLICY: &str = "no-policy";
/// Where mail comes in from this machine: LMTP and imports.
const SOCKETS: [&str; 2] = ["lmtp.sock", "import.sock"];
/// A spool that does not take mail is looked at again after this.
const LOOK_AGAIN: Duration = Duration::from_secs(3);

/// Why intake ended.
#[derive(Debug, thiserror::Error)]
pub enum IntakeProcessError {
    /// A file of the box.
    #[error(transparent)]
    BoxFile(#[from] BoxFileError),
    /// A folder.
    #[error(transparent)]
    File(#[from] FileError),
    /// Confinement.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// The network side.
    #[error(transparent)]
    Intake(#[from] IntakeError),
    /// The configuration names a group that there is not.
    #[error("strongroom.toml: [lmtp] group is {0:?}, and this machine has no such group")]
    NoGroup(String),
    /// Confined to a folder that is not there any more, or without the right to write to it.
    #[error("{0}; intake, which may write only to the folder that it began with, begins anew")]
    Denied(NotSpooled),
    /// The runtime.
    #[error("cannot start: {0}")]
    Io(#[from] io::Error),
}

/// The parent's end of standard input, for what intake has to say: [`LISTENING`], or why it does not take mail in.
fn tell_parent(word: &str) {
    let Ok(parent) = io::stdin().as_fd().try_clone_to_owned() else {
        return;
    };
    let line = word.replace('\n', " ") + "\n";
    // A parent that does not listen has gone, and intake goes with it.
    let _ = File::from(parent).write_all(line.as_bytes());
}

/// As [`take_mail_in`]; the parent learns why it failed.
pub fn run(data: &Path) -> Result<(), IntakeProcessError> {
    let taken = DataFolder::open(data)
        .map_err(IntakeProcessError::from)
        .and_then(|data| take_mail_in(&data));
    if let Err(error) = &taken {
        tell_parent(&error.to_string());
    }
    taken
}

/// Takes mail in until SIGTERM; SIGHUP reads the TLS certificate anew.
fn take_mail_in(data: &DataFolder) -> Result<(), IntakeProcessError> {
    sandbox::no_dumps()?;
    sandbox::die_with_parent()?;
    // The parent waits for its stop signals with a blocked mask, which children inherit.
    nix::sys::signal::SigSet::all()
        .thread_unblock()
        .map_err(io::Error::from)?;
    let config = ready_configuration(data)?;
    let known = data
        .spool_key()
        .inspect_err(|error| tracing::error!(%error, "no mail is taken in until this is mended"));
    let spool_key = CurrentKey::renewed_in(known.ok(), data.join(SPOOL_KEY));
    let folders = Folders::new(&config.spool);
    confine(data, &config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut reload = signal(SignalKind::hangup())?;
        let bound = intake::Intake::bind(config, spool_key, Arc::new(SystemClock)).await?;
        let tls = bound.tls();
        tokio::spawn(async move {
            while reload.recv().await.is_some() {
                match tls.reload() {
                    Ok(()) => tracing::info!("the TLS certificate is read anew"),
                    Err(error) => {
                        tracing::error!(%error, "the TLS certificate is not reloaded; the old one stays in use");
                    }
                }
            }
        });
        for (name, address) in bound.addresses() {
            tracing::info!(%name, %address, "accepting mail");
        }
        let (spool, mut denied) = (bound.spool(), None);
        let sockets = SOCKETS.map(|name| data.join(RUN).join(name));
        let stop = async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
                why = tell_troubles(&spool, &folders) => denied = Some(why),
                () = socket_gone(&sockets) => tracing::error!("a socket was removed; intake begins anew"),
            }
        };
        bound.run(stop).await?;
        denied.map_or(Ok(()), |why| Err(IntakeProcessError::Denied(why)))
    })
}

/// Tells the parent whether the spool takes mail. Ends where this process may not write to a spool folder: it is confined
/// to those of its beginning, and not to one that has come in such a one's place, be it the same disk mounted again.
async fn tell_troubles(spool: &Spool, folders: &Folders) -> NotSpooled {
    let mut trouble = spool.trouble();
    spool.probe().await;
    loop {
        loop {
            let why = trouble.borrow_and_update().clone();
            let Some(why) = why else { break };
            match folders.without_disk() {
                Some(folder) => tell_parent(&format!(
                    "the disk of the spool folder {} is gone: mount it again; this is tried again",
                    folder.display()
                )),
                None if why.is_denied() => return why,
                None => tell_parent(&why.to_string()),
            }
            tokio::time::sleep(LOOK_AGAIN).await;
            spool.probe().await;
        }
        tell_parent(LISTENING);
        if trouble.changed().await.is_err() {
            std::future::pending().await
        }
    }
}

/// Ends where nobody can reach one of these sockets any more. A new process, confined to the folder as it is then, makes it anew.
async fn socket_gone(sockets: &[PathBuf]) {
    while sockets.iter().all(|socket| socket.exists()) {
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// From here on this process reads the data folder and its certificate, and writes to spool and sockets only.
fn confine(data: &DataFolder, config: &IntakeConfig) -> Result<(), SandboxError> {
    let mut read = vec![data.path().to_owned()];
    read.extend(folders_of(&config.certificate));
    read.extend(folders_of(&config.private_key));
    let mut write = config.spool.clone();
    write.push(data.join(RUN));
    if !sandbox::confine_files(&read, &write)? {
        tracing::warn!("this kernel has no Landlock: intake is not kept from other files");
    }
    Ok(())
}

/// The folder of a file, and of what it is a symbolic link to: certbot's certificates are links into another folder, whose
/// next file a reload must read too.
fn folders_of(file: &Path) -> Vec<PathBuf> {
    let target = file.canonicalize().ok();
    let folder = |path: &Path| path.parent().map(Path::to_owned);
    [folder(file), target.as_deref().and_then(folder)]
        .into_iter()
        .flatten()
        .collect()
}

/// The configuration, once every spool folder that was there before is there again. The parent learns what is waited for.
fn ready_configuration(data: &DataFolder) -> Result<IntakeConfig, IntakeProcessError> {
    loop {
        let config = configuration(data)?;
        match spool::take_up(&config.spool, &data.join(SPOOL_FOLDERS)) {
            Ok(()) => return Ok(config),
            Err(NotReady::File(error)) => return Err(error.into()),
            Err(missing) => tell_parent(&missing.to_string()),
        }
        std::thread::sleep(LOOK_AGAIN);
    }
}

fn configuration(data: &DataFolder) -> Result<IntakeConfig, IntakeProcessError> {
    let config = data.config()?;
    let mut rules = config.intake;
    let mut tenants = BTreeSet::new();
    match data.policy() {
        Ok(policy) => {
            rules.max_size = rules.max_size.or(policy.max_size());
            tenants.extend(policy.tenants().iter().cloned());
        }
        // The keeper takes no other policy than the founding's. It puts mail of a tenant that it does not know to the
        // first of the box, which is the one that the policy would have named.
        Err(error) => {
            tracing::error!(%error, "the policy cannot be used; mail is accepted all the same, of any size");
        }
    }
    let tenant = tenants.first().cloned();
    let tenant = tenant.or_else(|| NO_POLICY.parse().ok());
    Ok(IntakeConfig {
        hostname: config.listen.hostname,
        tenants,
        spool: config
            .spool
            .folders
            .iter()
            .map(|folder| data.join(folder))
            .collect(),
        certificate: data.join(config.tls.certificate),
        private_key: data.join(config.tls.key),
        listeners: listener("smtp", config.listen.smtp, TlsMode::Starttls)
            .into_iter()
            .chain(listener("smtps", config.listen.smtps, TlsMode::Implicit))
            .collect(),
        lmtp_socket: Some(data.join(RUN).join(SOCKETS[0])),
        lmtp_group: config.lmtp.group.as_deref().map(group).transpose()?,
        import_socket: Some(data.join(RUN).join(SOCKETS[1])),
        tenant: tenant.ok_or_else(|| io::Error::other("the policy names no tenant"))?,
        rules,
    })
}

/// The number of the group that `[lmtp] group` names.
fn group(name: &str) -> Result<u32, IntakeProcessError> {
    let found = Group::from_name(name).map_err(io::Error::from)?;
    found
        .map(|group| group.gid.as_raw())
        .ok_or_else(|| IntakeProcessError::NoGroup(name.to_owned()))
}

fn listener(name: &str, address: Option<SocketAddr>, tls: TlsMode) -> Option<ListenerConfig> {
    Some(ListenerConfig {
        name: name.to_owned(),
        address: address?,
        tls,
        tenant: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_linked_certificate_is_read_where_it_lies() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().canonicalize().expect("a path");
        for name in ["live", "archive"] {
            std::fs::create_dir(root.join(name)).expect("a folder");
        }
        std::fs::write(root.join("archive/cert1.pem"), "").expect("a file");
        let link = root.join("live/cert.pem");
        std::os::unix::fs::symlink("../archive/cert1.pem", &link).expect("a link");
        assert_eq!(folders_of(&link), [root.join("live"), root.join("archive")]);
        let absent = root.join("live/absent.pem");
        assert_eq!(folders_of(&absent), [root.join("live")]);
    }
}
