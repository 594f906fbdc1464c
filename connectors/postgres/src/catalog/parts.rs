//! The tables that hold the rows of a table: itself, its partitions, or tables that inherit from it.

use transload_core::{Error, PinnedPart, Result};

use super::{RelationKind, get};
use crate::client::Client;
use crate::names::Name;

/// Since this version the server finds rows by a range of pages without reading all of them.
const RANGES_OF_PAGES: u32 = 140_000;

/// What holds the rows of a table, and what is known of all of it together.
#[derive(Debug, PartialEq)]
pub(super) struct Parts {
    pub(super) parts: Vec<PinnedPart>,
    pub(super) holders: Vec<u32>,
    pub(super) rows: Option<u64>,
    pub(super) bytes: Option<u64>,
}

/// A table, or one that inherits from it.
#[derive(Debug, Clone)]
struct Member {
    oid: u32,
    name: Name,
    kind: RelationKind,
    /// Whether its rows are where the server itself keeps them by default, in pages.
    is_heap: bool,
    /// Whether others inherit from it.
    is_parent: bool,
    /// Whether we may read it when it is named.
    is_readable: bool,
    /// Whether policies say which of its rows we may read when it is named.
    is_guarded: bool,
    /// Number of its pages.
    pages: u64,
    /// Size without indexes.
    bytes: u64,
    /// Rows and pages when it was last analysed.
    tuples: f64,
    old_pages: i32,
}

/// What holds the rows of a table; `None` if it was dropped.
///
/// # Errors
/// [`Transient`](transload_core::ErrorKind::Transient) if a table with rows of it was dropped after the snapshot was taken:
/// nobody can read them any more, and they belong to what the snapshot sees.
pub(super) async fn find(client: &Client, table: u32) -> Result<Option<Parts>> {
    let version = client.server().version;
    let mut members = Vec::new();
    for row in client.query(&sql(version), &[&table]).await? {
        match member(&row)? {
            Some(member) => members.push(member),
            None if get::<u32>(&row, 0)? == table => return Ok(None),
            None => {
                return Err(
                    Error::transient("a part of the table was dropped after its snapshot was taken").hint("try again")
                );
            }
        }
    }
    Ok(Parts::of(table, &members, version))
}

/// Temporary tables that inherit are those of other sessions: the server leaves them out, too.
fn sql(version: u32) -> String {
    // A partition that is being detached is none any more.
    let attached = if version >= 140_000 { "AND NOT i.inhdetachpending" } else { "" };
    format!(
        "
    WITH RECURSIVE tree(oid) AS (
        SELECT $1::pg_catalog.oid
        UNION SELECT i.inhrelid FROM tree t JOIN pg_catalog.pg_inherits i ON i.inhparent = t.oid {attached}
    )
    SELECT c.oid, n.nspname::pg_catalog.text, c.relname::pg_catalog.text, c.relkind::pg_catalog.text,
        am.amname IS NULL OR am.amname = 'heap',
        EXISTS (SELECT 1 FROM pg_catalog.pg_inherits i WHERE i.inhparent = c.oid),
        pg_catalog.has_schema_privilege(n.oid, 'USAGE') AND pg_catalog.has_table_privilege(c.oid, 'SELECT'),
        pg_catalog.row_security_active(c.oid),
        pg_catalog.pg_relation_size(c.oid, 'main') / pg_catalog.current_setting('block_size')::pg_catalog.int8,
        pg_catalog.pg_table_size(c.oid), c.reltuples::pg_catalog.float8, c.relpages
    FROM tree JOIN pg_catalog.pg_class c ON c.oid = tree.oid
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace LEFT JOIN pg_catalog.pg_am am ON am.oid = c.relam
    WHERE c.relpersistence <> 't'
    ORDER BY n.nspname, c.relname"
    )
}

/// `None` if it was dropped since the snapshot was taken: then functions know nothing of it.
fn member(row: &tokio_postgres::Row) -> Result<Option<Member>> {
    let (readable, guarded): (Option<bool>, Option<bool>) = (get(row, 6)?, get(row, 7)?);
    let (pages, bytes): (Option<i64>, Option<i64>) = (get(row, 8)?, get(row, 9)?);
    let (Some(kind), Some(is_readable), Some(pages), Some(bytes)) =
        (RelationKind::of(get(row, 3)?), readable, pages, bytes)
    else {
        return Ok(None);
    };
    Ok(Some(Member {
        oid: get(row, 0)?,
        name: Name { schema: get(row, 1)?, table: get(row, 2)? },
        kind,
        is_heap: get(row, 4)?,
        is_parent: get(row, 5)?,
        is_readable,
        is_guarded: guarded.unwrap_or(true),
        pages: u64::try_from(pages).unwrap_or_default(),
        bytes: u64::try_from(bytes).unwrap_or_default(),
        tuples: get(row, 10)?,
        old_pages: get(row, 11)?,
    }))
}

impl Parts {
    fn of(table: u32, members: &[Member], version: u32) -> Option<Self> {
        let root = members.iter().find(|member| member.oid == table)?;
        let holders: Vec<&Member> = members.iter().filter(|m| m.kind != RelationKind::Partitioned).collect();
        Some(Self {
            parts: pinned(root, &holders, version),
            holders: holders.iter().map(|member| member.oid).collect(),
            rows: holders
                .iter()
                .map(|member| member.rows())
                .try_fold(0, |sum: u64, rows| Some(sum.saturating_add(rows?))),
            bytes: holders.iter().map(|member| member.is_stored().then_some(member.bytes)).sum(),
        })
    }
}

/// The parts to read.
///
/// # Behavior
/// - A part with pages is read without the tables that inherit from it, which are parts themselves. A part without pages is
///   read as it is, with whatever inherits from it.
/// - Views, foreign tables, tables of other storage and all tables of servers before 14 have no pages that rows could be
///   read by: they are one stream. They are not divided by ranges of keys either: where keys end is no part of a pin.
/// - Who may read a table may read its partitions through it, but not always by their names, and policies count for the
///   table that is named. Where that makes a difference, the table is read as it is.
fn pinned(root: &Member, holders: &[&Member], version: u32) -> Vec<PinnedPart> {
    let part = |member: &Member, pages| PinnedPart { id: member.oid, name: member.name.quoted(), pages };
    match holders {
        // Nothing can be in it.
        [] => vec![part(root, Some(0))],
        [own] if own.oid == root.oid => vec![part(own, own.ranges(version))],
        several => {
            let stands_alone = |member: &&Member| {
                member.is_readable && !member.is_guarded && (member.ranges(version).is_some() || !member.is_parent)
            };
            match !root.is_guarded && several.iter().all(stands_alone) {
                true => several.iter().map(|member| part(member, member.ranges(version))).collect(),
                false => vec![part(root, None)],
            }
        }
    }
}

impl Member {
    /// Whether its rows are on this server.
    fn is_stored(&self) -> bool {
        matches!(self.kind, RelationKind::Table | RelationKind::MaterializedView)
    }

    /// Its pages, if rows can be read by them.
    fn ranges(&self, version: u32) -> Option<u64> {
        (version >= RANGES_OF_PAGES && self.is_stored() && self.is_heap).then_some(self.pages)
    }

    /// About how many rows it has, as the server's planner counts: as dense as when it was analysed.
    fn rows(&self) -> Option<u64> {
        let is_known = self.tuples > 0.0 || self.tuples == 0.0 && self.old_pages > 0;
        match self.is_stored() {
            true if self.pages == 0 && self.is_heap => Some(0),
            true if is_known && self.old_pages > 0 => {
                Some((self.tuples / f64::from(self.old_pages) * self.pages as f64).round() as u64)
            }
            _ => is_known.then_some(self.tuples as u64),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEW: u32 = 150_000;

    fn member(oid: u32, kind: RelationKind) -> Member {
        Member {
            oid,
            name: Name { schema: "s".to_string(), table: format!("t{oid}") },
            kind,
            is_heap: true,
            is_parent: false,
            is_readable: true,
            is_guarded: false,
            pages: 10,
            bytes: 100_000,
            tuples: 500.0,
            old_pages: 5,
        }
    }

    /// The numbers and pages of the parts of table 1.
    fn parts(members: &[Member], version: u32) -> Vec<(u32, Option<u64>)> {
        Parts::of(1, members, version).unwrap().parts.iter().map(|part| (part.id, part.pages)).collect()
    }

    fn partitioned() -> Vec<Member> {
        let root = Member { is_parent: true, ..member(1, RelationKind::Partitioned) };
        vec![root, member(2, RelationKind::Table), member(3, RelationKind::Table)]
    }

    fn inherited() -> Vec<Member> {
        let root = Member { is_parent: true, ..member(1, RelationKind::Table) };
        vec![root, member(2, RelationKind::Table)]
    }

    #[test]
    fn what_rows_can_be_read_by_pages_has_them() {
        let one = |member: Member, version| parts(&[member], version);
        assert_eq!(one(member(1, RelationKind::Table), NEW), [(1, Some(10))]);
        assert_eq!(one(member(1, RelationKind::MaterializedView), NEW), [(1, Some(10))]);
        assert_eq!(one(member(1, RelationKind::Table), 130_000), [(1, None)]);
        assert_eq!(one(member(1, RelationKind::View), NEW), [(1, None)]);
        assert_eq!(one(member(1, RelationKind::Foreign), NEW), [(1, None)]);
        assert_eq!(one(Member { is_heap: false, ..member(1, RelationKind::Table) }, NEW), [(1, None)]);
    }

    #[test]
    fn a_partitioned_table_is_its_partitions() {
        assert_eq!(parts(&partitioned(), NEW), [(2, Some(10)), (3, Some(10))]);
        assert_eq!(parts(&partitioned(), 130_000), [(2, None), (3, None)]);
        let mut members = partitioned();
        members.push(member(4, RelationKind::Foreign));
        assert_eq!(parts(&members, NEW), [(2, Some(10)), (3, Some(10)), (4, None)]);
        assert_eq!(parts(&partitioned()[..1], NEW), [(1, Some(0))]);
    }

    #[test]
    fn a_table_that_others_inherit_from_is_a_part_itself() {
        assert_eq!(parts(&inherited(), NEW), [(1, Some(10)), (2, Some(10))]);
        // Without pages it would be read with the others, which would be read twice.
        assert_eq!(parts(&inherited(), 130_000), [(1, None)]);
        let mut members = inherited();
        members[0].is_heap = false;
        assert_eq!(parts(&members, NEW), [(1, None)]);
    }

    #[test]
    fn a_partition_that_may_not_be_named_is_read_through_its_table() {
        for at in [1, 2] {
            let mut members = partitioned();
            members[at].is_readable = false;
            assert_eq!(parts(&members, NEW), [(1, None)]);
        }
        for at in [0, 1] {
            let mut members = partitioned();
            members[at].is_guarded = true;
            assert_eq!(parts(&members, NEW), [(1, None)]);
        }
        // The server says it of a table that is alone.
        let secret = Member { is_readable: false, is_guarded: true, ..member(1, RelationKind::Table) };
        assert_eq!(parts(&[secret], NEW), [(1, Some(10))]);
    }

    #[test]
    fn a_table_that_was_dropped_is_none() {
        assert_eq!(Parts::of(1, &[member(2, RelationKind::Table)], NEW), None);
    }

    #[test]
    fn rows_and_bytes_are_those_of_all_parts_if_they_are_known() {
        let known = |members: &[Member]| Parts::of(1, members, NEW).map(|p| (p.rows, p.bytes)).unwrap();
        // Twice as large as it was when it was analysed.
        assert_eq!(known(&[member(1, RelationKind::Table)]), (Some(1000), Some(100_000)));
        assert_eq!(known(&partitioned()), (Some(2000), Some(200_000)));
        assert_eq!(known(&partitioned()[..1]), (Some(0), Some(0)));
        let never = |kind| Member { tuples: -1.0, old_pages: 0, ..member(1, kind) };
        let before_14 = |kind| Member { tuples: 0.0, old_pages: 0, ..member(1, kind) };
        assert_eq!(known(&[never(RelationKind::Table)]), (None, Some(100_000)));
        assert_eq!(known(&[before_14(RelationKind::Table)]), (None, Some(100_000)));
        assert_eq!(known(&[Member { pages: 0, bytes: 0, ..never(RelationKind::Table) }]), (Some(0), Some(0)));
        assert_eq!(known(&[Member { pages: 0, ..never(RelationKind::View) }]), (None, None));
        assert_eq!(known(&[Member { pages: 0, ..before_14(RelationKind::Foreign) }]), (None, None));
        assert_eq!(known(&[member(1, RelationKind::Foreign)]), (Some(500), None));
        let mut members = partitioned();
        members[2].tuples = -1.0;
        assert_eq!(known(&members), (None, Some(200_000)));
    }
}
