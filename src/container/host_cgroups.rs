//! The host's cgroups as far as the caller may use them.

use super::{CgroupManager, Globals, Rootless};
use crate::bundle::Config;
use crate::sys::Caller;
use crate::{Context, Result, cgroup};

/// What a container gets of the host's cgroups.
#[derive(Default)]
pub struct HostCgroups {
    /// Where its own are made; None where it gets none.
    pub layout: Option<cgroup::Layout>,
    /// Why it gets none, or not in every hierarchy.
    pub withheld: Option<String>,
}

/// Looks for them as the flags and the bundle say. A user other than root does without those that are not his, unless
/// the bundle names its cgroup: as runc.
pub fn find(globals: &Globals, config: &Config, caller: Caller, mount_table: &str) -> Result<HostCgroups> {
    if globals.cgroup_manager == CgroupManager::Disabled {
        return Ok(HostCgroups { layout: None, withheld: Some("cgroups are disabled".into()) });
    }
    let own = crate::sys::read_kernel_file("/proc/self/cgroup").context(|| "read /proc/self/cgroup")?;
    let layout = cgroup::Layout::parse(mount_table, &own);
    // systemd makes what a user asks it for.
    if globals.cgroup_manager == CgroupManager::Systemd || !globals.rootless.makes_do(caller) {
        return Ok(HostCgroups { layout: Some(layout?), withheld: None });
    }
    let path = config.spec.linux().as_ref().and_then(|linux| linux.cgroups_path().as_ref());
    let path_given = path.is_some_and(|path| !path.as_os_str().is_empty());
    match layout {
        Ok(layout) if path_given => Ok(HostCgroups { layout: Some(layout.begun()), withheld: None }),
        Ok(layout) => Ok(delegated(layout)),
        Err(error) if path_given => Err(error),
        Err(error) => {
            log::debug!("no cgroup is made: {error}");
            Ok(HostCgroups { layout: None, withheld: Some(error.to_string()) })
        }
    }
}

/// What of a layout is the caller's, told under --debug.
fn delegated(layout: cgroup::Layout) -> HostCgroups {
    let cgroup::Delegated { layout, withheld } = layout.delegated();
    let withheld = match &layout {
        None => Some("no cgroup is delegated to this user".to_owned()),
        Some(_) if withheld.is_empty() => None,
        Some(_) => Some(format!("of the hierarchies {} no cgroup is delegated to this user", withheld.join(", "))),
    };
    if let Some(why) = &withheld {
        let none = if layout.is_none() { "no cgroup is made" } else { "no cgroup is made there" };
        log::debug!("{why}, and the bundle names none: {none}");
    }
    HostCgroups { layout, withheld }
}

impl Rootless {
    /// Whether cgroups that are not the caller's are done without.
    fn makes_do(self, caller: Caller) -> bool {
        match self {
            Self::Auto => caller != Caller::Root,
            Self::Always => true,
            Self::Never => false,
        }
    }
}
