//! The columns of the target: which there are, where their values come from, and what is done to them.

use std::collections::BTreeSet;

use arrow::datatypes::{Field, Schema};
use transload_coerce::{Cast, Loss, MaskKind};
use transload_core::connector::{DECLARED_TYPE, takes_hidden_name};
use transload_core::tree::Spanned;
use transload_core::types::Unit;
use transload_core::{LogicalType, Problem};
use transload_spec::Mask;
use transload_spec::file::{MetadataColumn, Misfit, OnSchemaChange};

use crate::build::Table;
use crate::expr::Expressions;
use crate::plan::{CastPlan, ColumnPlan, OnMisfit, Origin, SourceColumn};
use crate::schema_change::{Decision, SchemaChange};

/// What is wrong with `on_misfit` for a column that is not cast.
pub fn idle_misfit(column: &str, misfit: &Spanned<Misfit>) -> Option<Problem> {
    // These two choose a type, whatever it comes to.
    if matches!(misfit.value, Misfit::Widen | Misfit::Text) {
        return None;
    }
    let message = format!("`on_misfit` does nothing: `{column}` is not cast");
    Some(Problem::new(misfit.span, message).hint("remove it, or add `cast`"))
}

/// A column that the load makes.
pub(super) fn made(column: MetadataColumn) -> ColumnPlan {
    let ty = match column {
        MetadataColumn::IngestedAt => LogicalType::Timestamp(Unit::Us, Some("UTC".into())),
        MetadataColumn::SourceSystem | MetadataColumn::RunId => LogicalType::Text,
    };
    let (name, origin) = (column.name().to_string(), Origin::Metadata(column));
    ColumnPlan { name, ty, nullable: false, origin, cast: None, mask: None }
}

impl Table<'_> {
    pub(super) fn source_columns(&mut self, schema: &Schema) -> Option<Vec<SourceColumn>> {
        let mut out = Vec::with_capacity(schema.fields().len());
        let mut seen = BTreeSet::new();
        for field in schema.fields() {
            if !seen.insert(field.name()) {
                let message = format!("`{}` has two columns named `{}`", self.input.spec.from.value, field.name());
                self.say(self.input.spec.from.span, message, "rename one of them in the source");
                return None;
            }
            if takes_hidden_name(field) {
                let message = format!(
                    "column `{}` of `{}` has a name of transload's own",
                    field.name(),
                    self.input.spec.from.value
                );
                self.say(self.input.spec.from.span, message, "rename it in the source");
                return None;
            }
            match LogicalType::of(field) {
                Some(ty) => out.push(SourceColumn { name: field.name().clone(), ty, nullable: field.is_nullable() }),
                None => {
                    let message =
                        format!("column `{}` has a type that cannot be moved: {}", field.name(), field.data_type());
                    self.say(self.input.spec.from.span, message, "leave it out in the source, or ask for its type");
                    return None;
                }
            }
        }
        Some(out)
    }

    pub(super) fn named_columns_exist(&mut self, columns: &[SourceColumn]) {
        let known: Vec<&str> = columns.iter().map(|c| c.name.as_str()).collect();
        for name in &self.input.spec.own_columns {
            if !known.contains(&name.as_str()) {
                self.no_such_column(name, name.span, &known);
            }
        }
    }

    /// A source column on its way to the target; `None` if it is dropped or wrong.
    pub(super) fn column(&mut self, column: &SourceColumn, field: &Field) -> Option<ColumnPlan> {
        let settings =
            self.input.spec.settings.columns.as_ref().and_then(|c| c.get(&column.name)).cloned().unwrap_or_default();
        if settings.drop.as_ref().is_some_and(|d| d.value) {
            return None;
        }
        let declared = field.metadata().get(DECLARED_TYPE).and_then(|t| t.parse::<LogicalType>().ok());
        let span = settings.cast.as_ref().map_or(self.input.spec.from.span, |c| c.span);
        let wanted = settings.cast.as_ref().map(|c| c.value.clone()).or(declared).unwrap_or_else(|| column.ty.clone());
        let misfit = match &settings.on_misfit {
            Some(misfit) => misfit.value,
            None => match self.rulebook.on_misfit() {
                "null_counted" => Misfit::NullCounted,
                "quarantine" => Misfit::Quarantine,
                "text" => Misfit::Text,
                "widen" => Misfit::Widen,
                _ => Misfit::Error,
            },
        };
        let (to, on_misfit) = match misfit {
            Misfit::Error => (wanted, OnMisfit::Error),
            Misfit::NullCounted => (wanted, OnMisfit::NullCounted),
            Misfit::Quarantine => (wanted, OnMisfit::Quarantine),
            // Every value fits these by construction.
            Misfit::Text if self.rulebook.rule(&column.ty, &wanted) == Some(Loss::Exact) => (wanted, OnMisfit::Error),
            Misfit::Text => (LogicalType::Text, OnMisfit::Error),
            Misfit::Widen => (column.ty.supertype(&wanted).unwrap_or_else(|| column.ty.clone()), OnMisfit::Error),
        };
        let cast = if to == column.ty {
            None
        } else {
            match Cast::new(self.rulebook, &column.ty, &to) {
                Some(cast) => Some(CastPlan { from: column.ty.clone(), to: to.clone(), loss: cast.loss(), on_misfit }),
                None => {
                    let message = format!("the rulebook has no cast of `{}` from {} to {to}", column.name, column.ty);
                    self.say(span, message, format!("see rulebook {}, or use `derive`", self.rulebook.id()));
                    None
                }
            }
        };
        if let (None, Some(misfit)) = (&cast, &settings.on_misfit)
            && to == column.ty
        {
            self.problems.extend(idle_misfit(&column.name, misfit));
        }
        Some(ColumnPlan {
            name: settings.rename.as_ref().map_or(&column.name, |r| &r.value).clone(),
            ty: to,
            nullable: column.nullable || cast.is_some(),
            origin: Origin::Source(column.name.clone()),
            cast,
            mask: settings.mask.map(|m| match m.value {
                Mask::Redact => MaskKind::Redact,
                Mask::Hash => MaskKind::Hash,
                Mask::Partial => MaskKind::Partial,
            }),
        })
    }

    /// Holds the source's columns against those that the target has, if the pipeline says what shall come of it. Those that are
    /// left out go.
    pub(super) fn schema_change(&mut self, columns: &mut Vec<ColumnPlan>) -> Option<SchemaChange> {
        let input = self.input;
        let settings = &input.spec.settings;
        let setting = settings.on_schema_change.as_ref()?;
        let policy = setting.value;
        let Some(target) = &input.target else {
            return Some(SchemaChange { policy, compared: false, changes: Vec::new() });
        };
        let derived = settings.derive.iter().flat_map(|d| &d.0).map(|(name, _)| name.value.as_str());
        let made = settings.metadata_columns.iter().flat_map(|m| &m.value).map(|c| c.value.name());
        let own: Vec<&str> = derived.chain(made).collect();
        let Decision { changes, refused } = target.decide(policy, settings.write(), columns, &own);
        if !refused.is_empty() {
            let (from, to) = (&input.spec.from.value, &input.spec.to.value);
            let message =
                format!("the columns of `{from}` are not those of `{to}` in the target: {}", refused.join(", "));
            let hint = match policy {
                OnSchemaChange::Freeze => "repair the source, or say what shall happen: `evolve` or `discard_column`",
                _ => "give a column back its type with `cast`, and one that is gone values with `derive`",
            };
            self.say(setting.span, message, hint);
        }
        let change = SchemaChange { policy, compared: true, changes };
        for (from, to) in change.discarded() {
            columns.retain(|c| c.name != to);
            self.discarded.extend([from.to_string(), to.to_string()]);
        }
        Some(change)
    }

    pub(super) fn derived(
        &mut self,
        expressions: &Expressions,
        name: &Spanned<String>,
        sql: &Spanned<String>,
    ) -> Option<ColumnPlan> {
        let field = expressions.logical(sql).and_then(|e| {
            expressions.physical(&e)?;
            expressions.field(name, &e)
        });
        match field {
            Ok(field) => match LogicalType::of(&field) {
                Some(ty) => Some(ColumnPlan {
                    name: name.value.clone(),
                    ty,
                    nullable: field.is_nullable(),
                    origin: Origin::Derived(sql.value.clone()),
                    cast: None,
                    mask: None,
                }),
                None => {
                    let message =
                        format!("the expression gives values of type {}, which cannot be moved", field.data_type());
                    self.say(sql.span, message, "wrap it in a CAST");
                    None
                }
            },
            Err(reason) => {
                self.problems.push(Problem::new(sql.span, reason));
                None
            }
        }
    }

    /// Masked columns become text in the target.
    pub(super) fn masks(&mut self, columns: &mut [ColumnPlan]) {
        let input = self.input;
        let key: Vec<&str> = input.spec.settings.key.iter().flat_map(|k| &k.value).map(|k| k.value.as_str()).collect();
        for column in columns {
            let Some(mask) = column.mask else { continue };
            let Origin::Source(source) = &column.origin else { continue };
            let span = input
                .spec
                .settings
                .columns
                .as_ref()
                .and_then(|c| c.get(source)?.mask.as_ref().map(|m| m.span))
                .unwrap_or_default();
            if Cast::new(self.rulebook, &column.ty, &LogicalType::Text).is_none() {
                self.say(span, format!("values of type {} cannot be masked", column.ty), "drop the column instead");
            }
            let is_key = key.contains(&source.as_str()) || key.contains(&column.name.as_str());
            if is_key && mask != MaskKind::Hash {
                self.say(
                    span,
                    format!("this mask makes the keys in `{source}` alike"),
                    "use `hash`, which keeps them apart",
                );
            }
            column.ty = LogicalType::Text;
        }
    }

    pub(super) fn names(&mut self, columns: &[ColumnPlan]) {
        let mut seen = BTreeSet::new();
        for column in columns {
            if !seen.insert(column.name.as_str()) {
                let message = format!("two columns of `{}` would be named `{}`", self.input.spec.to.value, column.name);
                self.say(self.input.spec.from.span, message, "rename or drop one of them");
            }
        }
    }
}
