//! transload-tpch
