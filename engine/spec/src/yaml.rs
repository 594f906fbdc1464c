//! The only place that knows the YAML library.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::budget::BudgetBreach;
use serde_saphyr::{DefaultMessageFormatter, Error, Location, MessageFormatter};
use transload_core::tree::{Spanned, Value};
use transload_core::{Node, Problem, Span};

/// Largest file that is read, in bytes.
const MAX_BYTES: usize = 1 << 20;
const MAX_DEPTH: usize = 32;
const MAX_NODES: usize = 200_000;
const MAX_ALIASES: usize = 100;

/// Reads one YAML document as a spanned tree.
pub(crate) fn parse(text: &str, file: u32) -> Result<Node, Vec<Problem>> {
    let nowhere = Span { file, line: 1, column: 1, ..Span::default() };
    if text.len() > MAX_BYTES {
        let message = format!("the file has {} bytes; at most {MAX_BYTES} are read", text.len());
        return Err(vec![Problem::new(nowhere, message).hint("split the tables over several pipelines")]);
    }
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: MAX_DEPTH,
            max_nodes: MAX_NODES,
            max_aliases: MAX_ALIASES,
            max_anchors: MAX_ALIASES,
            max_documents: 2,
            max_total_scalar_bytes: 4 * MAX_BYTES,
        },
        merge_keys: serde_saphyr::MergeKeyPolicy::Error,
        strict_booleans: true,
        reject_unsupported_tags: true,
        with_snippet: false,
    };
    match serde_saphyr::from_str_with_options::<serde_saphyr::Spanned<Raw>>(text, options) {
        Ok(root) => {
            let mut builder = Builder { text, file, problems: Vec::new() };
            let node = builder.node(root);
            if builder.problems.is_empty() { Ok(node) } else { Err(builder.problems) }
        }
        Err(error) => Err(vec![explain(&error, nowhere)]),
    }
}

/// Writes a value as a YAML document that [`parse`] reads back as it was.
pub(crate) fn write<T: serde::Serialize>(value: &T) -> transload_core::Result<String> {
    let options = serde_saphyr::ser_options! { compact_list_indent: false, prefer_block_scalars: false };
    serde_saphyr::to_string_with_options(value, options)
        .map_err(|e| transload_core::Error::internal("a document cannot be written as YAML").because(e))
}

fn explain(error: &Error, nowhere: Span) -> Problem {
    let error = error.without_snippet();
    let span = error.location().map_or(nowhere, |l| span_of(l, nowhere.file));
    match error {
        Error::AliasError { error, .. } => Problem { span, ..explain(error, nowhere) },
        Error::DuplicateMappingKey { key, .. } => {
            let key = key.as_deref().unwrap_or("?");
            Problem::new(span, format!("the key `{key}` stands here twice")).hint("keep one of them")
        }
        Error::MultipleDocuments { .. } => {
            Problem::new(span, "the file holds more than one document").hint("make one file of each")
        }
        Error::MergeKeyNotAllowed { .. } => {
            Problem::new(span, "merge keys (`<<`) are not supported").hint("use `defaults`, or repeat the settings")
        }
        Error::RecursiveReferencesRequireWeakTypes { .. } => Problem::new(span, "an anchor refers to itself"),
        Error::Budget { breach, .. } => {
            let message = match breach {
                BudgetBreach::Depth { .. } => format!("the file nests more than {MAX_DEPTH} levels deep"),
                BudgetBreach::Aliases { .. } | BudgetBreach::Anchors { .. } | BudgetBreach::AliasAnchorRatio { .. } => {
                    format!("the file uses more than {MAX_ALIASES} anchors or aliases")
                }
                BudgetBreach::Documents { .. } => "the file holds more than one document".to_string(),
                _ => "the file is too large once its aliases are replaced".to_string(),
            };
            Problem::new(span, message)
        }
        other => {
            let text = DefaultMessageFormatter.format_message(other).into_owned();
            Problem::new(span, format!("this is not valid YAML: {text}"))
        }
    }
}

fn span_of(location: Location, file: u32) -> Span {
    let small = |n: u64| u32::try_from(n).unwrap_or(0);
    Span {
        file,
        line: small(location.line()),
        column: small(location.column()),
        start: location.span().byte_offset().map_or(0, small),
        len: location.span().byte_len().map_or(0, small),
    }
}

/// The library's view of a tree.
enum Raw {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    Seq(Vec<serde_saphyr::Spanned<Raw>>),
    Map(Vec<(serde_saphyr::Spanned<String>, serde_saphyr::Spanned<Raw>)>),
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct V;

        impl<'de> Visitor<'de> for V {
            type Value = Raw;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }

            fn visit_unit<E>(self) -> Result<Raw, E> {
                Ok(Raw::Null)
            }

            fn visit_bool<E>(self, v: bool) -> Result<Raw, E> {
                Ok(Raw::Bool(v))
            }

            fn visit_i64<E>(self, v: i64) -> Result<Raw, E> {
                Ok(Raw::Int(v))
            }

            fn visit_u64<E>(self, v: u64) -> Result<Raw, E> {
                Ok(i64::try_from(v).map_or(Raw::Float(v as f64), Raw::Int))
            }

            fn visit_f64<E>(self, v: f64) -> Result<Raw, E> {
                Ok(Raw::Float(v))
            }

            fn visit_str<E>(self, v: &str) -> Result<Raw, E> {
                Ok(Raw::Text(v.to_string()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Raw, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = seq.next_element()? {
                    items.push(item);
                }
                Ok(Raw::Seq(items))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Raw, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Raw::Map(entries))
            }
        }

        deserializer.deserialize_any(V)
    }
}

/// Turns the library's tree into ours, and refuses what the library would change on the way.
struct Builder<'a> {
    text: &'a str,
    file: u32,
    problems: Vec<Problem>,
}

impl Builder<'_> {
    fn node(&mut self, raw: serde_saphyr::Spanned<Raw>) -> Node {
        let span = span_of(raw.referenced, self.file);
        let value = match raw.value {
            Raw::Null => Value::Null,
            Raw::Bool(v) => Value::Bool(v),
            Raw::Int(v) => Value::Int(v),
            Raw::Float(v) => {
                // The library reads `007` and numbers past 64 bits as floats: the digits would change.
                let defined = span_of(raw.defined, self.file);
                let written = self.text.get(defined.start as usize..(defined.start + defined.len) as usize);
                if written.is_some_and(|w| w.bytes().all(|b| b.is_ascii_digit() || b == b'_' || b == b'-' || b == b'+'))
                {
                    let problem = Problem::new(span, "this number would not be read as it is written");
                    self.problems.push(problem.hint("put it in quotes if it is text"));
                }
                Value::Float(v)
            }
            Raw::Text(v) => Value::Text(v),
            Raw::Seq(items) => Value::Seq(items.into_iter().map(|item| self.node(item)).collect()),
            Raw::Map(entries) => {
                let mut map: Vec<(Spanned<String>, Node)> = Vec::with_capacity(entries.len());
                let mut seen = std::collections::HashSet::with_capacity(entries.len());
                for (key, value) in entries {
                    let key = Spanned { span: span_of(key.referenced, self.file), value: key.value };
                    // `1` and `"1"` are one key to us, though not to the library.
                    if !seen.insert(key.value.clone()) {
                        let message = format!("the key `{}` stands here twice", key.value);
                        self.problems.push(Problem::new(key.span, message).hint("keep one of them"));
                    }
                    let value = self.node(value);
                    map.push((key, value));
                }
                Value::Map(map)
            }
        };
        Node { value, span }
    }
}
