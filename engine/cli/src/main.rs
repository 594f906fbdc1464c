//! The `transload` program.

fn main() -> std::process::ExitCode {
    transload_cli::main()
}
