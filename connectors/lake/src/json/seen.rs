//! What the lines of a sample say about the shape of a column.

use std::collections::HashMap;

use transload_core::LogicalType;

use super::shape::{Fields, Shape};
use super::syntax::{Kind, list, object, text};
use crate::guess::Guess;

/// As deep as a guessed type nests; what is deeper is kept as JSON text. No type nests deeper than 16.
const MAX_DEPTH: usize = 12;

/// The values of one name that were looked at.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    texts: Option<Guess>,
    numbers: Option<Guess>,
    words: bool,
    items: Option<Box<Seen>>,
    fields: Option<SeenFields>,
    /// There is more in it than a type can say.
    is_too_deep: bool,
}

/// Those of several names, in the order in which they came up.
#[derive(Debug, Clone, Default)]
pub(crate) struct SeenFields {
    all: Vec<(String, Seen)>,
    places: HashMap<String, usize>,
}

impl SeenFields {
    /// Looks at an object. One that is broken says nothing.
    pub(crate) fn see(&mut self, value: &str) {
        self.see_at(value, 0);
    }

    fn see_at(&mut self, value: &str, depth: usize) {
        for (name, value) in object(value).unwrap_or_default() {
            self.of(&name).see(value, depth);
        }
    }

    fn of(&mut self, name: &str) -> &mut Seen {
        let at = match self.places.get(name) {
            Some(at) => *at,
            None => {
                self.places.insert(name.to_string(), self.all.len());
                self.all.push((name.to_string(), Seen::default()));
                self.all.len() - 1
            }
        };
        &mut self.all[at].1
    }

    /// Adds what was seen elsewhere, later.
    pub(crate) fn add(&mut self, other: Self) {
        for (name, seen) in other.all {
            self.of(&name).add(seen);
        }
    }

    /// The names with their shapes; those of `declared` have the shape of their type, whether they were seen or not.
    pub(crate) fn shapes(&self, declared: &[(String, LogicalType)]) -> Fields {
        let known = |name: &str| declared.iter().find(|(n, _)| n == name).map(|(_, ty)| Shape::of(ty, false));
        let seen = self.all.iter().map(|(name, seen)| (name.clone(), known(name).unwrap_or_else(|| seen.column())));
        let unseen = declared.iter().filter(|(name, _)| !self.places.contains_key(name));
        Fields::new(seen.chain(unseen.map(|(name, ty)| (name.clone(), Shape::of(ty, false)))).collect())
    }
}

impl Seen {
    fn see(&mut self, value: &str, depth: usize) {
        match Kind::of(value) {
            Kind::Null => {}
            Kind::Bool => self.words = true,
            Kind::Number => self.numbers.get_or_insert_default().see(value),
            Kind::Text => {
                if let Ok(text) = text(value) {
                    self.texts.get_or_insert_default().see(&text);
                }
            }
            Kind::List | Kind::Object if depth >= MAX_DEPTH => self.is_too_deep = true,
            Kind::List => {
                let items = self.items.get_or_insert_default();
                list(value).unwrap_or_default().into_iter().for_each(|item| items.see(item, depth + 1));
            }
            Kind::Object => self.fields.get_or_insert_default().see_at(value, depth + 1),
        }
    }

    fn add(&mut self, other: Self) {
        let both = |a: Option<Guess>, b: Option<Guess>| match (a, b) {
            (Some(a), Some(b)) => Some(a.and(b)),
            (a, b) => a.or(b),
        };
        self.texts = both(self.texts, other.texts);
        self.numbers = both(self.numbers, other.numbers);
        self.words |= other.words;
        self.is_too_deep |= other.is_too_deep;
        if let Some(items) = other.items {
            self.items.get_or_insert_default().add(*items);
        }
        if let Some(fields) = other.fields {
            self.fields.get_or_insert_default().add(fields);
        }
    }

    /// The shape of a column; a JSON text if its type could not be written down.
    fn column(&self) -> Shape {
        let shape = self.shape();
        let ty = shape.ty();
        match ty.to_string().parse::<LogicalType>() {
            Ok(read) if read == ty => shape,
            _ => Shape::Raw,
        }
    }

    fn shape(&self) -> Shape {
        let scalar = |ty, only| Shape::Scalar { ty, only: Some(only) };
        match (self.texts, self.numbers, self.words, &self.items, &self.fields) {
            _ if self.is_too_deep => Shape::Raw,
            // Only NULL, as far as was looked: a text will do.
            (None, None, false, None, None) => scalar(LogicalType::Text, Kind::Text),
            (Some(guess), None, false, None, None) => match guess.ty() {
                ty @ (LogicalType::Date | LogicalType::Timestamp(..)) => scalar(ty, Kind::Text),
                // A text that looks like a number is a text nevertheless.
                _ => scalar(LogicalType::Text, Kind::Text),
            },
            (None, Some(guess), false, None, None) => scalar(guess.ty(), Kind::Number),
            (None, None, true, None, None) => scalar(LogicalType::Bool, Kind::Bool),
            (None, None, false, Some(items), None) => Shape::List(Box::new(items.shape())),
            (None, None, false, None, Some(fields)) if !fields.all.is_empty() => {
                Shape::Struct(Fields::new(fields.all.iter().map(|(name, seen)| (name.clone(), seen.shape())).collect()))
            }
            _ => Shape::Raw,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(lines: &[&str]) -> SeenFields {
        let mut seen = SeenFields::default();
        lines.iter().for_each(|line| seen.see(line));
        seen
    }

    fn types(seen: &SeenFields) -> Vec<(String, String)> {
        seen.shapes(&[]).all.iter().map(|(name, shape)| (name.clone(), shape.ty().to_string())).collect()
    }

    fn type_of(values: &[&str]) -> String {
        let lines: Vec<String> = values.iter().map(|v| format!("{{\"c\":{v}}}")).collect();
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        types(&seen(&lines)).remove(0).1
    }

    #[test]
    fn a_column_is_what_all_of_its_values_are() {
        let cases: [(&[&str], &str); 16] = [
            (&["1", "-20", "null"], "int64"),
            (&["1", "2.5", "1e3"], "float64"),
            (&["1", "12345678901234567890"], "text"),
            (&["0.1234567890123456789"], "text"),
            (&["true", "false"], "bool"),
            (&["\"2024-01-31\""], "date"),
            (&["\"2024-01-31T10:00:00\""], "timestamp(us)"),
            (&["\"17\"", "\"18\""], "text"),
            (&["\"true\""], "text"),
            (&["null"], "text"),
            (&["1", "\"a\""], "json"),
            (&["1", "[1]"], "json"),
            (&["{}"], "json"),
            (&["[]", "[1,2]", "[null]"], "list<int64>"),
            (&["[1,\"a\"]"], "list<json>"),
            (&["{\"a\":1}", "{\"b\":[{\"c d\":true}],\"a\":null}"], "struct<a: int64, b: list<struct<\"c d\": bool>>>"),
        ];
        for (values, ty) in cases {
            assert_eq!(type_of(values), ty, "{values:?}");
        }
    }

    #[test]
    fn what_a_type_cannot_say_is_kept_as_json() {
        let deep = format!("{}1{}", "[".repeat(40), "]".repeat(40));
        assert_eq!(type_of(&[&deep]), format!("{}json{}", "list<".repeat(MAX_DEPTH), ">".repeat(MAX_DEPTH)));
        let wide: Vec<String> = (0..2000).map(|i| format!("\"field_{i}\":1")).collect();
        assert_eq!(type_of(&[&format!("{{{}}}", wide.join(","))]), "json");
    }

    #[test]
    fn files_are_looked_at_apart_and_seen_together() {
        let first = ["{\"id\":1,\"x\":{\"p\":1}}"];
        let second = ["{\"x\":{\"q\":\"s\"},\"id\":2.5,\"new\":null}", "broken"];
        let mut both = seen(&first);
        both.add(seen(&second));
        assert_eq!(types(&both), types(&seen(&[first[0], second[0], second[1]])));
        let all: Vec<String> = types(&both).into_iter().map(|(name, ty)| format!("{name} {ty}")).collect();
        assert_eq!(all, ["id float64", "x struct<p: int64, q: text>", "new text"]);
    }

    #[test]
    fn declared_columns_are_there_even_if_no_line_has_them() {
        let declared = [("later".to_string(), LogicalType::Uuid), ("id".to_string(), LogicalType::Text)];
        let fields = seen(&["{\"id\":1,\"x\":true}"]).shapes(&declared);
        let all: Vec<String> = fields.all.iter().map(|(name, shape)| format!("{name} {}", shape.ty())).collect();
        assert_eq!(all, ["id text", "x bool", "later uuid"]);
    }
}
