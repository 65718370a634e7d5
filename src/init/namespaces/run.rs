//! Joining and making namespaces.

use linux_raw_sys::errno::{EACCES, ENOSYS, EPERM};
use linux_raw_sys::general::{AT_FDCWD, CLONE_NEWUSER, O_WRONLY};

use linux_raw_sys::prctl::PR_SET_DUMPABLE;

use super::step::{Joined, Step};
use crate::context::Context;
use crate::failure::{Act, During, Failure};
use crate::guard::{Guard, stands};
use crate::sys;
use crate::wire::List;

pub fn run(step: Step<'static>, context: &mut Context) -> Result<(), Failure> {
    match step {
        Step::Join { namespaces } => {
            hide_from_tracers()?;
            join(namespaces, context)
        }
        Step::JoinProcess { process, kinds } => {
            hide_from_tracers()?;
            Ok(sys::setns(context.fd(process), kinds)?)
        }
        Step::BecomeRoot {} => become_root(),
        Step::Unshare { kinds } => Ok(sys::unshare(kinds)?),
        Step::Fork { kinds } => fork(kinds, context),
        Step::NewSession {} => {
            // A process that leads a group already leads its session.
            let _ = sys::setsid();
            Ok(())
        }
        Step::NewKeyring { name } => match sys::join_keyring(name.0) {
            // A kernel without keys has no keyring to share either.
            Err(errno) if errno == ENOSYS as i32 => Ok(()),
            other => Ok(other?),
        },
        Step::RaiseLoopback {} => Ok(sys::raise_interface(b"lo")?),
        Step::OffsetClocks { offsets } => {
            let open = || sys::open(AT_FDCWD, c"/proc/self/timens_offsets", O_WRONLY, 0);
            let file = match open() {
                // Becoming root of a user namespace made this process's files the host's: proc(5), PR_SET_DUMPABLE.
                Err(errno) if errno == EACCES as i32 => {
                    sys::prctl(PR_SET_DUMPABLE, 1, 0)?;
                    let file = open();
                    hide_from_tracers()?;
                    file
                }
                file => file,
            }
            .during(Act::Open)?;
            let outcome = sys::write(file, offsets.0.to_bytes()).map(drop).during(Act::Write);
            sys::close(file);
            outcome
        }
        Step::SetHostname { name } => Ok(sys::sethostname(name.0.to_bytes())?),
        Step::SetDomainname { name } => Ok(sys::setdomainname(name.0.to_bytes())?),
    }
}

fn join(namespaces: List<'static, Joined>, context: &Context) -> Result<(), Failure> {
    // A namespace may belong to the user namespace of the caller, which is lost by joining another, or to that other.
    // So each is tried before, and those that were refused once more after.
    let mut refused = 0u64;
    let mut joins_user = false;
    for namespace in namespaces.iter() {
        if namespace.kind == u64::from(CLONE_NEWUSER) {
            joins_user = true;
            continue;
        }
        match sys::setns(context.fd(namespace.file), namespace.kind) {
            Err(errno) if errno == EPERM as i32 => refused |= namespace.kind,
            other => other?,
        }
    }
    if joins_user {
        for namespace in namespaces.iter().filter(|n| n.kind == u64::from(CLONE_NEWUSER)) {
            sys::setns(context.fd(namespace.file), namespace.kind)?;
        }
        become_root()?;
    }
    for namespace in namespaces.iter().filter(|n| n.kind & refused != 0) {
        sys::setns(context.fd(namespace.file), namespace.kind)?;
    }
    Ok(())
}

/// What runs in a joined namespace already must not trace this process or take its descriptors while it still holds
/// the host's (CVE-2016-9962): PR_SET_DUMPABLE. execve makes the command traceable again.
fn hide_from_tracers() -> Result<(), Failure> {
    if !stands(Guard::Untraceable) {
        return Ok(());
    }
    Ok(sys::prctl(PR_SET_DUMPABLE, 0, 0)?)
}

fn become_root() -> Result<(), Failure> {
    sys::setresgid(0)?;
    Ok(sys::setresuid(0)?)
}

fn fork(kinds: u64, context: &mut Context) -> Result<(), Failure> {
    if sys::fork_sibling(kinds, &context.progress.forked)? {
        sys::exit(0);
    }
    Ok(())
}
