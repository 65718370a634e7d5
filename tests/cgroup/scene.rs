//! What every test here shares: a parent cgroup of its own, a place below it, processes that enter.

use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nfrun::cgroup::{Identity, Layout, Made, Mode, Place, limits, place, plan};
use oci_spec::runtime::LinuxResources;

pub const BOUND: Duration = Duration::from_secs(20);

/// A test's own parent cgroup, and the place below it.
pub struct Scene {
    pub parent: String,
    pub place: Place,
    pub identities: Vec<Identity>,
}

impl Scene {
    /// None, with the reason printed, where the test cannot run.
    pub fn set(name: &str, controllers: &[&str]) -> Option<Self> {
        if !nix::unistd::geteuid().is_root() {
            crate::skip::note("only root may make cgroups");
            return None;
        }
        let layout = Layout::read().unwrap();
        if layout.mode() == Mode::V2 {
            crate::skip::note("this host has no cgroup v1");
            return None;
        }
        for controller in ["devices", "freezer"].iter().chain(controllers) {
            if !layout.hierarchies.iter().any(|hierarchy| hierarchy.has(controller)) {
                crate::skip::note(format_args!("the {controller} controller is not mounted"));
                return None;
            }
        }
        let parent = format!("/nfrun-test-{}-{name}", std::process::id());
        let place = place(&layout, Some(Path::new(&format!("{parent}/c"))), "unused").unwrap();
        Some(Self { parent, place, identities: Vec::new() })
    }

    pub fn create(&mut self, resources: &str) -> nfrun::Result<Made> {
        let resources = parse(resources);
        let mut made = Made::default();
        for step in plan(&self.place, Some(&resources), None)? {
            self.identities.extend(made.run(&step)?);
        }
        Ok(made)
    }

    pub fn update(&self, resources: &str) -> nfrun::Result<()> {
        let mut made = Made::default();
        for step in limits(&self.place, &parse(resources))? {
            made.run(&step)?;
        }
        Ok(())
    }

    pub fn dir(&self, controller: &str) -> String {
        self.place.with(controller).unwrap().dir()
    }

    pub fn read(&self, controller: &str, file: &str) -> String {
        let path = format!("{}/{file}", self.dir(controller));
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}")).trim().to_owned()
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = self.place.thaw();
        let _ = self.place.signal_all(libc::SIGKILL, BOUND);
        let _ = self.place.remove(BOUND);
        for cgroup in &self.place.cgroups {
            let _ = fs::remove_dir(format!("{}{}", cgroup.mount, self.parent));
        }
    }
}

pub fn parse(resources: &str) -> LinuxResources {
    serde_json::from_str(resources).unwrap()
}

/// A process that enters through `tasks` by itself before its exec, as a container's init does.
pub fn enter(tasks: Vec<OwnedFd>, script: &str) -> Child {
    let mut command = Command::new("sh");
    command.args(["-c", script]).stdout(Stdio::piped());
    // SAFETY: between fork and exec only write(2) is called.
    unsafe {
        command.pre_exec(move || {
            for fd in &tasks {
                if libc::write(fd.as_raw_fd(), c"0".as_ptr().cast(), 1) != 1 {
                    return Err(std::io::Error::last_os_error());
                }
            }
            Ok(())
        });
    }
    command.spawn().unwrap()
}

pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + BOUND;
    while !holds() {
        assert!(Instant::now() < end, "not within {BOUND:?}: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}
