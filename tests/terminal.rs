//! A process with a terminal: who receives its master, whose it is, how large, and what `run` does with the caller's.

#[macro_use]
mod common;

use std::io::Write;
use std::os::fd::AsRawFd;

use common::terminal::{ConsoleSocket, control, lines_of, pty, resize};
use common::*;

#[test]
fn a_driver_receives_the_master_of_the_terminal_through_the_console_socket() {
    let c = Container::sh("tty; stty size; ls -l /dev/console | cut -c1; read x; echo got $x").with(|config| {
        config["process"]["terminal"] = json!(true);
        config["process"]["consoleSize"] = json!({"height": 33, "width": 111});
    });
    let socket = ConsoleSocket::bind(&c.dir.join("console.sock"));
    c.runtime(&c.words("create", &["--console-socket", socket.text()])).ok();
    let master = socket.master();
    let mut lines = lines_of(&master);
    c.start();
    assert!(lines.line().starts_with("/dev/"), "the process knows its terminal by name");
    assert_eq!(lines.line(), "33 111");
    assert_eq!(lines.line(), "c", "/dev/console is a device");
    std::fs::File::from(master).write_all(b"typed\n").unwrap();
    lines.until("got typed");
    c.wait_for("stopped");
}

#[test]
fn the_terminal_belongs_to_the_user_and_controls_the_session() {
    let c = Container::sh(
        "stat -c '%u %a' $(tty); ps -o tty,args | grep -c [p]ts; trap 'echo interrupted; exit 5' INT; echo up; read x",
    )
    .with(|config| {
        config["process"]["terminal"] = json!(true);
        config["process"]["user"] = json!({"uid": 1000, "gid": 1000});
    });
    let socket = ConsoleSocket::bind(&c.dir.join("console.sock"));
    c.runtime(&c.words("create", &["--console-socket", socket.text()])).ok();
    let master = socket.master();
    c.start();
    let mut lines = lines_of(&master);
    assert_eq!(lines.line(), "1000 620", "owner and mode of the terminal");
    lines.until("up");
    std::fs::File::from(master.try_clone().unwrap()).write_all(b"\x03").unwrap();
    lines.until("interrupted");
}

#[test]
fn run_with_a_terminal_speaks_to_the_callers_and_follows_its_size() {
    // runc gives the terminal its size only after the start; ours has it when the program looks first.
    let size = if is_reference() {
        "while s=$(stty size 2>/dev/null); [ -z \"$s\" ]; do :; done; echo $s"
    } else {
        "stty size"
    };
    let script = format!("{size}; trap 'stty size' WINCH; echo ready; read a; echo got $a; read b; exit 6");
    let c = Container::sh(&script).with(|config| config["process"]["terminal"] = json!(true));
    let (master, slave) = pty(24, 80);
    let mut run = c.command(&c.words("run", &[]));
    control(&mut run, &slave);
    let mut run = run.spawn().expect("start the runtime");
    drop(slave);
    let mut lines = lines_of(&master);
    assert_eq!(lines.line(), "24 80");
    assert_eq!(lines.line(), "ready");
    let mut keys = std::fs::File::from(master.try_clone().unwrap());
    keys.write_all(b"hello\n").unwrap();
    lines.until("got hello");
    resize(&master, 40, 132);
    lines.until("40 132");
    keys.write_all(b"\n\n").unwrap();
    assert_eq!(wait(&mut run, "run"), 6);
}

#[test]
fn run_gives_the_callers_terminal_back_as_it_was() {
    let c = Container::new(&["true"]).with(|config| config["process"]["terminal"] = json!(true));
    let (_master, slave) = pty(24, 80);
    let before = nix::sys::termios::tcgetattr(&slave).unwrap();
    let mut run = c.command(&c.words("run", &[]));
    control(&mut run, &slave);
    assert_eq!(wait(&mut run.spawn().unwrap(), "run"), 0);
    assert!(before == nix::sys::termios::tcgetattr(&slave).unwrap(), "raw mode outlived run");
}

#[test]
fn terminals_and_console_sockets_come_together_or_are_refused() {
    let c = Container::idle();
    let before = c.leftovers();
    c.runtime(&c.words("create", &["--console-socket", "/nowhere.sock"])).fails(1, &["console socket"]);
    let c = c.with(|config| config["process"]["terminal"] = json!(true));
    c.try_create().fails(1, &["console socket"]);
    c.runtime(&c.words("run", &["--detach"])).fails(1, &["console socket"]);
    c.runtime(&c.words("create", &["--console-socket", "/nowhere.sock"])).fails(1, &["/nowhere.sock"]);
    before.assert_nothing_new();
}

/// As a driver's socket is when the driver hangs: its queue is full. A race of 5000 tries found `create` waiting there.
#[test]
fn a_console_socket_that_accepts_nothing_is_not_waited_for_without_end() {
    if is_reference() {
        skip!("runc waits for ever");
    }
    let c = Container::idle().with(|config| config["process"]["terminal"] = json!(true));
    let path = c.dir.join("console.sock");
    let (family, kind) = (nix::sys::socket::AddressFamily::Unix, nix::sys::socket::SockType::Stream);
    let socket = nix::sys::socket::socket(family, kind, nix::sys::socket::SockFlag::SOCK_CLOEXEC, None).unwrap();
    nix::sys::socket::bind(socket.as_raw_fd(), &nix::sys::socket::UnixAddr::new(&path).unwrap()).unwrap();
    nix::sys::socket::listen(&socket, nix::sys::socket::Backlog::new(0).unwrap()).unwrap();
    let _first = std::os::unix::net::UnixStream::connect(&path).unwrap();
    let before = c.leftovers();
    let output = c.runtime(&c.words("create", &["--console-socket", path.to_str().unwrap()]));
    output.fails(1, &["--console-socket", "it accepts no connection"]);
    before.assert_nothing_new();
}
