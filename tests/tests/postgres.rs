//! A real PostgreSQL server, and databases on it.

use std::fmt;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, OnceLock};

use serde_json::Value;
use transload_testkit::proxy::Proxy;

use crate::harness::{Bench, python, root, run_python};
use crate::place::guarded_and_heard;

/// The variable that holds the password in the environment of the program.
pub(crate) const PASSWORD_VARIABLE: &str = "PGPASSWORD_TEST";

/// A server with a cluster of its own. It ends when it is dropped.
pub(crate) struct Server {
    port: u16,
    pub(crate) password: String,
    /// Where the server's files are; its socket, too.
    pub(crate) folder: String,
    programs: String,
    /// The certificate that vouches for the server's, and one that does not.
    pub(crate) ca: String,
    pub(crate) other_ca: String,
    /// The certificate of the role `certified`.
    pub(crate) client_cert: String,
    pub(crate) client_key: String,
    guardian: Mutex<(Child, BufReader<ChildStdout>)>,
}

/// The server that all tests share, started on first use. Nobody may stop it.
pub(crate) fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| Server::own(&[]))
}

impl Server {
    /// One for a single test, with settings such as `ssl=off`.
    pub(crate) fn own(settings: &[&str]) -> Self {
        let mut script = Command::new(python());
        script.arg("-B").arg(root().join("tests/postgres_server.py")).args(settings);
        let (said, guardian, heard) = guarded_and_heard(&mut script);
        let text = |name: &str| said[name].as_str().unwrap().to_string();
        Self {
            port: port(&said),
            password: text("password"),
            folder: text("folder"),
            programs: text("programs"),
            ca: text("ca"),
            other_ca: text("other_ca"),
            client_cert: text("client_cert"),
            client_key: text("client_key"),
            guardian: Mutex::new((guardian, heard)),
        }
    }

    /// Tells its guardian to do something, such as `restart immediate`, and waits until it is done.
    pub(crate) fn told(&self, order: &str) -> Value {
        let mut guardian = self.guardian.lock().unwrap();
        writeln!(guardian.0.stdin.as_mut().unwrap(), "{order}").unwrap();
        let mut line = String::new();
        guardian.1.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|e| panic!("`{order}` failed: {e}"))
    }

    /// The port of a hot standby of it, which is made now.
    pub(crate) fn standby(&self) -> u16 {
        port(&self.told("standby"))
    }

    /// The port of a PgBouncer before it, which is started now with a `pool_mode`; a mode is asked for once.
    pub(crate) fn pooler(&self, mode: &str) -> u16 {
        port(&self.told(&format!("pooler {mode}")))
    }

    pub(crate) fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }

    /// A program of PostgreSQL that would connect to a database as a role.
    pub(crate) fn program(&self, name: &str, database: &str, role: &str) -> Command {
        let mut command = Command::new(format!("{}/{name}", self.programs));
        command.env("PGHOST", "127.0.0.1").env("PGPORT", self.port.to_string()).env("PGDATABASE", database);
        command.env("PGUSER", role).env("PGPASSWORD", &self.password).env("PGCLIENTENCODING", "UTF8");
        command
    }

    /// Runs statements, each by itself, and returns what they print: a line for each row, with bars between the columns.
    #[track_caller]
    fn psql(&self, database: &str, role: &str, statements: &str) -> String {
        let mut command = self.program("psql", database, role);
        command.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-f", "-"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut running = command.spawn().unwrap();
        // It may end before it has read all of them, and says why.
        let _ = running.stdin.take().unwrap().write_all(statements.as_bytes());
        let output = running.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}in: {}", statements.chars().take(2000).collect::<String>());
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

fn port(said: &Value) -> u16 {
    said["port"].as_u64().unwrap().try_into().unwrap()
}

/// A database of its own for one test. The role `owner` owns it; `reader` may read what is made in its schema `public`.
pub(crate) struct Database<'s> {
    pub(crate) server: &'s Server,
    pub(crate) name: String,
}

impl Database<'static> {
    /// Makes one on the server that all share. No other test may have one of that name.
    pub(crate) fn new(name: &str) -> Self {
        Self::on(server(), name)
    }
}

impl<'s> Database<'s> {
    /// Makes one on a server.
    pub(crate) fn on(server: &'s Server, name: &str) -> Self {
        server.psql("postgres", "postgres", &format!("create database \"{name}\" owner owner;"));
        let readable = "alter default privileges for role owner grant select on tables to reader;";
        server.psql(name, "postgres", readable);
        Self { server, name: name.to_string() }
    }

    /// Runs statements as the role that owns the database, each by itself.
    #[track_caller]
    pub(crate) fn sql(&self, statements: &str) {
        self.server.psql(&self.name, "owner", statements);
    }

    /// The same as a role that may do anything.
    #[track_caller]
    pub(crate) fn sql_of_superuser(&self, statements: &str) {
        self.server.psql(&self.name, "postgres", statements);
    }

    /// The first value of a query, as the server's text; empty if it is NULL or there is none.
    #[track_caller]
    pub(crate) fn value(&self, query: &str) -> String {
        let said = self.server.psql(&self.name, "owner", &format!("{query};"));
        said.lines().next().unwrap_or_default().to_string()
    }

    /// The rows of a query, as objects.
    #[track_caller]
    pub(crate) fn rows(&self, query: &str) -> Vec<Value> {
        let agg = format!("select coalesce(json_agg(to_json(this_row)), '[]') from ({query}) this_row;");
        serde_json::from_str(&self.server.psql(&self.name, "owner", &agg)).unwrap()
    }

    /// How transload is told of it, as `owner`, over TLS.
    pub(crate) fn connection(&self) -> Connection {
        Connection {
            host: "localhost".to_string(),
            port: self.server.port,
            database: self.name.clone(),
            user: "owner".to_string(),
            password: Some(format!("${{env:{PASSWORD_VARIABLE}}}")),
            tls: format!("{{ root_cert: '{}' }}", self.server.ca),
            more: String::new(),
        }
    }

    /// The variables that a connection refers to.
    pub(crate) fn variables(&self) -> Vec<(&'static str, String)> {
        vec![(PASSWORD_VARIABLE, self.server.password.clone())]
    }

    /// A bench where the program knows them.
    pub(crate) fn bench(&self) -> Bench {
        Bench::with(self.variables())
    }

    /// The url by which other programs find it as `owner`.
    pub(crate) fn url(&self) -> String {
        format!("postgresql://owner:{}@127.0.0.1:{}/{}", self.server.password, self.server.port, self.name)
    }

    /// A proxy before its server.
    pub(crate) fn proxy(&self) -> Proxy {
        Proxy::new(self.server.address()).unwrap()
    }
}

/// A connection as a pipeline states it. Shown, it is `postgres: { … }`.
#[derive(Clone)]
pub(crate) struct Connection {
    host: String,
    port: u16,
    database: String,
    user: String,
    password: Option<String>,
    tls: String,
    more: String,
}

impl Connection {
    /// At another port of this machine.
    pub(crate) fn at(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// Through a proxy, which the server's certificate is good for, too.
    pub(crate) fn through(self, proxy: &Proxy) -> Self {
        self.at(proxy.address().port())
    }

    pub(crate) fn host(mut self, host: &str) -> Self {
        self.host = host.to_string();
        self
    }

    pub(crate) fn database(mut self, database: &str) -> Self {
        self.database = database.to_string();
        self
    }

    pub(crate) fn user(mut self, user: &str) -> Self {
        self.user = user.to_string();
        self
    }

    /// With another password, or what refers to one; or with none.
    pub(crate) fn password(mut self, password: Option<&str>) -> Self {
        self.password = password.map(str::to_string);
        self
    }

    /// With other settings of TLS, such as `{ mode: disable }`.
    pub(crate) fn tls(mut self, tls: &str) -> Self {
        self.tls = tls.to_string();
        self
    }

    /// With more options, such as `connections: 2`.
    pub(crate) fn with(mut self, more: &str) -> Self {
        self.more.push_str(", ");
        self.more.push_str(more);
        self
    }
}

impl fmt::Display for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port, database, user, password, tls, more } = self;
        write!(
            f,
            "postgres: {{ host: '{host}', port: {port}, database: '{database}', user: '{user}', tls: {tls}{more}"
        )?;
        if let Some(password) = password {
            write!(f, ", password: \"{password}\"")?;
        }
        f.write_str(" }")
    }
}

/// A pipeline from a connection to another, as `kind: { … }`, with its tables as a list.
pub(crate) fn pipeline(source: &dyn fmt::Display, target: &dyn fmt::Display, tables: &str) -> String {
    format!("version: 1\npipeline: test\nsource: {{ {source} }}\ntarget: {{ {target} }}\ntables:\n{tables}")
}

/// What the scripts have in common: a connection as the owner, and what `tests/postgres` knows of values.
const COMMON: &str = r#"
import glob, json, os, sys
os.chdir(sys.argv[1])
sys.path.insert(0, sys.argv[2])
import duckdb, psycopg, pyarrow as pa, pyarrow.parquet as pq
import oracle, values
server = psycopg.connect(sys.argv[3], autocommit=True)


def files(table):
    """The Parquet files of a table in a folder; not those that are hidden."""
    found = glob.glob(f"{glob.escape(table)}/**/*.parquet", recursive=True)
    return sorted(f for f in found if "/_" not in f)


def arrived(table):
    """What arrived, as pyarrow reads it."""
    return pa.concat_tables([pq.ParquetFile(f).read() for f in files(table)])
"#;

/// Runs Python in a bench's folder, after [`COMMON`], and returns what it prints as JSON.
#[track_caller]
pub(crate) fn asked(bench: &Bench, database: &Database<'_>, script: &str) -> Value {
    let (here, lib) = (bench.path("."), root().join("tests/postgres"));
    let args = [here.to_str().unwrap(), lib.to_str().unwrap(), &database.url()];
    let said = run_python(&format!("{COMMON}\n{script}"), &args);
    serde_json::from_str(&said).unwrap_or_else(|e| panic!("{e}: {said}"))
}

/// Asserts that a comparison of `oracle.disagreements` has compared something, and found nothing.
#[track_caller]
pub(crate) fn assert_agreed(found: &Value, least: u64, note: &str) {
    assert_eq!(found["different"], serde_json::json!([]), "{note}: column, row, the server, what arrived");
    assert!(found["compared"].as_u64().unwrap() >= least, "{note}: {found}");
}

/// A session that stays, with its transactions and locks. It ends when it is dropped.
pub(crate) struct Session {
    psql: Child,
    asked: ChildStdin,
    heard: BufReader<ChildStdout>,
}

impl Session {
    /// Begins one as a role.
    pub(crate) fn new(database: &Database<'_>, role: &str) -> Self {
        let mut command = database.server.program("psql", &database.name, role);
        command.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-f", "-"]);
        let mut psql = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (asked, heard) = (psql.stdin.take().unwrap(), BufReader::new(psql.stdout.take().unwrap()));
        Self { psql, asked, heard }
    }

    /// Runs statements and waits for their end.
    #[track_caller]
    pub(crate) fn does(&mut self, statements: &str) {
        const DONE: &str = "-- done --";
        writeln!(self.asked, "{statements}\n\\echo '{DONE}'").unwrap();
        let mut line = String::new();
        while line.trim_end() != DONE {
            line.clear();
            assert_ne!(self.heard.read_line(&mut line).unwrap(), 0, "the session has ended: {statements}");
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.psql.kill();
        let _ = self.psql.wait();
    }
}
