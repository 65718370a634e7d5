//! What bounds a container from outside: its cgroups and its class of service.

use oci_spec::runtime::{LinuxResources, Mount};

use super::Planner;
use crate::bundle::plan::RuntimeStep;
use crate::bundle::process;
use crate::init::namespaces::ids;
use crate::init::program::Draft;
use crate::{Error, Result, cgroup, resctrl};

impl Planner<'_> {
    /// Its place among the cgroups, if there are any, and the steps that make and limit it.
    pub(super) fn cgroups(&self, first: &mut Vec<RuntimeStep>, draft: &mut Draft) -> Result<Option<cgroup::Place>> {
        let resources = self.linux.resources().as_ref();
        let Some(layout) = self.around.cgroups.filter(|_| self.around.look) else {
            // The device rules alone, which every engine writes, are what runc drops without cgroups.
            let limits = resources.map(|resources| {
                let mut limits = resources.clone();
                limits.set_devices(None);
                limits
            });
            if self.around.look && limits.is_some_and(|limits| limits != LinuxResources::default()) {
                return Err(Error::invalid("linux.resources: cgroups are disabled, so nothing can be limited"));
            }
            return Ok(None);
        };
        let path = self.linux.cgroups_path().as_deref();
        let place = cgroup::place(layout, path, self.around.id)?;
        let steps = cgroup::plan(&place, resources, self.cgroup_owner(&place))?;
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
        Some(owner).filter(|owner| *owner != 0)
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
