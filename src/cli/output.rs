//! What a command prints on stdout: all of it in one write.

use nix::errno::Errno;

use crate::{Context, Result};

/// Writes the bytes; a reader who has gone is a normal end.
pub(super) fn print(bytes: impl AsRef<[u8]>) -> Result<()> {
    let mut rest = bytes.as_ref();
    while !rest.is_empty() {
        match nix::unistd::write(std::io::stdout(), rest) {
            Ok(written) => rest = &rest[written..],
            Err(Errno::EINTR) => {}
            Err(Errno::EPIPE) => return Ok(()),
            Err(error) => return Err(error).context(|| "write to stdout"),
        }
    }
    Ok(())
}
