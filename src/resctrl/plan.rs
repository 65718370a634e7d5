//! The spec's `linux.intelRdt` into steps.

use oci_spec::runtime::LinuxIntelRdt;

use super::{Group, Step};
use crate::{Error, Result};

/// Names that resctrl has for files of its own.
const RESERVED: [&str; 5] = [".", "..", "info", "mon_groups", "mon_data"];

/// Where the mount table, /proc/self/mountinfo, says that resctrl is mounted.
pub fn mount_point(mount_table: &str) -> Option<&str> {
    mount_table.lines().find_map(|line| {
        let (mount, fs) = line.split_once(" - ")?;
        if fs.split(' ').next() == Some("resctrl") { mount.split(' ').nth(4) } else { None }
    })
}

/// The lines for a schemata file in the specification's order: those of `l3`, then `mb`, then `all`. A later one overrides.
///
/// # Errors
/// When a text that has to be one line is more, or is not about what its name says.
pub fn lines(l3: Option<&str>, mb: Option<&str>, all: &[String]) -> Result<Vec<String>> {
    let given = |text: Option<&str>| text.map(str::trim).unwrap_or_default().to_owned();
    let (l3, mb) = (given(l3), given(mb));
    if !mb.is_empty() && (!mb.starts_with("MB:") || mb.contains('\n')) {
        return Err(Error::invalid(format!(
            "linux.intelRdt.memBwSchema: {mb:?} is not one line that starts with MB:, such as MB:0=50;1=100"
        )));
    }
    let mut lines: Vec<String> = l3.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect();
    if let Some(line) = lines.iter().find(|line| !line.contains(':')) {
        return Err(Error::invalid(format!(
            "linux.intelRdt.l3CacheSchema: {line:?} is no schema such as L3:0=ff;1=f0"
        )));
    }
    lines.extend(Some(mb).filter(|mb| !mb.is_empty()));
    for (i, line) in all.iter().enumerate() {
        if line.contains('\n') || line.trim().is_empty() {
            return Err(Error::invalid(format!(
                "linux.intelRdt.schemata[{i}]: {line:?} is not one line of a schemata file"
            )));
        }
    }
    lines.extend(all.iter().cloned());
    Ok(lines)
}

/// The steps that make or find the group, and the group, for a container of this id.
///
/// # Errors
/// When resctrl is not mounted, or names what is wrong.
pub fn plan(rdt: &LinuxIntelRdt, id: &str, mount_table: &str) -> Result<(Vec<Step>, Group)> {
    let Some(root) = mount_point(mount_table) else {
        return Err(Error::invalid(
            "linux.intelRdt: no resctrl file system is mounted on this host; mount it (mount -t resctrl resctrl /sys/fs/resctrl) on a processor that has Intel RDT or AMD QoS, or remove the property",
        ));
    };
    plan_below(rdt, id, root)
}

fn plan_below(rdt: &LinuxIntelRdt, id: &str, root: &str) -> Result<(Vec<Step>, Group)> {
    let class = rdt.clos_id().as_deref().filter(|class| !class.is_empty());
    let name = class.unwrap_or(id);
    if name != "/" && (name.contains('/') || name.contains('\n') || RESERVED.contains(&name)) {
        let field = if class.is_some() { "linux.intelRdt.closID" } else { "linux.intelRdt: the container's id" };
        return Err(Error::invalid(format!("{field}: {name:?} cannot name a class of service; choose another name")));
    }
    let lines = lines(
        rdt.l3_cache_schema().as_deref(),
        rdt.mem_bw_schema().as_deref(),
        rdt.schemata().as_deref().unwrap_or_default(),
    )?;
    let dir = if name == "/" { root.to_owned() } else { format!("{root}/{name}") };
    let mut steps = vec![match class {
        Some(_) if lines.is_empty() => Step::Find { dir: dir.clone() },
        _ => Step::Make { dir: dir.clone(), lines, own: class.is_none() },
    }];
    #[allow(deprecated)]
    let old_names = [*rdt.enable_cmt(), *rdt.enable_mbm()].contains(&Some(true));
    let monitor = (*rdt.enable_monitoring() == Some(true) || old_names).then(|| format!("{dir}/mon_groups/{id}"));
    steps.extend(monitor.clone().map(|dir| Step::Monitor { dir }));
    Ok((steps, Group { root: root.to_owned(), dir, monitor }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str =
        "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n32 31 0:29 / /sys/fs/resctrl rw - resctrl resctrl rw\n";

    fn steps(rdt: &str) -> Result<Vec<String>> {
        let rdt = serde_json::from_str(rdt).unwrap();
        let (steps, _) = plan(&rdt, "c1", TABLE)?;
        Ok(steps.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn the_id_names_a_class_of_the_containers_own_and_clos_id_another() {
        assert_eq!(steps("{}").unwrap(), ["make class of service /sys/fs/resctrl/c1"]);
        assert_eq!(steps(r#"{"closID": "gold"}"#).unwrap(), ["find class of service /sys/fs/resctrl/gold"]);
        assert_eq!(
            steps(r#"{"closID": "gold", "memBwSchema": "MB:0=50"}"#).unwrap(),
            ["make class of service /sys/fs/resctrl/gold with MB:0=50"]
        );
        assert_eq!(
            steps(r#"{"closID": "/", "enableMonitoring": true}"#).unwrap(),
            ["find class of service /sys/fs/resctrl", "make monitoring group /sys/fs/resctrl/mon_groups/c1"]
        );
    }

    #[test]
    fn caches_come_first_then_bandwidth_and_schemata_last() {
        let all = r#"{"l3CacheSchema": "L3:0=ff\nMB:0=1", "memBwSchema": "MB:0=50", "schemata": ["L3:0=f", "L2:0=f"]}"#;
        assert_eq!(
            steps(all).unwrap(),
            ["make class of service /sys/fs/resctrl/c1 with L3:0=ff, MB:0=1, MB:0=50, L3:0=f, L2:0=f"]
        );
    }

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        for (rdt, words) in [
            (r#"{"closID": "a/b"}"#, "linux.intelRdt.closID: \"a/b\""),
            (r#"{"closID": "info"}"#, "linux.intelRdt.closID: \"info\""),
            (r#"{"memBwSchema": "L3:0=1"}"#, "linux.intelRdt.memBwSchema"),
            (r#"{"memBwSchema": "MB:0=1\nMB:1=1"}"#, "linux.intelRdt.memBwSchema"),
            (r#"{"l3CacheSchema": "ff"}"#, "linux.intelRdt.l3CacheSchema"),
            (r#"{"schemata": ["L3:0=f\nL3:1=f"]}"#, "linux.intelRdt.schemata[0]"),
        ] {
            let error = steps(rdt).unwrap_err().to_string();
            assert!(error.starts_with(words), "{error}");
        }
        let none = plan(&serde_json::from_str("{}").unwrap(), "c1", "").unwrap_err().to_string();
        assert!(none.starts_with("linux.intelRdt: no resctrl file system is mounted"), "{none}");
    }
}
