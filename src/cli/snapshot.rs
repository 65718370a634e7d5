//! A container's state as the JSON document that `state` and `list` print, with runc's keys in runc's order, and behind them what
//! nfrun alone has.

use std::collections::BTreeMap;

use ipnet::IpNet;
use serde::Serialize;

use crate::Result;
use crate::container::{Interfaces, Snapshot};
use crate::network::attachment::Attachment;
use crate::network::request::{self, Mac, Publish};
use crate::network::{Ifname, NetworkName};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Document<'a> {
    oci_version: &'a str,
    id: &'a str,
    pid: i32,
    status: &'static str,
    bundle: String,
    rootfs: String,
    created: &'a str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: &'a BTreeMap<String, String>,
    owner: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    interfaces: Vec<Interface<'a>>,
}

/// An interface that nfrun has given the container.
#[derive(Serialize)]
#[serde(untagged)]
enum Interface<'a> {
    Attached(Attached<'a>),
    /// As it was asked for.
    Apart(&'a request::Interface),
}

/// One that the host knows.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Attached<'a> {
    name: &'a Ifname,
    network: &'a NetworkName,
    #[serde(skip_serializing_if = "Option::is_none")]
    host_interface: Option<&'a Ifname>,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mac: Option<Mac>,
    addresses: &'a [IpNet],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    ports: &'a [Publish],
}

impl<'a> From<&'a Attachment> for Attached<'a> {
    fn from(attachment: &'a Attachment) -> Self {
        Self {
            name: &attachment.interface,
            network: &attachment.network,
            host_interface: attachment.host_end.as_ref(),
            peer: attachment.peer.as_ref().map(|peer| peer.key.as_str()),
            mac: attachment.mac,
            addresses: &attachment.addresses,
            ports: &attachment.publish,
        }
    }
}

impl<'a> From<&'a Snapshot> for Document<'a> {
    fn from(snapshot: &'a Snapshot) -> Self {
        Self {
            oci_version: &snapshot.oci_version,
            id: &snapshot.id,
            pid: snapshot.pid,
            status: snapshot.status.as_str(),
            bundle: snapshot.bundle.to_string_lossy().into_owned(),
            rootfs: snapshot.rootfs.to_string_lossy().into_owned(),
            created: &snapshot.created,
            annotations: &snapshot.annotations,
            owner: &snapshot.owner,
            interfaces: {
                let Interfaces { attached, apart } = &snapshot.interfaces;
                let attached = attached.iter().map(|attachment| Interface::Attached(attachment.into()));
                attached.chain(apart.iter().map(Interface::Apart)).collect()
            },
        }
    }
}

impl Document<'_> {
    /// Indented by two blanks.
    pub fn pretty(&self) -> Result<String> {
        Ok(serde_json::to_string_pretty(self)?)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::container::Status;

    pub(in super::super) fn running() -> Snapshot {
        Snapshot {
            oci_version: "1.3.0".to_owned(),
            id: "b1".to_owned(),
            pid: 10432,
            status: Status::Running,
            bundle: "/b".into(),
            rootfs: "/b/rootfs".into(),
            created: "2026-11-25T04:12:48.540444813Z".to_owned(),
            owner: "root".to_owned(),
            annotations: BTreeMap::new(),
            interfaces: Interfaces::default(),
        }
    }

    #[test]
    fn the_document_has_runcs_keys_in_runcs_order() {
        let mut snapshot = running();
        let plain = Document::from(&snapshot).pretty().unwrap();
        let expected = "{\n  \"ociVersion\": \"1.3.0\",\n  \"id\": \"b1\",\n  \"pid\": 10432,\n  \"status\": \"running\",\n  \
                        \"bundle\": \"/b\",\n  \"rootfs\": \"/b/rootfs\",\n  \"created\": \
                        \"2026-11-25T04:12:48.540444813Z\",\n  \"owner\": \"root\"\n}";
        assert_eq!(plain, expected);
        snapshot.annotations.insert("a".to_owned(), "b".to_owned());
        let annotated = Document::from(&snapshot).pretty().unwrap();
        assert!(annotated.contains("Z\",\n  \"annotations\": {\n    \"a\": \"b\"\n  },\n  \"owner\""), "{annotated}");
    }
}
