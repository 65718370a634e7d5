//! The system calls of init: one macro per number of arguments, and thin functions over it. There is no libc here.
//!
//! Each function is the call of its name in section 2 of the manual; errors are positive errno values.

use core::arch::asm;
use core::ffi::CStr;

use linux_raw_sys::general as k;

/// A descriptor's number. Init owns what the plan names and closes everything at once, so no type tracks ownership.
pub type Fd = i32;
/// What a call returns: its value, or errno.
pub type Outcome<T = ()> = Result<T, i32>;

#[cfg(fuzzing)]
use crate::kernel::call;

/// Six arguments cover every call.
///
/// # Safety
/// Pointers among the arguments must be valid for what the call does with them.
#[cfg(not(fuzzing))]
unsafe fn call(number: u32, a: [usize; 6]) -> Outcome<usize> {
    let result: isize;
    // SAFETY: the kernel's calling convention on x86_64; it clobbers rcx and r11 only, and memory that the caller vouches for.
    unsafe {
        asm!("syscall", inlateout("rax") number as usize => result, in("rdi") a[0], in("rsi") a[1], in("rdx") a[2],
            in("r10") a[3], in("r8") a[4], in("r9") a[5], lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    if (-4095..0).contains(&result) { Err(-result as i32) } else { Ok(result as usize) }
}

macro_rules! sys {
    ($number:ident $(, $argument:expr)*) => {{
        let arguments = [$($argument as usize),*];
        let mut six = [0; 6];
        six[..arguments.len()].copy_from_slice(&arguments);
        // SAFETY: every pointer that this module passes comes from a reference that outlives the call.
        unsafe { call(k::$number, six) }
    }};
}

/// An optional pointer argument.
fn pointer(text: Option<&CStr>) -> usize {
    text.map_or(0, |text| text.as_ptr() as usize)
}

pub fn exit(code: i32) -> ! {
    let _ = sys!(__NR_exit_group, code);
    // A filter may refuse even that.
    abort()
}

/// The end by SIGILL, which no filter can refuse and which ends a pid namespace's init too.
pub fn abort() -> ! {
    // SAFETY: an instruction that only faults.
    unsafe { asm!("ud2", options(noreturn)) }
}

pub fn open(at: Fd, path: &CStr, flags: u32, mode: u32) -> Outcome<Fd> {
    sys!(__NR_openat, at, path.as_ptr(), flags | k::O_CLOEXEC, mode).map(|fd| fd as Fd)
}

/// openat2(2): `resolve` is RESOLVE_*.
pub fn open_beneath(root: Fd, path: &CStr, flags: u32, mode: u32, resolve: u32) -> Outcome<Fd> {
    let how =
        k::open_how { flags: u64::from(flags | k::O_CLOEXEC), mode: u64::from(mode), resolve: u64::from(resolve) };
    loop {
        match sys!(__NR_openat2, root, path.as_ptr(), &raw const how, size_of::<k::open_how>()) {
            // A rename somewhere on the machine raced with ".."; the kernel asks to try again.
            Err(e) if e == linux_raw_sys::errno::EAGAIN as i32 => {}
            other => return other.map(|fd| fd as Fd),
        }
    }
}

pub fn close(fd: Fd) {
    let _ = sys!(__NR_close, fd);
}

pub fn close_range(first: u32, last: u32, flags: u32) -> Outcome {
    sys!(__NR_close_range, first, last, flags).map(drop)
}

pub fn dup3(from: Fd, to: Fd, flags: u32) -> Outcome {
    sys!(__NR_dup3, from, to, flags).map(drop)
}

pub fn fcntl(fd: Fd, command: u32, argument: u32) -> Outcome<usize> {
    sys!(__NR_fcntl, fd, command, argument)
}

pub fn set_close_on_exec(fd: Fd) {
    let _ = fcntl(fd, k::F_SETFD, k::FD_CLOEXEC);
}

pub fn read(fd: Fd, buffer: &mut [u8]) -> Outcome<usize> {
    loop {
        match sys!(__NR_read, fd, buffer.as_mut_ptr(), buffer.len()) {
            Err(e) if e == linux_raw_sys::errno::EINTR as i32 => {}
            other => return other,
        }
    }
}

pub fn write(fd: Fd, bytes: &[u8]) -> Outcome<usize> {
    sys!(__NR_write, fd, bytes.as_ptr(), bytes.len())
}

/// send(2) without SIGPIPE.
pub fn send(fd: Fd, bytes: &[u8]) -> Outcome<usize> {
    sys!(__NR_sendto, fd, bytes.as_ptr(), bytes.len(), MSG_NOSIGNAL, 0, 0)
}

/// Maps a whole file: private and writable, so that the plan's bytes may be patched, or shared.
pub fn map(fd: Fd, length: usize, shared: bool) -> Outcome<*mut u8> {
    let kind = if shared { k::MAP_SHARED } else { k::MAP_PRIVATE };
    let kind = if fd < 0 { kind | k::MAP_ANONYMOUS } else { kind };
    sys!(__NR_mmap, 0usize, length, k::PROT_READ | k::PROT_WRITE, kind, fd as isize, 0)
        .map(|address| address as *mut u8)
}

/// lstat of a path beneath a descriptor, or of the descriptor itself with an empty path.
pub fn stat(at: Fd, path: &CStr) -> Outcome<k::stat> {
    let mut out = core::mem::MaybeUninit::<k::stat>::zeroed();
    sys!(__NR_newfstatat, at, path.as_ptr(), out.as_mut_ptr(), k::AT_EMPTY_PATH | k::AT_SYMLINK_NOFOLLOW)?;
    // SAFETY: the call succeeded, so the kernel filled it.
    Ok(unsafe { out.assume_init() })
}

/// The magic number of the filesystem that a descriptor is on.
pub fn filesystem(fd: Fd) -> Outcome<u64> {
    statfs(fd).map(|found| found.f_type as u64)
}

/// The flags of the mount that a descriptor is on, as statfs(2) has them: ST_*.
pub fn mount_flags(fd: Fd) -> Outcome<u64> {
    statfs(fd).map(|found| found.f_flags as u64)
}

fn statfs(fd: Fd) -> Outcome<k::statfs> {
    let mut out = core::mem::MaybeUninit::<k::statfs>::zeroed();
    sys!(__NR_fstatfs, fd, out.as_mut_ptr())?;
    // SAFETY: the call succeeded, so the kernel filled it.
    Ok(unsafe { out.assume_init() })
}

pub fn access(path: &CStr, mode: u32, flags: u32) -> Outcome {
    sys!(__NR_faccessat2, k::AT_FDCWD as isize, path.as_ptr(), mode, flags).map(drop)
}

pub fn mkdir(at: Fd, path: &CStr, mode: u32) -> Outcome {
    sys!(__NR_mkdirat, at, path.as_ptr(), mode).map(drop)
}

pub fn mknod(at: Fd, path: &CStr, mode: u32, device: u64) -> Outcome {
    sys!(__NR_mknodat, at, path.as_ptr(), mode, device).map(drop)
}

pub fn symlink(target: &CStr, at: Fd, path: &CStr) -> Outcome {
    sys!(__NR_symlinkat, target.as_ptr(), at, path.as_ptr()).map(drop)
}

pub fn readlink(at: Fd, path: &CStr, buffer: &mut [u8]) -> Outcome<usize> {
    sys!(__NR_readlinkat, at, path.as_ptr(), buffer.as_mut_ptr(), buffer.len())
}

pub fn chown(at: Fd, path: &CStr, uid: u32, gid: u32) -> Outcome {
    sys!(__NR_fchownat, at, path.as_ptr(), uid, gid, k::AT_EMPTY_PATH | k::AT_SYMLINK_NOFOLLOW).map(drop)
}

/// The path by which the host's /proc knows a descriptor, with a NUL at its end; before the root is changed.
fn link_of(fd: Fd) -> [u8; 25] {
    let mut path = *b"/proc/self/fd/\0\0\0\0\0\0\0\0\0\0\0";
    crate::terminal::run::decimal(fd as u32, &mut path[14..]);
    path
}

/// Permissions of what a descriptor names, opened for whatever: fchmodat2(2) of Linux 6.6, and before through /proc.
pub fn chmod(fd: Fd, mode: u32) -> Outcome {
    match sys!(__NR_fchmodat2, fd, c"".as_ptr(), mode, k::AT_EMPTY_PATH) {
        Err(e) if e == linux_raw_sys::errno::ENOSYS as i32 => {
            let link = link_of(fd);
            sys!(__NR_fchmodat, k::AT_FDCWD as isize, link.as_ptr(), mode).map(drop)
        }
        other => other.map(drop),
    }
}

pub fn setxattr(path: &CStr, name: &CStr, value: &[u8]) -> Outcome {
    sys!(__NR_setxattr, path.as_ptr(), name.as_ptr(), value.as_ptr(), value.len(), 0).map(drop)
}

pub fn mount(source: Option<&CStr>, target: &CStr, kind: Option<&CStr>, flags: u64, data: Option<&CStr>) -> Outcome {
    sys!(__NR_mount, pointer(source), target.as_ptr(), pointer(kind), flags, pointer(data)).map(drop)
}

/// mount(2) that changes the mount which a descriptor names: as the working directory, or what is none by the host's /proc.
pub fn change_mount(fd: Fd, flags: u64, data: Option<&CStr>) -> Outcome {
    match fchdir(fd) {
        Ok(()) => mount(None, c".", None, flags, data),
        Err(e) if e == linux_raw_sys::errno::ENOTDIR as i32 => {
            let link = link_of(fd);
            sys!(__NR_mount, 0, link.as_ptr(), 0, flags, pointer(data)).map(drop)
        }
        Err(e) => Err(e),
    }
}

pub fn unmount(target: &CStr, flags: u32) -> Outcome {
    sys!(__NR_umount2, target.as_ptr(), flags).map(drop)
}

pub fn open_tree(at: Fd, path: &CStr, flags: u32) -> Outcome<Fd> {
    sys!(__NR_open_tree, at, path.as_ptr(), flags | k::OPEN_TREE_CLOEXEC).map(|fd| fd as Fd)
}

/// move_mount(2) of a detached tree onto an open place.
pub fn attach(tree: Fd, target: Fd) -> Outcome {
    let flags = k::MOVE_MOUNT_F_EMPTY_PATH | k::MOVE_MOUNT_T_EMPTY_PATH;
    sys!(__NR_move_mount, tree, c"".as_ptr(), target, c"".as_ptr(), flags).map(drop)
}

/// mount_setattr(2) of an open mount.
pub fn set_attributes(mount: Fd, set: u64, clear: u64, propagation: u64, recursive: bool) -> Outcome {
    let attributes = k::mount_attr { attr_set: set, attr_clr: clear, propagation, userns_fd: 0 };
    let flags = k::AT_EMPTY_PATH | if recursive { k::AT_RECURSIVE } else { 0 };
    let size = size_of::<k::mount_attr>();
    sys!(__NR_mount_setattr, mount, c"".as_ptr(), flags, &raw const attributes, size).map(drop)
}

pub fn fsopen(kind: &CStr) -> Outcome<Fd> {
    sys!(__NR_fsopen, kind.as_ptr(), 1).map(|fd| fd as Fd)
}

/// FSCONFIG_SET_STRING, or FSCONFIG_CMD_CREATE without a key.
pub fn fsconfig(context: Fd, pair: Option<(&CStr, &CStr)>) -> Outcome {
    match pair {
        Some((key, value)) => sys!(__NR_fsconfig, context, 1, key.as_ptr(), value.as_ptr(), 0),
        None => sys!(__NR_fsconfig, context, 6, 0, 0, 0),
    }
    .map(drop)
}

pub fn fsmount(context: Fd, attributes: u32) -> Outcome<Fd> {
    sys!(__NR_fsmount, context, 1, attributes).map(|fd| fd as Fd)
}

pub fn pivot_root(new: &CStr, old: &CStr) -> Outcome {
    sys!(__NR_pivot_root, new.as_ptr(), old.as_ptr()).map(drop)
}

pub fn chroot(path: &CStr) -> Outcome {
    sys!(__NR_chroot, path.as_ptr()).map(drop)
}

pub fn chdir(path: &CStr) -> Outcome {
    sys!(__NR_chdir, path.as_ptr()).map(drop)
}

pub fn fchdir(fd: Fd) -> Outcome {
    sys!(__NR_fchdir, fd).map(drop)
}

pub fn getcwd(buffer: &mut [u8]) -> Outcome<usize> {
    sys!(__NR_getcwd, buffer.as_mut_ptr(), buffer.len())
}

pub fn setns(fd: Fd, kinds: u64) -> Outcome {
    sys!(__NR_setns, fd, kinds).map(drop)
}

pub fn unshare(kinds: u64) -> Outcome {
    sys!(__NR_unshare, kinds).map(drop)
}

/// clone3(2) as fork, with the child as a sibling of the caller: true in the caller. The kernel stores the child's pid,
/// as the caller knows it, before the child runs: CLONE_PARENT_SETTID. Without new namespaces clone(2) does it, whose
/// flags a filter can look at, and which filters therefore let pass where they refuse clone3.
pub fn fork_sibling(kinds: u64, pid_place: &core::sync::atomic::AtomicI32) -> Outcome<bool> {
    if kinds == 0 {
        let pid = sys!(__NR_clone, k::CLONE_PARENT | k::CLONE_PARENT_SETTID, 0, pid_place.as_ptr(), 0, 0)?;
        return Ok(pid != 0);
    }
    let mut arguments = [0u64; 11];
    arguments[0] = kinds | u64::from(k::CLONE_PARENT | k::CLONE_PARENT_SETTID);
    arguments[3] = pid_place.as_ptr() as u64;
    let pid = sys!(__NR_clone3, arguments.as_ptr(), size_of_val(&arguments))?;
    Ok(pid != 0)
}

/// clone(2) as fork: the child's pid and pidfd in the caller, 0 in the child. Not clone3, which many filters refuse.
pub fn fork(pidfd: &mut Fd) -> Outcome<i32> {
    sys!(__NR_clone, k::CLONE_PIDFD | k::SIGCHLD, 0, core::ptr::from_mut(pidfd)).map(|pid| pid as i32)
}

pub fn getpid() -> i32 {
    sys!(__NR_getpid).map_or(0, |pid| pid as i32)
}

pub fn getppid() -> i32 {
    sys!(__NR_getppid).map_or(0, |pid| pid as i32)
}

/// Makes the caller lead a process group.
pub fn setpgid() -> Outcome {
    sys!(__NR_setpgid, 0, 0).map(drop)
}

/// kill(2); a negative pid is a process group.
pub fn kill(pid: i32, signal: u32) {
    let _ = sys!(__NR_kill, pid as isize, signal);
}

/// How a child ended.
pub enum Ended {
    Exited(i32),
    Killed(i32),
}

/// waitid(2) of a child that has ended, which stays a zombie: WNOWAIT.
pub fn wait_keeping(pid: i32) -> Outcome<Ended> {
    let mut info = [0i32; 32];
    sys!(__NR_waitid, k::P_PID, pid, info.as_mut_ptr(), k::WEXITED | k::WNOWAIT, 0)?;
    // struct siginfo: si_code and si_status; CLD_EXITED is 1.
    Ok(if info[2] == 1 { Ended::Exited(info[6]) } else { Ended::Killed(info[6]) })
}

/// wait4(2) of a child, if it has ended.
pub fn reap(pid: i32) {
    let _ = sys!(__NR_wait4, pid, 0, k::WNOHANG, 0);
}

/// struct pollfd.
#[repr(C)]
pub struct Poll {
    fd: Fd,
    events: u16,
    returned: u16,
}

impl Poll {
    pub fn readable(fd: Fd) -> Self {
        Self { fd, events: k::POLLIN as u16, returned: 0 }
    }

    /// Asks only whether a socket's other end is gone.
    pub fn hung_up(fd: Fd) -> Self {
        Self { fd, events: k::POLLRDHUP as u16, returned: 0 }
    }

    pub fn happened(&self) -> bool {
        self.returned != 0
    }
}

/// ppoll(2) for at most `limit` nanoseconds. An interrupted one returns early.
pub fn poll(fds: &mut [Poll], limit: Option<u64>) -> Outcome {
    let time = limit.map(|limit| [limit / 1_000_000_000, limit % 1_000_000_000]);
    let time = time.as_ref().map_or(0, |time| time.as_ptr() as usize);
    match sys!(__NR_ppoll, fds.as_mut_ptr(), fds.len(), time, 0, 8) {
        Err(errno) if errno == linux_raw_sys::errno::EINTR as i32 => Ok(()),
        other => other.map(drop),
    }
}

/// Nanoseconds of CLOCK_MONOTONIC.
pub fn now() -> u64 {
    let mut time = [0u64; 2];
    let _ = sys!(__NR_clock_gettime, k::CLOCK_MONOTONIC, time.as_mut_ptr());
    time[0] * 1_000_000_000 + time[1]
}

pub fn memfd(name: &CStr) -> Outcome<Fd> {
    sys!(__NR_memfd_create, name.as_ptr(), k::MFD_CLOEXEC).map(|fd| fd as Fd)
}

/// lseek(2) to the beginning.
pub fn rewind(fd: Fd) -> Outcome {
    sys!(__NR_lseek, fd, 0, 0).map(drop)
}

/// pipe2(2) whose reading end, the first, does not block.
pub fn pipe() -> Outcome<[Fd; 2]> {
    let mut ends = [-1; 2];
    sys!(__NR_pipe2, ends.as_mut_ptr(), k::O_CLOEXEC)?;
    sys!(__NR_fcntl, ends[0], k::F_SETFL, k::O_NONBLOCK)?;
    Ok(ends)
}

/// socketpair(2), AF_UNIX and SOCK_STREAM.
pub fn socket_pair() -> Outcome<[Fd; 2]> {
    let mut ends = [-1; 2];
    sys!(__NR_socketpair, 1, 1 | k::O_CLOEXEC, 0, ends.as_mut_ptr())?;
    Ok(ends)
}

/// recv(2) of what is there now.
pub fn receive(fd: Fd, buffer: &mut [u8]) -> Outcome<usize> {
    const MSG_DONTWAIT: u32 = 0x40;
    sys!(__NR_recvfrom, fd, buffer.as_mut_ptr(), buffer.len(), MSG_DONTWAIT, 0, 0)
}

pub fn setsid() -> Outcome {
    sys!(__NR_setsid).map(drop)
}

/// KEYCTL_JOIN_SESSION_KEYRING.
pub fn join_keyring(name: &CStr) -> Outcome {
    sys!(__NR_keyctl, 1, name.as_ptr()).map(drop)
}

pub fn sethostname(name: &[u8]) -> Outcome {
    sys!(__NR_sethostname, name.as_ptr(), name.len()).map(drop)
}

pub fn setdomainname(name: &[u8]) -> Outcome {
    sys!(__NR_setdomainname, name.as_ptr(), name.len()).map(drop)
}

pub fn setrlimit(resource: u32, soft: u64, hard: u64) -> Outcome {
    let limit = [soft, hard];
    sys!(__NR_prlimit64, 0, resource, limit.as_ptr(), 0).map(drop)
}

/// sched_setaffinity(2) of the caller: bit N of the mask for CPU N.
pub fn set_affinity(mask: &[u8]) -> Outcome {
    sys!(__NR_sched_setaffinity, 0, mask.len(), mask.as_ptr()).map(drop)
}

/// set_mempolicy(2): bit N of the mask for node N, in whole words; the kernel takes one bit off the length.
pub fn set_memory_policy(mode: u32, nodes: &[u8]) -> Outcome {
    let (mask, bits) = if nodes.is_empty() { (0, 0) } else { (nodes.as_ptr() as usize, nodes.len() * 8 + 1) };
    sys!(__NR_set_mempolicy, mode, mask, bits).map(drop)
}

/// sched_setattr(2) of the caller with a struct sched_attr.
pub fn set_scheduling(attributes: &[u8]) -> Outcome {
    sys!(__NR_sched_setattr, 0, attributes.as_ptr(), 0).map(drop)
}

/// ioprio_set(2) of the caller: IOPRIO_WHO_PROCESS.
pub fn set_io_priority(value: u32) -> Outcome {
    sys!(__NR_ioprio_set, 1, 0, value).map(drop)
}

pub fn personality(persona: u32) -> Outcome {
    sys!(__NR_personality, persona).map(drop)
}

pub fn umask(mask: u32) {
    let _ = sys!(__NR_umask, mask);
}

pub fn setgroups(count: usize, groups: *const u32) -> Outcome {
    sys!(__NR_setgroups, count, groups).map(drop)
}

pub fn setresgid(gid: u32) -> Outcome {
    sys!(__NR_setresgid, gid, gid, gid).map(drop)
}

pub fn setresuid(uid: u32) -> Outcome {
    sys!(__NR_setresuid, uid, uid, uid).map(drop)
}

pub fn prctl(option: u32, a: usize, b: usize) -> Outcome {
    sys!(__NR_prctl, option, a, b, 0, 0).map(drop)
}

/// capset(2) of the caller, version 3: masks with bit N for capability N.
pub fn capset(effective: u64, permitted: u64, inheritable: u64) -> Outcome {
    let header = [0x2008_0522u32, 0];
    let half = |shift: u32| [effective, permitted, inheritable].map(|mask| (mask >> shift) as u32);
    let data = [half(0), half(32)];
    sys!(__NR_capset, header.as_ptr(), data.as_ptr()).map(drop)
}

/// capget(2) of the caller: (effective, permitted, inheritable).
pub fn capget() -> Outcome<(u64, u64, u64)> {
    let mut header = [0x2008_0522u32, 0];
    let mut data = [[0u32; 3]; 2];
    sys!(__NR_capget, header.as_mut_ptr(), data.as_mut_ptr())?;
    let join = |i: usize| u64::from(data[0][i]) | u64::from(data[1][i]) << 32;
    Ok((join(0), join(1), join(2)))
}

/// SECCOMP_SET_MODE_FILTER with an array of struct sock_filter; the listener where the flags ask for one.
pub fn seccomp(flags: u32, program: &[u8]) -> Outcome<Fd> {
    #[repr(C)]
    struct Program {
        length: u16,
        filter: *const u8,
    }
    let program = Program { length: (program.len() / 8) as u16, filter: program.as_ptr() };
    sys!(__NR_seccomp, 1, flags, &raw const program).map(|fd| fd as Fd)
}

/// Back to no blocked signal, and to the default action of all that the caller ignores but SIGHUP and SIGINT, as runc:
/// execve and CLONE_CLEAR_SIGHAND keep what is ignored.
pub fn reset_signals() {
    let none = 0u64;
    let default = [0usize; 4];
    for signal in k::SIGQUIT..=64 {
        // Refused for SIGKILL and SIGSTOP.
        let _ = sys!(__NR_rt_sigaction, signal, default.as_ptr(), 0, 8);
    }
    let _ = sys!(__NR_rt_sigprocmask, k::SIG_SETMASK, &raw const none, 0, 8);
}

#[cfg(feature = "fault")]
pub fn kill_self() -> ! {
    let pid = sys!(__NR_getpid).unwrap_or(0);
    // A pid namespace's init cannot kill itself, so it ends instead.
    let _ = sys!(__NR_kill, pid, k::SIGKILL);
    exit(137)
}

pub fn accept(socket: Fd) -> Outcome<Fd> {
    sys!(__NR_accept4, socket, 0, 0, k::O_CLOEXEC).map(|fd| fd as Fd)
}

pub fn ioctl(fd: Fd, request: u32, argument: usize) -> Outcome<usize> {
    sys!(__NR_ioctl, fd, request, argument)
}

/// A socket for ioctls on interfaces, by which the kernel finds the network namespace: AF_INET, SOCK_DGRAM.
pub fn any_socket() -> Outcome<Fd> {
    sys!(__NR_socket, 2, 2 | k::O_CLOEXEC, 0).map(|fd| fd as Fd)
}

/// A socket to rtnetlink that tells errors in words and repeats no request: AF_NETLINK, SOCK_RAW, NETLINK_ROUTE.
pub fn netlink_socket() -> Outcome<Fd> {
    const SOL_NETLINK: u32 = 270;
    let socket = sys!(__NR_socket, 16, 3 | k::O_CLOEXEC, 0)? as Fd;
    // NETLINK_CAP_ACK and NETLINK_EXT_ACK, which every kernel has that init runs on.
    for option in [10, 11] {
        let on = 1u32;
        sys!(__NR_setsockopt, socket, SOL_NETLINK, option, &raw const on, size_of::<u32>())?;
    }
    Ok(socket)
}

/// SIOCSIFFLAGS: sets an interface's flags to IFF_UP and IFF_RUNNING.
pub fn raise_interface(name: &[u8]) -> Outcome {
    let socket = any_socket()?;
    // struct ifreq: a name of 16 bytes, then flags.
    let mut request = [0u8; 40];
    request[..name.len()].copy_from_slice(name);
    request[16] = 0x41;
    let outcome = ioctl(socket, 0x8914, request.as_ptr() as usize);
    close(socket);
    outcome.map(drop)
}

/// sendmsg(2) of some text and one descriptor.
pub fn send_descriptor(socket: Fd, text: &[u8], fd: Fd) -> Outcome {
    #[repr(C)]
    struct Control {
        length: usize,
        level: i32,
        kind: i32,
        fd: i32,
        padding: i32,
    }
    #[repr(C)]
    struct Message {
        name: usize,
        name_length: usize,
        parts: *const [usize; 2],
        part_count: usize,
        control: *const Control,
        control_length: usize,
        flags: usize,
    }
    // SOL_SOCKET and SCM_RIGHTS are both 1: cmsg(3), unix(7).
    let control = Control { length: 20, level: 1, kind: 1, fd, padding: 0 };
    let parts = [text.as_ptr() as usize, text.len()];
    let message = Message {
        name: 0,
        name_length: 0,
        parts: &raw const parts,
        part_count: 1,
        control: &raw const control,
        control_length: size_of::<Control>(),
        flags: 0,
    };
    sys!(__NR_sendmsg, socket, &raw const message, MSG_NOSIGNAL).map(drop)
}

/// execve(2); returns only on failure.
pub fn execve(path: &CStr, args: *const *const u8, env: *const *const u8) -> i32 {
    sys!(__NR_execve, path.as_ptr(), args, env).err().unwrap_or(0)
}

const MSG_NOSIGNAL: u32 = 0x4000;
