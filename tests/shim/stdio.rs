//! What goes in and comes out: FIFOs, terminals, files, programs.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use crate::SERVICE;
use crate::common::terminal::{control, lines_of, pty, resize};
use crate::common::*;

#[test]
fn a_terminal_passes_keys_sizes_and_the_exit_code() {
    let d = with_containerd!();
    let (master, slave) = pty(30, 100);
    let script = "/bin/tty; while read a; do [ $a = size ] || break; echo \"it is $(/bin/stty size).\"; done; echo got $a; exit 9";
    let words = d.run_words(&["--rm", "--tty"], "t", &["/bin/sh", "-c", script]);
    let mut run = d.command(&words.iter().map(String::as_str).collect::<Vec<_>>());
    control(&mut run, &slave);
    let mut run = run.spawn().expect("start ctr");
    drop(slave);
    let mut lines = lines_of(&master);
    let mut keys = std::fs::File::from(master.try_clone().unwrap());
    lines.until("/dev/pts/0");
    resize(&master, 41, 83);
    let ctr = pidfd(run.id() as i32).unwrap();
    eventually("the terminal inside has the size of that outside", || {
        // The kernel has told ctr by a signal, which it may not have been ready for.
        events::signal(&ctr, libc::SIGWINCH);
        keys.write_all(b"size\n").unwrap();
        lines.until("it is ");
        lines.until(".").contains("41 83")
    });
    keys.write_all(b"typed\n").unwrap();
    lines.until("got typed");
    assert_eq!(wait(&mut run, "ctr run --tty"), 9);
}

#[test]
fn exec_with_a_terminal_has_one() {
    let d = with_containerd!();
    d.run(&["--detach"], "s", SERVICE).ok();
    let script = "/bin/tty; read a; echo got $a; exit 4";
    assert_eq!(d.type_into(&["tasks", "exec", "--tty", "--exec-id", "e", "s", "/bin/sh", "-c", script]), 4);
}

#[test]
fn a_task_with_a_terminal_is_attached_to() {
    let d = with_containerd!();
    let (master, slave) = pty(24, 80);
    let script = "echo up; while read a; do echo got $a; [ $a = end ] && exit 6; done";
    let words = d.run_words(&["--detach", "--tty"], "t", &["/bin/sh", "-c", script]);
    let mut run = d.command(&words.iter().map(String::as_str).collect::<Vec<_>>());
    control(&mut run, &slave);
    assert_eq!(wait(&mut run.spawn().expect("start ctr"), "ctr run --tty --detach"), 0);
    let mut attach = d.command(&["tasks", "attach", "t"]);
    control(&mut attach, &slave);
    let mut attach = attach.spawn().expect("start ctr");
    drop(slave);
    let mut lines = lines_of(&master);
    let mut keys = std::fs::File::from(master.try_clone().unwrap());
    lines.until("up");
    keys.write_all(b"one\n").unwrap();
    lines.until("got one");
    keys.write_all(b"end\n").unwrap();
    assert_eq!(wait(&mut attach, "ctr tasks attach"), 6);
}

#[test]
fn stdin_arrives_whole_and_ends() {
    let d = with_containerd!();
    let words = d.run_words(&["--rm"], "s", &["/bin/sh", "-c", "/bin/wc -c; echo over"]);
    let mut command = d.command(&words.iter().map(String::as_str).collect::<Vec<_>>());
    let mut run = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("start ctr");
    let mut stdin = run.stdin.take().unwrap();
    stdin.write_all(&vec![b'x'; 300_000]).unwrap();
    drop(stdin);
    let output = run.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "300000\nover\n");
}

#[test]
fn much_output_arrives_whole() {
    let d = with_containerd!();
    let script = "/bin/dd if=/dev/zero bs=65536 count=160 2> /dev/null; echo end >&2";
    let output = d.run(&["--rm"], "s", &["/bin/sh", "-c", script]);
    assert_eq!(output.stdout.len(), 160 * 65536);
    assert!(output.stderr.contains("end"), "{}", output.stderr);
}

#[test]
fn a_log_goes_to_a_file() {
    let d = with_containerd!();
    let log = d.c.dir.join("logs/of-s");
    let uri = format!("file://{}", log.display());
    d.run(&["--detach", "--log-uri", &uri], "s", &["/bin/sh", "-c", "echo out; echo err >&2"]).ok();
    eventually("it stopped", || d.status("s") == "STOPPED");
    assert_eq!(std::fs::read_to_string(&log).unwrap(), "out\nerr\n");
}

#[test]
fn a_log_goes_to_a_program_that_says_when_it_reads() {
    let d = with_containerd!();
    let (program, log) = (d.c.dir.join("logger"), d.c.dir.join("log-of-program"));
    let script = format!(
        "#!/bin/sh\nexec 5>&-\n{{ echo $1 $2 $CONTAINER_ID $CONTAINER_NAMESPACE; cat <&3; cat <&4; echo end; }} > {}\n",
        log.display()
    );
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
    let uri = format!("binary://{}?key=a%20value", program.display());
    d.run(&["--detach", "--log-uri", &uri], "s", &["/bin/sh", "-c", "echo out; echo err >&2"]).ok();
    eventually("the program has met both ends", || {
        std::fs::read_to_string(&log).is_ok_and(|text| text.ends_with("end\n"))
    });
    assert_eq!(std::fs::read_to_string(&log).unwrap(), "key a value s default\nout\nerr\nend\n");
}

#[test]
fn a_reader_that_does_not_read_holds_up_nobody_else() {
    let d = with_containerd!();
    let flood = ["/bin/sh", "-c", "while :; do echo 0123456789012345678901234567890123456789; done"];
    let group = ["--annotation", "io.containerd.runc.v2.group=one"];
    let words = d.run_words(&group, "deaf", &flood);
    let mut command = d.command(&words.iter().map(String::as_str).collect::<Vec<_>>());
    let mut deaf = command.stdout(Stdio::piped()).spawn().expect("start ctr");
    // It has begun, and from here on nobody reads.
    deaf.stdout.as_mut().unwrap().read_exact(&mut [0; 40]).unwrap();
    d.run(&[&group[..], &["--detach"]].concat(), "other", SERVICE).ok();
    let exec = d.ctr(&["tasks", "exec", "--exec-id", "e", "other", "/bin/echo", "heard"]);
    assert_eq!(exec.ok(), "heard");
    assert_eq!(crate::shims(&d).len(), 1, "one shim for both");
    d.ctr(&["tasks", "kill", "--signal", "KILL", "deaf"]).ok();
    let mut rest = Vec::new();
    deaf.stdout.take().unwrap().read_to_end(&mut rest).unwrap();
    assert_eq!(wait(&mut deaf, "ctr run"), 137);
}
