//! What an entry of the log says about the table itself: its columns, its layout, and what it asks of others.

use deltalake_core::kernel::{Action, Metadata, MetadataExt, Protocol, StructField, StructType, new_metadata};
use transload_core::{Error, LogicalType, Result};

use crate::log::{Column, Version};
use crate::types::delta;
use crate::widen;

/// What makes a table: its identifier, and the actions.
///
/// # Errors
/// [`Config`](transload_core::ErrorKind::Config) for columns that no table can have.
pub(crate) fn created(
    columns: &[Column],
    partition_by: Vec<String>,
    properties: &[(String, String)],
) -> Result<(String, Vec<Action>)> {
    let metadata = new_metadata(&made(columns)?, partition_by, properties.iter().map(|(k, v)| (k, v)));
    let metadata = metadata.map_err(unwritable)?;
    let table = metadata.id().to_string();
    Ok((table, vec![Action::Protocol(protocol(columns)?), Action::Metadata(metadata)]))
}

/// What gives a table other columns: all `anew`, or those that it has as they are, but for types that become wider if it
/// `widens`; and another layout, if one is given.
///
/// # Errors
/// [`Config`](transload_core::ErrorKind::Config) for columns that the table cannot have.
pub(crate) fn changed(
    base: &Version,
    columns: &[Column],
    anew: bool,
    widens: bool,
    layout: Option<&[String]>,
) -> Result<Vec<Action>> {
    let mut actions = Vec::new();
    let schema = if anew { made(columns)? } else { grown(columns, base)? };
    let is_wider = widens && widen::has_widened(&base.snapshot.schema(), &schema);
    if !is_wider && needs_more(columns, base)? {
        return Err(Error::config("the table's protocol has no timestamps without a zone")
            .hint("cast the column to timestamp(us, UTC), or add the feature timestampNtz to the table"));
    }
    let mut metadata = base.snapshot.metadata().clone().with_schema(&schema).map_err(unwritable)?;
    if is_wider {
        let has_local_timestamps = columns.iter().any(|c| has_local_timestamps(&c.ty));
        let protocol = widen::protocol(base.snapshot.protocol(), has_local_timestamps)?;
        actions.extend(protocol.map(Action::Protocol));
        metadata = widen::enabled(metadata).map_err(unwritable)?;
    }
    actions.push(Action::Metadata(match layout {
        Some(columns) => partitioned_by(metadata, columns)?,
        None => metadata,
    }));
    Ok(actions)
}

/// The columns of a table that is made.
fn made(columns: &[Column]) -> Result<StructType> {
    let field = |c: &Column| Ok(StructField::new(&c.name, delta(&c.ty)?, c.nullable));
    let fields: Vec<StructField> = columns.iter().map(field).collect::<Result<_>>()?;
    StructType::try_new(fields).map_err(|_| Error::config("the table would have two columns of one name"))
}

/// The same, with those fields that the table has already as they are there, with all that is said of them. They may
/// become wider.
fn grown(columns: &[Column], now: &Version) -> Result<StructType> {
    let there = now.snapshot.schema();
    let field = |c: &Column| match there.field(&c.name) {
        Some(field) => Ok(widen::widened(field, &delta(&c.ty)?).unwrap_or_else(|| field.clone())),
        None => Ok(StructField::new(&c.name, delta(&c.ty)?, c.nullable)),
    };
    let fields: Vec<StructField> = columns.iter().map(field).collect::<Result<_>>()?;
    StructType::try_new(fields).map_err(|_| Error::config("the table would have two columns of one name"))
}

/// Metadata that cannot be written down.
fn unwritable(error: deltalake_core::kernel::Error) -> Error {
    Error::internal("a table's metadata cannot be written down").because(error)
}

/// The least that a table with these columns asks of its readers and writers.
fn protocol(columns: &[Column]) -> Result<Protocol> {
    let json = match columns.iter().any(|c| has_local_timestamps(&c.ty)) {
        false => serde_json::json!({ "minReaderVersion": 1, "minWriterVersion": 2 }),
        true => serde_json::json!({
            "minReaderVersion": 3,
            "minWriterVersion": 7,
            "readerFeatures": ["timestampNtz"],
            "writerFeatures": ["appendOnly", "timestampNtz"],
        }),
    };
    serde_json::from_value(json).map_err(|e| Error::internal("a protocol cannot be written down").because(e))
}

/// Whether the columns ask more than the table's protocol has.
fn needs_more(columns: &[Column], now: &Version) -> Result<bool> {
    let features = serde_json::to_value(now.snapshot.protocol())
        .map_err(|e| Error::internal("a protocol cannot be written down").because(e))?;
    let has = features["writerFeatures"].as_array().is_some_and(|names| names.iter().any(|n| n == "timestampNtz"));
    Ok(!has && columns.iter().any(|c| has_local_timestamps(&c.ty)))
}

fn has_local_timestamps(ty: &LogicalType) -> bool {
    match ty {
        LogicalType::Timestamp(_, None) => true,
        LogicalType::List(item) => has_local_timestamps(item),
        LogicalType::Struct(fields) => fields.iter().any(|(_, ty)| has_local_timestamps(ty)),
        LogicalType::Map(key, value) => has_local_timestamps(key) || has_local_timestamps(value),
        _ => false,
    }
}

/// The metadata with another layout, which the log library has no word for.
fn partitioned_by(metadata: Metadata, columns: &[String]) -> Result<Metadata> {
    let broken = |e: serde_json::Error| Error::internal("a table's metadata cannot be written down").because(e);
    let mut json = serde_json::to_value(&metadata).map_err(broken)?;
    json["partitionColumns"] = serde_json::json!(columns);
    serde_json::from_value(json).map_err(broken)
}
