//! `port`: the host's ports that lead to a container.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::failure::Failure;
use super::parse::Order;
use super::{Call, Command, output};
use crate::network::attachment;
use crate::network::request::{Protocol, Publish};
use crate::{Error, Result, container};

pub(super) static COMMAND: Command = Command {
    name: "port",
    about: "Print the host's ports that lead to a container.",
    details: "One a line, as 80/tcp -> 0.0.0.0:8080. With a PORT of the container, of tcp where nothing is said, only where \
              on the host it is; that it is nowhere is an error.",
    usage: "ID [PORT[/PROTOCOL]]",
    flags: &[],
    words: (1, 2),
    order: Order::Anywhere,
    run,
};

fn run(call: &Call<'_>) -> Result<u8, Failure> {
    let id = call.arguments.id()?;
    let wanted = call.arguments.rest()?.first().map(|text| parse(text)).transpose()?;
    container::state(call.globals, &id)?;
    let attached = attachment::of_container(&call.globals.networks, &call.globals.root, id.as_str())?;
    let mut publish: Vec<&Publish> = Vec::new();
    for one in attached.iter().flat_map(|attachment| &attachment.publish) {
        // What is published once leads to each of the container's networks.
        if !publish.contains(&one) {
            publish.push(one);
        }
    }
    let ports = publish.into_iter().flat_map(ports);
    let text: String = match wanted {
        None => ports.map(|(port, protocol, host)| format!("{port}/{} -> {host}\n", protocol.word())).collect(),
        Some(wanted) => ports
            .filter(|(port, protocol, _)| (*port, *protocol) == wanted)
            .map(|(.., host)| format!("{host}\n"))
            .collect(),
    };
    if let (true, Some((port, protocol))) = (text.is_empty(), wanted) {
        let protocol = protocol.word();
        return Err(Failure::new(format!("no port of the host's leads to port {port}/{protocol} of container {id}")));
    }
    output::print(text)?;
    Ok(0)
}

/// Each of the ports: that of the container, and where on the host it is.
fn ports(publish: &Publish) -> impl Iterator<Item = (u16, Protocol, SocketAddr)> + '_ {
    let address = publish.address.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    (0..publish.count)
        .map(move |n| (publish.container + n, publish.protocol, SocketAddr::new(address, publish.host + n)))
}

fn parse(text: &str) -> Result<(u16, Protocol)> {
    let (port, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let port = port.parse().ok().filter(|port| *port > 0);
    let port =
        port.ok_or_else(|| Error::invalid(format!("port {text:?}: expected PORT[/PROTOCOL], as 80 or 53/udp")))?;
    Ok((port, protocol.parse()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_a_line_a_port() {
        let publish: Publish = "[::1]:8080-8081:80-81/udp".parse().unwrap();
        let all: Vec<_> =
            ports(&publish).map(|(port, protocol, host)| (port, protocol.word(), host.to_string())).collect();
        assert_eq!(all, [(80, "udp", "[::1]:8080".into()), (81, "udp", "[::1]:8081".into())]);
    }

    #[test]
    fn a_port_is_tcps_where_nothing_is_said() {
        assert_eq!(parse("80").unwrap(), (80, Protocol::Tcp));
        assert_eq!(parse("53/udp").unwrap(), (53, Protocol::Udp));
        for bad in ["", "0", "x", "80/icmp", "70000"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
