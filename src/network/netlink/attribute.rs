//! Attributes: a length of 16 bits with its own four bytes included, a kind of 16 bits, a value, padding to four bytes.

use crate::init::guard::{Guard, stands};
use crate::{Error, Result};

/// Length and kind.
const HEAD: usize = 4;
/// NLA_F_NESTED and NLA_F_NET_BYTEORDER, which are no part of the kind.
const FLAGS: u16 = 0xc000;

/// Appends an attribute. A value that the length of 16 bits cannot tell is an error: cut short, the rest of it would be
/// read as attributes of whoever wrote the value (CVE-2021-43784).
pub fn put(bytes: &mut Vec<u8>, kind: u16, value: &[u8]) -> Result<()> {
    let length = HEAD + value.len();
    if length > usize::from(u16::MAX) && stands(Guard::NetlinkLengths) {
        return Err(Error::invalid(format!(
            "netlink attribute {kind}: {} bytes long; at most {} can be told to the kernel",
            value.len(),
            usize::from(u16::MAX) - HEAD
        )));
    }
    bytes.extend_from_slice(&(length as u16).to_ne_bytes());
    bytes.extend_from_slice(&kind.to_ne_bytes());
    bytes.extend_from_slice(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    Ok(())
}

/// Appends an attribute that has others in it.
pub fn nest(bytes: &mut Vec<u8>, kind: u16, attributes: &[u8]) -> Result<()> {
    put(bytes, kind | libc::NLA_F_NESTED as u16, attributes)
}

/// Takes attributes apart: kind and value of each, in their order. A length that leads outside is an error.
pub fn parse(mut bytes: &[u8]) -> Result<Vec<(u16, &[u8])>> {
    let mut found = Vec::new();
    while let Some((head, _)) = bytes.split_first_chunk::<HEAD>() {
        let length = usize::from(u16::from_ne_bytes([head[0], head[1]]));
        let kind = u16::from_ne_bytes([head[2], head[3]]) & !FLAGS;
        let Some(value) = bytes.get(HEAD..length) else {
            return Err(Error::new(format!(
                "netlink attribute {kind}: says to be {length} bytes long where {} are left",
                bytes.len()
            )));
        };
        found.push((kind, value));
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(found)
}

/// A number of 32 bits.
pub fn number(value: &[u8]) -> Result<u32> {
    let value = value.try_into().map_err(|_| Error::new("netlink: a number is not four bytes long"))?;
    Ok(u32::from_ne_bytes(value))
}

/// A number of 32 bits as netfilter has them, the highest byte first.
pub fn big_number(value: &[u8]) -> Result<u32> {
    number(value).map(u32::from_be)
}

/// Text up to its NUL.
pub fn text(value: &[u8]) -> String {
    let end = value.iter().position(|byte| *byte == 0).unwrap_or(value.len());
    String::from_utf8_lossy(&value[..end]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_come_back_as_they_were_put() {
        let mut bytes = Vec::new();
        put(&mut bytes, 3, b"eth0\0").unwrap();
        put(&mut bytes, 4, &7u32.to_ne_bytes()).unwrap();
        assert_eq!(bytes.len(), 12 + 8, "padded to four bytes");
        assert_eq!(parse(&bytes).unwrap(), [(3, &b"eth0\0"[..]), (4, &7u32.to_ne_bytes()[..])]);
    }

    /// CVE-2021-43784: 65,532 bytes and four of head make a length of 65,536, which in 16 bits is none.
    #[test]
    fn a_value_that_its_length_cannot_tell_is_refused() {
        let longest = usize::from(u16::MAX) - HEAD;
        let mut bytes = Vec::new();
        put(&mut bytes, 1, &vec![b'a'; longest]).unwrap();
        assert_eq!(parse(&bytes).unwrap()[0].1.len(), longest);
        for length in [longest + 1, longest + 2, 1 << 16, (1 << 16) + HEAD, 1 << 20] {
            let mut bytes = Vec::new();
            let error = put(&mut bytes, 1, &vec![b'a'; length]).unwrap_err().to_string();
            assert!(error.contains(&length.to_string()), "{error}");
            assert!(bytes.is_empty(), "nothing of it is sent");
        }
    }

    #[test]
    fn lengths_that_lead_outside_are_errors() {
        for length in [0u16, 3, 9, 200, u16::MAX] {
            let mut bytes = Vec::new();
            put(&mut bytes, 3, b"eth0").unwrap();
            bytes[..2].copy_from_slice(&length.to_ne_bytes());
            assert!(parse(&bytes).is_err(), "{length}");
        }
        assert!(number(b"abc").is_err());
    }
}
