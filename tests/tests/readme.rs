//! README and the pages behind it: what they claim, what they show, and where they lead.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use transload_core::Connector;

use crate::harness::{Bench, python, root};

/// The matrix as README must show it. A column is a claim; what proves it is the test named in README below the matrix.
fn matrix() -> String {
    let connectors: [&dyn Connector; 3] = [&transload_delta::Delta, &transload_lake::Lake, &transload_tpch::Tpch];
    let mut text = String::from(
        "| kind | read | write | append | replace | partitions | discover |\n| --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for connector in connectors {
        let c = connector.capability();
        let cells = [c.source, c.sink, c.append, c.overwrite, c.partitions, c.discover];
        let cells: Vec<&str> = cells.iter().map(|claimed| if *claimed { "yes" } else { "–" }).collect();
        text.push_str(&format!("| `{}` | {} |\n", connector.kind(), cells.join(" | ")));
    }
    text
}

#[test]
fn the_matrix_in_the_readme_is_what_connectors_claim() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    assert!(readme.contains(&matrix()), "README.md must hold:\n{}", matrix());
}

/// Does what a page says, in a folder of its own, and compares what comes of it with what the page shows: see
/// `tests/pages/walk.py`.
fn walk(page: &Path, settings: &[&str]) -> Output {
    let bench = Bench::new();
    for pipeline in std::fs::read_dir(root().join("pipelines")).unwrap() {
        let path = pipeline.unwrap().path();
        let name = format!("pipelines/{}", path.file_name().unwrap().to_str().unwrap());
        bench.write(&name, std::fs::read(&path).unwrap());
    }
    let mut walk = Command::new(python());
    walk.arg("-B").arg(root().join("tests/pages/walk.py")).arg(env!("CARGO_BIN_EXE_transload-faulty"));
    walk.arg(page).arg(bench.path("")).args(settings);
    for name in ["TRANSLOAD_LEDGER", "TRANSLOAD_LOG", "FAILPOINTS", "TRANSLOAD_FAULTY_IO"] {
        walk.env_remove(name);
    }
    walk.output().unwrap()
}

/// Asserts that a page shows what happens; `UPDATE_GOLDEN=1` writes what happens into it.
#[track_caller]
fn is_what_happens(page: &str) {
    #[allow(clippy::disallowed_methods)]
    let settings: &[&str] = if std::env::var("UPDATE_GOLDEN").is_ok() { &["--update"] } else { &[] };
    let walked = walk(&root().join(page), settings);
    assert!(walked.status.success(), "{}", String::from_utf8_lossy(&walked.stderr));
}

#[test]
fn what_the_readme_shows_is_what_happens() {
    is_what_happens("README.md");
}

#[test]
fn what_quality_in_five_minutes_shows_is_what_happens() {
    is_what_happens("docs/quality.md");
}

/// Who finds nothing wrong with a good page has to find what is wrong with a bad one.
#[test]
fn a_page_that_shows_something_else_is_found() {
    let bench = Bench::new();
    let shows = |text: &str| {
        let page = format!("# A page\n\n```yaml p.yaml\nversion: 1\n```\n\n{text}");
        let walked = walk(&bench.write("page.md", page), &[]);
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
