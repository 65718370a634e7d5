//! Debian's docker drives the runtime, and so does BuildKit in it. The runtime is installed under the name runc and comes
//! first in the daemon's PATH: dockerd's default runtime, containerd's shim and BuildKit all call `runc`.

#[macro_use]
mod common;

use std::io::Write;
use std::process::Command;
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use common::aside::installed;
use common::daemon::{Daemon, containerd_config, unix};
use common::machine::{Manager, unit_property};
use common::terminal::{control, lines_of, pty, resize};
use common::*;

/// Debian's client; another in PATH may need a plugin to build.
const DOCKER: &str = "/usr/bin/docker";

/// A dockerd with namespaces, directories and a cgroup of its own, and an image `busybox`.
struct Docker {
    daemon: Daemon,
    c: Container,
    manager: Manager,
}

impl Docker {
    /// Starts it; the reason why it cannot run here otherwise.
    fn new() -> Result<Self, String> {
        if !std::path::Path::new(DOCKER).exists() || !installed("dockerd") || !installed("containerd") {
            return Err("docker, dockerd or containerd is not installed".into());
        }
        let c = Container::new(&["true"]);
        let (dir, parent) = (c.dir.display(), &c.cgroup_parent);
        let manager = Manager::here();
        // systemd's scopes are in system.slice.
        let parent = if manager == Manager::Systemd { String::new() } else { format!("--cgroup-parent {parent}") };
        std::fs::write(c.dir.join("ctd.toml"), containerd_config(c.dir.to_str().unwrap())).unwrap();
        // A containerd of dockerd's own has 15 seconds to come up, which are few where everything is emulated.
        let dockerd = format!(
            "containerd --config {dir}/ctd.toml & until [ -S {dir}/ctd.sock ] || ! kill -0 $!; do sleep 0.05; done; \
             dockerd --containerd {dir}/ctd.sock --host {socket} --data-root {dir}/data --exec-root {dir}/exec --pidfile {dir}/dockerd.pid \
             --storage-driver vfs --exec-opt native.cgroupdriver={manager} {parent} --shutdown-timeout 1",
            socket = unix(&c.dir.join("docker.sock")),
            manager = manager.name(),
        );
        let path = install::path_with(&install::as_runc(&c));
        let mut docker = Self { daemon: Daemon::start(&dockerd, c.dir.join("dockerd.log"), &path), c, manager };
        docker.wait_for_daemon()?;
        docker.import();
        Ok(docker)
    }

    fn wait_for_daemon(&mut self) -> Result<(), String> {
        let until = Instant::now() + LIMIT * 2;
        while self.docker(&["version"]).code != 0 {
            let said = self.daemon.said();
            if self.daemon.has_ended() {
                let last = said.lines().rev().find(|line| !line.contains("has ended")).unwrap_or_default();
                return Err(format!("dockerd does not run here: {last}"));
            }
            assert!(Instant::now() < until, "dockerd does not answer within a minute: {said}");
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    fn import(&self) {
        let (tar, rootfs) = (self.c.dir.join("image.tar"), self.c.bundle.join("rootfs"));
        std::os::unix::fs::symlink("busybox", rootfs.join("bin/httpd")).expect("link an applet");
        let mut pack = Command::new("tar");
        self.c.finish(pack.arg("-C").arg(&rootfs).arg("-cf").arg(&tar).arg(".")).ok();
        let path = "ENV PATH /bin";
        self.docker(&["import", "--change", path, tar.to_str().unwrap(), "busybox"]).ok();
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(DOCKER);
        command.args(words).current_dir(&self.c.dir);
        command.env("DOCKER_HOST", unix(&self.c.dir.join("docker.sock")));
        command.env("DOCKER_CONFIG", self.c.dir.join("docker-config")).env_remove("DOCKER_CONTEXT");
        command
    }

    /// A docker command, which may have to wait for much on a busy machine.
    #[track_caller]
    fn docker(&self, words: &[&str]) -> Output {
        self.c.finish_within(&mut self.command(words), LIMIT * 2)
    }

    #[track_caller]
    fn inspect(&self, name: &str, format: &str) -> String {
        self.docker(&["inspect", "--format", format, name]).ok().to_owned()
    }

    /// The container's first process, as the host sees it.
    #[track_caller]
    fn pid(&self, name: &str) -> i32 {
        let inside: i32 = self.inspect(name, "{{.State.Pid}}").parse().expect("a pid");
        if machine::is_ours() { inside } else { self.daemon.pid_outside(inside) }
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        // What a daemon has started outlives it on a machine that has no namespaces for it.
        let all = self.command(&["ps", "--all", "--quiet"]).output();
        for id in all.map(|all| String::from_utf8_lossy(&all.stdout).into_owned()).unwrap_or_default().lines() {
            let _ = self.command(&["rm", "--force", id]).output();
        }
    }
}

macro_rules! docker {
    () => {
        match Docker::new() {
            Ok(docker) => docker,
            Err(reason) => skip!("{reason}"),
        }
    };
}

const SERVICE: &str = "trap 'echo bye; exit 3' TERM; echo started; while :; do usleep 20000; done";

#[test]
fn a_service_is_run_entered_updated_logged_paused_stopped_and_removed() {
    let d = docker!();
    let run = ["run", "--detach", "--name", "svc", "--memory", "64m", "--memory-swap", "64m"];
    d.docker(&[&run[..], &["busybox", "sh", "-c", SERVICE]].concat()).ok();
    eventually("it started", || d.docker(&["logs", "svc"]).stdout == "started\n");
    let exec = d.docker(&["exec", "--env", "A=b", "svc", "sh", "-c", "echo $A; cat /proc/1/comm; exit 7"]);
    assert_eq!((exec.code, exec.stdout.as_str()), (7, "b\nsh\n"), "{exec:?}");
    // 126 until docker 20, 127 since.
    assert!([126, 127].contains(&d.docker(&["exec", "svc", "nosuch"]).code));
    let pid = d.pid("svc");
    let cgroup = outside::cgroup_of(pid, "memory");
    assert!(cgroup.to_str().unwrap().contains(&d.inspect("svc", "{{.Id}}")), "{}", cgroup.display());
    let limit = || outside::limit_of(pid, "memory", "memory.limit_in_bytes", "memory.max");
    assert_eq!(limit(), "67108864");
    d.docker(&["update", "--memory", "32m", "--memory-swap", "48m", "svc"]).ok();
    assert_eq!(limit(), "33554432");
    d.docker(&["pause", "svc"]).ok();
    assert_eq!(d.inspect("svc", "{{.State.Status}}"), "paused");
    d.docker(&["unpause", "svc"]).ok();
    assert!(d.docker(&["top", "svc"]).ok().contains("usleep") || d.docker(&["top", "svc"]).ok().contains("sh -c"));
    d.docker(&["stop", "--time", "20", "svc"]).ok();
    assert_eq!(
        d.inspect("svc", "{{.State.Status}} {{.State.ExitCode}}"),
        "exited 3",
        "it had the time to end by itself"
    );
    assert_eq!(d.docker(&["logs", "svc"]).ok(), "started\nbye");
    d.docker(&["start", "svc"]).ok();
    d.docker(&["kill", "svc"]).ok();
    assert_eq!(d.docker(&["wait", "svc"]).ok(), "137");
    d.docker(&["rm", "svc"]).ok();
    eventually("its cgroup is gone", || !cgroup.exists());
}

#[test]
fn run_gives_output_and_exit_code_and_says_what_is_wrong() {
    let d = docker!();
    let output = d.docker(&["run", "--rm", "busybox", "sh", "-c", "echo out; echo err >&2; exit 42"]);
    assert_eq!((output.code, output.stdout.as_str(), output.stderr.as_str()), (42, "out\n", "err\n"));
    d.docker(&["run", "--rm", "busybox", "nosuch"])
        .fails(127, &["OCI runtime create failed: runc create failed", "$PATH"]);
    d.docker(&["run", "--rm", "busybox", "/etc/passwd"]).fails(126, &["permission denied"]);
    // Whatever Debian's runc were asked: it is not it that answers.
    let state = d.daemon.command(&["find", d.c.dir.to_str().unwrap(), "/run", "-name", "undo"]);
    d.docker(&["run", "--detach", "--name", "svc", "busybox", "sleep", "1000"]).ok();
    let mut state = state;
    assert_eq!(d.c.finish(&mut state).ok().lines().count(), 1, "one record, in the directory of the one container");
}

#[test]
fn published_ports_are_reached_and_containers_reach_each_other() {
    let d = docker!();
    let page = "mkdir -p /tmp/www; echo hello from inside > /tmp/www/index.html; exec httpd -f -p 80 -h /tmp/www";
    let run = ["run", "--detach", "--name", "web", "--publish", "8080:80"];
    d.docker(&[&run[..], &["busybox", "sh", "-c", page]].concat()).ok();
    let address = d.inspect("web", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}");
    let host = |address: &str, port: u16| {
        let url = format!("http://{address}:{port}/");
        let fetch = machine::fetch(&url);
        d.c.finish(&mut d.daemon.command(&fetch.each_ref().map(String::as_str)))
    };
    eventually("the container's address is reached", || host(&address, 80).stdout.contains("hello"));
    for published in ["127.0.0.1", "172.17.0.1"] {
        assert_eq!(host(published, 8080).ok().trim(), "hello from inside", "{published}");
    }
    // From other containers: over the bridge, in the same network namespace, in the host's.
    let ways = [("bridge", &*address, "80"), ("container:web", "127.0.0.1", "80"), ("host", "127.0.0.1", "8080")];
    for (network, address, port) in ways {
        let fetch = format!("printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc {address} {port}");
        let fetched = d.docker(&["run", "--rm", "--network", network, "busybox", "sh", "-c", &fetch]);
        assert!(fetched.ok().ends_with("hello from inside"), "{network}: {fetched:?}");
    }
    let none = d.docker(&["run", "--rm", "--network", "none", "busybox", "ls", "/sys/class/net"]);
    assert_eq!(none.ok(), "lo");
    d.docker(&["rm", "--force", "web"]).ok();
    assert_ne!(host("127.0.0.1", 8080).code, 0, "the port is closed");
}

#[test]
fn an_image_is_built_by_buildkit_and_without_it() {
    let d = docker!();
    let context = d.c.dir.join("context");
    std::fs::create_dir(&context).unwrap();
    std::fs::write(context.join("file"), "of the context\n").unwrap();
    let dockerfile = "FROM busybox AS first\nCOPY file /copied\nRUN cat /copied > /tmp/made && id -u >> /tmp/made\n\
                      RUN test -e /proc/1/root && echo inside\n\
                      FROM scratch\nCOPY --from=first /bin /bin\nCOPY --from=first /tmp/made /made\n\
                      RUN [\"/bin/sh\", \"-c\", \"/bin/echo again >> /made\"]\nCMD [\"/bin/cat\", \"/made\"]\n";
    std::fs::write(context.join("Dockerfile"), dockerfile).unwrap();
    for (kit, tag) in [("1", "kit"), ("0", "classic")] {
        let mut build = d.command(&["build", "--tag", tag, "context"]);
        d.c.finish_within(build.env("DOCKER_BUILDKIT", kit), LIMIT * 4).ok();
        assert_eq!(d.docker(&["run", "--rm", tag]).ok(), "of the context\n0\nagain", "{tag}");
    }
    let failing = "FROM busybox\nRUN echo before; exit 9\n";
    std::fs::write(context.join("Dockerfile"), failing).unwrap();
    let mut build = d.command(&["build", "context"]);
    let failed = d.c.finish_within(build.env("DOCKER_BUILDKIT", "1"), LIMIT * 4);
    failed.fails(1, &["exit code: 9"]);
}

#[test]
fn a_terminal_is_typed_into_read_from_and_resized() {
    let d = docker!();
    let (master, slave) = pty(30, 100);
    let script = "echo ready; read a; echo got $a; \
        until [ \"$(stty size)\" = '40 120' ]; do usleep 20000; done; echo resized; exec sleep 1000";
    let mut run = d.command(&["run", "--rm", "--interactive", "--tty", "--name", "tty", "busybox", "sh", "-c", script]);
    control(&mut run, &slave);
    let mut run = run.spawn().expect("start docker");
    let mut lines = lines_of(&master);
    let mut keys = std::fs::File::from(master.try_clone().unwrap());
    lines.until("ready");
    keys.write_all(b"typed\n").unwrap();
    lines.until("got typed");
    resize(&master, 40, 120);
    // docker begins to listen for the signal some time after the container runs, and nothing tells when.
    let docker = nix::unistd::Pid::from_raw(run.id() as i32);
    std::thread::scope(|scope| {
        let (done, is_done) = std::sync::mpsc::channel::<()>();
        scope.spawn(move || {
            while is_done.recv_timeout(Duration::from_millis(200)) == Err(RecvTimeoutError::Timeout) {
                let _ = nix::sys::signal::kill(docker, nix::sys::signal::Signal::SIGWINCH);
            }
        });
        lines.until("resized");
        drop(done);
    });
    let mut exec = d.command(&["exec", "--interactive", "--tty", "tty", "sh", "-c", "tty; read a; exit 4"]);
    let (second, second_slave) = pty(30, 100);
    control(&mut exec, &second_slave);
    let mut exec = exec.spawn().expect("start docker");
    lines_of(&second).until("/dev/pts/");
    std::fs::File::from(second.try_clone().unwrap()).write_all(b"\n").unwrap();
    assert_eq!(wait(&mut exec, "docker exec -it"), 4);
    d.docker(&["kill", "tty"]).ok();
    assert_eq!(wait(&mut run, "docker run -it"), 137);
}

#[test]
fn stats_and_limits_are_the_kernels_and_systemd_keeps_them() {
    let d = docker!();
    let limits = ["--memory", "64m", "--memory-swap", "64m", "--cpus", "0.5", "--pids-limit", "55"];
    let run = [&["run", "--detach", "--name", "svc", "--read-only"][..], &limits, &["busybox", "sh", "-c", SERVICE]];
    d.docker(&run.concat()).ok();
    let pid = d.pid("svc");
    let are = |memory: &str, pids: &str, quota: &str| {
        assert_eq!(outside::limit_of(pid, "memory", "memory.limit_in_bytes", "memory.max"), memory);
        assert_eq!(outside::limit_of(pid, "pids", "pids.max", "pids.max"), pids);
        let now = outside::limit_of(pid, "cpu", "cpu.cfs_quota_us", "cpu.max");
        assert_eq!(now.split(' ').next().unwrap(), quota);
    };
    are("67108864", "55", "50000");
    let stats = d.docker(&["stats", "--no-stream", "--format", "{{.Name}} {{.PIDs}} {{.MemUsage}}", "svc"]);
    assert!(stats.ok().starts_with("svc ") && stats.stdout.contains("/ 64MiB"), "{stats:?}");
    let update = ["update", "--memory", "32m", "--memory-swap", "32m", "--cpus", "0.25", "--pids-limit", "44", "svc"];
    d.docker(&update).ok();
    are("33554432", "44", "25000");
    if d.manager == Manager::Systemd {
        let scope = format!("docker-{}.scope", d.inspect("svc", "{{.Id}}"));
        assert_eq!(unit_property(&scope, "MemoryMax"), "33554432");
        assert!(Command::new("systemctl").arg("daemon-reload").status().expect("start systemctl").success());
        are("33554432", "44", "25000");
        d.docker(&["rm", "--force", "svc"]).ok();
        eventually("its scope is gone", || unit_property(&scope, "LoadState") == "not-found");
    }
}

#[test]
fn a_container_is_restarted_checked_for_its_health_and_ends_when_it_should() {
    let d = docker!();
    let options = ["--restart", "on-failure:2"];
    d.docker(
        &[&["run", "--detach", "--name", "fails"][..], &options, &["busybox", "sh", "-c", "echo again; exit 5"]]
            .concat(),
    )
    .ok();
    eventually("it ran three times", || d.docker(&["logs", "fails"]).stdout == "again\nagain\nagain\n");
    let health = ["--health-cmd", "test -e /tmp/well", "--health-interval", "1s", "--health-retries", "100"];
    d.docker(&[&["run", "--detach", "--name", "svc"][..], &health, &["busybox", "sleep", "1000"]].concat()).ok();
    d.docker(&["exec", "svc", "touch", "/tmp/well"]).ok();
    eventually("it is well", || d.inspect("svc", "{{.State.Health.Status}}") == "healthy");
}
