//! What each process gives up before it touches anything from outside.
//!
//! All, commands too: no core dumps, no ptrace by others, no new privileges. Processes of the box die with their parent.
//! The keeper, and commands that hold keys, lock their memory. Intake has only its own folders (Landlock). A worker keeps
//! only its pipes: no file, no socket, no new process, no signal to others (seccomp), bounded memory.

use landlock::{
    ABI, Access, AccessFs, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetStatus,
    path_beneath_rules,
};
use nix::libc;
use nix::sys::mman::{MlockAllFlags, mlockall};
use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{SigHandler, SigSet, Signal, signal};
use nix::sys::stat::{Mode, umask};
use nix::unistd::getppid;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule,
};
use std::collections::BTreeMap;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

/// Why a process could not be confined. It must not go on.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// A system call was refused.
    #[error("cannot confine the process ({step}): {source}")]
    Refused {
        /// What was tried.
        step: &'static str,
        /// The system's answer.
        #[source]
        source: nix::Error,
    },
    /// The parent is gone already.
    #[error("the process that started this one is gone")]
    Orphan,
    /// Files could not be closed off.
    #[error("cannot close off the file system: {0}")]
    Files(#[from] landlock::RulesetError),
    /// The system-call filter could not be set.
    #[error("cannot set the system-call filter: {0}")]
    Filter(#[from] seccompiler::Error),
    /// The filter could not be built.
    #[error("cannot build the system-call filter: {0}")]
    Build(#[from] seccompiler::BackendError),
}

fn refused(step: &'static str) -> impl FnOnce(nix::Error) -> SandboxError {
    move |source| SandboxError::Refused { step, source }
}

/// For every process and command: its memory is nobody else's to read, and never lands in a core file.
pub fn no_dumps() -> Result<(), SandboxError> {
    prctl::set_dumpable(false).map_err(refused("no dumps, no ptrace"))?;
    prctl::set_no_new_privs().map_err(refused("no new privileges"))?;
    setrlimit(Resource::RLIMIT_CORE, 0, 0).map_err(refused("no core files"))
}

/// For processes of the box and ceremonies: what they make, libraries included, is their own user's to read.
pub fn private_files() {
    let _ = umask(Mode::S_IRWXG | Mode::S_IRWXO);
}

/// For every child, first of all: it has standard input, output and error, and nothing else that its parent had open. What
/// libraries open is marked close-on-exec only after it is open, and a child may begin between the two: it would keep the
/// parent's connection to the TPM, which takes one.
pub fn close_inherited() {
    let Ok(open) = std::fs::read_dir("/proc/self/fd") else {
        return;
    };
    let number = |entry: std::fs::DirEntry| entry.file_name().to_str()?.parse::<i32>().ok();
    let numbers: Vec<i32> = open.flatten().filter_map(number).collect();
    for number in numbers.into_iter().filter(|number| *number > 2) {
        // Of the list's own file, which is closed by now, this is told to be an error.
        let _ = nix::unistd::close(number);
    }
}

/// For every child, whose file is no more than `exe`: what the system's lists call it.
pub fn take_name() {
    let _ = prctl::set_name(c"strongroom");
}

/// In a child's environment: the process id of the parent that it is to die with.
const PARENT: &str = "STRONGROOM_PARENT";

/// This very program, also where an update has put another file in its place, which would not understand its parent.
#[must_use]
pub fn own_program() -> Command {
    let mut program = Command::new("/proc/self/exe");
    program.arg0("strongroom");
    program
}

/// For every parent: the child that `command` starts knows whose it is.
pub fn name_parent(command: &mut Command) {
    command.env(PARENT, std::process::id().to_string());
}

/// For every child: it dies with its parent. One whose parent was gone before this was set has another parent by now.
pub fn die_with_parent() -> Result<(), SandboxError> {
    prctl::set_pdeathsig(Signal::SIGKILL).map_err(refused("die with the parent"))?;
    match std::env::var(PARENT) {
        Ok(parent) if parent != getppid().to_string() => Err(SandboxError::Orphan),
        _ => Ok(()),
    }
}

/// For commands: `strongroom search … | head` ends quietly when `head` does.
#[allow(unsafe_code)]
pub fn end_with_the_pipe() {
    // SAFETY: the default action runs no code of ours in a signal handler.
    let _ = unsafe { signal(Signal::SIGPIPE, SigHandler::SigDfl) };
}

/// For the keeper and the parent: no page that was ever touched goes to swap.
///
/// # Errors
/// Where the limit on locked memory is too small; the caller decides whether that is fatal.
pub fn lock_memory() -> Result<(), SandboxError> {
    let on_fault = MlockAllFlags::from_bits_retain(libc::MCL_ONFAULT);
    mlockall(MlockAllFlags::MCL_CURRENT | MlockAllFlags::MCL_FUTURE | on_fault)
        .map_err(refused("lock memory"))
}

/// For commands that hold keys or passphrases: as [`lock_memory`], where all memory may be locked. Under a smaller limit
/// nothing is locked, because an allocation beyond it would fail half-way through.
pub fn lock_memory_if_allowed() {
    if setrlimit(
        Resource::RLIMIT_MEMLOCK,
        libc::RLIM_INFINITY,
        libc::RLIM_INFINITY,
    )
    .is_ok()
    {
        let _ = lock_memory();
    }
}

/// For intake, before it starts threads: of all files, only these are its to read and to write (Landlock). False where
/// the kernel has no Landlock.
pub fn confine_files(read: &[PathBuf], write: &[PathBuf]) -> Result<bool, SandboxError> {
    let abi = ABI::V3;
    let status = Ruleset::default()
        .handle_access(AccessFs::from_all(abi))?
        .create()?
        .add_rules(path_beneath_rules(
            read,
            AccessFs::ReadFile | AccessFs::ReadDir,
        ))?
        .add_rules(path_beneath_rules(write, AccessFs::from_all(abi)))?
        .restrict_self()?;
    Ok(status.ruleset != RulesetStatus::NotEnforced)
}

/// For a worker, after its libraries are set up: pipes, memory and time only.
pub fn confine_worker(address_space: u64) -> Result<(), SandboxError> {
    setrlimit(Resource::RLIMIT_AS, address_space, address_space)
        .map_err(refused("bound memory"))?;
    setrlimit(Resource::RLIMIT_NOFILE, 16, 16).map_err(refused("bound open files"))?;
    // Where standard error is a file, what is said there is lost, and ends nothing.
    SigSet::from(Signal::SIGXFSZ)
        .thread_block()
        .map_err(refused("outlive what it cannot write"))?;
    setrlimit(Resource::RLIMIT_FSIZE, 0, 0).map_err(refused("no files"))?;
    Ok(seccompiler::apply_filter(&worker_calls()?)?)
}

/// The system calls a worker keeps. Signals go to its own threads only: they are how it aborts.
fn worker_calls() -> Result<BpfProgram, SandboxError> {
    let allowed = [
        libc::SYS_read,
        libc::SYS_write,
        libc::SYS_readv,
        libc::SYS_writev,
        libc::SYS_close,
        libc::SYS_mmap,
        libc::SYS_munmap,
        libc::SYS_mremap,
        libc::SYS_mprotect,
        libc::SYS_madvise,
        libc::SYS_brk,
        libc::SYS_futex,
        libc::SYS_poll,
        libc::SYS_clock_gettime,
        libc::SYS_getrandom,
        libc::SYS_getpid,
        libc::SYS_gettid,
        libc::SYS_sched_yield,
        libc::SYS_sigaltstack,
        libc::SYS_rt_sigprocmask,
        libc::SYS_rt_sigaction,
        libc::SYS_rt_sigreturn,
        libc::SYS_restart_syscall,
        libc::SYS_exit,
        libc::SYS_exit_group,
    ];
    let itself = SeccompCondition::new(
        0,
        SeccompCmpArgLen::Dword,
        SeccompCmpOp::Eq,
        u64::from(std::process::id()),
    )?;
    let mut rules: BTreeMap<_, _> = allowed.into_iter().map(|call| (call, Vec::new())).collect();
    rules.insert(libc::SYS_tgkill, vec![SeccompRule::new(vec![itself])?]);
    let filter = SeccompFilter::new(
        rules,
        SeccompAction::Errno(libc::EPERM as u32),
        SeccompAction::Allow,
        std::env::consts::ARCH.try_into()?,
    )?;
    Ok(filter.try_into()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_confined_thread_reads_and_writes_only_what_it_was_given() {
        let folder = tempfile::tempdir().expect("folder");
        let path = |name: &str| folder.path().join(name);
        for name in ["read", "write", "other"] {
            std::fs::create_dir(path(name)).expect("folder");
            std::fs::write(path(name).join("file"), name).expect("file");
        }
        let (read, write, other) = (path("read"), path("write"), path("other"));
        std::thread::spawn(move || {
            if !confine_files(std::slice::from_ref(&read), std::slice::from_ref(&write))
                .expect("confine")
            {
                eprintln!("skipped: this kernel has no Landlock");
                return;
            }
            assert!(std::fs::read(read.join("file")).is_ok());
            assert!(std::fs::write(read.join("file"), "x").is_err());
            assert!(std::fs::write(write.join("new"), "x").is_ok());
            assert!(std::fs::read(other.join("file")).is_err());
        })
        .join()
        .expect("thread");
    }

    #[test]
    #[allow(unsafe_code)]
    fn a_worker_signals_no_other_process() {
        let signal_nothing_to = |process: u32| {
            // SAFETY: signal 0 is sent to nobody; the call only checks that it could be.
            match unsafe { libc::syscall(libc::SYS_tgkill, process, process, 0) } {
                0 => Ok(()),
                _ => Err(nix::Error::last()),
            }
        };
        let (own, parent) = (std::process::id(), std::os::unix::process::parent_id());
        let calls = worker_calls().expect("a filter");
        let confined = std::thread::spawn(move || {
            let before = signal_nothing_to(parent);
            seccompiler::apply_filter(&calls).expect("filtered");
            (before, signal_nothing_to(own), signal_nothing_to(parent))
        });
        let (before, itself, other) = confined.join().expect("a thread");
        assert_eq!(before, Ok(()), "without the filter it could");
        assert_eq!(itself, Ok(()));
        assert_eq!(other, Err(nix::Error::EPERM));
    }
}
