//! Tables that checks look at beside their own: how they are read, and how their values are compared.

use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use transload_coerce::{Cast, Loss, Rulebook};
use transload_core::decode::closest;
use transload_core::{Error, LogicalType, Problem};
use transload_quality::{Check, Look, Other, Place};

use crate::build::{TableInput, cast_schema, plan_table, shorten};
use crate::checks::View;
use crate::expr::Expressions;
use crate::plan::{Plan, Reference, TablePlan};

/// A table that checks look at and that is not loaded itself.
pub struct OtherInput {
    /// Where it is.
    pub place: Place,
    /// Its name there.
    pub table: String,
    /// What is known of it, or why it cannot be read.
    pub found: Result<TableInput, Error>,
}

impl OtherInput {
    /// Whether it is the table that a check looks at.
    pub fn is(&self, other: &Other<'_>) -> bool {
        self.place == other.place && self.table == other.table.value
    }
}

/// What makes the keys of a table and those of another one comparable.
#[derive(Debug, Clone)]
pub struct Comparable {
    /// Keys of both: the names of the one table, and types in which every value of both is exactly itself.
    pub schema: SchemaRef,
    /// For each column of the one table its cast to that type, if it needs one.
    pub own: Vec<Option<Cast>>,
    /// The same for the other table.
    pub other: Vec<Option<Cast>>,
}

impl Comparable {
    /// Compares columns pair by pair.
    ///
    /// # Errors
    /// A sentence, if the values of a pair cannot be compared exactly under the rulebook.
    pub fn new(own: &Schema, other: &Schema, rulebook: &Rulebook) -> Result<Self, String> {
        if own.fields().len() != other.fields().len() {
            return Err("not as many columns on both sides".to_string());
        }
        let mut comparable = Self { schema: Arc::new(Schema::empty()), own: Vec::new(), other: Vec::new() };
        let mut fields = Vec::with_capacity(own.fields().len());
        for (a, b) in own.fields().iter().zip(other.fields()) {
            let (ty, casts) = pair(a, b, rulebook)?;
            let layout = if casts[0].is_none() { a.data_type().clone() } else { ty.to_arrow() };
            fields.push(Field::new(a.name(), layout, true));
            let [cast_own, cast_other] = casts;
            comparable.own.push(cast_own);
            comparable.other.push(cast_other);
        }
        comparable.schema = Arc::new(Schema::new(fields));
        Ok(comparable)
    }
}

/// The type in which two columns are compared, and the cast of each to it. They need none if they are alike already.
fn pair(a: &Field, b: &Field, rulebook: &Rulebook) -> Result<(LogicalType, [Option<Cast>; 2]), String> {
    let unknown = |field: &Field| format!("`{}` is of a type that cannot be compared", field.name());
    let from = LogicalType::of(a).ok_or_else(|| unknown(a))?;
    let to = LogicalType::of(b).ok_or_else(|| unknown(b))?;
    if from == to && a.data_type() == b.data_type() {
        return Ok((from, [None, None]));
    }
    let exact = |ty: &LogicalType, common: &LogicalType| match ty == common {
        true => Some(Cast::layout(ty)),
        false => Cast::new(rulebook, ty, common).filter(|cast| cast.loss() == Loss::Exact),
    };
    let common = from.supertype(&to);
    match common.and_then(|ty| Some(([Some(exact(&from, &ty)?), Some(exact(&to, &ty)?)], ty))) {
        Some((casts, ty)) => Ok((ty, casts)),
        None => Err(format!(
            "`{}` is {from} and `{}` is {to}, and values of these types cannot be compared exactly",
            a.name(),
            b.name()
        )),
    }
}

impl Plan {
    /// How the other table is read that a check looks at.
    pub fn other(&self, other: &Other<'_>) -> Option<&TablePlan> {
        let name = other.table.value.as_str();
        let loaded = self.tables.iter().find(|t| other.place == Place::Pipeline && t.to.as_str() == name);
        loaded.or_else(|| self.references.iter().find(|r| r.is(other)).map(|r| &r.read))
    }
}

impl Reference {
    fn is(&self, other: &Other<'_>) -> bool {
        self.place == other.place && self.read.to.as_str() == other.table.value
    }
}

impl TablePlan {
    /// What has to be read of this table for a check of another one that looks at it; `check` is that one from the side of
    /// this table. To look for keys it is all rows, however many of them are new.
    #[must_use]
    pub fn looked_at(&self, look: Look, check: &Check) -> Self {
        let mut plan = self.clone();
        if look == Look::Missing {
            plan.incremental = None;
        }
        plan.narrowed(check)
    }
}

/// Plans how tables are read that only checks look at, and whether those checks can look at them.
pub(crate) struct Others<'a> {
    /// All tables that are loaded.
    pub(crate) tables: &'a [TableInput],
    /// Those that could be planned.
    pub(crate) planned: &'a [(&'a TableInput, TablePlan)],
    pub(crate) inputs: &'a [OtherInput],
    pub(crate) rulebook: &'a Rulebook,
    pub(crate) problems: &'a mut Vec<Problem>,
    /// What is known of those that are needed, with their columns in the source.
    read: Vec<(Reference, SchemaRef)>,
}

impl<'a> Others<'a> {
    pub(crate) fn new(
        tables: &'a [TableInput],
        planned: &'a [(&'a TableInput, TablePlan)],
        inputs: &'a [OtherInput],
        rulebook: &'a Rulebook,
        problems: &'a mut Vec<Problem>,
    ) -> Self {
        Self { tables, planned, inputs, rulebook, problems, read: Vec::new() }
    }

    /// The tables that are needed beside those that are loaded.
    pub(crate) fn plan(mut self) -> Vec<Reference> {
        let planned = self.planned;
        for (input, plan) in planned {
            for check in &plan.checks {
                if let Some(other) = check.other()
                    && let Some((read, schema)) = self.find(&other)
                {
                    self.fits(check, (plan, &input.source.schema()), &other, (&read, &schema));
                }
            }
        }
        self.read.into_iter().map(|(reference, _)| reference).collect()
    }

    /// How a table is read, and its columns in the source. If it cannot be, that has been said.
    fn find(&mut self, other: &Other<'_>) -> Option<(TablePlan, SchemaRef)> {
        let (name, span) = (other.table.value.as_str(), other.table.span);
        if other.place == Place::Pipeline && self.tables.iter().any(|t| t.spec.to.value == name) {
            let (input, plan) = self.planned.iter().find(|(_, plan)| plan.to.as_str() == name)?;
            return Some((plan.clone(), input.source.schema()));
        }
        if let Some((reference, schema)) = self.read.iter().find(|(reference, _)| reference.is(other)) {
            return Some((reference.read.clone(), Arc::clone(schema)));
        }
        let Some(input) = self.inputs.iter().find(|input| input.is(other)) else {
            let problem = Problem::new(span, format!("the pipeline has no table `{name}`"));
            self.problems.push(problem.hint("`in: source` and `in: target` look for it there"));
            return None;
        };
        match &input.found {
            Err(error) => {
                let message = format!("`{name}` cannot be looked at: {}", error.chain().join(": "));
                let hint = error.hint_text().map(str::to_string);
                self.problems.push(Problem { hint, ..Problem::new(span, message) });
                None
            }
            Ok(table) => {
                let mut read = plan_table(table, self.rulebook, self.problems)?;
                read.checks.retain(Check::quarantines);
                let schema = table.source.schema();
                let reference = Reference { place: other.place, read: read.clone() };
                self.read.push((reference, Arc::clone(&schema)));
                Some((read, schema))
            }
        }
    }

    /// Says why a check cannot look at the other table, if it cannot.
    fn fits(
        &mut self,
        check: &Check,
        own: (&TablePlan, &SchemaRef),
        other: &Other<'_>,
        theirs: (&TablePlan, &SchemaRef),
    ) {
        let table = other.table.value.as_str();
        // What is wrong with the columns of a table has been said.
        let (Some(own), Some(theirs)) = (view(own.0, own.1), view(theirs.0, theirs.1)) else { return };
        let names = theirs.names();
        let mut all_there = true;
        for column in other.check.columns().into_iter().filter(|column| !names.contains(&column.as_str())) {
            let hint = closest(column, &names).unwrap_or_else(|| format!("the columns are {}", shorten(&names)));
            self.problems
                .push(Problem::new(column.span, format!("`{table}` has no column `{}`", column.value)).hint(hint));
            all_there = false;
        }
        if !all_there || check.look() != Some(Look::Missing) {
            return;
        }
        let span = other.check.columns().first().map_or(other.table.span, |column| column.span);
        let compared = named_columns(&own, check).and_then(|own| {
            let theirs = named_columns(&theirs, &other.check).map_err(|reason| format!("{reason} in `{table}`"))?;
            Comparable::new(&own, &theirs, self.rulebook)
        });
        if let Err(reason) = compared {
            let hint = "give both columns the same type, for example with `cast`";
            self.problems.push(Problem::new(span, reason).hint(hint));
        }
    }
}

/// What checks see of a table.
fn view(plan: &TablePlan, source: &SchemaRef) -> Option<View> {
    let cast = cast_schema(source, &plan.columns)?;
    let expressions = Expressions::new(&cast).ok()?;
    View::new(&cast, &expressions, &plan.columns).ok()
}

/// The columns that a check names, as checks see them.
fn named_columns(view: &View, check: &Check) -> Result<Schema, String> {
    let pass = view.pass(std::slice::from_ref(check), 0).map_err(|wrong| {
        let reasons: Vec<String> = wrong.into_iter().map(|(_, reason)| reason).collect();
        reasons.join("; ")
    })?;
    view.schema.project(pass.columns(0)).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::DataType;
    use transload_core::Node;

    use super::*;

    fn rulebook() -> Rulebook {
        let text = serde_json::json!({
            "version": 1, "rulebook": "r", "on_misfit": "error",
            "rules": {
                "int32": { "exact": ["int64", "decimal"] },
                "int64": { "exact": ["decimal"] },
                "decimal": { "lossy": ["decimal"] },
            },
        });
        let node: Node = serde_json::from_value(text).unwrap();
        Rulebook::read(&node).unwrap()
    }

    fn schema(types: &[DataType]) -> Schema {
        let field = |(at, ty): (usize, &DataType)| Field::new(format!("c{at}"), ty.clone(), true);
        Schema::new(types.iter().enumerate().map(field).collect::<Vec<_>>())
    }

    fn compared(own: &[DataType], other: &[DataType]) -> Result<Comparable, String> {
        Comparable::new(&schema(own), &schema(other), &rulebook())
    }

    #[test]
    fn equal_types_are_compared_as_they_are() {
        let found = compared(&[DataType::Utf8View, DataType::Int64], &[DataType::Utf8View, DataType::Int64]).unwrap();
        assert!(found.own.iter().chain(&found.other).all(Option::is_none));
        assert_eq!(*found.schema.field(0).data_type(), DataType::Utf8View);
    }

    #[test]
    fn types_that_hold_both_exactly_are_found() {
        for (own, other, common) in [
            (DataType::Int32, DataType::Int64, DataType::Int64),
            (DataType::Int64, DataType::Int32, DataType::Int64),
            (DataType::Decimal128(9, 2), DataType::Int32, DataType::Decimal128(12, 2)),
            (DataType::Decimal128(9, 2), DataType::Decimal128(12, 3), DataType::Decimal128(12, 3)),
            (DataType::Utf8View, DataType::Utf8, DataType::Utf8),
            (DataType::Date64, DataType::Date32, DataType::Date32),
        ] {
            let found = compared(std::slice::from_ref(&own), std::slice::from_ref(&other)).unwrap();
            assert_eq!(*found.schema.field(0).data_type(), common, "{own} {other}");
            assert!(found.own[0].is_some() && found.other[0].is_some());
        }
    }

    #[test]
    fn what_could_be_wrong_is_refused() {
        let day = DataType::Date32;
        for (own, other) in
            [(DataType::Utf8, DataType::Int64), (day, DataType::Utf8), (DataType::Int8, DataType::Int32)]
        {
            let reason = compared(&[own], &[other]).unwrap_err();
            assert!(reason.contains("cannot be compared exactly"), "{reason}");
        }
        assert!(compared(&[DataType::Int32], &[]).is_err());
    }
}
