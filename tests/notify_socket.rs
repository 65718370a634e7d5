//! A service manager that waits for the container to be ready: NOTIFY_SOCKET, sd_notify(3). The manager here is a socket
//! of the test.

#[macro_use]
mod common;

use std::fs;
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};

use common::bundle::push;
use common::*;
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};

/// Where the container has its socket.
const INSIDE: &str = "/run/notify/notify.sock";

/// What plays systemd.
struct Manager {
    socket: UnixDatagram,
    address: String,
}

impl Manager {
    fn of(c: &Container) -> Self {
        let address = c.dir.join("manager");
        let socket = UnixDatagram::bind(&address).expect("listen as the service manager");
        Self { socket, address: address.to_str().unwrap().to_owned() }
    }

    fn abstract_of(c: &Container) -> Self {
        let address = SocketAddr::from_abstract_name(&c.id).unwrap();
        Self { socket: UnixDatagram::bind_addr(&address).expect("listen"), address: format!("@{}", c.id) }
    }

    /// A command of the runtime in the service's environment.
    fn command(&self, c: &Container, words: &[&str]) -> Command {
        let mut command = c.command(words);
        command.env("NOTIFY_SOCKET", &self.address);
        command
    }

    fn spawn(&self, c: &Container, words: &[&str]) -> Child {
        self.command(c, words).spawn().expect("start the runtime")
    }

    #[track_caller]
    fn create(&self, c: &Container) {
        c.finish(&mut self.command(c, &c.words("create", &[]))).ok();
    }

    /// The next message, which has to come, and the descriptor with it.
    #[track_caller]
    fn hears(&self) -> (String, Option<OwnedFd>) {
        assert!(readable_within(&self.socket, LIMIT), "the service manager was told nothing");
        let mut text = [0; 4096];
        let mut parts = [IoSliceMut::new(&mut text)];
        let mut space = nix::cmsg_space!([i32; 4]);
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        let message = recvmsg::<()>(self.socket.as_raw_fd(), &mut parts, Some(&mut space), flags).expect("recvmsg");
        let fd = message.cmsgs().expect("control messages").find_map(|control| match control {
            // SAFETY: the kernel has just made this descriptor for this process.
            ControlMessageOwned::ScmRights(fds) => Some(unsafe { OwnedFd::from_raw_fd(fds[0]) }),
            _ => None,
        });
        let length = message.bytes;
        (String::from_utf8_lossy(&text[..length]).into_owned(), fd)
    }

    /// All that it is told of a container that is ready; what is to be closed once it has seen to that.
    #[track_caller]
    fn hears_of_readiness(&self, main: i32) -> OwnedFd {
        let [ready, pid] = [self.hears().0, self.hears().0];
        assert_eq!((ready.as_str(), pid), ("READY=1\n", format!("MAINPID={main}\n")));
        let (barrier, fd) = self.hears();
        assert_eq!(barrier, "BARRIER=1");
        fd.expect("a descriptor comes with the barrier")
    }

    #[track_caller]
    fn was_told_nothing(&self) {
        self.socket.set_nonblocking(true).unwrap();
        let mut text = [0; 4096];
        let heard = self.socket.recv(&mut text).map(|length| String::from_utf8_lossy(&text[..length]).into_owned());
        assert_eq!(heard.map_err(|error| error.kind()), Err(std::io::ErrorKind::WouldBlock));
        self.socket.set_nonblocking(false).unwrap();
    }

    /// Listens no more. What another test is about to execute holds the socket for a moment, as any process between fork
    /// and exec.
    fn leave(self) {
        drop(self.socket);
        eventually("nobody holds the manager's socket", || {
            let probe = UnixDatagram::unbound().expect("a socket").connect(&self.address);
            probe.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused)
        });
    }

    /// Sends itself messages until its queue is full, from a socket that is returned.
    fn fill(&self) -> (UnixDatagram, usize) {
        let sender = UnixDatagram::unbound().unwrap();
        sender.connect(&self.address).unwrap();
        sender.set_nonblocking(true).unwrap();
        let sent = (0..).take_while(|_| sender.send(b"STATUS=busy").is_ok()).count();
        (sender, sent)
    }
}

/// A process of the container with this uid says something to the socket that NOTIFY_SOCKET names there.
#[track_caller]
fn say(c: &Container, uid: u32, message: &'static [u8], with: Option<OwnedFd>) {
    let mut process = Command::new("/bin/true");
    let init = pidfd(c.pid()).expect("init");
    // SAFETY: plain system calls between fork and exec.
    unsafe {
        process.pre_exec(move || {
            let check = |result: libc::c_int| if result < 0 { Err(std::io::Error::last_os_error()) } else { Ok(()) };
            check(libc::setns(init.as_raw_fd(), libc::CLONE_NEWNS))?;
            check(libc::setresuid(uid, uid, uid))?;
            let socket = UnixDatagram::unbound()?;
            socket.connect(INSIDE)?;
            let rights = with.iter().map(AsRawFd::as_raw_fd).collect::<Vec<_>>();
            let control = [ControlMessage::ScmRights(&rights)];
            let control = if rights.is_empty() { &[][..] } else { &control[..] };
            sendmsg::<()>(socket.as_raw_fd(), &[IoSlice::new(message)], control, MsgFlags::empty(), None)?;
            Ok(())
        });
    }
    let mut process = process.spawn().unwrap_or_else(|error| panic!("say {message:?} in the container: {error}"));
    assert_eq!(wait(&mut process, "true"), 0);
}

fn is_running(c: &Container) -> bool {
    c.on_id(&["state"]).stdout.contains("\"running\"")
}

fn has_ended(child: &mut Child) -> bool {
    child.try_wait().expect("wait").is_some()
}

#[test]
fn start_waits_until_a_created_container_is_ready_and_the_manager_knows() {
    let c = Container::idle();
    let before = c.leftovers();
    let manager = Manager::of(&c);
    manager.create(&c);
    let mut start = manager.spawn(&c, &["start", &c.id]);
    eventually("the process runs", || is_running(&c));
    manager.was_told_nothing();
    assert!(!has_ended(&mut start), "it waits");
    say(&c, 0, b"STATUS=warming up", None);
    say(&c, 0, b"READY=0\nMAINPID=1", None);
    say(&c, 0, b"STATUS=up\nREADY=1\nMAINPID=1\nFDSTORE=1", None);
    let barrier = manager.hears_of_readiness(c.pid());
    assert!(!has_ended(&mut start), "it waits for the manager to close the pipe");
    drop(barrier);
    assert_eq!(wait(&mut start, "start"), 0);
    manager.was_told_nothing();
    c.on_id(&["delete", "--force"]).ok();
    before.assert_nothing_new();
}

#[test]
fn a_detached_run_of_an_ordinary_user_waits_until_it_is_ready() {
    let c = Container::idle().with(|config| config["process"]["user"] = json!({"uid": 1000, "gid": 1000}));
    let manager = Manager::of(&c);
    let mut run = manager.command(&c, &c.words("run", &["--detach"]));
    // Whatever the caller's umask is.
    // SAFETY: a plain system call between fork and exec.
    unsafe {
        run.pre_exec(|| {
            libc::umask(0o077);
            Ok(())
        });
    }
    let mut run = run.spawn().unwrap();
    eventually("the process runs", || is_running(&c));
    assert!(!has_ended(&mut run), "it waits");
    say(&c, 1000, b"READY=1", None);
    drop(manager.hears_of_readiness(c.pid()));
    assert_eq!(wait(&mut run, "run"), 0);
    assert_eq!(c.status(), "running");
}

#[test]
fn an_attached_run_stays_the_main_process_and_passes_the_exit_code_on() {
    let c = Container::sh("trap 'exit 7' TERM; while :; do sleep 0.01; done");
    let manager = Manager::abstract_of(&c);
    let mut run = manager.spawn(&c, &c.words("run", &[]));
    eventually("the process runs", || is_running(&c));
    say(&c, 0, b"READY=1\n", None);
    let barrier = manager.hears_of_readiness(run.id() as i32);
    // Nobody waits for the manager here, and the container is heard all the same.
    for _ in 0..50 {
        say(&c, 0, b"WATCHDOG=1", None);
    }
    let (theirs, ours) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).unwrap();
    say(&c, 0, b"BARRIER=1", Some(ours));
    assert!(readable_within(&theirs, LIMIT), "the container's own barrier is answered");
    events::signal(&pidfd(run.id() as i32).unwrap(), libc::SIGTERM);
    assert_eq!(wait(&mut run, "run"), 7);
    drop(barrier);
    manager.was_told_nothing();
}

#[test]
fn a_container_that_ends_before_it_is_ready_ends_the_wait() {
    let c = Container::new(&["true"]);
    let before = c.leftovers();
    let manager = Manager::of(&c);
    manager.create(&c);
    c.finish(&mut manager.command(&c, &["start", &c.id])).ok();
    c.on_id(&["delete", "--force"]).ok();
    c.finish(&mut manager.command(&c, &c.words("run", &["--detach"]))).ok();
    c.on_id(&["delete", "--force"]).ok();
    c.finish(&mut manager.command(&c, &c.words("run", &[]))).ok();
    manager.was_told_nothing();
    before.assert_nothing_new();
}

#[test]
fn a_manager_that_takes_nothing_does_not_hold_an_attached_run() {
    let c = Container::idle();
    let manager = Manager::of(&c);
    let (_sender, sent) = manager.fill();
    let mut run = manager.spawn(&c, &c.words("run", &[]));
    eventually("the process runs", || is_running(&c));
    say(&c, 0, b"READY=1", None);
    // It goes on as soon as there is room.
    for _ in 0..sent {
        assert_eq!(manager.hears().0, "STATUS=busy");
    }
    drop(manager.hears_of_readiness(run.id() as i32));
    c.runtime(&["kill", &c.id, "KILL"]).ok();
    assert_eq!(wait(&mut run, "run"), 128 + 9);

    let (_sender, _) = manager.fill();
    let mut run = manager.spawn(&c, &c.words("run", &[]));
    eventually("the process runs", || is_running(&c));
    say(&c, 0, b"READY=1", None);
    c.runtime(&["kill", &c.id, "KILL"]).ok();
    assert_eq!(wait(&mut run, "run"), 128 + 9, "the end of the process is not missed");
}

#[test]
fn a_manager_that_leaves_is_an_error_of_start_and_a_warning_of_run() {
    let c = Container::idle();
    for (words, code) in [(&["start"][..], 1), (&["run", "--detach", "--bundle", "bundle"], 0)] {
        let _ = fs::remove_file(c.dir.join("manager"));
        let manager = Manager::of(&c);
        if words[0] == "start" {
            manager.create(&c);
        }
        let log = c.dir.join("log");
        let mut child = manager.spawn(&c, &[&["--log", log.to_str().unwrap()], words, &[&c.id]].concat());
        eventually("the process runs", || is_running(&c));
        manager.leave();
        say(&c, 0, b"READY=1", None);
        assert_eq!(wait(&mut child, "the runtime"), code);
        let log = fs::read_to_string(log).unwrap();
        assert!(log.contains("NOTIFY_SOCKET") && log.contains("refused"), "{log}");
        assert_eq!(c.status(), "running", "the container does not suffer");
        c.on_id(&["delete", "--force"]).ok();
        fs::remove_file(c.dir.join("log")).unwrap();
    }
}

#[test]
fn a_socket_that_nobody_can_be_told_by_is_refused_by_name_and_leaves_nothing() {
    let c = Container::idle();
    let before = c.leftovers();
    let stream = c.dir.join("stream");
    let _stream = UnixListener::bind(&stream).unwrap();
    let absent = c.dir.join("absent").to_str().unwrap().to_owned();
    for address in [&absent, stream.to_str().unwrap(), "relative", "@", "vsock:2:9999"] {
        for words in [c.words("create", &[]), c.words("run", &[]), c.words("run", &["--detach"])] {
            let output = c.finish(c.command(&words).env("NOTIFY_SOCKET", address));
            output.fails(1, &["NOTIFY_SOCKET", address]);
            before.assert_nothing_new();
            assert!(!c.root.join(&c.id).exists(), "{address}");
        }
    }
    let output = c.finish(c.command(&c.words("create", &[])).env("NOTIFY_SOCKET", ""));
    output.ok();
}

#[test]
fn without_a_mount_namespace_there_is_no_place_for_the_socket() {
    let c = Container::idle().with(|config| {
        config["linux"]["namespaces"] = json!([{"type": "pid"}]);
        config["mounts"] = json!([]);
        config["root"]["readonly"] = json!(false);
        config["linux"].as_object_mut().unwrap().remove("maskedPaths");
        config["linux"].as_object_mut().unwrap().remove("readonlyPaths");
        config["hostname"] = json!("");
    });
    let manager = Manager::of(&c);
    let output = c.finish(&mut manager.command(&c, &c.words("create", &[])));
    output.fails(1, &["NOTIFY_SOCKET", "mount namespace"]);
}

#[test]
fn the_container_sees_a_read_only_directory_and_its_own_address() {
    let c = Container::idle().with(|config| push(&mut config["process"]["env"], json!("NOTIFY_SOCKET=/of/the/bundle")));
    let manager = Manager::of(&c);
    manager.create(&c);
    let init = c.pid();
    let mounts = fs::read_to_string(format!("/proc/{init}/mountinfo")).unwrap();
    let line = mounts.lines().find(|line| line.contains(" /run/notify ")).expect("it is mounted");
    let options = line.split(' ').nth(5).unwrap();
    assert!(["ro", "nosuid", "nodev", "noexec"].iter().all(|word| options.contains(word)), "{line}");
    let mut start = manager.spawn(&c, &["start", &c.id]);
    eventually("the process runs", || is_running(&c));
    let environment = fs::read_to_string(format!("/proc/{init}/environ")).unwrap();
    let addresses: Vec<_> = environment.split('\0').filter(|variable| variable.starts_with("NOTIFY_SOCKET=")).collect();
    assert_eq!(addresses, [format!("NOTIFY_SOCKET={INSIDE}")]);
    let mode = |path: &str| fs::metadata(format!("/proc/{init}/root{path}")).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode("/run/notify"), mode(INSIDE)), (0o755, 0o777));
    assert_ne!(c.exec(&["touch", "/run/notify/x"]).code, 0);
    let of_exec = c.finish(&mut manager.command(&c, &["exec", &c.id, "env"]));
    assert!(of_exec.ok().contains("NOTIFY_SOCKET=/of/the/bundle"), "exec is as the bundle says: {of_exec:?}");
    say(&c, 0, b"READY=1", None);
    drop(manager.hears_of_readiness(init));
    assert_eq!(wait(&mut start, "start"), 0);
}

#[test]
fn in_a_user_namespace_the_container_is_heard_too() {
    let c = Container::idle().with(|config| {
        push(&mut config["linux"]["namespaces"], json!({"type": "user"}));
        let map = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
        config["linux"]["uidMappings"] = map.clone();
        config["linux"]["gidMappings"] = map;
    });
    // Its root must reach the rootfs, and nothing else of the test.
    let owner = std::os::unix::fs::chown(c.rootfs("/"), Some(100_000), Some(100_000));
    owner.unwrap();
    let before = c.leftovers();
    let manager = Manager::of(&c);
    let mut run = manager.spawn(&c, &c.words("run", &["--detach"]));
    eventually("the process runs", || is_running(&c) || !c.root.join(&c.id).exists() && has_ended(&mut run));
    say(&c, 101_000, b"READY=1", None);
    drop(manager.hears_of_readiness(c.pid()));
    assert_eq!(wait(&mut run, "run"), 0);
    c.on_id(&["delete", "--force"]).ok();
    before.assert_nothing_new();
}

#[test]
fn create_and_start_must_agree() {
    let c = Container::idle();
    let manager = Manager::of(&c);
    c.create();
    let output = c.finish(&mut manager.command(&c, &["start", &c.id]));
    output.fails(1, &["NOTIFY_SOCKET", "create"]);
    assert_eq!(c.status(), "created");
    c.start();
    c.on_id(&["delete", "--force"]).ok();
    // A start without the variable waits for nobody: as runc.
    manager.create(&c);
    c.start();
    assert_eq!(c.status(), "running");
}

#[test]
fn a_start_in_the_wake_of_one_that_came_to_nothing_is_heard() {
    let c = Container::idle();
    let manager = Manager::of(&c);
    manager.create(&c);
    let socket = c.root.join(&c.id).join("notify/notify.sock");
    drop(UnixDatagram::bind(&socket).unwrap());
    let mut start = manager.spawn(&c, &["start", &c.id]);
    eventually("the process runs", || is_running(&c));
    say(&c, 0, b"READY=1", None);
    drop(manager.hears_of_readiness(c.pid()));
    assert_eq!(wait(&mut start, "start"), 0);
    // What a container that may mount leaves there goes too.
    fs::create_dir_all(socket.with_file_name("left/behind")).unwrap();
    c.on_id(&["delete", "--force"]).ok();
    assert!(!c.root.join(&c.id).exists());
}

#[test]
fn without_the_variable_nothing_is_made() {
    let c = Container::idle();
    c.create();
    let mounts = fs::read_to_string(format!("/proc/{}/mountinfo", c.pid())).unwrap();
    assert!(!mounts.contains("notify"), "{mounts}");
    assert!(!c.root.join(&c.id).join("notify").exists());
    let plan = c.runtime(&["plan", "--bundle", "bundle"]);
    assert!(!plan.ok().contains("notify"), "{plan:?}");
}

#[test]
fn the_plan_names_each_step_and_touches_nothing() {
    let c = Container::idle();
    let before = c.leftovers();
    let plan = c.finish(c.command(&["plan", "--bundle", "bundle", "planned"]).env("NOTIFY_SOCKET", "/absent"));
    let directory = c.root.join("planned/notify");
    for step in [
        "connect to the service manager at /absent (NOTIFY_SOCKET)".to_owned(),
        format!("make directory {}", directory.display()),
        "/run/notify".to_owned(),
    ] {
        assert!(plan.ok().contains(&step), "{step}: {plan:?}");
    }
    assert!(!c.root.exists());
    before.assert_nothing_new();
}

#[test]
fn a_runtime_killed_before_any_step_leaves_nothing_of_it() {
    let c = Container::new(&["true"]);
    let before = c.leftovers();
    let manager = Manager::of(&c);
    let died = (0..500).find(|k| {
        let mut run = manager.command(&c, &c.words("run", &["--detach"]));
        let output = c.finish(run.env("NFRUN_FAULT", format!("kill:runtime:{k}")));
        assert!(output.code == 0 || output.code == 128 + 9, "killed, or not reached: {output:?}");
        c.runtime(&["gc"]).ok();
        c.on_id(&["delete", "--force"]).ok();
        before.assert_nothing_new();
        assert!(!c.root.join(&c.id).exists(), "step {k}");
        output.code == 0
    });
    assert!(died.is_some_and(|steps| steps > 5), "is the feature `fault` built in? {died:?}");
    manager.was_told_nothing();
}
