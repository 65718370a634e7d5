//! Debian's docker drives the runtime, and so does BuildKit in it. The runtime is installed under the name runc and comes
//! first in the daemon's PATH: dockerd's default runtime, containerd's shim and BuildKit all call `runc`.

#[macro_use]
mod common;

use std::process::Command;
use std::time::{Duration, Instant};

use common::aside::installed;
use common::daemon::{Daemon, unix};
use common::*;

/// Debian's client; another in PATH may need a plugin to build.
const DOCKER: &str = "/usr/bin/docker";

/// A dockerd with namespaces, directories and a cgroup of its own, and an image `busybox`.
struct Docker {
    daemon: Daemon,
    c: Container,
}

impl Docker {
    /// Starts it; the reason why it cannot run here otherwise.
    fn new() -> Result<Self, String> {
        if !std::path::Path::new(DOCKER).exists() || !installed("dockerd") || !installed("containerd") {
            return Err("docker, dockerd or containerd is not installed".into());
        }
        let c = Container::new(&["true"]);
        let (dir, parent) = (c.dir.display(), &c.cgroup_parent);
        let dockerd = format!(
            "dockerd --host {socket} --data-root {dir}/data --exec-root {dir}/exec --pidfile {dir}/dockerd.pid \
             --storage-driver vfs --cgroup-parent {parent} --shutdown-timeout 1",
            socket = unix(&c.dir.join("docker.sock")),
        );
        let path = install::path_with(&install::as_runc(&c));
        let mut docker = Self { daemon: Daemon::start(&dockerd, c.dir.join("dockerd.log"), &path), c };
        docker.wait_for_daemon()?;
        docker.import();
        Ok(docker)
    }

    fn wait_for_daemon(&mut self) -> Result<(), String> {
        let until = Instant::now() + Duration::from_secs(60);
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

    /// A docker command that has at most a minute: it may have to wait for much on a busy machine.
    #[track_caller]
    fn docker(&self, words: &[&str]) -> Output {
        self.c.finish_within(&mut self.command(words), Duration::from_secs(60))
    }

    #[track_caller]
    fn inspect(&self, name: &str, format: &str) -> String {
        self.docker(&["inspect", "--format", format, name]).ok().to_owned()
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
    d.docker(&["exec", "svc", "nosuch"]).fails(126, &[]);
    let cgroup = format!("{}/{}", d.c.cgroup_parent, d.inspect("svc", "{{.Id}}"));
    let limit = |file: &str| std::fs::read_to_string(outside::cgroup_dir("memory", &cgroup).join(file)).unwrap();
    assert_eq!(limit("memory.limit_in_bytes"), "67108864\n");
    d.docker(&["update", "--memory", "32m", "--memory-swap", "48m", "svc"]).ok();
    assert_eq!(limit("memory.limit_in_bytes"), "33554432\n");
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
    assert!(!outside::cgroup_dir("memory", &cgroup).exists(), "its cgroup is gone");
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
    let address = d.inspect("web", "{{.NetworkSettings.IPAddress}}");
    let host = |address: &str, port: u16| {
        let url = format!("http://{address}:{port}/");
        let fetch = format!("import urllib.request as u; print(u.urlopen('{url}', timeout=5).read().decode())");
        d.c.finish(&mut d.daemon.command(&["python3", "-c", &fetch]))
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
        d.c.finish_within(build.env("DOCKER_BUILDKIT", kit), Duration::from_secs(120)).ok();
        assert_eq!(d.docker(&["run", "--rm", tag]).ok(), "of the context\n0\nagain", "{tag}");
    }
    let failing = "FROM busybox\nRUN echo before; exit 9\n";
    std::fs::write(context.join("Dockerfile"), failing).unwrap();
    let mut build = d.command(&["build", "context"]);
    let failed = d.c.finish_within(build.env("DOCKER_BUILDKIT", "1"), Duration::from_secs(120));
    failed.fails(1, &["exit code: 9"]);
}
