//! From a spanned tree to typed settings, with *every* problem reported at once.
//!
//! A derived `Deserialize` stops at the first error. This decoder reports an error where it
//! stands and goes on: a bad optional field counts as absent, a bad element of a list or mapping is
//! left out, and unknown keys are reported with the closest known name. The typed structs stay the
//! single description of the file format: the JSON Schema is derived from the same types.

use std::cell::RefCell;
use std::fmt;

use serde::de::value::{StrDeserializer, UnitDeserializer};
use serde::de::{self, DeserializeOwned, DeserializeSeed, Deserializer, IntoDeserializer, Visitor};
use serde::{Deserialize, forward_to_deserialize_any};

use crate::tree::{Node, Problem, SPANNED, Span, Spanned, Value};

/// Decodes `node` as a `T`. Problems are added to `problems`; `None` means that nothing usable was left.
/// A value that is returned beside new problems is incomplete and only good for finding more of them.
pub fn decode<T: DeserializeOwned>(node: &Node, problems: &mut Vec<Problem>) -> Option<T> {
    let found = RefCell::new(Vec::new());
    let result = T::deserialize(Decoder { node, found: &found });
    problems.append(&mut found.borrow_mut());
    result.ok()
}

/// Keys with values, in the order of the file, each key with its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Entries<V>(pub Vec<(Spanned<String>, V)>);

impl<V> Default for Entries<V> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<V> Entries<V> {
    /// The value under `key`.
    pub fn get(&self, key: &str) -> Option<&V> {
        self.0.iter().find(|(k, _)| k.value == key).map(|(_, v)| v)
    }
}

impl<'de, V: Deserialize<'de>> Deserialize<'de> for Entries<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EntriesVisitor<V>(std::marker::PhantomData<V>);

        impl<'de, V: Deserialize<'de>> Visitor<'de> for EntriesVisitor<V> {
            type Value = Entries<V>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a mapping")
            }

            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }

        deserializer.deserialize_map(EntriesVisitor(std::marker::PhantomData))
    }
}

impl<V: serde::Serialize> serde::Serialize for Entries<V> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(k, v)| (&k.value, v)))
    }
}

impl<V: schemars::JsonSchema> schemars::JsonSchema for Entries<V> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        format!("Map_of_{}", V::schema_name()).into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let value = generator.subschema_for::<V>();
        schemars::json_schema!({ "type": "object", "additionalProperties": value })
    }
}

/// A mapping of one key, the kind, to its settings: `{ lake: { url: … } }`.
#[derive(Debug, Clone, PartialEq)]
pub struct Kinded {
    /// The key.
    pub kind: Spanned<String>,
    /// What stands under it.
    pub options: Node,
}

impl Kinded {
    /// Reads a mapping of one key; `expected` is said of anything else.
    ///
    /// # Errors
    /// The deserializer's own.
    pub fn one_key<'de, D: Deserializer<'de>>(deserializer: D, expected: &str) -> Result<Self, D::Error> {
        let Entries(mut entries) = Entries::<TreeNode>::deserialize(deserializer)?;
        match (entries.pop(), entries.is_empty()) {
            (Some((kind, options)), true) => Ok(Self { kind, options: options.0 }),
            _ => Err(de::Error::custom(expected)),
        }
    }
}

impl<'de> Deserialize<'de> for Kinded {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::one_key(deserializer, "expected exactly one kind, such as `lake: { … }`")
    }
}

impl serde::Serialize for Kinded {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map([(&self.kind.value, &self.options)])
    }
}

impl schemars::JsonSchema for Kinded {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Connection".into()
    }

    /// One kind with its settings; whoever knows the kinds replaces this definition.
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "object", "minProperties": 1, "maxProperties": 1 })
    }
}

/// A whole subtree, spans included: for settings that somebody else decodes.
#[derive(Debug, Clone)]
pub struct TreeNode(pub Node);

const TREE: &str = "$transload::Node";

thread_local! {
    /// Hands a subtree from the decoder to [`TreeNode`], which serde's data model has no word for.
    static SUBTREE: RefCell<Option<Node>> = const { RefCell::new(None) };
}

impl<'de> Deserialize<'de> for TreeNode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct V;

        impl<'de> Visitor<'de> for V {
            type Value = TreeNode;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("settings")
            }

            fn visit_unit<E>(self) -> Result<TreeNode, E> {
                Ok(TreeNode(SUBTREE.take().unwrap_or_default()))
            }

            fn visit_newtype_struct<D: Deserializer<'de>>(self, d: D) -> Result<TreeNode, D::Error> {
                Node::deserialize(d).map(TreeNode)
            }
        }

        deserializer.deserialize_newtype_struct(TREE, V)
    }
}

/// Why decoding stopped here.
#[derive(Debug)]
enum Fault {
    /// A sentence that still needs a place.
    Message(String, Option<String>),
    /// Already in the list.
    Reported,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Message(text, _) => f.write_str(text),
            Self::Reported => f.write_str("reported"),
        }
    }
}

impl std::error::Error for Fault {}

impl de::Error for Fault {
    fn custom<T: fmt::Display>(message: T) -> Self {
        let text = message.to_string();
        match text.split_once("; hint: ") {
            Some((text, hint)) => Self::Message(text.to_string(), Some(hint.to_string())),
            None => Self::Message(text, None),
        }
    }

    fn invalid_type(found: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        use de::Unexpected as U;
        let wanted = wording(&expected.to_string());
        let (what, hint) = match found {
            U::Bool(_) => ("true or false", wanted == "text"),
            U::Unsigned(_) | U::Signed(_) => ("a whole number", wanted == "text"),
            U::Float(_) => ("a number", wanted == "text"),
            U::Str(_) => ("text", false),
            U::Unit | U::Option => ("nothing", false),
            U::Seq => ("a list", false),
            U::Map => ("a mapping", false),
            _ => ("something else", false),
        };
        let hint = hint.then(|| "put it in quotes".to_string());
        Self::Message(format!("expected {wanted}, found {what}"), hint)
    }

    fn invalid_value(found: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        let wanted = wording(&expected.to_string());
        match found {
            de::Unexpected::Signed(n) => Self::Message(format!("expected {wanted}, found {n}"), None),
            de::Unexpected::Unsigned(n) => Self::Message(format!("expected {wanted}, found {n}"), None),
            de::Unexpected::Float(n) => Self::Message(format!("expected {wanted}, found {n}"), None),
            _ => Self::Message(format!("expected {wanted}"), None),
        }
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        let hint = closest(variant, expected);
        Self::Message(format!("`{variant}` is not one of {}", list(expected)), hint)
    }

    fn missing_field(field: &'static str) -> Self {
        Self::Message(format!("`{field}` is missing"), None)
    }
}

/// The words of serde's built-in visitors, as a person would say them.
fn wording(expected: &str) -> String {
    match expected {
        "a string" | "string" => "text",
        "a boolean" => "true or false",
        "u8" => "a whole number from 0 to 255",
        "u16" => "a whole number from 0 to 65535",
        "u32" | "u64" | "usize" => "a whole number, 0 or more",
        "i8" => "a whole number from -128 to 127",
        "i32" | "i64" => "a whole number",
        "f32" | "f64" => "a number",
        "a sequence" => "a list",
        "a map" => "a mapping",
        other if other.starts_with("struct ") => "a mapping",
        other => other,
    }
    .to_string()
}

fn list(names: &[&str]) -> String {
    names.iter().map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", ")
}

/// The name in `known` that `word` was probably meant to be.
pub fn closest<S: AsRef<str>>(word: &str, known: &[S]) -> Option<String> {
    known
        .iter()
        .map(|k| (strsim::damerau_levenshtein(&word.to_lowercase(), &k.as_ref().to_lowercase()), k.as_ref()))
        .filter(|(distance, k)| *distance <= 1 + k.len() / 4)
        .min()
        .map(|(_, k)| format!("did you mean `{k}`?"))
}

#[derive(Clone, Copy)]
struct Decoder<'a> {
    node: &'a Node,
    found: &'a RefCell<Vec<Problem>>,
}

impl<'a> Decoder<'a> {
    fn report(self, span: Span, fault: Fault) -> Fault {
        if let Fault::Message(message, hint) = fault {
            self.found.borrow_mut().push(Problem { hint, ..Problem::new(span, message) });
        }
        Fault::Reported
    }

    fn here<T>(self, result: Result<T, Fault>) -> Result<T, Fault> {
        result.map_err(|fault| self.report(self.node.span, fault))
    }

    fn child(self, node: &'a Node) -> Self {
        Self { node, ..self }
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
            Value::Map(entries) => {
                visitor.visit_map(Fields { decoder: self, rest: entries.iter(), fields: None, value: None })
            }
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
                let access = Fields { decoder: self, rest: entries.iter(), fields: Some(fields), value: None };
                self.here(visitor.visit_map(access))
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
            SPANNED => visitor.visit_seq(PlaceAndValue { decoder: self, step: 0 }),
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
        for node in self.rest.by_ref() {
            let decoder = self.decoder.child(node);
            match decoder.here(T::deserialize(decoder)) {
                Ok(value) => return Ok(Some(value)),
                Err(_) => continue,
            }
        }
        Ok(None)
    }
}

struct Fields<'a> {
    decoder: Decoder<'a>,
    rest: std::slice::Iter<'a, (Spanned<String>, Node)>,
    fields: Option<&'static [&'static str]>,
    value: Option<&'a Node>,
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
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Fault> {
        let node = self.value.take().ok_or(Fault::Reported)?;
        seed.deserialize(self.decoder.child(node))
    }

    /// A bad value counts as absent where absence is possible.
    fn next_value<V: Deserialize<'de>>(&mut self) -> Result<V, Fault> {
        let node = self.value.take().ok_or(Fault::Reported)?;
        let decoder = self.decoder.child(node);
        if self.fields.is_some() && matches!(node.value, Value::Null) {
            // An empty key would count as absent, which is hardly what was meant.
            let fault =
                Fault::Message("the key has no value".to_string(), Some("give it one, or remove it".to_string()));
            decoder.report(node.span, fault);
        }
        decoder
            .here(V::deserialize(decoder))
            .or_else(|_| V::deserialize(UnitDeserializer::<Fault>::new()).map_err(|_| Fault::Reported))
    }

    /// Leaves a bad entry out, so that the ones behind it are looked at too.
    fn next_entry<K: Deserialize<'de>, V: Deserialize<'de>>(&mut self) -> Result<Option<(K, V)>, Fault> {
        for (key, node) in self.rest.by_ref() {
            let name = Node { value: Value::Text(key.value.clone()), span: key.span };
            let key_decoder = Decoder { node: &name, found: self.decoder.found };
            let value_decoder = self.decoder.child(node);
            let key = key_decoder.here(K::deserialize(key_decoder));
            let value = value_decoder.here(V::deserialize(value_decoder));
            if let (Ok(key), Ok(value)) = (key, value) {
                return Ok(Some((key, value)));
            }
        }
        Ok(None)
    }
}

/// A [`Spanned`] as serde sees it: first the place, then the value.
struct PlaceAndValue<'a> {
    decoder: Decoder<'a>,
    step: u8,
}

impl<'de> de::SeqAccess<'de> for PlaceAndValue<'_> {
    type Error = Fault;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Fault> {
        self.step += 1;
        match self.step {
            1 => {
                let Span { file, line, column, start, len } = self.decoder.node.span;
                let place = [file, line, column, start, len];
                seed.deserialize(de::value::SeqDeserializer::<_, Fault>::new(place.into_iter())).map(Some)
            }
            2 => seed.deserialize(self.decoder).map(Some),
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
        let said: Vec<String> =
            problems.iter().map(|p| format!("{}|{}", p.message, p.hint.as_deref().unwrap_or(""))).collect();
        assert_eq!(
            said,
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
}
