//! What containerd's configuration, or a client, asks of the runtime: runc's options, or a TOML table with their names as the
//! configuration of containerd's CRI writes them.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::messages::options::{RuncOptions, RuntimeOptions};
use super::messages::{Any, decode};
use crate::container::{CgroupManager, Globals, Rootless};
use crate::network::Dirs;
use crate::{Context, Error, Result};

/// Where the state of containers is, below which is one directory a namespace of containerd's.
const ROOT: &str = "/run/containerd/nfrun";
/// The file of a bundle that says where the state is, if not there.
const ROOT_FILE: &str = "nfrun-root";

/// The options, all of which are honoured.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields, default)]
pub struct Options {
    /// MS_MOVE and chroot in place of pivot_root.
    pub no_pivot_root: bool,
    /// Leave the caller's session keyring.
    pub no_new_keyring: bool,
    /// A cgroup that the shim enters: a path below the mount of each hierarchy.
    pub shim_cgroup: String,
    /// The owner of the process's stdio.
    pub io_uid: u32,
    /// Its group.
    pub io_gid: u32,
    /// runc's program: nfrun is none, so it is noted and left.
    pub binary_name: String,
    /// Where the state of containers is.
    pub root: PathBuf,
    /// systemd makes the cgroups.
    pub systemd_cgroup: bool,
    /// criu's program and directories: for checkpoints, which nfrun refuses.
    pub criu_path: String,
    pub criu_image_path: String,
    pub criu_work_path: String,
    /// Where networks are defined; nfrun's own.
    pub network_config_dir: PathBuf,
    /// Log every step; nfrun's own.
    pub debug: bool,
}

impl Options {
    /// Of a request; none is all defaults.
    ///
    /// # Errors
    /// Names the option that is not known.
    pub fn of(any: Option<&Any>) -> Result<Self> {
        let Some(any) = any.filter(|any| !any.type_url.is_empty()) else { return Ok(Self::default()) };
        match any.name() {
            "containerd.runc.v1.Options" => Ok(decode::<RuncOptions>("runtime options", &any.value)?.into()),
            "runtimeoptions.v1.Options" => Self::of_toml(&decode("runtime options", &any.value)?),
            // A restart of a task that was checkpointed has these.
            name => Err(Error::invalid(format!(
                "runtime options are {name}; nfrun takes containerd.runc.v1.Options and runtimeoptions.v1.Options"
            ))),
        }
    }

    fn of_toml(options: &RuntimeOptions) -> Result<Self> {
        let file = Path::new(&options.config_path);
        let (from, text) = if !options.config_body.is_empty() {
            ("runtime options".to_owned(), String::from_utf8_lossy(&options.config_body).into_owned())
        } else if !options.config_path.is_empty() {
            let text = std::fs::read_to_string(file).context(|| format!("ConfigPath: read {}", file.display()))?;
            (file.display().to_string(), text)
        } else {
            return Ok(Self::default());
        };
        toml::from_str(&text).map_err(|error| Error::invalid(format!("{from}: {}", error.message())))
    }

    /// Says what is left undone.
    pub fn note(&self) {
        if !self.binary_name.is_empty() {
            log::info!("option binary_name = {:?} is ignored: this shim starts no runc", self.binary_name);
        }
        if [&self.criu_path, &self.criu_image_path, &self.criu_work_path].iter().any(|path| !path.is_empty()) {
            log::info!("the options of criu are ignored: checkpoints are refused");
        }
    }

    /// What the library is called with.
    pub fn globals(&self, namespace: &str) -> Globals {
        let root = if self.root.as_os_str().is_empty() { Path::new(ROOT) } else { &self.root };
        let mut globals = globals_at(root, namespace);
        if self.systemd_cgroup {
            globals.cgroup_manager = CgroupManager::Systemd;
        }
        if !self.network_config_dir.as_os_str().is_empty() {
            globals.networks.config = self.network_config_dir.clone();
        }
        globals
    }

    /// Leaves word in the bundle for who has to clean up after this shim.
    pub fn remember(&self, bundle: &Path) -> Result<()> {
        let path = bundle.join(ROOT_FILE);
        if self.root.as_os_str().is_empty() {
            return Ok(());
        }
        use std::os::unix::ffi::OsStrExt;
        crate::container::write_whole(&path, self.root.as_os_str().as_bytes())
            .context(|| format!("write {}", path.display()))
    }
}

/// For who knows the bundle alone.
pub fn globals_of_bundle(bundle: &Path, namespace: &str) -> Globals {
    let root = std::fs::read_to_string(bundle.join(ROOT_FILE)).unwrap_or_else(|_| ROOT.into());
    globals_at(Path::new(&root), namespace)
}

fn globals_at(root: &Path, namespace: &str) -> Globals {
    Globals {
        root: root.join(namespace),
        root_given: true,
        cgroup_manager: CgroupManager::Cgroupfs,
        rootless: Rootless::Auto,
        networks: Dirs::of_root(),
    }
}

impl From<RuncOptions> for Options {
    fn from(runc: RuncOptions) -> Self {
        Self {
            no_pivot_root: runc.no_pivot_root,
            no_new_keyring: runc.no_new_keyring,
            shim_cgroup: runc.shim_cgroup,
            io_uid: runc.io_uid,
            io_gid: runc.io_gid,
            binary_name: runc.binary_name,
            root: runc.root.into(),
            systemd_cgroup: runc.systemd_cgroup,
            criu_path: runc.criu_path,
            criu_image_path: runc.criu_image_path,
            criu_work_path: runc.criu_work_path,
            network_config_dir: PathBuf::new(),
            debug: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;

    fn toml(text: &str) -> Result<Options> {
        let options = RuntimeOptions { config_body: text.into(), ..RuntimeOptions::default() };
        Options::of(Some(&Any::of("runtimeoptions.v1.Options", &options)))
    }

    #[test]
    fn both_kinds_of_options_are_read() {
        let runc = RuncOptions { systemd_cgroup: true, root: "/r".into(), io_uid: 7, ..RuncOptions::default() };
        let read = Options::of(Some(&Any::of("containerd.runc.v1.Options", &runc))).unwrap();
        let same = toml("SystemdCgroup = true\nRoot = \"/r\"\nIoUid = 7").unwrap();
        assert_eq!(read, same);
        assert_eq!(read.globals("n").root, PathBuf::from("/r/n"));
        assert_eq!(read.globals("n").cgroup_manager, CgroupManager::Systemd);
        assert_eq!(Options::of(None).unwrap().globals("n").root, PathBuf::from("/run/containerd/nfrun/n"));
        let host =
            Any { type_url: "type.googleapis.com/containerd.runc.v1.Options".into(), value: runc.encode_to_vec() };
        assert_eq!(Options::of(Some(&host)).unwrap(), read);
    }

    #[test]
    fn an_option_that_nobody_knows_is_named() {
        let error = toml("SystemdCgroups = true").unwrap_err().to_string();
        assert!(error.contains("SystemdCgroups"), "{error}");
        let error =
            Options::of(Some(&Any { type_url: "x.Options".into(), value: Vec::new() })).unwrap_err().to_string();
        assert!(error.contains("x.Options"), "{error}");
    }
}
