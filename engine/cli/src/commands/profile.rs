//! `transload profile`

use std::fmt::Write;

use serde_json::{Value as Json, json};
use transload_core::{Error, Result, TableName};
use transload_quality::profile::{ColumnProfile, Frequency, Profile as TableProfile, ReadsAs};

use crate::args::Profile;
use crate::found::{Unread, ended, is_wanted, profiled, unreadable};
use crate::location;
use crate::output::{Failure, Output};

pub(crate) async fn profile(args: &Profile, output: &Output) -> Result<u8, Failure> {
    let place = location::open(&args.location, args.target)?;
    let limits = args.resources.limits();
    let asked = args.sample.filter(|percent| *percent < 100);
    let (mut text, mut shown, mut unread) = (String::new(), Vec::new(), Unread::new());
    for name in place.endpoint.list().await? {
        if !is_wanted(&args.table, &name) {
            continue;
        }
        match profiled(&place, &name, asked, &limits).await {
            Ok(looked) => {
                let profile = looked.profiler.profile(args.show_values)?;
                let sample = asked.map(|_| looked.sampled);
                text.push_str(&describe(&name, &profile, sample));
                shown.push(table_json(&name, &profile, sample)?);
            }
            Err(error) => unread.push((name, error)),
        }
    }
    let nothing = shown.is_empty();
    let found = json!({ "tables": shown, "unreadable": unreadable(&unread) });
    output.answer(&if output.json() { found.to_string() } else { text })?;
    ended(nothing, &args.table, unread, output)
}

/// A table for programs. Where a `sample` was asked for, it is said about how many of a hundred rows were read: none, if
/// the source gives no samples, and all were.
fn table_json(name: &TableName, profile: &TableProfile, sample: Option<Option<u8>>) -> Result<Json> {
    let mut table = match sample {
        None => json!({ "table": name }),
        Some(percent) => json!({ "table": name, "sample_percent": percent }),
    };
    let figures =
        serde_json::to_value(profile).map_err(|e| Error::internal("a profile cannot be written").because(e))?;
    if let (Some(table), Json::Object(figures)) = (table.as_object_mut(), figures) {
        table.extend(figures);
    }
    Ok(table)
}

fn describe(name: &TableName, profile: &TableProfile, sample: Option<Option<u8>>) -> String {
    let of = match sample {
        None => String::new(),
        Some(None) => ", all of them: the source gives no samples".to_string(),
        Some(Some(percent)) => format!(", a sample of about {percent} %"),
    };
    let mut text = format!("{name}  ({} row{}{of})\n", profile.rows, if profile.rows == 1 { "" } else { "s" });
    if profile.unreadable > 0 {
        let _ = writeln!(text, "  {} more rows cannot be read", profile.unreadable);
    }
    for column in &profile.columns {
        describe_column(&mut text, column, profile.rows);
    }
    text
}

fn describe_column(text: &mut String, column: &ColumnProfile, rows: u64) {
    let _ = writeln!(text, "  {}  {}", column.name.escape_debug(), column.ty);
    let mut line = |word: &str, said: String| {
        let _ = writeln!(text, "    {word:9}  {said}");
    };
    let percent = |count: u64| format!("{:.2} %", count as f64 * 100.0 / rows.max(1) as f64);
    let about = if column.distinct.exact { "" } else { "about " };
    line("nulls", format!("{} ({})", column.nulls, percent(column.nulls)));
    if column.misfits > 0 {
        line("misfits", format!("{} texts do not fit {}", column.misfits, column.ty));
    }
    if column.nan > 0 {
        line("nan", column.nan.to_string());
    }
    line("distinct", format!("{about}{}", column.distinct.count));
    if let (Some(min), Some(max)) = (&column.min, &column.max) {
        line("range", format!("{} to {}", min.escape_debug(), max.escape_debug()));
    }
    if let Some(mean) = column.mean {
        let spread = column.stddev.map_or_else(String::new, |s| format!(", standard deviation {s:.6}"));
        line("mean", format!("{mean:.6}{spread}"));
    }
    if let Some(length) = column.length {
        let blank = column.blank.filter(|b| *b > 0).map_or_else(String::new, |b| format!(", {b} blank"));
        line("length", format!("{} to {}, {:.2} on average{blank}", length.min, length.max, length.avg));
    }
    let frequencies = |all: &[Frequency], error: u64| {
        let one = |f: &Frequency| {
            let what = f.value.as_ref().map_or_else(|| f.shape.clone(), |v| v.escape_debug().to_string());
            format!("{what} ×{} ({:.2} %)", f.count, f.share * 100.0)
        };
        let error = if error > 0 { format!("; counts up to {error} too low") } else { String::new() };
        format!("{}{error}", all.iter().map(one).collect::<Vec<_>>().join(", "))
    };
    if !column.patterns.is_empty() {
        line("patterns", frequencies(&column.patterns, column.patterns_error));
    }
    if !column.top.is_empty() {
        line("frequent", frequencies(&column.top, column.top_error));
    }
    if !column.reads_as.is_empty() {
        let one = |r: &ReadsAs| match r.all {
            true => format!("{} (all)", r.ty),
            false => format!("{} ({})", r.ty, r.count),
        };
        line("reads as", column.reads_as.iter().map(one).collect::<Vec<_>>().join(", "));
    }
}
