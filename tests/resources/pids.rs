//! linux.resources.pids

use super::common::*;
use super::row::{Row, update, with_resources};

const FORKS: [&str; 3] = ["sh", "-c", "for i in 1 2 3 4 5 6 7 8; do sleep 0.1 & done; wait; echo all"];

fn pids(limit: i64) -> Value {
    json!({"pids": {"limit": limit}})
}

fn pids_limit() -> Row {
    Row::new("linux.resources.pids.limit", pids(77), pids(33)).v1("pids", "pids.max", 77, 33).v2("pids.max", 77, 33)
}

#[test]
fn pids_limit_is_set() {
    pids_limit().is_set();
}

#[test]
fn pids_limit_is_updated() {
    pids_limit().is_updated();
}

#[test]
fn pids_limit_is_felt() {
    let c = with_resources(Container::idle(), &pids(20)).up();
    assert_eq!(c.exec(&FORKS).ok(), "all");
    update(&c, &pids(5)).ok();
    let refused = c.exec(&FORKS);
    assert!(refused.code != 0 && refused.stderr.contains("fork"), "{refused:?}");
    assert!(c.limit("pids", "pids.events").lines().any(|line| line.starts_with("max ") && line != "max 0"));
}

/// config-linux.md, "PIDs": 0 is a limit, of no process besides the one there is.
fn pids_zero() -> Row {
    Row::new("linux.resources.pids.limit", pids(0), pids(0)).v1("pids", "pids.max", 1, 1).v2("pids.max", 1, 1)
}

#[test]
fn pids_zero_is_set() {
    pids_zero().is_set();
}

#[test]
fn pids_zero_is_updated() {
    pids_zero().is_updated();
}

#[test]
fn pids_zero_is_felt() {
    let c = with_resources(Container::sh("true & wait; echo forked"), &pids(0));
    let output = c.run();
    assert!(output.code != 0 && !output.stdout.contains("forked"), "{output:?}");
    assert_eq!(with_resources(Container::new(&["echo", "alone"]), &pids(0)).run().ok(), "alone");
}

/// -1 is no limit, also in the place of one.
fn pids_minus_one() -> Row {
    Row::new("linux.resources.pids.limit", pids(-1), pids(-1))
        .v1("pids", "pids.max", "max", "max")
        .v2("pids.max", "max", "max")
}

#[test]
fn pids_minus_one_is_set() {
    pids_minus_one().is_set();
}

#[test]
fn pids_minus_one_is_updated() {
    pids_minus_one().is_updated();
}

#[test]
fn pids_minus_one_is_felt() {
    let c = with_resources(Container::idle(), &pids(2)).up();
    assert_ne!(c.exec(&FORKS).code, 0);
    update(&c, &pids(-1)).ok();
    assert_eq!(c.exec(&FORKS).ok(), "all");
}
