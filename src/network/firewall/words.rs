//! What an attachment adds to the packet filter, in words, for whoever reads a plan.

use std::net::IpAddr;

use super::contents::{has_gate, masquerades, targets};
use super::{Endpoint, Isolation, Zone};
use crate::Result;

/// One line for each thing that attaching adds.
///
/// # Errors
/// When a published port leads to no address of the endpoint.
pub fn words(zone: &Zone, zone_is_new: bool, endpoint: &Endpoint) -> Result<Vec<String>> {
    let mut lines = if zone_is_new { of_zone(zone) } else { Vec::new() };
    for publish in &endpoint.publish {
        let numbers = |first: u16, last: u16| if first == last { first.to_string() } else { format!("{first}-{last}") };
        let (from, to) =
            (numbers(publish.host, publish.host_last()), numbers(publish.container, publish.container_last()));
        for target in targets(publish, &endpoint.addresses)? {
            let at = target.host.map(|host| format!(" of {host}")).unwrap_or_default();
            let protocol = publish.protocol.word();
            let container = match target.container {
                IpAddr::V4(four) => four.to_string(),
                IpAddr::V6(six) => format!("[{six}]"),
            };
            lines.push(format!("publish {protocol} {from}{at} to {container}:{to}"));
        }
    }
    if has_gate(endpoint) {
        lines.extend(endpoint.deny.iter().map(|filter| format!("deny {filter}")));
        lines.extend(endpoint.allow.iter().map(|filter| format!("allow {filter}")));
        if !endpoint.allow.is_empty() {
            lines.push("drop what else comes in".into());
        }
    }
    Ok(lines)
}

fn of_zone(zone: &Zone) -> Vec<String> {
    let mut lines = Vec::new();
    if masquerades(zone) {
        lines.extend(zone.subnets.iter().map(|net| format!("masquerade {}", net.trunc())));
    }
    if zone.internal {
        lines.push(format!("forward nothing to or from {}", zone.interface));
    }
    match zone.isolation {
        Isolation::None => {}
        Isolation::Isolated => lines.push(format!("keep {} from isolated networks", zone.interface)),
        Isolation::Strict => lines.push(format!("keep {} from all networks", zone.interface)),
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_added_is_said() {
        let zone = Zone {
            name: "nf0".into(),
            interface: "nfr0".parse().unwrap(),
            subnets: vec!["10.88.0.0/24".parse().unwrap(), "fd00::/64".parse().unwrap()],
            masquerade: true,
            internal: false,
            isolation: Isolation::Strict,
        };
        let endpoint = Endpoint {
            key: "web:eth0".into(),
            zone: "nf0".into(),
            host_end: None,
            addresses: vec!["10.88.0.5".parse().unwrap(), "fd00::5".parse().unwrap()],
            publish: ["8080:80", "127.0.0.1:53:53/udp", "[fd00::9]:1000-1009:2000-2009"]
                .map(|p| p.parse().unwrap())
                .into(),
            allow: vec!["tcp:80".parse().unwrap()],
            deny: vec!["tcp from 10.0.0.0/8".parse().unwrap()],
        };
        assert_eq!(
            words(&zone, true, &endpoint).unwrap(),
            [
                "masquerade 10.88.0.0/24",
                "masquerade fd00::/64",
                "keep nfr0 from all networks",
                "publish tcp 8080 to 10.88.0.5:80",
                "publish tcp 8080 to [fd00::5]:80",
                "publish udp 53 of 127.0.0.1 to 10.88.0.5:53",
                "publish tcp 1000-1009 of fd00::9 to [fd00::5]:2000-2009",
                "deny tcp from 10.0.0.0/8",
                "allow tcp:80",
                "drop what else comes in",
            ]
        );
        let bare = Endpoint { addresses: vec!["10.88.0.5".parse().unwrap()], ..endpoint };
        let error = words(&zone, false, &bare).unwrap_err().to_string();
        assert!(error.contains("1000-1009") && error.contains("IPv6"), "{error}");
    }
}
