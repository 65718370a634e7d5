//! What a container's scope is made and unmade by: its place, the steps of its making, a change, its end.

use std::collections::HashMap;
use std::fmt;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::super::hierarchy::{Layout, Mode};
use super::super::place::{Place, pids_below};
use super::super::step::{Cgroup, Step, Version};
use super::super::{kill, remove};
use super::annotations;
use super::names::{Manager, Unit};
use super::properties::{self, Property};
use crate::dbus::Value;
use crate::{Context, Error, Result};

/// A scope that is going to be started.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Start {
    /// The unit.
    pub unit: Unit,
    /// The cgroup that systemd makes for it, in the hierarchy by which it knows the unit's processes.
    pub cgroup: Cgroup,
    /// What the unit is told, but for the process.
    pub properties: Vec<Property>,
}

impl fmt::Display for Start {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "start unit {} in {} with init", self.unit.name, self.unit.slice)?;
        self.properties.iter().try_for_each(|property| write!(f, ", {property}"))
    }
}

/// The place of the unit that a linux.cgroupsPath names: the same path in each hierarchy, as systemd and runc have it.
///
/// # Errors
/// As [`Unit::new`]; when a user's manager does not say where it is itself, or has no cgroups of its own, as on v1.
pub fn place(layout: &Layout, path: Option<&Path>, id: &str, manager: Manager) -> Result<Place> {
    let text = path.map(|path| {
        path.to_str().ok_or_else(|| Error::invalid(format!("linux.cgroupsPath: {} is not UTF-8", path.display())))
    });
    let unit = Unit::new(text.transpose()?, id, manager)?;
    let base = match &unit.manager {
        Manager::System => String::new(),
        Manager::User { .. } if layout.mode() != Mode::V2 => {
            return Err(Error::invalid(
                "--systemd-cgroup: a user's systemd manages no cgroup v1: boot with systemd.unified_cgroup_hierarchy=1, run as root, or use --cgroup-manager disabled",
            ));
        }
        manager => manager.property("ControlGroup")?.trim_end_matches('/').to_owned(),
    };
    let path = format!("{base}{}", unit.cgroup()?);
    let cgroup = |hierarchy: &super::super::hierarchy::Hierarchy| Cgroup {
        hierarchy: hierarchy.name.clone(),
        mount: hierarchy.mount_point.clone(),
        path: path.clone(),
        version: hierarchy.version,
    };
    Ok(Place { cgroups: layout.hierarchies.iter().map(cgroup).collect(), of_user: false, unit: Some(unit) })
}

/// The steps that start the scope and limit it, which are taken while init waits: `files` are those that would make and
/// limit the place without systemd.
///
/// # Errors
/// As [`annotations::properties`] and [`properties::properties`].
pub fn plan(
    place: &Place,
    id: &str,
    files: Vec<Step>,
    annotations: Option<&HashMap<String, String>>,
) -> Result<Vec<Step>> {
    let Some(unit) = &place.unit else { return Ok(files) };
    // systemd makes the directories.
    let files: Vec<Step> = files.into_iter().filter(|step| !matches!(step, Step::Make { .. })).collect();
    let limits = properties::properties(&files, &mut || unit.manager.version())?;
    let start = Start {
        unit: unit.clone(),
        cgroup: home(place)?.clone(),
        properties: all_properties(unit, id, place.is_v2(), limits, annotations::properties(annotations)?),
    };
    let mut steps = vec![Step::Start(Box::new(start))];
    let v1: Vec<Cgroup> = place.cgroups.iter().filter(|cgroup| cgroup.version == Version::V1).cloned().collect();
    steps.extend(place.cgroups.iter().filter(|_| !v1.is_empty()).map(|cgroup| Step::Join { cgroup: cgroup.clone() }));
    steps.extend(files);
    // Last, since a v1 cpuset takes no process before it has processors and memory.
    if !v1.is_empty() {
        steps.push(Step::Enter { cgroups: place.cgroups.clone() });
    }
    Ok(steps)
}

/// The cgroup by which systemd knows the unit's processes.
fn home(place: &Place) -> Result<&Cgroup> {
    let named = || place.cgroups.iter().find(|cgroup| cgroup.hierarchy == "name=systemd");
    let v2 = place.v2();
    let home = if place.is_v2() { v2 } else { named().or(v2) };
    home.ok_or_else(|| {
        Error::invalid("--systemd-cgroup: neither cgroup2 nor the hierarchy name=systemd is mounted, so systemd manages no cgroup here: use --cgroup-manager cgroupfs")
    })
}

fn all_properties(unit: &Unit, id: &str, is_v2: bool, limits: Vec<Property>, asked: Vec<Property>) -> Vec<Property> {
    let on = || Value::Bool(true);
    let io = if is_v2 { "IOAccounting" } else { "BlockIOAccounting" };
    let own = [
        ("Description", Value::Text(format!("nfrun container {id}"))),
        ("Slice", Value::Text(unit.slice.clone())),
        // The container may have cgroups of its own below, which systemd then leaves alone.
        ("Delegate", on()),
        // It is no part of the machine's boot or shutdown, which has containers stopped by whoever runs them.
        ("DefaultDependencies", Value::Bool(false)),
        // One whose process died as it started would keep the name otherwise.
        ("CollectMode", Value::Text("inactive-or-failed".into())),
        ("MemoryAccounting", on()),
        ("CPUAccounting", on()),
        (io, on()),
        ("TasksAccounting", on()),
    ];
    let is_asked = |name: &str| asked.iter().any(|property| property.name == name);
    let own = own.into_iter().filter(|(name, _)| !is_asked(name)).map(|(name, value)| Property::new(name, value));
    own.chain(limits).chain(asked.iter().cloned()).collect()
}

/// Ends a scope that a container has, or may have, as the cgroup at `path`, of this inode where it is known. What is in it
/// is ended too. One that another has made stays: it is told by the inode, and before that is known by what is in it, since
/// nothing of the container was started then. Without the cgroup systemd has given up the unit, or another has one of the
/// name in another slice: what failed is forgotten, which changes nothing about what runs.
///
/// # Errors
/// When what is in it does not end; when systemd does not stop it and the cgroup stays.
pub fn stop(unit: &Unit, path: &Path, inode: Option<u64>, timeout: Duration) -> Result<()> {
    let Some(found) = inode_of(path) else {
        if let Err(error) = unit.forget() {
            log::warn!("{error}");
        }
        return Ok(());
    };
    let is_ours = match inode {
        Some(inode) => inode == found,
        None => pids_below(path)?.is_empty(),
    };
    if !is_ours {
        return Ok(());
    }
    kill::kill_all_below(&path.to_string_lossy(), timeout)?;
    if let Err(error) = unit.stop() {
        // systemd gives up a scope whose cgroup is empty, whenever it sees that.
        log::warn!("{error}; its cgroup is removed without systemd");
    }
    // What the container has made below, systemd may have left; and without it all of it.
    remove::remove_leaf(path, found, true, timeout).map(drop)
}

/// Where a directory lies below its unit's cgroup, as systemd has such a path: empty for that cgroup itself.
///
/// # Errors
/// When the kernel does not say what it is.
pub fn below(unit: &Unit, dir: &OwnedFd) -> Result<String> {
    let link = format!("/proc/self/fd/{}", dir.as_raw_fd());
    let path = std::fs::read_link(&link).context(|| format!("read {link}"))?;
    let path = path.to_string_lossy();
    let inside = path.split_once(&format!("/{}", unit.directory())).map(|(_, below)| below);
    Ok(inside.unwrap_or_default().to_owned())
}

fn inode_of(path: &Path) -> Option<u64> {
    nix::sys::stat::lstat(path).ok().map(|stat| stat.st_ino)
}

/// Properties of a unit that an update changes, or puts back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    unit: Unit,
    properties: Vec<Property>,
}

impl Change {
    /// The change that `new` steps are, and the one back to `old`; None where systemd has no property for any of them.
    ///
    /// # Errors
    /// As [`properties::properties`].
    pub(in super::super) fn plan(place: &Place, old: &[Step], new: &[Step]) -> Result<Option<(Self, Self)>> {
        let Some(unit) = &place.unit else { return Ok(None) };
        let mut version = || unit.manager.version();
        let before = properties::properties(old, &mut version)?;
        let mut set = properties::properties(new, &mut version)?;
        if set.iter().any(|property| BANDWIDTH.contains(&property.name.as_str())) {
            set.retain(|property| !BANDWIDTH.contains(&property.name.as_str()));
            set.extend(bandwidth(old, new)?);
        }
        let unset = |property: &Property| properties::unset(property);
        let mut back: Vec<Property> = Vec::new();
        for property in set.iter().filter(|property| !properties::is_added(property)) {
            let was = before.iter().filter(|known| known.name == property.name).cloned();
            let was: Vec<_> = was.collect();
            match was.is_empty() {
                // A list is cleared before the old one is given again.
                _ if matches!(property.value, Value::Rates(_)) => back.extend([vec![unset(property)], was].concat()),
                true => back.push(unset(property)),
                false => back.extend(was),
            }
        }
        let of = |properties| Self { unit: unit.clone(), properties };
        Ok((!set.is_empty()).then(|| (of(set), of(back))))
    }

    /// Makes it.
    ///
    /// # Errors
    /// Names the unit, and what systemd says.
    pub(in super::super) fn apply(&self) -> Result<()> {
        self.unit.set(&self.properties)
    }
}

const BANDWIDTH: [&str; 2] = ["CPUQuotaPeriodUSec", "CPUQuotaPerSecUSec"];

/// systemd has a quota for a second, so that of a change of the quota or of its period alone it has to know both.
fn bandwidth(old: &[Step], new: &[Step]) -> Result<Vec<Property>> {
    // No version has other words for it.
    let mut all = properties::properties(&[old, new].concat(), &mut || Ok(u32::MAX))?;
    all.retain(|property| BANDWIDTH.contains(&property.name.as_str()));
    Ok(all)
}

/// Puts a process into the cgroups in which it is not yet: those that systemd does not manage.
///
/// # Errors
/// Names the file that the kernel refused.
pub(in super::super) fn enter(cgroups: &[Cgroup], pid: i32) -> Result<()> {
    let own = own_cgroups(pid)?;
    for cgroup in cgroups.iter().filter(|cgroup| !is_in(&own, cgroup)) {
        super::super::file::write(&format!("{}/cgroup.procs", cgroup.dir()), &pid.to_string())?;
    }
    Ok(())
}

/// Starts the scope, and checks that the process is where it was to be.
///
/// # Errors
/// As [`Unit::start`]; when systemd has put it elsewhere.
pub(in super::super) fn start(start: &Start, pid: i32) -> Result<()> {
    start.unit.start(&start.properties, pid)?;
    let own = own_cgroups(pid)?;
    if is_in(&own, &start.cgroup) {
        return Ok(());
    }
    let shown = own.replace('\n', ", ");
    Err(Error::new(format!(
        "unit {}: its cgroup should be {}, and its process is in {shown}: is this systemd another machine's, or in a container?",
        start.unit.name, start.cgroup
    )))
}

fn own_cgroups(pid: i32) -> Result<String> {
    let path = format!("/proc/{pid}/cgroup");
    super::super::file::read_list(&path).context(|| format!("read {path}"))
}

/// Whether a line of /proc/PID/cgroup says so.
fn is_in(own: &str, cgroup: &Cgroup) -> bool {
    let name = if cgroup.version == Version::V2 { "" } else { cgroup.hierarchy.as_str() };
    own.lines().any(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        fields.next() == Some(name) && fields.next().is_some_and(|path| path.ends_with(cgroup.path.as_str()))
    })
}

#[cfg(test)]
mod tests {
    use oci_spec::runtime::LinuxResources;

    use super::*;

    const V2: (&str, &str) = ("1 1 0:2 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n", "0::/\n");

    fn planned(host: (&str, &str), path: Option<&str>, resources: &str) -> Vec<String> {
        let layout = Layout::parse(host.0, host.1).unwrap();
        let place = place(&layout, path.map(Path::new), "c1", Manager::System).unwrap();
        let resources: LinuxResources = serde_json::from_str(resources).unwrap();
        let files = super::super::super::plan::plan(&place, Some(&resources), None).unwrap();
        plan(&place, "c1", files, None).unwrap().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn on_cgroup2_the_scope_is_started_and_its_files_written() {
        let steps = planned(V2, Some("machine.slice:x:1"), r#"{"memory": {"limit": 1048576}, "pids": {"limit": 3}}"#);
        assert!(
            steps[0].starts_with("start unit x-1.scope in machine.slice with init, Description nfrun container c1")
        );
        assert!(steps[0].contains("MemoryMax 1048576, TasksMax 3"), "{}", steps[0]);
        assert!(steps[0].contains("DevicePolicy strict"), "{}", steps[0]);
        let cgroup = "unified:/machine.slice/x-1.scope";
        assert_eq!(steps[1], format!("enable controllers for {cgroup}, memory, pids at least"));
        assert!(steps[2].starts_with(&format!("restrict devices in {cgroup} by a program")));
        assert_eq!(
            steps[3..],
            [format!("write memory.max = 1048576 in {cgroup}"), format!("write pids.max = 3 in {cgroup}")]
        );
    }

    #[test]
    fn on_v1_init_joins_what_systemd_does_not_manage() {
        let (mut mounts, mut own) = (String::new(), String::new());
        for (i, name) in ["name=systemd", "devices", "cpuset", "freezer"].iter().enumerate() {
            let dir = name.trim_start_matches("name=");
            mounts += &format!("{} 31 0:{i} / /sys/fs/cgroup/{dir} rw - cgroup cgroup rw,{name}\n", i + 40);
            own += &format!("{i}:{name}:/\n");
        }
        let steps = planned((&mounts, &own), None, r#"{"cpu": {"cpus": "0"}}"#);
        let path = "/system.slice/nfrun-c1.scope";
        assert!(steps[0].starts_with("start unit nfrun-c1.scope in system.slice"), "{steps:?}");
        assert_eq!(steps[1], format!("join cgroup name=systemd:{path}"));
        assert_eq!(steps[4], format!("join cgroup freezer:{path}"));
        assert_eq!(steps[5], format!("fill cpuset.mems of cpuset:{path} from its parents"));
        assert!(steps[6].starts_with("restrict devices"), "{}", steps[6]);
        assert_eq!(steps[7], format!("write cpuset.cpus = 0 in cpuset:{path}"));
        assert!(steps[8].starts_with(&format!("put init into name=systemd:{path}, devices:{path}")), "{}", steps[8]);
    }

    #[test]
    fn a_users_manager_has_no_v1() {
        let layout = Layout::parse("1 1 0:2 / /c/memory rw - cgroup cgroup rw,memory\n", "1:memory:/\n").unwrap();
        let error = place(&layout, None, "c", Manager::User { bus: "unix:path=/x".into() }).unwrap_err().to_string();
        assert!(error.contains("a user's systemd manages no cgroup v1"), "{error}");
    }

    #[test]
    fn a_new_period_alone_leaves_the_quota_in_it_as_it_was() {
        let layout = Layout::parse("1 1 0:2 / /c/cpu rw - cgroup cgroup rw,cpu\n", "1:cpu:/\n").unwrap();
        let place = place(&layout, None, "c", Manager::System).unwrap();
        let steps =
            |text: &str| super::super::super::limits::limits(&place, &serde_json::from_str(text).unwrap()).unwrap();
        let (old, new) =
            (steps(r#"{"cpu": {"quota": 50000, "period": 100000}}"#), steps(r#"{"cpu": {"period": 200000}}"#));
        let (change, back) = Change::plan(&place, &old, &new).unwrap().unwrap();
        let shown = |change: &Change| change.properties.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(shown(&change), ["CPUQuotaPeriodUSec 200000", "CPUQuotaPerSecUSec 250000"]);
        assert_eq!(shown(&back), ["CPUQuotaPeriodUSec 100000", "CPUQuotaPerSecUSec 500000"]);
    }

    #[test]
    fn an_update_goes_back_to_what_was_or_to_no_limit() {
        let layout = Layout::parse(V2.0, V2.1).unwrap();
        let place = place(&layout, None, "c", Manager::System).unwrap();
        let steps = |text: &str| {
            let resources = serde_json::from_str(text).unwrap();
            super::super::super::limits::limits(&place, &resources).unwrap()
        };
        let device = |rate: u32| {
            format!(r#""blockIO": {{"throttleReadBpsDevice": [{{"major": 4000, "minor": 0, "rate": {rate}}}]}}"#)
        };
        let old = steps(&format!(
            r#"{{"memory": {{"limit": 5}}, "cpu": {{"quota": 10000, "period": 20000}}, {}}}"#,
            device(1)
        ));
        let new = steps(&format!(
            r#"{{"memory": {{"limit": 7}}, "pids": {{"limit": 3}}, "cpu": {{"quota": 5000}}, {}}}"#,
            device(2)
        ));
        let (change, back) = Change::plan(&place, &old, &new).unwrap().unwrap();
        let shown = |change: &Change| change.properties.iter().map(ToString::to_string).collect::<Vec<_>>();
        let node = "/dev/block/4000:0";
        assert_eq!(
            shown(&change),
            [
                "MemoryMax 7",
                "TasksMax 3",
                &format!("IOReadBandwidthMax [{node} 2]"),
                "CPUQuotaPeriodUSec 20000",
                "CPUQuotaPerSecUSec 250000"
            ]
        );
        assert_eq!(
            shown(&back),
            [
                "MemoryMax 5",
                "TasksMax infinity",
                "IOReadBandwidthMax []",
                &format!("IOReadBandwidthMax [{node} 1]"),
                "CPUQuotaPeriodUSec 20000",
                "CPUQuotaPerSecUSec 500000"
            ]
        );
        let text = serde_json::to_string(&back).unwrap();
        assert_eq!(serde_json::from_str::<Change>(&text).unwrap(), back);
    }
}
