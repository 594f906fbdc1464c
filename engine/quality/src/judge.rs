//! From what was counted to findings.

use serde_json::Value as Json;
use transload_core::finding::{Action, CheckOutcome, CheckTally, Finding};
use transload_core::{Error, ErrorKind, Result, TableName};

use crate::check::Check;
use crate::checks::{Facts, Ruling, Scope};
use crate::policy::Policy;
use crate::tally::{VALUES, add_shape};

/// Judges the checks of a table by what all of its units counted, given in the order of the units.
///
/// # Errors
/// [`Internal`](ErrorKind::Internal) if the tallies are not those of the checks.
pub fn judge(checks: &[Check], table: &TableName, units: &[&[CheckTally]], facts: &Facts<'_>) -> Result<Vec<Finding>> {
    let fits = |unit: &[CheckTally]| unit.iter().map(|t| &t.fingerprint).eq(checks.iter().map(|c| &c.fingerprint));
    if !units.iter().all(|unit| fits(unit)) {
        return Err(Error::internal("a unit was checked by other rules than those of the plan"));
    }
    let one = |(at, check): (usize, &Check)| {
        let tallies: Vec<&CheckTally> = units.iter().map(|unit| &unit[at]).collect();
        finding(check, table, &tallies, facts)
    };
    checks.iter().enumerate().map(one).collect()
}

/// What there is to say of a check that was not judged, and why it was not.
pub fn not_judged(check: &Check, table: &TableName, why: &str) -> Finding {
    Finding { found: why.to_string(), ..unjudged(check, table) }
}

/// The error that keeps a table from being published, if a finding demands it.
pub fn stopped(findings: &[Finding]) -> Option<Error> {
    const SHOWN: usize = 5;
    let stops: Vec<&Finding> = findings.iter().filter(|f| f.stops).collect();
    let first = stops.first()?;
    let mut titles: Vec<String> = stops.iter().take(SHOWN).map(|f| f.title()).collect();
    if stops.len() > SHOWN {
        titles.push(format!("and {} more", stops.len() - SHOWN));
    }
    let what = match stops.len() {
        1 => format!("{} failed: {}; nothing of the table is published", first.title(), first.found),
        n => format!("{n} checks failed, so nothing of the table is published: {}", titles.join(", ")),
    };
    Some(Error::new(ErrorKind::Quality, what).hint(first.remedy.clone()))
}

fn finding(check: &Check, table: &TableName, tallies: &[&CheckTally], facts: &Facts<'_>) -> Result<Finding> {
    let definition = check.rule.definition();
    let policy = definition.policy();
    let evaluated = tallies.iter().map(|t| t.evaluated).sum();
    let (ruling, figures) = match definition.scope() {
        Scope::Rows => (None, Json::Null),
        _ => {
            // The second look leaves no state for rules that do not need it, and units none for rules about keys.
            let states: Vec<_> = tallies.iter().map(|t| &t.state).filter(|s| !s.is_null()).cloned().collect();
            (Some(definition.judge_against(&states, facts, check.before.as_ref())?), definition.figures(&states)?)
        }
    };
    let failed = match &ruling {
        None => Some(tallies.iter().map(|t| t.failed).sum()),
        Some(Ruling { broken, .. }) => *broken,
    };
    let (holds, found) = match (ruling, failed) {
        (_, Some(failed)) => (!policy.exceeded(failed, evaluated), counts(failed, evaluated, &policy)),
        (Some(ruling), None) => (ruling.holds, ruling.found),
        (None, None) => (true, String::new()),
    };
    let mut shapes = Vec::new();
    for (shape, count) in tallies.iter().flat_map(|t| &t.shapes) {
        add_shape(&mut shapes, shape.clone(), *count);
    }
    shapes.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    Ok(Finding {
        outcome: if holds { CheckOutcome::Passed } else { CheckOutcome::Failed },
        stops: !holds && policy.stops(),
        found,
        evaluated,
        failed,
        shapes,
        values: tallies.iter().flat_map(|t| &t.values).take(VALUES).cloned().collect(),
        figures,
        duration_micros: duration(tallies),
        ..unjudged(check, table)
    })
}

/// All that is known of a check before it is judged.
fn unjudged(check: &Check, table: &TableName) -> Finding {
    let definition = check.rule.definition();
    let policy = definition.policy();
    Finding {
        code: check.code.clone(),
        check: check.kind().to_string(),
        fingerprint: check.fingerprint.clone(),
        table: table.clone(),
        columns: check.columns().iter().map(|c| c.value.clone()).collect(),
        filter: policy.filter.as_ref().map(|sql| sql.value.clone()),
        severity: policy.severity(),
        action: policy.action(),
        threshold: policy.threshold.as_ref().map_or(Json::Null, |most| serde_json::json!(most.value)),
        outcome: CheckOutcome::NotJudged,
        stops: false,
        expected: definition.expected(),
        found: String::new(),
        evaluated: 0,
        failed: None,
        shapes: Vec::new(),
        values: Vec::new(),
        figures: Json::Null,
        remedy: remedy(definition.scope(), policy.action(), definition.remedy()),
        duration_micros: None,
    }
}

/// Time that was spent on a check in all units, in µs; what was measured is not made 0 by rounding.
fn duration(tallies: &[&CheckTally]) -> Option<u64> {
    let nanos = tallies.iter().filter_map(|t| t.nanos).reduce(u64::saturating_add)?;
    Some(nanos.div_ceil(1000))
}

/// What can be done about it, by the one who repairs the source and by the one who wrote the rule.
fn remedy(scope: Scope, action: Action, of_the_check: &str) -> String {
    match (scope, action) {
        (Scope::Rows, Action::Stop) => format!("{of_the_check}; `action: quarantine` would put such rows aside"),
        _ => of_the_check.to_string(),
    }
}

fn counts(failed: u64, evaluated: u64, policy: &Policy) -> String {
    if failed == 0 {
        return format!("none of {evaluated} rows breaks it");
    }
    let share = failed as f64 * 100.0 / evaluated.max(1) as f64;
    let share = if share < 0.01 { "less than 0.01".to_string() } else { format!("{share:.2}") };
    let break_it = if failed == 1 { "breaks" } else { "break" };
    let allowed = policy.threshold.as_ref().map_or_else(String::new, |most| format!("; {} may", most.value));
    format!("{failed} of {evaluated} rows {break_it} it ({share} %){allowed}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Rule;

    fn check(json: &str) -> Check {
        Check::new(serde_json::from_str::<Rule>(json).unwrap()).unwrap()
    }

    fn judged(json: &str, units: &[(u64, u64)]) -> Finding {
        let check = check(json);
        let tally = |(evaluated, failed): &(u64, u64)| CheckTally {
            fingerprint: check.fingerprint.clone(),
            evaluated: *evaluated,
            failed: *failed,
            shapes: vec![("-9".to_string(), *failed)],
            ..CheckTally::default()
        };
        let units: Vec<Vec<CheckTally>> = units.iter().map(|u| vec![tally(u)]).collect();
        let units: Vec<&[CheckTally]> = units.iter().map(Vec::as_slice).collect();
        let facts = Facts { started_micros: 0, columns: Vec::new() };
        judge(std::slice::from_ref(&check), &TableName::new("t"), &units, &facts).unwrap().remove(0)
    }

    #[test]
    fn rows_of_all_units_are_judged_together() {
        let found = judged(r#"{"range":{"column":"a","min":0}}"#, &[(10, 0), (10, 2)]);
        assert!(found.is_failed() && found.stops);
        assert_eq!(found.found, "2 of 20 rows break it (10.00 %)");
        assert_eq!(found.title(), "Q005 range (a)");
        assert_eq!(found.shapes, [("-9".to_string(), 2)]);
        let error = stopped(&[found]).unwrap();
        assert_eq!(error.kind(), ErrorKind::Quality);
    }

    #[test]
    fn a_threshold_decides_over_all_units() {
        let rule = r#"{"range":{"column":"a","min":0,"threshold":"10%"}}"#;
        let found = judged(rule, &[(10, 0), (10, 2)]);
        assert!(!found.is_failed() && !found.stops);
        assert_eq!(found.found, "2 of 20 rows break it (10.00 %); 10% may");
        assert!(judged(rule, &[(10, 0), (10, 3)]).stops);
        assert!(!judged(rule, &[]).is_failed());
    }

    #[test]
    fn a_finding_says_which_rows_it_is_about_and_how_many_may_break_it() {
        let found = judged(r#"{"range":{"column":"a","min":0,"where":"b >\n 1","threshold":"10%"}}"#, &[(10, 2)]);
        assert_eq!((found.condition().as_deref(), found.allowance().as_deref()), (Some("b > 1"), Some("10%")));
        let json = serde_json::to_value(&found).unwrap();
        assert_eq!((&json["where"], &json["threshold"]), (&Json::from("b >\n 1"), &Json::from("10%")));
        assert_eq!(serde_json::from_value::<Finding>(json).unwrap(), found);
        let rows = |most: u64| {
            let rule = format!(r#"{{"range":{{"column":"a","min":0,"threshold":{most}}}}}"#);
            let found = judged(&rule, &[(10, 0)]);
            (found.allowance(), found.threshold.as_u64())
        };
        assert_eq!(
            [rows(1), rows(3)],
            [("1 row", 1u64), ("3 rows", 3)].map(|(said, n)| (Some(said.to_string()), Some(n)))
        );
        let plain = serde_json::to_value(judged(r#"{"range":{"column":"a","min":0}}"#, &[(10, 0)])).unwrap();
        assert!(plain.get("where").is_none() && plain.get("threshold").is_none(), "{plain}");
    }

    #[test]
    fn a_check_that_is_not_judged_neither_passes_nor_fails_nor_stops() {
        let check = check(r#"{"row_count":{"min":1,"where":"a > 0"}}"#);
        let found = not_judged(&check, &TableName::new("t"), "these rows are a part of the table");
        assert!(!found.is_judged() && !found.is_passed() && !found.is_failed() && !found.stops);
        assert_eq!((found.title().as_str(), found.expected.as_str()), ("Q014 row_count", "at least 1 rows"));
        assert_eq!((found.found.as_str(), found.evaluated), ("these rows are a part of the table", 0));
        assert!(stopped(&[found]).is_none());
    }

    #[test]
    fn a_warning_fails_without_stopping() {
        let found = judged(r#"{"range":{"column":"a","min":0,"severity":"warn"}}"#, &[(3, 1)]);
        assert!(found.is_failed() && !found.stops);
        assert!(stopped(&[found]).is_none());
    }

    #[test]
    fn time_of_all_units_is_added_up_and_what_nobody_measured_is_not_nothing() {
        let of = |nanos: &[Option<u64>]| {
            let tallies: Vec<CheckTally> =
                nanos.iter().map(|nanos| CheckTally { nanos: *nanos, ..CheckTally::default() }).collect();
            duration(&tallies.iter().collect::<Vec<_>>())
        };
        assert_eq!(of(&[Some(1_500), Some(600), None]), Some(3));
        assert_eq!(of(&[Some(0), Some(1)]), Some(1));
        assert_eq!((of(&[Some(0)]), of(&[None, None]), of(&[])), (Some(0), None, None));
    }

    #[test]
    fn tallies_of_other_rules_are_a_bug() {
        let check = check(r#"{"not_null":{"columns":["a"]}}"#);
        let facts = Facts { started_micros: 0, columns: Vec::new() };
        let unit = [CheckTally::default()];
        assert!(judge(&[check], &TableName::new("t"), &[&unit], &facts).is_err());
    }
}
