//! `tmpcopyup`: a tmpfs with what the rootfs has at its place, filled while it is mounted nowhere.

use std::ffi::{CStr, CString, OsStr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::Path;

use nix::dir::Dir;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{FchmodatFlags, FileStat, Mode, SFlag, fchmodat, fstatat, mkdirat, mknodat};
use nix::unistd::{Gid, Uid, Whence, fchownat, lseek, symlinkat};

use crate::init::guard::{Guard, stands};
use crate::sys::path::{IN_ROOT, NO_MAGICLINKS, open_beneath};
use crate::{Context, Error, Result};

/// Makes the tmpfs with at most that many bytes of files. A target that the rootfs does not have leaves it empty.
pub fn filled_tmpfs(rootfs: &Path, target: &Path, (data, label): (&str, Option<&str>), most: u64) -> Result<OwnedFd> {
    let words = data.split(',').filter(|option| !option.is_empty());
    let pairs = words.map(|option| option.split_once('=').unwrap_or((option, "")));
    // A label holds commas, and is a value of its own here.
    let options = pairs
        .chain(label.map(|label| ("context", label)))
        .map(|(key, value)| Ok((CString::new(key)?, CString::new(value)?)));
    let options = options.collect::<Result<Vec<_>, std::ffi::NulError>>();
    let options = options.map_err(|_| Error::invalid("an option holds a NUL character"))?;
    let pairs: Vec<(&CStr, &CStr)> = options.iter().map(|(key, value)| (key.as_c_str(), value.as_c_str())).collect();
    let mount = crate::sys::mount::new_detached(c"tmpfs", &pairs, 0).context(|| "make a tmpfs")?;
    let root = std::fs::File::open(rootfs).context(|| format!("open {}", rootfs.display()))?;
    let guarded = stands(Guard::CopyBeneath);
    let target_below = if guarded { target } else { target.strip_prefix("/").unwrap_or(target) };
    let path = CString::new(target_below.as_os_str().as_bytes()).map_err(|_| Error::invalid("the path holds a NUL"))?;
    let flags = libc::O_RDONLY | libc::O_DIRECTORY;
    let resolve = if guarded { IN_ROOT | NO_MAGICLINKS } else { 0 };
    let source = match open_beneath(root.as_fd(), &path, flags, resolve) {
        Err(nix::errno::Errno::ENOENT) => return Ok(mount),
        other => other.context(|| format!("open {}", target.display()))?,
    };
    let found = nix::sys::stat::fstat(&source)?;
    // The tmpfs's own root takes mode and owner of what it hides, unless options say otherwise.
    let given = |name: &str| data.split(',').any(|option| option.starts_with(name));
    if !given("mode=") {
        fchmodat(&mount, ".", Mode::from_bits_truncate(found.st_mode), FchmodatFlags::FollowSymlink)?;
    }
    if !given("uid=") && !given("gid=") {
        own(mount.as_fd(), c".", &found)?;
    }
    copy_directory(source, mount.as_fd(), 0, &mut most.clone())?;
    Ok(mount)
}

fn copy_directory(source: OwnedFd, to: BorrowedFd, depth: u32, left: &mut u64) -> Result<()> {
    if depth > 256 {
        return Err(Error::new("directories are nested more than 256 deep"));
    }
    let copy = source.try_clone()?;
    for entry in Dir::from_fd(copy)?.into_iter() {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        copy_entry(source.as_fd(), to, name, depth, left)
            .map_err(|error| error.context(OsStr::from_bytes(name.to_bytes()).display()))?;
    }
    Ok(())
}

fn copy_entry(from: BorrowedFd, to: BorrowedFd, name: &CStr, depth: u32, left: &mut u64) -> Result<()> {
    let found = fstatat(from, name, AtFlags::AT_SYMLINK_NOFOLLOW)?;
    let mode = Mode::from_bits_truncate(found.st_mode);
    let kind = SFlag::from_bits_truncate(found.st_mode & libc::S_IFMT);
    let read = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    match kind {
        SFlag::S_IFDIR => {
            mkdirat(to, name, Mode::S_IRWXU)?;
            let inner = openat(to, name, read | OFlag::O_DIRECTORY, Mode::empty())?;
            copy_directory(
                openat(from, name, read | OFlag::O_DIRECTORY, Mode::empty())?,
                inner.as_fd(),
                depth + 1,
                left,
            )?;
        }
        SFlag::S_IFLNK => {
            let target = nix::fcntl::readlinkat(from, name)?;
            symlinkat(target.as_os_str(), to, name)?;
            return own(to, name, &found);
        }
        SFlag::S_IFREG => {
            let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_WRONLY | OFlag::O_CLOEXEC;
            let old = std::fs::File::from(openat(from, name, read | OFlag::O_NONBLOCK, Mode::empty())?);
            // It may have been exchanged since it was looked at.
            if !old.metadata()?.is_file() {
                return Err(Error::new("is no regular file any more"));
            }
            let new = std::fs::File::from(openat(to, name, flags, Mode::S_IRUSR | Mode::S_IWUSR)?);
            copy_content(&old, &new, left)?;
        }
        _ => mknodat(to, name, kind, mode, found.st_rdev)?,
    }
    own(to, name, &found)?;
    fchmodat(to, name, mode, FchmodatFlags::FollowSymlink)?;
    Ok(())
}

/// Holes stay holes. What is copied counts against the most that the container may have in memory, since it is charged
/// to the caller and not to the container.
fn copy_content(from: &std::fs::File, to: &std::fs::File, left: &mut u64) -> Result<()> {
    let length = from.metadata()?.len();
    to.set_len(length)?;
    let mut buffer = vec![0; 64 << 10];
    let mut at = 0;
    while let Ok(start) = lseek(from, at, Whence::SeekData) {
        let end = lseek(from, start, Whence::SeekHole)?;
        at = start;
        while at < end {
            let most = buffer.len().min((end - at) as usize);
            let read = from.read_at(&mut buffer[..most], at as u64)?;
            if read == 0 {
                return Ok(());
            }
            *left = left.checked_sub(read as u64).ok_or_else(|| {
                Error::new("there is more to copy than the container's memory limit (or 1 GiB) allows")
            })?;
            to.write_all_at(&buffer[..read], at as u64)?;
            at += read as i64;
        }
    }
    Ok(())
}

fn own(at: BorrowedFd, name: &CStr, like: &FileStat) -> Result<()> {
    let (uid, gid) = (Uid::from_raw(like.st_uid), Gid::from_raw(like.st_gid));
    fchownat(at, name, Some(uid), Some(gid), AtFlags::AT_SYMLINK_NOFOLLOW)?;
    Ok(())
}
