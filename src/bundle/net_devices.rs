//! linux.netDevices as interfaces to be moved: config-linux.md, "Network Devices".

use std::collections::HashMap;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use oci_spec::runtime::LinuxNetDevice;

use crate::init::namespaces::plan::Namespaces;
use crate::network::{Ifname, Origin, Pattern, Socket, link, transfer};
use crate::{Context, Error, Result};

/// The annotation that says whether interfaces return when the container is deleted: by default they do.
pub const RETURN: &str = "io.nfrun.net-devices.return";

/// What is to be moved.
#[derive(Debug)]
pub struct NetDevices {
    /// The interfaces as they are now, in the order in which they are moved.
    pub links: Vec<Origin>,
    /// Whether they come back when the container is deleted.
    pub returned: bool,
}

/// What linux.netDevices asks for. Without the host (`look`) only the names are judged, and none is planned.
pub fn plan(
    devices: &HashMap<String, LinuxNetDevice>,
    annotations: Option<&HashMap<String, String>>,
    namespaces: &Namespaces,
    look: bool,
) -> Result<Option<NetDevices>> {
    let returned = match annotations.and_then(|all| all.get(RETURN)).map(String::as_str) {
        None | Some("true") => true,
        Some("false") => false,
        Some(other) => {
            return Err(Error::invalid(format!("annotations.{RETURN}: {other:?} is neither true nor false")));
        }
    };
    if devices.is_empty() {
        return Ok(None);
    }
    let names = read_names(devices)?;
    let joined = own_network(namespaces, look)?;
    if !look {
        return Ok(None);
    }
    if let Some(path) = joined {
        refuse_taken(&names, path)?;
    }
    let socket = Socket::open()?;
    let find = |(name, inside): (Ifname, Pattern)| {
        let found = transfer::look(&socket, &name, inside).map_err(|error| error.context(field(&name)))?;
        found.ok_or_else(|| {
            Error::invalid(format!(
                "{}: there is no interface {name} in the network namespace that this runs in (`ip link` lists them)",
                field(&name)
            ))
        })
    };
    let links = names.into_iter().map(find).collect::<Result<_>>()?;
    Ok(Some(NetDevices { links, returned }))
}

/// How errors call the entry of an interface.
pub fn field(name: &Ifname) -> String {
    format!("linux.netDevices.{name}")
}

/// Names before templates, so that a template gets a number which no name takes; each in the order of the host's names.
fn read_names(devices: &HashMap<String, LinuxNetDevice>) -> Result<Vec<(Ifname, Pattern)>> {
    let mut names = Vec::new();
    for (key, device) in devices {
        let name: Ifname = key.parse().map_err(|error: Error| error.context("linux.netDevices"))?;
        if name.as_ref() == "lo" {
            return Err(Error::invalid(format!(
                "{}: the loopback interface cannot be moved; every network namespace has its own",
                field(&name)
            )));
        }
        let inside = device.name().as_deref().filter(|inside| !inside.is_empty()).unwrap_or(key);
        let inside: Pattern = inside.parse().map_err(|error: Error| error.context(format!("{}.name", field(&name))))?;
        if inside.matches("lo") {
            return Err(Error::invalid(format!(
                "{}.name: lo is the container's loopback interface; choose another name",
                field(&name)
            )));
        }
        names.push((inside.name().is_none(), name, inside));
    }
    names.sort();
    let names: Vec<_> = names.into_iter().map(|(_, name, inside)| (name, inside)).collect();
    for (i, (name, inside)) in names.iter().enumerate() {
        let other = names[..i].iter().find(|(_, other)| other == inside && inside.name().is_some());
        if let Some((other, _)) = other {
            return Err(Error::invalid(format!(
                "{}.name: {inside} is what {} is to be called as well; an interface's name is unique in its namespace",
                field(name),
                field(other)
            )));
        }
    }
    Ok(names)
}

/// Refuses what would move an interface to where it is already; the file of a joined namespace.
fn own_network(namespaces: &Namespaces, look: bool) -> Result<Option<&Path>> {
    let kind = libc::CLONE_NEWNET;
    if !namespaces.has(kind) {
        return Err(Error::invalid(
            "linux.netDevices: unable to move network devices without a network namespace of the container's own; add one to linux.namespaces",
        ));
    }
    let joined = namespaces.joined.iter().find(|(joined, _)| *joined == kind as u64);
    let Some((_, path)) = joined.filter(|_| look) else { return Ok(None) };
    let identity = |path: &Path| std::fs::metadata(path).map(|found| (found.dev(), found.ino()));
    let theirs = identity(path).context(|| format!("linux.namespaces: open {}", path.display()))?;
    if theirs == identity(Path::new("/proc/thread-self/ns/net"))? {
        return Err(Error::invalid(format!(
            "linux.netDevices: unable to move network devices: {} is the network namespace that they are in; the container needs one of its own",
            path.display()
        )));
    }
    Ok(Some(path))
}

/// A namespace that is there already may have an interface of such a name.
fn refuse_taken(names: &[(Ifname, Pattern)], path: &Path) -> Result<()> {
    let netns = std::fs::File::open(path).context(|| format!("linux.namespaces: open {}", path.display()))?;
    let socket = Socket::open_in(netns.as_fd())
        .map_err(|error| error.context(format!("linux.netDevices: network namespace {}", path.display())))?;
    let taken = link::list(&socket)?;
    let clash = names
        .iter()
        .find(|(_, inside)| inside.name().is_some_and(|inside| taken.iter().any(|link| link.name == inside.as_ref())));
    clash.map_or(Ok(()), |(name, inside)| {
        Err(Error::invalid(format!(
            "{}.name: there is an interface {inside} in {} already; choose another name",
            field(name),
            path.display()
        )))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(json: &str) -> Result<Vec<(String, String)>> {
        let names = read_names(&serde_json::from_str(json).unwrap())?;
        Ok(names.into_iter().map(|(name, inside)| (name.to_string(), inside.to_string())).collect())
    }

    #[track_caller]
    fn refused(json: &str, says: &str) {
        let error = judge(json).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }

    #[test]
    fn names_come_before_templates_and_keep_their_own_by_default() {
        let names =
            judge(r#"{"b":{"name":"net%d"},"a":{"name":"net%d"},"d":{"name":""},"c":{"name":"net0"}}"#).unwrap();
        let pairs: Vec<_> = names.iter().map(|(name, inside)| (name.as_str(), inside.as_str())).collect();
        assert_eq!(pairs, [("c", "net0"), ("d", "d"), ("a", "net%d"), ("b", "net%d")]);
        assert!(judge(r#"{"a":{"name":"b"},"b":{"name":"a"}}"#).is_ok(), "names may be swapped");
    }

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        refused(r#"{"lo":{}}"#, "linux.netDevices.lo: the loopback interface cannot be moved");
        refused(r#"{"a":{"name":"lo"}}"#, "linux.netDevices.a.name: lo is");
        refused(r#"{"a":{"name":"n"},"b":{"name":"n"}}"#, "linux.netDevices.b.name: n is what linux.netDevices.a is");
        refused(r#"{"a":{"name":"b"},"b":{}}"#, "linux.netDevices.b.name: b is what linux.netDevices.a is");
        refused(r#"{"a":{"name":"x/y"}}"#, "linux.netDevices.a.name: interface name \"x/y\" holds '/'");
        refused(r#"{"..":{}}"#, "linux.netDevices: interface name \"..\"");
        refused(r#"{"eth%d":{}}"#, "holds a %");
    }

    #[test]
    fn an_overlong_name_is_refused() {
        let name = "a".repeat(70_000);
        refused(&format!(r#"{{"{name}":{{}}}}"#), "is 70000 bytes long, and the kernel takes at most 15");
        refused(&format!(r#"{{"a":{{"name":"{name}"}}}}"#), "linux.netDevices.a.name");
    }
}
