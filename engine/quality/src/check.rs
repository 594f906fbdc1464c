//! A check as data: what stands in a pipeline and what a plan carries.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use sha2::{Digest, Sha256};
use transload_core::decode::decode;
use transload_core::finding::{self, Action};
use transload_core::tree::{Spanned, Value};
use transload_core::{Error, Node, Problem, Result, RunId};

use crate::checks::{
    AcceptedValues, Aggregate, Completeness, Definition, Drift, Expression, ForeignKey, Format, Freshness, Length,
    Monotonic, NoGaps, NotEmpty, NotInFuture, NotNull, Pattern, Range, RowCount, Scope, TableSchema, Unique,
};
use crate::look::{Look, Other};
use crate::policy::Policy;

/// A rule by its kind, with everything that was said about it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// No value is NULL.
    NotNull(#[schemars(with = "OrColumns<NotNull>")] NotNull),
    /// No text is empty or blank, and no list is empty.
    NotEmpty(#[schemars(with = "OrColumns<NotEmpty>")] NotEmpty),
    /// No two rows have the same values in some columns, taken together.
    Unique(#[schemars(with = "OrColumns<Unique>")] Unique),
    /// Every value is one of a list.
    AcceptedValues(AcceptedValues),
    /// Every value lies within limits.
    Range(Range),
    /// Every text has a length within limits.
    Length(Length),
    /// Every text matches a regular expression.
    Pattern(Pattern),
    /// Every text is written in a well-known form.
    Format(Format),
    /// No date or timestamp lies after the start of the run.
    NotInFuture(#[schemars(with = "OrColumns<NotInFuture>")] NotInFuture),
    /// Values only rise, or only fall, in the order of the source.
    Monotonic(Monotonic),
    /// An SQL condition holds for every row.
    Expression(Expression),
    /// The values of some columns are those of some row of another table.
    ForeignKey(ForeignKey),
    /// Enough values are there.
    Completeness(Completeness),
    /// The number of rows lies within limits.
    RowCount(RowCount),
    /// A sum, average or other figure of a column lies within limits.
    Aggregate(Aggregate),
    /// The newest value is not too old.
    Freshness(Freshness),
    /// Every day, hour or other window of time has rows.
    NoGaps(NoGaps),
    /// The columns are these.
    Schema(TableSchema),
    /// The table is much as the last run published it.
    Drift(Drift),
}

/// A list of columns, or the settings as a mapping: only a schema knows this type.
#[allow(dead_code, reason = "never made")]
struct OrColumns<T>(std::marker::PhantomData<T>);

impl<T: JsonSchema> JsonSchema for OrColumns<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        format!("{}_or_columns", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let settings = generator.subschema_for::<T>();
        schemars::json_schema!({ "anyOf": [{ "type": "array", "items": { "type": "string" } }, settings] })
    }
}

/// A check of a table: a rule with its code and fingerprint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Check {
    /// Stable code of its kind, such as `Q005`.
    pub code: String,
    /// Identifies the rule: what it demands of which rows, not what happens if it is broken.
    pub fingerprint: String,
    /// The rule.
    pub rule: Rule,
    /// What the last published run measured, for a rule that compares itself with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Before>,
}

/// What an earlier run measured by a rule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Before {
    /// The run.
    pub run: RunId,
    /// The figures of its finding.
    pub figures: Json,
}

/// What becomes of a rule in a replay.
#[derive(Debug, Clone, PartialEq)]
pub enum InReplay {
    /// It is judged in this form.
    Judged(Box<Check>),
    /// It is not, for this reason.
    NotJudged(String),
}

/// The kinds that take a list of columns for their settings.
const TAKE_LISTS: [&str; 4] = ["not_null", "not_empty", "unique", "not_in_future"];

impl Rule {
    pub(crate) fn definition(&self) -> &dyn Definition {
        match self {
            Self::NotNull(rule) => rule,
            Self::NotEmpty(rule) => rule,
            Self::Unique(rule) => rule,
            Self::AcceptedValues(rule) => rule,
            Self::Range(rule) => rule,
            Self::Length(rule) => rule,
            Self::Pattern(rule) => rule,
            Self::Format(rule) => rule,
            Self::NotInFuture(rule) => rule,
            Self::Monotonic(rule) => rule,
            Self::Expression(rule) => rule,
            Self::ForeignKey(rule) => rule,
            Self::Completeness(rule) => rule,
            Self::RowCount(rule) => rule,
            Self::Aggregate(rule) => rule,
            Self::Freshness(rule) => rule,
            Self::NoGaps(rule) => rule,
            Self::Schema(rule) => rule,
            Self::Drift(rule) => rule,
        }
    }

    /// The same rule for each of its columns, where they have nothing to do with each other.
    fn each_column(self) -> Vec<Self> {
        match self {
            Self::NotNull(rule) => rule.each_column().map(Self::NotNull).collect(),
            Self::NotEmpty(rule) => rule.each_column().map(Self::NotEmpty).collect(),
            Self::NotInFuture(rule) => rule.each_column().map(Self::NotInFuture).collect(),
            other => vec![other],
        }
    }
}

impl Check {
    /// A check of a rule.
    ///
    /// # Errors
    /// [`Internal`](transload_core::ErrorKind::Internal) if the rule cannot be written as JSON.
    pub fn new(rule: Rule) -> Result<Self> {
        let code = rule.definition().code().to_string();
        Ok(Self { code, fingerprint: fingerprint(&rule)?, rule, before: None })
    }

    /// The word for its kind, such as `range`.
    pub fn kind(&self) -> &'static str {
        self.rule.definition().kind()
    }

    /// The columns it names.
    pub fn columns(&self) -> Vec<&Spanned<String>> {
        self.rule.definition().columns()
    }

    /// The rule in a few words: `Q005 range (distance)`.
    pub fn title(&self) -> String {
        let columns: Vec<String> = self.columns().iter().map(|c| c.value.clone()).collect();
        finding::title(&self.code, self.kind(), &columns)
    }

    /// What happens if the rule is broken.
    pub fn policy(&self) -> Policy {
        self.rule.definition().policy()
    }

    /// Every SQL expression it holds.
    pub fn expressions(&self) -> Vec<Spanned<String>> {
        self.rule.definition().sql().into_iter().chain(self.policy().filter).collect()
    }

    /// What it expects, in words.
    pub fn expected(&self) -> String {
        self.rule.definition().expected()
    }

    /// What it needs to see once all rows are staged.
    pub fn look(&self) -> Option<Look> {
        self.rule.definition().look()
    }

    /// The other table that it looks at.
    pub fn other(&self) -> Option<Other<'_>> {
        let beside = self.rule.definition().beside()?;
        let check =
            Self { code: self.code.clone(), fingerprint: self.fingerprint.clone(), rule: beside.rule, before: None };
        Some(Other { place: beside.place, table: beside.table, check })
    }

    /// Whether it compares what it measures with what an earlier run measured.
    pub fn compares(&self) -> bool {
        matches!(self.rule, Rule::Drift(_))
    }

    /// That no two rows have the same key, which is these columns.
    ///
    /// # Errors
    /// [`Internal`](transload_core::ErrorKind::Internal) if the rule cannot be written as JSON.
    pub fn of_key(columns: &[String]) -> Result<Self> {
        let columns = columns.iter().cloned().map(Spanned::nowhere).collect();
        Self::new(Rule::Unique(Unique { columns, severity: None, action: None, threshold: None, filter: None }))
    }

    /// Whether it says of all rows that no two of them have the same values in just these columns, whatever happens then.
    pub fn is_of_key(&self, columns: &[String]) -> bool {
        let Rule::Unique(rule) = &self.rule else { return false };
        let same = rule.columns.len() == columns.len() && rule.columns.iter().all(|c| columns.contains(&c.value));
        same && rule.filter.is_none()
    }

    /// What keeps a merge by a key from choosing among rows: every row has the key, and no two have the same.
    ///
    /// # Errors
    /// [`Internal`](transload_core::ErrorKind::Internal) if a rule cannot be written as JSON.
    pub fn guards(key: &[String]) -> Result<Vec<Self>> {
        let not_null = |column: &String| {
            let columns = vec![Spanned::nowhere(column.clone())];
            Self::new(Rule::NotNull(NotNull { columns, severity: None, action: None, threshold: None, filter: None }))
        };
        key.iter().map(not_null).chain([Self::of_key(key)]).collect()
    }

    /// Whether it demands of all rows what one of the [guards](Self::guards) of a key does, whatever happens if it is
    /// broken. In a merge such a rule is about delete markers too.
    pub fn is_about_key(&self, key: &[String]) -> bool {
        match &self.rule {
            Rule::NotNull(rule) => rule.filter.is_none() && rule.columns.iter().all(|c| key.contains(&c.value)),
            _ => self.is_of_key(key),
        }
    }

    /// Whether it takes the place of a guard of a key: no row gets into the target that breaks it.
    pub fn does_for(&self, guard: &Self, key: &[String]) -> bool {
        let policy = self.policy();
        let lets_none_through = match policy.action() {
            Action::Stop => policy.exceeded(1, u64::MAX),
            Action::Quarantine => true,
            Action::Log => false,
        };
        let is_same = self.fingerprint == guard.fingerprint || (self.is_of_key(key) && guard.is_of_key(key));
        lets_none_through && is_same
    }

    /// What becomes of the rule in a replay, where rows that were put aside are read again. The fingerprint stays, and a
    /// threshold does not count: what is added breaks no rule that would stop a load.
    ///
    /// - A rule about single rows that would stop a load keeps those aside that still break it.
    /// - One about keys stops what a load would stop.
    /// - One about the order of rows or the table as a whole is not judged: these rows are a part of the table.
    ///
    /// # Errors
    /// [`Internal`](transload_core::ErrorKind::Internal) if the rule cannot be written as JSON.
    pub fn in_replay(&self) -> Result<InReplay> {
        let part =
            |of: &str| Ok(InReplay::NotJudged(format!("a replay adds a part of the rows, and this is about {of}")));
        let scope = self.rule.definition().scope();
        match scope {
            Scope::Order => return part("the order in which the source has them"),
            // The columns are those of the table, however many rows there are.
            Scope::Table if matches!(self.rule, Rule::Schema(_)) => {
                return Ok(InReplay::Judged(Box::new(self.clone())));
            }
            Scope::Table => return part("the table as a whole"),
            Scope::Rows | Scope::Keys => {}
        }
        let unreadable = |e: serde_json::Error| Error::internal("a rule cannot be written").because(e);
        let mut json = serde_json::to_value(&self.rule).map_err(unreadable)?;
        for settings in json.as_object_mut().into_iter().flat_map(|o| o.values_mut()).filter_map(|s| s.as_object_mut())
        {
            settings.retain(|key, _| key != "threshold");
            if scope == Scope::Rows && self.policy().action() == Action::Stop {
                settings.insert("action".to_string(), "quarantine".into());
            }
        }
        let rule = serde_json::from_str(&json.to_string()).map_err(unreadable)?;
        Ok(InReplay::Judged(Box::new(Self { rule, ..self.clone() })))
    }

    /// Whether it judges rows that are loaded again, or late. Not if it holds them against those that were new in another
    /// load, or against the time of the run.
    pub fn judges_backfills(&self) -> bool {
        !matches!(self.rule, Rule::Drift(_) | Rule::Freshness(_))
    }

    /// Whether rows that break it are put aside.
    pub fn quarantines(&self) -> bool {
        self.policy().action() == Action::Quarantine
    }
}

/// Reads one entry of a list of checks: its kind and what stands under it. A rule about several columns that have
/// nothing to do with each other becomes one check for each. What is wrong is added to `problems`.
pub fn read(kind: &Spanned<String>, settings: &Node, problems: &mut Vec<Problem>) -> Vec<Check> {
    let before = problems.len();
    let Some(rule) = decode::<Rule>(&as_tree(kind, settings), problems) else { return Vec::new() };
    let is_whole = problems.len() == before;
    let definition = rule.definition();
    for column in definition.columns() {
        if column.trim().is_empty() {
            problems.push(Problem::new(column.span, "a column has no name").hint("name it, or remove it"));
        }
    }
    definition.policy().validate(definition.scope(), definition.kind(), problems);
    if is_whole {
        definition.validate(kind.span, problems);
    }
    if problems.len() > before {
        return Vec::new();
    }
    rule.each_column().into_iter().filter_map(|rule| Check::new(rule).ok()).collect()
}

/// Every SQL expression that an entry of a list of checks says, also one that is wrong in another way.
pub fn expressions(kind: &Spanned<String>, settings: &Node) -> Vec<Spanned<String>> {
    let Some(rule) = decode::<Rule>(&as_tree(kind, settings), &mut Vec::new()) else { return Vec::new() };
    let definition = rule.definition();
    let said = definition.sql().into_iter().chain(definition.policy().filter);
    said.filter(|sql| !sql.is_placeholder() && !sql.trim().is_empty()).collect()
}

fn as_tree(kind: &Spanned<String>, settings: &Node) -> Node {
    let settings = if TAKE_LISTS.contains(&kind.value.as_str()) { mapping(settings) } else { settings.clone() };
    Node { value: Value::Map(vec![(kind.clone(), settings)]), span: kind.span }
}

/// A list of columns is short for `columns: […]`.
fn mapping(settings: &Node) -> Node {
    match &settings.value {
        Value::Seq(_) => {
            let key = Spanned { value: "columns".to_string(), span: settings.span };
            Node { value: Value::Map(vec![(key, settings.clone())]), span: settings.span }
        }
        _ => settings.clone(),
    }
}

fn fingerprint(rule: &Rule) -> Result<String> {
    let mut json = serde_json::to_value(rule).map_err(|e| Error::internal("a rule cannot be written").because(e))?;
    for settings in json.as_object_mut().into_iter().flat_map(|o| o.values_mut()) {
        if let Some(settings) = settings.as_object_mut() {
            settings.retain(|key, _| !matches!(key.as_str(), "severity" | "action" | "threshold"));
        }
    }
    let digest = Sha256::digest(json.to_string());
    Ok(digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect())
}

/// The JSON Schema of one entry of a list of checks.
pub fn schema(generator: &mut SchemaGenerator) -> Schema {
    Rule::json_schema(generator)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn parse(json: &str) -> Result<Vec<Check>, Vec<String>> {
        let node: Node = serde_json::from_str(json).unwrap();
        let Value::Map(entries) = node.value else { panic!("{json}") };
        let mut problems = Vec::new();
        let checks = read(&entries[0].0, &entries[0].1, &mut problems);
        let said = |p: Problem| format!("{}|{}", p.message, p.hint.unwrap_or_default());
        if problems.is_empty() { Ok(checks) } else { Err(problems.into_iter().map(said).collect()) }
    }

    #[test]
    fn a_list_of_columns_becomes_one_check_for_each() {
        let checks = parse(r#"{"not_null":["a","b"]}"#).unwrap();
        let columns: Vec<&str> = checks.iter().flat_map(|c| c.columns()).map(|c| c.value.as_str()).collect();
        assert_eq!(columns, ["a", "b"]);
        assert_eq!(checks[0].code, "Q001");
        assert_ne!(checks[0].fingerprint, checks[1].fingerprint);
        assert_eq!(checks, parse(r#"{"not_null":{"columns":["a","b"]}}"#).unwrap());
    }

    #[test]
    fn a_fingerprint_is_of_the_rule_and_not_of_what_happens() {
        let one = parse(r#"{"range":{"column":"a","min":0}}"#).unwrap();
        let same = parse(r#"{"range":{"column":"a","min":0,"severity":"warn","threshold":"1%"}}"#).unwrap();
        let other = parse(r#"{"range":{"column":"a","min":0,"where":"b > 1"}}"#).unwrap();
        assert_eq!(one[0].fingerprint, same[0].fingerprint);
        assert_ne!(one[0].fingerprint, other[0].fingerprint);
        assert_eq!(one[0].fingerprint.len(), 16);
    }

    #[test]
    fn in_a_replay_a_rule_keeps_its_fingerprint_and_allows_no_exceptions() {
        let key = r#"{"foreign_key":{"columns":["a"],"references":{"table":"t","columns":["b"]},"threshold":"5%"}}"#;
        for (json, action) in [
            (r#"{"range":{"column":"a","min":0,"threshold":"1%"}}"#, Action::Quarantine),
            (r#"{"not_null":{"columns":["a"],"action":"quarantine","threshold":3}}"#, Action::Quarantine),
            (r#"{"pattern":{"column":"a","regex":"x","severity":"warn"}}"#, Action::Log),
            (r#"{"unique":{"columns":["a"],"threshold":2}}"#, Action::Stop),
            (r#"{"unique":{"columns":["a"],"severity":"warn"}}"#, Action::Log),
            (key, Action::Stop),
        ] {
            let check = &parse(json).unwrap()[0];
            let InReplay::Judged(replayed) = check.in_replay().unwrap() else { panic!("{json}") };
            assert_eq!(replayed.policy().action(), action, "{json}");
            assert_eq!(replayed.fingerprint, check.fingerprint);
            assert_eq!(replayed.expected(), check.expected());
            assert_eq!(Check::new(replayed.rule.clone()).unwrap(), *replayed);
            assert!(replayed.policy().threshold.is_none());
        }
    }

    #[test]
    fn what_a_part_of_the_rows_says_nothing_about_is_not_judged_and_says_why() {
        for (json, about) in [
            (r#"{"row_count":{"min":1}}"#, "the table as a whole"),
            (r#"{"row_count":{"same_as":{"table":"t"}}}"#, "the table as a whole"),
            (r#"{"aggregate":{"column":"a","of":"sum","min":1}}"#, "the table as a whole"),
            (r#"{"completeness":{"column":"a","min":"95%"}}"#, "the table as a whole"),
            (r#"{"freshness":{"column":"a","max_age_secs":1}}"#, "the table as a whole"),
            (r#"{"no_gaps":{"column":"a","every":"day"}}"#, "the table as a whole"),
            (r#"{"drift":{"max":"10%"}}"#, "the table as a whole"),
            (r#"{"monotonic":{"column":"a"}}"#, "the order in which the source has them"),
        ] {
            let InReplay::NotJudged(why) = parse(json).unwrap()[0].in_replay().unwrap() else { panic!("{json}") };
            assert!(why.ends_with(about), "{json}: {why}");
        }
        let columns = &parse(r#"{"schema":{"columns":{"a":"int64"}}}"#).unwrap()[0];
        assert_eq!(columns.in_replay().unwrap(), InReplay::Judged(Box::new(columns.clone())));
    }

    #[test]
    fn the_rule_of_a_key_is_about_its_columns_and_all_rows() {
        let key = ["a".to_string(), "b".to_string()];
        let own = Check::of_key(&key).unwrap();
        assert_eq!(own, parse(r#"{"unique":["a","b"]}"#).unwrap()[0]);
        let is_of_key = |json: &str| parse(json).unwrap()[0].is_of_key(&key);
        assert!(own.is_of_key(&key));
        for json in [r#"{"unique":["b","a"]}"#, r#"{"unique":{"columns":["a","b"],"severity":"warn"}}"#] {
            assert!(is_of_key(json), "{json}");
        }
        for json in [
            r#"{"unique":["a"]}"#,
            r#"{"unique":["a","c"]}"#,
            r#"{"unique":{"columns":["a","b"],"where":"a > 0"}}"#,
            r#"{"not_null":["a"]}"#,
        ] {
            assert!(!is_of_key(json), "{json}");
        }
    }

    #[test]
    fn a_key_is_guarded_by_rules_that_let_nothing_through() {
        let key = ["a".to_string(), "b".to_string()];
        let guards = Check::guards(&key).unwrap();
        let titles: Vec<String> = guards.iter().map(Check::title).collect();
        assert_eq!(titles, ["Q001 not_null (a)", "Q001 not_null (b)", "Q003 unique (a, b)"]);
        assert!(guards.iter().all(|guard| guard.is_about_key(&key) && guard.policy().stops()));
        let (of_a, of_key) = (&guards[0], &guards[2]);
        for (json, guard, does, is_about) in [
            (r#"{"not_null":["a"]}"#, of_a, true, true),
            (r#"{"not_null":{"columns":["a"],"action":"quarantine","threshold":"5%"}}"#, of_a, true, true),
            (r#"{"not_null":{"columns":["a"],"threshold":0}}"#, of_a, true, true),
            (r#"{"not_null":{"columns":["a"],"threshold":1}}"#, of_a, false, true),
            (r#"{"not_null":{"columns":["a"],"threshold":"0.0001%"}}"#, of_a, false, true),
            (r#"{"not_null":{"columns":["a"],"severity":"warn"}}"#, of_a, false, true),
            (r#"{"not_null":{"columns":["a"],"where":"b > 0"}}"#, of_a, false, false),
            (r#"{"not_null":["c"]}"#, of_a, false, false),
            (r#"{"unique":["b","a"]}"#, of_key, true, true),
            (r#"{"unique":{"columns":["a","b"],"threshold":2}}"#, of_key, false, true),
            (r#"{"unique":["a"]}"#, of_key, false, false),
            (r#"{"range":{"column":"a","min":0}}"#, of_key, false, false),
        ] {
            let check = &parse(json).unwrap()[0];
            assert_eq!(check.does_for(guard, &key), does, "{json}");
            assert_eq!(check.is_about_key(&key), is_about, "{json}");
        }
    }

    #[test]
    fn a_check_looks_at_another_table_from_its_side() {
        let json = r#"{"foreign_key":{"columns":["a"],"references":{"table":"t","columns":["b"]},"where":"a > 1"}}"#;
        let check = parse(json).unwrap().remove(0);
        assert_eq!(check.look(), Some(Look::Missing));
        let other = check.other().unwrap();
        assert_eq!((other.table.value.as_str(), other.place), ("t", crate::look::Place::Pipeline));
        let columns: Vec<&str> = other.check.columns().iter().map(|c| c.value.as_str()).collect();
        assert_eq!((columns, other.check.expressions()), (vec!["b"], vec![]));
        assert!(parse(r#"{"not_null":["a"]}"#).unwrap()[0].other().is_none());
    }

    #[test]
    fn rules_read_back_from_their_own_json() {
        for json in [
            r#"{"not_null":["a"]}"#,
            r#"{"accepted_values":{"column":"a","values":["x",1,2.5,true]}}"#,
            r#"{"range":{"column":"a","min":0,"below":"9.99","action":"quarantine","threshold":5}}"#,
            r#"{"row_count":{"min":1,"where":"a > 0"}}"#,
            r#"{"schema":{"columns":{"a":"int64","b":"decimal(15,2)"}}}"#,
            r#"{"foreign_key":{"columns":["a"],"references":{"table":"t","columns":["b"],"in":"target"}}}"#,
            r#"{"row_count":{"same_as":{"table":"t","within":"0.5%"}}}"#,
            r#"{"aggregate":{"column":"a","of":"count_distinct","min":3}}"#,
            r#"{"drift":{"max":"10%"}}"#,
            r#"{"drift":{"columns":["a"],"of":["nulls","max"],"max":"2.5%"}}"#,
        ] {
            for check in parse(json).unwrap() {
                let text = serde_json::to_string(&check).unwrap();
                assert_eq!(serde_json::from_str::<Check>(&text).unwrap(), check);
                let rule = serde_json::to_string(&check.rule).unwrap();
                assert_eq!(parse(&rule).unwrap(), [check]);
            }
        }
    }

    fn entry(node: &Node) -> Vec<Check> {
        let Value::Map(entries) = &node.value else { panic!("{node:?}") };
        let mut problems = Vec::new();
        let checks = read(&entries[0].0, &entries[0].1, &mut problems);
        assert_eq!(problems, [], "{node:?}");
        checks
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn rules_read_back_from_their_own_json_and_yaml_and_mean_the_same(rule in transload_testkit::rules::rules()) {
            let checks = entry(&serde_json::from_value::<Node>(rule).unwrap());
            prop_assert!(!checks.is_empty());
            for check in checks {
                let plan = serde_json::to_string(&check).unwrap();
                prop_assert_eq!(&serde_json::from_str::<Check>(&plan).unwrap(), &check);
                let rule = serde_json::to_string(&check.rule).unwrap();
                prop_assert_eq!(entry(&serde_json::from_str::<Node>(&rule).unwrap()), [check.clone()]);
                let yaml = transload_spec::write_document(&serde_json::json!({ "checks": [&check.rule] })).unwrap();
                let document = transload_spec::parse_document("checks.yaml", &yaml);
                let (document, _) = document.map_err(|p| TestCaseError::fail(format!("{}\n{yaml}", p.render(false))))?;
                let Some(Value::Seq(entries)) = document.get("checks").map(|c| &c.value) else { panic!("{yaml}") };
                prop_assert_eq!(entry(&entries[0]), [check]);
            }
        }
    }

    /// The words for all kinds of rules, by the schema of a pipeline.
    fn kinds() -> BTreeSet<String> {
        let schema = Rule::json_schema(&mut SchemaGenerator::default()).to_value();
        let kinds = schema["oneOf"].as_array().unwrap().iter().flat_map(|rule| rule["properties"].as_object().unwrap());
        kinds.map(|(kind, _)| kind.clone()).collect()
    }

    #[test]
    fn rules_of_every_kind_are_tried() {
        let tried: BTreeSet<String> =
            transload_testkit::rules::kinds().into_iter().map(|(kind, _)| kind.to_string()).collect();
        assert_eq!(kinds(), tried);
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_a_sentence() {
        for (json, said) in [
            (r#"{"rnage":{"column":"a"}}"#, "did you mean `range`?"),
            (r#"{"range":{"column":"a"}}"#, "`range` has no limit"),
            (r#"{"range":{"column":"a","mni":0}}"#, "did you mean `min`?"),
            (r#"{"range":{"min":0}}"#, "`column` is missing"),
            (r#"{"range":["a",0]}"#, "expected a mapping, found a list"),
            (r#"{"completeness":{"column":"a","min":95}}"#, "a percentage such as `95%`"),
            (r#"{"range":{"column":"a","min":0,"threshold":"120%"}}"#, "a share is from 0% to 100%"),
            (r#"{"range":{"column":"a","min":0,"severity":"warn","action":"stop"}}"#, "does not stop a load"),
            (r#"{"row_count":{"min":1,"action":"quarantine"}}"#, "no rows to put aside"),
            (r#"{"row_count":{"min":1,"threshold":3}}"#, "a threshold counts rows"),
            (r#"{"pattern":{"column":"a","regex":"("}}"#, "cannot be read"),
            (r#"{"drift":{}}"#, "`max` is missing"),
            (r#"{"foreign_key":{"columns":["a"]}}"#, "`references` is missing"),
            (r#"{"foreign_key":{"columns":[],"references":{"table":"t","columns":[]}}}"#, "names no columns"),
            (
                r#"{"foreign_key":{"columns":["a"],"references":{"table":"t","columns":["x","y"]}}}"#,
                "one column cannot",
            ),
            (r#"{"foreign_key":{"columns":["a","b"],"references":{"table":"t","columns":["x","x"]}}}"#, "`x` twice"),
            (r#"{"foreign_key":{"columns":["a"],"references":{"table":" ","columns":["x"]}}}"#, "a name is empty"),
            (
                r#"{"foreign_key":{"columns":["a"],"references":{"table":"t","columns":["x"]},"action":"quarantine"}}"#,
                "no rows to put aside",
            ),
            (r#"{"row_count":{"min":1,"same_as":{"table":"t"}}}"#, "make two checks of it"),
            (r#"{"aggregate":{"column":"a","of":"count_distinct","min":1,"threshold":3}}"#, "a threshold counts rows"),
            (r#"{"unique":["a","b","a"]}"#, "names `a` twice"),
            (r#"{"unique":{"columns":["a"],"action":"quarantine"}}"#, "no rows to put aside"),
            (r#"{"not_null":[" "]}"#, "a column has no name"),
            (r#"{"not_null":[]}"#, "no columns"),
            (r#"{"accepted_values":{"column":"a","values":[]}}"#, "no values"),
            (r#"{"drift":{"columns":["a"]}}"#, "`max` is missing"),
            (r#"{"drift":{"max":"10%","of":["mean"]}}"#, "`mean` is of columns"),
            (r#"{"drift":{"max":"10%","of":[]}}"#, "compares nothing"),
            (r#"{"drift":{"max":"10%","of":["rows","rows"]}}"#, "names `rows` twice"),
            (r#"{"drift":{"max":"10%","columns":["a","a"]}}"#, "names `a` twice"),
            (r#"{"drift":{"max":"10%","columns":["a"],"of":["rows"]}}"#, "has no columns"),
        ] {
            let problems = parse(json).unwrap_err();
            assert!(problems.iter().any(|p| p.contains(said)), "{json}: {problems:?}");
        }
    }

    #[test]
    fn what_is_missing_hides_nothing_else() {
        let percentage = "expected a percentage such as `95%`, found a whole number|";
        for (json, said) in [
            (r#"{"aggregate":{}}"#, vec!["`column` is missing|", "`of` is missing|"]),
            (r#"{"completeness":{"min":5}}"#, vec![percentage, "`column` is missing|"]),
            (r#"{"drift":{"max":7,"columns":3}}"#, vec![percentage, "expected a list, found a whole number|"]),
            (
                r#"{"foreign_key":{"references":{"in":"target"}}}"#,
                vec!["`table` is missing|", "`columns` is missing|", "`columns` is missing|"],
            ),
            (
                r#"{"range":{"severity":"warn","action":"stop","mni":0}}"#,
                vec![
                    "unknown key `mni`|did you mean `min`?",
                    "`column` is missing|",
                    "a check of severity `warn` does not stop a load|use `severity: error`, or `action: log`",
                ],
            ),
        ] {
            assert_eq!(parse(json).unwrap_err(), said, "{json}");
        }
    }

    #[test]
    fn the_sql_of_a_check_is_known_whatever_else_is_wrong_with_it() {
        let sql = |json: &str| -> Vec<String> {
            let node: Node = serde_json::from_str(json).unwrap();
            let Value::Map(entries) = node.value else { panic!("{json}") };
            expressions(&entries[0].0, &entries[0].1).into_iter().map(|sql| sql.value).collect()
        };
        assert_eq!(sql(r#"{"range":{"where":"a >","severity":"bad"}}"#), ["a >"]);
        assert_eq!(sql(r#"{"expression":{"sql":"a >","where":" ","threshold":true}}"#), ["a >"]);
        assert_eq!(sql(r#"{"expression":{"where":"b"}}"#), ["b"]);
        assert_eq!(sql(r#"{"not_null":["a"]}"#), [""; 0]);
        assert_eq!(sql(r#"{"not_nul":{"where":"a"}}"#), [""; 0]);
    }

    /// Every kind with its code and some settings. Codes stand in ledgers, contracts, alerts and metrics: none may change.
    const CODES: [(&str, &str, &str); 19] = [
        ("not_null", "Q001", r#"["a"]"#),
        ("not_empty", "Q002", r#"["a"]"#),
        ("unique", "Q003", r#"["a"]"#),
        ("accepted_values", "Q004", r#"{"column":"a","values":[1]}"#),
        ("range", "Q005", r#"{"column":"a","min":0}"#),
        ("length", "Q006", r#"{"column":"a","min":1}"#),
        ("pattern", "Q007", r#"{"column":"a","regex":"x"}"#),
        ("format", "Q008", r#"{"column":"a","is":"uuid"}"#),
        ("not_in_future", "Q009", r#"["a"]"#),
        ("monotonic", "Q010", r#"{"column":"a"}"#),
        ("expression", "Q011", r#"{"sql":"a > 0"}"#),
        ("foreign_key", "Q012", r#"{"columns":["a"],"references":{"table":"t","columns":["b"]}}"#),
        ("completeness", "Q013", r#"{"column":"a","min":"95%"}"#),
        ("row_count", "Q014", r#"{"min":1}"#),
        ("aggregate", "Q015", r#"{"column":"a","of":"sum","min":0}"#),
        ("freshness", "Q016", r#"{"column":"a","max_age_secs":60}"#),
        ("no_gaps", "Q017", r#"{"column":"a","every":"day"}"#),
        ("schema", "Q018", r#"{"columns":{"a":"int64"}}"#),
        ("drift", "Q019", r#"{"max":"10%"}"#),
    ];

    #[test]
    fn codes_are_different_and_stable() {
        for (kind, code, settings) in CODES {
            let checks = parse(&format!(r#"{{"{kind}":{settings}}}"#)).unwrap();
            assert_eq!(checks.iter().map(|c| (c.kind(), c.code.as_str())).collect::<Vec<_>>(), [(kind, code)]);
        }
        assert_eq!(CODES.map(|(kind, ..)| kind.to_string()).into_iter().collect::<BTreeSet<_>>(), kinds());
        assert_eq!(CODES.iter().map(|(_, code, _)| code).collect::<BTreeSet<_>>().len(), CODES.len());
    }
}
