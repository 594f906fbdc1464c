//! How a run is going: bars on a terminal, a JSON line every ten seconds otherwise.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{
    HumanBytes, HumanDuration, HumanFloatCount, MultiProgress, ProgressBar, ProgressDrawTarget, ProgressState,
    ProgressStyle,
};
use serde_json::{Value as Json, json};
use transload_core::journal::{BrokenRule, Event, Silent};
use transload_core::{Progress, TableName};

use crate::output::Output;

/// Time between two lines where nobody watches.
const INTERVAL: Duration = Duration::from_secs(10);

/// A listener that suits the output.
pub(crate) fn listener(output: &Output) -> Arc<dyn Progress> {
    if output.quiet() {
        Arc::new(Silent)
    } else if output.watched() {
        Arc::new(Bars { all: MultiProgress::with_draw_target(ProgressDrawTarget::stderr()), shown: Mutex::default() })
    } else {
        let lines = Arc::new(Lines::default());
        let (weak, begun) = (Arc::downgrade(&lines), Instant::now());
        tokio::spawn(async move {
            let mut clock = tokio::time::interval(INTERVAL);
            clock.tick().await;
            loop {
                clock.tick().await;
                match weak.upgrade() {
                    Some(lines) => {
                        let _ = writeln!(std::io::stderr().lock(), "{}", lines.line(begun.elapsed()));
                    }
                    None => break,
                }
            }
        });
        lines
    }
}

/// How the tables are going, as far as this process knows.
#[derive(Default)]
struct Tables(BTreeMap<TableName, Line>);

/// How one table is going.
#[derive(Default)]
struct Line {
    read: u64,
    expected: Option<u64>,
    /// Size of what is staged, in bytes.
    bytes: u64,
    state: &'static str,
    /// More about the state.
    note: String,
    /// Whether it is published or compared.
    done: bool,
    /// Rows that break a rule, by the number of the check.
    broken: BTreeMap<usize, (String, u64)>,
    /// Checks that were judged and failed.
    failed: Vec<String>,
}

impl Tables {
    /// Takes in what happened, and returns the table that it happened to.
    fn hear(&mut self, event: Event) -> (TableName, &Line) {
        let (Event::TableBegun { table, .. }
        | Event::RowsRead { table, .. }
        | Event::Retrying { table, .. }
        | Event::UnitStaged { table, .. }
        | Event::CheckFailed { table, .. }
        | Event::TableCommitted { table, .. }
        | Event::Comparing { table }
        | Event::Compared { table, .. }) = &event;
        let table = table.clone();
        let line = self.0.entry(table.clone()).or_default();
        line.hear(event);
        (table, &*line)
    }
}

impl Line {
    fn hear(&mut self, event: Event) {
        match event {
            Event::TableBegun { rows, .. } => *self = Self { expected: rows, state: "loading", ..Self::default() },
            Event::RowsRead { rows, .. } => self.read += rows,
            Event::Retrying { error, .. } => self.is_now("trying again", error),
            Event::UnitStaged { bytes, broken, .. } => {
                self.bytes += bytes;
                for BrokenRule { number, check, rows } in broken {
                    self.broken.entry(number).or_insert((check, 0)).1 += rows;
                }
            }
            Event::CheckFailed { check, .. } => self.failed.push(check),
            Event::TableCommitted { .. } => {
                self.is_now("published", String::new());
                self.done = true;
            }
            Event::Comparing { .. } => self.is_now("comparing", String::new()),
            Event::Compared { outcome, .. } => {
                self.is_now("compared", outcome.to_string());
                self.done = true;
            }
        }
    }

    fn is_now(&mut self, state: &'static str, note: String) {
        (self.state, self.note) = (state, note);
    }

    /// What stands behind the bar. Checks that failed come before what is only broken so far.
    fn message(&self) -> String {
        let mut parts: Vec<String> = match (self.state, self.note.is_empty()) {
            ("loading" | "", _) => Vec::new(),
            (state, true) => vec![state.to_string()],
            (state, false) => vec![format!("{state}: {}", self.note)],
        };
        parts.extend(self.failed.iter().map(|check| format!("{check} failed")));
        let only_broken = self.broken.values().filter(|(check, _)| !self.failed.contains(check));
        parts.extend(only_broken.map(|(check, rows)| format!("{check}: {rows} rows")));
        if self.bytes > 0 {
            parts.push(HumanBytes(self.bytes).to_string());
        }
        parts.join(", ")
    }

    fn json(&self, table: &TableName) -> Json {
        let broken: Vec<Json> =
            self.broken.values().map(|(check, rows)| json!({ "check": check, "rows": rows })).collect();
        json!({
            "table": table, "read": self.read, "expected": self.expected, "bytes": self.bytes, "state": self.state,
            "broken": broken, "failed": self.failed,
        })
    }
}

struct Bars {
    all: MultiProgress,
    shown: Mutex<(Tables, BTreeMap<TableName, ProgressBar>)>,
}

impl Bars {
    /// A bar for a table, or something that moves if its rows are not known.
    fn bar(&self, table: &TableName, rows: Option<u64>) -> ProgressBar {
        let bar = match rows {
            Some(rows) => ProgressBar::new(rows),
            None => ProgressBar::new_spinner(),
        };
        let template = "{prefix:24} {bar:30} {human_pos:>12} rows {rate:>14} {left:>9} {wide_msg}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            let style = style.with_key("rate", |state: &ProgressState, out: &mut dyn std::fmt::Write| {
                let _ = out.write_str(&rate(state.per_sec()));
            });
            bar.set_style(style.with_key("left", |state: &ProgressState, out: &mut dyn std::fmt::Write| {
                if state.len().is_some_and(|rows| state.pos() < rows) {
                    let _ = write!(out, "{:#} left", HumanDuration(state.eta()));
                }
            }));
        }
        bar.set_prefix(table.to_string());
        self.all.add(bar)
    }
}

impl Progress for Bars {
    fn event(&self, event: Event) {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        let (tables, bars) = &mut *shown;
        if let Event::TableBegun { table, rows, .. } = &event {
            bars.insert(table.clone(), self.bar(table, *rows));
        }
        let (only_rows, is_last) = (matches!(event, Event::RowsRead { .. }), matches!(event, Event::Compared { .. }));
        let (table, line) = tables.hear(event);
        let Some(bar) = bars.get(&table) else { return };
        match (only_rows, is_last) {
            (true, _) => bar.set_position(line.read),
            (_, true) => bar.finish_with_message(line.message()),
            _ => bar.set_message(line.message()),
        }
    }
}

/// A speed for a person; the library's own form of it has as many decimals as its column is wide.
fn rate(per_second: f64) -> String {
    format!("{:.1}/s", HumanFloatCount(per_second))
}

/// Everything about all tables, told from time to time.
#[derive(Default)]
struct Lines(Mutex<(Tables, Told)>);

/// What the line before said.
#[derive(Default)]
struct Told {
    at: Duration,
    rows: u64,
}

impl Lines {
    /// The line that is due at a time after the beginning. The rate is that since the line before.
    fn line(&self, at: Duration) -> Json {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (Tables(tables), told) = &mut *state;
        let lines: Vec<Json> = tables.iter().map(|(table, line)| line.json(table)).collect();
        let rows: u64 = tables.values().map(|line| line.read).sum();
        let passed = at.saturating_sub(told.at).as_secs_f64();
        let more = rows.saturating_sub(told.rows) as f64;
        *told = Told { at, rows };
        json!({
            "event": "progress",
            "secs": at.as_secs(),
            "rows": rows,
            "rows_per_sec": if passed > 0.0 { (more / passed).round() } else { 0.0 },
            "bytes": tables.values().map(|line| line.bytes).sum::<u64>(),
            "tables_done": tables.values().filter(|line| line.done).count(),
            "tables": lines,
        })
    }
}

impl Progress for Lines {
    fn event(&self, event: Event) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.0.hear(event);
    }
}

#[cfg(test)]
mod tests {
    use transload_core::value::Outcome;

    use super::*;

    fn orders() -> TableName {
        TableName::new("orders")
    }

    fn broken(number: usize, rows: u64) -> BrokenRule {
        BrokenRule { number, check: "Q005 range (amount)".to_string(), rows }
    }

    fn staged(broken: Vec<BrokenRule>) -> Event {
        Event::UnitStaged { table: orders(), bytes: 512, broken }
    }

    #[test]
    fn a_line_tells_rows_and_the_rate_since_the_line_before() {
        let lines = Lines::default();
        lines.event(Event::TableBegun { table: orders(), rows: Some(50), units: 2 });
        lines.event(Event::RowsRead { table: orders(), rows: 20 });
        let first = lines.line(Duration::from_secs(10));
        assert_eq!((first["rows"].as_u64(), first["rows_per_sec"].as_f64()), (Some(20), Some(2.0)), "{first}");
        assert_eq!((first["secs"].as_u64(), first["tables_done"].as_u64()), (Some(10), Some(0)), "{first}");
        lines.event(Event::RowsRead { table: orders(), rows: 30 });
        lines.event(staged(Vec::new()));
        lines.event(Event::TableCommitted { table: orders(), rows: 50 });
        let second = lines.line(Duration::from_secs(20));
        assert_eq!((second["rows"].as_u64(), second["rows_per_sec"].as_f64()), (Some(50), Some(3.0)), "{second}");
        assert_eq!((second["bytes"].as_u64(), second["tables_done"].as_u64()), (Some(512), Some(1)), "{second}");
        assert_eq!(second["tables"][0]["state"], "published");
        // The clock did not move: no division by nothing.
        assert_eq!(lines.line(Duration::from_secs(20))["rows_per_sec"].as_f64(), Some(0.0));
    }

    #[test]
    fn checks_are_seen_while_rows_break_them_and_when_they_fail() {
        let lines = Lines::default();
        lines.event(Event::TableBegun { table: orders(), rows: None, units: 2 });
        lines.event(staged(vec![broken(0, 2), broken(3, 1)]));
        lines.event(staged(vec![broken(0, 5)]));
        let line = lines.line(INTERVAL);
        let check = "Q005 range (amount)";
        // Two rules with one name are two.
        assert_eq!(
            line["tables"][0]["broken"],
            json!([{ "check": check, "rows": 7 }, { "check": check, "rows": 1 }]),
            "{line}"
        );
        assert_eq!(line["tables"][0]["failed"], json!([]));
        lines.event(Event::CheckFailed { table: orders(), check: check.to_string() });
        assert_eq!(lines.line(INTERVAL)["tables"][0]["failed"], json!([check]));
    }

    #[test]
    fn behind_a_bar_stands_what_fails() {
        let mut tables = Tables::default();
        tables.hear(staged(vec![broken(0, 7)]));
        tables.hear(Event::CheckFailed { table: orders(), check: "Q014 row_count".to_string() });
        let (_, line) = tables.hear(Event::Compared { table: orders(), outcome: Outcome::Match });
        assert_eq!(line.message(), "compared: match, Q014 row_count failed, Q005 range (amount): 7 rows, 512 B");
    }

    #[test]
    fn a_rate_has_one_decimal_at_most() {
        assert_eq!(rate(12345.678), "12,345.7/s");
        assert_eq!(rate(0.26), "0.3/s");
        assert_eq!(rate(7.0), "7/s");
    }
}
