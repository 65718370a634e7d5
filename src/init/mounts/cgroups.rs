//! The mount of type cgroup.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::bind::bind_path;
use super::options::Options;
use super::plan::{Scene, with_label};
use super::step::Step;
use crate::Result;
use crate::init::devices;
use crate::init::program::{Draft, text};
use crate::init::wire::Text;

/// The v1 layout: a tmpfs with a directory for each hierarchy, and links for controllers that share one.
pub(super) fn cgroups(
    target: &Path,
    options: &Options,
    (scene, field): (&Scene, &str),
    draft: &mut Draft,
) -> Result<()> {
    let flags = options.set & !libc::MS_RDONLY;
    let text_of = |path: &Path| text(field, path.as_os_str().as_bytes());
    let top = text_of(target)?;
    let data = scene.label.map_or("mode=755".to_owned(), |label| with_label("mode=755".into(), label));
    let data = text(field, data)?;
    draft.step(Step::New {
        kind: Text(c"tmpfs"),
        source: Text(c"tmpfs"),
        target: Text(&top),
        flags: flags | libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC,
        data: Text(&data),
    });
    for (name, directory) in scene.cgroups {
        let place = target.join(name);
        if scene.cgroup_namespace {
            // A mount made inside the namespace shows its cgroup as the root.
            let kind = c"cgroup";
            let data = if name == "systemd" { "none,name=systemd".to_owned() } else { name.clone() };
            let (place, data) = (text_of(&place)?, text(field, data)?);
            let flags = options.set;
            draft.step(Step::New {
                kind: Text(kind),
                source: Text(kind),
                target: Text(&place),
                flags,
                data: Text(&data),
            });
        } else {
            bind_path(directory, (None, false), &place, options, field, draft)?;
        }
        for alias in name.split(',').filter(|_| name.contains(',')) {
            let (link, to) = (text_of(&target.join(alias))?, text(field, name.as_str())?);
            draft.step(devices::step::Step::Link { path: Text(&link), target: Text(&to) });
        }
    }
    if options.set & libc::MS_RDONLY != 0 {
        let flags =
            libc::MS_REMOUNT | libc::MS_BIND | libc::MS_RDONLY | libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
        draft.step(Step::Remount { target: Text(&top), flags, data: Text(c"") });
    }
    Ok(())
}
