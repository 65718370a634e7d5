//! What containerd is told, in which order, with which fields: as `ctr events` prints it.

use std::process::{Child, Stdio};

use crate::SERVICE;
use crate::common::containerd::Containerd;
use crate::common::*;

/// `ctr events`, writing to a file.
struct Watch<'a> {
    d: &'a Containerd,
    child: Child,
}

impl<'a> Watch<'a> {
    fn begin(d: &'a Containerd) -> Self {
        let file = std::fs::File::create(d.c.dir.join("events")).unwrap();
        let child = d.command(&["events"]).stdout(file).stderr(Stdio::null()).spawn().expect("start ctr");
        let watch = Self { d, child };
        // It has subscribed once it shows what happens.
        eventually("events are shown", || {
            d.ctr(&["namespaces", "label", "default", "x=y"]);
            watch.text().contains("/namespaces/")
        });
        watch
    }

    fn text(&self) -> String {
        std::fs::read_to_string(self.d.c.dir.join("events")).unwrap()
    }

    /// Topics of tasks, and their documents.
    fn tasks(&self) -> Vec<(String, Value)> {
        let parse = |line: &str| {
            let topic = line.split_whitespace().find(|word| word.starts_with("/tasks/"))?;
            Some((topic.to_owned(), serde_json::from_str(&line[line.find('{')?..]).ok()?))
        };
        self.text().lines().filter_map(parse).collect()
    }

    fn until(&self, topic: &str) -> Vec<(String, Value)> {
        eventually(&format!("{topic} is told"), || self.tasks().iter().any(|(its, _)| its == topic));
        self.tasks()
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn topics(events: &[(String, Value)]) -> Vec<&str> {
    events.iter().map(|(topic, _)| topic.as_str()).collect()
}

#[test]
fn every_event_comes_in_order_with_its_fields() {
    let d = with_containerd!();
    let watch = Watch::begin(&d);
    d.run(&["--detach"], "s", SERVICE).ok();
    let pid = d.pid("s");
    d.ctr(&["tasks", "exec", "--exec-id", "e", "s", "/bin/sh", "-c", "exit 7"]);
    d.ctr(&["tasks", "pause", "s"]).ok();
    d.ctr(&["tasks", "resume", "s"]).ok();
    d.ctr(&["tasks", "kill", "s"]).ok();
    eventually("it stopped", || d.status("s") == "STOPPED");
    d.ctr(&["tasks", "delete", "s"]);
    let events = watch.until("/tasks/delete");
    let expected = [
        "/tasks/create",
        "/tasks/start",
        "/tasks/exec-added",
        "/tasks/exec-started",
        "/tasks/exit",
        "/tasks/paused",
        "/tasks/resumed",
        "/tasks/exit",
        "/tasks/delete",
    ];
    assert_eq!(topics(&events), expected);
    for (topic, event) in &events {
        assert_eq!(event["container_id"], "s", "{topic}: {event}");
    }
    let of = |number: usize, field: &str| events[number].1[field].clone();
    assert_eq!((of(0, "pid"), of(1, "pid")), (json!(pid), json!(pid)));
    assert!(of(0, "bundle").as_str().unwrap().ends_with("/default/s"), "{:?}", events[0]);
    assert_eq!((of(2, "exec_id"), of(3, "exec_id")), (json!("e"), json!("e")));
    assert_eq!((of(4, "id"), of(4, "exit_status"), of(4, "pid")), (json!("e"), json!(7), of(3, "pid")));
    assert_eq!((of(7, "id"), of(7, "exit_status"), of(7, "pid")), (json!("s"), json!(3), json!(pid)));
    assert!(of(7, "exited_at").is_string() || of(7, "exited_at").is_object(), "{:?}", events[7]);
    assert_eq!((of(8, "exit_status"), of(8, "pid")), (json!(3), json!(pid)));
}

#[test]
fn what_runs_out_of_memory_is_told_before_it_ends() {
    let d = with_containerd!();
    let watch = Watch::begin(&d);
    let words = ["/bin/sh", "-c", "/bin/tail /dev/zero"];
    d.run(&["--detach", "--memory-limit", "16777216"], "s", &words).ok();
    eventually("it stopped", || d.status("s") == "STOPPED");
    let events = watch.until("/tasks/exit");
    let topics = topics(&events);
    assert!(topics.contains(&"/tasks/oom"), "{topics:?}");
    d.ctr(&["tasks", "delete", "s"]);
}

#[test]
fn ends_that_come_while_containerd_is_away_are_told_when_it_is_back() {
    let mut d = with_containerd!();
    let script = "while [ ! -e /go ]; do /bin/usleep 10000; done; exit 5";
    d.run(&["--detach"], "s", &["/bin/sh", "-c", script]).ok();
    let (ended, go) = (pidfd(d.pid("s")).unwrap(), format!("/proc/{}/root/go", d.pid("s")));
    d.end_daemon();
    std::fs::write(go, "").unwrap();
    assert!(ends_within(&ended, LIMIT));
    d.start_daemon();
    let watch = Watch::begin(&d);
    // It was told before `ctr events` had begun, or is after.
    eventually("it stopped", || d.status("s") == "STOPPED");
    d.ctr(&["tasks", "delete", "s"]);
    let events = watch.until("/tasks/delete");
    assert_eq!(events.last().unwrap().1["exit_status"], 5);
}
