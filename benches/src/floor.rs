//! What the disk can do: the floor under every durable write.

use std::time::Duration;

use hdrhistogram::Histogram;
use rustix::fs::{FallocateFlags, fallocate, fdatasync};
use serde::Serialize;

use crate::pace::now;

/// One writer's syncs.
#[derive(Serialize)]
pub(crate) struct Floor {
    pub(crate) per_second: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
}

/// Overwrites 512 B blocks of a preallocated, zeroed file, each followed by `fdatasync`.
pub(crate) fn measure(span: Duration) -> anyhow::Result<Floor> {
    let file = tempfile::tempfile()?;
    fallocate(&file, FallocateFlags::empty(), 0, FILE_BYTES)?;
    let zeros = vec![0; 1 << 20];
    for offset in (0..FILE_BYTES).step_by(zeros.len()) {
        rustix::io::pwrite(&file, &zeros, offset)?;
    }
    fdatasync(&file)?;
    let block = [7; 512];
    let mut latencies = Histogram::<u64>::new(3)?;
    let begun = now();
    let mut offset = 0;
    while begun.elapsed() < span {
        let one = now();
        rustix::io::pwrite(&file, &block, offset)?;
        fdatasync(&file)?;
        latencies.record(u64::try_from(one.elapsed().as_nanos())?)?;
        offset = (offset + 512) % FILE_BYTES;
    }
    Ok(Floor {
        per_second: latencies.len() as f64 / begun.elapsed().as_secs_f64(),
        p50_us: latencies.value_at_quantile(0.5) as f64 / 1e3,
        p99_us: latencies.value_at_quantile(0.99) as f64 / 1e3,
    })
}

const FILE_BYTES: u64 = 64 << 20;
