//! Where init waits.

use crate::bundle::plan::{IdMaps, RuntimeStep};
use crate::init::control;
use crate::init::program::Draft;

/// Where init waits for the runtime, and what the runtime does meanwhile, in the order of init's steps.
#[derive(Default)]
pub(super) struct Stops {
    /// At init's first step, before it has become anything.
    at_once: Vec<RuntimeStep>,
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

    /// The runtime's steps while init does its own: after how many of init's each comes.
    pub(super) fn order(self, forks: bool, late_maps: Option<(&IdMaps, usize)>) -> Vec<(usize, RuntimeStep)> {
        let mut between = vec![(0, RuntimeStep::Record)];
        let mut add = |after, meanwhile: Vec<RuntimeStep>| {
            between.push((after, RuntimeStep::AwaitInit));
            between.extend(meanwhile.into_iter().map(|step| (after, step)));
            between.push((after, RuntimeStep::Release));
        };
        if !self.at_once.is_empty() {
            add(1, self.at_once);
        }
        if let Some((maps, after)) = late_maps {
            add(after, vec![RuntimeStep::MapIds(maps.clone())]);
        }
        // Init may have gone on as another process since it was recorded.
        let mut unrecorded = forks;
        for Stop { after, mut meanwhile } in self.stops {
            if std::mem::take(&mut unrecorded) {
                meanwhile.insert(0, RuntimeStep::Record);
            }
            add(after, meanwhile);
        }
        between
    }
}
