//! `transload contract`

use serde_json::{Value as Json, json};
use transload_core::{Error, ErrorKind, Problem};
use transload_plan::check_expression;
use transload_quality::odcs::{self, TableChecks};
use transload_spec::{Problems, TableSpec, fits, parse_document, write_document};

use crate::args::{Contract, ContractCommand, ContractExport, ContractImport};
use crate::output::{Failure, Output};
use crate::pipeline;

pub(crate) fn contract(args: &Contract, output: &Output) -> Result<u8, Failure> {
    match &args.command {
        ContractCommand::Export(args) => export(args, output),
        ContractCommand::Import(args) => import(args, output),
    }
}

fn export(args: &ContractExport, output: &Output) -> Result<u8, Failure> {
    let checked = pipeline::check(&args.pipeline, &args.selection.overrides)?;
    let mut tables = Vec::new();
    for table in &checked.spec.tables {
        let found = chosen(table, &args.selection.table);
        if found.is_empty() && table.is_wildcard() {
            output.say(&format!("left out: {}, whose tables only `--table NAME` can name", table.from.value));
        }
        tables.extend(found.iter().map(checks));
    }
    if tables.is_empty() {
        return Err(Error::new(ErrorKind::NothingToDo, "no table fits").into());
    }
    let contract = odcs::export(&checked.spec.name, &tables)?;
    let text = if output.json() { contract.to_string() } else { write_document(&contract)? };
    output.answer(&text)?;
    Ok(0)
}

/// The tables of an entry with these names in the target. The source is not asked which tables a `*` stands for: a name
/// without one is believed.
fn chosen(table: &TableSpec, names: &[String]) -> Vec<TableSpec> {
    if table.is_wildcard() {
        return names.iter().filter(|name| !name.contains('*')).filter_map(|name| table.expand(name)).collect();
    }
    let is_wanted = names.is_empty() || names.iter().any(|name| fits(name, &table.to.value));
    if is_wanted { vec![table.clone()] } else { Vec::new() }
}

fn checks(table: &TableSpec) -> TableChecks {
    // What is wrong with them has been said.
    let mut problems = Vec::new();
    let entries = table.settings.checks.iter().flat_map(|c| &c.value).map(|entry| &entry.value.0);
    let checks = entries.flat_map(|e| transload_quality::read(&e.kind, &e.options, &mut problems)).collect();
    TableChecks { table: table.to.value.clone(), checks }
}

fn import(args: &ContractImport, output: &Output) -> Result<u8, Failure> {
    let name = args.contract.display().to_string();
    let text = pipeline::read_text(&args.contract, "`transload contract export` writes a contract")?;
    let (document, files) = parse_document(&name, &text)?;
    let wanted = |table: &str| args.table.is_empty() || args.table.iter().any(|name| fits(name, table));
    let imported = odcs::import(&document, &wanted);
    let mut problems = imported.problems;
    for check in imported.tables.iter().flat_map(|table| &table.checks) {
        problems.extend(check.expressions().iter().flat_map(|sql| check_expression(sql, sql.span)));
    }
    if !problems.is_empty() || !(args.skip_unsupported || imported.unsupported.is_empty()) {
        problems.extend(imported.unsupported.into_iter().map(skippable));
        return Err(Problems::new(files, problems).into());
    }
    let skipped = Problems::new(files, imported.unsupported);
    for problem in &skipped.list {
        let place = format!("{name}:{}:{}", problem.span.line, problem.span.column);
        output.say(&format!("left out: {place}: {}", problem.message));
    }
    if imported.tables.is_empty() {
        let error = Error::new(ErrorKind::NothingToDo, "the contract has no rules that become checks");
        return Err(error.with("file", name).hint("rules stand below `quality` of a table or a property").into());
    }
    let mut answer = fragment(&imported.tables);
    if output.json() {
        answer["skipped"] = skipped.to_json();
        output.answer(&answer.to_string())?;
    } else {
        output.answer(&write_document(&answer)?)?;
    }
    Ok(0)
}

/// The part of a pipeline that has these checks.
fn fragment(tables: &[TableChecks]) -> Json {
    let table = |table: &TableChecks| {
        let rules: Vec<_> = table.checks.iter().map(|check| &check.rule).collect();
        json!({ "from": table.table, "checks": rules })
    };
    json!({ "tables": tables.iter().map(table).collect::<Vec<_>>() })
}

fn skippable(problem: Problem) -> Problem {
    let hint = problem.hint.clone().unwrap_or_default();
    problem.hint(format!("{hint}; `--skip-unsupported` leaves out what cannot be executed"))
}
