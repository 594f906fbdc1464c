//! What can be wrong with a value, before it is known whose it is.

use transload_core::{Error, LogicalType};

/// Why a value cannot become one of Arrow's. It holds nothing of the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It is none that the type has a place for: what it is instead.
    Special(&'static str),
    /// The bytes are not those of such a value.
    Broken,
    /// It has other parts than its type had when the table was pinned: no lock of a table keeps a type as it is.
    OtherParts,
    /// A text is not UTF-8.
    NotUtf8,
    /// There is more in one batch than its offsets reach.
    TooLarge,
}

impl Fault {
    /// The error for a column that is read as `ty`.
    #[cold]
    pub(crate) fn explain(self, column: &str, ty: &LogicalType) -> Error {
        let error = match self {
            Self::Special(what) => Error::config(format!("a value is {what}, for which {ty} has no place")).hint(
                "with `special_values: cast` in the connection the column is read as text, and `on_misfit` decides \
                 what becomes of such values",
            ),
            Self::Broken => Error::internal(format!("the server sent bytes that are no value of {ty}")),
            Self::OtherParts => {
                Error::config(format!("the parts of the type are not those of {ty} any more")).hint("make a new plan")
            }
            Self::NotUtf8 => Error::config("a text is not valid UTF-8").hint(
                "a database with the encoding SQL_ASCII takes any bytes for text: correct them there, or leave the \
                 column out with `drop: true`",
            ),
            Self::TooLarge => Error::internal(format!("a batch holds more than {} bytes or values of it", i32::MAX)),
        };
        error.with("column", column)
    }
}

#[cfg(test)]
mod tests {
    use transload_core::ErrorKind;

    use super::*;

    #[test]
    fn a_value_without_a_place_names_its_column_and_the_way_out() {
        let error = Fault::Special("NaN").explain("price", &LogicalType::Decimal(9, 2));
        assert_eq!(error.kind(), ErrorKind::Config);
        assert_eq!(error.to_string(), "a value is NaN, for which decimal(9,2) has no place (column price)");
        assert!(error.hint_text().unwrap().contains("special_values: cast"));

        let error = Fault::NotUtf8.explain("note", &LogicalType::Text);
        assert_eq!((error.kind(), error.message()), (ErrorKind::Config, "a text is not valid UTF-8"));
        assert!(error.hint_text().unwrap().contains("SQL_ASCII"));
        let error = Fault::OtherParts.explain("pair", &"struct<x: int32>".parse().unwrap());
        assert_eq!((error.kind(), error.hint_text()), (ErrorKind::Config, Some("make a new plan")));
        assert_eq!(Fault::Broken.explain("a", &LogicalType::Date).kind(), ErrorKind::Internal);
    }
}
