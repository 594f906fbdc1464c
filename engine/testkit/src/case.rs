//! Cases: the promises one by one.

use futures::future::BoxFuture;
use transload_core::Result;

use crate::trial::Trial;
use crate::{append, discover, dropped, filter, merge, partition, replace, sink, size, source, types};

/// What a case is about, as far as that says how dear it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weight {
    /// What anybody relies on: values, columns, commits that nobody disturbs.
    Plain,
    /// Commits that meet, and work that is dropped halfway.
    Races,
    /// Large values, many units and many columns.
    Sizes,
}

/// A promise that is checked by itself.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    /// The promise, in words that `-` joins. No two cases have the same.
    pub name: &'static str,
    /// The claim that it belongs to, by its name.
    pub claim: &'static str,
    /// Claims that have to hold too.
    needs: &'static [&'static str],
    /// What it is about.
    pub weight: Weight,
    /// Whether it looks at all tables there are, so that nothing else may go on.
    pub(crate) is_alone: bool,
    pub(crate) check: fn(Trial) -> BoxFuture<'static, Result<()>>,
}

/// All cases, family by family.
pub fn cases() -> Vec<&'static Case> {
    let families: [&'static [Case]; 11] = [
        source::CASES,
        filter::CASES,
        sink::CASES,
        types::CASES,
        size::CASES,
        replace::CASES,
        append::CASES,
        merge::CASES,
        dropped::CASES,
        partition::CASES,
        discover::CASES,
    ];
    families.into_iter().flatten().collect()
}

impl Case {
    /// A case of a claim. What it is about has to be read.
    pub(crate) const fn new(
        name: &'static str,
        claim: &'static str,
        check: fn(Trial) -> BoxFuture<'static, Result<()>>,
    ) -> Self {
        Self { name, claim, needs: &["source"], weight: Weight::Plain, is_alone: false, check }
    }

    /// The same for whoever makes all of these claims too.
    pub(crate) const fn needing(mut self, claims: &'static [&'static str]) -> Self {
        self.needs = claims;
        self
    }

    /// The same with another weight.
    pub(crate) const fn weighing(mut self, weight: Weight) -> Self {
        self.weight = weight;
        self
    }

    /// The same while nothing else goes on.
    pub(crate) const fn alone(mut self) -> Self {
        self.is_alone = true;
        self
    }

    /// Whether it is to be kept by who makes these claims.
    pub(crate) fn is_claimed(&self, claims: &[&str]) -> bool {
        claims.contains(&self.claim) && self.needs.iter().all(|claim| claims.contains(claim))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::claim::CLAIMS;

    #[test]
    fn every_claim_has_cases_and_no_two_cases_one_name() {
        let cases = cases();
        for claim in &CLAIMS {
            assert!(cases.iter().any(|case| case.claim == claim.name), "{}", claim.name);
        }
        let names: BTreeSet<&str> = cases.iter().map(|case| case.name).collect();
        assert_eq!(names.len(), cases.len());
        for case in cases {
            let known = |name: &&str| CLAIMS.iter().any(|claim| claim.name == *name);
            assert!(known(&case.claim) && case.needs.iter().all(known), "{}", case.name);
            let plain = case.name.bytes().all(|b| b.is_ascii_lowercase() || b == b'-');
            assert!(plain, "{} is no slug", case.name);
        }
    }
}
