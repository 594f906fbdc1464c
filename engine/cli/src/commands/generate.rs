//! `transload generate`

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use serde_json::json;
use transload_core::connector::CatalogInfo;
use transload_core::tree::Value;
use transload_core::{Error, Pin, Result, TableName, Template};
use transload_generate::{Lake, Text, dbt, spark};
use transload_plan::Plan;

use crate::args::{Generate, GenerateCommand, GenerateDbt, GenerateSpark, Selection};
use crate::output::{Failure, Output};
use crate::pinned::Pinned;
use crate::pipeline::{self, Checked, Purpose};

pub(crate) async fn generate(args: &Generate, output: &Output) -> Result<u8, Failure> {
    match &args.command {
        GenerateCommand::Dbt(args) => project(args, output).await,
        GenerateCommand::Spark(args) => job(args, output).await,
    }
}

async fn project(args: &GenerateDbt, output: &Output) -> Result<u8, Failure> {
    let (checked, Pinned { plan, held }) = planned(&args.pipeline, &args.selection).await?;
    let known = known(&checked, &plan).await?;
    // What is pinned is not needed any more.
    drop(held);
    let folder = args.out.clone().unwrap_or_else(|| PathBuf::from(format!("{}-dbt", plan.pipeline)));
    let project = dbt(&plan, &Lake { folder: lake_from(&folder, &plan)?, known: &known })?;
    write(&folder, &project.files, args.force)?;
    let removed = if args.force { remove_stale(&folder, &project.files, &plan.pipeline)? } else { Vec::new() };
    let files: Vec<&str> = project.files.iter().map(|file| file.path.as_str()).collect();
    let shown = folder.display().to_string();
    if output.json() {
        let answer = json!({ "folder": shown, "files": files, "removed": removed, "not_said": project.unsaid });
        output.answer(&answer.to_string())?;
    } else {
        output.answer(&files.iter().map(|file| format!("{shown}/{file}\n")).collect::<String>())?;
    }
    for unsaid in &project.unsaid {
        output.say(&format!("left out: {}: {}: {}", unsaid.table, unsaid.what, unsaid.why));
    }
    removed.iter().for_each(|file| output.say(&format!("removed {shown}/{file}, which an earlier project had")));
    output.say(&format!("next: cd {shown} && dbt build"));
    Ok(0)
}

async fn job(args: &GenerateSpark, output: &Output) -> Result<u8, Failure> {
    let (_, Pinned { plan, .. }) = planned(&args.pipeline, &args.selection).await?;
    let file = args.out.clone().unwrap_or_else(|| PathBuf::from(format!("{}-spark.py", plan.pipeline)));
    let name = file.file_name().map(|name| name.to_string_lossy().into_owned());
    let name = name.ok_or_else(|| Error::config("the job has no name").with("file", file.display().to_string()))?;
    let text = spark(&plan, &name).map_err(|mut refused| {
        let last = refused.pop().unwrap_or_else(|| Error::internal("a job was refused for no reason"));
        refused.iter().for_each(|error| output.complain(error));
        Failure::Error(last)
    })?;
    let folder = file.parent().unwrap_or_else(|| Path::new(""));
    write(folder, &[text], args.force)?;
    let shown = file.display().to_string();
    output.answer(&if output.json() { json!({ "files": [shown] }).to_string() } else { shown.clone() })?;
    output.say(&format!("next: python3 {shown} --target FOLDER"));
    Ok(0)
}

/// The plan of a pipeline, whatever its target holds.
async fn planned(pipeline: &Path, selection: &Selection) -> Result<(Checked, Pinned), Failure> {
    let checked = pipeline::check(pipeline, &selection.overrides)?;
    let pinned = pipeline::plan(&checked, &selection.table, Purpose::Compare).await?;
    Ok((checked, pinned))
}

/// What a database knows of the tables of a plan. Other systems know nothing but their columns.
async fn known(checked: &Checked, plan: &Plan) -> Result<BTreeMap<TableName, CatalogInfo>> {
    let mut known = BTreeMap::new();
    for table in plan.tables.iter().filter(|table| matches!(table.pin, Pin::Snapshot(_))) {
        if let Some(catalog) = checked.held.source.describe(&table.from).await?.catalog {
            known.insert(table.from.clone(), catalog);
        }
    }
    Ok(known)
}

/// How the lake of a plan is named from a folder, if it is a folder of this machine.
fn lake_from(folder: &Path, plan: &Plan) -> Result<Option<String>> {
    let Some(Value::Text(url)) = plan.target.options.get("url").map(|url| &url.value) else { return Ok(None) };
    let url = Template::parse(url).map_err(Error::config)?;
    let Some(path) = url.literal().map(|url| url.strip_prefix("file://").unwrap_or(url)) else { return Ok(None) };
    if path.contains("://") {
        return Ok(None);
    }
    let lake = Path::new(path);
    let named = match (lake.is_absolute(), folder.is_absolute()) {
        (true, _) => lake.to_path_buf(),
        (false, true) => std::path::absolute(lake)?,
        (false, false) => relative(&std::path::absolute(folder)?, &std::path::absolute(lake)?),
    };
    Ok(Some(if named.as_os_str().is_empty() { ".".to_string() } else { named.display().to_string() }))
}

/// The way from one absolute path to another.
fn relative(from: &Path, to: &Path) -> PathBuf {
    let (from, to) = (parts(from), parts(to));
    let shared = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
    let up = from.iter().skip(shared).map(|_| Component::ParentDir);
    up.chain(to.into_iter().skip(shared)).collect()
}

/// The parts of an absolute path, without detours.
fn parts(path: &Path) -> Vec<Component<'_>> {
    let mut parts = Vec::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                parts.pop();
            }
            Component::CurDir => {}
            part => parts.push(part),
        }
    }
    parts
}

/// Writes files below a folder: all of them, or none if one is there that must stay.
fn write(folder: &Path, files: &[Text], force: bool) -> Result<()> {
    let there = files.iter().map(|file| folder.join(&file.path)).find(|path| path.exists());
    if let Some(path) = there.filter(|_| !force) {
        return Err(Error::config(format!("{} exists already", path.display()))
            .hint("`--force` writes over it; `--out` names another place"));
    }
    for file in files {
        let path = folder.join(&file.path);
        let named = |e: std::io::Error| Error::from(e).with("file", path.display().to_string());
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            std::fs::create_dir_all(parent).map_err(named)?;
        }
        std::fs::write(&path, &file.content).map_err(named)?;
    }
    Ok(())
}

/// Removes models and tests that an earlier project of the same pipeline had and this one has not, by what stands at their
/// heads: dbt would go on with them.
fn remove_stale(folder: &Path, files: &[Text], pipeline: &str) -> Result<Vec<String>> {
    let mut removed = Vec::new();
    for below in ["models/staging", "tests"] {
        for entry in std::fs::read_dir(folder.join(below)).into_iter().flatten() {
            let path = entry?.path();
            let name = path.file_name().map(|name| format!("{below}/{}", name.to_string_lossy())).unwrap_or_default();
            if !name.ends_with(".sql") || files.iter().any(|file| file.path == name) {
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            let head = text.lines().next().unwrap_or_default();
            if head.starts_with("-- Generated by transload ")
                && head.contains(&format!(" the pipeline {pipeline}, plan "))
            {
                std::fs::remove_file(&path).map_err(|e| Error::from(e).with("file", path.display().to_string()))?;
                removed.push(name);
            }
        }
    }
    removed.sort();
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lake_is_named_from_the_project() {
        for (from, to, way) in [
            ("/w/q-dbt", "/w/q-lake", "../q-lake"),
            ("/w/dbt/q", "/w/./lakes/../q-lake", "../../q-lake"),
            ("/w", "/w/lake", "lake"),
            ("/a/b", "/", "../.."),
        ] {
            assert_eq!(relative(Path::new(from), Path::new(to)), Path::new(way), "{from} {to}");
        }
    }

    #[test]
    fn files_are_written_over_only_if_somebody_asks_for_it() {
        let folder = std::env::temp_dir().join(format!("transload-generate-{}", std::process::id()));
        let head = "-- Generated by transload 0.1.0 from the pipeline shop, plan 0. Changes are lost.\n";
        let file = |path: &str| Text { path: path.to_string(), content: head.to_string() };
        let both = [file("models/staging/a.sql"), file("tests/b.sql")];
        write(&folder, &both, false).unwrap();
        std::fs::write(folder.join("tests/own.sql"), "select 1").unwrap();
        let error = write(&folder, &both[1..], false).unwrap_err();
        assert!(error.to_string().contains("b.sql exists already"), "{error}");
        write(&folder, &both[..1], true).unwrap();
        assert_eq!(remove_stale(&folder, &both[..1], "other").unwrap(), Vec::<String>::new());
        assert_eq!(remove_stale(&folder, &both[..1], "shop").unwrap(), ["tests/b.sql"]);
        assert!(folder.join("tests/own.sql").exists() && folder.join("models/staging/a.sql").exists());
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
