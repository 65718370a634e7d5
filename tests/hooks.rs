//! Hooks (runtime.md, "Lifecycle"; config.md, "POSIX-platform Hooks"): each list in its order, namespaces and status, with
//! the state on stdin; what a hook is given; and what is left when one fails, hangs, or is killed.

#[macro_use]
mod common;

use std::path::Path;
use std::time::Instant;

use common::*;

const LISTS: [&str; 6] = ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];

/// A hook that runs a script. `$0` is what it is called.
fn sh(name: &str, script: &str) -> Value {
    json!({"path": "/bin/sh", "args": ["sh", "-c", script, name]})
}

/// A hook that adds a line to /out/log of the container, which is DIR/out/log of the host: its name, its mount, network
/// and pid namespaces, its directory, and what it reads.
fn witness(name: &str, out: &str) -> Value {
    let ns = |kind: &str| format!("$(readlink /proc/self/ns/{kind})");
    let script = format!("echo \"$0 {} {} {} $(pwd) $(cat)\" >> {out}/log", ns("mnt"), ns("net"), ns("pid"));
    sh(name, &script)
}

struct Line {
    name: String,
    namespaces: [String; 3],
    directory: String,
    state: Value,
}

fn lines(log: &Path) -> Vec<Line> {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let line = |line: &str| {
        let mut words = line.splitn(6, ' ').map(str::to_owned);
        let mut next = || words.next().expect("a word");
        let (name, namespaces, directory) = (next(), [next(), next(), next()], next());
        Line { name, namespaces, directory, state: serde_json::from_str(&next()).expect("a state document") }
    };
    text.lines().map(line).collect()
}

fn names(log: &Path) -> Vec<String> {
    lines(log).into_iter().map(|line| line.name).collect()
}

/// A container with DIR/out mounted on /out.
fn with_out(c: Container) -> Container {
    let out = c.dir.join("out");
    std::fs::create_dir_all(&out).expect("make a directory");
    std::fs::create_dir_all(c.rootfs("/out")).expect("make a directory");
    c.with(|config| {
        let mount = json!({"destination": "/out", "type": "bind", "source": out, "options": ["bind", "rw"]});
        bundle::push(&mut config["mounts"], mount);
    })
}

/// As the host or the container names the directory for a hook of this list.
fn out_for(c: &Container, list: &str) -> String {
    if list == "startContainer" { "/out".into() } else { c.dir.join("out").to_string_lossy().into_owned() }
}

fn with_witnesses(c: Container) -> Container {
    let c = with_out(c);
    let outs = LISTS.map(|list| out_for(&c, list));
    c.with(|config| {
        for (list, out) in LISTS.iter().zip(&outs) {
            config["hooks"][list] = json!([witness(&format!("{list}0"), out), witness(&format!("{list}1"), out)]);
        }
        config["annotations"] = json!({"a.b": "c\"d"});
    })
}

fn own(kind: &str) -> String {
    std::fs::read_link(format!("/proc/self/ns/{kind}")).expect("a namespace").to_string_lossy().into_owned()
}

#[test]
fn hooks_run_in_order_in_their_namespaces_with_the_state_on_stdin() {
    let c = with_witnesses(Container::idle());
    let log = c.dir.join("out/log");
    c.create();
    let pid = c.pid();
    let theirs = ["mnt", "net", "pid"].map(|kind| {
        std::fs::read_link(format!("/proc/{pid}/ns/{kind}")).expect("init's").to_string_lossy().into_owned()
    });
    let expected =
        ["prestart0", "prestart1", "createRuntime0", "createRuntime1", "createContainer0", "createContainer1"];
    assert_eq!(names(&log), expected, "create does not return before these, and runs no others");
    c.start();
    let expected = ["startContainer0", "startContainer1", "poststart0", "poststart1"];
    assert_eq!(names(&log)[6..], expected);
    c.kill("KILL");
    c.on_id(&["delete"]).ok();
    let all = lines(&log);
    assert_eq!(all.len(), 12);
    assert_eq!([&all[10].name, &all[11].name], ["poststop0", "poststop1"]);

    let ours = ["mnt", "net", "pid"].map(own);
    for line in &all {
        let list = line.name.trim_end_matches(['0', '1']);
        let inside = ["createContainer", "startContainer"].contains(&list);
        assert_eq!(line.namespaces, if inside { theirs.clone() } else { ours.clone() }, "{list}");
        let rootfs = c.rootfs("/");
        let directory = match list {
            "createContainer" => rootfs.to_str().unwrap().trim_end_matches('/'),
            "startContainer" => "/",
            _ => c.bundle.to_str().unwrap(),
        };
        assert_eq!(line.directory, directory, "{list}");
        let state = &line.state;
        let status = match list {
            "prestart" | "createRuntime" | "createContainer" => "creating",
            "startContainer" => "created",
            "poststart" => "running",
            _ => "stopped",
        };
        assert_eq!(state["status"], status, "{list}");
        assert_eq!(state["id"], c.id.as_str());
        assert_eq!(state["ociVersion"], c.config["ociVersion"]);
        assert_eq!(state["bundle"], c.bundle.to_str().unwrap());
        assert_eq!(state["annotations"], json!({"a.b": "c\"d"}));
        match list {
            // As the container knows it.
            "createContainer" | "startContainer" => assert_eq!(state["pid"], 1, "{list}"),
            "poststop" => assert!(state.get("pid").is_none(), "{state}"),
            _ => assert_eq!(state["pid"], pid, "{list}"),
        }
    }
}

#[test]
fn run_runs_every_hook_once_and_exec_none() {
    let c = with_witnesses(Container::sh("exit 7"));
    let log = c.dir.join("out/log");
    let before = c.leftovers();
    assert_eq!(c.run().code, 7);
    let expected: Vec<_> = LISTS.iter().flat_map(|list| [format!("{list}0"), format!("{list}1")]).collect();
    assert_eq!(names(&log), expected);
    before.assert_nothing_new();

    let c = with_witnesses(Container::idle()).up();
    let log = c.dir.join("out/log");
    let count = names(&log).len();
    c.exec(&["true"]).ok();
    assert_eq!(names(&log).len(), count);
}

#[test]
fn a_created_container_waits_until_its_hooks_have_ended() {
    // It ends only once the test has seen that nothing else has happened.
    let c = with_out(Container::idle());
    let (out, gate) = (c.dir.join("out"), c.dir.join("out/gate"));
    nix::unistd::mkfifo(&gate, nix::sys::stat::Mode::from_bits_truncate(0o600)).expect("mkfifo");
    let script = format!(
        "echo begun > {}/begun; cat {} > /dev/null; echo ended >> {}/begun",
        out.display(),
        gate.display(),
        out.display()
    );
    let c = c.with(|config| config["hooks"]["createContainer"] = json!([sh("waits", &script)]));
    let mut create = c.command(&c.words("create", &[])).spawn().expect("start the runtime");
    let begun = || std::fs::read_to_string(out.join("begun")).unwrap_or_default();
    eventually("the hook runs", || begun() == "begun\n");
    assert_eq!(c.status(), "creating");
    assert!(create.try_wait().expect("wait").is_none(), "create did not wait");
    // Read and write, so that the open does not wait for the other end.
    let mut options = std::fs::OpenOptions::new();
    drop(options.read(true).write(true).open(&gate).expect("open the gate"));
    eventually("the gate is passed", || {
        // The hook may have opened it only now.
        drop(options.open(&gate));
        begun() == "begun\nended\n"
    });
    assert_eq!(wait(&mut create, "create"), 0);
    assert_eq!(c.status(), "created");
}

#[test]
fn argv_and_environment_are_passed_as_given() {
    let c = with_out(Container::idle());
    let given = json!(["A=1", "A=2", "PATH=/bin", "E=", "no equals sign"]);
    let lists = ["createRuntime", "createContainer", "startContainer", "poststart"];
    let copies = |list: &&str| {
        let copy = |what: &str| {
            let to = format!("{}/{list}.{what}", out_for(&c, list));
            json!({"path": "/bin/cp", "args": ["cp", format!("/proc/self/{what}"), to], "env": given})
        };
        ((*list).to_owned(), json!([copy("cmdline"), copy("environ")]))
    };
    let hooks: serde_json::Map<_, _> = lists.iter().map(copies).collect();
    let c = c.with(|config| config["hooks"] = Value::Object(hooks));
    c.create().start();
    for list in lists {
        let read = |what: &str| {
            let text = std::fs::read_to_string(c.dir.join(format!("out/{list}.{what}"))).expect("its file");
            text.trim_end_matches('\0').split('\0').map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(json!(read("environ")), given, "{list}");
        assert_eq!(read("cmdline"), ["cp", "/proc/self/cmdline", &format!("{}/{list}.cmdline", out_for(&c, list))]);
    }
}

#[test]
fn without_an_environment_a_hook_has_that_of_whoever_runs_it() {
    let c = with_out(Container::idle());
    let print =
        |list: &str| json!([{"path": "/bin/sh", "args": ["sh", "-c", format!("env > {}/{list}", out_for(&c, list))]}]);
    let lists = ["prestart", "createContainer", "startContainer"];
    let hooks: serde_json::Map<_, _> = lists.iter().map(|list| ((*list).to_owned(), print(list))).collect();
    let c = c.with(|config| {
        config["hooks"] = Value::Object(hooks);
        bundle::push(&mut config["process"]["env"], json!("OF=process"));
    });
    c.finish(c.command(&c.words("create", &[])).env("OF", "runtime")).ok();
    c.start();
    let of = |list: &str| {
        let text = std::fs::read_to_string(c.dir.join("out").join(list)).expect("its file");
        text.lines().find_map(|line| line.strip_prefix("OF=").map(str::to_owned)).unwrap_or_default()
    };
    assert_eq!(lists.map(of), ["runtime", "process", "process"]);
}

#[test]
fn a_path_without_args_is_its_own_argv() {
    let c = with_out(Container::idle());
    let script = c.dir.join("hook");
    std::fs::write(&script, format!("#!/bin/sh\necho \"$0 $#\" > {}/out/said\n", c.dir.display())).expect("write");
    // Not written and executed at once, while a fork elsewhere holds it open: a copy under another name.
    let copied = std::process::Command::new("install").arg("-m755").arg(&script).arg(c.dir.join("ready")).status();
    assert!(copied.expect("run install").success());
    let ready = c.dir.join("ready");
    let c = c.with(|config| config["hooks"] = json!({"createRuntime": [{"path": ready}]}));
    c.create();
    let said = std::fs::read_to_string(c.dir.join("out/said")).expect("its file");
    assert_eq!(said, format!("{} 0\n", ready.display()));
}

#[test]
fn a_hook_that_fails_undoes_the_create_and_says_why() {
    for list in ["prestart", "createRuntime", "createContainer"] {
        let c = with_out(Container::idle());
        let out = out_for(&c, list);
        let hooks = json!([
            sh("fine", "true"),
            sh("fails", "echo 'to stdout'; echo 'what is wrong' >&2; exit 3"),
            sh("never", &format!("touch {out}/never")),
        ]);
        let stop = witness("poststop", &out_for(&c, "poststop"));
        let c = c.with(|config| {
            config["hooks"][list] = hooks;
            config["hooks"]["poststop"] = json!([stop]);
        });
        let before = c.leftovers();
        let output = c.try_create();
        output.fails(
            1,
            &[
                &format!("error running {list} hook #1:"),
                "/bin/sh",
                "exit status 3",
                "output: to stdout\\nwhat is wrong",
            ],
        );
        assert!(!c.dir.join("out/never").exists(), "{list}: the hooks behind a failed one do not run");
        before.assert_nothing_new();
        // runtime.md, "Lifecycle": after the failure it goes on with the poststop hooks.
        assert_eq!(names(&c.dir.join("out/log")), ["poststop"], "{list}");
    }
}

#[test]
fn a_failing_start_container_hook_fails_start() {
    for run in [false, true] {
        let c = with_out(Container::sh("touch /out/ran")).with(|config| {
            config["hooks"]["startContainer"] = json!([sh("fails", "echo no; kill -USR1 $$")]);
        });
        let before = c.leftovers();
        let output = if run { c.run() } else { c.create().on_id(&["start"]) };
        output.fails(1, &["error running startContainer hook #0:", "killed by SIGUSR1", "output: no"]);
        assert!(!c.dir.join("out/ran").exists());
        if run {
            before.assert_nothing_new();
        } else {
            c.wait_for("stopped");
        }
    }
}

#[test]
fn a_failing_poststart_hook_ends_the_container() {
    for run in [false, true] {
        let c = Container::idle().with(|config| {
            config["hooks"]["poststart"] = json!([sh("fine", "true"), sh("fails", "exit 4")]);
        });
        let before = c.leftovers();
        let output = if run { c.run() } else { c.create().on_id(&["start"]) };
        output.fails(1, &["error running poststart hook #1:", "exit status 4"]);
        if run {
            before.assert_nothing_new();
        } else {
            c.wait_for("stopped");
        }
    }
}

#[test]
fn failing_poststop_hooks_are_warnings_and_run_once() {
    let c = with_out(Container::idle());
    let out = out_for(&c, "poststop");
    let hooks = json!([witness("first", &out), sh("fails", "echo broken; exit 5"), witness("third", &out)]);
    let c = c.with(|config| config["hooks"]["poststop"] = hooks).up();
    let before = c.leftovers();
    let output = c.on_id(&["delete", "--force"]);
    output.ok();
    assert!(output.stderr.contains("error running poststop hook #1: /bin/sh: exit status 5"), "{output:?}");
    assert_eq!(names(&c.dir.join("out/log")), ["first", "third"]);
    assert!(before.new_things().is_empty());
    assert_ne!(c.on_id(&["delete"]).code, 0);
    assert_eq!(names(&c.dir.join("out/log")).len(), 2);
}

#[test]
fn a_hook_that_cannot_be_executed_is_told_apart() {
    let c = with_out(Container::idle());
    let data = c.dir.join("data");
    std::fs::write(&data, "no program").expect("write");
    let c = c.with(|config| config["hooks"]["createRuntime"] = json!([{"path": data}]));
    let before = c.leftovers();
    c.try_create().fails(1, &["error running createRuntime hook #0:", "permission denied"]);
    before.assert_nothing_new();
    let c = c.with(|config| config["hooks"] = json!({"startContainer": [{"path": "/nowhere"}]}));
    c.create()
        .on_id(&["start"])
        .fails(1, &["error running startContainer hook #0: /nowhere: no such file or directory"]);
    c.wait_for("stopped");
}

#[test]
fn a_hook_that_is_wrong_is_refused_before_anything_is_made() {
    let c = Container::idle();
    let before = c.leftovers();
    let mut c = c;
    for (hook, says) in [
        (json!({"path": "bin/true"}), "hooks.createRuntime[0].path: \\\"bin/true\\\" is not an absolute path"),
        (json!({"path": "/bin/true", "timeout": 0}), "hooks.createRuntime[0].timeout: 0: must be greater than zero"),
        (json!({"path": "/bin/true", "timeout": -1}), "hooks.createRuntime[0].timeout: -1"),
        (json!({"path": "/nowhere"}), "hooks.createRuntime[0].path: /nowhere: no such file or directory"),
    ] {
        c = c.with(|config| config["hooks"]["createRuntime"] = json!([hook]));
        c.try_create().fails(1, &[says]);
        before.assert_nothing_new();
    }
}

#[test]
fn a_hook_that_takes_too_long_is_killed_with_what_it_started() {
    for list in ["createRuntime", "createContainer", "startContainer"] {
        let c = with_out(Container::idle());
        let out = out_for(&c, list);
        // The sleep is the shell's child, and a second one is in the background.
        let mut hook = sh("hangs", &format!("echo still here; sleep 1000 & echo $! > {out}/pid; sleep 1000; true"));
        hook["timeout"] = json!(1);
        let c = c.with(|config| config["hooks"][list] = json!([hook]));
        let before = c.leftovers();
        let output = if list == "startContainer" { c.create().on_id(&["start"]) } else { c.try_create() };
        output.fails(1, &[&format!("error running {list} hook #0:"), "timed out after 1 s", "output: still here"]);
        if list == "createRuntime" {
            let pid = std::fs::read_to_string(c.dir.join("out/pid")).expect("its file").trim().parse().expect("a pid");
            if let Some(process) = pidfd(pid) {
                assert!(ends_within(&process, LIMIT), "the hook's child lives on");
            }
        }
        if list != "startContainer" {
            before.assert_nothing_new();
        }
    }
}

#[test]
fn delete_force_ends_a_hook_that_hangs() {
    for list in ["createRuntime", "createContainer", "startContainer", "poststart", "poststop"] {
        let c = with_out(Container::idle());
        let begun = format!("touch {}/begun; sleep 1000; true", out_for(&c, list));
        let c = c.with(|config| config["hooks"][list] = json!([sh("hangs", &begun), sh("hangs", &begun)]));
        let before = c.leftovers();
        let words = match list {
            "startContainer" | "poststart" => {
                c.create();
                vec!["start", &c.id]
            }
            "poststop" => {
                c.create().start();
                vec!["delete", "--force", &c.id]
            }
            _ => c.words("create", &[]),
        };
        let null = || std::fs::File::create("/dev/null").expect("/dev/null");
        let mut hangs = c.command(&words).stdout(null()).stderr(null()).spawn().expect("start the runtime");
        eventually("the hook runs", || c.dir.join("out/begun").exists());
        let started = Instant::now();
        c.on_id(&["delete", "--force"]).ok();
        let code = wait(&mut hangs, "the command with the hook");
        assert!(list == "poststop" || code != 0, "{list}: it cannot have succeeded");
        before.assert_nothing_new();
        assert!(started.elapsed() < LIMIT, "{list}: took {:?}", started.elapsed());
    }
}

/// Two engines, or an engine and its shim, delete at the same time.
#[test]
fn another_delete_force_lets_a_poststop_hook_end_that_does_not_hang() {
    let c = with_out(Container::idle());
    let out = out_for(&c, "poststop");
    let slow = format!("touch {out}/begun; sleep 1; touch {out}/$0");
    let c = c.with(|config| config["hooks"]["poststop"] = json!([sh("first", &slow), sh("second", &slow)])).up();
    let null = || std::fs::File::create("/dev/null").expect("/dev/null");
    let mut one = c.command(&["delete", "--force", &c.id]).stdout(null()).stderr(null()).spawn().expect("start it");
    eventually("the hook runs", || c.dir.join("out/begun").exists());
    c.on_id(&["delete", "--force"]).ok();
    assert_eq!(wait(&mut one, "delete"), 0);
    assert!(["first", "second"].iter().all(|hook| c.dir.join("out").join(hook).exists()), "a hook was killed");
}

/// A command that only looks must not wait for somebody's hook, nor run it.
#[test]
fn hooks_that_a_killed_delete_left_are_run_by_gc_and_not_by_who_looks() {
    let c = with_out(Container::idle());
    let out = out_for(&c, "poststop");
    let hangs = format!("touch {out}/begun; sleep 1000; true");
    let late = format!("touch {out}/late");
    let c = c.with(|config| config["hooks"]["poststop"] = json!([sh("hangs", &hangs), sh("late", &late)])).up();
    let null = || std::fs::File::create("/dev/null").expect("/dev/null");
    let mut delete = c.command(&["delete", "--force", &c.id]).stdout(null()).stderr(null()).spawn().expect("start it");
    eventually("the hook runs", || c.dir.join("out/begun").exists());
    delete.kill().expect("kill");
    wait(&mut delete, "delete");
    assert!(c.runtime(&["list"]).ok().lines().count() == 1, "it is as good as deleted");
    for looks in ["state", "ps", "exec"] {
        let words = if looks == "exec" { vec![looks, &c.id, "true"] } else { vec![looks, &c.id] };
        c.runtime(&words).fails(if looks == "exec" { 255 } else { 1 }, &["container does not exist"]);
    }
    assert!(!c.dir.join("out/late").exists(), "who looks has run a hook");
    c.runtime(&["gc"]).ok();
    assert!(c.dir.join("out/late").exists(), "gc has not run the hook");
}

#[test]
fn a_killed_runtime_takes_its_hook_with_it() {
    for list in ["createRuntime", "createContainer"] {
        let c = with_out(Container::idle());
        let script = format!("echo $$ > {}/pid; sleep 1000; true", out_for(&c, list));
        let c = c.with(|config| config["hooks"][list] = json!([sh("hangs", &script)]));
        let before = c.leftovers();
        let null = || std::fs::File::create("/dev/null").expect("/dev/null");
        let words = c.words("create", &[]);
        let mut create = c.command(&words).stdout(null()).stderr(null()).spawn().expect("start the runtime");
        let pid = || std::fs::read_to_string(c.dir.join("out/pid")).unwrap_or_default();
        eventually("the hook runs", || pid().ends_with('\n'));
        let hook = if list == "createRuntime" { pidfd(pid().trim().parse().expect("a pid")) } else { None };
        create.kill().expect("kill");
        wait(&mut create, "create");
        assert!(hook.is_none_or(|hook| ends_within(&hook, LIMIT)), "{list}: the hook lives on");
        c.runtime(&["gc"]).ok();
        before.assert_nothing_new();
    }
}

#[test]
fn hooks_may_ask_the_runtime_about_their_container() {
    let c = with_out(Container::idle());
    let call = |list: &str| {
        let (binary, root, out) = (binary(), c.root.display().to_string(), out_for(&c, list));
        let script =
            format!("{} --root {root} state {} > {out}/{list} 2>&1; echo $? >> {out}/{list}", binary.display(), c.id);
        json!([sh(list, &script)])
    };
    let hooks = json!({
        "createRuntime": call("createRuntime"), "poststart": call("poststart"), "poststop": call("poststop"),
    });
    let c = c.with(|config| config["hooks"] = hooks);
    c.create();
    let pid = c.pid();
    c.start();
    let said = |list: &str| std::fs::read_to_string(c.dir.join("out").join(list)).expect("its file");
    let state = |list: &str| -> Value {
        let said = said(list);
        serde_json::from_str(said.trim_end().trim_end_matches('0')).unwrap_or_else(|e| panic!("{list}: {e}: {said}"))
    };
    assert_eq!(
        (state("createRuntime")["status"].as_str(), state("createRuntime")["pid"].as_i64()),
        (Some("creating"), Some(pid.into()))
    );
    assert_eq!(state("poststart")["status"], "running");
    c.on_id(&["delete", "--force"]).ok();
    assert!(said("poststop").contains("container does not exist"), "{}", said("poststop"));
}

#[test]
fn a_large_state_reaches_every_one_of_many_hooks() {
    let c = with_out(Container::idle());
    let count = |list: &str| json!(vec![sh(list, &format!("wc -c >> {}/{list}", out_for(&c, list))); 20]);
    let lists = ["createRuntime", "createContainer", "startContainer", "poststop"];
    let hooks: serde_json::Map<_, _> = lists.iter().map(|list| ((*list).to_owned(), count(list))).collect();
    let c = c.with(|config| {
        config["hooks"] = Value::Object(hooks);
        config["annotations"] = json!({"large": "x".repeat(1 << 20)});
    });
    let c = c.up();
    c.on_id(&["delete", "--force"]).ok();
    for list in lists {
        let said = std::fs::read_to_string(c.dir.join("out").join(list)).expect("its file");
        let sizes: Vec<usize> = said.lines().map(|line| line.trim().parse().expect("a number")).collect();
        assert_eq!(sizes.len(), 20, "{list}");
        assert!(sizes.iter().all(|size| *size > 1 << 20), "{list}: {sizes:?}");
    }
}

#[test]
fn a_hook_may_leave_stdin_unread_and_a_process_with_its_output() {
    let c = with_out(Container::idle());
    let hook =
        |list: &str| json!([sh(list, &format!("exec <&-; sleep 1000 & echo $! > {}/{list}", out_for(&c, list)))]);
    let hooks = json!({
        "createRuntime": hook("createRuntime"), "createContainer": hook("createContainer"),
        "startContainer": hook("startContainer"),
    });
    let started = Instant::now();
    let c = c.with(|config| {
        config["hooks"] = hooks;
        config["annotations"] = json!({"large": "x".repeat(300_000)});
    });
    let c = c.up();
    assert_eq!(c.status(), "running");
    assert!(started.elapsed().as_secs() < 100);
    let left = std::fs::read_to_string(c.dir.join("out/createRuntime")).expect("its file");
    let left = pidfd(left.trim().parse().expect("a pid")).expect("what a hook leaves behind is its own affair");
    events::signal(&left, libc::SIGKILL);
}

#[test]
fn a_start_container_hook_is_confined_as_the_process() {
    let c = with_out(Container::idle()).with(|config| {
        std::fs::set_permissions(
            config["mounts"].as_array().unwrap().last().unwrap()["source"].as_str().unwrap(),
            std::os::unix::fs::PermissionsExt::from_mode(0o777),
        )
        .expect("chmod");
        config["process"]["user"] = json!({"uid": 1000, "gid": 1000});
        config["linux"]["seccomp"] = json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95}]
        });
        let script = "grep -E '^(Uid|Seccomp|NoNewPrivs|CapBnd|CapEff):' /proc/self/status > /out/said; \
            mkdir /out/made 2>> /out/said; exec 3>&2; ls /proc/self/fd > /out/fds";
        config["hooks"]["startContainer"] = json!([sh("confined", script)]);
    });
    for new_privileges in [true, false] {
        let c = Container::idle().with(|config| {
            *config = c.config.clone();
            config["process"]["noNewPrivileges"] = json!(!new_privileges);
            config["linux"]["cgroupsPath"] = json!(format!("{}/x", c.cgroup_parent));
        });
        let c = c.up();
        let said = std::fs::read_to_string(
            c.config["mounts"].as_array().unwrap().last().unwrap()["source"].as_str().unwrap().to_owned() + "/said",
        )
        .expect("its file");
        for field in ["Uid", "Seccomp", "NoNewPrivs", "CapBnd", "CapEff"] {
            let line = said.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':')).expect("a line");
            let words = line.split_whitespace().collect::<Vec<_>>().join(" ");
            assert_eq!(words, proc_status(c.pid(), field), "{field}");
        }
        assert!(said.contains("Operation not supported") || said.contains("Not supported"), "{said}");
        assert!(said.contains("Seccomp:\t2"), "{said}");
    }
}

#[test]
fn a_hook_moves_an_interface_by_the_pid_that_it_is_told() {
    needs_veth!();
    // As docker's libnetwork does: from a network namespace of the test's own, by /proc/PID/ns/net.
    let aside = aside::Aside::new();
    let ip = |words: &[&str]| {
        let status = aside.command(&[&["ip"], words].concat()).status().expect("run ip");
        assert!(status.success(), "{words:?}");
    };
    ip(&["link", "add", "moved0", "type", "veth", "peer", "name", "stays0"]);
    let script = "pid=$(sed 's/.*\"pid\":\\([0-9]*\\).*/\\1/'); ip link set moved0 netns /proc/$pid/ns/net";
    let c = Container::sh("cat /proc/net/dev").with(|config| {
        config["hooks"]["prestart"] = json!([sh("setkey", script)]);
    });
    let words = c.words("run", &[]);
    let (binary, root) = (binary(), c.root.display().to_string());
    let mut all = vec![binary.to_str().expect("a text path"), "--root", &root];
    all.extend(words);
    let output = c.finish(&mut aside.command(&all));
    assert!(output.ok().contains("moved0"), "{output:?}");
}

#[test]
fn hooks_work_in_a_user_namespace() {
    let c = with_witnesses(Container::idle()).with(|config| {
        bundle::push(&mut config["linux"]["namespaces"], json!({"type": "user"}));
        config["linux"]["uidMappings"] = json!([{"containerID": 0, "hostID": 100000, "size": 65536}]);
        config["linux"]["gidMappings"] = json!([{"containerID": 0, "hostID": 100000, "size": 65536}]);
    });
    let out = c.dir.join("out");
    std::fs::set_permissions(&out, std::os::unix::fs::PermissionsExt::from_mode(0o777)).expect("chmod");
    std::fs::write(out.join("log"), "").expect("write");
    std::fs::set_permissions(out.join("log"), std::os::unix::fs::PermissionsExt::from_mode(0o666)).expect("chmod");
    let c = c.up();
    c.on_id(&["delete", "--force"]).ok();
    let expected: Vec<_> = LISTS.iter().flat_map(|list| [format!("{list}0"), format!("{list}1")]).collect();
    assert_eq!(names(&out.join("log")), expected);
}

#[test]
fn the_plan_prints_each_hook_where_it_runs() {
    let c = with_witnesses(Container::idle());
    let plan = c.runtime(&c.words("plan", &[]));
    let plan = plan.ok();
    let place = |side: &str, words: &str| {
        let line = plan.lines().position(|line| line.contains(&format!("{side:<7}  {words}")));
        line.unwrap_or_else(|| panic!("no {side} step {words:?} in\n{plan}"))
    };
    let order = [
        place("runtime", "note for the end poststop hook #1: /bin/sh"),
        place("runtime", "run prestart hook #0: /bin/sh"),
        place("runtime", "run createRuntime hook #1: /bin/sh"),
        place("init", "run createContainer hook #1: /bin/sh"),
        place("init", "pivot_root"),
        place("init", "run startContainer hook #1: /bin/sh"),
        place("init", "run sleep"),
        place("runtime", "run poststart hook #1: /bin/sh"),
    ];
    assert!(order.is_sorted(), "{order:?}\n{plan}");
    c.leftovers().assert_nothing_new();
}
