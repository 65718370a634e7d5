//! The command line, in the words of Go's flags: `-name value`, `-name=value`, with one dash or two.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::{Error, Result};

/// What the shim is called for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// `-v`, `-version`.
    Version,
    /// `-info`: tell what the runtime can do.
    Info,
    /// `start`: tell where the shim of a container listens, and become it if there is none.
    Start,
    /// `delete`: remove what a shim that is gone has left of a container.
    Delete,
}

/// A command line.
#[derive(Debug, PartialEq, Eq)]
pub struct Flags {
    /// What to do.
    pub action: Action,
    /// `-id`: the container.
    pub id: String,
    /// `-namespace`: containerd's namespace, which has nothing to do with the kernel's.
    pub namespace: String,
    /// `-address`: containerd's socket.
    pub address: String,
    /// `-publish-binary`: a program that passes events on.
    pub publish_binary: Option<PathBuf>,
    /// `-bundle`: where it is not the current directory.
    pub bundle: Option<PathBuf>,
    /// `-debug`.
    pub debug: bool,
}

impl Flags {
    /// Reads the words behind the program's name.
    ///
    /// # Errors
    /// Names the word that is wrong, or the flag that is missing.
    pub fn parse(words: impl Iterator<Item = OsString>) -> Result<Self> {
        let mut words = words.map(|word| word.to_string_lossy().into_owned());
        let mut flags = Self {
            action: Action::Version,
            id: String::new(),
            namespace: String::new(),
            address: String::new(),
            publish_binary: None,
            bundle: None,
            debug: false,
        };
        let mut action = None;
        while let Some(word) = words.next() {
            let Some(flag) = word.strip_prefix("--").or_else(|| word.strip_prefix('-')) else {
                action = Some(word);
                break;
            };
            let (name, given) = match flag.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (flag, None),
            };
            match name {
                "v" | "version" => return Ok(flags),
                "info" => return Ok(Self { action: Action::Info, ..flags }),
                "debug" => {
                    flags.debug = given.is_none_or(|value| value == "true");
                    continue;
                }
                _ => {}
            }
            let value = given.or_else(|| words.next());
            let value = value.ok_or_else(|| Error::invalid(format!("flag needs an argument: -{name}")))?;
            match name {
                "id" => flags.id = value,
                "namespace" => flags.namespace = value,
                "address" => flags.address = value,
                "publish-binary" => flags.publish_binary = Some(value.into()),
                "bundle" => flags.bundle = Some(value.into()),
                _ => return Err(Error::invalid(format!("flag provided but not defined: -{name}"))),
            }
        }
        flags.action = match action.as_deref() {
            Some("start") => Action::Start,
            Some("delete") => Action::Delete,
            Some(other) => {
                return Err(Error::invalid(format!("{other:?} is not what a shim is called for: start, delete")));
            }
            None => return Err(Error::invalid("a shim is started by containerd: start, delete, -info or -version")),
        };
        for (name, value) in [("namespace", &flags.namespace), ("id", &flags.id)] {
            if value.is_empty() {
                return Err(Error::invalid(format!("shim {name} cannot be empty: -{name}")));
            }
        }
        Ok(flags)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Flags> {
        Flags::parse(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn containerds_line_is_read() {
        let flags = parse("-namespace k8s.io -address /run/c.sock --id=a -debug -publish-binary /bin/c start").unwrap();
        assert_eq!((flags.action, flags.id.as_str(), flags.namespace.as_str()), (Action::Start, "a", "k8s.io"));
        assert_eq!((flags.address.as_str(), flags.debug), ("/run/c.sock", true));
        assert_eq!(flags.publish_binary, Some("/bin/c".into()));
        let flags = parse("-namespace d -id a -bundle /b delete").unwrap();
        assert_eq!((flags.action, flags.bundle), (Action::Delete, Some("/b".into())));
        assert_eq!(parse("-v").unwrap().action, Action::Version);
        assert_eq!(parse("-info").unwrap().action, Action::Info);
    }

    #[test]
    fn a_wrong_word_is_named() {
        for (line, words) in [
            ("-id a start", "-namespace"),
            ("-namespace d start", "-id"),
            ("-namespace d -id a", "started by containerd"),
            ("-namespace d -id a stop", "\"stop\""),
            ("-nosuch 1 start", "-nosuch"),
            ("-id", "-id"),
        ] {
            let error = parse(line).unwrap_err().to_string();
            assert!(error.contains(words), "{line}: {error}");
        }
    }
}
