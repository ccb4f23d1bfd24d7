//! Those who write: one that fills, one that keeps a steady rate.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use conclave_sdk::Client;
use serde_json::json;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use crate::pace;

/// Writes `count` secrets of `value_bytes` below `folder`, many at a time.
pub(crate) async fn fill(
    client: &Client,
    folder: &'static str,
    count: usize,
    value_bytes: usize,
) -> anyhow::Result<()> {
    let next = Arc::new(AtomicU64::new(0));
    let value = json!({"v": "x".repeat(value_bytes)}).to_string();
    let clients = if value_bytes > LARGE_BYTES { FILL_LARGE } else { FILL_SMALL };
    let tasks: Vec<_> = (0..clients)
        .map(|_| {
            let (kv, next, value) = (client.kv("secret"), next.clone(), value.clone());
            pace::task(async move {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count as u64 {
                        return Ok::<_, conclave_sdk::Error>(());
                    }
                    // Folders of a thousand, as people have them.
                    let path = format!("{folder}/{}/{number}", number / 1_000);
                    kv.put(&path, value.clone().into_bytes(), None).await?;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await??;
    }
    Ok(())
}

/// An open loop: so many writes a second, whether or not the earlier ones were answered.
pub(crate) struct Steady {
    log: Arc<Log>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Log {
    ended: AtomicBool,
    acknowledged: Mutex<Vec<Acknowledged>>,
    errors: AtomicU64,
    /// Not sent, because too many were under way.
    skipped: AtomicU64,
}

#[derive(Clone, Copy)]
struct Acknowledged {
    at: Instant,
    latency: Duration,
}

/// What the writers saw over a span.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Service {
    /// The longest time without an acknowledged write.
    pub(crate) gap: Duration,
    /// When that ended, after the span began.
    pub(crate) gap_end: Duration,
    pub(crate) latency_p99: Duration,
    pub(crate) per_second: f64,
}

impl Steady {
    pub(crate) fn start(client: &Client, per_second: u64) -> Self {
        let log = Arc::new(Log::default());
        let task = pace::task(drive(client.clone(), per_second, log.clone()));
        Self { log, task }
    }

    /// What was seen between two moments.
    pub(crate) fn between(&self, from: Instant, to: Instant) -> Service {
        let mut seen: Vec<_> = self.log.acknowledged.lock().expect("no panic").clone();
        seen.retain(|one| one.at >= from && one.at <= to);
        seen.sort_by_key(|one| one.at);
        let mut last = from;
        let (mut gap, mut gap_end) = (Duration::ZERO, Duration::ZERO);
        for at in seen.iter().map(|one| one.at).chain([to]) {
            (gap, gap_end) = (gap, gap_end).max((at - last, at - from));
            last = at;
        }
        let mut latencies: Vec<_> = seen.iter().map(|one| one.latency).collect();
        latencies.sort();
        let latency_p99 = latencies.get(latencies.len() * 99 / 100).copied().unwrap_or_default();
        let per_second = seen.len() as f64 / (to - from).as_secs_f64();
        Service { gap, gap_end, latency_p99, per_second }
    }

    /// Ends the loop. Returns how many failed, and how many were not even sent.
    pub(crate) async fn stop(self) -> anyhow::Result<(u64, u64)> {
        self.log.ended.store(true, Ordering::Release);
        self.task.await?;
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Ok((of(&self.log.errors), of(&self.log.skipped)))
    }
}

async fn drive(client: Client, per_second: u64, log: Arc<Log>) {
    let under_way = Arc::new(Semaphore::new(UNDER_WAY_MAX));
    let value = json!({"v": "y".repeat(SMALL_VALUE_BYTES)}).to_string();
    let begun = pace::now();
    let mut sent = 0;
    while !log.ended.load(Ordering::Acquire) {
        let due = (begun.elapsed().as_secs_f64() * per_second as f64) as u64;
        for number in sent..due {
            let Ok(permit) = under_way.clone().try_acquire_owned() else {
                log.skipped.fetch_add(1, Ordering::Relaxed);
                continue;
            };
            let (kv, log, value) = (client.kv("secret"), log.clone(), value.clone());
            drop(pace::task(async move {
                let sent = pace::now();
                let path = format!("steady/{}", number % STEADY_KEYS);
                match kv.put(&path, value.into_bytes(), None).await {
                    Ok(_) => {
                        let one = Acknowledged { at: pace::now(), latency: sent.elapsed() };
                        log.acknowledged.lock().expect("no panic").push(one);
                    }
                    Err(_) => {
                        log.errors.fetch_add(1, Ordering::Relaxed);
                    }
                }
                drop(permit);
            }));
        }
        sent = due;
        pace::pause(TICK).await;
    }
    let _all = under_way.acquire_many(UNDER_WAY_MAX as u32).await;
}

/// Of the many small secrets, and of what the steady writers write.
pub(crate) const SMALL_VALUE_BYTES: usize = 300;
const LARGE_BYTES: usize = 16 << 10;
const FILL_LARGE: usize = 16;
const FILL_SMALL: usize = 64;
const STEADY_KEYS: u64 = 2_000;
const UNDER_WAY_MAX: usize = 4_096;
const TICK: Duration = Duration::from_millis(2);
