//! systemd as the manager of a container's cgroup: a transient scope, which systemd makes around a process that is there.
//! No file of a cgroup is written here but to enter it. A path, resources and annotations come in; calls over D-Bus go to
//! the host's manager or a user's own, and a [`Unit`] stays in the container's place.
//!
//! `names` turns the path into a unit, `properties` and `devices` the steps that write files into what the unit is told,
//! `annotations` adds to it, `manager` has the calls, and `scope` the steps.

mod annotations;
mod devices;
mod manager;
mod names;
mod properties;
mod scope;

pub use annotations::PREFIX as ANNOTATION;
pub use names::{Manager, Unit};
pub use properties::Property;
pub use scope::{Change, Start, below, place, plan, stop};
pub(super) use scope::{enter, start};
