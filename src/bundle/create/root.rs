//! From the host's tree to the container's own.

use std::collections::HashMap;
use std::ffi::CString;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use oci_spec::runtime::Process;

use super::Planner;
use super::stops::Stops;
use crate::bundle::plan::RuntimeStep;
use crate::init::hooks::plan::{List, Pid};
use crate::init::lsm::plan::mount_label;
use crate::init::namespaces::plan as namespaces;
use crate::init::program::Draft;
use crate::init::{control, devices, mounts, paths, rootfs, sysctls, terminal};
use crate::network::Origin;
use crate::sys::Caller;
use crate::{Error, Result, cgroup};

impl Planner<'_> {
    /// From the host's tree to the container's own, and all that is done there as root.
    pub(super) fn root(
        &self,
        process: &Process,
        place: Option<&cgroup::Place>,
        (links, environment): (Vec<Origin>, &[CString]),
        draft: &mut Draft,
        stops: &mut Stops,
    ) -> Result<()> {
        let linux = &self.linux;
        let masked = linux.masked_paths().as_deref().unwrap_or_default();
        let read_only = linux.readonly_paths().as_deref().unwrap_or_default();
        let hostname = self.spec.hostname().as_deref();
        let domainname = self.spec.domainname().as_deref();
        namespaces::name_host(&self.namespaces, hostname, domainname, draft)?;
        self.refuse_sysctls_of_the_host()?;
        if !self.namespaces.has(libc::CLONE_NEWNS) {
            self.before_the_root(links, environment, draft, stops)?;
            return self.chroot(process, draft);
        }
        let root = self.spec.root().as_ref();
        let parent = self.parent_mount();
        let root = rootfs::plan::Root {
            path: &self.rootfs,
            read_only: root.is_some_and(|root| root.readonly().unwrap_or(false)),
            propagation: linux.rootfs_propagation().as_deref(),
            parent: parent.as_deref(),
            no_pivot: self.around.no_pivot,
        };
        root.attach(draft)?;
        let mounts = self.spec.mounts().as_deref().unwrap_or_default();
        let cgroups: Vec<_> = place.iter().flat_map(|place| &place.cgroups).filter_map(shown).collect();
        let unified =
            place.filter(|place| place.is_v2()).and_then(cgroup::Place::v2).map(|cgroup| cgroup.mount.as_str());
        let maps = linux.uid_mappings().as_deref().zip(linux.gid_mappings().as_deref());
        let scene = mounts::plan::Scene {
            bundle: self.around.bundle,
            rootfs: &self.rootfs,
            look: self.around.look,
            memory: self.memory_limit(),
            mount_table: self.around.mount_table,
            label: mount_label(linux.mount_label().as_deref(), self.around.look)?,
            user_namespace: self.namespaces.has(libc::CLONE_NEWUSER),
            caller: self.around.caller,
            maps,
            cgroups: &cgroups,
            unified: unified.map(Path::new),
            own_cgroup: place.and_then(cgroup::Place::v2).map(|cgroup| cgroup.dir().into()),
            cgroup_namespace: self.namespaces.has(libc::CLONE_NEWCGROUP),
        };
        mounts::plan::mount_all(mounts, &scene, draft)?;
        if let Some(notify) = self.around.notify {
            notify.mount(scene.opens_hidden(), draft)?;
        }
        if let Some(connection) = self.around.network {
            connection.mount(scene.opens_hidden(), draft)?;
        }
        let devices = linux.devices().as_deref().unwrap_or_default();
        let devices_scene = devices::plan::Scene {
            mounts,
            user_namespace: self.namespaces.has(libc::CLONE_NEWUSER) || self.around.caller != Caller::Root,
            maps: maps.filter(|_| self.around.caller == Caller::Root),
            look: self.around.look,
        };
        devices::plan::fill(devices, &devices_scene, draft)?;
        if process.terminal().unwrap_or(false) {
            terminal::plan::open(process, true, draft)?;
        }
        paths::plan::prepare(masked, draft);
        self.before_the_root(links, environment, draft, stops)?;
        root.enter(draft)?;
        self.working_directory(process, draft)?;
        paths::plan::hide(masked, read_only, draft)?;
        root.seal(draft);
        Ok(())
    }

    /// What needs the host's files once more: the network, which the runtime has connected meanwhile, settings, which may
    /// name its interfaces, and hooks.
    fn before_the_root(
        &self,
        links: Vec<Origin>,
        environment: &[CString],
        draft: &mut Draft,
        stops: &mut Stops,
    ) -> Result<()> {
        self.connect(links, draft, stops)?;
        let none = HashMap::new();
        sysctls::plan::set(self.linux.sysctl().as_ref().unwrap_or(&none), &self.namespaces, draft)?;
        self.hooks_before_the_root(environment, draft, stops)
    }

    /// The hooks for which everything is mounted and the host's files can still be reached: those of the runtime while
    /// init waits, then init's own.
    fn hooks_before_the_root(&self, environment: &[CString], draft: &mut Draft, stops: &mut Stops) -> Result<()> {
        let Some(told) = &self.told else { return Ok(()) };
        let of_runtime = self.hooks(List::Prestart).chain(self.hooks(List::CreateRuntime));
        let of_runtime: Vec<_> = of_runtime.cloned().map(RuntimeStep::Hook).collect();
        if !of_runtime.is_empty() {
            draft.step(control::step::Step::AwaitRuntime {});
            stops.add(draft, of_runtime);
        }
        if self.hooks(List::CreateContainer).chain(self.hooks(List::StartContainer)).next().is_some() {
            told.step(Pid::Own, environment, draft);
        }
        self.hooks(List::CreateContainer).try_for_each(|hook| hook.step(None, draft))
    }

    /// runc makes a missing working directory.
    fn working_directory(&self, process: &Process, draft: &mut Draft) -> Result<()> {
        if process.cwd() == Path::new("/") {
            return Ok(());
        }
        let path = crate::init::program::text("process.cwd", process.cwd().as_os_str().as_encoded_bytes())?;
        draft.step(rootfs::step::Step::MakeDirectory { path: crate::init::wire::Text(&path) });
        Ok(())
    }

    /// Without a mount namespace every mount would be the host's: only the root directory is changed.
    fn chroot(&self, process: &Process, draft: &mut Draft) -> Result<()> {
        let linux = &self.linux;
        let asked = [
            ("mounts", self.spec.mounts().as_ref().is_some_and(|mounts| !mounts.is_empty())),
            ("root.readonly", self.spec.root().as_ref().and_then(|root| root.readonly()).unwrap_or(false)),
            ("linux.maskedPaths", linux.masked_paths().as_ref().is_some_and(|paths| !paths.is_empty())),
            ("linux.readonlyPaths", linux.readonly_paths().as_ref().is_some_and(|paths| !paths.is_empty())),
            ("linux.devices", linux.devices().as_ref().is_some_and(|devices| !devices.is_empty())),
            ("linux.rootfsPropagation", linux.rootfs_propagation().is_some()),
            ("process.terminal", process.terminal().unwrap_or(false)),
            ("NOTIFY_SOCKET", self.around.notify.is_some()),
            ("network: files", self.around.network.is_some_and(|connection| !connection.files.is_empty())),
        ];
        if let Some((field, _)) = asked.into_iter().find(|(_, asked)| *asked) {
            return Err(Error::invalid(format!(
                "{field}: needs a mount namespace of the container's own, or it would change the host's; add one to linux.namespaces"
            )));
        }
        rootfs::plan::chroot(&self.rootfs, draft)
    }

    fn memory_limit(&self) -> Option<u64> {
        let memory = self.linux.resources().as_ref()?.memory().as_ref()?;
        memory.limit().and_then(|limit| u64::try_from(limit).ok()).filter(|limit| *limit > 0)
    }

    /// A joined namespace may be the host's own.
    fn refuse_sysctls_of_the_host(&self) -> Result<()> {
        if !self.around.look || self.linux.sysctl().as_ref().is_none_or(HashMap::is_empty) {
            return Ok(());
        }
        for (kind, path) in &self.namespaces.joined {
            let own = namespaces::own_file(*kind);
            let inode = |path: &Path| std::fs::metadata(path).map(|found| found.ino()).ok();
            if inode(path).is_some() && inode(path) == inode(Path::new(&own)) {
                return Err(Error::invalid(format!(
                    "linux.sysctl: the namespace {} that the container joins is the host's own, which it would change",
                    path.display()
                )));
            }
        }
        Ok(())
    }

    /// The mount point that holds the rootfs.
    fn parent_mount(&self) -> Option<PathBuf> {
        let points = mounts::plan::mount_points(self.around.mount_table);
        points.filter(|point| self.rootfs.starts_with(point)).max_by_key(|point| point.as_os_str().len())
    }
}

/// A cgroup as the container sees it: the directory's name, and what is bound there. runc shows no cgroup2 beside v1.
fn shown(cgroup: &cgroup::Cgroup) -> Option<(String, PathBuf)> {
    let name = cgroup.hierarchy.strip_prefix("name=").unwrap_or(&cgroup.hierarchy);
    (cgroup.version == cgroup::Version::V1).then(|| (name.to_owned(), cgroup.dir().into()))
}
