//! transload-lake
