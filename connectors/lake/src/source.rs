//! A pinned table of files.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef};
use datafusion::catalog::TableProvider;
use datafusion::common::ScalarValue;
use datafusion::datasource::table_schema::TableSchema;
use futures::{StreamExt, TryStreamExt};
use transload_core::connector::{DECLARED_TYPE, Source, Transform};
use transload_core::store::Store;
use transload_core::types::has_wide_dates;
use transload_core::{Error, LogicalType, Pin, Result, Split, TableName};

use crate::csv::{self, CsvFile};
use crate::int96;
use crate::layout::{typed, values_in_path};
use crate::listing::{self, Found};
use crate::options::{Format, Settings};
use crate::parquet::{ParquetFile, PinnedObject, read_as};
use crate::scan::{LakeTable, Piece};
use crate::twins::{self, Twins};

/// Footers read at the same time.
const CONCURRENT_FOOTERS: usize = 16;
/// Files that are looked at at the same time before the table is read, each with few columns of one row group in memory.
const CONCURRENT_LOOKS: usize = 4;
/// Attempts to open a table that is replaced again and again.
const ATTEMPTS: usize = 10;

/// A pinned table of files.
pub(crate) struct LakeSource {
    schema: SchemaRef,
    pin: Pin,
    splits: Vec<Split>,
    table: LakeTable,
}

/// Columns whose values stand in the names of folders.
struct FolderColumns {
    fields: Vec<FieldRef>,
    types: Vec<LogicalType>,
}

impl LakeSource {
    /// Opens a table. One that is replaced meanwhile is opened anew, unless it is pinned.
    pub(crate) async fn open(store: Store, settings: &Settings, table: &TableName, pin: Option<&Pin>) -> Result<Self> {
        let mut tries = 1;
        loop {
            let mut found = listing::find(&store, table, settings.format).await?;
            if let Some(pin) = pin {
                listing::restrict(&mut found, pin)?;
            }
            let opened = Self::of(&store, settings, &found).await;
            let again = opened.is_err() && pin.is_none() && tries < ATTEMPTS;
            if !(again && found.is_outdated(&store).await?) {
                return opened;
            }
            tries += 1;
        }
    }

    async fn of(store: &Store, settings: &Settings, found: &Found) -> Result<Self> {
        let pin = Pin::Files(found.files.iter().map(listing::pinned).collect());
        let folders = folder_columns(found)?;
        let objects: Vec<PinnedObject> = found
            .files
            .iter()
            .map(|meta| PinnedObject { store: Arc::clone(store.objects()), meta: meta.clone() })
            .collect();
        // What transload wrote is Parquet, whatever else the connection reads.
        if settings.format == Format::Csv && found.manifest.is_none() {
            let files = csv::open(objects, &settings.csv, &folders.fields, &found.root).await?;
            return Ok(Self::csv(files, pin));
        }
        let files = open_files(objects).await?;
        let mut said_twice = Vec::new();
        for file in &files {
            let path = below_root(file.object.meta.location.as_ref(), found);
            said_twice.extend(Twins::of(file, path, &folders.fields)?);
        }
        let mut looks = futures::stream::iter(said_twice).map(twins::agree).buffered(CONCURRENT_LOOKS);
        while looks.try_next().await?.is_some() {}
        Self::parquet(files, folders, found, pin)
    }

    fn csv(files: Vec<CsvFile>, pin: Pin) -> Self {
        let schema = files.first().map_or_else(|| Arc::new(Schema::empty()), |f| Arc::clone(&f.schema));
        let split = |file: &CsvFile| Split {
            label: file.object.meta.location.to_string(),
            rows: None,
            bytes: Some(file.object.meta.size),
            detail: serde_json::json!([{ "path": file.object.meta.location.to_string() }]),
        };
        let splits = files.iter().map(split).collect();
        let pieces = files.into_iter().map(|f| vec![Piece::Csv(Arc::new(f))]).collect();
        let table = LakeTable { schema: TableSchema::builder(Arc::clone(&schema)).build(), splits: Arc::new(pieces) };
        Self { schema, pin, splits, table }
    }

    fn parquet(files: Vec<ParquetFile>, folders: FolderColumns, found: &Found, pin: Pin) -> Result<Self> {
        let in_files = match files.is_empty() {
            false => union(&files, &folders.fields)?,
            true => manifest_schema(found, &folders),
        };
        let values = |file: &ParquetFile| {
            let path = file.object.meta.location.as_ref();
            folder_values(below_root(path, found), &folders).map_err(|e| e.with("path", path))
        };
        let values = files.iter().map(values).collect::<Result<_>>()?;
        Ok(Self::assemble(files, values, in_files, Fields::from(folders.fields), pin))
    }

    /// A table of Parquet files, each with its values for the columns that are not in files.
    pub(crate) fn assemble(
        files: Vec<ParquetFile>,
        values: Vec<Vec<ScalarValue>>,
        in_files: SchemaRef,
        beside: Fields,
        pin: Pin,
    ) -> Self {
        let schema = TableSchema::builder(in_files).with_table_partition_cols(beside).build();
        let mut splits = Vec::new();
        let mut pieces: Vec<Vec<Piece>> = Vec::new();
        for group in group_row_groups(&files) {
            let mut rows = 0;
            let mut bytes = 0;
            let mut detail = Vec::new();
            let mut parts = Vec::new();
            for (index, row_groups) in group {
                let file = &files[index];
                let path = file.object.meta.location.as_ref();
                for i in row_groups.clone() {
                    rows += file.metadata.row_group(i).num_rows() as u64;
                    bytes += file.metadata.row_group(i).compressed_size() as u64;
                }
                detail.push(serde_json::json!({ "path": path, "row_groups": [row_groups.start, row_groups.end] }));
                parts.push(Piece::Parquet { file: file.clone(), row_groups, values: values[index].clone() });
            }
            let label = match parts.as_slice() {
                [Piece::Parquet { file, row_groups, .. }] => {
                    format!("{} {}", file.object.meta.location, describe(row_groups))
                }
                parts => format!("{} files", parts.len()),
            };
            splits.push(Split { label, rows: Some(rows), bytes: Some(bytes), detail: serde_json::json!(detail) });
            pieces.push(parts);
        }
        let table_schema = Arc::clone(schema.table_schema());
        Self { schema: table_schema, pin, splits, table: LakeTable { schema, splits: Arc::new(pieces) } }
    }
}

impl Source for LakeSource {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn pin(&self) -> &Pin {
        &self.pin
    }

    fn splits(&self) -> &[Split] {
        &self.splits
    }

    fn provider(&self) -> Result<Arc<dyn TableProvider>> {
        Ok(Arc::new(self.table.clone()))
    }
}

/// Reads the footers of files, and what else tells the types of their columns.
pub(crate) async fn open_files(objects: Vec<PinnedObject>) -> Result<Vec<ParquetFile>> {
    let files: Vec<ParquetFile> =
        futures::stream::iter(objects).map(ParquetFile::open).buffered(CONCURRENT_FOOTERS).try_collect().await?;
    futures::stream::iter(files).map(int96::exact).buffered(CONCURRENT_LOOKS).try_collect().await
}

/// The columns that a table's folder names add: by the manifest where there is one, by guessing otherwise.
fn folder_columns(found: &Found) -> Result<FolderColumns> {
    let mut out = FolderColumns { fields: Vec::new(), types: Vec::new() };
    if let Some(manifest) = &found.manifest {
        for partition in manifest.partition_by.iter().filter(|p| p.transform == Transform::Identity) {
            if let Some(column) = manifest.columns.iter().find(|c| c.name == partition.column) {
                out.fields.push(read_as(&column.ty.to_field(&column.name, column.nullable)));
                out.types.push(column.ty.clone());
            }
        }
        return Ok(out);
    }
    let values = |path: &str| values_in_path(below_root(path, found)).map_err(|e| e.with("path", path));
    let paths: Vec<_> = found.files.iter().map(|f| values(f.location.as_ref())).collect::<Result<_>>()?;
    // The deepest path names every level there is; it need not be the first one.
    let Some(deepest) = paths.iter().max_by_key(|p| p.len()) else { return Ok(out) };
    for (i, (name, _)) in deepest.iter().enumerate() {
        let mut values = Vec::new();
        for (path, file) in paths.iter().zip(&found.files) {
            match path.get(i) {
                Some((other, value)) if other == name => values.extend(value.as_deref()),
                _ => {
                    return Err(Error::config(format!("not all files of the table are in a folder `{name}=…`"))
                        .with("path", file.location.to_string())
                        .hint("give all files the same levels of folders, or read them as separate tables"));
                }
            }
        }
        let ty = csv::guess(values.into_iter());
        let field = Field::new(name, DataType::Utf8View, true)
            .with_metadata([(DECLARED_TYPE.to_string(), ty.to_string())].into());
        out.fields.push(Arc::new(field));
        out.types.push(LogicalType::Text);
    }
    Ok(out)
}

fn below_root<'a>(path: &'a str, found: &Found) -> &'a str {
    path.strip_prefix(found.root.as_ref()).unwrap_or(path).trim_start_matches('/')
}

/// The values of the columns in folders, by the path of a file below the table's folder.
fn folder_values(path: &str, folders: &FolderColumns) -> Result<Vec<ScalarValue>> {
    let values = values_in_path(path)?;
    folders
        .fields
        .iter()
        .zip(&folders.types)
        .map(|(field, ty)| {
            let value = values.iter().find(|(name, _)| name == field.name()).and_then(|(_, v)| v.as_deref());
            typed(value, ty, field.data_type())
        })
        .collect()
}

/// One schema for files that may have grown apart: columns by name, in order of appearance, each in the
/// smallest type that holds every file's values exactly.
pub(crate) fn union(files: &[ParquetFile], beside: &[FieldRef]) -> Result<SchemaRef> {
    let mut fields: Vec<FieldRef> = Vec::new();
    let mut counts: Vec<usize> = Vec::new();
    for file in files {
        for field in file.schema.fields() {
            if beside.iter().any(|f| f.name() == field.name()) {
                continue;
            }
            let field = read_as(field);
            let Some(at) = fields.iter().position(|f| f.name() == field.name()) else {
                fields.push(field);
                counts.push(1);
                continue;
            };
            counts[at] += 1;
            let seen = &fields[at];
            if seen.data_type() == field.data_type() && seen.metadata() == field.metadata() {
                if field.is_nullable() && !seen.is_nullable() {
                    fields[at] = field;
                }
                continue;
            }
            let nullable = seen.is_nullable() || field.is_nullable();
            let wide_dates = has_wide_dates(seen.data_type()) || has_wide_dates(field.data_type());
            let wider = LogicalType::of(seen).zip(LogicalType::of(&field)).and_then(|(a, b)| a.supertype(&b));
            match wider {
                // What of a date in milliseconds is no date, its cast must see.
                Some(LogicalType::Date) if wide_dates => {
                    fields[at] = Arc::new(Field::new(field.name(), DataType::Date64, nullable));
                }
                Some(ty) if !wide_dates => fields[at] = read_as(&ty.to_field(field.name(), nullable)),
                _ => {
                    return Err(Error::config(format!(
                        "column `{}` is {} here and {} in another file of the table",
                        field.name(),
                        field.data_type(),
                        seen.data_type()
                    ))
                    .with("path", file.object.meta.location.to_string())
                    .hint("read the files as separate tables"));
                }
            }
        }
    }
    // A column that some files lack is NULL there.
    for (field, count) in fields.iter_mut().zip(counts) {
        if count < files.len() && !field.is_nullable() {
            *field = Arc::new(field.as_ref().clone().with_nullable(true));
        }
    }
    Ok(Arc::new(Schema::new(fields)))
}

/// The columns in the files of a table that has no file.
fn manifest_schema(found: &Found, folders: &FolderColumns) -> SchemaRef {
    let columns = found.manifest.iter().flat_map(|m| &m.columns);
    let in_files = columns.filter(|c| folders.fields.iter().all(|f| *f.name() != c.name));
    Arc::new(Schema::new(in_files.map(|c| read_as(&c.ty.to_field(&c.name, c.nullable))).collect::<Fields>()))
}

/// Row groups for a person.
fn describe(row_groups: &std::ops::Range<usize>) -> String {
    match row_groups.len() {
        1 => format!("row group {}", row_groups.start),
        _ => format!("row groups {}–{}", row_groups.start, row_groups.end.saturating_sub(1)),
    }
}

/// Which row groups of which files make a split. Splits of one table are as equal as its row groups allow: an eighth
/// of the table each, but at least 2^17 and at most 2^22 rows. It depends on the files alone, not on the machine.
fn group_row_groups(files: &[ParquetFile]) -> Vec<Vec<(usize, std::ops::Range<usize>)>> {
    let total: i64 = files.iter().map(|f| f.metadata.file_metadata().num_rows()).sum();
    let target = (total / 8).clamp(1 << 17, 1 << 22);
    let mut splits: Vec<Vec<(usize, std::ops::Range<usize>)>> = Vec::new();
    let mut seen = 0;
    for (index, file) in files.iter().enumerate() {
        for i in 0..file.metadata.num_row_groups() {
            let rows = file.metadata.row_group(i).num_rows();
            // A row group belongs to the split that its middle falls into.
            if (seen + rows / 2) / target >= splits.len() as i64 {
                splits.push(Vec::new());
            }
            seen += rows;
            let Some(split) = splits.last_mut() else { continue };
            match split.last_mut() {
                Some((last, range)) if *last == index => range.end = i + 1,
                _ => split.push((index, i..i + 1)),
            }
        }
    }
    splits
}
