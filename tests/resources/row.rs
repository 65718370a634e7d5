//! One resource as data: what `create` and `update` are given, and which files of the kernel show it on v1 and on v2.

use std::fs;

use super::common::outside::{cgroup_dir, is_v2};
use super::common::*;

/// A resource.
pub struct Row {
    /// The property that an error has to name.
    property: &'static str,
    created: Value,
    updated: Value,
    v1: Vec<Shown>,
    v2: Vec<Shown>,
}

/// A file that shows it: the whole text, or one line of it.
struct Shown {
    hierarchy: &'static str,
    file: String,
    created: String,
    updated: String,
}

impl Row {
    /// `linux.resources` as created, and the document of an update.
    pub fn new(property: &'static str, created: Value, updated: Value) -> Self {
        Self { property, created, updated, v1: Vec::new(), v2: Vec::new() }
    }

    /// A v1 file and what it shows after each. One that a kernel has not is passed over as long as another is there.
    pub fn v1(mut self, hierarchy: &'static str, file: &str, created: impl ToString, updated: impl ToString) -> Self {
        let (created, updated) = (created.to_string(), updated.to_string());
        self.v1.push(Shown { hierarchy, file: file.into(), created, updated });
        self
    }

    /// The same of cgroup2.
    pub fn v2(mut self, file: &str, created: impl ToString, updated: impl ToString) -> Self {
        let (created, updated) = (created.to_string(), updated.to_string());
        self.v2.push(Shown { hierarchy: "unified", file: file.into(), created, updated });
        self
    }

    fn shown(&self) -> &[Shown] {
        if is_v2() { &self.v2 } else { &self.v1 }
    }

    /// `create` sets it.
    #[track_caller]
    pub fn is_set(&self) {
        let Some(c) = self.create(Container::idle()) else { return };
        self.check(&c, |shown| &shown.created);
    }

    /// `update` changes it in a container that runs, and one that is refused changes nothing.
    #[track_caller]
    pub fn is_updated(&self) {
        let Some(c) = self.create(Container::idle()) else { return };
        c.start();
        update(&c, &self.updated).ok();
        self.check(&c, |shown| &shown.updated);
        // Refused after it was written: limits are written before device rules, and the pids limit before both.
        let mut refused = self.created.clone();
        refused["devices"] = json!([{"allow": true, "type": "c", "major": 1, "access": "x"}]);
        update(&c, &refused).fails(1, &["linux.resources.devices[0]"]);
        self.check(&c, |shown| &shown.updated);
    }

    /// The container made with it; None, and the reason said, where this host cannot have it: then it was refused by its
    /// name, and nothing stayed.
    #[track_caller]
    pub fn create(&self, c: Container) -> Option<Container> {
        let c = c.with(|config| merge(&mut config["linux"]["resources"], &self.created));
        let before = c.leftovers();
        let output = c.try_create();
        if output.code == 0 {
            assert!(!self.shown().is_empty(), "{} was taken, but nothing shows it here", self.property);
            return Some(c);
        }
        let reason = self.missing(&c).unwrap_or_else(|| panic!("{}: {output:?}", self.property));
        output.fails(1, &[self.property]);
        before.assert_nothing_new();
        skip::note(format_args!("{reason}: refused by the name of {}", self.property));
        None
    }

    /// What this host has not, looked for without the runtime.
    fn missing(&self, c: &Container) -> Option<String> {
        let Some(first) = self.shown().first() else {
            return Some(format!("cgroup {} has no such limit", if is_v2() { "v2" } else { "v1" }));
        };
        let top = cgroup_dir(first.hierarchy, "");
        let controller = first.file.split('.').next().unwrap_or_default();
        let offered = fs::read_to_string(top.join("cgroup.controllers"));
        match offered {
            Ok(list) if is_v2() && !list.split_whitespace().any(|name| name == controller) => {
                return Some(format!("this host's cgroup2 has no {controller} controller"));
            }
            _ if !top.exists() => return Some(format!("the {controller} controller is not mounted here")),
            _ => {}
        }
        let probe = cgroup_dir(first.hierarchy, &c.cgroup_parent);
        fs::create_dir_all(&probe).expect("make a cgroup");
        let there = self.shown().iter().any(|shown| probe.join(&shown.file).exists());
        let _ = fs::remove_dir(&probe);
        (!there).then(|| format!("this kernel has no {}", first.file))
    }

    #[track_caller]
    fn check(&self, c: &Container, text: impl Fn(&Shown) -> &String) {
        let there: Vec<_> =
            self.shown().iter().filter(|shown| c.cgroup(shown.hierarchy).join(&shown.file).exists()).collect();
        assert!(!there.is_empty(), "{}: none of its files is there", self.property);
        for shown in there {
            let (found, expected) = (c.limit(shown.hierarchy, &shown.file), text(shown));
            let holds = found == *expected || found.lines().any(|line| line == expected);
            assert!(holds, "{}: {} shows {found:?} and not {expected:?}", self.property, shown.file);
        }
    }
}

/// `update --resources` with this document.
#[track_caller]
pub fn update(c: &Container, resources: &Value) -> Output {
    let file = c.dir.join("update.json");
    fs::write(&file, resources.to_string()).expect("write a document");
    c.on_id(&["update", "--resources", file.to_str().expect("a text path")])
}

/// The container with these resources besides the usual ones.
pub fn with_resources(c: Container, resources: &Value) -> Container {
    c.with(|config| merge(&mut config["linux"]["resources"], resources))
}

/// Lists are added to: the device rules of every bundle begin with one that denies all.
fn merge(into: &mut Value, from: &Value) {
    for (name, value) in from.as_object().expect("an object") {
        match (into[name].as_array_mut(), value.as_array()) {
            (Some(list), Some(more)) => list.extend(more.iter().cloned()),
            _ => into[name] = value.clone(),
        }
    }
}
