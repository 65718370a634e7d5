//! process.cwd, args and env, as steps: config.md, "Process".

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;

use oci_spec::runtime::Process;

use super::step::Step;
use crate::init::program::{Draft, Items, text};
use crate::init::wire::Text;
use crate::{Error, Result};

/// Checks what a process needs at least.
pub fn check(process: &Process) -> Result<()> {
    let Some(command) = process.args().as_deref().and_then(<[_]>::first) else {
        return Err(Error::invalid("process.args: must not be empty: name the command to run"));
    };
    if command.is_empty() {
        return Err(Error::invalid("process.args[0]: must not be empty: name the command to run"));
    }
    let cwd = process.cwd();
    if cwd.as_os_str().is_empty() {
        return Err(Error::invalid("process.cwd: Cwd property must not be empty"));
    }
    if !cwd.is_absolute() {
        return Err(Error::invalid(format!("process.cwd: Cwd must be an absolute path, and {} is not", cwd.display())));
    }
    Ok(())
}

/// chdir(2), before (`last` false) or after the change of user.
pub fn change_directory(process: &Process, last: bool, draft: &mut Draft) -> Result<()> {
    let path = text("process.cwd", process.cwd().as_os_str().as_bytes())?;
    draft.step(Step::ChangeDirectory { path: Text(&path), last });
    Ok(())
}

/// Looks for the command in the PATH of the process's own environment.
pub fn find(process: &Process, environment: &[CString], draft: &mut Draft) -> Result<()> {
    let command = process.args().as_deref().and_then(<[_]>::first).map_or("", String::as_str);
    let command = text("process.args[0]", command)?;
    let path = environment.iter().find_map(|variable| variable.to_bytes().strip_prefix(b"PATH="));
    let path = text("process.env", path.unwrap_or_default())?;
    draft.step(Step::Find { command: Text(&command), path: Text(&path) });
    Ok(())
}

/// execve(2)'s arguments.
pub fn prepare(process: &Process, environment: &[CString], draft: &mut Draft) -> Result<()> {
    let args = process.args().as_deref().unwrap_or_default();
    let args = args.iter().map(|argument| text("process.args", argument.as_str())).collect::<Result<Vec<_>>>()?;
    let args = Items::new(args.iter().map(|argument| Text(argument)));
    let env = Items::new(environment.iter().map(|variable| Text(variable)));
    draft.step(Step::Prepare { args: args.list(), env: env.list() });
    Ok(())
}

/// execve(2).
pub fn run(process: &Process, draft: &mut Draft) -> Result<()> {
    let name = process.args().as_deref().and_then(<[_]>::first).map_or("", String::as_str);
    let name = text("process.args[0]", name)?;
    draft.step(Step::Run { name: Text(&name) });
    Ok(())
}

/// The environment: the last of several values wins, at the place of the first; HOME is added where it is missing or
/// empty.
pub fn environment(process: &Process, home: impl FnOnce() -> Option<String>) -> Result<Vec<CString>> {
    let mut variables: Vec<&str> = Vec::new();
    let mut places = std::collections::HashMap::new();
    for (i, variable) in process.env().iter().flatten().enumerate() {
        let Some((name, _)) = variable.split_once('=') else {
            return Err(Error::invalid(format!("process.env[{i}]: {variable:?} is not NAME=VALUE")));
        };
        if name.is_empty() {
            return Err(Error::invalid(format!("process.env[{i}]: {variable:?} has no name")));
        }
        match places.get(name) {
            Some(&place) => variables[place] = variable.as_str(),
            None => {
                places.insert(name, variables.len());
                variables.push(variable);
            }
        }
    }
    let needs_home = !variables.iter().any(|variable| variable.len() > 5 && variable.starts_with("HOME="));
    let home = if needs_home { Some(format!("HOME={}", home().unwrap_or_else(|| "/".into()))) } else { None };
    if home.is_some() {
        variables.retain(|variable| !variable.starts_with("HOME="));
    }
    variables.into_iter().chain(home.as_deref()).map(|variable| text("process.env", variable)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(env: &[&str]) -> Process {
        let env = serde_json::to_string(env).unwrap();
        serde_json::from_str(&format!(r#"{{"user":{{"uid":0,"gid":0}},"cwd":"/","args":["sh"],"env":{env}}}"#)).unwrap()
    }

    fn environment_of(env: &[&str]) -> Vec<String> {
        let variables = environment(&process(env), || Some("/root".into())).unwrap();
        variables.iter().map(|variable| variable.to_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn the_last_of_two_values_wins() {
        assert_eq!(environment_of(&["A=1", "HOME=/x", "A=2"]), ["A=2", "HOME=/x"]);
    }

    #[test]
    fn home_comes_from_passwd_when_missing_or_empty_and_is_set_once() {
        assert_eq!(environment_of(&["A=line\nline"]), ["A=line\nline", "HOME=/root"]);
        assert_eq!(environment_of(&["HOME=", "B=1"]), ["B=1", "HOME=/root"]);
    }
}
