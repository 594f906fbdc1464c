//! Commits in folders and buckets, and in buckets in which something goes wrong.

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};
use bytes::Bytes;
use datafusion::execution::memory_pool::UnboundedMemoryPool;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use parquet::basic::Compression;
use transload_core::connector::Expected;
use transload_core::secret::NoReferences;
use transload_core::store::{Staging, StoreOptions};
use transload_core::{Clock, CommitKey, RunId, Template};
use transload_testkit::bucket::{Broken, Bucket, Request};

use super::trouble::{Trouble, Troubled};
use super::*;
use crate::compress::Compression as Packing;
use crate::listing::below;
use crate::options::AvroCompression;
use crate::settings::{CsvDialect, ParquetWriting, WriteFormat};

/// A bucket.
fn bucket() -> Store {
    Store::over(Arc::new(Bucket::default()), "memory", Clock::system())
}

/// A load into a table of it.
fn load(store: &Store, to: &str, mode: WriteMode) -> LakeSink {
    let table = TableName::new(to);
    let commit = CommitKey::new(&RunId::new(&Clock::system()), &table);
    LakeSink {
        address: Address {
            url: Template::parse("memory").unwrap(),
            options: StoreOptions::default(),
            resolver: Arc::new(NoReferences),
        },
        opened: OnceLock::from(store.clone()),
        root: Path::from(to),
        table,
        schema: Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, true)])),
        spec: WriteSpec { commit, mode, partition_by: Vec::new(), expected: Expected::Anything, key: Vec::new() },
        writing: Writing {
            format: WriteFormat::Parquet(ParquetWriting {
                compression: Compression::UNCOMPRESSED,
                row_group_rows: 1000,
            }),
            file_bytes: 1 << 20,
        },
        written: AtomicU64::default(),
    }
}

fn memory() -> Arc<dyn MemoryPool> {
    Arc::new(UnboundedMemoryPool::default())
}

async fn commit(sink: &LakeSink) -> Result<Committed> {
    sink.commit(Vec::new(), TableState::default(), &memory()).await
}

async fn put(store: &Store, path: &str) {
    assert!(store.create(&Path::from(path), Bytes::from_static(b"x")).await.unwrap());
}

async fn files(store: &Store) -> Vec<String> {
    let all = store.list(&Path::default()).await.unwrap();
    let data = all.iter().map(|f| f.location.to_string()).filter(|f| !f.contains("/_transload/"));
    data.collect()
}

const LOOKS_LIKE_OURS: &str = "part-20240101T000000Z-0123abcd-01234567-000000-0.parquet";

#[tokio::test]
async fn a_file_that_no_commit_of_the_table_has_moved_is_never_removed() {
    let store = bucket();
    let foreign = format!("t/{LOOKS_LIKE_OURS}");
    put(&store, &foreign).await;
    let refused = load(&store, "t", WriteMode::Replace);
    let error = commit(&refused).await.unwrap_err();
    assert!(error.to_string().contains("files that transload did not write"), "{error}");
    refused.abort().await.unwrap();
    assert_eq!(files(&store).await, [foreign]);

    commit(&load(&store, "u", WriteMode::Replace)).await.unwrap();
    let beside = format!("u/x=1/{LOOKS_LIKE_OURS}");
    put(&store, &beside).await;
    for mode in [WriteMode::Replace, WriteMode::Append, WriteMode::Replace] {
        commit(&load(&store, "u", mode)).await.unwrap();
    }
    let given_up = load(&store, "u", WriteMode::Replace);
    given_up.abort().await.unwrap();
    let left = files(&store).await;
    assert!(left.contains(&beside), "{left:?}");
    assert_eq!(left.len(), 3, "{left:?}");
}

#[tokio::test]
async fn what_a_commit_that_died_has_moved_is_removed_by_the_next_one() {
    for is_begun in [false, true] {
        let store = bucket();
        if is_begun {
            commit(&load(&store, "t", WriteMode::Replace)).await.unwrap();
        }
        let died = load(&store, "t", WriteMode::Append);
        let moved = format!("part-{}-000000-0.parquet", died.spec.commit);
        Moves::of(vec![moved.clone(), "never moved".to_string()])
            .write(&store, &died.root, &died.spec.commit)
            .await
            .unwrap();
        put(&store, &format!("t/{moved}")).await;
        let next = load(&store, "t", WriteMode::Append);
        commit(&next).await.unwrap();
        let left = files(&store).await;
        assert!(!left.iter().any(|f| f.ends_with(&moved)), "{left:?}");
        assert!(Moves::all(&store, &next.root).await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn giving_up_removes_what_was_moved_and_nothing_that_is_published() {
    let store = bucket();
    let published = load(&store, "t", WriteMode::Append);
    let done = commit(&published).await.unwrap();
    published.abort().await.unwrap();
    assert_eq!(done.parts, 1);
    let before = files(&store).await;
    let given_up = load(&store, "t", WriteMode::Append);
    let mut moved: Vec<String> = before.iter().filter_map(|f| Some(f.strip_prefix("t/")?.to_string())).collect();
    moved.push("x=1/new.parquet".to_string());
    Moves::of(moved).write(&store, &given_up.root, &given_up.spec.commit).await.unwrap();
    put(&store, "t/x=1/new.parquet").await;
    given_up.abort().await.unwrap();
    assert_eq!(files(&store).await, before);
}

#[tokio::test]
async fn no_table_lies_in_the_folder_of_another() {
    let store = bucket();
    commit(&load(&store, "bronze/nation", WriteMode::Replace)).await.unwrap();
    let before = files(&store).await;
    for to in ["bronze", "bronze/nation/x", "bronze/nation/x/y"] {
        let sink = load(&store, to, WriteMode::Replace);
        for error in [sink.state().await.unwrap_err(), commit(&sink).await.unwrap_err()] {
            assert_eq!(error.kind(), ErrorKind::Config, "{error}");
            assert!(error.to_string().contains("would lie inside a table in"), "{error}");
        }
        sink.abort().await.unwrap();
        assert_eq!(files(&store).await, before, "{to}");
    }
    // What was refused stands in nobody's way.
    for to in ["bronze/nation", "bronze/nation_2", "bronze/region", "silver"] {
        let sink = load(&store, to, WriteMode::Replace);
        sink.state().await.unwrap();
        commit(&sink).await.unwrap();
    }
}

/// Stages so many units of one row.
async fn stage(sink: &LakeSink, units: i64) -> Vec<Staged> {
    let memory = memory();
    let mut staged = Vec::new();
    for unit in 0..units {
        let ids: ArrayRef = Arc::new(Int64Array::from(vec![unit]));
        let batch = RecordBatch::try_new(Arc::clone(&sink.schema), vec![ids]).unwrap();
        let rows = futures::stream::iter([Ok(batch)]);
        let rows = Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&sink.schema), rows));
        staged.push(sink.stage(&format!("{unit:06}"), rows, &memory).await.unwrap());
    }
    staged
}

/// A bucket that can be broken, and the same as a store.
fn breakable() -> (Bucket, Store) {
    let bucket = Bucket::default();
    let store = Store::over(Arc::new(bucket.clone()), "bucket", Clock::system());
    (bucket.clone(), store.with_unfinished(Arc::new(bucket)))
}

/// Another process that goes on with the same commit.
fn resumed(sink: &LakeSink, store: &Store) -> LakeSink {
    LakeSink { spec: sink.spec.clone(), ..load(store, sink.table.as_str(), sink.spec.mode) }
}

async fn left_of_staging(store: &Store) -> usize {
    store.list(&staging::folder(&Path::from("t"))).await.unwrap().len()
}

#[tokio::test]
async fn in_a_bucket_nothing_is_seen_before_the_commit_and_nothing_left_behind_it() {
    let (bucket, store) = breakable();
    let sink = load(&store, "t", WriteMode::Append);
    stage(&sink, 1).await;
    // An attempt that was not finished is given up by the next one.
    let staged = stage(&sink, 3).await;
    assert!(files(&store).await.is_empty());
    assert_eq!(bucket.open_uploads().len(), 3);
    let done = sink.commit(staged, TableState::default(), &memory()).await.unwrap();
    assert_eq!((done.rows, done.parts, files(&store).await.len()), (3, 3, 3));
    assert!(bucket.open_uploads().is_empty());
    assert_eq!(left_of_staging(&store).await, 0);
}

/// Begins an upload of a sink's as somebody does who is killed before it is noted.
async fn begin_and_die(sink: &LakeSink, store: &Store, path: &str) {
    let name = format!("{path}{}-7.parquet", names::prefix_of_unit(&sink.spec.commit, "000000"));
    let Staging::Uploads(uploads) = store.staging().unwrap() else { panic!("it is no bucket") };
    uploads.begin(&below(&sink.root, &name).unwrap()).await.unwrap();
}

#[tokio::test]
async fn an_upload_that_nobody_has_noted_is_given_up_with_its_commit_or_by_it() {
    let (bucket, store) = breakable();
    let other = load(&store, "t", WriteMode::Append);
    begin_and_die(&other, &store, "").await;
    let of_other = bucket.open_uploads();
    let sink = load(&store, "t", WriteMode::Append);
    for path in ["", "x=1/"] {
        begin_and_die(&sink, &store, path).await;
    }
    // One that cannot be given up now is left to the next who comes, and so is the note that something is left.
    let staged = stage(&sink, 2).await;
    bucket.break_one(Request::Uploads, 0, Broken::Undone);
    sink.commit(staged.clone(), TableState::default(), &memory()).await.unwrap();
    assert_eq!((bucket.open_uploads().len(), left_of_staging(&store).await > 0), (3, true));
    let done = resumed(&sink, &store).commit(staged, TableState::default(), &memory()).await.unwrap();
    assert!(done.already_done);
    assert_eq!((bucket.open_uploads(), left_of_staging(&store).await), (of_other, 0));
    assert_eq!(files(&store).await.len(), 2);

    // Of a commit that has noted nothing at all.
    let (bucket, store) = breakable();
    let sink = load(&store, "t", WriteMode::Append);
    begin_and_die(&sink, &store, "x=1/").await;
    sink.abort().await.unwrap();
    assert!(bucket.open_uploads().is_empty() && store.list(&Path::default()).await.unwrap().is_empty());
}

#[tokio::test]
async fn files_of_every_format_are_staged_as_uploads() {
    let dialect = CsvDialect { delimiter: b',', quote: b'"', header: true };
    for (format, ending) in [
        (WriteFormat::Csv(dialect, Packing::None), ".csv"),
        (WriteFormat::Csv(dialect, Packing::Gzip), ".csv.gz"),
        (WriteFormat::Json(Packing::Zstd), ".json.zst"),
        (WriteFormat::Avro(AvroCompression::Deflate), ".avro"),
    ] {
        let (bucket, store) = breakable();
        let mut sink = load(&store, "t", WriteMode::Append);
        sink.writing.format = format;
        let staged = stage(&sink, 2).await;
        assert!(files(&store).await.is_empty());
        assert_eq!(bucket.open_uploads().len(), 2, "{ending}");
        assert_eq!(sink.written(), staged.iter().map(|unit| unit.bytes).sum::<u64>(), "{ending}");
        let done = sink.commit(staged, TableState::default(), &memory()).await.unwrap();
        assert_eq!((done.rows, done.parts), (2, 2));
        let there = files(&store).await;
        assert!(there.len() == 2 && there.iter().all(|file| file.ends_with(ending)), "{there:?}");
        assert!(bucket.open_uploads().is_empty());
        // A table without rows has a file, too, however small it is.
        let mut empty = load(&store, "u", WriteMode::Append);
        empty.writing.format = sink.writing.format.clone();
        assert_eq!(commit(&empty).await.unwrap().parts, 1, "{ending}");
        assert!(files(&store).await.iter().any(|file| file.starts_with("u/") && file.ends_with(ending)));
    }
}

#[tokio::test]
async fn a_commit_that_breaks_among_its_files_is_gone_on_with_by_another_process() {
    for (broken, ends_well) in [(Broken::Undone, false), (Broken::Unheard, true)] {
        let (bucket, store) = breakable();
        let sink = load(&store, "t", WriteMode::Append);
        let staged = stage(&sink, 3).await;
        bucket.break_one(Request::Complete, 1, broken);
        let first = sink.commit(staged.clone(), TableState::default(), &memory()).await;
        assert_eq!(first.is_ok(), ends_well, "{first:?}");
        if let Err(error) = first {
            assert!(error.is_transient(), "{error:?}");
            assert!(Manifest::newest(&store, &sink.root).await.unwrap().is_none());
        }
        let done = resumed(&sink, &store).commit(staged, TableState::default(), &memory()).await.unwrap();
        assert_eq!((done.rows, done.parts, done.already_done), (3, 3, ends_well));
        assert_eq!(files(&store).await.len(), 3);
        assert!(bucket.open_uploads().is_empty());
        assert_eq!(left_of_staging(&store).await, 0);
    }
}

#[tokio::test]
async fn what_was_put_into_place_and_removed_by_another_commit_is_not_staged_any_more() {
    let (bucket, store) = breakable();
    let died = load(&store, "t", WriteMode::Append);
    let staged = stage(&died, 2).await;
    bucket.break_one(Request::Complete, 1, Broken::Undone);
    died.commit(staged.clone(), TableState::default(), &memory()).await.unwrap_err();
    let next = load(&store, "t", WriteMode::Append);
    next.commit(stage(&next, 1).await, TableState::default(), &memory()).await.unwrap();
    assert!(bucket.open_uploads().is_empty());
    for unit in &staged {
        assert!(!died.is_staged(unit).await.unwrap());
    }
    let done = died.commit(stage(&died, 2).await, TableState::default(), &memory()).await.unwrap();
    assert_eq!((done.rows, files(&store).await.len(), left_of_staging(&store).await), (2, 3, 0));
}

#[tokio::test]
async fn giving_up_leaves_no_upload_and_no_file_however_far_a_commit_has_come() {
    for complete in [0, 1] {
        let (bucket, store) = breakable();
        let sink = load(&store, "t", WriteMode::Append);
        let staged = stage(&sink, 2).await;
        bucket.break_one(Request::Complete, complete, Broken::Undone);
        sink.commit(staged, TableState::default(), &memory()).await.unwrap_err();
        // Another process, and one that is interrupted.
        bucket.break_one(Request::Abort, 0, Broken::Undone);
        let other = resumed(&sink, &store);
        assert!(other.abort().await.unwrap_err().is_transient());
        other.abort().await.unwrap();
        assert!(files(&store).await.is_empty() && bucket.open_uploads().is_empty(), "{complete}");
        assert_eq!(left_of_staging(&store).await, 0);
    }
}

#[tokio::test]
async fn what_was_staged_and_is_gone_is_not_published() {
    let (_, store) = breakable();
    let late = load(&store, "t", WriteMode::Append);
    let staged = stage(&late, 1).await;
    late.abort().await.unwrap();
    let error = resumed(&late, &store).commit(staged, TableState::default(), &memory()).await.unwrap_err();
    assert_eq!((error.kind(), error.message()), (ErrorKind::Config, "what was staged is gone"));
    assert!(Manifest::newest(&store, &late.root).await.unwrap().is_none());
}

#[tokio::test]
async fn a_commit_whose_answer_is_lost_is_looked_for() {
    for mode in [WriteMode::Replace, WriteMode::Append] {
        let (bucket, store) = Troubled::bucket();
        commit(&load(&store, "t", mode)).await.unwrap();
        bucket.set(Trouble::AnswerLost);
        let sink = load(&store, "t", mode);
        let done = commit(&sink).await.unwrap();
        assert_eq!((done.already_done, done.version.as_str()), (false, "2"));
        assert!(store.list(&sink.staging()).await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_commit_that_may_still_arrive_is_not_known_and_can_be_gone_on_with() {
    let (bucket, store) = Troubled::bucket();
    bucket.set(Trouble::RequestLost);
    let sink = load(&store, "t", WriteMode::Replace);
    assert_eq!(commit(&sink).await.unwrap_err().kind(), ErrorKind::CommitUnknown);
    assert!(!sink.is_committed().await.unwrap());
    bucket.set(Trouble::Nothing);
    let done = commit(&sink).await.unwrap();
    assert_eq!((done.already_done, done.parts), (false, 1));
    assert_eq!(files(&store).await.len(), 1);
}

#[tokio::test]
async fn a_commit_that_is_refused_is_not_published() {
    let (bucket, store) = Troubled::bucket();
    bucket.set(Trouble::Refused);
    let sink = load(&store, "t", WriteMode::Replace);
    assert_eq!(commit(&sink).await.unwrap_err().kind(), ErrorKind::Config);
    sink.abort().await.unwrap();
    assert!(files(&store).await.is_empty());
}

#[tokio::test]
async fn a_table_that_is_published_and_cannot_be_looked_at_is_said_to_be_so_until_it_can() {
    let (bucket, store) = Troubled::bucket();
    bucket.set(Trouble::Blind);
    let sink = load(&store, "t", WriteMode::Replace);
    for _ in 0..2 {
        assert_eq!(commit(&sink).await.unwrap_err().kind(), ErrorKind::CommitUnknown);
        assert!(sink.is_committed().await.unwrap());
    }
    bucket.set(Trouble::Nothing);
    let done = commit(&sink).await.unwrap();
    assert_eq!((done.already_done, done.parts), (true, 1));
}

#[tokio::test]
async fn a_file_that_no_later_commit_replaced_is_missed() {
    let store = bucket();
    let sink = load(&store, "t", WriteMode::Replace);
    let done = commit(&sink).await.unwrap();
    let file = files(&store).await.remove(0);
    store.remove(&Path::from(file.as_str())).await.unwrap();
    let error = commit(&sink).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::CommitUnknown);
    assert!(error.chain().join("\n").contains(&file), "{error:?}");
    commit(&load(&store, "t", WriteMode::Replace)).await.unwrap();
    let again = commit(&sink).await.unwrap();
    assert_eq!((again.already_done, again.version), (true, done.version));
}

#[tokio::test]
async fn what_is_staged_is_there_until_somebody_removes_it() {
    let dir = tempfile::tempdir().unwrap();
    let local = Store::open(dir.path().to_str().unwrap(), true, &NoReferences).unwrap();
    for store in [local, bucket()] {
        let sink = load(&store, "t", WriteMode::Append);
        let unit = stage(&sink, 1).await.remove(0);
        assert!(sink.is_staged(&unit).await.unwrap(), "{store:?}");
        // A commit that died may have put it into its place.
        let mut file = staged_files(unit.clone()).unwrap().remove(0);
        staging::publish(&store, &sink.root, &file).await.unwrap();
        store.remove_all(&sink.staging()).await.unwrap();
        assert!(sink.is_staged(&unit).await.unwrap(), "{store:?}");
        file.bytes += 1;
        let other = Staged { detail: serde_json::to_value([&file]).unwrap(), ..unit.clone() };
        assert!(!sink.is_staged(&other).await.unwrap(), "a file of another size is another file");
        store.remove(&below(&sink.root, &file.path).unwrap()).await.unwrap();
        assert!(!sink.is_staged(&unit).await.unwrap(), "{store:?}");
    }
}

#[tokio::test]
async fn a_lock_in_a_bucket_is_not_removed() {
    let store = bucket();
    let sink = load(&store, "t", WriteMode::Replace);
    Moves::of(Vec::new()).write(&store, &sink.root, &sink.spec.commit).await.unwrap();
    sink.abort().await.unwrap();
    let left = store.list(&Path::default()).await.unwrap();
    assert_eq!(left.iter().map(|f| f.location.as_ref()).collect::<Vec<&str>>(), ["t/_transload/lock"]);
    sink.abort().await.unwrap();
    commit(&sink).await.unwrap();
}
