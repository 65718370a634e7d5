//! Why a request fails, as the caller of it is told: a code of gRPC, by which clients decide, and words.

use super::messages::ttrpc::Status;
use crate::{Error, Kind};

/// The codes that containerd's clients tell apart: google.rpc.Code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    Unknown = 2,
    InvalidArgument = 3,
    NotFound = 5,
    AlreadyExists = 6,
    ResourceExhausted = 8,
    FailedPrecondition = 9,
    Unimplemented = 12,
}

/// A failure.
#[derive(Debug, PartialEq, Eq)]
pub struct Failure {
    code: Code,
    message: String,
}

impl Failure {
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    pub fn not_found(what: &str) -> Self {
        // containerd's own words behind the colon are looked for by old clients.
        Self::new(Code::NotFound, format!("{what}: not found"))
    }

    /// The same with what was being attempted before it.
    pub fn during(self, what: &str) -> Self {
        Self { message: format!("{what}: {}", self.message), ..self }
    }

    /// The same under another code.
    pub fn under(self, code: Code) -> Self {
        Self { code, ..self }
    }

    pub fn status(self) -> Status {
        Status { code: self.code as i32, message: self.message }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let code = match error.kind() {
            Kind::NoSuchContainer => Code::NotFound,
            Kind::Exists => Code::AlreadyExists,
            Kind::WrongState => Code::FailedPrecondition,
            Kind::Invalid => Code::InvalidArgument,
            Kind::Other => Code::Unknown,
        };
        Self::new(code, error.to_string())
    }
}
