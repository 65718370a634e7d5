//! Bind mounts: their sources and the mapping of their ids.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use oci_spec::runtime::{LinuxIdMapping, Mount};

use super::options::Options;
use super::plan::{Scene, mount_points};
use super::step::Step;
use crate::init::namespaces::ids::{self, IdMaps};
use crate::init::program::{Draft, MapMount, Request, Source, text};
use crate::init::wire::{Slot, Text};
use crate::{Context, Error, Result};

/// Binds a mount's source; `earlier` are the mounts that stand before it.
pub(super) fn bind(
    mount: &Mount,
    target: &Path,
    options: &Options,
    (scene, field, earlier): (&Scene, &str, &[Mount]),
    draft: &mut Draft,
) -> Result<()> {
    let Some(source) = mount.source().as_deref().filter(|source| !source.as_os_str().is_empty()) else {
        return Err(Error::invalid(format!("{field}.source: is missing: name what to bind on {}", target.display())));
    };
    let source = scene.bundle.join(source);
    let inside = is_inside(&source, scene, earlier);
    if scene.look && !inside {
        std::fs::metadata(&source).context(|| {
            let (source, target) = (source.display(), target.display());
            format!("{field}.source: {source}, to be bound on {target}: stat")
        })?;
    }
    if !options.data.is_empty() {
        return Err(Error::invalid(format!("{field}.options: {:?} is no option of a bind mount", options.data())));
    }
    let tree = match scene.look && !inside && scene.opens_hidden() && !scene.root_reaches(&source) {
        true => Some(draft.slot(hidden_tree(&source, scene, field)?)),
        false => None,
    };
    let mapping = mapping(mount, options, scene, field)?;
    let shown = mapping.is_some();
    if let Some((maps, recursive)) = mapping {
        let name = text(field, source.as_os_str().as_bytes())?;
        draft.step(Step::Show { tree, source: Text(&name), recursive: options.set & libc::MS_REC != 0 });
        let map = MapMount { field: field.to_owned(), source: source.clone(), maps, recursive };
        draft.request(Request::MapMount(map));
    }
    bind_path(&source, (tree, shown), target, options, field, draft)
}

/// Whether a source lies in the rootfs on what an earlier mount puts there: it is only there once that is mounted.
fn is_inside(source: &Path, scene: &Scene, earlier: &[Mount]) -> bool {
    let Ok(below) = source.strip_prefix(scene.rootfs) else { return false };
    earlier.iter().any(|other| Path::new("/").join(below).starts_with(other.destination()))
}

/// The mappings of a mount and whether they hold for the mounts below; None where it has none. Without mappings of its
/// own the container's user namespace serves: config.md, "Mounts".
fn mapping(mount: &Mount, options: &Options, scene: &Scene, field: &str) -> Result<Option<(Option<IdMaps>, bool)>> {
    let list = |list: &Option<Vec<LinuxIdMapping>>| list.clone().unwrap_or_default();
    let (uids, gids) = (list(mount.uid_mappings()), list(mount.gid_mappings()));
    let recursive = options.mapped.unwrap_or(false);
    match (uids.is_empty(), gids.is_empty()) {
        (true, true) if options.mapped.is_none() => Ok(None),
        (true, true) if scene.user_namespace => Ok(Some((None, recursive))),
        (true, true) => Err(Error::invalid(format!(
            "{field}.options: idmap and ridmap need mappings, and the container has no user namespace whose mappings would serve: give the mount uidMappings and gidMappings"
        ))),
        (false, false) => {
            let uids = ids::map(&format!("{field}.uidMappings"), &uids)?;
            let gids = ids::map(&format!("{field}.gidMappings"), &gids)?;
            Ok(Some((Some(IdMaps { uids, gids }), recursive)))
        }
        (no_uids, _) => {
            let (missing, given) =
                if no_uids { ("uidMappings", "gidMappings") } else { ("gidMappings", "uidMappings") };
            Err(Error::invalid(format!(
                "{field}.{missing}: is missing: {given} is given, and a mount has both or none"
            )))
        }
    }
}

/// Refuses a mapping of a mount that is no bind mount.
pub(super) fn refuse_mapping(mount: &Mount, options: &Options, field: &str) -> Result<()> {
    let given = |list: &Option<Vec<LinuxIdMapping>>| list.as_ref().is_some_and(|list| !list.is_empty());
    if options.mapped.is_none() && !given(mount.uid_mappings()) && !given(mount.gid_mappings()) {
        return Ok(());
    }
    let kind = mount.typ().as_deref().unwrap_or_default();
    Err(Error::invalid(format!(
        "{field}: uidMappings, gidMappings, idmap and ridmap are for bind mounts, and the type is {kind:?}: mount it on the host and bind it"
    )))
}

impl Scene<'_> {
    /// Whether every directory on the way lets the root of the user namespace pass.
    fn root_reaches(&self, source: &Path) -> bool {
        let passes = |directory: &Path| std::fs::metadata(directory).is_ok_and(|found| self.root_passes(&found));
        source.canonicalize().is_ok_and(|real| real.ancestors().skip(1).all(passes))
    }

    /// A directory lets everybody pass, or that root's group, or both of its owners are ids of the container, where its root
    /// overrides the mode.
    fn root_passes(&self, directory: &std::fs::Metadata) -> bool {
        if directory.mode() & 0o001 != 0 {
            return true;
        }
        self.maps.is_some_and(|(uids, gids)| {
            let is_group = directory.mode() & 0o010 != 0 && ids::host_id(gids, 0) == Some(directory.gid());
            is_group || ids::holds(uids, directory.uid()) && ids::holds(gids, directory.gid())
        })
    }
}

/// A source that only the runtime reaches. Mounts below it would not be locked in the user namespace, so there must be none;
/// the runtime locks its flags once it has the mount.
fn hidden_tree(source: &Path, scene: &Scene, field: &str) -> Result<Source> {
    let real = source.canonicalize().context(|| format!("{field}.source: {}", source.display()))?;
    let mut points = mount_points(scene.mount_table);
    if let Some(below) = points.find(|point| *point != real && point.starts_with(&real)) {
        return Err(Error::invalid(format!(
            "{field}.source: {} cannot be reached by the user namespace's root and has a mount below it ({}), which that root could take off: make its parents searchable (chmod o+x)",
            source.display(),
            below.display()
        )));
    }
    Ok(Source::HiddenTree { path: real })
}

/// The step of a bind. `shown` says that the step before has opened the source.
pub(super) fn bind_path(
    source: &Path,
    (tree, shown): (Option<Slot>, bool),
    target: &Path,
    options: &Options,
    field: &str,
    draft: &mut Draft,
) -> Result<()> {
    let ((set, clear), (deep_set, deep_clear)) = (options.attributes(), options.recursive);
    let recursive = options.set & libc::MS_REC != 0;
    let (source, target) = (text(field, source.as_os_str().as_bytes())?, text(field, target.as_os_str().as_bytes())?);
    let (source, target) = (Text(&source), Text(&target));
    draft.step(Step::Bind { tree, source, recursive, shown, target, set, clear, deep_set, deep_clear });
    Ok(())
}
