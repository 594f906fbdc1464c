//! Where the rows of a job come from.

use transload_core::secret::Part;
use transload_core::tree::Value;
use transload_core::{Error, LogicalType, Node, Result, Template};
use transload_plan::{Origin, Plan, SourceColumn, TablePlan};

use super::python::type_text;
use crate::quote::python;
use crate::view::source_values;

/// The functions of a job that say where its source is.
///
/// # Errors
/// [`Config`](transload_core::ErrorKind::Config) if an option means nothing to Spark.
pub(super) fn functions(plan: &Plan) -> Result<String> {
    let options = &plan.source.options;
    let body = match (plan.source.kind.as_str(), text(options, "url")) {
        ("lake", Some(url)) => {
            check_lake(options)?;
            format!("return {}", expression(url)?)
        }
        (kind, _) => {
            let said =
                format!("a source of the kind {kind} is not read here: give its tables as files, with --source-files");
            format!("raise Stopped(3, {})", python(&said))
        }
    };
    let mut functions = format!("def source_url():\n    {body}\n");
    if plan.source.kind == "postgres" {
        functions.push_str(&format!("\n\n{}", jdbc(options)?));
    }
    Ok(functions)
}

/// The call that reads a table, over the list `columns` before it.
///
/// # Errors
/// A sentence, if Spark does not read it as transload does.
pub(super) fn read(plan: &Plan, table: &TablePlan) -> Result<String, String> {
    let from = table.from.as_str();
    let options = &plan.source.options;
    match plan.source.kind.as_str() {
        "lake" => {
            if from.contains("**") {
                return Err(format!("Spark has no pattern like `{from}`: name a folder"));
            }
            let format = text(options, "format").unwrap_or("parquet");
            match format {
                "parquet" => Ok(format!("job.read_files({}, columns)", python(from))),
                "csv" if source_values(table).count() == 1 => {
                    Err("Spark passes over empty lines, which are rows of a table with one column".to_string())
                }
                "csv" | "json" => Ok(format!(
                    "job.read_files({}, columns, {}, {})",
                    python(from),
                    python(format),
                    text_options(format, options)
                )),
                other => Err(format!("Spark does not read {other} files as transload does")),
            }
        }
        "postgres" => {
            let schema = text(options, "schema").unwrap_or("public");
            Ok(format!(
                "job.read_database({}, columns, {}, jdbc_options)",
                python(from),
                python(&query(table, schema)?)
            ))
        }
        _ => Ok(format!("job.read_files({}, columns)", python(from))),
    }
}

/// Refuses options that say what values of files mean, in a way that Spark does not know.
fn check_lake(options: &Node) -> Result<()> {
    let said = |format: &str, option: &str| options.get(format).and_then(|o| o.get(option)).is_some();
    for (format, option) in [("parquet", "int96_zone"), ("parquet", "legacy_calendar"), ("orc", "legacy_calendar")] {
        if said(format, option) {
            let what = format!("`{format}.{option}` of the source means nothing to Spark");
            return Err(
                Error::config(what).hint("load such files with transload, and generate the job from what it writes")
            );
        }
    }
    let nulls = options.get("csv").and_then(|csv| csv.get("null_values")).map(|node| &node.value);
    let is_empty = |node: &Node| matches!(&node.value, Value::Text(text) if text.is_empty());
    match nulls {
        None => Ok(()),
        Some(Value::Seq(texts)) if texts.len() == 1 && texts.iter().all(is_empty) => Ok(()),
        Some(_) => Err(Error::config(
            "`csv.null_values` of the source are read in another way by Spark, which does not see quotes",
        )
        .hint("leave them out, and say what is NULL with `derive`, such as `nullif(a, 'NA')`")),
    }
}

/// How Spark reads texts as transload does.
fn text_options(format: &str, options: &Node) -> String {
    let mut said: Vec<(&str, String)> = vec![("mode", "FAILFAST".to_string())];
    if format == "csv" {
        let csv = options.get("csv");
        let of = |name: &str| csv.and_then(|csv| text(csv, name));
        let quote = of("quote").unwrap_or("\"");
        let header = csv.and_then(|csv| csv.get("header")).is_none_or(|node| node.value != Value::Bool(false));
        said.extend([
            ("header", header.to_string()),
            ("sep", of("delimiter").unwrap_or(",").to_string()),
            ("quote", quote.to_string()),
            ("escape", quote.to_string()),
        ]);
        for (name, value) in [
            ("multiLine", "true"),
            ("enforceSchema", "false"),
            // Only a field without quotes is NULL.
            ("nullValue", "\0"),
            ("emptyValue", ""),
            ("unescapedQuoteHandling", "RAISE_ERROR"),
        ] {
            said.push((name, value.to_string()));
        }
    }
    let said: Vec<String> = said.iter().map(|(name, value)| format!("{}: {}", python(name), python(value))).collect();
    format!("{{{}}}", said.join(", "))
}

/// The query that reads a table of PostgreSQL. Days and points in time come as numbers: no calendar or zone of Java comes
/// between, and one that is infinite fails.
fn query(table: &TablePlan, schema: &str) -> Result<String, String> {
    let columns: Vec<String> = source_values(table).map(selected).collect::<Result<_, _>>()?;
    Ok(format!("select {} from {}", columns.join(", "), table_name(table.from.as_str(), schema)))
}

/// A column of such a query.
fn selected(column: &SourceColumn) -> Result<String, String> {
    use LogicalType as T;
    let name = quoted(&column.name);
    let read = match &column.ty {
        T::Bool | T::Int(_) | T::Float(_) | T::Binary => name.clone(),
        T::UInt(_) => format!("{name}::bigint"),
        T::Decimal(p, s) if *p <= 38 => format!("{name}::numeric({p},{s})"),
        T::Json => format!("{name}::text"),
        // The padding of a char belongs to its value, and a cast would trim it.
        T::Text => format!(
            "case when pg_typeof({name}) = 'bpchar'::regtype and {name} is not null then format('%s', {name}) else {name}::text end"
        ),
        T::Uuid => format!("uuid_send({name})"),
        T::Date => format!("{name} - date '1970-01-01'"),
        T::Time(_) | T::Timestamp(..) => format!("(extract(epoch from {name}) * 1000000)::bigint"),
        T::List(item) => match item.as_ref() {
            T::Text => format!("{name}::text[]"),
            T::Bool | T::Int(16 | 32 | 64) | T::Float(_) => name.clone(),
            _ => return Err(unread(&column.name, &column.ty)),
        },
        _ => return Err(unread(&column.name, &column.ty)),
    };
    Ok(if read == name { name } else { format!("{read} as {name}") })
}

fn unread(column: &str, ty: &LogicalType) -> String {
    format!("`{column}` is {ty}, which Spark does not read from PostgreSQL")
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// `"public"."orders"` for a name as the connection has it: parts may be in double quotes, and a bare name is in `schema`.
fn table_name(from: &str, schema: &str) -> String {
    let (mut parts, mut part, mut in_quotes) = (Vec::new(), String::new(), false);
    let mut characters = from.chars().peekable();
    while let Some(c) = characters.next() {
        match c {
            '"' if in_quotes && characters.peek() == Some(&'"') => {
                characters.next();
                part.push('"');
            }
            '"' => in_quotes = !in_quotes,
            '.' if !in_quotes => parts.push(std::mem::take(&mut part)),
            c => part.push(c),
        }
    }
    let schema = parts.pop().unwrap_or_else(|| schema.to_string());
    format!("{}.{}", quoted(&schema), quoted(&part))
}

/// The function that says how Spark reaches a database. What a person may want to change is looked for in the variables that
/// PostgreSQL's own programs know.
fn jdbc(options: &Node) -> Result<String> {
    let said = |name: &str, variable: &str, default: &str| -> Result<String> {
        let stated = match options.get(name).map(|node| &node.value) {
            Some(Value::Text(text)) => expression(text)?,
            Some(Value::Int(number)) => python(&number.to_string()),
            _ if default.is_empty() => return Ok(format!("os.environ[{}]", python(variable))),
            _ => python(default),
        };
        // A reference is looked up where it points to.
        match stated.starts_with('"') {
            true => Ok(format!("os.environ.get({}, {stated})", python(variable))),
            false => Ok(stated),
        }
    };
    let tls = options.get("tls");
    let mode = tls.and_then(|tls| text(tls, "mode")).unwrap_or("verify-full");
    let mut lines = vec![
        format!("host, port = {}, {}", said("host", "PGHOST", "")?, said("port", "PGPORT", "5432")?),
        "return {".to_string(),
        "    \"driver\": \"org.postgresql.Driver\",".to_string(),
        format!("    \"url\": f\"jdbc:postgresql://{{host}}:{{port}}/\" + {},", said("database", "PGDATABASE", "")?),
        format!("    \"user\": {},", said("user", "PGUSER", "")?),
        format!("    \"password\": {},", said("password", "PGPASSWORD", "")?),
        format!("    \"sslmode\": {},", python(mode)),
    ];
    for (name, of_jdbc) in [("root_cert", "sslrootcert"), ("client_cert", "sslcert"), ("client_key", "sslkey")] {
        if let Some(path) = tls.and_then(|tls| text(tls, name)) {
            lines.push(format!("    {}: {},", python(of_jdbc), expression(path)?));
        }
    }
    if mode == "verify-full" && tls.and_then(|tls| tls.get("root_cert")).is_none() {
        // Those that Java trusts.
        lines.push("    \"sslfactory\": \"org.postgresql.ssl.DefaultJavaSSLFactory\",".to_string());
    }
    lines.push("    \"sessionInitStatement\": \"set timezone = 'UTC'\",".to_string());
    lines.push("    \"fetchsize\": \"10000\",".to_string());
    lines.push("}".to_string());
    Ok(format!("def jdbc_options():\n    {}\n", lines.join("\n    ")))
}

/// A text with references, as an expression of Python.
///
/// # Errors
/// [`Config`](transload_core::ErrorKind::Config) if a reference cannot be read.
fn expression(text: &str) -> Result<String> {
    let template = Template::parse(text).map_err(Error::config)?;
    let part = |part: &Part| match part {
        Part::Literal(text) => python(text),
        Part::Env(name) => format!("os.environ[{}]", python(name)),
        Part::File(path) => format!("text_of({})", python(path)),
    };
    Ok(template.parts().iter().map(part).collect::<Vec<_>>().join(" + "))
}

fn text<'n>(options: &'n Node, name: &str) -> Option<&'n str> {
    match &options.get(name)?.value {
        Value::Text(text) => Some(text),
        _ => None,
    }
}

/// A table without the columns that Spark does not read and nothing is made of; and why it does not read them.
pub(super) fn without_unread(plan: &Plan, table: &TablePlan) -> (TablePlan, Vec<String>) {
    let (mut table, mut reasons) = (table.clone(), Vec::new());
    // Files without names of columns are read by their places.
    if text(&plan.source.options, "format") == Some("csv") {
        return (table, reasons);
    }
    let cursor = table.incremental.as_ref().map(|incremental| incremental.cursor.as_str());
    table.source_columns.retain(|column| {
        let is_source = |origin: &Origin| matches!(origin, Origin::Source(name) if *name == column.name);
        let needed = cursor == Some(column.name.as_str()) || table.columns.iter().any(|c| is_source(&c.origin));
        let read = match plan.source.kind.as_str() {
            "postgres" => selected(column),
            _ => type_text(&column.ty).map_err(|reason| format!("`{}`: {reason}", column.name)),
        };
        let Err(reason) = read else { return true };
        if !needed {
            reasons.push(reason);
        }
        needed
    });
    (table, reasons)
}

/// The columns of a table's source, with their types.
///
/// # Errors
/// For each column that a job cannot hold a sentence.
pub(super) fn columns(table: &TablePlan) -> Result<Vec<String>, Vec<String>> {
    let (mut columns, mut refused) = (Vec::new(), Vec::new());
    for column in source_values(table) {
        match type_text(&column.ty) {
            Ok(ty) => columns.push(format!("({}, {ty})", python(&column.name))),
            Err(reason) => refused.push(format!("`{}`: {reason}", column.name)),
        }
    }
    if refused.is_empty() { Ok(columns) } else { Err(refused) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{plan, table};

    fn source(kind: &str, options: &str) -> Plan {
        let mut plan = plan(table());
        plan.source.kind = kind.to_string();
        plan.source.options = serde_json::from_str(options).unwrap();
        plan
    }

    #[test]
    fn a_lake_is_read_where_the_pipeline_says() {
        let plan = source("lake", r#"{"url":"s3://${env:BUCKET}/in"}"#);
        let functions = functions(&plan).unwrap();
        assert_eq!(functions, "def source_url():\n    return \"s3://\" + os.environ[\"BUCKET\"] + \"/in\"\n");
        assert_eq!(read(&plan, &plan.tables[0]).unwrap(), "job.read_files(\"in/orders\", columns)");
    }

    #[test]
    fn csv_is_read_by_the_same_rules() {
        let plan = source("lake", r#"{"url":"in","format":"csv","csv":{"delimiter":";","header":false}}"#);
        let read = read(&plan, &plan.tables[0]).unwrap();
        for said in [r#""sep": ";""#, r#""header": "false""#, r#""mode": "FAILFAST""#, r#""nullValue": "\u0000""#] {
            assert!(read.contains(said), "{said} is not in {read}");
        }
        let odd = source("lake", r#"{"url":"in","format":"csv","csv":{"null_values":["","NA"]}}"#);
        assert!(functions(&odd).unwrap_err().to_string().contains("null_values"));
    }

    #[test]
    fn a_database_is_reached_by_variables() {
        let options =
            r#"{"host":"db.example.com","database":"shop","user":"loader","password":"${env:SHOP_PASSWORD}"}"#;
        let functions = functions(&source("postgres", options)).unwrap();
        for line in [
            r#"    host, port = os.environ.get("PGHOST", "db.example.com"), os.environ.get("PGPORT", "5432")"#,
            r#"        "password": os.environ["SHOP_PASSWORD"],"#,
            r#"        "sslmode": "verify-full","#,
            r#"        "sslfactory": "org.postgresql.ssl.DefaultJavaSSLFactory","#,
        ] {
            assert!(functions.lines().any(|l| l == line), "{line} is not in:\n{functions}");
        }
    }

    #[test]
    fn tables_of_a_database_are_read_exactly() {
        let whole = table();
        let said = query(&whole, "public").unwrap_err();
        assert!(said.contains("`huge` is decimal(50,2)"), "{said}");
        let mut table = table();
        table.source_columns.retain(|c| ["id", "placed"].contains(&c.name.as_str()));
        assert_eq!(
            query(&table, "public").unwrap(),
            "select \"id\", \"placed\" - date '1970-01-01' as \"placed\" from \"public\".\"in/orders\""
        );
        assert_eq!(table_name("sales.\"Or\"\"ders.x\"", "public"), "\"sales\".\"Or\"\"ders.x\"");
    }

    #[test]
    fn what_nothing_is_made_of_need_not_be_read() {
        let plan = source("postgres", "{}");
        let mut table = plan.tables[0].clone();
        let names = |table: &TablePlan| table.source_columns.iter().map(|c| c.name.clone()).collect::<Vec<_>>();
        let (whole, unread) = without_unread(&plan, &table);
        assert_eq!((names(&whole), unread), (names(&table), Vec::new()));
        table.columns.retain(|c| c.name != "huge");
        let (smaller, unread) = without_unread(&plan, &table);
        assert_eq!(names(&smaller), names(&table).into_iter().filter(|name| name != "huge").collect::<Vec<_>>());
        assert_eq!(unread, ["`huge` is decimal(50,2), which Spark does not read from PostgreSQL"]);
        assert!(query(&smaller, "public").is_ok());
    }

    #[test]
    fn what_spark_reads_otherwise_is_refused() {
        for options in [r#"{"url":"in","format":"avro"}"#, r#"{"url":"in","format":"orc"}"#] {
            let plan = source("lake", options);
            assert!(read(&plan, &plan.tables[0]).is_err(), "{options}");
        }
        assert!(functions(&source("lake", r#"{"url":"in","parquet":{"int96_zone":"UTC"}}"#)).is_err());
        assert!(functions(&source("tpch", "{}")).unwrap().contains("--source-files"));
    }
}
