//! libseccomp as another process: builds tests/seccomp/libseccomp.c and talks to it.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

pub struct Libseccomp {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    /// Answers that never change.
    known: HashMap<String, String>,
}

impl Libseccomp {
    /// None where it cannot be built, unless NFRUN_TEST_LIBSECCOMP asks for it.
    pub fn start() -> Option<Self> {
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/seccomp/libseccomp.c");
        // One a thread, since tests run at the same time.
        let helper = format!("{}/libseccomp-{:?}", env!("CARGO_TARGET_TMPDIR"), std::thread::current().id());
        let built = Command::new("cc").args(["-O1", "-Wall", "-o", &helper, source, "-lseccomp"]).output();
        if !built.as_ref().is_ok_and(|built| built.status.success()) {
            assert!(std::env::var_os("NFRUN_TEST_LIBSECCOMP").is_none(), "{built:?}");
            crate::skip::note("no C compiler or no libseccomp-dev");
            return None;
        }
        let mut child =
            Command::new(&helper).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("start the helper");
        let (to, from) = (child.stdin.take().expect("its input"), child.stdout.take().expect("its output"));
        Some(Self { child, to, from: BufReader::new(from), known: HashMap::new() })
    }

    fn tell(&mut self, line: &str) {
        writeln!(self.to, "{line}").expect("write to the helper");
    }

    fn ask(&mut self, line: &str) -> String {
        self.tell(line);
        let mut answer = String::new();
        self.from.read_line(&mut answer).expect("read from the helper");
        assert!(!answer.is_empty(), "the helper ended at: {line}");
        answer.trim().to_owned()
    }

    fn ask_once(&mut self, line: String) -> String {
        if let Some(answer) = self.known.get(&line) {
            return answer.clone();
        }
        let answer = self.ask(&line);
        self.known.insert(line, answer.clone());
        answer
    }

    /// A call's number; pseudo numbers are negative.
    pub fn number(&mut self, arch: u32, name: &str) -> i32 {
        self.ask_once(format!("number {arch:x} {name}")).parse().expect("a number")
    }

    /// A number's name, or "-".
    pub fn name(&mut self, arch: u32, number: u32) -> String {
        self.ask_once(format!("name {arch:x} {number}"))
    }

    pub fn begin(&mut self, default: u32) {
        self.tell(&format!("new {default:x}"));
    }

    pub fn arch(&mut self, arch: u32) {
        self.tell(&format!("arch {arch:x}"));
    }

    /// Whether the rule was taken; a name that is not known is skipped, as runc does.
    pub fn rule(&mut self, action: u32, name: &str, args: &[(u64, usize, u64, u64)]) -> bool {
        let mut line = format!("rule {action:x} {name} {}", args.len());
        for (index, op, a, b) in args {
            line.push_str(&format!(" {index} {op} {a:x} {b:x}"));
        }
        matches!(self.ask(&line).as_str(), "0" | "-")
    }

    pub fn program(&mut self, optimize: bool) -> Vec<u8> {
        let text = self.ask(&format!("program {}", if optimize { 2 } else { 1 }));
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hexadecimal")).collect()
    }
}

impl Drop for Libseccomp {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
