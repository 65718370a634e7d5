//! What a container asks of the network: one typed model, whether it comes from `network.json` in the bundle, from the
//! annotation `io.nfrun.network` or from flags. docs/network.schema.json publishes it, docs/network.md tells it.
//!
//! Everything is checked here, once: an `Interface` that exists is one that makes sense for its kind. What the host has to
//! say (whether a network exists, an address is free) is for `plan`.

mod flag;
mod interface;
mod names;
mod ports;
mod raw;
mod route;
mod values;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub use interface::{Interface, IpvlanMode, Kind, MacvlanMode};
pub use names::{Dns, Files, HostsEntry, is_host_name};
pub use ports::{Filter, FilterProtocol, Protocol, Publish};
pub use route::{Route, Rule, everywhere, range};
pub use values::{AddressWish, Bits, Mac, Rate};

use super::link::Ifname;
use crate::{Error, Result};

/// Values that are text in JSON, as they are in a flag.
macro_rules! by_text {
    ($($name:ty),*) => {$(
        impl TryFrom<String> for $name {
            type Error = Error;

            fn try_from(text: String) -> Result<Self> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.to_string()
            }
        }
    )*};
}

by_text!(AddressWish, Bits, Filter, Mac, Publish);

/// The annotation that has a request as JSON.
pub const ANNOTATION: &str = "io.nfrun.network";
/// The file of a bundle that has one.
pub const FILE: &str = "network.json";

/// A container's network.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Request {
    /// Whose network namespace it shares instead of having interfaces: `host`, or `container:ID`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub share: Option<Share>,
    /// Its interfaces, in their order.
    pub interfaces: Vec<Interface>,
    /// Ports of the host that lead to it.
    pub publish: Vec<Publish>,
    /// How names are resolved.
    pub dns: Dns,
    /// Lines of its /etc/hosts besides those of its networks.
    pub hosts: Vec<HostsEntry>,
    /// Which files are made for it.
    pub files: Files,
}

/// Whose network namespace a container is in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Share {
    /// The host's.
    Host,
    /// Another container's.
    Container(String),
}

impl TryFrom<String> for Share {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        match text.strip_prefix("container:") {
            Some(id) if !id.is_empty() => Ok(Self::Container(id.to_owned())),
            _ if text == "host" => Ok(Self::Host),
            _ => Err(Error::invalid(format!("{text:?}: expected host or container:ID"))),
        }
    }
}

impl From<Share> for String {
    fn from(share: Share) -> Self {
        match share {
            Share::Host => "host".into(),
            Share::Container(id) => format!("container:{id}"),
        }
    }
}

impl Request {
    /// A request as JSON.
    ///
    /// # Errors
    /// Names the field.
    pub fn parse(text: &str) -> Result<Self> {
        let request: Self = read(text)?;
        request.check()?;
        Ok(request)
    }

    /// Adds what a `--network` flag says: `none`, `host`, `container:ID`, or `[KIND:]TARGET[,KEY=VALUE]...`.
    pub fn add_flag(&mut self, flag: &str) -> Result<()> {
        let attempt = |request: &mut Self| {
            match flag {
                "none" => {}
                "host" => request.share = Some(Share::Host),
                _ if flag.starts_with("container:") => request.share = Some(flag.to_owned().try_into()?),
                _ => request.interfaces.push(flag::interface(flag)?),
            }
            request.check()
        };
        attempt(self).map_err(|error| error.context(format!("--network {flag:?}")))
    }

    /// What its parts have to do with each other.
    pub fn check(&self) -> Result<()> {
        if self.share.is_some() {
            for (field, there) in [("interfaces", !self.interfaces.is_empty()), ("publish", !self.publish.is_empty())] {
                if there {
                    return Err(Error::invalid(format!(
                        "{field}: a container that shares a network has none of its own"
                    )));
                }
            }
        }
        let names = self.names()?;
        for (i, name) in names.iter().enumerate() {
            if name.as_ref() == "lo" {
                return Err(Error::invalid(format!("interfaces[{i}].name: lo is the container's loopback interface")));
            }
            if let Some(first) = names[..i].iter().position(|other| other == name) {
                return Err(Error::invalid(format!(
                    "interfaces[{i}].name: {name} is the name of interfaces[{first}] as well"
                )));
            }
        }
        Ok(())
    }

    /// The interfaces that are on no network, with their names: nothing on the host knows them.
    pub fn apart(&self) -> Result<Vec<Interface>> {
        let named = self.interfaces.iter().zip(self.names()?).filter(|(interface, _)| interface.kind.is_apart());
        Ok(named.map(|(interface, name)| Interface { name: Some(name), ..interface.clone() }).collect())
    }

    /// The interfaces' names, in their order: those without one get the lowest ethN that is free.
    pub fn names(&self) -> Result<Vec<Ifname>> {
        let given: Vec<&Ifname> = self.interfaces.iter().filter_map(|interface| interface.name.as_ref()).collect();
        let mut free =
            (0..).map(|n| format!("eth{n}")).filter(|name| !given.iter().any(|given| given.as_ref() == name));
        let mut names = Vec::with_capacity(self.interfaces.len());
        for interface in &self.interfaces {
            names.push(match &interface.name {
                Some(name) => name.clone(),
                None => free.next().unwrap_or_default().parse()?,
            });
        }
        Ok(names)
    }
}

fn read<T: DeserializeOwned>(text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|error| Error::invalid(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Result<Interface> {
        let mut request = Request::default();
        request.add_flag(text)?;
        Ok(request.interfaces.remove(0))
    }

    #[test]
    fn a_flag_is_the_same_as_json() {
        let flag = one("bridge:nf0,ip=10.88.0.5,ip=fd00::5/64,mac=02:00:00:00:00:01,mtu=1400,route=10.0.0.0/8@10.88.0.9@7,tx-checksum=off,rate-in=10mbit,sysctl.ipv4.rp_filter=0,allow=tcp:80+from+10.0.0.0/8")
            .unwrap();
        let json = r#"{"kind":"bridge","network":"nf0","addresses":["10.88.0.5","fd00::5/64"],"mac":"02:00:00:00:00:01","mtu":1400,
            "routes":[{"to":"10.0.0.0/8","via":"10.88.0.9","metric":7}],"offload":{"tx-checksum":false},"rate":{"in":"10mbit"},
            "sysctls":{"ipv4.rp_filter":"0"},"allow":["tcp:80 from 10.0.0.0/8"]}"#;
        assert_eq!(flag, serde_json::from_str(json).unwrap());
        let again: Interface = serde_json::from_str(&serde_json::to_string(&flag).unwrap()).unwrap();
        assert_eq!(again, flag);
        assert_eq!(one("nf0").unwrap().kind, Kind::Network("nf0".parse().unwrap()));
        let link = Kind::Link { container: "b".into(), interface: "eth1".parse().unwrap() };
        assert_eq!(one("link:b:eth1").unwrap().kind, link);
        let macvlan = Kind::Macvlan { parent: "up0".parse().unwrap(), mode: MacvlanMode::Private };
        assert_eq!(one("macvlan:up0,mode=private").unwrap().kind, macvlan);
    }

    #[test]
    fn what_does_not_fit_is_refused_by_its_field() {
        for (flag, words) in [
            ("bridge:nf0,mtu=10", "mtu: expected 68 to 65535"),
            ("bridge:nf0,mtu=x", "mtu=x: expected a number"),
            ("bridge:nf0,mac=03:00:00:00:00:01", "one of a group"),
            ("bridge:nf0,mac=02:00:00", "six octets"),
            ("bridge:nf0,ip=10.88.0", "address \"10.88.0\""),
            ("bridge:nf0,ip=10.88.0.5/33", "32 bits at most"),
            ("bridge:nf0,mode=x", "mode: an interface of kind bridge has none"),
            ("bridge:a/b", "network name"),
            ("vlan:up0,id=5000", "1 to 4094"),
            ("vlan:up0", "1 to 4094"),
            ("macvlan", "parent: is missing"),
            ("macvlan:up0,mode=x", "expected one of private, vepa, bridge, passthru"),
            ("dummy,allow=tcp:80", "allow"),
            ("bridge:nf0,bogus=1", "bogus: expected ip"),
            ("bridge:nf0,name=sixteen_bytes_xx", "16 bytes long"),
            ("bridge:nf0,name=lo", "lo is the container's"),
            ("bridge:nf0,rate-in=10", "rate"),
            ("bridge:nf0,sysctl.kernel.x=1", "sysctls"),
            ("bridge:nf0,route=default", "gateway"),
            ("macvlan:up0,default-route=on", "defaultRoute"),
            ("link:b,alias=x,ip=10.0.0.1/24", "aliases"),
            ("link:b,queues=2,ip=10.0.0.1/24", "queues"),
            ("bridge:nf0,route=10.0.0.1/8@10.0.0.1", "write 10.0.0.0/8"),
            ("bogus:x", "kind"),
            ("container:", "host or container:ID"),
        ] {
            let error = Request::default().add_flag(flag).unwrap_err().to_string();
            assert!(error.contains(words), "{flag}: {error}");
        }
    }

    #[test]
    fn names_are_given_in_order_and_are_unique() {
        let mut request = Request::default();
        for flag in ["a", "b,name=eth0", "c"] {
            request.add_flag(flag).unwrap();
        }
        let names: Vec<String> = request.names().unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(names, ["eth1", "eth0", "eth2"]);
        let error = request.add_flag("d,name=eth0").unwrap_err().to_string();
        assert!(error.contains("interfaces[3].name: eth0 is the name of interfaces[1]"), "{error}");
    }

    #[test]
    fn ports_are_published_one_by_one_or_in_ranges() {
        for (text, shown) in [
            ("8080:80", "8080:80/tcp"),
            ("127.0.0.1:53:5353/udp", "127.0.0.1:53:5353/udp"),
            ("[::1]:8000-8009:80-89/sctp", "[::1]:8000-8009:80-89/sctp"),
            ("0.0.0.0:80:80", "80:80/tcp"),
        ] {
            assert_eq!(text.parse::<Publish>().unwrap().to_string(), shown);
        }
        for bad in
            ["80", "", ":80", "0:80", "80:0", "80:70000", "8-7:8-7", "80-81:80", "x:80:80", "80:80/icmp", "1-65536:1"]
        {
            assert!(bad.parse::<Publish>().is_err(), "{bad}");
        }
    }

    #[test]
    fn rules_of_the_filter_are_read() {
        for text in ["tcp:80", "udp:53-60 from 10.0.0.0/8", "icmp", "from fd00::/8", "sctp"] {
            assert_eq!(text.parse::<Filter>().unwrap().to_string(), text);
        }
        for bad in ["", "tcp:", "icmp:5", "tcp:80 to 1.1.1.1", "from", "tcp from 10.0.0.1/8", "http"] {
            assert!(bad.parse::<Filter>().is_err(), "{bad}");
        }
    }

    /// The published schema and the model name the same fields.
    #[test]
    fn the_schema_has_every_field_and_no_other() {
        use std::collections::BTreeSet;
        let schema: serde_json::Value =
            serde_json::from_str(include_str!("../../../docs/network.schema.json")).expect("JSON");
        let of = |object: &serde_json::Value| -> BTreeSet<String> {
            object.as_object().into_iter().flatten().map(|(name, _)| name.clone()).collect()
        };
        // An unknown field is refused with a list of those that there are.
        let known = |text: &str| -> BTreeSet<String> {
            let error = Request::parse(text).unwrap_err().to_string();
            let list = error.split("expected one of").nth(1).expect("a list").to_owned();
            list.split('`').skip(1).step_by(2).map(str::to_owned).collect()
        };
        assert_eq!(known(r#"{"no": 1}"#), of(&schema["properties"]));
        let interface = &schema["$defs"]["interface"]["properties"];
        assert_eq!(known(r#"{"interfaces": [{"no": 1}]}"#), of(interface));
        let route = &interface["routes"]["items"]["properties"];
        assert_eq!(known(r#"{"interfaces": [{"routes": [{"no": 1}]}]}"#), of(route));
        let rule = &interface["rules"]["items"]["properties"];
        assert_eq!(known(r#"{"interfaces": [{"rules": [{"no": 1}]}]}"#), of(rule));
    }

    #[test]
    fn a_request_with_unknown_fields_is_refused() {
        let error = Request::parse(r#"{"interfaces": [{"kind": "bridge", "network": "a", "colour": 1}]}"#).unwrap_err();
        assert!(error.to_string().contains("colour"), "{error}");
        assert!(Request::parse(r#"{"share": "host", "publish": ["80:80"]}"#).is_err());
    }
}
