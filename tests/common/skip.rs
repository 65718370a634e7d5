//! The word of a test that cannot tell anything here: tests/summary counts it.

use std::io::Write;

/// Prints why the test that runs in this thread does nothing.
pub fn note(reason: impl std::fmt::Display) {
    let test = std::thread::current().name().unwrap_or("?").to_owned();
    // Not by a print macro, whose words the harness keeps to itself.
    let _ = std::io::stderr().write_all(format!("SKIP: {test}: {reason}\n").as_bytes());
}
