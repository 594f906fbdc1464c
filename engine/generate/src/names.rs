//! Names that programs accept for files and functions.

use std::collections::BTreeSet;

/// Gives out names of letters, digits and `_`, each once: also on systems that do not tell capital letters from small ones.
#[derive(Debug, Default)]
pub(crate) struct Names(BTreeSet<String>);

impl Names {
    /// A name like this one that nobody has yet.
    pub(crate) fn take(&mut self, like: &str) -> String {
        let plain = plain(like);
        let mut name = plain.clone();
        let mut number = 2;
        while !self.0.insert(name.to_ascii_lowercase()) {
            name = format!("{plain}_{number}");
            number += 1;
        }
        name
    }
}

/// The name with `_` for every character that is no letter of ASCII, digit or `_`, and in front of a digit.
pub(crate) fn plain(name: &str) -> String {
    let mut plain: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    if plain.chars().all(|c| c == '_') {
        plain = "table".to_string();
    }
    if plain.starts_with(|c: char| c.is_ascii_digit()) {
        plain.insert(0, '_');
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain_and_given_once() {
        let mut names = Names::default();
        let taken =
            ["public.orders", "public/orders", "PUBLIC_orders", "2024", "äöü", "orders", ""].map(|n| names.take(n));
        let expected = ["public_orders", "public_orders_2", "PUBLIC_orders_3", "_2024", "table", "orders", "table_2"];
        assert_eq!(taken, expected);
    }
}
