//! The eight tables.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use tpchgen::generators::{
    CustomerGenerator, LineItemGenerator, NationGenerator, OrderGenerator, PartGenerator, PartSuppGenerator,
    RegionGenerator, SupplierGenerator,
};
use tpchgen_arrow::{
    CustomerArrow, LineItemArrow, NationArrow, OrderArrow, PartArrow, PartSuppArrow, RegionArrow, SupplierArrow,
};
use transload_core::Split;

/// Rows one split should have.
const SPLIT_ROWS: u64 = 1 << 18;

/// A table of the benchmark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Table {
    Region,
    Nation,
    Supplier,
    Customer,
    Part,
    Partsupp,
    Orders,
    Lineitem,
}

impl Table {
    pub(crate) const ALL: [Self; 8] = [
        Self::Region,
        Self::Nation,
        Self::Supplier,
        Self::Customer,
        Self::Part,
        Self::Partsupp,
        Self::Orders,
        Self::Lineitem,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Region => "region",
            Self::Nation => "nation",
            Self::Supplier => "supplier",
            Self::Customer => "customer",
            Self::Part => "part",
            Self::Partsupp => "partsupp",
            Self::Orders => "orders",
            Self::Lineitem => "lineitem",
        }
    }

    pub(crate) fn schema(self) -> SchemaRef {
        match self {
            Self::Region => RegionArrow::schema_ref(),
            Self::Nation => NationArrow::schema_ref(),
            Self::Supplier => SupplierArrow::schema_ref(),
            Self::Customer => CustomerArrow::schema_ref(),
            Self::Part => PartArrow::schema_ref(),
            Self::Partsupp => PartSuppArrow::schema_ref(),
            Self::Orders => OrderArrow::schema_ref(),
            Self::Lineitem => LineItemArrow::schema_ref(),
        }
    }

    /// Number of rows; for lineitem (one to seven per order, by formula) the expected number.
    pub(crate) fn rows(self, scale: f64) -> u64 {
        self.rows_of_part(scale, 1, 1)
    }

    fn rows_of_part(self, scale: f64, part: i32, parts: i32) -> u64 {
        let rows = match self {
            Self::Region => 5,
            Self::Nation => 25,
            Self::Supplier => SupplierGenerator::calculate_row_count(scale, part, parts),
            Self::Customer => CustomerGenerator::calculate_row_count(scale, part, parts),
            Self::Part => PartGenerator::calculate_row_count(scale, part, parts),
            Self::Partsupp => 4 * PartGenerator::calculate_row_count(scale, part, parts),
            Self::Orders => OrderGenerator::calculate_row_count(scale, part, parts),
            Self::Lineitem => 4 * OrderGenerator::calculate_row_count(scale, part, parts),
        };
        u64::try_from(rows).unwrap_or(0)
    }

    pub(crate) fn splits(self, scale: f64) -> Vec<Split> {
        let parts = match self {
            // The generator makes these whole, whatever part it is asked for.
            Self::Region | Self::Nation => 1,
            _ => i32::try_from(self.rows(scale).div_ceil(SPLIT_ROWS).max(1)).unwrap_or(i32::MAX),
        };
        let split = |part| Split {
            label: format!("{} part {part} of {parts}", self.name()),
            rows: Some(self.rows_of_part(scale, part, parts)),
            bytes: None,
            detail: serde_json::json!({ "part": part, "parts": parts }),
        };
        (1..=parts).map(split).collect()
    }

    /// The rows of part `part` (from 0) of `parts`.
    pub(crate) fn generate(
        self,
        scale: f64,
        part: usize,
        parts: usize,
        batch_size: usize,
    ) -> Box<dyn Iterator<Item = Result<RecordBatch, ArrowError>> + Send> {
        let (part, parts) = (part as i32 + 1, parts as i32);
        macro_rules! batches {
            ($arrow:ident, $generator:ident) => {
                Box::new($arrow::new($generator::new(scale, part, parts)).with_batch_size(batch_size))
            };
        }
        match self {
            Self::Region => batches!(RegionArrow, RegionGenerator),
            Self::Nation => batches!(NationArrow, NationGenerator),
            Self::Supplier => batches!(SupplierArrow, SupplierGenerator),
            Self::Customer => batches!(CustomerArrow, CustomerGenerator),
            Self::Part => batches!(PartArrow, PartGenerator),
            Self::Partsupp => batches!(PartSuppArrow, PartSuppGenerator),
            Self::Orders => batches!(OrderArrow, OrderGenerator),
            Self::Lineitem => batches!(LineItemArrow, LineItemGenerator),
        }
    }
}
