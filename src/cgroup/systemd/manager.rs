//! The few calls of systemd's D-Bus interface that a container needs: org.freedesktop.systemd1(5). An errand is one
//! connection and one deadline, and what it costs is one wait for the first answer and one for the end of the job.

use std::time::Duration;

use super::names::{Manager, Unit};
use super::properties::Property;
use crate::dbus::{Address, Body, Bus, Call, Message, Refusal};
use crate::sys::Caller;
use crate::{Error, Result};

/// How long an errand may take: a busy systemd needs seconds for a reload, and runc waits for 30.
const LIMIT: Duration = Duration::from_secs(20);

const SYSTEMD: &str = "org.freedesktop.systemd1";
const OBJECT: &str = "/org/freedesktop/systemd1";
const INTERFACE: &str = "org.freedesktop.systemd1.Manager";

/// Where the host's bus listens.
const SYSTEM_BUS: &str = "unix:path=/run/dbus/system_bus_socket";

/// There exactly where systemd is the machine's service manager: sd_booted(3).
const BOOTED: &str = "/run/systemd/system";

/// The limit, which a build for tests lets be shortened.
fn limit() -> Duration {
    #[cfg(feature = "fault")]
    if let Some(limit) = std::env::var("NFRUN_BUS_LIMIT_MS").ok().and_then(|text| text.parse().ok()) {
        return Duration::from_millis(limit);
    }
    LIMIT
}

fn given(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|text| !text.is_empty())
}

impl Manager {
    /// The manager for whoever asks: the host's for root, a user's own for everybody else, and for the root of a user
    /// namespace, as rootless podman runs us.
    ///
    /// # Errors
    /// When there is none.
    pub fn of_caller(caller: Caller) -> Result<Self> {
        if caller == Caller::Root {
            if given("DBUS_SYSTEM_BUS_ADDRESS").is_none() && !std::path::Path::new(BOOTED).is_dir() {
                return Err(Error::invalid(format!(
                    "--systemd-cgroup: systemd is not running on this host ({BOOTED} is not there): use --cgroup-manager cgroupfs"
                )));
            }
            return Ok(Self::System);
        }
        if let Some(bus) = given("DBUS_SESSION_BUS_ADDRESS") {
            return Ok(Self::User { bus });
        }
        let path = given("XDG_RUNTIME_DIR").map(|dir| format!("{dir}/bus"));
        match path.filter(|path| std::path::Path::new(path).exists()) {
            Some(path) => Ok(Self::User { bus: Address::of_path(&path).as_str().to_owned() }),
            None => Err(Error::invalid(
                "--systemd-cgroup: could not detect DBUS_SESSION_BUS_ADDRESS from the environment, and there is no bus in XDG_RUNTIME_DIR: log in again with dbus-user-session installed, or use --cgroup-manager cgroupfs",
            )),
        }
    }

    fn connect(&self, what: &str) -> Result<Bus> {
        let (name, address) = match self {
            Self::System => {
                let address = given("DBUS_SYSTEM_BUS_ADDRESS").unwrap_or_else(|| SYSTEM_BUS.to_owned());
                ("the system's bus", address)
            }
            Self::User { bus } => ("the user's bus", bus.clone()),
        };
        Bus::connect(name, &Address::new(address), limit()).map_err(|error| explain(error.context(what)))
    }

    /// A property of the manager that is a text.
    ///
    /// # Errors
    /// When it does not answer, or has no such property.
    pub(super) fn property(&self, name: &str) -> Result<String> {
        let what = format!("get systemd's {name}");
        let call = Call {
            destination: SYSTEMD,
            path: OBJECT,
            interface: "org.freedesktop.DBus.Properties",
            member: "Get",
            body: Body::default().text(INTERFACE).text(name),
        };
        let answer = self.connect(&what)?.call(&call, &what).map_err(explain)?;
        let answer = answer.map_err(|refusal| of_refusal(&what, &refusal))?;
        let text = answer.arguments().variant_text().map(str::to_owned);
        text.ok_or_else(|| Error::new(format!("{what}: the answer is no text")))
    }

    /// The manager's version.
    ///
    /// # Errors
    /// As [`Manager::property`].
    pub(super) fn version(&self) -> Result<u32> {
        let text = self.property("Version")?;
        // "252.39-1~deb12u2", and "v245" of old.
        let digits: String = text.trim_start_matches('v').chars().take_while(char::is_ascii_digit).collect();
        digits.parse().map_err(|_| Error::new(format!("systemd says that its version is {text:?}")))
    }
}

impl Unit {
    /// Starts the scope with a process in it, and waits until that is done. A failed unit of the name is cleared away.
    ///
    /// # Errors
    /// When systemd refuses a property, or a unit of the name is active; when the job fails or takes too long.
    pub(super) fn start(&self, properties: &[Property], pid: i32) -> Result<()> {
        let what = format!("start unit {}", self.name);
        let mut bus = self.manager.connect(&what)?;
        bus.watch(&self.jobs());
        let call = || {
            let pids = crate::dbus::Value::Numbers(vec![pid.unsigned_abs()]);
            let all = properties.iter().map(|property| (property.name.as_str(), &property.value));
            let body = Body::default().text(&self.name).text("replace");
            of_manager("StartTransientUnit", body.properties(all.chain([("PIDs", &pids)])).no_units())
        };
        let mut answer = bus.call(&call(), &what).map_err(explain)?;
        if answer.as_ref().is_err_and(|refusal| is(refusal, "UnitExists")) {
            // A failed one stays until it is reset; of an active one this changes nothing.
            self.reset(&mut bus, &what)?;
            answer = bus.call(&call(), &what).map_err(explain)?;
        }
        let answer = answer.map_err(|refusal| match is(&refusal, "UnitExists") {
            true => Error::invalid(format!(
                "linux.cgroupsPath: a unit {0} is active already: choose another name, or stop that one (systemctl stop {0})",
                self.name
            )),
            false => of_refusal(&what, &refusal),
        })?;
        match self.end_of_job(&mut bus, &answer, &what)?.as_str() {
            "done" => Ok(()),
            result => {
                // It would keep the name.
                let _ = self.reset(&mut bus, &what);
                Err(Error::new(format!(
                    "{what}: the job ended as {result}; `systemctl status {0}` and `journalctl -u {0}` say more",
                    self.name
                )))
            }
        }
    }

    /// Stops the scope, waits until that is done, and clears away what has failed. One that is not there is stopped.
    ///
    /// # Errors
    /// When systemd does not answer or refuses.
    pub(super) fn stop(&self) -> Result<()> {
        let what = format!("stop unit {}", self.name);
        let mut bus = self.manager.connect(&what)?;
        bus.watch(&self.jobs());
        let stop = of_manager("StopUnit", Body::default().text(&self.name).text("replace"));
        match bus.call(&stop, &what).map_err(explain)? {
            Ok(answer) => drop(self.end_of_job(&mut bus, &answer, &what)?),
            Err(refusal) if is(&refusal, "NoSuchUnit") => return Ok(()),
            Err(refusal) => return Err(of_refusal(&what, &refusal)),
        }
        self.reset(&mut bus, &what)
    }

    /// Clears away the unit if it has failed; one that is not there, or active, stays as it is.
    ///
    /// # Errors
    /// When systemd does not answer or refuses.
    pub(super) fn forget(&self) -> Result<()> {
        let what = format!("reset unit {}", self.name);
        self.reset(&mut self.manager.connect(&what)?, &what)
    }

    fn reset(&self, bus: &mut Bus, what: &str) -> Result<()> {
        let reset = of_manager("ResetFailedUnit", Body::default().text(&self.name));
        match bus.call(&reset, what).map_err(explain)? {
            Err(refusal) if !is(&refusal, "NoSuchUnit") => Err(of_refusal(what, &refusal)),
            _ => Ok(()),
        }
    }

    /// Changes properties for as long as the unit lives: all of them or, where one is refused, none.
    ///
    /// # Errors
    /// Names the unit, and with systemd's words the property.
    pub(super) fn set(&self, properties: &[Property]) -> Result<()> {
        let what = format!("change unit {}", self.name);
        let all = properties.iter().map(|property| (property.name.as_str(), &property.value));
        let body = Body::default().text(&self.name).bool(true).properties(all);
        let answer = self.manager.connect(&what)?.call(&of_manager("SetUnitProperties", body), &what);
        answer.map_err(not_known)?.map(drop).map_err(|refusal| of_refusal(&what, &refusal))
    }

    /// Moves a process into the unit's cgroup, or one below it: for a user, whom the kernel lets move no process out of
    /// his session.
    ///
    /// # Errors
    /// As [`Unit::set`].
    pub fn attach(&self, below: &str, pid: i32) -> Result<()> {
        let what = format!("move process {pid} into unit {}", self.name);
        let body = Body::default().text(&self.name).text(below).numbers(&[pid.unsigned_abs()]);
        let answer = self.manager.connect(&what)?.call(&of_manager("AttachProcessesToUnit", body), &what);
        answer.map_err(explain)?.map(drop).map_err(|refusal| of_refusal(&what, &refusal))
    }

    /// The signals of this unit's jobs.
    fn jobs(&self) -> String {
        format!(
            "type='signal',sender='{SYSTEMD}',path='{OBJECT}',interface='{INTERFACE}',member='JobRemoved',arg2='{}'",
            self.name
        )
    }

    /// Waits for the end of the job that a call was answered with, as whoever answered tells it: anybody on the bus may
    /// send such a signal. How it ended, in systemd's word.
    fn end_of_job(&self, bus: &mut Bus, answer: &Message, what: &str) -> Result<String> {
        let job = answer.arguments().text().unwrap_or_default().to_owned();
        let is_it =
            |signal: &Message| signal.sender == answer.sender && read_end(signal).is_some_and(|(path, _)| path == job);
        let signal = bus.signal("JobRemoved", what, is_it).map_err(explain)?;
        Ok(read_end(&signal).map(|(_, result)| result.to_owned()).unwrap_or_default())
    }
}

/// JobRemoved: number, path, unit, result.
fn read_end(signal: &Message) -> Option<(&str, &str)> {
    let mut arguments = signal.arguments();
    arguments.u32()?;
    let path = arguments.text()?;
    arguments.text()?;
    Some((path, arguments.text()?))
}

fn of_manager(member: &str, body: Body) -> Call<'_> {
    Call { destination: SYSTEMD, path: OBJECT, interface: INTERFACE, member, body }
}

fn is(refusal: &Refusal, name: &str) -> bool {
    refusal.name.strip_prefix("org.freedesktop.systemd1.") == Some(name)
}

fn of_refusal(what: &str, refusal: &Refusal) -> Error {
    let way_out = match refusal.name.as_str() {
        "org.freedesktop.DBus.Error.PropertyReadOnly" | "org.freedesktop.DBus.Error.UnknownProperty" => {
            " (this systemd does not have the property: drop what asks for it, or use --cgroup-manager cgroupfs)"
        }
        "org.freedesktop.DBus.Error.AccessDenied" | "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired" => {
            " (only root may ask the system's manager)"
        }
        _ => "",
    };
    Error::new(format!("{what}: systemd says: {}{way_out}", refusal.words))
}

/// A call that was sent and not answered may have an effect yet.
fn not_known(error: Error) -> Error {
    let message = format!("{error}; systemd may make the change when it goes on, repeat it then");
    explain(error.reworded(message))
}

/// What to do about a bus that does not answer.
fn explain(error: Error) -> Error {
    let message = format!("{error}; see `systemctl status dbus`, or use --cgroup-manager cgroupfs");
    error.reworded(message)
}
