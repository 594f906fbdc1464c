//! transload-spec
