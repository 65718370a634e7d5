//! bpf(2), as far as programs of a cgroup need it. `union bpf_attr` is passed whole: kernels 6.17 to 7.1 write to it at
//! offset 56 on BPF_PROG_QUERY, whatever size is given.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;

use super::{check, own};

const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_PROG_ATTACH: libc::c_int = 8;
const BPF_PROG_DETACH: libc::c_int = 9;
const BPF_PROG_GET_FD_BY_ID: libc::c_int = 13;
const BPF_OBJ_GET_INFO_BY_FD: libc::c_int = 15;
const BPF_PROG_QUERY: libc::c_int = 16;
const BPF_PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const BPF_CGROUP_DEVICE: u32 = 6;
const BPF_F_ALLOW_MULTI: u32 = 1 << 1;
const BPF_F_REPLACE: u32 = 1 << 2;

/// As large as any kernel's so far, and then some.
#[repr(C, align(8))]
struct Attributes([u8; 256]);

impl Attributes {
    fn new() -> Self {
        Self([0; 256])
    }

    fn put32(mut self, at: usize, value: u32) -> Self {
        self.0[at..at + 4].copy_from_slice(&value.to_ne_bytes());
        self
    }

    fn put64(mut self, at: usize, value: u64) -> Self {
        self.0[at..at + 8].copy_from_slice(&value.to_ne_bytes());
        self
    }

    fn get32(&self, at: usize) -> u32 {
        let mut bytes = [0; 4];
        bytes.copy_from_slice(&self.0[at..at + 4]);
        u32::from_ne_bytes(bytes)
    }
}

/// # Safety
/// Addresses in `attributes` must be of memory that is as long as `command` takes it to be, for the length of the call.
unsafe fn bpf(command: libc::c_int, attributes: &mut Attributes) -> libc::c_long {
    // A kernel that knows fewer fields takes what it does not know as long as that is zero.
    // SAFETY: the pointer and its length are those of `attributes`; the caller vouches for what it points to.
    unsafe { libc::syscall(libc::SYS_bpf, command, attributes.0.as_mut_ptr(), attributes.0.len()) }
}

/// A kernel name: at most 15 bytes.
fn name16(name: &str) -> [u8; 16] {
    let mut field = [0; 16];
    let length = name.len().min(15);
    field[..length].copy_from_slice(&name.as_bytes()[..length]);
    field
}

/// BPF_PROG_LOAD of a BPF_PROG_TYPE_CGROUP_DEVICE program: 8 bytes an instruction. With a log, what the verifier says.
pub fn load_device_program(instructions: &[u64], name: &str, log: Option<&mut [u8]>) -> nix::Result<OwnedFd> {
    // It calls no helper that asks for another licence.
    let licence = c"Apache-2.0";
    let mut attributes = Attributes::new()
        .put32(0, BPF_PROG_TYPE_CGROUP_DEVICE)
        .put32(4, instructions.len() as u32)
        .put64(8, instructions.as_ptr() as u64)
        .put64(16, licence.as_ptr() as u64);
    if let Some(log) = log {
        attributes = attributes.put32(24, 1).put32(28, log.len() as u32).put64(32, log.as_mut_ptr() as u64);
    }
    attributes.0[48..64].copy_from_slice(&name16(name));
    // SAFETY: the instructions, the licence and the log outlive the call, with the lengths given.
    own(unsafe { bpf(BPF_PROG_LOAD, &mut attributes) })
}

/// BPF_PROG_ATTACH of a device program to a cgroup, beside others that are there; in the place of `old` at once where
/// one is given (Linux 5.6).
pub fn attach_device_program(cgroup: impl AsFd, program: impl AsFd, old: Option<BorrowedFd>) -> nix::Result<()> {
    let flags = BPF_F_ALLOW_MULTI | if old.is_some() { BPF_F_REPLACE } else { 0 };
    let mut attributes = Attributes::new()
        .put32(0, cgroup.as_fd().as_raw_fd() as u32)
        .put32(4, program.as_fd().as_raw_fd() as u32)
        .put32(8, BPF_CGROUP_DEVICE)
        .put32(12, flags)
        .put32(16, old.map_or(0, |old| old.as_raw_fd() as u32));
    // SAFETY: there are no addresses in it.
    check(unsafe { bpf(BPF_PROG_ATTACH, &mut attributes) }).map(drop)
}

/// BPF_PROG_DETACH of a device program from a cgroup.
pub fn detach_device_program(cgroup: impl AsFd, program: impl AsFd) -> nix::Result<()> {
    let mut attributes = Attributes::new()
        .put32(0, cgroup.as_fd().as_raw_fd() as u32)
        .put32(4, program.as_fd().as_raw_fd() as u32)
        .put32(8, BPF_CGROUP_DEVICE);
    // SAFETY: there are no addresses in it.
    check(unsafe { bpf(BPF_PROG_DETACH, &mut attributes) }).map(drop)
}

/// BPF_PROG_QUERY: the ids of the device programs that are attached to a cgroup itself.
pub fn device_programs(cgroup: impl AsFd) -> nix::Result<Vec<u32>> {
    // The kernel takes at most 64 programs a cgroup and hook.
    let mut ids = vec![0u32; 64];
    let mut attributes = Attributes::new()
        .put32(0, cgroup.as_fd().as_raw_fd() as u32)
        .put32(4, BPF_CGROUP_DEVICE)
        .put64(16, ids.as_mut_ptr() as u64)
        .put32(24, ids.len() as u32);
    // SAFETY: the ids' address is of as many numbers as the count says, and outlives the call.
    check(unsafe { bpf(BPF_PROG_QUERY, &mut attributes) })?;
    ids.truncate(attributes.get32(24) as usize);
    Ok(ids)
}

/// BPF_PROG_GET_FD_BY_ID; None where the program is gone.
pub fn program(id: u32) -> nix::Result<Option<OwnedFd>> {
    let mut attributes = Attributes::new().put32(0, id);
    // SAFETY: there are no addresses in it.
    match own(unsafe { bpf(BPF_PROG_GET_FD_BY_ID, &mut attributes) }) {
        Err(Errno::ENOENT) => Ok(None),
        other => other.map(Some),
    }
}

/// BPF_OBJ_GET_INFO_BY_FD: the name that a program was loaded with.
pub fn program_name(program: impl AsFd) -> nix::Result<String> {
    // struct bpf_prog_info holds the name at offset 64; kernels fill as much as they are given room for.
    let mut info = [0u8; 256];
    let mut attributes = Attributes::new()
        .put32(0, program.as_fd().as_raw_fd() as u32)
        .put32(4, info.len() as u32)
        .put64(8, info.as_mut_ptr() as u64);
    // SAFETY: the info's address is of as many bytes as the length says, and outlives the call.
    check(unsafe { bpf(BPF_OBJ_GET_INFO_BY_FD, &mut attributes) })?;
    let name = &info[64..80];
    let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
    Ok(String::from_utf8_lossy(&name[..end]).into_owned())
}
