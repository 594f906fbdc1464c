//! A real S3 server, and buckets on it.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use secrecy::SecretString;
use serde_json::Value;
use transload_core::Resolve;

use crate::harness::{python, root, run_python};

/// The server, started on first use. Its guardian ends it when this process is gone and the pipe between them with it.
struct Server {
    endpoint: String,
    key: String,
    secret: String,
    _guardian: Child,
}

fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("s3-{}", std::process::id()));
        let mut guardian = Command::new(python())
            .arg("-B")
            .arg(root().join("tests/s3_server.py"))
            .arg(python().with_file_name("weed"))
            .arg(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(guardian.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let said: Value = serde_json::from_str(&line).unwrap_or_else(|e| panic!("there is no S3 server: {e}"));
        let text = |name: &str| said[name].as_str().unwrap().to_string();
        Server { endpoint: text("endpoint"), key: text("key"), secret: text("secret"), _guardian: guardian }
    })
}

/// What a test does to a bucket without transload.
const SCRIPT: &str = r#"
import json, sys
import pyarrow.parquet as parquet
from pyarrow import fs

endpoint, key, secret, verb, path, *rest = sys.argv[1:]
s3 = fs.S3FileSystem(access_key=key, secret_key=secret, endpoint_override=endpoint, region="us-east-1",
                     allow_bucket_creation=True)

def files(path):
    found = s3.get_file_info(fs.FileSelector(path, recursive=True, allow_not_found=True))
    return sorted(f.path for f in found if f.is_file)

if verb == "make":
    s3.create_dir(path)
elif verb == "put":
    with s3.open_output_stream(path) as out:
        out.write(rest[0].encode())
elif verb == "files":
    print(json.dumps(files(path)))
elif verb == "texts":
    print(json.dumps({name: s3.open_input_file(name).read().decode("utf-8", "replace") for name in files(path)}))
elif verb == "rows":
    tables = [parquet.ParquetFile(s3.open_input_file(n)).read() for n in files(path) if n.endswith(".parquet")]
    print(json.dumps([row for table in tables for row in table.to_pylist()], default=str))
"#;

/// A bucket of its own for one test.
pub(crate) struct Bucket {
    name: &'static str,
}

impl Bucket {
    /// Makes it. No other test may have one of that name.
    pub(crate) fn new(name: &'static str) -> Self {
        let bucket = Self { name };
        bucket.does("make", "", &[]);
        bucket
    }

    /// The url of something in it.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("s3://{}/{path}", self.name)
    }

    /// The variables by which a program finds the server and is let in.
    pub(crate) fn variables(&self) -> Vec<(&'static str, String)> {
        let server = server();
        vec![
            ("AWS_ENDPOINT_URL", server.endpoint.clone()),
            ("AWS_ALLOW_HTTP", "true".to_string()),
            ("AWS_REGION", "us-east-1".to_string()),
            ("AWS_ACCESS_KEY_ID", server.key.clone()),
            ("AWS_SECRET_ACCESS_KEY", server.secret.clone()),
            ("NO_PROXY", "127.0.0.1".to_string()),
        ]
    }

    /// The same, and the ledger at a path of the bucket.
    pub(crate) fn variables_with_ledger(&self, path: &str) -> Vec<(&'static str, String)> {
        let mut variables = self.variables();
        variables.push(("TRANSLOAD_LEDGER", self.url(path)));
        variables
    }

    /// The secret that must not be seen anywhere.
    pub(crate) fn secret(&self) -> &'static str {
        &server().secret
    }

    /// Writes an object.
    pub(crate) fn put(&self, path: &str, text: &str) {
        self.does("put", path, &[text]);
    }

    /// The objects below a path, without the bucket's name.
    pub(crate) fn files(&self, path: &str) -> Vec<String> {
        let found: Vec<String> = serde_json::from_str(&self.does("files", path, &[])).unwrap();
        found.into_iter().map(|f| f.strip_prefix(&format!("{}/", self.name)).unwrap().to_string()).collect()
    }

    /// The objects below a path with their content.
    pub(crate) fn texts(&self, path: &str) -> serde_json::Map<String, Value> {
        serde_json::from_str(&self.does("texts", path, &[])).unwrap()
    }

    /// The rows of all Parquet files below a path.
    pub(crate) fn rows(&self, path: &str) -> Vec<Value> {
        serde_json::from_str(&self.does("rows", path, &[])).unwrap()
    }

    #[track_caller]
    fn does(&self, verb: &str, path: &str, rest: &[&str]) -> String {
        let server = server();
        let path = format!("{}/{path}", self.name);
        let mut args = vec![&*server.endpoint, &*server.key, &*server.secret, verb, path.trim_end_matches('/')];
        args.extend(rest);
        run_python(SCRIPT, &args)
    }
}

/// Variables as a resolver, for what runs in the tests' own process.
pub(crate) struct Variables(pub(crate) Vec<(&'static str, String)>);

impl Resolve for Variables {
    fn env(&self, name: &str) -> Option<SecretString> {
        self.0.iter().find(|(n, _)| *n == name).map(|(_, value)| SecretString::from(value.clone()))
    }

    fn file(&self, _: &str) -> std::io::Result<SecretString> {
        Err(std::io::ErrorKind::NotFound.into())
    }
}
