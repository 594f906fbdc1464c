//! Rows hashed per second, from batches in memory: lineitem, all columns, one thread per core.
//!
//!     cargo run --release -p transload-benches --bin digest_memory [xxh64|sha256]

#![allow(clippy::print_stdout)]

use std::time::Instant;

use arrow::array::RecordBatch;
use tpchgen::generators::LineItemGenerator;
use tpchgen_arrow::LineItemArrow;
use transload_core::{Error, Result};
use transload_digest::{Algorithm, RowHasher, TableDigest};

const SCALE: f64 = 0.25;
const ROUNDS: usize = 21;

fn main() -> Result<()> {
    let algorithm: Algorithm = std::env::args().nth(1).as_deref().unwrap_or("xxh64").parse().map_err(Error::config)?;
    let threads = std::thread::available_parallelism()?.get();
    let batches: Vec<Vec<RecordBatch>> = (1..=threads)
        .map(|part| {
            let generator = LineItemGenerator::new(SCALE, part as i32, threads as i32);
            LineItemArrow::new(generator).with_batch_size(8192).collect::<Result<Vec<_>, _>>()
        })
        .collect::<Result<_, _>>()?;
    let rows: usize = batches.iter().flatten().map(RecordBatch::num_rows).sum();
    let mut seconds: Vec<f64> = (0..ROUNDS).map(|_| round(&batches, algorithm)).collect::<Result<_>>()?;
    seconds.sort_by(f64::total_cmp);
    let median = seconds[ROUNDS / 2];
    println!(
        "{algorithm}: {rows} rows, {threads} threads, median {median:.3} s of {ROUNDS} (min {:.3}, max {:.3}): {:.1} M rows/s",
        seconds[0],
        seconds[ROUNDS - 1],
        rows as f64 / median / 1e6
    );
    Ok(())
}

fn round(batches: &[Vec<RecordBatch>], algorithm: Algorithm) -> Result<f64> {
    let start = Instant::now();
    let digests: Vec<Result<TableDigest>> = std::thread::scope(|scope| {
        let work = batches.iter().map(|part| scope.spawn(|| digest(part, algorithm))).collect::<Vec<_>>();
        work.into_iter().map(|w| w.join().unwrap_or_else(|_| Err(Error::internal("a thread died")))).collect()
    });
    for digest in digests {
        digest?;
    }
    Ok(start.elapsed().as_secs_f64())
}

fn digest(batches: &[RecordBatch], algorithm: Algorithm) -> Result<TableDigest> {
    let mut digest = TableDigest::new(algorithm, 16);
    let Some(first) = batches.first() else { return Ok(digest) };
    let mut hasher = RowHasher::new(&first.schema(), algorithm)?;
    for batch in batches {
        digest.add(&hasher.hash(batch.columns(), batch.num_rows())?, None);
    }
    Ok(digest)
}
