//! Writing labels.

use core::ffi::CStr;

use linux_raw_sys::errno::{ENODEV, ENOENT};
use linux_raw_sys::general::{AT_FDCWD, O_DIRECTORY, O_PATH, O_WRONLY, PROC_SUPER_MAGIC};

use super::step::Step;
use crate::context::{Context, PathBuffer, text_of};
use crate::failure::{Act, During, Failure};
use crate::sys;

pub fn run(step: Step<'static>, context: &mut Context) -> Result<(), Failure> {
    match step {
        Step::OpenProc {} => open_proc(context),
        Step::Profile { name } => {
            let mut words: PathBuffer = [0; 4096];
            let words = change_words(name.0.to_bytes(), &mut words);
            // The file of its own came with Linux 5.1; before, AppArmor used the one that all modules share.
            match write(c"thread-self/attr/apparmor/exec", words, context) {
                Err(Failure { act: Act::Open, errno }) if errno == ENOENT as i32 => {
                    write(c"thread-self/attr/exec", words, context)
                }
                other => other,
            }
        }
        Step::Label { label } => write(c"thread-self/attr/exec", label.0.to_bytes(), context),
        Step::KeyLabel { label } => write(c"thread-self/attr/keycreate", label.0.to_bytes(), context),
        Step::MountLabel { target, label } => {
            let place = context.open(target.0, O_PATH | O_DIRECTORY).during(Act::Resolve)?;
            let outcome = sys::fchdir(place).and_then(|()| sys::setxattr(c".", c"security.selinux", label.0.to_bytes()));
            sys::close(place);
            Ok(outcome?)
        }
    }
}

fn open_proc(context: &mut Context) -> Result<(), Failure> {
    let proc = sys::open(AT_FDCWD, c"/proc", O_PATH | O_DIRECTORY, 0).during(Act::Open)?;
    if sys::filesystem(proc).during(Act::Open)? != u64::from(PROC_SUPER_MAGIC) {
        return Err(Failure { act: Act::NotGenuine, errno: ENODEV as i32 });
    }
    context.proc = proc;
    Ok(())
}

/// `exec NAME`: the change is made by the next execve. The plan keeps names shorter than the buffer.
fn change_words<'a>(name: &[u8], buffer: &'a mut PathBuffer) -> &'a [u8] {
    buffer[..5].copy_from_slice(b"exec ");
    let end = (5 + name.len()).min(buffer.len() - 1);
    buffer[5..end].copy_from_slice(&name[..end - 5]);
    text_of(buffer).to_bytes()
}

/// Opened anew each time, as the process that it is now: it may have gone on as another one.
fn write(file: &CStr, value: &[u8], context: &Context) -> Result<(), Failure> {
    let file = sys::open(context.proc, file, O_WRONLY, 0).during(Act::Open)?;
    let outcome = sys::write(file, value).map(drop).during(Act::Write);
    sys::close(file);
    outcome
}
