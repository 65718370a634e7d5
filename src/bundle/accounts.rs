//! A user's home and name from the /etc/passwd of a root: passwd(5).

use std::ffi::CStr;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;

use crate::init::guard::{Guard, stands};
use crate::sys::path::{IN_ROOT, NO_MAGICLINKS, open_beneath};

/// The home directory of a uid; None where the root has no such account. Links lead nowhere outside the root.
pub fn home(root: &Path, uid: u32) -> Option<String> {
    field(root, uid, 5)
}

/// The name of a uid.
pub fn name(root: &Path, uid: u32) -> Option<String> {
    field(root, uid, 0)
}

/// By reading the file alone: a static program has no name service switch.
fn field(root: &Path, uid: u32, which: usize) -> Option<String> {
    let root = std::fs::File::open(root).ok()?;
    let beneath: (&CStr, u64) = (c"/etc/passwd", IN_ROOT | NO_MAGICLINKS);
    let (path, resolve) = if stands(Guard::Beneath) { beneath } else { (c"etc/passwd", 0) };
    // An image may have a device in its place, the opening of which alone can do harm: look first.
    let place = open_beneath(root.as_fd(), path, libc::O_PATH, resolve).ok()?;
    let kind = nix::sys::stat::fstat(&place).ok()?.st_mode & libc::S_IFMT;
    if kind != libc::S_IFREG && stands(Guard::RegularAccounts) {
        return None;
    }
    let file = std::fs::File::open(format!("/proc/self/fd/{}", place.as_raw_fd())).ok()?;
    let mut text = String::new();
    // A file that has more is no account file.
    file.take(1 << 20).read_to_string(&mut text).ok()?;
    text.lines().find_map(|line| {
        let fields: Vec<_> = line.split(':').collect();
        let matches = fields.len() >= 6 && fields[2].parse() == Ok(uid) && !fields[which].is_empty();
        matches.then(|| fields[which].to_owned())
    })
}
