//! How a run is going: bars on a terminal, a JSON line every ten seconds otherwise.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{
    HumanBytes, HumanCount, HumanDuration, HumanFloatCount, MultiProgress, ProgressBar, ProgressDrawTarget,
    ProgressState, ProgressStyle,
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
        let lines = Arc::new(Lines { begun: Instant::now(), state: Mutex::default() });
        let weak = Arc::downgrade(&lines);
        tokio::spawn(async move {
            let mut clock = tokio::time::interval(interval());
            clock.tick().await;
            loop {
                clock.tick().await;
                match weak.upgrade() {
                    Some(lines) => {
                        let _ = writeln!(std::io::stderr().lock(), "{}", lines.line(lines.begun.elapsed()));
                    }
                    None => break,
                }
            }
        });
        lines
    }
}

#[cfg(not(feature = "faults"))]
fn interval() -> Duration {
    INTERVAL
}

/// Tests, which alone have faults to arm, need not wait so long: for so many milliseconds.
#[cfg(feature = "faults")]
#[allow(clippy::disallowed_methods)]
fn interval() -> Duration {
    let millis = std::env::var("TRANSLOAD_PROGRESS_MILLIS").ok().and_then(|millis| millis.parse().ok());
    millis.map_or(INTERVAL, Duration::from_millis)
}

/// How the tables are going, as far as this process knows.
#[derive(Default)]
struct Tables(BTreeMap<TableName, Line>);

/// How one table is going.
#[derive(Default)]
struct Line {
    read: Rows,
    /// Size of what is staged, in bytes.
    bytes: u64,
    state: &'static str,
    /// More about the state.
    note: String,
    /// Whether it is published or compared.
    done: bool,
    /// Rows that break a rule, by the number of the check.
    broken: BTreeMap<usize, (String, u64)>,
    /// The check that looks at rows a second time.
    look: Option<(String, Rows)>,
    /// Checks that were judged and failed.
    failed: Vec<String>,
}

/// Rows that go by.
#[derive(Default)]
struct Rows {
    passed: u64,
    expected: Option<u64>,
    /// When the first of them could have passed.
    since: Duration,
}

impl Rows {
    /// Time until all have passed at the speed that they have had so far; none if nobody knows.
    fn left(&self, at: Duration) -> Option<Duration> {
        let left = self.expected?.saturating_sub(self.passed) as f64;
        let speed = self.passed as f64 / at.saturating_sub(self.since).as_secs_f64();
        // Nothing has passed, or in no time.
        speed.is_normal().then(|| Duration::try_from_secs_f64(left / speed).ok()).flatten()
    }
}

impl Tables {
    /// Takes in what happened at a time after the beginning, and returns the table that it happened to.
    fn hear(&mut self, event: Event, at: Duration) -> (TableName, &Line) {
        let (Event::TableBegun { table, .. }
        | Event::RowsRead { table, .. }
        | Event::UnitFailed { table, .. }
        | Event::Retrying { table, .. }
        | Event::UnitStaged { table, .. }
        | Event::LookBegun { table, .. }
        | Event::RowsLookedAt { table, .. }
        | Event::CheckFailed { table, .. }
        | Event::TableCommitted { table, .. }
        | Event::Comparing { table }
        | Event::Compared { table, .. }) = &event;
        let table = table.clone();
        let line = self.0.entry(table.clone()).or_default();
        line.hear(event, at);
        (table, &*line)
    }

    /// Time until all tables are read, at the speed that all of them together have had so far; none if nobody knows.
    fn left(&self, at: Duration) -> Option<Duration> {
        let loading: Vec<&Rows> = self.0.values().filter(|line| line.is_loading()).map(|line| &line.read).collect();
        let expected = loading.iter().map(|rows| Some(rows.expected?.max(rows.passed))).sum::<Option<u64>>()?;
        let passed = loading.iter().map(|rows| rows.passed).sum();
        let since = loading.iter().map(|rows| rows.since).min()?;
        Rows { passed, expected: Some(expected), since }.left(at)
    }
}

impl Line {
    fn hear(&mut self, event: Event, at: Duration) {
        match event {
            Event::TableBegun { rows, .. } => {
                let read = Rows { passed: 0, expected: rows, since: at };
                *self = Self { read, state: "loading", ..Self::default() };
            }
            Event::RowsRead { rows, bytes, broken, .. } => {
                if self.state == "trying again" {
                    self.is_now("loading", String::new());
                }
                self.read.passed += rows;
                self.bytes = bytes;
                for BrokenRule { number, check, rows } in broken {
                    self.broken.entry(number).or_insert((check, 0)).1 += rows;
                }
            }
            Event::UnitFailed { rows, broken, .. } => {
                self.read.passed = self.read.passed.saturating_sub(rows);
                for BrokenRule { number, rows, .. } in broken {
                    if let Some((_, counted)) = self.broken.get_mut(&number) {
                        *counted = counted.saturating_sub(rows);
                    }
                }
                self.broken.retain(|_, (_, rows)| *rows > 0);
            }
            Event::Retrying { error, .. } => self.is_now("trying again", error),
            Event::UnitStaged { bytes, .. } => self.bytes = bytes,
            Event::LookBegun { check, rows, .. } => {
                self.is_now("checking", String::new());
                self.look = Some((check, Rows { passed: 0, expected: rows, since: at }));
            }
            Event::RowsLookedAt { rows, .. } => {
                if let Some((_, looked_at)) = &mut self.look {
                    looked_at.passed += rows;
                }
            }
            Event::CheckFailed { check, .. } => {
                self.look = None;
                self.failed.push(check);
            }
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
        self.look = None;
    }

    /// Whether rows of it are read for the first time.
    fn is_loading(&self) -> bool {
        matches!(self.state, "loading" | "trying again")
    }

    /// Time until its rows are read, or looked at again by the check that does so now; none if nobody knows.
    fn left(&self, at: Duration) -> Option<Duration> {
        match &self.look {
            Some((_, rows)) => rows.left(at),
            None if self.is_loading() => self.read.left(at),
            None => None,
        }
    }

    /// What stands behind the bar. Checks that failed come before what is only broken so far.
    fn message(&self) -> String {
        let mut parts: Vec<String> = match (self.state, self.note.is_empty()) {
            ("loading" | "" | "checking", _) => Vec::new(),
            (state, true) => vec![state.to_string()],
            (state, false) => vec![format!("{state}: {}", self.note)],
        };
        if let Some((check, Rows { passed, expected, .. })) = &self.look {
            let of = expected.map_or_else(String::new, |rows| format!(" of {}", HumanCount(rows)));
            parts.push(format!("looking at {}{of} rows for {check}", HumanCount(*passed)));
        }
        parts.extend(self.failed.iter().map(|check| format!("{check} failed")));
        let only_broken = self.broken.values().filter(|(check, _)| !self.failed.contains(check));
        parts.extend(only_broken.map(|(check, rows)| format!("{check}: {rows} rows")));
        if self.bytes > 0 {
            parts.push(HumanBytes(self.bytes).to_string());
        }
        parts.join(", ")
    }

    fn json(&self, table: &TableName, at: Duration) -> Json {
        let broken: Vec<Json> =
            self.broken.values().map(|(check, rows)| json!({ "check": check, "rows": rows })).collect();
        let look = self
            .look
            .as_ref()
            .map(|(check, rows)| json!({ "check": check, "rows": rows.passed, "expected": rows.expected }));
        json!({
            "table": table, "read": self.read.passed, "expected": self.read.expected, "eta_secs": secs(self.left(at)),
            "bytes": self.bytes, "state": self.state, "look": look, "broken": broken, "failed": self.failed,
        })
    }
}

/// Whole seconds, begun ones too: as long as something is to be done it is not done in no time.
fn secs(time: Option<Duration>) -> Option<u64> {
    time.map(|time| time.as_secs() + u64::from(time.subsec_nanos() > 0))
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
        let is_last = matches!(event, Event::Compared { .. });
        // A bar knows the time by itself.
        let (table, line) = tables.hear(event, Duration::ZERO);
        let Some(bar) = bars.get(&table) else { return };
        bar.set_position(line.read.passed);
        if line.read.expected.is_some() && !line.is_loading() {
            // However many were expected: all have been read, and no time is left for that.
            bar.set_length(line.read.passed);
        }
        match is_last {
            true => bar.finish_with_message(line.message()),
            false => bar.set_message(line.message()),
        }
    }
}

/// A speed for a person; the library's own form of it has as many decimals as its column is wide.
fn rate(per_second: f64) -> String {
    format!("{:.1}/s", HumanFloatCount(per_second))
}

/// Everything about all tables, told from time to time.
struct Lines {
    begun: Instant,
    state: Mutex<(Tables, Told)>,
}

/// What the line before said.
#[derive(Default)]
struct Told {
    at: Duration,
    rows: u64,
}

impl Lines {
    /// The line that is due at a time after the beginning. The rate is that since the line before.
    fn line(&self, at: Duration) -> Json {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (tables, told) = &mut *state;
        let left = tables.left(at);
        let Tables(tables) = tables;
        let lines: Vec<Json> = tables.iter().map(|(table, line)| line.json(table, at)).collect();
        let rows: u64 = tables.values().map(|line| line.read.passed).sum();
        let passed = at.saturating_sub(told.at).as_secs_f64();
        let more = rows.saturating_sub(told.rows) as f64;
        *told = Told { at, rows };
        json!({
            "event": "progress",
            "secs": at.as_secs(),
            "rows": rows,
            "rows_per_sec": if passed > 0.0 { (more / passed).round() } else { 0.0 },
            "eta_secs": secs(left),
            "bytes": tables.values().map(|line| line.bytes).sum::<u64>(),
            "tables_done": tables.values().filter(|line| line.done).count(),
            "tables": lines,
        })
    }

    fn hear(&self, event: Event, at: Duration) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.0.hear(event, at);
    }
}

impl Progress for Lines {
    fn event(&self, event: Event) {
        self.hear(event, self.begun.elapsed());
    }
}

#[cfg(test)]
mod tests {
    use transload_core::value::Outcome;

    use super::*;

    const CHECK: &str = "Q005 range (amount)";

    fn orders() -> TableName {
        TableName::new("orders")
    }

    fn broken(number: usize, rows: u64) -> BrokenRule {
        BrokenRule { number, check: CHECK.to_string(), rows }
    }

    fn lines() -> Lines {
        Lines { begun: Instant::now(), state: Mutex::default() }
    }

    fn begun(rows: Option<u64>) -> Event {
        Event::TableBegun { table: orders(), rows, units: 2 }
    }

    fn read(rows: u64, bytes: u64, broken: Vec<BrokenRule>) -> Event {
        Event::RowsRead { table: orders(), rows, bytes, broken }
    }

    fn at(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    #[test]
    fn where_nobody_watches_a_line_is_told_every_ten_seconds() {
        assert_eq!((INTERVAL, interval()), (at(10), INTERVAL));
    }

    #[test]
    fn a_line_tells_rows_and_the_rate_since_the_line_before() {
        let lines = lines();
        lines.hear(begun(Some(50)), at(0));
        lines.hear(read(20, 256, Vec::new()), at(3));
        let first = lines.line(at(10));
        assert_eq!((first["rows"].as_u64(), first["rows_per_sec"].as_f64()), (Some(20), Some(2.0)), "{first}");
        assert_eq!((first["secs"].as_u64(), first["tables_done"].as_u64()), (Some(10), Some(0)), "{first}");
        // Bytes grow while a unit is on its way.
        assert_eq!(first["bytes"].as_u64(), Some(256), "{first}");
        lines.hear(read(30, 400, Vec::new()), at(12));
        lines.hear(Event::UnitStaged { table: orders(), bytes: 512 }, at(13));
        lines.hear(Event::TableCommitted { table: orders(), rows: 50 }, at(14));
        let second = lines.line(at(20));
        assert_eq!((second["rows"].as_u64(), second["rows_per_sec"].as_f64()), (Some(50), Some(3.0)), "{second}");
        assert_eq!((second["bytes"].as_u64(), second["tables_done"].as_u64()), (Some(512), Some(1)), "{second}");
        assert_eq!(second["tables"][0]["state"], "published");
        // The clock did not move: no division by nothing.
        assert_eq!(lines.line(at(20))["rows_per_sec"].as_f64(), Some(0.0));
    }

    /// Time left of everything, and of the only table.
    fn left(line: &Json) -> (Option<u64>, Option<u64>) {
        (line["eta_secs"].as_u64(), line["tables"][0]["eta_secs"].as_u64())
    }

    #[test]
    fn a_line_tells_how_much_time_is_left_as_far_as_anybody_knows() {
        let lines = lines();
        lines.hear(begun(Some(100)), at(10));
        assert_eq!(left(&lines.line(at(10))), (None, None));
        lines.hear(read(30, 0, Vec::new()), at(15));
        // 3 rows in a second since the table began; the last second is begun.
        assert_eq!(left(&lines.line(at(20))), (Some(24), Some(24)));
        let other = TableName::new("parts");
        lines.hear(Event::TableBegun { table: other.clone(), rows: Some(60), units: 1 }, at(20));
        // 130 rows at the speed that both have had together.
        assert_eq!(left(&lines.line(at(20))), (Some(44), Some(24)));
        lines.hear(Event::TableBegun { table: other.clone(), rows: None, units: 1 }, at(20));
        assert_eq!(left(&lines.line(at(20))), (None, Some(24)));
        lines.hear(Event::TableCommitted { table: other, rows: 1 }, at(20));
        lines.hear(read(90, 0, Vec::new()), at(20));
        // More than was expected is not less than nothing.
        assert_eq!(left(&lines.line(at(20))), (Some(0), Some(0)));
        lines.hear(Event::TableCommitted { table: orders(), rows: 120 }, at(20));
        assert_eq!(left(&lines.line(at(30))), (None, None));
    }

    #[test]
    fn checks_are_seen_while_rows_break_them_and_when_they_fail() {
        let lines = lines();
        lines.hear(begun(None), at(0));
        lines.hear(read(10, 0, vec![broken(0, 2), broken(3, 1)]), at(1));
        lines.hear(read(10, 0, vec![broken(0, 5)]), at(2));
        let line = lines.line(at(10));
        // Two rules with one name are two.
        assert_eq!(
            line["tables"][0]["broken"],
            json!([{ "check": CHECK, "rows": 7 }, { "check": CHECK, "rows": 1 }]),
            "{line}"
        );
        assert_eq!(line["tables"][0]["failed"], json!([]));
        lines.hear(Event::CheckFailed { table: orders(), check: CHECK.to_string() }, at(11));
        assert_eq!(lines.line(at(20))["tables"][0]["failed"], json!([CHECK]));
    }

    #[test]
    fn what_was_told_of_a_unit_that_failed_is_taken_back() {
        let lines = lines();
        lines.hear(begun(Some(20)), at(0));
        lines.hear(read(10, 0, vec![broken(0, 2)]), at(1));
        lines.hear(read(5, 0, vec![broken(0, 1), broken(3, 1)]), at(1));
        lines.hear(Event::UnitFailed { table: orders(), rows: 5, broken: vec![broken(0, 1), broken(3, 1)] }, at(2));
        lines.hear(Event::Retrying { table: orders(), error: "the line was cut".to_string() }, at(2));
        let table = lines.line(at(10))["tables"][0].clone();
        assert_eq!((&table["read"], &table["state"]), (&json!(10), &json!("trying again")), "{table}");
        assert_eq!(table["broken"], json!([{ "check": CHECK, "rows": 2 }]), "{table}");
        lines.hear(read(5, 0, Vec::new()), at(11));
        assert_eq!(lines.line(at(20))["tables"][0]["state"], "loading");
    }

    #[test]
    fn a_second_look_is_seen_and_how_long_it_takes() {
        let lines = lines();
        lines.hear(begun(Some(100)), at(0));
        lines.hear(read(100, 0, Vec::new()), at(5));
        lines
            .hear(Event::LookBegun { table: orders(), check: "Q003 unique (id)".to_string(), rows: Some(100) }, at(10));
        lines.hear(Event::RowsLookedAt { table: orders(), rows: 20 }, at(11));
        let line = lines.line(at(20));
        let table = &line["tables"][0];
        let look = json!({ "check": "Q003 unique (id)", "rows": 20, "expected": 100 });
        assert_eq!((&table["look"], &table["state"]), (&look, &json!("checking")), "{line}");
        // Of the first reading nothing is left.
        assert_eq!(left(&line), (None, Some(40)), "{line}");
        assert_eq!(line["rows"], 100, "{line}");
        let mut tables = Tables::default();
        tables
            .hear(Event::LookBegun { table: orders(), check: "Q003 unique (id)".to_string(), rows: Some(1500) }, at(0));
        let (_, line) = tables.hear(Event::RowsLookedAt { table: orders(), rows: 1000 }, at(0));
        assert_eq!(line.message(), "looking at 1,000 of 1,500 rows for Q003 unique (id)");
        let (_, line) = tables.hear(Event::TableCommitted { table: orders(), rows: 1500 }, at(0));
        assert_eq!(line.message(), "published");
    }

    #[test]
    fn behind_a_bar_stands_what_fails() {
        let mut tables = Tables::default();
        tables.hear(read(10, 512, vec![broken(0, 7)]), at(0));
        tables.hear(Event::CheckFailed { table: orders(), check: "Q014 row_count".to_string() }, at(0));
        let (_, line) = tables.hear(Event::Compared { table: orders(), outcome: Outcome::Match }, at(0));
        assert_eq!(line.message(), "compared: match, Q014 row_count failed, Q005 range (amount): 7 rows, 512 B");
    }

    #[test]
    fn a_rate_has_one_decimal_at_most() {
        assert_eq!(rate(12345.678), "12,345.7/s");
        assert_eq!(rate(0.26), "0.3/s");
        assert_eq!(rate(7.0), "7/s");
    }
}
