//! Hiding values.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StringArray};
use arrow::datatypes::DataType;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use transload_core::Result;

use crate::cast::convert;

/// How values are hidden. The result is always text; NULL stays NULL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MaskKind {
    /// `***` for every value.
    Redact,
    /// The SHA-256 of the value's text, as hexadecimal digits.
    Hash,
    /// `***` and the last four characters of the value's text; `***` alone for eight characters or less.
    Partial,
}

impl MaskKind {
    /// Hides every value of a text column.
    ///
    /// # Errors
    /// [`Internal`](transload_core::ErrorKind::Internal) if the column is not text.
    pub fn apply(self, texts: &ArrayRef) -> Result<ArrayRef> {
        let texts = convert(texts, &DataType::Utf8)?;
        let texts: &StringArray = texts.as_string();
        let masked: StringArray = texts.iter().map(|t| t.map(|t| self.one(t))).collect();
        debug_assert_eq!(masked.null_count(), texts.null_count());
        Ok(Arc::new(masked))
    }

    fn one(self, text: &str) -> String {
        match self {
            Self::Redact => "***".to_string(),
            Self::Hash => Sha256::digest(text.as_bytes()).iter().map(|b| format!("{b:02x}")).collect(),
            Self::Partial => {
                let count = text.chars().count();
                if count <= 8 {
                    return "***".to_string();
                }
                format!("***{}", text.chars().skip(count - 4).collect::<String>())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_hide_what_they_should() {
        let texts: ArrayRef = Arc::new(StringArray::from(vec![Some("4111111111111111"), Some("short"), None]));
        let shown = |m: MaskKind| {
            let out = m.apply(&texts).unwrap();
            out.as_string::<i32>().iter().map(|v| v.map(str::to_string)).collect::<Vec<_>>()
        };
        assert_eq!(shown(MaskKind::Redact), [Some("***".into()), Some("***".into()), None]);
        assert_eq!(shown(MaskKind::Partial), [Some("***1111".into()), Some("***".into()), None]);
        assert_eq!(
            shown(MaskKind::Hash)[1].as_deref(),
            Some("f9b0078b5df596d2ea19010c001bbd009e651de2c57e8fb7e355f31eb9d3f739")
        );
    }
}
