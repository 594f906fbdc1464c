//! What settings are made of that serde has no word for: mappings with places, kinds, whole subtrees.

use std::cell::RefCell;
use std::fmt;

use serde::Deserialize;
use serde::de::{self, Deserializer, Visitor};

use crate::tree::{Node, Spanned};

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

/// The name by which a placeholder for a [`Kinded`] is asked for.
pub(super) const KINDED: &str = "$transload::Kinded";

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
        struct V<'e>(&'e str);

        impl<'de> Visitor<'de> for V<'_> {
            type Value = Kinded;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a mapping")
            }

            fn visit_newtype_struct<D: Deserializer<'de>>(self, d: D) -> Result<Kinded, D::Error> {
                let Entries(mut entries) = Entries::<TreeNode>::deserialize(d)?;
                match (entries.pop(), entries.is_empty()) {
                    (Some((kind, options)), true) => Ok(Kinded { kind, options: options.0 }),
                    _ => Err(de::Error::custom(self.0)),
                }
            }

            fn visit_none<E>(self) -> Result<Kinded, E> {
                Ok(Kinded { kind: Spanned::placeholder(String::new()), options: Node::default() })
            }
        }

        deserializer.deserialize_newtype_struct(KINDED, V(expected))
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

/// The name by which the decoder recognises a request for a [`TreeNode`].
pub(super) const TREE: &str = "$transload::Node";

thread_local! {
    /// Hands a subtree from the decoder to [`TreeNode`], which serde's data model has no word for.
    pub(super) static SUBTREE: RefCell<Option<Node>> = const { RefCell::new(None) };
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
