//! The types of the values that are sent: what systemd's units have for properties.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A value with its type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Value {
    /// `b`
    Bool(bool),
    /// `i`
    Int32(i32),
    /// `t`
    U64(u64),
    /// `s`
    Text(String),
    /// `as`
    Texts(Vec<String>),
    /// `au`
    Numbers(Vec<u32>),
    /// `ay`
    Bytes(Vec<u8>),
    /// `a(ss)`
    Pairs(Vec<(String, String)>),
    /// `a(st)`
    Rates(Vec<(String, u64)>),
}

impl Value {
    /// Its type: "Type System" of the specification.
    pub fn signature(&self) -> &'static str {
        match self {
            Self::Bool(_) => "b",
            Self::Int32(_) => "i",
            Self::U64(_) => "t",
            Self::Text(_) => "s",
            Self::Texts(_) => "as",
            Self::Numbers(_) => "au",
            Self::Bytes(_) => "ay",
            Self::Pairs(_) => "a(ss)",
            Self::Rates(_) => "a(st)",
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fn list<T>(
            f: &mut fmt::Formatter<'_>,
            items: &[T],
            show: impl Fn(&mut fmt::Formatter<'_>, &T) -> fmt::Result,
        ) -> fmt::Result {
            f.write_str("[")?;
            for (i, item) in items.iter().enumerate() {
                f.write_str(if i == 0 { "" } else { ", " })?;
                show(f, item)?;
            }
            f.write_str("]")
        }
        match self {
            Self::Bool(value) => value.fmt(f),
            Self::Int32(value) => value.fmt(f),
            // How systemd writes "no limit".
            Self::U64(u64::MAX) => f.write_str("infinity"),
            Self::U64(value) => value.fmt(f),
            Self::Text(value) => f.write_str(value),
            Self::Texts(values) => list(f, values, |f, value| f.write_str(value)),
            Self::Numbers(values) => list(f, values, |f, value| value.fmt(f)),
            Self::Bytes(values) => list(f, values, |f, value| write!(f, "{value:#04x}")),
            Self::Pairs(values) => list(f, values, |f, (a, b)| write!(f, "{a} {b}")),
            Self::Rates(values) => list(f, values, |f, (path, rate)| write!(f, "{path} {}", Self::U64(*rate))),
        }
    }
}
