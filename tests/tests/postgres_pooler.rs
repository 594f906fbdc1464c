//! A real pooler before a PostgreSQL server.

use crate::harness::done;
use crate::postgres::{Database, Server};
use crate::postgres_faults::{Load, SMALL};
use crate::postgres_sink::{Target, first};

/// What stands in every refusal.
const REFUSED: &str = "a pooler stands before the server and gives each transaction another session";

/// How a session is set that others get from a pooler.
fn session(server: &Server, port: u16, database: &str) -> String {
    let settings = ["search_path", "default_transaction_read_only", "row_security"];
    let asked = settings.map(|name| format!("current_setting('{name}')")).join(", ");
    let mut psql = server.program("psql", database, "owner");
    done(psql.env("PGPORT", port.to_string()).args(["-X", "-q", "-A", "-t", "-c", &format!("select {asked}")]))
}

#[test]
fn a_pooler_of_sessions_is_worked_through_and_any_other_is_refused() {
    let server = Server::own(&[]);
    let load = Load::new(&server, "pooled", SMALL);
    let target = Target::in_schema(Database::on(&server, "pooled_target"), "public");
    target.write_source(0..120, 1);
    for mode in ["transaction", "statement"] {
        let port = server.pooler(mode);
        let before = session(&server, port, "pooled");
        let by = load.by(&load.database.connection().at(port));
        by.failed(by.run(), 3, REFUSED).says("pool_mode = session");
        target.write_pipeline("append", &target.connection().at(port));
        target.run().expect(3).says(REFUSED).says("pool_mode = session");
        let made = "select count(*) from pg_tables where schemaname = 'public'";
        assert_eq!(target.database.value(made), "0", "{mode}");
        // Others get the session next, which is as it was.
        assert_eq!(session(&server, port, "pooled"), before, "{mode}");
        assert_eq!(session(&server, port, "pooled_target"), before, "{mode}");
    }

    let port = server.pooler("session");
    let by = load.by(&load.database.connection().at(port));
    by.arrived(by.run());
    target.write_pipeline("append", &target.connection().at(port));
    target.arrives();
    target.write_source(120..150, 1);
    target.arrives();
    assert_eq!(target.seen(), first(0..150));
    assert_eq!(target.staged(), "");
}
