//! From the name of a call to its numbers.
//!
//! The table's rows are read at compile time only; what the binary holds is one run of text, a column of codes an
//! architecture and a hash table of 2 kB, made here by constant evaluation. A lookup is one hash and about one comparison.

use super::arch::{COLUMNS, Column};
use super::table::ROWS;

/// A call by its row in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Call(u16);

const CALLS: usize = ROWS.len();
/// A power of two at about half load, so that a search ends after one or two probes.
const BUCKETS: usize = 1024;
const EMPTY: u16 = u16::MAX;

/// Every name after the other, and where each ends.
static TEXT: [u8; text_length()] = text();
static ENDS: [u16; CALLS] = ends();
/// The codes, a column each.
static CODES: [[u16; CALLS]; COLUMNS] = columns();
/// Open addressing: a row, or EMPTY.
static HASHED: [u16; BUCKETS] = hashed();

/// The call of that name on any architecture.
pub(super) fn find(name: &str) -> Option<Call> {
    let mut bucket = hash(name.as_bytes());
    loop {
        let row = HASHED[bucket];
        if row == EMPTY {
            return None;
        }
        if text_of(row) == name.as_bytes() {
            return Some(Call(row));
        }
        bucket = (bucket + 1) % BUCKETS;
    }
}

/// The table's code for a call in a column.
pub(super) fn code(call: Call, column: Column) -> u16 {
    CODES[column as usize][usize::from(call.0)]
}

/// What multiplexes a call on architectures that have such a call, and the number that it goes by there.
///
/// Manual pages: [socketcall(2)](https://man7.org/linux/man-pages/man2/socketcall.2.html),
/// [ipc(2)](https://man7.org/linux/man-pages/man2/ipc.2.html)
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Multiplexed {
    Socketcall(u8),
    Ipc(u8),
}

/// The multiplexed form of a call.
pub(super) fn multiplexed(call: Call) -> Option<(Call, Multiplexed)> {
    match MULTIPLEXED[usize::from(call.0)] {
        0 => None,
        sub @ ..IPC => Some((SOCKETCALL, Multiplexed::Socketcall(sub))),
        sub => Some((IPC_CALL, Multiplexed::Ipc(sub - IPC))),
    }
}

const SOCKETCALL: Call = row("socketcall");
const IPC_CALL: Call = row("ipc");

/// From linux/net.h: the calls in the order of SYS_SOCKET = 1 and up.
const SOCKETCALLS: [&str; 20] = [
    "socket",
    "bind",
    "connect",
    "listen",
    "accept",
    "getsockname",
    "getpeername",
    "socketpair",
    "send",
    "recv",
    "sendto",
    "recvfrom",
    "shutdown",
    "setsockopt",
    "getsockopt",
    "sendmsg",
    "recvmsg",
    "accept4",
    "recvmmsg",
    "sendmmsg",
];

/// From linux/ipc.h: SEMOP and so on.
const IPCS: [(&str, u8); 12] = [
    ("semop", 1),
    ("semget", 2),
    ("semctl", 3),
    ("semtimedop", 4),
    ("msgsnd", 11),
    ("msgrcv", 12),
    ("msgget", 13),
    ("msgctl", 14),
    ("shmat", 21),
    ("shmdt", 22),
    ("shmget", 23),
    ("shmctl", 24),
];

/// 0 for most; the sub-call of socketcall; IPC and the sub-call of ipc.
static MULTIPLEXED: [u8; CALLS] = sub_calls();
const IPC: u8 = 0x80;

const fn sub_calls() -> [u8; CALLS] {
    let mut subs = [0; CALLS];
    let mut at = 0;
    while at < SOCKETCALLS.len() {
        subs[row(SOCKETCALLS[at]).0 as usize] = at as u8 + 1;
        at += 1;
    }
    at = 0;
    while at < IPCS.len() {
        subs[row(IPCS[at].0).0 as usize] = IPC | IPCS[at].1;
        at += 1;
    }
    subs
}

/// The row of a name that the table must have.
const fn row(name: &str) -> Call {
    let mut row = 0;
    while !equal(ROWS[row].0.as_bytes(), name.as_bytes()) {
        row += 1;
    }
    Call(row as u16)
}

const fn equal(a: &[u8], b: &[u8]) -> bool {
    let mut at = 0;
    while at < a.len() && at < b.len() && a[at] == b[at] {
        at += 1;
    }
    at == a.len() && at == b.len()
}

fn text_of(row: u16) -> &'static [u8] {
    let row = usize::from(row);
    let start = if row == 0 { 0 } else { ENDS[row - 1] };
    &TEXT[usize::from(start)..usize::from(ENDS[row])]
}

/// FNV-1a, folded to a bucket.
const fn hash(name: &[u8]) -> usize {
    let mut hash: u32 = 0x811c_9dc5;
    let mut at = 0;
    while at < name.len() {
        hash = (hash ^ name[at] as u32).wrapping_mul(0x0100_0193);
        at += 1;
    }
    (hash ^ (hash >> 16)) as usize % BUCKETS
}

const fn hashed() -> [u16; BUCKETS] {
    let mut buckets = [EMPTY; BUCKETS];
    let mut row = 0;
    while row < CALLS {
        let mut bucket = hash(ROWS[row].0.as_bytes());
        while buckets[bucket] != EMPTY {
            bucket = (bucket + 1) % BUCKETS;
        }
        buckets[bucket] = row as u16;
        row += 1;
    }
    buckets
}

const fn columns() -> [[u16; CALLS]; COLUMNS] {
    let mut columns = [[0; CALLS]; COLUMNS];
    let mut row = 0;
    while row < CALLS {
        let mut column = 0;
        while column < COLUMNS {
            columns[column][row] = ROWS[row].1[column];
            column += 1;
        }
        row += 1;
    }
    columns
}

const fn text_length() -> usize {
    let mut length = 0;
    let mut row = 0;
    while row < CALLS {
        length += ROWS[row].0.len();
        row += 1;
    }
    length
}

const fn ends() -> [u16; CALLS] {
    let mut ends = [0; CALLS];
    let mut end = 0;
    let mut row = 0;
    while row < CALLS {
        end += ROWS[row].0.len() as u16;
        ends[row] = end;
        row += 1;
    }
    ends
}

const fn text() -> [u8; text_length()] {
    let mut text = [0; text_length()];
    let mut at = 0;
    let mut row = 0;
    while row < CALLS {
        let name = ROWS[row].0.as_bytes();
        let mut letter = 0;
        while letter < name.len() {
            text[at] = name[letter];
            at += 1;
            letter += 1;
        }
        row += 1;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_found_in_its_row() {
        for (row, (name, codes)) in ROWS.iter().enumerate() {
            assert_eq!(find(name), Some(Call(row as u16)), "{name}");
            assert_eq!(code(Call(row as u16), Column::Mips64), codes[11], "{name}");
        }
    }

    #[test]
    fn an_unknown_name_is_not_found() {
        for name in ["", "rea", "readx", "no_such_call"] {
            assert_eq!(find(name), None, "{name}");
        }
    }
}
