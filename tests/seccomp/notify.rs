//! Calls that a profile hands to an agent (SCMP_ACT_NOTIFY): the agent here is the test itself.

use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::{Path, PathBuf};
use std::process::Child;

use super::common::bundle::push;
use super::common::*;
use super::{GETPRIORITY, all_but, calling, probe};

/// struct seccomp_notif of linux/seccomp.h.
#[repr(C)]
#[derive(Debug, Default)]
struct Notification {
    id: u64,
    pid: u32,
    flags: u32,
    number: i32,
    arch: u32,
    instruction: u64,
    args: [u64; 6],
}

/// struct seccomp_notif_resp.
#[repr(C)]
struct Answer {
    id: u64,
    value: i64,
    error: i32,
    flags: u32,
}

/// SECCOMP_IOCTL_NOTIF_RECV and _SEND.
const RECEIVE: libc::c_ulong = 0xc050_2100;
const SEND: libc::c_ulong = 0xc018_2101;

/// What an agent makes of a call: let the kernel go on with it, or an errno.
#[derive(Clone, Copy)]
enum Verdict {
    Continue,
    Errno(i32),
}

/// The listener of a filter, and what came with it.
struct Handed {
    listener: OwnedFd,
    state: Value,
}

impl Handed {
    /// The next call, which has to come; it waits for its answer.
    #[track_caller]
    fn call(&self) -> Notification {
        assert!(readable_within(&self.listener, LIMIT), "no call came");
        let mut notification = Notification::default();
        // SAFETY: the structure is zeroed, as the kernel wants it, and has the size that the request names.
        let got = unsafe { libc::ioctl(self.listener.as_raw_fd(), RECEIVE, &raw mut notification) };
        assert_eq!(got, 0, "receive a call: {}", std::io::Error::last_os_error());
        notification
    }

    /// Answers a call; false where its caller is gone.
    fn answer(&self, call: &Notification, verdict: Verdict) -> bool {
        let (error, flags) = match verdict {
            Verdict::Continue => (0, 1),
            Verdict::Errno(errno) => (-errno, 0),
        };
        let answer = Answer { id: call.id, value: 0, error, flags };
        // SAFETY: as above.
        unsafe { libc::ioctl(self.listener.as_raw_fd(), SEND, &raw const answer) == 0 }
    }

    /// Answers calls until a child of the test ends; returns the numbers of the calls.
    #[track_caller]
    fn answer_until_end(&self, child: &mut Child, verdict: impl Fn(&Notification) -> Verdict) -> (Vec<i32>, i32) {
        let end = pidfd(child.id() as i32).expect("a child that is not reaped");
        let mut numbers = Vec::new();
        let until = std::time::Instant::now() + LIMIT;
        loop {
            assert!(std::time::Instant::now() < until, "it does not end; calls so far: {numbers:?}");
            let mut ends = [&self.listener, &end].map(|fd| {
                use std::os::fd::AsFd;
                nix::poll::PollFd::new(fd.as_fd(), nix::poll::PollFlags::POLLIN)
            });
            nix::poll::poll(&mut ends, 1000u16).expect("poll");
            if ends[0].revents().is_some_and(|got| got.contains(nix::poll::PollFlags::POLLIN)) {
                let call = self.call();
                numbers.push(call.number);
                self.answer(&call, verdict(&call));
            } else if ends[1].any() == Some(true) {
                return (numbers, wait(child, "the runtime"));
            }
        }
    }
}

/// An agent that listens at a path.
struct Agent(UnixListener);

impl Agent {
    fn at(path: &Path) -> Self {
        let _ = fs::remove_file(path);
        Self(in_short(path, |short| UnixListener::bind(short).expect("listen")))
    }

    /// Whoever connects next, with the state and the listener that it sends.
    #[track_caller]
    fn handed(&self) -> Handed {
        assert!(readable_within(&self.0, LIMIT), "nobody connected to the agent");
        let (stream, _) = self.0.accept().expect("accept");
        assert!(readable_within(&stream, LIMIT), "nothing was sent to the agent");
        let mut text = vec![0; 1 << 16];
        let mut parts = [std::io::IoSliceMut::new(&mut text)];
        let mut space = nix::cmsg_space!([i32; 4]);
        let flags = nix::sys::socket::MsgFlags::MSG_CMSG_CLOEXEC;
        let message =
            nix::sys::socket::recvmsg::<()>(stream.as_raw_fd(), &mut parts, Some(&mut space), flags).expect("recvmsg");
        let fds: Vec<i32> = message.cmsgs().expect("whole control messages").fold(Vec::new(), |mut all, control| {
            if let nix::sys::socket::ControlMessageOwned::ScmRights(fds) = control {
                all.extend(fds);
            }
            all
        });
        let length = message.bytes;
        assert_eq!(fds.len(), 1, "one descriptor comes");
        // SAFETY: the kernel made it for this process just now.
        let listener = unsafe { <OwnedFd as std::os::fd::FromRawFd>::from_raw_fd(fds[0]) };
        Handed { listener, state: serde_json::from_slice(&text[..length]).expect("a state in JSON") }
    }

    fn has_guests(&self) -> bool {
        readable_within(&self.0, std::time::Duration::ZERO)
    }

    /// Listens no more. What another test is about to execute holds the socket for a moment, as any process between fork
    /// and exec; a datagram socket cannot be connected to it, and is told why not.
    fn leave(self, path: &Path) {
        drop(self);
        eventually("nobody holds the agent's socket", || {
            let probe = in_short(path, |short| UnixDatagram::unbound().expect("a socket").connect(short));
            probe.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused)
        });
    }
}

/// Calls with a path that fits a socket's address.
fn in_short<T>(path: &Path, call: impl FnOnce(&Path) -> T) -> T {
    let parent = fs::File::open(path.parent().expect("a directory")).expect("open the directory");
    let name = path.file_name().expect("a name");
    call(&Path::new(&format!("/proc/self/fd/{}", parent.as_raw_fd())).join(name))
}

/// A profile that hands these calls over.
fn handing(names: &[&str], listener: &Path) -> Value {
    let mut profile = all_but(json!([{"names": names, "action": "SCMP_ACT_NOTIFY"}]));
    profile["listenerPath"] = json!(listener);
    profile["listenerMetadata"] = json!("words for the agent");
    profile
}

/// A container whose program calls getpriority once, which is handed over with these other calls, and its agent's socket.
fn asking(names: &[&str], edit: impl FnOnce(&mut Value)) -> (Container, PathBuf) {
    let c = calling(json!(null), &probe(GETPRIORITY, [0; 3], false));
    let path = c.dir.join("agent");
    let profile = handing(&[names, &["getpriority"]].concat(), &path);
    let c = c.with(|config| {
        config["linux"]["seccomp"] = profile;
        config["annotations"] = json!({"com.example.key": "value"});
        edit(config);
    });
    (c, path)
}

fn without_protection(config: &mut Value) {
    config["process"]["noNewPrivileges"] = json!(false);
}

#[track_caller]
fn assert_describes(handed: &Handed, c: &Container, pid: u32, status: &str, init: i64) {
    let state = &handed.state;
    assert_eq!(state["fds"], json!(["seccompFd"]));
    assert_eq!(state["pid"], json!(pid), "{state}");
    assert_eq!(state["metadata"], "words for the agent");
    assert!(state["ociVersion"].is_string());
    assert_eq!(state["state"]["id"], json!(c.id));
    assert_eq!(state["state"]["status"], status);
    assert_eq!(state["state"]["pid"], json!(init));
    assert_eq!(state["state"]["bundle"], json!(c.bundle));
    assert_eq!(state["state"]["annotations"], json!({"com.example.key": "value"}));
    assert!(state["state"]["ociVersion"].is_string());
}

#[test]
fn the_agent_of_a_run_answers_its_calls_with_and_without_new_privileges() {
    for edit in [|_: &mut Value| (), without_protection] {
        let (c, path) = asking(&[], edit);
        let agent = Agent::at(&path);
        let mut run = c.command(&c.words("run", &[])).spawn().unwrap();
        let handed = agent.handed();
        let call = handed.call();
        assert_eq!(call.number, GETPRIORITY as i32);
        assert_describes(&handed, &c, call.pid, "created", call.pid.into());
        assert!(handed.answer(&call, Verdict::Errno(77)));
        assert_eq!(wait(&mut run, "run"), 77);
        assert!(!agent.has_guests());
    }
}

#[test]
fn the_agent_answers_the_calls_of_start_container_hooks_too() {
    not_in_runc!("it loads the filter behind its hooks");
    let (c, path) = asking(&[], |config| config["hooks"]["startContainer"] = json!([{"path": "/probe"}]));
    let agent = Agent::at(&path);
    let mut run = c.command(&c.words("run", &[])).spawn().unwrap();
    let handed = agent.handed();
    let of_hook = handed.call();
    assert_eq!(of_hook.number, GETPRIORITY as i32);
    assert!(handed.answer(&of_hook, Verdict::Continue));
    let of_program = handed.call();
    assert_ne!(of_program.pid, of_hook.pid, "the hook is a process of its own");
    assert!(handed.answer(&of_program, Verdict::Errno(77)));
    assert_eq!(wait(&mut run, "run"), 77);
}

#[test]
fn the_agent_hears_of_a_start_before_its_hooks_run_and_answers_them_and_the_program() {
    not_in_runc!("it loads the filter behind its hooks");
    for edit in [|_: &mut Value| (), without_protection] {
        let (c, path) = asking(&[], |config| {
            config["hooks"]["startContainer"] = json!([{"path": "/probe"}]);
            edit(config);
        });
        let agent = Agent::at(&path);
        c.create();
        assert!(!agent.has_guests(), "create tells nobody");
        let pid = c.pid();
        let mut start = c.command(&["start", &c.id]).stderr(std::process::Stdio::null()).spawn().unwrap();
        let handed = agent.handed();
        assert_describes(&handed, &c, pid as u32, "created", pid.into());
        let of_hook = handed.call();
        assert_ne!(of_hook.pid, pid as u32, "the hook is a process of its own");
        assert_eq!(c.status(), "created", "the program waits for its hook");
        assert!(handed.answer(&of_hook, Verdict::Continue));
        let of_program = handed.call();
        assert_eq!(of_program.pid, pid as u32);
        assert_eq!(wait(&mut start, "start"), 0);
        assert!(handed.answer(&of_program, Verdict::Continue));
        c.wait_for("stopped");
    }
}

/// How a call waits for its agent: as ever, and by the flag that Linux has since 5.19.
fn waits() -> Vec<Value> {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let numbers: Vec<u32> = release.split(['.', '-']).take(2).map(|part| part.parse().unwrap()).collect();
    let mut all = vec![json!([])];
    all.extend((numbers >= vec![5, 19]).then(|| json!(["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"])));
    all
}

#[test]
fn an_agent_that_is_silent_to_a_hook_holds_nobody_who_deletes_the_container() {
    not_in_runc!("it loads the filter behind its hooks");
    for flags in waits() {
        let (c, path) = asking(&[], |config| {
            config["hooks"]["startContainer"] = json!([{"path": "/probe"}]);
            config["linux"]["seccomp"]["flags"] = flags;
        });
        let agent = Agent::at(&path);
        let before = c.leftovers();
        c.create();
        let mut start = c.command(&["start", &c.id]).stderr(std::process::Stdio::null()).spawn().unwrap();
        let handed = agent.handed();
        let unanswered = handed.call();
        let hook = pidfd(unanswered.pid as i32).expect("the hook");
        c.on_id(&["delete", "--force"]).ok();
        assert_ne!(wait(&mut start, "start"), 0);
        assert!(ends_within(&hook, LIMIT), "the hook ends too");
        before.assert_nothing_new();
    }
}

#[test]
fn the_agent_of_a_created_container_hears_of_it_when_it_is_started() {
    let (c, path) = asking(&[], |_| ());
    let agent = Agent::at(&path);
    c.create();
    assert!(!agent.has_guests(), "create tells nobody");
    let pid = c.pid();
    c.start();
    let handed = agent.handed();
    assert_describes(&handed, &c, pid as u32, "created", pid.into());
    let call = handed.call();
    assert_eq!(c.status(), "running", "it waits for a late answer");
    assert!(handed.answer(&call, Verdict::Continue));
    c.wait_for("stopped");
}

#[test]
fn the_agent_hears_of_an_exec_as_a_process_of_its_own() {
    for edit in [|_: &mut Value| (), without_protection] {
        let (c, path) = asking(&[], |config| {
            config["process"]["args"] = json!(["sleep", "1000"]);
            edit(config);
        });
        let agent = Agent::at(&path);
        let c = c.up();
        let _of_init = agent.handed();
        let mut exec = c.command(&["exec", &c.id, "/probe"]).spawn().unwrap();
        let handed = agent.handed();
        let call = handed.call();
        assert_describes(&handed, &c, call.pid, "running", c.pid().into());
        assert!(handed.answer(&call, Verdict::Errno(78)));
        assert_eq!(wait(&mut exec, "exec"), 78);
    }
}

#[test]
fn the_root_of_a_user_namespace_has_its_agent_too() {
    let (c, path) = asking(&[], |config| {
        push(&mut config["linux"]["namespaces"], json!({"type": "user"}));
        let map = json!([{"containerID": 0, "hostID": 0, "size": 65536}]);
        config["linux"]["uidMappings"] = map.clone();
        config["linux"]["gidMappings"] = map;
    });
    let agent = Agent::at(&path);
    let mut run = c.command(&c.words("run", &[])).spawn().unwrap();
    let handed = agent.handed();
    let call = handed.call();
    assert!(handed.answer(&call, Verdict::Errno(79)));
    assert_eq!(wait(&mut run, "run"), 79);
}

#[test]
fn every_call_may_be_handed_over_even_those_that_the_runtime_makes() {
    for no_new_privileges in [true, false] {
        let (c, path) = asking(&[], |config| {
            config["process"]["noNewPrivileges"] = json!(no_new_privileges);
            config["linux"]["seccomp"]["defaultAction"] = json!("SCMP_ACT_NOTIFY");
        });
        let agent = Agent::at(&path);
        let mut run = c.command(&c.words("run", &[])).spawn().unwrap();
        let handed = agent.handed();
        let (numbers, code) = handed.answer_until_end(&mut run, |_| Verdict::Continue);
        assert_eq!(code, 0);
        let [capset, execve, exit] = [libc::SYS_capset, libc::SYS_execve, libc::SYS_exit].map(|number| number as i32);
        let all = if no_new_privileges { vec![execve] } else { vec![capset, execve] };
        assert_eq!(numbers, [all, vec![GETPRIORITY as i32, exit]].concat());
    }
}

#[test]
fn an_agent_that_refuses_the_execve_is_named_by_its_errno() {
    let (c, path) = asking(&["execve"], |_| ());
    let agent = Agent::at(&path);
    c.create();
    let stderr = c.dir.join("stderr");
    let mut start = c.command(&["start", &c.id]).stderr(fs::File::create(&stderr).unwrap()).spawn().unwrap();
    let handed = agent.handed();
    let call = handed.call();
    assert_eq!(call.number, libc::SYS_execve as i32);
    handed.answer(&call, Verdict::Errno(libc::EPERM));
    assert_eq!(wait(&mut start, "start"), 1);
    let said = fs::read_to_string(stderr).unwrap();
    assert!(said.contains("/probe") && said.contains("operation not permitted"), "{said}");
    c.wait_for("stopped");
}

#[test]
fn a_silent_agent_holds_nobody_who_kills_the_container() {
    let kill: &[&str] = &["kill", "ID", "KILL"];
    for words in [kill, &["delete", "--force", "ID"]] {
        for flags in waits() {
            let (c, path) = asking(&["execve"], |config| config["linux"]["seccomp"]["flags"] = flags);
            let agent = Agent::at(&path);
            let before = c.leftovers();
            let parent = c.create_unreaped();
            let mut start = c.command(&["start", &c.id]).stderr(std::process::Stdio::null()).spawn().unwrap();
            let handed = agent.handed();
            let _unanswered = handed.call();
            assert_eq!(c.status(), "created");
            let words: Vec<_> = words.iter().map(|word| if *word == "ID" { &c.id } else { *word }).collect();
            c.runtime(&words).ok();
            assert_ne!(wait(&mut start, "start"), 0);
            drop(parent);
            c.on_id(&["delete", "--force"]);
            before.assert_nothing_new();
        }
    }
}

#[test]
fn an_agent_that_vanishes_leaves_its_calls_unknown() {
    let (c, path) = asking(&[], |_| ());
    let agent = Agent::at(&path);
    let mut run = c.command(&c.words("run", &[])).spawn().unwrap();
    drop(agent.handed());
    assert_eq!(wait(&mut run, "run"), libc::ENOSYS);
    // Where the program itself cannot be executed any more, start says so; not even init's last call goes through.
    let (c, path) = asking(&["execve", "sendto", "exit_group"], |_| ());
    let agent = Agent::at(&path);
    let _parent = c.create_unreaped();
    let mut start = c.command(&["start", &c.id]).stderr(std::process::Stdio::null()).spawn().unwrap();
    drop(agent.handed());
    assert_eq!(wait(&mut start, "start"), 1);
    c.wait_for("stopped");
}

#[test]
fn a_container_whose_agent_is_missing_is_not_made_and_leaves_nothing() {
    let (c, path) = asking(&[], |_| ());
    let before = c.leftovers();
    for verb in ["create", "run"] {
        let refused = |reason: &str| {
            let output = c.runtime(&c.words(verb, &[]));
            output.fails(1, &["linux.seccomp.listenerPath", path.to_str().unwrap(), reason]);
            before.assert_nothing_new();
        };
        refused("no such file or directory");
        fs::write(&path, "").unwrap();
        refused("connection refused");
        fs::remove_file(&path).unwrap();
        Agent::at(&path).leave(&path);
        refused("connection refused");
        fs::remove_file(&path).unwrap();
        let datagrams = UnixDatagram::bind(&path).unwrap();
        refused(if verb == "create" { "datagram" } else { "wrong type" });
        drop(datagrams);
        fs::remove_file(&path).unwrap();
    }
}

#[test]
fn a_container_whose_agent_left_before_its_start_stays_created_until_it_is_back() {
    let (c, path) = asking(&[], |_| ());
    let agent = Agent::at(&path);
    c.create();
    agent.leave(&path);
    c.on_id(&["start"]).fails(1, &["linux.seccomp.listenerPath", "connection refused"]);
    assert_eq!(c.status(), "created");
    let agent = Agent::at(&path);
    c.start();
    let handed = agent.handed();
    let call = handed.call();
    handed.answer(&call, Verdict::Continue);
    c.wait_for("stopped");
}

#[test]
fn an_exec_without_its_agent_fails_and_leaves_no_process() {
    let (c, path) = asking(&[], |config| config["process"]["args"] = json!(["sleep", "1000"]));
    let agent = Agent::at(&path);
    let c = c.up();
    let _of_init = agent.handed();
    agent.leave(&path);
    let before = c.leftovers();
    c.exec(&["/probe"]).fails(255, &["linux.seccomp.listenerPath", "connection refused"]);
    before.assert_nothing_new();
    assert_eq!(c.status(), "running");
}

#[test]
fn an_agents_path_may_be_relative_to_the_bundle_or_longer_than_an_address() {
    let long = PathBuf::from("d".repeat(120)).join("agent");
    for relative in [Path::new("agent"), &long] {
        let (c, _) = asking(&[], |config| config["linux"]["seccomp"]["listenerPath"] = json!(relative));
        fs::create_dir_all(c.bundle.join(&long).parent().unwrap()).unwrap();
        let agent = Agent::at(&c.bundle.join(relative));
        assert!(fs::metadata(c.bundle.join(relative)).unwrap().file_type().is_socket());
        c.create().start();
        let handed = agent.handed();
        handed.answer(&handed.call(), Verdict::Continue);
        c.wait_for("stopped");
    }
}

#[test]
fn a_listener_that_no_call_needs_is_not_looked_for() {
    let c = calling(all_but(json!([])), &probe(GETPRIORITY, [0; 3], false)).with(|config| {
        config["linux"]["seccomp"]["listenerPath"] = json!("/no/agent");
        config["linux"]["seccomp"]["listenerMetadata"] = json!("nobody reads this");
        config["linux"]["seccomp"]["flags"] = json!(["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]);
    });
    c.run().ok();
}

#[test]
fn metadata_for_nobody_is_refused_by_name() {
    let c = calling(all_but(json!([])), &probe(GETPRIORITY, [0; 3], false))
        .with(|config| config["linux"]["seccomp"]["listenerMetadata"] = json!("words"));
    let before = c.leftovers();
    c.run().fails(1, &["linux.seccomp.listenerMetadata"]);
    before.assert_nothing_new();
}

#[test]
fn a_start_that_dies_before_it_has_told_the_agent_leaves_no_process_that_turns_for_ever() {
    not_in_runc!("it tells the agent in create");
    let (c, path) = asking(&[], |_| ());
    let agent = Agent::at(&path);
    // Before the word to init, after it, before the listener is sent.
    for point in 1..=3 {
        c.create();
        let init = pidfd(c.pid()).unwrap();
        let mut start = c.command(&["start", &c.id]);
        assert_eq!(c.finish(start.env("NFRUN_FAULT", format!("kill:runtime:{point}"))).code, 137);
        assert_eq!(ends_within(&init, if point == 1 { std::time::Duration::ZERO } else { LIMIT }), point > 1);
        c.on_id(&["delete", "--force"]).ok();
    }
    drop(agent);
}

#[test]
fn a_start_whose_init_is_killed_on_the_way_says_so() {
    not_in_runc!("it does not see that");
    let c =
        calling(all_but(json!([{"names": ["execve"], "action": "SCMP_ACT_KILL_PROCESS"}])), &probe(39, [0; 3], false));
    let parent = c.create_unreaped();
    c.on_id(&["start"]).fails(1, &["SIGSYS", "linux.seccomp", "execve"]);
    drop(parent);
    c.wait_for("stopped");
    c.on_id(&["delete"]).ok();
    let before = c.leftovers();
    c.run().fails(1, &["SIGSYS", "linux.seccomp", "execve", "run /probe"]);
    before.assert_nothing_new();
}
