//! What columns are read as, and what they are cast to.

use schemars::JsonSchema;
use serde::Serialize;
use transload_core::LogicalType;
use transload_core::connector::ColumnInfo;
use transload_quality::profile::ENOUGH;

use crate::draft::{Ends, Known};

/// The most digits that a decimal has where everybody can read it.
const DIGITS: u8 = 38;

/// What is decided about a column.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct ColumnDraft {
    /// Its name.
    pub(crate) name: String,
    /// The type that it is read as.
    #[serde(rename = "type")]
    pub(crate) ty: LogicalType,
    /// Its type in the words of its database.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) source_type: Option<String>,
    /// Why it is read as the one and not as another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) read_reason: Option<String>,
    /// What somebody has said of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) comment: Option<String>,
    /// The type that it is cast to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cast: Option<CastDraft>,
}

/// The cast of a column.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct CastDraft {
    /// To this type.
    pub(crate) to: LogicalType,
    /// Why.
    pub(crate) reason: String,
    /// Whether the pipeline says so.
    pub(crate) applied: bool,
}

/// The columns about which there is something to say.
pub(super) fn decide(table: &Known<'_>, ends: &Ends<'_>) -> Vec<ColumnDraft> {
    let described = table.info.catalog.iter().flat_map(|catalog| &catalog.columns);
    let described: Vec<&ColumnInfo> = described.collect();
    let decide = |(name, ty, _): &(String, LogicalType, bool)| {
        let known = described.iter().find(|column| column.name == *name);
        let cast = cast(table, known.copied(), name, ty, ends);
        let (read_reason, comment) = known.map_or((None, None), |c| (c.reason.clone(), c.comment.clone()));
        let says_something = cast.is_some() || read_reason.is_some() || comment.is_some();
        says_something.then(|| ColumnDraft {
            name: name.clone(),
            ty: ty.clone(),
            source_type: known.map(|column| column.ty.clone()).filter(|ty| !ty.is_empty()),
            read_reason,
            comment,
            cast,
        })
    };
    table.info.columns.iter().filter_map(decide).collect()
}

/// The type that a column of this name and type arrives as.
pub(super) fn arrives_as<'a>(decided: &'a [ColumnDraft], name: &str, ty: &'a LogicalType) -> &'a LogicalType {
    let column = decided.iter().find(|column| column.name == name);
    let cast = column.and_then(|column| column.cast.as_ref()).filter(|cast| cast.applied);
    cast.map_or(ty, |cast| &cast.to)
}

fn cast(
    table: &Known<'_>,
    known: Option<&ColumnInfo>,
    name: &str,
    ty: &LogicalType,
    ends: &Ends<'_>,
) -> Option<CastDraft> {
    if let Some(to) = ends.endpoint.instead_of(ty) {
        let reason = format!("{} has no {ty}", place(ends));
        return Some(CastDraft { to, reason, applied: true });
    }
    let seen = table.seen.as_ref().filter(|_| *ty == LogicalType::Text)?;
    let whole = seen.sampled.is_none();
    match known {
        // A number that is a text for want of a precision.
        Some(ColumnInfo { ty, .. }) if ty == "numeric" => decimal(table, name, whole),
        // A text that is what its server writes of something else.
        Some(ColumnInfo { reason: Some(_), .. }) => None,
        _ => {
            let (_, to) = seen.profiler.readable().into_iter().find(|(column, _)| *column == name)?;
            let of = if whole { "" } else { " of a sample" };
            Some(CastDraft { to, reason: format!("all texts{of} can be read as it"), applied: false })
        }
    }
}

/// The decimal that all numbers fit that were seen, with as many digits before the point as there is room for.
fn decimal(table: &Known<'_>, name: &str, whole: bool) -> Option<CastDraft> {
    let fitting = table.profile(name)?.reads_as.iter().filter(|reading| reading.all && reading.count >= ENOUGH);
    let mut decimals = fitting.filter_map(|reading| match reading.ty {
        LogicalType::Decimal(digits, behind) => Some((reading.count, digits, behind)),
        _ => None,
    });
    let (count, digits, behind) = decimals.next()?;
    let before = i16::from(digits) - i16::from(behind);
    let seen = if whole { "seen" } else { "seen in a sample" };
    let reason = format!(
        "the {count} numbers {seen} have at most {before} digits before the point and {behind} behind it; one that does not \
         fit stops the load"
    );
    Some(CastDraft { to: LogicalType::Decimal(DIGITS, behind), reason, applied: whole })
}

/// What the target is called in a sentence.
fn place(ends: &Ends<'_>) -> &'static str {
    match ends.target.kind.as_str() {
        "delta" => "a Delta table",
        "lake" => "a file of the lake",
        _ => "the target",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::draft::testing::{Drafted, described, found, known, table};
    use crate::found::Found;

    fn casts(target: &str, table: &Found) -> Vec<(String, String, bool)> {
        let drafted = Drafted::new("tpch", target);
        let decided = decide(&known(table), &drafted.ends());
        let cast = |c: &ColumnDraft| c.cast.as_ref().map(|cast| (c.name.clone(), cast.to.to_string(), cast.applied));
        decided.iter().filter_map(cast).collect()
    }

    #[test]
    fn what_the_target_lacks_is_cast() {
        let mut info = table("public.t");
        for (name, ty) in
            [("uid", "uuid"), ("doc", "json"), ("at", "time(us)"), ("gap", "interval"), ("uids", "list<uuid>")]
        {
            info.columns.push((name.to_string(), ty.parse().unwrap(), true));
        }
        let table = found(info, None);
        let names = |casts: &[(String, String, bool)]| casts.iter().map(|c| c.0.clone()).collect::<Vec<_>>();
        let delta = casts("delta", &table);
        assert_eq!(names(&delta), ["uid", "doc", "at", "gap", "uids"]);
        assert!(delta.iter().all(|(_, to, applied)| *applied && (to == "text" || to == "list<text>")), "{delta:?}");
        assert_eq!(names(&casts("lake", &table)), ["gap"]);
    }

    #[test]
    fn a_number_without_precision_gets_that_of_the_numbers_that_were_seen() {
        // The numbers of these tests are 0.25, 1.25 … 39.25.
        let numeric = || {
            let mut info = table("public.t");
            described(&mut info, "amount", "text", "numeric", Some("it has no precision"));
            described(&mut info, "address", "text", "inet", Some("it is read as the server writes it"));
            described(&mut info, "free", "text", "character varying", None);
            info
        };
        let said = casts("lake", &found(numeric(), Some(None)));
        let expected = |applied| ("amount".to_string(), "decimal(38,2)".to_string(), applied);
        assert_eq!(said[0], expected(true));
        // Any text may be a number by chance: that is for people to say.
        assert_eq!(said[1..], [("free".to_string(), "decimal(4,2)".to_string(), false)]);
        assert_eq!(casts("lake", &found(numeric(), Some(Some(10))))[0], expected(false));
        assert!(casts("lake", &found(numeric(), None)).is_empty());
        let drafted = Drafted::new("tpch", "lake");
        let decided = decide(&known(&found(numeric(), Some(None))), &drafted.ends());
        assert_eq!(decided[0].read_reason.as_deref(), Some("it has no precision"));
        assert_eq!(decided[0].source_type.as_deref(), Some("numeric"));
        let text = LogicalType::Text;
        assert_eq!(arrives_as(&decided, "amount", &text).to_string(), "decimal(38,2)");
        assert_eq!(arrives_as(&decided, "free", &text).to_string(), "text");
    }
}
