//! Steps into writes. The kernel says why it refuses one in a file of its own, info/last_cmd_status.

use std::collections::BTreeMap;
use std::fs;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::Path;

use super::{Group, Step};
use crate::{Context, Error, Result};

/// A directory that a step made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    /// Its path.
    pub path: String,
    /// Its inode.
    pub inode: u64,
}

impl Step {
    /// Executes a step that comes before init is started, below a resctrl mounted at `root`.
    ///
    /// # Errors
    /// Names the property, the directory, and what the kernel says.
    pub fn run(&self, root: &str) -> Result<Option<Made>> {
        match self {
            Self::Find { dir } if Path::new(dir).is_dir() => Ok(None),
            Self::Find { dir } => Err(Error::invalid(format!(
                "linux.intelRdt.closID: there is no class of service {dir}; make it first, or give a schema for it"
            ))),
            Self::Make { dir, lines, own } => {
                let made = make_dir(dir, root)?;
                if made.is_none() && !own {
                    agree(dir, lines)?;
                } else if !lines.is_empty() {
                    let written = write_schemata(root, dir, lines);
                    if let (Err(_), Some(_)) = (&written, &made) {
                        // Classes are few, and nobody knows of this one yet.
                        let _ = fs::remove_dir(dir);
                    }
                    written?;
                }
                Ok(made)
            }
            Self::Monitor { dir } => make_dir(dir, root),
            Self::Enter(_) => Err(Error::new("there is no process to move yet")),
        }
    }
}

impl Group {
    /// Moves a process in, with all that it will fork.
    ///
    /// # Errors
    /// When the group has been removed, or the process has ended.
    pub fn enter(&self, pid: i32) -> Result<()> {
        // A monitoring group takes only processes of its own class.
        let dirs = [Some(&self.dir), self.monitor.as_ref()];
        dirs.into_iter().flatten().try_for_each(|dir| {
            let path = format!("{dir}/tasks");
            write(&path, &pid.to_string()).map_err(|error| {
                explain(error, &self.root).context(format!("linux.intelRdt: move process {pid} into {path}"))
            })
        })
    }

    /// Moves every thread of these processes in; those that have ended meanwhile are passed over.
    ///
    /// # Errors
    /// When the group has been removed.
    pub fn enter_all(&self, pids: &[i32]) -> Result<()> {
        for pid in pids {
            let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
            for thread in threads.filter_map(|entry| entry.file_name().to_str()?.parse().ok()) {
                match self.enter(thread) {
                    Err(error) if error.errno() == Some(libc::ESRCH) => {}
                    entered => entered?,
                }
            }
        }
        Ok(())
    }

    /// Changes the schemata.
    ///
    /// # Errors
    /// With what the kernel says.
    pub fn set(&self, lines: &[String]) -> Result<()> {
        write_schemata(&self.root, &self.dir, lines)
    }

    /// The schemata now, as they can be written again.
    ///
    /// # Errors
    /// When the group has been removed.
    pub fn schemata(&self) -> Result<Vec<String>> {
        read_schemata(&self.dir)
    }
}

/// Removes a directory that a step made. With an inode, only if it still is that one. A class that is not the
/// container's own is left while others are in it, and also when it is not known to be the one that was made.
///
/// # Errors
/// When the kernel refuses.
pub fn remove(path: &Path, inode: Option<u64>, own: bool) -> Result<()> {
    let Ok(found) = fs::symlink_metadata(path) else { return Ok(()) };
    if inode.is_some_and(|inode| inode != found.ino()) {
        return Ok(());
    }
    let used = || fs::read_to_string(path.join("tasks")).is_ok_and(|tasks| !tasks.trim().is_empty());
    if !own && (inode.is_none() || used()) {
        return Ok(());
    }
    match fs::remove_dir(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).context(|| format!("remove the resctrl group {}", path.display()))
        }
        _ => Ok(()),
    }
}

fn make_dir(dir: &str, root: &str) -> Result<Option<Made>> {
    match fs::DirBuilder::new().mode(0o755).create(dir) {
        Ok(()) => {
            let inode = fs::symlink_metadata(dir).context(|| format!("stat {dir}"))?.ino();
            Ok(Some(Made { path: dir.to_owned(), inode }))
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(None),
        Err(error) => Err(explain(error.into(), root).context(format!("linux.intelRdt: make {dir}"))),
    }
}

fn write(path: &str, text: &str) -> Result<()> {
    // The kernel takes what it is given in one write.
    Ok(fs::OpenOptions::new().write(true).open(path).and_then(|mut file| file.write_all(text.as_bytes()))?)
}

fn write_schemata(root: &str, dir: &str, lines: &[String]) -> Result<()> {
    let path = format!("{dir}/schemata");
    let words = lines.join(", ");
    write(&path, &format!("{}\n", lines.join("\n")))
        .map_err(|error| explain(error, root).context(format!("linux.intelRdt: write {words} to {path}")))
}

/// Adds what the kernel says about its last refusal.
fn explain(error: Error, root: &str) -> Error {
    let status = fs::read_to_string(format!("{root}/info/last_cmd_status")).unwrap_or_default();
    match status.trim() {
        "" | "ok" => error,
        status => {
            let words = format!("{error} ({status})");
            error.reworded(words)
        }
    }
}

fn read_schemata(dir: &str) -> Result<Vec<String>> {
    let path = format!("{dir}/schemata");
    let text = fs::read_to_string(&path).context(|| format!("read {path}"))?;
    Ok(text.lines().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect())
}

/// A class of service that others use has to be as it is asked for: config-linux.md, "IntelRdt".
fn agree(dir: &str, lines: &[String]) -> Result<()> {
    let found = read_schemata(dir)?;
    let (asked, there) = (values(lines), values(&found));
    match asked.iter().find(|(domain, value)| there.get(*domain) != Some(value)) {
        None => Ok(()),
        Some(((resource, domain), value)) => Err(Error::invalid(format!(
            "linux.intelRdt: class of service {dir} is there already, and its schemata are not {resource}:{domain}={value} but {}; choose another closID or the same schemata",
            found.join(", ")
        ))),
    }
}

/// Each value of some lines by its resource and domain, a later line over an earlier one. The kernel pads masks with zeros.
fn values(lines: &[String]) -> BTreeMap<(String, String), String> {
    let mut values = BTreeMap::new();
    for line in lines {
        let (resource, domains) = line.split_once(':').unwrap_or((line, ""));
        for part in domains.split(';') {
            let (domain, value) = part.split_once('=').unwrap_or((part, ""));
            let value = value.trim().to_ascii_lowercase();
            let short = value.trim_start_matches("0x").trim_start_matches('0');
            values.insert((resource.trim().to_owned(), domain.trim().to_owned()), short.to_owned());
        }
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory in place of a mounted resctrl: this machine's processor has none. The kernel fills a new directory with
    /// files by itself; here the test does.
    struct StandIn(String);

    impl StandIn {
        fn new(name: &str) -> Self {
            let root = std::env::temp_dir().join(format!("nfrun-unit-{}-resctrl-{name}", std::process::id()));
            let _ = fs::remove_dir_all(&root);
            fs::create_dir_all(root.join("info")).unwrap();
            fs::create_dir_all(root.join("mon_groups")).unwrap();
            let stand_in = Self(root.to_str().unwrap().to_owned());
            stand_in.fill(&stand_in.0, "    L3:0=fffff;1=fffff\n    MB:0=100;1=100\n");
            stand_in
        }

        fn fill(&self, dir: &str, schemata: &str) {
            fs::write(format!("{dir}/schemata"), schemata).unwrap();
            fs::write(format!("{dir}/tasks"), "").unwrap();
        }

        fn class(&self, name: &str, schemata: &str) -> String {
            let dir = format!("{}/{name}", self.0);
            fs::create_dir(&dir).unwrap();
            self.fill(&dir, schemata);
            dir
        }

        fn read(&self, path: &str) -> String {
            fs::read_to_string(format!("{}/{path}", self.0)).unwrap()
        }
    }

    impl Drop for StandIn {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_class_that_is_there_has_to_agree_and_is_left_as_it_is() {
        let here = StandIn::new("agree");
        let dir = here.class("gold", "    L3:0=000ff;1=fffff\n    MB:0=50;1=100\n");
        let make = |line: &str| Step::Make { dir: dir.clone(), lines: vec![line.to_owned()], own: false }.run(&here.0);
        assert_eq!(make("L3:0=FF").unwrap(), None);
        assert_eq!(make("MB:0=50;1=100").unwrap(), None);
        let error = make("L3:0=ff;1=1").unwrap_err().to_string();
        assert!(error.contains("are not L3:1=1 but L3:0=000ff;1=fffff, MB:0=50;1=100"), "{error}");
        assert!(make("L2:0=1").is_err());
        assert!(here.read("gold/schemata").contains("L3:0=000ff"), "nothing was written");
        assert!(Step::Find { dir: dir.clone() }.run(&here.0).unwrap().is_none());
        let absent = Step::Find { dir: format!("{}/absent", here.0) }.run(&here.0).unwrap_err().to_string();
        assert!(absent.starts_with("linux.intelRdt.closID: there is no class"), "{absent}");
    }

    #[test]
    fn the_containers_own_class_is_written_also_where_it_was_there() {
        let here = StandIn::new("own");
        let dir = here.class("c1", "");
        let lines = vec!["L3:0=f".to_owned(), "MB:0=20".to_owned()];
        assert_eq!(Step::Make { dir, lines, own: true }.run(&here.0).unwrap(), None);
        assert_eq!(here.read("c1/schemata"), "L3:0=f\nMB:0=20\n");
    }

    #[test]
    fn what_was_made_is_known_by_its_inode_and_a_refused_schema_leaves_no_class() {
        let here = StandIn::new("made");
        let dir = format!("{}/c1", here.0);
        let made = Step::Make { dir: dir.clone(), lines: vec![], own: true }.run(&here.0).unwrap().unwrap();
        assert_eq!(made.inode, fs::metadata(&dir).unwrap().ino());
        remove(Path::new(&dir), Some(made.inode + 1), true).unwrap();
        assert!(Path::new(&dir).exists(), "another's of that name stays");
        remove(Path::new(&dir), Some(made.inode), true).unwrap();
        assert!(!Path::new(&dir).exists());
        remove(Path::new(&dir), Some(made.inode), true).unwrap();

        // The stand-in has no schemata file in a new directory, which is as good as a kernel that refuses.
        fs::write(format!("{}/info/last_cmd_status", here.0), "Mask out of range\n").unwrap();
        let refused = Step::Make { dir: dir.clone(), lines: vec!["L3:0=0".into()], own: true }.run(&here.0);
        let error = refused.unwrap_err().to_string();
        assert!(
            error.starts_with("linux.intelRdt: write L3:0=0 to") && error.ends_with("(Mask out of range)"),
            "{error}"
        );
        assert!(!Path::new(&dir).exists());
    }

    #[test]
    fn a_class_that_others_use_or_that_may_be_anothers_is_not_removed() {
        let here = StandIn::new("shared");
        let dir = format!("{}/gold", here.0);
        fs::create_dir(&dir).unwrap();
        let inode = fs::metadata(&dir).unwrap().ino();
        remove(Path::new(&dir), None, false).unwrap();
        assert!(Path::new(&dir).exists(), "an intent alone does not say whose it is");
        fs::write(format!("{dir}/tasks"), "42\n").unwrap();
        remove(Path::new(&dir), Some(inode), false).unwrap();
        assert!(Path::new(&dir).exists(), "process 42 is in it");
        fs::remove_file(format!("{dir}/tasks")).unwrap();
        remove(Path::new(&dir), Some(inode), false).unwrap();
        assert!(!Path::new(&dir).exists());
    }

    #[test]
    fn a_process_enters_its_class_and_then_its_monitoring_group() {
        let here = StandIn::new("enter");
        let dir = here.class("gold", "");
        let monitor = format!("{dir}/mon_groups/c1");
        fs::create_dir_all(&monitor).unwrap();
        fs::write(format!("{monitor}/tasks"), "").unwrap();
        let group = Group { root: here.0.clone(), dir, monitor: Some(monitor) };
        group.enter(4711).unwrap();
        assert_eq!((here.read("gold/tasks"), here.read("gold/mon_groups/c1/tasks")), ("4711".into(), "4711".into()));
        group.set(&["MB:0=10".into()]).unwrap();
        assert_eq!(group.schemata().unwrap(), ["MB:0=10"]);
    }
}
