//! Interfaces: their names, what the kernel tells of them, moving and raising them.

use std::fmt;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::netlink::{Message, Request, Socket, attribute};
use crate::init::guard::{Guard, stands};
use crate::{Context, Error, Result};

/// IFLA_INFO_KIND.
const IFLA_INFO_KIND: u16 = 1;

/// The most bytes of a name: IFNAMSIZ without the NUL.
const LONGEST: usize = libc::IFNAMSIZ - 1;

/// What the kernel takes as an interface's name (dev_valid_name), and a sentence on what is wrong otherwise.
fn check(text: &str) -> Result<()> {
    let wrong = if text.is_empty() {
        "is empty".to_owned()
    } else if text.len() > LONGEST {
        format!("is {} bytes long, and the kernel takes at most {LONGEST}", text.len())
    } else if text == "." || text == ".." {
        "is . or .., which no interface is called".to_owned()
    } else if let Some(bad) = text.chars().find(|c| c.is_whitespace() || c.is_control() || "/:".contains(*c)) {
        format!("holds {bad:?}: no space, control character, / or : may stand in it")
    } else {
        return Ok(());
    };
    if !stands(Guard::InterfaceNames) {
        return Ok(());
    }
    // An attack of kilobytes is not repeated to whoever reads the log.
    let shown: String = text.chars().take(32).collect();
    let dots = if shown.len() < text.len() { "..." } else { "" };
    Err(Error::invalid(format!("interface name {shown:?}{dots} {wrong}")))
}

/// The number of the loopback interface in every network namespace.
pub const LOOPBACK: u32 = 1;

/// An interface's name: 1 to 15 bytes, no space, `/` or `:`, and not `.` or `..`. A `%` is in no name that exists.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Ifname(String);

impl FromStr for Ifname {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        check(text)?;
        if text.contains('%') {
            return Err(Error::invalid(format!("interface name {text:?} holds a %, which no interface's name does")));
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for Ifname {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Ifname> for String {
    fn from(name: Ifname) -> Self {
        name.0
    }
}

impl AsRef<str> for Ifname {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Ifname {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A name that an interface is to get, or a template with one `%d`, for which the lowest free number is put as the kernel
/// does.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pattern(String);

impl FromStr for Pattern {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        check(text)?;
        let percents = text.matches('%').count();
        if percents > 1 || percents == 1 && !text.contains("%d") {
            return Err(Error::invalid(format!("interface name {text:?}: a template has one %d and no other %")));
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for Pattern {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Pattern> for String {
    fn from(name: Pattern) -> Self {
        name.0
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Pattern {
    /// The name, where it is no template.
    pub fn name(&self) -> Option<Ifname> {
        (!self.0.contains('%')).then(|| Ifname(self.0.clone()))
    }

    /// Whether an interface of this name may be what the pattern was resolved to.
    pub fn matches(&self, name: &str) -> bool {
        let Some((before, after)) = self.0.split_once("%d") else { return self.0 == name };
        let number = name.strip_prefix(before).and_then(|rest| rest.strip_suffix(after));
        number.is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
    }

    /// A name that none of those is called.
    pub fn resolve(&self, taken: &[String]) -> Result<Ifname> {
        let Some((before, after)) = self.0.split_once("%d") else { return Ok(Ifname(self.0.clone())) };
        let free = (0..u32::MAX).map(|n| format!("{before}{n}{after}")).find(|name| !taken.contains(name));
        free.unwrap_or_default().parse()
    }
}

/// An interface as the kernel tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its number in its namespace.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Whether it is up as far as its administrator is concerned: IFF_UP.
    pub up: bool,
    /// Its hardware address as `ip link` prints it; empty where it has none.
    pub hardware: String,
    /// The names that it can be found by as well (`ip link property add altname`).
    pub also_called: Vec<String>,
    /// The longest packet that it takes.
    pub mtu: u32,
    /// What its maker wrote of it: IFLA_IFALIAS.
    pub alias: String,
    /// The kernel's word for its kind, such as bridge or veth; empty for a physical one.
    pub kind: String,
}

fn read(message: &Message) -> Result<Link> {
    // struct ifinfomsg: family, padding, type (16 bits), index, flags, change.
    let short = || Error::new("netlink: an interface's message is too short");
    let (header, attributes) = message.body.split_first_chunk::<16>().ok_or_else(short)?;
    let flags = u32::from_ne_bytes([header[8], header[9], header[10], header[11]]);
    let mut link = Link {
        index: u32::from_ne_bytes([header[4], header[5], header[6], header[7]]),
        name: String::new(),
        up: flags & libc::IFF_UP as u32 != 0,
        hardware: String::new(),
        also_called: Vec::new(),
        mtu: 0,
        alias: String::new(),
        kind: String::new(),
    };
    for (kind, value) in attribute::parse(attributes)? {
        match kind {
            libc::IFLA_IFNAME => link.name = attribute::text(value),
            libc::IFLA_MTU => link.mtu = attribute::number(value)?,
            libc::IFLA_IFALIAS => link.alias = attribute::text(value),
            libc::IFLA_LINKINFO => {
                let kind = attribute::parse(value)?.into_iter().find(|(kind, _)| *kind == IFLA_INFO_KIND);
                link.kind = kind.map(|(_, text)| attribute::text(text)).unwrap_or_default();
            }
            libc::IFLA_ADDRESS => {
                link.hardware = value.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":");
            }
            libc::IFLA_PROP_LIST => {
                let names = attribute::parse(value)?.into_iter().filter(|(kind, _)| *kind == libc::IFLA_ALT_IFNAME);
                link.also_called = names.map(|(_, name)| attribute::text(name)).collect();
            }
            _ => {}
        }
    }
    Ok(link)
}

fn get(socket: &Socket, request: Request) -> Result<Option<Link>> {
    let mut found = None;
    let asked = socket.ask(request, |message| {
        found = Some(read(message)?);
        Ok(())
    });
    match asked {
        Err(error) if error.errno() == Some(libc::ENODEV) => Ok(None),
        other => other.map(|()| found),
    }
}

/// The interface of a name: RTM_GETLINK.
pub fn by_name(socket: &Socket, name: &str) -> Result<Option<Link>> {
    let mut request = Request::link(libc::RTM_GETLINK, libc::NLM_F_ACK, 0, 0, 0);
    request.text(libc::IFLA_IFNAME, name)?;
    get(socket, request).context(|| format!("look for interface {name}"))
}

/// The interface of a number.
pub fn by_index(socket: &Socket, index: u32) -> Result<Option<Link>> {
    let request = Request::link(libc::RTM_GETLINK, libc::NLM_F_ACK, index, 0, 0);
    get(socket, request).context(|| format!("look for interface {index}"))
}

/// Every interface of the namespace.
pub fn list(socket: &Socket) -> Result<Vec<Link>> {
    let mut links = Vec::new();
    let dumped = socket.dump(
        || Request::link(libc::RTM_GETLINK, libc::NLM_F_DUMP, 0, 0, 0),
        |message| {
            match message {
                Some(message) => links.push(read(message)?),
                None => links.clear(),
            }
            Ok(())
        },
    );
    dumped.context(|| "list the interfaces")?;
    Ok(links)
}

/// Moves an interface into another network namespace under a name, in one request, which the kernel carries out wholly or
/// not at all: IFLA_NET_NS_FD, IFLA_IFNAME. It is down then and has lost its addresses.
/// `number` asks for one there, which kernels before 5.13 do not hear.
pub fn move_to(socket: &Socket, index: u32, netns: BorrowedFd, (name, number): (&Ifname, Option<u32>)) -> Result<()> {
    let mut request = Request::link(libc::RTM_NEWLINK, libc::NLM_F_ACK, index, 0, 0);
    request.number(libc::IFLA_NET_NS_FD, netns.as_raw_fd() as u32)?;
    request.text(libc::IFLA_IFNAME, name.as_ref())?;
    if let Some(number) = number {
        request.number(libc::IFLA_NEW_IFINDEX, number)?;
    }
    socket.change(request)
}

/// Sets an interface up: IFF_UP.
pub fn set_up(socket: &Socket, index: u32) -> Result<()> {
    let up = libc::IFF_UP as u32;
    socket.change(Request::link(libc::RTM_NEWLINK, libc::NLM_F_ACK, index, up, up))
}

/// Sets the hardware address of an interface, which most take only while they are down.
pub fn set_hardware(socket: &Socket, index: u32, hardware: &str) -> Result<()> {
    socket.change(Request::link(libc::RTM_NEWLINK, libc::NLM_F_ACK, index, 0, libc::IFF_UP as u32))?;
    let octets: Result<Vec<u8>, _> = hardware.split(':').map(|octet| u8::from_str_radix(octet, 16)).collect();
    let octets = octets.map_err(|_| Error::new(format!("{hardware:?} is no hardware address")))?;
    let mut request = Request::link(libc::RTM_NEWLINK, libc::NLM_F_ACK, index, 0, 0);
    request.attribute(libc::IFLA_ADDRESS, &octets)?;
    socket.change(request).context(|| format!("set the hardware address {hardware}"))
}

/// Takes names from an interface that it can be found by besides its own: RTM_DELLINKPROP.
pub fn forget_names(socket: &Socket, index: u32, names: &[&String]) -> Result<()> {
    const RTM_DELLINKPROP: u16 = 109;
    let mut list = Vec::new();
    for name in names {
        attribute::put(&mut list, libc::IFLA_ALT_IFNAME, &[name.as_bytes(), b"\0"].concat())?;
    }
    let mut request = Request::link(RTM_DELLINKPROP, libc::NLM_F_ACK, index, 0, 0);
    request.attribute(libc::IFLA_PROP_LIST | libc::NLA_F_NESTED as u16, &list)?;
    socket.change(request).context(|| format!("take the names {names:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_the_kernel_takes() {
        for good in ["eth0", "a", "exactly15bytes_", "vlan.5", "enp0s3@x", "..."] {
            assert!(good.parse::<Ifname>().is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "sixteen_bytes_xx", "a/b", "a b", "a\tb", "a:1", "a\0b", "eth%d"] {
            assert!(bad.parse::<Ifname>().is_err(), "{bad:?}");
        }
        let error = "x".repeat(70_000).parse::<Ifname>().unwrap_err().to_string();
        assert!(error.contains("70000 bytes long") && error.len() < 200, "{error}");
    }

    #[test]
    fn a_template_gets_the_lowest_free_number() {
        let pattern: Pattern = "net%d".parse().unwrap();
        let taken = ["lo", "net0", "net2"].map(str::to_owned);
        assert_eq!(pattern.resolve(&taken).unwrap().as_ref(), "net1");
        assert!(pattern.matches("net17") && !pattern.matches("net") && !pattern.matches("nets1"));
        assert!(pattern.name().is_none());
        for bad in ["a%", "a%s", "%d%d", "a%d%", "way_too_long_name%d"] {
            assert!(bad.parse::<Pattern>().is_err(), "{bad}");
        }
        let longest: Pattern = "exactly_15_by%d".parse().unwrap();
        let taken: Vec<_> = (0..100).map(|n| format!("exactly_15_by{n}")).collect();
        assert!(longest.resolve(&taken).is_err(), "the hundredth would be too long");
    }
}
