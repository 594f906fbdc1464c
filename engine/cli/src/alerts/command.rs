//! A program as the way of an alert.

use std::io::Write;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use transload_core::{Error, Result};

/// How often is looked whether the program has ended.
const LOOK: Duration = Duration::from_millis(20);

/// A program to start. Nothing of its arguments, its environment or its input is ever shown.
pub(crate) struct Start {
    /// The program and its arguments.
    pub(crate) argv: Vec<String>,
    /// The variables that it asks for, with their values where they have one.
    pub(crate) variables: Vec<(String, Option<SecretString>)>,
    /// Where programs are looked for.
    pub(crate) path: Option<SecretString>,
    /// What it reads from its standard input.
    pub(crate) input: String,
}

/// A program that runs; it ends with this.
struct Running(Child);

impl Start {
    /// Starts the program and waits for its end. What it prints goes nowhere.
    ///
    /// # Errors
    /// [`Transient`](transload_core::ErrorKind::Transient) if it fails. [`Config`](transload_core::ErrorKind::Config) if
    /// it cannot be started, or had to be ended after `timeout`: what it was for may be done, so it is not tried again.
    pub(crate) async fn run(&self, timeout: Duration) -> Result<()> {
        let mut running = Running(self.spawn()?);
        let ended = async {
            loop {
                if let Some(status) = running.0.try_wait()? {
                    return Ok::<ExitStatus, std::io::Error>(status);
                }
                tokio::time::sleep(LOOK).await;
            }
        };
        match tokio::time::timeout(timeout, ended).await {
            Ok(Ok(status)) if status.success() => Ok(()),
            // Such as `exit status: 1`, or `signal: 9 (SIGKILL)`.
            Ok(Ok(status)) => Err(Error::transient(format!("the program ended with {status}"))),
            Ok(Err(error)) => Err(Error::from(error)),
            Err(_) => {
                let message = format!("the program had not ended after {} s and was ended", timeout.as_secs());
                Err(Error::config(message).hint("give it more time with `timeout_secs`, or let it work by itself"))
            }
        }
    }

    fn spawn(&self) -> Result<Child> {
        let missing = || Error::config("there is no program to start");
        let (program, arguments) = self.argv.split_first().ok_or_else(missing)?;
        let mut command = Command::new(program);
        command.args(arguments).env_clear().stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        if let Some(path) = &self.path {
            command.env("PATH", path.expose_secret());
        }
        for (name, value) in &self.variables {
            if let Some(value) = value {
                command.env(name, value.expose_secret());
            }
        }
        let mut child = command.spawn().map_err(|e| {
            Error::config("the program cannot be started")
                .because(e)
                .hint("relative paths are relative to the folder in which transload works")
        })?;
        if let Some(mut stdin) = child.stdin.take() {
            let input = self.input.clone();
            // A program need not read its input, and must not be able to stop us by that.
            std::thread::spawn(move || {
                let _ = stdin.write_all(input.as_bytes());
            });
        }
        Ok(child)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Neither does anything to a program that has ended and was waited for.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use transload_core::ErrorKind;

    use super::*;

    fn start(script: &str) -> Start {
        Start {
            argv: ["sh", "-c", script].map(str::to_string).to_vec(),
            variables: vec![("GIVEN".to_string(), Some("yes".into())), ("UNSET".to_string(), None)],
            path: Some("/usr/local/bin:/usr/bin:/bin".into()),
            input: "{\"a\":1}".to_string(),
        }
    }

    fn ended(start: &Start, secs: u64) -> Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(start.run(Duration::from_secs(secs)))
    }

    #[test]
    fn a_program_gets_its_input_and_the_variables_that_it_asks_for() {
        let script = r#"[ "$(cat)" = '{"a":1}' ] && [ "$GIVEN" = yes ] && [ -z "${UNSET+x}" ] && [ -z "${HOME+x}" ]"#;
        ended(&start(script), 60).unwrap();
    }

    #[test]
    fn a_program_that_reads_nothing_is_not_waited_for() {
        let mut start = start("exit 0");
        start.input = "x".repeat(1 << 20);
        ended(&start, 60).unwrap();
    }

    #[test]
    fn a_program_that_fails_can_be_tried_again_and_one_that_hangs_is_cut() {
        let failed = ended(&start("exit 3"), 60).unwrap_err();
        assert_eq!(failed.kind(), ErrorKind::Transient);
        assert!(failed.message().contains('3'), "{failed}");
        let begun = Instant::now();
        let hung = ended(&start("exec sleep 600"), 1).unwrap_err();
        assert_eq!(hung.kind(), ErrorKind::Config);
        assert!(begun.elapsed() < Duration::from_secs(300), "{:?}", begun.elapsed());
    }

    #[test]
    fn a_program_that_is_not_there_is_said() {
        let mut start = start("");
        start.argv = vec!["./no/such/program".to_string()];
        assert_eq!(ended(&start, 60).unwrap_err().kind(), ErrorKind::Config);
        start.argv.clear();
        assert_eq!(ended(&start, 60).unwrap_err().kind(), ErrorKind::Config);
    }
}
