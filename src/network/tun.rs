//! Taps: interfaces that /dev/net/tun makes where whoever opens that is, tun(4), ioctl_tun of the kernel's documentation.

use std::fs::File;
use std::os::fd::AsFd;

use super::step::Tap;
use crate::{Context, Error, Result, sys};

const DEVICE: &str = "/dev/net/tun";

/// Makes a tap that stays, in the network namespace of a process. A thread of its own goes there, opens the device and ends:
/// the process itself may not, since its cgroup allows it the device only where its bundle does.
pub fn make(tap: &Tap, pid: i32) -> Result<()> {
    let path = format!("/proc/{pid}/ns/net");
    let netns = File::open(&path).context(|| format!("open {path}"))?;
    let enter_and_make = || -> Result<()> {
        nix::sched::setns(&netns, nix::sched::CloneFlags::CLONE_NEWNET).context(|| format!("enter {path}"))?;
        let device = File::options().read(true).write(true).open(DEVICE);
        let device = device.context(|| format!("open {DEVICE} (load the module: `modprobe tun`)"))?;
        sys::net::make_tap(device.as_fd(), tap.name.as_ref(), tap.index, tap.many_queues, (tap.owner, tap.group))
            .map_err(|errno| match errno {
                nix::errno::Errno::EBUSY => {
                    Error::from(errno).reworded("there is an interface of that name or number already")
                }
                other => other.into(),
            })
    };
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(64 << 10).spawn_scoped(scope, enter_and_make);
        let thread = thread.context(|| "start a thread that enters the network namespace")?;
        thread.join().unwrap_or_else(|_| Err(Error::new("the thread that enters the network namespace failed")))
    })
}
