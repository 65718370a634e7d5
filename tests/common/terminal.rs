//! Terminals: receiving their masters from the runtime, and giving it one.

use std::io::IoSliceMut;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};

use super::{LIMIT, Lines, readable_within};

/// The descriptor and the message that come through a socket.
#[track_caller]
pub fn receive_fd(stream: &UnixStream) -> (OwnedFd, String) {
    assert!(readable_within(stream, LIMIT), "no descriptor came");
    let mut text = [0; 4096];
    let mut slices = [IoSliceMut::new(&mut text)];
    let mut space = nix::cmsg_space!([i32; 4]);
    let (fds, length) = {
        let message = recvmsg::<()>(stream.as_raw_fd(), &mut slices, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC)
            .expect("recvmsg");
        let mut fds = Vec::new();
        for part in message.cmsgs().expect("whole control messages") {
            if let ControlMessageOwned::ScmRights(more) = part {
                // SAFETY: the kernel has just made these descriptors for us.
                fds.extend(more.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
            }
        }
        (fds, message.bytes)
    };
    assert_eq!(fds.len(), 1, "one descriptor a message");
    (fds.into_iter().next().expect("a descriptor"), String::from_utf8_lossy(&text[..length]).into_owned())
}

/// A console socket as a driver listens on it.
pub struct ConsoleSocket {
    pub path: PathBuf,
    listener: UnixListener,
}

impl ConsoleSocket {
    pub fn bind(path: &Path) -> Self {
        Self { path: path.to_owned(), listener: UnixListener::bind(path).expect("bind a console socket") }
    }

    /// Lets go of everybody who has connected, and of the masters that they sent.
    pub fn accept_all(&self) {
        while readable_within(&self.listener, std::time::Duration::ZERO) {
            drop(self.listener.accept().expect("accept"));
        }
    }

    /// Its path as an option's value.
    pub fn text(&self) -> &str {
        self.path.to_str().expect("a text path")
    }

    /// The master that the runtime sent.
    #[track_caller]
    pub fn master(&self) -> OwnedFd {
        assert!(readable_within(&self.listener, LIMIT), "nobody connected to the console socket");
        receive_fd(&self.listener.accept().expect("accept").0).0
    }
}

/// A new terminal of the test's own: master and slave.
pub fn pty(rows: u16, cols: u16) -> (OwnedFd, OwnedFd) {
    let size = nix::pty::Winsize { ws_row: rows, ws_col: cols, ws_xpixel: 0, ws_ypixel: 0 };
    let pty = nix::pty::openpty(Some(&size), None).expect("openpty");
    for fd in [&pty.master, &pty.slave] {
        nix::fcntl::fcntl(fd, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::FD_CLOEXEC)).expect("fcntl");
    }
    (pty.master, pty.slave)
}

/// Gives a terminal another size.
pub fn resize(master: &OwnedFd, rows: u16, cols: u16) {
    let size = libc::winsize { ws_row: rows, ws_col: cols, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the argument is a winsize, as TIOCSWINSZ reads.
    assert_eq!(unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCSWINSZ, &size) }, 0);
}

/// What a terminal's size is.
pub fn size(master: &OwnedFd) -> (u16, u16) {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the argument is a winsize, as TIOCGWINSZ writes.
    assert_eq!(unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCGWINSZ, &mut size) }, 0);
    (size.ws_row, size.ws_col)
}

/// A second descriptor of a master, read line by line.
pub fn lines_of(master: &OwnedFd) -> Lines {
    Lines::of(master.try_clone().expect("dup"))
}

/// Makes the terminal the controlling one of a command, as a shell's would be.
pub fn control(command: &mut std::process::Command, slave: &OwnedFd) {
    use std::os::unix::process::CommandExt;
    let dup = || slave.try_clone().expect("dup");
    command.stdin(dup()).stdout(dup()).stderr(dup());
    // SAFETY: only async-signal-safe calls between fork and exec.
    unsafe {
        command.pre_exec(|| {
            libc::setsid();
            match libc::ioctl(0, libc::TIOCSCTTY, 0) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            }
        });
    }
}
