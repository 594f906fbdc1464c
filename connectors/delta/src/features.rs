//! The table features of Delta that are followed here and not by the log library, which would refuse their tables.

use delta_kernel::table_properties::TableProperties;
use deltalake_core::kernel::transaction::TableReference;
use deltalake_core::kernel::{EagerSnapshot, Metadata, Protocol};
use serde_json::Value;
use transload_core::{Error, Result};

/// Columns become wider. What was written before is read as the wider type.
pub(crate) const WIDENING: &str = "typeWidening";

/// The same before it was finished; it is read, and not written.
const WIDENING_PREVIEW: &str = "typeWidening-preview";

/// Conditions on columns, noted in the schema. A table that has one is refused for it.
const INVARIANTS: &str = "invariants";

/// A table as the log library is to judge it: without the features that are followed here.
pub(crate) struct Judged<'a> {
    snapshot: &'a EagerSnapshot,
    protocol: Protocol,
}

impl<'a> Judged<'a> {
    /// For a reader.
    pub(crate) fn reading(snapshot: &'a EagerSnapshot) -> Result<Self> {
        Self::without(snapshot, &[WIDENING, WIDENING_PREVIEW])
    }

    /// For a writer.
    pub(crate) fn writing(snapshot: &'a EagerSnapshot) -> Result<Self> {
        Self::without(snapshot, &[WIDENING, INVARIANTS])
    }

    fn without(snapshot: &'a EagerSnapshot, features: &[&str]) -> Result<Self> {
        let mut json = serde_json::to_value(snapshot.protocol()).map_err(unwritable)?;
        for list in ["readerFeatures", "writerFeatures"] {
            if let Some(names) = json.get_mut(list).and_then(Value::as_array_mut) {
                names.retain(|name| features.iter().all(|feature| name != feature));
            }
        }
        Ok(Self { snapshot, protocol: serde_json::from_value(json).map_err(unwritable)? })
    }
}

impl TableReference for Judged<'_> {
    fn config(&self) -> &TableProperties {
        self.snapshot.table_properties()
    }

    fn protocol(&self) -> &Protocol {
        &self.protocol
    }

    fn metadata(&self) -> &Metadata {
        self.snapshot.metadata()
    }

    fn eager_snapshot(&self) -> &EagerSnapshot {
        self.snapshot
    }
}

/// The protocol with more features, if it lacks one of them. Those that its versions stand for are named then.
pub(crate) fn with(protocol: &Protocol, features: &[&str]) -> Result<Option<Protocol>> {
    let mut json = serde_json::to_value(protocol).map_err(unwritable)?;
    let of_writers: &[&str] = if json["minWriterVersion"] == 2 { &["appendOnly", INVARIANTS] } else { &[] };
    let of_readers: &[&str] = &[];
    let mut is_new = false;
    for (version, wanted, list, implied) in
        [("minReaderVersion", 3, "readerFeatures", of_readers), ("minWriterVersion", 7, "writerFeatures", of_writers)]
    {
        if json[version] != wanted {
            json[version] = wanted.into();
            json[list] = implied.into();
        }
        let Some(names) = json[list].as_array_mut() else { return Err(Error::internal("a protocol has no features")) };
        for feature in features {
            if names.iter().all(|name| name != feature) {
                names.push((*feature).into());
                is_new = true;
            }
        }
    }
    match is_new {
        true => serde_json::from_value(json).map(Some).map_err(unwritable),
        false => Ok(None),
    }
}

fn unwritable(error: serde_json::Error) -> Error {
    Error::internal("a protocol cannot be written down").because(error)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn protocol(json: Value) -> Protocol {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn a_table_of_an_old_version_keeps_what_it_stands_for() {
        let old = protocol(json!({ "minReaderVersion": 1, "minWriterVersion": 2 }));
        let new = with(&old, &[WIDENING, "timestampNtz"]).unwrap().unwrap();
        assert_eq!(
            serde_json::to_value(&new).unwrap(),
            json!({
                "minReaderVersion": 3,
                "minWriterVersion": 7,
                "readerFeatures": ["typeWidening", "timestampNtz"],
                "writerFeatures": ["appendOnly", "invariants", "typeWidening", "timestampNtz"],
            })
        );
        assert!(with(&new, &[WIDENING]).unwrap().is_none());
    }

    #[test]
    fn features_that_are_there_stay() {
        let old = protocol(json!({
            "minReaderVersion": 3,
            "minWriterVersion": 7,
            "readerFeatures": ["timestampNtz"],
            "writerFeatures": ["appendOnly", "timestampNtz"],
        }));
        let new = serde_json::to_value(with(&old, &[WIDENING]).unwrap().unwrap()).unwrap();
        assert_eq!(new["readerFeatures"], json!(["timestampNtz", "typeWidening"]));
        assert_eq!(new["writerFeatures"], json!(["appendOnly", "timestampNtz", "typeWidening"]));
    }
}
