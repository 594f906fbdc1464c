//! transload-plan
