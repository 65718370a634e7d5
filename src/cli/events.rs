//! `events`: what a container uses, and that its memory ran out, one JSON document a line.

use std::os::fd::AsFd;
use std::time::Duration;

use super::failure::Failure;
use super::flag::{Flag, Value};
use super::parse::Order;
use super::{Call, Command, output};
use crate::container::{self, Event};
use crate::{Error, Result};

pub(super) static COMMAND: Command = Command {
    name: "events",
    about: "Show what a container uses, at intervals, and when its memory runs out.",
    details: "One JSON document a line, until the container ends. A container that is paused has figures too.",
    usage: "ID",
    flags: &[&INTERVAL, &STATS],
    words: (1, 1),
    order: Order::Anywhere,
    run,
};

static INTERVAL: Flag = Flag::new(
    "interval",
    Value::Text("DURATION"),
    "How often to show what is used, such as 500ms, 5s or 1m30s. The default is 5s.",
);
static STATS: Flag = Flag::switch("stats", "Show once what is used, and end.");

fn run(call: &Call<'_>) -> Result<u8, Failure> {
    let id = call.arguments.id()?;
    let interval = match call.arguments.text(&INTERVAL)? {
        None => Duration::from_secs(5),
        Some(text) => parse_duration(&text).ok_or_else(|| {
            Failure::new(format!("invalid value {text:?} for flag -interval: a duration such as 5s is needed"))
        })?,
    };
    if interval.is_zero() {
        return Err(Failure::new("duration interval must be greater than 0"));
    }
    if call.arguments.on(&STATS) {
        print(&container::stats(call.globals, &id)?)?;
        return Ok(0);
    }
    container::events(call.globals, &id, interval, std::io::stdout().as_fd(), &mut print)?;
    Ok(0)
}

fn print(event: &Event) -> Result<()> {
    let mut line = serde_json::to_vec(event).map_err(Error::from)?;
    line.push(b'\n');
    output::print(line)
}

/// A duration as Go writes it: numbers with units, `1h2m3.5s`. Less than none counts as none.
fn parse_duration(text: &str) -> Option<Duration> {
    const UNITS: [(&str, f64); 8] =
        [("ns", 1e-9), ("us", 1e-6), ("µs", 1e-6), ("μs", 1e-6), ("ms", 1e-3), ("s", 1.0), ("m", 60.0), ("h", 3600.0)];
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(Duration::ZERO);
    }
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, behind) = rest.split_at(digits);
        let letters = behind.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(behind.len());
        let (unit, next) = behind.split_at(letters);
        let (_, scale) = UNITS.iter().find(|(name, _)| *name == unit)?;
        seconds += number.parse::<f64>().ok()? * scale;
        rest = next;
    }
    if text.is_empty() { None } else { Duration::try_from_secs_f64(if negative { 0.0 } else { seconds }).ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_gos() {
        for (text, millis) in [("5s", 5000), ("1m30s", 90_000), ("1.5s", 1500), ("100ms", 100), ("-5s", 0), ("0", 0)] {
            assert_eq!(parse_duration(text), Some(Duration::from_millis(millis)), "{text}");
        }
        assert_eq!(parse_duration("2h"), Some(Duration::from_secs(7200)));
        for wrong in ["", "5", "s", "5x", "five", "1e300h", "99999999999999999999h"] {
            assert_eq!(parse_duration(wrong), None, "{wrong}");
        }
    }
}
