//! New limits for a container that runs. An update is taken back as a whole when the kernel refuses part of it, and what
//! there was before is on disk before the first write, so that the next command finishes what a killed one left.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::create::resctrl_intent;
use super::store::{Locked, State, UPDATE};
use super::{ContainerId, Globals, PATIENCE, Status, fault, status};
use crate::bundle::config;
use crate::cgroup::{self, Old};
use crate::undo::{self, Line};
use crate::{Context, Error, Kind, Result, resctrl};

/// What an update is to change.
#[derive(Debug, Default)]
pub struct Changes {
    /// JSON that looks like config.json's `linux.resources`; what is absent, null, or 0 where runc takes 0 for absent,
    /// stays as it is.
    pub resources: String,
    /// Where it was read from, for errors; none when it was made of flags.
    pub source: Option<PathBuf>,
    /// As linux.intelRdt.l3CacheSchema.
    pub l3_cache_schema: Option<String>,
    /// As linux.intelRdt.memBwSchema.
    pub mem_bw_schema: Option<String>,
}

/// The record of an update that is under way: the file `update` in the state directory.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    /// How many updates there were before it; once state.json says more, this one is done.
    updates: u64,
    /// Whether the update freezes the container.
    freezes: bool,
    /// What to put back.
    before: Vec<Old>,
}

/// Changes a container's limits, all or none of them.
///
/// # Errors
/// When the container does not run; names the property that cannot be changed, and says why.
pub fn update(globals: &Globals, id: &ContainerId, changes: &Changes) -> Result<()> {
    let (resources, document) = config::parse_resources(&changes.resources).map_err(|error| match &changes.source {
        Some(path) => error.context(format!("--resources {}", path.display())),
        None => error,
    })?;
    let (locked, mut state) = status::open_locked(globals, id)?;
    mend(&locked, &state)?;
    let now = status::of(&state);
    if now == Status::Stopped {
        return Err(Error::new("container not running").kind_of(Kind::WrongState));
    }
    let class = Class::plan(&state, changes)?;
    let Some(place) = &state.place else {
        return Err(Error::invalid(
            "the container has no cgroup (none was delegated to its user, or cgroups were disabled), so nothing can be limited",
        ));
    };
    let spec = config::parse(state.config.get())?;
    let old = spec.linux().as_ref().and_then(|linux| linux.resources().as_ref());
    let plan = cgroup::plan_update(place, old, &resources)?;
    if plan.is_empty() && class.is_none() {
        return Ok(());
    }
    let freezes = plan.at_rest && now != Status::Paused;
    let mut before = plan.before.clone();
    before.extend(class.iter().flat_map(|class| class.before.clone()));
    let record = Record { updates: state.updates, freezes, before };
    fault::point();
    locked.directory.write_file(UPDATE, &serde_json::to_vec(&record)?)?;
    let applied = apply(place, &plan, freezes).and_then(|()| {
        let Some(class) = &class else { return Ok(()) };
        fault::point();
        class.apply(&locked, place).inspect_err(|_| put_back(&record.before))
    });
    if applied.is_ok() {
        fault::point();
        state.updates += 1;
        let document = json!({"resources": document, "intelRdt": class.as_ref().map(Class::remembered)});
        state.config = remember(&state.config, document)?;
        if let Some(class) = class {
            state.rdt = Some(class.group);
        }
        locked.directory.save(&state)?;
    }
    fault::point();
    locked.directory.remove_file(UPDATE)?;
    applied
}

/// A change of the class of service.
struct Class {
    group: resctrl::Group,
    /// What makes the group where the container had none.
    steps: Vec<resctrl::Step>,
    lines: Vec<String>,
    before: Vec<Old>,
    schemas: [Option<String>; 2],
}

impl Class {
    /// None when no schema is given.
    fn plan(state: &State, changes: &Changes) -> Result<Option<Self>> {
        let (l3, mb) = (changes.l3_cache_schema.as_deref(), changes.mem_bw_schema.as_deref());
        if l3.is_none() && mb.is_none() {
            return Ok(None);
        }
        let table = crate::sys::read_kernel_file("/proc/self/mountinfo").context(|| "read /proc/self/mountinfo")?;
        let root = resctrl::mount_point(&table);
        let has = |resource: &str| root.is_some_and(|root| Path::new(&format!("{root}/info/{resource}")).exists());
        let why = "resctrl is not mounted, or this processor has no such feature";
        if l3.is_some() && !has("L3") {
            return Err(Error::invalid(format!("Intel RDT/CAT: l3 cache schema is not enabled: {why}")));
        }
        if mb.is_some() && !has("MB") {
            return Err(Error::invalid(format!("Intel RDT/MBA: memory bandwidth schema is not enabled: {why}")));
        }
        let lines = resctrl::lines(l3, mb, &[])?;
        let schemas = [l3, mb].map(|schema| schema.map(str::to_owned));
        if let Some(group) = state.rdt.clone() {
            let text = format!("{}\n", group.schemata()?.join("\n"));
            let before = vec![Old::of_file(format!("{}/schemata", group.dir), text)];
            return Ok(Some(Self { group, steps: Vec::new(), lines, before, schemas }));
        }
        let (steps, group) = resctrl::plan(&no_rdt()?, &state.id, &table)?;
        Ok(Some(Self { group, steps, lines, before: Vec::new(), schemas }))
    }

    /// Makes the group where there is none, which `delete` then removes; changes it, and moves everything in.
    fn apply(&self, locked: &Locked, place: &cgroup::Place) -> Result<()> {
        if self.steps.is_empty() {
            return self.group.set(&self.lines);
        }
        let mut record = undo::reopen(&locked.directory)?;
        undo::append(&mut record, &self.steps.iter().filter_map(resctrl_intent).collect::<Vec<_>>())?;
        let mut made = Vec::new();
        let mut enter = || -> Result<()> {
            for step in &self.steps {
                made.extend(step.run(&self.group.root)?);
            }
            let made = made.iter().map(|m| Line::Made { path: m.path.clone().into(), inode: m.inode });
            undo::append(&mut record, &made.collect::<Vec<_>>())?;
            self.group.set(&self.lines)?;
            // What is forked between the two rounds by what was not in yet is caught by the second.
            (0..2).try_for_each(|_| self.group.enter_all(&place.pids()?))
        };
        let entered = enter();
        if entered.is_err() {
            for made in &made {
                let _ = resctrl::remove(Path::new(&made.path), Some(made.inode), true);
            }
        }
        entered
    }

    fn remembered(&self) -> Value {
        let [l3, mb] = &self.schemas;
        json!({"l3CacheSchema": l3, "memBwSchema": mb})
    }
}

/// `linux.intelRdt` that says nothing: a class of the container's own.
fn no_rdt() -> Result<oci_spec::runtime::LinuxIntelRdt> {
    Ok(serde_json::from_str("{}")?)
}

fn put_back(before: &[Old]) {
    if let Err(left) = cgroup::put_back(before) {
        log::warn!("the limits could not all be put back: {left}; set them by `update`");
    }
}

fn apply(place: &cgroup::Place, plan: &cgroup::Update, freezes: bool) -> Result<()> {
    if !freezes {
        return plan.apply(fault::point);
    }
    fault::point();
    place.freeze(PATIENCE)?;
    let applied = plan.apply(fault::point);
    fault::point();
    place.thaw()?;
    applied
}

/// Finishes an update whose command was killed: what it had written is put back as far as the kernel allows, unless it was
/// done, and a container that it had frozen goes on. Whether that was so.
pub fn mend(locked: &Locked, state: &State) -> Result<bool> {
    let Some(text) = locked.directory.read_file(UPDATE)? else { return Ok(false) };
    let record: Record = serde_json::from_str(&text).context(|| {
        format!("{}/update, the record of an update that was cut short", locked.directory.path.display())
    })?;
    if state.updates == record.updates {
        log::warn!("an update was cut short: its limits are put back");
        // What the container uses by now may forbid an old limit; that must not keep a frozen one from going on.
        put_back(&record.before);
    }
    let mut thawed = false;
    if let Some(place) = state.place.as_ref().filter(|place| record.freezes && place.is_frozen()) {
        place.thaw()?;
        thawed = true;
    }
    locked.directory.remove_file(UPDATE)?;
    Ok(thawed)
}

/// config.json with the changes of `linux` in it, for what comes later.
fn remember(config: &RawValue, mut changes: Value) -> Result<Box<RawValue>> {
    drop_unchanged(&mut changes["resources"]);
    let mut document: Value = serde_json::from_str(config.get())?;
    if !document["linux"].is_object() {
        document["linux"] = Value::Object(Map::new());
    }
    merge(&mut document["linux"], changes);
    Ok(serde_json::value::to_raw_value(&document)?)
}

/// Takes out what means "as it is": null, and zero or nothing where the kernel has no such limit.
fn drop_unchanged(changes: &mut Value) {
    config::drop_zeros(changes);
    if let Value::Object(families) = changes {
        families.retain(|_, value| !value.is_null() && value.as_array().is_none_or(|list| !list.is_empty()));
    }
}

/// Writes changes over a document. Lists of limits, each for a device or such, are merged by what they are for; any other
/// list, such as the device rules, whose order matters, is replaced.
fn merge(old: &mut Value, changes: Value) {
    match (old, changes) {
        (_, Value::Null) => {}
        (Value::Object(old), Value::Object(changes)) => {
            for (name, change) in changes {
                match old.get_mut(&name) {
                    Some(member) => merge(member, change),
                    None if change.is_null() => {}
                    None => drop(old.insert(name, change)),
                }
            }
        }
        (Value::Array(old), Value::Array(changes)) if changes.iter().all(|change| subject(change).is_some()) => {
            for change in changes {
                match old.iter_mut().find(|known| subject(known) == subject(&change)) {
                    Some(known) => merge(known, change),
                    None => old.push(change),
                }
            }
        }
        (old, changes) => *old = changes,
    }
}

/// What one limit of a list is for: a block device, a size of pages, an interface. A device rule is no limit.
fn subject(limit: &Value) -> Option<Vec<&Value>> {
    if limit.get("allow").is_some() {
        return None;
    }
    let keys: [&[&str]; 3] = [&["major", "minor"], &["pageSize"], &["name"]];
    keys.iter().find_map(|names| names.iter().map(|name| limit.get(name)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changes_is_remembered_and_all_else_is_as_it_was() {
        let config = json!({"ociVersion": "1.2.0", "linux": {"resources": {
            "memory": {"limit": 5, "swap": 9},
            "devices": [{"allow": false, "access": "rwm"}],
            "blockIO": {"throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 1}, {"major": 8, "minor": 16, "rate": 2}]},
        }}});
        let config = serde_json::value::to_raw_value(&config).unwrap();
        let changes = json!({
            "memory": {"limit": 7, "swap": 0, "reservation": null},
            "cpu": {"shares": 0, "cpus": "", "burst": 0},
            "pids": {"limit": 4},
            "devices": [],
            "blockIO": {"throttleReadBpsDevice": [{"major": 8, "minor": 16, "rate": 3}, {"major": 8, "minor": 32, "rate": 4}]},
        });
        let new: Value =
            serde_json::from_str(remember(&config, json!({"resources": changes, "intelRdt": null})).unwrap().get())
                .unwrap();
        let resources = &new["linux"]["resources"];
        assert_eq!(resources["memory"], json!({"limit": 7, "swap": 9}));
        assert_eq!(resources["cpu"], json!({"burst": 0}));
        assert_eq!(resources["pids"], json!({"limit": 4}));
        assert_eq!(resources["devices"], json!([{"allow": false, "access": "rwm"}]));
        let rates: Vec<_> =
            resources["blockIO"]["throttleReadBpsDevice"].as_array().unwrap().iter().map(|r| &r["rate"]).collect();
        assert_eq!(rates, [1, 3, 4]);
        assert_eq!(new["ociVersion"], "1.2.0");
    }

    #[test]
    fn resources_are_remembered_where_there_were_none() {
        let config = RawValue::from_string(r#"{"ociVersion":"1.0.0"}"#.into()).unwrap();
        let new = remember(&config, json!({"resources": {"pids": {"limit": 4}}})).unwrap();
        assert_eq!(new.get(), r#"{"linux":{"resources":{"pids":{"limit":4}}},"ociVersion":"1.0.0"}"#);
    }

    #[test]
    fn device_rules_are_replaced_and_not_merged() {
        let mut old = json!([{"allow": true, "type": "c", "major": 1, "minor": 3}]);
        let new = json!([{"allow": true, "type": "c", "major": 7, "minor": 3}]);
        merge(&mut old, new.clone());
        assert_eq!(old, new);
    }
}
