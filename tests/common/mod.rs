//! What the tests of every subject share: a bundle that a test edits, a container that cleans up after itself, and
//! looks at the machine from outside. Nothing here knows how the runtime works; it is started as a user starts it.
//! `NFRUN_TEST_BINARY` names another runtime to test, such as Debian's runc, against which these tests were written.

#![allow(dead_code, unused_macros, unused_imports)]

pub mod aside;
pub mod bundle;
pub mod bus;
pub mod containerd;
pub mod daemon;
pub mod events;
pub mod install;
pub mod lab;
pub mod machine;
pub mod outside;
pub mod podman;
pub mod skip;
pub mod terminal;
pub mod user;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

pub use bundle::base;
pub use events::{LIMIT, Lines, ends_within, eventually, pidfd, readable_within};
pub use outside::{HIERARCHIES, Leftovers, children, mountinfo, proc_status};
pub use serde_json::{Value, json};

/// Prints why a test cannot tell anything here, and leaves it.
macro_rules! skip {
    ($($reason:tt)*) => {{
        crate::common::skip::note(format_args!($($reason)*));
        return;
    }};
}

/// Leaves a test of v1 hierarchies where there are none.
macro_rules! v1_only {
    () => {
        if common::outside::is_v2() {
            skip!("this host has cgroup2 alone");
        }
    };
}

/// Leaves a test of cgroup2, alone or beside v1, where it is not mounted.
macro_rules! needs_cgroup2 {
    () => {
        if !common::outside::is_v2() && !std::path::Path::new("/sys/fs/cgroup/unified/cgroup.procs").exists() {
            skip!("this host has no cgroup2");
        }
    };
}

/// Leaves a test that needs interfaces where the kernel makes none.
macro_rules! needs_veth {
    () => {
        if !common::aside::makes_veth() {
            skip!("this kernel makes no veth");
        }
    };
}

/// Leaves a test of cgroup2 where v1 has the controllers.
macro_rules! v2_only {
    () => {
        if !common::outside::is_v2() {
            skip!("this host has its controllers on cgroup v1: the virtual machines of tests/vm have cgroup2");
        }
    };
}

/// Leaves a test that runc 1.1.5, the reference, is known not to pass, saying what it does instead.
macro_rules! not_in_runc {
    ($($reason:tt)*) => {
        if crate::common::is_reference() {
            skip!("runc 1.1.5 differs: {}", format_args!($($reason)*));
        }
    };
}

/// The runtime under test.
pub fn binary() -> PathBuf {
    std::env::var_os("NFRUN_TEST_BINARY").map_or_else(|| env!("CARGO_BIN_EXE_nfrun").into(), PathBuf::from)
}

/// Copies the runtime under test. By a process of its own: a test that forks at the same time would hold this one's
/// descriptor, and the kernel executes no file that somebody may write.
pub fn copy_runtime(to: &Path) {
    let copied = Command::new("cp").arg(binary()).arg(to).status().expect("cp");
    assert!(copied.success(), "copy the runtime to {}", to.display());
}

/// Whether the runtime under test is Debian's runc: it names the Go that built it.
pub fn is_reference() -> bool {
    static REFERENCE: OnceLock<bool> = OnceLock::new();
    *REFERENCE.get_or_init(|| {
        let version = Command::new(binary()).arg("--version").output().expect("run the runtime");
        String::from_utf8_lossy(&version.stdout).contains("\ngo: ")
    })
}

/// Whether systemd makes the containers' cgroups: `NFRUN_TEST_CGROUP_MANAGER=systemd`.
pub fn by_systemd() -> bool {
    std::env::var_os("NFRUN_TEST_CGROUP_MANAGER").is_some_and(|manager| manager == "systemd")
}

/// What a command left: its exit code (128+N when signal N ended it) and what it printed.
#[derive(Debug)]
pub struct Output {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Output {
    /// The output of a command that had to succeed, without the last newline.
    #[track_caller]
    pub fn ok(&self) -> &str {
        assert_eq!(self.code, 0, "it should have succeeded: {self:?}");
        self.stdout.trim_end_matches('\n')
    }

    /// Checks that it failed with this code and said each of these things.
    #[track_caller]
    pub fn fails(&self, code: i32, says: &[&str]) {
        assert_eq!(self.code, code, "the exit code: {self:?}");
        for words in says {
            assert!(self.stderr.contains(words), "the error should say {words:?}: {}", self.stderr);
        }
        assert!(!self.stderr.contains("panicked"), "a panic is no error message: {}", self.stderr);
    }
}

/// 128+N for a signal, the exit code otherwise.
pub fn code(status: std::process::ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

/// Starts a command. A program that a test has just written is busy as long as a command that another test starts at the
/// same time has not been executed, which holds a copy of its open file until then.
#[track_caller]
pub fn start(command: &mut Command) -> Child {
    let mut child = None;
    eventually("the program is not busy", || match command.spawn() {
        Err(error) if error.kind() == std::io::ErrorKind::ExecutableFileBusy => false,
        other => {
            child = Some(other.expect("start the runtime"));
            true
        }
    });
    child.expect("a child")
}

/// Waits for a child for as long as a test may last, then fails.
#[track_caller]
pub fn wait(child: &mut Child, what: &str) -> i32 {
    wait_within(child, what, LIMIT)
}

/// Waits for a child for this long, then fails.
#[track_caller]
pub fn wait_within(child: &mut Child, what: &str, limit: std::time::Duration) -> i32 {
    if !ends_within(&pidfd(child.id() as i32).expect("a child that is not reaped"), limit) {
        let stack = std::fs::read_to_string(format!("/proc/{}/stack", child.id())).unwrap_or_default();
        let _ = child.kill();
        let _ = child.wait();
        panic!("{what} did not end within {limit:?}; it waits in\n{stack}");
    }
    code(child.wait().expect("wait"))
}

/// One container of one test: its directory below /tmp, state root, bundle and cgroup, all removed with it.
pub struct Container {
    pub dir: PathBuf,
    pub root: PathBuf,
    pub bundle: PathBuf,
    pub id: String,
    /// The cgroup that only this test has, below which all of its containers lie.
    pub cgroup_parent: String,
    /// What its own is called below that one.
    pub cgroup_leaf: String,
    pub config: Value,
    /// Who makes it.
    pub runtime: Runtime,
}

/// A parent that reaps nobody, until it is dropped.
pub struct Unreaping(Child);

impl Drop for Unreaping {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A runtime that a container is made by.
#[derive(Debug, Clone, Default)]
pub enum Runtime {
    /// The one under test.
    #[default]
    Tested,
    /// The same with these protections left out: `NFRUN_FAULT=skip:NAME,NAME`.
    Without(&'static str),
    /// Another one that is installed: a program of this name.
    Peer(&'static str),
    /// The one under test, called by an ordinary user.
    User(user::User),
}

impl Runtime {
    fn command(&self) -> Command {
        match self {
            Self::Tested => Command::new(binary()),
            Self::Without(guards) => {
                let mut command = Command::new(binary());
                command.env("NFRUN_FAULT", format!("skip:{guards}"));
                command
            }
            // crun takes a cgroup2 beside v1 for a host that has v2 alone.
            Self::Peer(name @ "crun") => {
                let mut command = Command::new("unshare");
                let script = "mount -t tmpfs hidden /sys/fs/cgroup/unified 2>/dev/null; exec \"$0\" \"$@\"";
                command.args(["--mount", "sh", "-c", script, name]);
                command
            }
            Self::Peer(name) => Command::new(name),
            Self::User(user) => user.command(),
        }
    }
}

impl Container {
    /// A container whose init runs these words.
    pub fn new(args: &[&str]) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("nfrun-test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let dir = std::env::temp_dir().join(&name);
        let bundle = dir.join("bundle");
        bundle::make_rootfs(&bundle.join("rootfs"));
        let (cgroup_parent, cgroup_leaf, cgroups_path) = match by_systemd() {
            // A dash in a slice's name would be a slice in a slice.
            true => {
                let (slice, short) = (name.replace('-', "") + ".slice", name.trim_start_matches("nfrun-test-"));
                (format!("/{slice}"), format!("nfrun-{short}.scope"), format!("{slice}:nfrun:{short}"))
            }
            false => (format!("/{name}"), "c".to_owned(), format!("/{name}/c")),
        };
        let mut config = base();
        config["process"]["args"] = json!(args);
        config["linux"]["cgroupsPath"] = json!(cgroups_path);
        let container = Self {
            root: dir.join("state"),
            id: format!("{name}-c"),
            dir,
            bundle,
            cgroup_parent,
            cgroup_leaf,
            config,
            runtime: Runtime::Tested,
        };
        container.save();
        container
    }

    /// A container whose init is a shell with this script.
    pub fn sh(script: &str) -> Self {
        Self::new(&["sh", "-c", script])
    }

    /// A container whose init does nothing until it is killed.
    pub fn idle() -> Self {
        Self::new(&["sleep", "1000"])
    }

    /// The same container, made by this runtime.
    #[must_use]
    pub fn by(mut self, runtime: &Runtime) -> Self {
        self.runtime = runtime.clone();
        self
    }

    /// The same container with its config.json changed.
    #[must_use]
    pub fn with(mut self, edit: impl FnOnce(&mut Value)) -> Self {
        edit(&mut self.config);
        self.save();
        self
    }

    /// Writes config.json again.
    pub fn save(&self) {
        let text = serde_json::to_vec_pretty(&self.config).expect("a document");
        std::fs::write(self.bundle.join("config.json"), text).expect("write config.json");
    }

    /// A path inside the root filesystem, as the host sees it.
    pub fn rootfs(&self, path: &str) -> PathBuf {
        self.bundle.join("rootfs").join(path.trim_start_matches('/'))
    }

    /// The runtime with this test's state root and these words.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = self.runtime.command();
        command.args(by_systemd().then_some("--systemd-cgroup"));
        command.arg("--root").arg(&self.root).args(words).stdin(Stdio::null()).current_dir(&self.dir);
        command
    }

    /// Runs a command to its end. Its output goes through files, since a created container keeps its caller's stdio.
    #[track_caller]
    pub fn finish(&self, command: &mut Command) -> Output {
        self.finish_within(command, LIMIT)
    }

    /// The same for what may take longer than most things.
    #[track_caller]
    pub fn finish_within(&self, command: &mut Command, limit: std::time::Duration) -> Output {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let files = [self.dir.join(format!("stdout.{n}")), self.dir.join(format!("stderr.{n}"))];
        let [out, err] = files.each_ref().map(|file| std::fs::File::create(file).expect("create an output file"));
        let mut child = start(command.stdout(out).stderr(err));
        let code = wait_within(&mut child, &format!("{command:?}"), limit);
        let [stdout, stderr] = files.map(|file| {
            let text = std::fs::read(&file).expect("read an output file");
            let _ = std::fs::remove_file(&file);
            String::from_utf8_lossy(&text).into_owned()
        });
        Output { code, stdout, stderr }
    }

    /// `RUNTIME --root ROOT words…`
    #[track_caller]
    pub fn runtime(&self, words: &[&str]) -> Output {
        self.finish(&mut self.command(words))
    }

    /// `RUNTIME --root ROOT words… ID`
    #[track_caller]
    pub fn on_id(&self, words: &[&str]) -> Output {
        self.runtime(&[words, &[&self.id]].concat())
    }

    /// The words of `create` or `run` for this bundle.
    pub fn words<'a>(&'a self, verb: &'a str, options: &[&'a str]) -> Vec<&'a str> {
        let bundle = self.bundle.to_str().expect("a text path");
        [&[verb, "--bundle", bundle], options, &[&self.id]].concat()
    }

    /// `run`, to its end.
    #[track_caller]
    pub fn run(&self) -> Output {
        self.runtime(&self.words("run", &[]))
    }

    /// `create`, whatever comes of it.
    #[track_caller]
    pub fn try_create(&self) -> Output {
        self.runtime(&self.words("create", &[]))
    }

    /// `create`, which has to succeed.
    #[track_caller]
    pub fn create(&self) -> &Self {
        self.try_create().ok();
        self
    }

    /// `create`, with a parent for its init who reaps nobody as long as the answer is held: how a process ended can be seen
    /// until its parent has reaped it, which a host's pid 1 may do at once.
    #[track_caller]
    pub fn create_unreaped(&self) -> Unreaping {
        let script = "import ctypes, subprocess, sys\n\
            ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)\n\
            subprocess.run(sys.argv[1:], check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)\n\
            print('made', flush=True)\n\
            sys.stdin.read()";
        let create = self.command(&self.words("create", &[]));
        let (mut lines, writer) = Lines::pipe();
        let mut parent = Command::new("/usr/bin/python3");
        parent.args(["-c", script]).arg(create.get_program()).args(create.get_args()).current_dir(&self.dir);
        let parent = parent.stdin(Stdio::piped()).stdout(writer).spawn().expect("start python3");
        let parent = Unreaping(parent);
        assert_eq!(lines.line(), "made");
        parent
    }

    /// `start`, which has to succeed.
    #[track_caller]
    pub fn start(&self) -> &Self {
        self.on_id(&["start"]).ok();
        self
    }

    /// `create` and `start`.
    #[track_caller]
    pub fn up(self) -> Self {
        self.create().start();
        self
    }

    /// `create` and `start` with stdout as a pipe, whose lines the test reads.
    #[track_caller]
    pub fn up_with_lines(&self) -> Lines {
        let (lines, writer) = Lines::pipe();
        let stderr = self.dir.join("stderr.lines");
        let mut create = self.command(&self.words("create", &[]));
        create.stdout(writer).stderr(std::fs::File::create(&stderr).expect("create an output file"));
        let mut child = start(&mut create);
        // The command holds a writing end as well, which would keep the pipe from ending.
        drop(create);
        assert_eq!(wait(&mut child, "create"), 0, "create: {}", std::fs::read_to_string(stderr).unwrap_or_default());
        self.start();
        lines
    }

    /// `exec ID words…`
    #[track_caller]
    pub fn exec(&self, words: &[&str]) -> Output {
        self.runtime(&[&["exec", &self.id], words].concat())
    }

    /// `exec options… ID words…`
    #[track_caller]
    pub fn exec_with(&self, options: &[&str], words: &[&str]) -> Output {
        self.runtime(&[&["exec"], options, &[&self.id], words].concat())
    }

    /// What `state` prints.
    #[track_caller]
    pub fn state(&self) -> Value {
        serde_json::from_str(self.on_id(&["state"]).ok()).expect("state prints JSON")
    }

    /// The status word that `state` prints.
    #[track_caller]
    pub fn status(&self) -> String {
        self.state()["status"].as_str().expect("a status").to_owned()
    }

    /// Init's pid, as the host sees it.
    #[track_caller]
    pub fn pid(&self) -> i32 {
        let pid = self.state()["pid"].as_i64().expect("a pid") as i32;
        assert!(pid > 1, "a live container has a pid, not {pid}");
        pid
    }

    /// `kill ID SIGNAL` and the end of init.
    #[track_caller]
    pub fn kill(&self, signal: &str) {
        let init = pidfd(self.pid()).expect("init");
        self.runtime(&["kill", &self.id, signal]).ok();
        assert!(ends_within(&init, LIMIT), "init did not end after signal {signal}");
        self.wait_for("stopped");
    }

    /// Waits until `state` prints this status: a dead init is a zombie for a moment, and nothing tells of its end.
    #[track_caller]
    pub fn wait_for(&self, status: &str) {
        eventually(&format!("the container is {status}"), || self.status() == status);
    }

    /// The container's cgroup in one hierarchy.
    pub fn cgroup(&self, hierarchy: &str) -> PathBuf {
        outside::cgroup_dir(hierarchy, &format!("{}/{}", self.cgroup_parent, self.cgroup_leaf))
    }

    /// A file of the container's cgroup, trimmed.
    #[track_caller]
    pub fn limit(&self, hierarchy: &str, file: &str) -> String {
        let path = self.cgroup(hierarchy).join(file);
        std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display())).trim().to_owned()
    }

    /// Whether its own cgroup is frozen, as the kernel says.
    #[track_caller]
    pub fn is_frozen(&self) -> bool {
        match outside::is_v2() {
            true => self.limit("", "cgroup.events").contains("frozen 1"),
            false => self.limit("freezer", "freezer.state") == "FROZEN",
        }
    }

    /// What this test has on the machine now.
    pub fn leftovers(&self) -> Leftovers {
        Leftovers::snapshot(self)
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        for entry in std::fs::read_dir(&self.root).into_iter().flatten().flatten() {
            let mut delete = self.command(&["delete", "--force"]);
            delete.arg(entry.file_name()).stdout(Stdio::null()).stderr(Stdio::null());
            if let Ok(mut child) = delete.spawn() {
                if let Some(fd) = pidfd(child.id() as i32) {
                    ends_within(&fd, LIMIT);
                }
                let _ = child.kill();
                let _ = child.wait();
            }
        }
        outside::clear(&self.cgroup_parent, &self.dir);
    }
}
