//! Builds the init program (src/init) and tells the crate where it is.

use std::path::PathBuf;
use std::process::Command;
use std::{env, fs};

fn main() {
    println!("cargo::rustc-check-cfg=cfg(nfrun_host)");
    println!("cargo::rustc-check-cfg=cfg(fuzzing)");
    println!("cargo::rustc-cfg=nfrun_host");
    println!("cargo::rerun-if-changed=src/init");
    println!("cargo::rerun-if-env-changed=NFRUN_COMMIT");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let arch = env::var("CARGO_CFG_TARGET_ARCH").unwrap_or_default();
    assert!(arch == "x86_64", "nfrun's init has an entry and system calls for x86_64 only; {arch} is not there yet");
    let built = build_init(&out);
    fs::copy(built, out.join("nfrun-init")).expect("copy the init program");
}

/// A freestanding static program: no libc, no start files, fixed addresses, one segment.
fn build_init(out: &std::path::Path) -> PathBuf {
    let flags = [
        "-Clink-arg=-nostartfiles",
        "-Clink-arg=-nostdlib",
        "-Clink-arg=-static",
        "-Clink-arg=-no-pie",
        "-Clink-arg=-Wl,--build-id=none,-z,noseparate-code,--gc-sections",
        "-Crelocation-model=static",
        "-Ctarget-feature=+crt-static",
        "-Cforce-unwind-tables=no",
    ];
    let target = "x86_64-unknown-linux-gnu";
    let mut command = Command::new(env::var_os("CARGO").expect("cargo sets CARGO"));
    command
        .args(["build", "--release", "--locked", "--manifest-path", "src/init/Cargo.toml", "--target", target])
        .arg("--target-dir")
        .arg(out.join("init"))
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"))
        // Wrappers and flags that cargo or clippy set for nfrun are not meant for init.
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
        .env_remove("RUSTC_WRAPPER")
        .env_remove("RUSTFLAGS");
    if env::var_os("CARGO_FEATURE_FAULT").is_some() {
        command.args(["--features", "fault"]);
    }
    let status = command.status().expect("run cargo for the init program");
    assert!(status.success(), "the init program (src/init) does not build: see above");
    out.join("init").join(target).join("release/nfrun-init")
}
