//! Names of things: tables, runs, commits.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A table as its connection knows it: `orders`, `public.orders`, `flights/*.csv`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct TableName(String);

impl TableName {
    /// Takes the name as written.
    pub fn new(name: impl Into<String>) -> Self {
        Self(name.into())
    }

    /// The name as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a reader of files may take the name as a pattern, as programs for lakes do.
    pub fn is_pattern(&self) -> bool {
        self.0.contains(['*', '?', '[', '{'])
    }

    /// Whether a table of this name would lie in the folder of the other one, where names are paths.
    pub fn is_inside(&self, other: &Self) -> bool {
        self.0.strip_prefix(other.as_str()).is_some_and(|rest| rest.starts_with('/'))
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One execution of a plan: `20261121T051500Z-7f3a9c12`, so that names sort by time.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunId(String);

impl RunId {
    /// A new name from the time and eight random hexadecimal digits.
    pub fn new(clock: &crate::Clock) -> Self {
        let random = uuid::Uuid::new_v4().simple().to_string();
        Self(format!("{}-{}", clock.now().format("%Y%m%dT%H%M%SZ"), &random[..8]))
    }

    /// Reads a name a person typed. `None` unless it has exactly the form of [`RunId::new`],
    /// so that it can never be used as a path to somewhere else.
    pub fn parse(text: &str) -> Option<Self> {
        let (time, random) = text.split_once('-')?;
        let time_ok = time.len() == 16
            && time.bytes().enumerate().all(|(i, b)| match i {
                8 => b == b'T',
                15 => b == b'Z',
                _ => b.is_ascii_digit(),
            });
        let random_ok = random.len() == 8 && random.bytes().all(|b| b.is_ascii_hexdigit() && !b.is_ascii_uppercase());
        (time_ok && random_ok).then(|| Self(text.to_string()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Identifies one commit of one table for ever: committing twice under one key changes nothing the second time.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CommitKey(String);

impl CommitKey {
    /// The key of what `run` writes to `table`: the run's name and a short hash of the table's.
    pub fn new(run: &RunId, table: &TableName) -> Self {
        use sha2::{Digest, Sha256};
        let hash = Sha256::digest(table.as_str().as_bytes());
        Self(format!("{run}-{:02x}{:02x}{:02x}{:02x}", hash[0], hash[1], hash[2], hash[3]))
    }

    /// The run that a key is of, if this is the text of a key.
    pub fn run_of(text: &str) -> Option<RunId> {
        let (run, table) = text.rsplit_once('-')?;
        let is_hash = table.len() == 8 && table.bytes().all(|b| b.is_ascii_hexdigit() && !b.is_ascii_uppercase());
        RunId::parse(run).filter(|_| is_hash)
    }

    /// The key as text: letters, digits and `-` only, so it can be part of an object's name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CommitKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_inside_the_folder_of_another() {
        let inside = |a: &str, b: &str| TableName::new(a).is_inside(&TableName::new(b));
        assert!(inside("bronze/nation", "bronze") && inside("a/b/c", "a/b"));
        assert!(!inside("bronze", "bronze/nation") && !inside("bronze_2/x", "bronze") && !inside("a", "a"));
    }

    #[test]
    fn a_run_name_reads_back_and_a_path_does_not() {
        let id = RunId::new(&crate::Clock::system());
        assert_eq!(RunId::parse(id.as_str()), Some(id));
        for bad in ["", "../../etc", "20261121T051500Z", "20261121T051500Z-7F3A9C12", "20261121T051500Z-../../../"] {
            assert_eq!(RunId::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_key_tells_its_run_and_another_text_does_not() {
        let run = RunId::new(&crate::Clock::system());
        let key = CommitKey::new(&run, &TableName::new("t"));
        assert_eq!(CommitKey::run_of(key.as_str()), Some(run.clone()));
        for other in [run.as_str(), "staging", "", "20261121T051500Z-7f3a9c12-xyz", "a-b-01234567"] {
            assert_eq!(CommitKey::run_of(other), None, "{other}");
        }
    }
}
