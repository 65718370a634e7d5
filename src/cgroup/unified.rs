//! `linux.resources.unified`: files of cgroup2 and what to write to them (config-linux.md, "Unified"). On a hybrid host its
//! cgroup2 hierarchy has the controllers that no v1 hierarchy took, often hugetlb, misc or rdma; which those are is read
//! only when a setting is asked for.

use oci_spec::runtime::{LinuxHugepageLimit, LinuxResources};

use super::file::read;
use super::limits::value;
use super::place::Place;
use super::step::{Cgroup, Step, Value};
use super::{controllers, v2};
use crate::{Context, Error, Result};

const FIELD: &str = "linux.resources.unified";

/// The settings as they are, but for a table's rows, which the kernel takes one a write.
///
/// # Errors
/// Names what is no file's name, or the file of no limit.
pub(super) fn values(resources: &LinuxResources) -> Result<Vec<Value>> {
    let mut files: Vec<_> = resources.unified().iter().flatten().collect();
    files.sort();
    let mut values = Vec::with_capacity(files.len());
    for (file, text) in files {
        check_file(file)?;
        let mut lines = text.lines().filter(|line| !line.trim().is_empty()).peekable();
        if lines.peek().is_none() {
            // An empty line is a value too: it gives cpuset.cpus back to the parent. Nothing at all would not be written.
            values.push(value(FIELD, file.as_str(), "\n"));
        }
        values.extend(lines.map(|line| value(FIELD, file.as_str(), line)));
    }
    Ok(values)
}

fn refuse(file: &str, why: &str) -> Error {
    Error::invalid(format!("{FIELD}: {file:?}: {why}"))
}

/// Refuses what is no name, and the files of cgroup2 that limit nothing: they move processes, which may be the host's, into
/// the container's cgroup, end or stop those in it, or make a cgroup of threads. What is started in a frozen one never gets
/// further.
fn check_file(file: &str) -> Result<()> {
    if file.contains('/') {
        return Err(refuse(file, "unified resource must be a file name (no slashes)"));
    }
    if !file.contains('.') || file.starts_with('.') {
        return Err(refuse(file, "it names no controller, as memory.high does"));
    }
    let way_out = match file {
        "cgroup.procs" | "cgroup.threads" => "run processes in the container by `exec`",
        "cgroup.freeze" => "stop the container's processes by `pause`",
        "cgroup.kill" => "end the container's processes by `kill`",
        "cgroup.type" => "a container's cgroup holds whole processes",
        _ => return Ok(()),
    };
    Err(refuse(file, &format!("is no limit, it acts on processes; remove it ({way_out})")))
}

/// The settings on a host whose other controllers are v1's.
///
/// # Errors
/// Names the setting: no cgroup2 hierarchy, or one without its controller.
pub(super) fn settings_beside_v1(place: &Place, resources: &LinuxResources) -> Result<Vec<Step>> {
    let values = values(resources)?;
    if values.is_empty() {
        return Ok(Vec::new());
    }
    let Some(cgroup) = place.v2() else {
        return Err(Error::invalid(format!(
            "{FIELD}: cannot use unified on cgroup v1, which this host has; use the memory, cpu and other properties"
        )));
    };
    let offered = offered(cgroup)?;
    for file in values.iter().map(|value| &value.file) {
        let controller = file.split('.').next().unwrap_or_default();
        // Files of cgroup2 itself need no controller.
        if controller != "cgroup" && !offered.iter().any(|name| name == controller) {
            return Err(refuse(
                file,
                &format!(
                    "controller {controller} is not available in the cgroup2 hierarchy at {}, which has {}; where cgroup v1 has it, use the {controller} properties",
                    cgroup.mount,
                    if offered.is_empty() { "none".to_owned() } else { offered.join(", ") }
                ),
            ));
        }
    }
    Ok(set(cgroup, values))
}

/// A limit of huge pages where cgroup2 has the controller; None where it has not.
pub(super) fn hugepages_beside_v1(place: &Place, limit: &LinuxHugepageLimit) -> Result<Option<Vec<Step>>> {
    let Some(cgroup) = place.v2() else { return Ok(None) };
    if !offered(cgroup)?.iter().any(|name| name == "hugetlb") {
        return Ok(None);
    }
    Ok(Some(set(cgroup, v2::hugepage_values(limit).into())))
}

fn offered(cgroup: &Cgroup) -> Result<Vec<String>> {
    let path = format!("{}/cgroup.controllers", cgroup.mount);
    let text = read(&path).context(|| format!("read {path}"))?;
    Ok(text.split_whitespace().map(str::to_owned).collect())
}

/// The values, and before them the controllers whose files they are for.
fn set(cgroup: &Cgroup, values: Vec<Value>) -> Vec<Step> {
    let enable = controllers::step(cgroup, &values);
    let needed = matches!(&enable, Step::EnableControllers { needed, .. } if !needed.is_empty());
    needed.then_some(enable).into_iter().chain(v2::writes(cgroup, values)).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::limits::limits;
    use super::super::run::Made;
    use super::super::step::Version;
    use super::*;

    /// A directory in place of a mounted cgroup2 with the controllers hugetlb and misc. To enable a controller for the whole
    /// machine is not a test's to do.
    struct StandIn {
        mount: String,
        place: Place,
    }

    impl StandIn {
        fn new(name: &str) -> Self {
            let mount = std::env::temp_dir().join(format!("nfrun-unit-{}-v2-{name}", std::process::id()));
            let _ = fs::remove_dir_all(&mount);
            fs::create_dir_all(mount.join("p/c")).unwrap();
            for dir in ["", "p/c/"] {
                fs::write(mount.join(format!("{dir}cgroup.controllers")), "hugetlb misc\n").unwrap();
            }
            for dir in ["", "p/"] {
                fs::write(mount.join(format!("{dir}cgroup.subtree_control")), "").unwrap();
            }
            let mount = mount.to_str().unwrap().to_owned();
            let cgroup =
                Cgroup { hierarchy: "unified".into(), mount: mount.clone(), path: "/p/c".into(), version: Version::V2 };
            // Hybrid: v1 has the others.
            let memory = Cgroup { hierarchy: "memory".into(), version: Version::V1, ..cgroup.clone() };
            Self { mount, place: Place { cgroups: vec![memory, cgroup], of_user: false, unit: None } }
        }

        fn lines(&self, resources: &str) -> Result<Vec<String>> {
            let steps = limits(&self.place, &serde_json::from_str(resources).unwrap())?;
            Ok(steps.iter().map(ToString::to_string).collect())
        }

        fn read(&self, path: &str) -> String {
            fs::read_to_string(format!("{}/{path}", self.mount)).unwrap()
        }
    }

    impl Drop for StandIn {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.mount);
        }
    }

    #[test]
    fn a_setting_is_written_where_cgroup2_has_its_controller_and_else_refused_by_name() {
        let here = StandIn::new("plan");
        let settings = r#"{"unified": {"misc.max": "res_a 5", "hugetlb.2MB.max": "4194304", "cgroup.max.depth": "3"}}"#;
        assert_eq!(
            here.lines(settings).unwrap(),
            [
                "enable controllers for unified:/p/c, hugetlb, misc at least",
                "write cgroup.max.depth = 3 in unified:/p/c",
                "write hugetlb.2MB.max = 4194304 in unified:/p/c",
                "write misc.max = res_a 5 in unified:/p/c",
            ]
        );
        for (settings, words) in [
            (r#"{"memory.high": "1"}"#, "\"memory.high\": controller memory is not available in the cgroup2 hierarchy"),
            (r#"{"../x.y": "1"}"#, "must be a file name (no slashes)"),
            (r#"{"high": "1"}"#, "it names no controller"),
            (r#"{"cgroup.procs": "1"}"#, "\"cgroup.procs\": is no limit"),
            (r#"{"cgroup.freeze": "0"}"#, "\"cgroup.freeze\": is no limit"),
        ] {
            let error = here.lines(&format!(r#"{{"unified": {settings}}}"#)).unwrap_err().to_string();
            assert!(error.starts_with("linux.resources.unified: ") && error.contains(words), "{error}");
        }
    }

    #[test]
    fn huge_pages_are_limited_by_cgroup2_where_v1_has_no_such_controller() {
        let here = StandIn::new("huge");
        let limit = r#"{"hugepageLimits": [{"pageSize": "2MB", "limit": 4194304}]}"#;
        assert_eq!(
            here.lines(limit).unwrap(),
            [
                "enable controllers for unified:/p/c, hugetlb at least",
                "write hugetlb.2MB.max = 4194304 in unified:/p/c",
                "write hugetlb.2MB.rsvd.max = 4194304 in unified:/p/c",
            ]
        );
    }

    #[test]
    fn controllers_are_enabled_from_the_root_down_to_the_parent() {
        let here = StandIn::new("enable");
        fs::write(format!("{}/p/cgroup.subtree_control", here.mount), "misc\n").unwrap();
        let step = controllers::step(here.place.v2().unwrap(), &[value(FIELD, "hugetlb.2MB.max", 5)]);
        Made::default().run(&step).unwrap();
        assert_eq!(here.read("cgroup.subtree_control"), "+hugetlb +misc");
        assert_eq!(here.read("p/cgroup.subtree_control"), "+hugetlb +misc");
        assert!(!fs::exists(format!("{}/p/c/cgroup.subtree_control", here.mount)).unwrap(), "the leaf has processes");
    }

    /// As a user to whom p is delegated, without misc: the parents of it hand theirs on, and are not his to write to.
    #[test]
    fn the_parent_that_hands_nothing_on_is_named_and_not_one_that_does() {
        use std::os::unix::fs::{PermissionsExt, chown};
        let here = StandIn::new("wall");
        let file = |path: &str, text: &str| fs::write(format!("{}/{path}", here.mount), text).unwrap();
        file("cgroup.subtree_control", "hugetlb misc\n");
        file("p/c/cgroup.controllers", "hugetlb\n");
        file("p/cgroup.subtree_control", "hugetlb\n");
        for list in ["cgroup.subtree_control", "p/cgroup.subtree_control"] {
            let path = format!("{}/{list}", here.mount);
            fs::set_permissions(&path, fs::Permissions::from_mode(0o444)).unwrap();
            let _ = chown(&path, Some(65534), None);
        }
        // Of this thread alone; root passes every mode.
        nix::unistd::setfsuid(nix::unistd::Uid::from_raw(65534));
        let step = controllers::step(here.place.v2().unwrap(), &[value(FIELD, "misc.max", "res_a 5")]);
        let error = Made::default().run(&step).unwrap_err().to_string();
        nix::unistd::setfsuid(nix::unistd::geteuid());
        assert!(error.contains(&format!("{}/p does not hand it on (it is not delegated", here.mount)), "{error}");
    }

    #[test]
    fn a_setting_is_written_line_by_line_and_names_no_path() {
        let lines = |resources: &str| -> Result<Vec<String>> {
            Ok(values(&serde_json::from_str(resources).unwrap())?.iter().map(ToString::to_string).collect())
        };
        let two = r#"{"unified": {"io.max": "8:0 rbps=1\n8:16 rbps=2\n", "memory.high": "5"}}"#;
        assert_eq!(lines(two).unwrap(), ["io.max = 8:0 rbps=1", "io.max = 8:16 rbps=2", "memory.high = 5"]);
        let back = r#"{"unified": {"cpuset.cpus": "", "cpuset.mems": " \n"}}"#;
        assert_eq!(lines(back).unwrap(), ["cpuset.cpus = ", "cpuset.mems = "]);
        assert_eq!(values(&serde_json::from_str(back).unwrap()).unwrap()[0].text, "\n");
        for name in ["../memory.max", "a/b.c", "", ".", "..", "cgroup.procs", "cgroup.freeze", "cgroup.kill"] {
            let resources = format!(r#"{{"unified": {{"{name}": "1"}}}}"#);
            assert!(lines(&resources).is_err(), "{name}");
        }
    }
}
