//! A parsed command line, and its raw words as typed values. An empty value counts as none, as with runc.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use super::failure::Failure;
use super::flag::{Flag, Value};
use crate::container::ContainerId;
use crate::{Context, Error, Result};

/// Flags in the order given, and words.
#[derive(Debug, Default)]
pub(super) struct Arguments {
    pub given: Vec<(&'static str, Given)>,
    pub words: Vec<OsString>,
}

/// What one flag was given.
#[derive(Debug)]
pub(super) enum Given {
    Switch(bool),
    Value(OsString),
}

impl Arguments {
    /// Whether a switch is on; the last one given counts.
    pub fn on(&self, flag: &Flag) -> bool {
        matches!(self.all(flag).last(), Some(Given::Switch(true)))
    }

    /// The last value of a flag.
    pub fn last(&self, flag: &Flag) -> Option<&OsStr> {
        match self.all(flag).last() {
            Some(Given::Value(value)) if !value.is_empty() => Some(value),
            _ => None,
        }
    }

    /// A path, from the caller's directory on when it is relative.
    pub fn path(&self, flag: &Flag) -> Result<Option<PathBuf>> {
        let absolute = |path| std::path::absolute(path).context(|| format!("--{}", flag.long));
        self.last(flag).map(absolute).transpose()
    }

    /// A file to write to; None for stdout, which is `-`, and when not given.
    pub fn path_or_stdout(&self, flag: &Flag) -> Result<Option<PathBuf>> {
        if self.last(flag).is_none_or(|value| value == "-") { Ok(None) } else { self.path(flag) }
    }

    /// A text.
    pub fn text(&self, flag: &Flag) -> Result<Option<String>> {
        self.last(flag).map(|value| utf8(value, &format!("--{}", flag.long))).transpose()
    }

    /// Every value of a flag that can be repeated.
    pub fn texts(&self, flag: &Flag) -> Result<Vec<String>> {
        let values = self.all(flag).filter_map(|given| match given {
            Given::Value(value) => Some(value),
            Given::Switch(_) => None,
        });
        values.map(|value| utf8(value, &format!("--{}", flag.long))).collect()
    }

    /// A number of descriptors or the like, 0 when not given.
    pub fn number(&self, flag: &Flag) -> Result<u32, Failure> {
        self.last(flag).map_or(Ok(0), |value| number(flag, value))
    }

    /// Every number of a flag that can be repeated.
    pub fn numbers(&self, flag: &Flag) -> Result<Vec<u32>, Failure> {
        self.texts(flag)?.iter().map(|value| number(flag, OsStr::new(value))).collect()
    }

    /// One of the words that the flag allows; the first of them when not given.
    pub fn choice(&self, flag: &Flag) -> Result<&'static str> {
        let Value::OneOf(_, choices) = flag.value else { return Ok("") };
        let Some(value) = self.last(flag) else { return Ok(choices[0]) };
        choices.iter().find(|choice| **choice == value).copied().ok_or_else(|| {
            let choices = choices.join(" or ");
            Error::invalid(format!("invalid {} option {value:?}: --{} takes {choices}", flag.long, flag.long))
        })
    }

    /// The container's id, the first word.
    pub fn id(&self) -> Result<ContainerId> {
        self.words.first().map_or_else(|| "".parse(), |word| id(word))
    }

    /// The words behind the first, as text.
    pub fn rest(&self) -> Result<Vec<String>> {
        self.words.iter().skip(1).map(|word| utf8(word, "argument")).collect()
    }

    fn all(&self, flag: &Flag) -> impl Iterator<Item = &Given> {
        self.given.iter().filter(|(long, _)| *long == flag.long).map(|(_, given)| given)
    }
}

/// A word as a container's id.
pub(super) fn id(word: &OsStr) -> Result<ContainerId> {
    word.to_string_lossy().parse()
}

fn number(flag: &Flag, value: &OsStr) -> Result<u32, Failure> {
    let parsed = value.to_str().and_then(|text| text.parse().ok());
    parsed.ok_or_else(|| {
        Failure::new(format!("invalid value {value:?} for flag -{}: a number from 0 on is needed", flag.long))
    })
}

fn utf8(value: &OsStr, what: &str) -> Result<String> {
    value.to_str().map(str::to_owned).ok_or_else(|| Error::invalid(format!("{what} {value:?} is not UTF-8")))
}
