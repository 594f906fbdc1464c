use std::sync::Arc;
use transload_core::connector::{CleanSpec, Orphan};
use transload_core::{Resolve, Result};
use crate::options::Settings;
pub(crate) async fn clean(_: &Arc<Settings>, _: &Arc<dyn Resolve>, _: &CleanSpec) -> Result<Vec<Orphan>> { Ok(Vec::new()) }
