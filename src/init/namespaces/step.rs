//! Steps that join and make namespaces: namespaces(7).

use crate::init::wire::{List, Slot, Text, wire};

wire! {
    /// A namespace file and its kind.
    pub struct Joined {
        /// The opened file.
        pub file: Slot,
        /// Its CLONE_NEW* flag.
        pub kind: u64,
    }
}

wire! {
    /// Namespaces and what is named in them.
    pub enum Step<'a> {
        /// setns(2) into each file: once before and once after the user namespace, since either may own the others.
        Join { namespaces: List<'a, Joined> } = 0,
        /// setns(2) into several namespaces of one process at once.
        JoinProcess { process: Slot, kinds: u64 } = 1,
        /// Become root of the user namespace.
        BecomeRoot {} = 2,
        /// unshare(2).
        Unshare { kinds: u64 } = 3,
        /// Go on as a child in new namespaces, a sibling of this process: pid and time namespaces hold only children.
        Fork { kinds: u64 } = 4,
        /// A session of its own: setsid(2).
        NewSession {} = 5,
        /// A session keyring of its own: keyctl(2).
        NewKeyring { name: Text<'a> } = 6,
        /// Bring lo up in a new network namespace: netdevice(7).
        RaiseLoopback {} = 9,
        /// /proc/self/timens_offsets, before the first process of a new time namespace: time_namespaces(7).
        OffsetClocks { offsets: Text<'a> } = 10,
        /// sethostname(2).
        SetHostname { name: Text<'a> } = 7,
        /// setdomainname(2).
        SetDomainname { name: Text<'a> } = 8,
    }
}
