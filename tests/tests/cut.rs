//! Loads and reads through a proxy that breaks what goes through it: connections that are reset, bodies that break off,
//! servers that are silent, slow or gone, and answers that nobody hears.
//!
//! Whatever goes wrong, a run ends with all rows or with a passing error. What is gone on with then ends like a run that
//! nothing has disturbed, and the table holds every row once: rows are added, so that a second time would show.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use serde_json::Value;
use transload_testkit::proxy::{End, Fault, Proxy, Rule, When};

use crate::azure::Container;
use crate::buckets::assert_tidy;
use crate::harness::{Bench, Outcome};
use crate::place::{Place, behind_a_proxy};
use crate::s3::Bucket;
use crate::server::{Server, answer};
use crate::web::{self, COMMON, Web};

const FILES: u64 = 3;
const ROWS_OF_A_FILE: u64 = 400;
const ROWS: u64 = FILES * ROWS_OF_A_FILE;

/// What a server says that has too much to do.
const BUSY: &str = "HTTP/1.1 503 Slow Down\r\nConnection: close\r\nContent-Length: 36\r\n\r\n\
                    <Error><Code>SlowDown</Code></Error>";
/// What one says that does not let the key do this.
const DENIED: &str = "HTTP/1.1 403 Forbidden\r\nConnection: close\r\nContent-Length: 40\r\n\r\n\
                      <Error><Code>AccessDenied</Code></Error>";
/// What every request has in its first line.
const ANY: &str = " HTTP/1.1";

/// The options of a store that is waited for, but not for long.
const PATIENT: &str = "timeout_secs: 5, retry_secs: 5";

fn bucket() -> &'static Bucket {
    static BUCKET: OnceLock<Bucket> = OnceLock::new();
    BUCKET.get_or_init(|| Bucket::new("cut"))
}

fn container() -> &'static Container {
    static CONTAINER: OnceLock<Container> = OnceLock::new();
    CONTAINER.get_or_init(|| Container::new("cut"))
}

/// Tests a lake and a Delta table in a bucket, and a lake in a container, at the same time.
fn on_each_table(test: impl Fn(&'static dyn Place, &'static str) + Sync) {
    std::thread::scope(|scope| {
        scope.spawn(|| test(bucket(), "lake"));
        scope.spawn(|| test(bucket(), "delta"));
        scope.spawn(|| test(container(), "lake"));
    });
}

/// The rows: three files of a few kilobytes.
fn write_rows(bench: &Bench) {
    for file in 0..FILES {
        let mut text = String::from("id,word\n");
        for id in file * ROWS_OF_A_FILE..(file + 1) * ROWS_OF_A_FILE {
            // Nothing that could be packed.
            let word = id.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            text.push_str(&format!("{id},{word:016x}{:016x}\n", word.wrapping_mul(word)));
        }
        bench.write(&format!("in/t/{file}.csv"), text);
    }
}

fn digest(outcome: &Outcome) -> String {
    outcome.last_line()["tables"][0]["digest"].as_str().unwrap_or_default().to_string()
}

/// The digest of the rows.
fn undisturbed() -> &'static str {
    static DIGEST: OnceLock<String> = OnceLock::new();
    DIGEST.get_or_init(|| {
        let bench = Bench::new();
        write_rows(&bench);
        bench.write(
            "p.yaml",
            "version: 1\npipeline: p\nsource: { lake: { url: in, format: csv } }\ntarget: { lake: { url: out } }\n\
             tables: [ { from: t, key: [id] } ]\n",
        );
        digest(&bench.run(&["run", "p.yaml"]).expect(0))
    })
}

/// A table of a place that is reached through a proxy.
struct Route {
    place: &'static dyn Place,
    folder: String,
    proxy: Proxy,
    bench: Bench,
}

impl Route {
    /// A table of a kind in a folder that no other test uses, by a connection with these options of its store. The ledger
    /// is on this machine.
    fn new(place: &'static dyn Place, kind: &str, folder: &str, options: &str) -> Self {
        Self::make(place, kind, folder, options, false)
    }

    /// The same, with the ledger in the same place. It knows no options.
    fn with_ledger(place: &'static dyn Place, kind: &str, folder: &str, options: &str) -> Self {
        Self::make(place, kind, folder, options, true)
    }

    fn make(place: &'static dyn Place, kind: &str, folder: &str, options: &str, with_ledger: bool) -> Self {
        let folder = format!("{folder}/{kind}");
        let (proxy, mut variables) = behind_a_proxy(place);
        if with_ledger {
            variables.push(("TRANSLOAD_LEDGER", place.url(&format!("{folder}/ledger"))));
        }
        let bench = Bench::with(variables);
        write_rows(&bench);
        let url = place.url(&folder);
        let store = if url.starts_with("s3") { "s3" } else { "azure" };
        let table = format!("{kind}: {{ url: '{url}', {store}: {{ {options} }} }}");
        bench.write(
            "p.yaml",
            format!(
                "version: 1\npipeline: cut\nsource: {{ lake: {{ url: in, format: csv }} }}\ntarget: {{ {table} }}\n\
                 tables: [ {{ from: t, key: [id], mode: append }} ]\n"
            ),
        );
        bench.write(
            "back.yaml",
            format!(
                "version: 1\npipeline: back\nsource: {{ {table} }}\ntarget: {{ lake: {{ url: back }} }}\n\
                 tables: [ {{ from: t, key: [id] }} ]\n"
            ),
        );
        Self { place, folder, proxy, bench }
    }

    /// Runs a pipeline while things go wrong, and asserts that it ends with all rows or with a passing error. Returns what
    /// was struck, too.
    #[track_caller]
    fn disturbed(&self, file: &str, rules: &[Rule]) -> (Outcome, Vec<String>) {
        let note = &self.folder;
        self.proxy.set(rules.to_vec());
        let outcome = self.bench.run(&["run", file]);
        let struck = self.proxy.struck();
        self.proxy.set([]);
        assert!(!struck.is_empty(), "{note}: nothing went wrong: {rules:?}");
        match outcome.code {
            0 => assert_eq!(digest(&outcome), undisturbed(), "{note}: {outcome:?}"),
            8 | 75 => {
                let is_said = outcome.stderr.contains("error: ") && !outcome.stderr.contains("panicked");
                assert!(is_said, "{note}: {outcome:?}");
            }
            _ => panic!("{note}: {outcome:?}\n{struck:#?}"),
        }
        (outcome, struck)
    }

    /// Goes on with what was disturbed. A run that had begun has its name in the last line.
    #[track_caller]
    fn goes_on(&self, file: &str, disturbed: &Outcome) {
        if disturbed.code == 0 {
            return;
        }
        let outcome = match disturbed.stdout.is_empty() {
            true => self.bench.run(&["run", file]),
            false => self.bench.run(&["resume", disturbed.last_line()["run_id"].as_str().unwrap()]),
        };
        assert_eq!(outcome.code, 0, "{}: {disturbed:?}\n{outcome:?}", self.folder);
        assert_eq!(digest(&outcome), undisturbed(), "{}", self.folder);
    }

    /// Loads while things go wrong, goes on when they do not any more, and asserts that the table holds every row once.
    #[track_caller]
    fn survives(&self, rules: &[Rule]) -> (Outcome, Vec<String>) {
        let (disturbed, struck) = self.disturbed("p.yaml", rules);
        self.goes_on("p.yaml", &disturbed);
        self.holds_every_row_once();
        (disturbed, struck)
    }

    /// Reads the table while things go wrong, and when they do not any more.
    #[track_caller]
    fn is_read(&self, rules: &[Rule]) -> Outcome {
        let (disturbed, _) = self.disturbed("back.yaml", rules);
        self.goes_on("back.yaml", &disturbed);
        disturbed
    }

    #[track_caller]
    fn holds_every_row_once(&self) {
        let read = self.bench.run(&["run", "back.yaml"]);
        assert_eq!(read.code, 0, "{}: {read:?}", self.folder);
        assert_eq!(digest(&read), undisturbed(), "{}", self.folder);
        assert_eq!(read.last_line()["tables"][0]["read"], ROWS, "{}", self.folder);
    }

    /// Asserts that nothing is left but the table.
    #[track_caller]
    fn is_tidy(&self) {
        if self.folder.ends_with("/lake") {
            assert_tidy(self.place, &format!("{}/t", self.folder));
        }
        let staged = self.place.files(&self.folder).into_iter().filter(|file| file.contains("/staging/"));
        assert_eq!(staged.collect::<Vec<_>>(), [""; 0]);
        if self.place.forgets_uploads() {
            assert_eq!(self.place.unfinished(&self.folder), [""; 0]);
        }
    }
}

/// Requests that send a part of a file, in the words of S3 and of Azure.
const PARTS: [[&str; 2]; 2] = [["PUT ", "partNumber="], ["PUT ", "comp=block&"]];

/// Such requests break off: in the body, and before it. The emulator keeps a place for each body that does not end, and has
/// fifty.
fn cut_parts(when: When, end: End) -> [Rule; 2] {
    let [part, block] = PARTS;
    [
        Rule::requests(part, when, Fault::CutRequest(2_000, end)),
        Rule::requests(block, when, Fault::CutRequest(300, end)),
    ]
}

/// The request that publishes a table, of each kind.
fn publishing(when: When, fault: &Fault) -> [Rule; 2] {
    [["PUT ", "/manifest/"], ["PUT ", "/_delta_log/"]].map(|texts| Rule::requests(texts, when, fault.clone()))
}

/// Requests that read files of tables.
fn reads(when: When, fault: Fault) -> Rule {
    Rule::requests(["GET ", ".parquet"], when, fault)
}

#[test]
fn servers_that_are_slow_or_far_away_are_waited_for() {
    on_each_table(|place, kind| {
        let route = Route::new(place, kind, "slow", PATIENT);
        let late = [Rule::requests([ANY], When::Always, Fault::Late(Duration::from_millis(50)))];
        let slow = [Rule::connections(When::Always, Fault::Slow(50_000))];
        assert_eq!(route.survives(&late).0.code, 0);
        for rules in [late, slow] {
            assert_eq!(route.is_read(&rules).code, 0);
        }
        let route = Route::new(place, kind, "slower", PATIENT);
        assert_eq!(route.survives(&[Rule::connections(When::Always, Fault::Slow(50_000))]).0.code, 0);
    });
}

#[test]
fn connections_that_are_reset_are_made_again() {
    on_each_table(|place, kind| {
        let own = [
            ("at-once", Rule::connections(When::Every(2), Fault::CutRequest(0, End::Reset))),
            ("asking", Rule::connections(When::Every(2), Fault::CutRequest(300, End::Reset))),
            ("answering", Rule::connections(When::Every(2), Fault::CutAnswer(3_000, End::Reset))),
        ];
        for (folder, rule) in own {
            let route = Route::new(place, kind, &format!("reset-{folder}"), PATIENT);
            let unheard = Rule::requests([ANY], When::Every(11), Fault::CutRequest(0, End::Reset));
            let rules = [rule, unheard];
            route.survives(&rules);
            route.is_read(&rules);
        }
    });
}

#[test]
fn bodies_that_break_off_are_not_taken_for_whole() {
    on_each_table(|place, kind| {
        for end in [End::Closed, End::Reset] {
            let route = Route::new(place, kind, &format!("body-{end:?}"), PATIENT);
            route.survives(&cut_parts(When::Every(2), end));
            // Of heads a few hundred bytes are gone already.
            for after in [900, 6_000] {
                route.is_read(&[reads(When::Every(2), Fault::CutAnswer(after, end))]);
            }
            assert_eq!(route.is_read(&[reads(When::Always, Fault::CutAnswer(6_000, end))]).code, 0);
        }
    });
}

#[test]
fn parts_that_never_arrive_are_a_passing_error() {
    on_each_table(|place, kind| {
        let route = Route::new(place, kind, "parts", "timeout_secs: 5, retry_secs: 0");
        assert_eq!(route.survives(&cut_parts(When::Always, End::Reset)).0.code, 75);
    });
}

#[test]
fn a_file_of_a_web_server_that_breaks_off_is_not_taken_for_whole() {
    let web = Web::new(COMMON);
    let text: String = (0..20_000).map(|id| format!("{id},{}\n", id * 7)).collect();
    web.put("/data/t.csv", format!("id,n\n{text}"));
    let proxy = Proxy::new(web.server.place.parse().unwrap()).unwrap();
    let table = "  - from: t.csv\n    to: t\n    key: [id]\n";
    let bench = web::bench(&proxy.address().to_string(), ", format: csv", table);
    for (when, fault, codes) in [
        (When::Always, Fault::Late(Duration::from_millis(50)), &[0][..]),
        (When::Always, Fault::Slow(2_000_000), &[0][..]),
        (When::Nth(1), Fault::CutAnswer(50_000, End::Closed), &[0, 75][..]),
        (When::Nth(2), Fault::CutAnswer(50_000, End::Reset), &[0, 75][..]),
        (When::Nth(3), Fault::CutAnswer(50_000, End::Closed), &[0, 75][..]),
        (When::Always, Fault::CutAnswer(50_000, End::Closed), &[75][..]),
        (When::Always, Fault::Refuse(Duration::from_secs(60)), &[75][..]),
    ] {
        proxy.set([Rule::requests(["GET "], when, fault.clone())]);
        let outcome = bench.run(&["run", "p.yaml"]);
        let struck = proxy.struck();
        proxy.set([]);
        assert!(codes.contains(&outcome.code) && !struck.is_empty(), "{when:?} {fault:?}: {outcome:?}\n{struck:#?}");
        if outcome.code == 0 {
            assert_eq!(outcome.last_line()["tables"][0]["read"], 20_000, "{when:?} {fault:?}");
        }
    }
    assert_eq!(bench.run(&["run", "p.yaml"]).expect(0).last_line()["tables"][0]["read"], 20_000);
}

#[test]
fn an_answer_that_is_shorter_than_it_says_is_not_taken_for_whole() {
    let text: String = (0..2_000).map(|id| format!("{id},{}\n", id * 7)).collect();
    let server = Server::with(move |_, request| {
        let (size, mark) = (text.len(), ("ETag", "\"1\"".to_string()));
        let Some(range) = request.header("range").and_then(|range| range.strip_prefix("bytes=")) else {
            return answer("200 OK", &[mark], text.as_bytes());
        };
        let (start, end) = range.split_once('-').unwrap();
        let (start, end): (usize, usize) = (start.parse().unwrap(), end.parse::<usize>().unwrap().min(size - 1));
        // Up to the end of a line, as if that were all.
        let half = text[..=start + (end - start) / 2].rfind('\n').unwrap_or(end);
        let headers = [mark, ("Content-Range", format!("bytes {start}-{end}/{size}"))];
        answer("206 Partial Content", &headers, &text.as_bytes()[start..=half])
    });
    let header = ", format: csv, csv: { header: false }";
    let bench = web::bench(&server.place, header, "  - from: t.csv\n    to: t\n");
    bench.run(&["run", "p.yaml"]).expect(75).says("the answer is not as long as it says");
}

#[test]
fn silence_is_not_waited_for_without_end() {
    on_each_table(|place, kind| {
        let route = Route::new(place, kind, "silent-once", "timeout_secs: 2, retry_secs: 10");
        let [manifest, log] = publishing(When::First(1), &Fault::Silence);
        let [part, block] = PARTS.map(|texts| Rule::requests(texts, When::First(1), Fault::Silence));
        let list = Rule::requests(["GET ", "prefix=", "manifest"], When::First(1), Fault::Silence);
        let (outcome, struck) = route.survives(&[manifest, log, part, block, list]);
        assert_eq!(outcome.code, 0, "{outcome:?}");
        assert!(struck.len() >= 2, "{struck:?}");
        route.is_read(&[reads(When::Every(3), Fault::Silence)]);

        let route = Route::new(place, kind, "silent", "timeout_secs: 3, retry_secs: 1");
        let begun = Instant::now();
        let (outcome, _) = route.survives(&[Rule::requests([ANY], When::After(12), Fault::Silence)]);
        assert_eq!(outcome.code, 75, "{outcome:?}");
        assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
        outcome.says("the object store failed or cannot be reached").says("transload resume");
    });
}

#[test]
fn a_server_that_is_gone_for_a_moment_in_the_midst_of_a_commit_is_waited_for() {
    on_each_table(|place, kind| {
        let route = Route::new(place, kind, "gone", "timeout_secs: 5, retry_secs: 20");
        let gone = publishing(When::Nth(1), &Fault::Refuse(Duration::from_millis(1500)));
        assert_eq!(route.survives(&gone).0.code, 0);
        route.is_tidy();
    });
}

#[test]
fn an_outage_in_the_midst_of_a_commit_is_gone_on_with_when_it_is_over() {
    let route = Route::new(bucket(), "lake", "outage", "timeout_secs: 2, retry_secs: 0");
    let gone = publishing(When::Nth(1), &Fault::Refuse(Duration::from_secs(600)));
    // It waits for its own lock, which it could not give back.
    let (outcome, _) = route.survives(&gone);
    assert!([8, 75].contains(&outcome.code), "{outcome:?}");
    route.is_tidy();
}

/// Requests that write something: those that every load makes, those of S3, those of Azure, and what publishes a table.
static WRITES: [[&str; 2]; 20] = [
    ["PUT ", "/locks/"],
    ["PUT ", "/artifacts/"],
    ["PUT ", "/start.json"],
    ["PUT ", "/audit/"],
    ["PUT ", ".upload"],
    ["PUT ", "/unit-"],
    ["PUT ", "/_transload/lock"],
    ["PUT ", "/receipt-"],
    ["PUT ", "/verdict-"],
    ["PUT ", "/end-"],
    ["POST ", "uploads="],
    ["PUT ", "partNumber="],
    ["POST ", "uploadId="],
    ["POST ", "?delete"],
    ["PUT ", "comp=block&"],
    ["PUT ", "comp=blocklist"],
    ["POST ", "comp=batch"],
    ["PUT ", "/manifest/"],
    ["PUT ", "/_delta_log/"],
    ["PUT ", "/moves.json"],
];

#[test]
fn answers_that_nobody_hears_do_no_harm() {
    on_each_table(|place, kind| {
        // A server that resets the connection, and one that closes it: clients take it differently.
        for (end, times) in [(End::Reset, 2), (End::Closed, 1)] {
            let route = Route::with_ledger(place, kind, &format!("unheard-{end:?}"), PATIENT);
            let lost = WRITES.map(|texts| Rule::requests(texts, When::First(times), Fault::CutAnswer(0, end)));
            let (outcome, struck) = route.survives(&lost);
            assert_eq!(outcome.code, 0, "{outcome:?}\n{struck:#?}");
            let is_struck = |texts: &[&str; 2]| struck.iter().any(|line| texts.iter().all(|text| line.contains(text)));
            let in_vain: Vec<&[&str; 2]> = WRITES[..10].iter().filter(|&texts| !is_struck(texts)).collect();
            assert_eq!(in_vain, [&[""; 2]; 0], "{struck:#?}");
            // What is published, completed and removed.
            let published = if kind == "delta" { &WRITES[18] } else { &WRITES[17] };
            let completed = if place.forgets_uploads() { &WRITES[10..14] } else { &WRITES[14..17] };
            assert!(completed.iter().chain([published]).all(is_struck), "{struck:#?}");
            route.is_tidy();
            route.bench.run(&["audit", "verify"]).expect(0);
        }
    });
}

#[test]
fn a_run_whose_end_cannot_be_written_down_is_gone_on_with() {
    for (folder, texts) in [("end", ["PUT ", "/end-"]), ("chain", ["PUT ", "/audit/000000000004"])] {
        let route = Route::with_ledger(bucket(), "lake", folder, PATIENT);
        let denied = Rule::requests(texts, When::Always, Fault::Answer(DENIED.to_string()));
        route.proxy.set([denied]);
        let outcome = route.bench.run(&["run", "p.yaml"]).expect(8);
        assert_eq!(route.proxy.struck().len(), 1, "{folder}: {:?}", route.proxy.struck());
        route.proxy.set([]);
        let outcome = outcome.says("the ledger could not be told").says("access was refused").says("transload resume");
        let line = outcome.last_line();
        assert_eq!((&line["status"], &line["exit_code"]), (&Value::from("failed"), &Value::from(8)));
        assert_eq!(line["tables"][0]["verdict"], "match");
        route.goes_on("p.yaml", &outcome);
        route.holds_every_row_once();
        route.bench.run(&["audit", "verify"]).expect(0);
    }
}

#[test]
fn whatever_goes_wrong_every_row_arrives_once() {
    let mixed = |seed: u64| {
        [
            (9, Fault::CutAnswer(0, End::Reset)),
            (13, Fault::CutAnswer(300, End::Closed)),
            (17, Fault::CutRequest(200, End::Reset)),
            (23, Fault::Answer(BUSY.to_string())),
            (31, Fault::Late(Duration::from_millis(30))),
        ]
        .map(|(of, fault)| Rule::requests([ANY], When::OneIn(of, seed * 100 + of), fault))
    };
    let survives = |seed: u64| {
        let kind = if seed.is_multiple_of(4) { "delta" } else { "lake" };
        let route = Route::new(bucket(), kind, &format!("seed-{seed}"), PATIENT);
        route.survives(&mixed(seed));
        route.is_read(&mixed(seed + 1000));
    };
    std::thread::scope(|scope| {
        for first in 1..=5 {
            scope.spawn(move || (first..=20).step_by(5).for_each(survives));
        }
    });
}
