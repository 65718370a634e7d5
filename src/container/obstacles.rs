//! What a host sets against user namespaces of those who are not root: the kernel answers with an errno alone.

use crate::Error;
use crate::sys::Caller;

/// The error of a create that the kernel may have refused for such a reason, with that reason and the way out.
pub fn explain(error: Error) -> Error {
    if error.errno().is_none() || Caller::find() == Caller::Root {
        return error;
    }
    let reason = reason(&error, &|name| std::fs::read_to_string(format!("/proc/sys/{name}")).ok());
    match reason {
        Some(reason) => {
            let message = format!("{error} ({reason})");
            error.reworded(message)
        }
        None => error,
    }
}

/// `sysctl` reads a setting of the host, where it has it.
fn reason(error: &Error, sysctl: &dyn Fn(&str) -> Option<String>) -> Option<String> {
    let is = |name: &str, value: &str| sysctl(name).is_some_and(|found| found.trim() == value);
    let making = error.to_string().contains("clone3: ");
    match error.errno()? {
        libc::EPERM if making && is("kernel/unprivileged_userns_clone", "0") => Some(
            "this host lets root alone make user namespaces: as root, sysctl kernel.unprivileged_userns_clone=1".into(),
        ),
        libc::EPERM | libc::EACCES if is("kernel/apparmor_restrict_unprivileged_userns", "1") => Some(
            "AppArmor leaves no capability in the user namespaces of programs that it does not know: as root, give this program a profile with the rule userns, or sysctl kernel.apparmor_restrict_unprivileged_userns=0; docs/rootless.md".into(),
        ),
        // Of its reasons to refuse a clone only that of CLONE_INTO_CGROUP is this errno.
        libc::EACCES if making => Some(
            "to start a process in a cgroup takes the right to write to cgroup.procs of the one that holds it and the caller's: call from a cgroup of the user's own, as `systemd-run --user --scope` makes one, or choose another linux.cgroupsPath".into(),
        ),
        libc::ENOSPC | libc::EUSERS if making => {
            const KINDS: [&str; 8] = ["user", "mnt", "pid", "ipc", "uts", "net", "cgroup", "time"];
            let most = |kind: &str| sysctl(&format!("user/max_{kind}_namespaces")).map(|text| text.trim().to_owned());
            let zero = KINDS.into_iter().find(|kind| most(kind).as_deref() == Some("0")).unwrap_or("user");
            let number = most(zero).unwrap_or_else(|| "unknown".into());
            Some(format!(
                "this user may make no more namespaces of one kind: user.max_{zero}_namespaces is {number}; as root, raise it by sysctl"
            ))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use nix::errno::Errno;

    use super::*;

    fn found(errno: Errno, attempt: &str, setting: &str, value: &str) -> Option<String> {
        reason(&Error::from(errno).context(attempt), &|name| (name == setting).then(|| format!("{value}\n")))
    }

    #[test]
    fn each_setting_of_a_host_against_user_namespaces_is_named_where_it_may_be_the_reason() {
        let clone = "start init: clone3";
        let debian = found(Errno::EPERM, clone, "kernel/unprivileged_userns_clone", "0").unwrap();
        assert!(debian.contains("sysctl kernel.unprivileged_userns_clone=1"), "{debian}");
        assert_eq!(found(Errno::EPERM, "mount", "kernel/unprivileged_userns_clone", "0"), None);
        assert_eq!(found(Errno::EPERM, clone, "kernel/unprivileged_userns_clone", "1"), None);
        for attempt in [clone, "set hostname x", "linux.uidMappings: write"] {
            let ubuntu = found(Errno::EPERM, attempt, "kernel/apparmor_restrict_unprivileged_userns", "1").unwrap();
            assert!(ubuntu.contains("profile with the rule userns"), "{ubuntu}");
        }
        assert_eq!(found(Errno::ENOENT, clone, "kernel/apparmor_restrict_unprivileged_userns", "1"), None);
        let none = found(Errno::ENOSPC, clone, "user/max_net_namespaces", "0").unwrap();
        assert!(none.contains("user.max_net_namespaces is 0"), "{none}");
        assert_eq!(found(Errno::ENOSPC, "write state.json", "user/max_user_namespaces", "0"), None);
    }
}
