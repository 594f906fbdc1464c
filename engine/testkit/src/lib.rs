//! transload-testkit
