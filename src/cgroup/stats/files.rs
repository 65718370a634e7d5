//! Reading a cgroup's files, whichever interface they are of.

use std::collections::BTreeMap;

use nix::errno::Errno;

use super::super::file;
use super::super::step::Cgroup;
use crate::{Context, Error, Result};

/// The files of one cgroup.
pub(super) struct Files {
    pub(super) dir: String,
}

impl Files {
    pub(super) fn of(cgroup: &Cgroup) -> Self {
        Self { dir: cgroup.dir() }
    }

    /// The text of a file, empty where this kernel has none of that name.
    pub(super) fn text(&self, name: &str) -> Result<String> {
        let path = format!("{}/{name}", self.dir);
        match file::read_list(&path) {
            Err(Errno::ENOENT) if std::path::Path::new(&self.dir).exists() => Ok(String::new()),
            // A counter that is compiled in and turned off.
            Err(Errno::EOPNOTSUPP) => Ok(String::new()),
            text => text.context(|| format!("read {path}")),
        }
    }

    pub(super) fn parsed<T>(&self, name: &str, text: &str, parse: impl FnOnce(&str) -> Option<T>) -> Result<T> {
        parse(text)
            .ok_or_else(|| Error::new(format!("{}/{name}: {text:?} is not what it is documented to be", self.dir)))
    }

    /// A number; `max` and an absent file are 0.
    pub(super) fn number(&self, name: &str) -> Result<u64> {
        let text = self.text(name)?;
        self.parsed(name, &text, |text| if matches!(text, "" | "max") { Some(0) } else { text.parse().ok() })
    }

    /// Lines of a name and a number.
    pub(super) fn table(&self, name: &str) -> Result<BTreeMap<String, u64>> {
        let text = self.text(name)?;
        let row = |line: &str| {
            let (key, value) = line.split_once(' ')?;
            Some((key.to_owned(), value.trim().parse().ok()?))
        };
        text.lines().map(|line| self.parsed(name, line, row)).collect()
    }

    /// Numbers on one line.
    pub(super) fn numbers(&self, name: &str) -> Result<Vec<u64>> {
        let text = self.text(name)?;
        text.split_whitespace().map(|word| self.parsed(name, word, |word| word.parse().ok())).collect()
    }
}

/// `0-2,7` as its numbers.
pub(super) fn parse_list(text: &str) -> Option<Vec<u16>> {
    let mut numbers = Vec::new();
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        numbers.extend(first.parse::<u16>().ok()?..=last.parse().ok()?);
    }
    Some(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_as_the_kernel_prints_them() {
        assert_eq!(parse_list("0-2,7").unwrap(), [0, 1, 2, 7]);
        assert!(parse_list("").unwrap().is_empty());
        assert_eq!(parse_list("0-x"), None);
    }
}
