//! Descriptors over sockets: unix(7), SCM_RIGHTS.

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use nix::sys::socket::{
    AddressFamily, Backlog, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, UnixAddr, bind, connect,
    listen, recvmsg, sendmsg, setsockopt, socket, socketpair, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};

use crate::{Context, Result};

/// A connected stream socket to a path. Paths longer than sun_path are reached through a directory descriptor.
pub fn connect_path(path: &Path) -> Result<OwnedFd> {
    let stream =
        socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).context(|| "make a socket")?;
    connect_to(&stream, path)?;
    Ok(stream)
}

/// The same, where neither connecting nor sending may wait longer than this for a peer that accepts or reads nothing:
/// they fail with EAGAIN.
pub fn connect_path_within(path: &Path, limit: Duration) -> Result<OwnedFd> {
    let stream =
        socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).context(|| "make a socket")?;
    setsockopt(&stream, sockopt::SendTimeout, &TimeVal::milliseconds(limit.as_millis() as i64))?;
    connect_to(&stream, path).map_err(|error| match error.errno() {
        Some(libc::EAGAIN) => {
            let message = format!("{error} (it accepts no connection)");
            error.reworded(message)
        }
        _ => error,
    })?;
    Ok(stream)
}

/// Connects a socket to a path.
pub fn connect_to(socket: &OwnedFd, path: &Path) -> Result<()> {
    with_short_path(path, |short| Ok(connect(socket.as_raw_fd(), &UnixAddr::new(short)?)?))
        .context(|| format!("connect to {}", path.display()))
}

/// A socket that listens at a path.
pub fn listen_path(path: &Path) -> Result<OwnedFd> {
    let stream =
        socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).context(|| "make a socket")?;
    with_short_path(path, |short| {
        bind(stream.as_raw_fd(), &UnixAddr::new(short)?)?;
        Ok(listen(&stream, Backlog::new(8)?)?)
    })
    .context(|| format!("listen at {}", path.display()))?;
    Ok(stream)
}

/// A datagram socket connected to a path, or to a name of the abstract namespace behind `@`: unix(7). Sending waits for
/// nobody: it fails with EAGAIN.
pub fn connect_datagram(address: &str) -> Result<OwnedFd> {
    let datagram = datagram()?;
    match address.strip_prefix('@') {
        None => connect_to(&datagram, Path::new(address))?,
        Some(name) => UnixAddr::new_abstract(name.as_bytes())
            .and_then(|name| connect(datagram.as_raw_fd(), &name))
            .context(|| format!("connect to {address}"))?,
    }
    Ok(datagram)
}

/// A datagram socket at a path.
pub fn bind_datagram(path: &Path) -> Result<OwnedFd> {
    let datagram = datagram()?;
    with_short_path(path, |short| Ok(bind(datagram.as_raw_fd(), &UnixAddr::new(short)?)?))
        .context(|| format!("listen at {}", path.display()))?;
    Ok(datagram)
}

fn datagram() -> Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    socket(AddressFamily::Unix, SockType::Datagram, flags, None).context(|| "make a socket")
}

/// sun_path holds 108 bytes; a longer path goes by its directory's descriptor.
fn with_short_path(path: &Path, call: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    if path.as_os_str().len() < 108 {
        return call(path);
    }
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else { return call(path) };
    let directory = std::fs::File::open(directory)?;
    call(&Path::new(&format!("/proc/self/fd/{}", directory.as_raw_fd())).join(name))
}

/// Sends some text and one descriptor.
pub fn send_descriptor(socket: BorrowedFd, text: &[u8], fd: BorrowedFd) -> nix::Result<()> {
    let rights = [fd.as_raw_fd()];
    let control = [ControlMessage::ScmRights(&rights)];
    let sent = sendmsg::<()>(socket.as_raw_fd(), &[IoSlice::new(text)], &control, MsgFlags::MSG_NOSIGNAL, None)?;
    // A part is sent only where the socket has a limit of time.
    if sent == text.len() { Ok(()) } else { Err(nix::errno::Errno::EAGAIN) }
}

/// Receives one descriptor; None at the end of the stream.
pub fn receive_descriptor(socket: BorrowedFd) -> nix::Result<Option<OwnedFd>> {
    receive(socket, &mut [0; 256]).map(|(_, fd)| fd)
}

/// Receives one byte, None at the end of the stream, and the descriptor that came with it.
pub fn receive_word(socket: BorrowedFd) -> nix::Result<(Option<u8>, Option<OwnedFd>)> {
    let mut word = [0];
    let (length, fd) = receive(socket, &mut word)?;
    Ok(((length > 0).then_some(word[0]), fd))
}

/// Closes a descriptor without waiting for what the kernel does at its end: it goes with a socket that holds itself in a
/// message, which the kernel finds and ends in a thread of its own (unix(7), SCM_RIGHTS; since Linux 6.9, before that here).
pub fn close_aside(fd: OwnedFd) -> nix::Result<()> {
    let (one, other) = socketpair(AddressFamily::Unix, SockType::Stream, None, SockFlag::SOCK_CLOEXEC)?;
    let rights = [other.as_raw_fd(), fd.as_raw_fd()];
    let control = [ControlMessage::ScmRights(&rights)];
    sendmsg::<()>(one.as_raw_fd(), &[IoSlice::new(b"x")], &control, MsgFlags::MSG_NOSIGNAL, None)?;
    // Before the pair, at whose end the kernel begins: the last hold on it must not be this process's.
    drop(fd);
    Ok(())
}

fn receive(socket: BorrowedFd, text: &mut [u8]) -> nix::Result<(usize, Option<OwnedFd>)> {
    let mut parts = [IoSliceMut::new(text)];
    let mut space = nix::cmsg_space!([i32; 4]);
    let message = recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC)?;
    let received = message.cmsgs()?.find_map(|control| match control {
        ControlMessageOwned::ScmRights(fds) => fds.first().copied(),
        _ => None,
    });
    // SAFETY: the kernel has just made this descriptor for this process.
    Ok((message.bytes, received.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) })))
}

/// Asks of a netlink socket that errors come with words, and without the request that they answer; and that no read waits
/// for more than ten seconds: netlink(7), socket(7).
pub fn prepare_netlink(socket: BorrowedFd) -> nix::Result<()> {
    for option in [libc::NETLINK_EXT_ACK, libc::NETLINK_CAP_ACK] {
        let on: libc::c_int = 1;
        let (value, length) = ((&raw const on).cast(), size_of_val(&on) as libc::socklen_t);
        // SAFETY: the option is an int, which outlives the call.
        nix::errno::Errno::result(unsafe {
            libc::setsockopt(socket.as_raw_fd(), libc::SOL_NETLINK, option, value, length)
        })?;
    }
    let patience = nix::sys::time::TimeVal::new(10, 0);
    nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::ReceiveTimeout, &patience)
}

/// Makes a tap that outlives the descriptor: TUNSETIFINDEX, TUNSETIFF, TUNSETOWNER, TUNSETGROUP and TUNSETPERSIST on an open
/// /dev/net/tun, ioctl_tun of the kernel's documentation.
pub fn make_tap(
    device: BorrowedFd,
    name: &str,
    index: u32,
    many_queues: bool,
    (owner, group): (Option<u32>, Option<u32>),
) -> nix::Result<()> {
    const TUNSETIFF: libc::Ioctl = 0x4004_54ca;
    const TUNSETPERSIST: libc::Ioctl = 0x4004_54cb;
    const TUNSETOWNER: libc::Ioctl = 0x4004_54cc;
    const TUNSETGROUP: libc::Ioctl = 0x4004_54ce;
    const TUNSETIFINDEX: libc::Ioctl = 0x4004_54da;
    let fd = device.as_raw_fd();
    // struct ifreq: a name of 16 bytes, then a union of 24 that begins with the flags.
    let mut request = [0u8; 40];
    let name = name.as_bytes().get(..15.min(name.len())).unwrap_or_default();
    request[..name.len()].copy_from_slice(name);
    let many = if many_queues { libc::IFF_MULTI_QUEUE } else { 0 };
    let flags = (libc::IFF_TAP | libc::IFF_NO_PI | many) as u16;
    request[16..18].copy_from_slice(&flags.to_ne_bytes());
    // SAFETY: the kernel reads a number here, which outlives the call.
    nix::errno::Errno::result(unsafe { libc::ioctl(fd, TUNSETIFINDEX, &raw const index) })?;
    // SAFETY: the kernel reads and writes a whole struct ifreq, which outlives the call.
    nix::errno::Errno::result(unsafe { libc::ioctl(fd, TUNSETIFF, request.as_mut_ptr()) })?;
    let numbers = [(TUNSETOWNER, owner), (TUNSETGROUP, group), (TUNSETPERSIST, Some(1))];
    for (what, number) in numbers.into_iter().filter_map(|(what, number)| number.map(|number| (what, number))) {
        // SAFETY: the argument of these is a plain number.
        nix::errno::Errno::result(unsafe { libc::ioctl(fd, what, libc::c_ulong::from(number)) })?;
    }
    Ok(())
}

/// Switches an offload of an interface: SIOCETHTOOL with a struct ethtool_value, ethtool(8).
pub fn switch_offload(name: &str, command: u32, on: bool) -> nix::Result<()> {
    const SIOCETHTOOL: libc::Ioctl = 0x8946;
    let socket = socket(AddressFamily::Unix, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    let value = [command, u32::from(on)];
    // struct ifreq: a name of 16 bytes, then a union of 24 that begins with a pointer to the value.
    let mut request = [0u8; 40];
    let name = name.as_bytes().get(..15.min(name.len())).unwrap_or_default();
    request[..name.len()].copy_from_slice(name);
    request[16..16 + size_of::<usize>()].copy_from_slice(&(value.as_ptr() as usize).to_ne_bytes());
    // SAFETY: the kernel reads a whole struct ifreq, and the value that it points to; both outlive the call.
    nix::errno::Errno::result(unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL, request.as_mut_ptr()) })?;
    Ok(())
}
