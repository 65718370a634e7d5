//! Addresses and networks as filters have them: `10.1` is a network of 16 bits there.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::{Error, Result};

/// A network: an address whose bits behind the prefix are zero. One whole address has the longest prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    /// The address.
    pub address: IpAddr,
    /// How many of its bits count.
    pub prefix: u8,
}

impl Network {
    /// As words of 32 bits, each with the mask of what counts in it.
    pub fn words(&self) -> Vec<(u32, u32)> {
        let bytes = match self.address {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        };
        let words = bytes.chunks_exact(4).map(|word| u32::from_be_bytes([word[0], word[1], word[2], word[3]]));
        words
            .enumerate()
            .map(|(at, word)| (word, mask(u32::from(self.prefix).saturating_sub(32 * at as u32))))
            .collect()
    }
}

/// A mask of so many bits from the highest on.
fn mask(bits: u32) -> u32 {
    if bits == 0 { 0 } else { u32::MAX << (32 - bits.min(32)) }
}

/// A host's address. Names are not looked up: whom would one ask, the host's resolver or the container's?
pub fn host(text: &str) -> Result<Network> {
    let address: IpAddr = text.parse().map_err(|_| {
        Error::invalid(format!("filter: {text:?} is no address of IPv4 or IPv6 (names are not looked up)"))
    })?;
    Ok(Network { address, prefix: if address.is_ipv4() { 32 } else { 128 } })
}

/// A network: `10.0.0.0/8`, `10`, `10.1`, `2001:db8::/32`; with `netmask`, what stood behind `mask`.
pub fn network(text: &str, netmask: Option<&str>) -> Result<Network> {
    let wrong = || Error::invalid(format!("filter: {text:?} is no network, such as 10.0.0.0/8, 10.1 or 2001:db8::/32"));
    let (address, prefix) = match text.split_once('/') {
        Some((address, prefix)) => (address, Some(prefix.parse::<u8>().map_err(|_| wrong())?)),
        None => (text, None),
    };
    let (address, own) = match address.parse::<Ipv6Addr>() {
        Ok(address) => (IpAddr::V6(address), 128),
        Err(_) => short_v4(address).map(|(address, own)| (IpAddr::V4(address), own)).ok_or_else(wrong)?,
    };
    let prefix = match netmask {
        Some(_) if prefix.is_some() || address.is_ipv6() => return Err(wrong()),
        Some(netmask) => prefix_of(netmask)?,
        None => prefix.unwrap_or(own),
    };
    let network = Network { address, prefix };
    check(text, network)?;
    Ok(network)
}

/// The prefix fits the family, and nothing is set behind it.
fn check(text: &str, network: Network) -> Result<()> {
    let longest = if network.address.is_ipv4() { 32 } else { 128 };
    if network.prefix > longest {
        return Err(Error::invalid(format!("filter: net {text}: the prefix is longer than {longest} bits")));
    }
    if network.words().iter().any(|(word, mask)| word & !mask != 0) {
        return Err(Error::invalid(format!(
            "filter: net {text}: bits are set behind the prefix of {} bits",
            network.prefix
        )));
    }
    Ok(())
}

/// One to four numbers; those that are not there are zero, and behind the prefix.
fn short_v4(text: &str) -> Option<(Ipv4Addr, u8)> {
    let mut octets = [0; 4];
    let parts: Vec<&str> = text.split('.').collect();
    if parts.len() > octets.len() {
        return None;
    }
    for (octet, part) in octets.iter_mut().zip(&parts) {
        if !part.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        *octet = part.parse().ok()?;
    }
    Some((octets.into(), parts.len() as u8 * 8))
}

fn prefix_of(netmask: &str) -> Result<u8> {
    let parsed: Option<Ipv4Addr> = netmask.parse().ok();
    let bits = parsed.map(u32::from).filter(|bits| bits.leading_ones() + bits.trailing_zeros() == 32);
    bits.map(|bits| bits.leading_ones() as u8).ok_or_else(|| {
        Error::invalid(format!("filter: mask {netmask:?}: a mask is one such as 255.255.0.0, ones and then zeros"))
    })
}

/// A hardware address: six numbers in hexadecimal, with `:`, `-` or `.` between.
pub fn hardware(text: &str) -> Result<[u8; 6]> {
    let wrong = || Error::invalid(format!("filter: {text:?} is no hardware address, such as 02:00:00:00:00:01"));
    let mut octets = [0; 6];
    let parts: Vec<&str> = text.split([':', '-', '.']).collect();
    if parts.len() != octets.len() {
        return Err(wrong());
    }
    for (octet, part) in octets.iter_mut().zip(parts) {
        let good = (1..=2).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_hexdigit());
        *octet = good.then(|| u8::from_str_radix(part, 16).ok()).flatten().ok_or_else(wrong)?;
    }
    Ok(octets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_as_long_as_what_is_written() {
        for (text, address, prefix) in [
            ("10", "10.0.0.0", 8),
            ("10.1", "10.1.0.0", 16),
            ("10.1.2.3", "10.1.2.3", 32),
            ("10/8", "10.0.0.0", 8),
            ("0.0.0.0/0", "0.0.0.0", 0),
            ("2001:db8::/32", "2001:db8::", 32),
            ("::1", "::1", 128),
        ] {
            let expected = Network { address: address.parse().unwrap(), prefix };
            assert_eq!(network(text, None).unwrap(), expected, "{text}");
        }
        assert_eq!(network("10.1.0.0", Some("255.255.0.0")).unwrap().prefix, 16);
    }

    #[test]
    fn what_is_no_network_says_why() {
        for (text, says) in [
            ("10.0.0.1/8", "bits are set behind"),
            ("10.0.0.0/33", "longer than 32"),
            ("::/129", "longer than 128"),
            ("10.0.0.0.0", "is no network"),
            ("10..1", "is no network"),
            ("web", "is no network"),
            ("10.0.0.0/x", "is no network"),
        ] {
            let error = network(text, None).unwrap_err().to_string();
            assert!(error.contains(says) && error.contains(text), "{error}");
        }
        assert!(network("10.1.0.0", Some("255.0.255.0")).is_err());
        assert!(network("10.0.0.0/8", Some("255.0.0.0")).is_err());
    }

    #[test]
    fn a_prefix_is_a_mask_for_each_word() {
        let words = network("2001:db8:8000::/33", None).unwrap().words();
        assert_eq!(words, [(0x2001_0db8, u32::MAX), (0x8000_0000, 0x8000_0000), (0, 0), (0, 0)]);
    }

    #[test]
    fn hardware_addresses_are_six_octets() {
        assert_eq!(hardware("02:0:0:0:0:ff").unwrap(), [2, 0, 0, 0, 0, 255]);
        assert_eq!(hardware("02-00-00-00-00-FF").unwrap(), [2, 0, 0, 0, 0, 255]);
        for bad in ["", "02:00:00:00:00", "02:00:00:00:00:100", "02:00:00:00:00:+1", "02:00:00:00:00:00:00"] {
            assert!(hardware(bad).is_err(), "{bad}");
        }
    }
}
