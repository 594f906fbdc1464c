//! transload-cli
