//! Where the lake is, and how DuckDB reaches it.

use serde_json::{Value as Json, json};
use transload_core::secret::Part;
use transload_core::tree::Value;
use transload_core::{Error, Node, Result, Template};
use transload_plan::{Plan, TablePlan};

use super::model::folder_name;
use crate::dialect::Dialect::DuckDb;
use crate::names::plain;
use crate::quote::{jinja, jinja_text};

/// A lake that DuckDB reads.
pub(super) struct Place {
    /// The folder or prefix of all tables, as Jinja.
    root: String,
    /// What of it stands in the pipeline as it is.
    stated: String,
    is_delta: bool,
    s3: Option<Secret>,
    /// The variable that says where the lake is, if it need not be where the pipeline says.
    pub(super) variable: Option<String>,
    /// Variables that have to be set, each with what it is.
    pub(super) needed: Vec<(String, String)>,
}

/// How a bucket is reached.
struct Secret {
    settings: Json,
    extensions: Vec<&'static str>,
}

impl Place {
    /// Where a plan's target is. A `folder` takes the place of a path of this machine.
    ///
    /// # Errors
    /// [`Config`](transload_core::ErrorKind::Config) if DuckDB does not read what is written there.
    pub(super) fn of(plan: &Plan, folder: Option<&str>) -> Result<Self> {
        let options = &plan.target.options;
        let is_delta = match (plan.target.kind.as_str(), text(options, "format").unwrap_or("parquet")) {
            ("delta", _) => true,
            ("lake", "parquet") => false,
            ("lake", format) => return Err(refused(&format!("is a lake of {format} files"))),
            (kind, _) => return Err(refused(&format!("is of the kind {kind}"))),
        };
        let url = text(options, "url").ok_or_else(|| Error::internal("the target has no url"))?;
        let url = Template::parse(url).map_err(Error::config)?;
        let beginning = url.beginning();
        let is_s3 = beginning.starts_with("s3://") || options.get("s3").is_some();
        if !is_s3 && beginning.contains("://") && !beginning.starts_with("file://") {
            return Err(refused(&format!("is at {beginning}")));
        }
        let prefix = plain(&plan.pipeline).to_uppercase();
        let mut needed = Vec::new();
        let literal = match folder.filter(|_| !is_s3) {
            Some(folder) => Some(folder.to_string()),
            None => url.literal().map(|url| url.strip_prefix("file://").unwrap_or(url).to_string()),
        };
        let (root, stated, variable) = match literal {
            Some(path) => {
                let variable = format!("{prefix}_LAKE");
                let path = path.trim_end_matches('/');
                let root = format!("{{{{ env_var('{variable}', {}) }}}}", jinja_text(&in_location(path)));
                (root, path.to_string(), Some(variable))
            }
            None => (located(&url, &mut needed)?, String::new(), None),
        };
        let s3 = match is_s3 {
            true => Some(Secret::of(options.get("s3"), &prefix, &mut needed)?),
            false => None,
        };
        Ok(Self { root, stated, is_delta, s3, variable, needed })
    }

    /// Refuses a table whose columns DuckDB would take from the names of folders above it.
    ///
    /// # Errors
    /// [`Config`](transload_core::ErrorKind::Config) with the folder.
    pub(super) fn check(&self, table: &TablePlan) -> Result<()> {
        if self.is_delta || table.partition_by.is_empty() {
            return Ok(());
        }
        let above = self.stated.split('/').chain(table.to.as_str().split('/')).filter_map(|part| part.split_once('='));
        let mut clashes = above.filter(|(name, _)| table.columns.iter().any(|c| folder_name(&c.name) == *name));
        match clashes.next() {
            None => Ok(()),
            Some((name, value)) => Err(Error::config(format!(
                "DuckDB would read the column `{name}` from the name of the folder {name}={value}"
            ))
            .with("table", table.to.as_str())
            .hint("give the folder another name, or leave the table out with `--table`")),
        }
    }

    /// What DuckDB reads for a table.
    pub(super) fn location(&self, table: &TablePlan) -> String {
        let path = format!("{}/{}", self.root, jinja(&in_location(table.to.as_str())));
        match (self.is_delta, table.partition_by.is_empty()) {
            (true, _) => format!("delta_scan('{path}')"),
            (false, true) => format!("read_parquet('{path}/*.parquet', hive_partitioning = false)"),
            (false, false) => {
                format!("read_parquet('{path}/**/*.parquet', hive_partitioning = true, hive_types_autocast = false)")
            }
        }
    }

    /// The profile, by which dbt finds DuckDB and the lake.
    pub(super) fn profile(&self, project: &str) -> Json {
        let mut output = json!({
            "type": "duckdb",
            "path": format!("{{{{ env_var('DBT_DUCKDB_PATH', '{project}.duckdb') }}}}"),
            "threads": 4,
            "settings": { "TimeZone": "UTC" },
        });
        let mut extensions: Vec<&str> = Vec::new();
        if self.is_delta {
            extensions.push("delta");
        }
        if let Some(secret) = &self.s3 {
            extensions.extend(&secret.extensions);
            output["secrets"] = json!([secret.settings]);
        }
        if !extensions.is_empty() {
            output["extensions"] = json!(extensions);
        }
        json!({ project: { "target": "dev", "outputs": { "dev": output } } })
    }
}

impl Secret {
    fn of(options: Option<&Node>, prefix: &str, needed: &mut Vec<(String, String)>) -> Result<Self> {
        let written = |name: &str| options.and_then(|o| text(o, name));
        let mut said = |name: &str| -> Result<Option<String>> {
            let Some(text) = written(name) else { return Ok(None) };
            let template = Template::parse(text).map_err(Error::config)?;
            Ok(Some(setting(&template, name, prefix, needed)))
        };
        let flag = |name: &str| match options.and_then(|o| o.get(name)).map(|node| &node.value) {
            Some(Value::Bool(flag)) => Some(*flag),
            _ => None,
        };
        let mut settings = json!({ "type": "s3" });
        let mut extensions = vec!["httpfs"];
        let key = (said("access_key_id")?, said("secret_access_key")?);
        match key {
            (Some(id), Some(secret)) => {
                settings["provider"] = json!("config");
                settings["key_id"] = json!(id);
                settings["secret"] = json!(secret);
            }
            _ if flag("anonymous") == Some(true) => settings["provider"] = json!("config"),
            // As the pipeline does: variables, a web identity, the role of the machine.
            _ => {
                settings["provider"] = json!("credential_chain");
                extensions.push("aws");
            }
        }
        for (name, of_duckdb) in [("session_token", "session_token"), ("region", "region")] {
            if let Some(value) = said(name)? {
                settings[of_duckdb] = json!(value);
            }
        }
        if let Some(endpoint) = said("endpoint")? {
            settings["url_style"] = json!(if flag("path_style") == Some(false) { "vhost" } else { "path" });
            match endpoint.split_once("://").filter(|(scheme, _)| !scheme.contains("{{")) {
                Some((scheme, host)) => {
                    settings["endpoint"] = json!(host.trim_end_matches('/'));
                    settings["use_ssl"] = json!(scheme == "https");
                }
                // Only the variable knows.
                None => {
                    let inner = endpoint.replace("{{ ", "").replace(" }}", "");
                    settings["endpoint"] = json!(format!("{{{{ ({inner}).split('://') | last }}}}"));
                    settings["use_ssl"] = json!(format!("{{{{ ({inner}).startswith('https') | as_bool }}}}"));
                }
            }
        }
        Ok(Self { settings, extensions })
    }
}

/// A setting of a profile: references to variables stay references, and what a file holds becomes one.
fn setting(template: &Template, name: &str, prefix: &str, needed: &mut Vec<(String, String)>) -> String {
    let mut out = String::new();
    for part in template.parts() {
        match part {
            Part::Literal(text) => out.push_str(&jinja(text)),
            Part::Env(variable) => {
                out.push_str(&format!("{{{{ env_var('{variable}') }}}}"));
                need(needed, variable, &format!("`{name}` of the lake's bucket"));
            }
            Part::File(path) => {
                let variable = format!("{prefix}_{}", name.to_uppercase());
                out.push_str(&format!("{{{{ env_var('{variable}') }}}}"));
                need(needed, &variable, &format!("what stands in the file {path}: `{name}` of the lake's bucket"));
            }
        }
    }
    out
}

fn need(needed: &mut Vec<(String, String)>, variable: &str, what: &str) {
    if needed.iter().all(|(known, _)| known != variable) {
        needed.push((variable.to_string(), what.to_string()));
    }
}

/// A url with references, as Jinja.
///
/// # Errors
/// [`Config`](transload_core::ErrorKind::Config) if it refers to a file.
fn located(url: &Template, needed: &mut Vec<(String, String)>) -> Result<String> {
    let mut out = String::new();
    for part in url.parts() {
        match part {
            Part::Literal(text) => out.push_str(&jinja(&in_location(text))),
            Part::Env(variable) => {
                out.push_str(&format!("{{{{ env_var('{variable}') }}}}"));
                need(needed, variable, "a part of the lake's url");
            }
            Part::File(_) => {
                return Err(Error::config("the target's url refers to a file, which dbt cannot read")
                    .hint("refer to a variable: ${env:NAME}"));
            }
        }
    }
    Ok(out.trim_end_matches('/').to_string())
}

/// A part of a path where dbt-duckdb reads it: in a literal of SQL, in which braces are gaps.
fn in_location(text: &str) -> String {
    let quoted = DuckDb.text(text);
    quoted[1..quoted.len() - 1].replace('{', "{{").replace('}', "}}")
}

fn text<'n>(options: &'n Node, name: &str) -> Option<&'n str> {
    match &options.get(name)?.value {
        Value::Text(text) => Some(text),
        _ => None,
    }
}

fn refused(what: &str) -> Error {
    Error::config(format!("no dbt project can be made: the target {what}"))
        .hint("a target is a lake of Parquet files or Delta tables, in a folder or on S3")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{plan, table};

    fn place(kind: &str, options: &str, folder: Option<&str>) -> Result<Place> {
        let mut plan = plan(table());
        plan.target.kind = kind.to_string();
        plan.target.options = serde_json::from_str(options).unwrap();
        Place::of(&plan, folder)
    }

    #[test]
    fn a_folder_is_named_from_the_project_and_can_be_another() {
        let there = place("lake", r#"{"url":"./lake"}"#, Some("../lake")).unwrap();
        assert_eq!(
            there.location(&table()),
            "read_parquet('{{ env_var('SHOP_NIGHTLY_LAKE', \"../lake\") }}/shop/orders/*.parquet', hive_partitioning = false)"
        );
        assert_eq!(there.variable.as_deref(), Some("SHOP_NIGHTLY_LAKE"));
        let odd = place("lake", r#"{"url":"/data/it's {1}"}"#, None).unwrap();
        assert!(odd.root.contains("\"/data/it''s {{1}}\""), "{}", odd.root);
    }

    #[test]
    fn a_bucket_has_references_and_no_secrets() {
        let options = r#"{"url":"s3://${env:BUCKET}/bronze/","s3":{"endpoint":"http://localhost:9000","allow_http":true,
            "access_key_id":"me","secret_access_key":"${file:/run/key}"}}"#;
        let there = place("delta", options, None).unwrap();
        assert_eq!(there.location(&table()), "delta_scan('s3://{{ env_var('BUCKET') }}/bronze/shop/orders')");
        let profile = there.profile("shop");
        let output = &profile["shop"]["outputs"]["dev"];
        assert_eq!(output["extensions"], json!(["delta", "httpfs"]));
        let secret = json!({
            "type": "s3",
            "provider": "config",
            "key_id": "me",
            "secret": "{{ env_var('SHOP_NIGHTLY_SECRET_ACCESS_KEY') }}",
            "url_style": "path",
            "endpoint": "localhost:9000",
            "use_ssl": false,
        });
        assert_eq!(output["secrets"], json!([secret]));
        let needed: Vec<&str> = there.needed.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(needed, ["BUCKET", "SHOP_NIGHTLY_SECRET_ACCESS_KEY"]);
    }

    #[test]
    fn without_a_key_it_is_looked_for_as_a_load_does() {
        let there = place("lake", r#"{"url":"s3://b/x","s3":{"endpoint":"${env:AT}"}}"#, None).unwrap();
        let profile = there.profile("shop");
        let secret = &profile["shop"]["outputs"]["dev"]["secrets"][0];
        assert_eq!(secret["provider"], "credential_chain");
        assert_eq!(secret["endpoint"], "{{ (env_var('AT')).split('://') | last }}");
    }

    #[test]
    fn what_duckdb_does_not_read_is_refused() {
        for (kind, options, why) in [
            ("lake", r#"{"url":"x","format":"csv"}"#, "csv files"),
            ("lake", r#"{"url":"az://c/x"}"#, "az://c/x"),
            ("postgres", r#"{"url":"x"}"#, "kind postgres"),
            ("lake", r#"{"url":"${file:/x}"}"#, "refers to a file"),
        ] {
            let Err(error) = place(kind, options, None) else { panic!("{options}") };
            assert!(error.to_string().contains(why), "{error}");
        }
    }

    #[test]
    fn folders_above_a_table_must_not_give_it_columns() {
        let there = place("lake", r#"{"url":"/data/status=old"}"#, None).unwrap();
        let mut table = table();
        assert!(there.check(&table).is_ok());
        table.partition_by = serde_json::from_str(r#"[{"column":"placed","transform":"month"}]"#).unwrap();
        assert!(there.check(&table).unwrap_err().to_string().contains("status=old"));
    }
}
