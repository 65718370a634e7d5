//! The maps of a user namespace: user_namespaces(7). Whoever may not write them himself has newuidmap(1) and newgidmap(1)
//! write what /etc/subuid and /etc/subgid give him.

use std::io::ErrorKind;
use std::process::{Command, Stdio};

use crate::init::namespaces::ids::{self, IdMaps};
use crate::{Context, Error, Result};

/// One of the two maps.
struct Map<'a> {
    /// Its file in /proc/PID.
    file: &'static str,
    /// Its field in config.json.
    field: String,
    text: &'a str,
    helper: &'static str,
    /// What says who may have which ids.
    grants: &'static str,
}

/// Writes uid_map and gid_map of a process's user namespace. `field` is the part of config.json that has them: `linux`,
/// or a mount.
pub fn write(pid: i32, maps: &IdMaps, field: &str) -> Result<()> {
    let uids = Map {
        file: "uid_map",
        field: format!("{field}.uidMappings"),
        text: &maps.uids,
        helper: "newuidmap",
        grants: "/etc/subuid",
    };
    let gids = Map {
        file: "gid_map",
        field: format!("{field}.gidMappings"),
        text: &maps.gids,
        helper: "newgidmap",
        grants: "/etc/subgid",
    };
    write_one(pid, &uids)?;
    write_one(pid, &gids)
}

fn write_one(pid: i32, map: &Map) -> Result<()> {
    let path = format!("/proc/{pid}/{}", map.file);
    let tried = || format!("{}: write {:?} to {path}", map.field, map.text.trim_end());
    match std::fs::write(&path, map.text) {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {}
        other => return other.context(tried),
    }
    // One's own group alone is no privilege, once the process can no longer drop groups that deny it something.
    if map.file == "gid_map" && ids::is_own_group(map.text) {
        let deny = format!("/proc/{pid}/setgroups");
        std::fs::write(&deny, "deny").context(|| format!("{}: write deny to {deny}", map.field))?;
        return std::fs::write(&path, map.text).context(tried);
    }
    by_helper(pid, map).map_err(|error| error.context(tried()))
}

/// newuidmap(1): the pid, then the map's numbers.
fn by_helper(pid: i32, map: &Map) -> Result<()> {
    let helper = map.helper;
    let mut command = Command::new(helper);
    command.arg(pid.to_string()).args(map.text.split_whitespace());
    let output = command.stdin(Stdio::null()).stdout(Stdio::null()).output().map_err(|error| match error.kind() {
        ErrorKind::NotFound => Error::invalid(format!(
            "operation not permitted, and {helper}, which would do it for ids that {} gives the caller, is not in $PATH (Debian: package uidmap)",
            map.grants
        )),
        _ => Error::from(error).context(format!("run {helper}")),
    })?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Error::invalid(format!(
        "{helper}: {} (does {} give the caller these ids?)",
        said.lines().next().unwrap_or("it failed without a word").trim(),
        map.grants
    )))
}
