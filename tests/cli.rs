//! What the command line says without a container: help, version, spec, errors, logs, completion.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

#[path = "common/skip.rs"]
mod skip;

/// A directory that goes with its test.
struct TempDir(PathBuf);

impl TempDir {
    fn new(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("nfrun-cli-{test}-{}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The runtime under test: elsewhere in a virtual machine.
fn binary() -> String {
    std::env::var("NFRUN_TEST_BINARY").unwrap_or_else(|_| env!("CARGO_BIN_EXE_nfrun").to_owned())
}

fn nfrun() -> Command {
    Command::new(binary())
}

fn run(words: &[&str]) -> Output {
    nfrun().args(words).output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// The exit code, and the message of the one log line on stderr, which has to be logrus's text.
fn failure(words: &[&str]) -> (i32, String) {
    let output = run(words);
    assert_eq!(stdout(&output), "", "{words:?} prints nothing on stdout");
    let line = String::from_utf8(output.stderr).unwrap();
    let (head, message) = line.trim_end().split_once(" msg=").unwrap();
    assert!(head.starts_with("time=\"20") && head.ends_with("Z\" level=error"), "{line}");
    let message = serde_json::from_str(message).unwrap_or_else(|_| message.to_owned());
    (output.status.code().unwrap(), message)
}

/// Debian's runc, or a word on why a test does without.
fn has_runc() -> bool {
    let found = Command::new("runc").arg("--version").stdout(Stdio::null()).status().is_ok();
    if !found {
        skip::note("runc is not installed, there is nothing to compare with");
    }
    found
}

#[test]
fn the_version_is_what_docker_and_containerd_parse() {
    for flag in ["--version", "-v"] {
        let output = run(&[flag]);
        let text = stdout(&output);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], format!("nfrun version {}", env!("CARGO_PKG_VERSION")));
        assert!(lines[1].starts_with("commit: "));
        assert_eq!(lines[2], "spec: 1.3.0");
    }
}

#[test]
fn installed_as_runc_it_calls_itself_runc() {
    let dir = TempDir::new("name");
    std::os::unix::fs::symlink(binary(), dir.path("runc")).unwrap();
    let runc = |words: &[&str]| Command::new(dir.path("runc")).args(words).output().unwrap();
    assert!(stdout(&runc(&["--version"])).starts_with("runc version "));
    assert!(stdout(&runc(&["--help"])).contains("Usage: runc "));
    assert!(stdout(&runc(&["exec", "--help"])).contains("Usage: runc exec "));
    assert!(String::from_utf8_lossy(&runc(&["state"]).stderr).contains("runc: \\\"state\\\" requires exactly 1"));
}

#[test]
fn make_install_puts_it_in_runcs_place_and_leaves_a_foreign_runc_alone() {
    let makefile = Path::new(env!("CARGO_MANIFEST_DIR")).join("Makefile");
    if !makefile.exists() || Command::new("make").arg("--version").stdout(Stdio::null()).status().is_err() {
        return skip::note("there is no make, or no Makefile, on this machine");
    }
    let dir = TempDir::new("install");
    let make = |target: &str| {
        let mut make = Command::new("make");
        make.current_dir(env!("CARGO_MANIFEST_DIR")).args([target, "NAME=runc", "PREFIX=/usr", "CARGO=none"]);
        make.arg(format!("BIN={}", binary())).arg(format!("DESTDIR={}", dir.0.display()));
        make.stdin(Stdio::null()).output().unwrap()
    };
    let installed = make("install");
    assert!(installed.status.success(), "{installed:?}");
    let said = Command::new(dir.path("usr/bin/runc")).arg("--version").output().unwrap();
    assert!(stdout(&said).starts_with("runc version "));
    let script = fs::read_to_string(dir.path("usr/share/bash-completion/completions/runc")).unwrap();
    assert!(script.contains("complete -F _runc"), "it completes the name that it is called by");
    assert!(make("install").status.success(), "again, as an upgrade does");
    assert!(make("uninstall").status.success());
    assert!(!dir.path("usr/bin/runc").exists() && !dir.path("usr/bin/nfrun").exists());
    fs::write(dir.path("usr/bin/runc"), "another's").unwrap();
    let refused = make("install");
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("is not nfrun's"), "{refused:?}");
    assert!(make("uninstall").status.success());
    assert_eq!(fs::read_to_string(dir.path("usr/bin/runc")).unwrap(), "another's");
}

#[test]
fn every_command_has_a_help_with_its_flags() {
    let whole = stdout(&run(&["--help"]));
    assert_eq!(whole, stdout(&run(&[])), "without words the help is printed");
    assert_eq!(whole, stdout(&run(&["help"])));
    for (command, flags) in [
        ("capture", "write count snapshot-length"),
        ("completion", ""),
        ("create", "bundle console-socket pid-file pidfd-socket no-pivot no-new-keyring preserve-fds"),
        ("checkpoint", ""),
        ("delete", "force"),
        ("events", "interval stats"),
        (
            "exec",
            "process console-socket pid-file pidfd-socket tty user additional-gids cwd env detach cap process-label \
             apparmor no-new-privs preserve-fds cgroup ignore-paused",
        ),
        ("features", ""),
        ("gc", ""),
        ("kill", "all"),
        ("list", "format quiet"),
        ("network", ""),
        ("pause", ""),
        ("plan", "bundle format no-host"),
        ("port", ""),
        ("ps", "format"),
        ("resume", ""),
        (
            "run",
            "bundle console-socket pid-file pidfd-socket no-pivot no-new-keyring preserve-fds detach keep no-subreaper",
        ),
        ("spec", "bundle rootless"),
        ("start", ""),
        ("restore", ""),
        ("state", ""),
        ("top", "once interval sort format"),
        (
            "update",
            "resources memory memory-reservation memory-swap cpu-share cpu-quota cpu-period cpu-burst cpu-rt-period \
             cpu-rt-runtime cpuset-cpus cpuset-mems cpu-idle blkio-weight pids-limit l3-cache-schema mem-bw-schema",
        ),
    ] {
        assert!(whole.lines().any(|line| line.trim_start().starts_with(&format!("{command} "))), "{command}");
        let help = stdout(&run(&[command, "--help"]));
        assert_eq!(help, stdout(&run(&["help", command])));
        for flag in flags.split_whitespace() {
            assert!(help.contains(&format!("--{flag}")), "{command} --help names --{flag}");
        }
    }
}

#[test]
fn every_command_of_a_group_has_a_help_with_its_flags() {
    let whole = stdout(&run(&["network"]));
    assert_eq!(whole, stdout(&run(&["network", "--help"])));
    assert_eq!(whole, stdout(&run(&["help", "network"])));
    assert!(whole.contains("Usage: nfrun network COMMAND"), "{whole}");
    for (command, flags) in [
        (
            "create",
            "subnet gateway ip-range ipv6 internal isolate mtu driver interface-name vlan dns route option label ignore",
        ),
        ("inspect", ""),
        ("ls", "format quiet"),
        ("prune", ""),
        ("rm", "force"),
    ] {
        assert!(whole.lines().any(|line| line.trim_start().starts_with(&format!("{command} "))), "{command}");
        let help = stdout(&run(&["network", command, "--help"]));
        assert_eq!(help, stdout(&run(&["help", "network", command])));
        assert!(help.contains(&format!("Usage: nfrun network {command}")), "{help}");
        for flag in flags.split_whitespace() {
            assert!(help.contains(&format!("--{flag}")), "network {command} --help names --{flag}");
        }
    }
}

/// The commands that a help lists.
fn commands_in(help: &str) -> Vec<&str> {
    let lines = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let words = lines.map_while(|line| line.strip_prefix("  ")?.split(' ').next());
    words.filter(|word| !word.is_empty() && *word != "help").collect()
}

/// The long flags that a text names.
fn flags_in(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'));
    let flags = words.filter_map(|word| word.strip_prefix("--")).map(|flag| flag.trim_end_matches('-'));
    flags.filter(|flag| flag.len() > 1).map(str::to_owned).collect()
}

#[test]
fn the_documentation_has_every_flag_and_command_of_the_help_and_no_other() {
    let document = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/cli.md")).unwrap();
    let whole = stdout(&run(&["--help"]));
    let mut helps = flags_in(&whole);
    for command in commands_in(&whole) {
        let help = stdout(&run(&[command, "--help"]));
        helps.extend(flags_in(&help));
        assert!(document.contains(&format!("`{command}")), "docs/cli.md lacks {command}");
        for of_group in commands_in(&help) {
            helps.extend(flags_in(&stdout(&run(&[command, of_group, "--help"]))));
            assert!(document.contains(&format!("`{command} {of_group}")), "docs/cli.md lacks {command} {of_group}");
        }
    }
    // Taken for old drivers, and in no help.
    const HIDDEN: [&str; 4] = ["criu", "cpu-shares", "kernel-memory", "kernel-memory-tcp"];
    helps.extend(HIDDEN.map(str::to_owned));
    let documented = flags_in(&document);
    let difference: Vec<_> = helps.symmetric_difference(&documented).collect();
    assert!(difference.is_empty(), "in the help or in docs/cli.md alone: {difference:?}");
}

#[test]
fn the_spec_is_runcs_but_for_its_version() {
    if !has_runc() {
        return;
    }
    let dir = TempDir::new("spec");
    let version = |text: &str| text.lines().position(|line| line.contains("ociVersion"));
    for more in [&[][..], &["--rootless"]] {
        for program in ["runc", &binary()] {
            let bundle = dir.path(&Path::new(program).file_name().unwrap().to_string_lossy());
            fs::create_dir_all(&bundle).unwrap();
            let _ = fs::remove_file(bundle.join("config.json"));
            let written = Command::new(program).arg("spec").args(more).arg("--bundle").arg(&bundle).status().unwrap();
            assert!(written.success());
        }
        let read = |name| fs::read_to_string(dir.path(name).join("config.json")).unwrap();
        let (theirs, ours) = (read("runc"), read("nfrun"));
        assert_eq!(version(&theirs), version(&ours));
        let rest =
            |text: &str| text.split('\n').filter(|line| !line.contains("ociVersion")).collect::<Vec<_>>().join("\n");
        // runc before 1.2 lists ambient capabilities that the inheritable ones forbid, of which every run would warn.
        let theirs = match theirs.split_once(",\n\t\t\t\"ambient\"") {
            Some((kept, list)) => format!("{kept}{}", list.split_once(']').expect("the list's end").1),
            None => theirs,
        };
        assert_eq!(rest(&theirs), rest(&ours));
        assert!(ours.contains("\t\"ociVersion\": \"1.3.0\",\n"));
    }
}

#[test]
fn spec_leaves_a_config_that_exists_alone() {
    let dir = TempDir::new("exists");
    fs::write(dir.path("config.json"), "mine").unwrap();
    let bundle = dir.0.to_str().unwrap();
    let expected = (1, "File config.json exists. Remove it first".to_owned());
    assert_eq!(failure(&["spec", "--bundle", bundle]), expected);
    assert_eq!(fs::read_to_string(dir.path("config.json")).unwrap(), "mine");
}

#[test]
fn spec_writes_into_the_current_directory() {
    let dir = TempDir::new("cwd");
    assert!(nfrun().arg("spec").current_dir(&dir.0).status().unwrap().success());
    assert!(dir.path("config.json").is_file());
}

#[test]
fn a_wrong_line_is_refused_in_runcs_words() {
    for (words, code, begin) in [
        (&["state"][..], 1, "nfrun: \"state\" requires exactly 1 argument(s)"),
        (&["state", "a", "b"], 1, "nfrun: \"state\" requires exactly 1 argument(s)"),
        (&["kill"], 1, "nfrun: \"kill\" requires a minimum of 1 argument(s)"),
        (&["kill", "a", "KILL", "c"], 1, "nfrun: \"kill\" requires a maximum of 2 argument(s)"),
        (&["exec"], 1, "nfrun: \"exec\" requires a minimum of 1 argument(s)"),
        (&["spec", "x"], 1, "nfrun: \"spec\" requires exactly 0 argument(s)"),
        (&["state", "--bogus", "x"], 1, "flag provided but not defined: -bogus"),
        (&["--bogus", "state"], 1, "flag provided but not defined: -bogus"),
        (&["create", "x", "--bundle"], 1, "flag needs an argument: -bundle"),
        (&["bogus"], 3, "No help topic for 'bogus'"),
        (&["help", "bogus"], 3, "No help topic for 'bogus'"),
        (&["network", "bogus"], 3, "No help topic for 'network bogus'"),
        (&["help", "network", "bogus"], 3, "No help topic for 'network bogus'"),
        (&["network", "rm"], 1, "nfrun: \"network rm\" requires a minimum of 1 argument(s)"),
        (&["network", "ls", "--bogus"], 1, "flag provided but not defined: -bogus (see nfrun network ls --help)"),
        (&["kill", "x", "FOO"], 1, "unknown signal \"FOO\""),
        (&["kill", "x", "65"], 1, "unknown signal \"65\""),
        (&["exec", "x"], 255, "exec failed: process args cannot be empty"),
        (&["exec", "-u", "root", "x", "true"], 255, "exec failed: parsing root as int for uid failed"),
        (&["exec", "x", "--user=0:x", "true"], 255, "exec failed: parsing x as int for gid failed"),
        (&["create", "--preserve-fds", "x", "y"], 1, "invalid value \"x\" for flag -preserve-fds"),
        (&["list", "-f", "xml"], 1, "invalid format option"),
        (&["--rootless", "maybe", "list"], 1, "invalid rootless option"),
        (&["--cgroup-manager", "openrc", "list"], 1, "invalid cgroup-manager option"),
        (&["--log-format", "xml", "list"], 1, "invalid log-format option"),
        (&["state", "a/b"], 1, "invalid container ID format"),
        (&["state", ""], 1, "container id cannot be empty"),
        (&["completion", "ksh"], 1, "unknown shell \"ksh\""),
        (&["spec", "--bundle", "/nowhere"], 1, "create /nowhere/config.json: no such file or directory"),
    ] {
        let (got, message) = failure(words);
        assert!(message.starts_with(begin), "{words:?}: {message}");
        assert_eq!(got, code, "{words:?}");
    }
}

#[test]
fn each_of_several_ids_is_tried() {
    let output = run(&["delete", "a/1", "b/2"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains("a/1: ") && said.contains("b/2: "), "{said}");
}

#[test]
fn an_error_goes_to_the_log_and_plainly_to_stderr() {
    let dir = TempDir::new("log");
    let log = dir.path("log");
    for name in [log.display().to_string(), format!("file:{}", log.display())] {
        let output = run(&["--log", &name, "--log-format", "json", "kill", "x", "FOO"]);
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(String::from_utf8(output.stderr).unwrap(), "unknown signal \"FOO\"\n");
    }
    let lines = fs::read_to_string(&log).unwrap();
    assert_eq!(lines.lines().count(), 2, "the second message is appended: {lines}");
    for line in lines.lines() {
        let entry: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(entry["level"], "error");
        assert_eq!(entry["msg"], "unknown signal \"FOO\"");
        assert!(entry["time"].as_str().unwrap().ends_with('Z'));
    }
}

#[test]
fn a_log_in_text_is_logruss() {
    let dir = TempDir::new("text");
    let status = nfrun().current_dir(&dir.0).args(["--log", "log", "kill", "x", "FOO"]).status().unwrap();
    assert_eq!(status.code(), Some(1));
    let line = fs::read_to_string(dir.path("log")).unwrap();
    assert!(line.ends_with("level=error msg=\"unknown signal \\\"FOO\\\"\"\n"), "{line}");
}

#[test]
fn a_log_that_cannot_be_opened_ends_the_command() {
    let expected = (1, "open /nowhere/log: no such file or directory".to_owned());
    assert_eq!(failure(&["--log", "/nowhere/log", "state", "x"]), expected);
}

#[test]
fn completion_scripts_know_the_commands() {
    for shell in ["bash", "zsh", "fish"] {
        let script = stdout(&run(&["completion", shell]));
        for word in ["nfrun", "preserve-fds", "resume", "cgroupfs", "prune", "ip-range"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
}

#[test]
fn a_reader_who_has_gone_is_a_normal_end() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = nfrun().arg("--help").stdout(writer).stderr(Stdio::piped()).output().unwrap();
    assert!(output.status.success());
    assert_eq!(output.stderr, b"");
}

#[test]
fn checkpoint_and_restore_are_refused_in_words() {
    for command in ["checkpoint", "restore"] {
        for words in [&[command][..], &[command, "--image-path", "/tmp/x", "--tcp-established", "c1"]] {
            let output = run(words);
            assert_eq!(output.status.code(), Some(1), "{words:?}");
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(said.contains("checkpoint and restore are not supported yet"), "{said}");
        }
        assert!(stdout(&run(&[command, "--help"])).contains("Not supported yet"));
    }
}
