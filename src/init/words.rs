//! Steps in words: a line of a printed plan, and what went wrong with a way out.

use std::fmt::{self, Display, Formatter};

use super::failure::{Act, Failure};
use super::step::{self, Step};
use crate::Error;
use crate::error::errno_words;

impl Display for Step<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Control(step) => control(step, f),
            Self::Cgroups(step::Cgroups::Enter { path, .. }) => write!(f, "enter cgroup {path}"),
            Self::Namespaces(step) => namespaces(step, f),
            Self::Network(step) => network(step, f),
            Self::Rootfs(step) => rootfs(step, f),
            Self::Lsm(step) => lsm(step, f),
            Self::Mounts(step) => mounts(step, f),
            Self::Devices(step) => devices(step, f),
            Self::Paths(step) => paths(step, f),
            Self::Sysctls(step::Sysctls::Write { path, value }) => write!(f, "set sysctl {path} = {value}"),
            Self::Terminal(step) => terminal(step, f),
            Self::User(step) => user(step, f),
            Self::Capabilities(step) => capabilities(step, f),
            Self::Seccomp(step::Seccomp::Load { flags, program, .. }) => {
                write!(f, "load seccomp filter of {} instructions, flags {flags:#x}", program.0.len() / 8)
            }
            Self::Exec(step) => exec(step, f),
            Self::Attributes(step) => attributes(step, f),
            Self::Hooks(step::Hooks::Describe { .. }) => f.write_str("note the state that hooks are told"),
            Self::Hooks(step::Hooks::Done {}) => f.write_str("tell start that its hooks have ended"),
            Self::Hooks(step::Hooks::Run { list, number, path, .. }) => write!(f, "run {list} hook #{number}: {path}"),
        }
    }
}

fn control(step: &step::Control, f: &mut Formatter<'_>) -> fmt::Result {
    use step::Control::*;
    f.write_str(match step {
        AwaitRuntime {} => "wait for the runtime",
        CloseDescriptors { .. } => "close descriptors",
        AwaitStart {} => "wait for start",
    })
}

fn namespaces(step: &step::Namespaces, f: &mut Formatter<'_>) -> fmt::Result {
    use step::Namespaces::*;
    match step {
        Join { namespaces } => {
            let kinds = namespaces.iter().fold(0, |all, namespace| all | namespace.kind);
            write!(f, "join namespaces {}", super::namespaces::plan::names(kinds))
        }
        JoinProcess { kinds, .. } => write!(f, "join namespaces {} of init", super::namespaces::plan::names(*kinds)),
        BecomeRoot {} => f.write_str("become root of the user namespace"),
        Unshare { kinds } => write!(f, "make namespaces {}", super::namespaces::plan::names(*kinds)),
        Fork { kinds: 0 } => f.write_str("go on as a child"),
        Fork { kinds } => write!(f, "go on as a child in new namespaces {}", super::namespaces::plan::names(*kinds)),
        NewSession {} => f.write_str("begin a session"),
        NewKeyring { name } => write!(f, "join session keyring {name}"),
        RaiseLoopback {} => f.write_str("bring interface lo up"),
        OffsetClocks { offsets } => write!(f, "offset clocks: {}", offsets.to_string().trim_end().replace('\n', ", ")),
        SetHostname { name } => write!(f, "set hostname {name}"),
        SetDomainname { name } => write!(f, "set domainname {name}"),
    }
}

fn network(step: &step::Network, f: &mut Formatter<'_>) -> fmt::Result {
    use step::Network::*;
    match step {
        Send { words, .. } => words.fmt(f),
        Offload { name, on, words, .. } => write!(f, "switch {words} of {name} {}", if *on { "on" } else { "off" }),
    }
}

fn rootfs(step: &step::Rootfs, f: &mut Formatter<'_>) -> fmt::Result {
    use step::Rootfs::*;
    match step {
        Propagation { flags } => write!(f, "set propagation of / to {}", super::mounts::plan::propagation_name(*flags)),
        PrivateParent { path } => write!(f, "make mount {path} private"),
        Attach { path } => write!(f, "bind rootfs {path} on itself"),
        MakeDirectory { path } => write!(f, "make working directory {path} where missing"),
        Pivot {} => f.write_str("pivot_root"),
        MoveRoot {} => f.write_str("move the rootfs over / and chroot"),
        Chroot { path } => write!(f, "chroot {path}"),
        RootPropagation { flags } => {
            write!(f, "set propagation of the root to {}", super::mounts::plan::propagation_name(*flags))
        }
        ReadOnly {} => f.write_str("make the root read-only"),
    }
}

fn mounts(step: &step::Mounts, f: &mut Formatter<'_>) -> fmt::Result {
    use step::Mounts::*;
    match step {
        New { kind, source, target, flags, data } => {
            write!(f, "mount {kind} {source} on {target}, flags {flags:#x}")?;
            if data.0.is_empty() { Ok(()) } else { write!(f, ", {data}") }
        }
        Bind { source, target, set, clear, deep_set, deep_clear, .. } => {
            write!(f, "bind {source} on {target}")?;
            if set | clear != 0 {
                write!(f, ", attributes +{set:#x} -{clear:#x}")?;
            }
            if deep_set | deep_clear != 0 {
                write!(f, ", of all mounts below +{deep_set:#x} -{deep_clear:#x}")?;
            }
            Ok(())
        }
        Show { source, .. } => write!(f, "open {source} and show it to the runtime"),
        Attach { target, .. } => write!(f, "attach the filled tmpfs on {target}"),
        Propagation { target, flags } => {
            write!(f, "set propagation of {target} to {}", super::mounts::plan::propagation_name(*flags))
        }
        SetRecursively { target, set, clear } => {
            write!(f, "set attributes of {target} and all mounts below, +{set:#x} -{clear:#x}")
        }
        Remount { target, flags, .. } => write!(f, "remount {target}, flags {flags:#x}"),
    }
}

fn lsm(step: &step::Lsm, f: &mut Formatter<'_>) -> fmt::Result {
    use step::Lsm::*;
    match step {
        OpenProc {} => f.write_str("open the host's /proc for labels"),
        Profile { name } => write!(f, "change to AppArmor profile {name} by the next execve"),
        Label { label } => write!(f, "change to SELinux label {label} by the next execve"),
        KeyLabel { label } => write!(f, "label keyrings {label}"),
        MountLabel { target, label } => write!(f, "label {target} {label}"),
    }
}

fn devices(step: &step::Devices, f: &mut Formatter<'_>) -> fmt::Result {
    use step::Devices::*;
    match step {
        Node { path, mode, major, minor, uid, gid } => {
            let kind = match mode & libc::S_IFMT {
                libc::S_IFCHR => 'c',
                libc::S_IFBLK => 'b',
                _ => 'p',
            };
            write!(f, "make device {path} {kind} {major}:{minor} mode {:04o} owner {uid}:{gid}", mode & 0o7777)
        }
        Bind { made, path, kind, major, minor } => {
            let kind = if *kind == libc::S_IFBLK { 'b' } else { 'c' };
            let whose = if made.is_some() { "the one that was made for it" } else { "the host's" };
            write!(f, "bind device {path} {kind} {major}:{minor}, {whose}")
        }
        Link { path, target } => write!(f, "link {path} to {target}"),
    }
}

fn paths(step: &step::Paths, f: &mut Formatter<'_>) -> fmt::Result {
    use step::Paths::*;
    match step {
        PrepareMasks {} => f.write_str("open /dev/null for masks"),
        Mask { path } => write!(f, "mask {path}"),
        ReadOnly { path } => write!(f, "make {path} read-only"),
    }
}

fn terminal(step: &step::Terminal, f: &mut Formatter<'_>) -> fmt::Result {
    use step::Terminal::*;
    match step {
        Open { rows: 0, columns: 0, .. } => f.write_str("open a terminal"),
        Open { rows, columns, .. } => write!(f, "open a terminal of {columns} columns and {rows} rows"),
        MountConsole {} => f.write_str("mount the terminal on /dev/console"),
        Attach {} => f.write_str("make the terminal stdio"),
        Control {} => f.write_str("make the terminal that of the session"),
    }
}

fn user(step: &step::User, f: &mut Formatter<'_>) -> fmt::Result {
    use step::User::*;
    match step {
        OomScoreAdj { value } => write!(f, "set oom_score_adj {value}"),
        Limit { resource, soft, hard } => {
            write!(f, "set limit {} soft {soft} hard {hard}", super::user::plan::limit_name(*resource))
        }
        Umask { mask } => write!(f, "set umask {mask:04o}"),
        OwnStdio { uid } => write!(f, "give stdio to uid {uid}"),
        Become { uid, gid, groups } => {
            write!(f, "become uid {uid} gid {gid}")?;
            match groups {
                Some(groups) => write!(f, " groups {:?}", groups.iter().collect::<Vec<_>>()),
                None => Ok(()),
            }
        }
    }
}

fn capabilities(step: &step::Capabilities, f: &mut Formatter<'_>) -> fmt::Result {
    use step::Capabilities::*;
    match step {
        Bound { keep } => write!(f, "bound capabilities to {keep:#x}"),
        Set { effective, permitted, inheritable } => {
            write!(f, "set capabilities effective {effective:#x} permitted {permitted:#x} inheritable {inheritable:#x}")
        }
        Ambient { raise } => write!(f, "raise ambient capabilities {raise:#x}"),
        NoNewPrivileges {} => f.write_str("set no_new_privs"),
        Narrow { effective } => write!(f, "lower effective capabilities to {effective:#x}"),
        Widen {} => f.write_str("raise effective capabilities to the permitted ones"),
    }
}

fn attributes(step: &step::Attributes, f: &mut Formatter<'_>) -> fmt::Result {
    use super::attributes::{list::list, plan};
    use step::Attributes::*;
    match step {
        Affinity { cpus, setting } => write!(f, "run on CPUs {} ({setting})", list(cpus.0)),
        ResetAffinity {} => f.write_str("run on every CPU of the cpuset"),
        MemoryPolicy { mode, nodes } => write!(f, "set memory policy {}", plan::memory_policy_name(*mode, nodes.0)),
        Personality { persona: 0 } => f.write_str("set personality LINUX"),
        Personality { .. } => f.write_str("set personality LINUX32"),
        Scheduling { words, .. } => write!(f, "schedule by process.scheduler, {words}"),
        IoPriority { value } => write!(f, "set process.ioPriority {}", crate::sys::sched::IoPriority::of(*value)),
    }
}

fn exec(step: &step::Exec, f: &mut Formatter<'_>) -> fmt::Result {
    use step::Exec::*;
    match step {
        ChangeDirectory { path, last: false } => write!(f, "change directory to {path}"),
        ChangeDirectory { path, last: true } => write!(f, "change directory to {path} as the user, if not done"),
        Find { command, .. } => write!(f, "find {command}"),
        Prepare { args, .. } => {
            f.write_str("prepare")?;
            args.iter().try_for_each(|argument| write!(f, " {argument}"))
        }
        Run { name } => write!(f, "run {name}"),
    }
}

/// A failed step as an error: what was attempted, on what, why not, and what to do.
pub fn explain(step: &Step, failure: Failure, told: &str) -> Error {
    let reason = errno_words(failure.errno);
    let detail = match failure.act {
        Act::Step | Act::Interpreter | Act::NotInPath | Act::NotAFile => String::new(),
        Act::Resolve => "find it in the rootfs: ".into(),
        Act::MakeMountPoint => "make the mount point in the rootfs: ".into(),
        Act::Attach => "attach the mount: ".into(),
        Act::SetFlags => "set mount flags: ".into(),
        Act::SetPropagation => "set mount propagation: ".into(),
        Act::Open => "open: ".into(),
        Act::Write => "write: ".into(),
        Act::SetOwner => "set owner and mode: ".into(),
        Act::Send => "send the descriptor: ".into(),
        Act::NotGenuine => "what is there is not what it must be, and was not trusted: ".into(),
        Act::Outside => "the directory lies outside the container's root: ".into(),
        Act::Describe => "write the state that it is told: ".into(),
        Act::StartHook | Act::HookExited | Act::HookKilled | Act::HookTimedOut | Act::HookAbandoned => String::new(),
        Act::Decode => "nfrun and its init do not agree, which is a bug: ".into(),
    };
    if let Step::Exec(step) = step {
        return explain_exec(step, failure, &reason, told);
    }
    if let Step::Hooks(step) = step {
        return explain_hook(step, failure, &format!("{detail}{reason}"), told);
    }
    let way_out = match step {
        Step::User(step::User::Limit { .. }) if failure.errno == libc::EPERM => {
            " (the caller lacks CAP_SYS_RESOURCE to raise a hard limit; lower process.rlimits)"
        }
        Step::Attributes(step::Attributes::Scheduling { .. } | step::Attributes::IoPriority { .. })
            if [libc::EPERM, libc::EACCES].contains(&failure.errno) =>
        {
            " (it takes CAP_SYS_NICE, which the runtime has not)"
        }
        Step::Attributes(step::Attributes::Affinity { .. }) if failure.errno == libc::EINVAL => {
            " (none of these CPUs is online and in the cpuset: see Cpus_allowed_list in /proc/PID/status)"
        }
        Step::Attributes(step::Attributes::MemoryPolicy { .. }) if failure.errno == libc::EINVAL => {
            " (linux.memoryPolicy: none of the nodes has memory and is in cpuset.mems, or this kernel lacks the mode: set_mempolicy(2))"
        }
        Step::Attributes(step::Attributes::MemoryPolicy { .. }) if failure.errno == libc::ENOSYS => {
            " (linux.memoryPolicy: this kernel is built without NUMA)"
        }
        Step::Seccomp(_) if failure.errno == libc::EBUSY => {
            " (an agent answers the calls of the caller already, and the kernel takes one)"
        }
        Step::Seccomp(_) if failure.errno == libc::EINVAL => " (is the kernel older than linux.seccomp.flags?)",
        Step::Cgroups(_) if failure.errno == libc::ENOSPC => " (cpuset.cpus or cpuset.mems of the cgroup is empty)",
        Step::Mounts(step::Mounts::New { kind, data, .. }) => {
            refused_mount(kind.0.to_bytes(), data.0.to_bytes(), failure)
        }
        Step::Lsm(step::Lsm::Profile { .. }) if failure.errno == libc::ENOENT && failure.act == Act::Write => {
            " (the profile is not loaded: load it with apparmor_parser, or change process.apparmorProfile)"
        }
        Step::Lsm(step::Lsm::Label { .. } | step::Lsm::KeyLabel { .. }) if failure.errno == libc::EINVAL => {
            " (the loaded policy does not know this label: change process.selinuxLabel)"
        }
        Step::Mounts(step::Mounts::Bind { .. } | step::Mounts::SetRecursively { .. })
            if failure.errno == libc::EPERM && failure.act == Act::SetFlags =>
        {
            " (in a user namespace the flags of the host's mounts are locked: they can be added to, not taken off or changed)"
        }
        Step::Mounts(step::Mounts::Bind { .. } | step::Mounts::SetRecursively { .. })
            if failure.errno == libc::ENOSYS && failure.act == Act::SetFlags =>
        {
            " (this kernel sets no flags on the mounts below: that came with Linux 5.12; use the options without the r)"
        }
        Step::Network(step) => return explain_network(step, failure, &reason, told),
        _ => "",
    };
    Error::from(nix::errno::Errno::from_raw(failure.errno)).reworded(format!("{step}: {detail}{reason}{way_out}"))
}

/// What the kernel says of an interface, an address or a route, and in its own words where it has some.
fn explain_network(step: &step::Network, failure: Failure, reason: &str, told: &str) -> Error {
    let kernels = if told.is_empty() { String::new() } else { format!(" ({told})") };
    let way_out = match (step, failure.act, failure.errno) {
        (step::Network::Offload { .. }, _, libc::EOPNOTSUPP) => " (the interface cannot switch it)".to_owned(),
        _ => kernels,
    };
    Error::from(nix::errno::Errno::from_raw(failure.errno))
        .reworded(format!("{}: {reason}{way_out}", Step::Network(*step)))
}

/// Why the kernel does not mount a new filesystem: user_namespaces(7), mount_namespaces(7).
fn refused_mount(kind: &[u8], data: &[u8], failure: Failure) -> &'static str {
    let has_id = data.split(|&b| b == b',').any(|option| option.starts_with(b"uid=") || option.starts_with(b"gid="));
    match (failure.act, failure.errno, kind) {
        (_, libc::ENODEV, _) => " (the kernel lacks this filesystem)",
        (Act::Step, libc::EINVAL, _) if has_id => {
            " (an option that it does not know, or an id of uid= or gid= that is not mapped in the user namespace)"
        }
        (Act::Step, libc::EPERM, b"sysfs") => {
            " (in a user namespace it takes a network namespace of the container's own: add one, or bind the host's /sys by rbind)"
        }
        (Act::Step, libc::EPERM, b"proc") => {
            " (in a user namespace it takes a pid namespace of the container's own, and a /proc of the caller's of which nothing is covered by other mounts: bind the host's /proc by rbind instead)"
        }
        (Act::Step, libc::EPERM, b"mqueue") => {
            " (in a user namespace it takes an ipc namespace of the container's own: add one, or drop the mount)"
        }
        (Act::Step, libc::EPERM, _) => " (in a user namespace the kernel mounts but a few kinds of filesystem)",
        _ => "",
    }
}

/// A hook that failed, in runc's words as far as those go; then what it said last.
fn explain_hook(step: &step::Hooks, failure: Failure, reason: &str, told: &str) -> Error {
    let step::Hooks::Run { list, number, path, timeout, .. } = step else {
        return Error::new(format!("{}: {reason}", Step::Hooks(*step)));
    };
    let why = match failure.act {
        Act::HookExited => format!("exit status {}", failure.errno),
        Act::HookKilled => match nix::sys::signal::Signal::try_from(failure.errno) {
            Ok(signal) => format!("killed by {signal}"),
            Err(_) => format!("killed by signal {}", failure.errno),
        },
        Act::HookTimedOut => format!("timed out after {timeout} s and was killed"),
        Act::HookAbandoned => "killed, since whoever waited for it is gone".into(),
        _ if failure.errno == libc::ENOEXEC => {
            format!("{reason}: neither a program for this machine nor a script with #!")
        }
        _ => reason.to_owned(),
    };
    let said = told.trim();
    let said = if said.is_empty() { String::new() } else { format!(", output: {said}") };
    Error::new(format!("error running {list} hook #{number}: {path}: {why}{said}"))
}

/// The phrases of runc, which drivers parse.
fn explain_exec(step: &step::Exec, failure: Failure, reason: &str, told: &str) -> Error {
    let message = match step {
        step::Exec::ChangeDirectory { path, .. } => match failure.act {
            Act::Outside => format!("chdir to cwd ({path}) set in config.json: it lies outside the container's root"),
            _ => format!("chdir to cwd ({path:?}) set in config.json failed: {reason}", path = path.to_string()),
        },
        step::Exec::Find { command, .. } => {
            let command = command.to_string();
            match failure.act {
                Act::NotInPath if failure.errno == libc::ENOENT => {
                    format!("exec: {command:?}: executable file not found in $PATH")
                }
                Act::NotAFile if failure.errno == libc::EISDIR => {
                    format!("exec: {command:?}: is a directory: permission denied")
                }
                Act::NotAFile => format!("exec: {command:?}: not a regular file: permission denied"),
                _ if command.contains('/') => format!("exec: {command:?}: stat {command}: {reason}"),
                _ => format!("exec: {command:?}: {reason}"),
            }
        }
        step::Exec::Prepare { .. } => format!("{}: {reason}", Step::Exec(*step)),
        step::Exec::Run { name } => {
            let command = name.to_string();
            match failure.act {
                Act::Interpreter => match told.strip_prefix("#!") {
                    Some(interpreter) => format!(
                        "exec {command}: {reason}: its interpreter {} (in its first line) is missing in the rootfs",
                        interpreter.trim()
                    ),
                    None => format!(
                        "exec {command}: {reason}: it is there, so the loader or library that it wants is missing"
                    ),
                },
                _ if failure.errno == libc::ENOEXEC => {
                    format!("exec {command}: {reason}: neither a program for this machine nor a script with #!")
                }
                _ => format!("exec {command}: {reason}"),
            }
        }
    };
    Error::from(nix::errno::Errno::from_raw(failure.errno)).reworded(message)
}
