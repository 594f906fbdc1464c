//! Claims: what a connector says it can do, and whether that holds for one that is configured.

use transload_core::connector::{Expected, Partition, Transform, WriteMode, WriteSpec};
use transload_core::{Capability, Clock, CommitKey, Endpoint, RunId, TableName};

/// A claim of a connector: a field of [`Capability`].
#[derive(Debug, Clone, Copy)]
pub struct Claim {
    /// The name of the field.
    pub name: &'static str,
    /// What a person calls it.
    pub title: &'static str,
    /// Whether a connector makes it.
    is_made: fn(&Capability) -> bool,
    /// What a write has to be asked for that makes use of it; none if it is not about writing.
    writes: Option<fn(&mut WriteSpec)>,
}

/// All claims, in the order of [`Capability`].
pub static CLAIMS: [Claim; 8] = [
    Claim { name: "source", title: "read", is_made: |c| c.source, writes: None },
    Claim { name: "sink", title: "write", is_made: |c| c.sink, writes: Some(|_| {}) },
    Claim {
        name: "append",
        title: "append",
        is_made: |c| c.append,
        writes: Some(|spec| spec.mode = WriteMode::Append),
    },
    Claim {
        name: "overwrite",
        title: "replace",
        is_made: |c| c.overwrite,
        writes: Some(|spec| spec.mode = WriteMode::Replace),
    },
    Claim {
        name: "merge",
        title: "merge",
        is_made: |c| c.merge,
        writes: Some(|spec| {
            spec.mode = WriteMode::Merge;
            spec.key = vec!["id".to_string()];
        }),
    },
    Claim {
        name: "replace_partitions",
        title: "replace partitions",
        is_made: |c| c.replace_partitions,
        writes: Some(|spec| {
            spec.mode = WriteMode::ReplacePartitions;
            spec.partition_by = vec![by("word", Transform::Identity)];
        }),
    },
    Claim {
        name: "partitions",
        title: "partitions",
        is_made: |c| c.partitions,
        writes: Some(|spec| spec.partition_by = vec![by("word", Transform::Identity)]),
    },
    Claim { name: "discover", title: "discover", is_made: |c| c.discover, writes: None },
];

impl Claim {
    /// Whether it is about writing.
    pub fn is_about_writing(&self) -> bool {
        self.writes.is_some()
    }

    fn holds(&self, capability: &Capability, endpoint: &dyn Endpoint) -> bool {
        let allowed = self.writes.is_none_or(|asked| {
            let mut spec = spec(&TableName::new("t"), WriteMode::Append);
            asked(&mut spec);
            endpoint.check_write(&spec).is_ok()
        });
        allowed && (self.is_made)(capability)
    }
}

/// The claims that hold for a configured connector: those that it makes and that the endpoint does not refuse, as one of a
/// format that is only read refuses every write. Pure.
pub fn claims_of(capability: &Capability, endpoint: &dyn Endpoint) -> Vec<&'static Claim> {
    CLAIMS.iter().filter(|claim| claim.holds(capability, endpoint)).collect()
}

/// How a table is written, by a run of its own.
pub(crate) fn spec(table: &TableName, mode: WriteMode) -> WriteSpec {
    let commit = CommitKey::new(&RunId::new(&Clock::system()), table);
    WriteSpec { commit, mode, partition_by: Vec::new(), expected: Expected::Anything, key: Vec::new() }
}

/// A level of a layout.
pub(crate) fn by(column: &str, transform: Transform) -> Partition {
    Partition { column: column.to_string(), transform }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_of_a_capability_is_a_claim() {
        let fields = serde_json::to_value(Capability::default()).unwrap();
        let fields: Vec<&str> = fields.as_object().unwrap().keys().map(String::as_str).collect();
        let names: Vec<&str> = CLAIMS.iter().map(|claim| claim.name).collect();
        assert_eq!(names, fields);
    }
}
