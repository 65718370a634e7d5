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
    repelled(LAYERS, &[], |runtime| in_a_leaked_directory(runtime, "exec"));
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
