//! The conformance suite over every connector, format and store: one line each.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use transload_core::secret::NoReferences;
use transload_core::{Connector, Endpoint, Resolve, TableName};
use transload_testkit::{CLAIMS, Finding, Subject, Weight, cases};

use crate::azure::Container;
use crate::harness::{assert_block, run_python};
use crate::place::{Place, Variables};
use crate::postgres::{Database, Server};
use crate::proofs;
use crate::s3::Bucket;
use crate::web::{LISTING, Web};

/// Cases that run at the same time.
const AT_ONCE: usize = 8;

/// Where the tables of others lie, below a store's own place.
const OTHERS: &str = "others";

/// Where tables are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Store {
    /// Nowhere: they are made on the fly.
    Generated,
    /// Files of this machine.
    Folder,
    /// Buckets of SeaweedFS.
    S3,
    /// Containers of Azurite.
    Azure,
    /// A web server that lists its files.
    Web,
    /// A database of PostgreSQL.
    Postgres,
}

impl Store {
    /// All of them.
    pub(crate) const ALL: [Self; 6] = [Self::Generated, Self::Folder, Self::S3, Self::Azure, Self::Web, Self::Postgres];

    /// Its name among the proofs, and in README.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Generated => "generated",
            Self::Folder => "folder",
            Self::S3 => "S3",
            Self::Azure => "Azure",
            Self::Web => "http",
            Self::Postgres => "PostgreSQL",
        }
    }

    /// A url there, of a place that need not be; of a database its options.
    fn example(self) -> &'static str {
        match self {
            Self::Generated | Self::Folder => "folder",
            Self::S3 => "s3://bucket/folder",
            Self::Azure => "az://container/folder",
            Self::Web => "http://localhost/folder",
            Self::Postgres => r#"{ "host": "localhost", "database": "shop", "user": "loader" }"#,
        }
    }

    fn is_far(self) -> bool {
        matches!(self, Self::S3 | Self::Azure | Self::Web | Self::Postgres)
    }
}

/// A connector with its options, and where it is held to its promises.
pub(crate) struct Line {
    connector: &'static dyn Connector,
    /// The format, as the connector itself calls it.
    format: &'static str,
    /// How it differs from other lines of its format.
    manner: &'static str,
    /// Its options beside the url.
    options: &'static str,
    /// The tables of others that are read; none if it reads what it writes.
    tables: &'static [&'static str],
    pub(crate) stores: &'static [Store],
    /// What is left out in any store, as another line of the format has it.
    without: &'static [Weight],
    /// What is left out at servers: how commits are made and parts are sent does not depend on the format.
    without_far: &'static [Weight],
}

const WRITABLE: &[Store] = &[Store::Folder, Store::S3, Store::Azure];

/// Parquet files as they are written unless something else is said.
const LAKE: Line = Line {
    connector: &transload_lake::Lake,
    format: "parquet",
    manner: "",
    options: "{}",
    tables: &[],
    stores: &[Store::Folder],
    without: &[],
    without_far: &[Weight::Races, Weight::Sizes],
};

/// Parquet files that are written in another manner.
const VARIANT: Line = Line { without: &[Weight::Sizes], ..LAKE };

/// The connectors. A new one gets a line; so does what it can do in another way.
pub(crate) static LINES: [Line; 19] = [
    Line { connector: &transload_delta::Delta, format: "delta", stores: WRITABLE, without_far: &[], ..LAKE },
    Line { stores: WRITABLE, without_far: &[], ..LAKE },
    Line {
        manner: "snappy, small row groups",
        options: r#"{ "parquet": { "compression": "snappy", "row_group_rows": 100 } }"#,
        ..VARIANT
    },
    Line { manner: "uncompressed", options: r#"{ "parquet": { "compression": "none" } }"#, ..VARIANT },
    Line {
        manner: "of others",
        tables: &["o.parquet", "small", "days", "days/**/*.parquet"],
        stores: &[Store::Folder, Store::Web],
        ..LAKE
    },
    Line { format: "csv", options: r#"{ "format": "csv" }"#, stores: WRITABLE, ..LAKE },
    Line {
        format: "csv",
        manner: "tabs, no header, zstd, small files",
        options: r#"{ "format": "csv",
                      "csv": { "delimiter": "\t", "header": false, "compression": "zstd", "file_bytes": 65536 } }"#,
        ..VARIANT
    },
    Line {
        format: "csv",
        manner: "other quotes, gzip",
        options: r#"{ "format": "csv", "csv": { "quote": "'", "compression": "gzip" } }"#,
        ..VARIANT
    },
    Line {
        format: "csv",
        manner: "of others",
        options: r#"{ "format": "csv" }"#,
        tables: &["plain.csv", "plain", "days", "days/**/*.csv"],
        stores: &[Store::Folder, Store::Web],
        ..LAKE
    },
    Line { format: "json", options: r#"{ "format": "json" }"#, stores: WRITABLE, ..LAKE },
    Line {
        format: "json",
        manner: "gzip",
        options: r#"{ "format": "json", "json": { "compression": "gzip" } }"#,
        ..VARIANT
    },
    Line {
        format: "json",
        manner: "of others",
        options: r#"{ "format": "json" }"#,
        tables: &["plain.jsonl", "plain", "days", "days/**/*json"],
        stores: &[Store::Folder, Store::Web],
        ..LAKE
    },
    Line { format: "avro", options: r#"{ "format": "avro" }"#, stores: WRITABLE, ..VARIANT },
    Line {
        format: "avro",
        manner: "snappy",
        options: r#"{ "format": "avro", "avro": { "compression": "snappy" } }"#,
        ..VARIANT
    },
    Line {
        format: "avro",
        manner: "uncompressed",
        options: r#"{ "format": "avro", "avro": { "compression": "none" } }"#,
        ..LAKE
    },
    Line {
        format: "avro",
        manner: "of others",
        options: r#"{ "format": "avro" }"#,
        tables: &["v.avro", "small", "days", "days/**/*.avro"],
        stores: &[Store::Folder, Store::Web],
        ..LAKE
    },
    Line {
        format: "orc",
        options: r#"{ "format": "orc" }"#,
        tables: &["o.orc", "small", "days", "days/**/*.orc"],
        stores: &[Store::Folder, Store::S3, Store::Azure, Store::Web],
        ..LAKE
    },
    Line {
        connector: &transload_postgres::Postgres,
        format: "postgres",
        stores: &[Store::Postgres],
        without_far: &[],
        ..LAKE
    },
    Line {
        connector: &transload_tpch::Tpch,
        format: "generated",
        options: r#"{ "scale": 0.001 }"#,
        tables: &["region", "nation", "supplier", "customer", "part", "partsupp", "orders", "lineitem"],
        stores: &[Store::Generated],
        ..LAKE
    },
];

impl Line {
    /// The connector and the format, as README has them.
    pub(crate) fn row(&self) -> String {
        match self.connector.kind() {
            "lake" => format!("lake {}", self.format),
            kind => kind.to_string(),
        }
    }

    /// Its name among the proofs.
    pub(crate) fn name(&self) -> String {
        if self.manner.is_empty() { self.row() } else { format!("{}, {}", self.row(), self.manner) }
    }

    /// A folder of its own.
    fn folder(&self) -> String {
        match self.tables {
            [] => self.name().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect(),
            _ => OTHERS.to_string(),
        }
    }

    fn endpoint(&self, store: Store, url: &str, resolver: &Arc<dyn Resolve>) -> Arc<dyn Endpoint> {
        let mut options: Value = serde_json::from_str(self.options).unwrap();
        match store {
            Store::Generated => {}
            Store::Postgres => options = serde_json::from_str(url).unwrap(),
            _ => options["url"] = json!(url),
        }
        if store == Store::Web {
            options["http"] = json!({ "allow_http": true, "retry_secs": 0 });
        }
        let options = serde_json::from_value(options).unwrap();
        self.connector.parse(&options, Arc::clone(resolver)).map_err(|p| format!("{p:?}")).unwrap()
    }

    fn at(&'static self, store: Store, url: String, resolver: Arc<dyn Resolve>) -> Subject {
        let capability = self.connector.capability();
        let subject = Subject::new(capability, self.format, move || self.endpoint(store, &url, &resolver));
        let subject = match self.tables {
            [] => subject,
            tables => subject.reading(tables.iter().map(|name| TableName::new(*name))),
        };
        let subject = match store {
            Store::Postgres => subject.in_schema("public."),
            _ => subject,
        };
        match store.is_far() {
            true => subject.far().without(self.without).without(self.without_far),
            false => subject.without(self.without),
        }
    }

    /// What would be held to its promises there. Nothing is opened.
    pub(crate) fn example(&'static self, store: Store) -> Subject {
        self.at(store, store.example().to_string(), Arc::new(NoReferences))
    }
}

/// Holds every line of a store to its promises, and compares what was proven with what was before.
async fn hold(store: Store, url: impl Fn(&str) -> String, resolver: Arc<dyn Resolve>) {
    let turns = Arc::new(Semaphore::new(AT_ONCE));
    let mut running = JoinSet::new();
    for line in LINES.iter().filter(|line| line.stores.contains(&store)) {
        let (subject, turns) = (line.at(store, url(&line.folder()), Arc::clone(&resolver)), Arc::clone(&turns));
        running.spawn(async move { (line.name(), subject.run(&turns).await) });
    }
    let found: BTreeMap<String, Vec<Finding>> = running.join_all().await.into_iter().collect();
    proofs::compare(store.name(), &found);
}

/// Tables that others have made, in a folder.
fn write_others(folder: &Path) {
    for day in ["2024-01-01", "2024-01-02"] {
        std::fs::create_dir_all(folder.join(format!("days/day={day}"))).unwrap();
    }
    let write = |path: &str, text: &str| std::fs::write(folder.join(path), text).unwrap();
    write("plain.csv", "id,word\n1,a\n2,\n3,\"x\ny\"\n");
    write("days/day=2024-01-01/a.csv", "id\n1\n");
    write("days/day=2024-01-02/b.csv", "id,more\n2,x\n");
    write("plain.jsonl", "{\"id\":1,\"a\":{\"b\":[1,null]}}\n\n{\"id\":2}\n");
    write("days/day=2024-01-01/a.json", "{\"id\":1}\n");
    write("days/day=2024-01-02/b.ndjson", "{\"more\":\"x\",\"id\":2.5}");
    let script = r"
import sys, polars as pl, pyarrow.orc as po, pyarrow.parquet as pq
def made(rows):
    return pl.DataFrame({'id': range(rows), 'word': ['a', None] * (rows // 2), 'list': [[1], []] * (rows // 2)})
def written(frame, path):
    table = frame.to_arrow(compat_level=pl.CompatLevel.oldest())
    po.write_table(table, f'{sys.argv[1]}/{path[0]}.orc')
    frame.write_avro(f'{sys.argv[1]}/{path[1]}.avro')
    pq.write_table(table, f'{sys.argv[1]}/{path[0]}.parquet', row_group_size=1000)
# More rows than come at a time.
written(made(9_000), ('o', 'v'))
written(made(200), ('small', 'small'))
for day in ('2024-01-01', '2024-01-02'):
    written(made(500), (f'days/day={day}/o', f'days/day={day}/v'))
";
    run_python(script, &[folder.to_str().unwrap()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn promises_are_kept_by_generated_tables() {
    hold(Store::Generated, |_| String::new(), Arc::new(NoReferences)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn promises_are_kept_in_folders() {
    let dir = tempfile::tempdir().unwrap();
    let others = dir.path().join(OTHERS);
    std::fs::create_dir_all(&others).unwrap();
    write_others(&others);
    let url = |folder: &str| dir.path().join(folder).to_str().unwrap().to_string();
    hold(Store::Folder, url, Arc::new(NoReferences)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn promises_are_kept_in_buckets() {
    promises_are_kept_at(Store::S3, &Bucket::new("conformance")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn promises_are_kept_in_containers() {
    promises_are_kept_at(Store::Azure, &Container::new("conformance")).await;
}

async fn promises_are_kept_at(store: Store, place: &dyn Place) {
    let dir = tempfile::tempdir().unwrap();
    write_others(dir.path());
    place.send(OTHERS, dir.path());
    hold(store, |folder| place.url(folder), Arc::new(Variables(place.variables()))).await;
    if place.forgets_uploads() {
        // Of an upload that was begun and dropped a moment before anything was noted, nobody knows.
        let left: Vec<String> = place.unfinished("").into_iter().filter(|path| !path.contains("_dropped_")).collect();
        assert_eq!(left, [""; 0]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn promises_are_kept_at_web_servers() {
    let dir = tempfile::tempdir().unwrap();
    write_others(dir.path());
    let web = Web::new(LISTING);
    let mut folders: Vec<PathBuf> = vec![dir.path().to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            match entry.unwrap().path() {
                path if path.is_dir() => folders.push(path),
                path => {
                    let below = path.strip_prefix(dir.path()).unwrap().to_str().unwrap();
                    web.put(&format!("/{OTHERS}/{below}"), std::fs::read(&path).unwrap());
                }
            }
        }
    }
    let url = |folder: &str| format!("http://{}/{folder}", web.server.place);
    hold(Store::Web, url, Arc::new(NoReferences)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn promises_are_kept_by_databases() {
    // Each case has some connections.
    let server = Server::own(&["max_connections=300"]);
    let database = Database::on(&server, "conformance");
    let options = json!({
        "host": "127.0.0.1", "port": server.address().port(), "database": database.name, "user": "owner",
        "password": "${env:PGPASSWORD_TEST}", "tls": { "mode": "disable" }, "connections": 4,
    });
    hold(Store::Postgres, |_| options.to_string(), Arc::new(Variables(database.variables()))).await;
}

/// The promises by claim, as a page lists them.
fn promises() -> String {
    let mut text = String::new();
    for claim in &CLAIMS {
        text.push_str(&format!("\n**{}**\n\n", claim.title));
        for case in cases().into_iter().filter(|case| case.claim == claim.name) {
            let weight = match case.weight {
                Weight::Plain => "",
                Weight::Races => " *(races)*",
                Weight::Sizes => " *(sizes)*",
            };
            text.push_str(&format!("- {}{weight}\n", case.name.replace('-', " ")));
        }
    }
    text.push('\n');
    text
}

#[test]
fn the_promises_are_those_that_the_page_lists() {
    assert_block("docs/conformance.md", "promises", &promises());
}

#[test]
fn there_are_hundreds_of_promises_to_prove() {
    let mut due = 0;
    for store in Store::ALL {
        let mut names = BTreeSet::new();
        for line in LINES.iter().filter(|line| line.stores.contains(&store)) {
            let own = line.example(store).due().len();
            assert!(own >= 10, "{} has {own} cases in {}", line.name(), store.name());
            assert!(names.insert(line.name()), "{} has two lines in {}", line.name(), store.name());
            due += own;
        }
        assert!(!names.is_empty(), "nothing is held to its promises in {}", store.name());
    }
    assert!(due >= 80, "{due} cases");
}
