//! The `containerd-shim-nfrun-v2` command: see [`nfrun::shim`].

#![no_main]

/// Called by the C library's start code, as in `src/main.rs`.
// SAFETY: the C library's start code calls a symbol of this name and signature, and no other crate defines one.
#[unsafe(no_mangle)]
extern "C" fn main() -> i32 {
    nfrun::sys::begin();
    nfrun::shim::main().into()
}
