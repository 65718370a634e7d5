//! The document of `features`: features.md. Nothing is claimed by a list of its own: words come from the tables that the
//! planner reads by, and where it has no table the planner is asked, by planning what the word stands for.

use oci_spec::runtime::{LinuxMemoryPolicy, LinuxResources, LinuxSeccomp, Spec};
use serde_json::{Value, json};

use super::{create, net_devices, process};
use crate::init::attributes::plan as attributes;
use crate::init::capabilities::plan as capabilities;
use crate::init::mounts::plan as mounts;
use crate::init::namespaces::plan as namespaces;
use crate::init::program::Draft;
use crate::{cgroup, resctrl, seccomp, sys};

/// The newest version of the specification that is implemented.
pub const SPEC: &str = "1.3.0";

const HOOKS: [&str; 6] = ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];
const ACTIONS: [&str; 9] = [
    "SCMP_ACT_ALLOW",
    "SCMP_ACT_ERRNO",
    "SCMP_ACT_KILL",
    "SCMP_ACT_KILL_PROCESS",
    "SCMP_ACT_KILL_THREAD",
    "SCMP_ACT_LOG",
    "SCMP_ACT_NOTIFY",
    "SCMP_ACT_TRACE",
    "SCMP_ACT_TRAP",
];
const OPERATORS: [&str; 7] =
    ["SCMP_CMP_EQ", "SCMP_CMP_GE", "SCMP_CMP_GT", "SCMP_CMP_LE", "SCMP_CMP_LT", "SCMP_CMP_MASKED_EQ", "SCMP_CMP_NE"];
const ARCHITECTURES: [&str; 23] = [
    "SCMP_ARCH_AARCH64",
    "SCMP_ARCH_ARM",
    "SCMP_ARCH_LOONGARCH64",
    "SCMP_ARCH_M68K",
    "SCMP_ARCH_MIPS",
    "SCMP_ARCH_MIPS64",
    "SCMP_ARCH_MIPS64N32",
    "SCMP_ARCH_MIPSEL",
    "SCMP_ARCH_MIPSEL64",
    "SCMP_ARCH_MIPSEL64N32",
    "SCMP_ARCH_PARISC",
    "SCMP_ARCH_PARISC64",
    "SCMP_ARCH_PPC",
    "SCMP_ARCH_PPC64",
    "SCMP_ARCH_PPC64LE",
    "SCMP_ARCH_RISCV64",
    "SCMP_ARCH_S390",
    "SCMP_ARCH_S390X",
    "SCMP_ARCH_SH",
    "SCMP_ARCH_SHEB",
    "SCMP_ARCH_X32",
    "SCMP_ARCH_X86",
    "SCMP_ARCH_X86_64",
];
const FLAGS: [&str; 4] = [
    "SECCOMP_FILTER_FLAG_LOG",
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
    "SECCOMP_FILTER_FLAG_TSYNC",
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
];
const POLICY_MODES: [&str; 7] = [
    "MPOL_BIND",
    "MPOL_DEFAULT",
    "MPOL_INTERLEAVE",
    "MPOL_LOCAL",
    "MPOL_PREFERRED",
    "MPOL_PREFERRED_MANY",
    "MPOL_WEIGHTED_INTERLEAVE",
];
const POLICY_FLAGS: [&str; 3] = ["MPOL_F_NUMA_BALANCING", "MPOL_F_RELATIVE_NODES", "MPOL_F_STATIC_NODES"];

/// What this nfrun can do, whatever this host can; but for seccomp's `supportedFlags`, which the kernel is asked for.
pub fn features() -> Value {
    json!({
        "ociVersionMin": "1.0.0",
        "ociVersionMax": SPEC,
        "hooks": known(&HOOKS, has_hook),
        "mountOptions": mounts::option_names(),
        "linux": {
            "namespaces": namespaces::kind_names(),
            "capabilities": capabilities::all_names(),
            "cgroup": cgroups(),
            "seccomp": seccomp_features(),
            "apparmor": {"enabled": plans(&json!({"process": process(&json!({"apparmorProfile": "x"}))}))},
            "selinux": {"enabled":
                plans(&json!({"process": process(&json!({"selinuxLabel": "x"}))}))
                    && plans(&json!({"linux": {"mountLabel": "x"}}))},
            "intelRdt": intel_rdt(),
            "memoryPolicy": {"modes": known(&POLICY_MODES, has_mode), "flags": known(&POLICY_FLAGS, has_policy_flag)},
            "mountExtensions": {"idmap": {"enabled": mounts::option_names().contains(&"idmap")}},
            "netDevices": {"enabled": plans(&json!({"linux": {"netDevices": {"eth0": {}}}}))},
        },
        "annotations": {
            "io.nfrun.version": env!("CARGO_PKG_VERSION"),
            "io.nfrun.commit": option_env!("NFRUN_COMMIT").unwrap_or("unknown"),
            // What drivers ask runc and crun by.
            "org.opencontainers.runc.checkpoint.enabled": "false",
        },
        // A name that ends in a dot stands for all that begin so.
        "potentiallyUnsafeConfigAnnotations":
            [attributes::EXEC_CPUS, net_devices::RETURN, process::KEEP_GROUPS, cgroup::systemd::ANNOTATION],
    })
}

fn known(words: &[&'static str], is_known: fn(&str) -> bool) -> Vec<&'static str> {
    words.iter().copied().filter(|word| is_known(word)).collect()
}

/// Whether the planner takes a configuration with these members.
fn plans(members: &Value) -> bool {
    let mut document = json!({"ociVersion": "1.0.0", "root": {"path": "rootfs"}});
    if let (Value::Object(document), Value::Object(members)) = (&mut document, members) {
        document.extend(members.clone());
    }
    serde_json::from_value::<Spec>(document).is_ok_and(|spec| create::is_supported(&spec))
}

fn process(member: &Value) -> Value {
    let mut process = json!({"cwd": "/", "args": ["x"], "user": {"uid": 0, "gid": 0}});
    if let (Value::Object(process), Value::Object(member)) = (&mut process, member) {
        process.extend(member.clone());
    }
    process
}

fn has_hook(name: &str) -> bool {
    plans(&json!({"hooks": {name: [{"path": "/bin/true"}]}}))
}

fn seccomp_features() -> Value {
    let kernel_knows = |flag: &&str| filter(flag).is_some_and(|filter| sys::knows_filter_flags(filter.flags));
    let known_flags = known(&FLAGS, |flag| filter(flag).is_some());
    let supported: Vec<_> = known_flags.iter().copied().filter(kernel_knows).collect();
    json!({
        "enabled": true,
        "actions": known(&ACTIONS, |action| compile(&with_action(action)).is_some()),
        "operators": known(&OPERATORS, has_operator),
        "archs": known(&ARCHITECTURES, has_architecture),
        "knownFlags": known_flags,
        "supportedFlags": supported,
    })
}

fn compile(profile: &Value) -> Option<seccomp::Filter> {
    let profile: LinuxSeccomp = serde_json::from_value(profile.clone()).ok()?;
    seccomp::compile(&profile).ok().flatten()
}

/// A profile with one rule. Notices go to an agent.
fn with_action(action: &str) -> Value {
    let mut profile = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["getcwd"], "action": action}]});
    if action == "SCMP_ACT_NOTIFY" {
        profile["listenerPath"] = json!("/agent");
    }
    profile
}

fn has_operator(operator: &str) -> bool {
    let mut profile = with_action("SCMP_ACT_ERRNO");
    profile["syscalls"][0]["args"] = json!([{"index": 0, "value": 1, "valueTwo": 1, "op": operator}]);
    compile(&profile).is_some()
}

fn has_architecture(architecture: &str) -> bool {
    let mut profile = with_action("SCMP_ACT_ERRNO");
    profile["architectures"] = json!([architecture]);
    compile(&profile).is_some()
}

/// The filter with one flag, where that is known. WAIT_KILLABLE_RECV goes with notices.
fn filter(flag: &str) -> Option<seccomp::Filter> {
    let killable = flag == "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV";
    let mut profile = with_action(if killable { "SCMP_ACT_NOTIFY" } else { "SCMP_ACT_ERRNO" });
    profile["flags"] = json!([flag]);
    compile(&profile)
}

fn has_mode(mode: &str) -> bool {
    has_policy(&json!({"mode": mode, "nodes": "0"})) || has_policy(&json!({"mode": mode}))
}

fn has_policy_flag(flag: &str) -> bool {
    has_policy(&json!({"mode": "MPOL_BIND", "nodes": "0", "flags": [flag]}))
}

fn has_policy(policy: &Value) -> bool {
    let policy = serde_json::from_value::<LinuxMemoryPolicy>(policy.clone());
    policy.is_ok_and(|policy| attributes::memory_policy(Some(&policy), &mut Draft::default()).is_ok())
}

/// Each interface is asked for by planning on a host that has it.
fn cgroups() -> Value {
    let plans = |mounts: &str, own: &str, resources: Value| {
        let layout = cgroup::Layout::parse(mounts, own);
        let resources: Option<LinuxResources> = serde_json::from_value(resources).ok();
        layout.is_ok_and(|layout| {
            let place = cgroup::place(&layout, None, "c");
            place.is_ok_and(|place| cgroup::plan(&place, resources.as_ref(), None).is_ok())
        })
    };
    let is_unit = |manager| cgroup::systemd::Unit::new(Some("a.slice:b:c"), "c", manager).is_ok();
    let v1 = "32 31 0:29 / /sys/fs/cgroup/devices rw - cgroup cgroup rw,devices\n\
              33 31 0:30 / /sys/fs/cgroup/rdma rw - cgroup cgroup rw,rdma\n";
    let own = "2:rdma:/\n1:devices:/\n";
    let v2 = "31 23 0:28 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
    json!({
        "v1": plans(v1, own, json!({})),
        "v2": plans(v2, "0::/\n", json!({})),
        "systemd": is_unit(cgroup::systemd::Manager::System),
        "systemdUser": is_unit(cgroup::systemd::Manager::User { bus: String::new() }),
        "rdma": plans(v1, own, json!({"rdma": {"mlx5_0": {"hcaHandles": 1}}})),
    })
}

fn intel_rdt() -> Value {
    let table = "32 31 0:29 / /sys/fs/resctrl rw - resctrl resctrl rw\n";
    let steps = |rdt: Value| {
        let planned = serde_json::from_value(rdt).ok().and_then(|rdt| resctrl::plan(&rdt, "c", table).ok());
        planned.map(|(steps, _)| steps).unwrap_or_default()
    };
    let writes = |step: &resctrl::Step| matches!(step, resctrl::Step::Make { lines, .. } if !lines.is_empty());
    json!({
        "enabled": !steps(json!({})).is_empty(),
        "schemata": steps(json!({"schemata": ["L3:0=f"]})).iter().any(writes),
        "monitoring": steps(json!({"enableMonitoring": true})).iter().any(|step| matches!(step, resctrl::Step::Monitor { .. })),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_claimed_is_what_the_planner_takes() {
        let features = features();
        let linux = &features["linux"];
        assert_eq!(
            linux["cgroup"],
            json!({"v1": true, "v2": true, "systemd": true, "systemdUser": true, "rdma": true})
        );
        assert_eq!(linux["intelRdt"], json!({"enabled": true, "schemata": true, "monitoring": true}));
        assert_eq!(linux["namespaces"].as_array().unwrap().len(), 8);
        assert_eq!(linux["memoryPolicy"]["modes"].as_array().unwrap().len(), 7);
        assert_eq!(linux["memoryPolicy"]["flags"].as_array().unwrap().len(), 3);
        assert_eq!(linux["seccomp"]["operators"].as_array().unwrap().len(), 7);
        let archs = linux["seccomp"]["archs"].as_array().unwrap();
        assert!(archs.contains(&json!("SCMP_ARCH_X86_64")) && !archs.contains(&json!("SCMP_ARCH_M68K")));
        assert!(features["mountOptions"].as_array().unwrap().contains(&json!("rnoatime")));
    }

    #[test]
    fn an_unknown_word_is_not_claimed() {
        assert!(
            !has_mode("MPOL_NONSENSE") && !has_policy_flag("MPOL_F_NONSENSE") && !has_operator("SCMP_CMP_NONSENSE")
        );
        assert!(filter("SECCOMP_FILTER_FLAG_NONSENSE").is_none());
        assert!(compile(&with_action("SCMP_ACT_NONSENSE")).is_none());
    }
}
