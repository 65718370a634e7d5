//! `--version`: the lines that docker ("NAME version X", "commit:") and containerd ("runc version " at the start, when
//! nfrun is installed as `runc`) read.

use super::failure::Failure;
use super::output;
use crate::bundle::features::SPEC;

pub(super) fn print(program: &str) -> Result<u8, Failure> {
    let commit = option_env!("NFRUN_COMMIT").unwrap_or("unknown");
    output::print(format!("{program} version {}\ncommit: {commit}\nspec: {SPEC}\n", env!("CARGO_PKG_VERSION")))?;
    Ok(0)
}
