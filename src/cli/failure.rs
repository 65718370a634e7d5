//! How a command ends when it does not succeed: what is said, and the exit code.

use crate::Error;
use crate::logger;

/// The end of a command that failed.
#[derive(Debug)]
pub(super) struct Failure {
    /// What is said, on stderr and in the log.
    pub message: String,
    /// The exit code.
    pub code: u8,
}

impl Failure {
    /// A failure with runc's usual exit code, 1.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), code: 1 }
    }

    /// The same failure with another exit code.
    pub fn exit(mut self, code: u8) -> Self {
        self.code = code;
        self
    }

    /// The same failure with what was being attempted put before it.
    pub fn during(mut self, what: &str) -> Self {
        self.message = format!("{what}: {}", self.message);
        self
    }

    /// Says it, and returns the exit code.
    pub fn report(&self) -> u8 {
        logger::report(&self.message);
        self.code
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::new(error.to_string())
    }
}
