//! NOTIFY_SOCKET, the service manager that wants to know when the service is ready: sd_notify(3). The container gets a
//! socket of its own, below, which it may tell nothing but that.

use std::ffi::CString;
use std::path::PathBuf;

use serde::Serialize;

use super::plan::RuntimeStep;
use crate::init::mounts::plan::bind_directory;
use crate::init::program::{Draft, Source, text};
use crate::{Error, Result};

/// The variable that names the service manager's socket.
pub const VARIABLE: &str = "NOTIFY_SOCKET";
/// The socket's name in its directory.
pub const SOCKET: &str = "notify.sock";
/// Where the container has the directory: as runc.
const INSIDE: &str = "/run/notify";

/// The address of a service manager's socket: an absolute path, or `@` and a name of the abstract namespace (unix(7)).
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(transparent)]
pub struct ServiceManager(String);

impl ServiceManager {
    /// That of this process's environment; None where the variable is not set, or empty.
    pub fn from_environment() -> Result<Option<Self>> {
        match std::env::var_os(VARIABLE) {
            None => Ok(None),
            Some(value) if value.is_empty() => Ok(None),
            Some(value) => Self::parse(value.to_str().unwrap_or_default())
                .map(Some)
                .map_err(|error| error.context(format!("{VARIABLE}={}", value.display()))),
        }
    }

    fn parse(address: &str) -> Result<Self> {
        let (first, rest) = (address.chars().next(), address.get(1..).unwrap_or_default());
        match first {
            Some('/') => Ok(Self(address.to_owned())),
            // sun_path has 108 bytes, of which one is the NUL in the place of the @.
            Some('@') if !rest.is_empty() && rest.len() < 108 => Ok(Self(address.to_owned())),
            Some('@') => Err(Error::invalid("an abstract name has 1 to 107 bytes")),
            _ => Err(Error::invalid(
                "it is neither an absolute path nor @ and a name: unset it, or name the unix socket of a service manager",
            )),
        }
    }

    /// The address as it was given.
    pub fn address(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for ServiceManager {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{VARIABLE}={}", self.0)
    }
}

/// A container whose readiness a service manager waits for.
pub struct Notify {
    /// Who waits.
    pub manager: ServiceManager,
    /// The directory on the host that will hold the container's socket.
    pub directory: PathBuf,
}

impl Notify {
    /// What the runtime does first. `listens` says that it is also what starts the process.
    pub fn prepare(&self, listens: bool, first: &mut Vec<RuntimeStep>) {
        // Before anything is made: a manager that is not there is the caller's mistake.
        first.insert(0, RuntimeStep::MeetManager(self.manager.clone()));
        first.push(RuntimeStep::MakeNotify { directory: self.directory.clone(), listens });
    }

    /// Shows the directory to the container, read-only. `opened` says that the runtime opens it, since the state directory
    /// is closed to whoever is not its owner.
    pub fn mount(&self, opened: bool, draft: &mut Draft) -> Result<()> {
        let tree = opened.then(|| draft.slot(Source::NotifyDirectory { path: self.directory.clone() }));
        bind_directory(&self.directory, tree, INSIDE, VARIABLE, draft)
    }

    /// Names the container's socket in its environment, in the place of any other.
    pub fn tell(environment: &mut Vec<CString>) -> Result<()> {
        let is_ours = |variable: &CString| {
            variable.to_bytes().strip_prefix(VARIABLE.as_bytes()).is_some_and(|rest| rest.first() == Some(&b'='))
        };
        environment.retain(|variable| !is_ours(variable));
        environment.push(text(VARIABLE, format!("{VARIABLE}={INSIDE}/{SOCKET}"))?);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_an_absolute_path_or_an_abstract_name() {
        for good in ["/run/systemd/notify", "@nfrun/test"] {
            assert_eq!(ServiceManager::parse(good).unwrap().address(), good);
        }
        let long = format!("@{}", "x".repeat(108));
        for bad in ["relative", "vsock:2:1234", "@", &long] {
            assert!(ServiceManager::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_containers_socket_takes_the_place_of_another_and_of_nothing_else() {
        let mut environment: Vec<_> =
            [c"NOTIFY_SOCKET=/host", c"A=1", c"NOTIFY_SOCKETS=2"].iter().map(|text| (*text).to_owned()).collect();
        Notify::tell(&mut environment).unwrap();
        assert_eq!(
            environment,
            [c"A=1", c"NOTIFY_SOCKETS=2", c"NOTIFY_SOCKET=/run/notify/notify.sock"].map(CString::from)
        );
    }
}
