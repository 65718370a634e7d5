//! Capturing a container's packets, by sockets that are made in its network namespace and held out here: nothing of the
//! container changes, and its processes see nothing of it.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};

use super::{ContainerId, Globals, events};
use crate::network::Ifname;
use crate::network::capture::{Capture, Filter};
use crate::{Context, Error, Result, sys};

/// Which packets of a container's are captured.
#[derive(Debug)]
pub struct CaptureOptions {
    /// Of which interface; of all but lo when not said.
    pub interface: Option<Ifname>,
    /// Which of them.
    pub filter: Filter,
    /// How many bytes of each.
    pub snap: u32,
}

/// Listens to a container's interfaces; and the container's first process, at whose end a capture ends.
///
/// # Errors
/// When it does not run, has no network namespace but the host's, or has no such interface; when the caller may not.
pub fn capture(globals: &Globals, id: &ContainerId, options: &CaptureOptions) -> Result<(Capture, OwnedFd)> {
    let (state, init) = events::running(globals, id)?;
    if state.namespaces & libc::CLONE_NEWNET as u64 == 0 {
        return Err(Error::invalid(format!(
            "container {id} has no interface of its own: it is in the network namespace that it was created from; capture \
             there, with tcpdump or the like"
        )));
    }
    let path = format!("/proc/{}/ns/net", state.init.pid);
    let netns = File::open(&path).context(|| format!("open {path}"));
    // What was opened is the container's if its process lives still; the pid may be another's otherwise.
    if sys::pidfd::has_ended(init.as_fd()) {
        return Err(Error::new(format!("container {id} has ended")));
    }
    let opened =
        netns.and_then(|netns| Capture::open(netns.as_fd(), options.interface.as_ref(), &options.filter, options.snap));
    let capture = opened.map_err(|error| match error.errno() {
        Some(libc::EPERM | libc::EACCES) => {
            let words = format!(
                "{error}; that takes CAP_SYS_ADMIN and CAP_NET_RAW, and for a container of a user namespace its root's: \
                 nsenter --target {} --user --preserve-credentials nfrun --root {} capture {id} ...",
                state.init.pid,
                globals.root.display()
            );
            error.reworded(words)
        }
        _ => error,
    });
    Ok((capture.context(|| format!("capture on container {id}"))?, init))
}
