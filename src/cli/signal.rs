//! Signals by name or number: `TERM`, `SIGTERM`, `sigterm`, `15`, `RTMIN+3`, `SIGRTMAX-1`.

use nix::sys::signal::Signal;

use crate::{Error, Result};

/// The last signal that the kernel knows.
const LAST: i32 = 64;

/// The number of the signal that the user named; 0 probes without sending.
pub(super) fn parse(text: &str) -> Result<i32> {
    let unknown = || Error::invalid(format!("unknown signal {text:?}"));
    if let Ok(number) = text.parse::<i32>() {
        return if (0..=LAST).contains(&number) { Ok(number) } else { Err(unknown()) };
    }
    let upper = text.to_ascii_uppercase();
    by_name(upper.strip_prefix("SIG").unwrap_or(&upper)).ok_or_else(unknown)
}

fn by_name(name: &str) -> Option<i32> {
    let (first, last) = (libc::SIGRTMIN(), libc::SIGRTMAX());
    let real_time = match (name.strip_prefix("RTMIN"), name.strip_prefix("RTMAX")) {
        (Some(""), _) => Some(first),
        (_, Some("")) => Some(last),
        (Some(above), _) => Some(first + above.strip_prefix('+')?.parse::<u8>().map(i32::from).ok()?),
        (_, Some(below)) => Some(last - below.strip_prefix('-')?.parse::<u8>().map(i32::from).ok()?),
        _ => None,
    };
    match (real_time, name) {
        (Some(number), _) => (first..=last).contains(&number).then_some(number),
        (None, "IOT") => Some(libc::SIGABRT),
        (None, "CLD") => Some(libc::SIGCHLD),
        (None, "POLL") => Some(libc::SIGIO),
        (None, _) => format!("SIG{name}").parse::<Signal>().ok().map(|signal| signal as i32),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_has_many_names() {
        for text in ["TERM", "SIGTERM", "term", "SigTerm", "15"] {
            assert_eq!(parse(text).unwrap(), 15, "{text}");
        }
        assert_eq!(parse("0").unwrap(), 0);
        assert_eq!(parse("64").unwrap(), 64);
        assert_eq!(parse("RTMIN").unwrap(), 34);
        assert_eq!(parse("SIGRTMIN+3").unwrap(), 37);
        assert_eq!(parse("rtmax-1").unwrap(), 63);
        assert_eq!(parse("IOT").unwrap(), 6);
        assert_eq!(parse("STKFLT").unwrap(), 16);
    }

    #[test]
    fn an_unknown_signal_is_named() {
        for text in ["FOO", "65", "-1", "RTMIN+31", "RTMIN3", "RTMAX+1", "SIG", "SIGSIGTERM", ""] {
            assert_eq!(parse(text).unwrap_err().to_string(), format!("unknown signal {text:?}"));
        }
    }
}
