//! What is known of the texts of a column beside what is known of all values.

use arrow::array::{Array, ArrayRef};
use serde::Serialize;
use transload_core::{LogicalType, Result};
use xxhash_rust::xxh64::xxh64;

use crate::checks::Form;
use crate::profile::frequent::Frequent;
use crate::shape::shape;
use crate::values::{each_exact, each_text};

/// A type that fits none of so many texts of a part of the table is not tried on the others there.
pub const TRIED: u64 = 10_000;

/// Reads texts as values of a type: NULL where a text does not fit.
pub type Read = Box<dyn Fn(&ArrayRef) -> Result<ArrayRef> + Send + Sync>;

/// A type that texts may be meant as, and what reads them as such.
pub struct Reading {
    /// The type.
    pub ty: LogicalType,
    /// What reads them.
    pub read: Read,
}

/// How many texts can be read as a type.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ReadsAs {
    /// The type; a decimal with as many digits as it takes.
    #[serde(rename = "type")]
    pub ty: LogicalType,
    /// How many texts can be read as it. At least so many, if it was not [`TRIED`] on all.
    pub count: u64,
    /// Whether that is all of them.
    pub all: bool,
}

/// Lengths of texts, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Lengths {
    /// Of the shortest.
    pub min: u64,
    /// Of the longest.
    pub max: u64,
    /// On average.
    pub avg: f64,
}

/// What is known of the texts of a column.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Texts {
    count: u64,
    shortest: u64,
    longest: u64,
    characters: u64,
    /// Texts that are empty, or nothing but blanks.
    pub(crate) blank: u64,
    /// Whether all characters are ASCII.
    pub(crate) ascii: bool,
    pub(crate) shapes: Frequent,
    /// The forms that all texts have.
    pub(crate) forms: Vec<Form>,
    tried: Vec<Tried>,
}

/// How a type fared.
#[derive(Debug, Clone, PartialEq)]
struct Tried {
    ty: LogicalType,
    /// On how many texts it was tried.
    count: u64,
    fits: u64,
    /// Digits that decimals take before and behind the point.
    whole: u32,
    fraction: u32,
}

impl Texts {
    pub(crate) fn new(readings: &[Reading]) -> Self {
        let tried = |r: &Reading| Tried { ty: r.ty.clone(), count: 0, fits: 0, whole: 0, fraction: 0 };
        Self {
            count: 0,
            shortest: u64::MAX,
            longest: 0,
            characters: 0,
            blank: 0,
            ascii: true,
            shapes: Frequent::default(),
            forms: Form::ALL.to_vec(),
            tried: readings.iter().map(tried).collect(),
        }
    }

    /// Takes in more texts.
    pub(crate) fn update(&mut self, array: &ArrayRef, readings: &[Reading]) -> Result<()> {
        let before = self.count;
        each_text(array, |text| self.see(text));
        let seen = self.count - before;
        for (tried, reading) in self.tried.iter_mut().zip(readings) {
            if tried.fits > 0 || tried.count < TRIED {
                tried.count += seen;
                tried.take(&(reading.read)(array)?);
            }
        }
        Ok(())
    }

    fn see(&mut self, text: &str) {
        let characters = text.chars().count() as u64;
        self.count += 1;
        self.shortest = self.shortest.min(characters);
        self.longest = self.longest.max(characters);
        self.characters += characters;
        self.blank += u64::from(text.trim().is_empty());
        self.ascii &= text.is_ascii();
        self.forms.retain(|form| form.test()(text));
        let shape = shape(text);
        self.shapes.add(xxh64(shape.as_bytes(), 0), || shape);
    }

    pub(crate) fn merge(&mut self, other: Self) {
        self.count += other.count;
        self.shortest = self.shortest.min(other.shortest);
        self.longest = self.longest.max(other.longest);
        self.characters += other.characters;
        self.blank += other.blank;
        self.ascii &= other.ascii;
        self.shapes.merge(other.shapes);
        self.forms.retain(|form| other.forms.contains(form));
        for (tried, more) in self.tried.iter_mut().zip(other.tried) {
            tried.count += more.count;
            tried.fits += more.fits;
            tried.whole = tried.whole.max(more.whole);
            tried.fraction = tried.fraction.max(more.fraction);
        }
    }

    /// `None` without any text.
    pub(crate) fn lengths(&self) -> Option<Lengths> {
        let avg = self.characters as f64 / self.count as f64;
        (self.count > 0).then_some(Lengths { min: self.shortest, max: self.longest, avg })
    }

    /// The types that at least half of the texts can be read as.
    pub(crate) fn reads_as(&self) -> Vec<ReadsAs> {
        let likely = self.tried.iter().filter(|t| t.fits > 0 && t.fits >= self.count.div_ceil(2));
        likely.map(|t| ReadsAs { ty: t.found(), count: t.fits, all: t.fits == self.count }).collect()
    }

    /// Bytes that it may hold.
    pub(crate) fn size(&self) -> usize {
        self.shapes.size()
    }
}

impl Tried {
    fn take(&mut self, read: &ArrayRef) {
        self.fits += (read.len() - read.null_count()) as u64;
        if let LogicalType::Decimal(_, scale) = self.ty {
            let scale = u32::from(scale.unsigned_abs());
            each_exact(read, |value| {
                let (whole, fraction) = digits(value.unsigned_abs(), scale);
                self.whole = self.whole.max(whole);
                self.fraction = self.fraction.max(fraction);
            });
        }
    }

    /// The type, with no more digits than it takes.
    fn found(&self) -> LogicalType {
        match (&self.ty, u8::try_from(self.whole + self.fraction), i8::try_from(self.fraction)) {
            (LogicalType::Decimal(..), Ok(precision), Ok(scale)) => LogicalType::Decimal(precision.max(1), scale),
            (other, ..) => other.clone(),
        }
    }
}

/// Digits before and behind the point of a value with a scale.
fn digits(mut value: u128, scale: u32) -> (u32, u32) {
    let mut fraction = scale;
    while fraction > 0 && value.is_multiple_of(10) {
        value /= 10;
        fraction -= 1;
    }
    let all = value.checked_ilog10().map_or(0, |log| log + 1);
    (all.saturating_sub(fraction), fraction)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Decimal128Array, Int64Array, StringArray};

    use super::*;

    /// Reads whole numbers and decimals with two places as these tests need it.
    fn readings() -> Vec<Reading> {
        let int: Read = Box::new(|texts| {
            let mut values: Vec<Option<i64>> = Vec::new();
            each_text(texts, |text| values.push(text.parse().ok()));
            Ok(Arc::new(Int64Array::from(values)))
        });
        let decimal: Read = Box::new(|texts| {
            let mut values: Vec<Option<i128>> = Vec::new();
            each_text(texts, |text| values.push(text.replace('.', "").parse().ok()));
            Ok(Arc::new(Decimal128Array::from(values).with_precision_and_scale(38, 2)?))
        });
        vec![
            Reading { ty: LogicalType::Int(64), read: int },
            Reading { ty: LogicalType::Decimal(38, 2), read: decimal },
        ]
    }

    fn of(values: &[&str]) -> Texts {
        let readings = readings();
        let mut texts = Texts::new(&readings);
        let array: ArrayRef = Arc::new(StringArray::from(values.to_vec()));
        texts.update(&array, &readings).unwrap();
        texts
    }

    #[test]
    fn lengths_are_of_characters_and_blanks_are_counted() {
        let texts = of(&["a", "żół", " ", ""]);
        assert_eq!(texts.lengths(), Some(Lengths { min: 0, max: 3, avg: 1.25 }));
        assert_eq!((texts.blank, texts.ascii), (2, false));
        assert_eq!(of(&[]).lengths(), None);
    }

    #[test]
    fn types_that_most_texts_can_be_read_as_are_named() {
        let found = of(&["1", "2", "x"]).reads_as();
        assert_eq!(found[0], ReadsAs { ty: LogicalType::Int(64), count: 2, all: false });
        assert!(of(&["1", "x", "y"]).reads_as().is_empty());
        let money = of(&["10.50", "-0.25", "7.00"]).reads_as();
        assert_eq!(money, [ReadsAs { ty: LogicalType::Decimal(4, 2), count: 3, all: true }]);
    }

    #[test]
    fn digits_are_those_it_takes() {
        assert_eq!(digits(1_050, 2), (2, 1));
        assert_eq!(digits(5, 2), (0, 2));
        assert_eq!(digits(0, 2), (0, 0));
        assert_eq!(digits(10_000, 2), (3, 0));
    }

    #[test]
    fn a_type_that_fits_nothing_is_given_up() {
        let readings = readings();
        let mut texts = Texts::new(&readings);
        let words: ArrayRef = Arc::new(StringArray::from(vec!["x"; TRIED as usize]));
        texts.update(&words, &readings).unwrap();
        let numbers: ArrayRef = Arc::new(StringArray::from(vec!["1"; 2 * TRIED as usize]));
        texts.update(&numbers, &readings).unwrap();
        assert_eq!((texts.tried[0].count, texts.tried[0].fits), (TRIED, 0));
        assert!(texts.reads_as().is_empty());
    }

    #[test]
    fn only_forms_that_all_texts_have_are_left() {
        assert_eq!(of(&["2024-01-31", "2024-02-01"]).forms, [Form::Date]);
        assert_eq!(of(&["10.0.0.1", "::1"]).forms, [Form::Ip]);
        assert!(of(&["10.0.0.1", "x"]).forms.is_empty());
    }
}
