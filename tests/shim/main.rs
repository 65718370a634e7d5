//! nfrun's shim under a real containerd, as `ctr` drives it, and under a client of ours that speaks its protocol by itself.

#[macro_use]
#[path = "../common/mod.rs"]
mod common;

/// Leaves a test where there is no shim of nfrun's.
macro_rules! needs_shim {
    () => {
        if $crate::common::is_reference() {
            skip!("it is about nfrun's own shim");
        }
        if !$crate::common::containerd::shim().exists() {
            skip!("there is no shim beside the nfrun under test");
        }
    };
}

/// A containerd that runs containers by the shim.
macro_rules! with_containerd {
    () => {{
        needs_shim!();
        if !$crate::common::aside::installed("containerd") || !$crate::common::aside::installed("ctr") {
            skip!("containerd or ctr is not installed");
        }
        $crate::common::containerd::Containerd::with_shim()
    }};
}

mod client;
mod events;
mod lifecycle;
mod pod;
mod protocol;
mod rootfs;
mod stdio;

use common::containerd::Containerd;

/// ctr gives a root filesystem no PATH.
const SERVICE: &[&str] = &["/bin/sh", "-c", "trap 'exit 3' TERM; while :; do /bin/usleep 20000; done"];

/// The shims of a containerd: those whose command line names its socket.
fn shims(d: &Containerd) -> Vec<i32> {
    let socket = format!("{}/ctd.sock", d.c.dir.display());
    let is_shim = |pid: &i32| {
        let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.contains("containerd-shim-nfrun-v2") && line.contains(&socket)
    };
    common::outside::all_pids().into_iter().filter(is_shim).collect()
}
