//! transload-digest
