//! Messages: struct nlmsghdr, a header of the message's family, attributes.

use super::attribute;
use crate::{Error, Result};

/// struct nlmsghdr: length (32 bits), kind, flags (16 each), sequence number, port (32 each).
pub const HEAD: usize = 16;

/// A request that is being built.
#[derive(Debug)]
pub struct Request {
    bytes: Vec<u8>,
}

impl Request {
    /// A request of a kind (RTM_*) with flags (NLM_F_*, to which NLM_F_REQUEST is added) and its family's header.
    pub fn new(kind: u16, flags: i32, header: &[u8]) -> Self {
        let mut bytes = vec![0; HEAD];
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes[6..8].copy_from_slice(&((flags | libc::NLM_F_REQUEST) as u16).to_ne_bytes());
        bytes.extend_from_slice(header);
        Self { bytes }
    }

    /// A request that was finished before, to be sent once more.
    pub fn again(bytes: &[u8]) -> Result<Self> {
        if bytes.len() < HEAD {
            return Err(Error::invalid("a netlink message without its head"));
        }
        Ok(Self { bytes: bytes.to_vec() })
    }

    /// struct ifinfomsg: flags and those of them that are to change.
    pub fn link(kind: u16, flags: i32, index: u32, set: u32, change: u32) -> Self {
        let mut header = [0; 16];
        header[4..8].copy_from_slice(&index.to_ne_bytes());
        header[8..12].copy_from_slice(&set.to_ne_bytes());
        header[12..16].copy_from_slice(&change.to_ne_bytes());
        Self::new(kind, flags, &header)
    }

    /// struct nfgenmsg: a family of nf_tables or of addresses, and what a message of a batch is about.
    pub fn netfilter(kind: u16, flags: i32, family: u8, about: u16) -> Self {
        let [high, low] = about.to_be_bytes();
        Self::new(kind, flags, &[family, libc::NFNETLINK_V0 as u8, high, low])
    }

    /// Adds an attribute.
    pub fn attribute(&mut self, kind: u16, value: &[u8]) -> Result<()> {
        attribute::put(&mut self.bytes, kind, value)
    }

    /// Adds text with its NUL.
    pub fn text(&mut self, kind: u16, value: &str) -> Result<()> {
        self.attribute(kind, &[value.as_bytes(), b"\0"].concat())
    }

    /// Adds a number of 32 bits.
    pub fn number(&mut self, kind: u16, value: u32) -> Result<()> {
        self.attribute(kind, &value.to_ne_bytes())
    }

    /// Adds a number of 32 bits as netfilter has them, the highest byte first.
    pub fn big_number(&mut self, kind: u16, value: u32) -> Result<()> {
        self.attribute(kind, &value.to_be_bytes())
    }

    /// Adds attributes within one.
    pub fn nest(&mut self, kind: u16, attributes: &[u8]) -> Result<()> {
        self.attribute(kind | libc::NLA_F_NESTED as u16, attributes)
    }

    /// Whether the kernel is asked to acknowledge it.
    pub fn wants_answer(&self) -> bool {
        i32::from(u16::from_ne_bytes([self.bytes[6], self.bytes[7]])) & libc::NLM_F_ACK != 0
    }

    /// Asks the kernel to acknowledge it.
    pub fn want_answer(&mut self) {
        let flags = u16::from_ne_bytes([self.bytes[6], self.bytes[7]]) | libc::NLM_F_ACK as u16;
        self.bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
    }

    /// The whole message.
    pub fn finish(mut self, sequence: u32) -> Result<Vec<u8>> {
        let Ok(length) = u32::try_from(self.bytes.len()) else {
            return Err(Error::invalid("a netlink message of more than 4 GiB"));
        };
        self.bytes[..4].copy_from_slice(&length.to_ne_bytes());
        self.bytes[8..12].copy_from_slice(&sequence.to_ne_bytes());
        Ok(self.bytes)
    }
}

/// A message of the kernel's.
#[derive(Debug)]
pub struct Message<'a> {
    /// NLMSG_* or RTM_*.
    pub kind: u16,
    /// NLM_F_*.
    pub flags: u16,
    /// Of the request that it answers.
    pub sequence: u32,
    /// Everything behind the head.
    pub body: &'a [u8],
}

/// Takes a datagram apart into its messages.
pub fn parse(mut bytes: &[u8]) -> Result<Vec<Message<'_>>> {
    let mut found = Vec::new();
    while let Some((head, _)) = bytes.split_first_chunk::<HEAD>() {
        let word = |at: usize| u32::from_ne_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let half = |at: usize| u16::from_ne_bytes([head[at], head[at + 1]]);
        let length = word(0) as usize;
        let Some(body) = bytes.get(HEAD..length) else {
            let left = bytes.len();
            return Err(Error::new(format!("a netlink message says to be {length} bytes long where {left} are left")));
        };
        found.push(Message { kind: half(4), flags: half(6), sequence: word(8), body });
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_a_message() {
        let mut request = Request::link(libc::RTM_NEWLINK, libc::NLM_F_ACK, 7, 1, 1);
        request.text(libc::IFLA_IFNAME, "eth0").unwrap();
        let bytes = request.finish(9).unwrap();
        let messages = parse(&bytes).unwrap();
        let [message] = messages.as_slice() else { panic!("{messages:?}") };
        assert_eq!((message.kind, message.sequence), (libc::RTM_NEWLINK, 9));
        assert_eq!(i32::from(message.flags), libc::NLM_F_REQUEST | libc::NLM_F_ACK);
        assert_eq!(attribute::parse(&message.body[16..]).unwrap(), [(libc::IFLA_IFNAME, &b"eth0\0"[..])]);
    }

    #[test]
    fn a_message_cut_anywhere_is_an_error_or_none() {
        let bytes = Request::link(libc::RTM_GETLINK, 0, 1, 0, 0).finish(1).unwrap();
        for end in 0..bytes.len() {
            assert!(parse(&bytes[..end]).is_err() || end < HEAD, "{end}");
        }
        assert!(parse(&[0; HEAD]).is_err(), "a length of nothing would never end");
    }
}
