//! How a run is going: bars on a terminal, a JSON line every ten seconds otherwise.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use indicatif::{HumanFloatCount, MultiProgress, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use transload_core::journal::{Event, Silent};
use transload_core::{Progress, TableName};

use crate::output::Output;

/// Time between two lines where nobody watches.
const INTERVAL: Duration = Duration::from_secs(10);

/// A listener that suits the output.
pub(crate) fn listener(output: &Output) -> Arc<dyn Progress> {
    if output.quiet() {
        Arc::new(Silent)
    } else if output.watched() {
        Arc::new(Bars { all: MultiProgress::with_draw_target(ProgressDrawTarget::stderr()), tables: Mutex::default() })
    } else {
        let lines = Arc::new(Lines::default());
        let weak = Arc::downgrade(&lines);
        tokio::spawn(async move {
            let mut clock = tokio::time::interval(INTERVAL);
            clock.tick().await;
            loop {
                clock.tick().await;
                match weak.upgrade() {
                    Some(lines) => lines.print(),
                    None => break,
                }
            }
        });
        lines
    }
}

struct Bars {
    all: MultiProgress,
    tables: Mutex<BTreeMap<TableName, ProgressBar>>,
}

impl Progress for Bars {
    fn event(&self, event: Event) {
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::TableBegun { table, rows, .. } => {
                let bar = match rows {
                    Some(rows) => ProgressBar::new(rows),
                    None => ProgressBar::new_spinner(),
                };
                let template = "{prefix:24} {bar:30} {human_pos:>12} rows {rate:>14} {msg}";
                if let Ok(style) = ProgressStyle::with_template(template) {
                    bar.set_style(style.with_key("rate", |state: &ProgressState, out: &mut dyn std::fmt::Write| {
                        let _ = out.write_str(&rate(state.per_sec()));
                    }));
                }
                bar.set_prefix(table.to_string());
                tables.insert(table, self.all.add(bar));
            }
            Event::RowsRead { table, rows } => {
                if let Some(bar) = tables.get(&table) {
                    bar.inc(rows);
                }
            }
            Event::Retrying { table, error } => {
                if let Some(bar) = tables.get(&table) {
                    bar.set_message(format!("trying again: {error}"));
                }
            }
            Event::TableCommitted { table, .. } => {
                if let Some(bar) = tables.get(&table) {
                    bar.set_message("published");
                }
            }
            Event::Comparing { table } => {
                if let Some(bar) = tables.get(&table) {
                    bar.set_message("comparing");
                }
            }
            Event::Compared { table, outcome } => {
                if let Some(bar) = tables.get(&table) {
                    bar.finish_with_message(outcome.to_string());
                }
            }
        }
    }
}

/// A speed for a person; the library's own form of it has as many decimals as its column is wide.
fn rate(per_second: f64) -> String {
    format!("{:.1}/s", HumanFloatCount(per_second))
}

/// Rows per table, printed from time to time.
#[derive(Default)]
struct Lines(Mutex<BTreeMap<TableName, Line>>);

/// How one table is going.
#[derive(Default)]
struct Line {
    read: u64,
    expected: Option<u64>,
    state: &'static str,
}

impl Lines {
    fn print(&self) {
        let tables = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let rows: Vec<_> = tables
            .iter()
            .map(|(table, Line { read, expected, state })| {
                serde_json::json!({ "table": table, "read": read, "expected": expected, "state": state })
            })
            .collect();
        let line = serde_json::json!({ "event": "progress", "tables": rows });
        let _ = writeln!(std::io::stderr().lock(), "{line}");
    }
}

impl Progress for Lines {
    fn event(&self, event: Event) {
        let mut tables = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::TableBegun { table, rows, .. } => {
                tables.insert(table, Line { read: 0, expected: rows, state: "loading" });
            }
            Event::RowsRead { table, rows } => tables.entry(table).or_default().read += rows,
            Event::Retrying { table, .. } => tables.entry(table).or_default().state = "trying again",
            Event::TableCommitted { table, .. } => tables.entry(table).or_default().state = "published",
            Event::Comparing { table } => tables.entry(table).or_default().state = "comparing",
            Event::Compared { table, .. } => tables.entry(table).or_default().state = "compared",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_has_one_decimal_at_most() {
        assert_eq!(rate(12345.678), "12,345.7/s");
        assert_eq!(rate(0.26), "0.3/s");
        assert_eq!(rate(7.0), "7/s");
    }
}
