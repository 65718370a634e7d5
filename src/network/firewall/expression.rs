//! A rule of nf_tables, expression by expression: each loads into a register, compares one, or ends the rule.

use std::net::IpAddr;

use ipnet::IpNet;

use super::numbers::{self, data, rule};
use super::wire::Family;
use crate::Result;
use crate::network::address::octets;
use crate::network::netlink::attribute;

/// Registers as users of concatenations count them, in words of four bytes; the first is where all else is loaded.
#[derive(Clone, Copy)]
pub struct Word(pub u32);

const FIRST: Word = Word(0);

impl Word {
    fn register(self) -> u32 {
        libc::NFT_REG32_00 as u32 + self.0
    }
}

/// What a rule ends in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Accept,
    Drop,
    Jump(String),
    Goto(String),
}

impl Verdict {
    /// NFTA_DATA_VERDICT.
    pub fn attribute(&self) -> Result<Vec<u8>> {
        let (code, chain) = match self {
            Self::Accept => (libc::NF_ACCEPT, None),
            Self::Drop => (libc::NF_DROP, None),
            Self::Jump(chain) => (libc::NFT_JUMP, Some(chain)),
            Self::Goto(chain) => (libc::NFT_GOTO, Some(chain)),
        };
        let mut verdict = Vec::new();
        attribute::put(&mut verdict, data::VERDICT_CODE, &code.to_be_bytes())?;
        if let Some(chain) = chain {
            attribute::put(&mut verdict, data::VERDICT_CHAIN, &[chain.as_bytes(), b"\0"].concat())?;
        }
        let mut bytes = Vec::new();
        attribute::nest(&mut bytes, data::VERDICT, &verdict)?;
        Ok(bytes)
    }
}

/// The attributes of one expression, whose numbers have the highest byte first.
struct Attributes(Vec<u8>);

impl Attributes {
    fn new() -> Self {
        Self(Vec::new())
    }

    fn number(mut self, kind: u16, value: u32) -> Result<Self> {
        attribute::put(&mut self.0, kind, &value.to_be_bytes())?;
        Ok(self)
    }

    fn text(mut self, kind: u16, value: &str) -> Result<Self> {
        attribute::put(&mut self.0, kind, &[value.as_bytes(), b"\0"].concat())?;
        Ok(self)
    }

    fn value(mut self, kind: u16, value: &[u8]) -> Result<Self> {
        let mut inner = Vec::new();
        attribute::put(&mut inner, data::VALUE, value)?;
        attribute::nest(&mut self.0, kind, &inner)?;
        Ok(self)
    }
}

/// A rule that is being written.
#[derive(Debug, Clone, Default)]
pub struct Rule {
    expressions: Vec<u8>,
}

impl Rule {
    pub fn new() -> Self {
        Self::default()
    }

    /// NFTA_RULE_EXPRESSIONS.
    pub fn expressions(&self) -> &[u8] {
        &self.expressions
    }

    fn add(mut self, name: &str, attributes: Attributes) -> Result<Self> {
        let mut expression = Vec::new();
        attribute::put(&mut expression, rule::EXPRESSION_NAME, &[name.as_bytes(), b"\0"].concat())?;
        attribute::nest(&mut expression, rule::EXPRESSION_DATA, &attributes.0)?;
        attribute::nest(&mut self.expressions, numbers::ELEMENT, &expression)?;
        Ok(self)
    }

    /// Loads something about the packet: NFT_META_*.
    pub fn meta(self, key: i32, to: Word) -> Result<Self> {
        self.add("meta", Attributes::new().number(1, to.register())?.number(2, key as u32)?)
    }

    /// Loads bytes of the packet: NFT_PAYLOAD_*.
    pub fn payload(self, base: i32, offset: u32, length: u32, to: Word) -> Result<Self> {
        let what = Attributes::new().number(1, to.register())?.number(2, base as u32)?;
        self.add("payload", what.number(3, offset)?.number(4, length)?)
    }

    fn compare(self, operator: i32, value: &[u8]) -> Result<Self> {
        self.add("cmp", Attributes::new().number(1, FIRST.register())?.number(2, operator as u32)?.value(3, value)?)
    }

    fn equals(self, value: &[u8]) -> Result<Self> {
        self.compare(libc::NFT_CMP_EQ, value)
    }

    fn between(self, first: &[u8], last: &[u8]) -> Result<Self> {
        self.compare(libc::NFT_CMP_GTE, first)?.compare(libc::NFT_CMP_LTE, last)
    }

    fn mask(self, mask: &[u8]) -> Result<Self> {
        let (register, zeros) = (FIRST.register(), vec![0; mask.len()]);
        let what = Attributes::new().number(1, register)?.number(2, register)?.number(3, mask.len() as u32)?;
        self.add("bitwise", what.value(4, mask)?.value(5, &zeros)?)
    }

    /// Goes on where what was loaded is in a set.
    pub fn in_set(self, set: &str) -> Result<Self> {
        self.add("lookup", Attributes::new().text(1, set)?.number(2, FIRST.register())?)
    }

    /// Goes on where it is not.
    pub fn not_in_set(self, set: &str) -> Result<Self> {
        let what = Attributes::new().text(1, set)?.number(2, FIRST.register())?;
        self.add("lookup", what.number(5, libc::NFT_LOOKUP_F_INV as u32)?)
    }

    /// Loads what a map has for what was loaded.
    pub fn map(self, map: &str) -> Result<Self> {
        let register = FIRST.register();
        self.add("lookup", Attributes::new().text(1, map)?.number(2, register)?.number(3, register)?)
    }

    /// Does what a map of verdicts says of what was loaded.
    pub fn verdict_map(self, map: &str) -> Result<Self> {
        let what = Attributes::new().text(1, map)?.number(2, FIRST.register())?;
        self.add("lookup", what.number(3, libc::NFT_REG_VERDICT as u32)?)
    }

    /// Ends the rule.
    pub fn verdict(self, verdict: &Verdict) -> Result<Self> {
        let mut what = Attributes::new().number(1, libc::NFT_REG_VERDICT as u32)?;
        attribute::nest(&mut what.0, 2, &verdict.attribute()?)?;
        self.add("immediate", what)
    }

    /// Changes the destination to the address in the first registers and, where the map has one, the port behind it.
    pub fn dnat(self, family: Family, port: bool) -> Result<Self> {
        let what = Attributes::new().number(1, libc::NFT_NAT_DNAT as u32)?.number(2, family.number().into())?;
        let what = what.number(3, FIRST.register())?;
        let what = if port { what.number(5, Word(family.words()).register())? } else { what };
        self.add("nat", what)
    }

    /// Changes the source to the address of the interface by which the packet leaves.
    pub fn masquerade(self) -> Result<Self> {
        self.add("masq", Attributes::new())
    }

    /// Goes on with replies and with what belongs to a known connection.
    pub fn known(self) -> Result<Self> {
        self.connection(libc::NFT_CT_STATE, numbers::ESTABLISHED_OR_RELATED)?.compare(libc::NFT_CMP_NEQ, &[0; 4])
    }

    /// Goes on with connections whose destination was changed.
    pub fn redirected(self) -> Result<Self> {
        self.connection(libc::NFT_CT_STATUS, numbers::DESTINATION_CHANGED)?.compare(libc::NFT_CMP_NEQ, &[0; 4])
    }

    /// Goes on with all others.
    pub fn not_redirected(self) -> Result<Self> {
        self.connection(libc::NFT_CT_STATUS, numbers::DESTINATION_CHANGED)?.equals(&[0; 4])
    }

    fn connection(self, key: i32, mask: u32) -> Result<Self> {
        let load = Attributes::new().number(1, FIRST.register())?.number(2, key as u32)?;
        self.add("ct", load)?.mask(&mask.to_ne_bytes())
    }

    /// Goes on where an address of the packet is one of the host's: FIB_SOURCE, FIB_DESTINATION.
    pub fn local_address(self, which: u32) -> Result<Self> {
        let what = Attributes::new().number(1, FIRST.register())?.number(2, numbers::FIB_ADDRESS_TYPE)?;
        self.add("fib", what.number(3, which)?)?.equals(&u32::from(libc::RTN_LOCAL).to_ne_bytes())
    }

    /// Goes on with packets of one family of addresses, in a table of family inet.
    pub fn family(self, family: Family) -> Result<Self> {
        self.meta(libc::NFT_META_NFPROTO, FIRST)?.equals(&[family.number()])
    }

    /// The same in a table of family bridge, where the frame tells.
    pub fn framed(self, family: Family) -> Result<Self> {
        self.meta(libc::NFT_META_PROTOCOL, FIRST)?.equals(&family.ethertype().to_be_bytes())
    }

    /// Goes on where the packet came in by an interface of that name.
    pub fn incoming(self, name: &str) -> Result<Self> {
        self.meta(libc::NFT_META_IIFNAME, FIRST)?.equals(&super::wire::interface(name))
    }

    /// Goes on where it leaves by one.
    pub fn outgoing(self, name: &str) -> Result<Self> {
        self.meta(libc::NFT_META_OIFNAME, FIRST)?.equals(&super::wire::interface(name))
    }

    /// Goes on where it leaves by a bridge, whatever it is called.
    pub fn leaves_by_bridge(self) -> Result<Self> {
        self.meta(numbers::META_OIFKIND, FIRST)?.equals(&super::wire::interface("bridge"))
    }

    pub fn incoming_in(self, set: &str) -> Result<Self> {
        self.meta(libc::NFT_META_IIFNAME, FIRST)?.in_set(set)
    }

    pub fn incoming_not_in(self, set: &str) -> Result<Self> {
        self.meta(libc::NFT_META_IIFNAME, FIRST)?.not_in_set(set)
    }

    pub fn outgoing_in(self, set: &str) -> Result<Self> {
        self.meta(libc::NFT_META_OIFNAME, FIRST)?.in_set(set)
    }

    pub fn outgoing_not_in(self, set: &str) -> Result<Self> {
        self.meta(libc::NFT_META_OIFNAME, FIRST)?.not_in_set(set)
    }

    pub fn source(self, family: Family, to: Word) -> Result<Self> {
        self.payload(libc::NFT_PAYLOAD_NETWORK_HEADER, family.source(), family.length(), to)
    }

    pub fn destination(self, family: Family, to: Word) -> Result<Self> {
        self.payload(libc::NFT_PAYLOAD_NETWORK_HEADER, family.destination(), family.length(), to)
    }

    /// Goes on where the source is of a range; the family was compared before.
    pub fn from(self, net: IpNet) -> Result<Self> {
        let loaded = self.source(Family::of(net.addr()), FIRST)?;
        loaded.mask(&octets(&net.netmask()))?.equals(&octets(&net.network()))
    }

    /// Goes on where the destination is in 127.0.0.0/8.
    pub fn loopback_destination(self) -> Result<Self> {
        let loaded =
            self.family(Family::V4)?.payload(libc::NFT_PAYLOAD_NETWORK_HEADER, Family::V4.destination(), 1, FIRST);
        loaded?.equals(&[127])
    }

    /// The same of the source.
    pub fn loopback_source(self) -> Result<Self> {
        let loaded = self.family(Family::V4)?.payload(libc::NFT_PAYLOAD_NETWORK_HEADER, Family::V4.source(), 1, FIRST);
        loaded?.equals(&[127])
    }

    pub fn protocol(self, number: u8) -> Result<Self> {
        self.meta(libc::NFT_META_L4PROTO, FIRST)?.equals(&[number])
    }

    /// Loads the protocol and, behind it, the port that the packet goes to.
    pub fn protocol_and_port(self, to: Word) -> Result<Self> {
        let loaded = self.meta(libc::NFT_META_L4PROTO, to)?;
        loaded.payload(libc::NFT_PAYLOAD_TRANSPORT_HEADER, 2, 2, Word(to.0 + 1))
    }

    /// Goes on where the packet goes to a port between these two.
    pub fn ports(self, first: u16, last: u16) -> Result<Self> {
        let loaded = self.payload(libc::NFT_PAYLOAD_TRANSPORT_HEADER, 2, 2, FIRST)?;
        if first == last {
            return loaded.equals(&first.to_be_bytes());
        }
        loaded.between(&first.to_be_bytes(), &last.to_be_bytes())
    }

    /// Goes on with a range of types of ICMPv6.
    pub fn icmpv6(self, first: u8, last: u8) -> Result<Self> {
        let number = libc::IPPROTO_ICMPV6 as u8;
        self.protocol(number)?.payload(libc::NFT_PAYLOAD_TRANSPORT_HEADER, 0, 1, FIRST)?.between(&[first], &[last])
    }
}

/// The address of each family that comes first.
pub fn first_of(addresses: &[IpAddr], family: Family) -> Option<IpAddr> {
    addresses.iter().copied().find(|address| Family::of(*address) == family)
}
