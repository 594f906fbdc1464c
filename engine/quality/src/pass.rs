//! The checks of a table, made executable: one pass over every batch.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::compute::filter;
use arrow::datatypes::SchemaRef;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::utils::collect_columns;
use transload_core::Result;
use transload_core::finding::Action;

use crate::check::Check;
use crate::checks::expression::{condition, values};
use crate::checks::{RowTest, Setting, Work};
use crate::tally::{Counted, Tally};
use crate::values::some;

/// Reads an SQL condition over the columns that checks see.
pub type Compile<'a> = dyn Fn(&str) -> Result<Arc<dyn PhysicalExpr>, String> + 'a;

/// The checks of a table, made executable.
pub struct Pass {
    checks: Vec<Prepared>,
}

/// One of them.
struct Prepared {
    code: &'static str,
    fingerprint: String,
    /// The columns it names.
    columns: Vec<usize>,
    /// Those, and the ones its expressions read.
    reads: Vec<usize>,
    filter: Option<Arc<dyn PhysicalExpr>>,
    work: Work,
    /// Whether it is about delete markers, too.
    sees_markers: bool,
    quarantines: bool,
    has_shapes: bool,
    /// What quarantine says of a row that breaks it.
    reason: String,
}

/// Which rows a rule is not about: by each column it reads those whose value there is not known, and those it passes over.
type LeftOut<'a> = (&'a dyn Fn(usize) -> Option<BooleanBuffer>, Option<&'a BooleanBuffer>);

/// Why a row is put aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reason<'p> {
    /// Stable code of the kind of rule, such as `Q005`.
    pub code: &'p str,
    /// Identifies the rule.
    pub fingerprint: &'p str,
    /// The rule in words; never a value of the row.
    pub text: &'p str,
}

/// Rows that are to be put aside.
#[derive(Debug)]
pub struct Aside {
    /// Which they are.
    pub rows: BooleanBuffer,
    /// For each check that some of them break: its number and the rows.
    broken: Vec<(usize, BooleanBuffer)>,
}

impl Pass {
    /// Makes checks executable for rows of `schema`. `started_micros` is the start of the run, in µs since 1970 UTC.
    ///
    /// # Errors
    /// For each check that does not fit the columns its number and a sentence that says why.
    pub fn new(
        checks: &[Check],
        schema: &SchemaRef,
        started_micros: i64,
        compile: &Compile<'_>,
    ) -> Result<Self, Vec<(usize, String)>> {
        let setting = Setting { schema, started_micros, compile };
        let mut prepared = Vec::with_capacity(checks.len());
        let mut wrong = Vec::new();
        for (at, check) in checks.iter().enumerate() {
            match Prepared::new(check, &setting) {
                Ok(one) => prepared.push(one),
                Err(reason) => wrong.push((at, reason)),
            }
        }
        if wrong.is_empty() { Ok(Self { checks: prepared }) } else { Err(wrong) }
    }

    /// The same checks for rows that are merged by a key. Rules about that key look at delete markers, too; for all others
    /// these are no rows.
    #[must_use]
    pub fn merging(mut self, checks: &[Check], key: &[String]) -> Self {
        for (prepared, check) in self.checks.iter_mut().zip(checks) {
            prepared.sees_markers = check.is_about_key(key);
        }
        self
    }

    /// Whether there is nothing to check.
    pub fn is_empty(&self) -> bool {
        self.checks.is_empty()
    }

    /// The positions of the columns that a check names.
    pub fn columns(&self, check: usize) -> &[usize] {
        self.checks.get(check).map(|c| c.columns.as_slice()).unwrap_or_default()
    }

    /// The columns that checks read.
    pub fn reads(&self) -> BTreeSet<usize> {
        self.checks.iter().flat_map(|c| c.reads.iter().copied()).collect()
    }

    /// An empty tally. `show_values`: whether values that break a rule may be kept.
    pub fn tally(&self, show_values: bool) -> Tally {
        let counted = |check: &Prepared| {
            let counter = match &check.work {
                Work::Count(counter) => Some(counter()),
                Work::Rows(_) | Work::Keys | Work::Nothing => None,
            };
            Counted::new(&check.fingerprint, counter, show_values)
        };
        Tally::new(self.checks.iter().map(counted).collect())
    }

    /// Looks at every row of a batch by itself. `unsure` are the rows of which a column's value is not known, because
    /// it could not be read: no rule that reads the column is about them. `markers` are delete markers of a merge.
    ///
    /// # Errors
    /// [`Quality`](transload_core::ErrorKind::Quality) if a condition fails for a row.
    pub fn rows(
        &self,
        batch: &RecordBatch,
        unsure: &dyn Fn(usize) -> Option<BooleanBuffer>,
        markers: Option<&BooleanBuffer>,
        tally: &mut Tally,
    ) -> Result<Option<Aside>> {
        let mut aside: Option<Aside> = None;
        let mut laps = tally.laps();
        for (at, (check, counted)) in self.checks.iter().zip(&mut tally.checks).enumerate() {
            let Work::Rows(test) = &check.work else { continue };
            let passed_over = markers.filter(|_| !check.sees_markers);
            let broken = check.broken(test.as_ref(), batch, (unsure, passed_over), counted)?;
            if let Some(broken) = broken.filter(|_| check.quarantines) {
                let none = || Aside { rows: BooleanBuffer::new_unset(batch.num_rows()), broken: Vec::new() };
                let aside = aside.get_or_insert_with(none);
                aside.rows = &aside.rows | &broken;
                aside.broken.push((at, broken));
            }
            counted.took(laps.lap());
        }
        Ok(aside)
    }

    /// Why a row was put aside, one reason for each rule that it breaks.
    pub fn reasons<'p>(&'p self, aside: &'p Aside, row: usize) -> impl Iterator<Item = Reason<'p>> {
        let broken = aside.broken.iter().filter(move |(_, rows)| rows.value(row));
        let reason = |c: &'p Prepared| Reason { code: c.code, fingerprint: &c.fingerprint, text: &c.reason };
        broken.filter_map(move |(at, _)| self.checks.get(*at).map(reason))
    }

    /// Counts rows that go to the target, for rules about the table.
    ///
    /// # Errors
    /// [`Quality`](transload_core::ErrorKind::Quality) if a condition fails for a row, or a rule has to keep too much.
    pub fn table(&self, batch: &RecordBatch, tally: &mut Tally) -> Result<()> {
        self.count(batch, tally, |_| true)
    }

    /// Counts delete markers, for rules about the key of a merge.
    ///
    /// # Errors
    /// Those of [`table`](Self::table).
    pub fn markers(&self, batch: &RecordBatch, tally: &mut Tally) -> Result<()> {
        self.count(batch, tally, |check| check.sees_markers)
    }

    fn count(&self, batch: &RecordBatch, tally: &mut Tally, counts: impl Fn(&Prepared) -> bool) -> Result<()> {
        let all_sure: &dyn Fn(usize) -> Option<BooleanBuffer> = &|_| None;
        let mut laps = tally.laps();
        for (check, counted) in self.checks.iter().zip(&mut tally.checks) {
            if !counts(check) || (counted.counter.is_none() && counted.keys.is_none()) {
                continue;
            }
            let about = check.about(batch, (all_sure, None))?;
            let rows = about.as_ref().map_or(batch.num_rows(), BooleanBuffer::count_set_bits);
            counted.tally.evaluated += rows as u64;
            let columns = check.columns_of(batch, about)?;
            if let Some(counter) = &mut counted.counter {
                counter.update(&columns, rows)?;
            } else if let Some(keys) = &mut counted.keys {
                keys.push(without_null(columns)?);
            }
            counted.took(laps.lap());
        }
        Ok(())
    }
}

impl Prepared {
    fn new(check: &Check, setting: &Setting<'_>) -> Result<Self, String> {
        let definition = check.rule.definition();
        let policy = definition.policy();
        let names = definition.columns();
        let columns: Vec<usize> =
            names.iter().map(|name| setting.column(name).map(|(at, _)| at)).collect::<Result<_, _>>()?;
        let filter = policy.filter.as_ref().map(|sql| condition(setting, sql)).transpose()?;
        let mut reads: BTreeSet<usize> = columns.iter().copied().collect();
        if let Some(sql) = definition.sql() {
            reads.extend(collect_columns(&condition(setting, &sql)?).iter().map(|c| c.index()));
        }
        if let Some(filter) = &filter {
            reads.extend(collect_columns(filter).iter().map(|c| c.index()));
        }
        let about = if names.is_empty() { String::new() } else { format!("{}: ", join(&names)) };
        Ok(Self {
            code: definition.code(),
            fingerprint: check.fingerprint.clone(),
            columns,
            reads: reads.into_iter().collect(),
            filter,
            work: definition.work(setting)?,
            sees_markers: false,
            quarantines: policy.action() == Action::Quarantine,
            has_shapes: definition.has_shapes(),
            reason: format!("{}: {about}expected {}", definition.kind(), definition.expected()),
        })
    }

    /// The rows of a batch that break it, counted.
    fn broken(
        &self,
        test: &dyn RowTest,
        batch: &RecordBatch,
        left_out: LeftOut<'_>,
        counted: &mut Counted,
    ) -> Result<Option<BooleanBuffer>> {
        let about = self.about(batch, left_out)?;
        counted.tally.evaluated += about.as_ref().map_or(batch.num_rows(), BooleanBuffer::count_set_bits) as u64;
        let broken = match (test.broken(batch, about.as_ref())?, &about) {
            (Some(broken), Some(about)) => some(&broken & about),
            (broken, _) => broken,
        };
        if let Some(broken) = &broken {
            counted.tally.failed += broken.count_set_bits() as u64;
            if self.has_shapes {
                counted.note(batch, &self.columns, broken)?;
            }
        }
        Ok(broken)
    }

    /// The columns it names, in the rows it is about.
    fn columns_of(&self, batch: &RecordBatch, about: Option<BooleanBuffer>) -> Result<Vec<ArrayRef>> {
        let columns = self.columns.iter().map(|c| batch.column(*c));
        match about {
            None => Ok(columns.cloned().collect()),
            Some(about) => {
                let about = BooleanArray::new(about, None);
                columns.map(|c| Ok(filter(c, &about)?)).collect()
            }
        }
    }

    /// The rows the rule is about; all, if there is nothing that narrows them.
    fn about(&self, batch: &RecordBatch, (unsure, passed_over): LeftOut<'_>) -> Result<Option<BooleanBuffer>> {
        let mut about = match &self.filter {
            None => None,
            Some(filter) => {
                let values = values(filter, batch, None)?;
                let values = values.as_boolean();
                Some(match values.nulls() {
                    Some(nulls) => values.values() & nulls.inner(),
                    None => values.values().clone(),
                })
            }
        };
        let unsure = self.reads.iter().filter_map(|column| unsure(*column));
        for left_out in unsure.chain(passed_over.cloned()) {
            let others = !&left_out;
            about = Some(about.map_or_else(|| others.clone(), |about| &about & &others));
        }
        Ok(about)
    }
}

/// Rows in which no column is NULL.
fn without_null(columns: Vec<ArrayRef>) -> Result<Vec<ArrayRef>> {
    let nulls = columns
        .iter()
        .fold(None, |all: Option<NullBuffer>, c| NullBuffer::union(all.as_ref(), c.logical_nulls().as_ref()));
    match nulls.filter(|n| n.null_count() > 0) {
        None => Ok(columns),
        Some(nulls) => {
            let there = BooleanArray::new(nulls.into_inner(), None);
            columns.iter().map(|c| Ok(filter(c, &there)?)).collect()
        }
    }
}

fn join(names: &[&transload_core::tree::Spanned<String>]) -> String {
    names.iter().map(|n| n.value.as_str()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use arrow::array::Int64Array;

    use super::*;
    use crate::check::Rule;

    #[test]
    fn only_rules_about_the_key_of_a_merge_look_at_delete_markers() {
        let checks =
            [r#"{"not_null":{"columns":["a"]}}"#, r#"{"not_null":{"columns":["b"]}}"#, r#"{"row_count":{"min":1}}"#]
                .map(|json| Check::new(serde_json::from_str::<Rule>(json).unwrap()).unwrap());
        let column = |values: [Option<i64>; 3]| Arc::new(Int64Array::from(values.to_vec())) as ArrayRef;
        // The last two rows are delete markers; one has no key, and neither has another value.
        let columns = [("a", column([Some(1), Some(2), None])), ("b", column([Some(1), None, None]))];
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let markers = BooleanBuffer::from(vec![false, true, true]);
        let pass = Pass::new(&checks, &batch.schema(), 0, &|_| Err(String::new())).unwrap();
        let pass = pass.merging(&checks, &["a".to_string()]);
        let mut tally = pass.tally(false);
        assert!(pass.rows(&batch, &|_| None, Some(&markers), &mut tally).unwrap().is_none());
        pass.table(&batch.slice(0, 1), &mut tally).unwrap();
        pass.markers(&batch.slice(1, 2), &mut tally).unwrap();
        let counted: Vec<(u64, u64)> = tally.finish().into_iter().map(|t| (t.evaluated, t.failed)).collect();
        assert_eq!(counted, [(3, 1), (1, 0), (1, 0)]);
    }

    #[test]
    fn the_time_of_each_check_costs_one_question() {
        let checks =
            [r#"{"range":{"column":"a","min":0}}"#, r#"{"row_count":{"min":1}}"#, r#"{"not_null":{"columns":["a"]}}"#]
                .map(|json| Check::new(serde_json::from_str::<Rule>(json).unwrap()).unwrap());
        let batch = RecordBatch::try_from_iter([("a", Arc::new(Int64Array::from(vec![1, -1])) as ArrayRef)]).unwrap();
        let pass = Pass::new(&checks, &batch.schema(), 0, &|_| Err(String::new())).unwrap();
        let asked = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&asked);
        let mut tally = pass.tally(false).timed(Arc::new(move || 7 * counted.fetch_add(1, Ordering::Relaxed)));
        pass.rows(&batch, &|_| None, None, &mut tally).unwrap();
        pass.table(&batch, &mut tally).unwrap();
        let nanos: Vec<Option<u64>> = tally.finish().into_iter().map(|t| t.nanos).collect();
        assert_eq!(nanos, [Some(7); 3]);
        // Once before each pass, then once for each of its checks.
        assert_eq!(asked.load(Ordering::Relaxed), 2 + 3);
        let untimed = pass.tally(false).finish();
        assert!(untimed.iter().all(|t| t.nanos.is_none()));
    }
}
