//! A draft as the text of a pipeline. Values are JSON, which is YAML, so names need no quoting rules of their own; what
//! others have said stands in comments, on one line.

use serde_json::{Map, Value as Json, json};
use transload_core::decode::Kinded;
use transload_quality::profile::ENOUGH;

use crate::draft::checks::CheckDraft;
use crate::draft::columns::{CastDraft, ColumnDraft};
use crate::draft::{Draft, TableDraft};
use crate::lines::{flow, one_line, word};
use crate::listing::names;
use crate::postgres_url;

/// The pipeline.
pub(super) fn text(draft: &Draft) -> String {
    let mut text = Text(String::new());
    text.line(0, "version: 1");
    text.line(0, &format!("pipeline: {}", word(&draft.pipeline)));
    text.line(0, &format!("archetype: {}", word(&draft.archetype)));
    text.connection("source", &draft.source);
    text.connection("target", &draft.target);
    text.line(0, "tables:");
    draft.tables.iter().for_each(|table| text.table(table));
    text.0
}

struct Text(String);

impl Text {
    fn line(&mut self, indent: usize, line: &str) {
        self.0.push_str(&" ".repeat(indent));
        self.0.push_str(line);
        self.0.push('\n');
    }

    fn note(&mut self, indent: usize, said: &str) {
        self.line(indent, &format!("# {}", one_line(said)));
    }

    /// A line that stands there as a comment, unless it is applied.
    fn decision(&mut self, indent: usize, applied: bool, line: &str) {
        let mark = if applied { "" } else { "# " };
        self.line(indent, &format!("{mark}{line}"));
    }

    fn connection(&mut self, side: &str, connection: &Kinded) {
        let kind = connection.kind.as_str();
        let options = json!(connection.options);
        self.line(0, &format!("{side}:"));
        let Some(options) = options.as_object().filter(|options| !options.is_empty()) else {
            return self.line(2, &format!("{kind}: {}", flow(&options)));
        };
        self.line(2, &format!("{kind}:"));
        for (name, value) in options {
            self.line(4, &format!("{name}: {}", flow(value)));
        }
        if kind == postgres_url::KIND && !options.contains_key("password") {
            self.note(4, postgres_url::PASSWORD_NOTE);
        }
    }

    fn table(&mut self, table: &TableDraft) {
        match &table.comment {
            None => self.note(2, &table.about),
            Some(comment) => self.note(2, &format!("{}: {comment}", table.about)),
        }
        if table.looked_at.is_some_and(|looked| looked.rows == 0 && looked.sample_percent.is_none()) {
            self.note(
                2,
                "it has no rows: comparing nothing is no match, so a run ends with exit code 9 until there are some",
            );
        }
        self.line(2, &format!("- from: {}", flow(&json!(table.from))));
        if table.to != table.from {
            self.line(4, &format!("to: {}", flow(&json!(table.to))));
        }
        if let Some(schema) = &table.schema {
            self.line(4, &format!("labels: {}", flow(&json!({ "schema": schema }))));
        }
        match &table.key {
            None => self.line(4, "# key: []"),
            Some(key) => {
                self.note(4, &key.reason);
                self.decision(4, key.applied, &format!("key: {}", flow(&json!(key.columns))));
            }
        }
        if let Some(cursor) = &table.cursor {
            self.note(4, &format!("to load only what is new: {}", cursor.reason));
            self.decision(4, cursor.applied, &format!("mode: {}", flow(&cursor.mode)));
        }
        self.columns(&table.columns);
        if let Some(layout) = &table.layout {
            self.note(4, &layout.reason);
            if let Some(derive) = &layout.derive {
                self.decision(4, layout.applied, &format!("derive: {}", flow(derive)));
            }
            self.decision(4, layout.applied, &format!("partition_by: {}", flow(&layout.partition_by)));
        }
        self.checks(&table.checks, table.looked_at.is_some());
    }

    fn columns(&mut self, columns: &[ColumnDraft]) {
        for ColumnDraft { name, ty, source_type, read_reason, comment, .. } in columns {
            if let Some(reason) = read_reason {
                let of = source_type.as_ref().map_or_else(String::new, |ty| format!(", {ty},"));
                self.note(4, &format!("{name}{of} is read as {ty}: {reason}"));
            }
            if let Some(comment) = comment {
                self.note(4, &format!("{name}: {comment}"));
            }
        }
        let casts: Vec<(&str, &CastDraft)> =
            columns.iter().filter_map(|column| Some((column.name.as_str(), column.cast.as_ref()?))).collect();
        let (applied, others): (Vec<_>, Vec<_>) = casts.into_iter().partition(|(_, cast)| cast.applied);
        if applied.is_empty() {
            self.reasons(4, &others);
            if !others.is_empty() {
                let all: Map<String, Json> =
                    others.iter().map(|(name, cast)| ((*name).to_string(), setting(cast))).collect();
                self.line(4, &format!("# columns: {}", flow(&Json::Object(all))));
            }
            return;
        }
        self.line(4, "columns:");
        for casts in [&applied, &others] {
            self.reasons(6, casts);
            for (name, cast) in casts {
                self.decision(6, cast.applied, &format!("{}: {}", flow(&json!(name)), flow(&setting(cast))));
            }
        }
    }

    /// Each reason once, behind the columns that it is about.
    fn reasons(&mut self, indent: usize, casts: &[(&str, &CastDraft)]) {
        let mut reasons: Vec<(&str, Vec<String>)> = Vec::new();
        for (name, cast) in casts {
            match reasons.iter_mut().find(|(reason, _)| *reason == cast.reason) {
                Some((_, names)) => names.push((*name).to_string()),
                None => reasons.push((cast.reason.as_str(), vec![(*name).to_string()])),
            }
        }
        for (reason, columns) in reasons {
            self.note(indent, &format!("{}: {reason}", names(&columns)));
        }
    }

    fn checks(&mut self, checks: &[CheckDraft], looked: bool) {
        if checks.is_empty() {
            if looked {
                let none = format!("# checks: []  # nothing is concluded from fewer than {ENOUGH} rows or values");
                self.line(4, &none);
            }
            return;
        }
        self.decision(4, checks.iter().any(|check| check.applied), "checks:");
        for CheckDraft { check, reason, applied } in checks {
            self.note(6, reason);
            for (kind, settings) in check.as_object().into_iter().flatten() {
                self.decision(6, *applied, &format!("- {kind}: {}", flow(settings)));
            }
        }
    }
}

fn setting(cast: &CastDraft) -> Json {
    json!({ "cast": cast.to })
}

#[cfg(test)]
mod tests {
    use transload_core::connector::ForeignKeyInfo;
    use transload_core::{LogicalType, TableName};
    use transload_spec::{Loaded, Outside, Overrides, Spec};

    use super::*;
    use crate::draft::testing::{Drafted, described, found, table};
    use crate::found::Found;

    fn draft(target: &str, tables: &[Found]) -> Draft {
        Draft::new(&Drafted::new("tpch", target).ends(), tables).unwrap()
    }

    /// What a draft means, as a pipeline is read.
    fn read(text: &str) -> Spec {
        let outside = Outside { read: &|_| Err(std::io::ErrorKind::NotFound.into()), check: &|_| Vec::new() };
        let loaded = transload_spec::load("draft.yaml", text, &Overrides::default(), outside);
        loaded.and_then(Loaded::complete).unwrap_or_else(|p| panic!("{}\n{text}", p.render(false)))
    }

    fn shop() -> Vec<Found> {
        let mut orders = table("public.orders");
        described(&mut orders, "amount", "text", "numeric", Some("it has no precision"));
        described(&mut orders, "note", "text", "text", None);
        orders.columns.push(("doc".to_string(), LogicalType::Json, true));
        orders.columns.push(("updated_at".to_string(), "timestamp(us, UTC)".parse().unwrap(), false));
        orders.columns.push(("placed_at".to_string(), "timestamp(us)".parse().unwrap(), true));
        let catalog = orders.catalog.as_mut().unwrap();
        catalog.estimated_rows = Some(20_000_000);
        catalog.comment = Some("Orders\nkey: [nope]\u{2028}mode: append".to_string());
        catalog.primary_key = vec!["id".to_string()];
        catalog.foreign_keys = vec![ForeignKeyInfo {
            name: "f".to_string(),
            columns: vec!["id".to_string()],
            to: TableName::new("crm.\"a: b\u{85}#\""),
            to_columns: vec!["id".to_string()],
        }];
        vec![found(orders, Some(None)), found(table("crm.\"a: b\u{85}#\""), None)]
    }

    #[test]
    fn a_draft_is_a_pipeline_with_its_reasons() {
        let text = draft("delta", &shop()).text();
        let spec = read(&text);
        let orders = &spec.tables[0];
        assert_eq!((orders.from.as_str(), orders.to.as_str()), ("public.orders", "public/orders"));
        assert_eq!(spec.tables[1].from.as_str(), "crm.\"a: b\u{85}#\"");
        assert!(spec.tables[1].to.starts_with("crm/a_ b"), "{}", spec.tables[1].to.value);
        let key: Vec<&str> = orders.settings.key.iter().flat_map(|k| &k.value).map(|k| k.as_str()).collect();
        assert_eq!(key, ["id"]);
        let cast = |name: &str| orders.settings.columns.as_ref()?.get(name)?.cast.as_ref().map(|c| c.to_string());
        assert_eq!((cast("amount").as_deref(), cast("doc").as_deref()), (Some("decimal(38,2)"), Some("text")));
        assert_eq!(cast("note"), None);
        let kinds = orders.settings.checks.iter().flat_map(|c| &c.value).map(|c| c.value.0.kind.as_str());
        assert_eq!(kinds.collect::<Vec<_>>()[..2], ["not_null", "foreign_key"]);
        for line in [
            "  # table, about 20000000 rows: Orders key: [nope] mode: append",
            "    labels: {\"schema\":\"public\"}",
            "    # the primary key",
            "    key: [\"id\"]",
            "    # mode: {\"incremental\":{\"cursor\":\"updated_at\",\"lookback_secs\":3600}}",
            "    # amount, numeric, is read as text: it has no precision",
            "      # doc: a Delta table has no json",
            "      # note: all texts can be read as it",
            "      # \"note\": {\"cast\":\"decimal(4,2)\"}",
            "      # the foreign key f of the source",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in:\n{text}");
        }
    }

    #[test]
    fn what_is_a_comment_can_be_applied() {
        for target in ["delta", "lake"] {
            let text = draft(target, &shop()).text();
            let applied: Vec<String> = text
                .lines()
                .map(|line| match ["mode: ", "derive: ", "partition_by: ", "\"note\": "] {
                    words if words.iter().any(|w| line.trim_start().starts_with(&format!("# {w}"))) => {
                        line.replacen("# ", "", 1)
                    }
                    _ => line.to_string(),
                })
                .collect();
            let settings = &read(&applied.join("\n")).tables[0].settings;
            assert!(matches!(settings.mode.as_ref().unwrap().value, transload_spec::Mode::Incremental { .. }));
            assert!(settings.columns.as_ref().unwrap().get("note").is_some() && settings.partition_by.is_some());
        }
    }

    #[test]
    fn without_a_look_at_the_rows_there_is_less_to_say() {
        let mut plain = table("in/t.csv");
        plain.catalog = None;
        let text = draft("lake", &[found(plain, None)]).text();
        let expected = "version: 1\npipeline: p\narchetype: table_copy\nsource:\n  tpch: {}\ntarget:\n  lake:\n    \
                        url: \"./out\"\ntables:\n  # table, rows unknown\n  - from: \"in/t.csv\"\n    to: \"in/t\"\n    # key: []\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_connection_without_password_says_where_it_comes_from() {
        let mut drafted = draft("lake", &[]);
        let options = json!({ "host": "h", "database": "d", "user": "u", "tls": { "mode": "require" } });
        drafted.source = crate::connectors::connection("postgres", options).unwrap();
        let text = drafted.text();
        assert!(text.contains("    tls: {\"mode\":\"require\"}\n    # the password comes from PGPASSWORD"), "{text}");
    }
}
