//! Where init waits.

use crate::bundle::plan::{IdMaps, RuntimeStep};
use crate::init::program::Draft;

/// Where init waits for the runtime, and what the runtime does meanwhile, in the order of init's steps.
#[derive(Default)]
pub(super) struct Stops(Vec<Stop>);

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
        self.0.push(Stop { after: draft.len(), meanwhile });
    }

    /// The runtime's steps while init does its own: after how many of init's each comes.
    pub(super) fn order(self, forks: bool, late_maps: Option<(&IdMaps, usize)>) -> Vec<(usize, RuntimeStep)> {
        let mut between = vec![(0, RuntimeStep::Record)];
        let mut add = |after, meanwhile: Vec<RuntimeStep>| {
            between.push((after, RuntimeStep::AwaitInit));
            between.extend(meanwhile.into_iter().map(|step| (after, step)));
            between.push((after, RuntimeStep::Release));
        };
        if let Some((maps, after)) = late_maps {
            add(after, vec![RuntimeStep::MapIds(maps.clone())]);
        }
        // Init may have gone on as another process since it was recorded.
        let mut unrecorded = forks;
        for Stop { after, mut meanwhile } in self.0 {
            if std::mem::take(&mut unrecorded) {
                meanwhile.insert(0, RuntimeStep::Record);
            }
            add(after, meanwhile);
        }
        between
    }
}
