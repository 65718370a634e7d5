//! hooks, as data and as steps: config.md, "POSIX-platform Hooks"; runtime.md, "State" and "Lifecycle".

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fmt::{self, Display, Formatter};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use oci_spec::runtime as oci;
use serde::{Deserialize, Serialize};

use super::step::Step;
use crate::init::program::{Draft, Items, text};
use crate::init::wire::Text;
use crate::{Error, Result};

/// The lists of hooks, in the order in which they run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum List {
    /// In the runtime's namespaces, once the container's are made and mounted and before its root is changed.
    Prestart,
    /// As prestart, after it.
    CreateRuntime,
    /// In the container's namespaces, found in the runtime's file system, before the root is changed.
    CreateContainer,
    /// In the container, at `start`, before the user's process.
    StartContainer,
    /// In the runtime's namespaces, once the user's process runs.
    Poststart,
    /// In the runtime's namespaces, once the container is gone.
    Poststop,
}

impl List {
    /// The name in config.json.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Prestart => "prestart",
            Self::CreateRuntime => "createRuntime",
            Self::CreateContainer => "createContainer",
            Self::StartContainer => "startContainer",
            Self::Poststart => "poststart",
            Self::Poststop => "poststop",
        }
    }

    /// The container's status as the hooks of the list are told it.
    pub fn status(self) -> &'static str {
        match self {
            Self::Prestart | Self::CreateRuntime | Self::CreateContainer => "creating",
            Self::StartContainer => "created",
            Self::Poststart => "running",
            Self::Poststop => "stopped",
        }
    }

    /// Whether `create` looks for its files on the host: the others may come to be until they run.
    fn is_looked_for(self) -> bool {
        matches!(self, Self::Prestart | Self::CreateRuntime | Self::CreateContainer)
    }
}

/// One hook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Hook {
    /// Its list.
    pub list: List,
    /// Its place in the list, from 0.
    pub number: u32,
    /// The file, an absolute path.
    pub path: PathBuf,
    /// argv as it is passed; empty for the path alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// The environment; None for that of whoever runs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env: Option<Vec<String>>,
    /// Seconds; None for no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<u32>,
}

impl Display for Hook {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} hook #{}: {}", self.list.as_str(), self.number, self.path.display())
    }
}

/// Every hook of a configuration, in the order in which they run. `look`: whether the host may be looked at.
pub fn read(hooks: Option<&oci::Hooks>, look: bool) -> Result<Vec<Hook>> {
    let Some(hooks) = hooks else { return Ok(Vec::new()) };
    #[allow(deprecated)]
    let prestart = hooks.prestart();
    let lists = [
        (List::Prestart, prestart),
        (List::CreateRuntime, hooks.create_runtime()),
        (List::CreateContainer, hooks.create_container()),
        (List::StartContainer, hooks.start_container()),
        (List::Poststart, hooks.poststart()),
        (List::Poststop, hooks.poststop()),
    ];
    let mut all = Vec::new();
    for (list, hooks) in lists {
        for (hook, number) in hooks.iter().flatten().zip(0..) {
            all.push(Hook::read(list, number, hook, look)?);
        }
    }
    Ok(all)
}

impl Hook {
    fn read(list: List, number: u32, hook: &oci::Hook, look: bool) -> Result<Self> {
        let at = |property: &str| format!("hooks.{}[{number}].{property}", list.as_str());
        let path = hook.path();
        if !path.is_absolute() {
            return Err(Error::invalid(format!("{}: {:?} is not an absolute path", at("path"), path.display())));
        }
        if path.as_os_str().len() >= libc::PATH_MAX as usize {
            return Err(Error::invalid(format!("{}: longer than the kernel takes", at("path"))));
        }
        let timeout = match hook.timeout() {
            Some(seconds) if seconds <= 0 => {
                return Err(Error::invalid(format!(
                    "{}: {seconds}: must be greater than zero; leave it out for no limit",
                    at("timeout")
                )));
            }
            // Longer than any machine runs.
            Some(seconds) => Some(u32::try_from(seconds).unwrap_or(u32::MAX)),
            None => None,
        };
        if look && list.is_looked_for() {
            std::fs::metadata(path)
                .map_err(|error| Error::from(error).context(format!("{}: {}", at("path"), path.display())))?;
        }
        let (args, env) = (hook.args().clone().unwrap_or_default(), hook.env().clone());
        let this = Self { list, number, path: path.clone(), args, env, timeout };
        // A NUL is refused now, not when the hook's turn comes.
        this.texts()?;
        Ok(this)
    }

    /// Path, arguments and environment for system calls.
    fn texts(&self) -> Result<(CString, Vec<CString>, Option<Vec<CString>>)> {
        let at = |property: &str| format!("hooks.{}[{}].{property}", self.list.as_str(), self.number);
        let texts = |property: &str, list: &[String]| -> Result<Vec<CString>> {
            let field = at(property);
            list.iter().map(|value| text(&field, value.as_str())).collect()
        };
        let path = text(&at("path"), self.path.as_os_str().as_bytes())?;
        let args = if self.args.is_empty() { vec![path.clone()] } else { texts("args", &self.args)? };
        let env = self.env.as_deref().map(|env| texts("env", env)).transpose()?;
        Ok((path, args, env))
    }

    /// The step that runs it, in this directory, or where the container's root is attached.
    pub fn step(&self, cwd: Option<&Path>, draft: &mut Draft) -> Result<()> {
        let (path, args, env) = self.texts()?;
        let args = Items::new(args.iter().map(|argument| Text(argument)));
        let env = env.as_ref().map(|env| Items::new(env.iter().map(|variable| Text(variable))));
        let (list, status) = (text("list", self.list.as_str())?, text("status", self.list.status())?);
        let cwd = cwd.map(|cwd| text("bundle", cwd.as_os_str().as_bytes())).transpose()?;
        draft.step(Step::Run {
            list: Text(&list),
            number: self.number,
            status: Text(&status),
            path: Text(&path),
            args: args.list(),
            env: env.as_ref().map(Items::list),
            timeout: self.timeout.unwrap_or(0),
            cwd: cwd.as_deref().map(Text),
            confined: self.list == List::StartContainer,
        });
        Ok(())
    }
}

/// The state document that hooks read on stdin: runtime.md, "State". Its status and pid differ from hook to hook, so it
/// is kept as what stands before and after them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    before: CString,
    after: CString,
}

/// Whose pid a hook is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pid {
    /// That of the process which runs the hook: the container's init, in its own pid namespace.
    Own,
    /// This one.
    Of(i32),
    /// None: the container has no process any more.
    None,
}

impl Document {
    /// The document of a container.
    pub fn new(version: &str, id: &str, bundle: &Path, annotations: &BTreeMap<String, String>) -> Result<Self> {
        let json = |text: &str| serde_json::to_string(text);
        let before = format!(r#"{{"ociVersion":{},"id":{},"status":""#, json(version)?, json(id)?);
        let mut after = format!(r#","bundle":{}"#, json(&bundle.to_string_lossy())?);
        if !annotations.is_empty() {
            after.push_str(r#","annotations":"#);
            after.push_str(&serde_json::to_string(annotations)?);
        }
        after.push('}');
        // JSON writes a NUL as an escape.
        Ok(Self { before: text("state", before)?, after: text("state", after)? })
    }

    /// The step that keeps it for the hooks that follow; `env` is for those that give none.
    pub fn step(&self, pid: Pid, env: &[CString], draft: &mut Draft) {
        let env = Items::new(env.iter().map(|variable| Text(variable)));
        let pid = match pid {
            Pid::Own => 0,
            Pid::Of(pid) => pid,
            Pid::None => -1,
        };
        draft.step(Step::Describe { before: Text(&self.before), after: Text(&self.after), pid, env: env.list() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hooks(json: &str) -> Result<Vec<Hook>> {
        let hooks: oci::Hooks = serde_json::from_str(json).unwrap();
        read(Some(&hooks), false)
    }

    #[test]
    fn hooks_come_in_the_order_in_which_they_run() {
        let all = hooks(
            r#"{"poststop":[{"path":"/f"}],"poststart":[{"path":"/e"}],"startContainer":[{"path":"/d"}],
                "createContainer":[{"path":"/c"}],"createRuntime":[{"path":"/b"},{"path":"/b2","timeout":7}],
                "prestart":[{"path":"/a"}]}"#,
        )
        .unwrap();
        let words: Vec<_> = all.iter().map(Hook::to_string).collect();
        let expected = [
            "prestart hook #0: /a",
            "createRuntime hook #0: /b",
            "createRuntime hook #1: /b2",
            "createContainer hook #0: /c",
            "startContainer hook #0: /d",
            "poststart hook #0: /e",
            "poststop hook #0: /f",
        ];
        assert_eq!(words, expected);
        assert_eq!((all[1].timeout, all[2].timeout), (None, Some(7)));
    }

    #[test]
    fn what_is_wrong_with_a_hook_is_told_by_its_field() {
        let wrong = |json: &str, says: &str| {
            let error = hooks(json).unwrap_err().to_string();
            assert!(error.starts_with(says), "{error}");
        };
        wrong(r#"{"prestart":[{"path":"/a"},{"path":"b"}]}"#, "hooks.prestart[1].path: \"b\" is not an absolute path");
        wrong(r#"{"poststop":[{"path":"/a","timeout":0}]}"#, "hooks.poststop[0].timeout: 0: must be greater");
        wrong(r#"{"poststart":[{"path":"/a","timeout":-3}]}"#, "hooks.poststart[0].timeout: -3: must be greater");
        wrong(r#"{"poststart":[{"path":"/a","args":["a\u0000b"]}]}"#, "hooks.poststart[0].args: holds a NUL");
        wrong(r#"{"startContainer":[{"path":"/a","env":["a\u0000b"]}]}"#, "hooks.startContainer[0].env: holds a NUL");
    }

    #[test]
    fn the_documents_parts_make_json_around_status_and_pid() {
        let annotations = BTreeMap::from([("a\"b".to_owned(), "\u{0}".to_owned())]);
        let document = Document::new("1.3.0", "c1", Path::new("/b"), &annotations).unwrap();
        let (before, after) = (document.before.to_str().unwrap(), document.after.to_str().unwrap());
        let with = |pid: &str| format!("{before}running\"{pid}{after}");
        let read = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!(read(&with(r#","pid":42"#))["pid"], 42);
        assert_eq!(read(&with(""))["annotations"]["a\"b"], "\u{0}");
        assert_eq!(read(&with(""))["bundle"], "/b");
    }
}
