//! The archetypes that are part of the program.

/// Name and text of every built-in archetype, in alphabetical order.
pub const BUILT_IN: [(&str, &str); 2] = [
    ("postgres_to_s3", include_str!("../../../archetypes/postgres_to_s3.yaml")),
    ("table_copy", include_str!("../../../archetypes/table_copy.yaml")),
];

/// Whether a name is the path of one's own archetype, and not the name of a built-in one.
pub fn is_path(name: &str) -> bool {
    name.contains('/') || name.ends_with(".yaml") || name.ends_with(".yml")
}

/// The text of a built-in archetype.
pub fn built_in(name: &str) -> Option<&'static str> {
    BUILT_IN.iter().find(|(n, _)| *n == name).map(|(_, text)| *text)
}
