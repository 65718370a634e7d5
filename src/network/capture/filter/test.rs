//! What a filter asks of a packet: comparisons of one number each, put together by and, or and not.

/// The EtherType of IPv4.
pub const IPV4: u32 = 0x0800;
/// That of IPv6.
pub const IPV6: u32 = 0x86dd;
/// That of ARP.
pub const ARP: u32 = 0x0806;
/// That of RARP.
pub const RARP: u32 = 0x8035;

/// Where a number of a packet is. Offsets are in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// The packet's length.
    Length,
    /// From the packet's begin, which is its Ethernet header.
    Frame(Size, u32),
    /// From the network layer's header, behind all tags.
    Network(Size, u32),
    /// From the transport layer's header. Only behind a test of [`Place::Protocol`].
    Transport(Size, u32),
    /// The EtherType behind all tags.
    EtherType,
    /// The protocol that an IP packet carries; 256, which is none, in any other.
    Protocol,
    /// Which part of a fragmented IP packet it is: 0 for the first, and for one that is whole.
    Fragment,
    /// How many bytes of VLAN tags are in the packet itself.
    Tags,
    /// What the kernel knows besides of a packet: SKF_AD_* of linux/filter.h.
    Kernel(u32),
}

/// How many bytes a number has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Size {
    /// One.
    Byte,
    /// Two.
    Half,
    /// Four.
    Word,
}

/// How it is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// It is the value.
    Equal,
    /// It is greater.
    Greater,
    /// It is not less.
    AtLeast,
    /// It has one of the value's bits.
    HasAnyOf,
}

/// One question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Test {
    /// Of which number.
    pub place: Place,
    /// Which of its bits count.
    pub mask: u32,
    /// How it is compared.
    pub how: Comparison,
    /// With what.
    pub value: u32,
}

/// A filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expression {
    /// All of them; with none of them, every packet.
    All(Vec<Expression>),
    /// One of them; with none of them, no packet.
    Any(Vec<Expression>),
    /// Not that.
    Not(Box<Expression>),
    /// One question.
    Test(Test),
    /// What is asked of an Ethernet header; no where there is none.
    Ethernet(Box<Expression>),
}

impl Expression {
    /// A number is this.
    pub fn equal(place: Place, value: u32) -> Self {
        Self::masked(place, u32::MAX, value)
    }

    /// Some bits of a number are these.
    pub fn masked(place: Place, mask: u32, value: u32) -> Self {
        Self::Test(Test { place, mask, how: Comparison::Equal, value })
    }

    /// A number compares like that.
    pub fn compare(place: Place, how: Comparison, value: u32) -> Self {
        Self::Test(Test { place, mask: u32::MAX, how, value })
    }

    /// Both, without a level more where the first is such a list already.
    pub fn and(self, other: Self) -> Self {
        match self {
            Self::All(mut list) => {
                list.push(other);
                Self::All(list)
            }
            first => Self::All(vec![first, other]),
        }
    }

    /// One of both, likewise.
    pub fn or(self, other: Self) -> Self {
        match self {
            Self::Any(mut list) => {
                list.push(other);
                Self::Any(list)
            }
            first => Self::Any(vec![first, other]),
        }
    }

    /// Whether any of its questions is such a one.
    pub fn asks(&self, what: &dyn Fn(Place) -> bool) -> bool {
        match self {
            Self::All(list) | Self::Any(list) => list.iter().any(|each| each.asks(what)),
            Self::Not(inner) | Self::Ethernet(inner) => inner.asks(what),
            Self::Test(test) => what(test.place),
        }
    }
}
