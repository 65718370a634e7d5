//! The `nfrun` command: see [`nfrun::cli`].

fn main() -> std::process::ExitCode {
    nfrun::cli::main()
}
