//! A host whose mounts are shared, as on every machine with systemd: nothing that a container does to its mounts reaches
//! the host's. Each test plays such a host in a mount namespace of its own.

#[macro_use]
mod common;

use common::bundle::{push, set_capabilities};
use common::*;

/// Runs a shell script where every mount is shared. `$N` is the runtime with its root, `$M` counts the host's mounts.
fn on_a_shared_host(c: &Container, script: &str) -> Output {
    let script = format!(
        "set -e; mount --make-rshared /; N=\"$0 --root $1\"; count() {{ wc -l < /proc/self/mountinfo; }}; BEFORE=$(count); {script}"
    );
    let mut command = std::process::Command::new("unshare");
    command.args(["--mount", "sh", "-c", &script]).arg(binary()).arg(&c.root);
    c.finish(command.current_dir(&c.dir))
}

#[test]
fn a_container_runs_and_the_hosts_mounts_stay_as_they_are_for_every_propagation() {
    for propagation in ["", "private", "rprivate", "slave", "rslave", "shared", "rshared", "unbindable"] {
        let c =
            Container::new(&["echo", "hi"]).with(|config| config["linux"]["rootfsPropagation"] = json!(propagation));
        let output =
            on_a_shared_host(&c, &format!("$N run --bundle bundle {} < /dev/null; echo $(($(count) - BEFORE))", c.id));
        assert_eq!(output.stdout, "hi\n0\n", "{propagation:?}: {output:?}");
    }
}

/// A name is bytes, of whoever mounts: a USB stick's of another encoding, say.
#[test]
fn a_mount_of_the_host_whose_name_is_no_utf_8_hinders_no_container() {
    let c = Container::new(&["echo", "hi"]);
    let run = format!(
        "D=$(printf 'caf\\351'); mkdir $D; mount -t tmpfs x $D; $N run --bundle bundle {} < /dev/null; umount $D",
        c.id
    );
    let output = on_a_shared_host(&c, &run);
    assert_eq!(output.stdout, "hi\n", "{output:?}");
}

#[test]
fn without_pivot_root_the_hosts_mounts_stay_too() {
    for propagation in ["", "rshared"] {
        let c =
            Container::new(&["echo", "hi"]).with(|config| config["linux"]["rootfsPropagation"] = json!(propagation));
        let run = format!("$N run --no-pivot --bundle bundle {} < /dev/null; echo $(($(count) - BEFORE))", c.id);
        let output = on_a_shared_host(&c, &run);
        assert_eq!(output.stdout, "hi\n0\n", "{propagation:?}: {output:?}");
    }
}

#[test]
fn what_a_container_mounts_in_a_volume_does_not_appear_on_the_host() {
    let mut c = Container::sh("mount -t tmpfs evil /mnt/x && grep -c evil /proc/self/mounts");
    std::fs::create_dir_all(c.dir.join("volume/x")).unwrap();
    let volume = c.dir.join("volume");
    c = c.with(|config| {
        push(
            &mut config["mounts"],
            json!({"destination": "/mnt", "type": "bind", "source": volume, "options": ["rbind"]}),
        );
        set_capabilities(&mut config["process"], &["CAP_SYS_ADMIN"]);
    });
    let output = on_a_shared_host(
        &c,
        &format!(
            "mkdir -p bundle/rootfs/mnt; $N run --bundle bundle {} < /dev/null; echo $(($(count) - BEFORE))",
            c.id
        ),
    );
    assert_eq!(output.stdout, "1\n0\n", "{output:?}");
}

#[test]
fn the_root_of_a_user_namespace_cannot_take_off_what_the_hosts_mounts_have() {
    let c = Container::sh("mount -o remount,bind,rw /mnt || echo locked; touch /mnt/new || echo read-only; umount /mnt/cover || echo covered")
        .with(|config| {
            push(&mut config["linux"]["namespaces"], json!({"type": "user"}));
            let map = json!([{"containerID": 0, "hostID": 0, "size": 65536}]);
            config["linux"]["uidMappings"] = map.clone();
            config["linux"]["gidMappings"] = map;
            set_capabilities(&mut config["process"], &["CAP_SYS_ADMIN"]);
            let options = json!(["rbind"]);
            push(&mut config["mounts"], json!({"destination": "/mnt", "type": "bind", "source": "../volume", "options": options}));
        });
    std::fs::create_dir_all(c.dir.join("volume/cover")).unwrap();
    let script = format!(
        "mount --bind volume volume; mount -t tmpfs cover volume/cover; mount -o remount,bind,ro volume; $N run --bundle bundle {} < /dev/null",
        c.id
    );
    let output = on_a_shared_host(&c, &script);
    assert_eq!(output.stdout, "locked\nread-only\ncovered\n", "{output:?}");
}

#[test]
fn the_callers_descriptors_are_closed_before_the_command_is_looked_for() {
    for verb in ["run", "exec"] {
        let c = Container::idle();
        let words = if verb == "run" {
            let c = c.with(|config| config["process"]["args"] = json!(["/proc/self/fd/9/busybox", "echo", "escaped"]));
            let output = on_a_shared_host(&c, &format!("exec 9< /bin; $N run --bundle bundle {} < /dev/null", c.id));
            (output.code, output.stdout)
        } else {
            let c = c.up();
            let output = on_a_shared_host(
                &c,
                &format!("exec 9< /bin; $N exec {} /proc/self/fd/9/busybox echo escaped < /dev/null", c.id),
            );
            (output.code, output.stdout)
        };
        assert!(words.0 != 0 && words.1.is_empty(), "{verb}: {words:?}");
    }
}
