//! What containers of one bridge send each other, where the kernel does not know connections of bridges
//! (NF_CONNTRACK_BRIDGE): br_netfilter then brings it through the rules of what is routed, of our bridge alone.

use std::path::Path;

use super::{Wanted, contents};
use crate::network::link;
use crate::network::netlink::{Request, Socket, attribute};
use crate::{Context, Error, Result};

/// There while br_netfilter is.
const SETTING: &str = "/proc/sys/net/bridge/bridge-nf-call-iptables";
/// IFLA_INFO_KIND, IFLA_INFO_DATA, IFLA_BR_NF_CALL_IPTABLES, IFLA_BR_NF_CALL_IP6TABLES.
const INFO_KIND: u16 = 1;
const INFO_DATA: u16 = 2;
const CALL_FILTER: [u16; 2] = [36, 37];

/// Has the bridges of endpoints with rules give what they carry to the rules of what is routed.
///
/// # Errors
/// When the kernel has no br_netfilter either: rules that do not hold are none.
pub fn filter_as_routed(all: &Wanted) -> Result<()> {
    let socket = Socket::open()?;
    for endpoint in all.endpoints.iter().filter(|endpoint| contents::bridged_port(endpoint, &all.zones).is_some()) {
        let Some(zone) = all.zones.iter().find(|zone| zone.name == endpoint.zone) else { continue };
        let said = || format!("keep the rules of {} between containers of {}", endpoint.key, zone.name);
        if !Path::new(SETTING).exists() {
            let missing = "the kernel has neither connections of bridges nor br_netfilter; load one of them (modprobe \
                           nf_conntrack_bridge, modprobe br_netfilter), or leave allow and deny out";
            return Err(Error::new(missing)).context(said);
        }
        let Some(bridge) = link::by_name(&socket, zone.interface.as_ref())? else { continue };
        if bridge.kind == "bridge" {
            socket.change(call_filter(bridge.index)?).context(said)?;
        }
    }
    Ok(())
}

fn call_filter(index: u32) -> Result<Request> {
    let (mut data, mut info) = (Vec::new(), Vec::new());
    for kind in CALL_FILTER {
        attribute::put(&mut data, kind, &[1])?;
    }
    attribute::put(&mut info, INFO_KIND, b"bridge\0")?;
    attribute::nest(&mut info, INFO_DATA, &data)?;
    let mut request = Request::link(libc::RTM_NEWLINK, libc::NLM_F_ACK, index, 0, 0);
    request.nest(libc::IFLA_LINKINFO, &info)?;
    Ok(request)
}
