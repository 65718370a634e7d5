//! The packet filter seen from outside: packets between namespaces, and what the `nft` program lists.

mod connections;
mod filter;
mod lab;
mod nat;
mod others;

use lab::{on_a_host, ruleset, run};

/// Fills in what a test asks for.
fn publishing(endpoint: &super::Endpoint, ports: &[&str]) -> super::Endpoint {
    super::Endpoint { publish: ports.iter().map(|port| port.parse().unwrap()).collect(), ..endpoint.clone() }
}

const CALL_FILTER: &str = "/proc/sys/net/bridge/bridge-nf-call-iptables";

/// Has bridges carry packets past the rules of what is routed.
fn route_alone() {
    set_bridges("0");
}

/// Has them go through those rules; false where the kernel has no br_netfilter.
fn filter_bridges() -> bool {
    set_bridges("1")
}

fn set_bridges(value: &str) -> bool {
    let there = std::path::Path::new(CALL_FILTER).exists();
    if there {
        run(&format!("echo {value} > {CALL_FILTER}; echo {value} > {}", CALL_FILTER.replace("iptables", "ip6tables")));
    }
    there
}

/// Fills in rules.
fn filtering(endpoint: &super::Endpoint, allow: &[&str], deny: &[&str]) -> super::Endpoint {
    let parse = |rules: &[&str]| rules.iter().map(|rule| rule.parse().unwrap()).collect();
    super::Endpoint { allow: parse(allow), deny: parse(deny), ..endpoint.clone() }
}
