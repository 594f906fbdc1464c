//! What the checks of a table count in one unit of work.

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::buffer::BooleanBuffer;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use serde_json::Value as Json;
use transload_core::Result;
use transload_core::clock::Ticks;
use transload_core::finding::CheckTally;

use crate::shape::shape;

/// Rows that break a rule whose values are looked at, per unit and check.
pub(crate) const LOOKED_AT: usize = 256;
/// Different shapes that are kept.
pub(crate) const SHAPES: usize = 8;
/// Values that are kept, if they were asked for.
pub(crate) const VALUES: usize = 5;

/// Counts along for a rule about the whole table.
pub(crate) trait Counter: Send {
    /// Takes in more rows: the columns of the rule.
    fn update(&mut self, columns: &[ArrayRef], rows: usize) -> Result<()>;

    /// What was counted, in a form that the rule can merge.
    fn state(&self) -> Json;
}

/// What all checks of a table count in one unit of work.
#[derive(Default)]
pub struct Tally {
    pub(crate) checks: Vec<Counted>,
    ticks: Option<Ticks>,
}

/// Tells how much time went by since it was asked last; always 0 for a tally that is not timed.
pub(crate) struct Laps {
    ticks: Option<Ticks>,
    last: u64,
}

/// What one check counts.
pub(crate) struct Counted {
    pub(crate) tally: CheckTally,
    pub(crate) counter: Option<Box<dyn Counter>>,
    show_values: bool,
    looked_at: usize,
    /// The values of its columns, in a second look.
    pub(crate) keys: Option<Vec<Vec<ArrayRef>>>,
}

impl Tally {
    /// A tally of checks.
    pub(crate) fn new(checks: Vec<Counted>) -> Self {
        Self { checks, ticks: None }
    }

    /// Also counts the time that each check takes. `ticks` is asked once for each check and batch.
    #[must_use]
    pub fn timed(mut self, ticks: Ticks) -> Self {
        self.checks.iter_mut().for_each(|counted| counted.tally.nanos = Some(0));
        self.ticks = Some(ticks);
        self
    }

    /// Time that goes by from now on.
    pub(crate) fn laps(&self) -> Laps {
        Laps { last: self.ticks.as_ref().map_or(0, |ticks| ticks()), ticks: self.ticks.clone() }
    }

    /// Takes the values of the columns of one check that needs a second look, row by row without NULL, which
    /// [`Pass::table`](crate::Pass::table) has kept since the last call. The first call only asks for them to be kept.
    pub fn take_keys(&mut self, check: usize) -> Vec<Vec<ArrayRef>> {
        self.checks.get_mut(check).and_then(|c| c.keys.replace(Vec::new())).unwrap_or_default()
    }

    /// Rows that break each rule so far, in the order of the checks; 0 for rules that are not about single rows.
    pub fn broken(&self) -> impl Iterator<Item = u64> {
        self.checks.iter().map(|counted| counted.tally.failed)
    }

    /// What was counted, in the order of the checks.
    pub fn finish(self) -> Vec<CheckTally> {
        let done = |counted: Counted| {
            let state = counted.counter.map_or(Json::Null, |c| c.state());
            CheckTally { state, ..counted.tally }
        };
        self.checks.into_iter().map(done).collect()
    }
}

impl Laps {
    /// Nanoseconds since the last call, or since the beginning.
    pub(crate) fn lap(&mut self) -> u64 {
        let Some(ticks) = &self.ticks else { return 0 };
        let now = ticks();
        now.saturating_sub(std::mem::replace(&mut self.last, now))
    }
}

impl Counted {
    /// Adds time that was spent on it, if time is counted at all.
    pub(crate) fn took(&mut self, nanos: u64) {
        if let Some(sum) = &mut self.tally.nanos {
            *sum = sum.saturating_add(nanos);
        }
    }

    pub(crate) fn new(fingerprint: &str, counter: Option<Box<dyn Counter>>, show_values: bool) -> Self {
        let tally = CheckTally { fingerprint: fingerprint.to_string(), ..CheckTally::default() };
        Self { tally, counter, show_values, looked_at: 0, keys: None }
    }

    /// Remembers how some of the rows that break the rule are built.
    pub(crate) fn note(&mut self, batch: &RecordBatch, columns: &[usize], broken: &BooleanBuffer) -> Result<()> {
        if self.looked_at >= LOOKED_AT || columns.is_empty() {
            return Ok(());
        }
        let shown = Shown::new(columns.iter().map(|c| batch.column(*c)))?;
        for row in broken.set_indices().take(LOOKED_AT - self.looked_at) {
            self.looked_at += 1;
            add_shape(&mut self.tally.shapes, shown.text(row, shape), 1);
            if self.show_values && self.tally.values.len() < VALUES {
                self.tally.values.push(shown.text(row, str::to_string));
            }
        }
        Ok(())
    }
}

/// The values of some columns as text, row by row.
pub(crate) struct Shown<'a>(Vec<(&'a ArrayRef, ArrayFormatter<'a>)>);

impl<'a> Shown<'a> {
    pub(crate) fn new(columns: impl Iterator<Item = &'a ArrayRef>) -> Result<Self> {
        let options = FormatOptions::default();
        let one = |column: &'a ArrayRef| -> Result<(&'a ArrayRef, ArrayFormatter<'a>)> {
            Ok((column, ArrayFormatter::try_new(column.as_ref(), &options)?))
        };
        Ok(Self(columns.map(one).collect::<Result<_>>()?))
    }

    /// One row, with each value that is not NULL as `of` shows it.
    pub(crate) fn text(&self, row: usize, of: impl Fn(&str) -> String) -> String {
        let one = |(array, shown): &(&ArrayRef, ArrayFormatter<'_>)| match array.is_null(row) {
            true => "NULL".to_string(),
            false => of(&shown.value(row).to_string()),
        };
        self.0.iter().map(one).collect::<Vec<_>>().join(", ")
    }
}

/// Counts a shape, while there is room for it.
pub(crate) fn add_shape(shapes: &mut Vec<(String, u64)>, shape: String, count: u64) {
    match shapes.iter().position(|(known, _)| *known == shape) {
        Some(at) => shapes[at].1 += count,
        None if shapes.len() < SHAPES => shapes.push((shape, count)),
        None => {}
    }
}
