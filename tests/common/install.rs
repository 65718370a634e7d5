//! nfrun in runc's place: installed under that name by the Makefile, in a directory of the test's own.

use std::path::PathBuf;
use std::process::Command;

use super::Container;

/// `make install NAME=runc` of the runtime under test; the directory that holds `runc`.
pub fn as_runc(c: &Container) -> PathBuf {
    let to = c.dir.join("installed");
    let mut make = Command::new("make");
    make.current_dir(env!("CARGO_MANIFEST_DIR")).args(["--no-print-directory", "install", "NAME=runc", "PREFIX=/usr"]);
    // Without a cargo it installs what is built, which here is the runtime under test.
    make.arg("CARGO=none").arg(format!("BIN={}", super::binary().display())).arg(format!("DESTDIR={}", to.display()));
    c.finish(&mut make).ok();
    to.join("usr/bin")
}

/// PATH with a directory before all others.
pub fn path_with(dir: &std::path::Path) -> String {
    format!("{}:{}", dir.display(), std::env::var("PATH").unwrap_or_default())
}
