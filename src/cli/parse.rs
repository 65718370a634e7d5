//! The command line into flags and words. The rules are those of Go's flag package, which runc uses (`--name value`,
//! `--name=value`, one dash as good as two, `--switch=false`), and those of crun where Go has none (`-td`, `-u0`).
//!
//! clap draws the help and the completion scripts from the same tables, but does not parse: its share of a cold start
//! is three times as large (docs/decisions/command-line.md).

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use super::arguments::{Arguments, Given};
use super::flag::Flag;

/// The words of a command line that have not been read yet.
pub(super) type Line = std::vec::IntoIter<OsString>;

/// Where flags may stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// Before the first word, which stays in the line: nfrun's own flags.
    BeforeWord,
    /// Before and behind every word.
    Anywhere,
    /// Before the first word; all behind it is taken as it is: the options of `ps`.
    ThenVerbatim,
    /// Nowhere: whatever stands there is a word, for a command that reads none of them. Only --help is looked for.
    WordsOnly,
    /// Before and behind the first word; what is no flag there begins a command, taken as it is: `exec`.
    ThenCommand,
}

/// Why parsing ended early.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// `--help` was given.
    Help,
    /// The line is wrong; in runc's words.
    Wrong(String),
}

/// Takes flags and words off the line.
pub(super) fn parse(line: &mut Line, flags: &[&'static Flag], order: Order) -> Result<Arguments, Stop> {
    let mut read = Arguments::default();
    while let Some(next) = line.as_slice().first() {
        let is_flag = next.len() > 1 && next.as_bytes().starts_with(b"-");
        if !is_flag && order == Order::BeforeWord {
            break;
        }
        let Some(word) = line.next() else { break };
        if word == "--" {
            read.words.extend(line);
            break;
        }
        let behind_first = !read.words.is_empty();
        match order {
            Order::ThenCommand if behind_first => {
                if is_flag && take_flag(&word, line, flags, &mut read)? {
                    continue;
                }
                read.words.push(word);
                read.words.extend(line);
                break;
            }
            Order::ThenVerbatim if behind_first => {
                read.words.push(word);
                read.words.extend(line);
                break;
            }
            _ if !is_flag => read.words.push(word),
            Order::WordsOnly if !matches!(word.as_bytes(), b"-h" | b"-help" | b"--help") => read.words.push(word),
            _ if take_flag(&word, line, flags, &mut read)? => {}
            _ => return Err(Stop::Wrong(format!("flag provided but not defined: -{}", shown(&word)))),
        }
    }
    Ok(read)
}

/// Reads one word that starts with a dash, and its value; false when it names no flag.
fn take_flag(word: &OsStr, line: &mut Line, flags: &[&'static Flag], read: &mut Arguments) -> Result<bool, Stop> {
    let bytes = word.as_bytes();
    let body = bytes.strip_prefix(b"--").unwrap_or(&bytes[1..]);
    let (name, value) = match body.iter().position(|byte| *byte == b'=') {
        Some(at) => (&body[..at], Some(body[at + 1..].to_vec())),
        None => (body, None),
    };
    if let Some(flag) = flags.iter().find(|flag| flag.is_called(name)) {
        let value = value.map(OsString::from_vec);
        read.given.push((flag.long, given(flag, value, line)?));
        return Ok(true);
    }
    if name == b"help" || name == b"h" {
        return Err(Stop::Help);
    }
    if bytes.starts_with(b"--") { Ok(false) } else { take_cluster(body, line, flags, read) }
}

/// Reads letters that share a dash; the first that wants a value takes the rest of the word, or the next word.
fn take_cluster(body: &[u8], line: &mut Line, flags: &[&'static Flag], read: &mut Arguments) -> Result<bool, Stop> {
    let mut found = Vec::new();
    for (at, letter) in body.iter().enumerate() {
        let Some(flag) = flags.iter().find(|flag| flag.short.is_some_and(|short| short as u8 == *letter)) else {
            return Ok(false);
        };
        let rest = &body[at + 1..];
        if !flag.stands_alone() && !rest.is_empty() {
            found.push((flag, Some(OsString::from_vec(rest.to_vec()))));
            break;
        }
        found.push((flag, None));
    }
    for (flag, value) in found {
        read.given.push((flag.long, given(flag, value, line)?));
    }
    Ok(true)
}

/// What the flag was given: a switch's position, or its value, from behind `=` or from the next word.
fn given(flag: &Flag, value: Option<OsString>, line: &mut Line) -> Result<Given, Stop> {
    if !flag.stands_alone() {
        let value = value.or_else(|| line.next());
        return value.map(Given::Value).ok_or_else(|| Stop::Wrong(format!("flag needs an argument: -{}", flag.long)));
    }
    let Some(value) = value else { return Ok(Given::Switch(true)) };
    match value.as_bytes() {
        word if flag.takes_word(word) => Ok(Given::Value(value)),
        b"1" | b"t" | b"T" | b"true" | b"TRUE" | b"True" => Ok(Given::Switch(true)),
        b"0" | b"f" | b"F" | b"false" | b"FALSE" | b"False" => Ok(Given::Switch(false)),
        _ => Err(Stop::Wrong(format!("invalid boolean value {value:?} for -{}: parse error", flag.long))),
    }
}

/// A flag's name as the user wrote it, without dashes and value.
fn shown(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    let name = word.trim_start_matches('-');
    name.split('=').next().unwrap_or(name).to_owned()
}

#[cfg(test)]
mod tests {
    use super::super::flag::Value;
    use super::*;

    static BUNDLE: Flag = Flag::new("bundle", Value::Dir("DIR"), "").letter('b');
    static TTY: Flag = Flag::switch("tty", "").letter('t');
    static DETACH: Flag = Flag::switch("detach", "").letter('d');

    fn read(words: &str, order: Order) -> Result<Arguments, Stop> {
        let words: Vec<OsString> = words.split_whitespace().map(OsString::from).collect();
        parse(&mut words.into_iter(), &[&BUNDLE, &TTY, &DETACH], order)
    }

    fn words(arguments: &Arguments) -> Vec<&str> {
        arguments.words.iter().filter_map(|word| word.to_str()).collect()
    }

    #[test]
    fn a_flag_stands_before_or_behind_the_id_with_one_dash_or_two() {
        for line in ["--bundle /b id", "id --bundle /b", "-bundle /b id", "id -b /b", "-b=/b id", "id -b/b"] {
            let arguments = read(line, Order::Anywhere).unwrap();
            assert_eq!(arguments.path(&BUNDLE).unwrap().unwrap().to_str(), Some("/b"), "{line}");
            assert_eq!(words(&arguments), ["id"], "{line}");
        }
    }

    #[test]
    fn switches_share_a_dash_and_can_be_turned_off() {
        let arguments = read("-td id", Order::Anywhere).unwrap();
        assert!(arguments.on(&TTY) && arguments.on(&DETACH));
        assert!(!read("--tty --tty=false id", Order::Anywhere).unwrap().on(&TTY));
    }

    #[test]
    fn a_switch_may_know_a_word_behind_its_equals_sign() {
        static ISOLATE: Flag = Flag::new("isolate", Value::SwitchOr("MODE", &["strict"]), "");
        let read = |line: &str| {
            let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            parse(&mut words.into_iter(), &[&ISOLATE], Order::Anywhere).map(|read| {
                let given = read.last(&ISOLATE).map(|value| value.to_string_lossy().into_owned());
                (given, read.on(&ISOLATE), read.words.len())
            })
        };
        assert_eq!(read("--isolate strict").unwrap(), (None, true, 1), "a word of its own is not the flag's");
        assert_eq!(read("--isolate=strict").unwrap(), (Some("strict".into()), false, 0));
        assert_eq!(read("--isolate=false").unwrap(), (None, false, 0));
        assert!(matches!(read("--isolate=maybe"), Err(Stop::Wrong(_))));
    }

    #[test]
    fn a_command_is_taken_as_it_is() {
        let arguments = read("id -t sh -d --bundle -- x", Order::ThenCommand).unwrap();
        assert_eq!(words(&arguments), ["id", "sh", "-d", "--bundle", "--", "x"]);
        assert!(arguments.on(&TTY) && !arguments.on(&DETACH));
    }

    #[test]
    fn an_unknown_flag_behind_the_id_begins_the_command() {
        let arguments = read("id -tx -d", Order::ThenCommand).unwrap();
        assert_eq!(words(&arguments), ["id", "-tx", "-d"]);
        assert!(!arguments.on(&TTY));
    }

    #[test]
    fn two_dashes_end_the_flags() {
        assert_eq!(words(&read("id -- -t", Order::ThenCommand).unwrap()), ["id", "-t"]);
        assert_eq!(words(&read("-t -- -d", Order::Anywhere).unwrap()), ["-d"]);
    }

    #[test]
    fn ps_options_are_left_alone() {
        assert_eq!(words(&read("-t id -t -b", Order::ThenVerbatim).unwrap()), ["id", "-t", "-b"]);
    }

    #[test]
    fn the_words_of_an_error_are_runcs() {
        let wrong = |line| match read(line, Order::Anywhere) {
            Err(Stop::Wrong(words)) => words,
            other => panic!("{other:?}"),
        };
        assert_eq!(wrong("--bogus=1 id"), "flag provided but not defined: -bogus");
        assert_eq!(wrong("id --bundle"), "flag needs an argument: -bundle");
        assert_eq!(wrong("--tty=x"), "invalid boolean value \"x\" for -tty: parse error");
        assert_eq!(read("id --help", Order::Anywhere).unwrap_err(), Stop::Help);
    }
}
