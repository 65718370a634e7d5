//! Where init waits.

use crate::bundle::plan::{IdMaps, RuntimeStep};
use crate::init::control;
use crate::init::program::Draft;

/// Where init waits for the runtime, and what the runtime does meanwhile, in the order of init's steps.
#[derive(Default)]
pub(super) struct Stops {
    /// At init's first step, before it has become anything.
    at_once: Vec<RuntimeStep>,
    /// While init does its first steps.
    meanwhile: Vec<RuntimeStep>,
    stops: Vec<Stop>,
}

/// One such place, behind a step of init that waits.
struct Stop {
    /// After how many of init's steps.
    after: usize,
    /// The runtime's steps while init waits there.
    meanwhile: Vec<RuntimeStep>,
}

impl Stops {
    /// Adds a stop at the step that was added to the draft last.
    pub(super) fn add(&mut self, draft: &Draft, meanwhile: Vec<RuntimeStep>) {
        self.stops.push(Stop { after: draft.len(), meanwhile });
    }

    /// Has init wait before all else: its first step, which is added here. The draft must be empty.
    pub(super) fn begin(&mut self, draft: &mut Draft, meanwhile: Vec<RuntimeStep>) {
        draft.step(control::step::Step::AwaitRuntime {});
        self.at_once = meanwhile;
    }

    /// Has the runtime do this as soon as init is there, which does not wait for it but at the next stop.
    pub(super) fn meanwhile(&mut self, steps: Vec<RuntimeStep>) {
        self.meanwhile = steps;
    }

    /// The runtime's steps while init does its own: after how many of init's each comes.
    pub(super) fn order(self, forks: bool, late_maps: Option<(&IdMaps, usize)>) -> Vec<(usize, RuntimeStep)> {
        let mut between = vec![(0, RuntimeStep::Record)];
        let stop = |between: &mut Vec<_>, after, meanwhile: Vec<RuntimeStep>| {
            between.push((after, RuntimeStep::AwaitInit));
            between.extend(meanwhile.into_iter().map(|step| (after, step)));
            between.push((after, RuntimeStep::Release));
        };
        let waits_at_once = !self.at_once.is_empty();
        if waits_at_once {
            stop(&mut between, 1, self.at_once);
        }
        between.extend(self.meanwhile.into_iter().map(|step| (usize::from(waits_at_once), step)));
        if let Some((maps, after)) = late_maps {
            stop(&mut between, after, vec![RuntimeStep::MapIds(maps.clone())]);
        }
        // Init may have gone on as another process since it was recorded.
        let mut unrecorded = forks;
        for Stop { after, mut meanwhile } in self.stops {
            if std::mem::take(&mut unrecorded) {
                meanwhile.insert(0, RuntimeStep::Record);
            }
            stop(&mut between, after, meanwhile);
        }
        between
    }
}
