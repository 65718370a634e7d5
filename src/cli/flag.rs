//! What a flag is: one static description that the parser, the help texts and the completion scripts all read.

/// A flag of a command or of nfrun itself.
#[derive(Debug)]
pub(super) struct Flag {
    /// The name behind `--`.
    pub long: &'static str,
    /// The letter behind `-`.
    pub short: Option<char>,
    /// What follows the flag.
    pub value: Value,
    /// One or more sentences for the help.
    pub help: &'static str,
    /// Accepted for old drivers, and left out of the help.
    pub hidden: bool,
}

/// What follows a flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Value {
    /// Nothing: the flag is on or off (`--detach`, `--detach=false`).
    Switch,
    /// Text, with the word that stands for it in the help.
    Text(&'static str),
    /// A file's path.
    File(&'static str),
    /// A directory's path.
    Dir(&'static str),
    /// One of a few words.
    OneOf(&'static str, &'static [&'static str]),
    /// Nothing, or one of a few words behind `=`: `--isolate`, `--isolate=strict`, `--isolate=false`.
    SwitchOr(&'static str, &'static [&'static str]),
}

impl Flag {
    /// A flag that is on or off.
    pub const fn switch(long: &'static str, help: &'static str) -> Self {
        Self::new(long, Value::Switch, help)
    }

    /// A flag with a value.
    pub const fn new(long: &'static str, value: Value, help: &'static str) -> Self {
        Self { long, short: None, value, help, hidden: false }
    }

    /// The same flag with a letter of its own.
    pub const fn letter(mut self, letter: char) -> Self {
        self.short = Some(letter);
        self
    }

    /// The same flag, left out of the help.
    pub const fn hide(mut self) -> Self {
        self.hidden = true;
        self
    }

    /// Whether it takes nothing from the next word.
    pub fn stands_alone(&self) -> bool {
        matches!(self.value, Value::Switch | Value::SwitchOr(..))
    }

    /// Whether that is one of the few words that may stand behind the `=` of a switch.
    pub fn takes_word(&self, word: &[u8]) -> bool {
        matches!(self.value, Value::SwitchOr(_, words) if words.iter().any(|known| known.as_bytes() == word))
    }

    /// Whether `name`, without its dashes, names this flag.
    pub fn is_called(&self, name: &[u8]) -> bool {
        name == self.long.as_bytes() || self.short.is_some_and(|letter| name == [letter as u8])
    }
}
