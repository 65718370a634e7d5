//! One more process in a running container: every flag of `exec`, its exit codes and its words.

#[macro_use]
mod common;

use std::io::Write;
use std::os::unix::fs::PermissionsExt;

use common::bundle::set_capabilities;
use common::terminal::{ConsoleSocket, control, lines_of, pty, resize};
use common::*;

#[test]
fn the_process_shares_the_containers_namespaces_root_and_hostname() {
    let c = Container::idle().up();
    let links = "for n in ipc mnt net pid uts; do readlink /proc/self/ns/$n; done; hostname";
    let ours = c.exec(&["sh", "-c", links]).ok().to_owned();
    let inits = ["ipc", "mnt", "net", "pid", "uts"]
        .map(|kind| std::fs::read_link(format!("/proc/{}/ns/{kind}", c.pid())).unwrap().to_str().unwrap().to_owned());
    assert_eq!(ours, format!("{}\ninside", inits.join("\n")));
}

#[test]
fn the_exit_code_is_the_commands_own_or_128_plus_its_signal() {
    let c = Container::idle().up();
    for (script, code) in [("exit 0", 0), ("exit 7", 7), ("exit 255", 255), ("kill -9 $$", 137), ("kill -TERM $$", 143)]
    {
        assert_eq!(c.exec(&["sh", "-c", script]).code, code, "{script}");
    }
}

#[test]
fn a_command_that_cannot_be_run_is_255_and_says_which_file_and_why() {
    let c = Container::idle();
    std::fs::write(c.rootfs("/etc/plain"), "text").unwrap();
    let c = c.up();
    c.exec(&["nosuch"]).fails(255, &["nosuch", "executable file not found in $PATH"]);
    c.exec(&["/bin/nosuch"]).fails(255, &["/bin/nosuch", "no such file or directory"]);
    c.exec(&["/etc"]).fails(255, &["/etc", "permission denied"]);
    c.exec(&["/etc/plain"]).fails(255, &["/etc/plain", "permission denied"]);
    c.exec(&[]).fails(255, &["args"]);
    assert_eq!(c.status(), "running");
}

#[test]
fn a_script_without_its_interpreter_names_both() {
    let c = Container::idle();
    std::fs::write(c.rootfs("/bin/orphan"), "#!/no/interpreter\n").unwrap();
    std::fs::set_permissions(c.rootfs("/bin/orphan"), PermissionsExt::from_mode(0o755)).unwrap();
    let c = c.up();
    let output = c.exec(&["/bin/orphan"]);
    assert!(output.stderr.contains("/bin/orphan") && output.stderr.contains("no such file or directory"), "{output:?}");
    if !is_reference() {
        output.fails(255, &["/no/interpreter"]);
    }
}

#[test]
fn exec_works_in_a_created_container() {
    let c = Container::idle();
    c.create();
    assert_eq!(c.exec(&["echo", "early"]).ok(), "early");
    assert_eq!(c.status(), "created");
}

#[test]
fn exec_needs_a_living_container() {
    let c = Container::idle();
    c.exec(&["true"]).fails(255, &["container does not exist"]);
    let c = c.up();
    c.kill("KILL");
    c.exec(&["true"]).fails(255, &["cannot exec in a stopped container"]);
}

#[test]
fn user_and_additional_gids_are_numbers_and_home_follows_the_user() {
    let c = Container::idle().up();
    let who =
        c.exec_with(&["--user", "1000:1001", "-g", "5", "-g", "77"], &["sh", "-c", "id; echo $HOME"]).ok().to_owned();
    assert_eq!(who.replace("(alice)", "").replace("(tty)", ""), "uid=1000 gid=1001 groups=5,77\n/home/alice");
    assert!(c.exec_with(&["-u", "4242"], &["sh", "-c", "id -u; id -g; echo $HOME"]).ok().starts_with("4242\n0\n/"));
    c.exec_with(&["--user", "bob"], &["true"]).fails(255, &["bob"]);
    c.exec_with(&["--user", "-4"], &["true"]).fails(255, &[]);
}

#[test]
fn the_containers_additional_gids_and_umask_hold_in_exec() {
    let c = Container::idle().with(|config| {
        config["process"]["user"] = json!({"uid": 1000, "gid": 1000, "additionalGids": [5, 77], "umask": 0o27});
    });
    let c = c.up();
    let umask = if is_reference() { "0022" } else { "0027" };
    let seen = c.exec(&["sh", "-c", "grep Groups /proc/self/status; umask"]).ok().to_owned();
    assert_eq!(seen.split_whitespace().collect::<Vec<_>>(), ["Groups:", "5", "77", umask]);
}

#[test]
fn env_is_the_containers_with_the_given_added_and_the_last_wins() {
    let c = Container::idle().with(|config| bundle::push(&mut config["process"]["env"], json!("A=container"))).up();
    let output = c.exec_with(&["-e", "A=first", "-e", "A=last", "-e", "B=two\nlines"], &["cat", "/proc/self/environ"]);
    let variables: Vec<_> = output.ok().split('\0').collect();
    assert!(variables.contains(&"A=last") && variables.contains(&"B=two\nlines"), "{variables:?}");
    assert_eq!(variables.iter().filter(|variable| variable.starts_with("A=")).count(), 1);
    assert!(variables.contains(&"TERM=xterm"), "the container's own stay: {variables:?}");
}

#[test]
fn cwd_is_the_containers_unless_given() {
    let c = Container::idle().with(|config| config["process"]["cwd"] = json!("/etc")).up();
    assert_eq!(c.exec(&["pwd"]).ok(), "/etc");
    assert_eq!(c.exec_with(&["--cwd", "/tmp"], &["pwd"]).ok(), "/tmp");
    c.exec_with(&["--cwd", "tmp"], &["pwd"]).fails(255, &["absolute"]);
    c.exec_with(&["--cwd", "/not/there"], &["pwd"]).fails(255, &["/not/there", "no such file or directory"]);
}

#[test]
fn a_user_who_cannot_enter_the_cwd_is_told_so() {
    let c = Container::idle();
    std::fs::create_dir_all(c.rootfs("/closed/in")).unwrap();
    std::fs::set_permissions(c.rootfs("/closed"), PermissionsExt::from_mode(0o700)).unwrap();
    std::os::unix::fs::chown(c.rootfs("/closed"), Some(1001), Some(1001)).unwrap();
    let c = c.up();
    // Root here has no CAP_DAC_OVERRIDE in the container; neither side may enter.
    let output = c.exec_with(&["--user", "1000", "--cwd", "/closed/in"], &["pwd"]);
    if output.code == 0 {
        assert!(is_reference() || output.ok() == "/closed/in", "entered before the user changed: {output:?}");
    } else {
        output.fails(255, &["/closed/in", "permission denied"]);
    }
}

#[test]
fn cap_adds_to_the_containers_own() {
    let c = Container::idle().with(|config| set_capabilities(&mut config["process"], &["CAP_KILL"])).up();
    let sets = |options: &[&str]| c.exec_with(options, &["grep", "^Cap", "/proc/self/status"]).ok().to_owned();
    assert!(sets(&[]).contains("CapBnd:\t0000000000000020"));
    let added = sets(&["--cap", "CAP_NET_ADMIN", "--cap", "CAP_CHOWN"]);
    for set in ["CapPrm", "CapEff", "CapBnd"] {
        assert!(added.contains(&format!("{set}:\t0000000000001021")), "{added}");
    }
    let odd = c.exec_with(&["--cap", "CAP_BOGUS"], &["true"]);
    assert!(odd.code == 0 && odd.stderr.contains("CAP_BOGUS"), "{odd:?}");
}

#[test]
fn no_new_privs_is_set_only_by_the_flag_or_the_bundle() {
    let c = Container::idle().with(|config| config["process"]["noNewPrivileges"] = json!(false)).up();
    let flag = |options: &[&str]| c.exec_with(options, &["grep", "NoNewPrivs", "/proc/self/status"]).ok().to_owned();
    assert_eq!(flag(&[]), "NoNewPrivs:\t0");
    assert_eq!(flag(&["--no-new-privs"]), "NoNewPrivs:\t1");
}

#[test]
fn rlimits_and_oom_score_of_the_container_hold_in_exec() {
    let c = Container::idle().with(|config| config["process"]["oomScoreAdj"] = json!(222)).up();
    let seen = c.exec(&["sh", "-c", "ulimit -n; cat /proc/self/oom_score_adj"]).ok().to_owned();
    assert_eq!(seen, "1024\n222");
}

#[test]
fn a_process_document_replaces_the_flags() {
    let c = Container::idle().up();
    let process = json!({
        "args": ["sh", "-c", "id -u; pwd; echo $X; umask; grep CapEff /proc/self/status"], "cwd": "/etc",
        "env": ["PATH=/bin", "X=document"], "user": {"uid": 0, "gid": 0, "umask": 0o77},
        "capabilities": {"bounding": ["CAP_CHOWN"], "effective": ["CAP_CHOWN"], "permitted": ["CAP_CHOWN"]},
    });
    std::fs::write(c.dir.join("process.json"), process.to_string()).unwrap();
    let output = c.exec_with(&["--process", "process.json"], &[]);
    let umask = if is_reference() { "0022" } else { "0077" };
    assert_eq!(output.ok(), format!("0\n/etc\ndocument\n{umask}\nCapEff:\t0000000000000001"));
}

#[test]
fn a_bad_process_document_is_named() {
    let c = Container::idle().up();
    let before = c.leftovers();
    c.exec_with(&["-p", "absent.json"], &[]).fails(255, &["absent.json", "no such file or directory"]);
    for (text, words) in [
        ("", "EOF"),
        ("{\"args\":", "EOF"),
        ("{\"cwd\": \"/\"}", "args"),
        ("{\"args\": [\"true\"], \"cwd\": \"x\"}", "absolute path"),
        ("{\"args\": 5, \"cwd\": \"/\"}", "args"),
    ] {
        std::fs::write(c.dir.join("process.json"), text).unwrap();
        c.exec_with(&["--process", "process.json"], &[]).fails(255, &[words]);
    }
    before.assert_nothing_new();
}

#[test]
fn detach_returns_at_once_and_the_pid_file_names_the_process() {
    let c = Container::idle().up();
    c.exec_with(&["--detach", "--pid-file", "exec.pid"], &["sleep", "1234"]).ok();
    let pid: i32 = std::fs::read_to_string(c.dir.join("exec.pid")).unwrap().parse().expect("a number and nothing else");
    let words = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap();
    assert_eq!(words, "sleep\x001234\0");
    assert_ne!(pid, c.pid());
}

#[test]
fn an_execd_process_ends_with_its_container() {
    let c = Container::idle().up();
    c.exec_with(&["-d", "--pid-file", "exec.pid"], &["sleep", "1234"]).ok();
    let pid = std::fs::read_to_string(c.dir.join("exec.pid")).unwrap().parse().unwrap();
    let process = pidfd(pid).expect("a live process");
    c.kill("KILL");
    assert!(ends_within(&process, LIMIT));
}

#[test]
fn signals_to_exec_reach_the_command() {
    let c = Container::idle().up();
    let (mut lines, writer) = Lines::pipe();
    // The sleeper ends as well, since runc waits for whoever holds the command's stdout.
    let script = "trap 'kill $!; exit 9' USR1; sleep 1000 & echo ready; wait";
    let mut exec = c.command(&["exec", &c.id, "sh", "-c", script]).stdout(writer).spawn().unwrap();
    assert_eq!(lines.line(), "ready");
    events::signal(&pidfd(exec.id() as i32).unwrap(), libc::SIGUSR1);
    assert_eq!(wait(&mut exec, "exec"), 9);
}

#[test]
fn stdin_stdout_and_stderr_are_the_callers() {
    let c = Container::idle().up();
    std::fs::write(c.dir.join("in"), "through\n").unwrap();
    let mut exec = c.command(&["exec", &c.id, "sh", "-c", "cat; echo err >&2"]);
    let output = c.finish(exec.stdin(std::fs::File::open(c.dir.join("in")).unwrap()));
    assert_eq!((output.ok(), output.stderr.as_str()), ("through", "err\n"));
}

#[test]
fn nothing_but_stdio_and_preserved_descriptors_is_open() {
    let c = Container::idle().up();
    let fds = c.exec(&["sh", "-c", "ls /proc/$$/fd; true"]).ok().to_owned();
    assert_eq!(fds, "0\n1\n2");
    c.exec_with(&["--preserve-fds", "30"], &["true"]).fails(255, &["preserve"]);
}

#[test]
fn preserved_descriptors_reach_the_process_in_their_places_and_no_other() {
    let c = Container::idle().up();
    for (name, text) in [("three", "third\n"), ("four", "fourth\n")] {
        std::fs::write(c.dir.join(name), text).unwrap();
    }
    // The shell opens them, so that they stand at 3, 4 and 5 of what it becomes.
    let mut exec = std::process::Command::new("/bin/busybox");
    let words =
        c.command(&["exec", "--preserve-fds", "2", &c.id, "sh", "-c", "cat <&3; cat <&4; ls /proc/$$/fd; true"]);
    exec.args(["sh", "-c", "exec \"$@\" 3<three 4<four 5</dev/null", "sh"]);
    exec.arg(words.get_program()).args(words.get_args()).current_dir(&c.dir).stdin(std::process::Stdio::null());
    assert_eq!(c.finish(&mut exec).ok(), "third\nfourth\n0\n1\n2\n3\n4");
}

#[test]
fn the_terminal_of_a_process_document_has_its_size_its_user_and_a_name() {
    let c = Container::idle().up();
    let socket = ConsoleSocket::bind(&c.dir.join("exec.sock"));
    let script = "stty size; tty; stat -c '%u %a' $(tty); read x";
    let process = json!({"terminal": true, "consoleSize": {"height": 21, "width": 43}, "user": {"uid": 1000, "gid": 1000},
        "args": ["sh", "-c", script], "cwd": "/", "env": ["PATH=/bin"]});
    std::fs::write(c.dir.join("process.json"), process.to_string()).unwrap();
    c.exec_with(&["--process", "process.json", "--detach", "--console-socket", socket.text()], &[]).ok();
    let master = socket.master();
    let mut lines = lines_of(&master);
    assert_eq!(lines.line(), "21 43");
    let name = lines.line();
    assert!(name.starts_with("/dev/pts/"), "{name}");
    assert_eq!(lines.line(), "1000 620");
    let refused = c.exec_with(&["--process", "process.json", "--detach"], &[]);
    refused.fails(255, &["console socket"]);
}

#[test]
fn tty_gives_the_command_a_terminal_of_the_callers_size_that_resizes() {
    let c = Container::idle().up();
    let (master, slave) = pty(30, 90);
    let size = if is_reference() {
        "while s=$(stty size 2>/dev/null); [ -z \"$s\" ]; do :; done; echo $s"
    } else {
        "stty size"
    };
    // No trap of SIGWINCH: busybox 1.37 may spin when one comes as it reads.
    let script = format!(
        "{size}; tty >/dev/null && echo terminal; echo ready; \
         until [ \"$(stty size)\" = '50 70' ]; do usleep 20000; done; echo resized; read x; exit 4"
    );
    let mut exec = c.command(&["exec", "--tty", &c.id, "sh", "-c", &script]);
    control(&mut exec, &slave);
    let mut exec = exec.spawn().unwrap();
    drop(slave);
    let mut lines = lines_of(&master);
    assert_eq!([lines.line(), lines.line(), lines.line()], ["30 90", "terminal", "ready"]);
    resize(&master, 50, 70);
    lines.until("resized");
    std::fs::File::from(master.try_clone().unwrap()).write_all(b"\n").unwrap();
    assert_eq!(wait(&mut exec, "exec"), 4);
}

#[test]
fn a_detached_terminal_goes_to_the_console_socket_or_is_refused() {
    let c = Container::idle().up();
    let socket = ConsoleSocket::bind(&c.dir.join("exec.sock"));
    let options = ["--tty", "--detach", "--console-socket", socket.text(), "--pid-file", "exec.pid"];
    c.exec_with(&options, &["sh", "-c", "echo hello; read x; echo got $x"]).ok();
    let master = socket.master();
    let mut lines = lines_of(&master);
    assert_eq!(lines.line(), "hello");
    std::fs::File::from(master.try_clone().unwrap()).write_all(b"you\n").unwrap();
    lines.until("got you");
    c.exec_with(&["--tty", "--detach"], &["true"]).fails(255, &["console socket"]);
    c.exec_with(&["--console-socket", socket.text()], &["true"]).fails(255, &["console socket"]);
}

#[test]
fn options_after_the_id_belong_to_the_command() {
    let c = Container::idle().up();
    assert_eq!(c.exec(&["echo", "--tty", "-e", "x"]).ok(), "--tty -e x");
    assert_eq!(c.exec(&["sh", "-c", "echo $1", "--", "--cwd"]).ok(), "--cwd");
}

/// A session keyring shows nowhere in /proc, so the kernel is watched as it is asked for one.
#[test]
fn an_exec_has_the_containers_session_keyring_and_not_the_callers() {
    let c = Container::idle().up();
    let trace = c.dir.join("trace");
    let mut command = std::process::Command::new("strace");
    command.args(["-f", "-e", "trace=keyctl", "-o"]).arg(&trace).arg(binary()).arg("--root").arg(&c.root);
    command.args(["exec", &c.id, "true"]).stdin(std::process::Stdio::null());
    if command.output().is_err() {
        skip!("no strace");
    }
    let asked = std::fs::read_to_string(trace).unwrap();
    let joins = |line: &str| line.contains("KEYCTL_JOIN_SESSION_KEYRING") && line.contains(&format!("_ses.{}", c.id));
    assert!(asked.lines().any(|line| joins(line) && !line.contains("= -1")), "{asked}");
}
