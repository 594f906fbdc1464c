//! Every Nth request of a load to a store fails: for now, for good, or it is done and the answer is lost.
//!
//! However that ends, nothing wrong is seen; and once the requests are answered again, the load can be brought to its end,
//! and arrives once.

use crate::harness::{Bench, tpch_pipeline};
use crate::place::Place;
use crate::s3::Bucket;
use crate::site::{At, Inventory, Site, Undisturbed, digest, each};

const HOW: [&str; 3] = ["transient", "permanent", "after"];
/// Which requests fail of a load into a folder, of which there are some hundred.
const EVERY: [u32; 12] = [1, 2, 3, 5, 7, 11, 17, 23, 37, 59, 97, 151];
/// The same for a bucket, where a lock that was not given back has to run out.
const EVERY_IN_BUCKETS: [u32; 8] = [1, 5, 11, 17, 23, 37, 59, 83];

/// A load, and which of its requests fail.
struct Cell {
    mode: &'static str,
    how: &'static str,
    every: u32,
}

/// What is to be expected by the mode: rows that are replaced, and rows that must not be added twice.
type Expected = [(&'static str, Undisturbed); 2];

impl Cell {
    fn all(every: &[u32]) -> Vec<Self> {
        let all = every.iter().flat_map(|every| HOW.map(|how| (how, *every)));
        let modes = ["full", "append"].into_iter().cycle();
        all.zip(modes).map(|((how, every), mode)| Self { mode, how, every }).collect()
    }

    fn name(&self) -> String {
        format!("every={},how={}, mode {}", self.every, self.how, self.mode)
    }

    /// Loads with faults, then without, until the rows have arrived.
    fn comes_through(&self, site: &Site, expected: &Expected) {
        let (name, args) = (self.name(), ["run", "p.yaml", "--parallel", "1"]);
        let (_, expected) = expected.iter().find(|(mode, _)| *mode == self.mode).unwrap();
        let [old, new] = &expected.seen;
        let before = site.runs();
        site.write_source(2);
        let broken = site.bench.run_with_faulty_io(&args, &format!("every={},how={}", self.every, self.how));
        // What passes is not taken for what does not.
        let codes: &[i32] = if self.how == "permanent" { &[0, 3, 8, 75] } else { &[0, 8, 75] };
        assert!(codes.contains(&broken.code), "{name}: {broken:?}");
        let seen = site.seen();
        assert!([old, new].contains(&&seen), "{name}: a reader sees something else: {broken:?}");
        if broken.code == 0 {
            assert_eq!((&digest(&broken), &seen), (&expected.digest, new), "{name}");
        }
        if seen == *new {
            // Who is told by no last line which run to resume begins a new one, and adds the rows again.
            assert_eq!(broken.last_line()["exit_code"], broken.code, "{name}: {broken:?}");
        }

        let run = site.runs().into_iter().find(|run| !before.contains(run));
        if let Some(run) = run {
            let resumed = site.bench.run(&["resume", &run]);
            // Either nobody need resume it, or it has failed for good.
            let has_ended = resumed.code == 99 && (seen == *new || broken.code == 3);
            assert!(resumed.code == 0 || has_ended, "{name}: {broken:?}, then {resumed:?}");
        }
        if site.seen() == *old {
            site.load("").expect(0);
        }
        assert_eq!(site.seen(), *new, "{name}: in the end");
        site.bench.run(&["audit", "verify"]).expect(0);
        let cleaned = site.bench.run(&["clean", "p.yaml", "--older-than", "0s"]);
        assert!([0, 99].contains(&cleaned.code), "{name}: {cleaned:?}");
    }
}

fn expected(kind: &str) -> Expected {
    ["full", "append"].map(|mode| (mode, Site::new(kind, mode, At::Folder).undisturbed()))
}

fn comes_through_in_a_folder(kind: &str) {
    let expected = expected(kind);
    let loaded = ["full", "append"].map(|mode| {
        let site = Site::new(kind, mode, At::Folder);
        site.write_source(1);
        site.load("").expect(0);
        (mode, site)
    });
    each(3, Cell::all(&EVERY), |cell| {
        let site = loaded.iter().find(|(mode, _)| *mode == cell.mode).unwrap().1.copy();
        cell.comes_through(&site, &expected);
        for folder in ["lake", ".transload/quarantine"] {
            assert_eq!(site.inventory(folder).strangers(), [""; 0], "{}", cell.name());
        }
    });
}

#[test]
fn a_load_into_a_folder_comes_through_when_requests_fail() {
    comes_through_in_a_folder("lake");
}

#[test]
fn a_load_into_a_delta_table_comes_through_when_requests_fail() {
    comes_through_in_a_folder("delta");
}

#[test]
fn a_load_into_a_bucket_comes_through_when_requests_fail() {
    let bucket = Bucket::new("faulty");
    let kinds = ["lake", "delta"].map(|kind| (kind, expected(kind)));
    let cells = kinds.iter().flat_map(|(kind, expected)| {
        let cells = Cell::all(&EVERY_IN_BUCKETS).into_iter();
        cells.map(move |cell| (*kind, expected, cell))
    });
    // Most of them wait.
    let done = each(12, cells.collect(), |(kind, expected, cell): (&str, &Expected, Cell)| {
        let prefix = format!("{kind}-{}-{}", cell.how, cell.every);
        let site = Site::new(kind, cell.mode, At::Bucket { bucket: &bucket, prefix: &prefix, with_ledger: false });
        site.write_source(1);
        site.load("").expect(0);
        cell.comes_through(&site, expected);
        (prefix, cell)
    });
    let left = Inventory::of(&bucket);
    for (prefix, cell) in done {
        let strangers = left.below(&format!("{prefix}/lake")).strangers();
        assert_eq!(strangers, [""; 0], "{prefix}: {}", cell.name());
    }
    assert_eq!(bucket.unfinished(""), [""; 0]);
}

#[test]
fn requests_fail_as_it_was_asked_for() {
    let bench = Bench::new();
    bench.write("p.yaml", tpch_pipeline("  - from: nation\n    key: [n_nationkey]\n"));
    let run = |faults: &str| bench.run_with_faulty_io(&["run", "p.yaml"], faults);
    run("every=1,how=transient").expect(75).says("reading or writing failed");
    run("every=1,how=permanent").expect(3).says("access was refused");
    run("every=1000000,how=after").expect(0);
    run("every=7").expect(2).says("TRANSLOAD_FAULTY_IO cannot be understood");
}
