//! The words of a definition's `options`, each taken once; one that nobody took is an error that names it.

use std::collections::BTreeMap;
use std::str::FromStr;

use super::super::firewall::Isolation;
use super::Driver;
use crate::{Context, Error, Result};

/// Options that have not been taken yet.
#[derive(Debug)]
pub struct Options<'a> {
    left: BTreeMap<&'a str, &'a str>,
    /// What was asked for, for the words of [`Options::finish`].
    known: Vec<&'static str>,
}

impl<'a> Options<'a> {
    /// All of them.
    pub fn of(options: &'a BTreeMap<String, String>) -> Self {
        Self { left: options.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect(), known: Vec::new() }
    }

    /// Takes a value.
    ///
    /// # Errors
    /// One that names the option, when its value is no `T`.
    pub fn take<T: FromStr<Err = Error>>(&mut self, name: &'static str) -> Result<Option<T>> {
        self.with(name, str::parse)
    }

    /// Takes a number from a range.
    pub fn number(&mut self, name: &'static str, least: u32, most: u32) -> Result<Option<u32>> {
        self.with(name, |text| {
            let number = text.parse().ok().filter(|number| (least..=most).contains(number));
            number.ok_or_else(|| Error::invalid(format!("{text:?}: expected a number from {least} to {most}")))
        })
    }

    /// Takes an address.
    pub fn address(&mut self, name: &'static str) -> Result<Option<std::net::IpAddr>> {
        self.with(name, |text| text.parse().map_err(|_| Error::invalid(format!("{text:?} is no address"))))
    }

    /// Takes a truth, in the words that Go's strconv.ParseBool has for it, as podman does.
    pub fn truth(&mut self, name: &'static str) -> Result<Option<bool>> {
        self.with(name, truth)
    }

    /// Takes `isolate`: a truth, or `strict`.
    pub fn isolation(&mut self) -> Result<Isolation> {
        let taken = self.with("isolate", |text| match text {
            "strict" => Ok(Isolation::Strict),
            "none" => Ok(Isolation::None),
            _ => match truth(text) {
                Ok(true) => Ok(Isolation::Isolated),
                Ok(false) => Ok(Isolation::None),
                Err(_) => Err(Error::invalid(format!("{text:?}: expected none, true or strict"))),
            },
        });
        Ok(taken?.unwrap_or_default())
    }

    /// Refuses what is left.
    pub fn finish(self, driver: Driver) -> Result<()> {
        let Some(name) = self.left.keys().next() else { return Ok(()) };
        let (driver, known) = (driver.word(), self.known.join(", "));
        Err(Error::invalid(format!("option {name}: driver {driver} has none of this name; it has {known}")))
    }

    /// Refuses an option that only other drivers have, with a word on which.
    pub fn refuse(&self, name: &str, why: &str) -> Result<()> {
        match self.left.contains_key(name) {
            true => Err(Error::invalid(format!("option {name}: {why}"))),
            false => Ok(()),
        }
    }

    fn with<T>(&mut self, name: &'static str, parse: impl FnOnce(&str) -> Result<T>) -> Result<Option<T>> {
        self.known.push(name);
        let text = self.left.remove(name);
        text.map(|text| parse(text).context(|| format!("option {name}"))).transpose()
    }
}

fn truth(text: &str) -> Result<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(Error::invalid(format!("{text:?}: expected true or false"))),
    }
}
