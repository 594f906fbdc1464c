//! Servers that refuse a load, and tables that are not what a plan says: a sentence that says why and what to do, and nothing
//! visible.

use crate::harness::Bench;
use crate::postgres::{Connection, Database, Server, server};
use crate::postgres_faults::{Load, SMALL, text};
use crate::site::digest;

#[test]
fn whoever_is_not_let_in_is_told_why() {
    let load = Load::new(server(), "let_in", SMALL);
    let to = || load.database.connection();
    let failed = |connection: Connection, sentence: &str| {
        let load = load.by(&connection);
        load.failed(load.run(), 3, sentence);
    };
    let wrong = Load { bench: Bench::with(vec![("PGPASSWORD_TEST", "wr0ng-passw0rd".to_string())]), ..load.by(&to()) };
    wrong.bench.write("p.yaml", text(&to()));
    let outcome = wrong.failed(wrong.run(), 3, "does not take the user's name and password");
    assert!(!outcome.stderr.contains("wr0ng-passw0rd"), "{}", outcome.stderr);

    let certificate = |server: &Server, ca: &str| {
        format!("{{ root_cert: '{ca}', client_cert: '{}', client_key: '{}' }}", server.client_cert, server.client_key)
    };
    let server = load.database.server;
    let other_ca = format!("{{ root_cert: '{}' }}", server.other_ca);
    failed(to().database("there_is_none"), "the server has no such database");
    failed(to().user("there_is_none"), "does not take the user's name and password");
    failed(to().tls(&other_ca), "is not signed by anyone who is trusted here");
    failed(to().tls("{ root_cert: /there/is/none.pem }"), "/there/is/none.pem");
    failed(to().user("tlsonly").tls("{ mode: disable }"), "over an encrypted connection");
    failed(to().user("certified").password(None), "certificate");
    failed(to().user("owner").password(Some("${file:/there/is/none}")), "/there/is/none");
    failed(to().password(Some("${env:THERE_IS_NONE}")), "THERE_IS_NONE");

    let arrived = |connection: Connection| {
        let load = load.by(&connection);
        load.arrived(load.run());
    };
    arrived(to().user("tlsonly"));
    arrived(to().user("certified").password(None).tls(&certificate(server, &server.ca)));
    arrived(to().tls("{ mode: require }"));
    arrived(to().tls("{ mode: disable }"));
    arrived(to().host(&server.folder).tls("{ mode: disable }"));
}

#[test]
fn a_server_without_tls_is_not_spoken_to_unless_the_pipeline_says_so() {
    let server = Server::own(&["ssl=off"]);
    let database = Database::on(&server, "plain");
    database.sql(SMALL);
    for (tls, code) in [(None, 3), (Some("{ mode: require }"), 3), (Some("{ mode: disable }"), 0)] {
        let bench = database.bench();
        let connection = database.connection();
        let connection = tls.map_or(connection.clone(), |tls| connection.tls(tls));
        bench.write("p.yaml", text(&connection));
        let outcome = bench.run(&["run", "p.yaml"]).expect(code);
        if code != 0 {
            outcome.says("the server does not speak TLS").says("mode: disable");
        }
    }
}

#[test]
fn a_table_that_is_not_there_or_may_not_be_read_is_named() {
    let load = Load::new(server(), "not_there", SMALL);
    for (change, user, sentence) in [
        ("revoke select on t from reader;", "reader", "may "),
        ("alter table t rename to other;", "owner", "there is no table"),
        (
            "alter table other rename to t; grant select on t to reader; alter table t enable row level security;",
            "reader",
            "a policy of the table",
        ),
    ] {
        load.database.sql(change);
        let by = load.by(&load.database.connection().user(user));
        by.failed(by.run(), 3, sentence).says("hint: ");
    }
    load.database.sql("alter table t disable row level security;");
    let by = load.by(&load.database.connection().user("reader"));
    by.arrived(by.run());
}

#[test]
fn a_plan_is_good_for_other_rows_and_not_for_other_columns() {
    let load = Load::new(server(), "planned", SMALL);
    let plan = || load.bench.run(&["plan", "p.yaml", "--save", "plan.json"]).expect(0);
    plan();
    load.database.sql("update t set word = word || '!' where id = 1;");
    let outcome = load.quiet(load.bench.run(&["run", "--plan", "plan.json"]));
    assert_eq!((outcome.code, digest(&outcome) == load.undisturbed), (0, false), "{outcome:?}");
    let before = load.bench.data_files("lake");
    for (change, back) in [
        ("alter table t drop column word;", "alter table t add column word text;"),
        (
            "alter table t alter column amount type numeric(14,3);",
            "alter table t alter column amount type numeric(12,2);",
        ),
        ("alter table t rename column word to words;", "alter table t rename column words to word;"),
        ("alter table t rename to u;", "alter table u rename to t;"),
        ("drop table t;", SMALL),
    ] {
        plan();
        load.database.sql(change);
        let outcome = load.quiet(load.bench.run(&["run", "--plan", "plan.json"])).expect(3);
        assert!(["error: ", "hint: "].iter().all(|part| outcome.stderr.contains(part)), "{change}: {}", outcome.stderr);
        assert_eq!(load.bench.data_files("lake"), before, "{change}");
        load.database.sql(back);
    }
    load.arrived(load.run());
}

#[test]
fn a_function_that_looks_for_tables_by_search_path_is_told_of() {
    let database = Database::new("search_path");
    database.sql(
        "create table u as select generate_series(1, 5) n;
         create function f() returns bigint language plpgsql stable as 'begin return (select count(*) from u); end';
         create view t as select 1 as id, f() as n;",
    );
    let bench = database.bench();
    bench.write("p.yaml", text(&database.connection()));
    bench.run(&["run", "p.yaml"]).expect(3).says("a function of the database").says("SET search_path");
    database.sql("alter function f() set search_path = public;");
    bench.run(&["run", "p.yaml"]).expect(0);
}
