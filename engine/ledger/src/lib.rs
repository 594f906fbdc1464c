//! transload-ledger
