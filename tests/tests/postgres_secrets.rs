//! Passwords and keys of PostgreSQL: every way to give them works, and nothing of them is said or kept, whatever fails and
//! however much is logged.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use transload_testkit::proxy::{End, Fault, Rule, When};

use crate::harness::{Bench, Outcome, done};
use crate::postgres::{Connection, Database, pipeline, server};

/// A password that is like no other text.
const CANARY: &str = "canary-4ee9b1d2c7-do-not-show";
/// One that is not taken.
const WRONG: &str = "canary-0b5e11f98a-is-wrong";

/// A database with a role of its name whose password is the canary, and what must not be seen.
struct Watched {
    database: Database<'static>,
    secrets: Vec<String>,
    /// Where the files with secrets are, which are nobody's to look through.
    files: tempfile::TempDir,
}

impl Watched {
    fn new(name: &str) -> Self {
        let database = Database::new(name);
        database.sql_of_superuser(&format!(
            "create role {name} login password '{CANARY}'; grant owner to {name}; grant {name} to certified;"
        ));
        database.sql(
            "create table t (id int primary key, word text); insert into t select i, 'w' || i from generate_series(1, 2000) i;",
        );
        let key = std::fs::read_to_string(&server().client_key).unwrap();
        let lines = key.lines().filter(|line| !line.starts_with('-') && line.len() > 16).map(str::to_string);
        let secrets: Vec<String> =
            [CANARY, WRONG, &server().password].map(str::to_string).into_iter().chain(lines).collect();
        assert!(secrets.len() > 4, "the key has some lines");
        Self { database, secrets, files: tempfile::tempdir().unwrap() }
    }

    fn connection(&self) -> Connection {
        self.database.connection().user(&self.database.name)
    }

    /// Writes a file with a secret, which only its owner may read.
    fn secret_file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.files.path().join(name);
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    /// A bench where everything is logged, with pipelines that read and write by a connection.
    fn bench(&self, variables: &[(&'static str, String)], connection: &Connection) -> Bench {
        let mut all =
            vec![("TRANSLOAD_LOG", "trace".to_string()), ("HOME", self.files.path().to_str().unwrap().to_string())];
        all.extend_from_slice(variables);
        let bench = Bench::with(all);
        bench.write("src/t.csv", "id,word\n1,a\n2,b\n");
        bench.write(
            "p.yaml",
            pipeline(
                connection,
                &"lake: { url: lake }",
                "  - { from: t, to: t, key: [id], checks: [ { not_null: [word] } ] }\n",
            ),
        );
        let table = "  - { from: t.csv, to: made, key: [id] }\n";
        bench.write("w.yaml", pipeline(&"lake: { url: src, format: csv }", connection, table));
        bench
    }

    /// Asserts that a secret is neither in what was said nor in any file of the bench.
    #[track_caller]
    fn shows_nothing(&self, bench: &Bench, said: &[Outcome], note: &str) {
        for secret in &self.secrets {
            for outcome in said {
                let is_shown = outcome.stdout.contains(secret) || outcome.stderr.contains(secret);
                assert!(!is_shown, "{note}: {secret} was shown: {outcome:?}");
            }
            for file in bench.all_files(".") {
                let content = std::fs::read(&file).unwrap();
                let is_kept = content.windows(secret.len()).any(|part| part == secret.as_bytes());
                assert!(!is_kept, "{note}: {secret} is kept in {}", file.display());
            }
        }
    }
}

/// Everything that can be done with the pipelines.
fn everything(bench: &Bench) -> Vec<Outcome> {
    let mut said: Vec<Outcome> = [
        &["check", "p.yaml"][..],
        &["discover", "p.yaml", "--format", "json"],
        &["profile", "p.yaml", "--show-values"],
        &["plan", "p.yaml", "--save", "plan.json"],
        &["plan", "w.yaml"],
        &["run", "--plan", "plan.json"],
        &["run", "p.yaml"],
        &["run", "w.yaml"],
        &["reconcile", "p.yaml"],
        &["reconcile", "w.yaml"],
        &["runs", "--format", "json"],
        &["contract", "export", "p.yaml"],
        &["clean", "w.yaml", "--older-than", "0s"],
        &["audit", "verify"],
    ]
    .iter()
    .map(|args| bench.run(args))
    .collect();
    let run = bench.newest_run();
    said.push(bench.run(&["show", &run, "--plan", "--format", "json"]));
    said.push(bench.run(&["report", &run]));
    said.push(bench.run(&["reconcile", "--run", &run]));
    said.push(bench.run(&["resume", &run]));
    said
}

/// The variable that a connection of a test refers to.
fn given(secret: &str) -> Vec<(&'static str, String)> {
    vec![("PGPASSWORD_TEST", secret.to_string())]
}

#[test]
fn secrets_are_neither_said_nor_kept_when_all_is_well() {
    let watched = Watched::new("secrets_well");
    let bench = watched.bench(&given(CANARY), &watched.connection());
    let said = everything(&bench);
    for at in [0, 1, 3, 5, 6, 7, 8, 9] {
        assert_eq!(said[at].code, 0, "{:?}", said[at]);
    }
    assert!(said.iter().any(|outcome| outcome.stderr.len() > 10_000), "everything is logged");
    watched.shows_nothing(&bench, &said, "all is well");
    // Neither does the database keep any.
    let dump = done(&mut watched.database.server.program("pg_dump", &watched.database.name, "postgres"));
    assert!(dump.contains("_transload") && watched.secrets.iter().all(|secret| !dump.contains(secret)));
}

#[test]
fn secrets_are_neither_said_nor_kept_whatever_fails() {
    let watched = Watched::new("secrets_failing");
    let server = watched.database.server;
    let to = || watched.connection();
    let with_key = format!(
        "{{ root_cert: '{}', client_cert: '{}', client_key: '{}' }}",
        server.ca, server.client_cert, server.client_key
    );
    let key_as_cert = with_key.replace(&server.client_cert, &server.client_key);
    let ca_as_key = with_key.replace(&server.client_key, &server.ca);
    let cases: [(&str, &str, Connection); 9] = [
        ("a wrong password", WRONG, to()),
        ("a wrong password in the clear", WRONG, to().tls("{ mode: disable }")),
        ("another database", CANARY, to().database("there_is_none")),
        ("another user", CANARY, to().user("there_is_none")),
        ("no server", CANARY, to().at(1)),
        ("another authority", CANARY, to().tls(&format!("{{ root_cert: '{}' }}", server.other_ca))),
        ("a key in the place of a certificate", CANARY, to().tls(&key_as_cert)),
        ("a certificate in the place of a key", CANARY, to().tls(&ca_as_key)),
        ("a certificate for nothing", CANARY, to().user("certified").tls(&with_key).database("there_is_none")),
    ];
    for (note, secret, connection) in cases {
        let bench = watched.bench(&given(secret), &connection);
        let all = ["discover p.yaml", "plan p.yaml --save plan.json", "run p.yaml", "run w.yaml", "reconcile p.yaml"];
        let said = all.map(|line| bench.run(&line.split(' ').collect::<Vec<_>>()));
        assert!(said.iter().all(|outcome| [3, 75].contains(&outcome.code)), "{note}: {said:?}");
        assert!(said.iter().all(|outcome| !outcome.stderr.contains("panicked")), "{note}");
        watched.shows_nothing(&bench, &said, note);
    }
    let proxy = watched.database.proxy();
    for bytes in [1, 9, 80, 200, 400, 1000, 3000] {
        for fault in [Fault::CutAnswer(bytes, End::Reset), Fault::CutRequest(bytes, End::Closed)] {
            let bench = watched.bench(&given(CANARY), &to().through(&proxy).tls("{ mode: disable }"));
            proxy.set([Rule::connections(When::Always, fault.clone())]);
            let said = [bench.run(&["run", "p.yaml"]), bench.run(&["discover", "p.yaml"])];
            proxy.set([]);
            watched.shows_nothing(&bench, &said, &format!("{fault:?}"));
        }
    }
    for (point, how) in [("unit.begun", "permanent"), ("commit.begun", "kill"), ("postgres.commit.begun", "permanent")]
    {
        let bench = watched.bench(&given(CANARY), &to());
        let fault = format!("{point}=return({how})");
        let said = ["p.yaml", "w.yaml"].map(|file| bench.run_with_faults(&["run", file], &fault));
        watched.shows_nothing(&bench, &said, &fault);
    }
}

#[test]
fn a_password_can_be_given_in_every_way_but_in_the_pipeline() {
    let watched = Watched::new("secrets_ways");
    let server = watched.database.server;
    let port = server.address().port();
    let name = &watched.database.name;
    let line = format!("localhost:{port}:{name}:{name}:{CANARY}\n");
    let text = |path: &PathBuf| path.to_str().unwrap().to_string();
    let file = watched.secret_file("password", &format!("{CANARY}\n"));
    let passwords = watched.secret_file("passwords", &format!("# a comment\nother:*:*:*:{WRONG}\n{line}"));
    let by_file = format!("${{file:{}}}", text(&file));
    let none = || watched.connection().password(None);
    type Case = (&'static str, Vec<(&'static str, String)>, Connection);
    let cases: [Case; 5] = [
        ("a variable", given(CANARY), watched.connection()),
        ("a file", vec![], watched.connection().password(Some(&by_file))),
        ("PGPASSWORD", vec![("PGPASSWORD", CANARY.to_string())], none()),
        ("PGPASSFILE", vec![("PGPASSFILE", text(&passwords))], none()),
        (
            "a certificate",
            vec![],
            none().user("certified").tls(&format!(
                "{{ root_cert: '{}', client_cert: '{}', client_key: '{}' }}",
                server.ca, server.client_cert, server.client_key
            )),
        ),
    ];
    for (note, variables, connection) in cases {
        let bench = watched.bench(&variables, &connection);
        let said = [bench.run(&["run", "p.yaml"]), bench.run(&["run", "w.yaml"])];
        assert!(said.iter().all(|outcome| outcome.code == 0), "{note}: {said:?}");
        watched.shows_nothing(&bench, &said, note);
    }

    // The file that others may read is not used; the same file is, once it is its owner's alone.
    let home = watched.secret_file(".pgpass", &line);
    std::fs::set_permissions(&home, std::fs::Permissions::from_mode(0o644)).unwrap();
    let bench = watched.bench(&[], &none());
    let open = bench
        .run(&["run", "p.yaml"])
        .expect(3)
        .says("the server asks for a password, and there is none")
        .says("chmod 600");
    std::fs::set_permissions(&home, std::fs::Permissions::from_mode(0o600)).unwrap();
    watched.shows_nothing(&bench, &[open, bench.run(&["run", "p.yaml"]).expect(0)], "~/.pgpass");
}

#[test]
fn a_password_in_the_pipeline_is_refused_and_not_shown() {
    let watched = Watched::new("secrets_written");
    let written = [
        watched.connection().password(Some(CANARY)),
        watched.connection().password(Some(&format!("{CANARY}${{env:PGPASSWORD_TEST}}"))),
        watched.connection().host(&format!("postgresql://canary:{CANARY}@localhost/shop")),
        watched.connection().host(&format!("localhost password={CANARY}")),
        // Another mistake stands in the same line.
        watched.connection().password(Some(CANARY)).with("connections: 1"),
    ];
    for connection in written {
        let bench = watched.bench(&[], &connection);
        for args in [
            &["check", "p.yaml"][..],
            &["plan", "p.yaml"],
            &["run", "p.yaml"],
            &["check", "w.yaml", "--format", "json"],
        ] {
            let outcome = bench.run(args).expect(3);
            let is_shown = outcome.stdout.contains(CANARY) || outcome.stderr.contains(CANARY);
            assert!(!is_shown, "{connection}: {outcome:?}");
        }
    }
}

/// The server is asked for rows above the newest one, and told how far a table has come: by values of rows.
#[test]
fn values_of_rows_are_in_no_log() {
    const NEWEST: &str = "918273645";
    let watched = Watched::new("secrets_values");
    watched.database.sql(&format!("create table n (id int primary key); insert into n values (1), ({NEWEST});"));
    let bench = watched.bench(&given(CANARY), &watched.connection());
    let table = "  - { from: n, to: grown, key: [id], mode: { incremental: { cursor: id } } }\n";
    bench.write("n.yaml", pipeline(&watched.connection(), &watched.connection(), table));
    let said = [bench.run(&["run", "n.yaml"]), bench.run(&["run", "n.yaml"])];
    assert_eq!(said.each_ref().map(|outcome| outcome.code), [0, 99]);
    for outcome in &said {
        assert!(outcome.stderr.contains("\"level\":\"TRACE\""), "everything is logged");
        let line = outcome.stderr.lines().find(|line| line.contains(NEWEST));
        assert_eq!(line, None);
    }
}
