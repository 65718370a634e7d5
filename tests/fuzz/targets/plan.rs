//! config.json by chance, planned: what is not right must be an error. What is planned can be shown, init can read it, and
//! the same document gives the same plan again.

#![no_main]

mod json;

use std::path::Path;

use libfuzzer_sys::{Corpus, fuzz_mutator, fuzz_target, fuzzer_mutate};
use nfrun::bundle::create::{self, Circumstances};
use nfrun::bundle::{Plan, config, exec};
use nfrun::cgroup::Layout;
use nfrun::init::step::Step;
use nfrun::init::wire::{Reader, Wire};
use nfrun::sys::Caller;
use oci_spec::runtime::{LinuxResources, Spec};

/// A v1 host with cgroup2 beside it.
const MOUNTS: &str = "\
24 1 0:22 / / rw - ext4 /dev/vda rw
31 24 0:26 / /sys/fs/cgroup rw - tmpfs cgroup rw
32 31 0:27 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
33 31 0:28 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
34 31 0:29 / /sys/fs/cgroup/devices rw - cgroup cgroup rw,devices
35 31 0:30 / /sys/fs/cgroup/freezer rw - cgroup cgroup rw,freezer
36 31 0:31 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset
37 31 0:32 / /sys/fs/cgroup/blkio rw - cgroup cgroup rw,blkio
38 31 0:33 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids
39 31 0:34 / /sys/fs/cgroup/hugetlb rw - cgroup cgroup rw,hugetlb
40 31 0:35 / /sys/fs/cgroup/net_cls,net_prio rw - cgroup cgroup rw,net_cls,net_prio
41 31 0:36 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
";
const CGROUPS: &str = "\
9:net_cls,net_prio:/\n8:hugetlb:/\n7:pids:/\n6:blkio:/\n5:cpuset:/\n4:freezer:/\n3:devices:/\n2:memory:/\n1:cpu,cpuacct:/\n0::/\n";

fuzz_target!(|data: &[u8]| -> Corpus {
    let Ok(text) = std::str::from_utf8(data) else { return Corpus::Reject };
    // What `exec --process` and `update --resources` take, a part of the document or the whole.
    let _ = config::parse_process(text).map(|process| process.cwd().clone());
    let _ = config::parse_resources(text).map(|(resources, _)| limit(&resources));
    let Ok(spec) = config::parse(text) else { return Corpus::Keep };
    let again = config::parse(text).expect("what parsed once");
    let layout = Layout::parse(MOUNTS, CGROUPS).expect("a layout");
    for variant in 0..4 {
        let first = plan(&spec, &layout, variant);
        assert_eq!(first, plan(&again, &layout, variant), "the same document, another plan");
    }
    if let Some(process) = spec.process() {
        for namespaces in [0, 0x0002_0000 | 0x2000_0000, 0x7e02_0080] {
            let around = exec::Circumstances {
                enters_cgroup2: false,
                spec: &spec,
                place: None,
                keyring: Some("fuzz"),
                rdt: None,
                namespaces,
                cpus: None,
                annotated_cpus: Some("0-1"),
                bundle: Path::new("/usr"),
                root: Path::new("/usr/share"),
            };
            let _ = exec::plan(process, &around).map(|plan| check(&plan));
        }
    }
    Corpus::Keep
});

/// New limits of a container, as far as they are known before its cgroups are looked at.
fn limit(resources: &LinuxResources) {
    let layout = Layout::parse(MOUNTS, CGROUPS).expect("a layout");
    let place = nfrun::cgroup::place(&layout, None, "fuzz").expect("a place");
    let _ = nfrun::cgroup::plan(&place, Some(resources), None);
}

/// The plan of a container as text; of a variant that looks at the host, if only at what lies below /usr/share.
fn plan(spec: &Spec, layout: &Layout, variant: u8) -> Option<String> {
    let look = variant & 1 != 0;
    let mut spec = spec.clone();
    if let (true, Some(root)) = (look, spec.root_mut()) {
        root.set_path("/usr/share".into());
    }
    let around = Circumstances {
        id: "fuzz",
        bundle: Path::new("/usr"),
        cgroups: Some(layout),
        systemd: None,
        mount_table: MOUNTS,
        no_pivot: variant & 2 != 0,
        new_keyring: true,
        waits: variant & 2 == 0,
        listen_fds: variant.into(),
        notify: None,
        network: None,
        withheld: None,
        caller: if variant == 2 { Caller::NamespaceRoot } else { Caller::Root },
        look,
    };
    create::plan(&spec, &around).map(|planned| check(&planned.plan)).ok()
}

/// Shows a plan in words and in JSON, and reads its steps as init does.
fn check(plan: &Plan) -> String {
    serde_json::to_string(plan).expect("a plan in JSON");
    let mut reader = Reader(plan.program().bytes());
    let mut last = 0;
    while !reader.0.is_empty() {
        let number = u32::read(&mut reader).expect("a number");
        assert!(number > last, "steps in their order");
        last = number;
        let before = reader.0;
        let step = Step::read(&mut reader).expect("a step that init reads");
        let mut bytes = Vec::new();
        step.write(&mut bytes);
        assert_eq!(bytes, before[..before.len() - reader.0.len()], "{step:?}");
    }
    assert_eq!(last, plan.last_init_step());
    seed_for_init(plan);
    plan.to_string()
}

/// Where NFRUN_FUZZ_INIT names a directory, plans go there as inputs of the target `init`.
fn seed_for_init(plan: &Plan) {
    let Some(directory) = std::env::var_os("NFRUN_FUZZ_INIT") else { return };
    let bytes = plan.program().bytes();
    let whole = [&(bytes.len() as u32).to_le_bytes()[..], bytes].concat();
    let name = format!("plan-{:08x}", bytes.iter().fold(0u32, |sum, byte| sum.rotate_left(5) ^ u32::from(*byte)));
    std::fs::write(Path::new(&directory).join(name), whole).expect("write a seed");
}

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let changed = if seed % 8 == 0 { None } else { json::mutate_bytes(data, size, max_size, seed, WORDS) };
    changed.unwrap_or_else(|| fuzzer_mutate(data, size, max_size))
});

/// What config.json's keys and texts may be.
const WORDS: &[&str] = &[
    "-1",
    "-c",
    ".",
    "..",
    "../..",
    "../../../../../etc",
    "/",
    "//",
    "/a/../b",
    "/dev",
    "/dev/console",
    "/dev/null",
    "/proc",
    "/proc/self/fd/3",
    "/proc/sys",
    "/sys",
    "/sys/fs/cgroup",
    "/usr/bin",
    "/usr/share",
    "0",
    "0-3",
    "0-3,^1",
    "0123456789abcdef",
    "1",
    "1-0",
    "1.0.0",
    "1.3.0",
    "1GB",
    "2.0.0",
    "2MB",
    "64KB",
    "9999999999",
    "=x",
    "CAP_AUDIT_CONTROL",
    "CAP_AUDIT_READ",
    "CAP_AUDIT_WRITE",
    "CAP_BLOCK_SUSPEND",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_KILL",
    "CAP_LEASE",
    "CAP_LINUX_IMMUTABLE",
    "CAP_MAC_ADMIN",
    "CAP_MAC_OVERRIDE",
    "CAP_MKNOD",
    "CAP_NET_ADMIN",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_RAW",
    "CAP_PERFMON",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYSLOG",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_CHROOT",
    "CAP_SYS_MODULE",
    "CAP_SYS_NICE",
    "CAP_SYS_PACCT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_WAKE_ALARM",
    "HOME=",
    "IOPRIO_CLASS_IDLE",
    "IOPRIO_CLASS_RT",
    "L3:0=f;1=f",
    "LINUX",
    "LINUX32",
    "LISTEN_FDS=3",
    "MB:0=20",
    "MPOL_BIND",
    "MPOL_DEFAULT",
    "MPOL_F_NUMA_BALANCING",
    "MPOL_F_RELATIVE_NODES",
    "MPOL_F_STATIC_NODES",
    "MPOL_INTERLEAVE",
    "MPOL_LOCAL",
    "MPOL_PREFERRED",
    "MPOL_PREFERRED_MANY",
    "MPOL_WEIGHTED_INTERLEAVE",
    "PATH=/bin:/usr/bin",
    "RLIMIT_CORE",
    "RLIMIT_NICE",
    "RLIMIT_NOFILE",
    "SCHED_DEADLINE",
    "SCHED_FIFO",
    "SCHED_FLAG_RESET_ON_FORK",
    "SCHED_OTHER",
    "SCMP_ACT_ALLOW",
    "SCMP_ACT_ERRNO",
    "SCMP_ACT_KILL",
    "SCMP_ACT_LOG",
    "SCMP_ACT_NOTIFY",
    "SCMP_ACT_TRACE",
    "SCMP_ACT_TRAP",
    "SCMP_ARCH_AARCH64",
    "SCMP_ARCH_S390X",
    "SCMP_ARCH_X32",
    "SCMP_ARCH_X86",
    "SCMP_ARCH_X86_64",
    "SCMP_CMP_EQ",
    "SCMP_CMP_GT",
    "SCMP_CMP_MASKED_EQ",
    "SCMP_CMP_NE",
    "SECCOMP_FILTER_FLAG_LOG",
    "SECCOMP_FILTER_FLAG_TSYNC",
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
    "a",
    "a.slice",
    "access",
    "additionalGids",
    "allow",
    "ambient",
    "annotations",
    "apparmorProfile",
    "architectures",
    "args",
    "b",
    "bind",
    "blockIO",
    "blockIo",
    "boottime",
    "bounding",
    "bundle",
    "burst",
    "c",
    "capabilities",
    "cgroup",
    "cgroup2",
    "cgroupsPath",
    "checkBeforeUpdate",
    "classID",
    "classId",
    "clone3",
    "closID",
    "closId",
    "commandLine",
    "consoleSize",
    "containerID",
    "containerId",
    "copy-symlink",
    "cpu",
    "cpu.weight",
    "cpuAffinityFinal",
    "cpus",
    "createContainer",
    "createRuntime",
    "cwd",
    "deadline",
    "defaultErrnoRet",
    "destination",
    "devices",
    "devpts",
    "disableOOMKiller",
    "disableOomKiller",
    "domainname",
    "effective",
    "enableCmt",
    "enableMbm",
    "enableMonitoring",
    "env",
    "errnoRet",
    "eth%d",
    "eth0",
    "execCPUAffinity",
    "execCpuAffinity",
    "execve",
    "fds",
    "fileMode",
    "final",
    "flags",
    "fs.mqueue.msg_max",
    "gid",
    "gidMappings",
    "hard",
    "hcaHandles",
    "hcaObjects",
    "height",
    "hooks",
    "hostID",
    "hostId",
    "hostname",
    "hugepageLimits",
    "id",
    "idle",
    "idmap",
    "idmap=uids=0-1-1",
    "inheritable",
    "initial",
    "intelRdt",
    "io.nfrun.network",
    "ioPriority",
    "ipc",
    "kernel",
    "kernel.hostname",
    "kernel.shmmax",
    "kernelTCP",
    "kernelTcp",
    "l3CacheSchema",
    "leafWeight",
    "limit",
    "linux",
    "listenerMetadata",
    "listenerPath",
    "lo",
    "m",
    "major",
    "maskedPaths",
    "max",
    "memBwSchema",
    "memory",
    "memory.high",
    "memory.max",
    "memoryPolicy",
    "mems",
    "metadata",
    "minor",
    "mode=755",
    "monotonic",
    "mount",
    "mountLabel",
    "mounts",
    "mqueue",
    "name",
    "names",
    "namespaces",
    "nanosecs",
    "net..",
    "net.ipv4.ip_forward",
    "net/ipv4/../../kernel/core_pattern",
    "netDevices",
    "network",
    "nice",
    "noNewPrivileges",
    "noatime",
    "nodes",
    "nodev",
    "noexec",
    "nosuid",
    "nosymfollow",
    "ociVersion",
    "oomScoreAdj",
    "openat",
    "options",
    "p",
    "pageSize",
    "path",
    "period",
    "permitted",
    "personality",
    "pid",
    "pids",
    "pids.max",
    "poststart",
    "poststop",
    "prestart",
    "priorities",
    "priority",
    "private",
    "proc",
    "process",
    "quota",
    "rate",
    "rbind",
    "rdma",
    "read",
    "readonly",
    "readonlyPaths",
    "realtimePeriod",
    "realtimeRuntime",
    "relatime",
    "remount",
    "reservation",
    "resources",
    "ridmap",
    "rlimits",
    "ro",
    "root",
    "rootfs",
    "rootfsPropagation",
    "rro",
    "rrw",
    "rshared",
    "runtime",
    "rw",
    "rwm",
    "scheduler",
    "schemata",
    "seccomp",
    "secs",
    "selinuxLabel",
    "sendmsg",
    "sh",
    "shares",
    "size",
    "size=",
    "size=65536k",
    "slave",
    "socket",
    "soft",
    "solaris",
    "source",
    "startContainer",
    "strictatime",
    "swap",
    "swappiness",
    "symfollow",
    "syscalls",
    "sysctl",
    "sysfs",
    "terminal",
    "throttleReadBpsDevice",
    "throttleReadIOPSDevice",
    "throttleReadIopsDevice",
    "throttleWriteBpsDevice",
    "throttleWriteIOPSDevice",
    "throttleWriteIopsDevice",
    "time",
    "timeOffsets",
    "timeout",
    "tmpcopyup",
    "tmpfs",
    "typ",
    "type",
    "u",
    "uid",
    "uidMappings",
    "umask",
    "unbindable",
    "unified",
    "useHierarchy",
    "user",
    "user.slice:nfrun:a",
    "username",
    "uts",
    "value",
    "valueTwo",
    "version",
    "vm",
    "weight",
    "weightDevice",
    "width",
    "windows",
    "write",
    "zos",
];
