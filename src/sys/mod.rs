//! Thin safe wrappers over system calls that nix and libc lack. With the clone itself the only home of `unsafe` in
//! nfrun. Nothing here knows a container; arguments come from the callers, errors go back as errno.

pub mod bpf;
pub mod mount;
pub mod net;
pub mod packet;
pub mod path;
pub mod pidfd;
pub mod sched;
pub mod spawn;
pub mod time;
pub mod userns;

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::errno::Errno;

/// A system call's return value as nix gives it.
fn check(result: libc::c_long) -> nix::Result<libc::c_long> {
    Errno::result(result)
}

/// Takes over a descriptor that a system call has just returned.
fn own(result: libc::c_long) -> nix::Result<OwnedFd> {
    let fd = check(result)? as i32;
    // SAFETY: the kernel made this descriptor for this call alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Reads a file that the kernel writes as it is read and that has no length: in few large reads, since it hands out whole
/// lines and may begin its work anew for each. Names in it are whatever bytes somebody chose; those of no UTF-8 are replaced.
pub fn read_kernel_file(path: &str) -> std::io::Result<String> {
    read_whole(std::fs::File::open(path)?)
}

/// The same, of one that is open.
pub fn read_whole(mut file: std::fs::File) -> std::io::Result<String> {
    let mut text = Vec::with_capacity(16 << 10);
    std::io::Read::read_to_end(&mut file, &mut text)?;
    Ok(text_of(text))
}

/// Bytes of the kernel as text.
pub fn text_of(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

/// A shared page between the runtime and init, on a memfd.
pub struct SharedPage {
    /// The memfd.
    pub fd: OwnedFd,
    address: std::ptr::NonNull<crate::init::step::Progress>,
}

impl SharedPage {
    /// memfd_create(2), ftruncate(2) and mmap(2) of one page.
    pub fn new() -> nix::Result<Self> {
        let fd = memfd(c"nfrun-progress", libc::MFD_CLOEXEC | MFD_NOEXEC_SEAL)?;
        nix::unistd::ftruncate(&fd, 4096)?;
        let (protection, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED);
        // SAFETY: a fresh shared mapping of a file that is as long as the mapping.
        let address = unsafe { libc::mmap(std::ptr::null_mut(), 4096, protection, kind, fd.as_raw_fd(), 0) };
        if address == libc::MAP_FAILED {
            return Err(Errno::last());
        }
        let address = std::ptr::NonNull::new(address.cast()).ok_or(Errno::ENOMEM)?;
        Ok(Self { fd, address })
    }

    /// Where init is.
    pub fn progress(&self) -> &crate::init::step::Progress {
        // SAFETY: the mapping lives as long as self, is a page long and aligned; both sides use atomics only.
        unsafe { self.address.as_ref() }
    }
}

impl Drop for SharedPage {
    fn drop(&mut self) {
        // SAFETY: the mapping was made in `new`, and no reference outlives self.
        unsafe { libc::munmap(self.address.as_ptr().cast(), 4096) };
    }
}

/// Linux 6.3; older kernels answer EINVAL to it, and `memfd` then leaves it out.
const MFD_NOEXEC_SEAL: libc::c_uint = 0x8;
/// Linux 6.3, likewise.
pub const MFD_EXEC: libc::c_uint = 0x10;

/// memfd_create(2), without the flags about execution where the kernel does not know them.
pub fn memfd(name: &std::ffi::CStr, flags: libc::c_uint) -> nix::Result<OwnedFd> {
    // SAFETY: name is a C string that outlives the call.
    let create = |flags: libc::c_uint| own(unsafe { libc::syscall(libc::SYS_memfd_create, name.as_ptr(), flags) });
    match create(flags) {
        Err(Errno::EINVAL) => create(flags & !(MFD_NOEXEC_SEAL | MFD_EXEC)),
        other => other,
    }
}

/// A memfd with this content that nobody can change any more: memfd_create(2), F_ADD_SEALS.
pub fn sealed_memfd(name: &std::ffi::CStr, content: &[&[u8]], flags: libc::c_uint) -> nix::Result<OwnedFd> {
    let fd = memfd(name, libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING | flags)?;
    for mut part in content.iter().copied() {
        while !part.is_empty() {
            let written = nix::unistd::write(&fd, part)?;
            part = &part[written..];
        }
    }
    use nix::fcntl::{FcntlArg, SealFlag};
    let seals = SealFlag::F_SEAL_SEAL | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_WRITE;
    nix::fcntl::fcntl(&fd, FcntlArg::F_ADD_SEALS(seals))?;
    Ok(fd)
}

/// Borrows a descriptor that the caller of nfrun passed by number, such as 0.
pub fn inherited(fd: i32) -> Option<BorrowedFd<'static>> {
    // SAFETY: F_GETFD only asks; a wrong number is answered with EBADF.
    if unsafe { libc::fcntl(fd, libc::F_GETFD) } < 0 {
        return None;
    }
    // SAFETY: it is open, and nfrun never closes descriptors that it was started with.
    Some(unsafe { BorrowedFd::borrow_raw(fd) })
}

/// Who runs this, which decides what of the host he may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caller {
    /// The host's root.
    Root,
    /// The root of a user namespace: he may mount, but make no device, and no cgroup but where one is his.
    NamespaceRoot,
    /// Any other user, who may mount nothing before he is root of a user namespace.
    User,
}

impl Caller {
    /// Who this process belongs to. The machine's first user namespace has the same inode on every kernel
    /// (PROC_USER_INIT_INO).
    pub fn find() -> Self {
        if !nix::unistd::geteuid().is_root() {
            return Self::User;
        }
        match nix::sys::stat::stat("/proc/self/ns/user") {
            Ok(found) if found.st_ino != 0xeffffffd => Self::NamespaceRoot,
            _ => Self::Root,
        }
    }
}

/// A terminal's rows and columns: TIOCGWINSZ.
pub fn window_size(terminal: BorrowedFd) -> nix::Result<(u64, u64)> {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the call is given a struct winsize of its own.
    Errno::result(unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) })?;
    Ok((size.ws_row.into(), size.ws_col.into()))
}

/// Gives one terminal the size of another: TIOCGWINSZ, TIOCSWINSZ.
pub fn copy_window_size(from: BorrowedFd, to: BorrowedFd) -> nix::Result<()> {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: each call is given a struct winsize of its own.
    unsafe {
        Errno::result(libc::ioctl(from.as_raw_fd(), libc::TIOCGWINSZ, &raw mut size))?;
        Errno::result(libc::ioctl(to.as_raw_fd(), libc::TIOCSWINSZ, &raw const size)).map(drop)
    }
}

/// Sets a terminal's rows and columns: TIOCSWINSZ.
pub fn set_window_size(terminal: BorrowedFd, rows: u16, columns: u16) -> nix::Result<()> {
    let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the call is given a struct winsize of its own.
    Errno::result(unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) }).map(drop)
}

/// How many bytes wait in a pipe to be read: FIONREAD.
pub fn unread(pipe: BorrowedFd) -> i32 {
    let mut bytes = 0i32;
    // SAFETY: the call is given a number of its own.
    match unsafe { libc::ioctl(pipe.as_raw_fd(), libc::FIONREAD, &raw mut bytes) } {
        0 => bytes,
        _ => 0,
    }
}

/// Lets a program that will be started have descriptors as its numbers 3, 4 and so on.
pub fn give_descriptors(command: &mut std::process::Command, fds: Vec<OwnedFd>) -> nix::Result<()> {
    use nix::fcntl::{FcntlArg, fcntl};
    use std::os::unix::process::CommandExt;
    // Above the numbers that they are to have.
    let least = 3 + fds.len() as i32;
    let above = |fd: &OwnedFd| {
        // SAFETY: the kernel made the descriptor for this call alone.
        fcntl(fd, FcntlArg::F_DUPFD_CLOEXEC(least)).map(|fd| unsafe { OwnedFd::from_raw_fd(fd) })
    };
    let sources = fds.iter().map(above).collect::<nix::Result<Vec<_>>>()?;
    let renumber = move || {
        for (number, fd) in (3..).zip(&sources) {
            // SAFETY: a plain system call, in the child, on descriptors of its own.
            Errno::result(unsafe { libc::dup2(fd.as_raw_fd(), number) })?;
        }
        Ok(())
    };
    // SAFETY: the closure makes system calls alone: no memory is allocated and no lock taken.
    unsafe { command.pre_exec(renumber) };
    Ok(())
}

/// Forks; true in the child: fork(2).
///
/// # Errors
/// Also where other threads run, in the middle of whose work the child would begin.
pub fn fork() -> nix::Result<bool> {
    alone()?;
    // SAFETY: there is no other thread, as was just seen.
    check(unsafe { libc::fork() }.into()).map(|pid| pid == 0)
}

/// Takes variables out of the environment, which is the process's.
///
/// # Errors
/// Where other threads run, which may read it.
pub fn forget_variables(names: &[&str]) -> nix::Result<()> {
    alone()?;
    for name in names {
        // SAFETY: there is no other thread, as was just seen.
        unsafe { std::env::remove_var(name) };
    }
    Ok(())
}

/// Fails where this process has more than one thread.
fn alone() -> nix::Result<()> {
    match std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count) {
        0 | 1 => Ok(()),
        _ => Err(Errno::EBUSY),
    }
}

/// Lets all threads allocate from one heap: each would keep one of its own, for good. mallopt(3), M_ARENA_MAX.
pub fn keep_one_heap() {
    // SAFETY: the call changes a number of the allocator's.
    unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
}

/// Gives back to the kernel what was freed (malloc_trim(3)) and the program's own pages, which come again from its file when
/// they are needed (madvise(2), MADV_DONTNEED): for a program that will do nothing for long.
pub fn give_memory_back() {
    // SAFETY: the linker defines both; only their addresses are taken.
    unsafe extern "C" {
        // Where the program begins and where its code ends: ld(1). What is written to lies behind.
        static __executable_start: u8;
        static etext: u8;
    }
    let (start, end) = (&raw const __executable_start as usize, &raw const etext as usize & !4095);
    // SAFETY: the allocator takes its own lock. The pages are of a file that is mapped privately and never written to, so
    // that the kernel reads the same bytes again.
    unsafe {
        libc::malloc_trim(0);
        libc::madvise(start as *mut libc::c_void, end.saturating_sub(start), libc::MADV_DONTNEED);
    }
}

/// Whether a child that has ended waits to be reaped, and which: waitid(2), which leaves it as it is.
pub fn ended_child() -> Option<i32> {
    // SAFETY: a zeroed siginfo is one, and outlives the call.
    unsafe {
        let mut info: libc::siginfo_t = std::mem::zeroed();
        let how = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
        let waited = libc::waitid(libc::P_ALL, 0, &raw mut info, how);
        (waited == 0 && info.si_pid() > 0).then(|| info.si_pid())
    }
}

/// What a program without the standard library's entry must see to itself: a closed stdin, stdout or stderr would be
/// taken by the next file that is opened, and a peer that is gone must be an error of write, not a signal.
pub fn begin() {
    for fd in 0..3 {
        if inherited(fd).is_none() {
            // SAFETY: a constant path; the lowest free number is the closed one, which then stays open.
            unsafe { libc::open(c"/dev/null".as_ptr(), libc::O_RDWR) };
        }
    }
    // SAFETY: no handler is installed, only dispositions changed. A caller that ignores SIGCHLD would have the kernel
    // reap init unseen.
    unsafe {
        libc::signal(libc::SIGPIPE, libc::SIG_IGN);
        libc::signal(libc::SIGCHLD, libc::SIG_DFL);
    }
}

/// Whether this kernel knows these flags of a filter: seccomp(2). Without a filter the call can only fail, and how it
/// does tells.
pub fn knows_filter_flags(flags: u32) -> bool {
    const SECCOMP_SET_MODE_FILTER: libc::c_uint = 1;
    let filter = std::ptr::null::<libc::c_void>();
    // SAFETY: the kernel is given no memory to read, and answers EFAULT before it changes anything.
    let result = unsafe { libc::syscall(libc::SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, filter) };
    Errno::result(result) == Err(Errno::EFAULT)
}

/// Sets a limit of another process: prlimit(2).
pub fn set_limit(pid: i32, resource: u32, soft: u64, hard: u64) -> nix::Result<()> {
    let limit = libc::rlimit64 { rlim_cur: soft, rlim_max: hard };
    // SAFETY: the new limit outlives the call, and no old one is asked for.
    Errno::result(unsafe { libc::prlimit64(pid, resource, &raw const limit, std::ptr::null_mut()) }).map(drop)
}

/// Reaps a child that has ended; its status as the kernel gives it: waitpid(2).
pub fn reap(pid: i32) -> Option<i32> {
    let mut status = 0;
    // SAFETY: the status outlives the call.
    let reaped = unsafe { libc::waitpid(pid, &raw mut status, libc::WNOHANG) };
    (reaped == pid).then_some(status)
}

/// Device and inode of the file that a path leads to, as the kernel remembers them: statx(2), AT_STATX_DONT_SYNC. A
/// filesystem over the network or FUSE is not asked, whose server may never answer.
pub fn known_file(path: &std::path::Path) -> nix::Result<(u64, u64)> {
    let mut found = std::mem::MaybeUninit::<libc::statx>::zeroed();
    nix::NixPath::with_nix_path(path, |path| {
        // SAFETY: path is a C string, and the kernel fills a structure of the size that it knows.
        Errno::result(unsafe {
            libc::statx(libc::AT_FDCWD, path.as_ptr(), libc::AT_STATX_DONT_SYNC, libc::STATX_INO, found.as_mut_ptr())
        })
    })??;
    // SAFETY: the call succeeded, so the kernel filled it.
    let found = unsafe { found.assume_init() };
    Ok((libc::makedev(found.stx_dev_major, found.stx_dev_minor), found.stx_ino))
}

/// The pid or user namespace above one: NS_GET_PARENT of ioctl_nsfs(2). The caller's own has none that it may see.
pub fn parent_namespace(file: BorrowedFd) -> nix::Result<OwnedFd> {
    const NS_GET_PARENT: libc::c_ulong = 0xb702;
    // SAFETY: the request has no argument.
    own(unsafe { libc::ioctl(file.as_raw_fd(), NS_GET_PARENT) }.into())
}

/// Which kind of namespace a file is: NS_GET_NSTYPE of ioctl_nsfs(2), CLONE_NEW*.
pub fn namespace_kind(file: BorrowedFd) -> nix::Result<u64> {
    const NS_GET_NSTYPE: libc::c_ulong = 0xb703;
    // SAFETY: the request has no argument.
    Errno::result(unsafe { libc::ioctl(file.as_raw_fd(), NS_GET_NSTYPE) }).map(|kind| kind as u64)
}

/// The number of a loop device that nobody uses: loop(4), LOOP_CTL_GET_FREE.
pub fn free_loop_device(control: &std::fs::File) -> nix::Result<i32> {
    const LOOP_CTL_GET_FREE: libc::c_ulong = 0x4c82;
    // SAFETY: the call takes no memory.
    Errno::result(unsafe { libc::ioctl(control.as_raw_fd(), LOOP_CTL_GET_FREE) })
}

/// Shows a file as a loop device until that is unmounted and closed: LOOP_CONFIGURE, Linux 5.8.
pub fn attach_loop_device(device: &std::fs::File, file: std::os::fd::RawFd, read_only: bool) -> nix::Result<()> {
    const LOOP_CONFIGURE: libc::c_ulong = 0x4c0a;
    const LO_FLAGS_READ_ONLY: u32 = 1;
    const LO_FLAGS_AUTOCLEAR: u32 = 4;
    // struct loop_config: linux/loop.h.
    #[repr(C)]
    struct Config {
        fd: u32,
        block_size: u32,
        /// struct loop_info64 up to its flags.
        before: [u64; 5],
        kinds: [u32; 3],
        flags: u32,
        /// Its names and key.
        names: [u8; 64 + 64 + 32],
        init: [u64; 2],
        reserved: [u64; 8],
    }
    let flags = LO_FLAGS_AUTOCLEAR | if read_only { LO_FLAGS_READ_ONLY } else { 0 };
    let config = Config {
        fd: file as u32,
        block_size: 0,
        before: [0; 5],
        kinds: [0; 3],
        flags,
        names: [0; 160],
        init: [0; 2],
        reserved: [0; 8],
    };
    // SAFETY: the struct has the kernel's layout and outlives the call.
    Errno::result(unsafe { libc::ioctl(device.as_raw_fd(), LOOP_CONFIGURE, &raw const config) }).map(drop)
}
