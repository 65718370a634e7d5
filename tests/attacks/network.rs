//! Names of interfaces come from the bundle, and go to the kernel in messages that the host's root sends.

use crate::common;
use crate::common::aside::Aside;
use crate::common::*;
use crate::repelled;

/// A name of so many bytes that 16 bits tell a length of nine. What follows the first five is then read as attributes.
fn smuggling_name() -> String {
    // IFLA_MTU of eight bytes, 576; then an attribute of no length, at which the kernel stops.
    let attributes = "net0\0\0\0\0\u{8}\0\u{4}\0\u{40}\u{2}\0\0";
    let padding = "\0".repeat((1 << 16) + 9 - 4 - 1 - attributes.len());
    format!("{attributes}{padding}")
}

/// Whether a container whose interface is called that gets one with the MTU that was smuggled in.
fn smuggles(runtime: &Runtime) -> bool {
    let c = Container::idle().by(runtime);
    let c = c.with(|config| config["linux"]["netDevices"] = json!({"eth1": {"name": smuggling_name()}}));
    let aside = Aside::new();
    let run = |words: &[&str]| c.finish(&mut aside.command(words));
    run(&["ip", "link", "add", "eth1", "type", "veth", "peer", "name", "peer1"]).ok();
    let create = c.command(&c.words("create", &[]));
    let mut create_aside = aside.command(&[]);
    create_aside.arg(create.get_program()).args(create.get_args());
    create_aside.envs(create.get_envs().filter_map(|(name, value)| value.map(|value| (name, value))));
    let created = c.finish(&mut create_aside);
    if created.code != 0 {
        created.fails(1, &["linux.netDevices.eth1"]);
        run(&["ip", "link", "show", "eth1"]).ok();
        return false;
    }
    let pid = c.pid().to_string();
    run(&["nsenter", "--target", &pid, "--net", "ip", "link", "show", "net0"]).ok().contains("mtu 576")
}

/// CVE-2021-43784.
#[test]
fn an_overlong_interface_name_is_no_message_of_its_own() {
    needs_veth!();
    repelled("interface-names,netlink-lengths", &[], smuggles);
}

#[test]
fn either_protection_against_overlong_names_is_enough() {
    needs_veth!();
    for guard in ["interface-names", "netlink-lengths"] {
        assert!(!smuggles(&Runtime::Without(guard)), "without {guard}");
    }
}
