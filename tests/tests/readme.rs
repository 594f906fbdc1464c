//! README and the pages behind it: what they claim, what they show, and where they lead.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use transload_testkit::{CLAIMS, Case, cases};

use crate::conformance::{LINES, Line, Store};
use crate::harness::{Bench, assert_block, python, root, updates_golden};
use crate::place::Place;
use crate::postgres::Database;
use crate::proofs::{self, Proofs};
use crate::s3::Bucket;

/// The matrix as README must show it: a row for each format of a connector, with a column for each claim.
fn matrix(proofs: &Proofs) -> String {
    let titles: Vec<&str> = CLAIMS.iter().map(|claim| claim.title).collect();
    let mut text =
        format!("| kind | {} | proven on |\n| --- |{}\n", titles.join(" | "), " --- |".repeat(titles.len() + 1));
    let mut rows: Vec<String> = Vec::new();
    for line in &LINES {
        if !rows.contains(&line.row()) {
            rows.push(line.row());
        }
    }
    for row in &rows {
        let claimed = claims(row, &Store::ALL);
        let cells = CLAIMS.iter().map(|claim| match claimed.contains(claim.name) {
            false => "no",
            true if Store::ALL.into_iter().any(|store| proves(proofs, row, store, claim.name)) => "yes",
            true => "unproven",
        });
        let cells: Vec<&str> = cells.collect();
        let (kind, format) = row.split_once(' ').unwrap_or((row.as_str(), ""));
        let title = format!("`{kind}` {format}");
        text.push_str(&format!("| {} | {} | {} |\n", title.trim(), cells.join(" | "), stores(proofs, row, &claimed)));
    }
    text
}

/// The cases of a row that are to be proven in a store, each with the line that has to prove it.
fn due(row: &str, store: Store) -> Vec<(String, &'static Case)> {
    let lines = LINES.iter().filter(|line| line.row() == row && line.stores.contains(&store));
    lines.flat_map(|line| line.example(store).due().into_iter().map(move |case| (line.name(), case))).collect()
}

/// The claims of a row that hold in some of the stores.
fn claims(row: &str, stores: &[Store]) -> BTreeSet<&'static str> {
    let lines = |store: Store| LINES.iter().filter(move |line| line.row() == row && line.stores.contains(&store));
    let held = stores.iter().flat_map(|store| lines(*store).map(move |line| line.example(*store)));
    held.flat_map(|subject| subject.claims().to_vec()).collect()
}

fn is_proven(proofs: &Proofs, store: Store, line: &str, case: &Case) -> bool {
    let lines = proofs.get(store.name());
    lines.and_then(|lines| lines.get(line)).is_some_and(|proven| proven.contains(case.name))
}

/// Whether everything that a claim promises is proven in a store.
fn proves(proofs: &Proofs, row: &str, store: Store, claim: &str) -> bool {
    let due: Vec<(String, &Case)> = due(row, store).into_iter().filter(|(_, case)| case.claim == claim).collect();
    let names: BTreeSet<&str> = due.iter().map(|(_, case)| case.name).collect();
    let all = cases().into_iter().filter(|case| case.claim == claim).all(|case| names.contains(case.name));
    all && due.iter().all(|(line, case)| is_proven(proofs, store, line, case))
}

/// The stores in which everything is proven that is to be proven there; with the claims, if not all can be made there.
fn stores(proofs: &Proofs, row: &str, claimed: &BTreeSet<&str>) -> String {
    let mut found = Vec::new();
    for store in Store::ALL {
        let due = due(row, store);
        if due.is_empty() || !due.iter().all(|(line, case)| is_proven(proofs, store, line, case)) {
            continue;
        }
        let here = claims(row, &[store]);
        let titles = CLAIMS.iter().filter(|claim| here.contains(claim.name)).map(|claim| claim.title);
        let titles: Vec<&str> = titles.collect();
        found.push(match here == *claimed {
            true => store.name().to_string(),
            false => format!("{} ({})", store.name(), titles.join(", ")),
        });
    }
    if found.is_empty() { "nothing yet".to_string() } else { found.join(", ") }
}

#[test]
fn the_matrix_in_the_readme_is_what_connectors_claim_and_runs_have_proven() {
    assert_block("README.md", "matrix", &matrix(&proofs::read()));
}

/// What nobody has proven does not say yes.
#[test]
fn a_claim_without_its_proof_is_unproven() {
    let all: Proofs = Store::ALL
        .into_iter()
        .map(|store| {
            let lines = LINES.iter().filter(|line| line.stores.contains(&store));
            let proven =
                |line: &'static Line| line.example(store).due().iter().map(|case| case.name.to_string()).collect();
            (store.name().to_string(), lines.map(|line| (line.name(), proven(line))).collect())
        })
        .collect();
    let csv = |proofs: &Proofs| {
        let row = matrix(proofs).lines().find(|line| line.contains("` csv ")).map(str::to_string);
        row.unwrap()
    };
    let (whole, none) = (csv(&all), csv(&Proofs::new()));
    assert!(
        whole.contains(" yes |") && !whole.contains("unproven") && whole.contains("folder, S3, Azure, http ("),
        "{whole}"
    );
    assert!(none.contains("unproven") && !none.contains(" yes |") && none.ends_with("| nothing yet |"), "{none}");

    let mut fewer = all.clone();
    let lost = fewer.get_mut("folder").unwrap().get_mut("lake csv, other quotes, gzip").unwrap();
    assert!(lost.remove("adding-adds"));
    let row = csv(&fewer);
    assert_eq!((row.matches("unproven").count(), row.contains("| S3, Azure, http (")), (1, true), "{row}");
    let matrix = matrix(&all);
    let orc = matrix.lines().find(|line| line.contains("` orc ")).unwrap();
    assert!(orc.starts_with("| `lake` orc | yes | no | ") && orc.ends_with(" | folder, S3, Azure, http |"), "{orc}");
}

/// The servers of the tests in the place of those that pages name.
#[derive(Default)]
struct Servers {
    /// What stands in a page, and what it stands for, as `tests/pages/walk.py` takes it.
    real: Vec<String>,
    /// What commands find in their environment.
    variables: Vec<(&'static str, String)>,
}

/// The shop of `pipelines/shop.sql`, in a database of its own.
fn shop(name: &str) -> Database<'static> {
    let database = Database::new(name);
    database.sql(&std::fs::read_to_string(root().join("pipelines/shop.sql")).unwrap());
    database
}

/// A shop that may be read and nothing more, and a bucket.
fn shop_and_bucket() -> Servers {
    let (shop, bucket) = (shop("readme"), Bucket::new("readme-lake"));
    let (port, ca) = (shop.server.address().port(), &shop.server.ca);
    let url = format!("postgres://reader@localhost:{port}/{}?sslrootcert={ca}", shop.name);
    let real = vec![format!("postgres://loader@db.example.com/shop={url}"), format!("s3://lake/={}", bucket.url(""))];
    let password = ("PGPASSWORD", shop.server.password.clone());
    Servers { real, variables: [bucket.variables(), vec![password]].concat() }
}

/// Does what a page says, in a folder of its own, and compares what comes of it with what the page shows: see
/// `tests/pages/walk.py`.
fn walk(page: &Path, settings: &[&str], servers: &Servers) -> Output {
    let bench = Bench::new();
    for pipeline in std::fs::read_dir(root().join("pipelines")).unwrap() {
        let path = pipeline.unwrap().path();
        let name = format!("pipelines/{}", path.file_name().unwrap().to_str().unwrap());
        bench.write(&name, std::fs::read(&path).unwrap());
    }
    let mut walk = Command::new(python());
    walk.arg("-B").arg(root().join("tests/pages/walk.py")).arg(env!("CARGO_BIN_EXE_transload-faulty"));
    walk.arg(page).arg(bench.path("")).args(settings).args(&servers.real);
    walk.envs(servers.variables.iter().map(|(name, value)| (*name, value)));
    for name in ["TRANSLOAD_LEDGER", "TRANSLOAD_LOG", "FAILPOINTS", "TRANSLOAD_FAULTY_IO"] {
        walk.env_remove(name);
    }
    walk.output().unwrap()
}

/// Asserts that a page shows what happens; `UPDATE_GOLDEN=1` writes what happens into it.
#[track_caller]
fn is_what_happens(page: &str, servers: &Servers) {
    let settings: &[&str] = if updates_golden() { &["--update"] } else { &[] };
    let walked = walk(&root().join(page), settings, servers);
    assert!(walked.status.success(), "{}", String::from_utf8_lossy(&walked.stderr));
}

#[test]
fn what_the_readme_shows_is_what_happens() {
    is_what_happens("README.md", &shop_and_bucket());
}

/// `pipelines/postgres_to_s3.yaml`, with another address of the server.
#[test]
fn the_example_of_postgres_to_s3_brings_the_shop_into_a_bucket() {
    let (shop, bucket) = (shop("readme_example"), Bucket::new("readme-example"));
    let variables = [
        ("SHOP_USER", "reader".to_string()),
        ("SHOP_PASSWORD", shop.server.password.clone()),
        ("LAKE_BUCKET", "readme-example".to_string()),
    ];
    let bench = Bench::with([bucket.variables(), variables.to_vec()].concat());
    let (port, ca) = (shop.server.address().port(), &shop.server.ca);
    let example = std::fs::read_to_string(root().join("pipelines/postgres_to_s3.yaml")).unwrap();
    let written = "    host: \"${env:SHOP_HOST}\"\n    database: shop\n";
    assert!(example.contains(written), "{example}");
    let real = format!(
        "    host: localhost\n    port: {port}\n    tls: {{ root_cert: '{ca}' }}\n    database: {}\n",
        shop.name
    );
    bench.write("shop.yaml", example.replace(written, &real));
    let mut digests = Vec::new();
    for args in [&["run", "shop.yaml"][..], &["run", "shop.yaml", "--env", "delta"]] {
        let ran = bench.run(args).expect(0).last_line();
        let tables = ran["tables"].as_array().unwrap();
        assert!(tables.len() == 3 && tables.iter().all(|table| table["verdict"] == "match"), "{ran}");
        digests.push(tables.iter().map(|table| table["digest"].to_string()).collect::<Vec<_>>());
    }
    assert_eq!(digests[0], digests[1]);
    shop.sql("insert into clicks (at, page) values ('2025-12-31 10:00+00', '/p/new');");
    let only = ["run", "shop.yaml", "--table", "public/clicks"];
    assert_eq!(bench.run(&only).expect(0).last_line()["tables"][0]["written"], 1);
    bench.run(&only).expect(99);
}

/// Each of the lines that README shows takes the place of the quickstart's own.
#[test]
fn the_quickstart_goes_elsewhere_by_one_line() {
    let bucket = Bucket::new("one-line");
    let bench = Bench::with(bucket.variables());
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let shown: Vec<&str> = readme.lines().filter(|line| line.starts_with("target: ")).collect();
    let kinds = ["delta: { url: ./", "lake: { url: \"s3://bucket/", "delta: { url: \"s3://bucket/"];
    for kind in kinds {
        assert!(shown.iter().any(|line| line.starts_with(&format!("target: {{ {kind}"))), "{kind}: {shown:?}");
    }
    let quickstart = std::fs::read_to_string(root().join("pipelines/quickstart.yaml")).unwrap();
    let own = quickstart.lines().find(|line| line.starts_with("target: ")).unwrap();
    let mut digests = BTreeSet::new();
    for line in [own].iter().chain(&shown) {
        let pipeline = quickstart.replace("scale: 0.1 ", "scale: 0.001 ").replace(own, line);
        bench.write("p.yaml", pipeline.replace("s3://bucket/", &bucket.url("")));
        let ran = bench.run(&["run", "p.yaml"]).expect(0).last_line();
        let tables = ran["tables"].as_array().unwrap();
        assert_eq!(tables.iter().filter(|table| table["verdict"] == "match").count(), 4, "{line}: {ran}");
        digests.insert(tables.iter().map(|table| table["digest"].to_string()).collect::<Vec<_>>());
    }
    assert_eq!(digests.len(), 1, "{digests:?}");
}

#[test]
fn what_quality_in_five_minutes_shows_is_what_happens() {
    is_what_happens("docs/quality.md", &Servers::default());
}

/// Who finds nothing wrong with a good page has to find what is wrong with a bad one.
#[test]
fn a_page_that_shows_something_else_is_found() {
    let bench = Bench::new();
    let shows = |text: &str| {
        let page = format!("# A page\n\n```yaml p.yaml\nversion: 1\n```\n\n{text}");
        let walked = walk(&bench.write("page.md", page), &[], &Servers::default());
        (walked.status.success(), String::from_utf8_lossy(&walked.stderr).into_owned())
    };
    let good = "```text\n$ transload check p.yaml\n…\n$ echo $?\n3\n```\n\n```sh\necho 1234 bytes  # said\n```\n\n\
                ```text\n77 bytes\n```\n";
    assert_eq!(shows(good), (true, String::new()));
    for bad in [
        good.replace("\n3\n", "\n0\n"),
        good.replace("77 bytes", "bytes"),
        "```sh\nfalse\n```\n".to_string(),
        "```sh\necho a b\n```\n\n```text\na … c\n```\n".to_string(),
    ] {
        let (is_good, said) = shows(&bad);
        assert!(!is_good && said.contains("page.md is not what happens"), "{bad}: {said}");
    }
}

/// Every page of the repository.
fn pages(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_string();
        match path.is_dir() {
            true if name.starts_with('.') || ["target", "quickstart-lake"].contains(&name.as_str()) => {}
            true => pages(&path, found),
            false if name.ends_with(".md") => found.push(path),
            false => {}
        }
    }
}

/// The lines of a page that are text: not in a block of code.
fn text_of(page: &Path) -> Vec<String> {
    let mut in_code = false;
    let text = std::fs::read_to_string(page).unwrap();
    let lines = text.lines().filter(|line| {
        let is_fence = line.trim_start().starts_with("```");
        in_code ^= is_fence;
        !in_code && !is_fence
    });
    lines.map(str::to_string).collect()
}

/// The anchors of a page's headings, as GitHub makes them.
fn anchors(page: &Path) -> Vec<String> {
    let letter = |c: char| match c {
        ' ' => Some('-'),
        c if c.is_alphanumeric() || c == '-' || c == '_' => Some(c),
        _ => None,
    };
    let headings = text_of(page).into_iter().filter(|line| line.starts_with('#'));
    headings
        .map(|line| line.trim_start_matches('#').trim().to_lowercase().chars().filter_map(letter).collect())
        .collect()
}

#[test]
fn links_in_pages_lead_somewhere() {
    let mut found = Vec::new();
    pages(&root(), &mut found);
    assert!(found.len() >= 10, "{found:?}");
    let mut links = 0;
    for page in &found {
        for line in text_of(page) {
            // What stands in code is no link; the words of a link may be code.
            let line: String = line.split('`').step_by(2).collect();
            for link in line.split("](").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0)) {
                if link.starts_with("http") {
                    continue;
                }
                links += 1;
                let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
                let target = if file.is_empty() { page.clone() } else { page.parent().unwrap().join(file) };
                assert!(target.exists(), "{}: there is no {link}", page.display());
                let there = anchor.is_empty() || anchors(&target).iter().any(|known| known == anchor);
                assert!(there, "{}: there is no heading for {link}", page.display());
            }
        }
    }
    assert!(links >= 80, "{links} links");
}
