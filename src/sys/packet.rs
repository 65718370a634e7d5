//! Sockets that see whole packets: packet(7).

use std::mem::{offset_of, size_of};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;

use super::own;

/// What is told of a packet besides its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    /// How many bytes are in the buffer.
    pub bytes: usize,
    /// How many it had before a filter cut it.
    pub length: u32,
    /// When the kernel saw it, since 1970.
    pub time: Duration,
    /// PACKET_*: what it is to this machine.
    pub kind: u8,
    /// Its EtherType.
    pub ether_type: u16,
    /// The sender's hardware address, and how many bytes of it count.
    pub sender: ([u8; 8], u8),
    /// The VLAN tag that the kernel has taken off it: EtherType and tag.
    pub tag: Option<(u16, u16)>,
}

/// A socket that receives nothing until it is bound: socket(2), AF_PACKET. With `raw`, packets have their link layer's header.
pub fn open(raw: bool) -> nix::Result<OwnedFd> {
    let kind = if raw { libc::SOCK_RAW } else { libc::SOCK_DGRAM };
    // SAFETY: plain numbers.
    own(unsafe { libc::socket(libc::AF_PACKET, kind | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK, 0) }.into())
}

fn set<T>(socket: BorrowedFd, level: i32, option: i32, value: &T) -> nix::Result<()> {
    let (value, length) = (std::ptr::from_ref(value).cast(), size_of::<T>() as libc::socklen_t);
    // SAFETY: the value outlives the call and is as long as it says; each caller gives the type that the option has.
    Errno::result(unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, value, length) }).map(drop)
}

/// Has packets come with their times and with what the kernel took off them, and room for so many bytes of them.
pub fn prepare(socket: BorrowedFd, room: i32) -> nix::Result<()> {
    let on: libc::c_int = 1;
    set(socket, libc::SOL_PACKET, libc::PACKET_AUXDATA, &on)?;
    set(socket, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, &on)?;
    // Beyond the machine's limit (rmem_max) where the caller may.
    set(socket, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, &room)
        .or_else(|_| set(socket, libc::SOL_SOCKET, libc::SO_RCVBUF, &room))
}

/// Lets nothing pass but what a program of classic BPF takes: SO_ATTACH_FILTER. Its instructions are eight bytes each.
pub fn attach_filter(socket: BorrowedFd, instructions: &[[u8; 8]]) -> nix::Result<()> {
    let len = u16::try_from(instructions.len()).map_err(|_| Errno::EINVAL)?;
    // The kernel only reads them, and copies them to where they are aligned.
    let program = libc::sock_fprog { len, filter: instructions.as_ptr().cast_mut().cast() };
    set(socket, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &program)
}

/// Receives from now on what passes one interface: bind(2). Without `all`, nothing, but the socket knows the interface.
pub fn bind(socket: BorrowedFd, index: u32, all: bool) -> nix::Result<()> {
    // SAFETY: all zero is a valid value of this structure of numbers.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = if all { (libc::ETH_P_ALL as u16).to_be() } else { 0 };
    address.sll_ifindex = i32::try_from(index).map_err(|_| Errno::ENODEV)?;
    let (pointer, length) = ((&raw const address).cast(), size_of::<libc::sockaddr_ll>() as libc::socklen_t);
    // SAFETY: the address outlives the call and is as long as it says.
    Errno::result(unsafe { libc::bind(socket.as_raw_fd(), pointer, length) }).map(drop)
}

/// ARPHRD_* of the interface that a socket is bound to: getsockname(2).
pub fn hardware(socket: BorrowedFd) -> nix::Result<u16> {
    // SAFETY: as in `bind`.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    let mut length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: the kernel writes at most so many bytes into what outlives the call.
    Errno::result(unsafe { libc::getsockname(socket.as_raw_fd(), (&raw mut address).cast(), &raw mut length) })?;
    Ok(address.sll_hatype)
}

/// Has an interface take packets that are not for it as well, as long as the socket is open: PACKET_ADD_MEMBERSHIP.
pub fn make_promiscuous(socket: BorrowedFd, index: u32) -> nix::Result<()> {
    let request = libc::packet_mreq {
        mr_ifindex: i32::try_from(index).map_err(|_| Errno::ENODEV)?,
        mr_type: libc::PACKET_MR_PROMISC as u16,
        mr_alen: 0,
        mr_address: [0; 8],
    };
    set(socket, libc::SOL_PACKET, libc::PACKET_ADD_MEMBERSHIP, &request)
}

/// Leaves out what goes out: PACKET_IGNORE_OUTGOING (Linux 4.20).
pub fn ignore_outgoing(socket: BorrowedFd) -> nix::Result<()> {
    const PACKET_IGNORE_OUTGOING: i32 = 23;
    let on: libc::c_int = 1;
    set(socket, libc::SOL_PACKET, PACKET_IGNORE_OUTGOING, &on)
}

/// How many packets passed the filter since the last question, and how many of those had no room: PACKET_STATISTICS.
pub fn statistics(socket: BorrowedFd) -> nix::Result<(u32, u32)> {
    let mut counts = [0u32; 2];
    let mut length = size_of_val(&counts) as libc::socklen_t;
    let (level, option) = (libc::SOL_PACKET, libc::PACKET_STATISTICS);
    // SAFETY: struct tpacket_stats is two such numbers, and the kernel writes no more than the length says.
    Errno::result(unsafe {
        libc::getsockopt(socket.as_raw_fd(), level, option, counts.as_mut_ptr().cast(), &raw mut length)
    })?;
    Ok((counts[0], counts[1]))
}

/// The next packet, if there is one: recvmsg(2).
pub fn receive(socket: BorrowedFd, buffer: &mut [u8]) -> nix::Result<Option<Received>> {
    // SAFETY: as in `bind`.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // Aligned as control messages have to be.
    let mut control = [0u64; 32];
    // SAFETY: all zero is a valid value of this structure of numbers and pointers.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_name = (&raw mut address).cast();
    message.msg_namelen = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = size_of_val(&control);
    // SAFETY: all that the message points to outlives the call and is as long as it says.
    let read = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, libc::MSG_DONTWAIT) };
    let bytes = match Errno::result(read) {
        Err(Errno::EAGAIN | Errno::EINTR) => return Ok(None),
        other => other? as usize,
    };
    let mut received = Received {
        bytes,
        length: bytes as u32,
        time: Duration::ZERO,
        kind: address.sll_pkttype,
        ether_type: u16::from_be(address.sll_protocol),
        sender: (address.sll_addr, address.sll_halen.min(8)),
        tag: None,
    };
    let filled = message.msg_controllen.min(size_of_val(&control));
    let mut octets = [0; size_of::<[u64; 32]>()];
    octets.chunks_exact_mut(8).zip(control).for_each(|(to, word)| to.copy_from_slice(&word.to_ne_bytes()));
    read_control(&octets[..filled], &mut received);
    Ok(Some(received))
}

/// Control messages: cmsg(3). Each is a length of 8 bytes with its head's included, level and kind of 4 bytes, a value.
fn read_control(mut control: &[u8], received: &mut Received) {
    const HEAD: usize = 16;
    while let Some((head, _)) = control.split_first_chunk::<HEAD>() {
        let word = |at: usize| i32::from_ne_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let length = usize::from_ne_bytes([head[0], head[1], head[2], head[3], head[4], head[5], head[6], head[7]]);
        let Some(value) = control.get(HEAD..length) else { return };
        match (word(8), word(12)) {
            (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) => read_time(value, received),
            (libc::SOL_PACKET, libc::PACKET_AUXDATA) => read_aux(value, received),
            _ => {}
        }
        control = control.get(length.next_multiple_of(8)..).unwrap_or_default();
    }
}

/// struct timespec.
fn read_time(value: &[u8], received: &mut Received) {
    let number = |at: usize| value.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).map(u64::from_ne_bytes);
    if let (Some(seconds), Some(nanos)) = (number(0), number(8)) {
        received.time = Duration::new(seconds, nanos as u32);
    }
}

/// struct tpacket_auxdata.
fn read_aux(value: &[u8], received: &mut Received) {
    type Aux = libc::tpacket_auxdata;
    let word = |at: usize| value.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map(u32::from_ne_bytes);
    let half = |at: usize| value.get(at..at + 2).and_then(|bytes| bytes.try_into().ok()).map(u16::from_ne_bytes);
    let status = word(offset_of!(Aux, tp_status)).unwrap_or(0);
    received.length = word(offset_of!(Aux, tp_len)).unwrap_or(received.length).max(received.bytes as u32);
    if status & libc::TP_STATUS_VLAN_VALID == 0 {
        return;
    }
    let is_named = status & libc::TP_STATUS_VLAN_TPID_VALID != 0;
    let ether_type = half(offset_of!(Aux, tp_vlan_tpid)).filter(|_| is_named).unwrap_or(libc::ETH_P_8021Q as u16);
    received.tag = half(offset_of!(Aux, tp_vlan_tci)).map(|tag| (ether_type, tag));
}
