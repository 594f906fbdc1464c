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
use transload_digest::{Algorithm, RowHasher, TableDigest, bucket, mix};

/// The buckets of a comparison that differ.
#[derive(Debug, Clone)]
pub(crate) struct Differing {
    bits: u32,
    /// One bit per bucket: this is asked for every row.
    differ: Arc<BooleanBuffer>,
    /// Rows in them, of both sides.
    rows: u64,
    /// The coarser buckets whose rows were spread over these.
    within: Option<Arc<Self>>,
}

impl Differing {
    /// The buckets in which two digests differ; `None` if they are equal. The digests are of all rows, or of those
    /// `within` other differing buckets, each where that [places](Self::place) it.
    pub(crate) fn between(a: &TableDigest, b: &TableDigest, within: Option<&Self>) -> Option<Self> {
        let numbers = a.differing(b);
        if numbers.is_empty() {
            return None;
        }
        let mut differ = BooleanBufferBuilder::new(1 << a.bits());
        differ.append_n(1 << a.bits(), false);
        numbers.iter().for_each(|number| differ.set_bit(*number, true));
        let differ = differ.finish();
        let both = a.buckets().zip(b.buckets());
        let rows = differ.iter().zip(both).filter(|(differs, _)| *differs).map(|(_, (a, b))| a.rows + b.rows).sum();
        Some(Self { bits: a.bits(), differ: Arc::new(differ), rows, within: within.cloned().map(Arc::new) })
    }

    /// How many rows are in them, on both sides together.
    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }

    /// Another hash for a key with this one, which spreads the keys in differing buckets over all of a digest's buckets;
    /// `None` for other keys.
    pub(crate) fn place(&self, key_hash: u64) -> Option<u64> {
        let hash = match &self.within {
            None => key_hash,
            Some(coarser) => coarser.place(key_hash)?,
        };
        self.differ.value(bucket(hash, self.bits)).then(|| mix(hash))
    }

    /// Whether a key with this hash is in one of them.
    pub(crate) fn holds(&self, key_hash: u64) -> bool {
        self.place(key_hash).is_some()
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

#[cfg(test)]
mod tests {
    use transload_digest::RowHashes;

    use super::*;

    fn digest(rows: &[u64], place: impl Fn(u64) -> Option<u64>) -> TableDigest {
        let mut digest = TableDigest::new(Algorithm::Xxh64, 8);
        let (rows, keys): (Vec<u64>, Vec<u64>) = rows.iter().filter_map(|r| Some((*r, place(*r)?))).unzip();
        digest.add(&RowHashes::Xxh64(rows), Some(&keys));
        digest
    }

    #[test]
    fn looking_closer_keeps_what_differs_and_lets_go_of_the_rest() {
        let ours: Vec<u64> = (0..50_000).map(mix).collect();
        let theirs: Vec<u64> = ours.iter().copied().filter(|row| *row != ours[17] && *row != ours[23]).collect();
        let coarse = Differing::between(&digest(&ours, Some), &digest(&theirs, Some), None).unwrap();
        assert!(coarse.rows() > 400, "{}", coarse.rows());
        let place = |row| coarse.place(row);
        let fine = Differing::between(&digest(&ours, place), &digest(&theirs, place), Some(&coarse)).unwrap();
        assert!(fine.rows() < 20, "{}", fine.rows());
        assert!(fine.holds(ours[17]) && fine.holds(ours[23]));
        let held = [&ours, &theirs].map(|rows| rows.iter().filter(|row| fine.holds(**row)).count() as u64);
        assert_eq!(held[0] + held[1], fine.rows());
        assert!(ours.iter().all(|row| coarse.holds(*row) || !fine.holds(*row)));
        assert!(Differing::between(&digest(&ours, Some), &digest(&ours, Some), None).is_none());
    }
}
