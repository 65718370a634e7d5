//! A user's home from the container's /etc/passwd: passwd(5).

use std::ffi::CStr;
use std::io::Read;
use std::os::fd::AsFd;
use std::path::Path;

use crate::sys::path::{IN_ROOT, NO_MAGICLINKS, open_beneath};

/// The home directory of a uid; None where the root has no such account. Links lead nowhere outside the root.
pub fn home(root: &Path, uid: u32) -> Option<String> {
    let root = std::fs::File::open(root).ok()?;
    let path: &CStr = c"/etc/passwd";
    let file = open_beneath(root.as_fd(), path, libc::O_RDONLY | libc::O_NONBLOCK, IN_ROOT | NO_MAGICLINKS).ok()?;
    let mut text = String::new();
    // A regular file that has more is no account file.
    std::fs::File::from(file).take(1 << 20).read_to_string(&mut text).ok()?;
    text.lines().find_map(|line| {
        let fields: Vec<_> = line.split(':').collect();
        let matches = fields.len() >= 6 && fields[2].parse() == Ok(uid) && !fields[5].is_empty();
        matches.then(|| fields[5].to_owned())
    })
}
