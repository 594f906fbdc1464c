//! Buckets and containers of real servers, as tests use them: what transload is told of them, and what is there without
//! transload.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use secrecy::SecretString;
use serde_json::Value;
use transload_core::Resolve;
use transload_testkit::proxy::Proxy;

/// A bucket or a container of its own for one test.
pub(crate) trait Place: Sync {
    /// The url of something in it.
    fn url(&self, path: &str) -> String;

    /// The variables by which a program finds the server and is let in.
    fn variables(&self) -> Vec<(&'static str, String)>;

    /// The secret that must not be seen anywhere.
    fn secret(&self) -> &'static str;

    /// Does something there without transload, and returns what it says.
    fn does(&self, verb: &str, path: &str, rest: &[&str]) -> String;

    /// The variables, and the ledger at a path of it.
    fn variables_with_ledger(&self, path: &str) -> Vec<(&'static str, String)> {
        let mut variables = self.variables();
        variables.push(("TRANSLOAD_LEDGER", self.url(path)));
        variables
    }

    /// Writes an object.
    fn put(&self, path: &str, text: &str) {
        self.does("put", path, &[text]);
    }

    /// Writes all files of a folder below a path.
    fn send(&self, path: &str, folder: &Path) {
        self.does("send", path, &[folder.to_str().unwrap()]);
    }

    /// The objects below a path.
    fn files(&self, path: &str) -> Vec<String> {
        serde_json::from_str(&self.does("files", path, &[])).unwrap()
    }

    /// Whether an upload that is given up is gone. In a container its parts stay until the place is written, or a week.
    fn forgets_uploads(&self) -> bool {
        true
    }

    /// The places below a path where an upload is not complete.
    fn unfinished(&self, path: &str) -> Vec<String> {
        serde_json::from_str(&self.does("unfinished", path, &[])).unwrap()
    }

    /// The objects below a path with their content.
    fn texts(&self, path: &str) -> serde_json::Map<String, Value> {
        self.texts_of(path, &[])
    }

    /// Those of them with one of these texts in their names, or all if there is none.
    fn texts_of(&self, path: &str, parts: &[&str]) -> serde_json::Map<String, Value> {
        serde_json::from_str(&self.does("texts", path, parts)).unwrap()
    }

    /// The rows of all Parquet files below a path.
    fn rows(&self, path: &str) -> Vec<Value> {
        serde_json::from_str(&self.does("rows", path, &[])).unwrap()
    }
}

/// Starts a server by the script that guards it, and returns what the script says of it. The server ends when the
/// guardian is dropped, or this process is gone and the pipe between them with it.
pub(crate) fn guarded(script: &mut Command) -> (Value, Child) {
    let (said, guardian, _) = guarded_and_heard(script);
    (said, guardian)
}

/// The same with what the script goes on to say.
pub(crate) fn guarded_and_heard(script: &mut Command) -> (Value, Child, BufReader<ChildStdout>) {
    let mut guardian = script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut heard = BufReader::new(guardian.stdout.take().unwrap());
    let mut line = String::new();
    heard.read_line(&mut line).unwrap();
    let said = serde_json::from_str(&line).unwrap_or_else(|e| panic!("there is no server: {e}: {script:?}"));
    (said, guardian, heard)
}

/// A proxy before the server of a place, and the variables by which a program finds it instead of the server.
pub(crate) fn behind_a_proxy(place: &dyn Place) -> (Proxy, Vec<(&'static str, String)>) {
    let mut variables = place.variables();
    let (_, endpoint) = variables.iter_mut().find(|(name, _)| name.contains("ENDPOINT")).unwrap();
    let server = endpoint.split('/').nth(2).unwrap().to_string();
    let proxy = Proxy::new(server.parse().unwrap()).unwrap();
    *endpoint = endpoint.replace(&server, &proxy.address().to_string());
    (proxy, variables)
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
