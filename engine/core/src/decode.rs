//! From a spanned tree to typed settings, with *every* problem reported at once.
//!
//! A derived `Deserialize` stops at the first error. This decoder reports an error where it
//! stands and goes on: a bad optional field counts as absent, a bad element of a list or mapping is
//! left out, a placeholder stands for any other field that is bad or missing, and unknown keys are
//! reported with the closest known name. The typed structs stay the single description of the file
//! format: the JSON Schema is derived from the same types.

mod fault;
mod placeholder;
mod shapes;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use serde::de::value::{StrDeserializer, UnitDeserializer};
use serde::de::{self, DeserializeOwned, DeserializeSeed, Deserializer, IntoDeserializer, Visitor};
use serde::{Deserialize, forward_to_deserialize_any};

use self::fault::{Fault, list};
use self::placeholder::{Gap, Placeholder};
use self::shapes::{SUBTREE, TREE};
use crate::tree::{Node, Problem, SPANNED, Span, Spanned, Value};

pub use self::fault::closest;
pub use self::shapes::{Entries, Kinded, TreeNode};

/// Decodes `node` as a `T`. Problems are added to `problems`; `None` means that nothing usable was left.
///
/// A value that is returned beside new problems is incomplete and only good for finding more of them. What it holds in
/// place of something that is missing or bad has the place [`Span::PLACEHOLDER`], wherever that can be seen: an element
/// of a list with such a thing that nobody could see is left out.
pub fn decode<T: DeserializeOwned>(node: &Node, problems: &mut Vec<Problem>) -> Option<T> {
    let found = Found::default();
    loop {
        let result = T::deserialize(Decoder { node, found: &found, is_spoilt: &Cell::new(false) });
        if !found.knows_more.take() {
            problems.append(&mut found.problems.borrow_mut());
            return result.ok();
        }
        found.problems.borrow_mut().clear();
    }
}

/// What is found on the way through a tree.
///
/// Which fields a mapping must have is known to the derived code alone, and that gives up at the first one that is
/// missing. So the tree is gone through again with placeholders for what is known to be missing, as long as there is more.
#[derive(Default)]
struct Found {
    problems: RefCell<Vec<Problem>>,
    /// The fields that are missing, by the address of the mapping that lacks them.
    missing: RefCell<BTreeMap<usize, Vec<&'static str>>>,
    /// Whether this way found a field to be missing that the ways before it did not.
    knows_more: Cell<bool>,
}

impl Found {
    fn missing_of(&self, mapping: &Node) -> Vec<&'static str> {
        self.missing.borrow().get(&std::ptr::from_ref(mapping).addr()).cloned().unwrap_or_default()
    }

    /// Whether it is news that this field is missing.
    fn is_news(&self, mapping: &Node, field: &'static str) -> bool {
        let mut missing = self.missing.borrow_mut();
        let known = missing.entry(std::ptr::from_ref(mapping).addr()).or_default();
        let is_news = !known.contains(&field);
        if is_news {
            known.push(field);
            self.knows_more.set(true);
        }
        is_news
    }
}

#[derive(Clone, Copy)]
struct Decoder<'a> {
    node: &'a Node,
    found: &'a Found,
    /// Set if the value gets a placeholder that nobody can tell from what was written.
    is_spoilt: &'a Cell<bool>,
}

impl<'a> Decoder<'a> {
    fn report(self, span: Span, fault: Fault) -> Fault {
        let problem = match fault {
            Fault::Message(message, hint) => Problem { hint, ..Problem::new(span, message) },
            Fault::Missing(_) => Problem::new(span, fault.to_string()),
            Fault::Reported => return Fault::Reported,
        };
        self.found.problems.borrow_mut().push(problem);
        Fault::Reported
    }

    fn here<T>(self, result: Result<T, Fault>) -> Result<T, Fault> {
        result.map_err(|fault| self.report(self.node.span, fault))
    }

    fn child(self, node: &'a Node) -> Self {
        Self { node, ..self }
    }

    /// A value that can be done without, if it is a good one.
    fn good<'de, T: Deserialize<'de>>(self, node: &Node) -> Option<T> {
        let is_spoilt = Cell::new(false);
        let decoder = Decoder { node, found: self.found, is_spoilt: &is_spoilt };
        decoder.here(T::deserialize(decoder)).ok().filter(|_| !is_spoilt.get())
    }

    /// What stands for a value that is bad or missing: nothing, if it may be absent.
    fn placeholder<'de, T: Deserialize<'de>>(self) -> Result<T, Fault> {
        let gap = Cell::new(Gap::Nothing);
        let value = T::deserialize(Placeholder::new(&gap));
        if gap.get() == Gap::Hidden {
            self.is_spoilt.set(true);
        }
        value.map_err(|_| Fault::Reported)
    }

    fn fields(
        self,
        entries: &'a [(Spanned<String>, Node)],
        fields: Option<&'static [&'static str]>,
        missing: Vec<&'static str>,
    ) -> Fields<'a> {
        Fields { decoder: self, rest: entries.iter(), fields, value: None, missing: missing.into_iter() }
    }
}

impl<'de> Deserializer<'de> for Decoder<'_> {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let result = match &self.node.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(v) => visitor.visit_bool(*v),
            Value::Int(v) => match u64::try_from(*v) {
                Ok(v) => visitor.visit_u64(v),
                Err(_) => visitor.visit_i64(*v),
            },
            Value::Float(v) => visitor.visit_f64(*v),
            Value::Text(v) => visitor.visit_str(v),
            Value::Seq(items) => visitor.visit_seq(Items { decoder: self, rest: items.iter() }),
            Value::Map(entries) => visitor.visit_map(self.fields(entries, None, Vec::new())),
        };
        self.here(result)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.node.value {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        match &self.node.value {
            Value::Map(entries) => {
                let missing = self.found.missing_of(self.node);
                match visitor.visit_map(self.fields(entries, Some(fields), missing)) {
                    Err(Fault::Missing(field)) if self.found.is_news(self.node, field) => Err(Fault::Reported),
                    result => self.here(result),
                }
            }
            // A list could be taken for the fields in their order, which nobody means.
            other => {
                let message = format!("expected a mapping, found {}", other.describe());
                self.here(Err(Fault::Message(message, None)))
            }
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, Fault> {
        match name {
            SPANNED => visitor.visit_seq(PlaceAndValue { span: self.node.span, value: self, step: 0 }),
            TREE => {
                SUBTREE.set(Some(self.node.clone()));
                visitor.visit_unit()
            }
            _ => visitor.visit_newtype_struct(self),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let (name, span, content) = match &self.node.value {
            Value::Text(name) => (name, self.node.span, None),
            Value::Map(entries) if entries.len() == 1 => (&entries[0].0.value, entries[0].0.span, Some(&entries[0].1)),
            Value::Map(_) => {
                let message = format!("expected exactly one of {}", list(variants));
                return self.here(Err(Fault::Message(message, None)));
            }
            other => {
                let message = format!("expected one of {}, found {}", list(variants), other.describe());
                return self.here(Err(Fault::Message(message, None)));
            }
        };
        if !variants.contains(&name.as_str()) {
            let fault = de::Error::unknown_variant(name, variants);
            return Err(self.report(span, fault));
        }
        self.here(visitor.visit_enum(Variant { decoder: self, name, content }))
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf
        unit unit_struct seq tuple tuple_struct map identifier
    }
}

struct Items<'a> {
    decoder: Decoder<'a>,
    rest: std::slice::Iter<'a, Node>,
}

impl<'de> de::SeqAccess<'de> for Items<'_> {
    type Error = Fault;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Fault> {
        self.rest.next().map(|node| seed.deserialize(self.decoder.child(node))).transpose()
    }

    /// Leaves a bad element out, so that the ones behind it are looked at too.
    fn next_element<T: Deserialize<'de>>(&mut self) -> Result<Option<T>, Fault> {
        let decoder = self.decoder;
        Ok(self.rest.find_map(|node| decoder.good(node)))
    }
}

struct Fields<'a> {
    decoder: Decoder<'a>,
    rest: std::slice::Iter<'a, (Spanned<String>, Node)>,
    fields: Option<&'static [&'static str]>,
    value: Option<&'a Node>,
    /// What is known to be missing comes behind what is there.
    missing: std::vec::IntoIter<&'static str>,
}

impl<'de> de::MapAccess<'de> for Fields<'_> {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Fault> {
        for (key, node) in self.rest.by_ref() {
            if let Some(fields) = self.fields
                && !fields.contains(&key.value.as_str())
            {
                let hint = closest(&key.value, fields).unwrap_or_else(|| format!("the keys here are {}", list(fields)));
                let fault = Fault::Message(format!("unknown key `{}`", key.value), Some(hint));
                self.decoder.report(key.span, fault);
                continue;
            }
            self.value = Some(node);
            let name: StrDeserializer<'_, Fault> = key.value.as_str().into_deserializer();
            return seed.deserialize(name).map(Some);
        }
        let Some(field) = self.missing.next() else { return Ok(None) };
        self.decoder.report(self.decoder.node.span, Fault::Missing(field));
        let name: StrDeserializer<'_, Fault> = field.into_deserializer();
        seed.deserialize(name).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Fault> {
        let node = self.value.take().ok_or(Fault::Reported)?;
        seed.deserialize(self.decoder.child(node))
    }

    /// A bad value counts as absent where absence is possible.
    fn next_value<V: Deserialize<'de>>(&mut self) -> Result<V, Fault> {
        let Some(node) = self.value.take() else { return self.decoder.placeholder() };
        if self.fields.is_some() && matches!(node.value, Value::Null) {
            // An empty key would count as absent, which is hardly what was meant.
            let fault =
                Fault::Message("the key has no value".to_string(), Some("give it one, or remove it".to_string()));
            self.decoder.report(node.span, fault);
        }
        self.decoder.good(node).map_or_else(|| self.decoder.placeholder(), Ok)
    }

    /// Leaves a bad entry out, so that the ones behind it are looked at too.
    fn next_entry<K: Deserialize<'de>, V: Deserialize<'de>>(&mut self) -> Result<Option<(K, V)>, Fault> {
        for (key, node) in self.rest.by_ref() {
            let name = Node { value: Value::Text(key.value.clone()), span: key.span };
            if let (Some(key), Some(value)) = (self.decoder.good(&name), self.decoder.good(node)) {
                return Ok(Some((key, value)));
            }
        }
        Ok(None)
    }
}

/// A [`Spanned`] as serde sees it: first the place, then the value.
struct PlaceAndValue<D> {
    span: Span,
    value: D,
    step: u8,
}

impl<'de, D: Deserializer<'de, Error = Fault> + Copy> de::SeqAccess<'de> for PlaceAndValue<D> {
    type Error = Fault;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Fault> {
        self.step += 1;
        match self.step {
            1 => {
                let Span { file, line, column, start, len } = self.span;
                let place = [file, line, column, start, len];
                seed.deserialize(de::value::SeqDeserializer::<_, Fault>::new(place.into_iter())).map(Some)
            }
            2 => seed.deserialize(self.value).map(Some),
            _ => Ok(None),
        }
    }
}

struct Variant<'a> {
    decoder: Decoder<'a>,
    name: &'a str,
    content: Option<&'a Node>,
}

impl<'de, 'a> de::EnumAccess<'de> for Variant<'a> {
    type Error = Fault;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Fault> {
        let name: StrDeserializer<'_, Fault> = self.name.into_deserializer();
        Ok((seed.deserialize(name)?, self))
    }
}

impl<'de> de::VariantAccess<'de> for Variant<'_> {
    type Error = Fault;

    fn unit_variant(self) -> Result<(), Fault> {
        match self.content {
            None => Ok(()),
            Some(Node { value: Value::Null, .. }) => Ok(()),
            Some(node) => {
                let fault = Fault::Message(format!("`{}` takes no settings", self.name), None);
                Err(self.decoder.report(node.span, fault))
            }
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Fault> {
        match self.content {
            Some(node) => {
                let decoder = self.decoder.child(node);
                decoder.here(seed.deserialize(decoder))
            }
            // Settings that need not be there may be left out altogether.
            None => seed.deserialize(UnitDeserializer::<Fault>::new()).map_err(|_| self.needs_settings()),
        }
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Fault> {
        match self.content {
            Some(node) => self.decoder.child(node).deserialize_any(visitor),
            None => Err(self.needs_settings()),
        }
    }

    fn struct_variant<V: Visitor<'de>>(self, fields: &'static [&'static str], visitor: V) -> Result<V::Value, Fault> {
        match self.content {
            Some(node) => self.decoder.child(node).deserialize_struct("", fields, visitor),
            None => Err(self.needs_settings()),
        }
    }
}

impl Variant<'_> {
    fn needs_settings(&self) -> Fault {
        Fault::Message(format!("`{0}` needs settings, as in `{0}: {{ … }}`", self.name), None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(rename_all = "snake_case")]
    enum Mode {
        Full,
        Incremental { cursor: String },
        Upsert(Option<Upsert>),
        Named(String),
    }

    #[derive(Debug, Deserialize, PartialEq)]
    struct Upsert {
        by: Option<String>,
    }

    #[derive(Debug, Deserialize)]
    struct Settings {
        name: Option<Spanned<String>>,
        size: Option<u8>,
        mode: Option<Mode>,
        tags: Option<Vec<String>>,
        more: Option<Entries<u8>>,
    }

    fn tree(json: &str) -> Node {
        serde_json::from_str(json).unwrap()
    }

    fn said(problems: &[Problem]) -> Vec<String> {
        problems.iter().map(|p| format!("{}|{}", p.message, p.hint.as_deref().unwrap_or(""))).collect()
    }

    #[test]
    fn good_settings_decode() {
        let mut problems = Vec::new();
        let node = tree(r#"{"name":"a","size":3,"mode":{"incremental":{"cursor":"c"}},"tags":["x"],"more":{"k":1}}"#);
        let s: Settings = decode(&node, &mut problems).unwrap();
        assert_eq!(problems, []);
        assert_eq!(s.name.unwrap().value, "a");
        assert_eq!(s.size, Some(3));
        assert_eq!(s.mode, Some(Mode::Incremental { cursor: "c".into() }));
        assert_eq!(s.tags.unwrap(), ["x"]);
        assert_eq!(s.more.unwrap().get("k"), Some(&1));
        let mut mode = |json: &str| decode::<Settings>(&tree(json), &mut problems).unwrap().mode;
        assert_eq!(mode(r#"{"mode":"full"}"#), Some(Mode::Full));
        assert_eq!(mode(r#"{"mode":"upsert"}"#), Some(Mode::Upsert(None)));
        let by = Some(Upsert { by: Some("k".into()) });
        assert_eq!(mode(r#"{"mode":{"upsert":{"by":"k"}}}"#), Some(Mode::Upsert(by)));
        assert_eq!(problems, []);
        for (word, said) in [("incremental", "`incremental` needs settings"), ("named", "`named` needs settings")] {
            let mut problems = Vec::new();
            decode::<Settings>(&tree(&format!(r#"{{"mode":"{word}"}}"#)), &mut problems);
            assert!(problems.len() == 1 && problems[0].message.starts_with(said), "{word}: {problems:?}");
        }
    }

    #[test]
    fn every_problem_is_reported_once() {
        let mut problems = Vec::new();
        let node = tree(r#"{"nmae":"a","size":300,"mode":"ful","tags":["x",7,true],"more":{"k":-1,"l":"x"}}"#);
        let settings: Option<Settings> = decode(&node, &mut problems);
        assert!(settings.is_some());
        assert_eq!(
            said(&problems),
            [
                "unknown key `nmae`|did you mean `name`?",
                "expected a whole number from 0 to 255, found 300|",
                "`ful` is not one of `full`, `incremental`, `upsert`, `named`|did you mean `full`?",
                "expected text, found a whole number|put it in quotes",
                "expected text, found true or false|put it in quotes",
                "expected a whole number from 0 to 255, found -1|",
                "expected a whole number from 0 to 255, found text|",
            ]
        );
    }
    #[derive(Debug, Deserialize)]
    struct Job {
        name: Spanned<String>,
        size: u8,
        steps: Vec<Step>,
        mode: Mode,
        more: Option<u8>,
        #[serde(default)]
        tags: Vec<String>,
    }

    #[derive(Debug, Deserialize)]
    struct Step {
        run: Spanned<String>,
        tries: Option<u8>,
    }

    #[test]
    fn what_is_missing_or_bad_hides_nothing_else() {
        let mut problems = Vec::new();
        let node = tree(r#"{"size":300,"moer":1,"steps":[{"tries":"x"},{"run":"a","mode":1},7]}"#);
        let job: Job = decode(&node, &mut problems).unwrap();
        assert_eq!(
            said(&problems),
            [
                "expected a whole number from 0 to 255, found 300|",
                "unknown key `moer`|did you mean `more`?",
                "expected a whole number from 0 to 255, found text|",
                "`run` is missing|",
                "unknown key `mode`|the keys here are `run`, `tries`",
                "expected a mapping, found a whole number|",
                "`name` is missing|",
                "`mode` is missing|",
            ]
        );
        assert!(job.name.is_placeholder());
        assert_eq!((job.size, job.mode, job.more, job.tags.len()), (1, Mode::Full, None, 0));
        let [first, second] = job.steps.as_slice() else { panic!("{:?}", job.steps) };
        assert!(first.run.is_placeholder() && first.tries.is_none());
        assert_eq!(second.run.value, "a");
    }

    #[test]
    fn what_nobody_could_see_to_be_missing_is_left_out() {
        #[derive(Debug, Deserialize)]
        struct Modes {
            list: Vec<Mode>,
            optional: Option<Mode>,
            visible: Spanned<Mode>,
            entries: Entries<Mode>,
        }
        let mut problems = Vec::new();
        let none = r#"{"incremental":{}}"#;
        let json = format!(
            r#"{{"list":[{none},"full"],"optional":{none},"visible":{none},"entries":{{"a":{none},"b":"full"}}}}"#
        );
        let modes: Modes = decode(&tree(&json), &mut problems).unwrap();
        assert_eq!(said(&problems), ["`cursor` is missing|"; 4]);
        assert_eq!((modes.list, modes.optional), (vec![Mode::Full], None));
        assert!(modes.visible.is_placeholder());
        assert_eq!(modes.entries, Entries(vec![(Spanned::nowhere("b".to_string()), Mode::Full)]));
    }

    #[test]
    fn there_is_a_placeholder_of_every_type() {
        #[derive(Debug, Deserialize)]
        struct All {
            text: String,
            flag: bool,
            number: i16,
            float: f64,
            list: Vec<u8>,
            entries: Entries<u8>,
            kind: Kinded,
            tree: TreeNode,
            place: Spanned<Entries<u8>>,
            template: crate::Template,
            mode: Mode,
            step: Step,
        }
        let mut problems = Vec::new();
        let all: All = decode(&tree("{}"), &mut problems).unwrap();
        let fields =
            ["text", "flag", "number", "float", "list", "entries", "kind", "tree", "place", "template", "mode", "step"];
        assert_eq!(said(&problems), fields.map(|field| format!("`{field}` is missing|")));
        assert!(all.kind.kind.is_placeholder() && all.place.is_placeholder() && all.step.run.is_placeholder());
        assert_eq!((all.flag, all.number, all.float, all.mode), (false, 1, 1.0, Mode::Full));
        assert!(!all.text.is_empty() && all.template.literal().is_some());
        assert!(all.list.is_empty() && all.entries.0.is_empty() && all.place.0.is_empty());
        assert_eq!(all.tree.0.value, Value::Null);
    }
}
