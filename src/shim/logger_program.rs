//! `binary://PATH?KEY=VALUE`: a program that is given what the process writes. It has stdout as its descriptor 3, stderr as 4,
//! and closes 5, or writes to it, once it reads: containerd, core/runtime/v2/README.md, "Logging".

use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::pipe2;

use crate::{Context, Error, Result};

/// How long it may take to begin.
const PATIENCE: Duration = Duration::from_secs(10);

/// Starts the program; what it reads as stdout and as stderr.
pub fn start(uri: &str, id: &str, namespace: &str) -> Result<[OwnedFd; 2]> {
    let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
    let pipe = || pipe2(OFlag::O_CLOEXEC).context(|| "make a pipe");
    let ((out, out_end), (err, err_end), (ready, ready_end)) = (pipe()?, pipe()?, pipe()?);
    let mut command = Command::new(path);
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        command.arg(unescape(key));
        if !value.is_empty() {
            command.arg(unescape(value));
        }
    }
    command.env("CONTAINER_ID", id).env("CONTAINER_NAMESPACE", namespace);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    crate::sys::give_descriptors(&mut command, vec![out, err, ready_end])?;
    let child = command.spawn().context(|| format!("start {path}"))?;
    // Its copies here would keep the pipe from its end.
    drop(command);
    await_ready(ready).map_err(|error| error.context(format!("{path} (process {})", child.id())))?;
    Ok([out_end, err_end])
}

fn await_ready(ready: OwnedFd) -> Result<()> {
    let limit = PollTimeout::try_from(PATIENCE).unwrap_or(PollTimeout::MAX);
    let came = poll(&mut [PollFd::new(ready.as_fd(), PollFlags::POLLIN)], limit)?;
    if came == 0 {
        return Err(Error::new("it did not close its descriptor 5 within 10 seconds, by which it says that it reads"));
    }
    // A byte or the end: either says it.
    std::fs::File::from(ready).read(&mut [0]).map(drop).context(|| "read its descriptor 5")
}

/// Of a URI's query.
fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, behind)) = rest.split_first() {
        rest = behind;
        let code = behind.get(..2).and_then(|code| std::str::from_utf8(code).ok());
        match (byte, code.and_then(|code| u8::from_str_radix(code, 16).ok())) {
            (b'%', Some(value)) => {
                bytes.push(value);
                rest = &behind[2..];
            }
            (b'+', _) => bytes.push(b' '),
            _ => bytes.push(byte),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_read_as_a_uris() {
        assert_eq!(unescape("a%2Fb+c%"), "a/b c%");
        assert_eq!(unescape("%zz"), "%zz");
    }
}
