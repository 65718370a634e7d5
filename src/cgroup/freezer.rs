//! Stopping every process of a place at once: by the v1 freezer (Documentation/admin-guide/cgroup-v1/freezer-subsystem.rst),
//! where freezing is asked for and then takes its time, and the kernel tells its end in no way but the state file; on
//! cgroup2 by `cgroup.freeze`, whose end `cgroup.events` tells.

use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::events::{Events, Watch};
use super::file::{is_gone, read, write, write_at};
use super::place::{Place, walk};
use super::stuck::{describe_all, is_in_d_state, is_outside_refrigerator};
use crate::{Context, Error, Result};

pub(super) const THAWED: &str = "THAWED";
const FROZEN: &str = "FROZEN";

/// How far frozen a place is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freezer {
    /// Its processes run; also where there is no freezer, or no cgroup any more.
    Thawed,
    /// Asked for, but some process still runs.
    Freezing,
    /// No process runs, by this cgroup's own doing.
    Frozen,
    /// A parent is frozen or freezing, and this one only with it.
    ByParent,
}

impl Place {
    /// How far frozen it is.
    ///
    /// # Errors
    /// When the kernel says what it is not documented to say.
    pub fn freezer_state(&self) -> Result<Freezer> {
        let Some(dir) = self.with("freezer").map(super::Cgroup::dir) else { return self.v2_state() };
        let path = format!("{dir}/freezer.state");
        let state = match read(&path) {
            Err(errno) if is_gone(errno) => return Ok(Freezer::Thawed),
            state => state.context(|| format!("read {path}"))?,
        };
        if state == THAWED {
            return Ok(Freezer::Thawed);
        }
        if read(&format!("{dir}/freezer.self_freezing")).is_ok_and(|own| own == "0") {
            return Ok(Freezer::ByParent);
        }
        match state.as_str() {
            FROZEN => Ok(Freezer::Frozen),
            "FREEZING" => Ok(Freezer::Freezing),
            other => Err(Error::new(format!("{path}: unknown freezer.state {other:?}"))),
        }
    }

    /// Whether `freeze` has stopped it, or is about to.
    pub fn is_frozen(&self) -> bool {
        matches!(self.freezer_state(), Ok(Freezer::Frozen | Freezer::Freezing))
    }

    /// Freezes every process, and returns once none runs.
    ///
    /// # Errors
    /// When that is not so after `timeout`: everything is thawed again, and the error names the processes that did not
    /// freeze and what they wait in.
    pub fn freeze(&self, timeout: Duration) -> Result<()> {
        if let Some(dir) = self.v2_freezer() {
            return self.freeze_v2(&dir, timeout);
        }
        let path = self.freezer_file()?;
        let deadline = Instant::now() + timeout;
        let mut pause = Duration::from_micros(20);
        for round in 1.. {
            write(&path, FROZEN)?;
            match self.freezer_state() {
                Ok(Freezer::Frozen) => return Ok(()),
                Ok(_) if Instant::now() < deadline => {}
                Ok(_) => break,
                Err(error) => {
                    let _ = write(&path, THAWED);
                    return Err(error);
                }
            }
            // Where processes keep entering or forking, the kernel may never see all of them frozen at once; letting
            // them go for a moment ends that.
            if round % 16 == 0 {
                write(&path, THAWED)?;
            }
            sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(5));
        }
        self.give_up(timeout, || write(&path, THAWED))
    }

    /// Thaws what did not freeze in time, and says what kept it.
    fn give_up(&self, timeout: Duration, thaw: impl Fn() -> Result<()>) -> Result<()> {
        let mut stuck = self.pids()?;
        stuck.retain(|pid| is_outside_refrigerator(*pid));
        thaw()?;
        // A thread that was frozen in its sleep shows as D too while it is; what keeps that state when thawed is stuck.
        stuck.retain(|pid| is_in_d_state(*pid));
        let who = match stuck.as_slice() {
            [] => "its processes keep changing".to_owned(),
            stuck => describe_all(stuck),
        };
        Err(Error::new(format!("unable to freeze within {timeout:?}: {who}; it is thawed again")))
    }

    /// Lets every process run again.
    ///
    /// # Errors
    /// When a parent is frozen, which only its owner can undo, or the kernel refuses.
    pub fn thaw(&self) -> Result<()> {
        if let Some(dir) = self.v2_freezer() {
            return thaw_v2(&dir);
        }
        let path = self.freezer_file()?;
        write(&path, THAWED)?;
        match self.freezer_state()? {
            Freezer::Thawed => Ok(()),
            _ => Err(Error::new(format!("{path}: still frozen, since a parent cgroup is; thaw that one"))),
        }
    }

    /// Thaws this and every cgroup below it, since a frozen process does not die of SIGKILL, and a container may have
    /// frozen a sub-cgroup of its own.
    pub(super) fn thaw_all(&self) {
        if let Some(dir) = self.v2_freezer() {
            // There a frozen process dies of SIGKILL, but whoever enters next would stand still.
            let _ = write(&format!("{dir}/cgroup.freeze"), "0");
        }
        let Some(cgroup) = self.with("freezer") else { return };
        // What cannot be thawed shows when it does not die.
        let _ = walk(Path::new(&cgroup.dir()), &mut |dir| {
            let _ = write_at(dir, "freezer.state", THAWED);
            Ok(())
        });
    }

    /// The directory whose `cgroup.freeze` stops the place, where no v1 hierarchy does.
    fn v2_freezer(&self) -> Option<String> {
        self.v2().filter(|_| self.with("freezer").is_none()).map(super::Cgroup::dir)
    }

    fn v2_state(&self) -> Result<Freezer> {
        let Some(dir) = self.v2_freezer() else { return Ok(Freezer::Thawed) };
        let path = format!("{dir}/cgroup.freeze");
        let asked = match read(&path) {
            Err(errno) if is_gone(errno) => return Ok(Freezer::Thawed),
            text => text.context(|| format!("read {path}"))? == "1",
        };
        Ok(match (asked, Events::of(&dir)?.frozen) {
            (true, true) => Freezer::Frozen,
            (true, false) => Freezer::Freezing,
            (false, true) => Freezer::ByParent,
            (false, false) => Freezer::Thawed,
        })
    }

    fn freeze_v2(&self, dir: &str, timeout: Duration) -> Result<()> {
        let path = format!("{dir}/cgroup.freeze");
        // Opened before, so that no change is missed.
        let watch = Watch::open(dir)?.ok_or_else(|| Error::new(format!("the cgroup {dir} is gone")))?;
        write(&path, "1")?;
        match watch.wait(Instant::now() + timeout, |events| events.frozen) {
            Ok(true) => Ok(()),
            Ok(false) => self.give_up(timeout, || write(&path, "0")),
            Err(error) => {
                let _ = write(&path, "0");
                Err(error)
            }
        }
    }

    fn freezer_file(&self) -> Result<String> {
        let cgroup = self.with("freezer").ok_or_else(|| {
            Error::new("the freezer controller is not mounted on this host, so processes cannot be paused; mount it")
        })?;
        Ok(format!("{}/freezer.state", cgroup.dir()))
    }
}

/// How long processes may take to leave the freezer, which needs nothing of them.
const THAWING: Duration = Duration::from_secs(1);

fn thaw_v2(dir: &str) -> Result<()> {
    let path = format!("{dir}/cgroup.freeze");
    let Some(watch) = Watch::open(dir)? else { return Ok(()) };
    write(&path, "0")?;
    match watch.wait(Instant::now() + THAWING, |events| !events.frozen)? {
        true => Ok(()),
        false => Err(Error::new(format!("{path}: still frozen, since a parent cgroup is; thaw that one"))),
    }
}
