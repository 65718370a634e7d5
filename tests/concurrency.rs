//! Commands that meet on one container, and commands that are killed in the middle: no panic, nothing left.

#[macro_use]
mod common;

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::*;

/// The output of a command whose stdio is pipes; for commands that leave nobody behind to hold them.
fn captured(mut command: Command) -> (i32, String) {
    let output = command.stdout(Stdio::null()).stderr(Stdio::piped()).output().expect("start the runtime");
    (code(output.status), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn of_parallel_creates_of_one_id_exactly_one_wins() {
    not_in_runc!("a loser may remove the winner's state");
    for _ in 0..5 {
        let c = Container::idle();
        let before = c.leftovers();
        let results: Vec<Output> = std::thread::scope(|scope| {
            let tries: Vec<_> = (0..8).map(|_| scope.spawn(|| c.try_create())).collect();
            tries.into_iter().map(|one| one.join().expect("a create")).collect()
        });
        let winners = results.iter().filter(|result| result.code == 0).count();
        assert_eq!(winners, 1, "{results:#?}");
        for loser in results.iter().filter(|result| result.code != 0) {
            assert!(!loser.stderr.contains("panic"), "{loser:?}");
            assert!(loser.stderr.contains("already exists"), "{loser:?}");
        }
        assert_eq!(c.status(), "created");
        c.start();
        assert_eq!(c.status(), "running", "the losers harmed nothing");
        c.on_id(&["delete", "--force"]).ok();
        before.assert_nothing_new();
    }
}

#[test]
fn of_parallel_starts_exactly_one_wins_and_the_program_runs_once() {
    not_in_runc!("a loser may wait for ever on the fifo that the winner has read");
    for _ in 0..5 {
        let c = Container::sh("echo ran >>/ran; sleep 1000").with(|config| config["root"]["readonly"] = json!(false));
        c.create();
        let results: Vec<Output> = std::thread::scope(|scope| {
            let tries: Vec<_> = (0..6).map(|_| scope.spawn(|| c.on_id(&["start"]))).collect();
            tries.into_iter().map(|one| one.join().expect("a start")).collect()
        });
        assert!(results.iter().all(|result| !result.stderr.contains("panic")), "{results:#?}");
        assert_eq!(results.iter().filter(|result| result.code == 0).count(), 1, "{results:#?}");
        eventually("it runs", || std::fs::read_to_string(c.rootfs("/ran")).is_ok_and(|text| text == "ran\n"));
        assert_eq!(c.status(), "running");
    }
}

#[test]
fn state_kill_exec_pause_and_delete_hammered_at_once_leave_nothing() {
    let until = Instant::now() + Duration::from_secs(4);
    let mut rounds = 0;
    while Instant::now() < until {
        rounds += 1;
        let c = Container::idle();
        let before = c.leftovers();
        let c = c.up();
        std::thread::scope(|scope| {
            for words in [
                &["state"][..],
                &["state"],
                &["exec", "--", "true"],
                &["pause"],
                &["resume"],
                &["ps", "--format", "json"],
                &["kill"],
                &["delete", "--force"],
                &["delete", "--force"],
                &["list"],
            ] {
                let c = &c;
                scope.spawn(move || {
                    let command = match words {
                        ["exec", ..] => c.command(&["exec", &c.id, "true"]),
                        ["kill"] => c.command(&["kill", &c.id, "KILL"]),
                        ["list"] => c.command(words),
                        _ => c.command(&[words, &[&c.id]].concat()),
                    };
                    let (code, stderr) = captured(command);
                    assert!(code < 128 || words[0] == "exec", "{words:?} died by a signal: {code} {stderr}");
                    assert!(!stderr.contains("panic"), "{words:?}: {stderr}");
                });
            }
        });
        // Whoever paused it last must not keep it from being deleted.
        c.on_id(&["delete", "--force"]).ok();
        if !is_reference() {
            before.assert_nothing_new();
        }
    }
    assert!(rounds > 1, "one round took longer than all of them should");
}

#[test]
fn parallel_execs_each_get_their_own_output_and_exit_code() {
    let c = Container::idle().up();
    std::thread::scope(|scope| {
        for n in 0..12 {
            let c = &c;
            scope.spawn(move || {
                let output = c.exec(&["sh", "-c", &format!("echo {n}; exit {n}")]);
                assert_eq!((output.code, output.stdout), (n, format!("{n}\n")), "{}", output.stderr);
            });
        }
    });
}

#[test]
fn many_containers_are_made_and_removed_side_by_side() {
    let all: Vec<_> = (0..12).map(|n| Container::sh(&format!("exit {n}"))).collect();
    std::thread::scope(|scope| {
        for (n, c) in all.iter().enumerate() {
            scope.spawn(move || {
                let before = c.leftovers();
                assert_eq!(c.run().code, n as i32);
                before.assert_nothing_new();
            });
        }
    });
}

/// Kills `create` or `run` or `delete` at a moment that moves through its whole life, `tries` times, or fewer where everything
/// is emulated.
fn kill_at_every_moment(tries: u32, verb: &str, clear: impl Fn(&Container)) {
    let tries = tries / events::slow();
    let c = Container::idle();
    let before = c.leftovers();
    let begun = Instant::now();
    match verb {
        "create" => drop(c.create()),
        verb => {
            c.create();
            c.on_id(&[verb, "--force"]).ok();
        }
    }
    let whole = begun.elapsed();
    c.on_id(&["delete", "--force"]).ok();
    for n in 0..tries {
        if verb != "create" {
            c.create();
        }
        let words = if verb == "create" { c.words("create", &[]) } else { vec![verb, "--force", &c.id] };
        let mut command = c.command(&words);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("start the runtime");
        // The moment is the point here, and there is no event that tells of it.
        let moment = whole.mul_f64(f64::from(n) / f64::from(tries) * 1.2);
        std::thread::sleep(moment);
        let _ = child.kill();
        child.wait().expect("wait");
        clear(&c);
        before.assert_nothing_new();
    }
}

#[test]
fn create_killed_at_any_moment_leaves_what_delete_force_clears() {
    not_in_runc!("a killed create leaves a half-made state that it cannot read");
    kill_at_every_moment(200, "create", |c| {
        c.on_id(&["delete", "--force"]).ok();
    });
}

#[test]
fn create_killed_at_any_moment_leaves_what_gc_clears() {
    not_in_runc!("it has no gc");
    kill_at_every_moment(200, "create", |c| {
        c.runtime(&["gc"]).ok();
        // A create that had finished is whole, and gc leaves it.
        c.on_id(&["delete", "--force"]).ok();
    });
}

#[test]
fn delete_killed_at_any_moment_is_finished_by_the_next_one() {
    not_in_runc!("a killed delete may leave a state directory");
    kill_at_every_moment(100, "delete", |c| {
        c.on_id(&["delete", "--force"]).ok();
    });
}

#[test]
fn gc_waits_for_nobody_and_leaves_a_create_in_progress_alone() {
    not_in_runc!("it has no gc");
    let c = Container::idle();
    for _ in 0..20 {
        std::thread::scope(|scope| {
            let create = scope.spawn(|| c.try_create());
            for _ in 0..4 {
                c.runtime(&["gc"]).ok();
            }
            create.join().expect("create").ok();
        });
        assert_eq!(c.status(), "created");
        c.on_id(&["delete", "--force"]).ok();
    }
}
