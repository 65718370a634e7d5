//! Transactions: several messages of which all hold or none, and only if no other transaction came between (nfnetlink's
//! batches, NFNL_BATCH_GENID).

use std::fmt;

use crate::network::netlink::{Request, Socket};
use crate::{Error, Result};

/// What a message of a transaction is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum About<'a> {
    /// The table and what it always has.
    Table,
    /// A zone of that name.
    Zone(&'a str),
    /// An endpoint of that key.
    Endpoint(&'a str),
    /// The table for what is bridged.
    Bridge,
    /// A chain of another's.
    Foreign,
}

impl fmt::Display for About<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Table => f.write_str("table inet nfrun"),
            Self::Zone(name) => write!(f, "network {name}"),
            Self::Endpoint(key) => write!(f, "interface {key}"),
            Self::Bridge => f.write_str("table bridge nfrun"),
            Self::Foreign => f.write_str("rules in a table of another's"),
        }
    }
}

/// A transaction that is being put together.
#[derive(Debug, Default)]
pub struct Batch<'a> {
    requests: Vec<Request>,
    about: Vec<About<'a>>,
}

/// Why a transaction was not carried out.
#[derive(Debug)]
pub struct Refused {
    pub error: Error,
    /// Whether it was a message about the table for what is bridged.
    pub bridged: bool,
}

impl Refused {
    /// Whether another transaction came between.
    pub fn moved(&self) -> bool {
        matches!(self.error.errno(), Some(libc::ERESTART | libc::EAGAIN))
    }

    /// Whether the tables are not as they were taken to be.
    pub fn is_stale(&self) -> bool {
        let errnos = [libc::ENOENT, libc::EEXIST, libc::ENOTEMPTY, libc::EBUSY];
        self.moved() || errnos.map(Some).contains(&self.error.errno())
    }

    /// The error of a transaction that stands on nothing that was there before.
    pub fn explained(self) -> Error {
        explained(self.error)
    }
}

/// Adds what to do about an error.
pub fn explained(error: Error) -> Error {
    let what = match error.errno() {
        Some(libc::EPERM | libc::EACCES) => "it takes CAP_NET_ADMIN in the network namespace's user namespace",
        Some(libc::ENOENT | libc::EOPNOTSUPP | libc::EAFNOSUPPORT | libc::EPROTONOSUPPORT | libc::EINVAL) => {
            "the kernel lacks a part of nf_tables; needed are NF_TABLES_INET, NFT_CT, NFT_NAT, NFT_MASQ and NFT_FIB_INET, \
             as modules or built in"
        }
        _ => return error,
    };
    let message = format!("{error} ({what})");
    error.reworded(message)
}

impl<'a> Batch<'a> {
    /// Adds messages that are about the same.
    pub fn put(&mut self, about: About<'a>, requests: Vec<Request>) {
        self.about.extend(requests.iter().map(|_| about));
        self.requests.extend(requests);
    }

    pub fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    /// Carries it out, if the last transaction of the kernel's is still of this number; returns its own.
    pub fn commit(self, socket: &Socket, generation: u32) -> Result<u32, Refused> {
        let Self { mut requests, about } = self;
        if let Some(last) = requests.last_mut() {
            // One acknowledgement says that all hold; of each that fails the kernel tells without being asked.
            last.want_answer();
        }
        let frame = |kind| Request::netfilter(kind as u16, 0, libc::AF_UNSPEC as u8, libc::NFNL_SUBSYS_NFTABLES as u16);
        let mut begin = frame(libc::NFNL_MSG_BATCH_BEGIN);
        let begun = begin.big_number(libc::NFNL_BATCH_GENID as u16, generation);
        begun.map_err(|error| Refused { error, bridged: false })?;
        requests.insert(0, begin);
        requests.push(frame(libc::NFNL_MSG_BATCH_END));
        socket.change_all(requests).map_err(|(number, error)| {
            match number.checked_sub(1).and_then(|at| about.get(at)) {
                Some(about) => Refused {
                    error: error.context(format!("packet filter: {about}")),
                    bridged: *about == About::Bridge,
                },
                None => Refused { error: error.context("packet filter"), bridged: false },
            }
        })?;
        // The kernel passes over 0.
        Ok(generation.checked_add(1).unwrap_or(1))
    }
}
