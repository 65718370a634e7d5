//! Why a process does not freeze or die: what it is called, the state it is in, and what its kernel stack waits in.

use std::fs;

/// How many functions of a kernel stack are told: the top ones say what is waited for.
const FRAMES: usize = 6;

/// One process in words, as `pid 12 (dd) in state D (disk sleep), its kernel stack waits in a < b < c`. It never fails: what cannot
/// be read is left out.
pub fn describe_stuck(pid: i32) -> String {
    let Ok(status) = fs::read_to_string(format!("/proc/{pid}/status")) else {
        return format!("pid {pid}, which has ended");
    };
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.unwrap_or("?").trim()
    };
    let mut text = format!("pid {pid} ({}) in state {}", field("Name"), field("State"));
    // A process may seem to sleep in its first thread while another is what is stuck.
    let tids = tids(pid);
    let tid = tids.iter().copied().find(|tid| state_letter(pid, *tid) == Some('D')).unwrap_or(pid);
    if tid != pid {
        text += &format!(", its thread {tid} in state D");
    }
    let stack = stack(pid, tid);
    if !stack.is_empty() {
        text += &format!(", its kernel stack waits in {}", stack.join(" < "));
    }
    text
}

/// The first few of many processes in words.
pub(super) fn describe_all(pids: &[i32]) -> String {
    let named: Vec<String> = pids.iter().take(4).map(|pid| describe_stuck(*pid)).collect();
    named.join("; ")
}

/// Whether some thread of the process does not wait where the kernel's freezer puts what it wakes for that. Since
/// Linux 6.1 a thread may also be frozen in its sleep, so this alone does not say that it runs.
pub(super) fn is_outside_refrigerator(pid: i32) -> bool {
    tids(pid).into_iter().any(|tid| !stack(pid, tid).iter().any(|function| function == "__refrigerator"))
}

/// Whether some thread of the process sleeps uninterruptibly.
pub(super) fn is_in_d_state(pid: i32) -> bool {
    tids(pid).into_iter().any(|tid| state_letter(pid, tid) == Some('D'))
}

fn tids(pid: i32) -> Vec<i32> {
    let entries = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

fn state_letter(pid: i32, tid: i32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/task/{tid}/stat")).ok()?;
    // The command's name may hold anything, also a closing parenthesis; the state follows the last one.
    stat.rsplit_once(") ")?.1.chars().next()
}

/// The functions of a thread's kernel stack, innermost first; only root may read it, so else the one in wchan.
fn stack(pid: i32, tid: i32) -> Vec<String> {
    let read = |file: &str| fs::read_to_string(format!("/proc/{pid}/task/{tid}/{file}")).unwrap_or_default();
    // Lines are "[<0>] function+0x12/0x34", some with a module's name after.
    let function = |line: &str| Some(line.split_once("] ")?.1.split(['+', ' ']).next()?.to_owned());
    let frames: Vec<String> = read("stack").lines().filter_map(function).take(FRAMES).collect();
    if !frames.is_empty() {
        return frames;
    }
    Some(read("wchan")).filter(|name| !name.is_empty() && name != "0").into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_told_by_name_and_state() {
        let text = describe_stuck(std::process::id() as i32);
        assert!(text.contains("in state"), "{text}");
        assert_eq!(describe_stuck(i32::MAX), format!("pid {}, which has ended", i32::MAX));
    }
}
