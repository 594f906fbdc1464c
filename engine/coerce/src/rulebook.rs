//! Rulebooks: casts as data.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use transload_core::decode::{Entries, closest, decode};
use transload_core::tree::Spanned;
use transload_core::types::FAMILIES;
use transload_core::{LogicalType, Node, Problem};

/// What a cast may do to a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Loss {
    /// Every value fits and stays what it is.
    Exact,
    /// A value stays what it is, or does not fit.
    Checked,
    /// A value may also be changed; changes are counted.
    Lossy,
}

/// Which casts are possible, and what each may do.
#[derive(Debug, Clone)]
pub struct Rulebook {
    name: String,
    version: u32,
    on_misfit: String,
    rules: BTreeMap<(String, String), Loss>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: Spanned<u32>,
    rulebook: String,
    on_misfit: Spanned<String>,
    rules: Entries<Targets>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Targets {
    #[serde(default)]
    exact: Option<Vec<Spanned<String>>>,
    #[serde(default)]
    checked: Option<Vec<Spanned<String>>>,
    #[serde(default)]
    lossy: Option<Vec<Spanned<String>>>,
}

/// Name and text of every built-in rulebook, in alphabetical order.
pub const BUILT_IN: [(&str, &str); 2] = [
    ("postgres_to_parquet", include_str!("../../../archetypes/rulebooks/postgres_to_parquet.yaml")),
    ("standard", include_str!("../../../archetypes/rulebooks/standard.yaml")),
];

impl Rulebook {
    /// The text of a built-in rulebook.
    pub fn built_in(name: &str) -> Option<&'static str> {
        BUILT_IN.iter().find(|(n, _)| *n == name).map(|(_, text)| *text)
    }

    /// Reads a rulebook from its tree.
    ///
    /// # Errors
    /// Every problem with it, each at its place.
    pub fn read(node: &Node) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let Some(file) = decode::<File>(node, &mut problems) else { return Err(problems) };
        if file.version.value != 1 {
            let message = format!("there is no rulebook version {}", file.version.value);
            problems.push(Problem::new(file.version.span, message).hint("write `version: 1`"));
        }
        const MISFITS: [&str; 5] = ["error", "null_counted", "quarantine", "text", "widen"];
        if !MISFITS.contains(&file.on_misfit.as_str()) && !file.on_misfit.is_placeholder() {
            let message = format!("`{}` is not one of {}", file.on_misfit.value, MISFITS.join(", "));
            problems.push(Problem::new(file.on_misfit.span, message));
        }
        let mut rules = BTreeMap::new();
        for (from, targets) in &file.rules.0 {
            check_family(from, &mut problems);
            let lists =
                [(Loss::Exact, &targets.exact), (Loss::Checked, &targets.checked), (Loss::Lossy, &targets.lossy)];
            for (loss, to) in lists.iter().flat_map(|(loss, list)| list.iter().flatten().map(move |to| (*loss, to))) {
                check_family(to, &mut problems);
                if rules.insert((from.value.clone(), to.value.clone()), loss).is_some() {
                    let message = format!("the cast {} → {} has two rules", from.value, to.value);
                    problems.push(Problem::new(to.span, message).hint("keep one of them"));
                }
                if let Some(most) = best_possible(from, to).filter(|best| loss < *best) {
                    let message = format!("the cast {} → {} is not {}", from.value, to.value, name_of(loss));
                    let hint = format!("at best it is {}: some values do not fit or would change", name_of(most));
                    problems.push(Problem::new(to.span, message).hint(hint));
                }
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(Self { name: file.rulebook, version: file.version.value, on_misfit: file.on_misfit.value, rules })
    }

    /// Name and version, such as `standard@1`.
    pub fn id(&self) -> String {
        format!("{}@{}", self.name, self.version)
    }

    /// What happens to values that do not fit, unless a column says otherwise.
    pub fn on_misfit(&self) -> &str {
        &self.on_misfit
    }

    /// What the cast may do, or `None` if it is refused. Parameters that prove every value fits make it exact.
    pub fn rule(&self, from: &LogicalType, to: &LogicalType) -> Option<Loss> {
        use LogicalType as T;
        if from == to {
            return Some(Loss::Exact);
        }
        let rule = *self.rules.get(&(from.family().to_string(), to.family().to_string()))?;
        let parts = |pairs: Vec<(&LogicalType, &LogicalType)>| {
            pairs.into_iter().map(|(f, t)| self.rule(f, t)).try_fold(Loss::Exact, |worst, r| Some(worst.max(r?)))
        };
        match (from, to) {
            (T::List(f), T::List(t)) => parts(vec![(f, t)]),
            (T::Map(fk, fv), T::Map(tk, tv)) => parts(vec![(fk, tk), (fv, tv)]),
            (T::Struct(f), T::Struct(t)) => {
                let pair = |(name, ty)| f.iter().find(|(n, _)| n == name).map(|(_, from)| (from, ty));
                let pairs: Option<Vec<_>> = t.iter().map(|(name, ty)| pair((name, ty))).collect();
                parts(pairs.filter(|p| p.len() == f.len())?)
            }
            (T::Timestamp(_, a), T::Timestamp(_, b)) if a.is_none() != b.is_none() => Some(rule),
            (T::Timestamp(a, _), T::Timestamp(b, _)) if a == b => Some(Loss::Exact),
            // A finer unit reaches less far: what is out of its range does not fit.
            (T::Timestamp(a, _), T::Timestamp(b, _)) if a < b => Some(rule.min(Loss::Checked)),
            (T::Int(_) | T::UInt(_), T::Decimal(..)) => {
                let fits = from.as_decimal().is_some_and(|d| d.supertype(to).as_ref() == Some(to));
                Some(if fits { Loss::Exact } else { Loss::Checked })
            }
            _ if from.supertype(to).as_ref() == Some(to) => Some(Loss::Exact),
            _ => Some(rule),
        }
    }
}

fn check_family(name: &Spanned<String>, problems: &mut Vec<Problem>) {
    if !FAMILIES.contains(&name.as_str()) {
        let hint = closest(name, &FAMILIES).unwrap_or_else(|| format!("the types are {}", FAMILIES.join(", ")));
        problems.push(Problem::new(name.span, format!("`{}` is not a type", name.value)).hint(hint));
    }
}

fn name_of(loss: Loss) -> &'static str {
    match loss {
        Loss::Exact => "exact",
        Loss::Checked => "checked",
        Loss::Lossy => "lossy",
    }
}

/// The best class a cast between two families can honestly have; a book cannot promise more.
fn best_possible(from: &str, to: &str) -> Option<Loss> {
    let simple = |name: &str| name.parse::<LogicalType>().ok();
    match (from, to) {
        ("text" | "decimal", "float32" | "float64") => Some(Loss::Lossy),
        ("decimal" | "float32" | "float64", "decimal") => Some(Loss::Lossy),
        ("timestamp", "timestamp" | "date") | ("time", "time") => Some(Loss::Lossy),
        ("text", "binary" | "text") | (_, "text") if from != "binary" => None,
        ("text", _) | ("binary", _) | ("decimal", _) => Some(Loss::Checked),
        ("date", "timestamp") | ("list", _) | ("struct", _) | ("map", _) => Some(Loss::Checked),
        (_, "decimal") | ("bool", _) | ("uuid", "binary") => None,
        _ => {
            let (f, t) = (simple(from)?, simple(to)?);
            match (&f, &t) {
                _ if f.supertype(&t).as_ref() == Some(&t) => None,
                (_, LogicalType::Float(_)) => Some(Loss::Lossy),
                _ => Some(Loss::Checked),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn book(name: &str) -> Rulebook {
        let (node, _) = transload_spec::parse_document(name, Rulebook::built_in(name).unwrap()).unwrap();
        Rulebook::read(&node).unwrap()
    }

    #[test]
    fn every_built_in_book_has_its_name() {
        for (name, _) in BUILT_IN {
            assert_eq!(book(name).id(), format!("{name}@1"));
        }
        assert!(BUILT_IN.is_sorted_by_key(|(name, _)| *name) && Rulebook::built_in("own").is_none());
    }

    #[test]
    fn the_book_of_postgres_is_stricter_than_the_standard_one() {
        let (strict, standard) = (book("postgres_to_parquet"), book("standard"));
        for (pair, loss) in &strict.rules {
            assert!(standard.rules.get(pair).is_some_and(|class| class <= loss), "{pair:?}");
        }
        for (from, to) in [
            ("decimal(9,2)", "float32"),
            ("float64", "decimal(9,2)"),
            ("float64", "float32"),
            ("int64", "float32"),
            ("int32", "uint32"),
            ("timestamp(us, UTC)", "date"),
            ("time(us)", "time(s)"),
        ] {
            let [from, to] = [from, to].map(|ty| ty.parse::<LogicalType>().unwrap());
            assert!(strict.rule(&from, &to).is_none() && standard.rule(&from, &to).is_some(), "{from} {to}");
        }
    }

    #[test]
    fn what_postgres_gives_can_be_text_and_what_is_text_for_want_of_a_type_can_get_one() {
        let book = book("postgres_to_parquet");
        let rule = |from: &str, to: &str| book.rule(&from.parse().unwrap(), &to.parse().unwrap());
        for ty in [
            "bool",
            "int16",
            "int32",
            "int64",
            "uint32",
            "float32",
            "float64",
            "decimal(9,2)",
            "date",
            "time(us)",
            "timestamp(us)",
            "timestamp(us, UTC)",
            "interval",
            "uuid",
            "json",
        ] {
            assert_eq!(rule(ty, "text"), Some(Loss::Exact), "{ty}");
        }
        for ty in ["decimal(38,9)", "date", "timestamp(us)", "timestamp(us, UTC)", "uuid", "json"] {
            assert_eq!(rule("text", ty), Some(Loss::Checked), "{ty}");
        }
        assert_eq!(rule("decimal(9,2)", "decimal(12,2)"), Some(Loss::Exact));
        assert_eq!(rule("uint32", "int64"), Some(Loss::Exact));
        assert_eq!(rule("list<uuid>", "list<text>"), Some(Loss::Exact));
    }
}
