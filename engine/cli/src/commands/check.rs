//! `transload check`

use crate::args::Check;
use crate::output::{Failure, Output};
use crate::pipeline;

pub(crate) fn check(args: &Check, output: &Output) -> Result<u8, Failure> {
    let mut worst = 0;
    let mut good = Vec::new();
    for path in &args.pipelines {
        match pipeline::check(path, &args.overrides) {
            Ok(checked) => good.push((path.display().to_string(), checked.spec.tables.len())),
            Err(failure) if args.pipelines.len() == 1 => return Err(failure),
            Err(failure) => {
                output.fail(&failure);
                worst = 3;
            }
        }
    }
    for (name, tables) in good {
        if output.json() {
            output.answer(&serde_json::json!({ "file": name, "tables": tables, "problems": [] }).to_string())?;
        } else {
            output.answer(&format!("{name}: good, {tables} table{}", if tables == 1 { "" } else { "s" }))?;
        }
    }
    Ok(worst)
}
