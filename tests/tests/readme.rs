//! README's capability matrix is what the connectors claim, and every claim in it is proven by the conformance suite.

use transload_core::Connector;

use crate::harness::root;

/// The matrix as README must show it. A column is a claim; what proves it is the test named in README below the matrix.
fn matrix() -> String {
    let connectors: [&dyn Connector; 2] = [&transload_lake::Lake, &transload_tpch::Tpch];
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
