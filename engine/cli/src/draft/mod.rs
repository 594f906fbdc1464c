//! A pipeline that is drafted from tables that are there. What is decided about each is data, with its reason: [`Draft`],
//! which `init --format json` answers. `text.rs` makes the pipeline of it, in which the reasons are comments.
//!
//! A decision that a person should take is not *applied*: it stands in the pipeline as a comment.

mod checks;
mod columns;
mod cursor;
mod key;
mod layout;
mod names;
mod text;

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;
use transload_core::connector::TableInfo;
use transload_core::decode::Kinded;
use transload_core::{Endpoint, Result, TableName};
use transload_quality::profile::{ColumnProfile, Profile, Profiler};

use self::checks::CheckDraft;
use self::columns::ColumnDraft;
use self::cursor::CursorDraft;
use self::key::KeyDraft;
use self::layout::LayoutDraft;
use crate::found::{Found, Looked};
use crate::listing::figures;

/// A pipeline that was drafted.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct Draft {
    /// Its name.
    pub(crate) pipeline: String,
    /// The archetype it builds on.
    pub(crate) archetype: String,
    /// Where the tables come from.
    pub(crate) source: Kinded,
    /// Where they go to.
    pub(crate) target: Kinded,
    /// The tables.
    pub(crate) tables: Vec<TableDraft>,
}

/// What is decided about a table.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct TableDraft {
    /// Its name in the source.
    pub(crate) from: TableName,
    /// Its name in the target.
    pub(crate) to: TableName,
    /// What it is and how large, in words.
    pub(crate) about: String,
    /// What somebody has said of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) comment: Option<String>,
    /// The rows that were looked at; none if the draft goes by what the source says of itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) looked_at: Option<LookedAt>,
    /// What it belongs to, where tables of several schemas come together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) schema: Option<String>,
    /// What tells rows apart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) key: Option<KeyDraft>,
    /// How only new rows could be loaded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cursor: Option<CursorDraft>,
    /// The columns about which there is something to say.
    pub(crate) columns: Vec<ColumnDraft>,
    /// How the target could be laid out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) layout: Option<LayoutDraft>,
    /// Rules that the rows keep.
    pub(crate) checks: Vec<CheckDraft>,
}

/// Rows that were looked at.
#[derive(Debug, Clone, Copy, Serialize, JsonSchema)]
pub(crate) struct LookedAt {
    /// How many.
    pub(crate) rows: u64,
    /// About how many of a hundred these are, if they are a sample: then what is concluded from them is not applied.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) sample_percent: Option<u8>,
}

/// What a draft is made for.
pub(crate) struct Ends<'a> {
    pub(crate) pipeline: &'a str,
    /// The archetype; chosen by the ends, if none is given.
    pub(crate) archetype: Option<&'a str>,
    pub(crate) source: &'a Kinded,
    pub(crate) target: &'a Kinded,
    /// The target.
    pub(crate) endpoint: &'a Arc<dyn Endpoint>,
    /// Whether checks are wanted.
    pub(crate) checks: bool,
}

/// A table with everything that decisions are made from.
struct Known<'a> {
    info: &'a TableInfo,
    seen: Option<Seen<'a>>,
}

/// What its rows hold.
struct Seen<'a> {
    profiler: &'a Profiler,
    profile: Profile,
    sampled: Option<u8>,
}

impl Known<'_> {
    fn profile(&self, column: &str) -> Option<&ColumnProfile> {
        self.seen.as_ref()?.profile.columns.iter().find(|c| c.name == column)
    }
}

impl Ends<'_> {
    /// Whether the target names tables as the source does.
    fn are_alike(&self) -> bool {
        self.source.kind.value == self.target.kind.value
    }

    /// The archetype that is made for the ends.
    fn archetype(&self) -> String {
        let own = match (self.source.kind.as_str(), self.target.kind.as_str()) {
            ("postgres", "lake" | "delta") => "postgres_to_s3",
            _ => "table_copy",
        };
        self.archetype.unwrap_or(own).to_string()
    }
}

impl Draft {
    /// Decides about all tables.
    ///
    /// # Errors
    /// [`Internal`](transload_core::ErrorKind::Internal) if what was counted cannot be shown.
    pub(crate) fn new(ends: &Ends<'_>, found: &[Found]) -> Result<Self> {
        let known: Vec<Known<'_>> = found.iter().map(known).collect::<Result<_>>()?;
        let infos: Vec<&TableInfo> = known.iter().map(|table| table.info).collect();
        let (to, schemas) = (names::targets(&infos, ends), names::schemas(&infos));
        let columns: Vec<Vec<ColumnDraft>> = known.iter().map(|table| columns::decide(table, ends)).collect();
        let all = checks::Tables { known: &known, to: &to, columns: &columns };
        let mut tables = Vec::with_capacity(known.len());
        for (at, table) in known.iter().enumerate() {
            let key = key::decide(table);
            tables.push(TableDraft {
                from: table.info.name.clone(),
                to: to[at].clone(),
                about: figures(table.info),
                comment: table.info.catalog.as_ref().and_then(|catalog| catalog.comment.clone()),
                looked_at: table
                    .seen
                    .as_ref()
                    .map(|seen| LookedAt { rows: seen.profile.rows, sample_percent: seen.sampled }),
                schema: schemas[at].clone(),
                cursor: cursor::decide(table, &columns[at], key.as_ref(), ends),
                key,
                layout: layout::decide(table, &columns[at], ends),
                checks: if ends.checks { all.decide(at)? } else { Vec::new() },
                columns: columns[at].clone(),
            });
        }
        let (source, target) = (ends.source.clone(), ends.target.clone());
        Ok(Self { pipeline: ends.pipeline.to_string(), archetype: ends.archetype(), source, target, tables })
    }

    /// The pipeline.
    pub(crate) fn text(&self) -> String {
        text::text(self)
    }
}

fn known(found: &Found) -> Result<Known<'_>> {
    let seen = match &found.looked {
        None => None,
        Some(Looked { profiler, sampled }) => {
            Some(Seen { profiler, profile: profiler.profile(false)?, sampled: *sampled })
        }
    };
    Ok(Known { info: &found.info, seen })
}

#[cfg(test)]
mod testing;
