//! The command line: the only crate that prints, reads the environment or names a concrete connector.

mod alerts;
mod args;
mod commands;
mod connectors;
mod draft;
mod earlier;
mod environment;
mod found;
mod going;
mod http;
mod lines;
mod listing;
mod location;
mod metrics;
mod others;
mod outcome;
mod output;
mod pinned;
mod pipeline;
mod postgres_url;
mod progress;
mod push;
mod report;
mod signals;
mod targets;
mod trend;

use std::panic::AssertUnwindSafe;
use std::process::ExitCode;

use clap::Parser;
use transload_core::{Error, ErrorKind};

use crate::args::{Args, Command};
use crate::output::{Failure, Output};

/// Runs the program with the arguments of the process.
pub fn main() -> ExitCode {
    #[cfg(feature = "faults")]
    let _faults = fail::FailScenario::setup();
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            // Help and version are answers; everything else is a mistake in usage.
            let code = if error.use_stderr() { ErrorKind::Usage.exit_code() } else { 0 };
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    let output = Output::new(args.global.format, args.global.quiet);
    #[cfg(feature = "faults")]
    if let Some(faults) = environment::faulty_io()
        && let Err(error) = transload_core::fault::break_requests(&faults)
    {
        return output.fail(&Failure::Error(error));
    }
    if let Some(folder) = &args.global.chdir
        && let Err(error) = std::env::set_current_dir(folder)
    {
        let problem = Error::from(error).with("folder", folder.display().to_string());
        return output.fail(&Failure::Error(problem));
    }
    output::start_logging(&args.global);
    match std::panic::catch_unwind(AssertUnwindSafe(|| run(args, &output))) {
        Ok(Ok(code)) => ExitCode::from(code),
        Ok(Err(failure)) => output.fail(&failure),
        Err(_) => {
            let bug = Error::internal("transload has a bug and had to stop");
            output.fail(&Failure::Error(bug.hint("please report it, with what `--log debug` says")))
        }
    }
}

fn run(args: Args, output: &Output) -> Result<u8, Failure> {
    let global = args.global;
    match args.command {
        Command::Check(args) => commands::check::check(&args, output),
        Command::Contract(args) => commands::contract::contract(&args, output),
        Command::Schema(args) => commands::schema::schema(&args, output),
        Command::Completions(args) => commands::schema::completions(&args, output),
        other => {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .enable_all()
                .build()
                .map_err(|e| Failure::Error(e.into()))?;
            runtime.block_on(async {
                match other {
                    Command::Init(args) => commands::init::init(&args, output).await,
                    Command::Discover(args) => commands::discover::discover(&args, output).await,
                    Command::Profile(args) => commands::profile::profile(&args, output).await,
                    Command::Plan(args) => commands::plan::plan(&args, &global, output).await,
                    Command::Run(args) => commands::run::run(&args, &global, output).await,
                    Command::Resume(args) => commands::run::resume(&args, &global, output).await,
                    Command::Replay(args) => commands::replay::replay(&args, &global, output).await,
                    Command::Reconcile(args) => commands::reconcile::reconcile(&args, &global, output).await,
                    Command::Runs(args) => commands::runs::runs(&args, &global, output).await,
                    Command::Show(args) => commands::show::show(&args, &global, output).await,
                    Command::Report(args) => commands::report::report(&args, &global, output).await,
                    Command::Generate(args) => commands::generate::generate(&args, output).await,
                    Command::Audit(args) => commands::audit::audit(&args, &global, output).await,
                    Command::Clean(args) => commands::clean::clean(&args, &global, output).await,
                    Command::Check(_) | Command::Contract(_) | Command::Schema(_) | Command::Completions(_) => Ok(0),
                }
            })
        }
    }
}
