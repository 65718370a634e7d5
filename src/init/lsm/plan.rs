//! process.apparmorProfile, process.selinuxLabel and linux.mountLabel, as steps: config.md, "Linux Process"; config-linux.md,
//! "Mount Label".

use std::path::Path;

use oci_spec::runtime::Process;

use super::step::Step;
use crate::init::program::{Draft, text};
use crate::init::wire::Text;
use crate::{Error, Result};

/// The longest name of a profile that init has room for.
const LONGEST: usize = 4000;

/// The labels of a process.
#[derive(Debug, Default)]
pub struct Labels<'a> {
    profile: Option<&'a str>,
    label: Option<&'a str>,
}

impl<'a> Labels<'a> {
    /// What a process asks for. With `look` the host must have the security modules for it; the words are runc's.
    pub fn read(process: &'a Process, look: bool) -> Result<Self> {
        let given = |text: &'a Option<String>| text.as_deref().filter(|text| !text.is_empty());
        let mut profile = given(process.apparmor_profile());
        let label = given(process.selinux_label());
        if let Some(name) = profile.filter(|_| look && !has_apparmor()) {
            // Without AppArmor everything is that.
            if name != "unconfined" {
                return Err(Error::invalid(format!(
                    "process.apparmorProfile: apparmor: config provided but apparmor not supported: AppArmor is not enabled on this host; enable it, or remove the profile {name:?}"
                )));
            }
            profile = None;
        }
        if profile.is_some_and(|name| name.len() > LONGEST) {
            return Err(Error::invalid(format!("process.apparmorProfile: is longer than {LONGEST} bytes")));
        }
        if let Some(label) = label.filter(|_| look && !has_selinux()) {
            return Err(Error::invalid(format!(
                "process.selinuxLabel: selinux label is specified in config, but selinux is disabled or not supported: enable SELinux on this host, or remove the label {label:?}"
            )));
        }
        Ok(Self { profile, label })
    }

    /// While the host's /proc is there.
    pub fn prepare(&self, draft: &mut Draft) {
        if self.profile.is_some() || self.label.is_some() {
            draft.step(Step::OpenProc {});
        }
    }

    /// Before a keyring is made.
    pub fn of_keys(&self, draft: &mut Draft) -> Result<()> {
        if let Some(label) = self.label {
            let label = text("process.selinuxLabel", label)?;
            draft.step(Step::KeyLabel { label: Text(&label) });
        }
        Ok(())
    }

    /// For the command: the last of what is done before descriptors are closed.
    pub fn on_exec(&self, draft: &mut Draft) -> Result<()> {
        if let Some(label) = self.label {
            let label = text("process.selinuxLabel", label)?;
            draft.step(Step::Label { label: Text(&label) });
        }
        if let Some(name) = self.profile {
            let name = text("process.apparmorProfile", name)?;
            draft.step(Step::Profile { name: Text(&name) });
        }
        Ok(())
    }
}

/// linux.mountLabel.
pub fn mount_label(label: Option<&str>, look: bool) -> Result<Option<&str>> {
    let Some(label) = label.filter(|label| !label.is_empty()) else { return Ok(None) };
    if label.contains(['"', '\\', '\n']) {
        return Err(Error::invalid(format!("linux.mountLabel: {label:?} is no SELinux label")));
    }
    if look && !has_selinux() {
        return Err(Error::invalid(format!(
            "linux.mountLabel: SELinux is disabled or not supported, so no mount can have a label: enable SELinux on this host, or remove the label {label:?}"
        )));
    }
    Ok(Some(label))
}

/// Labels a filesystem that takes no label as an option of its mount.
pub fn label_mount(target: &Path, label: &str, draft: &mut Draft) -> Result<()> {
    let (target, label) = (text("mounts", target.as_os_str().as_encoded_bytes())?, text("linux.mountLabel", label)?);
    draft.step(Step::MountLabel { target: Text(&target), label: Text(&label) });
    Ok(())
}

/// The kernel's own word on whether AppArmor is enabled.
fn has_apparmor() -> bool {
    std::fs::read("/sys/module/apparmor/parameters/enabled").is_ok_and(|word| word.starts_with(b"Y"))
}

/// Whether SELinux's own filesystem is mounted and a policy loaded, without which everything is labelled `kernel`:
/// selinux(8).
fn has_selinux() -> bool {
    const SELINUX_MAGIC: u64 = 0xf97c_ff8c;
    let is_selinux = |found: nix::sys::statfs::Statfs| found.filesystem_type().0 as u64 == SELINUX_MAGIC;
    let has_policy = || std::fs::read("/proc/self/attr/current").is_ok_and(|label| !label.starts_with(b"kernel"));
    nix::sys::statfs::statfs("/sys/fs/selinux").is_ok_and(is_selinux) && has_policy()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(labels: &str) -> Process {
        serde_json::from_str(&format!(r#"{{"user":{{"uid":0,"gid":0}},"cwd":"/","args":["sh"]{labels}}}"#)).unwrap()
    }

    fn steps(labels: &str) -> String {
        let process = process(labels);
        let labels = Labels::read(&process, false).unwrap();
        let mut draft = Draft::default();
        labels.prepare(&mut draft);
        labels.of_keys(&mut draft).unwrap();
        labels.on_exec(&mut draft).unwrap();
        let mut program = crate::init::program::Program::default();
        let places: Vec<_> = draft.finish().0.iter().map(|step| program.push(1, step)).collect();
        let words = places.iter().map(|place| program.step(*place).unwrap().to_string());
        words.collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn each_label_is_a_step_and_none_is_none() {
        assert_eq!(steps(""), "");
        assert_eq!(steps(r#","apparmorProfile":"","selinuxLabel":"""#), "");
        assert_eq!(
            steps(r#","apparmorProfile":"crun-default""#),
            "open the host's /proc for labels; change to AppArmor profile crun-default by the next execve"
        );
        assert_eq!(
            steps(r#","selinuxLabel":"u:r:t:s0:c1,c2""#),
            "open the host's /proc for labels; label keyrings u:r:t:s0:c1,c2; change to SELinux label u:r:t:s0:c1,c2 by the next execve"
        );
    }

    #[test]
    fn a_name_that_init_has_no_room_for_is_refused() {
        let process = process(&format!(r#","apparmorProfile":"{}""#, "x".repeat(4001)));
        assert!(Labels::read(&process, false).unwrap_err().to_string().contains("longer than 4000"));
    }

    #[test]
    fn a_mount_label_that_could_end_its_quotes_is_refused() {
        assert!(mount_label(Some("a\",size=1"), false).is_err());
        assert_eq!(mount_label(Some(""), true).unwrap(), None);
        assert_eq!(mount_label(Some("u:o:t:s0:c1,c2"), false).unwrap(), Some("u:o:t:s0:c1,c2"));
    }
}
