//! A user's home and name from the /etc/passwd of a root: passwd(5).

use std::ffi::CStr;
use std::io::Read;
use std::os::fd::AsFd;
use std::path::Path;

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
    let path: &CStr = c"/etc/passwd";
    let file = open_beneath(root.as_fd(), path, libc::O_RDONLY | libc::O_NONBLOCK, IN_ROOT | NO_MAGICLINKS).ok()?;
    let mut text = String::new();
    // A regular file that has more is no account file.
    std::fs::File::from(file).take(1 << 20).read_to_string(&mut text).ok()?;
    text.lines().find_map(|line| {
        let fields: Vec<_> = line.split(':').collect();
        let matches = fields.len() >= 6 && fields[2].parse() == Ok(uid) && !fields[which].is_empty();
        matches.then(|| fields[which].to_owned())
    })
}
