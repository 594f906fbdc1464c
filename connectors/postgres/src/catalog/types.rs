//! The types of a table's columns, and those that they are made of.

use transload_core::Result;

use super::get;
use crate::client::Client;
use crate::types::{MONEY, ServerType, Types};

/// Types that only look like arrays, such as `int2vector`, are written in another way than those.
const TYPES: &str = "
    WITH RECURSIVE needed(oid) AS (
        SELECT a.atttypid FROM pg_catalog.pg_attribute a
        WHERE a.attrelid = $1::pg_catalog.oid AND a.attnum > 0 AND NOT a.attisdropped
        UNION SELECT part.oid
        FROM needed JOIN pg_catalog.pg_type t ON t.oid = needed.oid CROSS JOIN LATERAL (
            SELECT t.typbasetype WHERE t.typtype = 'd'
            UNION ALL SELECT t.typelem
                WHERE t.typtype = 'b' AND t.typoutput = 'pg_catalog.array_out'::pg_catalog.regproc
            UNION ALL SELECT a.atttypid FROM pg_catalog.pg_attribute a
                WHERE t.typtype = 'c' AND a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped
        ) part(oid)
    )
    SELECT t.oid, t.typname::pg_catalog.text, t.typtype::pg_catalog.text,
        t.typcategory::pg_catalog.text,
        CASE WHEN t.typtype = 'b' AND t.typoutput = 'pg_catalog.array_out'::pg_catalog.regproc THEN t.typelem END,
        CASE WHEN t.typtype = 'd' THEN t.typbasetype END, t.typtypmod,
        parts.names, parts.types, parts.typmods
    FROM needed JOIN pg_catalog.pg_type t ON t.oid = needed.oid
    CROSS JOIN LATERAL (
        SELECT pg_catalog.array_agg(a.attname::pg_catalog.text ORDER BY a.attnum) AS names,
            pg_catalog.array_agg(a.atttypid ORDER BY a.attnum) AS types,
            pg_catalog.array_agg(a.atttypmod ORDER BY a.attnum) AS typmods
        FROM pg_catalog.pg_attribute a
        WHERE t.typtype = 'c' AND a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped
    ) parts";

/// How many digits money has after the point: a setting of the server says it.
const MONEY_SCALE: &str = "SELECT pg_catalog.scale('1'::pg_catalog.money::pg_catalog.numeric)";

/// Loads every type that the columns of a table need.
pub(super) async fn load(client: &Client, table: u32) -> Result<Types> {
    let mut types = Types::default();
    for row in client.query(TYPES, &[&table]).await? {
        let row = &row;
        let names = get::<Option<Vec<String>>>(row, 7)?.unwrap_or_default();
        let oids = get::<Option<Vec<u32>>>(row, 8)?.unwrap_or_default();
        let typmods = get::<Option<Vec<i32>>>(row, 9)?.unwrap_or_default();
        let attributes = names.into_iter().zip(oids).zip(typmods);
        let (base, typmod): (Option<u32>, i32) = (get(row, 5)?, get(row, 6)?);
        let found = ServerType {
            oid: get(row, 0)?,
            name: get(row, 1)?,
            typtype: letter(get(row, 2)?),
            category: letter(get(row, 3)?),
            element: get(row, 4)?,
            base: base.map(|base| (base, typmod)),
            attributes: attributes.map(|((name, ty), typmod)| (name, ty, typmod)).collect(),
        };
        types.by_oid.insert(found.oid, found);
    }
    if types.by_oid.contains_key(&MONEY) {
        let rows = client.query(MONEY_SCALE, &[]).await?;
        let scale: Option<i32> = rows.first().map(|row| get(row, 0)).transpose()?;
        types.money_scale = scale.and_then(|scale| u8::try_from(scale).ok());
    }
    Ok(types)
}

/// The one letter that a text of the catalogue has.
fn letter(text: &str) -> char {
    text.chars().next().unwrap_or(' ')
}
