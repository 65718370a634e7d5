//! Ports of the host that a process has: one that is to be published would be taken from it, without a word.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockProtocol, SockType, SockaddrIn, SockaddrIn6, bind, setsockopt, socket, sockopt,
};

use super::address::ip;
use super::netlink::{Message, Request, Socket, attribute};
use super::request::{Protocol, Publish};
use crate::{Context, Error, Result};

/// Up to so many ports are tried by bind(2); of more the kernel's list is asked for.
const FEW: u16 = 16;
/// SOCK_DIAG_BY_FAMILY.
const BY_FAMILY: u16 = 20;
/// struct inet_diag_msg.
const HEAD: usize = 72;
/// INET_DIAG_SKV6ONLY.
const V6_ONLY: u16 = 11;
/// Bits of idiag_states: TCP_LISTEN, and TCP_CLOSE, which a socket of UDP without a peer is in.
const LISTENING: u32 = 1 << 10;
const UNCONNECTED: u32 = 1 << 7;

/// Whether the ports that are to be published are free of processes, in the caller's network namespace; of the families
/// (IPv4, IPv6) that the container has.
///
/// # Errors
/// When one is taken, by its number.
pub fn check(publish: &[Publish], families: (bool, bool)) -> Result<()> {
    for publish in publish {
        for address in addresses(publish, families) {
            if let Some(port) = taken(publish, address)? {
                return Err(refusal(publish, port));
            }
        }
    }
    Ok(())
}

fn refusal(publish: &Publish, port: u16) -> Error {
    let protocol = publish.protocol.word();
    let letter = match publish.protocol {
        Protocol::Tcp => 't',
        Protocol::Udp => 'u',
        Protocol::Sctp => 'S',
    };
    Error::invalid(format!(
        "publish {publish}: port {port}/{protocol} of the host is a process's (ss -{letter}lnp 'sport = :{port}' shows \
         whose); stop that, or choose another port"
    ))
}

fn addresses(publish: &Publish, families: (bool, bool)) -> Vec<IpAddr> {
    match publish.address {
        Some(address) => vec![address],
        None => {
            let four = families.0.then_some(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
            four.into_iter().chain(families.1.then_some(IpAddr::V6(Ipv6Addr::UNSPECIFIED))).collect()
        }
    }
}

/// The first port that is taken.
fn taken(publish: &Publish, address: IpAddr) -> Result<Option<u16>> {
    if publish.count > FEW
        && let Some(sockets) = list(publish.protocol, address.is_ipv4())?
    {
        let hits = sockets.into_iter().filter(|other| other.is_in_the_way(address)).map(|other| other.port);
        return Ok(hits.filter(|port| (publish.host..=publish.host_last()).contains(port)).min());
    }
    for port in publish.host..=publish.host_last() {
        match try_bind(publish.protocol, SocketAddr::new(address, port)) {
            Ok(()) => {}
            Err(Errno::EADDRINUSE) => return Ok(Some(port)),
            // The kernel has no such protocol or family, or the user may not: what cannot be known keeps nobody.
            Err(
                Errno::EPROTONOSUPPORT
                | Errno::ESOCKTNOSUPPORT
                | Errno::EAFNOSUPPORT
                | Errno::EADDRNOTAVAIL
                | Errno::EACCES
                | Errno::EPERM,
            ) => return Ok(None),
            Err(errno) => return Err(errno).context(|| format!("publish {publish}: look whether port {port} is free")),
        }
    }
    Ok(None)
}

fn try_bind(protocol: Protocol, address: SocketAddr) -> nix::Result<()> {
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let (kind, number) = match protocol {
        Protocol::Tcp => (SockType::Stream, SockProtocol::Tcp),
        Protocol::Udp => (SockType::Datagram, SockProtocol::Udp),
        Protocol::Sctp => (SockType::Stream, SockProtocol::Sctp),
    };
    let socket = socket(family, kind, SockFlag::SOCK_CLOEXEC, number)?;
    if protocol != Protocol::Udp {
        // What is left of connections that ended takes no port; two sockets of UDP could share one, though.
        setsockopt(&socket, sockopt::ReuseAddr, &true)?;
    }
    if address.is_ipv6() {
        setsockopt(&socket, sockopt::Ipv6V6Only, &true)?;
    }
    match address {
        SocketAddr::V4(four) => bind(socket.as_raw_fd(), &SockaddrIn::from(four)),
        SocketAddr::V6(six) => bind(socket.as_raw_fd(), &SockaddrIn6::from(six)),
    }
}

/// A socket that waits for whoever comes.
#[derive(Debug)]
struct Waiting {
    address: IpAddr,
    port: u16,
    /// One of IPv6 that IPv4 comes to as well.
    both: bool,
}

impl Waiting {
    fn is_in_the_way(&self, address: IpAddr) -> bool {
        let all = |address: IpAddr| address.is_unspecified();
        if self.address.is_ipv4() != address.is_ipv4() {
            return self.both && all(self.address) && address.is_ipv4();
        }
        all(self.address) || all(address) || self.address == address
    }
}

/// The sockets of a protocol that wait for somebody, also those of IPv6 for IPv4; None where the kernel does not list them:
/// sock_diag(7).
fn list(protocol: Protocol, ipv4: bool) -> Result<Option<Vec<Waiting>>> {
    let socket = Socket::open_protocol(SockProtocol::NetlinkSockDiag)?;
    let families = if ipv4 { &[libc::AF_INET, libc::AF_INET6][..] } else { &[libc::AF_INET6] };
    let mut found = Vec::new();
    for family in families {
        match list_family(&socket, protocol, *family) {
            Ok(sockets) => found.extend(sockets),
            Err(error) if matches!(error.errno(), Some(libc::ENOENT | libc::EOPNOTSUPP | libc::EINVAL)) => {
                return Ok(None);
            }
            Err(error) => return Err(error).context(|| "list the host's sockets"),
        }
    }
    Ok(Some(found))
}

fn list_family(socket: &Socket, protocol: Protocol, family: i32) -> Result<Vec<Waiting>> {
    // struct inet_diag_req_v2: family, protocol, extensions, padding, states, and an id of which nothing is asked.
    let mut header = [0; 56];
    (header[0], header[1]) = (family as u8, protocol.number());
    let states = if protocol == Protocol::Udp { UNCONNECTED } else { LISTENING };
    header[4..8].copy_from_slice(&states.to_ne_bytes());
    let mut found = Vec::new();
    socket.dump(
        || Request::new(BY_FAMILY, libc::NLM_F_DUMP, &header),
        |message| {
            match message {
                Some(message) => found.push(read(message)?),
                None => found.clear(),
            }
            Ok(())
        },
    )?;
    Ok(found)
}

fn read(message: &Message) -> Result<Waiting> {
    let short = || Error::new("netlink: a socket's message is too short");
    let (head, attributes) = message.body.split_first_chunk::<HEAD>().ok_or_else(short)?;
    let ipv6 = i32::from(head[0]) == libc::AF_INET6;
    let address = ip(&head[8..if ipv6 { 24 } else { 12 }])?;
    let only = attribute::parse(attributes)?.into_iter().find(|(kind, _)| *kind == V6_ONLY);
    let both = ipv6 && only.is_none_or(|(_, value)| value.first() == Some(&0));
    Ok(Waiting { address, port: u16::from_be_bytes([head[4], head[5]]), both })
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};

    use super::*;

    fn said(publish: &str) -> String {
        check(&[publish.parse().unwrap()], (true, true)).err().map(|error| error.to_string()).unwrap_or_default()
    }

    /// In a network namespace of its own.
    fn alone(test: impl FnOnce() + Send + 'static) {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("skipped: not root");
            return;
        }
        let run = move || {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
            let up = std::process::Command::new("ip").args(["link", "set", "lo", "up"]).status().unwrap();
            assert!(up.success());
            test();
        };
        if let Err(panic) = std::thread::spawn(run).join() {
            std::panic::resume_unwind(panic);
        }
    }

    #[test]
    fn a_port_of_a_process_is_refused_and_named() {
        alone(|| {
            let _tcp = TcpListener::bind("127.0.0.1:8080").unwrap();
            let _both = TcpListener::bind("[::]:9090").unwrap();
            let _udp = UdpSocket::bind("0.0.0.0:53").unwrap();
            for (publish, port) in [
                ("8080:80", 8080),
                ("127.0.0.1:8080:80", 8080),
                ("9090:80", 9090),
                ("127.0.0.1:9090:80", 9090),
                ("[::1]:9090:80", 9090),
                ("53:53/udp", 53),
                ("8000-8100:8000-8100", 8080),
                ("1-9999:1-9999", 8080),
                ("127.0.0.1:9000-9099:9000-9099", 9090),
                ("50-59:50-59/udp", 53),
                ("1-100:1-100/udp", 53),
            ] {
                let error = said(publish);
                assert!(
                    error.contains(&format!("port {port}/")) && error.contains("another port"),
                    "{publish}: {error}"
                );
            }
            for free in [
                "8081:80",
                "8080:80/udp",
                "53:53",
                "127.0.0.2:8080:80",
                "[::1]:8080:80",
                "1-100:1-100",
                "[::1]:1-100:1-100/udp",
                "127.0.0.2:8070-8089:8070-8089",
                "36412:36412/sctp",
                "1000-1999:1000-1999/sctp",
                "192.0.2.77:8080:80",
            ] {
                assert_eq!(said(free), "", "{free}");
            }
        });
    }

    #[test]
    fn a_connection_that_ended_takes_no_port() {
        alone(|| {
            let listener = TcpListener::bind("127.0.0.1:8080").unwrap();
            let client = std::net::TcpStream::connect("127.0.0.1:8080").unwrap();
            let (served, _) = listener.accept().unwrap();
            // The side that closes first is left in TIME_WAIT.
            drop((served, listener));
            drop(client);
            assert_eq!(said("8080:80"), "");
        });
    }
}
