//! What goes wrong, as plain data.

use std::time::Duration;

/// What goes wrong, and with what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// With what it goes wrong.
    pub what: What,
    /// With which of those, by their numbers from 1. They count from the moment in which the rule is set.
    pub when: When,
    /// What goes wrong.
    pub fault: Fault,
}

/// What a rule is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// Connections, in the order in which they come.
    Connections,
    /// Requests whose first line, such as `PUT /lake/t/1.json?x HTTP/1.1`, holds all of these texts.
    Requests(Vec<&'static str>),
}

/// Which of the things that a rule is about it strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// All of them.
    Always,
    /// So many, from the first on.
    First(u64),
    /// All but the first so many.
    After(u64),
    /// The one of this number.
    Nth(u64),
    /// Those whose numbers are multiples of this one.
    Every(u64),
    /// About one of so many, picked by the seed.
    OneIn(u64, u64),
}

/// What goes wrong with a connection, or from the beginning of a request until the next one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Answers begin so much later.
    Late(Duration),
    /// So many bytes pass in a second, each way.
    Slow(u64),
    /// The server is not asked, and there is no answer.
    Silence,
    /// The server is not asked, and this is the answer. The connection ends with it.
    Answer(String),
    /// So many bytes of what is asked reach the server, and the connection ends.
    CutRequest(u64, End),
    /// So many bytes of the answer reach the client, and the connection ends. With 0, the server has done what it was asked
    /// for, and nobody hears of it.
    CutAnswer(u64, End),
    /// The connection is reset. So are others when something is asked there, and new ones are refused, for so long.
    Refuse(Duration),
}

/// How a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// In good order, as if all had been said.
    Closed,
    /// By a reset.
    Reset,
}

impl Rule {
    /// A rule about connections.
    pub fn connections(when: When, fault: Fault) -> Self {
        Self { what: What::Connections, when, fault }
    }

    /// A rule about requests whose first line holds all of these texts.
    pub fn requests<const N: usize>(texts: [&'static str; N], when: When, fault: Fault) -> Self {
        Self { what: What::Requests(texts.to_vec()), when, fault }
    }

    pub(super) fn is_about(&self, line: Option<&str>) -> bool {
        match (&self.what, line) {
            (What::Connections, None) => true,
            (What::Requests(texts), Some(line)) => texts.iter().all(|text| line.contains(text)),
            _ => false,
        }
    }
}

impl When {
    pub(super) fn strikes(self, number: u64) -> bool {
        match self {
            Self::Always => true,
            Self::First(many) => number <= many,
            Self::After(many) => number > many,
            Self::Nth(one) => number == one,
            Self::Every(step) => number.is_multiple_of(step),
            Self::OneIn(many, seed) => mixed(seed, number).is_multiple_of(many),
        }
    }
}

/// A number that looks like chance, and is the same each time: one step of `SplitMix64`.
fn mixed(seed: u64, number: u64) -> u64 {
    let mut mixed = seed.wrapping_add(number.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_struck_goes_by_numbers() {
        let strikes = |when: When| (1..=12).filter(|number| when.strikes(*number)).collect::<Vec<u64>>();
        assert_eq!(strikes(When::First(2)), [1, 2]);
        assert_eq!(strikes(When::After(10)), [11, 12]);
        assert_eq!(strikes(When::Nth(3)), [3]);
        assert_eq!(strikes(When::Every(5)), [5, 10]);
        assert_eq!(strikes(When::OneIn(3, 7)), strikes(When::OneIn(3, 7)));
        let many = (1..=6000).filter(|number| When::OneIn(6, 1).strikes(*number)).count();
        assert!((900..1100).contains(&many), "{many}");
    }
}
