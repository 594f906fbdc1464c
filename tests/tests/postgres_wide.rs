//! Rows that are too wide for a PostgreSQL server: to be sent, and to be kept.

use serde_json::json;

use crate::harness::Bench;
use crate::postgres::{Database, asked, pipeline, server};
use crate::postgres_faults::{Load, SMALL, text};
use crate::postgres_sink::Target;

/// The longest text that there is: the server makes it out, and has no message for it.
const LONGEST: &str = "alter table t rename to u;
    create view t as select id, amount,
        case id when 7 then repeat(repeat('x', 361651), id + 2962) else word end as word from u;";

#[test]
fn a_row_that_cannot_be_sent_is_told_and_the_table_comes_without_its_column() {
    let load = Load::new(server(), "wide_row", SMALL);
    load.database.sql(LONGEST);
    let failed = load.failed(load.run(), 3, "a row or a value is larger than the server can send or take");
    // The server has enough of it, and says otherwise.
    assert!(!failed.stderr.contains("out of memory"), "{}", failed.stderr);
    let failed = failed.says("hint: leave the column out, with `drop: true`");
    assert_eq!(failed.last_line()["status"], "failed");

    let table = "  - { from: t, to: t, key: [id], columns: { word: { drop: true } } }\n";
    load.bench.write("p.yaml", pipeline(&load.database.connection(), &"lake: { url: lake }", table));
    let without = load.run().expect(0).last_line()["tables"][0].clone();
    assert_eq!((&without["read"], &without["verdict"]), (&json!(20_000), &json!("match")));

    load.database.sql("drop view t; alter table u rename to t;");
    load.bench.write("p.yaml", text(&load.database.connection()));
    load.arrived(load.run());
}

/// A source of three rows with so many columns that they fit into a page only if most of them are NULL.
fn write_source(bench: &Bench, database: &Database<'_>, values: &str) {
    let script = format!(
        "os.makedirs('src/t', exist_ok=True)\n\
         table = {{'id': [1, 2, 3], **{{f'c{{n}}': {values} for n in range(1100)}}}}\n\
         pq.write_table(pa.table({{name: pa.array(column, pa.int64()) for name, column in table.items()}}), 'src/t/f.parquet')\n\
         print('1')"
    );
    asked(bench, database, &script);
}

#[test]
fn a_row_that_fits_into_no_page_leaves_the_table_as_it_was() {
    let target = Target::new("sink_wide");
    let bench = &target.bench;
    let write_pipeline = |columns: &str| {
        let table = format!("  - {{ from: t, to: t, key: [id]{columns} }}\n");
        bench.write("p.yaml", pipeline(&"lake: { url: src }", &target.connection(), &table));
    };
    write_pipeline("");
    write_source(bench, &target.database, "[n if n % 2 == 0 else None, None, None]");
    target.arrives();
    let seen = |column: &str| target.database.value(&format!("select count(*) || ' ' || count({column}) from t"));
    assert_eq!((seen("c2"), seen("c3")), ("3 1".to_string(), "3 0".to_string()));

    write_source(bench, &target.database, "[n, None, n + 1]");
    let failed = target.run().expect(3).says("a row does not fit into one of the server's pages");
    failed.says("maximum size").says("hint: leave columns out");
    assert_eq!((seen("c2"), seen("c3")), ("3 1".to_string(), "3 0".to_string()));
    assert_eq!(target.staged(), "");

    let left_out: Vec<String> = (0..150).map(|n| format!("c{n}: {{ drop: true }}")).collect();
    write_pipeline(&format!(", columns: {{ {} }}", left_out.join(", ")));
    target.arrives();
    assert_eq!(seen("c1099"), "3 2");
    assert_eq!(target.staged(), "");
}
