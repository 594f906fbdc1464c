//! What an expression may hold, told from its text alone: no column needs to be known.
//!
//! An expression is about one row and gives the same value each time. Which functions there are, and what they are
//! like, says the engine's own registry; a name is looked up in the order in which the engine does it.

use std::ops::ControlFlow;

use datafusion::common::DFSchema;
use datafusion::config::Dialect;
use datafusion::error::DataFusionError;
use datafusion::execution::SessionState;
use datafusion::execution::context::SessionContext;
use datafusion::logical_expr::Volatility;
use datafusion::prelude::SessionConfig;
use datafusion::sql::sqlparser::ast::{
    CastKind, DataType, Expr, ExprWithAlias, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, Query,
    TypedString, Value, ValueWithSpan, Visit, Visitor,
};
use datafusion::sql::sqlparser::parser::ParserError;
use transload_core::decode::closest;
use transload_core::{Problem, Span};

/// Longest expression that is read.
const MAX_LENGTH: usize = 16 * 1024;

/// Deepest expression that is evaluated: every level needs a part of the stack, also in a chain such as `a + b + c`.
const MAX_DEPTH: usize = 200;

/// More problems than this are not looked for in one expression.
/// Characters or elements that a function may be asked to make in one row.
const MAX_SIZE: usize = 10_000;
const MAX_PROBLEMS: usize = 20;

/// Longest name for which a similar one is looked for.
const MAX_NAME: usize = 64;

const TOO_DEEP: &str = "it nests too deep";
const FOR_THE_CLOCK: &str = "for the time of the load use `metadata_columns: [_ingested_at]`";
const FOR_CHANCE: &str = "make the value from columns, so that a second run gives the same";
const FOR_MANY_ROWS: &str = "move the rows as they are, and compute it in the target";

/// The types that a cast can name, as a person would write them.
const TYPES: [&str; 14] = [
    "boolean",
    "smallint",
    "int",
    "bigint",
    "real",
    "double",
    "decimal",
    "varchar",
    "text",
    "bytea",
    "date",
    "time",
    "timestamp",
    "timestamptz",
];

/// A session that reads expressions.
pub(crate) fn context() -> SessionContext {
    let mut config = SessionConfig::new();
    // Names mean what they say: `Id` is not `id`.
    config.options_mut().sql_parser.enable_ident_normalization = false;
    SessionContext::new_with_config(config)
}

/// Everything that is wrong with an expression, as far as that can be told without knowing the columns.
pub fn check_expression(sql: &str, span: Span) -> Vec<Problem> {
    thread_local! {
        static STATE: SessionState = context().state();
    }
    if sql.len() > MAX_LENGTH {
        return vec![Problem::new(span, format!("an expression has at most {MAX_LENGTH} bytes"))];
    }
    STATE.with(|state| match state.sql_to_expr_with_alias(sql, &Dialect::Generic) {
        Ok(read) => {
            let mut walk = Walk { state, span, found: Vec::new(), depth: 0, queries: 0 };
            if let Some(alias) = &read.alias {
                let hint = format!("remove `as {alias}`: a new column is named by its key");
                walk.say(format!("the expression has a name of its own, `{alias}`"), hint);
            }
            let _ = read.expr.visit(&mut walk);
            walk.found
        }
        Err(error) => vec![unreadable(sql, &error, span)],
    })
}

fn unreadable(sql: &str, error: &DataFusionError, span: Span) -> Problem {
    let reason = match error.find_root() {
        DataFusionError::SQL(reason, _) => match &**reason {
            ParserError::ParserError(text) | ParserError::TokenizerError(text) => text.clone(),
            ParserError::RecursionLimitExceeded => TOO_DEEP.to_string(),
        },
        other => other.strip_backtrace(),
    };
    let reason = reason.lines().next().unwrap_or_default();
    let problem = Problem::new(span, format!("the expression cannot be read: {reason}"));
    match way_out(sql, reason) {
        Some(hint) => problem.hint(hint),
        None => problem,
    }
}

/// A hint for what people write who think of a whole query.
fn way_out(sql: &str, reason: &str) -> Option<&'static str> {
    let first = sql.split_whitespace().next().unwrap_or_default().to_ascii_lowercase();
    match first.as_str() {
        "select" => Some("write the expression alone, without a query around it"),
        "where" => Some("leave `where` out"),
        "*" => Some("`*` stands for all columns: name the one that is meant"),
        _ if reason == TOO_DEEP => Some("remove parentheses that are not needed"),
        _ if reason.contains("found: ;") => Some("remove the semicolon"),
        _ if reason.starts_with("Expected: end of expression, found: ,") => {
            Some("write one expression: conditions are joined with `and`, and every column has its own key")
        }
        _ => None,
    }
}

/// What people write who come from another system, and what to write here.
fn habit(name: &str) -> Option<&'static str> {
    match name.to_ascii_lowercase().as_str() {
        "if" | "iif" => Some("use `case when … then … else … end`"),
        "getdate" | "getutcdate" | "curdate" | "sysdate" | "systimestamp" | "utc_timestamp" => Some(FOR_THE_CLOCK),
        "newid" | "gen_random_uuid" | "uuid_generate_v4" => Some(FOR_CHANCE),
        "md5" | "sha1" | "sha2" | "sha256" | "hashbytes" => Some("`mask: hash` puts a hash in the place of a value"),
        "to_number" => Some("use `cast(… as decimal(12,2))`"),
        _ => None,
    }
}

/// What a logical type is called in SQL, where the two have different names.
fn sql_type(logical: &str) -> Option<&'static str> {
    Some(match logical.to_ascii_lowercase().as_str() {
        "int16" => "smallint",
        "int32" => "int",
        "int64" => "bigint",
        "uint8" => "tinyint unsigned",
        "uint16" => "smallint unsigned",
        "uint32" => "int unsigned",
        "uint64" => "bigint unsigned",
        "float32" => "real",
        "float64" => "double",
        "binary" => "bytea",
        _ => return None,
    })
}

/// Walks through an expression. Inside a query nothing is looked at: the query is what is wrong.
struct Walk<'a> {
    state: &'a SessionState,
    span: Span,
    found: Vec<Problem>,
    /// Expressions around the one that is looked at, itself included.
    depth: usize,
    /// Queries around it.
    queries: usize,
}

impl Visitor for Walk<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        if self.queries == 0 {
            let hint = "write the values out, or join the tables in the source or in the target";
            self.say("a query looks at other rows, and an expression is about one", hint);
        }
        self.queries += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        self.queries -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            let hint = "a chain of operators nests too: use `in (…)` or `concat(…)`, or put parts of it in parentheses";
            self.say(format!("the expression nests more than {MAX_DEPTH} levels deep"), hint);
            return ControlFlow::Break(());
        }
        if self.queries == 0 {
            self.look_at(expr);
        }
        if self.found.len() < MAX_PROBLEMS { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    }

    fn post_visit_expr(&mut self, _: &Expr) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_value(&mut self, value: &ValueWithSpan) -> ControlFlow<()> {
        if let (Value::Placeholder(name), 0) = (&value.value, self.queries) {
            self.say(format!("`{name}` stands for a value that nothing gives"), "write the value itself");
        }
        ControlFlow::Continue(())
    }
}

impl Walk<'_> {
    fn say(&mut self, message: impl Into<String>, hint: impl Into<String>) {
        let problem = Problem::new(self.span, message).hint(hint);
        if !self.found.contains(&problem) {
            self.found.push(problem);
        }
    }

    fn look_at(&mut self, expr: &Expr) {
        match expr {
            Expr::Function(function) => self.function(function),
            Expr::Identifier(name) => self.variable(name),
            Expr::CompoundIdentifier(names) => {
                if let Some(name) = names.first() {
                    self.variable(name);
                }
            }
            Expr::Cast { data_type, .. } | Expr::TypedString(TypedString { data_type, .. }) => {
                self.data_type(data_type)
            }
            _ => {}
        }
    }

    fn variable(&mut self, name: &Ident) {
        if name.quote_style.is_none() && name.value.starts_with('@') {
            let hint = format!("a column of this name is written in double quotes: \"{}\"", name.value);
            self.say(format!("there is no variable `{}`", name.value), hint);
        }
    }

    /// The engine is asked to cast NULL, which every type holds.
    fn data_type(&mut self, ty: &DataType) {
        let null = Expr::Value(Value::Null.into());
        let cast = Expr::Cast {
            kind: CastKind::Cast,
            expr: Box::new(null),
            data_type: ty.clone(),
            array: false,
            format: None,
        };
        let cast = ExprWithAlias { expr: cast, alias: None };
        if self.state.create_logical_expr_from_sql_expr(cast, &DFSchema::empty()).is_err() {
            let hint = sql_type(&ty.to_string())
                .map(|name| format!("in SQL it is called `{name}`"))
                .or_else(|| closest_of(&ty.to_string(), &TYPES))
                .unwrap_or_else(|| format!("there are {}", TYPES.join(", ")));
            self.say(format!("there is no SQL type `{ty}`"), hint);
        }
    }

    fn function(&mut self, function: &Function) {
        let name = looked_up(function);
        match self.volatility(&name) {
            Some(Volatility::Immutable) => {
                self.size(&name, function);
                self.call(function);
            }
            Some(Volatility::Stable) => self.changes(function, FOR_THE_CLOCK),
            Some(Volatility::Volatile) => self.changes(function, FOR_CHANCE),
            None => self.no_function_of_a_row(&name, function),
        }
    }

    /// What a function makes must fit into memory, whatever stands in a row.
    fn size(&mut self, name: &str, function: &Function) {
        let FunctionArguments::List(list) = &function.args else { return };
        match name {
            "range" | "generate_series" => {
                let message = format!("`{}` makes a list that may be longer than memory", function.name);
                self.say(message, "make it in the source or in the target");
            }
            "lpad" | "rpad" | "repeat" | "array_repeat" | "list_repeat" | "array_resize" | "list_resize"
                if list.args.get(1).is_some_and(|size| !is_small_number(size)) =>
            {
                let message = format!("`{}` may make a value that is larger than memory", function.name);
                self.say(message, format!("write its size as a number of at most {MAX_SIZE}"));
            }
            _ => {}
        }
    }

    fn changes(&mut self, function: &Function, hint: &str) {
        self.say(format!("`{}` gives another value each time", function.name), hint);
    }

    /// How much a function of one row can be relied on; `None` if there is no such function.
    fn volatility(&self, name: &str) -> Option<Volatility> {
        let scalar = self.state.scalar_functions().get(name).map(|f| f.signature().volatility);
        scalar.or_else(|| self.state.higher_order_functions().get(name).map(|f| f.signature().volatility))
    }

    fn no_function_of_a_row(&mut self, name: &str, function: &Function) {
        let shown = &function.name;
        let aggregate = self.state.aggregate_functions().contains_key(name);
        let window = function.over.is_some() || (!aggregate && self.state.window_functions().contains_key(name));
        match name {
            // Not registered, but made by the engine of what is.
            "make_map" => self.call(function),
            "unnest" | "unnest_outer" => {
                let message = format!("`{shown}` makes several rows of one, and an expression gives one value");
                self.say(message, "move the list as it is, and take it apart in the target");
            }
            _ if window => {
                self.say(format!("`{shown}` looks at other rows, and an expression is about one"), FOR_MANY_ROWS);
            }
            _ if aggregate => {
                self.say(format!("`{shown}` is about many rows, and an expression about one"), FOR_MANY_ROWS);
            }
            // A word of SQL such as `user` that is the name of a column.
            _ if matches!(function.args, FunctionArguments::None) => {}
            // `array(select …)`: it is the query that is wrong.
            _ if matches!(function.args, FunctionArguments::Subquery(_)) => {}
            _ => self.unknown(shown.to_string()),
        }
    }

    fn unknown(&mut self, name: String) {
        let message = format!("there is no function `{name}`");
        // To look for a similar name takes long, so it is done once.
        if self.found.iter().any(|p| p.message == message) {
            return;
        }
        let hint = habit(&name).map(str::to_string).or_else(|| closest_of(&name, &self.known())).unwrap_or_else(|| {
            "the functions are those of https://datafusion.apache.org/user-guide/sql/scalar_functions.html".to_string()
        });
        self.say(message, hint);
    }

    /// The functions that an expression may use.
    fn known(&self) -> Vec<&str> {
        let names = self.state.scalar_functions().keys().chain(self.state.higher_order_functions().keys());
        names.map(String::as_str).filter(|name| self.volatility(name) == Some(Volatility::Immutable)).collect()
    }

    /// A call of a function of one row. The engine would pass over what belongs to aggregates.
    fn call(&mut self, function: &Function) {
        let mut beside = function.over.is_some()
            || function.filter.is_some()
            || function.null_treatment.is_some()
            || !function.within_group.is_empty()
            || !matches!(function.parameters, FunctionArguments::None);
        if let FunctionArguments::List(list) = &function.args {
            beside |= list.duplicate_treatment.is_some() || !list.clauses.is_empty();
            if list.args.iter().any(is_wildcard) {
                self.say("`*` stands for all columns, and a function takes single ones", "name the columns");
            }
        }
        if beside {
            let message =
                format!("`{}` takes nothing but arguments: no distinct, order by, filter or over", function.name);
            self.say(message, "remove what stands beside the arguments");
        }
    }
}

/// The name by which the engine looks a function up.
fn looked_up(function: &Function) -> String {
    match function.name.0.as_slice() {
        [part] => match part.as_ident() {
            Some(ident) if ident.quote_style.is_none() => ident.value.to_ascii_lowercase(),
            Some(ident) => ident.value.clone(),
            None => part.to_string(),
        },
        _ => function.name.to_string(),
    }
}

fn is_small_number(argument: &FunctionArg) -> bool {
    let FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Value(value))) = argument else { return false };
    matches!(&value.value, Value::Number(number, _) if number.parse().is_ok_and(|n: usize| n <= MAX_SIZE))
}

fn is_wildcard(argument: &FunctionArg) -> bool {
    let (FunctionArg::Named { arg, .. } | FunctionArg::ExprNamed { arg, .. } | FunctionArg::Unnamed(arg)) = argument;
    !matches!(arg, FunctionArgExpr::Expr(_))
}

/// A similar name, unless the wanted one is so long that nobody can have meant it.
fn closest_of(name: &str, known: &[&str]) -> Option<String> {
    if name.len() > MAX_NAME { None } else { closest(name, known) }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::{Field, Fields, Schema, SchemaRef, TimeUnit};

    use super::*;
    use crate::expr::Expressions;

    fn problems(sql: &str) -> Vec<String> {
        let shown = |p: Problem| format!("{}; {}", p.message, p.hint.unwrap_or_default());
        check_expression(sql, Span::default()).into_iter().map(shown).collect()
    }

    fn schema() -> SchemaRef {
        use arrow::datatypes::DataType as T;
        let place = Fields::from(vec![Field::new("city", T::Utf8, true), Field::new("zip", T::Int32, true)]);
        Arc::new(Schema::new(vec![
            Field::new("a", T::Int64, true),
            Field::new("b", T::Float64, true),
            Field::new("t", T::Utf8, true),
            Field::new("ts", T::Timestamp(TimeUnit::Microsecond, None), true),
            Field::new("tags", T::new_list(T::Utf8, true), true),
            Field::new("place", T::Struct(place), true),
            Field::new("user", T::Utf8, true),
            Field::new("@x", T::Utf8, true),
        ]))
    }

    /// What passes here is also understood by the engine.
    #[test]
    fn expressions_about_one_row_are_fine() {
        let expressions = Expressions::new(&schema()).unwrap();
        for sql in [
            "a + b * 2 - a % 3",
            "case when a > 1 then 'x' else t end",
            "case a when 1 then 'one' end",
            "cast(t as bigint)",
            "try_cast(t as decimal(12,2))",
            "a::varchar",
            "extract(year from ts)",
            "DATE_PART('year', ts)",
            "datepart('year', ts)",
            "date_format(ts, '%Y')",
            "substring(t from 2 for 3)",
            "SUBSTR(t, 2, 3)",
            "trim(both 'x' from t)",
            "position('x' in t)",
            "overlay(t placing 'x' from 1 for 1)",
            "ts + interval '1 day'",
            "ts >= timestamp '2024-01-01 00:00:00'",
            "a in (1, 2, 3)",
            "a not between 1 and 3",
            "t like 'a%' or t ilike 'B_'",
            "a is distinct from 3",
            "t is not null and not (a = 1)",
            "coalesce(t, 'x') || '!'",
            "ifnull(t, 'x')",
            "tags[1]",
            "place['city']",
            "place.city",
            "floor(b) + ceil(b)",
            "user",
            "\"@x\"",
            "char_length(t) > 3",
            "array_length(tags)",
        ] {
            assert_eq!(problems(sql), Vec::<String>::new(), "{sql}");
            expressions.logical(sql).and_then(|e| expressions.physical(&e)).unwrap_or_else(|e| panic!("{sql}: {e}"));
        }
    }

    #[test]
    fn anything_else_is_refused_with_a_way_out() {
        for (sql, message, hint) in [
            ("a / sum(a)", "`sum` is about many rows", "in the target"),
            ("count(*)", "`count` is about many rows", "in the target"),
            ("Row_Number() over (order by a)", "`Row_Number` looks at other rows", "in the target"),
            ("sum(a) over ()", "`sum` looks at other rows", "in the target"),
            ("lag(a)", "`lag` looks at other rows", "in the target"),
            ("a in (select x from y)", "a query looks at other rows", "write the values out"),
            ("exists (select sum(x) from y)", "a query looks at other rows", "write the values out"),
            ("a > any (select x from y)", "a query looks at other rows", "write the values out"),
            ("array(select 1)", "a query looks at other rows", "write the values out"),
            ("unnest(tags)", "`unnest` makes several rows", "the list as it is"),
            ("NOW()", "`NOW` gives another value", "_ingested_at"),
            ("current_date", "`current_date` gives another value", "_ingested_at"),
            ("today()", "`today` gives another value", "_ingested_at"),
            ("a * random()", "`random` gives another value", "from columns"),
            ("uuid()", "`uuid` gives another value", "from columns"),
            ("uper(t)", "there is no function `uper`", "did you mean `upper`?"),
            ("\"Upper\"(t)", "there is no function `\"Upper\"`", "did you mean `upper`?"),
            ("iif(a > 1, 2, 3)", "there is no function `iif`", "case when"),
            ("util.thing(a)", "there is no function `util.thing`", "scalar_functions"),
            ("upper(distinct t)", "`upper` takes nothing but arguments", "remove"),
            ("upper(t) over ()", "`upper` takes nothing but arguments", "remove"),
            ("concat(*)", "`*` stands for all columns", "name the columns"),
            ("a > $1", "`$1` stands for a value", "the value itself"),
            ("a > ?", "`?` stands for a value", "the value itself"),
            ("@x", "there is no variable `@x`", "\"@x\""),
            ("a > 1 as big", "the expression has a name of its own, `big`", "remove `as big`"),
            ("a::int64", "there is no SQL type `INT64`", "it is called `bigint`"),
            ("cast(a as bigin)", "there is no SQL type `bigin`", "did you mean `bigint`?"),
            ("cast(a as money_of_euro)", "there is no SQL type `money_of_euro`", "there are boolean, smallint"),
            ("a;", "the expression cannot be read", "remove the semicolon"),
            ("a, b", "the expression cannot be read", "one expression"),
            ("select a from b", "the expression cannot be read", "without a query"),
            ("where a > 1", "the expression cannot be read", "leave `where` out"),
            ("* ", "the expression cannot be read", "name the one"),
        ] {
            let found = problems(sql);
            assert!(found.len() == 1 && found[0].starts_with(message) && found[0].contains(hint), "{sql}: {found:?}");
        }
        assert_eq!(problems("sum(a) + foo_bar_baz(now()) + foo_bar_baz(1)").len(), 3);
    }

    #[test]
    fn the_size_of_an_expression_is_bounded() {
        let chain = |n: usize| vec!["a"; n].join(" + ");
        assert_eq!(problems(&chain(MAX_DEPTH)), Vec::<String>::new());
        assert!(problems(&chain(MAX_DEPTH + 1))[0].starts_with("the expression nests more than 200 levels"));
        assert!(problems(&vec!["1"; 2000].join("+"))[0].starts_with("the expression nests more than 200 levels"));
        assert!(problems(&format!("{}a{}", "(".repeat(500), ")".repeat(500)))[0].contains("it nests too deep"));
        assert!(problems(&"a".repeat(MAX_LENGTH + 1))[0].starts_with("an expression has at most 16384 bytes"));
        let many: Vec<String> = (0..1000).map(|i| format!("f{i}(a)")).collect();
        assert_eq!(problems(&format!("a in ({})", many.join(","))).len(), MAX_PROBLEMS);
    }
}
