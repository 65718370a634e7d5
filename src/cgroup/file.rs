//! Reads and writes of a cgroup's files, three system calls each. Every error names the file, and the value of a write.

use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::Mode;

use crate::{Context, Error, Result};

/// Opens a directory for use as the start of paths only.
pub(super) fn open_dir(path: &str) -> nix::Result<OwnedFd> {
    open(path, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
}

/// Opens a file of the cgroup for writing.
pub(super) fn open_for_write(dir: impl AsFd, file: &str) -> nix::Result<OwnedFd> {
    openat(dir, file, OFlag::O_WRONLY | OFlag::O_CLOEXEC, Mode::empty())
}

/// Writes in one call: the kernel takes a cgroup file's value from one write whole.
pub(super) fn write_all(fd: impl AsFd, text: &str) -> nix::Result<()> {
    loop {
        match nix::unistd::write(&fd, text.as_bytes()) {
            // The kernel may have to wait for a lock and be interrupted by a signal meant for the caller.
            Err(Errno::EINTR) => {}
            Ok(n) if n < text.len() => return Err(Errno::EIO),
            done => return done.map(drop),
        }
    }
}

/// Writes one value.
pub(super) fn write_at(dir: impl AsFd, file: &str, text: &str) -> nix::Result<()> {
    write_all(open_for_write(dir, file)?, text)
}

/// Reads a file of one value, without the newline at its end.
pub(super) fn read_at(dir: impl AsFd, file: &str) -> nix::Result<String> {
    read_value(openat(dir, file, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())?)
}

/// As [`read_at`], by a path.
pub(super) fn read(path: &str) -> nix::Result<String> {
    read_value(open(path, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())?)
}

/// Reads a file of many lines.
pub(super) fn read_list_at(dir: impl AsFd, file: &str) -> nix::Result<String> {
    read_lines(openat(dir, file, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())?)
}

/// As [`read_list_at`], by a path.
pub(super) fn read_list(path: &str) -> nix::Result<String> {
    read_lines(open(path, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())?)
}

/// Writes one value, by a path; the error names both.
pub(super) fn write(path: &str, text: &str) -> Result<()> {
    open(path, OFlag::O_WRONLY | OFlag::O_CLOEXEC, Mode::empty())
        .and_then(|fd| write_all(fd, text))
        .context(|| format!("write {text} to {path}"))
}

/// A value comes whole in one read that it fits in.
fn read_value(fd: OwnedFd) -> nix::Result<String> {
    let mut text = Vec::new();
    let mut part = [0u8; 4096];
    loop {
        match nix::unistd::read(&fd, &mut part) {
            Ok(n) => {
                text.extend_from_slice(&part[..n]);
                if n < part.len() {
                    break;
                }
            }
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(without_end(crate::sys::text_of(text)))
}

fn read_lines(fd: OwnedFd) -> nix::Result<String> {
    let text = crate::sys::read_whole(fd.into());
    text.map(without_end).map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)))
}

fn without_end(mut text: String) -> String {
    text.truncate(text.trim_end_matches(|c: char| c.is_ascii_whitespace()).len());
    text
}

/// Whether the errno says that a cgroup is gone: its name, or after an open the cgroup behind it.
pub(super) fn is_gone(errno: Errno) -> bool {
    matches!(errno, Errno::ENOENT | Errno::ENODEV)
}

/// The error of a write that the kernel refused, with what that usually means for this file.
pub(super) fn refused(property: &str, dir: &str, file: &str, text: &str, errno: Errno) -> Error {
    let meaning = match (file, errno) {
        ("memory.limit_in_bytes" | "memory.memsw.limit_in_bytes", Errno::EBUSY) => {
            " (the cgroup uses more and could not be shrunk: raise the limit or free memory first)"
        }
        ("memory.memsw.limit_in_bytes", Errno::ENOENT) => {
            " (this kernel does not count swap: boot with swapaccount=1 or drop the limit)"
        }
        ("memory.limit_in_bytes" | "memory.memsw.limit_in_bytes", Errno::EINVAL) => {
            " (swap counts memory and swap together and cannot be less than limit)"
        }
        (_, Errno::EINVAL) if file.starts_with("cpu.cfs") || file.starts_with("cpu.max") => {
            " (period is 1000 to 1000000 us, quota at least 1000 us and no larger a share than a parent's, burst at most quota)"
        }
        (_, Errno::EINVAL) if file.starts_with("cpu.rt") => {
            " (the runtime must fit in the period and in what the parent cgroup has left)"
        }
        (_, Errno::ENOENT) if file.starts_with("cpu.rt") => {
            " (this kernel has no realtime group scheduling, CONFIG_RT_GROUP_SCHED: drop the limit)"
        }
        (_, Errno::EACCES | Errno::EINVAL | Errno::ERANGE | Errno::ENODEV) if file.starts_with("cpuset.") => {
            " (the list must name online cpus or nodes that the parent cgroup has too)"
        }
        (_, Errno::ENODEV) if file.starts_with("blkio.") || file.starts_with("io.") => {
            " (this host has no such block device)"
        }
        (_, Errno::EOPNOTSUPP) if file.ends_with(".weight") => " (the scheduler of this device knows no weights)",
        (_, Errno::EINVAL) if file.starts_with("devices.") => " (it cannot change while there are cgroups below)",
        (_, Errno::EPERM) if file.starts_with("devices.") => " (a parent cgroup does not allow it)",
        (_, Errno::ENOENT) => " (this kernel does not offer it: drop the limit)",
        _ => "",
    };
    let property = if property.is_empty() { String::new() } else { format!("{property}: ") };
    Error::from(errno).context(format!("{property}write {text} to {dir}/{file}{meaning}"))
}
