//! Headers of IPv4 (RFC 791) and IPv6 (RFC 8200), with its extensions.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Bytes, transport};

/// Extensions of IPv6 that are looked behind.
const MOST_EXTENSIONS: usize = 8;

/// What IP carries.
pub(super) struct Carried<'a> {
    /// Its number.
    pub protocol: u8,
    /// From whom, to whom.
    pub ends: [IpAddr; 2],
    /// How many bytes it has, though fewer may be captured.
    pub length: usize,
    /// Those.
    pub bytes: Bytes<'a>,
}

pub(super) fn v4(bytes: Bytes) -> Option<String> {
    let header = usize::from(bytes.byte(0)? & 0xf) * 4;
    if header < 20 {
        return Some(format!("[a header of {header} bytes]"));
    }
    let address = |at| bytes.array::<4>(at).map(Ipv4Addr::from).map(IpAddr::from);
    let ends = [address(12)?, address(16)?];
    let whole = match bytes.half(2)? {
        // The kernel puts none into a packet that it cuts up later.
        0 => bytes.0.len(),
        length => length.into(),
    };
    let length = whole.saturating_sub(header);
    let protocol = bytes.byte(9)?;
    let offset = usize::from(bytes.half(6)? & 0x1fff) * 8;
    if offset > 0 {
        return Some(fragment(ends, offset, protocol, length));
    }
    Some(transport::describe(&Carried { protocol, ends, length, bytes: bytes.from(header) }))
}

pub(super) fn v6(bytes: Bytes) -> Option<String> {
    const HEADER: usize = 40;
    let address = |at| bytes.array::<16>(at).map(Ipv6Addr::from).map(IpAddr::from);
    let ends = [address(8)?, address(24)?];
    let mut protocol = bytes.byte(6)?;
    let mut rest = bytes.from(HEADER);
    let mut length = match bytes.half(4)? {
        0 => rest.0.len(),
        length => length.into(),
    };
    for _ in 0..MOST_EXTENSIONS {
        let size = match protocol {
            // Options for each hop or for the destination, routing.
            0 | 43 | 60 => (usize::from(rest.byte(1)?) + 1) * 8,
            44 => {
                let offset = usize::from(rest.half(2)? & 0xfff8);
                if offset > 0 {
                    return Some(fragment(ends, offset, rest.byte(0)?, length.saturating_sub(8)));
                }
                8
            }
            _ => break,
        };
        protocol = rest.byte(0)?;
        rest = rest.from(size);
        length = length.saturating_sub(size);
    }
    Some(transport::describe(&Carried { protocol, ends, length, bytes: rest }))
}

fn fragment([from, to]: [IpAddr; 2], offset: usize, protocol: u8, length: usize) -> String {
    format!("{from} > {to}: fragment at {offset} of ip-proto-{protocol}, length {length}")
}
