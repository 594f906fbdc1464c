use std::sync::Arc;
use arrow::datatypes::SchemaRef;
use transload_core::{Error, Resolve, Result, Sink, TableName, WriteSpec};
use crate::names::Name; use crate::options::Settings;
pub(crate) async fn open(_: &Arc<Settings>, _: &Arc<dyn Resolve>, _: Name, _: TableName, _: SchemaRef, _: &WriteSpec) -> Result<Arc<dyn Sink>> { Err(Error::config("no")) }
