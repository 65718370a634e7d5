//! CVE-2019-5736: a container that gets hold of the runtime's own binary overwrites it on the host. Three ways to try,
//! each against a private copy of the binary, whose bytes have to stay and which nobody inside may ever have as its exe.

#[macro_use]
mod common;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::process::Command;

use common::*;

/// How often each attack is tried.
const TRIES: usize = 40;

/// A copy of the runtime that only this test uses.
struct Victim {
    path: PathBuf,
    bytes: Vec<u8>,
    inode: (u64, u64, i64, i64),
}

impl Victim {
    fn in_dir_of(c: &Container) -> Self {
        let path = c.dir.join("runtime");
        let bytes = fs::read(binary()).expect("read the runtime");
        fs::write(&path, &bytes).expect("copy the runtime");
        fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).expect("chmod");
        let inode = Self::identity(&path);
        Self { path, bytes, inode }
    }

    /// The change time moves when somebody opens the file with O_TRUNC, writes, or changes its mode.
    fn identity(path: &PathBuf) -> (u64, u64, i64, i64) {
        let data = fs::metadata(path).expect("the copy");
        (
            data.dev(),
            data.ino(),
            data.mtime_nsec() + data.mtime() * 1_000_000_000,
            data.ctime_nsec() + data.ctime() * 1_000_000_000,
        )
    }

    #[track_caller]
    fn assert_untouched(&self) {
        assert_eq!(Self::identity(&self.path), self.inode, "the runtime's binary was changed");
        assert!(fs::read(&self.path).expect("read") == self.bytes, "the runtime's binary was overwritten");
    }

    fn command(&self, c: &Container, words: &[&str]) -> Command {
        let mut command = Command::new(&self.path);
        command.arg("--root").arg(&c.root).args(words).stdin(std::process::Stdio::null()).current_dir(&c.dir);
        command
    }
}

/// A shell line that goes through every process it sees and says which exe is neither busybox nor unreadable; it then
/// opens that exe and, should the runtime be gone by then, writes to it.
const ATTACKER: &str = r#"
echo up
while :; do
    for p in /proc/[0-9]*; do
        exe=$(readlink $p/exe 2>/dev/null) || continue
        case $exe in
            /bin/busybox|'') ;;
            *) echo "saw $exe"
               {
                   n=0
                   while [ $n -lt 50 ]; do
                       (echo OVERWRITTEN >/proc/self/fd/8) && echo "wrote $exe"
                       n=$((n+1))
                   done
               } 2>/dev/null 8<$p/exe ;;
        esac
    done
done
"#;

/// A container whose root has every power that could help it, and which sees its processes.
fn powerful(script: &str) -> Container {
    Container::sh(script).with(|config| {
        let all =
            ["CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_SYS_PTRACE", "CAP_FOWNER", "CAP_SYS_ADMIN", "CAP_KILL"];
        bundle::set_capabilities(&mut config["process"], &all);
        config["process"]["noNewPrivileges"] = json!(false);
        config["root"]["readonly"] = json!(false);
    })
}

/// What the attacker said so far, after it is dead.
fn said(mut lines: Lines) -> Vec<String> {
    std::iter::from_fn(|| lines.next()).collect()
}

/// The runtime's exe, seen inside, is a memfd or a copy: never the host's file, by name or by inode.
fn assert_never_the_binary(said: &[String], victim: &Victim) {
    let name = victim.path.to_str().unwrap();
    assert!(!said.iter().any(|line| line.starts_with("saw") && line.contains(name)), "{said:?}");
    assert!(!said.iter().any(|line| line.starts_with("wrote")), "a binary was opened for writing: {said:?}");
}

#[test]
fn exec_of_a_script_that_names_proc_self_exe_gives_nothing_away() {
    let c = powerful(ATTACKER);
    let victim = Victim::in_dir_of(&c);
    fs::write(c.rootfs("/bin/bait"), "#!/proc/self/exe\n").unwrap();
    fs::set_permissions(c.rootfs("/bin/bait"), PermissionsExt::from_mode(0o755)).unwrap();
    let mut lines = c.up_with_lines();
    assert_eq!(lines.line(), "up");
    for _ in 0..TRIES {
        let output = c.finish(&mut victim.command(&c, &["exec", &c.id, "/bin/bait"]));
        assert_ne!(output.code, 0, "the bait is no program: {output:?}");
    }
    c.kill("KILL");
    assert_never_the_binary(&said(lines), &victim);
    victim.assert_untouched();
}

#[test]
fn proc_self_exe_as_entrypoint_is_not_the_hosts_binary() {
    let c = powerful("true").with(|config| config["process"]["args"] = json!(["/proc/self/exe", "--version"]));
    let victim = Victim::in_dir_of(&c);
    for _ in 0..TRIES {
        // Whatever it comes to, it runs nothing that can be traced back to the file.
        let words = c.words("run", &[]);
        let output = c.finish(&mut victim.command(&c, &words));
        let version =
            String::from_utf8_lossy(&Command::new(binary()).arg("--version").output().unwrap().stdout).into_owned();
        assert!(is_reference() || output.stdout != version, "the runtime ran inside of the container: {output:?}");
    }
    victim.assert_untouched();
}

#[test]
fn a_descriptor_that_is_held_until_the_runtime_has_gone_cannot_be_opened_for_writing() {
    let c = powerful(ATTACKER);
    let victim = Victim::in_dir_of(&c);
    let mut lines = c.up_with_lines();
    assert_eq!(lines.line(), "up");
    for _ in 0..TRIES {
        c.finish(&mut victim.command(&c, &["exec", "--detach", &c.id, "true"])).ok();
        c.finish(&mut victim.command(&c, &["exec", &c.id, "true"])).ok();
    }
    c.kill("KILL");
    assert_never_the_binary(&said(lines), &victim);
    victim.assert_untouched();
}

#[test]
fn no_process_inside_ever_has_the_binary_as_its_exe_as_the_host_sees_it() {
    not_in_runc!("it guards itself by a read-only mount of the same file");
    let c = powerful("sleep 1000");
    let victim = Victim::in_dir_of(&c);
    c.create().start();
    let (dev, ino) = (victim.inode.0, victim.inode.1);
    let inside = fs::read_link(format!("/proc/{}/ns/pid", c.pid())).unwrap();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..TRIES {
                c.finish(&mut victim.command(&c, &["exec", &c.id, "true"])).ok();
            }
            done.store(true, std::sync::atomic::Ordering::Relaxed);
        });
        while !done.load(std::sync::atomic::Ordering::Relaxed) {
            for entry in fs::read_dir("/proc").unwrap().flatten() {
                let is_inside = fs::read_link(entry.path().join("ns/pid")).is_ok_and(|link| link == inside);
                let exe = fs::metadata(entry.path().join("exe"));
                if is_inside && exe.is_ok_and(|exe| (exe.dev(), exe.ino()) == (dev, ino)) {
                    panic!("{} runs the host's binary inside of the container", entry.path().display());
                }
            }
        }
    });
    victim.assert_untouched();
}

#[test]
fn the_attacker_of_these_tests_does_see_a_foreign_binary() {
    // Without this, an attacker that is blind would prove nothing.
    let c = powerful(ATTACKER);
    fs::copy("/bin/busybox", c.rootfs("/bin/busybox-foreign")).unwrap();
    let mut lines = c.up_with_lines();
    assert_eq!(lines.line(), "up");
    c.exec_with(&["--detach"], &["/bin/busybox-foreign", "sleep", "1000"]).ok();
    while lines.line() != "saw /bin/busybox-foreign" {}
    c.kill("KILL");
}
