//! transload-coerce
