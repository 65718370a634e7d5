//! Device rules on cgroup v2: a program of our own, which the kernel asks about each access (BPF_PROG_TYPE_CGROUP_DEVICE,
//! Documentation/bpf/prog_cgroup_...). It decides as the v1 controller does, so that rules mean the same on every host:
//! a default, and exceptions each of which has to cover the whole access that is asked for.

use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

use super::devices::{Access, Devices, Policy};
use crate::sys::bpf;
use crate::{Context, Error, Result};

/// The name by which a program of ours is found again on a cgroup that others have programs on too.
const NAME: &str = "nfrun_devices";

/// One instruction of eBPF: opcode, destination, source, jump and constant (Documentation/bpf/standardization/instruction-set.rst).
const fn instruction(code: u8, to: u8, from: u8, jump: i16, constant: i32) -> u64 {
    code as u64 | (to as u64) << 8 | (from as u64) << 12 | (jump as u16 as u64) << 16 | (constant as u32 as u64) << 32
}

const LOAD_WORD: u8 = 0x61;
const AND: u8 = 0x54;
const SHIFT_RIGHT: u8 = 0x74;
const MOVE_REGISTER: u8 = 0xbc;
const MOVE: u8 = 0xb4;
const JUMP_UNLESS_EQUAL: u8 = 0x56;
const EXIT: u8 = 0x95;

/// What the program keeps where: the answer, the context, the type of the device, the access, the two numbers, and room.
const ANSWER: u8 = 0;
const CONTEXT: u8 = 1;
const KIND: u8 = 2;
const ACCESS: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;
const SCRATCH: u8 = 6;

/// The program for a policy.
pub(super) fn compile(policy: &Policy) -> Vec<u64> {
    // struct bpf_cgroup_dev_ctx: type in the lower half of the first word and access in the upper, major, minor.
    let mut program = vec![
        instruction(LOAD_WORD, KIND, CONTEXT, 0, 0),
        instruction(MOVE_REGISTER, ACCESS, KIND, 0, 0),
        instruction(AND, KIND, 0, 0, 0xffff),
        instruction(SHIFT_RIGHT, ACCESS, 0, 0, 16),
        instruction(LOAD_WORD, MAJOR, CONTEXT, 4, 0),
        instruction(LOAD_WORD, MINOR, CONTEXT, 8, 0),
    ];
    for (devices, access) in policy.needed() {
        except(devices, access, !policy.allow_all, &mut program);
    }
    answer(policy.allow_all, &mut program);
    program
}

fn answer(allow: bool, program: &mut Vec<u64>) {
    program.extend([instruction(MOVE, ANSWER, 0, 0, i32::from(allow)), instruction(EXIT, 0, 0, 0, 0)]);
}

/// An exception that allows has to hold all of the access; one that denies, any of it.
fn except(devices: Devices, access: Access, allow: bool, program: &mut Vec<u64>) {
    // The kernel's letters are in another order: 1 mknod, 2 read, 4 write.
    let bits = i32::from((access.0 & 1) << 1 | (access.0 & 2) << 1 | (access.0 & 4) >> 2);
    let kind = if devices.kind == 'b' { 1 } else { 2 };
    let mut conditions = vec![instruction(JUMP_UNLESS_EQUAL, KIND, 0, 0, kind)];
    for (register, number) in [(MAJOR, devices.major), (MINOR, devices.minor)] {
        conditions.extend(number.map(|number| instruction(JUMP_UNLESS_EQUAL, register, 0, 0, number as i32)));
    }
    if access != Access::ALL {
        conditions.push(instruction(MOVE_REGISTER, SCRATCH, ACCESS, 0, 0));
        // What is left outside of the exception, or inside, is to be nothing or something.
        let (mask, code) = if allow { (!bits, JUMP_UNLESS_EQUAL) } else { (bits, JUMP_IF_EQUAL) };
        conditions.push(instruction(AND, SCRATCH, 0, 0, mask));
        conditions.push(instruction(code, SCRATCH, 0, 0, 0));
    }
    // Each condition that does not hold leads behind the answer, which is two instructions.
    let length = conditions.len();
    for (at, condition) in conditions.into_iter().enumerate() {
        let jumps = matches!(condition as u8, JUMP_UNLESS_EQUAL | JUMP_IF_EQUAL);
        let distance = if jumps { (length - at - 1 + 2) as u64 } else { 0 };
        program.push(condition | distance << 16);
    }
    answer(allow, program);
}

const JUMP_IF_EQUAL: u8 = 0x16;

/// Puts the program on a cgroup, in the place of the one that we put there before, if any: at no moment are there no
/// rules. Programs of others (systemd's) stay, and all of them have to allow an access.
///
/// # Errors
/// When the kernel has no such programs or the caller may not load them.
pub(super) fn attach(path: &str, program: &[u64]) -> Result<()> {
    let attempt = || format!("linux.resources.devices: restrict the devices of {path}");
    // bpf(2) does not take a descriptor that was opened as a path only.
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let cgroup = open(path, flags, Mode::empty()).context(attempt)?;
    let new = load(program).map_err(|error| error.context(attempt()))?;
    let old = ours(&cgroup).context(attempt)?;
    let Some((first, more)) = old.split_first() else {
        return bpf::attach_device_program(&cgroup, &new, None).context(attempt);
    };
    match bpf::attach_device_program(&cgroup, &new, Some(first.as_fd())) {
        // Before Linux 5.6: both hold for a moment, which denies too much rather than too little.
        Err(Errno::EINVAL) => {
            bpf::attach_device_program(&cgroup, &new, None).context(attempt)?;
            bpf::detach_device_program(&cgroup, first).context(attempt)?;
        }
        other => other.context(attempt)?,
    }
    more.iter().try_for_each(|program| bpf::detach_device_program(&cgroup, program)).context(attempt)
}

fn load(program: &[u64]) -> Result<OwnedFd> {
    let errno = match bpf::load_device_program(program, NAME, None) {
        Ok(program) => return Ok(program),
        Err(errno) => errno,
    };
    let why = match errno {
        Errno::EPERM => " (this needs CAP_BPF or CAP_SYS_ADMIN on the host)".to_owned(),
        Errno::EINVAL | Errno::EACCES => {
            let mut log = vec![0u8; 1 << 16];
            let _ = bpf::load_device_program(program, NAME, Some(&mut log));
            let text = String::from_utf8_lossy(&log).trim_end_matches('\0').trim().to_owned();
            if text.is_empty() {
                " (this kernel has no device programs for cgroups, CONFIG_CGROUP_BPF)".to_owned()
            } else {
                format!(" (the verifier says: {text})")
            }
        }
        Errno::ENOSYS => " (this kernel has no bpf(2))".to_owned(),
        _ => String::new(),
    };
    Err(Error::from(errno).context(format!("load the device program{why}")))
}

/// The programs of ours on a cgroup.
fn ours(cgroup: &OwnedFd) -> nix::Result<Vec<OwnedFd>> {
    let mut found = Vec::new();
    for id in bpf::device_programs(cgroup)? {
        if let Some(program) = bpf::program(id)?
            && bpf::program_name(&program)? == NAME
        {
            found.push(program);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The few instructions that `compile` uses, run as the kernel would.
    fn ask(program: &[u64], kind: u32, access: u32, major: u32, minor: u32) -> bool {
        let context = [access << 16 | kind, major, minor];
        let mut registers = [0u32; 11];
        let mut at = 0;
        loop {
            let word = program[at];
            let (code, to, from) = (word as u8, (word >> 8 & 0xf) as usize, (word >> 12 & 0xf) as usize);
            let (jump, constant) = ((word >> 16) as i16, (word >> 32) as u32);
            at += 1;
            match code {
                LOAD_WORD => registers[to] = context[jump as usize / 4],
                MOVE_REGISTER => registers[to] = registers[from],
                MOVE => registers[to] = constant,
                AND => registers[to] &= constant,
                SHIFT_RIGHT => registers[to] >>= constant,
                JUMP_UNLESS_EQUAL if registers[to] != constant => at += jump as usize,
                JUMP_IF_EQUAL if registers[to] == constant => at += jump as usize,
                JUMP_UNLESS_EQUAL | JUMP_IF_EQUAL => {}
                EXIT => return registers[usize::from(ANSWER)] == 1,
                other => panic!("opcode {other:#x}"),
            }
        }
    }

    fn program(rules: &str) -> Vec<u64> {
        let rules: Vec<oci_spec::runtime::LinuxDeviceCgroup> = serde_json::from_str(rules).unwrap();
        compile(&super::super::devices::policy(&rules).unwrap())
    }

    const BLOCK: u32 = 1;
    const CHAR: u32 = 2;
    const MKNOD: u32 = 1;
    const READ: u32 = 2;
    const WRITE: u32 = 4;

    #[test]
    fn what_no_rule_allows_is_denied_and_the_default_devices_are_allowed() {
        let program = program("[]");
        assert!(ask(&program, CHAR, READ | WRITE, 1, 3));
        assert!(ask(&program, CHAR, READ, 136, 77));
        assert!(ask(&program, BLOCK, MKNOD, 8, 0));
        assert!(!ask(&program, BLOCK, READ, 8, 0));
        assert!(!ask(&program, CHAR, READ | MKNOD, 10, 200));
        assert!(!ask(&program, CHAR, READ, 1, 4));
    }

    #[test]
    fn an_exception_that_allows_has_to_hold_the_whole_access() {
        let program = program(r#"[{"allow": true, "type": "b", "major": 8, "access": "r"}]"#);
        assert!(ask(&program, BLOCK, READ, 8, 5));
        assert!(!ask(&program, BLOCK, READ | WRITE, 8, 5));
        assert!(!ask(&program, BLOCK, READ, 9, 5));
        assert!(!ask(&program, CHAR, READ, 8, 5));
    }

    #[test]
    fn an_exception_that_denies_needs_only_a_part() {
        let rules = r#"[{"allow": true, "access": "rwm"},
            {"allow": false, "type": "b", "major": 8, "minor": 0, "access": "w"}]"#;
        let program = program(rules);
        assert!(ask(&program, BLOCK, READ, 8, 0));
        assert!(!ask(&program, BLOCK, READ | WRITE, 8, 0));
        assert!(ask(&program, BLOCK, READ | WRITE, 8, 1));
    }
}
