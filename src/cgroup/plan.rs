//! The spec's resources into steps. Everything that can be refused without the kernel is refused here; nothing is
//! written and nothing but the layout is consulted.

use oci_spec::runtime::LinuxResources;

use super::devices::rules_to_writes;
use super::limits::{find, limits};
use super::place::{Interface, Place};
use super::step::Step;
use super::v2;
use crate::Result;

/// The steps that make a container's cgroups and limit them: one directory in every hierarchy, on v1 the cpuset filled
/// so that a process can enter, on v2 the controllers enabled and the cgroup given to `owner`, device rules, limits.
///
/// # Errors
/// Names the property that cannot be had: a path that is the root, a value out of range, a limit whose controller is
/// not mounted.
pub fn plan(place: &Place, resources: Option<&LinuxResources>, owner: Option<u32>) -> Result<Vec<Step>> {
    let mut steps: Vec<Step> = place.cgroups.iter().cloned().map(|cgroup| Step::Make { cgroup }).collect();
    if let Interface::V2(cgroup) = place.interface() {
        steps.push(v2::enable(cgroup, resources)?);
        steps.extend(owner.map(|uid| Step::Delegate { cgroup: cgroup.clone(), uid }));
    }
    steps.extend(fill_cpuset(place, resources));
    steps.extend(limit(place, resources)?);
    Ok(steps)
}

/// The steps that write device rules and limits.
pub(super) fn limit(place: &Place, resources: Option<&LinuxResources>) -> Result<Vec<Step>> {
    let mut steps = Vec::new();
    // Of a user other than root the kernel takes no rules, and lets him make no device and open none that is not his.
    if !place.of_user {
        steps.push(restrict_devices(place, resources)?);
    }
    if let Some(resources) = resources {
        steps.extend(limits(place, resources)?);
    }
    Ok(steps)
}

/// The step that lets a process enter the cpuset: what the spec gives for the leaf need not be inherited first.
fn fill_cpuset(place: &Place, resources: Option<&LinuxResources>) -> Option<Step> {
    let cgroup = place.with("cpuset")?.clone();
    let cpu = resources.and_then(|resources| resources.cpu().as_ref());
    let given = |list: Option<&String>| list.is_some_and(|list| !list.trim().is_empty());
    let leaf = [
        ("cpuset.cpus", given(cpu.and_then(|cpu| cpu.cpus().as_ref()))),
        ("cpuset.mems", given(cpu.and_then(|cpu| cpu.mems().as_ref()))),
    ];
    let leaf = leaf.into_iter().filter(|(_, given)| !given).map(|(file, _)| file).collect();
    Some(Step::FillCpuset { cgroup, leaf })
}

/// Without the devices controller a container's root could open any device of the host, so it is never left out.
fn restrict_devices(place: &Place, resources: Option<&LinuxResources>) -> Result<Step> {
    let rules = resources.and_then(|resources| resources.devices().as_deref()).unwrap_or(&[]);
    match place.interface() {
        Interface::V1(place) => {
            let cgroup = find(place, "devices", "linux.resources.devices")?.clone();
            Ok(Step::Devices { cgroup, writes: rules_to_writes(rules)? })
        }
        Interface::V2(cgroup) => v2::restrict_devices(cgroup, rules),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::hierarchy::Layout;
    use super::super::place::place;
    use super::*;

    fn host(controllers: &[&str]) -> Layout {
        let (mut mounts, mut own) = (String::new(), String::new());
        for (i, name) in controllers.iter().enumerate() {
            mounts += &format!("{} 31 0:{i} / /sys/fs/cgroup/{name} rw - cgroup cgroup rw,{name}\n", i + 40);
            own += &format!("{i}:{name}:/own\n");
        }
        Layout::parse(&mounts, &own).unwrap()
    }

    fn lines(path: &str, resources: &str) -> Result<Vec<String>> {
        let resources: LinuxResources = serde_json::from_str(resources).unwrap();
        let layout = host(&["cpu,cpuacct", "cpuset", "memory", "devices", "pids", "blkio"]);
        let path = Some(Path::new(path)).filter(|path| !path.as_os_str().is_empty());
        Ok(plan(&place(&layout, path, "c1")?, Some(&resources), None)?.iter().map(ToString::to_string).collect())
    }

    fn plan_bare(layout: &Layout) -> Result<Vec<Step>> {
        plan(&place(layout, None, "c")?, None, None)
    }

    #[test]
    fn without_limits_each_hierarchy_gets_a_directory_and_the_devices_are_restricted() {
        let steps = lines("/ocibench/c", "{}").unwrap();
        assert_eq!(steps[0], "make cgroup cpu,cpuacct:/ocibench/c");
        assert_eq!(steps[6], "fill cpuset.cpus, cpuset.mems of cpuset:/ocibench/c from its parents");
        assert!(
            steps[7].starts_with("restrict devices in devices:/ocibench/c: deny a, allow c *:* m,"),
            "{}",
            steps[7]
        );
        assert_eq!(steps.len(), 8);
    }

    #[test]
    fn relative_and_absent_paths_lie_below_the_own_cgroup_and_dots_never_escape() {
        assert_eq!(lines("", "{}").unwrap()[2], "make cgroup memory:/own/c1");
        assert_eq!(lines("../../a/./b/../c", "{}").unwrap()[2], "make cgroup memory:/own/a/c");
        assert_eq!(lines("/../x//y/", "{}").unwrap()[2], "make cgroup memory:/x/y");
        for root in ["/", ".", "/a/.."] {
            assert!(lines(root, "{}").unwrap_err().to_string().starts_with("linux.cgroupsPath"));
        }
    }

    #[test]
    fn a_given_cpuset_is_not_inherited_first() {
        let steps = lines("/c", r#"{"cpu": {"cpus": "0"}}"#).unwrap();
        assert_eq!(steps[6], "fill cpuset.mems of cpuset:/c from its parents");
        assert_eq!(steps.last().unwrap(), "write cpuset.cpus = 0 in cpuset:/c");
        let steps = lines("/c", r#"{"cpu": {"cpus": "0", "mems": "0"}}"#).unwrap();
        assert_eq!(steps[6], "fill cpuset.cpus, cpuset.mems of the parents of cpuset:/c where empty");
    }

    #[test]
    fn a_host_without_the_devices_controller_is_refused_by_name() {
        let error = plan_bare(&host(&["memory"])).unwrap_err().to_string();
        assert!(error.contains("the devices controller is not mounted"), "{error}");
    }

    #[test]
    fn a_v2_host_gets_one_directory_its_controllers_and_a_device_program() {
        let v2 = Layout::parse("1 1 0:2 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n", "0::/\n").unwrap();
        let resources: LinuxResources = serde_json::from_str(r#"{"memory": {"limit": 1048576}}"#).unwrap();
        let place = place(&v2, Some(Path::new("/a/c")), "c").unwrap();
        let steps: Vec<_> =
            plan(&place, Some(&resources), Some(1000)).unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(steps[0], "make cgroup unified:/a/c");
        assert_eq!(steps[1], "enable controllers for unified:/a/c, memory at least");
        assert_eq!(steps[2], "give unified:/a/c to uid 1000");
        assert!(steps[3].starts_with("restrict devices in unified:/a/c by a program: deny a, allow c *:* m"));
        assert_eq!(steps[4..], ["write memory.max = 1048576 in unified:/a/c"]);
    }
}
