//! process.capabilities and process.noNewPrivileges, as steps: config.md, "Linux Process"; capabilities(7).

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

impl Sets {
    /// Reads the sets. What the kernel would refuse is warned about and left out.
    pub fn read(sets: Option<&LinuxCapabilities>) -> Self {
        let Some(sets) = sets else { return Self::default() };
        let mut this = Self {
            bounding: mask(sets.bounding()),
            effective: mask(sets.effective()),
            permitted: mask(sets.permitted()),
            inheritable: mask(sets.inheritable()),
            ambient: mask(sets.ambient()),
        };
        let lost = this.ambient & !(this.permitted & this.inheritable);
        if lost != 0 {
            let lost = names(lost);
            log::warn!("process.capabilities.ambient: {lost}: not both permitted and inheritable: left out");
            this.ambient &= this.permitted & this.inheritable;
        }
        this
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

fn mask(set: &Option<Capabilities>) -> u64 {
    let names = set.iter().flatten();
    names.fold(0, |mask, capability| mask | number(&capability.to_string()).map_or(0, |number| 1 << number))
}

/// The names of a mask.
fn names(mask: u64) -> String {
    let all = caps::all().into_iter().filter(|capability| mask >> capability.index() & 1 != 0);
    all.map(|capability| capability.to_string()).collect::<Vec<_>>().join(", ")
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
    fn names_have_the_kernels_numbers() {
        assert_eq!(number("CAP_CHOWN"), Some(0));
        assert_eq!(number("net_bind_service"), Some(10));
        assert_eq!(number("CAP_CHECKPOINT_RESTORE"), Some(40));
        assert_eq!(number("CAP_NOTHING"), None);
    }
}
