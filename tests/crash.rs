//! A crash at every step: whichever side of `create`, `start` and `delete` is killed before step k, `gc` leaves nothing,
//! and the container beside it is not touched. Needs the cargo feature `fault`: `NFRUN_FAULT=kill:SIDE:K` kills the
//! side `runtime` or `init` before its step K.

#[macro_use]
mod common;

use common::*;

/// More steps than any plan has: whoever gets here counts steps that never end.
const MOST_STEPS: usize = 500;

/// A container to crash, and one beside it in the same state root, which runs through all of it.
struct Scene {
    c: Container,
    bystander: i64,
}

impl Scene {
    fn new() -> Self {
        let mut c = Container::idle();
        let own = c.config["linux"]["cgroupsPath"].clone();
        c.config["linux"]["cgroupsPath"] = json!(format!("{}/bystander", c.cgroup_parent));
        c.save();
        c.runtime(&["run", "--detach", "--bundle", "bundle", "bystander"]).ok();
        c.config["linux"]["cgroupsPath"] = own;
        // What a plan can have many of, so that there is something to undo at every step.
        let c = c.with(|config| {
            config["linux"]["resources"]["memory"] = json!({"limit": 67108864});
            config["linux"]["resources"]["cpu"] = json!({"shares": 512, "quota": 50000, "period": 100000});
            config["linux"]["resources"]["pids"] = json!({"limit": 50});
            config["linux"]["sysctl"] = json!({"net.ipv4.ip_forward": "1"});
            for list in ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"] {
                config["hooks"][list] = json!([{"path": "/bin/true"}]);
            }
        });
        let bystander = Self::pid_of(&c, "bystander");
        Self { c, bystander }
    }

    fn pid_of(c: &Container, id: &str) -> i64 {
        let state: Value = serde_json::from_str(c.runtime(&["state", id]).ok()).expect("JSON");
        assert_eq!(state["status"], "running");
        state["pid"].as_i64().expect("a pid")
    }

    /// A command with a fault in it.
    fn faulty(&self, side: &str, k: usize, words: &[&str]) -> Output {
        self.c.finish(self.c.command(words).env("NFRUN_FAULT", format!("kill:{side}:{k}")))
    }

    /// `gc` clears what is half-made; what was whole already is deleted as a user does.
    #[track_caller]
    fn clear(&self, before: &Leftovers, what: &str) {
        let gc = self.c.runtime(&["gc"]);
        assert_eq!(gc.code, 0, "gc after {what}: {gc:?}");
        if self.c.on_id(&["state"]).code == 0 {
            self.c.on_id(&["delete", "--force"]).ok();
        }
        before.assert_nothing_new();
        assert_eq!(Self::pid_of(&self.c, "bystander"), self.bystander, "after {what}");
    }
}

/// Goes through every k until the command meets no fault any more; says how many there were.
#[track_caller]
fn every_step(what: &str, mut at: impl FnMut(usize) -> bool) {
    let steps = (0..MOST_STEPS).find(|k| at(*k)).unwrap_or_else(|| panic!("{what}: {MOST_STEPS} steps and no end"));
    assert!(steps > 0, "{what}: no fault was ever met; is the feature `fault` built in?");
    eprintln!("{what}: {steps} steps");
}

#[test]
fn the_runtime_killed_before_any_step_of_create_leaves_nothing() {
    let scene = Scene::new();
    let before = scene.c.leftovers();
    every_step("create, runtime", |k| {
        let output = scene.faulty("runtime", k, &scene.c.words("create", &[]));
        assert!(output.code == 0 || output.code == 128 + 9, "killed, or not reached: {output:?}");
        scene.clear(&before, &format!("step {k}"));
        output.code == 0
    });
}

#[test]
fn init_killed_before_any_step_of_create_or_start_leaves_nothing() {
    let scene = Scene::new();
    let before = scene.c.leftovers();
    every_step("create and start, init", |k| {
        let create = scene.faulty("init", k, &scene.c.words("create", &[]));
        let whole = create.code == 0 && scene.faulty("init", k, &["start", &scene.c.id]).code == 0;
        if create.code != 0 {
            assert!(create.code == 1 && !create.stderr.trim().is_empty(), "the runtime says what happened: {create:?}");
            // The runtime has undone it itself: there is nothing for gc.
            before.assert_nothing_new();
        }
        // Whether the program of a start that succeeded still runs tells whether the fault came after it.
        let runs = whole && scene.c.status() == "running";
        scene.clear(&before, &format!("step {k}"));
        runs
    });
}

#[test]
fn the_runtime_killed_before_any_step_of_start_leaves_nothing() {
    let scene = Scene::new();
    let before = scene.c.leftovers();
    every_step("start, runtime", |k| {
        scene.c.create();
        let output = scene.faulty("runtime", k, &["start", &scene.c.id]);
        assert!(output.code == 0 || output.code == 128 + 9, "killed, or not reached: {output:?}");
        scene.clear(&before, &format!("step {k}"));
        output.code == 0
    });
}

#[test]
fn the_runtime_killed_before_any_step_of_delete_is_finished_by_gc() {
    for force in [false, true] {
        let scene = Scene::new();
        let before = scene.c.leftovers();
        every_step("delete, runtime", |k| {
            scene.c.create().start();
            if !force {
                scene.c.kill("KILL");
            }
            let words: &[&str] = if force { &["delete", "--force", &scene.c.id] } else { &["delete", &scene.c.id] };
            let output = scene.faulty("runtime", k, words);
            assert!(output.code == 0 || output.code == 128 + 9, "killed, or not reached: {output:?}");
            scene.clear(&before, &format!("step {k}"));
            output.code == 0
        });
    }
}

#[test]
fn an_update_killed_before_any_step_leaves_all_of_it_or_nothing_once_resumed() {
    let scene = Scene::new();
    let c = &scene.c;
    let before = c.leftovers();
    let rules = |text: &str| std::fs::write(c.dir.join("new.json"), text).unwrap();
    // The change of the devices' default freezes the container for a moment.
    rules(
        r#"{"memory": {"limit": 134217728, "swap": 268435456}, "cpu": {"shares": 1024, "quota": 20000, "period": 50000},
            "pids": {"limit": 60}, "devices": [{"allow": true, "access": "rwm"}]}"#,
    );
    let limits = || {
        let sorted = |text: String| {
            let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
            lines.sort();
            lines.join("\n")
        };
        // A device program shows nobody its rules: cgroup_v2.rs feels those.
        let files: &[_] = if outside::is_v2() {
            &[("", "memory.max"), ("", "memory.swap.max"), ("", "cpu.weight"), ("", "cpu.max"), ("", "pids.max")]
        } else {
            &[
                ("memory", "memory.limit_in_bytes"),
                ("memory", "memory.memsw.limit_in_bytes"),
                ("cpu", "cpu.shares"),
                ("cpu", "cpu.cfs_quota_us"),
                ("cpu", "cpu.cfs_period_us"),
                ("pids", "pids.max"),
                ("devices", "devices.list"),
            ]
        };
        let read = |&(hierarchy, file): &(&str, &str)| {
            let there = c.cgroup(hierarchy).join(file).exists() || !file.contains("sw");
            if there { sorted(c.limit(hierarchy, file)) } else { String::new() }
        };
        files.iter().map(read).collect::<Vec<_>>()
    };
    let new = {
        c.create().start();
        c.on_id(&["update", "--resources", "new.json"]).ok();
        let new = limits();
        scene.clear(&before, "the update that is not killed");
        new
    };
    every_step("update, runtime", |k| {
        c.create().start();
        let old = limits();
        let output = scene.faulty("runtime", k, &["update", "--resources", "new.json", &c.id]);
        assert!(output.code == 0 || output.code == 128 + 9, "killed, or not reached: {output:?}");
        // Another update mends it as well as a resume does.
        if k % 2 == 0 {
            c.on_id(&["resume"]);
        } else {
            // What every kernel has, and is not looked at.
            c.on_id(&["update", "--memory-reservation", "1048576"]).ok();
        }
        let found = limits();
        assert!(found == old || found == new, "step {k}: half of it: {found:#?}");
        assert_eq!(c.status(), "running", "step {k}");
        assert_eq!(c.exec(&["echo", "alive"]).ok(), "alive", "step {k}");
        if output.code == 0 {
            assert_eq!(found, new);
        }
        scene.clear(&before, &format!("step {k}"));
        output.code == 0
    });
}
