//! The one error type: what was attempted, on which object, why it failed, and what to do, as a chain of sentences.

use std::fmt;

/// What a caller treats differently; everything else about an error is words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Nothing that a caller would treat specially.
    Other,
    /// The container that a command names does not exist.
    NoSuchContainer,
    /// The container, or the network, exists already.
    Exists,
    /// The container is not in a state that allows the command.
    WrongState,
    /// The bundle asks for something that is not valid or that nfrun does not have.
    Invalid,
}

/// An error with the context that its callers added, outermost first.
#[derive(Debug)]
pub struct Error {
    kind: Kind,
    message: String,
    errno: Option<i32>,
}

/// The library's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of no special kind.
    pub fn new(message: impl Into<String>) -> Self {
        Self { kind: Kind::Other, message: message.into(), errno: None }
    }

    /// An error in what the user asked for: the bundle, a flag, an id.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self { kind: Kind::Invalid, ..Self::new(message) }
    }

    /// The same error as another kind.
    #[must_use]
    pub fn kind_of(mut self, kind: Kind) -> Self {
        self.kind = kind;
        self
    }

    /// The same error with what was being attempted put before it.
    #[must_use]
    pub fn context(mut self, what: impl fmt::Display) -> Self {
        self.message = format!("{what}: {}", self.message);
        self
    }

    /// The same error in other words.
    #[must_use]
    pub fn reworded(mut self, message: impl Into<String>) -> Self {
        self.message = message.into();
        self
    }

    /// What callers treat differently.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The errno at the root of the error, where a system call was.
    pub fn errno(&self) -> Option<i32> {
        self.errno
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

/// The kernel's words for an errno, in lower case as runc prints them ("no such file or directory").
pub(crate) fn errno_words(errno: i32) -> String {
    let words = nix::errno::Errno::from_raw(errno).desc();
    let mut chars = words.chars();
    match (chars.next(), chars.clone().next()) {
        (Some(first), Some(second)) if second.is_lowercase() => first.to_lowercase().chain(chars).collect(),
        _ => words.to_owned(),
    }
}

impl From<nix::errno::Errno> for Error {
    fn from(errno: nix::errno::Errno) -> Self {
        Self { errno: Some(errno as i32), ..Self::new(errno_words(errno as i32)) }
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        match error.raw_os_error() {
            Some(errno) => Self { errno: Some(errno), ..Self::new(errno_words(errno)) },
            None => Self::new(error.to_string()),
        }
    }
}

impl From<serde_json::Error> for Error {
    fn from(error: serde_json::Error) -> Self {
        Self::new(error.to_string())
    }
}

/// Adds what was being attempted to whatever went wrong.
pub trait Context<T> {
    /// Puts the sentence that `what` makes before the error.
    fn context<D: fmt::Display>(self, what: impl FnOnce() -> D) -> Result<T>;
}

impl<T, E: Into<Error>> Context<T> for std::result::Result<T, E> {
    fn context<D: fmt::Display>(self, what: impl FnOnce() -> D) -> Result<T> {
        self.map_err(|error| error.into().context(what()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chain_reads_from_the_attempt_to_the_cause() {
        let error = std::fs::read("/nowhere").context(|| "open /nowhere").unwrap_err().context("read the bundle");
        assert_eq!(error.to_string(), "read the bundle: open /nowhere: no such file or directory");
        assert_eq!(error.errno(), Some(libc::ENOENT));
    }
}
