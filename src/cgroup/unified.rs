//! Settings of cgroup2 on a hybrid host, whose cgroup2 hierarchy has the controllers that no v1 hierarchy took: often
//! hugetlb, misc or rdma. Which those are is read only when a setting is asked for.

use std::collections::HashMap;

use oci_spec::runtime::LinuxHugepageLimit;

use super::file::read;
use super::place::Place;
use super::step::{Cgroup, IfAbsent, Step, Value};
use crate::{Context, Error, Result};

/// `linux.resources.unified`: files of cgroup2 and what to write to them.
///
/// # Errors
/// Names the setting: no cgroup2 hierarchy, one without its controller, or what is no file's name.
pub(super) fn settings(place: &Place, settings: &HashMap<String, String>) -> Result<Vec<Step>> {
    const FIELD: &str = "linux.resources.unified";
    let Some(cgroup) = place.v2() else {
        return Err(Error::invalid(format!(
            "{FIELD}: cannot use unified on cgroup v1, which this host has; use the memory, cpu and other properties"
        )));
    };
    let offered = controllers(cgroup)?;
    let mut names: Vec<_> = settings.iter().collect();
    names.sort();
    let (mut needed, mut writes) = (Vec::new(), Vec::new());
    for (file, text) in names {
        let refuse = |why: &str| Err(Error::invalid(format!("{FIELD}: {file:?}: {why}")));
        if file.contains('/') || file.is_empty() {
            return refuse("unified resource must be a file name (no slashes)");
        }
        let Some((controller, _)) = file.split_once('.') else {
            return refuse("it names no controller, as memory.high does");
        };
        check_file(file)?;
        // Files of cgroup2 itself need no controller.
        if controller != "cgroup" {
            if !offered.iter().any(|name| name == controller) {
                return refuse(&format!(
                    "controller {controller} is not available in the cgroup2 hierarchy at {}, which has {}; where cgroup v1 has it, use the {controller} properties",
                    cgroup.mount,
                    if offered.is_empty() { "none".to_owned() } else { offered.join(", ") }
                ));
            }
            needed.push(controller.to_owned());
        }
        let value = Value { property: FIELD, file: file.clone(), text: text.clone(), if_absent: IfAbsent::Fail };
        writes.push(Step::Write { cgroup: cgroup.clone(), value });
    }
    Ok(enable(cgroup, needed).into_iter().chain(writes).collect())
}

/// Refuses the files of cgroup2 that limit nothing: they move processes, which may be the host's, into the container's
/// cgroup, end or stop those in it, or make a cgroup of threads. What is started in a frozen one never gets further.
pub(super) fn check_file(file: &str) -> Result<()> {
    let way_out = match file {
        "cgroup.procs" | "cgroup.threads" => "run processes in the container by `exec`",
        "cgroup.freeze" => "stop the container's processes by `pause`",
        "cgroup.kill" => "end the container's processes by `kill`",
        "cgroup.type" => "a container's cgroup holds whole processes",
        _ => return Ok(()),
    };
    Err(Error::invalid(format!(
        "linux.resources.unified: {file:?}: is no limit, it acts on processes; remove it ({way_out})"
    )))
}

/// A limit of huge pages where cgroup2 has the controller: what is used, and what is reserved, which this interface
/// counts since Linux 5.7. None where it has not.
pub(super) fn hugepages(place: &Place, limit: &LinuxHugepageLimit) -> Result<Option<Vec<Step>>> {
    let Some(cgroup) = place.v2() else { return Ok(None) };
    if !controllers(cgroup)?.iter().any(|name| name == "hugetlb") {
        return Ok(None);
    }
    let write = |middle: &str, if_absent| {
        let file = format!("hugetlb.{}{middle}.max", limit.page_size());
        let property = "linux.resources.hugepageLimits";
        let value = Value { property, file, text: limit.limit().to_string(), if_absent };
        Step::Write { cgroup: cgroup.clone(), value }
    };
    let writes = [write("", IfAbsent::Fail), write(".rsvd", IfAbsent::Skip)];
    Ok(Some(enable(cgroup, vec!["hugetlb".to_owned()]).into_iter().chain(writes).collect()))
}

fn controllers(cgroup: &Cgroup) -> Result<Vec<String>> {
    let path = format!("{}/cgroup.controllers", cgroup.mount);
    let text = read(&path).context(|| format!("read {path}"))?;
    Ok(text.split_whitespace().map(str::to_owned).collect())
}

fn enable(cgroup: &Cgroup, mut controllers: Vec<String>) -> Option<Step> {
    controllers.dedup();
    (!controllers.is_empty()).then(|| Step::Enable { cgroup: cgroup.clone(), controllers })
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
            fs::write(mount.join("cgroup.controllers"), "hugetlb misc\n").unwrap();
            for dir in ["", "p/"] {
                fs::write(mount.join(format!("{dir}cgroup.subtree_control")), "").unwrap();
            }
            let mount = mount.to_str().unwrap().to_owned();
            let cgroup =
                Cgroup { hierarchy: "unified".into(), mount: mount.clone(), path: "/p/c".into(), version: Version::V2 };
            // Hybrid: v1 has the others.
            let memory = Cgroup { hierarchy: "memory".into(), version: Version::V1, ..cgroup.clone() };
            Self { mount, place: Place { cgroups: vec![memory, cgroup] } }
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
                "enable hugetlb, misc for unified:/p/c",
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
                "enable hugetlb for unified:/p/c",
                "write hugetlb.2MB.max = 4194304 in unified:/p/c",
                "write hugetlb.2MB.rsvd.max = 4194304 in unified:/p/c",
            ]
        );
    }

    #[test]
    fn a_controller_is_enabled_from_the_root_down_to_the_parent_and_only_where_it_is_not() {
        let here = StandIn::new("enable");
        fs::write(format!("{}/p/cgroup.subtree_control", here.mount), "misc\n").unwrap();
        let step = enable(&here.place.cgroups[0], vec!["hugetlb".into(), "misc".into()]).unwrap();
        Made::default().run(&step).unwrap();
        assert_eq!(here.read("cgroup.subtree_control"), "+hugetlb +misc");
        assert_eq!(here.read("p/cgroup.subtree_control"), "+hugetlb");
        assert!(!fs::exists(format!("{}/p/c/cgroup.subtree_control", here.mount)).unwrap(), "the leaf has processes");
    }
}
