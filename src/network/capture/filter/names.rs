//! Names that stand for numbers: of protocols over IP, of ports. Every Linux has more of them in /etc/services; a filter that
//! reads no file means the same everywhere.

use crate::{Error, Result};

const PROTOCOLS: [(&str, u8); 14] = [
    ("icmp", 1),
    ("igmp", 2),
    ("ipip", 4),
    ("tcp", 6),
    ("udp", 17),
    ("ipv6", 41),
    ("gre", 47),
    ("esp", 50),
    ("ah", 51),
    ("icmp6", 58),
    ("ospf", 89),
    ("pim", 103),
    ("vrrp", 112),
    ("sctp", 132),
];

const PORTS: [(&str, u16); 25] = [
    ("ftp-data", 20),
    ("ftp", 21),
    ("ssh", 22),
    ("telnet", 23),
    ("smtp", 25),
    ("domain", 53),
    ("bootps", 67),
    ("bootpc", 68),
    ("tftp", 69),
    ("http", 80),
    ("pop3", 110),
    ("ntp", 123),
    ("imap2", 143),
    ("snmp", 161),
    ("snmp-trap", 162),
    ("bgp", 179),
    ("ldap", 389),
    ("https", 443),
    ("isakmp", 500),
    ("syslog", 514),
    ("submission", 587),
    ("ldaps", 636),
    ("imaps", 993),
    ("pop3s", 995),
    ("mdns", 5353),
];

/// A number in decimal, or in hexadecimal behind 0x.
pub fn number(text: &str) -> Option<u32> {
    match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None if text.starts_with('+') => None,
        None => text.parse().ok(),
    }
}

/// A protocol over IP. tcpdump wants a backslash before names that are words of a filter too.
pub fn protocol(text: &str) -> Result<u8> {
    let name = text.strip_prefix('\\').unwrap_or(text);
    let known = PROTOCOLS.iter().find(|(known, _)| *known == name).map(|(_, number)| *number);
    let number = || number(name).and_then(|number| u8::try_from(number).ok());
    known.or_else(number).ok_or_else(|| {
        let names = PROTOCOLS.map(|(name, _)| name).join(", ");
        Error::invalid(format!("filter: {text:?} is no protocol over IP: a number up to 255, or one of {names}"))
    })
}

/// A port.
pub fn port(text: &str) -> Result<u16> {
    let known = PORTS.iter().find(|(known, _)| *known == text).map(|(_, number)| *number);
    let number = || number(text).and_then(|number| u16::try_from(number).ok());
    known.or_else(number).ok_or_else(|| {
        let names = PORTS.map(|(name, _)| name).join(", ");
        Error::invalid(format!("filter: {text:?} is no port: a number up to 65535, or one of {names}"))
    })
}

/// The first and the last of a range of ports; one port is a range too.
pub fn port_range(text: &str) -> Result<(u16, u16)> {
    // A name may hold a dash, so a whole name is looked for first.
    if let Ok(only) = port(text) {
        return Ok((only, only));
    }
    let wrong = || Error::invalid(format!("filter: {text:?} is no range of ports, such as 8000-8080"));
    let (first, last) = text.split_once('-').ok_or_else(wrong)?;
    let (first, last) = (port(first)?, port(last)?);
    if first > last {
        return Err(Error::invalid(format!("filter: portrange {text}: the first port is the greater one")));
    }
    Ok((first, last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_read() {
        assert_eq!(protocol("\\tcp").unwrap(), 6);
        assert_eq!(protocol("0x2f").unwrap(), 47);
        assert_eq!(port("https").unwrap(), 443);
        assert_eq!(port_range("80-http").unwrap(), (80, 80));
        assert_eq!(port_range("ftp-data").unwrap(), (20, 20));
        assert_eq!(port_range("8000-8080").unwrap(), (8000, 8080));
    }

    #[test]
    fn what_is_no_number_there_is_named() {
        assert!(protocol("256").unwrap_err().to_string().contains("\"256\""));
        assert!(port("65536").unwrap_err().to_string().contains("up to 65535, or one of ftp-data, "));
        assert!(port("+80").is_err() && port("").is_err() && port("-1").is_err());
        assert!(port_range("90-80").unwrap_err().to_string().contains("the greater one"));
    }
}
