//! A dbt project over the lake that a pipeline writes, for dbt-duckdb.

mod model;
mod place;
mod readme;
mod rule;
mod source;
mod whole;

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};
use transload_core::connector::CatalogInfo;
use transload_core::{Error, Result, TableName};
use transload_plan::{Plan, TablePlan};
use transload_quality::Check;

use crate::head::{Unsaid, comment};
use crate::names::{Names, plain};
use crate::view::View;
use crate::{Text, dbt::place::Place};

/// What a project is made from, beside the plan.
#[derive(Debug)]
pub struct Lake<'a> {
    /// The lake's folder as it is named from the project's, if it is one of this machine.
    pub folder: Option<String>,
    /// What the source knows of its tables, by their names there.
    pub known: &'a BTreeMap<TableName, CatalogInfo>,
}

/// A dbt project.
#[derive(Debug)]
pub struct Project {
    /// Its files.
    pub files: Vec<Text>,
    /// What of the plan it does not say.
    pub unsaid: Vec<Unsaid>,
}

/// A table with its model.
struct Staged<'a> {
    plan: &'a TablePlan,
    /// Its name among the sources.
    name: String,
    /// The name of its staging model.
    model: String,
    view: View,
    catalog: Option<&'a CatalogInfo>,
}

impl Staged<'_> {
    /// How other files of the project name its rows.
    fn reference(&self) -> String {
        format!("{{{{ ref('{}') }}}}", self.model)
    }
}

/// Makes a dbt project: sources with their freshness, a staging model for each table, tests for its checks.
///
/// # Errors
/// [`Config`](transload_core::ErrorKind::Config) if the target is nothing that DuckDB reads.
pub fn dbt(plan: &Plan, lake: &Lake<'_>) -> Result<Project> {
    let place = Place::of(plan, lake.folder.as_deref())?;
    let mut names = Names::default();
    let mut tables = Vec::with_capacity(plan.tables.len());
    for table in &plan.tables {
        place.check(table)?;
        let name = names.take(table.to.as_str());
        let view = View::of_target(table).map_err(|e| Error::config(e).with("table", table.to.as_str()))?;
        let (model, catalog) = (format!("stg_{name}"), lake.known.get(&table.from));
        tables.push(Staged { plan: table, name, model, view, catalog });
    }

    let project = plain(&plan.pipeline);
    let mut files = vec![
        yaml(plan, "dbt_project.yml", &project_file(&project))?,
        yaml(plan, "profiles.yml", &place.profile(&project))?,
        Text {
            path: ".gitignore".to_string(),
            content: comment(plan, "#")? + "target/\nlogs/\ndbt_packages/\n*.duckdb\n*.duckdb.wal\n",
        },
        yaml(plan, "models/staging/_sources.yml", &source::sources(plan, &project, &place, &tables))?,
    ];
    let (mut models, mut tests, mut unsaid) = (Vec::new(), Vec::new(), Vec::new());
    for table in &tables {
        let mut of_columns: BTreeMap<String, Vec<Json>> = BTreeMap::new();
        for (number, check) in table.plan.checks.iter().enumerate() {
            let name = format!("{}_{:02}_{}", table.name, number + 1, check.kind());
            match rule::test(check, &name, table, &tables) {
                Ok(rule::Test::OfColumn(column, test)) => of_columns.entry(column).or_default().push(test),
                Ok(rule::Test::Alone(sql)) => tests.push(alone(plan, &name, check, &sql)?),
                Ok(rule::Test::OfSource) => {}
                Err(why) => unsaid.push(unsaid_check(table, check, why)),
            }
        }
        unsaid.extend(model::unsaid(table.plan));
        files.push(model::staging(plan, &project, table)?);
        models.push(model::properties(table, &of_columns));
    }
    files.push(yaml(plan, "models/staging/_models.yml", &json!({ "version": 2, "models": models }))?);
    files.extend(tests);
    files.push(readme::readme(plan, &project, &place, &tables, &unsaid)?);
    Ok(Project { files, unsaid })
}

fn project_file(project: &str) -> Json {
    json!({
        "name": project,
        "version": "1.0.0",
        "config-version": 2,
        "profile": project,
        "model-paths": ["models"],
        "test-paths": ["tests"],
        "clean-targets": ["target", "dbt_packages"],
        "flags": { "send_anonymous_usage_stats": false, "require_generic_test_arguments_property": true },
        "models": { project: { "staging": { "+materialized": "view" } } },
    })
}

/// A file of YAML.
fn yaml(plan: &Plan, path: &str, content: &Json) -> Result<Text> {
    let content = comment(plan, "#")? + &transload_spec::write_document(content)?;
    Ok(Text { path: path.to_string(), content })
}

/// A test that is a query of its own: every row that it gives is one that breaks the rule.
fn alone(plan: &Plan, name: &str, check: &Check, sql: &str) -> Result<Text> {
    let title = crate::quote::jinja(&format!("{}: {}", check.title(), check.expected()).replace(['\n', '\r'], " "));
    let content = format!("{}-- {title}\n{sql}\n", comment(plan, "--")?);
    Ok(Text { path: format!("tests/{name}.sql"), content })
}

fn unsaid_check(table: &Staged<'_>, check: &Check, why: String) -> Unsaid {
    Unsaid { table: table.plan.to.as_str().to_string(), what: check.title(), why }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{check, plan, table};

    fn made(checks: &[&str], change: impl FnOnce(&mut TablePlan)) -> Project {
        let mut table = table();
        table.checks = checks.iter().map(|rule| check(rule)).collect();
        change(&mut table);
        let lake = Lake { folder: Some("../lake".to_string()), known: &BTreeMap::new() };
        dbt(&plan(table), &lake).unwrap()
    }

    fn file<'p>(project: &'p Project, path: &str) -> &'p str {
        let found = project.files.iter().find(|f| f.path == path);
        &found.unwrap_or_else(|| panic!("no {path} among {:?}", project.files)).content
    }

    #[test]
    fn a_project_has_its_files_and_each_says_where_it_is_from() {
        let project = made(&[r#"{"range":{"column":"balance","min":0}}"#], |_| {});
        let paths: Vec<&str> = project.files.iter().map(|f| f.path.as_str()).collect();
        assert_eq!(
            paths,
            [
                "dbt_project.yml",
                "profiles.yml",
                ".gitignore",
                "models/staging/_sources.yml",
                "models/staging/stg_shop_orders.sql",
                "models/staging/_models.yml",
                "tests/shop_orders_01_range.sql",
                "README.md",
            ]
        );
        for file in &project.files {
            assert!(file.content.contains("from the pipeline shop-nightly, plan "), "{}", file.path);
            assert!(file.content.ends_with('\n'), "{}", file.path);
        }
        assert_eq!(file(&project, "dbt_project.yml").lines().nth(1), Some("name: shop_nightly"));
    }

    #[test]
    fn the_same_plan_gives_the_same_project_whatever_was_loaded_before() {
        let rules = [r#"{"not_null":["id"]}"#, r#"{"monotonic":{"column":"id"}}"#];
        let one = made(&rules, |_| {});
        let later = made(&rules, |table| {
            table.estimated_rows = Some(5);
            table.expected = transload_core::connector::Expected::Version("7".to_string());
        });
        assert_eq!(one.files, later.files);
        assert_eq!(one.unsaid, later.unsaid);
        let what: Vec<&str> = one.unsaid.iter().map(|u| u.what.as_str()).collect();
        assert_eq!(what, ["Q010 monotonic (id)", "column huge"]);
    }

    #[test]
    fn staging_models_cast_every_column() {
        let project = made(&[], |_| {});
        let model = file(&project, "models/staging/stg_shop_orders.sql");
        for line in [
            "    cast(\"balance\" as decimal(12,2)) as \"balance\",",
            "    cast(\"year\" as integer) as \"year\",",
            "    cast(\"_ingested_at\" as timestamptz) as \"_ingested_at\"",
            "from {{ source('shop_nightly', 'shop_orders') }}",
        ] {
            assert!(model.lines().any(|l| l == line), "{line} is not in:\n{model}");
        }
        assert!(!model.contains("huge"));
    }
}
