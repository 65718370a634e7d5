//! process.terminal and process.consoleSize, as steps: config.md, "Process".

use oci_spec::runtime::Process;

use super::step::Step;
use crate::init::program::{Draft, Source};
use crate::{Error, Result};

/// Opens a terminal and sends its other end; `console` also shows it at /dev/console.
pub fn open(process: &Process, console: bool, draft: &mut Draft) -> Result<()> {
    let size = process.console_size();
    let part = |name: &str, value: u64| {
        u32::from(u16::try_from(value).unwrap_or(u16::MAX))
            .eq(&(value as u32))
            .then_some(value as u32)
            .ok_or_else(|| Error::invalid(format!("process.consoleSize.{name}: {value}: a terminal has at most 65535")))
    };
    let (rows, columns) = match size {
        Some(size) => (part("height", size.height())?, part("width", size.width())?),
        None => (0, 0),
    };
    let receiver = draft.slot(Source::Console);
    draft.step(Step::Open { receiver, rows, columns, uid: process.user().uid() });
    if console {
        draft.step(Step::MountConsole {});
    }
    Ok(())
}
