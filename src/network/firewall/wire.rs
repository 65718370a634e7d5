//! Messages of nf_tables: tables, chains, rules, sets and their elements, as linux/netfilter/nf_tables.h has them.

use std::net::IpAddr;

use super::expression::{Rule, Verdict};
use super::numbers::{self, chain, data, kind, set, table};
use crate::Result;
use crate::network::netlink::{Request, attribute};

/// The table's name, and the comment by which rules in tables of others are known to be ours.
pub const NAME: &str = "nfrun";
/// The most elements in one message: with the longest keys and comments they stay below the 64 KiB of an attribute.
const ELEMENTS: usize = 200;
/// The longest comment that the `nft` program shows.
const COMMENT: usize = 120;

/// A family of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    V4,
    V6,
}

impl Family {
    pub const BOTH: [Self; 2] = [Self::V4, Self::V6];

    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    /// NFPROTO_*.
    pub fn number(self) -> u8 {
        (if self == Self::V4 { libc::NFPROTO_IPV4 } else { libc::NFPROTO_IPV6 }) as u8
    }

    pub fn ethertype(self) -> u16 {
        (if self == Self::V4 { libc::ETH_P_IP } else { libc::ETH_P_IPV6 }) as u16
    }

    /// The length of an address in bytes.
    pub fn length(self) -> u32 {
        if self == Self::V4 { 4 } else { 16 }
    }

    /// The same in registers.
    pub fn words(self) -> u32 {
        self.length() / 4
    }

    /// Where a packet's head has the source.
    pub fn source(self) -> u32 {
        if self == Self::V4 { 12 } else { 8 }
    }

    /// Where it has the destination.
    pub fn destination(self) -> u32 {
        self.source() + self.length()
    }

    /// The datatype of addresses.
    pub fn kind(self) -> u32 {
        if self == Self::V4 { kind::IPV4 } else { kind::IPV6 }
    }

    /// Which of two that differ by the family alone.
    pub fn pick<T>(self, four: T, six: T) -> T {
        if self == Self::V4 { four } else { six }
    }
}

/// An interface's name as the kernel compares it: sixteen bytes.
pub fn interface(name: &str) -> [u8; 16] {
    let mut bytes = [0; 16];
    for (to, from) in bytes[..15].iter_mut().zip(name.bytes()) {
        *to = from;
    }
    bytes
}

/// One field of a key, and its length in bytes; each begins at a multiple of four.
pub type Field = (u32, u32);

pub const IFNAME: Field = (kind::IFNAME, 16);
pub const PROTOCOL: Field = (kind::PROTOCOL, 1);
pub const PORT: Field = (kind::PORT, 2);

fn datatype(fields: &[Field]) -> u32 {
    fields.iter().fold(0, |all, (kind, _)| all << 6 | kind)
}

fn length(fields: &[Field]) -> u32 {
    let [(_, single)] = fields else { return fields.iter().map(|(_, length)| length.next_multiple_of(4)).sum() };
    *single
}

/// A set, or a map where it has data.
pub struct Set {
    pub name: &'static str,
    pub key: Vec<Field>,
    /// Whether keys are intervals of each field.
    pub interval: bool,
    pub data: Option<Vec<Field>>,
}

/// The data of maps of verdicts.
pub const VERDICT: Field = (kind::VERDICT, 0);

/// One element of a set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Element {
    pub set: &'static str,
    pub key: Vec<u8>,
    /// The interval's end, itself included.
    pub end: Option<Vec<u8>>,
    pub data: Option<Data>,
    /// Whose it is, for whoever lists it.
    pub comment: String,
}

/// What a map has for a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Data {
    Value(Vec<u8>),
    Verdict(Verdict),
}

/// A table of ours, by its family: NFPROTO_INET, NFPROTO_BRIDGE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Table(pub i32);

pub const INET: Table = Table(libc::NFPROTO_INET);
pub const BRIDGE: Table = Table(libc::NFPROTO_BRIDGE);

/// A message about a table, chain or such of any family.
pub fn message(family: u8, what: i32, flags: i32) -> Request {
    Request::netfilter((libc::NFNL_SUBSYS_NFTABLES << 8 | what) as u16, flags, family, 0)
}

/// NFTNL_UDATA_*_COMMENT, which is 0 for all of them: kind, length, text with its NUL.
fn comment(text: &str) -> Vec<u8> {
    let shown: String = text.chars().filter(|c| c.is_ascii() && !c.is_control() && *c != '"').take(COMMENT).collect();
    let mut bytes = vec![0, shown.len() as u8 + 1];
    bytes.extend_from_slice(shown.as_bytes());
    bytes.push(0);
    bytes
}

/// The comment in a rule's user data.
pub fn read_comment(mut userdata: &[u8]) -> Option<String> {
    while let [kind, length, rest @ ..] = userdata {
        let value = rest.get(..usize::from(*length))?;
        if *kind == 0 {
            return Some(attribute::text(value));
        }
        userdata = &rest[value.len()..];
    }
    None
}

impl Table {
    fn message(self, what: i32, flags: i32) -> Request {
        message(self.0 as u8, what, flags)
    }

    /// Makes the table; one that is there already is none the worse.
    pub fn make(self) -> Result<Request> {
        let mut request = self.message(libc::NFT_MSG_NEWTABLE, libc::NLM_F_CREATE);
        request.text(table::NAME, NAME)?;
        request.attribute(table::USERDATA, &comment("made by nfrun, which puts it back as it should be"))?;
        Ok(request)
    }

    /// Asks for it.
    pub fn get(self) -> Result<Request> {
        let mut request = self.message(libc::NFT_MSG_GETTABLE, libc::NLM_F_ACK);
        request.text(table::NAME, NAME)?;
        Ok(request)
    }

    /// Removes it with all that is in it.
    pub fn remove(self) -> Result<Request> {
        let mut request = self.message(libc::NFT_MSG_DELTABLE, 0);
        request.text(table::NAME, NAME)?;
        Ok(request)
    }

    /// Makes a set, of a number that no other set of the transaction has.
    pub fn make_set(self, set: &Set, number: u32) -> Result<Request> {
        let mut flags = 0;
        if set.interval {
            flags |= libc::NFT_SET_INTERVAL as u32 | set::CONCAT;
        }
        if set.data.is_some() {
            flags |= libc::NFT_SET_MAP as u32;
        }
        let mut request = self.message(libc::NFT_MSG_NEWSET, libc::NLM_F_CREATE | libc::NLM_F_EXCL);
        request.text(set::TABLE, NAME)?;
        request.text(set::NAME, set.name)?;
        request.big_number(set::FLAGS, flags)?;
        request.big_number(set::KEY_TYPE, datatype(&set.key))?;
        request.big_number(set::KEY_LENGTH, length(&set.key))?;
        if let Some(fields) = &set.data {
            request.big_number(set::DATA_TYPE, datatype(fields))?;
            if fields.as_slice() != [VERDICT] {
                request.big_number(set::DATA_LENGTH, length(fields))?;
            }
        }
        if set.interval {
            request.nest(set::DESCRIPTION, &description(&set.key)?)?;
        }
        request.big_number(set::ID, number)?;
        Ok(request)
    }

    /// Makes a chain that others jump to.
    pub fn make_chain(self, name: &str, whose: Option<&str>) -> Result<Request> {
        let mut request = self.message(libc::NFT_MSG_NEWCHAIN, libc::NLM_F_CREATE | libc::NLM_F_EXCL);
        request.text(chain::TABLE, NAME)?;
        request.text(chain::NAME, name)?;
        if let Some(whose) = whose {
            request.attribute(chain::USERDATA, &comment(whose))?;
        }
        Ok(request)
    }

    /// Makes a chain that packets come to: `type KIND hook HOOK priority PRIORITY`, which lets pass what it says nothing of.
    pub fn make_base_chain(self, name: &str, kind: &str, hook: i32, priority: i32) -> Result<Request> {
        let mut request = self.make_chain(name, None)?;
        let mut attributes = Vec::new();
        attribute::put(&mut attributes, chain::HOOK_NUMBER, &hook.to_be_bytes())?;
        attribute::put(&mut attributes, chain::HOOK_PRIORITY, &priority.to_be_bytes())?;
        request.nest(chain::HOOK, &attributes)?;
        request.big_number(chain::POLICY, libc::NF_ACCEPT as u32)?;
        request.text(chain::TYPE, kind)?;
        Ok(request)
    }

    /// Removes a chain with its rules.
    pub fn remove_chain(self, name: &str) -> Result<Request> {
        let mut request = self.message(libc::NFT_MSG_DELCHAIN, 0);
        request.text(chain::TABLE, NAME)?;
        request.text(chain::NAME, name)?;
        Ok(request)
    }

    /// Appends a rule to a chain.
    pub fn add_rule(self, chain: &str, rule: &Rule) -> Result<Request> {
        let request = self.message(libc::NFT_MSG_NEWRULE, libc::NLM_F_CREATE | libc::NLM_F_APPEND);
        fill_rule(request, NAME, chain, rule)
    }

    /// Adds elements, as few messages as they fit into; one that is there already is an error.
    pub fn add(self, elements: &[Element]) -> Result<Vec<Request>> {
        self.elements(libc::NFT_MSG_NEWSETELEM, libc::NLM_F_CREATE | libc::NLM_F_EXCL, elements, true)
    }

    /// Takes elements away; one that is not there is an error.
    pub fn take(self, elements: &[Element]) -> Result<Vec<Request>> {
        self.elements(libc::NFT_MSG_DELSETELEM, 0, elements, false)
    }

    fn elements(self, what: i32, flags: i32, elements: &[Element], whole: bool) -> Result<Vec<Request>> {
        let mut requests = Vec::new();
        for same_set in elements.chunk_by(|one, other| one.set == other.set) {
            for some in same_set.chunks(ELEMENTS) {
                let mut list = Vec::new();
                for element in some {
                    attribute::nest(&mut list, numbers::ELEMENT, &element.attributes(whole)?)?;
                }
                let mut request = self.message(what, flags);
                request.text(set::LIST_TABLE, NAME)?;
                request.text(set::LIST_SET, some[0].set)?;
                request.nest(set::LIST_ELEMENTS, &list)?;
                requests.push(request);
            }
        }
        Ok(requests)
    }
}

impl Element {
    fn attributes(&self, whole: bool) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let value = |value: &[u8]| {
            let mut inner = Vec::new();
            attribute::put(&mut inner, data::VALUE, value)?;
            Ok::<_, crate::Error>(inner)
        };
        attribute::nest(&mut bytes, set::ELEMENT_KEY, &value(&self.key)?)?;
        if let Some(end) = &self.end {
            attribute::nest(&mut bytes, set::ELEMENT_KEY_END, &value(end)?)?;
        }
        if !whole {
            return Ok(bytes);
        }
        match &self.data {
            Some(Data::Value(bare)) => attribute::nest(&mut bytes, set::ELEMENT_DATA, &value(bare)?)?,
            Some(Data::Verdict(verdict)) => attribute::nest(&mut bytes, set::ELEMENT_DATA, &verdict.attribute()?)?,
            None => {}
        }
        attribute::put(&mut bytes, set::ELEMENT_USERDATA, &comment(&self.comment))?;
        Ok(bytes)
    }
}

/// NFTA_SET_DESC: the length of each field, which the kernel needs where fields are intervals.
fn description(fields: &[Field]) -> Result<Vec<u8>> {
    let mut list = Vec::new();
    for (_, length) in fields {
        let mut field = Vec::new();
        attribute::put(&mut field, set::FIELD_LENGTH, &length.to_be_bytes())?;
        attribute::nest(&mut list, numbers::ELEMENT, &field)?;
    }
    let mut bytes = Vec::new();
    attribute::nest(&mut bytes, set::DESCRIPTION_CONCAT, &list)?;
    Ok(bytes)
}

fn fill_rule(mut request: Request, table: &str, chain: &str, rule: &Rule) -> Result<Request> {
    request.text(numbers::rule::TABLE, table)?;
    request.text(numbers::rule::CHAIN, chain)?;
    request.nest(numbers::rule::EXPRESSIONS, rule.expressions())?;
    Ok(request)
}

/// Puts a rule with our comment at the head of a chain of another's.
pub fn insert_foreign(family: u8, table: &str, chain: &str, rule: &Rule) -> Result<Request> {
    let request = message(family, libc::NFT_MSG_NEWRULE, libc::NLM_F_CREATE);
    let mut request = fill_rule(request, table, chain, rule)?;
    request.attribute(numbers::rule::USERDATA, &comment(NAME))?;
    Ok(request)
}

/// Takes a rule out of a chain of another's.
pub fn remove_foreign(family: u8, table: &str, chain: &str, handle: &[u8]) -> Result<Request> {
    let mut request = message(family, libc::NFT_MSG_DELRULE, 0);
    request.text(numbers::rule::TABLE, table)?;
    request.text(numbers::rule::CHAIN, chain)?;
    request.attribute(numbers::rule::HANDLE, handle)?;
    Ok(request)
}
