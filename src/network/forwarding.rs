//! Settings of the host that networks need: that it forwards packets, and that it takes no advice from containers.

use std::fs;
use std::io;

use super::link::Ifname;
use crate::{Context, Result};

const IPV4: &str = "/proc/sys/net/ipv4/ip_forward";
const IPV6: &str = "/proc/sys/net/ipv6/conf/all/forwarding";
const IPV6_INTERFACES: &str = "/proc/sys/net/ipv6/conf";

/// Lets the host forward packets, where it does not, and says so: it is a change of the whole host, which stays.
pub fn enable(ipv4: bool, ipv6: bool) -> Result<()> {
    if ipv4 && is(IPV4, "0") {
        write(IPV4, "1")?;
        log::warn!("net.ipv4.ip_forward is 1 now, for packets of containers: it was 0");
    }
    if ipv6 && is(IPV6, "0") {
        keep_router_advertisements()?;
        write(IPV6, "1")?;
        log::warn!("net.ipv6.conf.all.forwarding is 1 now, for packets of containers: it was 0");
    }
    Ok(())
}

/// A host that forwards does not listen to routers any more, and would lose the routes that it has of them: unless
/// accept_ra is 2 (ip-sysctl.rst).
fn keep_router_advertisements() -> Result<()> {
    let entries = match fs::read_dir(IPV6_INTERFACES) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other.context(|| format!("read {IPV6_INTERFACES}"))?,
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let path = format!("{IPV6_INTERFACES}/{}/accept_ra", name.to_string_lossy());
        if name != "all" && name != "default" && name != "lo" && is(&path, "1") {
            write(&path, "2")?;
            log::warn!("{path} is 2 now, so that the host goes on listening to its router: it was 1");
        }
    }
    Ok(())
}

/// Packets from 127.0.0.1 may leave by this bridge, for published ports that are asked for on the host itself. What comes
/// in by it for 127.0.0.0/8 the packet filter drops.
pub fn route_localnet(interface: &Ifname) -> Result<()> {
    let path = format!("/proc/sys/net/ipv4/conf/{interface}/route_localnet");
    if is(&path, "1") { Ok(()) } else { write(&path, "1") }
}

/// No router advertisement that comes in by an interface changes the host's routes.
pub fn take_no_advice(interface: &Ifname) -> Result<()> {
    match fs::write(format!("{IPV6_INTERFACES}/{interface}/accept_ra"), "0") {
        // A kernel without IPv6.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.context(|| format!("set accept_ra of {interface} to 0")),
    }
}

fn is(path: &str, value: &str) -> bool {
    fs::read_to_string(path).is_ok_and(|text| text.trim() == value)
}

fn write(path: &str, value: &str) -> Result<()> {
    fs::write(path, value).context(|| format!("set {path} to {value}"))
}
