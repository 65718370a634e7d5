//! What is said on the wire, as Protocol Buffers: the fields and numbers of containerd's published definitions, of which
//! only those that are used are here (unknown ones are passed over). One file a definition.

pub mod bootstrap;
pub mod events;
pub mod metrics;
pub mod metrics_v1;
pub mod options;
pub mod task;
pub mod ttrpc;

use std::time::{SystemTime, UNIX_EPOCH};

use prost::Message;

use crate::{Context, Result};

/// google.protobuf.Any: a message with its name. containerd's names are the full ones, without a host before them.
#[derive(Clone, PartialEq, Message)]
pub struct Any {
    #[prost(string, tag = "1")]
    pub type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    pub value: Vec<u8>,
}

impl Any {
    /// A message under a name.
    pub fn of(name: &str, message: &impl Message) -> Self {
        Self { type_url: name.to_owned(), value: message.encode_to_vec() }
    }

    /// The name, without the host that some write before it.
    pub fn name(&self) -> &str {
        self.type_url.rsplit_once('/').map_or(self.type_url.as_str(), |(_, name)| name)
    }
}

/// google.protobuf.Timestamp.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct Timestamp {
    #[prost(int64, tag = "1")]
    pub seconds: i64,
    #[prost(int32, tag = "2")]
    pub nanos: i32,
}

impl Timestamp {
    /// This moment.
    pub fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { seconds: since.as_secs() as i64, nanos: since.subsec_nanos() as i32 }
    }
}

/// google.protobuf.Empty.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct Empty {}

/// Reads a message.
///
/// # Errors
/// When the bytes are none of that kind.
pub fn decode<M: Message + Default>(what: &str, bytes: &[u8]) -> Result<M> {
    M::decode(bytes).map_err(|error| crate::Error::invalid(error.to_string())).context(|| format!("read {what}"))
}
