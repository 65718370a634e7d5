//! `org.systemd.property.NAME` annotations into properties of the unit. An annotation may come from whoever may name an
//! image (CVE-2024-3154), so there is a short list of those that can do no harm to the host; docs/decisions/systemd.md says
//! why each is on it. Values are in GVariant's text format, as runc takes them.

use std::collections::HashMap;

use super::properties::Property;
use crate::dbus::Value;
use crate::{Error, Result};

/// What the annotations' names begin with.
pub const PREFIX: &str = "org.systemd.property.";

/// The types of the properties that may be set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Type {
    Bool,
    Int32,
    U64,
    Text,
    Texts,
}

const SAFE: [(&str, Type); 8] = [
    ("After", Type::Texts),
    ("Before", Type::Texts),
    ("CollectMode", Type::Text),
    ("DefaultDependencies", Type::Bool),
    ("Description", Type::Text),
    ("KillSignal", Type::Int32),
    ("RuntimeMaxUSec", Type::U64),
    ("TimeoutStopUSec", Type::U64),
];

/// Microseconds that a container may ask for between SIGTERM and SIGKILL: with DefaultDependencies a shutdown waits so long,
/// and systemd takes the highest number for "forever".
const LONGEST_STOP: u64 = 3600 * 1_000_000;

/// The properties that the annotations ask for, by their names.
///
/// # Errors
/// Names the annotation that is not on the list, or whose value is not of its type.
pub(super) fn properties(annotations: Option<&HashMap<String, String>>) -> Result<Vec<Property>> {
    let mut asked: Vec<_> = annotations.into_iter().flatten().filter(|(name, _)| name.starts_with(PREFIX)).collect();
    asked.sort();
    let properties = asked.into_iter().map(|(name, text)| {
        property(&name[PREFIX.len()..], text)
            .map_err(|why| Error::invalid(format!("annotations.{name}: {text:?}: {why}")))
    });
    properties.collect()
}

fn property(name: &str, text: &str) -> Result<Property, String> {
    // As runc: what the manual calls …Sec is …USec on the bus.
    let seconds = name.strip_suffix("Sec").filter(|stem| !stem.ends_with('U'));
    let full = seconds.map_or_else(|| name.to_owned(), |stem| format!("{stem}USec"));
    let Some((name, kind)) = SAFE.iter().find(|(safe, _)| *safe == full) else {
        let names: Vec<_> = SAFE.iter().map(|(name, _)| *name).collect();
        return Err(format!(
            "this property of a unit may not be set by an annotation, which might come from an image; these may: {}",
            names.join(", ")
        ));
    };
    let value = match (kind, seconds) {
        (Type::U64, Some(_)) => microseconds(text)?,
        _ => value(*kind, text)?,
    };
    if let ("TimeoutStopUSec", Value::U64(wait)) = (*name, &value)
        && *wait > LONGEST_STOP
    {
        return Err("a host that shuts down would wait for longer than an hour".into());
    }
    Ok(Property::new(name, value))
}

fn value(kind: Type, text: &str) -> Result<Value, String> {
    let text = text.trim();
    Ok(match kind {
        Type::Bool => match text.strip_prefix("boolean ").unwrap_or(text).trim() {
            "true" => Value::Bool(true),
            "false" => Value::Bool(false),
            _ => return Err("expected true or false".into()),
        },
        Type::Int32 => {
            let number = text.strip_prefix("int32 ").unwrap_or(text).trim();
            Value::Int32(number.parse().map_err(|_| "expected a number such as 15")?)
        }
        Type::U64 => {
            let number =
                text.strip_prefix("uint64 ").ok_or("expected a number with its type, such as uint64 5000000")?;
            Value::U64(number.trim().parse().map_err(|_| "expected a number behind uint64")?)
        }
        Type::Text => match strings(text)? {
            Items::One(text) => Value::Text(text),
            Items::Many(_) => return Err("expected one quoted text".into()),
        },
        Type::Texts => match strings(text)? {
            Items::Many(texts) => Value::Texts(texts),
            Items::One(_) => return Err("expected a list such as ['a.service', 'b.service']".into()),
        },
    })
}

/// Seconds, of whatever type of number, as microseconds.
fn microseconds(text: &str) -> Result<Value, String> {
    const TYPES: [&str; 8] = ["byte", "int16", "uint16", "int32", "uint32", "int64", "uint64", "double"];
    let number = match text.trim().split_once(' ') {
        Some((kind, number)) if TYPES.contains(&kind) => number.trim(),
        _ => text.trim(),
    };
    let seconds: f64 = number.parse().map_err(|_| "expected a number of seconds such as 30")?;
    if !(0.0..=1e12).contains(&seconds) {
        return Err("expected a number of seconds from 0 on".into());
    }
    Ok(Value::U64((seconds * 1e6) as u64))
}

/// Quoted text, or a list of it.
enum Items {
    One(String),
    Many(Vec<String>),
}

fn strings(text: &str) -> Result<Items, String> {
    let Some(list) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) else {
        let (text, rest) = quoted(text)?;
        return if rest.trim().is_empty() { Ok(Items::One(text)) } else { Err("there is more behind the text".into()) };
    };
    let mut texts = Vec::new();
    let mut rest = list.trim();
    while !rest.is_empty() {
        let (text, more) = quoted(rest)?;
        texts.push(text);
        rest = more.trim_start();
        match rest.strip_prefix(',') {
            Some(more) => rest = more.trim_start(),
            None if rest.is_empty() => {}
            None => return Err("expected a comma between the texts of a list".into()),
        }
    }
    Ok(Items::Many(texts))
}

/// A text in quotes of either kind, with backslashes before what would end it, and what is behind it.
fn quoted(text: &str) -> Result<(String, &str), String> {
    let text = text.trim_start();
    let quote = text.chars().next().filter(|c| ['\'', '"'].contains(c)).ok_or("expected a text in quotes")?;
    let mut value = String::new();
    let mut characters = text.char_indices().skip(1);
    while let Some((at, c)) = characters.next() {
        match c {
            '\\' => match characters.next() {
                Some((_, c @ ('\\' | '\'' | '"'))) => value.push(c),
                _ => return Err("a backslash stands before a quote or a backslash".into()),
            },
            c if c == quote => return Ok((value, &text[at + 1..])),
            c if c.is_control() => return Err("control characters are not for a unit".into()),
            c => value.push(c),
        }
    }
    Err("the text has no closing quote".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(name: &str, text: &str) -> Result<String> {
        let annotations = HashMap::from([(format!("{PREFIX}{name}"), text.to_owned()), ("other".into(), "x".into())]);
        Ok(properties(Some(&annotations))?.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
    }

    #[test]
    fn values_are_read_in_the_text_format_of_gvariant() {
        for (name, text, property) in [
            ("TimeoutStopUSec", "uint64 5000000", "TimeoutStopUSec 5000000"),
            ("TimeoutStopSec", "5", "TimeoutStopUSec 5000000"),
            ("TimeoutStopSec", "uint32 1", "TimeoutStopUSec 1000000"),
            ("TimeoutStopSec", "0.5", "TimeoutStopUSec 500000"),
            ("CollectMode", "'inactive-or-failed'", "CollectMode inactive-or-failed"),
            ("Description", r#""it's \"one\"""#, r#"Description it's "one""#),
            ("KillSignal", "37", "KillSignal 37"),
            ("DefaultDependencies", "true", "DefaultDependencies true"),
            ("After", "['crio.service', 'b.service']", "After [crio.service, b.service]"),
            ("Before", "[]", "Before []"),
        ] {
            assert_eq!(shown(name, text).unwrap(), property);
        }
    }

    #[test]
    fn what_is_not_on_the_list_or_of_another_type_is_refused_by_its_name() {
        for (name, text, words) in [
            ("ExecStop", "['/bin/x']", "may not be set by an annotation"),
            ("Slice", "'x.slice'", "may not be set"),
            ("MemoryMax", "uint64 5", "may not be set"),
            ("KillMode", "'none'", "may not be set"),
            ("Wants", "['x.service']", "may not be set"),
            ("TimeoutStopUSec", "5", "uint64"),
            ("TimeoutStopUSec", "uint64 18446744073709551615", "longer than an hour"),
            ("TimeoutStopSec", "3601", "longer than an hour"),
            ("TimeoutStopSec", "soon", "seconds"),
            ("TimeoutStopSec", "-1", "from 0 on"),
            ("TimeoutStopSec", "ExecStop 'x' 5", "seconds"),
            ("TimeoutStopSec", "NaN", "from 0 on"),
            ("TimeoutStopUSec", "uint645", "uint64"),
            ("Description", "'a\nExecStop=x'", "control characters"),
            ("CollectMode", "inactive", "quotes"),
            ("CollectMode", "'inactive", "no closing quote"),
            ("After", "'x'", "a list"),
            ("After", "['x' 'y']", "comma"),
            ("DefaultDependencies", "'true'", "true or false"),
        ] {
            let error = shown(name, text).unwrap_err().to_string();
            assert!(error.starts_with(&format!("annotations.{PREFIX}{name}: ")) && error.contains(words), "{error}");
        }
    }
}
