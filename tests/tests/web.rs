//! Tables of web servers, which are only read.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::harness::{Bench, tpch_pipeline};
use crate::server::{Request, Server, answer};

/// The content of files by their paths, as urls spell them.
type Files = BTreeMap<String, Vec<u8>>;

/// What a web server can do.
#[derive(Clone, Copy)]
pub(crate) struct Able {
    /// Sends parts of files.
    ranges: bool,
    /// Marks versions of files; how such marks begin.
    marks: Option<&'static str>,
    /// Lists its files, as WebDAV does it.
    lists: bool,
}

/// What most can do.
pub(crate) const COMMON: Able = Able { ranges: true, marks: Some(""), lists: false };

/// What a server of WebDAV can do.
pub(crate) const LISTING: Able = Able { lists: true, ..COMMON };

const CHANGED: &str = "Sat, 01 Jan 2000 00:00:00 GMT";

/// A web server with files.
pub(crate) struct Web {
    pub(crate) server: Server,
    files: Arc<Mutex<Files>>,
}

impl Web {
    pub(crate) fn new(able: Able) -> Self {
        let files: Arc<Mutex<Files>> = Arc::default();
        let served = Arc::clone(&files);
        let server = Server::with(move |_, request| serve(&served.lock().unwrap(), able, request));
        Self { server, files }
    }

    pub(crate) fn put(&self, path: &str, content: impl Into<Vec<u8>>) {
        self.files.lock().unwrap().insert(path.to_string(), content.into());
    }

    /// A bench with a pipeline that copies tables from below `/data`, with more options of the source.
    fn bench(&self, options: &str, tables: &str) -> Bench {
        bench(&self.server.place, options, tables)
    }
}

/// A bench with a pipeline that copies tables from below `/data` of a server, with more options of the source.
pub(crate) fn bench(place: &str, options: &str, tables: &str) -> Bench {
    let bench = Bench::with(vec![("NO_PROXY", "127.0.0.1".to_string())]);
    bench.write(
        "p.yaml",
        format!(
            "version: 1\npipeline: web\nsource:\n  lake: {{ url: 'http://{place}/data', \
             http: {{ allow_http: true, retry_secs: 0 }}{options} }}\ntarget: {{ lake: {{ url: lake }} }}\ntables:\n{tables}"
        ),
    );
    bench
}

fn serve(files: &Files, able: Able, request: &Request) -> Vec<u8> {
    let (method, path) = request.line.split_once(' ').unwrap();
    match method {
        "PROPFIND" if able.lists => return answer("207 Multi-Status", &[], list(files, able, path).as_bytes()),
        "GET" | "HEAD" => {}
        _ => return answer("501 Unsupported method", &[], b"<html>not here</html>"),
    }
    let Some(content) = files.get(path) else { return answer("404 Not Found", &[], b"<html>not here</html>") };
    let mark = mark(content, able);
    // A weak mark never fits.
    let asked_for = request.header("if-match");
    if asked_for.is_some_and(|asked_for| asked_for.starts_with("W/") || mark.as_deref() != Some(asked_for)) {
        return answer("412 Precondition Failed", &[], b"");
    }
    let mut headers = vec![("Last-Modified", CHANGED.to_string())];
    headers.extend(mark.map(|mark| ("ETag", mark)));
    let range = request.header("range").filter(|_| able.ranges).and_then(|range| range.strip_prefix("bytes="));
    let Some((from, to)) = range.and_then(|range| range.split_once('-')) else {
        return answer("200 OK", &headers, content);
    };
    let whole = content.len();
    let (start, end) = match (from.parse::<usize>(), to.parse::<usize>()) {
        (Ok(from), Ok(to)) => (from, (to + 1).min(whole)),
        (Ok(from), Err(_)) => (from, whole),
        (Err(_), Ok(last)) => (whole - last.min(whole), whole),
        (Err(_), Err(_)) => (0, whole),
    };
    headers.push(("Content-Range", format!("bytes {start}-{}/{whole}", end - 1)));
    answer("206 Partial Content", &headers, &content[start..end])
}

/// By what a version of a file is known.
fn mark(content: &[u8], able: Able) -> Option<String> {
    let sum = content.iter().fold(0_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(*byte)));
    able.marks.map(|begin| format!("{begin}\"{sum:x}\""))
}

/// The files below a folder, as WebDAV has them.
fn list(files: &Files, able: Able, folder: &str) -> String {
    let folder = folder.trim_end_matches('/');
    let entry = |(path, content): (&String, &Vec<u8>)| {
        let size = content.len();
        let mark = mark(content, able).map_or_else(String::new, |mark| format!("<D:getetag>{mark}</D:getetag>"));
        format!(
            "<D:response><D:href>{path}</D:href><D:propstat><D:prop><D:resourcetype></D:resourcetype>\
             <D:getcontentlength>{size}</D:getcontentlength><D:getlastmodified>{CHANGED}</D:getlastmodified>{mark}\
             </D:prop><D:status>HTTP/1.1 200 OK</D:status></D:propstat></D:response>"
        )
    };
    let below = files.iter().filter(|(path, _)| path.starts_with(&format!("{folder}/")));
    let entries: String = below.map(entry).collect();
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><D:multistatus xmlns:D=\"DAV:\">\
         <D:response><D:href>{folder}/</D:href><D:propstat><D:prop><D:resourcetype><D:collection/></D:resourcetype>\
         <D:getlastmodified>{CHANGED}</D:getlastmodified></D:prop><D:status>HTTP/1.1 200 OK</D:status></D:propstat>\
         </D:response>{entries}</D:multistatus>"
    )
}

/// A Parquet file with 25 rows.
fn parquet() -> Vec<u8> {
    let bench = Bench::new();
    bench.write("p.yaml", tpch_pipeline("  - from: nation\n    key: [n_nationkey]\n"));
    bench.run(&["run", "p.yaml"]).expect(0);
    std::fs::read(&bench.data_files("lake")[0]).unwrap()
}

#[test]
fn files_are_read_by_their_names_from_a_server_that_lists_none() {
    let web = Web::new(COMMON);
    web.put("/data/deep/nation.parquet", parquet());
    web.put("/data/in%20put/%C3%A4%25.csv", "id,n\n1,10\n2,20\n");
    let bench = web.bench(
        "",
        "  - from: deep/nation.parquet\n    to: whole\n    key: [n_nationkey]\n  \
         - from: deep/nation\n    to: short\n    key: [n_nationkey]\n",
    );
    let ran = bench.run(&["run", "p.yaml"]).expect(0).last_line();
    for table in ran["tables"].as_array().unwrap() {
        assert_eq!((&table["verdict"], &table["read"]), (&json!("match"), &json!(25)), "{table}");
    }
    bench.run(&["reconcile", "p.yaml"]).expect(0);
    let csv = web.bench(", format: csv", "  - from: \"in put/\u{e4}%.csv\"\n    to: t\n    key: [id]\n");
    assert_eq!(csv.run(&["run", "p.yaml"]).expect(0).last_line()["tables"][0]["read"], 2);
    let requests = web.server.requests();
    assert!(requests.iter().all(|r| r.line.starts_with("HEAD ") || r.line.starts_with("GET ")), "{requests:?}");
}

#[test]
fn what_needs_a_list_is_refused_where_there_is_none() {
    let web = Web::new(COMMON);
    web.put("/data/deep/t.parquet", parquet());
    for table in ["  - from: deep\n    to: t\n", "  - from: 'deep/**'\n    to: t\n", "  - from: 'deep/*'\n"] {
        let bench = web.bench("", table);
        let refused = bench.run(&["run", "p.yaml"]).expect(3);
        refused.says("the web server does not list its files").says("name each file");
    }
    let bench = web.bench("", "  - from: deep/gone.parquet\n    to: t\n");
    bench.run(&["discover", "p.yaml"]).expect(3).says("the web server does not list its files");
    bench.run(&["run", "p.yaml"]).expect(3).says("there is no table `deep/gone.parquet`");
}

#[test]
fn a_server_that_lists_its_files_is_read_like_a_folder() {
    let web = Web::new(LISTING);
    for (path, text) in [("t/a%20b.csv", "id\n1\n2\n"), ("t/c.csv", "id\n3\n"), ("u.csv", "id\n4\n")] {
        web.put(&format!("/data/{path}"), text);
    }
    web.put("/elsewhere/v.csv", "id\n5\n");
    let bench = web.bench(", format: csv", "  - from: t\n    key: [id]\n  - from: 't/a?b.csv'\n    to: some\n");
    let found = bench.run(&["discover", "p.yaml", "--format", "json"]).expect(0).last_line();
    let names: Vec<&Value> = found["tables"].as_array().unwrap().iter().map(|t| &t["name"]).collect();
    assert_eq!(names, ["t", "u.csv"]);
    let ran = bench.run(&["run", "p.yaml"]).expect(0).last_line();
    assert_eq!((&ran["tables"][0]["read"], &ran["tables"][1]["read"]), (&json!(3), &json!(2)));
}

#[test]
fn a_file_that_has_changed_is_noticed_whatever_its_server_says_of_versions() {
    for marks in [Some(""), Some("W/"), None] {
        let web = Web::new(Able { marks, ..COMMON });
        web.put("/data/t.csv", "id,n\n1,10\n2,20\n");
        let bench = web.bench(", format: csv", "  - from: t.csv\n    to: t\n    key: [id]\n");
        bench.run(&["run", "p.yaml"]).expect(0);
        bench.run(&["plan", "p.yaml", "--save", "plan.json"]).expect(0);
        web.put("/data/t.csv", "id,n\n1,10\n2,200\n");
        bench.run(&["run", "--plan", "plan.json"]).expect(3).says("changed after it was pinned");
    }
}

#[test]
fn a_server_that_sends_whole_files_only_is_refused() {
    let web = Web::new(Able { ranges: false, ..COMMON });
    web.put("/data/t.parquet", parquet());
    let bench = web.bench("", "  - from: t.parquet\n    to: t\n");
    bench.run(&["run", "p.yaml"]).expect(3).says("the server does not send parts of files");
}

#[test]
fn a_server_that_nobody_runs_can_be_tried_again() {
    let place = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let bench = bench(&place, "", "  - from: t.parquet\n    to: t\n");
    bench.run(&["run", "p.yaml"]).expect(75).says("cannot be reached");
}

#[test]
fn nothing_is_written_to_a_web_server() {
    let web = Web::new(COMMON);
    let bench = Bench::with(vec![("LAKE", format!("http://{}/lake", web.server.place))]);
    let pipeline = |url: &str| tpch_pipeline("  - from: nation\n").replace("url: lake", url);
    bench.write("p.yaml", pipeline("url: 'https://example.com/lake'"));
    bench.run(&["check", "p.yaml"]).expect(3).says("http and https urls can only be read");
    // What a reference stands for shows when it is resolved.
    bench.write("p.yaml", pipeline("url: '${env:LAKE}', http: { allow_http: true }"));
    bench.run(&["check", "p.yaml"]).expect(0);
    bench.run(&["run", "p.yaml"]).expect(3).says("http and https urls can only be read");
    assert!(web.server.requests().is_empty());
    bench.write("p.yaml", pipeline("url: lake"));
    bench.run(&["run", "p.yaml", "--ledger", "https://example.com/ledger"]).expect(3).says("can only be read");
}
