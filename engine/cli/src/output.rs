//! The one door for everything that is printed: answers to standard output, talk to standard error.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use tracing_subscriber::EnvFilter;
use transload_core::{Error, ErrorKind};
use transload_spec::Problems;

use crate::args::{Format, Global};

/// Where output goes and what it looks like.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    pub(crate) format: Format,
    quiet: bool,
    styled: bool,
}

/// Why a command failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Files with mistakes.
    Problems(Box<Problems>),
    /// Anything else.
    Error(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl From<Problems> for Failure {
    fn from(problems: Problems) -> Self {
        Self::Problems(Box::new(problems))
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::Error(error.into())
    }
}

impl Output {
    #[allow(clippy::disallowed_methods)]
    pub(crate) fn new(format: Format, quiet: bool) -> Self {
        let colour = std::env::var("NO_COLOR").map_or(true, |v| v.is_empty());
        Self { format, quiet, styled: colour && std::io::stderr().is_terminal() }
    }

    pub(crate) fn json(&self) -> bool {
        self.format == Format::Json
    }

    /// Whether a person watches.
    pub(crate) fn watched(&self) -> bool {
        !self.quiet && std::io::stderr().is_terminal()
    }

    pub(crate) fn quiet(&self) -> bool {
        self.quiet
    }

    /// Writes an answer. A reader that has gone away is fine.
    pub(crate) fn answer(&self, text: &str) -> Result<(), Failure> {
        let mut out = std::io::stdout().lock();
        let line_break = if text.ends_with('\n') { "" } else { "\n" };
        match write!(out, "{text}{line_break}").and_then(|()| out.flush()) {
            // What was found does not change because nobody reads it.
            Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
            // Nor does trying again bring the answer of what was done.
            Err(e) => Err(Error::config("standard output cannot be written")
                .because(e)
                .hint("see where it goes; what a run did is in the ledger all the same")
                .into()),
            Ok(()) => Ok(()),
        }
    }

    /// Writes the last line of a command that ends with `code`. A line that is lost does not hide what is worse.
    pub(crate) fn last_line(&self, line: &str, code: u8) -> Result<u8, Failure> {
        match self.answer(line) {
            Err(Failure::Error(error)) if code != 0 && code != ErrorKind::NothingToDo.exit_code() => {
                self.complain(&error);
                Ok(code)
            }
            answered => answered.map(|()| code),
        }
    }

    /// Says something to whoever watches.
    pub(crate) fn say(&self, text: &str) {
        if !self.quiet {
            let _ = writeln!(std::io::stderr().lock(), "{text}");
        }
    }

    /// Says what went wrong, also where nothing else shall be said.
    pub(crate) fn complain(&self, error: &Error) {
        let _ = write!(std::io::stderr().lock(), "{}", self.error(error));
    }

    /// Shows why a command failed.
    pub(crate) fn fail(&self, failure: &Failure) -> ExitCode {
        match failure {
            Failure::Problems(problems) if self.json() => {
                let _ = self.answer(&serde_json::json!({ "problems": problems.to_json() }).to_string());
                ExitCode::from(3)
            }
            Failure::Problems(problems) => {
                let count = problems.list.len();
                let mut err = std::io::stderr().lock();
                let _ = write!(err, "{}", problems.render(self.styled));
                let _ = writeln!(err, "{count} problem{} found", if count == 1 { "" } else { "s" });
                ExitCode::from(3)
            }
            Failure::Error(error) => {
                self.complain(error);
                ExitCode::from(error.kind().exit_code())
            }
        }
    }

    /// An error as text: the sentence, its causes and the hint.
    fn error(&self, error: &Error) -> String {
        let (red, bold, reset) = if self.styled { ("\x1b[1;31m", "\x1b[1m", "\x1b[0m") } else { ("", "", "") };
        let mut chain = error.chain().into_iter();
        let mut text = format!("{red}error{reset}: {}\n", chain.next().unwrap_or_default());
        for cause in chain {
            text.push_str(&format!("  because: {}\n", cause.lines().next().unwrap_or_default()));
        }
        if let Some(hint) = error.hint_text() {
            text.push_str(&format!("  {bold}hint{reset}: {hint}\n"));
        }
        text
    }
}

/// Starts logging, if it was asked for, and keeps panics out of the talk.
pub(crate) fn start_logging(global: &Global) {
    if let Some(level) = &global.log {
        let mut filter = EnvFilter::try_new(level).unwrap_or_else(|_| EnvFilter::new("info"));
        // It logs every statement with its parameters: how far a table has come is a value of a row.
        if let Ok(quiet) = "tokio_postgres=warn".parse() {
            filter = filter.add_directive(quiet);
        }
        let _ = tracing_subscriber::fmt().json().with_writer(std::io::stderr).with_env_filter(filter).try_init();
    }
    // A panic in a reader is caught at the file boundary and reported there.
    std::panic::set_hook(Box::new(|info| {
        tracing::error!(at = info.location().map(ToString::to_string), "a panic was caught");
    }));
}
