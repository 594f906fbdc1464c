//! The archetypes that are part of the program.

/// Name and text of every built-in archetype, in alphabetical order.
pub const BUILT_IN: [(&str, &str); 1] = [("table_copy", include_str!("../../../archetypes/table_copy.yaml"))];

/// The text of a built-in archetype.
pub fn built_in(name: &str) -> Option<&'static str> {
    BUILT_IN.iter().find(|(n, _)| *n == name).map(|(_, text)| *text)
}
