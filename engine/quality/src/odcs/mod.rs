//! The quality section of the [Open Data Contract Standard](https://bitol.io) (ODCS), v3.1: [`export()`] puts checks into
//! a contract, [`import()`] takes them out of one.
//!
//! # In a contract
//! Where a metric of the standard's library means exactly what a check means, the contract has the metric, so that other
//! programs understand it. What the library cannot say of such a check (an action, say) stands in the rule's
//! `customProperties`, under `transloadCheck`. All other checks are rules of `type: custom` for the engine `transload`.
//! So a contract gives back the checks that it was made of, in their order, which `id: check_1` keeps.
//!
//! # Out of a contract
//! A rule becomes a check that means the same, or it is refused: there is nothing between. What only people read
//! (`description`, `businessImpact`, …) and what other programs do (`schedule`) is left alone, and so is everything outside
//! of `quality`.
//!
//! | metric | check |
//! | --- | --- |
//! | `nullValues` | `not_null` |
//! | `missingValues` | `not_null`, or an `expression` with the values that are as good as missing |
//! | `invalidValues` | `accepted_values`, `pattern` |
//! | `duplicateValues` | `unique`; only for no duplicates at all, as the standard does not say how many rows a value that is there three times counts for |
//! | `rowCount` | `row_count` |
//!
//! Source of the rules: the standard's text on data quality and its JSON Schema, v3.1.0.

mod export;
mod import;
mod library;
mod rule;

pub use export::export;
pub use import::{Imported, import};

use crate::check::Check;

/// The version that is written.
const VERSION: &str = "v3.1.0";
/// The name of our engine in rules of `type: custom`.
const ENGINE: &str = "transload";
/// The custom property that holds a check in our own words.
const OWN_WORDS: &str = "transloadCheck";

/// A table of a contract with its checks.
#[derive(Debug, Clone, PartialEq)]
pub struct TableChecks {
    /// Its name: the physical one, if the contract has one.
    pub table: String,
    /// The checks.
    pub checks: Vec<Check>,
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use proptest::prelude::*;
    use serde_json::{Value as Json, json};
    use transload_core::Node;
    use transload_core::tree::Value;
    use transload_testkit::rules::{names, rules};

    use super::*;
    use crate::check::read;

    static STANDARD: LazyLock<jsonschema::Validator> = LazyLock::new(|| {
        let schema = include_str!("../../../../tests/odcs/v3.1.0.schema.json");
        jsonschema::draft201909::new(&serde_json::from_str(schema).unwrap()).unwrap()
    });

    fn checks(rule: Json) -> Vec<Check> {
        let node: Node = serde_json::from_value(rule).unwrap();
        let Value::Map(entries) = &node.value else { panic!("{node:?}") };
        let mut problems = Vec::new();
        let checks = read(&entries[0].0, &entries[0].1, &mut problems);
        assert_eq!(problems, [], "{node:?}");
        checks
    }

    fn imported(contract: &str) -> Imported {
        let (document, _) = transload_spec::parse_document("c.yaml", contract).map_err(|p| p.render(false)).unwrap();
        import(&document, &|_| true)
    }

    /// A contract with one rule at the property `status` and one at the table.
    fn contract(column: &str, table: &str) -> String {
        format!(
            "apiVersion: v3.1.0\nkind: DataContract\nid: c\nversion: 1.0.0\nstatus: active\nschema:\n  - name: orders\n    \
             physicalName: orders_v2\n    properties:\n      - name: id\n      - name: status\n        \
             physicalName: order_status\n        quality: [ {column} ]\n    quality: [ {table} ]\n"
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1_500))]

        #[test]
        fn a_contract_gives_back_the_checks_it_was_made_of(table in names(), rules in prop::collection::vec(rules(), 1..6)) {
            let tables = vec![TableChecks { table, checks: rules.into_iter().flat_map(checks).collect() }];
            let contract = export("shop", &tables).unwrap();
            let errors: Vec<String> = STANDARD.iter_errors(&contract).map(|e| e.to_string()).collect();
            prop_assert!(errors.is_empty(), "{errors:?}\n{contract}");
            let imported = imported(&transload_spec::write_document(&contract).unwrap());
            prop_assert!(imported.problems.is_empty(), "{:?}\n{contract}", imported.problems);
            prop_assert!(imported.unsupported.is_empty(), "{:?}\n{contract}", imported.unsupported);
            prop_assert_eq!(imported.tables, tables);
        }
    }

    /// The rule of a contract that is made of one check.
    fn exported(rule: Json) -> Json {
        let tables = [TableChecks { table: "t".to_string(), checks: checks(rule) }];
        let contract = export("c", &tables).unwrap();
        let table = &contract["schema"][0];
        let items = if table["quality"].is_null() { &table["properties"][0]["quality"] } else { &table["quality"] };
        let mut item = items[0].as_object().unwrap().clone();
        for key in ["id", "name", "description", "dimension"] {
            item.shift_remove(key);
        }
        Json::Object(item)
    }

    #[test]
    fn what_the_library_can_say_is_said_in_its_words() {
        for (rule, said) in [
            (json!({ "not_null": { "columns": ["a"] } }), json!({ "metric": "nullValues", "mustBe": 0 })),
            (
                json!({ "not_null": { "columns": ["a"], "threshold": "0.5%", "severity": "warn" } }),
                json!({ "metric": "nullValues", "mustBeLessOrEqualTo": 0.5, "unit": "percent", "severity": "warning" }),
            ),
            (
                json!({ "accepted_values": { "column": "a", "values": ["x", 1], "threshold": 3 } }),
                json!({
                    "metric": "invalidValues", "arguments": { "validValues": ["x", 1] },
                    "mustBeLessOrEqualTo": 3, "unit": "rows",
                }),
            ),
            (
                json!({ "pattern": { "column": "a", "regex": "^x$" } }),
                json!({ "metric": "invalidValues", "arguments": { "pattern": "^x$" }, "mustBe": 0 }),
            ),
            (json!({ "unique": { "columns": ["a"] } }), json!({ "metric": "duplicateValues", "mustBe": 0 })),
            (
                json!({ "unique": { "columns": ["a", "b"] } }),
                json!({ "metric": "duplicateValues", "arguments": { "properties": ["a", "b"] }, "mustBe": 0 }),
            ),
            (json!({ "row_count": { "min": 1 } }), json!({ "metric": "rowCount", "mustBeGreaterOrEqualTo": 1 })),
            (
                json!({ "row_count": { "min": 100, "max": 120 } }),
                json!({ "metric": "rowCount", "mustBeBetween": [99, 121] }),
            ),
        ] {
            let mut expected = json!({ "type": "library" });
            expected.as_object_mut().unwrap().extend(said.as_object().unwrap().clone());
            assert_eq!(exported(rule), expected);
        }
    }

    #[test]
    fn what_the_library_cannot_say_stands_beside_it_or_instead() {
        let rule = json!({ "not_null": { "columns": ["a"], "action": "quarantine", "threshold": 5 } });
        let item = exported(rule.clone());
        assert_eq!((&item["metric"], &item["mustBe"]), (&json!("nullValues"), &json!(0)));
        assert_eq!(item["customProperties"], json!([{ "property": "transloadCheck", "value": rule }]));
        for rule in [
            json!({ "not_null": { "columns": ["a"], "where": "b > 0" } }),
            json!({ "unique": { "columns": ["a"], "threshold": 3 } }),
            json!({ "range": { "column": "a", "min": 0 } }),
        ] {
            let item = exported(rule.clone());
            assert_eq!((&item["type"], &item["engine"]), (&json!("custom"), &json!("transload")));
            assert_eq!(item["implementation"], rule);
        }
    }

    #[test]
    fn rules_of_others_become_checks_that_mean_the_same() {
        let null = "metric: nullValues";
        for (column, check) in [
            (format!("{{ {null}, mustBe: 0 }}"), json!({ "not_null": { "columns": ["order_status"] } })),
            (format!("{{ {null}, mustBeLessThan: 1 }}"), json!({ "not_null": { "columns": ["order_status"] } })),
            (
                format!("{{ type: library, {null}, mustBeLessThan: 10, severity: warning, schedule: 0 20 * * * }}"),
                json!({ "not_null": { "columns": ["order_status"], "threshold": 9, "severity": "warn" } }),
            ),
            (
                format!("{{ {null}, mustBeLessOrEqualTo: 2, unit: percent }}"),
                json!({ "not_null": { "columns": ["order_status"], "threshold": "2%" } }),
            ),
            (
                "{ metric: missingValues, arguments: { missingValues: [null] }, mustBe: 0 }".to_string(),
                json!({ "not_null": { "columns": ["order_status"] } }),
            ),
            (
                "{ metric: missingValues, arguments: { missingValues: [null, '', \"n'a\", -1] }, mustBeLessThan: 3 }"
                    .to_string(),
                json!({ "expression": {
                    "sql": "\"order_status\" IS NOT NULL AND \"order_status\" NOT IN ('', 'n''a', -1)", "threshold": 2,
                } }),
            ),
            (
                "{ metric: invalidValues, arguments: { validValues: [open, null, 1.5] }, mustBe: 0 }".to_string(),
                json!({ "accepted_values": { "column": "order_status", "values": ["open", 1.5] } }),
            ),
            (
                "{ metric: duplicateValues, mustBe: 0, unit: percent }".to_string(),
                json!({ "unique": { "columns": ["order_status"] } }),
            ),
        ] {
            let found = imported(&contract(&column, ""));
            assert_eq!((&found.problems, &found.unsupported), (&Vec::new(), &Vec::new()), "{column}");
            assert_eq!(
                found.tables,
                [TableChecks { table: "orders_v2".to_string(), checks: checks(check) }],
                "{column}"
            );
        }
        for (table, check) in [
            ("{ metric: rowCount, mustBe: 5 }", json!({ "row_count": { "exactly": 5 } })),
            ("{ metric: rowCount, mustBeGreaterThan: 0 }", json!({ "row_count": { "min": 1 } })),
            ("{ metric: rowCount, mustBeLessThan: 10.0 }", json!({ "row_count": { "max": 9 } })),
            ("{ metric: rowCount, mustBeBetween: [100, 120] }", json!({ "row_count": { "min": 101, "max": 119 } })),
            (
                "{ metric: duplicateValues, mustBe: 0, arguments: { properties: [id, status] } }",
                json!({ "unique": { "columns": ["id", "order_status"] } }),
            ),
        ] {
            let found = imported(&contract("", table));
            assert_eq!((&found.problems, &found.unsupported), (&Vec::new(), &Vec::new()), "{table}");
            assert_eq!(found.tables[0].checks, checks(check), "{table}");
        }
    }

    #[test]
    fn a_share_that_must_be_less_is_not_reached() {
        let found = imported(&contract("{ metric: nullValues, mustBeLessThan: 5, unit: percent }", ""));
        let policy = found.tables[0].checks[0].policy();
        for (failed, evaluated) in [(5, 100), (1, 20), (50_000_000, 1_000_000_000), (7, 140)] {
            assert!(policy.exceeded(failed, evaluated) && !policy.exceeded(failed - 1, evaluated), "{failed}");
        }
    }

    #[test]
    fn rules_that_cannot_be_executed_are_named() {
        for (column, said) in [
            ("{ type: text, description: nice }", "a text for people"),
            ("{ type: sql, query: select 1, mustBe: 1 }", "a query in the language of a server"),
            ("{ type: custom, engine: soda, implementation: x }", "written for the engine `soda`"),
            ("{ rule: nullCheck, mustBe: 0 }", "how versions before v3.1 named a metric"),
            ("{ metric: nullValues, mustBe: 3 }", "not what `mustBe` says"),
            ("{ metric: nullValues, mustBeGreaterThan: 3 }", "not what `mustBeGreaterThan` says"),
            ("{ metric: nullValues, mustBeLessThan: 0 }", "that small"),
            ("{ metric: nullValues, mustBeLessOrEqualTo: 120, unit: percent }", "from 0% to 100%"),
            ("{ metric: nullValues, mustBeLessThan: 3, unit: bytes }", "`bytes` is no unit"),
            ("{ metric: nullValues, mustBe: 0, severity: blocker }", "`blocker` is no severity"),
            ("{ metric: nullValues, mustBe: 0, arguments: { where: x } }", "`where` is no argument"),
            ("{ metric: duplicateValues, mustBeLessThan: 10 }", "how many duplicates a value is"),
            ("{ metric: invalidValues, mustBe: 0, arguments: { pattern: '(?=a)' } }", "cannot be read"),
            (
                "{ metric: invalidValues, mustBeLessThan: 9, arguments: { pattern: a, validValues: [a] } }",
                "two numbers here",
            ),
        ] {
            let found = imported(&contract(column, ""));
            assert_eq!(found.problems, [], "{column}");
            assert!(found.unsupported.len() == 1 && found.tables.is_empty(), "{column}: {found:?}");
            let problem = &found.unsupported[0];
            assert!(problem.message.contains(said), "{column}: {problem:?}");
            assert!(problem.span.line == 13 && problem.hint.is_some(), "{column}: {problem:?}");
        }
        let found = imported(&contract("", "{ metric: rowCount, mustNotBe: 0 }, { metric: rowCount, mustBe: 1.5 }"));
        assert_eq!((found.problems.len(), found.unsupported.len()), (0, 2), "{found:?}");
    }

    #[test]
    fn what_is_no_rule_is_wrong() {
        for (column, said) in [
            ("{ metric: nullValues, mustBeLessTan: 5 }", "unknown key `mustBeLessTan`"),
            ("{ metric: nullValue, mustBe: 0 }", "`nullValue` is not one of"),
            ("{ description: nothing }", "`metric` is missing"),
            ("{ metric: nullValues }", "nothing says which figures are good"),
            ("{ metric: nullValues, mustBe: 0, mustBeLessThan: 3 }", "`mustBeLessThan` is the second operator"),
            ("{ metric: nullValues, mustBe: none }", "expected a number, found text"),
            ("{ metric: rowCount, mustBe: 3 }", "this metric is about a table"),
            ("{ metric: invalidValues, mustBe: 0 }", "nothing says which values are valid"),
            ("{ type: custom, engine: transload, implementation: not_null }", "expected exactly one check"),
            ("{ type: custom, engine: transload, implementation: { rnage: { column: a } } }", "`rnage` is not one of"),
            (
                "{ type: custom, engine: transload, severity: info, implementation: { not_null: [a] } }",
                "has another severity",
            ),
        ] {
            let found = imported(&contract(column, ""));
            assert_eq!(found.unsupported, [], "{column}");
            assert!(found.problems.iter().any(|p| p.message.contains(said)), "{column}: {found:?}");
            assert!(found.problems.iter().all(|p| p.span.line == 13), "{column}: {found:?}");
        }
    }

    #[test]
    fn our_own_words_must_not_say_something_else() {
        let item = |operator: &str, column: &str| {
            format!(
                "{{ metric: nullValues, {operator}, customProperties: [ {{ property: other, value: 1 }}, \
                 {{ property: transloadCheck, value: {{ not_null: {{ columns: [{column}], action: quarantine }} }} }} ] }}"
            )
        };
        let good = imported(&contract(&item("mustBe: 0", "order_status"), ""));
        assert_eq!(good.problems, []);
        assert!(good.tables[0].checks[0].quarantines());
        for (operator, column) in [("mustBeLessThan: 5", "order_status"), ("mustBe: 0", "another")] {
            let bad = imported(&contract(&item(operator, column), ""));
            assert!(bad.problems[0].message.contains("something else than its custom property"), "{bad:?}");
        }
    }

    #[test]
    fn only_contracts_of_a_known_version_are_read() {
        let text = contract("{ metric: nullValues, mustBe: 0 }", "");
        assert_eq!(imported(&text.replace("v3.1.0", "v3.0.2")).tables.len(), 1);
        for (version, said) in [
            ("v3.2.0", "is written in v3.2.0"),
            ("v4.0.0", "is written in v4.0.0"),
            ("v2.2.2", "is written in v2.2.2"),
            ("latest", "is no version"),
            ("3.1", "expected text"),
        ] {
            let found = imported(&text.replace("v3.1.0", version));
            assert!(found.tables.is_empty() && found.problems[0].message.contains(said), "{version}: {found:?}");
        }
        assert!(
            imported(&text.replace("DataContract", "DataProduct")).problems[0].message.contains("not a data contract")
        );
        assert!(imported(&text.replace("apiVersion", "api")).problems[0].message.contains("`apiVersion` is missing"));
        assert!(imported("[]").problems[0].message.contains("expected a contract"));
    }

    #[test]
    fn what_a_contract_lacks_hides_nothing_else() {
        let text = "kind: DataContract\nschema:\n  - properties:\n      - quality: [ { metric: nullValue, mustBe: 0 } ]\n      \
                    - name: b\n        quality: [ { type: custom } ]\n";
        let found = imported(text);
        let said: Vec<&str> = found.problems.iter().map(|p| p.message.split(" is ").next().unwrap()).collect();
        assert_eq!(
            said,
            ["`apiVersion`", "`name`", "`name`", "`nullValue`", "`engine`", "`implementation`"],
            "{found:?}"
        );
        // The table without a name may be the one that is wanted.
        let (document, _) = transload_spec::parse_document("c.yaml", text).map_err(|p| p.render(false)).unwrap();
        assert_eq!(import(&document, &|name| name == "orders").problems, found.problems);
    }

    #[test]
    fn rules_about_parts_of_columns_are_named_and_order_is_kept() {
        let text = "apiVersion: v3.1.0\nkind: DataContract\nschema:\n  - name: t\n    properties:\n      - name: tags\n        \
                    items: { quality: [ { metric: nullValues, mustBe: 0 } ] }\n        \
                    properties: [ { name: part, quality: [ { metric: nullValues, mustBe: 0 } ] } ]\n      - name: b\n        \
                    quality: [ { metric: nullValues, mustBe: 0 }, { id: check_2, metric: nullValues, mustBe: 0 } ]\n    \
                    quality: [ { id: check_1, metric: rowCount, mustBe: 1 } ]\n";
        let found = imported(text);
        assert_eq!((found.problems.len(), found.unsupported.len()), (0, 2), "{found:?}");
        let kinds: Vec<&str> = found.tables[0].checks.iter().map(Check::kind).collect();
        assert_eq!(kinds, ["row_count", "not_null", "not_null"]);
    }
}
