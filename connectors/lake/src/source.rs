//! A pinned table of files.

use std::sync::Arc;

use arrow::datatypes::{Field, FieldRef, Fields, Schema, SchemaRef};
use datafusion::catalog::TableProvider;
use datafusion::datasource::table_schema::TableSchema;
use futures::{StreamExt, TryStreamExt};
use transload_core::connector::{DECLARED_TYPE, Source};
use transload_core::store::Store;
use transload_core::{LogicalType, Pin, Result, Split, TableName};

use crate::closed::{ClosedFile, HeldTo, Known, Part};
use crate::csv::{self, CsvFile};
use crate::folders::{FolderColumns, below_root};
use crate::format::Format;
use crate::json::{self, JsonFile};
use crate::legacy::as_it_is_meant;
use crate::listing::{self, Found};
use crate::manifest::{Column, FileFormat, Manifest};
use crate::parquet::{ParquetFile, PinnedObject, read_as};
use crate::sample::{Estimate, Sample};
use crate::scan::{LakeTable, Piece};
use crate::settings::{ParquetReading, Settings};
use crate::splits::{Divided, splits_of};
use crate::twins::{self, Twins};
use crate::typed::{TypedFile, TypedPart};
use crate::union::union;

/// Footers read at the same time.
const CONCURRENT_FOOTERS: usize = 32;
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
    /// What is known of its files where not all footers were read.
    sampled: Option<Sampled>,
}

/// What is said of a table of which not all footers were read.
struct Sampled {
    /// About how many rows it has.
    rows: u64,
    /// What is taken for granted.
    assumed: String,
}

impl Sampled {
    fn of(parts: &[Part], estimate: Estimate) -> Self {
        let (mut read, mut rows, mut bytes) = (0_usize, 0u64, 0u64);
        for part in parts {
            match part.rows() {
                Some(own) => (read, rows) = (read + 1, rows.saturating_add(own)),
                None => bytes = bytes.saturating_add(part.object().meta.size),
            }
        }
        let all = parts.len();
        Self {
            rows: rows.saturating_add(estimate.rows(bytes)),
            assumed: format!("{read} of {all} footers were read; a file that does not fit them stops the run"),
        }
    }
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
        let folders = FolderColumns::of(found)?;
        let objects: Vec<PinnedObject> = found
            .files
            .iter()
            .map(|meta| PinnedObject { store: Arc::clone(store.objects()), meta: meta.clone() })
            .collect();
        // What transload wrote is of the format that it was written in, whatever else the connection reads.
        let texts = match &found.manifest {
            Some(manifest) => {
                let columns: Vec<&Column> = manifest.columns.iter().filter(|c| !folders.has(&c.name)).collect();
                match manifest.file_format {
                    FileFormat::Parquet => return Self::parquet(objects, folders, settings, found).await,
                    FileFormat::Avro => return Self::typed(opened(objects, TypedFile::avro).await?, folders, found),
                    FileFormat::Csv(dialect) => {
                        csv_pieces(csv::open_written(objects, dialect, &columns, &folders.as_texts(), &found.root)?)
                    }
                    FileFormat::Json => {
                        json_pieces(json::open_written(objects, &columns, &folders.as_texts(), &found.root)?)
                    }
                }
            }
            None => match settings.format {
                Format::Parquet => return Self::parquet(objects, folders, settings, found).await,
                Format::Avro => return Self::typed(opened(objects, TypedFile::avro).await?, folders, found),
                Format::Orc => {
                    let calendar = settings.orc;
                    let files = opened(objects, move |object| TypedFile::orc(object, calendar)).await?;
                    return Self::typed(files, folders, found);
                }
                Format::Csv => csv_pieces(csv::open(objects, &settings.csv, &folders.as_texts(), &found.root).await?),
                Format::Json => {
                    json_pieces(json::open(objects, &settings.json, &folders.as_texts(), &found.root).await?)
                }
            },
        };
        let (schema, pieces) = texts;
        Ok(Self::files(TableSchema::builder(schema).build(), pieces, found))
    }

    /// A table of Parquet files. Of a great many only some are opened, and the others when their rows are read.
    async fn parquet(
        objects: Vec<PinnedObject>,
        folders: FolderColumns,
        settings: &Settings,
        found: &Found,
    ) -> Result<Self> {
        let reading = settings.parquet;
        let sample = Sample { folders: folders.fields.clone(), root: found.root.clone() };
        let held_to = HeldTo::Sample(Arc::new(sample));
        let closed =
            |object| Part::Closed(ClosedFile { object, rows: None, weight: 0, reading, held_to: held_to.clone() });
        let mut parts: Vec<Part> = objects.into_iter().map(closed).collect();
        let chosen = settings.footers.chosen(&found.files);
        open_those(&mut parts, reading, |at, _| chosen.as_ref().is_none_or(|chosen| chosen.contains(&at))).await?;
        let mut said_twice = twins_among(&parts, &folders, found)?;
        if !said_twice.is_empty() {
            // A file that a condition leaves out by the name of its folder is not opened, so all have to be looked at now.
            open_those(&mut parts, reading, |_, _| true).await?;
            said_twice = twins_among(&parts, &folders, found)?;
        }
        let mut looks = futures::stream::iter(said_twice).map(twins::agree).buffered(CONCURRENT_LOOKS);
        while looks.try_next().await?.is_some() {}
        let opened: Vec<&ParquetFile> = parts.iter().filter_map(Part::opened).collect();
        let in_files = match opened.is_empty() {
            false => schema_of(opened.iter().copied(), &folders.fields)?,
            true => manifest_schema(found, &folders, read_as),
        };
        let estimate = Estimate::by(opened.iter().copied());
        let all = parts.len();
        let sampled = (opened.len() < all).then(|| Sampled::of(&parts, estimate));
        for part in &mut parts {
            if let Part::Closed(file) = part {
                file.weight = estimate.weight(file.object.meta.size, all);
            }
        }
        let known = |part: Part| {
            let values = folders.values(part.object().meta.location.as_ref(), found)?;
            Ok((part, Known { values, ..Known::default() }))
        };
        let files = parts.into_iter().map(known).collect::<Result<_>>()?;
        let beside = Fields::from(folders.fields);
        let divided = if sampled.is_some() { Divided::Sample } else { Divided::All };
        Ok(Self { sampled, ..Self::assemble(files, divided, in_files, beside, pin(found)) })
    }

    /// A table of other files that say themselves what types their columns have.
    fn typed(files: Vec<TypedFile>, folders: FolderColumns, found: &Found) -> Result<Self> {
        let path = |file: &TypedFile| file.object.meta.location.to_string();
        for file in &files {
            folders.are_not_in(&file.schema).map_err(|e| e.with("path", path(file)))?;
        }
        let as_it_is = |field: &Field| Arc::new(field.clone());
        let schemas: Vec<(&str, &Schema)> =
            files.iter().map(|file| (file.object.meta.location.as_ref(), file.schema.as_ref())).collect();
        let in_files = match files.is_empty() {
            false => as_written(&union(&schemas, &folders.fields, as_it_is)?, found.manifest.as_ref()),
            true => manifest_schema(found, &folders, as_it_is),
        };
        let mut pieces = Vec::with_capacity(files.len());
        for file in files {
            let folders = folders.values(file.object.meta.location.as_ref(), found)?;
            pieces.push(Piece::Typed(Arc::new(TypedPart { file, in_files: Arc::clone(&in_files), folders })));
        }
        let schema = TableSchema::builder(in_files).with_table_partition_cols(Fields::from(folders.fields)).build();
        Ok(Self::files(schema, pieces, found))
    }

    /// A table each of whose files is one split.
    fn files(schema: TableSchema, pieces: Vec<Piece>, found: &Found) -> Self {
        let split = |piece: &Piece| Split {
            label: piece.path().to_string(),
            rows: piece.stated_rows(),
            bytes: Some(piece.size()),
            detail: serde_json::json!([{ "path": piece.path() }]),
        };
        let splits = pieces.iter().map(split).collect();
        let pieces = pieces.into_iter().map(|piece| vec![piece]).collect();
        let table_schema = Arc::clone(schema.table_schema());
        let table = LakeTable { schema, splits: Arc::new(pieces) };
        Self { schema: table_schema, pin: pin(found), splits, table, sampled: None }
    }

    /// A table of Parquet files, each with what is known of it.
    pub(crate) fn assemble(
        files: Vec<(Part, Known)>,
        divided: Divided,
        in_files: SchemaRef,
        beside: Fields,
        pin: Pin,
    ) -> Self {
        let schema = TableSchema::builder(in_files).with_table_partition_cols(beside).build();
        let (splits, pieces) = splits_of(files, divided).into_iter().unzip();
        let table_schema = Arc::clone(schema.table_schema());
        let table = LakeTable { schema, splits: Arc::new(pieces) };
        Self { schema: table_schema, pin, splits, table, sampled: None }
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

    fn estimated_rows(&self) -> Option<u64> {
        match &self.sampled {
            Some(sampled) => Some(sampled.rows),
            None => self.splits.iter().map(|s| s.rows).sum(),
        }
    }

    fn assumed(&self) -> Option<String> {
        self.sampled.as_ref().map(|sampled| sampled.assumed.clone())
    }

    fn provider(&self) -> Result<Arc<dyn TableProvider>> {
        Ok(Arc::new(self.table.clone()))
    }
}

/// The columns that open files and their folders both have.
fn twins_among(parts: &[Part], folders: &FolderColumns, found: &Found) -> Result<Vec<Twins>> {
    let mut twins = Vec::new();
    for file in parts.iter().filter_map(Part::opened) {
        let path = below_root(file.object.meta.location.as_ref(), &found.root);
        twins.extend(Twins::of(file, path, &folders.fields)?);
    }
    Ok(twins)
}

fn pin(found: &Found) -> Pin {
    Pin::Files(found.files.iter().map(listing::pinned).collect())
}

fn csv_pieces((schema, files): (SchemaRef, Vec<CsvFile>)) -> (SchemaRef, Vec<Piece>) {
    (schema, files.into_iter().map(|file| Piece::Csv(Arc::new(file))).collect())
}

fn json_pieces((schema, files): (SchemaRef, Vec<JsonFile>)) -> (SchemaRef, Vec<Piece>) {
    (schema, files.into_iter().map(|file| Piece::Json(Arc::new(file))).collect())
}

/// Opens files that say themselves what types their columns have.
async fn opened<F: Future<Output = Result<TypedFile>>>(
    objects: Vec<PinnedObject>,
    open: impl Fn(PinnedObject) -> F,
) -> Result<Vec<TypedFile>> {
    futures::stream::iter(objects).map(open).buffered(CONCURRENT_LOOKS).try_collect().await
}

/// Opens some of the files that are not open, which are chosen by their places too.
///
/// # Errors
/// [`Config`](transload_core::ErrorKind::Config) if one is damaged, nobody can tell what its values mean, or it is not what
/// the table's log says.
pub(crate) async fn open_those(
    parts: &mut [Part],
    reading: ParquetReading,
    is_wanted: impl Fn(usize, &ClosedFile) -> bool,
) -> Result<()> {
    let wanted = |(at, part): (usize, &Part)| match part {
        Part::Closed(file) if is_wanted(at, file) => Some((at, file.object.clone())),
        Part::Open(_) | Part::Closed(_) => None,
    };
    let (places, objects): (Vec<usize>, Vec<PinnedObject>) = parts.iter().enumerate().filter_map(wanted).unzip();
    for (at, file) in places.into_iter().zip(open_files(objects, reading).await?) {
        if let Part::Closed(closed) = &parts[at] {
            closed.agrees(&file)?;
        }
        parts[at] = Part::Open(file);
    }
    Ok(())
}

/// Reads the footers of Parquet files, and what else tells the types and the meaning of their columns.
async fn open_files(objects: Vec<PinnedObject>, reading: ParquetReading) -> Result<Vec<ParquetFile>> {
    let files: Vec<ParquetFile> =
        futures::stream::iter(objects).map(ParquetFile::open).buffered(CONCURRENT_FOOTERS).try_collect().await?;
    let meant = futures::stream::iter(files).map(move |file| as_it_is_meant(file, reading));
    meant.buffered(CONCURRENT_LOOKS).try_collect().await
}

/// One schema for Parquet files; `beside` are the columns that are not in them.
///
/// # Errors
/// As [`union`].
pub(crate) fn schema_of<'a>(
    files: impl IntoIterator<Item = &'a ParquetFile>,
    beside: &[FieldRef],
) -> Result<SchemaRef> {
    let files: Vec<(&str, &Schema)> =
        files.into_iter().map(|file| (file.object.meta.location.as_ref(), file.schema.as_ref())).collect();
    union(&files, beside, read_as)
}

/// The columns in the files of a table that has no file.
fn manifest_schema(found: &Found, folders: &FolderColumns, layout: impl Fn(&Field) -> FieldRef) -> SchemaRef {
    let columns = found.manifest.iter().flat_map(|m| &m.columns).filter(|c| !folders.has(&c.name));
    Arc::new(Schema::new(columns.map(|c| layout(&c.ty.to_field(&c.name, c.nullable))).collect::<Fields>()))
}

/// The columns of files that transload wrote in a format that has not all of its types: what was written as another type
/// is declared to be what it was.
fn as_written(in_files: &SchemaRef, manifest: Option<&Manifest>) -> SchemaRef {
    let Some(manifest) = manifest else { return Arc::clone(in_files) };
    let declared = |field: &FieldRef| match manifest.columns.iter().find(|c| c.name == *field.name()) {
        Some(column) if LogicalType::of(field).as_ref() != Some(&column.ty) => {
            let mut metadata = field.metadata().clone();
            metadata.insert(DECLARED_TYPE.to_string(), column.ty.to_string());
            Arc::new(field.as_ref().clone().with_metadata(metadata))
        }
        _ => Arc::clone(field),
    };
    Arc::new(Schema::new(in_files.fields().iter().map(declared).collect::<Fields>()))
}
