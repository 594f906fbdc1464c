//! A job for Spark that does what a pipeline does: one file of Python, which needs nothing of transload.

mod cast;
mod python;
mod source;
mod table;

use serde::Serialize;
use transload_core::{Error, Result};
use transload_plan::Plan;

use crate::Text;
use crate::head::origin;
use crate::names::Names;
use crate::quote::python;
use crate::template::fill;

const JOB: &str = include_str!("../../templates/spark/job.py");
/// What is the same in every job.
const RUNTIME: &str = include_str!("../../templates/spark/runtime.py");

/// What the job's template is filled with.
#[derive(Serialize)]
struct Job {
    origin: String,
    file: String,
    pipeline: String,
    pipeline_text: String,
    functions: String,
    loads: Vec<Load>,
    runtime: &'static str,
}

/// A table in it.
#[derive(Serialize)]
struct Load {
    /// Its name in the target, as Python.
    name: String,
    function: String,
    /// Where it comes from and where it goes, in a comment.
    title: String,
    /// What is done, line by line.
    lines: Vec<String>,
}

/// Makes a job of a plan.
///
/// # Errors
/// [`Config`](transload_core::ErrorKind::Config) for everything that Spark cannot do as the plan means it, with the table.
pub fn spark(plan: &Plan, file: &str) -> Result<Text, Vec<Error>> {
    let mut refused = Vec::new();
    let functions = source::functions(plan).map_err(|e| refused.push(e)).unwrap_or_default();
    let mut names = Names::default();
    let mut loads = Vec::with_capacity(plan.tables.len());
    for table in &plan.tables {
        let function = format!("load_{}", names.take(table.to.as_str()));
        let (from, to) = (python(table.from.as_str()), python(table.to.as_str()));
        match table::lines(plan, table) {
            Ok(lines) => loads.push(Load { name: to.clone(), function, title: format!("{from} → {to}"), lines }),
            Err(reasons) => {
                let error = |reason: String| Error::config(reason).with("table", table.to.as_str());
                refused.extend(reasons.into_iter().map(error));
            }
        }
    }
    if !refused.is_empty() {
        return Err(refused);
    }
    let made = || -> Result<Text> {
        let job = Job {
            origin: origin(plan)?,
            file: file.to_string(),
            pipeline: plan.pipeline.clone(),
            pipeline_text: python(&plan.pipeline),
            functions,
            loads,
            runtime: RUNTIME,
        };
        Ok(Text { path: file.to_string(), content: fill("the job for Spark", JOB, &job)? })
    };
    made().map_err(|e| vec![e])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{check, plan, table};

    #[test]
    fn a_job_says_what_is_done_with_each_table() {
        let mut table = table();
        table.filter = Some("status <> 'gone' and acctbal > 0".to_string());
        table.checks = vec![
            check(r#"{"range":{"column":"balance","min":-990,"action":"quarantine"}}"#),
            check(r#"{"not_null":["id"]}"#),
        ];
        table.partition_by = serde_json::from_str(r#"[{"column":"placed","transform":"month"}]"#).unwrap();
        let job = spark(&plan(table), "job.py").unwrap().content;
        for line in [
            "def load_shop_orders(job):",
            "    # \"in/orders\" → \"shop/orders\"",
            "        (\"acctbal\", \"text\"),",
            "        (\"acctbal\", \"text\", decimal(12, 2), \"null_counted\"),",
            "        (\"phone\", \"text\", last_four(column(\"phone\"))),",
            "        (\"_ingested_at\", timestamp(\"us\", \"UTC\"), F.lit(job.started)),",
            "        (\"Q005 range (balance)\", F.expr(\"`acctbal` < -990.00\")),",
            "        (\"placed_month\", F.date_format(column(\"placed\"), \"yyyy-MM\")),",
            "    \"shop/orders\": load_shop_orders,",
            "PIPELINE = \"shop-nightly\"",
        ] {
            assert!(job.lines().any(|l| l == line), "{line} is not in:\n{job}");
        }
        // A value that does not fit decides about its row before the filter does.
        assert!(job.contains("OR ((`_transload_misfit acctbal`) AND "), "{job}");
        assert!(!job.contains("Q001"), "only rules that put rows aside change what is written");
    }

    #[test]
    fn what_spark_cannot_do_is_refused_at_once_and_by_name() {
        let mut table = table();
        table.filter = Some("char_length(reverse(status)) > 3".to_string());
        table.write = transload_core::connector::WriteMode::Merge;
        table.partition_by = serde_json::from_str(r#"[{"column":"id","transform":{"bucket":4}}]"#).unwrap();
        table.checks = vec![check(r#"{"format":{"column":"status","is":"email","action":"quarantine"}}"#)];
        let refused = spark(&plan(table), "job.py").unwrap_err();
        let said: Vec<String> = refused.iter().map(ToString::to_string).collect();
        for what in ["merges", "`reverse`", "`id_bucket`", "Q008 format (status)"] {
            assert!(said.iter().any(|s| s.contains(what) && s.contains("shop/orders")), "{what}: {said:?}");
        }
    }
}
