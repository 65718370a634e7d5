//! What steps hand on to later steps, and places beneath the root.

use core::ffi::CStr;

use linux_raw_sys::errno::{EEXIST, ELOOP, ENAMETOOLONG, ENOENT};
use linux_raw_sys::general::{
    AT_FDCWD, O_CREAT, O_DIRECTORY, O_EXCL, O_NOFOLLOW, O_PATH, O_WRONLY, RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS,
};

use crate::failure::{Act, During, Failure};
use crate::guard::{Guard, stands};
use crate::paths::run::Cover;
use crate::step::{FAILED, Head, Progress};
use crate::sys::{self, Fd, Outcome};
use crate::wire::Slot;

/// A path that init builds: as long as the kernel takes.
pub type PathBuffer = [u8; 4096];

/// What one step leaves for another.
pub struct Context {
    pub head: Head<'static>,
    pub progress: &'static Progress,
    /// Where failures go: the runtime, later `start`.
    pub channel: Fd,
    /// The socket that `start` connects to.
    pub listener: Fd,
    /// The container's root: the attached rootfs before the pivot, / after it.
    pub root: Fd,
    /// The host's /dev/null, over masked files.
    pub null: Cover,
    /// An empty read-only tmpfs, over masked directories.
    pub empty: Cover,
    /// The mount that was shown to the runtime and is bound next.
    pub shown: Fd,
    /// The host's /proc, for labels.
    pub proc: Fd,
    /// The socket to rtnetlink.
    pub route: Fd,
    /// The terminal's end for stdio.
    pub terminal: Fd,
    /// Whether the working directory is set.
    pub in_directory: bool,
    /// The command's file, as found in PATH.
    pub command: PathBuffer,
    /// The command's arguments and environment, as execve takes them.
    pub arguments: *const *const u8,
    pub environment: *const *const u8,
    /// What a failure tells beyond its errno, a NUL behind it: a script's first line, a hook's last words.
    pub detail: [u8; 1024],
    /// What hooks are told.
    pub state: Option<crate::hooks::run::State>,
    /// Whether this process is a hook on its way through the steps of the command.
    pub is_hook: bool,
}

impl Context {
    pub fn new(head: Head<'static>, progress: &'static Progress) -> Self {
        let channel = head.socket;
        let nothing = -1;
        Self {
            head,
            progress,
            channel,
            listener: nothing,
            root: AT_FDCWD,
            null: Cover::NONE,
            empty: Cover::NONE,
            shown: nothing,
            proc: nothing,
            route: nothing,
            terminal: nothing,
            in_directory: false,
            command: [0; 4096],
            arguments: core::ptr::null(),
            environment: core::ptr::null(),
            detail: [0; 1024],
            state: None,
            is_hook: false,
        }
    }

    /// The number of a descriptor that the runtime opened.
    pub fn fd(&self, slot: Slot) -> Fd {
        self.head.slots.iter().nth(slot.0 as usize).unwrap_or(-1)
    }

    /// Tells whoever waits that a step failed, and which: its own bytes say that.
    pub fn report(&self, failure: Failure, step: &[u8]) {
        let mut head = [FAILED; 9];
        head[1..5].copy_from_slice(&(failure.act as u32).to_le_bytes());
        head[5..9].copy_from_slice(&failure.errno.to_le_bytes());
        let _ = sys::send(self.channel, &head);
        if self.is_hook {
            // Init knows which hook it is, and reads no more than the head.
            return;
        }
        let _ = sys::send(self.channel, step);
        let _ = sys::send(self.channel, text_of(&self.detail).to_bytes());
    }

    /// Opens a place beneath the root. Links are followed inside the root only: openat2(2), RESOLVE_IN_ROOT.
    pub fn open(&self, path: &CStr, flags: u32) -> Outcome<Fd> {
        if !stands(Guard::Beneath) {
            return sys::open(self.root, relative(path), flags, 0);
        }
        sys::open_beneath(self.root, path, flags, 0, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)
    }

    /// Opens a place to mount on, making what is missing: directories, and a file at the end unless `directory`.
    pub fn mount_point(&self, path: &CStr, directory: bool) -> Result<Fd, Failure> {
        match self.open(path, O_PATH) {
            Err(errno) if errno == ENOENT as i32 => match self.make_last(path, directory) {
                Some(made) => Ok(made),
                None => self.make(path, directory),
            },
            found => found.during(Act::Resolve),
        }
    }

    /// Makes the last component where all before it is there, as it mostly is; None where there is more to do, or to say.
    fn make_last(&self, path: &CStr, directory: bool) -> Option<Fd> {
        let bytes = path.to_bytes_with_nul();
        let cut = bytes.iter().rposition(|&b| b == b'/')? + 1;
        let mut above: PathBuffer = [0; 4096];
        above.get_mut(..cut)?.copy_from_slice(&bytes[..cut]);
        let parent = self.open(text_of(&above), O_PATH | O_DIRECTORY).ok()?;
        let made = make_entry(parent, text_of(&bytes[cut..]), directory);
        sys::close(parent);
        made.ok()?;
        self.open(path, O_PATH).ok()
    }

    /// Makes a path one component at a time. A dangling link is replaced by what it names, inside the root, and the
    /// walk begins anew; every single look-up is bounded by the kernel, so a race can misplace nothing outside.
    fn make(&self, path: &CStr, directory: bool) -> Result<Fd, Failure> {
        let mut text: PathBuffer = [0; 4096];
        let mut length = join(&mut text, 0, path.to_bytes()).during(Act::Resolve)?;
        let mut links = 0;
        let mut end = 0;
        let mut parent = self.open(c"/", O_PATH | O_DIRECTORY).during(Act::Resolve)?;
        while end < length {
            let start = end + text[end..length].iter().take_while(|&&b| b == b'/').count();
            end = start + text[start..length].iter().take_while(|&&b| b != b'/').count();
            if start == end {
                break;
            }
            let last = text[end..length].iter().all(|&b| b == b'/');
            let next = with_terminated(&mut text, end, |prefix| self.open(prefix, O_PATH));
            match next {
                Ok(fd) => {
                    sys::close(parent);
                    parent = fd;
                    continue;
                }
                Err(errno) if errno != ENOENT as i32 => return Err(errno).during(Act::Resolve),
                Err(_) => {}
            }
            let mut name: PathBuffer = [0; 4096];
            name[..end - start].copy_from_slice(&text[start..end]);
            let name = text_of(&name);
            match make_entry(parent, name, directory || !last) {
                Ok(()) => end = start,
                Err(errno) if errno == EEXIST as i32 => {
                    // A dangling link, or somebody was faster: go on with what is there.
                    links += 1;
                    if links > 40 {
                        return Err(ELOOP as i32).during(Act::MakeMountPoint);
                    }
                    if let Some(new) =
                        follow(parent, name, &mut text, start, end, length).during(Act::MakeMountPoint)?
                    {
                        length = new;
                        sys::close(parent);
                        parent = self.open(c"/", O_PATH | O_DIRECTORY).during(Act::Resolve)?;
                        end = 0;
                    } else {
                        end = start;
                    }
                }
                Err(errno) => return Err(errno).during(Act::MakeMountPoint),
            }
        }
        Ok(parent)
    }
}

fn make_entry(parent: Fd, name: &CStr, directory: bool) -> Outcome<()> {
    if directory {
        return sys::mkdir(parent, name, 0o755);
    }
    sys::open(parent, name, O_CREAT | O_EXCL | O_NOFOLLOW | O_WRONLY, 0o644).map(sys::close)
}

/// Replaces the link at `start..end` of a path by what it names; None where it is no link. Returns the new length.
fn follow(
    parent: Fd,
    name: &CStr,
    path: &mut PathBuffer,
    start: usize,
    end: usize,
    length: usize,
) -> Outcome<Option<usize>> {
    let mut target: PathBuffer = [0; 4096];
    let Ok(size) = sys::readlink(parent, name, &mut target[..4095]) else { return Ok(None) };
    let old = *path;
    let base = if target[0] == b'/' { 0 } else { start };
    let length_with_target = join(path, base, &target[..size])?;
    join(path, length_with_target, &old[end..length]).map(Some)
}

/// A path without its leading slashes: as a caller who only puts the root's path before it looks it up.
fn relative(path: &CStr) -> &CStr {
    let bytes = path.to_bytes_with_nul();
    let start = bytes.iter().take_while(|&&b| b == b'/').count();
    if bytes[start] == 0 { c"." } else { CStr::from_bytes_with_nul(&bytes[start..]).unwrap_or_default() }
}

/// Puts bytes at a place in a path and NUL after them; the new length.
fn join(path: &mut PathBuffer, at: usize, bytes: &[u8]) -> Outcome<usize> {
    let end = at + bytes.len();
    if end >= path.len() {
        return Err(ENAMETOOLONG as i32);
    }
    path[at..end].copy_from_slice(bytes);
    path[end] = 0;
    Ok(end)
}

/// Calls with the first `end` bytes of a path as text.
fn with_terminated<T>(path: &mut PathBuffer, end: usize, call: impl FnOnce(&CStr) -> T) -> T {
    let kept = core::mem::replace(&mut path[end], 0);
    let result = call(text_of(path));
    path[end] = kept;
    result
}

/// The text at the front of a buffer.
pub fn text_of(buffer: &[u8]) -> &CStr {
    CStr::from_bytes_until_nul(buffer).unwrap_or_default()
}
