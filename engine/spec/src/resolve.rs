//! From files to one [`Spec`]: layers put on top of each other, and everything checked that needs no data.

use std::collections::BTreeMap;

use transload_core::decode::{Kinded, closest, decode};
use transload_core::tree::{Node, Spanned, Value};
use transload_core::{Problem, Span, TableName};

use crate::file::{
    ArchetypeFile, BESIDE_TARGET, CheckEntry, Environment, PipelineFile, QUARANTINE_KIND, Quarantine, Settings,
    TableEntry,
};
use crate::problems::{Files, Problems};
use crate::{Alert, alerts, archetype, table, yaml};

const VERSION: u32 = 1;

/// The folder of quarantines in a target. Like all names that begin so it is not data, and no table's name.
const QUARANTINE_FOLDER: &str = "_quarantine";

/// Options of a lake that say of what format its files are. Rows are put aside as Parquet, whatever the target is.
const FORMAT_OPTIONS: [&str; 5] = ["format", "csv", "json", "avro", "orc"];

/// A pipeline, ready to be planned.
#[derive(Debug, Clone)]
pub struct Spec {
    /// Its name.
    pub name: String,
    /// The archetype it builds on.
    pub archetype: String,
    /// The rulebook for casts: a built-in name or a path.
    pub rulebook: Spanned<String>,
    /// Where tables come from.
    pub source: Kinded,
    /// Where tables go to.
    pub target: Kinded,
    /// Where rows go that are put aside, as a connection; beside the ledger, if nothing is said.
    pub quarantine: Option<Kinded>,
    /// Who is told how a run ended.
    pub alerts: Vec<Alert>,
    /// The tables, in the order of the file. Names with `*` are not expanded yet.
    pub tables: Vec<TableSpec>,
    /// Whether these are all tables with all their names. If not, nothing follows from a table that is not there.
    pub has_all_tables: bool,
    /// Sources of environments that were not chosen: not used, but checked.
    pub other_sources: Vec<Kinded>,
    /// Targets of environments that were not chosen: not used, but checked.
    pub other_targets: Vec<Kinded>,
    /// Quarantines that were not chosen: not used, but checked.
    pub other_quarantines: Vec<Kinded>,
    /// The files it was read from, to show problems that are found later.
    pub files: Files,
}

impl Spec {
    /// Whether a connection is a target too, here or in another environment: then what it says about writing is used.
    pub fn is_target_too(&self, connection: &Kinded) -> bool {
        same(&self.target, connection) || self.other_targets.iter().any(|t| same(t, connection))
    }
}

/// Whether two connections say the same, wherever they stand.
fn same(a: &Kinded, b: &Kinded) -> bool {
    serde_json::json!(a) == serde_json::json!(b)
}

/// A table of a pipeline, with all layers applied.
#[derive(Debug, Clone)]
pub struct TableSpec {
    /// Name in the source; may hold `*`.
    pub from: Spanned<String>,
    /// Name in the target.
    pub to: Spanned<String>,
    /// Names that `*` shall not match.
    pub except: Vec<Spanned<String>>,
    /// The settings.
    pub settings: Settings,
    /// Columns that the table itself names (not a default), which must therefore exist.
    pub own_columns: Vec<Spanned<String>>,
    /// Where the checks stand that the table itself has, so that their columns must exist.
    pub own_checks: Vec<Span>,
}

impl TableSpec {
    /// A table as it stands, without settings of a pipeline.
    pub fn plain(name: &Spanned<String>) -> Self {
        Self {
            from: name.clone(),
            to: name.clone(),
            except: Vec::new(),
            settings: Settings::default(),
            own_columns: Vec::new(),
            own_checks: Vec::new(),
        }
    }

    /// Whether the name stands for any number of tables. (`**` is a pattern for the files of one table.)
    pub fn is_wildcard(&self) -> bool {
        is_wildcard(&self.from.value)
    }

    /// This table for one name that its `*` matched; `None` if it does not match.
    pub fn expand(&self, name: &str) -> Option<TableSpec> {
        let part = wildcard(&self.from.value, name)?;
        if self.except.iter().any(|e| fits(&e.value, name)) {
            return None;
        }
        let mut one = self.clone();
        one.from.value = name.to_string();
        one.to.value =
            if self.to.value == self.from.value { name.to_string() } else { self.to.value.replace('*', part) };
        Some(one)
    }
}

pub(crate) fn is_wildcard(name: &str) -> bool {
    name.contains('*') && !name.contains("**")
}

/// Matches a name against a pattern in which `*` stands for any characters, and returns what the first `*` stood for.
fn wildcard<'a>(pattern: &str, name: &'a str) -> Option<&'a str> {
    let Some((head, tail)) = pattern.split_once('*') else {
        return (pattern == name).then_some("");
    };
    let rest = name.strip_prefix(head)?;
    rest.char_indices().map(|(i, _)| i).chain([rest.len()]).find(|&i| fits(tail, &rest[i..])).map(|i| &rest[..i])
}

/// Whether a name fits a pattern in which `*` stands for any characters.
pub fn fits(pattern: &str, name: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(mut name) = name.strip_prefix(head) else { return false };
    let (middle, tail) = rest.rsplit_once('*').unwrap_or(("", rest));
    for part in middle.split('*') {
        let Some((_, behind)) = name.split_once(part) else { return false };
        name = behind;
    }
    name.ends_with(tail)
}

/// What the command line adds.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// The environment.
    pub environment: Option<String>,
    /// `KEY=VALUE` texts: a dotted path to a table setting, and YAML.
    pub settings: Vec<String>,
}

/// What reading a pipeline needs from outside.
#[derive(Clone, Copy)]
pub struct Outside<'a> {
    /// The text of a user's own archetype.
    pub read: &'a dyn Fn(&str) -> std::io::Result<String>,
    /// What is wrong with a quality check.
    pub check: &'a dyn Fn(&CheckEntry) -> Vec<Problem>,
}

/// A pipeline as far as it could be read.
#[derive(Debug)]
pub struct Loaded {
    /// The pipeline. Beside problems it is incomplete and only good for finding more of them: placeholders stand for
    /// what is missing.
    pub spec: Spec,
    /// What is wrong with it.
    pub problems: Vec<Problem>,
}

impl Loaded {
    /// The pipeline, if nothing is wrong with it.
    ///
    /// # Errors
    /// Every problem that was found, at its place.
    pub fn complete(self) -> Result<Spec, Problems> {
        if self.problems.is_empty() { Ok(self.spec) } else { Err(Problems::new(self.spec.files, self.problems)) }
    }
}

/// Whether a pipeline can have this name.
///
/// # Errors
/// The rule that it breaks, as a sentence.
pub fn check_name(name: &str) -> Result<(), &'static str> {
    let ok = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if name.is_empty() || name.len() > 100 || !name.chars().all(ok) {
        return Err("a pipeline's name is 1 to 100 letters, digits, `_` or `-`");
    }
    Ok(())
}

/// Reads a pipeline.
///
/// # Errors
/// Every problem that was found, at its place, if there is nothing in which to find more of them.
pub fn load(name: &str, text: &str, overrides: &Overrides, outside: Outside<'_>) -> Result<Loaded, Problems> {
    let mut loader = Loader { files: Files::default(), problems: Vec::new() };
    match loader.load(name, text, overrides, outside) {
        Some(spec) => Ok(Loaded { spec: Spec { files: loader.files, ..spec }, problems: loader.problems }),
        None => Err(Problems::new(loader.files, loader.problems)),
    }
}

struct Loader {
    files: Files,
    problems: Vec<Problem>,
}

impl Loader {
    fn say(&mut self, span: Span, message: impl Into<String>, hint: impl Into<String>) {
        self.problems.push(Problem::new(span, message).hint(hint));
    }

    fn tree(&mut self, name: &str, text: &str) -> Option<Node> {
        let file = self.files.add(name, text);
        match yaml::parse(text, file) {
            Ok(node) if matches!(node.value, Value::Null) => {
                let span = Span { file, line: 1, column: 1, ..Span::default() };
                self.say(span, "the file is empty", "`transload init` writes a pipeline to start from");
                None
            }
            Ok(node) => Some(node),
            Err(problems) => {
                self.problems.extend(problems);
                None
            }
        }
    }

    fn load(&mut self, name: &str, text: &str, overrides: &Overrides, outside: Outside<'_>) -> Option<Spec> {
        let tree = self.tree(name, text)?;
        let file: PipelineFile = decode(&tree, &mut self.problems)?;
        self.version(&file.version);
        self.name(&file.pipeline);
        let archetype = self.archetype(&file, outside.read);
        let environment = self.environment(&file, tree.span, overrides);
        let command_line = self.command_line(&overrides.settings);

        let none = Settings::default();
        let defaults = archetype
            .as_ref()
            .and_then(|a| a.defaults.clone())
            .unwrap_or_default()
            .under(file.defaults.as_ref().unwrap_or(&none))
            .under(environment.as_ref().and_then(|e| e.defaults.as_ref()).unwrap_or(&none));
        if file.tables.is_empty() && self.problems.is_empty() {
            self.say(file.tables.span, "the pipeline has no tables", "add one: `- from: NAME`");
        }
        let mut tables = Vec::new();
        for entry in &file.tables.value {
            let settings = defaults.clone().under(&entry.settings()).under(&command_line);
            table::check(entry, &settings, &mut self.problems);
            self.checks(&settings, outside);
            tables.push(TableSpec {
                from: entry.from.clone(),
                to: entry.to.clone().unwrap_or_else(|| entry.from.clone()),
                except: entry.except.clone().map(|e| e.value).unwrap_or_default(),
                own_columns: entry.columns.iter().flat_map(|c| c.0.iter().map(|(name, _)| name.clone())).collect(),
                own_checks: entry.checks.iter().flat_map(|c| c.value.iter().map(|check| check.span)).collect(),
                settings,
            });
        }
        self.targets(&tables);
        let layers = file.environments.iter().flat_map(|e| &e.0).filter_map(|(_, e)| e.defaults.as_ref());
        layers.for_each(|settings| self.checks(settings, outside));
        let has_all_tables = archetype.is_some() && has_all_tables(&tree, &file.tables.value);
        self.alerts(&file, has_all_tables.then_some(tables.as_slice()));
        let others: Vec<&Environment> = file
            .environments
            .iter()
            .flat_map(|e| &e.0)
            .filter(|(name, _)| Some(name.as_str()) != overrides.environment.as_deref())
            .map(|(_, environment)| environment)
            .collect();
        let other_sources = others.iter().flat_map(|e| &e.source).cloned().collect();
        let other_targets = others.iter().flat_map(|e| &e.target).cloned().collect();
        let other_quarantines = self.other_quarantines(&file, &others);
        let environment_source = environment.as_ref().and_then(|e| e.source.clone());
        let environment_quarantine = environment.as_ref().and_then(|e| e.quarantine.clone());
        let environment_alerts = environment.as_ref().and_then(|e| e.alerts.clone());
        let environment_target = environment.and_then(|e| e.target);
        let target = environment_target.unwrap_or(file.target);
        let quarantine = environment_quarantine.or(file.quarantine).and_then(|said| self.quarantine(&said, &target));
        let spec = Spec {
            name: file.pipeline.value,
            archetype: archetype.as_ref().map(|a| a.archetype.value.clone()).unwrap_or_default(),
            rulebook: archetype.map_or_else(|| Spanned::placeholder(String::new()), |a| a.rulebook),
            source: environment_source.unwrap_or(file.source),
            target,
            quarantine,
            alerts: environment_alerts.or(file.alerts).unwrap_or_default(),
            tables,
            has_all_tables,
            other_sources,
            other_targets,
            other_quarantines,
            files: Files::default(),
        };
        self.itself(&spec);
        Some(spec)
    }

    fn version(&mut self, version: &Spanned<u32>) {
        if version.value > VERSION {
            let message = format!("this file has version {}; this program knows version {VERSION}", version.value);
            self.say(version.span, message, "use a newer transload");
        } else if version.value != VERSION {
            self.say(version.span, format!("there is no version {}", version.value), "write `version: 1`");
        }
    }

    fn name(&mut self, name: &Spanned<String>) {
        if let Err(rule) = check_name(name) {
            self.problems.push(Problem::new(name.span, rule));
        }
    }

    fn archetype(
        &mut self,
        file: &PipelineFile,
        read: &dyn Fn(&str) -> std::io::Result<String>,
    ) -> Option<ArchetypeFile> {
        let asked = file.archetype.clone().unwrap_or_else(|| Spanned::nowhere("table_copy".to_string()));
        let (name, text) = if archetype::is_path(&asked) {
            match read(&asked) {
                Ok(text) => (asked.value.clone(), text),
                Err(error) => {
                    self.say(asked.span, format!("the archetype cannot be read: {error}"), "check the path");
                    return None;
                }
            }
        } else if let Some(text) = archetype::built_in(&asked) {
            (format!("archetypes/{}.yaml", asked.value), text.to_string())
        } else {
            let known: Vec<&str> = archetype::BUILT_IN.iter().map(|(n, _)| *n).collect();
            let hint = closest(&asked, &known).unwrap_or_else(|| {
                format!("there are {}; your own is given by its path, ending in .yaml", known.join(", "))
            });
            self.say(asked.span, format!("there is no archetype `{}`", asked.value), hint);
            return None;
        };
        let tree = self.tree(&name, &text)?;
        let archetype: ArchetypeFile = decode(&tree, &mut self.problems)?;
        self.version(&archetype.version);
        Some(archetype)
    }

    /// The environment that was chosen. A file without a name is wrong at its `beginning`.
    fn environment(&mut self, file: &PipelineFile, beginning: Span, overrides: &Overrides) -> Option<Environment> {
        let wanted = overrides.environment.as_deref()?;
        let known: Vec<String> =
            file.environments.iter().flat_map(|e| e.0.iter().map(|(name, _)| name.value.clone())).collect();
        match file.environments.as_ref().and_then(|e| e.get(wanted)) {
            Some(found) => Some(found.clone()),
            None => {
                let hint = match known.is_empty() {
                    true => "the file has no `environments`".to_string(),
                    false => format!("there are {}", known.join(", ")),
                };
                let place = if file.pipeline.is_placeholder() { beginning } else { file.pipeline.span };
                self.say(place, format!("there is no environment `{wanted}`"), hint);
                None
            }
        }
    }

    /// `--set reconcile.level=count` becomes `{reconcile: {level: count}}`.
    fn command_line(&mut self, settings: &[String]) -> Settings {
        let mut merged = Settings::default();
        for setting in settings {
            let file = self.files.add("--set", setting.as_str());
            let Some((path, value)) = setting.split_once('=') else {
                let span = Span { file, line: 1, column: 1, start: 0, len: setting.len() as u32 };
                self.say(span, "a setting is written KEY=VALUE", "for example `--set reconcile.level=count`");
                continue;
            };
            match yaml::parse(value, file) {
                Ok(mut node) => {
                    shift(&mut node, path.len() as u32 + 1);
                    let span = Span { file, line: 1, column: 1, start: 0, len: path.len() as u32 };
                    for key in path.rsplit('.') {
                        let key = Spanned { value: key.trim().to_string(), span };
                        node = Node { value: Value::Map(vec![(key, node)]), span };
                    }
                    if let Some(over) = decode::<Settings>(&node, &mut self.problems) {
                        merged = merged.under(&over);
                    }
                }
                Err(problems) => self.problems.extend(problems),
            }
        }
        merged
    }

    /// What is wrong with single checks.
    fn checks(&mut self, settings: &Settings, outside: Outside<'_>) {
        let checks = settings.checks.iter().flat_map(|c| &c.value);
        self.problems.extend(checks.flat_map(|check| (outside.check)(check)));
    }

    /// Alerts of the pipeline and of every environment.
    fn alerts(&mut self, file: &PipelineFile, tables: Option<&[TableSpec]>) {
        let environments: Vec<&Environment> = file.environments.iter().flat_map(|e| &e.0).map(|(_, e)| e).collect();
        let layers: Vec<&Settings> = environments.iter().filter_map(|e| e.defaults.as_ref()).collect();
        let all = file.alerts.iter().chain(environments.iter().filter_map(|e| e.alerts.as_ref())).flatten();
        for secret in alerts::check(all, tables, &layers, &mut self.problems) {
            self.files.hide(secret);
        }
    }

    /// The connection for rows that are put aside. Beside the target it is reached as the target is, and of its files only
    /// the format is another one.
    fn quarantine(&mut self, said: &Quarantine, target: &Kinded) -> Option<Kinded> {
        let Quarantine(Kinded { kind, options }) = said;
        if !said.is_beside_target() {
            if let Value::Text(_) = &options.value {
                let message = format!("expected `{BESIDE_TARGET}` or a mapping, found text");
                self.say(options.span, message, "a place of its own is `quarantine: { url: … }`");
                return None;
            }
            return Some(Kinded { kind: kind.clone(), options: options.clone() });
        }
        if target.kind.is_placeholder() {
            return None;
        }
        if target.kind.value != QUARANTINE_KIND {
            let message =
                format!("no rows can be put aside beside the target: it is `{}`, and no lake", target.kind.value);
            self.say(options.span, message, "state a place: `quarantine: { url: … }`, or leave it out");
            return None;
        }
        let mut options = target.options.clone();
        if let Value::Map(entries) = &mut options.value {
            entries.retain(|(key, _)| !FORMAT_OPTIONS.contains(&key.value.as_str()));
            for (_, node) in entries.iter_mut().filter(|(key, _)| key.value == "url") {
                if let Value::Text(url) = &mut node.value {
                    *url = format!("{}/{QUARANTINE_FOLDER}", url.trim_end_matches('/'));
                }
            }
        }
        Some(Kinded { kind: kind.clone(), options })
    }

    /// Those of environments that were not chosen.
    fn other_quarantines(&mut self, file: &PipelineFile, others: &[&Environment]) -> Vec<Kinded> {
        let mut found = Vec::new();
        for environment in others {
            let target = environment.target.as_ref().unwrap_or(&file.target);
            // The same word means another place, where there is another target.
            let moved = file.quarantine.as_ref().filter(|q| q.is_beside_target() && environment.target.is_some());
            if let Some(said) = environment.quarantine.as_ref().or(moved) {
                found.extend(self.quarantine(said, target));
            }
        }
        found
    }

    /// No two tables may go to one target.
    fn targets(&mut self, tables: &[TableSpec]) {
        let mut seen: BTreeMap<&str, Span> = BTreeMap::new();
        for table in tables {
            if let Some(first) = seen.insert(&table.to.value, table.to.span) {
                let message = format!("two tables go to `{}`", table.to.value);
                let hint = format!("the other one is on line {}; give one of them another `to`", first.line);
                self.say(table.to.span, message, hint);
            }
        }
        let names: Vec<TableName> = tables.iter().map(|t| TableName::new(t.to.value.clone())).collect();
        for (table, name) in tables.iter().zip(&names) {
            if let Some(outer) = names.iter().find(|other| name.is_inside(other)) {
                let message = format!("the table `{name}` would lie inside the table `{outer}`");
                self.say(table.to.span, message, "give one of them another `to`");
            }
        }
    }

    /// A table cannot be loaded into itself.
    fn itself(&mut self, spec: &Spec) {
        if same(&spec.source, &spec.target) && !spec.source.kind.is_placeholder() {
            for table in spec.tables.iter().filter(|t| t.from.value == t.to.value) {
                let message = format!("`{}` would be loaded into itself", table.from.value);
                self.say(table.to.span, message, "give it another `to`, or use another target");
            }
        }
    }
}

/// Whether every table of a file was read, with its names.
fn has_all_tables(file: &Node, tables: &[TableEntry]) -> bool {
    let Some(Node { value: Value::Seq(written), .. }) = file.get("tables") else { return false };
    let is_read = |(written, table): (&Node, &TableEntry)| {
        !table.from.is_placeholder() && written.get("to").is_some() == table.to.is_some()
    };
    written.len() == tables.len() && written.iter().zip(tables).all(is_read)
}

/// Moves the places of a tree that was parsed from the end of a longer text.
fn shift(node: &mut Node, by: u32) {
    node.span.start += by;
    node.span.column += by;
    match &mut node.value {
        Value::Seq(items) => items.iter_mut().for_each(|n| shift(n, by)),
        Value::Map(entries) => {
            for (key, value) in entries {
                key.span.start += by;
                key.span.column += by;
                shift(value, by);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "version: 1\npipeline: p\nsource: { tpch: { scale: 0.1 } }\ntarget: { lake: { url: out } }\n\
        defaults: { reconcile: { level: count }, columns: { a: { mask: hash } } }\n\
        tables:\n  - from: orders\n    columns: { a: { rename: b }, c: { drop: true } }\n  - from: 'x.*'\n    to: 'y_*'\n    except: ['x.tmp*']\n\
        environments: { prod: { target: { lake: { url: other } }, defaults: { mode: append } } }\n";

    fn load_text(text: &str, overrides: &Overrides) -> Result<Spec, String> {
        let outside = Outside { read: &|_| Err(std::io::ErrorKind::NotFound.into()), check: &|_| Vec::new() };
        load("p.yaml", text, overrides, outside).and_then(Loaded::complete).map_err(|p| p.render(false))
    }

    #[test]
    fn layers_go_over_each_other() {
        let overrides = Overrides { environment: Some("prod".into()), settings: vec!["reconcile.hash=sha256".into()] };
        let spec = load_text(GOOD, &overrides).unwrap();
        let settings = &spec.tables[0].settings;
        assert_eq!(settings.mode.as_ref().unwrap().value, crate::Mode::Append);
        let reconcile = settings.reconcile.as_ref().unwrap();
        assert_eq!(reconcile.level, Some(crate::ReconcileLevel::Count));
        assert_eq!(reconcile.hash.as_ref().map(|h| h.value), Some(crate::file::RowHash::Sha256));
        let a = settings.columns.as_ref().unwrap().get("a").unwrap();
        assert!(a.mask.is_some() && a.rename.is_some());
        assert_eq!(spec.target.options.get("url").unwrap().value, Value::Text("other".into()));
        assert_eq!(spec.rulebook.value, "standard");
    }

    #[test]
    fn what_is_put_aside_beside_the_target_goes_where_the_target_is() {
        let lake = "target: { lake: { url: out } }\n";
        let other = "target: { lake: { url: out/, parquet: { compression: snappy } } }\nquarantine: target\n";
        let text = GOOD.replacen(lake, other, 1);
        let place = |environment: Option<&str>| {
            let overrides = Overrides { environment: environment.map(str::to_string), settings: Vec::new() };
            load_text(&text, &overrides).unwrap().quarantine.unwrap()
        };
        let url = |of: &Kinded| of.options.get("url").unwrap().value.clone();
        assert_eq!(url(&place(None)), Value::Text("out/_quarantine".into()));
        assert!(place(None).kind.value == "lake" && place(None).options.get("parquet").is_some());
        assert_eq!(url(&place(Some("prod"))), Value::Text("other/_quarantine".into()));
        // It is Parquet there, too, where the target is not.
        let written = "url: out/, format: csv, csv: { compression: gzip }";
        let csv = text.replacen("url: out/, parquet: { compression: snappy }", written, 1);
        let beside_csv = load_text(&csv, &Overrides::default()).unwrap().quarantine.unwrap();
        assert_eq!(url(&beside_csv), Value::Text("out/_quarantine".into()));
        assert!(["format", "csv"].iter().all(|option| beside_csv.options.get(option).is_none()));
        assert!(load_text(GOOD, &Overrides::default()).unwrap().quarantine.is_none());
        // Also an environment that is not chosen.
        let text = text.replace("target: { lake: { url: other } }", "target: { tpch: {} }");
        let said = load_text(&text, &Overrides::default()).unwrap_err();
        assert!(said.contains("it is `tpch`, and no lake") && said.contains("p.yaml:5:13"), "{said}");
    }

    #[test]
    fn checks_of_all_layers_add_up() {
        let text =
            GOOD.replace("defaults: { reconcile", "defaults: { checks: [ { not_null: [a] } ], reconcile").replace(
                "- from: orders\n",
                "- from: orders\n    checks: [ { not_null: [a] }, { range: { column: b, min: 0 } } ]\n",
            );
        let spec = load_text(&text, &Overrides::default()).unwrap();
        let kinds = |table: &TableSpec| -> Vec<String> {
            table.settings.checks.iter().flat_map(|c| &c.value).map(|c| c.0.kind.value.clone()).collect()
        };
        assert_eq!(kinds(&spec.tables[0]), ["not_null", "range"]);
        assert_eq!(spec.tables[0].own_checks.len(), 2);
        assert_eq!(kinds(&spec.tables[1]), ["not_null"]);
        assert!(spec.tables[1].own_checks.is_empty());
    }

    #[test]
    fn wildcards_expand() {
        let spec = load_text(GOOD, &Overrides::default()).unwrap();
        let wild = &spec.tables[1];
        assert_eq!(wild.expand("x.users").unwrap().to.value, "y_users");
        assert!(wild.expand("x.tmp1").is_none());
        assert!(wild.expand("z.users").is_none());
    }

    #[test]
    fn a_star_stands_for_any_characters() {
        for (pattern, name) in [("a", "a"), ("*", ""), ("a*", "a"), ("*b*", "abc"), ("a*b*c", "a*c b c"), ("a*a", "aa")]
        {
            assert!(fits(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [("a", "ab"), ("a*a", "a"), ("a*b*c", "acb"), ("*x*", "abc"), ("", "a")] {
            assert!(!fits(pattern, name), "{pattern} {name}");
        }
    }

    #[test]
    fn all_problems_are_shown_with_their_place() {
        let text = "version: 2\npipeline: 'a b'\nsource: { tpch: {} }\ntarget: { lake: {} }\nfoo: 1\ntables:\n  - from: a\n    to: x\n  - from: b\n    to: x\n    mode: { incremental: {} }\n";
        let shown = load_text(text, &Overrides::default()).unwrap_err();
        for part in
            ["p.yaml:1:10", "p.yaml:2:11", "unknown key `foo`", "two tables go to `x`", "`cursor` is missing", "hint:"]
        {
            assert!(shown.contains(part), "{part} in\n{shown}");
        }
    }

    fn messages(text: &str, archetype: &str) -> Vec<String> {
        let outside = Outside { read: &|_| Ok(archetype.to_string()), check: &|_| Vec::new() };
        let loaded = load("p.yaml", text, &Overrides::default(), outside);
        loaded.and_then(Loaded::complete).unwrap_err().list.into_iter().map(|p| p.message).collect()
    }

    #[test]
    fn what_is_missing_hides_nothing_else_and_is_not_blamed_twice() {
        let text = "version: 1\npipelin: p\nquarantine: target\ndefaults: { key: [a, a] }\n\
                    alerts: [ { on: [warn, warn], tables: [nope], labels: { tier: gold } } ]\ntables:\n  \
                    - { to: 'x_*', except: ['x_y'], filter: '' }\n  - { from: b, mode: ful }\n";
        assert_eq!(
            messages(text, ""),
            [
                "`pipeline` is missing",
                "`source` is missing",
                "`target` is missing",
                "unknown key `pipelin`",
                "key names the column `a` twice",
                "`to` is missing",
                "`warn` stands here twice",
                "`from` is missing",
                "the filter is empty",
                "`ful` is not one of `full`, `append`, `incremental`, `merge`, `replace_partitions`",
            ]
        );
        let overrides = Overrides { environment: Some("prod".into()), settings: Vec::new() };
        let shown = load_text(text, &overrides).unwrap_err();
        assert!(shown.contains("there is no environment `prod`"), "{shown}");
        // With all tables known, what is said of no table is wrong.
        let text = text.replace("to: 'x_*', except: ['x_y']", "from: a");
        let said = messages(&text, "");
        assert!(said.contains(&"no table fits `nope`".to_string()), "{said:?}");
        assert!(said.contains(&"no table has the label `tier: gold`".to_string()), "{said:?}");
        assert_eq!(messages(&text.replace("tables:\n", "tabels:\n"), "").last().unwrap(), "unknown key `tabels`");
    }

    #[test]
    fn what_an_archetype_lacks_hides_nothing_else() {
        let text = GOOD.replace("pipeline: p", "pipeline: p p\narchetype: ./own.yaml");
        let archetype = "version: 2\narchetype: own\ndefaults: { mode: ful, key: [] }\n";
        assert_eq!(
            messages(&text, archetype),
            [
                "a pipeline's name is 1 to 100 letters, digits, `_` or `-`",
                "`description` is missing",
                "`rulebook` is missing",
                "this file has version 2; this program knows version 1",
                "`ful` is not one of `full`, `append`, `incremental`, `merge`, `replace_partitions`",
                "the key has no columns",
            ]
        );
        assert_eq!(messages(&text, "- 1\n").len(), 2);
    }

    #[test]
    fn hostile_yaml_is_refused_briefly() {
        let bomb = format!(
            "a: &a [{}]\nb: &b [{}]\nc: [{}]\n",
            ["x"; 50].join(","),
            ["*a"; 50].join(","),
            ["*b"; 60].join(",")
        );
        let deep = "[".repeat(100_000);
        let huge = "a".repeat(2 << 20);
        for text in
            [bomb.as_str(), &deep, &huge, "a: &a [*a]", "a: 1\n---\nb: 2\n", "a: 1\na: 2", "\u{0}", "%YAML 9", "&a *a"]
        {
            let shown = load_text(text, &Overrides::default()).unwrap_err();
            assert!(shown.len() < 4000, "{}", shown.len());
            assert!(shown.starts_with("error: "), "{shown}");
        }
    }
}
