//! A table at one point in time, open for reading.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::catalog::TableProvider;
use transload_core::connector::Source;
use transload_core::{Error, Pin, PinnedSnapshot, PinnedVersion, ReadSpec, Result, Split, TableName};

use crate::catalog::Relation;
use crate::names::Name;
use crate::pin::{self, Access, Exporter, Reading};
use crate::scan::{PinnedTable, Range, Rows, schema_of};
use crate::splits::{self, Pages};

/// A pinned table.
pub(crate) struct PostgresSource {
    table: PinnedTable,
    pin: Pin,
    splits: Vec<Split>,
    estimated_rows: Option<u64>,
    sampled: Option<u8>,
}

impl Source for PostgresSource {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.table.schema)
    }

    fn pin(&self) -> &Pin {
        &self.pin
    }

    fn splits(&self) -> &[Split] {
        &self.splits
    }

    fn estimated_rows(&self) -> Option<u64> {
        self.estimated_rows
    }

    fn sampled_percent(&self) -> Option<u8> {
        self.sampled
    }

    fn provider(&self) -> Result<Arc<dyn TableProvider>> {
        Ok(Arc::new(self.table.clone()))
    }
}

/// Opens a table: at a pin, or now; `together` is who pins all tables of an endpoint at the same time.
pub(crate) async fn open(
    access: &Access,
    shown: &TableName,
    spec: &ReadSpec,
    together: Option<Arc<Exporter>>,
) -> Result<PostgresSource> {
    let name = Name::parse(shown, &access.settings.schema).map_err(Error::config)?;
    match &spec.pin {
        None => {
            let exporter = match together {
                Some(exporter) => exporter,
                None => Arc::new(Exporter::begin(access).await?),
            };
            let (relation, pin) = exporter.pin(&access.settings, &name).await?;
            let reading = Reading::of(access.clone(), exporter, relation.oid);
            // Who has to read all of a view takes no sample of it.
            let has_pages = pin.parts.iter().all(|part| part.pages.is_some());
            let percent = spec.sample_percent.filter(|percent| *percent < 100 && has_pages);
            let rows = percent.map_or(Rows::All, Rows::Sample);
            Ok(source(access, &name, relation, &pin, reading, Pin::Snapshot(pin.clone()), rows))
        }
        Some(Pin::Snapshot(pin)) => {
            let own = together.filter(|exporter| exporter.has_taken(pin));
            let (relation, reading) = pin::reopen(access, &name, shown, pin, own).await?;
            Ok(source(access, &name, relation, pin, reading, Pin::Snapshot(pin.clone()), Rows::All))
        }
        Some(Pin::Version(version)) => {
            let exporter = Arc::new(Exporter::begin(access).await?);
            let (relation, now) = exporter.pin(&access.settings, &name).await?;
            let rows = written(&exporter, &relation, version).await.map_err(|e| e.with("table", shown.as_str()))?;
            let reading = Reading::of(access.clone(), exporter, relation.oid);
            Ok(source(access, &name, relation, &now, reading, Pin::Version(version.clone()), rows))
        }
        Some(Pin::Formula(_) | Pin::Files(_)) => {
            Err(Error::config("the plan's pin is not one of a Postgres table").with("table", shown.as_str()))
        }
    }
}

/// A table at a snapshot, whose parts have the sizes that they had when it was pinned.
fn source(
    access: &Access,
    name: &Name,
    relation: Relation,
    snapshot: &PinnedSnapshot,
    reading: Reading,
    pin: Pin,
    rows: Rows,
) -> PostgresSource {
    let sampled = match rows {
        Rows::Sample(percent) => Some(percent),
        Rows::All | Rows::Of { .. } => None,
    };
    // A sample is small, and the server takes it of a part as a whole.
    let split_bytes = if sampled.is_some() { u64::MAX } else { access.settings.split_bytes };
    let splits = splits::splits(name, snapshot, split_bytes);
    let range = |split: &Split| {
        let pages = Pages::of(split)?;
        let part = snapshot.parts.get(pages.part)?;
        Some(Range { part: part.clone(), pages })
    };
    let ranges: Vec<Range> = splits.iter().filter_map(range).collect();
    let columns: Arc<[_]> = relation.columns.into();
    PostgresSource {
        table: PinnedTable {
            schema: schema_of(&columns),
            columns,
            ranges: ranges.into(),
            rows,
            reading: Arc::new(reading),
        },
        pin,
        splits,
        estimated_rows: relation
            .rows
            .map(|all| sampled.map_or(all, |percent| all.saturating_mul(percent.into()) / 100)),
        sampled,
    }
}

/// Which rows the pin of a commit is about.
async fn written(exporter: &Exporter, relation: &Relation, version: &PinnedVersion) -> Result<Rows> {
    let table = format!("{}/{}", exporter.server().id, relation.oid);
    if version.table != table {
        return Err(Error::config("the table was made anew, or replaced, since the rows were committed")
            .hint("what was committed then is not there any more: load again, or compare what is there now"));
    }
    let number =
        version.version.parse::<i64>().map_err(|_| Error::config("the plan's pin names no version of a table"))?;
    let since = exporter.since(&relation.name, number).await?;
    if since.is_changed {
        return Err(Error::config(
            "a later load has replaced or merged rows of the table since the rows were committed",
        )
        .hint("what was committed then may not be there any more: compare what the later load has written"));
    }
    // What was added later does not belong to the table as it was then.
    let (names, are_wanted) = match &version.only {
        Some(only) => (only.clone(), true),
        None => (version.except.iter().flatten().cloned().chain(since.xids).collect(), false),
    };
    if names.is_empty() && !are_wanted {
        return Ok(Rows::All);
    }
    let whole: Vec<u64> = names
        .iter()
        .map(|xid| xid.parse().map_err(|_| Error::config("the plan's pin names no transactions of a server")))
        .collect::<Result<_>>()?;
    let now = exporter.look(crate::records::newest_transaction).await?;
    // The number that a row has of its transaction comes again after four thousand million others.
    if whole.iter().any(|xid| now.saturating_sub(*xid) >= 1 << 31) {
        return Err(Error::config(
            "the server has forgotten which rows were committed then: too many transactions ago",
        ));
    }
    #[expect(clippy::cast_possible_truncation, reason = "a row keeps the lower half")]
    let transactions = whole.into_iter().map(|xid| xid as u32).collect();
    Ok(Rows::Of { transactions, are_wanted })
}
