//! Content-addressed artifacts.

use bytes::Bytes;
use object_store::path::Path;
use sha2::{Digest, Sha256};
use transload_core::{Error, Result};

use crate::Ledger;

impl Ledger {
    /// Keeps a text and returns its SHA-256, which is its name. Keeping it again changes nothing.
    ///
    /// # Errors
    /// As the store fails.
    pub async fn keep(&self, content: &str) -> Result<String> {
        let sha = hex(content.as_bytes());
        self.store.create(&path(&sha), Bytes::from(content.to_string())).await?;
        Ok(sha)
    }

    /// The artifact of that name, checked against it.
    ///
    /// # Errors
    /// [`Config`](transload_core::ErrorKind::Config) if there is none, or if it was changed.
    pub async fn artifact(&self, sha: &str) -> Result<String> {
        let unknown = || Error::config(format!("the ledger has no artifact {sha}"));
        if sha.len() != 64 || !sha.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(unknown());
        }
        let content = self.store.read(&path(sha)).await?.ok_or_else(unknown)?;
        if hex(&content) != sha {
            return Err(Error::config(format!("the artifact {sha} was changed after it was kept")));
        }
        String::from_utf8(content.to_vec()).map_err(|e| Error::config("an artifact is not text").because(e))
    }
}

fn path(sha: &str) -> Path {
    Path::from(format!("artifacts/sha256/{}/{sha}.json", &sha[..2]))
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}
