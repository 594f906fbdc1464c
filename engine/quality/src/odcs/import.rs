//! From a contract to checks.

use transload_core::tree::{Spanned, Value};
use transload_core::{Node, Problem, Span};

use crate::check::Check;
use crate::odcs::rule::{Columns, Refused, checks};
use crate::odcs::{TableChecks, VERSION};

/// What a contract came to.
#[derive(Debug, Clone, Default)]
pub struct Imported {
    /// The tables that have checks, in the order of the contract.
    pub tables: Vec<TableChecks>,
    /// What is wrong with it.
    pub problems: Vec<Problem>,
    /// Good rules that cannot be executed here, each with the reason.
    pub unsupported: Vec<Problem>,
}

/// Reads the quality sections of a contract, of those tables whose name or physical name is `wanted`.
pub fn import(document: &Node, wanted: &dyn Fn(&str) -> bool) -> Imported {
    let mut reader = Reader { wanted, found: Imported::default() };
    reader.document(document);
    reader.found
}

struct Reader<'a> {
    wanted: &'a dyn Fn(&str) -> bool,
    found: Imported,
}

impl Reader<'_> {
    fn say(&mut self, span: Span, message: impl Into<String>, hint: impl Into<String>) {
        self.found.problems.push(Problem::new(span, message).hint(hint));
    }

    fn document(&mut self, document: &Node) {
        if !matches!(document.value, Value::Map(_)) {
            let message = format!("expected a contract, found {}", document.value.describe());
            return self.say(document.span, message, "a contract begins with `apiVersion` and `kind`");
        }
        if let Some(kind) = document.get("kind").filter(|kind| kind.value != Value::Text("DataContract".to_string())) {
            return self.say(kind.span, "this is not a data contract", "a contract has `kind: DataContract`");
        }
        match document.get("apiVersion") {
            Some(version) => {
                if let Err(problem) = check_version(version) {
                    return self.found.problems.push(problem);
                }
            }
            None => {
                let hint = format!("a contract of the Open Data Contract Standard says `apiVersion: {VERSION}`");
                self.say(document.span, "`apiVersion` is missing", hint);
            }
        }
        for object in self.items(document, "schema") {
            self.table(object);
        }
    }

    fn table(&mut self, object: &Node) {
        let (logical, physical) = self.names(object);
        // One without a name may be the one that is meant.
        if ![&logical, &physical].iter().any(|name| name.is_placeholder() || (self.wanted)(&name.value)) {
            return;
        }
        let mut columns = Columns::default();
        let mut properties = Vec::new();
        for property in self.items(object, "properties") {
            let (logical, physical) = self.names(property);
            columns.names.push((logical.value, physical.value.clone()));
            properties.push((property, physical));
        }
        let mut rules = Vec::new();
        for (property, column) in properties {
            let columns = Columns { column: Some(column), names: Vec::new() };
            rules.extend(self.rules(property, &columns));
            self.parts(property);
        }
        rules.extend(self.rules(object, &columns));
        // The order in which they were written; what people added comes behind.
        rules.sort_by_key(|(position, _)| *position);
        let checks: Vec<Check> = rules.into_iter().flat_map(|(_, checks)| checks).collect();
        if !checks.is_empty() {
            self.found.tables.push(TableChecks { table: physical.value, checks });
        }
    }

    /// The checks of every rule of a table or a property, with the position that the rule's name gives them.
    fn rules(&mut self, node: &Node, columns: &Columns) -> Vec<(u64, Vec<Check>)> {
        let mut found = Vec::new();
        for rule in self.items(node, "quality") {
            match checks(rule, columns) {
                Ok(checks) => found.push((position(rule), checks)),
                Err(Refused::Wrong(problems)) => self.found.problems.extend(problems),
                Err(Refused::Unsupported(problems)) => self.found.unsupported.extend(problems),
            }
        }
        found
    }

    /// Refuses rules about parts of a column: the fields of an object, the items of a list.
    fn parts(&mut self, property: &Node) {
        let fields = self.items(property, "properties").iter();
        for part in fields.chain(property.get("items")) {
            for rule in self.items(part, "quality") {
                let message = "this rule is about a part of a column, and checks are about whole ones";
                let hint = "write it as an `expression`, or leave it out";
                self.found.unsupported.push(Problem::new(rule.span, message).hint(hint));
            }
            self.parts(part);
        }
    }

    /// The name and the physical name of a table or a property; placeholders, if there are none.
    fn names(&mut self, node: &Node) -> (Spanned<String>, Spanned<String>) {
        let name = match node.get("name") {
            Some(name) => self.text(name),
            None => {
                self.say(node.span, "`name` is missing", "give it a name");
                nameless()
            }
        };
        let physical = match node.get("physicalName") {
            Some(physical) => self.text(physical),
            None => name.clone(),
        };
        (name, physical)
    }

    fn text(&mut self, node: &Node) -> Spanned<String> {
        match &node.value {
            Value::Text(text) => Spanned { value: text.clone(), span: node.span },
            other => {
                let message = format!("expected text, found {}", other.describe());
                self.say(node.span, message, "put it in quotes");
                nameless()
            }
        }
    }

    /// The items of a list, if there is one.
    fn items<'n>(&mut self, node: &'n Node, key: &str) -> &'n [Node] {
        match node.get(key) {
            None => &[],
            Some(Node { value: Value::Seq(items), .. }) => items,
            Some(other) => {
                let message = format!("expected a list, found {}", other.value.describe());
                self.say(other.span, message, "begin each item with `- `");
                &[]
            }
        }
    }
}

fn nameless() -> Spanned<String> {
    Spanned::placeholder("?".to_string())
}

/// Where a rule stood among the checks that the contract was made of; behind all others, if it has another name.
fn position(rule: &Node) -> u64 {
    let named = match rule.get("id") {
        Some(Node { value: Value::Text(id), .. }) => id.strip_prefix("check_").and_then(|n| n.parse().ok()),
        _ => None,
    };
    named.unwrap_or(u64::MAX)
}

/// Whether a contract of this version of the standard can be read.
fn check_version(version: &Node) -> Result<(), Problem> {
    let Value::Text(text) = &version.value else {
        let message = format!("expected text, found {}", version.value.describe());
        return Err(Problem::new(version.span, message).hint(format!("write `apiVersion: {VERSION}`")));
    };
    let numbers: Option<Vec<u32>> =
        text.strip_prefix('v').and_then(|numbers| numbers.split('.').map(|n| n.parse().ok()).collect());
    let (message, hint) = match numbers.as_deref() {
        Some([3, 0 | 1, _]) => return Ok(()),
        Some([major, _, _]) if *major < 3 => (
            format!("this contract is written in {text} of the standard; this program knows v3.0 and v3.1"),
            format!("convert it to {VERSION}"),
        ),
        Some([_, _, _]) => (
            format!("this contract is written in {text} of the standard; this program knows v3.0 and v3.1"),
            format!("use a newer transload, or write the contract in {VERSION}"),
        ),
        _ => (format!("`{text}` is no version of the standard"), format!("write `apiVersion: {VERSION}`")),
    };
    Err(Problem::new(version.span, message).hint(hint))
}
