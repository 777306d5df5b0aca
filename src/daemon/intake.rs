//! `strongroom intake`: the process that faces the network, configured from the data folder.

use crate::boxfiles::{BoxFileError, DataFolder, RUN, SPOOL_KEY};
use crate::durable::{self, FileError};
use crate::intake::spool::CurrentKey;
use crate::intake::{self, IntakeConfig, IntakeError, ListenerConfig, TlsMode};
use crate::sandbox::{self, SandboxError};
use crate::time::SystemClock;
use nix::unistd::Group;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use tokio::signal::unix::{SignalKind, signal};

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
    /// The runtime.
    #[error("cannot start: {0}")]
    Io(#[from] io::Error),
}

/// Takes mail in until SIGTERM; SIGHUP reads the TLS certificate anew.
pub fn run(data: &DataFolder) -> Result<(), IntakeProcessError> {
    sandbox::no_dumps()?;
    sandbox::die_with_parent()?;
    // The parent waits for its stop signals with a blocked mask, which children inherit.
    nix::sys::signal::SigSet::all()
        .thread_unblock()
        .map_err(io::Error::from)?;
    let config = configuration(data)?;
    for folder in &config.spool {
        durable::create_folder(folder)?;
    }
    let spool_key = CurrentKey::renewed_in(data.spool_key()?, data.join(SPOOL_KEY));
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
                if let Err(error) = tls.reload() {
                    tracing::error!(%error, "the TLS certificate is not reloaded; the old one stays in use");
                }
            }
        });
        for (name, address) in bound.addresses() {
            tracing::info!(%name, %address, "accepting mail");
        }
        let stop = async move {
            tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        };
        Ok(bound.run(stop).await?)
    })
}

/// From here on this process reads the data folder and its certificate, and writes to spool and sockets only.
fn confine(data: &DataFolder, config: &IntakeConfig) -> Result<(), SandboxError> {
    let folder = |path: &Path| path.parent().map(Path::to_owned);
    let mut read = vec![data.path().to_owned()];
    read.extend(folder(&config.certificate));
    read.extend(folder(&config.private_key));
    let mut write = config.spool.clone();
    write.push(data.join(RUN));
    if !sandbox::confine_files(&read, &write)? {
        tracing::warn!("this kernel has no Landlock: intake is not kept from other files");
    }
    Ok(())
}

fn configuration(data: &DataFolder) -> Result<IntakeConfig, IntakeProcessError> {
    let config = data.config()?;
    let policy = data.policy()?;
    let mut rules = config.intake;
    rules.max_size = rules.max_size.or(policy.max_size());
    let tenant = policy.tenants().iter().next().cloned();
    Ok(IntakeConfig {
        hostname: config.listen.hostname,
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
        lmtp_socket: Some(data.join(RUN).join("lmtp.sock")),
        lmtp_group: config.lmtp.group.as_deref().map(group).transpose()?,
        import_socket: Some(data.join(RUN).join("import.sock")),
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
