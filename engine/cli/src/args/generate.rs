//! What can be typed behind `generate`.

use std::path::PathBuf;

use clap::Subcommand;

use super::Selection;

#[derive(Debug, clap::Args)]
pub(crate) struct Generate {
    #[command(subcommand)]
    pub(crate) command: GenerateCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum GenerateCommand {
    /// Write a dbt project over the lake of a pipeline: sources, staging models, and tests from its checks
    #[command(
        after_help = "Examples:\n  transload generate dbt orders.yaml\n  transload generate dbt orders.yaml --table 'order*' --out dbt --force"
    )]
    Dbt(GenerateDbt),
    /// Write a job for Spark that loads the same tables, and prints the same digests
    #[command(
        after_help = "Examples:\n  transload generate spark orders.yaml\n  transload generate spark orders.yaml --out jobs/orders.py --force"
    )]
    Spark(GenerateSpark),
}

#[derive(Debug, clap::Args)]
pub(crate) struct GenerateDbt {
    /// The pipeline
    pub(crate) pipeline: PathBuf,
    #[command(flatten)]
    pub(crate) selection: Selection,
    /// The folder of the project [default: PIPELINE-dbt]
    #[arg(short, long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Write over files that are there
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct GenerateSpark {
    /// The pipeline
    pub(crate) pipeline: PathBuf,
    #[command(flatten)]
    pub(crate) selection: Selection,
    /// The file to write [default: PIPELINE-spark.py]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// Write over a file that is there
    #[arg(long)]
    pub(crate) force: bool,
}
