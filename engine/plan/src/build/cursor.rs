//! How an incremental table goes on from where it was, and which of its rows a backfill loads.

use transload_coerce::Loss;
use transload_core::connector::{FAULT_COLUMN, ORIGIN_COLUMN, WriteMode};
use transload_core::tree::Spanned;
use transload_core::{LogicalType, Problem, Span};
use transload_spec::Mode;

use crate::backfill::{AskedRange, Backfill};
use crate::build::Table;
use crate::expr::Expressions;
use crate::plan::{CastPlan, ColumnPlan, Incremental, OnMisfit, Origin, SourceColumn};

impl Table<'_> {
    pub(super) fn incremental(
        &mut self,
        expressions: &Expressions,
        columns: &[SourceColumn],
        planned: &[ColumnPlan],
    ) -> Option<Incremental> {
        let input = self.input;
        let (mode, cursor, lookback_secs) = match &input.spec.settings.mode {
            Some(mode @ Spanned { value: Mode::Incremental { cursor, lookback_secs, .. }, .. }) => {
                (mode, cursor, lookback_secs)
            }
            other => {
                if input.backfill.is_some() {
                    let from = &input.spec.from;
                    self.say(
                        other.as_ref().map_or(from.span, |mode| mode.span),
                        format!(
                            "`{}` is not incremental, so it has no cursor by which a range could be loaded",
                            from.value
                        ),
                        "choose incremental tables with `--table`",
                    );
                }
                return None;
            }
        };
        let Some(column) = columns.iter().find(|c| c.name == *cursor) else {
            let known: Vec<&str> = columns.iter().map(|c| c.name.as_str()).collect();
            self.no_such_column(cursor, mode.span, &known);
            return None;
        };
        // The cursor is compared as it is after its cast.
        let cast = planned.iter().find_map(|c| match (&c.origin, &c.cast) {
            (Origin::Source(name), Some(cast)) if name == cursor => Some(cast),
            _ => None,
        });
        let skips = |cast: &&CastPlan| matches!(cast.on_misfit, OnMisfit::NullCounted | OnMisfit::Quarantine);
        if let Some(cast) = cast.filter(|cast| cast.loss != Loss::Exact).filter(skips) {
            let policy = cast.on_misfit.word();
            self.say(
                mode.span,
                format!("`on_misfit: {policy}` of the cursor `{cursor}` would take the same rows again in every run"),
                "without a cursor nobody can tell whether a row is new: use `on_misfit: error`",
            );
        }
        let ty = cast.map_or(&column.ty, |cast| &cast.to);
        let grows = matches!(
            ty,
            LogicalType::Int(_)
                | LogicalType::UInt(_)
                | LogicalType::Decimal(..)
                | LogicalType::Date
                | LogicalType::Timestamp(..)
        );
        if !grows {
            self.say(mode.span, format!("`{cursor}` is {ty}, which does not grow"), "use a number, date or timestamp");
        }
        let is_time = matches!(ty, LogicalType::Date | LogicalType::Timestamp(..));
        if grows && !is_time && lookback_secs.is_some_and(|secs| secs > 0) {
            self.say(
                mode.span,
                format!("`lookback_secs` goes back in time, and the cursor `{cursor}` is {ty}"),
                "use a cursor that is a date or a timestamp, or `lookback_secs: 0`",
            );
        }
        let is_read = |name: &str| columns.iter().any(|c| c.name == name);
        // What a replay reads is new, whenever it was put aside.
        if is_read(FAULT_COLUMN) && !is_read(ORIGIN_COLUMN) {
            self.say(
                mode.span,
                "`on_bad_line: quarantine` of the source would take the same bad lines again in every run",
                "nobody can tell whether a line that cannot be read is new: use `on_bad_line: error`",
            );
        }
        let before = input.state.as_ref().and_then(|(_, state)| state.cursor_column.as_ref());
        if let Some(before) = before.filter(|before| *before != cursor) {
            self.say(
                mode.span,
                format!(
                    "the rows in `{}` came by the cursor `{before}`, so how far they go says nothing of `{cursor}`",
                    input.spec.to.value
                ),
                format!("go on with `{before}`, use `mode: full`, or another `to`"),
            );
        }
        if input.has_rows_without_cursor {
            self.say(
                mode.span,
                format!(
                    "`{}` has rows that came without a cursor, and an incremental load would bring them again",
                    input.spec.to.value
                ),
                "use another `to`, or remove the table: the first incremental load brings all rows",
            );
        }
        let above = input.state.as_ref().and_then(|(_, s)| s.cursor.clone());
        let backfill = match &input.backfill {
            Some(asked) => self.backfill(asked, ty, mode.span),
            None => None,
        };
        let incremental = Incremental { cursor: cursor.clone(), above, lookback_secs: *lookback_secs, backfill };
        if let Err(reason) = expressions.is_new(&incremental) {
            self.problems.push(Problem::new(mode.span, format!("the cursor cannot be used: {reason}")));
        }
        Some(incremental)
    }

    /// The range of the cursor, whose type is `ty`, that is loaded again.
    fn backfill(&mut self, asked: &AskedRange, ty: &LogicalType, mode: Span) -> Option<Backfill> {
        if self.input.spec.settings.write() != WriteMode::Merge {
            self.say(
                mode,
                format!("a range of `{}` that is loaded again would have its rows twice", self.input.spec.from.value),
                "add `lookback_secs`, which may be 0, and a `key`: rows are merged then, if the target can do that",
            );
        }
        asked.of(ty, self.rulebook).map_err(|problems| self.problems.extend(problems)).ok()
    }
}
