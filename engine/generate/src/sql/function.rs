//! Functions that mean the same.

use datafusion::common::ScalarValue;
use datafusion::logical_expr::Expr;
use transload_core::LogicalType;

use super::{Said, Sql};
use crate::dialect::{Dialect, is_utc};

impl Sql<'_> {
    /// A call of a function, by the name that the engine of the plan has for it.
    pub(super) fn function(&self, name: &str, args: &[Expr]) -> Result<Said, String> {
        let duck = self.dialect == Dialect::DuckDb;
        let plain = |word: &str| -> Result<Said, String> {
            let args: Vec<String> = args.iter().map(|a| self.text(a)).collect::<Result<_, _>>()?;
            Ok(Said::atom(format!("{word}({})", args.join(", "))))
        };
        match (name, args) {
            (
                "lower" | "upper" | "nullif" | "greatest" | "least" | "coalesce" | "concat_ws" | "contains"
                | "make_date",
                _,
            ) => plain(name),
            ("abs", [number]) if !matches!(self.logical_type(number)?, LogicalType::UInt(_)) => plain("abs"),
            ("character_length", [_]) => plain(if duck { "length" } else { "char_length" }),
            ("starts_with", [_, _]) => plain(if duck { "starts_with" } else { "startswith" }),
            ("ends_with", [_, _]) => plain(if duck { "ends_with" } else { "endswith" }),
            ("concat", _) => {
                let present = |arg: &Expr| match arg {
                    Expr::Literal(value, _) if !value.is_null() => self.text(arg),
                    // NULL is passed over.
                    arg => Ok(format!("coalesce({}, '')", self.text(arg)?)),
                };
                let args: Vec<String> = args.iter().map(present).collect::<Result<_, _>>()?;
                Ok(Said::atom(format!("concat({})", args.join(", "))))
            }
            ("btrim" | "ltrim" | "rtrim", [text, rest @ ..]) if rest.len() < 2 => self.trim(name, text, rest.first()),
            ("left" | "right", [text, count]) => self.cut(name, text, &[(count, 0)]),
            ("substr", [text, from]) => self.cut(name, text, &[(from, 1)]),
            ("substr", [text, from, count]) => self.cut(name, text, &[(from, 1), (count, 0)]),
            ("replace", [_, from, _]) if text_of(from).is_some_and(|t| !t.is_empty()) => plain("replace"),
            ("date_part", [part, value]) => self.date_part(part, value),
            ("date_trunc", [part, value]) => self.date_trunc(part, value),
            ("to_char", [value, format]) => self.to_char(value, format),
            _ => Err(format!("`{name}` is not known to mean the same in {}", self.dialect.engine())),
        }
    }

    /// Blanks are what goes if nothing is said, and no other white space.
    fn trim(&self, name: &str, text: &Expr, characters: Option<&Expr>) -> Result<Said, String> {
        let text = self.text(text)?;
        let characters = characters.map_or(Ok("' '".to_string()), |c| self.text(c))?;
        Ok(Said::atom(match (self.dialect, name) {
            (Dialect::DuckDb, "btrim") => format!("trim({text}, {characters})"),
            (Dialect::DuckDb, name) => format!("{name}({text}, {characters})"),
            (Dialect::Spark, "ltrim") => format!("trim(LEADING {characters} FROM {text})"),
            (Dialect::Spark, "rtrim") => format!("trim(TRAILING {characters} FROM {text})"),
            (Dialect::Spark, _) => format!("trim(BOTH {characters} FROM {text})"),
        }))
    }

    /// A part of a text, by numbers that are written there, each with the least that means the same.
    fn cut(&self, name: &str, text: &Expr, numbers: &[(&Expr, i64)]) -> Result<Said, String> {
        let word = if name == "substr" { "substring" } else { name };
        let mut said = format!("{word}({}", self.text(text)?);
        for (number, least) in numbers {
            match whole(number).filter(|n| n >= least) {
                Some(number) => said.push_str(&format!(", {number}")),
                None => return Err(format!("`{name}` by anything but a number from {least} on cannot be said")),
            }
        }
        Ok(Said::atom(said + ")"))
    }

    /// A date, or a timestamp by the clock of UTC or of no zone.
    fn moment(&self, value: &Expr) -> Result<String, String> {
        match self.logical_type(value)? {
            LogicalType::Date => self.text(value),
            LogicalType::Timestamp(_, zone) if zone.as_deref().is_none_or(is_utc) => self.text(value),
            ty => Err(format!("parts of {ty} cannot be said in {}", self.dialect.engine())),
        }
    }

    fn date_part(&self, part: &Expr, value: &Expr) -> Result<Said, String> {
        const PARTS: [&str; 8] = ["year", "quarter", "month", "week", "day", "doy", "hour", "minute"];
        let part = part_of(part, &PARTS).ok_or("this part of `date_part` cannot be said")?;
        let value = self.moment(value)?;
        Ok(Said::atom(match self.dialect {
            Dialect::DuckDb => format!("CAST(date_part('{part}', {value}) AS integer)"),
            Dialect::Spark => format!("CAST(date_part('{part}', {value}) AS INT)"),
        }))
    }

    fn date_trunc(&self, part: &Expr, value: &Expr) -> Result<Said, String> {
        const PARTS: [&str; 8] = ["year", "quarter", "month", "week", "day", "hour", "minute", "second"];
        let part = part_of(part, &PARTS).ok_or("this part of `date_trunc` cannot be said")?;
        let zoned = matches!(self.logical_type(value)?, LogicalType::Timestamp(_, Some(_)));
        let value = self.moment(value)?;
        Ok(Said::atom(match (self.dialect, zoned) {
            (Dialect::DuckDb, true) => format!("date_trunc('{part}', {value})"),
            (Dialect::DuckDb, false) => format!("CAST(date_trunc('{part}', {value}) AS timestamp)"),
            (Dialect::Spark, true) => format!("date_trunc('{part}', {value})"),
            (Dialect::Spark, false) => format!("CAST(date_trunc('{part}', {value}) AS TIMESTAMP_NTZ)"),
        }))
    }

    fn to_char(&self, value: &Expr, format: &Expr) -> Result<Said, String> {
        let format = text_of(format).ok_or("`to_char` by a format that a column holds cannot be said")?;
        let java = java_format(format)?;
        let value = self.moment(value)?;
        Ok(Said::atom(match self.dialect {
            Dialect::DuckDb => format!("strftime({value}, {})", self.dialect.text(format)),
            Dialect::Spark => format!("date_format({value}, {})", self.dialect.text(&java)),
        }))
    }
}

fn text_of(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Literal(
            ScalarValue::Utf8(Some(text)) | ScalarValue::LargeUtf8(Some(text)) | ScalarValue::Utf8View(Some(text)),
            _,
        ) => Some(text.as_str()),
        _ => None,
    }
}

/// A whole number that is written there.
fn whole(expr: &Expr) -> Option<i64> {
    match expr {
        Expr::Literal(ScalarValue::Int64(number), _) => *number,
        Expr::Literal(ScalarValue::Int32(number), _) => number.map(i64::from),
        _ => None,
    }
}

fn part_of(expr: &Expr, known: &[&'static str]) -> Option<&'static str> {
    let text = text_of(expr)?.to_lowercase();
    known.iter().find(|part| **part == text).copied()
}

/// A format of `strftime` as Java writes it.
fn java_format(format: &str) -> Result<String, String> {
    let (mut out, mut words) = (String::new(), String::new());
    let close = |words: &mut String, out: &mut String| {
        // Letters and some signs mean something to Java.
        match words.chars().all(|c| c.is_ascii_digit() || "-/:., _".contains(c)) {
            true => out.push_str(words),
            false => out.push_str(&format!("'{}'", words.replace('\'', "''"))),
        }
        words.clear();
    };
    let mut characters = format.chars();
    while let Some(c) = characters.next() {
        if c != '%' {
            words.push(c);
            continue;
        }
        let field = match characters.next() {
            Some('Y') => "yyyy",
            Some('m') => "MM",
            Some('d') => "dd",
            Some('H') => "HH",
            Some('M') => "mm",
            Some('S') => "ss",
            other => return Err(format!("`%{}` of a format cannot be said", other.unwrap_or(' '))),
        };
        close(&mut words, &mut out);
        out.push_str(field);
    }
    close(&mut words, &mut out);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::Schema;
    use transload_plan::Expressions;

    use super::*;

    fn said(dialect: Dialect, sql: &str) -> Result<String, String> {
        let columns = [
            ("t", "text"),
            ("u", "text"),
            ("n", "int64"),
            ("day", "date"),
            ("ts", "timestamp(us)"),
            ("utc", "timestamp(us, UTC)"),
        ];
        let field = |(name, ty): (&str, &str)| ty.parse::<LogicalType>().unwrap().to_field(name, true);
        let expressions = Expressions::new(&Arc::new(Schema::new(columns.map(field).to_vec()))).unwrap();
        let expr = expressions.logical(sql).unwrap_or_else(|e| panic!("{sql}: {e}"));
        Sql { dialect, schema: expressions.schema() }.text(&expr)
    }

    #[test]
    fn functions_have_their_names() {
        for (sql, duck, spark) in [
            ("lower(t)", "lower(\"t\")", "lower(`t`)"),
            ("char_length(t)", "length(\"t\")", "char_length(`t`)"),
            ("trim(t)", "trim(\"t\", ' ')", "trim(BOTH ' ' FROM `t`)"),
            ("rtrim(t)", "rtrim(\"t\", ' ')", "trim(TRAILING ' ' FROM `t`)"),
            ("substr(t, 2, 3)", "substring(\"t\", 2, 3)", "substring(`t`, 2, 3)"),
            ("left(t, 2)", "left(\"t\", 2)", "left(`t`, 2)"),
            ("nullif(t, '')", "nullif(\"t\", '')", "nullif(`t`, '')"),
            (
                "concat(t, '-', u)",
                "concat(coalesce(\"t\", ''), '-', coalesce(\"u\", ''))",
                "concat(coalesce(`t`, ''), '-', coalesce(`u`, ''))",
            ),
            ("replace(t, 'a', u)", "replace(\"t\", 'a', \"u\")", "replace(`t`, 'a', `u`)"),
            ("ends_with(t, u)", "ends_with(\"t\", \"u\")", "endswith(`t`, `u`)"),
            ("abs(n)", "abs(\"n\")", "abs(`n`)"),
            (
                "date_part('year', day)",
                "CAST(date_part('year', \"day\") AS integer)",
                "CAST(date_part('year', `day`) AS INT)",
            ),
            (
                "extract(month from ts)",
                "CAST(date_part('month', \"ts\") AS integer)",
                "CAST(date_part('month', `ts`) AS INT)",
            ),
            (
                "date_trunc('month', ts)",
                "CAST(date_trunc('month', \"ts\") AS timestamp)",
                "CAST(date_trunc('month', `ts`) AS TIMESTAMP_NTZ)",
            ),
            ("date_trunc('day', utc)", "date_trunc('day', \"utc\")", "date_trunc('day', `utc`)"),
            ("to_char(day, '%Y-%m')", "strftime(\"day\", '%Y-%m')", "date_format(`day`, 'yyyy-MM')"),
        ] {
            assert_eq!(said(Dialect::DuckDb, sql).as_deref(), Ok(duck), "{sql}");
            assert_eq!(said(Dialect::Spark, sql).as_deref(), Ok(spark), "{sql}");
        }
    }

    #[test]
    fn calls_that_differ_are_refused() {
        for sql in [
            "substr(t, n)",
            "left(t, -1)",
            "replace(t, '', u)",
            "reverse(t)",
            "date_part('epoch', ts)",
            "to_char(day, '%j')",
            "to_char(day, t)",
        ] {
            assert!(said(Dialect::Spark, sql).is_err(), "{sql}");
        }
    }
}
