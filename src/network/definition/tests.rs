//! What a definition may say, and what it is refused with.

use super::super::firewall::Isolation;
use super::super::request::{IpvlanMode, MacvlanMode};
use super::*;

/// A network of these fields besides the name.
fn network(fields: &str) -> Result<Network> {
    let comma = if fields.is_empty() { "" } else { "," };
    let text = format!(r#"{{"name":"n","id":"0123456789abcdef","created":""{comma}{fields}}}"#);
    serde_json::from_str::<Definition>(&text)?.try_into()
}

const SUBNETS: &str = r#""subnets":[{"subnet":"10.1.0.0/24","gateway":"10.1.0.1"},{"subnet":"fd00:1::/64"}]"#;

#[test]
fn a_network_of_few_words_is_a_bridge_that_leads_outside() {
    let network = network(SUBNETS).unwrap();
    assert_eq!(network.bridge().unwrap().as_ref(), "nf-n");
    assert_eq!(network.gateway(true), Some("10.1.0.1".parse().unwrap()));
    assert_eq!(network.gateway(false), None);
    assert_eq!(network.gateways().map(|net| net.to_string()).collect::<Vec<_>>(), ["10.1.0.1/24"]);
    assert_eq!((network.mtu(), network.default_route()), (None, true));
    let zone = network.zone().unwrap();
    assert_eq!((zone.name.as_str(), zone.interface.as_ref()), ("n", "nf-n"));
    assert!(zone.masquerade && !zone.internal && zone.isolation == Isolation::None);
    assert_eq!(zone.subnets.len(), 2);
    let [four, six] = network.ranges() else { panic!("{:?}", network.ranges()) };
    assert_eq!((four.first.to_string(), four.last.to_string()), ("10.1.0.1".into(), "10.1.0.254".into()));
    assert_eq!(
        (six.first.to_string(), six.last.to_string()),
        ("fd00:1::1".into(), "fd00:1::ffff:ffff:ffff:ffff".into())
    );
}

#[test]
fn options_are_those_of_the_driver() {
    let zone = network(&format!(r#"{SUBNETS},"internal":true,"options":{{"isolate":"strict","mtu":"9000"}}"#)).unwrap();
    assert_eq!(zone.mtu(), Some(9000));
    assert!(!zone.default_route());
    let zone = zone.zone().unwrap();
    assert!(zone.internal && !zone.masquerade && zone.isolation == Isolation::Strict);

    let unmanaged = network(r#""network_interface":"br0","options":{"mode":"unmanaged"}"#).unwrap();
    assert!(unmanaged.zone().is_none() && !unmanaged.is_managed());
    assert_eq!(unmanaged.bridge().unwrap().as_ref(), "br0");

    let macvlan = network(r#""driver":"macvlan","network_interface":"eth0","options":{"vlan":"7"}"#).unwrap();
    let (parent, vlan) = ("eth0".parse().unwrap(), Some(7));
    assert_eq!(*macvlan.carrier(), Carrier::Macvlan { parent, vlan, mode: MacvlanMode::Bridge });
    assert!(macvlan.zone().is_none() && macvlan.bridge().is_none());

    let routed =
        network(r#""driver":"ipvlan","options":{"parent":"eth0","mode":"l3","no_default_route":"1","metric":"5"}"#);
    let routed = routed.unwrap();
    assert_eq!((routed.default_route(), routed.metric()), (false, Some(5)));
    let Carrier::Ipvlan { mode: IpvlanMode::L3, vlan: None, .. } = routed.carrier() else { panic!("{routed:?}") };

    let vxlan = network(r#""driver":"vxlan","options":{"vni":"16777215","remote":"192.0.2.7","masquerade":"false"}"#);
    let vxlan = vxlan.unwrap();
    let Carrier::Vxlan { tunnel, port: 4789, masquerade: false, .. } = vxlan.carrier() else { panic!("{vxlan:?}") };
    assert_eq!((tunnel.as_ref(), vxlan.bridge().unwrap().as_ref()), ("nfvx16777215", "nf-n"));
}

#[test]
fn a_bridge_of_a_long_name_is_called_by_the_id() {
    let text = r#"{"name":"a-name-that-is-long","id":"0123456789abcdef","created":""}"#;
    let network: Network = serde_json::from_str::<Definition>(text).unwrap().try_into().unwrap();
    assert_eq!(network.bridge().unwrap().as_ref(), "nf-0123456789ab");
}

#[test]
fn what_makes_no_sense_is_refused_by_name() {
    let subnet = |rest: &str| format!(r#""subnets":[{{"subnet":{rest}}}]"#);
    let option = |rest: &str| format!(r#""options":{{{rest}}}"#);
    let macvlan = |rest: &str| format!(r#""driver":"macvlan","options":{{{rest}}}"#);
    let vxlan = |rest: &str| format!(r#""driver":"vxlan","options":{{{rest}}}"#);
    let route = |rest: &str| format!(r#"{SUBNETS},"routes":[{rest}]"#);
    for (fields, says) in [
        (option(r#""mtu":"67""#), "option mtu: \"67\": expected a number from 68 to 65535"),
        (format!(r#"{SUBNETS},{}"#, option(r#""mtu":"1279""#)), "option mtu: \"1279\": expected a number from 1280"),
        (option(r#""mtu":"70000""#), "option mtu"),
        (option(r#""isolate":"maybe""#), "option isolate: \"maybe\": expected none, true or strict"),
        (
            option(r#""vrf":"blue""#),
            "option vrf: driver bridge has none of this name; it has mode, masquerade, mtu, isolate",
        ),
        (option(r#""com.docker.network.bridge.name":"x""#), "option com.docker.network.bridge.name"),
        (option(r#""vlan":"5""#), "option vlan: needs driver macvlan"),
        (option(r#""mode":"bridge""#), "option mode: \"bridge\": expected managed or unmanaged"),
        (option(r#""mode":"unmanaged","isolate":"true""#), "internal and isolate need a bridge with mode=managed"),
        (option(r#""mode":"unmanaged","masquerade":"true""#), "option masquerade: needs mode=managed"),
        (macvlan(""), "option parent: missing"),
        (macvlan(r#""parent":"eth0","mode":"l2""#), "option mode: \"l2\""),
        (macvlan(r#""parent":"eth0","vlan":"4095""#), "option vlan: \"4095\""),
        (macvlan(r#""parent":"eth0","isolate":"true""#), "option isolate: driver macvlan has none of this name"),
        (macvlan(r#""parent":"a-name-too-long-for-it""#), "option parent: interface name"),
        (format!(r#"{},"network_interface":"eth1""#, macvlan(r#""parent":"eth0""#)), "option parent: it is eth0"),
        (vxlan(""), "option vni: the VXLAN's number is missing"),
        (vxlan(r#""vni":"16777216""#), "option vni: \"16777216\""),
        (vxlan(r#""vni":"1","remote":"x""#), "option remote: \"x\" is no address"),
        (vxlan(r#""vni":"1","remote":"fd00::1","local":"10.0.0.1""#), "options remote and local"),
        (vxlan(r#""vni":"1","remote":"239.0.0.1""#), "option parent: the multicast group 239.0.0.1"),
        (subnet(r#""10.1.0.5/24""#), "subnet 10.1.0.5/24: bits behind the prefix are set; write 10.1.0.0/24"),
        (subnet(r#""127.0.0.0/8""#), "subnet 127.0.0.0/8: no network of containers"),
        (subnet(r#""0.0.0.0/0""#), "subnet 0.0.0.0/0"),
        (subnet(r#""10.1.0.7/32""#), "a single address has no room for containers"),
        (subnet(r#""10.1.0.0/24","gateway":"10.1.1.1""#), "gateway 10.1.1.1: outside of 10.1.0.0/24"),
        (subnet(r#""10.1.0.0/24","gateway":"10.1.0.0""#), "it is the address of 10.1.0.0/24 itself"),
        (subnet(r#""10.1.0.0/24","gateway":"10.1.0.255""#), "it is the broadcast address"),
        (subnet(r#""10.1.0.0/24","lease_range":{"start_ip":"10.2.0.1"}"#), "lease_range 10.2.0.1: outside"),
        (
            subnet(r#""10.1.0.0/24","lease_range":{"start_ip":"10.1.0.9","end_ip":"10.1.0.8"}"#),
            "lease_range: it begins at 10.1.0.9, behind its end 10.1.0.8",
        ),
        (
            r#""subnets":[{"subnet":"10.1.0.0/24"},{"subnet":"10.1.0.128/25"}]"#.into(),
            "subnet 10.1.0.128/25: overlaps subnet 10.1.0.0/24",
        ),
        (route(r#"{"destination":"10.9.0.0/16","gateway":"10.2.0.1"}"#), "outside of the network's subnets"),
        (route(r#"{"destination":"10.9.0.1/16","gateway":"10.1.0.1"}"#), "write 10.9.0.0/16"),
        (route(r#"{"destination":"10.9.0.0/16","gateway":"fd00:1::1"}"#), "different families"),
        (
            route(
                r#"{"destination":"10.9.0.0/16","gateway":"10.1.0.1"},{"destination":"10.9.0.0/16","gateway":"10.1.0.2"}"#,
            ),
            "give one of them a metric",
        ),
        (r#""ipam_options":{"driver":"dhcp"}"#.into(), "ipam_options: driver \"dhcp\""),
        (format!(r#"{SUBNETS},"ipam_options":{{"driver":"none"}}"#), "driver none leases nothing"),
        (r#""network_dns_servers":["0.0.0.0"]"#.into(), "network_dns_servers: 0.0.0.0"),
        (r#""driver":"overlay""#.into(), "overlay"),
    ] {
        let error = network(&fields).expect_err(&fields).to_string();
        assert!(error.contains(says), "{fields}: {error}");
    }
    let routed = r#""driver":"ipvlan","options":{"parent":"eth0","mode":"l3s"},
        "subnets":[{"subnet":"10.1.0.0/24","gateway":"10.1.0.1"}]"#;
    let error = network(routed).unwrap_err().to_string();
    assert!(error.starts_with("network n: subnet 10.1.0.0/24: gateway 10.1.0.1: ipvlan of mode l3"), "{error}");
}

#[test]
fn a_range_of_two_addresses_has_two() {
    let two: IpNet = "10.1.0.0/31".parse().unwrap();
    assert_eq!(ends(&two).map(|end| end.to_string()), ["10.1.0.0", "10.1.0.1"]);
    let two: IpNet = "fd00::/127".parse().unwrap();
    assert_eq!(ends(&two).map(|end| end.to_string()), ["fd00::", "fd00::1"]);
}

#[test]
fn names_are_those_of_files_and_no_path() {
    for good in ["nf0", "a", "front-end", "v1.2_x"] {
        assert!(good.parse::<NetworkName>().is_ok(), "{good}");
    }
    for bad in ["", ".", "..", "-a", "a/b", "a b", "ä", &"x".repeat(65)] {
        assert!(bad.parse::<NetworkName>().is_err(), "{bad:?}");
    }
}

#[test]
fn what_podman_wrote_is_read() {
    let text = r#"{"name":"podman1","id":"53ce4390f2adb1681eb1a90ec8b48c49c015e0a8d336c197637e7f65e365fa9e",
        "driver":"bridge","network_interface":"podman1","created":"2021-07-27T14:35:20.8+02:00",
        "subnets":[{"subnet":"10.89.0.0/24","gateway":"10.89.0.1","lease_range":{"start_ip":"10.89.0.10"}}],
        "ipv6_enabled":false,"internal":false,"dns_enabled":true,"ipam_options":{"driver":"host-local"},
        "options":{"mtu":"1400"}}"#;
    let definition: Definition = serde_json::from_str(text).unwrap();
    assert_eq!(definition.driver, Driver::Bridge);
    assert_eq!(definition.subnets[0].gateway, Some("10.89.0.1".parse().unwrap()));
    assert_eq!(definition.options["mtu"], "1400");
}
