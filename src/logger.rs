//! The log, as logrus writes it for runc: text or JSON lines, to a file or stderr. Drivers read the file's last error.

use std::fs::{File, OpenOptions};
use std::io::{IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::{Instant, SystemTime};

use log::{Level, LevelFilter, Log, Metadata, Record};

use crate::{Context, Result, timestamp};

/// Where messages go.
pub(crate) enum Target {
    Stderr,
    File(PathBuf),
    /// One that is open; what it does not take at once is lost.
    Open(File),
}

/// What a message looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Text,
    Json,
    /// For a person at a terminal.
    Terminal,
}

struct Logger {
    /// None stands for stderr.
    file: Option<File>,
    format: Format,
    started: Instant,
}

static LOGGER: OnceLock<Logger> = OnceLock::new();

/// Sends what the library logs to the target, from here on.
pub(crate) fn start(target: Target, format: Format, debug: bool) -> Result<()> {
    let file = match target {
        Target::Stderr => None,
        Target::Open(file) => Some(file),
        Target::File(path) => {
            let file = OpenOptions::new().append(true).create(true).mode(0o644).open(&path);
            Some(file.context(|| format!("open {}", path.display()))?)
        }
    };
    let logger = LOGGER.get_or_init(|| Logger { file, format, started: Instant::now() });
    // Refused only when there is a logger already, which then serves.
    let _ = log::set_logger(logger);
    log::set_max_level(if debug { LevelFilter::Debug } else { LevelFilter::Info });
    Ok(())
}

/// Says why a command failed: in the log, and on stderr when that is not the log.
pub(crate) fn report(message: &str) {
    let Some(logger) = LOGGER.get() else {
        return write_stderr(&line(Format::Text, Level::Error, message, 0));
    };
    logger.write(Level::Error, message);
    if logger.file.is_some() {
        write_stderr(&format!("{}\n", harmless(message)));
    }
}

/// Writes to stderr; when that fails there is nobody left to tell.
pub(crate) fn write_stderr(text: &str) {
    let _ = std::io::stderr().write_all(text.as_bytes());
}

impl Logger {
    /// Text at a terminal is for a person. This is asked here, so that a command that logs nothing does not pay for it.
    fn format(&self) -> Format {
        let at_terminal = self.file.is_none() && self.format == Format::Text && std::io::stderr().is_terminal();
        if at_terminal { Format::Terminal } else { self.format }
    }

    fn write(&self, level: Level, message: &str) {
        let line = line(self.format(), level, message, self.started.elapsed().as_secs());
        match &self.file {
            // A full disk must not fail the command that is being logged.
            Some(file) => drop((&*file).write_all(line.as_bytes())),
            None => write_stderr(&line),
        }
    }
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            self.write(record.level(), &record.args().to_string());
        }
    }

    fn flush(&self) {}
}

/// One message as one line, `since` seconds after the start.
fn line(format: Format, level: Level, message: &str, since: u64) -> String {
    let time = || timestamp::seconds(SystemTime::now());
    match format {
        Format::Text => format!("time={} level={} msg={}\n", quoted(&time()), word(level), quoted_if_needed(message)),
        Format::Json => {
            format!("{{\"level\":\"{}\",\"msg\":{},\"time\":{}}}\n", word(level), quoted(message), quoted(&time()))
        }
        Format::Terminal => {
            let (colour, short) = match level {
                Level::Error => (31, "ERRO"),
                Level::Warn => (33, "WARN"),
                Level::Info => (36, "INFO"),
                Level::Debug | Level::Trace => (37, "DEBU"),
            };
            format!("\x1b[{colour}m{short}\x1b[0m[{since:04}] {}\n", harmless(message))
        }
    }
}

/// A message for a terminal. It may quote what an image or a container has said, such as a hook's output, and a terminal
/// obeys control characters; those of plain text stay.
fn harmless(message: &str) -> String {
    let is_plain = |c: char| !c.is_control() || c == '\n' || c == '\t';
    let show = |c: char| if is_plain(c) { c.to_string() } else { c.escape_default().to_string() };
    message.chars().map(show).collect()
}

fn word(level: Level) -> &'static str {
    match level {
        Level::Error => "error",
        Level::Warn => "warning",
        Level::Info => "info",
        Level::Debug => "debug",
        Level::Trace => "trace",
    }
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// logrus leaves a value bare when it holds nothing but these.
fn quoted_if_needed(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._/@^+".contains(c);
    if text.chars().all(is_plain) { text.to_owned() } else { quoted(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_quoted_where_logrus_quotes_it() {
        assert!(line(Format::Text, Level::Warn, "plain", 0).ends_with(" level=warning msg=plain\n"));
        assert!(line(Format::Text, Level::Error, "a \"b\"\n", 0).ends_with(" level=error msg=\"a \\\"b\\\"\\n\"\n"));
    }

    #[test]
    fn a_terminal_obeys_nothing_that_a_message_quotes() {
        let said = "a\tb\nc\u{1b}]0;x\u{7}\r\u{9b}2J é";
        let shown = "a\tb\nc\\u{1b}]0;x\\u{7}\\r\\u{9b}2J é\n";
        let line = line(Format::Terminal, Level::Error, said, 0);
        assert!(line.ends_with(shown), "{line:?}");
    }

    #[test]
    fn json_has_runcs_keys_and_stays_on_one_line() {
        let line = line(Format::Json, Level::Error, "a\n\"b\"", 0);
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value["level"], "error");
        assert_eq!(value["msg"], "a\n\"b\"");
        assert_eq!(value["time"].as_str().map(str::len), Some("2024-02-29T23:59:59Z".len()));
        assert_eq!(line.matches('\n').count(), 1);
    }

    #[test]
    fn a_terminal_gets_colours_and_seconds() {
        assert_eq!(line(Format::Terminal, Level::Error, "no", 7), "\x1b[31mERRO\x1b[0m[0007] no\n");
    }
}
