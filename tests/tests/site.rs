//! A table that is loaded again and again, in a folder or in a bucket, and everything that lies around it.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::sync::Mutex;

use serde_json::Value;

use crate::harness::{Bench, Outcome, done};
use crate::place::Place;

/// Where a table is.
#[derive(Clone, Copy)]
pub(crate) enum At<'a> {
    /// In a folder.
    Folder,
    /// Below a prefix of a bucket, with the ledger beside it or in a folder.
    Bucket { bucket: &'a dyn Place, prefix: &'a str, with_ledger: bool },
}

/// A bench with a source of two units and one table of two partitions, a part of whose rows is put aside.
pub(crate) struct Site {
    pub(crate) bench: Bench,
}

/// What a load comes to that nothing disturbs.
pub(crate) struct Undisturbed {
    /// What readers find before it and after it.
    pub(crate) seen: [String; 2],
    pub(crate) digest: String,
}

/// What is in a place.
#[derive(Debug, Default)]
pub(crate) struct Inventory {
    files: BTreeSet<String>,
    /// The texts of manifests and of the entries of logs.
    texts: BTreeMap<String, String>,
    uploads: Vec<String>,
}

/// What tells of the files of tables.
const LISTS: [&str; 2] = ["/_transload/manifest/", "/_delta_log/"];

impl Site {
    /// One with a table of a kind, `lake` or `delta`, that is loaded in a mode.
    pub(crate) fn new(kind: &str, mode: &str, at: At<'_>) -> Self {
        let (variables, url) = match at {
            At::Folder => (Vec::new(), "lake".to_string()),
            At::Bucket { bucket, prefix, with_ledger } => {
                let variables = match with_ledger {
                    true => bucket.variables_with_ledger(&format!("{prefix}/ledger")),
                    false => bucket.variables(),
                };
                (variables, bucket.url(&format!("{prefix}/lake")))
            }
        };
        let bench = Bench::with(variables);
        // Each commit but the first makes a checkpoint of the log.
        let more = if kind == "delta" { "properties: { delta.checkpointInterval: \"1\" }, " } else { "" };
        bench.write(
            "p.yaml",
            format!(
                "version: 1\npipeline: site\nsource: {{ lake: {{ url: in, format: csv }} }}\n\
                 target: {{ {kind}: {{ url: '{url}', {more}parquet: {{ row_group_rows: 20 }} }} }}\n\
                 tables:\n  - from: sales\n    key: [id]\n    mode: {mode}\n    partition_by: [ {{ identity: region }} ]\n    \
                 columns: {{ amount: {{ cast: int64, on_misfit: quarantine }} }}\n    \
                 checks: [ {{ not_null: {{ columns: [id] }} }} ]\n"
            ),
        );
        bench.write(
            "reader.yaml",
            format!(
                "version: 1\npipeline: reader\nsource: {{ {kind}: {{ url: '{url}' }} }}\n\
                 target: {{ lake: {{ url: seen }} }}\ntables: [ {{ from: sales, key: [id] }} ]\n"
            ),
        );
        Self { bench }
    }

    /// The same in a folder of its own, if it is in a folder.
    pub(crate) fn copy(&self) -> Self {
        let copy = Self { bench: Bench::new() };
        done(Command::new("cp").arg("-a").arg(self.bench.path(".")).arg(copy.bench.path(".")));
        copy
    }

    /// Lets the source hold the rows of a version, which no other version has.
    pub(crate) fn write_source(&self, version: u64) {
        for file in 0..2 {
            let first = version * 1000 + file * 100;
            let mut text = String::from("id,region,amount,note\n");
            for id in first..first + 60 + version {
                let region = ["north", "south"][(id % 2) as usize];
                let amount = if id % 50 == 0 { "much".to_string() } else { (id * 7).to_string() };
                text.push_str(&format!("{id},{region},{amount},{}\n", "n".repeat((id % 40) as usize)));
            }
            self.bench.write(&format!("in/sales/{file}.csv"), text);
        }
    }

    /// Loads what the source holds, one unit after the other, with fault points armed.
    pub(crate) fn load(&self, faults: &str) -> Outcome {
        self.bench.run_with_faults(&["run", "p.yaml", "--parallel", "1"], faults)
    }

    /// What a load of the second version over the first comes to that nothing disturbs. There is no table before.
    pub(crate) fn undisturbed(&self) -> Undisturbed {
        self.write_source(1);
        self.load("").expect(0);
        let before = self.seen();
        self.write_source(2);
        let digest = digest(&self.load("").expect(0));
        Undisturbed { seen: [before, self.seen()], digest }
    }

    /// The digest of the table as a reader finds it.
    #[track_caller]
    pub(crate) fn seen(&self) -> String {
        digest(&self.bench.run(&["run", "reader.yaml", "--ledger", "reader"]).expect(0))
    }

    /// The loads that the ledger knows, newest first.
    #[track_caller]
    pub(crate) fn runs(&self) -> Vec<String> {
        let runs = self.bench.run(&["runs", "--format", "json"]).expect(0).last_line();
        runs["runs"].as_array().unwrap().iter().map(|run| run["run_id"].as_str().unwrap().to_string()).collect()
    }

    /// What is in a folder of the bench.
    pub(crate) fn inventory(&self, folder: &str) -> Inventory {
        let root = self.bench.path(folder);
        let mut found = Inventory::default();
        for file in self.bench.all_files(folder) {
            let path = file.strip_prefix(&root).unwrap().to_str().unwrap().to_string();
            if is_list(&path) {
                found.texts.insert(path.clone(), std::fs::read_to_string(&file).unwrap());
            }
            found.files.insert(path);
        }
        found
    }
}

/// Does something with all of these, so many at the same time.
pub(crate) fn each<T: Send, R: Send>(workers: usize, all: Vec<T>, work: impl Fn(T) -> R + Sync) -> Vec<R> {
    let waiting = Mutex::new(all.into_iter());
    let worker = || {
        let mut done = Vec::new();
        loop {
            let next = waiting.lock().unwrap().next();
            match next {
                Some(one) => done.push(work(one)),
                None => return done,
            }
        }
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    })
}

/// The digest of the only table of a run.
#[track_caller]
pub(crate) fn digest(outcome: &Outcome) -> String {
    outcome.last_line()["tables"][0]["digest"].as_str().unwrap_or_else(|| panic!("{outcome:?}")).to_string()
}

fn is_list(path: &str) -> bool {
    path.ends_with(".json") && LISTS.iter().any(|list| path.contains(list))
}

impl Inventory {
    /// Everything in a bucket.
    pub(crate) fn of(bucket: &dyn Place) -> Self {
        let texts = bucket.texts_of("", &LISTS).into_iter();
        let texts = texts.filter(|(path, _)| is_list(path));
        Self {
            files: bucket.files("").into_iter().collect(),
            texts: texts.map(|(path, text)| (path, text.as_str().unwrap().to_string())).collect(),
            uploads: if bucket.forgets_uploads() { bucket.unfinished("") } else { Vec::new() },
        }
    }

    /// What of it is below a folder.
    pub(crate) fn below(&self, folder: &str) -> Self {
        let inside = |path: &String| Some(path.strip_prefix(folder)?.strip_prefix('/')?.to_string());
        Self {
            files: self.files.iter().filter_map(inside).collect(),
            texts: self.texts.iter().filter_map(|(path, text)| Some((inside(path)?, text.clone()))).collect(),
            uploads: self.uploads.iter().filter_map(inside).collect(),
        }
    }

    /// How often there was a commit to a table.
    pub(crate) fn commits(&self) -> usize {
        self.texts.len()
    }

    /// What lies there and is not the tables': no file of theirs, nor what tells of it. Uploads, too.
    pub(crate) fn strangers(&self) -> Vec<String> {
        let known = self.known();
        let strange = self.files.iter().filter(|path| !known.contains(*path)).cloned();
        strange.chain(self.uploads.iter().map(|path| format!("an upload of {path}"))).collect()
    }

    /// The strangers that a program finds which lists files and leaves out hidden folders.
    pub(crate) fn visible_strangers(&self) -> Vec<String> {
        let is_hidden =
            |path: &String| path.split('/').any(|part| part.starts_with('_')) || path.starts_with("an upload");
        self.strangers().into_iter().filter(|path| !is_hidden(path)).collect()
    }

    fn known(&self) -> BTreeSet<String> {
        let mut known: BTreeSet<String> = BTreeSet::new();
        let mut newest: BTreeMap<&str, &str> = BTreeMap::new();
        for (path, text) in &self.texts {
            known.insert(path.clone());
            if let Some((table, _)) = path.split_once(LISTS[0]) {
                // They come in the order of their numbers.
                newest.insert(table, text);
            } else if let Some((table, entry)) = path.split_once(LISTS[1]) {
                for line in text.lines() {
                    known.extend(in_entry(table, entry, &serde_json::from_str(line).unwrap()));
                }
            }
        }
        for (table, manifest) in newest {
            let manifest: Value = serde_json::from_str(manifest).unwrap();
            let files = manifest["files"].as_array().unwrap().iter();
            known.extend(files.map(|file| format!("{table}/{}", file["path"].as_str().unwrap())));
        }
        let beside = |path: &&String| {
            path.ends_with("/_transload/lock")
                || path.contains(LISTS[1])
                    && (path.ends_with(".checkpoint.parquet") || path.ends_with("/_last_checkpoint"))
        };
        known.extend(self.files.iter().filter(beside).cloned());
        known
    }
}

/// What an action in an entry of a table's log knows: a file that it adds or takes out, or the record of its commit.
fn in_entry(table: &str, entry: &str, action: &Value) -> Option<String> {
    let file = action["add"]["path"].as_str().or(action["remove"]["path"].as_str());
    if let Some(file) = file {
        return Some(format!("{table}/{file}"));
    }
    let (_, key) = action["txn"]["appId"].as_str()?.split_once('/')?;
    Some(format!("{table}/_transload/commits/{}-{key}.json", entry.strip_suffix(".json")?))
}

#[test]
fn a_stranger_is_told_from_what_is_a_table_s() {
    let mut all = Inventory::default();
    let manifest = r#"{"files":[{"path":"p=1/new.parquet"}]}"#;
    let entry = "{\"add\":{\"path\":\"a.parquet\"}}\n{\"remove\":{\"path\":\"b.parquet\"}}\n{\"txn\":{\"appId\":\"transload/K\"}}\n";
    let texts = [
        ("x/t/_transload/manifest/1.json", "{\"files\":[{\"path\":\"old.parquet\"}]}"),
        ("x/t/_transload/manifest/2.json", manifest),
        ("x/d/_delta_log/0.json", entry),
    ];
    all.texts.extend(texts.map(|(path, text)| (path.to_string(), text.to_string())));
    let known = ["x/t/p=1/new.parquet", "x/t/_transload/lock", "x/d/a.parquet", "x/d/b.parquet"];
    let more = ["x/d/_transload/commits/0-K.json", "x/d/_delta_log/_last_checkpoint", "y/foreign"];
    let strange = [
        "x/d/_delta_log/.1.tmp",
        "x/d/_transload/commits/1-L.json",
        "x/t/_transload/staging/K/0.staged",
        "x/t/old.parquet",
    ];
    let files = texts.iter().map(|(path, _)| *path).chain(known).chain(more).chain(strange);
    all.files.extend(files.map(str::to_string));
    all.uploads.push("x/t/u.parquet".to_string());
    let mut expected: Vec<String> = strange.iter().map(|path| path.strip_prefix("x/").unwrap().to_string()).collect();
    expected.push("an upload of t/u.parquet".to_string());
    assert_eq!(all.below("x").strangers(), expected);
    assert_eq!(all.below("x").visible_strangers(), ["t/old.parquet"]);
}
