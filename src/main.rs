//! The `nfrun` command: see [`nfrun::cli`].
//!
//! The standard library's own entry costs a sixth of a short command's time here: it reads /proc/self/maps and sets up
//! handlers for stack overflow. What of it matters to us is in [`nfrun::sys::begin`].

#![no_main]

/// Called by the C library's start code. Arguments reach `std::env::args_os` by themselves.
// SAFETY: the C library's start code calls a symbol of this name and signature, and no other crate defines one.
#[unsafe(no_mangle)]
extern "C" fn main() -> i32 {
    nfrun::sys::begin();
    nfrun::cli::main().into()
}
