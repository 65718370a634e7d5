//! Descriptors of the host that reach a container, and processes that are traced while they have them.

use std::fs;
use std::process::Command;

use crate::common::bundle::set_capabilities;
use crate::common::*;
use crate::{repelled, tries, victim, within};

/// A command of the runtime whose caller has left the host's / open, as number 9.
fn with_the_root_open(command: &Command, c: &Container) -> Output {
    let mut shell = Command::new("sh");
    shell.args(["-c", "exec 9</; exec \"$@\"", "sh"]);
    c.finish(within(shell, command).current_dir(&c.dir))
}

/// CVE-2024-21626: the working directory is a descriptor that leads to the host. Three layers: descriptors are closed
/// before, links of procfs are not followed, and a directory outside the root is refused.
const LAYERS: &str = "close-descriptors,beneath,directory-inside";
const LAYERS_OF_EXEC: &str = "close-descriptors,beneath,directory-inside,late-fork";

fn in_a_leaked_directory(runtime: &Runtime, verb: &str) -> bool {
    let c = Container::idle().by(runtime);
    let secret = victim(&c).join("secret");
    let words = ["cat".to_owned(), format!(".{}", secret.display())];
    let c = match verb {
        "run" => c.with(|config| {
            config["process"]["args"] = json!(words);
            config["process"]["cwd"] = json!("/proc/self/fd/9");
        }),
        _ => c.up(),
    };
    let command = match verb {
        "run" => c.command(&c.words("run", &[])),
        _ => c.command(&["exec", "--cwd", "/proc/self/fd/9", &c.id, &words[0], &words[1]]),
    };
    with_the_root_open(&command, &c).stdout.contains("of the host")
}

#[test]
fn a_leaked_descriptor_is_no_working_directory() {
    repelled(LAYERS, &[], |runtime| in_a_leaked_directory(runtime, "run"));
    // A process of exec has no pid in the container's /proc before it has gone to its directory.
    repelled(LAYERS_OF_EXEC, &[], |runtime| in_a_leaked_directory(runtime, "exec"));
}

#[test]
fn two_of_the_three_layers_can_be_missing() {
    for guards in ["close-descriptors,beneath", "close-descriptors,directory-inside", "beneath,directory-inside"] {
        assert!(!in_a_leaked_directory(&Runtime::Without(guards), "run"), "{guards}");
    }
}

/// The same with descriptors that a runtime itself has open, such as runc's of /sys/fs/cgroup (Debian's 1.1.5 is mended).
#[test]
fn no_descriptor_of_the_runtime_itself_is_a_working_directory() {
    repelled("", &[], |runtime| {
        (3..20).any(|fd| {
            let c = Container::sh("ls ./pids >/dev/null && test ! -e /sys/fs/cgroup/pids/cgroup.procs && echo outside")
                .by(runtime)
                .with(|config| {
                    config["process"]["cwd"] = json!(format!("/proc/self/fd/{fd}"));
                    config["mounts"].as_array_mut().unwrap().retain(|mount| mount["type"] != "cgroup");
                });
            c.run().stdout.contains("outside")
        })
    });
}

/// CVE-2016-9962: what runs inside traces the process that `exec` brings, and takes its descriptors, while it still has
/// more power than the container. Following /proc/PID/fd/0 asks the kernel the same question as ptrace(2).
const TRACER: &str = r#"
echo up
while :; do
    for p in /proc/[0-9]*; do
        # The shell itself follows the link: another process would come too late. Whoever is init after that was before.
        [ -e $p/fd/0 ] && read -r comm <$p/comm || continue
        case $comm in
            sh|true|busybox) ;;
            *) echo "traced $comm" ;;
        esac
    done
done 2>/dev/null
"#;

fn traces_an_exec(runtime: &Runtime, capabilities: &[&str]) -> bool {
    let c = Container::sh(TRACER).by(runtime).with(|config| set_capabilities(&mut config["process"], capabilities));
    let mut lines = c.up_with_lines();
    assert_eq!(lines.line(), "up");
    for _ in 0..tries() {
        c.exec_with(&[], &["true"]).ok();
        if readable_within(lines.reader(), std::time::Duration::ZERO) {
            break;
        }
    }
    c.kill("KILL");
    let traced = lines.next();
    eprintln!("{runtime:?}: {traced:?}");
    traced.is_some()
}

#[test]
fn a_process_inside_cannot_trace_what_exec_brings() {
    if is_reference() {
        skip!("its process has another name");
    }
    repelled("untraceable", &[], |runtime| traces_an_exec(runtime, &["CAP_KILL", "CAP_DAC_READ_SEARCH"]));
}

/// What a process is permitted, which is what is won by tracing it.
fn permitted(pid: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("CapPrm:\t"));
    line.and_then(|mask| u64::from_str_radix(mask, 16).ok()).unwrap_or(0)
}

/// The attacker of the next test, which this very program is, in the container: it waits for the next pid to appear, takes
/// hold of its process and looks whether that may do more than itself.
#[test]
fn the_tracer() {
    if std::env::var_os("ATTACK_TRACER").is_none() {
        return;
    }
    // The last number of a process or thread in this namespace: proc_loadavg(5).
    let last_pid = || -> i32 {
        let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
        text.split_whitespace().last().and_then(|pid| pid.parse().ok()).unwrap_or(0)
    };
    let own = permitted("self");
    let (mut next, mut missed) = (last_pid() + 1, 0u64);
    println!("\nup");
    let nothing = std::ptr::null_mut::<libc::c_void>();
    // SAFETY: plain numbers; what is traced is let go of again.
    let ptrace = |request, pid: i32| unsafe { libc::ptrace(request, pid, nothing, nothing) };
    let end = std::time::Instant::now() + 10 * LIMIT;
    while std::time::Instant::now() < end {
        if ptrace(libc::PTRACE_SEIZE, next) != 0 {
            missed += 1;
            if missed % 200 == 0 {
                next = next.max(last_pid() + 1);
            }
            continue;
        }
        ptrace(libc::PTRACE_INTERRUPT, next);
        // SAFETY: no status is asked for.
        unsafe { libc::waitpid(next, std::ptr::null_mut(), libc::__WALL) };
        let theirs = permitted(&next.to_string());
        ptrace(libc::PTRACE_DETACH, next);
        if theirs & !own != 0 {
            println!("\nwon {theirs:x}");
            return;
        }
        next += 1;
    }
}

/// The same as before, by a process with CAP_SYS_PTRACE, from which no process of its user namespace can hide: there must be
/// nothing to win. What docker does by default, a filter without noNewPrivileges, makes it harder.
fn wins_by_tracing(runtime: &Runtime, no_new_privileges: bool) -> bool {
    let c = Container::new(&["/tracer", "--exact", "descriptors::the_tracer", "--nocapture"]).by(runtime);
    fs::copy("/proc/self/exe", c.rootfs("/tracer")).expect("copy this program");
    let c = c.with(|config| {
        set_capabilities(&mut config["process"], &["CAP_SYS_PTRACE", "CAP_KILL"]);
        config["process"]["env"].as_array_mut().unwrap().push(json!("ATTACK_TRACER=1"));
        config["process"]["noNewPrivileges"] = json!(no_new_privileges);
        config["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38}]});
    });
    let mut lines = c.up_with_lines();
    lines.until("\nup\n");
    for _ in 0..tries().div_ceil(3) {
        // Once it has won the attacker ends, and its container with it.
        c.exec_with(&[], &["true"]);
        if readable_within(lines.reader(), std::time::Duration::ZERO) {
            break;
        }
    }
    c.on_id(&["delete", "--force"]).ok();
    let won = std::iter::from_fn(|| lines.next()).find(|line| line.starts_with("won"));
    eprintln!("{runtime:?}, {no_new_privileges}: {won:?}");
    won.is_some()
}

#[test]
fn a_process_with_cap_sys_ptrace_wins_nothing_by_tracing_what_exec_brings() {
    if is_reference() {
        skip!("it succeeds on runc");
    }
    for no_new_privileges in [true, false] {
        repelled("late-fork", &[], |runtime| wins_by_tracing(runtime, no_new_privileges));
    }
}

/// The attacker of the next test, a startContainer hook from the image.
#[test]
fn the_tracing_hook() {
    if std::env::var_os("ATTACK_HOOK").is_none() {
        return;
    }
    let nothing = std::ptr::null_mut::<libc::c_void>();
    // SAFETY: plain numbers.
    let holds = unsafe { libc::ptrace(libc::PTRACE_SEIZE, 1, nothing, nothing) } == 0;
    let won = permitted("1") & !permitted("self");
    assert!(!holds || won == 0, "won {won:x}");
}

fn wins_by_tracing_from_a_hook(runtime: &Runtime) -> bool {
    let c = Container::idle().by(runtime);
    fs::copy("/proc/self/exe", c.rootfs("/tracer")).expect("copy this program");
    let c = c.with(|config| {
        set_capabilities(&mut config["process"], &["CAP_SYS_PTRACE", "CAP_KILL"]);
        config["process"]["noNewPrivileges"] = json!(false);
        config["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38}]});
        let args = ["/tracer", "--exact", "descriptors::the_tracing_hook", "--nocapture"];
        config["hooks"]["startContainer"] = json!([{"path": "/tracer", "args": args, "env": ["ATTACK_HOOK=1"]}]);
    });
    let started = c.create().on_id(&["start"]);
    eprintln!("{runtime:?}: {started:?}");
    started.code != 0 && started.stderr.contains("won")
}

#[test]
fn a_start_container_hook_wins_nothing_by_tracing_init() {
    repelled("late-hooks", &[], wins_by_tracing_from_a_hook);
}

/// Nothing of the host is open in what runs inside, whatever the caller has open.
#[test]
fn a_container_has_no_descriptor_of_the_caller() {
    repelled("close-descriptors", &[], |runtime| {
        let c = Container::new(&["ls", "-l", "/proc/self/fd"]).by(runtime);
        let output = with_the_root_open(&c.command(&c.words("run", &[])), &c);
        output.stdout.lines().any(|line| line.contains(" 9 -> "))
    });
    let c = Container::idle().up();
    let output = with_the_root_open(&c.command(&["exec", &c.id, "ls", "-l", "/proc/self/fd"]), &c);
    assert!(!output.stdout.contains(" 9 -> "), "{output:?}");
    assert!(fs::metadata(&c.dir).is_ok());
}
