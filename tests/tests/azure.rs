//! Microsoft's emulator of Azure Blob Storage, and containers on it.

use std::path::Path;
use std::process::{Child, Command};
use std::sync::OnceLock;

use crate::harness::{azurite, python, root, run_python};
use crate::place::{Place, guarded};

/// The server, started on first use.
pub(crate) struct Server {
    pub(crate) endpoint: String,
    pub(crate) account: String,
    pub(crate) key: String,
    _guardian: Child,
}

pub(crate) fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("azure-{}", std::process::id()));
        let mut script = Command::new(python());
        script.arg("-B").arg(root().join("tests/azurite_server.py")).arg(azurite()).arg(folder);
        let (said, guardian) = guarded(&mut script);
        let text = |name: &str| said[name].as_str().unwrap().to_string();
        Server { endpoint: text("endpoint"), account: text("account"), key: text("key"), _guardian: guardian }
    })
}

/// What a test does to a container without transload.
const SCRIPT: &str = r#"
import datetime, io, json, os, sys
import pyarrow.parquet as parquet
from azure.storage.blob import BlobServiceClient, ContainerSasPermissions, generate_container_sas

endpoint, account, key, verb, container, path, *rest = sys.argv[1:]
box = BlobServiceClient(account_url=endpoint, credential=key).get_container_client(container)

def files():
    return sorted(box.list_blob_names(name_starts_with=path))

def read(name):
    return box.download_blob(name).readall()

if verb == "make":
    box.create_container()
elif verb == "put":
    box.upload_blob(path, rest[0].encode(), overwrite=True)
elif verb == "send":
    for folder, _, names in os.walk(rest[0]):
        for name in names:
            at = os.path.join(folder, name)
            with open(at, "rb") as file:
                box.upload_blob(f"{path}/{os.path.relpath(at, rest[0])}", file, overwrite=True)
elif verb == "files":
    print(json.dumps(files()))
elif verb == "unfinished":
    begun = box.list_blobs(name_starts_with=path, include=["uncommittedblobs"])
    print(json.dumps(sorted({blob.name for blob in begun} - set(files()))))
elif verb == "texts":
    wanted = [name for name in files() if not rest or any(part in name for part in rest)]
    print(json.dumps({name: read(name).decode("utf-8", "replace") for name in wanted}))
elif verb == "rows":
    tables = [parquet.ParquetFile(io.BytesIO(read(name))).read() for name in files() if name.endswith(".parquet")]
    print(json.dumps([row for table in tables for row in table.to_pylist()], default=str))
elif verb == "signature":
    allowed = ContainerSasPermissions(read=True, list=True, write=True, create=True, delete=True)
    end = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=int(rest[0]))
    print(generate_container_sas(account, container, account_key=key, permission=allowed, expiry=end), end="")
"#;

/// A container of its own for one test.
pub(crate) struct Container {
    name: &'static str,
}

impl Container {
    /// Makes it. No other test may have one of that name.
    pub(crate) fn new(name: &'static str) -> Self {
        let container = Self { name };
        container.does("make", "", &[]);
        container
    }

    /// A shared access signature that is good for so many hours.
    pub(crate) fn signature(&self, hours: i32) -> String {
        self.does("signature", "", &[&hours.to_string()])
    }
}

impl Place for Container {
    fn url(&self, path: &str) -> String {
        format!("az://{}/{path}", self.name)
    }

    fn variables(&self) -> Vec<(&'static str, String)> {
        let server = server();
        vec![
            ("AZURE_STORAGE_ENDPOINT", server.endpoint.clone()),
            ("AZURE_ALLOW_HTTP", "true".to_string()),
            ("AZURE_STORAGE_ACCOUNT", server.account.clone()),
            ("AZURE_STORAGE_KEY", server.key.clone()),
            ("NO_PROXY", "127.0.0.1".to_string()),
        ]
    }

    fn forgets_uploads(&self) -> bool {
        false
    }

    fn secret(&self) -> &'static str {
        &server().key
    }

    #[track_caller]
    fn does(&self, verb: &str, path: &str, rest: &[&str]) -> String {
        let server = server();
        let mut args = vec![&*server.endpoint, &*server.account, &*server.key, verb, self.name, path];
        args.extend(rest);
        run_python(SCRIPT, &args)
    }
}
