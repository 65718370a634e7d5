//! Where a bus listens: "Server Addresses" of the specification. Only unix sockets are for a bus of this machine.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, setsockopt, socket, sockopt};
use nix::sys::time::{TimeVal, TimeValLike};

use crate::sys::net::connect_path_within;
use crate::{Context, Error, Result};

/// An address as it is given in words: one or more, `;` between, of which the first that answers is taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address(String);

/// One of them.
#[derive(Debug, PartialEq, Eq)]
enum Socket {
    Path(String),
    Abstract(String),
}

impl Address {
    /// Takes an address such as `unix:path=/run/dbus/system_bus_socket`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The address of a socket at a path.
    pub fn of_path(path: &str) -> Self {
        // What need not be escaped, by the specification.
        let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_/.\\*".contains(byte);
        let escaped =
            path.bytes().map(|byte| if plain(&byte) { char::from(byte).to_string() } else { format!("%{byte:02x}") });
        Self(format!("unix:path={}", escaped.collect::<String>()))
    }

    /// The address in words.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Connects, to the first of its sockets that accepts by then.
    ///
    /// # Errors
    /// Names the address, and why the last of its sockets could not be connected to.
    pub(super) fn connect(&self, deadline: Instant) -> Result<OwnedFd> {
        let mut last = Error::invalid("it names no unix socket (unix:path=/… or unix:abstract=…)");
        for text in self.0.split(';').filter(|text| !text.is_empty()) {
            let Some(socket) = parse(text) else { continue };
            // No time at all would be no limit.
            let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            match socket.connect(left) {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

fn parse(text: &str) -> Option<Socket> {
    let pairs = text.strip_prefix("unix:")?;
    pairs.split(',').find_map(|pair| match pair.split_once('=')? {
        ("path", path) => Some(Socket::Path(unescape(path)?)),
        ("abstract", name) => Some(Socket::Abstract(unescape(name)?)),
        _ => None,
    })
}

/// `%` and two hexadecimal digits stand for a byte.
fn unescape(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, more @ ..] = rest {
        rest = more;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let digits = rest.get(..2).filter(|digits| digits.iter().all(u8::is_ascii_hexdigit))?;
        bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
        rest = &rest[2..];
    }
    String::from_utf8(bytes).ok()
}

impl Socket {
    fn connect(&self, limit: Duration) -> Result<OwnedFd> {
        match self {
            Self::Path(path) => connect_path_within(Path::new(path), limit),
            Self::Abstract(name) => {
                let stream = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
                setsockopt(&stream, sockopt::SendTimeout, &TimeVal::milliseconds(limit.as_millis() as i64))?;
                UnixAddr::new_abstract(name.as_bytes())
                    .and_then(|address| connect(stream.as_raw_fd(), &address))
                    .context(|| format!("connect to @{name}"))?;
                Ok(stream)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_names_a_path_or_an_abstract_name_and_what_is_escaped_is_a_byte() {
        assert_eq!(parse("unix:path=/run/user/1000/bus,guid=a"), Some(Socket::Path("/run/user/1000/bus".into())));
        assert_eq!(parse("unix:guid=a,abstract=/tmp/x"), Some(Socket::Abstract("/tmp/x".into())));
        assert_eq!(parse("unix:path=/a%20b"), Some(Socket::Path("/a b".into())));
        assert_eq!(parse("unix:path=/a%2"), None);
        assert_eq!(parse("unix:path=/a%+2"), None);
        assert_eq!(parse("unixexec:path=/bin/sh"), None);
        assert_eq!(parse("tcp:host=localhost"), None);
        let odd = Address::of_path("/a b%;,=");
        assert_eq!(parse(odd.as_str()), Some(Socket::Path("/a b%;,=".into())));
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(1)
    }

    #[test]
    fn sockets_that_accept_nothing_have_one_limit_together() {
        let path = std::env::temp_dir().join(format!("nfrun-unit-{}-bus", std::process::id()));
        let _listener = crate::sys::net::listen_path(&path).unwrap();
        let mut full = Vec::new();
        while let Ok(stream) = connect_path_within(&path, Duration::from_millis(1)) {
            full.push(stream);
        }
        let one = Address::of_path(path.to_str().unwrap());
        let begun = Instant::now();
        Address::new([one.as_str(); 8].join(";")).connect(soon()).unwrap_err();
        std::fs::remove_file(&path).unwrap();
        assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    }

    #[test]
    fn a_bus_that_is_not_there_is_named() {
        let error = Address::new("unix:path=/nonexistent/bus").connect(soon()).unwrap_err();
        assert!(error.to_string().contains("/nonexistent/bus"), "{error}");
        let error = Address::new("tcp:host=h").connect(soon()).unwrap_err();
        assert!(error.to_string().contains("no unix socket"), "{error}");
    }
}
