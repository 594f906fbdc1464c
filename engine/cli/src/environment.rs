//! References of a pipeline, resolved from the process's environment.

use secrecy::SecretString;
use transload_core::Resolve;

/// Looks references up in the environment and in files.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Environment;

/// Which requests to stores shall fail, if some shall: for tests only.
#[cfg(feature = "faults")]
#[allow(clippy::disallowed_methods)]
pub(crate) fn faulty_io() -> Option<String> {
    std::env::var("TRANSLOAD_FAULTY_IO").ok()
}

impl Resolve for Environment {
    #[allow(clippy::disallowed_methods)]
    fn env(&self, name: &str) -> Option<SecretString> {
        std::env::var(name).ok().map(SecretString::from)
    }

    fn file(&self, path: &str) -> std::io::Result<SecretString> {
        let text = std::fs::read_to_string(path)?;
        Ok(SecretString::from(text.strip_suffix('\n').unwrap_or(&text).to_string()))
    }
}
