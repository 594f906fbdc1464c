//! The only place that changes a value.
//!
//! A [`Rulebook`] (data, in `archetypes/rulebooks`) says which casts are possible and what each may do; a
//! [`Cast`] does it to a whole column and says which values did not fit and which were changed. What
//! happens to a value that does not fit is decided by the caller. [`MaskKind`] hides values.

mod cast;
mod mask;
mod rulebook;
mod text;
mod years;

pub use cast::{Cast, Coerced, relayout};
pub use mask::MaskKind;
pub use rulebook::{BUILT_IN, Loss, Rulebook};
