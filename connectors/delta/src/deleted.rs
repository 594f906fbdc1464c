//! Rows that a deletion vector takes out of a file.

use async_trait::async_trait;
use delta_kernel::actions::deletion_vector::DeletionVectorDescriptor;
use deltalake_core::kernel::{LogicalFileView, StorageType};
use deltalake_core::logstore::LogStoreRef;
use transload_core::{Error, Result};
use transload_lake::files::DeletedRows;
use url::Url;

use crate::log::{ROOT, store_error};

/// A deletion vector: where it stands, and how many rows it takes out.
#[derive(Debug)]
pub(crate) struct DeletionVector {
    log: LogStoreRef,
    descriptor: DeletionVectorDescriptor,
}

impl DeletionVector {
    /// The one that a file has.
    ///
    /// # Errors
    /// [`Config`](transload_core::ErrorKind::Config) for one that stands outside of the table's folder, or cannot be.
    pub(crate) fn of(file: &LogicalFileView, log: &LogStoreRef) -> Result<Option<Self>> {
        let Some(noted) = file.deletion_vector_descriptor() else { return Ok(None) };
        if noted.storage_type == StorageType::AbsolutePath {
            return Err(Error::config("the table has deletion vectors outside of its folder, as shallow clones have")
                .hint("make a deep clone of it"));
        }
        let descriptor = DeletionVectorDescriptor::try_from(noted).map_err(|e| damaged().because(e))?;
        Ok(Some(Self { log: LogStoreRef::clone(log), descriptor }))
    }
}

#[async_trait]
impl DeletedRows for DeletionVector {
    fn count(&self) -> u64 {
        u64::try_from(self.descriptor.cardinality).unwrap_or_default()
    }

    async fn places(&self) -> Result<Vec<u64>> {
        let storage = self.log.engine(None).storage_handler();
        let root = Url::parse(ROOT).map_err(|e| Error::internal("a fixed url is broken").because(e))?;
        let (descriptor, count) = (self.descriptor.clone(), self.count());
        let read = tokio::task::spawn_blocking(move || {
            let places = descriptor.read(storage, &root)?;
            // A few bytes can stand for more rows than there is memory for.
            Ok::<_, delta_kernel::Error>((places.len() == count).then(|| places.into_iter().collect()))
        });
        match read.await {
            Ok(Ok(places)) => places.ok_or_else(damaged),
            Ok(Err(error)) => Err(store_error(&error).unwrap_or_else(|| damaged().because(error))),
            // A damaged one can panic inside its reader.
            Err(_) => Err(damaged()),
        }
    }
}

fn damaged() -> Error {
    Error::config("a deletion vector cannot be read; it is damaged or gone")
}
