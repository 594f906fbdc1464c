//! One schema for the files of a table.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use transload_core::types::has_wide_dates;
use transload_core::{Error, LogicalType, Result};

/// One schema for files that may have grown apart: columns by name, in order of appearance, each in the
/// smallest type that holds every file's values exactly.
///
/// `beside` are the columns that are not in files, and `layout` is how those in files are held in memory.
///
/// # Errors
/// [`Config`](transload_core::ErrorKind::Config) if no type holds the values of two files.
pub(crate) fn union(
    files: &[(&str, &Schema)],
    beside: &[FieldRef],
    layout: impl Fn(&Field) -> FieldRef,
) -> Result<SchemaRef> {
    let mut fields: Vec<FieldRef> = Vec::new();
    let mut counts: Vec<usize> = Vec::new();
    for (path, schema) in files {
        for field in schema.fields() {
            if beside.iter().any(|f| f.name() == field.name()) {
                continue;
            }
            let field = layout(field);
            let Some(at) = fields.iter().position(|f| f.name() == field.name()) else {
                fields.push(field);
                counts.push(1);
                continue;
            };
            counts[at] += 1;
            let seen = &fields[at];
            if seen.data_type() == field.data_type() && seen.metadata() == field.metadata() {
                if field.is_nullable() && !seen.is_nullable() {
                    fields[at] = field;
                }
                continue;
            }
            let nullable = seen.is_nullable() || field.is_nullable();
            let wide_dates = has_wide_dates(seen.data_type()) || has_wide_dates(field.data_type());
            let wider = LogicalType::of(seen).zip(LogicalType::of(&field)).and_then(|(a, b)| a.supertype(&b));
            match wider {
                // What of a date in milliseconds is no date, its cast must see.
                Some(LogicalType::Date) if wide_dates => {
                    fields[at] = Arc::new(Field::new(field.name(), DataType::Date64, nullable));
                }
                Some(ty) if !wide_dates => fields[at] = layout(&ty.to_field(field.name(), nullable)),
                _ => {
                    return Err(Error::config(format!(
                        "column `{}` is {} here and {} in another file of the table",
                        field.name(),
                        field.data_type(),
                        seen.data_type()
                    ))
                    .with("path", *path)
                    .hint("read the files as separate tables"));
                }
            }
        }
    }
    // A column that some files lack is NULL there.
    for (field, count) in fields.iter_mut().zip(counts) {
        if count < files.len() && !field.is_nullable() {
            *field = Arc::new(field.as_ref().clone().with_nullable(true));
        }
    }
    Ok(Arc::new(Schema::new(fields)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema(columns: &[(&str, &str, bool)]) -> Schema {
        let field =
            |(name, ty, nullable): &(&str, &str, bool)| ty.parse::<LogicalType>().unwrap().to_field(name, *nullable);
        Schema::new(columns.iter().map(field).collect::<Vec<_>>())
    }

    fn united(files: &[Schema], beside: &[FieldRef]) -> Result<Vec<(String, String, bool)>> {
        let files: Vec<(&str, &Schema)> = files.iter().map(|schema| ("f", schema)).collect();
        let schema = union(&files, beside, |field| Arc::new(field.clone()))?;
        let shown = |f: &FieldRef| (f.name().clone(), LogicalType::of(f).unwrap().to_string(), f.is_nullable());
        Ok(schema.fields().iter().map(shown).collect())
    }

    #[test]
    fn columns_go_by_names_and_hold_the_values_of_every_file() {
        let files = [
            schema(&[("a", "int8", false), ("b", "decimal(5,2)", false), ("p", "text", false)]),
            schema(&[("c", "timestamp(ms, UTC)", false), ("a", "int32", false)]),
            schema(&[("b", "decimal(9,4)", false), ("a", "uint16", true), ("c", "timestamp(us, UTC)", false)]),
        ];
        let beside = [Arc::new(Field::new("p", DataType::Utf8View, true)) as FieldRef];
        let expected = [("a", "int32", true), ("b", "decimal(9,4)", true), ("c", "timestamp(us, UTC)", true)];
        let expected = expected.map(|(name, ty, nullable)| (name.to_string(), ty.to_string(), nullable));
        assert_eq!(united(&files, &beside).unwrap(), expected);
    }

    #[test]
    fn values_that_no_type_holds_are_refused() {
        for (one, other) in [("text", "int64"), ("int64", "float64"), ("list<text>", "text"), ("bool", "date")] {
            let files = [schema(&[("a", one, true)]), schema(&[("a", other, true)])];
            let error = united(&files, &[]).unwrap_err();
            assert!(
                error.to_string().contains("column `a` is") && error.hint_text().is_some(),
                "{one} {other}: {error}"
            );
        }
    }
}
