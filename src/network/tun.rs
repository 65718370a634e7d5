//! Taps: interfaces that /dev/net/tun makes where whoever opens that is, tun(4), ioctl_tun of the kernel's documentation.

use std::fs::File;
use std::os::fd::AsFd;

use super::netlink::within;
use super::step::Tap;
use crate::{Context, Error, Result, sys};

const DEVICE: &str = "/dev/net/tun";

/// Makes a tap that stays, in the network namespace of a process. The process itself may not: its cgroup allows it the device
/// only where its bundle does.
pub fn make(tap: &Tap, pid: i32) -> Result<()> {
    let path = format!("/proc/{pid}/ns/net");
    let netns = File::open(&path).context(|| format!("open {path}"))?;
    within(netns.as_fd(), || {
        let device = File::options().read(true).write(true).open(DEVICE);
        let device = device.context(|| format!("open {DEVICE} (load the module: `modprobe tun`)"))?;
        sys::net::make_tap(device.as_fd(), tap.name.as_ref(), tap.index, tap.many_queues, (tap.owner, tap.group))
            .map_err(|errno| match errno {
                nix::errno::Errno::EBUSY => {
                    Error::from(errno).reworded("there is an interface of that name or number already")
                }
                other => other.into(),
            })
    })
}
