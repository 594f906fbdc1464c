//! Where the bytes of a file go that nobody shall see yet.
//!
//! Whoever writes a format writes into an [`Outgoing`] as into a file, calls [`settle`](Outgoing::settle) now and then,
//! and [`finish`](Outgoing::finish) at the end. In a folder it is a file under another name. In a bucket it is an upload
//! at the file's own place: parts are sent while the file is being written, so that no more of it is held than a few of
//! them. An upload is noted before its first part is sent, so that somebody else can give it up.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Error as IoError, IntoInnerError, Result as IoResult, Write};
use std::sync::Arc;

use bytes::Bytes;
use object_store::path::Path;
use tokio::runtime::Handle;
use tokio::sync::OnceCell;
use tokio::task::{JoinError, JoinSet};
use transload_core::store::{Local, MOST_PARTS, PART_BYTES, Staging, Store, Upload, Uploads};
use transload_core::{Error, Result, fault};

use crate::listing::below;
use crate::staging::UploadNote;

/// Parts of one file that may be on their way, or wait for their turn, while it goes on being written.
const PARTS_WAITING: usize = 4;

/// Bytes that are collected before they go into a local file.
const FILE_BUFFER: usize = 1 << 18;

/// A file that is being written.
pub(crate) struct Outgoing {
    to: To,
    bytes: u64,
}

enum To {
    File(BufWriter<File>),
    Upload(Parts),
    /// It is whole.
    Finished,
}

/// A file that is whole, and that nobody sees.
pub(crate) struct Whole {
    /// Its size.
    pub(crate) bytes: u64,
    /// What completes it, in a bucket.
    pub(crate) upload: Option<Upload>,
}

/// The parts of a file.
struct Parts {
    target: Arc<Target>,
    /// What is not sent yet: less than a part.
    rest: Vec<u8>,
    next: usize,
    sending: JoinSet<Result<(usize, String)>>,
    runtime: Handle,
    /// The marks of those that have arrived, by their numbers.
    arrived: BTreeMap<usize, String>,
}

/// The upload that parts belong to, which begins with the first one.
struct Target {
    store: Store,
    uploads: Uploads,
    /// Where the file will be.
    place: Path,
    /// Where the upload is noted.
    note: Path,
    /// The same place as the note names it: below the table's folder.
    path: String,
    id: OnceCell<String>,
}

impl Outgoing {
    /// Begins the file that will be at `path`, below the folder `table`. Until then `staged` is the file itself in a
    /// folder, and a note about it in a bucket.
    pub(crate) fn begin(store: &Store, staged: &Path, table: &Path, path: &str) -> Result<Self> {
        let to = match store.staging()? {
            Staging::Names(local) => {
                let file = local.begin(staged)?;
                fault::point("stage.created")?;
                To::File(BufWriter::with_capacity(FILE_BUFFER, file))
            }
            Staging::Uploads(uploads) => To::Upload(Parts {
                target: Arc::new(Target {
                    store: store.clone(),
                    uploads: uploads.clone(),
                    place: below(table, path)?,
                    note: staged.clone(),
                    path: path.to_string(),
                    id: OnceCell::new(),
                }),
                rest: Vec::new(),
                next: 0,
                sending: JoinSet::new(),
                runtime: Handle::try_current()
                    .map_err(|e| Error::internal("a file is written by no one").because(e))?,
                arrived: BTreeMap::new(),
            }),
        };
        Ok(Self { to, bytes: 0 })
    }

    /// Waits until so little is on its way that more may be written.
    pub(crate) async fn settle(&mut self) -> Result<()> {
        match &mut self.to {
            To::Upload(parts) => parts.wait(PARTS_WAITING).await,
            To::File(_) | To::Finished => Ok(()),
        }
    }

    /// Bytes that have been written to it.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The memory that is taken by what is not in its place yet, in bytes.
    pub(crate) fn memory(&self) -> usize {
        match &self.to {
            To::Upload(parts) => parts.rest.capacity() + parts.sending.len() * PART_BYTES,
            To::File(file) => file.capacity(),
            To::Finished => 0,
        }
    }

    /// Takes the file out of a writer that keeps it and has nothing to add.
    pub(crate) fn release(&mut self) -> Self {
        Self { to: std::mem::replace(&mut self.to, To::Finished), bytes: self.bytes }
    }

    /// Ends the file: what was written survives from now on.
    pub(crate) async fn finish(&mut self) -> Result<Whole> {
        let upload = match std::mem::replace(&mut self.to, To::Finished) {
            To::File(file) => {
                let file = file.into_inner().map_err(IntoInnerError::into_error)?;
                fault::point("stage.flushed")?;
                Local::finish(file).await?;
                None
            }
            To::Upload(parts) => Some(parts.finish().await?),
            To::Finished => return Err(Error::internal("a file is ended twice")),
        };
        Ok(Whole { bytes: self.bytes, upload })
    }
}

impl Write for Outgoing {
    fn write(&mut self, content: &[u8]) -> IoResult<usize> {
        let taken = match &mut self.to {
            To::File(file) => file.write(content)?,
            To::Upload(parts) => parts.take(content),
            To::Finished => return Err(IoError::other("a file is written that has ended")),
        };
        self.bytes += taken as u64;
        Ok(taken)
    }

    fn flush(&mut self) -> IoResult<()> {
        match &mut self.to {
            To::File(file) => file.flush(),
            // A part that is not full can only be the last one.
            To::Upload(_) | To::Finished => Ok(()),
        }
    }
}

impl Parts {
    /// Takes what fits into the part, and sends the part when it is full.
    fn take(&mut self, content: &[u8]) -> usize {
        let taken = content.len().min(PART_BYTES - self.rest.len());
        let needed = self.rest.len() + taken;
        if needed > self.rest.capacity() {
            let room = needed.max(2 * self.rest.capacity()).min(PART_BYTES);
            self.rest.reserve_exact(room - self.rest.len());
        }
        self.rest.extend_from_slice(&content[..taken]);
        if self.rest.len() == PART_BYTES {
            self.send();
        }
        taken
    }

    /// Sends what there is in the background.
    fn send(&mut self) {
        let (target, number) = (Arc::clone(&self.target), self.next);
        let content = Bytes::from(std::mem::take(&mut self.rest));
        self.next += 1;
        self.sending
            .spawn_on(async move { target.send(number, content).await.map(|mark| (number, mark)) }, &self.runtime);
    }

    /// Waits until at most so many parts are on their way.
    async fn wait(&mut self, most: usize) -> Result<()> {
        while let Some(done) = self.sending.try_join_next() {
            self.arrive(done)?;
        }
        while self.sending.len() > most {
            let Some(done) = self.sending.join_next().await else { break };
            self.arrive(done)?;
        }
        match self.next > MOST_PARTS {
            true => Err(Error::config(format!("a file is larger than {MOST_PARTS} parts of {PART_BYTES} bytes"))
                .hint("lower `file_bytes`, or the number of rows in a row group")),
            false => Ok(()),
        }
    }

    fn arrive(&mut self, done: Result<Result<(usize, String)>, JoinError>) -> Result<()> {
        let (number, mark) = done.map_err(|e| Error::internal("sending a part of a file died").because(e))??;
        self.arrived.insert(number, mark);
        Ok(())
    }

    async fn finish(mut self) -> Result<Upload> {
        if !self.rest.is_empty() || self.next == 0 {
            self.send();
        }
        self.wait(0).await?;
        fault::point("upload.whole")?;
        let id = self.target.id().await?.to_string();
        Ok(Upload { id, parts: std::mem::take(&mut self.arrived).into_values().collect() })
    }
}

impl Target {
    /// The upload, begun and noted.
    async fn id(&self) -> Result<&str> {
        Ok(self.id.get_or_try_init(|| self.begin()).await?)
    }

    async fn begin(&self) -> Result<String> {
        let id = self.uploads.begin(&self.place).await?;
        fault::point("upload.begun")?;
        let noted = UploadNote::new(&self.path, &id).write(&self.store, &self.note).await;
        if noted.is_err() {
            // Nobody else knows of it.
            let _ = self.uploads.abort(&self.place, &id).await;
        }
        noted?;
        fault::point("upload.noted")?;
        Ok(id)
    }

    async fn send(&self, number: usize, content: Bytes) -> Result<String> {
        let mark = self.uploads.send(&self.place, self.id().await?, number, content).await?;
        fault::point("upload.sent")?;
        Ok(mark)
    }
}

#[cfg(test)]
mod tests {
    use object_store::memory::InMemory;
    use transload_core::Clock;
    use transload_core::secret::NoReferences;

    use super::*;
    use crate::stage::StagedFile;
    use crate::staging::publish;

    /// A file of so many bytes that goes out in pieces, and what is left to hold of it at the worst.
    async fn written(store: &Store, size: usize) -> (StagedFile, usize) {
        let (table, staged) = (Path::from("t"), Path::from(format!("t/_transload/staging/k/u/{size}.staged")));
        let path = format!("{size}.bin");
        let mut out = Outgoing::begin(store, &staged, &table, &path).unwrap();
        let content: Vec<u8> = (0..size).map(|i| (i % 251) as u8).collect();
        let mut most = 0;
        for piece in content.chunks(3 << 20) {
            out.write_all(piece).unwrap();
            out.flush().unwrap();
            out.settle().await.unwrap();
            most = most.max(out.memory());
        }
        let Whole { bytes, upload } = out.finish().await.unwrap();
        assert!(out.write(b"more").is_err() && out.finish().await.is_err());
        (StagedFile { staged: staged.to_string(), path, rows: 0, bytes, upload }, most)
    }

    #[tokio::test]
    async fn a_file_of_any_size_arrives_whole_when_it_is_published_and_not_before() {
        let dir = tempfile::tempdir().unwrap();
        let local = Store::open(dir.path().to_str().unwrap(), true, &NoReferences).unwrap();
        let bucket = Store::over(Arc::new(InMemory::new()), "memory", Clock::system());
        for store in [local, bucket] {
            for size in [0, 1, PART_BYTES - 1, PART_BYTES, PART_BYTES + 1, 7 * PART_BYTES + 17] {
                let place = Path::from(format!("t/{size}.bin"));
                let (file, most) = written(&store, size).await;
                assert_eq!(file.bytes, size as u64);
                assert_eq!(file.upload.is_some(), !store.is_local());
                assert!(most <= (PARTS_WAITING + 1) * PART_BYTES, "{most} bytes are held");
                assert!(store.head(&place).await.unwrap().is_none(), "{store:?}: it is seen too early");
                assert!(store.head(&Path::from(file.staged.as_str())).await.unwrap().is_some(), "{store:?}: no note");
                for _ in 0..2 {
                    publish(&store, &Path::from("t"), &file).await.unwrap();
                }
                let content = store.read(&place).await.unwrap().unwrap();
                assert!(content.len() == size && content.iter().enumerate().all(|(i, b)| *b == (i % 251) as u8));
            }
        }
    }

    #[tokio::test]
    async fn what_cannot_be_sent_is_said() {
        let store = Store::over(Arc::new(InMemory::new()), "memory", Clock::system());
        let note = Path::from("t/_transload/staging/k/u/0.staged");
        assert!(store.create(&note, Bytes::from_static(b"not ours")).await.unwrap());
        let mut out = Outgoing::begin(&store, &note, &Path::from("t"), "x").unwrap();
        out.write_all(b"x").unwrap();
        assert!(out.finish().await.is_err());
    }
}
