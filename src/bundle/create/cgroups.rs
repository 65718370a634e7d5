//! What bounds a container from outside: its cgroups and its class of service.

use oci_spec::runtime::{LinuxResources, Mount};

use super::Planner;
use super::stops::Stops;
use crate::bundle::plan::RuntimeStep;
use crate::bundle::{config, process};
use crate::init::namespaces::ids;
use crate::init::program::Draft;
use crate::sys::Caller;
use crate::{Error, Result, cgroup, resctrl};

impl Planner<'_> {
    /// Its place among the cgroups, if there are any, and the steps that make and limit it.
    pub(super) fn cgroups(
        &self,
        first: &mut Vec<RuntimeStep>,
        draft: &mut Draft,
        stops: &mut Stops,
    ) -> Result<Option<cgroup::Place>> {
        let resources = self.linux.resources().as_ref();
        let Some(layout) = self.around.cgroups.filter(|_| self.around.look) else {
            match resources.and_then(limit_asked_for).filter(|_| self.around.look) {
                None => return Ok(None),
                Some(limit) => return Err(self.without_cgroup(&limit)),
            }
        };
        let path = self.linux.cgroups_path().as_deref();
        let id = self.around.id;
        let mut place = match self.around.systemd {
            Some(manager) => cgroup::systemd::place(layout, path, id, manager.clone())?,
            None => cgroup::place(layout, path, id)?,
        };
        // Who it is for decides what the kernel takes, whoever makes it.
        place.of_user = self.around.caller != Caller::Root;
        let steps = cgroup::plan(&place, resources, self.cgroup_owner(&place));
        let steps = steps.map_err(|error| match self.around.withheld {
            Some(why) => {
                let message = format!("{error} ({why})");
                error.reworded(message)
            }
            None => error,
        })?;
        if place.unit.is_some() {
            // systemd takes a process that is there, so init is, and waits.
            let steps = cgroup::systemd::plan(&place, id, steps, self.spec.annotations().as_ref())?;
            stops.begin(draft, steps.into_iter().map(RuntimeStep::Cgroup).collect());
            return Ok(Some(place));
        }
        first.extend(steps.into_iter().map(RuntimeStep::Cgroup));
        process::enter_cgroups(&place, draft)?;
        Ok(Some(place))
    }

    /// To whom the container's cgroup is given: with a cgroup namespace of its own and a writable mount of it on cgroup2,
    /// to the process's user as the host numbers him (config-linux.md, "Cgroup ownership"). Root has it anyway.
    fn cgroup_owner(&self, place: &cgroup::Place) -> Option<u32> {
        let uid = self.spec.process().as_ref()?.user().uid();
        let is_cgroup = |mount: &&Mount| mount.typ().as_deref().is_some_and(|kind| kind.starts_with("cgroup"));
        let mount = self.spec.mounts().iter().flatten().find(is_cgroup)?;
        let read_only = mount.options().iter().flatten().any(|option| option == "ro");
        if !place.is_v2() || !self.namespaces.makes(libc::CLONE_NEWCGROUP) || read_only {
            return None;
        }
        let owner = match self.linux.uid_mappings().as_deref() {
            Some(mappings) if self.namespaces.has(libc::CLONE_NEWUSER) => ids::host_id(mappings, uid)?,
            _ => uid,
        };
        // A user has what he makes, and cannot give it away.
        Some(owner).filter(|owner| *owner != 0 && self.around.caller != Caller::User)
    }

    /// A limit that no cgroup holds is refused, not dropped.
    fn without_cgroup(&self, limit: &str) -> Error {
        let why = self.around.withheld.unwrap_or("cgroups are disabled");
        let way_out = match self.around.caller {
            Caller::Root => "",
            _ => ": drop it, or have a cgroup delegated (docs/rootless.md)",
        };
        Error::invalid(format!("linux.resources.{limit}: {why}, so nothing can be limited{way_out}"))
    }

    /// linux.intelRdt: made before init is, which enters it once it waits.
    pub(super) fn class_of_service(&mut self, first: &mut Vec<RuntimeStep>) -> Result<Option<resctrl::Group>> {
        let Some(rdt) = self.linux.intel_rdt() else { return Ok(None) };
        if !self.around.look {
            self.notes.push("linux.intelRdt".to_owned());
            return Ok(None);
        }
        let (steps, group) = resctrl::plan(rdt, self.around.id, self.around.mount_table)?;
        first.extend(steps.into_iter().map(|step| RuntimeStep::Resctrl(group.root.clone(), step)));
        Ok(Some(group))
    }
}

/// The first property that limits something. The device rules, which every engine writes, are what runc drops without
/// cgroups.
pub fn limit_asked_for(resources: &LinuxResources) -> Option<String> {
    let mut resources = resources.clone();
    resources.set_devices(None);
    let mut properties = serde_json::to_value(&resources).ok()?;
    config::drop_zeros(&mut properties);
    let serde_json::Value::Object(properties) = properties else { return None };
    properties.into_iter().find(|(_, value)| limits(value)).map(|(name, _)| name)
}

/// Whether a value asks for anything: -1 is the word for no limit, also as the largest number.
fn limits(value: &serde_json::Value) -> bool {
    use serde_json::Value;
    match value {
        Value::Null => false,
        Value::Bool(set) => *set,
        Value::Number(number) => number.as_i64() != Some(-1) && number.as_u64() != Some(u64::MAX),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => items.iter().any(limits),
        Value::Object(members) => members.values().any(limits),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_limits_nothing_needs_no_cgroup() {
        let asked = |json: &str| limit_asked_for(&serde_json::from_str(json).unwrap());
        for nothing in [
            "{}",
            r#"{"devices": [{"allow": false, "access": "rwm"}]}"#,
            r#"{"memory": {"limit": -1, "disableOOMKiller": false}, "cpu": {}, "unified": {}}"#,
            r#"{"pids": {"limit": -1}, "hugepageLimits": []}"#,
            // What the spec's writers leave out as 0, and the -1 of an unsigned number.
            r#"{"memory": {"limit": 0, "swap": 0, "swappiness": 18446744073709551615}, "blockIO": {"weight": 0}}"#,
            r#"{"cpu": {"shares": 0, "quota": 0, "period": 0}}"#,
        ] {
            assert_eq!(asked(nothing), None, "{nothing}");
        }
        assert_eq!(asked(r#"{"pids": {"limit": 5}}"#).as_deref(), Some("pids"));
        assert_eq!(asked(r#"{"cpu": {"cpus": "0"}}"#).as_deref(), Some("cpu"));
        assert_eq!(asked(r#"{"memory": {"swappiness": 0}}"#).as_deref(), Some("memory"));
        assert_eq!(asked(r#"{"pids": {"limit": 0}}"#).as_deref(), Some("pids"));
        assert_eq!(
            asked(r#"{"hugepageLimits": [{"pageSize": "2MB", "limit": 0}]}"#).as_deref(),
            Some("hugepageLimits")
        );
        assert_eq!(asked(r#"{"unified": {"memory.high": "5"}}"#).as_deref(), Some("unified"));
    }
}
