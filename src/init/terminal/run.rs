//! Giving the process a terminal.

use core::ffi::CStr;

use linux_raw_sys::errno::{EEXIST, EPERM};
use linux_raw_sys::general::{
    AT_EMPTY_PATH, O_CREAT, O_EXCL, O_NOCTTY, O_NOFOLLOW, O_PATH, O_RDWR, O_WRONLY, OPEN_TREE_CLONE,
    RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS,
};
use linux_raw_sys::ioctl::{TIOCGPTN, TIOCGPTPEER, TIOCSCTTY, TIOCSPTLCK, TIOCSWINSZ};

use super::step::Step;
use crate::context::Context;
use crate::failure::{Act, During, Failure};
use crate::guard::{Guard, stands};
use crate::sys::{self, Fd};

pub fn run(step: Step, context: &mut Context) -> Result<(), Failure> {
    match step {
        Step::Open { receiver, rows, columns, uid } => open(context.fd(receiver), (rows, columns), uid, context),
        Step::MountConsole {} => mount_console(context),
        Step::Attach {} => attach(context),
        Step::Control {} => Ok(sys::ioctl(0, TIOCSCTTY, 0).map(drop)?),
    }
}

fn open(receiver: Fd, size: (u32, u32), uid: u32, context: &mut Context) -> Result<(), Failure> {
    // The container's own multiplexer; /dev/ptmx is a link to it or the host's node, which would give a host terminal.
    let resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
    let master =
        sys::open_beneath(context.root, c"/dev/pts/ptmx", O_RDWR | O_NOCTTY, 0, resolve).during(Act::Open)?;
    // What is there is the container's to choose once it runs: only a real multiplexer is one.
    if sys::filesystem(master).during(Act::Open)? != DEVPTS_SUPER_MAGIC {
        return Err(Failure { act: Act::NotGenuine, errno: linux_raw_sys::errno::ENODEV as i32 });
    }
    let unlocked = 0i32;
    sys::ioctl(master, TIOCSPTLCK, &raw const unlocked as usize)?;
    // By the master, never by a path: the name may lie (CVE-2025-52565).
    let peer = sys::ioctl(master, TIOCGPTPEER, (O_RDWR | O_NOCTTY | linux_raw_sys::general::O_CLOEXEC) as usize)? as Fd;
    if size != (0, 0) {
        let size = [size.0 as u16, size.1 as u16, 0, 0];
        sys::ioctl(master, TIOCSWINSZ, size.as_ptr() as usize)?;
    }
    if uid != 0 {
        sys::chown(peer, c"", uid, u32::MAX).during(Act::SetOwner)?;
    }
    let mut name = *b"/dev/pts/\0\0\0\0\0\0\0\0\0\0\0";
    let mut number = 0u32;
    sys::ioctl(master, TIOCGPTN, &raw mut number as usize)?;
    let length = 9 + decimal(number, &mut name[9..]);
    sys::send_descriptor(receiver, &name[..length], master).during(Act::Send)?;
    sys::close(master);
    sys::close(receiver);
    context.terminal = peer;
    Ok(())
}

/// Writes a number; how many digits it has.
pub fn decimal(number: u32, out: &mut [u8]) -> usize {
    let digits = number.checked_ilog10().unwrap_or(0) as usize + 1;
    let mut rest = number;
    for place in out[..digits].iter_mut().rev() {
        *place = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    digits
}

fn mount_console(context: &mut Context) -> Result<(), Failure> {
    let place = console_file(context)?;
    let tree = sys::open_tree(context.terminal, c"", OPEN_TREE_CLONE | AT_EMPTY_PATH).during(Act::Attach)?;
    let outcome = sys::attach(tree, place).during(Act::Attach);
    sys::close(tree);
    sys::close(place);
    outcome
}

/// A fresh file at /dev/console, or the plain file or device there; a link in its place is refused.
fn console_file(context: &Context) -> Result<Fd, Failure> {
    let path: &CStr = c"/dev/console";
    if !stands(Guard::RealConsole) {
        let file = sys::open(context.root, c"dev/console", O_CREAT | O_WRONLY | O_NOCTTY, 0o600);
        sys::close(file.during(Act::MakeMountPoint)?);
        return sys::open(context.root, c"dev/console", O_PATH, 0).during(Act::Resolve);
    }
    let resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
    let flags = O_CREAT | O_EXCL | O_WRONLY | O_NOFOLLOW;
    match sys::open_beneath(context.root, path, flags, 0o600, resolve) {
        Ok(fd) => sys::close(fd),
        Err(errno) if errno == EEXIST as i32 => {}
        Err(errno) => return Err(errno).during(Act::MakeMountPoint),
    }
    let place = context.open(path, O_PATH | O_NOFOLLOW).during(Act::Resolve)?;
    if sys::stat(place, c"").during(Act::Resolve)?.st_mode & 0o170000 == 0o120000 {
        return Err(Failure { act: Act::NotGenuine, errno: linux_raw_sys::errno::ELOOP as i32 });
    }
    Ok(place)
}

fn attach(context: &mut Context) -> Result<(), Failure> {
    for stdio in 0..3 {
        sys::dup3(context.terminal, stdio, 0)?;
    }
    match sys::ioctl(0, TIOCSCTTY, 0) {
        // Without a session of its own the process keeps the caller's terminal.
        Err(errno) if errno == EPERM as i32 => {}
        other => drop(other?),
    }
    sys::close(context.terminal);
    Ok(())
}

/// statfs(2).
const DEVPTS_SUPER_MAGIC: u64 = 0x1cd1;
