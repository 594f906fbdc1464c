//! A predicate that lets a reader leave out rows whose key is not in a differing bucket.
//!
//! A reader that can filter while it decodes reads the key columns of every row and the other columns of few.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, BooleanBufferBuilder};
use arrow::buffer::BooleanBuffer;
use arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::Column;
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use transload_coerce::Cast;
use transload_core::Result;
use transload_digest::{Algorithm, RowHasher, TableDigest, bucket};

/// The buckets of a comparison that differ.
#[derive(Debug, Clone)]
pub(crate) struct Differing {
    bits: u32,
    /// One bit per bucket: this is asked for every row.
    differ: Arc<BooleanBuffer>,
}

impl Differing {
    /// The buckets in which two digests differ; `None` if they are equal.
    pub(crate) fn between(a: &TableDigest, b: &TableDigest) -> Option<Self> {
        let numbers = a.differing(b);
        if numbers.is_empty() {
            return None;
        }
        let mut differ = BooleanBufferBuilder::new(1 << a.bits());
        differ.append_n(1 << a.bits(), false);
        numbers.iter().for_each(|number| differ.set_bit(*number, true));
        Some(Self { bits: a.bits(), differ: Arc::new(differ.finish()) })
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.differ.count_set_bits()
    }

    /// Whether a key with this hash is in one of them.
    pub(crate) fn holds(&self, key_hash: u64) -> bool {
        self.differ.value(bucket(key_hash, self.bits))
    }
}

/// One column of a key, as a reader gives it.
#[derive(Debug)]
pub(crate) struct KeyColumn {
    pub(crate) name: String,
    /// What makes of it the value that is compared.
    pub(crate) cast: Option<Cast>,
}

/// `true` for rows that may be in a differing bucket.
pub(crate) fn predicate(differing: Differing, columns: Vec<KeyColumn>, schema: SchemaRef) -> Expr {
    let args = columns.iter().map(|c| Expr::Column(Column::new_unqualified(&c.name))).collect();
    let signature = Signature::any(columns.len(), Volatility::Immutable);
    let function = InBuckets { differing, columns, schema, signature };
    ScalarUDF::new_from_impl(function).call(args)
}

#[derive(Debug)]
struct InBuckets {
    differing: Differing,
    columns: Vec<KeyColumn>,
    /// The key after the casts.
    schema: SchemaRef,
    signature: Signature,
}

impl InBuckets {
    fn mask(&self, keys: &[ArrayRef], rows: usize) -> Result<BooleanArray> {
        let mut cast = Vec::with_capacity(keys.len());
        let mut kept: Option<BooleanBuffer> = None;
        for (column, array) in self.columns.iter().zip(keys) {
            match &column.cast {
                None => cast.push(Arc::clone(array)),
                Some(rule) => {
                    let done = rule.apply(array)?;
                    cast.push(done.array);
                    // What becomes of a misfit is for the plan to say, so its row stays.
                    kept = match (kept, done.misfits) {
                        (Some(a), Some(b)) => Some(&a | &b),
                        (a, b) => a.or(b),
                    };
                }
            }
        }
        let hashes = RowHasher::new(&self.schema, Algorithm::Xxh64)?.hash(&cast, rows)?.short();
        let found = BooleanBuffer::collect_bool(rows, |i| self.differing.holds(hashes[i]));
        Ok(BooleanArray::new(kept.map_or(found.clone(), |kept| &found | &kept), None))
    }
}

impl PartialEq for InBuckets {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.differing.differ, &other.differing.differ) && self.schema == other.schema
    }
}

impl Eq for InBuckets {}

impl Hash for InBuckets {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.schema.fields().hash(state);
    }
}

impl ScalarUDFImpl for InBuckets {
    fn name(&self) -> &str {
        "in_differing_buckets"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> DfResult<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let rows = args.number_rows;
        let keys: Vec<ArrayRef> = args.args.into_iter().map(|a| a.into_array(rows)).collect::<DfResult<_>>()?;
        Ok(ColumnarValue::Array(Arc::new(self.mask(&keys, rows)?)))
    }
}
