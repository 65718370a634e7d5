//! `top`: what the running containers use, refreshed.

mod rows;
mod screen;
mod text;

use std::time::{Duration, Instant};

use super::arguments;
use super::failure::Failure;
use super::flag::{Flag, Value};
use super::parse::Order;
use super::{Call, Command, output};
use crate::container::{self, ContainerId, Globals, Used};
use crate::{Error, Result};
use rows::{Row, Sort};
use screen::{Event, Screen};

pub(super) static COMMAND: Command = Command {
    name: "top",
    about: "Show what the running containers use, again and again.",
    details: "Processor time in percent of one processor, memory in use, processes and threads, and what passes the \
              interfaces but lo: per second over the interval, and in all. With ids, of those containers, until all of \
              them have ended. At a terminal, c m p r t n sort by cpu, mem, pids, rx, tx, name, and q ends it.",
    usage: "[ID]...",
    flags: &[&ONCE, &INTERVAL, &SORT, &FORMAT],
    words: (0, super::MANY),
    order: Order::Anywhere,
    run,
};

static ONCE: Flag = Flag::switch("once", "Show it once, after one interval, and end.");
static INTERVAL: Flag = Flag::new(
    "interval",
    Value::Text("SECONDS"),
    "How long to wait between two looks, such as 5 or 0.5. The default is 1.",
);
static SORT: Flag =
    Flag::new("sort", Value::OneOf("KEY", &Sort::WORDS), "What stands first: the greatest, or by name.");
static FORMAT: Flag = Flag::new(
    "format",
    Value::OneOf("FORMAT", &["table", "json"]),
    "Print a table, or a line with a JSON array for each interval.",
)
.letter('f');

fn run(call: &Call<'_>) -> Result<u8, Failure> {
    let arguments = call.arguments;
    let interval = match arguments.text(&INTERVAL)? {
        None => Duration::from_secs(1),
        Some(text) => seconds(&text)?,
    };
    let only = arguments.words.iter().map(|word| arguments::id(word)).collect::<Result<Vec<_>>>()?;
    container::check_running(call.globals, &only)?;
    let is_json = arguments.choice(&FORMAT)? == "json";
    let sort = Sort::of(arguments.choice(&SORT)?);
    let once = arguments.on(&ONCE);
    let screen = Screen::open(!once && !is_json)?;
    Watch { globals: call.globals, only, interval, is_json, sort, screen }.run(once)?;
    Ok(0)
}

/// A part of a second at least, a day at most.
fn seconds(text: &str) -> Result<Duration> {
    let wrong = || Error::invalid(format!("--interval {text:?}: seconds are needed, from 0.01 to 86400"));
    let number: f64 = text.parse().map_err(|_| wrong())?;
    if (0.01..=86_400.0).contains(&number) { Ok(Duration::from_secs_f64(number)) } else { Err(wrong()) }
}

struct Watch<'a> {
    globals: &'a Globals,
    only: Vec<ContainerId>,
    interval: Duration,
    is_json: bool,
    sort: Sort,
    screen: Screen,
}

impl Watch<'_> {
    fn run(&mut self, once: bool) -> Result<()> {
        let mut before = container::usage(self.globals, &self.only)?;
        let mut rows = rows::rows(&[], &before);
        if self.screen.is_drawn() {
            self.show(&mut rows)?;
        }
        let mut next = Instant::now() + self.interval;
        loop {
            match self.screen.wait(next)? {
                Event::End => return Ok(()),
                Event::Sort(sort) => self.sort = sort,
                Event::Redraw => {}
                Event::Time => {
                    let now = container::usage(self.globals, &self.only)?;
                    rows = rows::rows(&before, &now);
                    before = now;
                    // Looks that a slow reader has missed are not made up for.
                    next = (next + self.interval).max(Instant::now());
                }
            }
            self.show(&mut rows)?;
            if once || self.all_have_ended(&before) {
                return Ok(());
            }
        }
    }

    /// Whether all containers that were named have.
    fn all_have_ended(&self, used: &[Used]) -> bool {
        !self.only.is_empty() && used.is_empty()
    }

    fn show(&self, rows: &mut [Row]) -> Result<()> {
        self.sort.order(rows);
        if self.is_json {
            let mut line = serde_json::to_vec(&rows)?;
            line.push(b'\n');
            return output::print(line);
        }
        let lines = text::lines(rows);
        if self.screen.is_drawn() {
            return self.screen.draw(&lines);
        }
        output::print(lines.concat())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_is_in_seconds() {
        assert_eq!(seconds("0.5").unwrap(), Duration::from_millis(500));
        assert_eq!(seconds("60").unwrap(), Duration::from_secs(60));
        for bad in ["", "0", "-1", "1s", "NaN", "inf", "86401"] {
            assert!(seconds(bad).unwrap_err().to_string().contains("seconds are needed"), "{bad}");
        }
    }
}
