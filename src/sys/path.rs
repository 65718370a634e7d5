//! Paths beneath a directory: openat2(2).

use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use super::own;

/// RESOLVE_IN_ROOT: the directory is / for absolute paths, `..` and links.
pub const IN_ROOT: u64 = 0x10;
/// RESOLVE_NO_MAGICLINKS: links of /proc that jump are refused.
pub const NO_MAGICLINKS: u64 = 0x02;

/// openat2(2), close-on-exec.
pub fn open_beneath(root: BorrowedFd, path: &CStr, flags: i32, resolve: u64) -> nix::Result<OwnedFd> {
    let how: [u64; 3] = [(flags | libc::O_CLOEXEC) as u64, 0, resolve];
    loop {
        // SAFETY: path is a C string and how a struct open_how of the length given.
        let result = own(unsafe {
            libc::syscall(libc::SYS_openat2, root.as_raw_fd(), path.as_ptr(), how.as_ptr(), size_of_val(&how))
        });
        // A rename raced with "..": the kernel asks to try again.
        if result.as_ref().err() != Some(&nix::errno::Errno::EAGAIN) {
            return result;
        }
    }
}
