//! What can be typed.

mod generate;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

pub(crate) use generate::{Generate, GenerateCommand, GenerateDbt, GenerateSpark};

/// Moves tables between systems and proves that what arrived is what left.
#[derive(Debug, Parser)]
#[command(
    name = "transload",
    version,
    max_term_width = 100,
    after_help = "Examples:\n  \
        transload init flights                    write a pipeline to start from\n  \
        transload discover ./data                 see what tables there are\n  \
        transload check flights.yaml              find mistakes without touching any data\n  \
        transload plan flights.yaml               show what a run would do\n  \
        transload run flights.yaml                load every table and prove that it arrived\n  \
        transload show 20261121T051500Z-7f3a9c12  what a run did and found\n\n\
        Exit codes: 0 good, 1 internal, 2 usage, 3 configuration, 4 data broke a rule, 5 mismatch, 8 commit outcome\n\
        unknown, 9 nothing compared, 75 try again later, 99 nothing to do, 130/143 interrupted."
)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Global {
    /// Folder to start in; relative paths are relative to it
    #[arg(short = 'C', long, global = true, value_name = "DIR")]
    pub(crate) chdir: Option<PathBuf>,
    /// Where plans, receipts and verdicts are kept: a folder, or a prefix as in s3://bucket/team
    #[arg(long, global = true, value_name = "URL", env = "TRANSLOAD_LEDGER", default_value = ".transload")]
    pub(crate) ledger: String,
    /// How answers are written to standard output
    #[arg(long, global = true, value_enum, default_value_t = Format::Text)]
    pub(crate) format: Format,
    /// Say nothing on standard error but errors
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
    /// Log what happens to standard error as JSON lines: error, warn, info, debug or trace
    #[arg(long, global = true, value_name = "LEVEL", env = "TRANSLOAD_LOG")]
    pub(crate) log: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    Text,
    /// For programs
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Write a pipeline to start from, and its schema for editors
    #[command(
        after_help = "Examples:\n  transload init flights\n  transload init shop --from-connection postgres://reader@db.example.com/shop --target s3://lake/bronze\n  transload init shop --from-connection shop.yaml --target delta:s3://lake/bronze --table 'public.*' --sample 5\n\nA file for a connection holds what would stand below `source` in a pipeline: `postgres: { host: …, database: …, user: … }`."
    )]
    Init(Init),
    /// List tables, their columns and sizes
    #[command(
        after_help = "Examples:\n  transload discover pipeline.yaml\n  transload discover postgres://reader@db.example.com/shop --table 'public.*'\n  transload discover ./data --pipeline > draft.yaml\n  transload discover ./data --checks > draft.yaml   read every row, and draft checks too"
    )]
    Discover(Discover),
    /// Read tables once and say what their columns hold
    #[command(
        after_help = "Examples:\n  transload profile ./data\n  transload profile pipeline.yaml --table 'orders*' --format json\n  transload profile pipeline.yaml --target --show-values\n  transload profile postgres://reader@db.example.com/shop --sample 5"
    )]
    Profile(Profile),
    /// Find mistakes in pipelines, without touching any data
    Check(Check),
    /// Show what a run would do, without doing it
    #[command(
        after_help = "Examples:\n  transload plan flights.yaml\n  transload plan flights.yaml --save flights.plan.json\n  transload run --plan flights.plan.json"
    )]
    Plan(Plan),
    /// Load every table of a pipeline and prove that it arrived
    #[command(
        after_help = "Examples:\n  transload run flights.yaml --memory 1GiB\n  transload run flights.yaml --env prod --table 'orders*'\n  transload run --plan flights.plan.json\n  transload run flights.yaml --checks-only             is the data good enough?\n  transload run clicks.yaml --table clicks --backfill 2024-01-01..2024-02-01"
    )]
    Run(Run),
    /// Go on with a run that was killed
    Resume(Resume),
    /// Read again what a run put aside, and add to the target what passes now
    #[command(
        after_help = "Examples:\n  transload replay 20261121T051500Z-7f3a9c12                             by the rules of the run\n  transload replay 20261121T051500Z-7f3a9c12 --pipeline amended.yaml    by the rules of this file\n  transload replay 20261121T051500Z-7f3a9c12 --table orders --patch repaired.csv\n\nA patch is a CSV file: `_split` and `_position` name a row as the quarantine does, other columns give it new\nvalues. An empty cell leaves a value as it is, NULL takes it away, \"\" is the empty text."
    )]
    Replay(Replay),
    /// Compare source and target again
    #[command(
        after_help = "Examples:\n  transload reconcile flights.yaml                        both sides as they are now\n  transload reconcile --run 20261121T051500Z-7f3a9c12   both sides as that run pinned them"
    )]
    Reconcile(Reconcile),
    /// List runs
    Runs(Runs),
    /// Show everything about one run
    Show(Show),
    /// Write everything about one run as a page for a browser
    #[command(
        after_help = "Examples:\n  transload report 20261121T051500Z-7f3a9c12                    the page beside you\n  transload report 20261121T051500Z-7f3a9c12 --output run.html  where you want it"
    )]
    Report(Report),
    /// Exchange checks with data contracts of the Open Data Contract Standard
    Contract(Contract),
    /// Write code that goes on where a pipeline ends: a dbt project, or a job for Spark
    Generate(Generate),
    /// Check the audit chain
    Audit(Audit),
    /// Remove what loads have left that died and do not come back
    #[command(
        after_help = "Examples:\n  transload clean flights.yaml --dry-run                    what would be removed from the target\n  transload clean flights.yaml\n  transload clean s3://lake/bronze --older-than 30d --format json\n\nOnly what transload wrote and no table shows: rows that were staged, files that were never published, files that a\ncommit has replaced. Nothing of a run that can be resumed, unless it began earlier than that."
    )]
    Clean(Clean),
    /// Print a JSON Schema, for editors and programs
    Schema(Schema),
    /// Print a completion script
    Completions(Completions),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Init {
    /// Name of the pipeline
    #[arg(default_value = "pipeline")]
    pub(crate) name: String,
    /// Draft it from what is there: a database's url, a file with one connection, a folder of files, or a pipeline's source
    #[arg(long, value_name = "LOCATION")]
    pub(crate) from_connection: Option<String>,
    /// Only tables with this name; `*` stands for any characters
    #[arg(long, value_name = "NAME", requires = "from_connection")]
    pub(crate) table: Vec<String>,
    /// Where the tables go: a folder, a url as in s3://bucket/bronze, delta:URL for Delta tables, or a file with one connection [default: ./NAME-lake]
    #[arg(long, value_name = "LOCATION", requires = "from_connection")]
    pub(crate) target: Option<String>,
    /// The archetype to build on [default: postgres_to_s3 from a database into a lake, otherwise table_copy]
    #[arg(long, value_name = "NAME", requires = "from_connection")]
    pub(crate) archetype: Option<String>,
    /// Look at about so many of a hundred rows [default: all of a table that is not large, else about a million rows]
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(1..=100), requires = "from_connection")]
    pub(crate) sample: Option<u8>,
    /// Look at no rows, and go by what the source says of itself
    #[arg(long, requires = "from_connection", conflicts_with = "sample")]
    pub(crate) no_profile: bool,
    #[command(flatten)]
    pub(crate) resources: Resources,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Discover {
    /// A pipeline, whose source is listed, a file with one connection, a database's url, or a folder of files
    pub(crate) location: String,
    /// List the target of the pipeline instead
    #[arg(long)]
    pub(crate) target: bool,
    /// Only tables with this name; `*` stands for any characters
    #[arg(long, value_name = "NAME")]
    pub(crate) table: Vec<String>,
    /// One line for each table
    #[arg(long, conflicts_with_all = ["pipeline", "checks"])]
    pub(crate) brief: bool,
    /// Print a pipeline that copies everything that was found
    #[arg(long)]
    pub(crate) pipeline: bool,
    /// Print such a pipeline with checks that all rows keep; every row is read for that
    #[arg(long)]
    pub(crate) checks: bool,
    /// Read about so many of a hundred rows for that, where the source can choose some
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(1..=100), requires = "checks")]
    pub(crate) sample: Option<u8>,
    #[command(flatten)]
    pub(crate) resources: Resources,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Profile {
    /// A pipeline, whose source is read, a file with one connection, a database's url, or a folder of files
    pub(crate) location: String,
    /// Read the target of the pipeline instead
    #[arg(long)]
    pub(crate) target: bool,
    /// Only tables with this name; `*` stands for any characters
    #[arg(long, value_name = "NAME")]
    pub(crate) table: Vec<String>,
    /// Read about so many of a hundred rows, where the source can choose some
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(1..=100))]
    pub(crate) sample: Option<u8>,
    /// Show values: frequent ones, and the first and last text
    #[arg(long)]
    pub(crate) show_values: bool,
    #[command(flatten)]
    pub(crate) resources: Resources,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Check {
    /// Pipelines
    #[arg(required = true)]
    pub(crate) pipelines: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) overrides: Overrides,
}

#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct Overrides {
    /// The environment of the pipeline to use
    #[arg(long, value_name = "NAME")]
    pub(crate) env: Option<String>,
    /// A table setting that wins over the file's, such as reconcile.level=count
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
}

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Selection {
    #[command(flatten)]
    pub(crate) overrides: Overrides,
    /// Only tables with this name in the target; `*` stands for any characters
    #[arg(long, value_name = "NAME")]
    pub(crate) table: Vec<String>,
}

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Backfill {
    /// Load the rows whose cursor lies from FROM to before TO, whatever was loaded before, and leave the cursor where it
    /// is: for incremental tables that are merged by key
    #[arg(id = "backfill", long = "backfill", value_name = "FROM..TO", value_parser = parse_range)]
    pub(crate) range: Option<Range>,
}

/// A range of cursor values, as it is typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Range {
    /// The first value.
    pub(crate) from: String,
    /// The first value behind it.
    pub(crate) to: String,
}

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Resources {
    /// Memory for everything that grows with the data
    #[arg(long, value_name = "SIZE", default_value = "1GiB", value_parser = parse_size)]
    pub(crate) memory: usize,
    /// Units of work at the same time [default: one per core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) parallel: Option<u16>,
    /// Where to put what does not fit into memory [default: the system's]
    #[arg(long, value_name = "DIR")]
    pub(crate) temp_dir: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Plan {
    /// The pipeline
    pub(crate) pipeline: PathBuf,
    #[command(flatten)]
    pub(crate) selection: Selection,
    #[command(flatten)]
    pub(crate) backfill: Backfill,
    /// Also save the plan, for `run --plan`
    #[arg(long, value_name = "FILE")]
    pub(crate) save: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Run {
    /// The pipeline
    #[arg(required_unless_present = "plan")]
    pub(crate) pipeline: Option<PathBuf>,
    /// Execute exactly this plan, or refuse if the source has changed
    #[arg(long, value_name = "FILE", conflicts_with_all = ["pipeline", "env", "set", "table", "backfill"])]
    pub(crate) plan: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) selection: Selection,
    #[command(flatten)]
    pub(crate) backfill: Backfill,
    #[command(flatten)]
    pub(crate) resources: Resources,
    #[command(flatten)]
    pub(crate) quality: Quality,
    /// Show the plan and stop
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Read the source and judge the checks; write nothing
    #[arg(long, conflicts_with = "dry_run")]
    pub(crate) checks_only: bool,
}

#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct Quality {
    /// Also write what the checks found to this file, as JUnit XML
    #[arg(long, value_name = "FILE")]
    pub(crate) junit: Option<PathBuf>,
    /// Also write what the run moved and found to this file, as metrics for Prometheus
    #[arg(long, value_name = "FILE")]
    pub(crate) metrics: Option<PathBuf>,
    /// Also send these metrics to a Pushgateway, such as http://pushgateway:9091
    #[arg(long, value_name = "URL", env = "TRANSLOAD_PUSH_METRICS", hide_env_values = true)]
    pub(crate) push_metrics: Option<String>,
    /// Let checks show, and keep in the ledger, some of the values that break a rule
    #[arg(long)]
    pub(crate) show_values: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Resume {
    /// The run
    pub(crate) run: String,
    #[command(flatten)]
    pub(crate) resources: Resources,
    #[command(flatten)]
    pub(crate) quality: Quality,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Replay {
    /// The run that put rows aside
    pub(crate) run: String,
    /// Only tables with this name in the target; `*` stands for any characters
    #[arg(long, value_name = "NAME")]
    pub(crate) table: Vec<String>,
    /// Amended rules: the run's pipeline with other checks, filters or expressions
    #[arg(long, value_name = "FILE")]
    pub(crate) pipeline: Option<PathBuf>,
    /// The environment of the amended pipeline to use
    #[arg(long, value_name = "NAME", requires = "pipeline")]
    pub(crate) env: Option<String>,
    /// A table setting that wins over the amended pipeline's
    #[arg(long, value_name = "KEY=VALUE", requires = "pipeline")]
    pub(crate) set: Vec<String>,
    /// New values for single rows of one table: a CSV file with their split and position
    #[arg(long, value_name = "FILE")]
    pub(crate) patch: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) resources: Resources,
    #[command(flatten)]
    pub(crate) quality: Quality,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Reconcile {
    /// The pipeline: source and target are compared as they are now
    #[arg(required_unless_present = "run")]
    pub(crate) pipeline: Option<PathBuf>,
    /// A run: source and target are compared at its pins
    #[arg(long, value_name = "RUN", conflicts_with_all = ["pipeline", "env", "set", "table"])]
    pub(crate) run: Option<String>,
    #[command(flatten)]
    pub(crate) selection: Selection,
    #[command(flatten)]
    pub(crate) resources: Resources,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Runs {
    /// Only runs of this pipeline
    #[arg(long, value_name = "NAME")]
    pub(crate) pipeline: Option<String>,
    /// At most this many, newest first
    #[arg(long, default_value_t = 20)]
    pub(crate) limit: usize,
    /// Show how the checks of loads went from run to run, oldest first
    #[arg(long)]
    pub(crate) quality: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Show {
    /// The run
    pub(crate) run: String,
    /// Also print the plan
    #[arg(long)]
    pub(crate) plan: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Report {
    /// The run
    pub(crate) run: String,
    /// The file to write, one HTML page; `-` is standard output [default: RUN.html]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Contract {
    #[command(subcommand)]
    pub(crate) command: ContractCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ContractCommand {
    /// Print a contract, as YAML, with the checks of a pipeline
    #[command(
        after_help = "Examples:\n  transload contract export orders.yaml > orders.odcs.yaml\n  transload contract export orders.yaml --table 'order*'"
    )]
    Export(ContractExport),
    /// Print the rules of a contract as checks, to be put into a pipeline
    #[command(
        after_help = "Examples:\n  transload contract import orders.odcs.yaml\n  transload contract import orders.odcs.yaml --table orders --skip-unsupported > checks.yaml"
    )]
    Import(ContractImport),
}

#[derive(Debug, clap::Args)]
pub(crate) struct ContractExport {
    /// The pipeline
    pub(crate) pipeline: PathBuf,
    #[command(flatten)]
    pub(crate) selection: Selection,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ContractImport {
    /// The contract
    pub(crate) contract: PathBuf,
    /// Only tables with this name; `*` stands for any characters
    #[arg(long, value_name = "NAME")]
    pub(crate) table: Vec<String>,
    /// Leave out rules that cannot be executed, and list them, instead of refusing the contract
    #[arg(long)]
    pub(crate) skip_unsupported: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Audit {
    #[command(subcommand)]
    pub(crate) command: AuditCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// Check every record and every artifact it names
    Verify,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Clean {
    /// A pipeline, whose target and quarantine are cleaned, or the folder or bucket that holds tables
    pub(crate) location: String,
    /// Only what is older than this, such as 12h, 7d or 4w
    #[arg(long, value_name = "AGE", default_value = "7d", value_parser = parse_age)]
    pub(crate) older_than: Duration,
    /// Show what would be removed, and remove nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) overrides: Overrides,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Schema {
    /// Which schema
    #[arg(value_enum, default_value_t = SchemaKind::Pipeline)]
    pub(crate) kind: SchemaKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SchemaKind {
    /// Of pipelines
    Pipeline,
    /// Of archetypes
    Archetype,
    /// Of what `discover --format json` answers
    Discover,
    /// Of what `init --format json` answers
    Init,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Completions {
    /// The shell
    #[arg(value_enum)]
    pub(crate) shell: Shell,
}

/// Reads `2024-01-01..2024-02-01`.
fn parse_range(text: &str) -> Result<Range, String> {
    let ends = text.split_once("..").map(|(from, to)| (from.trim(), to.trim()));
    match ends.filter(|(from, to)| !from.is_empty() && !to.is_empty() && !to.contains("..")) {
        Some((from, to)) => Ok(Range { from: from.to_string(), to: to.to_string() }),
        None => Err("a range is written FROM..TO, such as 2024-01-01..2024-02-01, and ends before TO".to_string()),
    }
}

/// Reads `90s`, `30m`, `12h`, `7d`, `4w`.
fn parse_age(text: &str) -> Result<Duration, String> {
    let wrong = || "an age is written 12h, 7d or 4w".to_string();
    let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
    let number: u64 = text[..digits].parse().map_err(|_| wrong())?;
    let unit: u64 = match &text[digits..] {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 24 * 3600,
        "w" => 7 * 24 * 3600,
        other => return Err(format!("`{other}` is not a unit; the units are s, m, h, d and w")),
    };
    // A hundred years, which is older than any table.
    let oldest = 100 * 365 * 24 * 3600;
    number
        .checked_mul(unit)
        .filter(|secs| *secs <= oldest)
        .map(Duration::from_secs)
        .ok_or_else(|| "nothing is that old".to_string())
}

/// Reads `512MiB`, `2GB`, `1073741824`.
fn parse_size(text: &str) -> Result<usize, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: usize = text[..digits].parse().map_err(|_| "a size is written 512MiB or 2GiB".to_string())?;
    let unit: usize = match text[digits..].trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kib" => 1 << 10,
        "kb" => 1_000,
        "m" | "mib" => 1 << 20,
        "mb" => 1_000_000,
        "g" | "gib" => 1 << 30,
        "gb" => 1_000_000_000,
        other => return Err(format!("`{other}` is not a unit; the units are B, KiB, MiB and GiB")),
    };
    match number.checked_mul(unit) {
        Some(size) if size >= 64 << 20 => Ok(size),
        Some(_) => Err("at least 64MiB are needed".to_string()),
        None => Err("that is more than any machine has".to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read() {
        assert_eq!(parse_size("512MiB"), Ok(512 << 20));
        assert_eq!(parse_size("2gb"), Ok(2_000_000_000));
        for bad in ["", "x", "1TiB!", "1", "99999999999999999999", "99999999999GiB"] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn ages_are_read() {
        for (text, secs) in [("0s", 0), ("90s", 90), ("30m", 1800), ("12h", 43_200), ("7d", 604_800), ("4w", 2_419_200)]
        {
            assert_eq!(parse_age(text), Ok(Duration::from_secs(secs)));
        }
        for bad in ["", "7", "d", "7 d", "-7d", "1.5h", "7y", "99999999999999999999d", "9999999w"] {
            assert!(parse_age(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn ranges_are_read() {
        let range = |from: &str, to: &str| Ok(Range { from: from.to_string(), to: to.to_string() });
        assert_eq!(parse_range("1..10"), range("1", "10"));
        assert_eq!(parse_range("-1.5 .. 2.5"), range("-1.5", "2.5"));
        assert_eq!(parse_range("2024-01-01 10:00:00..2024-02-01"), range("2024-01-01 10:00:00", "2024-02-01"));
        for bad in ["", "1", "..", "1..", " ..1", "1..2..3", "1-2"] {
            assert!(parse_range(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_command_line_is_sound() {
        use clap::CommandFactory;
        Args::command().debug_assert();
    }
}
