//! Tables that are looked at: what their system knows of them, and what their rows hold.

use schemars::JsonSchema;
use serde::Serialize;
use transload_core::connector::{ReadSpec, TableInfo};
use transload_core::{Error, ErrorKind, Result, TableName};
use transload_quality::profile::Profiler;
use transload_run::Limits;
use transload_spec::fits;

use crate::location::Place;
use crate::output::{Failure, Output};

/// So many rows are enough to draft a pipeline from.
const ENOUGH: u64 = 1_000_000;

/// About as many bytes has a row, where nobody knows.
const ROW_BYTES: u64 = 200;

/// How much of its rows is read of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rows {
    /// None of them.
    None,
    /// All.
    All,
    /// About so many of a hundred, where the system can choose some.
    Percent(u8),
    /// All of a table that is not large, and as many as are enough of any other, where the system can choose some.
    Enough,
}

impl Rows {
    /// The part of a table, if not all of it is to be read.
    fn percent(self, table: &TableInfo) -> Option<u8> {
        let percent = match self {
            Self::None | Self::All => None,
            Self::Percent(percent) => Some(percent),
            Self::Enough => {
                let rows = table.about_rows().or_else(|| Some(table.bytes? / ROW_BYTES));
                let rows = rows.filter(|rows| *rows > ENOUGH)?;
                u8::try_from((ENOUGH * 100).div_ceil(rows)).ok()
            }
        };
        percent.filter(|percent| *percent < 100)
    }
}

/// A table that was found.
pub(crate) struct Found {
    pub(crate) info: TableInfo,
    /// What its rows hold, if they were read.
    pub(crate) looked: Option<Looked>,
}

/// What rows of a table hold.
pub(crate) struct Looked {
    pub(crate) profiler: Profiler,
    /// About how many of a hundred rows were read, if not all.
    pub(crate) sampled: Option<u8>,
}

/// What keeps tables from being read.
pub(crate) type Unread = Vec<(TableName, Error)>;

/// The tables with these names, and what keeps others from being read: one that is broken does not hide the rest. Without
/// names all tables are wanted.
pub(crate) async fn find(
    place: &Place,
    names: &[String],
    rows: Rows,
    limits: &Limits,
    output: &Output,
) -> Result<(Vec<Found>, Unread)> {
    let (mut found, mut unread) = (Vec::new(), Unread::new());
    for name in place.endpoint.list().await? {
        if !is_wanted(names, &name) {
            continue;
        }
        match look(place, &name, rows, limits, output).await {
            Ok(table) => found.push(table),
            Err(error) => unread.push((name, error)),
        }
    }
    Ok((found, unread))
}

/// Whether a table has one of these names, or any is wanted.
pub(crate) fn is_wanted(names: &[String], table: &TableName) -> bool {
    names.is_empty() || names.iter().any(|pattern| fits(pattern, table.as_str()))
}

async fn look(place: &Place, name: &TableName, rows: Rows, limits: &Limits, output: &Output) -> Result<Found> {
    let described = place.endpoint.describe(name).await;
    let info = described.map_err(|e| e.with("table", name.as_str()))?;
    if rows == Rows::None {
        return Ok(Found { info, looked: None });
    }
    let sample = rows.percent(&info);
    match sample {
        None => output.say(&format!("reading {name}")),
        Some(percent) => output.say(&format!("reading {name}: about {percent} % of it, if its source can choose some")),
    }
    let looked = profiled(place, name, sample, limits).await?;
    Ok(Found { info, looked: Some(looked) })
}

/// Pins a table and reads all of it, or a `sample` of so many of a hundred rows if its system can choose some.
pub(crate) async fn profiled(place: &Place, name: &TableName, sample: Option<u8>, limits: &Limits) -> Result<Looked> {
    let of_table = |e: Error| e.with("table", name.as_str());
    let spec = ReadSpec { sample_percent: sample, ..ReadSpec::default() };
    let source = place.endpoint.source(name, &spec).await.map_err(of_table)?;
    let profiler = transload_run::profile(&source, &place.rulebook, limits).await.map_err(of_table)?;
    Ok(Looked { profiler, sampled: source.sampled_percent() })
}

/// A table that cannot be read.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct Unreadable {
    /// Its name.
    table: TableName,
    /// Why not.
    error: String,
}

/// What keeps tables from being read, for programs.
pub(crate) fn unreadable(unread: &[(TableName, Error)]) -> Vec<Unreadable> {
    unread.iter().map(|(table, error)| Unreadable { table: table.clone(), error: error.to_string() }).collect()
}

/// How a command ends that looks at tables with these `names`: by the worst of what keeps some of them from being read.
pub(crate) fn ended(is_empty: bool, names: &[String], unread: Unread, output: &Output) -> Result<u8, Failure> {
    unread.iter().for_each(|(_, error)| output.complain(error));
    match Error::worst(unread.into_iter().map(|(_, error)| error)) {
        Some(worst) => Ok(worst.kind().exit_code()),
        None if is_empty => {
            let nothing = Error::new(ErrorKind::NothingToDo, "no tables were found");
            match names.is_empty() {
                true => Err(nothing.into()),
                false => Err(nothing.hint("`transload discover` lists the tables").into()),
            }
        }
        None => Ok(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(rows: Option<u64>, bytes: Option<u64>) -> TableInfo {
        let name = TableName::new("t");
        let (format, columns) = (String::new(), Vec::new());
        TableInfo { name, format, columns, rows, estimated_rows: None, bytes, files: None, catalog: None }
    }

    #[test]
    fn large_tables_are_read_in_part() {
        let enough = |rows, bytes| Rows::Enough.percent(&table(rows, bytes));
        assert_eq!(enough(Some(ENOUGH), None), None);
        assert_eq!(enough(Some(2 * ENOUGH), None), Some(50));
        assert_eq!(enough(Some(ENOUGH + 1), None), None, "a hundred of a hundred are all");
        assert_eq!(enough(Some(u64::MAX), None), Some(1));
        assert_eq!(enough(None, Some(4 * ENOUGH * ROW_BYTES)), Some(25));
        assert_eq!(enough(None, None), None);
        let estimated = TableInfo { estimated_rows: Some(2 * ENOUGH), ..table(None, Some(1)) };
        assert_eq!(Rows::Enough.percent(&estimated), Some(50));
        assert_eq!(Rows::Percent(10).percent(&table(None, None)), Some(10));
        assert_eq!(Rows::Percent(100).percent(&table(None, None)), None);
        assert_eq!(Rows::All.percent(&table(Some(u64::MAX), None)), None);
    }

    #[test]
    fn tables_are_wanted_by_their_names() {
        let wanted = |names: &[&str], table: &str| {
            is_wanted(&names.iter().map(ToString::to_string).collect::<Vec<_>>(), &TableName::new(table))
        };
        assert!(wanted(&[], "a") && wanted(&["b", "public.*"], "public.a") && wanted(&["a"], "a"));
        assert!(!wanted(&["b", "public.*"], "sales.a"));
    }
}
