//! A real S3 server, and buckets on it.

use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::OnceLock;

use crate::harness::{python, root, run_python};
use crate::place::{Place, guarded};

/// The server, started on first use.
pub(crate) struct Server {
    pub(crate) endpoint: String,
    pub(crate) key: String,
    pub(crate) secret: String,
    guardian: Child,
}

pub(crate) fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| Server::own("s3"))
}

impl Server {
    /// One in a folder whose name begins so.
    fn own(name: &str) -> Self {
        let folder = folder(name);
        let mut script = Command::new(python());
        script.arg("-B").arg(root().join("tests/s3_server.py")).arg(python().with_file_name("weed")).arg(folder);
        let (said, guardian) = guarded(&mut script);
        let text = |name: &str| said[name].as_str().unwrap().to_string();
        Self { endpoint: text("endpoint"), key: text("key"), secret: text("secret"), guardian }
    }
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()))
}

#[test]
fn a_server_that_has_ended_leaves_nothing_behind() {
    let Server { endpoint, mut guardian, .. } = Server::own("s3-ended");
    // Its services listen on eight ports in a row, this one is the seventh.
    let port: u16 = endpoint.rsplit(':').next().unwrap().parse().unwrap();
    let is_own = |name: &str| (port - 6..port + 2).any(|port| name.ends_with(&format!("-{port}.sock")));
    let sockets = || {
        let names = std::fs::read_dir("/tmp").unwrap().map(|entry| entry.unwrap().file_name().into_string());
        names.flatten().filter(|name| name.starts_with("seaweedfs-") && is_own(name)).count()
    };
    assert!(sockets() > 0, "there is nothing to remove any more");
    drop(guardian.stdin.take());
    assert!(guardian.wait().unwrap().success());
    assert_eq!((sockets(), folder("s3-ended").exists()), (0, false));
}

/// What a test does to a bucket without transload.
const SCRIPT: &str = r#"
import io, json, os, sys
import boto3
import pyarrow.parquet as parquet

endpoint, key, secret, verb, bucket, path, *rest = sys.argv[1:]
s3 = boto3.client("s3", endpoint_url=endpoint, aws_access_key_id=key, aws_secret_access_key=secret,
                  region_name="us-east-1")

def files():
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=path)
    return sorted(o["Key"] for page in pages for o in page.get("Contents", []))

def read(name):
    return s3.get_object(Bucket=bucket, Key=name)["Body"].read()

if verb == "make":
    s3.create_bucket(Bucket=bucket)
elif verb == "put":
    s3.put_object(Bucket=bucket, Key=path, Body=rest[0].encode())
elif verb == "send":
    for folder, _, names in os.walk(rest[0]):
        for name in names:
            at = os.path.join(folder, name)
            s3.upload_file(at, bucket, f"{path}/{os.path.relpath(at, rest[0])}")
elif verb == "fill":
    from concurrent.futures import ThreadPoolExecutor
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda n: s3.put_object(Bucket=bucket, Key=f"{path}{n:07}.txt", Body=b""), range(int(rest[0]))))
elif verb == "files":
    print(json.dumps(files()))
elif verb == "fetch":
    for name in files():
        os.makedirs(os.path.dirname(f"{rest[0]}/{name}"), exist_ok=True)
        s3.download_file(bucket, name, f"{rest[0]}/{name}")
elif verb == "unfinished":
    pages = s3.get_paginator("list_multipart_uploads").paginate(Bucket=bucket, Prefix=path)
    print(json.dumps(sorted(u["Key"] for page in pages for u in page.get("Uploads", []))))
elif verb == "texts":
    wanted = [name for name in files() if not rest or any(part in name for part in rest)]
    print(json.dumps({name: read(name).decode("utf-8", "replace") for name in wanted}))
elif verb == "rows":
    tables = [parquet.ParquetFile(io.BytesIO(read(name))).read() for name in files() if name.endswith(".parquet")]
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

    /// Copies the objects below a path into a folder.
    pub(crate) fn fetch(&self, path: &str, folder: &Path) {
        self.does("fetch", path, &[folder.to_str().unwrap()]);
    }
}

impl Place for Bucket {
    fn url(&self, path: &str) -> String {
        format!("s3://{}/{path}", self.name)
    }

    fn variables(&self) -> Vec<(&'static str, String)> {
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

    fn secret(&self) -> &'static str {
        &server().secret
    }

    #[track_caller]
    fn does(&self, verb: &str, path: &str, rest: &[&str]) -> String {
        let server = server();
        let mut args = vec![&*server.endpoint, &*server.key, &*server.secret, verb, self.name, path];
        args.extend(rest);
        run_python(SCRIPT, &args)
    }
}
