//! What stands for a value that is missing or cannot be read, so that those beside it are looked at all the same.

use std::cell::Cell;

use serde::de::value::{MapDeserializer, SeqDeserializer, StrDeserializer};
use serde::de::{self, DeserializeSeed, Deserializer, IntoDeserializer, Visitor};
use serde::forward_to_deserialize_any;

use super::PlaceAndValue;
use super::fault::Fault;
use super::shapes::{KINDED, TREE};
use crate::tree::{SPANNED, Span};

/// Stands for every text. It is not empty, and it can be read as a share.
const TEXT: &str = "0%";

/// What is lost where a placeholder stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gap {
    /// Nothing: the value may be absent.
    Nothing,
    /// A value whose place says so: it is [`Span::PLACEHOLDER`].
    Seen,
    /// A value that nobody can tell from one that was written.
    Hidden,
}

/// Makes the least value of any type.
#[derive(Clone, Copy)]
pub(super) struct Placeholder<'a> {
    gap: &'a Cell<Gap>,
}

impl<'a> Placeholder<'a> {
    /// What is lost is told by `gap`, which begins as nothing.
    pub(super) fn new(gap: &'a Cell<Gap>) -> Self {
        Self { gap }
    }

    /// What is inside of a value is lost with it.
    fn lose(self, gap: Gap) {
        if self.gap.get() == Gap::Nothing {
            self.gap.set(gap);
        }
    }
}

impl<'de> Deserializer<'de> for Placeholder<'_> {
    type Error = Fault;

    /// A number: what can be anything can be one, too.
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.lose(Gap::Hidden);
        visitor.visit_u8(1)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.lose(Gap::Hidden);
        visitor.visit_bool(false)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.lose(Gap::Hidden);
        visitor.visit_str(TEXT)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_none()
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, Fault> {
        match name {
            SPANNED => {
                self.lose(Gap::Seen);
                visitor.visit_seq(PlaceAndValue { span: Span::PLACEHOLDER, value: self, step: 0 })
            }
            KINDED => {
                self.lose(Gap::Seen);
                visitor.visit_none()
            }
            TREE => {
                self.lose(Gap::Hidden);
                visitor.visit_unit()
            }
            _ => visitor.visit_newtype_struct(self),
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.lose(Gap::Hidden);
        visitor.visit_seq(SeqDeserializer::<_, Fault>::new(std::iter::empty::<()>()))
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.lose(Gap::Hidden);
        visitor.visit_map(MapDeserializer::<_, Fault>::new(std::iter::empty::<((), ())>()))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.lose(Gap::Hidden);
        visitor.visit_map(MapDeserializer::<_, Fault>::new(fields.iter().map(|field| (*field, self))))
    }

    /// The first of the variants.
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.lose(Gap::Hidden);
        let variant = variants.first().copied().ok_or(Fault::Reported)?;
        visitor.visit_enum(First { variant, settings: self })
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char bytes byte_buf
        unit unit_struct tuple tuple_struct identifier ignored_any
    }
}

impl<'de> IntoDeserializer<'de, Fault> for Placeholder<'_> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

/// The first variant of an enum, with placeholders for its settings.
struct First<'a> {
    variant: &'static str,
    settings: Placeholder<'a>,
}

impl<'de, 'a> de::EnumAccess<'de> for First<'a> {
    type Error = Fault;
    type Variant = Placeholder<'a>;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Placeholder<'a>), Fault> {
        let name: StrDeserializer<'_, Fault> = self.variant.into_deserializer();
        Ok((seed.deserialize(name)?, self.settings))
    }
}

impl<'de> de::VariantAccess<'de> for Placeholder<'_> {
    type Error = Fault;

    fn unit_variant(self) -> Result<(), Fault> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Fault> {
        seed.deserialize(self)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_seq(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(self, fields: &'static [&'static str], visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_struct("", fields, visitor)
    }
}
