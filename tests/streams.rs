//! What passes between a container and its caller: bytes, signals, exit codes, and the end of either.

#[macro_use]
mod common;

use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::process::Stdio;

use common::bundle::drop_namespace;
use common::*;

#[test]
fn run_returns_the_programs_exit_code_and_leaves_nothing() {
    let c = Container::sh("echo out; echo err >&2; exit 42");
    let before = c.leftovers();
    let output = c.run();
    assert_eq!((output.code, output.stdout.as_str(), output.stderr.as_str()), (42, "out\n", "err\n"));
    before.assert_nothing_new();
}

#[test]
fn run_returns_128_plus_the_signal_that_killed_the_program() {
    for (signal, number) in [("KILL", 9), ("SEGV", 11), ("TERM", 15)] {
        // As pid 1 of its own namespace it could not kill itself.
        let c = Container::sh(&format!("kill -{signal} $$")).with(|config| drop_namespace(config, "pid"));
        assert_eq!(c.run().code, 128 + number, "{signal}");
    }
}

#[test]
fn run_forwards_signals_to_the_program() {
    let c = Container::sh("trap 'exit 3' TERM; echo ready; sleep 1000 & wait");
    let (mut lines, writer) = Lines::pipe();
    let mut run = c.command(&c.words("run", &[])).stdout(writer).spawn().unwrap();
    assert_eq!(lines.line(), "ready");
    events::signal(&pidfd(run.id() as i32).unwrap(), libc::SIGTERM);
    assert_eq!(wait(&mut run, "run"), 3, "the program's own trap ended it");
}

#[test]
fn sigkill_of_run_leaves_a_container_that_can_be_deleted() {
    let c = Container::sh("echo ready; sleep 1000");
    let before = c.leftovers();
    let (mut lines, writer) = Lines::pipe();
    let mut run = c.command(&c.words("run", &[])).stdout(writer).spawn().unwrap();
    assert_eq!(lines.line(), "ready");
    run.kill().unwrap();
    run.wait().unwrap();
    assert_eq!(c.status(), "running");
    c.on_id(&["delete", "--force"]).ok();
    before.assert_nothing_new();
}

#[test]
fn a_created_container_outlives_the_one_who_created_it() {
    let c = Container::idle();
    let script = "\"$@\" </dev/null >/dev/null 2>&1; kill -KILL $$";
    let words = c.command(&c.words("create", &[]));
    let mut caller = std::process::Command::new("/bin/busybox");
    caller.args(["setsid", "/bin/busybox", "sh", "-c", script, "sh"]).arg(words.get_program()).args(words.get_args());
    assert_eq!(c.finish(&mut caller).code, 128 + 9);
    assert_eq!(c.status(), "created");
    c.start();
    assert_eq!(c.status(), "running");
    c.kill("KILL");
}

#[test]
fn a_mebibyte_of_random_bytes_passes_through_stdin_and_stdout_unchanged() {
    let c = Container::new(&["cat"]);
    let mut sent = vec![0; 1 << 20];
    std::fs::File::open("/dev/urandom").unwrap().read_exact(&mut sent).unwrap();
    let mut run = c
        .command(&c.words("run", &[]))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("start the runtime");
    let (mut stdin, mut stdout, mut received) = (run.stdin.take().unwrap(), run.stdout.take().unwrap(), Vec::new());
    std::thread::scope(|scope| {
        let sent = &sent;
        scope.spawn(move || stdin.write_all(sent).expect("write to the container"));
        stdout.read_to_end(&mut received).unwrap();
    });
    assert_eq!(wait(&mut run, "run"), 0);
    assert!(sent == received, "{} bytes sent, {} received", sent.len(), received.len());
}

#[test]
fn a_closed_stdout_ends_the_writer_and_the_container() {
    let c = Container::new(&["yes"]).with(|config| drop_namespace(config, "pid"));
    let before = c.leftovers();
    let (lines, writer) = Lines::pipe();
    let mut run = c.command(&c.words("run", &[])).stdout(writer).spawn().unwrap();
    drop(lines);
    assert_eq!(wait(&mut run, "run"), 128 + libc::SIGPIPE);
    before.assert_nothing_new();
}

#[test]
fn the_program_starts_with_no_signal_blocked_and_sigpipe_in_force() {
    use std::os::unix::process::CommandExt;
    let c = Container::new(&["grep", "^Sig[BI]", "/proc/self/status"]);
    let mut run = c.command(&c.words("run", &[]));
    // SAFETY: only async-signal-safe calls between fork and exec.
    unsafe {
        run.pre_exec(|| {
            libc::signal(libc::SIGPIPE, libc::SIG_IGN);
            let mut mask = std::mem::zeroed();
            libc::sigemptyset(&mut mask);
            libc::sigaddset(&mut mask, libc::SIGTERM);
            libc::sigprocmask(libc::SIG_BLOCK, &mask, std::ptr::null_mut());
            Ok(())
        });
    }
    let output = c.finish(&mut run);
    let mask = |name| output.ok().lines().find_map(|line| u64::from_str_radix(line.strip_prefix(name)?, 16).ok());
    assert_eq!(mask("SigBlk:\t"), Some(0), "{output:?}");
    assert_eq!(mask("SigIgn:\t").unwrap() & 1 << (libc::SIGPIPE - 1), 0, "{output:?}");
}

#[test]
fn the_pidfd_socket_receives_a_pidfd_of_init() {
    not_in_runc!("it came in 1.2");
    let c = Container::idle();
    let socket = c.dir.join("pidfd.sock");
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    c.runtime(&c.words("create", &["--pidfd-socket", socket.to_str().unwrap()])).ok();
    assert!(readable_within(&listener, LIMIT), "nobody connected");
    let fd = common::terminal::receive_fd(&listener.accept().unwrap().0).0;
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd())).unwrap();
    assert!(info.contains(&format!("Pid:\t{}\n", c.pid())), "{info}");
}
