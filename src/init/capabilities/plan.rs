//! process.capabilities and process.noNewPrivileges, as steps: config.md, "Linux Process"; capabilities(7).

use caps::CapSet;
use oci_spec::runtime::{Capabilities, LinuxCapabilities};

use super::step::Step;
use crate::init::program::Draft;

/// The five sets as masks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sets {
    bounding: u64,
    effective: u64,
    permitted: u64,
    inheritable: u64,
    ambient: u64,
}

/// The names of all that are known, in the kernel's order.
pub fn all_names() -> Vec<String> {
    let mut all: Vec<_> = caps::all().into_iter().collect();
    all.sort_unstable_by_key(caps::Capability::index);
    all.iter().map(ToString::to_string).collect()
}

impl Sets {
    /// Reads the sets. What the kernel would refuse is warned about and left out, as config.md asks. `held` is what the
    /// caller has to give; None where the process gets everything by a user namespace of its own.
    pub fn read(sets: Option<&LinuxCapabilities>, held: Option<u64>) -> Self {
        let Some(sets) = sets else { return Self::default() };
        let [bounding, effective, permitted, inheritable, ambient] =
            [sets.bounding(), sets.effective(), sets.permitted(), sets.inheritable(), sets.ambient()].map(mask);
        let held = held.unwrap_or(u64::MAX);
        // A process can still come to have by execve what is in the bounding set alone.
        let beyond = (effective | permitted | inheritable | ambient) & !held | out_of_bounds(bounding & !held);
        if beyond != 0 {
            log::warn!("process.capabilities: {}: not held by the caller: left out", names(beyond));
        }
        let permitted = permitted & held;
        let effective = within("effective", effective & held, permitted, "not permitted");
        let inheritable = within("inheritable", inheritable & held, bounding, "not in the bounding set");
        let both = permitted & inheritable;
        let ambient = within("ambient", ambient & held, both, "not both permitted and inheritable");
        Self { bounding, effective, permitted, inheritable, ambient }
    }

    /// While the caller still has all of its own.
    pub fn bound(&self, draft: &mut Draft) {
        draft.step(Step::Bound { keep: self.bounding });
    }

    /// For the search of the command, where all that is permitted is needed once more after it.
    pub fn narrow(&self, draft: &mut Draft) {
        draft.step(Step::Narrow { effective: self.effective });
    }

    /// After that search.
    pub fn widen(&self, draft: &mut Draft) {
        draft.step(Step::Widen {});
    }

    /// Once nothing is left to do that needs more.
    pub fn set(&self, draft: &mut Draft) {
        let Self { effective, permitted, inheritable, .. } = *self;
        draft.step(Step::Set { effective, permitted, inheritable });
        if self.ambient != 0 {
            draft.step(Step::Ambient { raise: self.ambient });
        }
    }
}

/// The caller's permitted capabilities; None where the kernel does not tell. One system call.
pub fn held() -> Option<u64> {
    let held = caps::read(None, CapSet::Permitted).ok()?;
    Some(held.iter().fold(0, |mask, capability| mask | 1 << capability.index()))
}

/// Those of a mask that the caller's bounding set lacks.
fn out_of_bounds(mask: u64) -> u64 {
    let missing = |capability: &caps::Capability| {
        mask >> capability.index() & 1 != 0 && !caps::has_cap(None, CapSet::Bounding, *capability).unwrap_or(true)
    };
    caps::all().iter().filter(|capability| mask != 0 && missing(capability)).fold(0, |lost, c| lost | 1 << c.index())
}

/// A set without what `bounds` lacks, which is warned of.
fn within(set: &str, mask: u64, bounds: u64, why: &str) -> u64 {
    if mask & !bounds != 0 {
        log::warn!("process.capabilities.{set}: {}: {why}: left out", names(mask & !bounds));
    }
    mask & bounds
}

fn mask(set: &Option<Capabilities>) -> u64 {
    let names = set.iter().flatten();
    names.fold(0, |mask, capability| mask | number(&capability.to_string()).map_or(0, |number| 1 << number))
}

/// The names of a mask, in the kernel's order.
fn names(mask: u64) -> String {
    let mut all: Vec<_> = caps::all().into_iter().filter(|capability| mask >> capability.index() & 1 != 0).collect();
    all.sort_unstable_by_key(caps::Capability::index);
    all.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// A capability's number, by its name with or without CAP_.
pub fn number(name: &str) -> Option<u32> {
    let name = name.to_ascii_uppercase();
    let name = if name.starts_with("CAP_") { name } else { format!("CAP_{name}") };
    name.parse::<caps::Capability>().ok().map(|capability| u32::from(capability.index()))
}

/// PR_SET_NO_NEW_PRIVS.
pub fn no_new_privileges(draft: &mut Draft) {
    draft.step(Step::NoNewPrivileges {});
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_set_loses_what_the_kernel_would_refuse() {
        let sets = serde_json::from_str(
            r#"{"bounding": ["CAP_KILL", "CAP_CHOWN", "CAP_SETUID"], "permitted": ["CAP_KILL", "CAP_CHOWN"],
                "effective": ["CAP_KILL", "CAP_SETUID"], "inheritable": ["CAP_KILL", "CAP_SYSLOG"],
                "ambient": ["CAP_KILL", "CAP_CHOWN"]}"#,
        )
        .unwrap();
        let (chown, kill, setuid) = (1 << 0, 1 << 5, 1 << 7);
        let all = Sets::read(Some(&sets), None);
        assert_eq!((all.bounding, all.permitted), (chown | kill | setuid, chown | kill));
        assert_eq!((all.effective, all.inheritable, all.ambient), (kill, kill, kill));
        let some = Sets::read(Some(&sets), Some(chown));
        assert_eq!((some.permitted, some.effective, some.inheritable, some.ambient), (chown, 0, 0, 0));
    }

    #[test]
    fn names_come_in_the_kernels_order() {
        assert_eq!(names(1 << 29 | 1 << 5 | 1), "CAP_CHOWN, CAP_KILL, CAP_AUDIT_WRITE");
    }

    #[test]
    fn names_have_the_kernels_numbers() {
        assert_eq!(number("CAP_CHOWN"), Some(0));
        assert_eq!(number("net_bind_service"), Some(10));
        assert_eq!(number("CAP_CHECKPOINT_RESTORE"), Some(40));
        assert_eq!(number("CAP_NOTHING"), None);
    }
}
