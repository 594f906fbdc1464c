//! transload-run
