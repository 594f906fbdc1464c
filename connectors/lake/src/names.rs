//! The names of files: each begins with the key of the commit that has written it.

use transload_core::{CommitKey, RunId};

/// How all names begin.
const BEGINNING: &str = "part-";

/// How the names of a commit's files begin.
pub fn prefix(key: &CommitKey) -> String {
    format!("{BEGINNING}{key}-")
}

/// How the names of the files begin that a unit of a commit writes.
pub(crate) fn prefix_of_unit(key: &CommitKey, unit: &str) -> String {
    format!("{}{unit}", prefix(key))
}

/// The commit that a file of this name is of: its key as text, and its run. `None` for a name that no commit gives.
pub fn commit_of(name: &str) -> Option<(&str, RunId)> {
    let named = name.strip_prefix(BEGINNING)?;
    // A key is the two parts of a run's name and one more.
    let (end, _) = named.match_indices('-').nth(2)?;
    let key = named.get(..end)?;
    Some((key, CommitKey::run_of(key)?))
}

#[cfg(test)]
mod tests {
    use transload_core::{Clock, TableName};

    use super::*;

    #[test]
    fn a_name_tells_its_commit_and_no_other_name_does() {
        let run = RunId::new(&Clock::system());
        let key = CommitKey::new(&run, &TableName::new("t"));
        for unit in ["000000", "whole", "a-b"] {
            let name = format!("{}-0.csv.gz", prefix_of_unit(&key, unit));
            assert_eq!(commit_of(&name), Some((key.as_str(), run.clone())));
        }
        for other in [
            key.as_str().to_string(),
            format!("part-{key}"),
            format!("part-{run}-0.parquet"),
            format!("xpart-{key}-0"),
            "part-0-0-0-0.parquet".to_string(),
            "part-00000-c1b2.snappy.parquet".to_string(),
            "part-\u{e4}-\u{e4}-\u{e4}-".to_string(),
        ] {
            assert_eq!(commit_of(&other), None, "{other}");
        }
    }
}
