//! Plans whose tables are pinned anew: what is done with their rows stays, and only which rows those are changes.

use arrow::datatypes::{Field, Schema};
use transload_core::{Error, LogicalType, Result, Source};

use crate::plan::{Plan, Reference, SourceColumn, TablePlan};

impl Plan {
    /// The same plan with these tables, and these that checks look at, which were [pinned anew](TablePlan::pinned_anew). It
    /// has another fingerprint.
    ///
    /// # Errors
    /// [`Internal`](transload_core::ErrorKind::Internal) if it cannot be written as JSON.
    pub fn repinned(self, tables: Vec<TablePlan>, references: Vec<Reference>) -> Result<Self> {
        Self { tables, references, ..self }.seal()
    }
}

impl TablePlan {
    /// The same for the table as `source` has pinned it now.
    ///
    /// # Errors
    /// [`Config`](transload_core::ErrorKind::Config) if its columns are not exactly those that were planned.
    pub fn pinned_anew(&self, source: &dyn Source) -> Result<Self> {
        let changes = changes(&self.source_columns, &source.schema());
        if !changes.is_empty() {
            let said = changes.join(", ");
            return Err(Error::config(format!("the columns of the table are not those that were planned: {said}"))
                .hint("make a new plan"));
        }
        Ok(Self {
            pin: source.pin().clone(),
            splits: source.splits().to_vec(),
            estimated_rows: source.estimated_rows(),
            assumed: source.assumed(),
            ..self.clone()
        })
    }
}

/// How the columns of a source differ from those that were planned, a few words for each.
fn changes(planned: &[SourceColumn], found: &Schema) -> Vec<String> {
    let mut changes = Vec::new();
    for column in planned {
        let before = shown(Some(&column.ty), column.nullable);
        match found.field_with_name(&column.name).ok().map(found_as) {
            None => changes.push(format!("`{}` was dropped", column.name)),
            Some(now) if now == before => {}
            Some(now) => changes.push(format!("`{}` was {before} and is {now}", column.name)),
        }
    }
    let is_planned = |field: &Field| planned.iter().any(|column| column.name == *field.name());
    let added = found.fields().iter().filter(|field| !is_planned(field));
    changes.extend(added.map(|field| format!("`{}` was added", field.name())));
    if changes.is_empty() && found.fields().iter().map(|f| f.name()).ne(planned.iter().map(|c| &c.name)) {
        changes.push("they stand in another order".to_string());
    }
    changes
}

fn found_as(field: &Field) -> String {
    shown(LogicalType::of(field).as_ref(), field.is_nullable())
}

/// A column in a few words, which tell all types apart.
fn shown(ty: Option<&LogicalType>, nullable: bool) -> String {
    let ty = ty.map_or_else(|| "of a type that cannot be moved".to_string(), ToString::to_string);
    if nullable { ty } else { format!("{ty} not null") }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::{DataType, SchemaRef};
    use datafusion::catalog::TableProvider;
    use serde_json::json;
    use transload_core::{ErrorKind, Pin, Split};

    use super::*;

    struct Fixed {
        schema: SchemaRef,
        pin: Pin,
        splits: Vec<Split>,
    }

    impl Source for Fixed {
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
            Some(9)
        }

        fn provider(&self) -> Result<Arc<dyn TableProvider>> {
            Err(Error::internal("nobody reads this"))
        }
    }

    fn plan() -> Plan {
        let table = json!({
            "from": "t", "to": "t", "pin": { "formula": "before" },
            "splits": [{ "label": "all", "rows": 1, "bytes": null, "detail": null }],
            "source_columns": [
                { "name": "id", "type": "int32", "nullable": false },
                { "name": "note", "type": "text", "nullable": true },
            ],
            "columns": [], "filter": null, "incremental": null, "write": "replace", "expected": { "version": "4" },
            "partition_by": [], "key": [], "reconcile": { "level": "row", "hash": "xxh64" }, "estimated_rows": 1,
        });
        let plan = json!({
            "version": 1, "fingerprint": "", "pipeline": "p", "archetype": "table_copy", "rulebook": {},
            "source": { "kind": "lake", "options": {} }, "target": { "kind": "lake", "options": {} }, "tables": [table],
        });
        serde_json::from_value::<Plan>(plan).unwrap().seal().unwrap()
    }

    fn source(columns: &[(&str, DataType, bool)]) -> Fixed {
        let fields = columns.iter().map(|(name, ty, nullable)| Field::new(*name, ty.clone(), *nullable));
        let split = |rows| Split { label: "part".to_string(), rows: Some(rows), bytes: None, detail: json!(rows) };
        Fixed {
            schema: Arc::new(Schema::new(fields.collect::<Vec<_>>())),
            pin: Pin::Formula("now".to_string()),
            splits: vec![split(3), split(4)],
        }
    }

    #[test]
    fn a_table_that_is_pinned_anew_keeps_all_but_its_rows() {
        let before = plan();
        let source = source(&[("id", DataType::Int32, false), ("note", DataType::Utf8View, true)]);
        let anew = before.tables[0].pinned_anew(&source).unwrap();
        assert_eq!((&anew.pin, &anew.splits), (&source.pin, &source.splits));
        assert_eq!((anew.estimated_rows, &anew.expected), (Some(9), &before.tables[0].expected));
        let after = before.clone().repinned(vec![anew], Vec::new()).unwrap();
        assert_ne!(after.fingerprint, before.fingerprint);
        let read = Plan::from_json(&after.to_json().unwrap()).unwrap();
        assert_eq!((read.fingerprint, &read.tables[0].pin), (after.fingerprint, &source.pin));
    }

    #[test]
    fn other_columns_are_named_and_refused() {
        let (id, note) = (("id", DataType::Int32, false), ("note", DataType::Utf8, true));
        let more = ("more", DataType::Boolean, true);
        for (columns, said) in [
            (vec![id.clone(), note.clone(), more], vec!["`more` was added"]),
            (vec![note.clone()], vec!["`id` was dropped"]),
            (vec![("id", DataType::Int64, false), note.clone()], vec!["`id` was int32 not null and is int64 not null"]),
            (vec![("id", DataType::Int32, true), note.clone()], vec!["`id` was int32 not null and is int32"]),
            (vec![id.clone(), ("text", DataType::Utf8, true)], vec!["`note` was dropped", "`text` was added"]),
            (vec![note, id], vec!["they stand in another order"]),
        ] {
            let error = plan().tables[0].pinned_anew(&source(&columns)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config);
            let begins = "the columns of the table are not those that were planned: ";
            assert_eq!(error.message(), format!("{begins}{}", said.join(", ")));
        }
    }
}
