//! The kernel's numbers for nf_tables that libc lacks: linux/netfilter/nf_tables.h, nf_conntrack_common.h, and what the
//! `nft` program calls types of keys, so that it can list our sets.

/// NFTA_LIST_ELEM: one of a list.
pub const ELEMENT: u16 = 1;

/// NFTA_TABLE_*.
pub mod table {
    pub const NAME: u16 = 1;
    pub const FLAGS: u16 = 2;
    pub const USERDATA: u16 = 6;
    /// NFT_TABLE_F_OWNER: nobody but its maker may change the table.
    pub const OWNED: u32 = 2;
}

/// NFTA_CHAIN_*, NFTA_HOOK_*.
pub mod chain {
    pub const TABLE: u16 = 1;
    pub const NAME: u16 = 3;
    pub const HOOK: u16 = 4;
    pub const POLICY: u16 = 5;
    pub const TYPE: u16 = 7;
    pub const USERDATA: u16 = 12;
    pub const HOOK_NUMBER: u16 = 1;
    pub const HOOK_PRIORITY: u16 = 2;
}

/// NFTA_RULE_*, NFTA_EXPR_*.
pub mod rule {
    pub const TABLE: u16 = 1;
    pub const CHAIN: u16 = 2;
    pub const HANDLE: u16 = 3;
    pub const EXPRESSIONS: u16 = 4;
    pub const USERDATA: u16 = 7;
    pub const EXPRESSION_NAME: u16 = 1;
    pub const EXPRESSION_DATA: u16 = 2;
}

/// NFTA_SET_*, NFTA_SET_ELEM_LIST_*, NFTA_SET_ELEM_*.
pub mod set {
    pub const TABLE: u16 = 1;
    pub const NAME: u16 = 2;
    pub const FLAGS: u16 = 3;
    pub const KEY_TYPE: u16 = 4;
    pub const KEY_LENGTH: u16 = 5;
    pub const DATA_TYPE: u16 = 6;
    pub const DATA_LENGTH: u16 = 7;
    pub const DESCRIPTION: u16 = 9;
    pub const ID: u16 = 10;
    pub const DESCRIPTION_CONCAT: u16 = 2;
    pub const FIELD_LENGTH: u16 = 1;
    /// NFT_SET_CONCAT: an interval of each of several fields.
    pub const CONCAT: u32 = 0x80;
    pub const LIST_TABLE: u16 = 1;
    pub const LIST_SET: u16 = 2;
    pub const LIST_ELEMENTS: u16 = 3;
    pub const ELEMENT_KEY: u16 = 1;
    pub const ELEMENT_DATA: u16 = 2;
    pub const ELEMENT_USERDATA: u16 = 6;
    pub const ELEMENT_KEY_END: u16 = 10;
}

/// NFTA_DATA_*, NFTA_VERDICT_*.
pub mod data {
    pub const VALUE: u16 = 1;
    pub const VERDICT: u16 = 2;
    pub const VERDICT_CODE: u16 = 1;
    pub const VERDICT_CHAIN: u16 = 2;
    /// NFT_DATA_VERDICT, as a set's type of data.
    pub const IS_VERDICT: u32 = 0xffff_ff00;
}

/// NFT_META_OIFKIND: the kind of the interface by which a packet leaves.
pub const META_OIFKIND: i32 = 27;

/// Bits of a connection's state as the kernel's `ct` expression has them.
pub const ESTABLISHED_OR_RELATED: u32 = 2 | 4;
/// IPS_DST_NAT: a connection whose destination was changed.
pub const DESTINATION_CHANGED: u32 = 0x20;

/// NFT_FIB_RESULT_ADDRTYPE, NFTA_FIB_F_SADDR, NFTA_FIB_F_DADDR.
pub const FIB_ADDRESS_TYPE: u32 = 3;
pub const FIB_SOURCE: u32 = 1;
pub const FIB_DESTINATION: u32 = 2;

/// Datatypes of the `nft` program; those of several fields have six bits for each.
pub mod kind {
    pub const VERDICT: u32 = super::data::IS_VERDICT;
    pub const IPV4: u32 = 7;
    pub const IPV6: u32 = 8;
    pub const PROTOCOL: u32 = 12;
    pub const PORT: u32 = 13;
    pub const IFNAME: u32 = 41;
}
