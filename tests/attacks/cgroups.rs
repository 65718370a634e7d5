//! Cgroups that a container wants to write.

use crate::common::bundle::push;
use crate::common::*;
use crate::repelled;

/// CVE-2022-0492: release_agent of a hierarchy's root names a program that the host's kernel runs as root. What a container
/// of the default configuration can reach has none: the mount is its own cgroup, read-only, and without CAP_SYS_ADMIN it
/// gets no other; in a user namespace of its own it can mount its cgroup namespace's root at most.
#[test]
fn release_agent_cannot_be_opened_for_writing() {
    if outside::is_v2() {
        skip!("this host has cgroup2 alone, which has no release agent");
    }
    repelled("drop-capabilities", &[], |runtime| {
        let script = r#"
            try() {
                mkdir -p /tmp/cg && mount -t cgroup -o pids cgroup /tmp/cg 2>/dev/null
                for f in /tmp/cg/release_agent /sys/fs/cgroup/*/release_agent; do
                    # Opened, and nothing is written: the host is real.
                    [ -e $f ] && (: >>$f) 2>/dev/null && echo got $f
                done
                umount /tmp/cg 2>/dev/null
            }
            try
            export -f try 2>/dev/null
            unshare -Ur unshare -m sh -c 'mkdir -p /tmp/cg; mount -t cgroup -o pids cgroup /tmp/cg && (: >>/tmp/cg/release_agent) && echo got by unshare' 2>/dev/null
            true"#;
        let c = Container::new(&["true"]).by(runtime);
        // What `spec` writes, and not what this test would like.
        std::fs::remove_file(c.bundle.join("config.json")).unwrap();
        c.finish(c.command(&["spec"]).current_dir(&c.bundle)).ok();
        let text = std::fs::read(c.bundle.join("config.json")).unwrap();
        let cgroup = c.config["linux"]["cgroupsPath"].clone();
        let mut c = c;
        c.config = serde_json::from_slice(&text).unwrap();
        let c = c.with(|config| {
            config["process"]["terminal"] = json!(false);
            config["process"]["args"] = json!(["sh", "-c", script]);
            config["linux"]["cgroupsPath"] = cgroup;
            push(&mut config["mounts"], json!({"destination": "/tmp", "type": "tmpfs", "source": "tmp"}));
        });
        let output = c.run();
        output.stdout.contains("got")
    });
}

/// CVE-2023-25809: in a user namespace the cgroup mount is writable although the bundle wants it read-only.
#[test]
fn cgroups_are_read_only_in_a_user_namespace_too() {
    for own_cgroup in [false, true] {
        let guards = if own_cgroup { "" } else { "mount-flags" };
        repelled(guards, &[], |runtime| {
            let script = "for d in /sys/fs/cgroup/*; do mkdir $d/attack 2>/dev/null && echo made && rmdir $d/attack; done; \
                 mkdir /sys/fs/cgroup/attack && echo made; grep ' - cgroup' /proc/self/mountinfo | cut -d' ' -f6 | grep -v '^ro'";
            let c = Container::sh(script).by(runtime).with(|config| {
                push(&mut config["linux"]["namespaces"], json!({"type": "user"}));
                if own_cgroup {
                    push(&mut config["linux"]["namespaces"], json!({"type": "cgroup"}));
                }
                // The same ids: the files' permissions alone would let it write.
                let map = json!([{"containerID": 0, "hostID": 0, "size": 65536}]);
                config["linux"]["uidMappings"] = map.clone();
                config["linux"]["gidMappings"] = map;
            });
            let output = c.run();
            assert!(matches!(runtime, Runtime::Without(_)) || output.code <= 1, "{output:?}");
            !output.stdout.is_empty()
        });
    }
}
