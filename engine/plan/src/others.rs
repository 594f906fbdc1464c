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

/// What makes the keys of a table and those of others comparable.
#[derive(Debug, Clone)]
pub struct Comparable {
    /// Keys of all: the names of the one table, and types in which every value of each is exactly itself.
    pub schema: SchemaRef,
    /// For each column of the one table its cast to that type, if it needs one.
    pub own: Vec<Option<Cast>>,
    /// The same for each of the others.
    pub others: Vec<Vec<Option<Cast>>>,
}

impl Comparable {
    /// Compares columns one by one, the first of a table with the first of each other one.
    ///
    /// # Errors
    /// A sentence, if the values of such columns cannot be compared exactly under the rulebook.
    pub fn new(own: &Schema, others: &[SchemaRef], rulebook: &Rulebook) -> Result<Self, String> {
        if others.iter().any(|other| other.fields().len() != own.fields().len()) {
            return Err("not as many columns on both sides".to_string());
        }
        let mut comparable =
            Self { schema: Arc::new(Schema::empty()), own: Vec::new(), others: vec![Vec::new(); others.len()] };
        let mut fields = Vec::with_capacity(own.fields().len());
        for (at, first) in own.fields().iter().enumerate() {
            let mut alike: Vec<&Field> = vec![first.as_ref()];
            alike.extend(others.iter().map(|other| other.field(at)));
            let (ty, mut casts) = common(&alike, rulebook)?;
            let layout = if casts.iter().all(Option::is_none) { first.data_type().clone() } else { ty.to_arrow() };
            fields.push(Field::new(first.name(), layout, true));
            for (of_other, cast) in comparable.others.iter_mut().zip(casts.split_off(1)) {
                of_other.push(cast);
            }
            comparable.own.append(&mut casts);
        }
        comparable.schema = Arc::new(Schema::new(fields));
        Ok(comparable)
    }
}

/// The type in which columns are compared, and the cast of each to it. They need none if they are alike already.
fn common(fields: &[&Field], rulebook: &Rulebook) -> Result<(LogicalType, Vec<Option<Cast>>), String> {
    let logical = |field: &&Field| {
        LogicalType::of(field).ok_or_else(|| format!("`{}` is of a type that cannot be compared", field.name()))
    };
    let types: Vec<LogicalType> = fields.iter().map(logical).collect::<Result<_, _>>()?;
    let ([first, rest @ ..], [own, others @ ..]) = (types.as_slice(), fields) else {
        return Err("there is nothing to compare".to_string());
    };
    if rest.iter().all(|ty| ty == first) && others.iter().all(|field| field.data_type() == own.data_type()) {
        return Ok((first.clone(), vec![None; fields.len()]));
    }
    let exact = |ty: &LogicalType, common: &LogicalType| match ty == common {
        true => Some(Cast::layout(ty)),
        false => Cast::new(rulebook, ty, common).filter(|cast| cast.loss() == Loss::Exact),
    };
    let common = rest.iter().try_fold(first.clone(), |common, ty| common.supertype(ty));
    let casts = |common: &LogicalType| -> Option<Vec<Option<Cast>>> {
        types.iter().map(|ty| exact(ty, common).map(Some)).collect()
    };
    match common.and_then(|common| Some((casts(&common)?, common))) {
        Some((casts, ty)) => Ok((ty, casts)),
        None => {
            let said: Vec<String> =
                fields.iter().zip(&types).map(|(field, ty)| format!("`{}` is {ty}", field.name())).collect();
            Err(format!("{}, and values of these types cannot be compared exactly", said.join(" and ")))
        }
    }
}

impl Plan {
    /// How the other table is read that a check looks at, in all its parts, each with where it is. In a replay a table of
    /// the pipeline is what is in the target, and what the same replay adds to it. One that was published before others were
    /// pinned anew is looked at as it was pinned with them.
    pub fn others(&self, other: &Other<'_>) -> Vec<(Place, &TablePlan)> {
        let name = other.table.value.as_str();
        let is_replay = self.tables.iter().any(|table| table.replay.is_some());
        let place = if is_replay { by_now(other.place) } else { other.place };
        let loaded = self.tables.iter().find(|t| other.place == Place::Pipeline && t.to.as_str() == name);
        let loaded = loaded.map(|table| (Place::Pipeline, table));
        let looked_at = self.references.iter().find(|r| r.stands_for(place, name)).map(|r| (r.place, &r.read));
        match is_replay {
            true => looked_at.into_iter().chain(loaded).collect(),
            false => looked_at.or(loaded).into_iter().collect(),
        }
    }

    /// How the rows are read that were in the target's table when a replay was planned, if it looks at them.
    pub fn in_target(&self, table: &TablePlan) -> Option<&TablePlan> {
        let found = self.references.iter().find(|r| r.stands_for(Place::Target, table.to.as_str()));
        found.map(|reference| &reference.read)
    }
}

/// Where a replay finds a table: what a pipeline has loaded is in the target by then.
pub(crate) fn by_now(place: Place) -> Place {
    match place {
        Place::Pipeline | Place::Target => Place::Target,
        Place::Source => Place::Source,
    }
}

impl Reference {
    pub(crate) fn stands_for(&self, place: Place, table: &str) -> bool {
        self.place == place && self.read.to.as_str() == table
    }

    fn is(&self, other: &Other<'_>) -> bool {
        self.stands_for(other.place, &other.table.value)
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
            Comparable::new(&own, &[Arc::new(theirs)], self.rulebook)
        });
        if let Err(reason) = compared {
            let hint = "give both columns the same type, for example with `cast`";
            self.problems.push(Problem::new(span, reason).hint(hint));
        }
    }
}

/// What checks see of a table.
pub(crate) fn view(plan: &TablePlan, source: &SchemaRef) -> Option<View> {
    let cast = cast_schema(source, &plan.columns)?;
    let expressions = Expressions::new(&cast).ok()?;
    View::new(&cast, &expressions, &plan.columns).ok()
}

/// The columns that a check names, as checks see them.
///
/// # Errors
/// A sentence, if the check does not fit them.
pub(crate) fn named_columns(view: &View, check: &Check) -> Result<Schema, String> {
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
        Comparable::new(&schema(own), &[Arc::new(schema(other))], &rulebook())
    }

    #[test]
    fn equal_types_are_compared_as_they_are() {
        let found = compared(&[DataType::Utf8View, DataType::Int64], &[DataType::Utf8View, DataType::Int64]).unwrap();
        assert!(found.own.iter().chain(&found.others[0]).all(Option::is_none));
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
            assert!(found.own[0].is_some() && found.others[0][0].is_some());
        }
    }

    #[test]
    fn one_type_holds_the_values_of_several_others() {
        let all = [DataType::Int32, DataType::Decimal128(9, 2), DataType::Int64].map(|ty| Arc::new(schema(&[ty])));
        let found = Comparable::new(&all[0], &all[1..], &rulebook()).unwrap();
        assert_eq!(*found.schema.field(0).data_type(), DataType::Decimal128(21, 2));
        assert!(found.others.len() == 2 && found.own.iter().chain(found.others.iter().flatten()).all(Option::is_some));
        let texts = [DataType::Utf8View, DataType::Utf8View, DataType::Utf8].map(|ty| Arc::new(schema(&[ty])));
        let found = Comparable::new(&texts[0], &texts[1..], &rulebook()).unwrap();
        assert_eq!(*found.schema.field(0).data_type(), DataType::Utf8);
        assert!(found.own[0].is_some() && found.others.iter().all(|casts| casts[0].is_some()));
        assert!(Comparable::new(&texts[0], &[Arc::clone(&texts[1]), Arc::clone(&all[0])], &rulebook()).is_err());
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
