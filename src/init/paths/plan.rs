//! linux.maskedPaths and linux.readonlyPaths, as steps: config-linux.md.

use super::step::Step;
use crate::init::program::{Draft, text};
use crate::init::wire::Text;
use crate::{Error, Result};

/// Opens what covers masked paths, while the host's tree is there.
pub fn prepare(masked: &[String], draft: &mut Draft) {
    if !masked.is_empty() {
        draft.step(Step::PrepareMasks {});
    }
}

/// Read-only paths first: one may hold a masked path.
pub fn hide(masked: &[String], read_only: &[String], draft: &mut Draft) -> Result<()> {
    for (field, list) in [("linux.readonlyPaths", read_only), ("linux.maskedPaths", masked)] {
        for (i, path) in list.iter().enumerate() {
            if !path.starts_with('/') {
                return Err(Error::invalid(format!("{field}[{i}]: {path:?} is not absolute")));
            }
            // Twice the same is once; a second cover would only cost.
            if list[..i].contains(path) {
                continue;
            }
            let path = text(field, path.as_str())?;
            let path = Text(&path);
            draft.step(if field == "linux.maskedPaths" { Step::Mask { path } } else { Step::ReadOnly { path } });
        }
    }
    Ok(())
}
