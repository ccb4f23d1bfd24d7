//! Load: clients that each have one request under way, as fast as they are answered or at a fixed
//! rate.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::nodes_cpu;
use crate::pace::{now, pause, task};

/// One client: does the same thing again and again.
pub(crate) trait Work: Send + 'static {
    /// One operation, on the key of this turn.
    fn once(&mut self, turn: usize) -> impl Future<Output = anyhow::Result<()>> + Send;
}

/// How the clients are paced.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Pace {
    /// The next request goes as soon as the last is answered.
    Closed,
    /// So many requests a second, over all clients. A late answer makes the next request late, and
    /// its time counts from when it was due.
    Fixed(u32),
}

/// One point of a table.
#[derive(Serialize)]
pub(crate) struct Figures {
    pub(crate) operation: String,
    pub(crate) clients: usize,
    pub(crate) per_second: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) cpu_seconds_per_1000: f64,
    pub(crate) errors: u64,
}

/// Head of a table of [`Figures`].
pub(crate) const TABLE_HEAD: &str =
    "| operation | clients | req/s | p50 ms | p99 ms | node CPU s per 1,000 | errors |
|---|---|---|---|---|---|---|";

impl Figures {
    /// A row of the table.
    pub(crate) fn row(&self) -> String {
        format!(
            "| {} | {} | {:.0} | {:.2} | {:.2} | {:.3} | {} |",
            self.operation,
            self.clients,
            self.per_second,
            self.p50_ms,
            self.p99_ms,
            self.cpu_seconds_per_1000,
            self.errors
        )
    }
}

/// Has every client of `works` work for `span`; `pids` are the nodes whose CPU time counts.
pub(crate) async fn run<W: Work>(
    operation: &str,
    works: Vec<W>,
    pace: Pace,
    span: Duration,
    pids: &[u32],
) -> anyhow::Result<Figures> {
    let clients = works.len();
    let errors = Arc::new(AtomicU64::new(0));
    let cpu_before = nodes_cpu::seconds(pids)?;
    let begun = now();
    let tasks: Vec<_> = works
        .into_iter()
        .enumerate()
        .map(|(number, work)| {
            let step = match pace {
                Pace::Closed => Duration::ZERO,
                Pace::Fixed(rate) => Duration::from_secs(1) * u32::try_from(clients)? / rate,
            };
            let first = step * u32::try_from(number)? / u32::try_from(clients)?;
            let loop_ = Loop { number, first, step, span, errors: errors.clone() };
            Ok(task(loop_.drive(work)))
        })
        .collect::<anyhow::Result<_>>()?;
    let mut latencies = Histogram::<u64>::new(3)?;
    for task in tasks {
        latencies.add(task.await??)?;
    }
    let seconds = begun.elapsed().as_secs_f64();
    let cpu = nodes_cpu::seconds(pids)? - cpu_before;
    let count = latencies.len() as f64;
    Ok(Figures {
        operation: operation.to_owned(),
        clients,
        per_second: count / seconds,
        p50_ms: latencies.value_at_quantile(0.5) as f64 / 1e6,
        p99_ms: latencies.value_at_quantile(0.99) as f64 / 1e6,
        cpu_seconds_per_1000: cpu / count * 1000.0,
        errors: errors.load(Ordering::Relaxed),
    })
}

/// One client's loop.
struct Loop {
    number: usize,
    first: Duration,
    /// Zero: as fast as it goes.
    step: Duration,
    span: Duration,
    errors: Arc<AtomicU64>,
}

impl Loop {
    async fn drive(self, mut work: impl Work) -> anyhow::Result<Histogram<u64>> {
        let mut latencies = Histogram::<u64>::new(3)?;
        let begun = now();
        let mut turn = self.number;
        let mut due = self.first;
        while begun.elapsed().max(due) < self.span {
            pause_until(begun, due).await;
            let since = if self.step.is_zero() { begun.elapsed() } else { due };
            match work.once(turn).await {
                Ok(()) => {
                    let spent = begun.elapsed().saturating_sub(since);
                    latencies.record(u64::try_from(spent.as_nanos())?)?;
                }
                Err(_) => {
                    self.errors.fetch_add(1, Ordering::Relaxed);
                }
            }
            turn += TURN_STEP;
            due += self.step;
        }
        Ok(latencies)
    }
}

async fn pause_until(begun: std::time::Instant, due: Duration) {
    let early = due.saturating_sub(begun.elapsed());
    if !early.is_zero() {
        pause(early).await;
    }
}

/// Clients walk through the keys in strides, so that they rarely meet.
const TURN_STEP: usize = 101;
