//! transload-reconcile
