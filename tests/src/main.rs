//! The product with its fault points armed, for the end-to-end tests.

fn main() -> std::process::ExitCode {
    transload_cli::main()
}
