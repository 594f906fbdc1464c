//! The key of a table, and its layout by partition.

use transload_core::connector::{Partition, Transform as PartitionTransform};
use transload_core::{LogicalType, Span};

use crate::build::Table;
use crate::plan::{ColumnPlan, Origin};

impl Table<'_> {
    pub(super) fn key(&mut self, columns: &[ColumnPlan]) -> Vec<String> {
        let input = self.input;
        let names: Vec<_> = input.spec.settings.key.iter().flat_map(|k| &k.value).collect();
        let mut key = Vec::with_capacity(names.len());
        for name in names {
            if let Some(column) = self.find(columns, name, name.span) {
                if matches!(column.origin, Origin::Metadata(_)) {
                    self.say(
                        name.span,
                        format!("`{}` is made by the load and cannot be a key", name.value),
                        "use the source's key",
                    );
                }
                if key.contains(&column.name) {
                    self.say(name.span, format!("the key has the column `{}` twice", column.name), "keep one of them");
                }
                key.push(column.name.clone());
            }
        }
        key
    }

    pub(super) fn partition_by(&mut self, columns: &[ColumnPlan]) -> Vec<Partition> {
        let input = self.input;
        let mut out: Vec<Partition> = Vec::new();
        for level in input.spec.settings.partition_by.iter().flat_map(|p| &p.value) {
            let transform = level.value.transform();
            let Some(column) = self.find(columns, level.value.column(), level.span) else { continue };
            use LogicalType as T;
            let (fits, needs) = match transform {
                PartitionTransform::Identity => (
                    matches!(column.ty, T::Bool | T::Int(_) | T::UInt(_) | T::Text | T::Date),
                    "true/false, whole numbers, text or dates",
                ),
                PartitionTransform::Year | PartitionTransform::Month | PartitionTransform::Day => {
                    (matches!(column.ty, T::Date | T::Timestamp(..)), "dates or timestamps")
                }
                PartitionTransform::Hour => (matches!(column.ty, T::Timestamp(..)), "timestamps"),
                PartitionTransform::Bucket(_) => (true, ""),
                PartitionTransform::Truncate(_) => {
                    (matches!(column.ty, T::Int(_) | T::UInt(_) | T::Text), "whole numbers or text")
                }
            };
            if !fits {
                let message = format!("`{}` is {} and cannot be partitioned like this", column.name, column.ty);
                self.say(level.span, message, format!("this needs {needs}"));
            }
            let partition = Partition { column: column.name.clone(), transform };
            let clash = out.iter().any(|p| p.name() == partition.name())
                || (transform != PartitionTransform::Identity && columns.iter().any(|c| c.name == partition.name()));
            if clash {
                self.say(level.span, format!("the name `{}` is taken", partition.name()), "remove one of the two");
            }
            out.push(partition);
        }
        if !out.is_empty()
            && out.iter().filter(|p| p.transform == PartitionTransform::Identity).count() == columns.len()
        {
            let span = input.spec.settings.partition_by.as_ref().map_or_else(Span::default, |p| p.span);
            self.say(span, "every column is a partition, so the files would be empty", "partition by fewer columns");
        }
        out
    }
}
