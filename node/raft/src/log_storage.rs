//! openraft's log storage over [`Log`].
//!
//! Appends, votes, truncations and purges enter one queue in order; its writer (a thread of the
//! server, or a step of the simulation) calls back once an operation is on disk. What
//! openraft awaits here is exactly that callback.

use std::fmt::Debug;
use std::io;
use std::marker::PhantomData;
use std::ops::{Bound, Range, RangeBounds};
use std::sync::Arc;

use conclave_store::log::{Done, Log};
use futures::Stream;
use openraft::storage::{IOFlushed, LogState, RaftLogStorage};
use openraft::{AsyncRuntime, OptionalSend, RaftLogReader};
use tokio::sync::oneshot;

use crate::convert::{decode, encode};
use crate::progress::Progress;
use crate::types::{Entry, LogId, TypeConfig, Vote};

/// Entries of one append request end after this many bytes: with one largest command on top a
/// request stays well below the 4 MiB that gRPC accepts. openraft takes up to 64 requests of a
/// stream before the first is on disk, and all of their entries are in memory until they are: so
/// much is what a follower that catches up takes for it.
const APPEND_BYTES: usize = 256 * 1024;
/// How much of the log is read at once for applying. What is kept of an entry holds on
/// to all that was read with it.
const APPLY_READ_BYTES: usize = 1024 * 1024;

/// The writing half.
pub(crate) struct LogStorage<R> {
    log: Log,
    /// The newest term whose vote is on disk.
    vote_saved: Arc<Progress>,
    runtime: PhantomData<fn() -> R>,
}

/// The reading half, one per replication stream and one for applying.
pub(crate) struct LogReader<R> {
    log: Log,
    runtime: PhantomData<fn() -> R>,
}

impl<R> LogStorage<R> {
    pub(crate) fn new(log: Log) -> Self {
        let vote_saved = Arc::new(Progress::at(log.vote().map_or(0, |vote| vote.term)));
        Self { log, vote_saved, runtime: PhantomData }
    }

    pub(crate) fn vote_saved(&self) -> Arc<Progress> {
        self.vote_saved.clone()
    }
}

impl<R: AsyncRuntime> RaftLogStorage<TypeConfig<R>> for LogStorage<R> {
    type LogReader = LogReader<R>;

    async fn get_log_state(&mut self) -> io::Result<LogState<TypeConfig<R>>> {
        let state = self.log.state();
        Ok(LogState {
            last_purged_log_id: decode::log_id_option(state.purged.as_ref()),
            last_log_id: decode::log_id_option(state.last.as_ref()),
        })
    }

    async fn get_log_reader(&mut self) -> LogReader<R> {
        LogReader { log: self.log.clone(), runtime: PhantomData }
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        let (done, on_disk) = durable();
        self.log.save_vote(encode::vote(vote), done);
        settled(on_disk).await?;
        self.vote_saved.raise(vote.leader_id.term);
        Ok(())
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig<R>>) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut flushed = Flushed(Some(callback));
        let entries = entries.into_iter().map(|entry| encode::entry(&entry)).collect();
        self.log.append(entries, Box::new(move |result| flushed.complete(result)));
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> io::Result<()> {
        let (done, on_disk) = durable();
        self.log.truncate_after(encode::log_id_option(last.as_ref()), done);
        settled(on_disk).await
    }

    async fn purge(&mut self, through: LogId) -> io::Result<()> {
        let (done, on_disk) = durable();
        self.log.purge(encode::log_id(&through), done);
        settled(on_disk).await
    }
}

impl<R: AsyncRuntime> RaftLogReader<TypeConfig<R>> for LogReader<R> {
    async fn try_get_log_entries<B: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: B,
    ) -> io::Result<Vec<Entry>> {
        let Range { start, end } = bounds(&self.log, &range);
        let first = self.log.state().purged.map_or(0, |purged| purged.index + 1);
        read(&self.log, start.max(first)..end, usize::MAX)
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        Ok(self.log.vote().as_ref().map(decode::vote))
    }

    /// Entries that were purged meanwhile are answered with none. A leader purges as soon as a
    /// stream reports an error, and the stream may still try to send what it was told before:
    /// an error here would end the leader. Of nothing openraft makes a heartbeat, and learns from
    /// its answer what the peer needs.
    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<Entry>> {
        if self.log.state().purged.is_some_and(|purged| start <= purged.index) {
            return Ok(Vec::new());
        }
        read_from(&self.log, bounds(&self.log, &(start..end)), APPEND_BYTES)
    }

    /// Reads on as the stream is polled, so that applying a long log takes bounded memory.
    async fn entries_stream<B>(
        &mut self,
        range: B,
    ) -> impl Stream<Item = io::Result<Entry>> + OptionalSend
    where
        B: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let log = self.log.clone();
        let range = bounds(&log, &range);
        let chunks = futures::stream::unfold(range, move |range| {
            let chunk = next_chunk(&log, range);
            async move { chunk }
        });
        futures::StreamExt::flat_map(chunks, futures::stream::iter)
    }
}

/// One read's worth of entries, and what is left of the range; an error ends the stream.
fn next_chunk(log: &Log, range: Range<u64>) -> Option<(Vec<io::Result<Entry>>, Range<u64>)> {
    if range.is_empty() {
        return None;
    }
    Some(match read_from(log, range.clone(), APPLY_READ_BYTES) {
        Ok(entries) => {
            let rest = range.start + entries.len() as u64..range.end;
            (entries.into_iter().map(Ok).collect(), rest)
        }
        Err(error) => (vec![Err(error)], range.end..range.end),
    })
}

/// Entries from exactly the start of the range. One that is gone is an error: what followed it
/// would otherwise be sent or applied in its place.
fn read_from(log: &Log, range: Range<u64>, bytes_max: usize) -> io::Result<Vec<Entry>> {
    let start = range.start;
    let entries = read(log, range.clone(), bytes_max)?;
    match entries.first() {
        None if range.is_empty() => Ok(entries),
        Some(first) if first.log_id.index == start => Ok(entries),
        None | Some(_) => Err(io::Error::other(format!("entry {start} is not in the log"))),
    }
}

fn read(log: &Log, range: Range<u64>, bytes_max: usize) -> io::Result<Vec<Entry>> {
    if range.is_empty() {
        return Ok(Vec::new());
    }
    decode::entries(log.read(range, bytes_max)?).map_err(io::Error::other)
}

/// The range in numbers; it ends where the log does.
fn bounds(log: &Log, range: &impl RangeBounds<u64>) -> Range<u64> {
    let start = match range.start_bound() {
        Bound::Included(start) => *start,
        Bound::Excluded(before) => before.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(last) => last.saturating_add(1),
        Bound::Excluded(end) => *end,
        Bound::Unbounded => u64::MAX,
    };
    let after_last = log.state().last.map_or(0, |last| last.index + 1);
    start..end.min(after_last)
}

/// Completes openraft's callback exactly once, whatever becomes of the writer: one that were
/// lost would stall commits for ever without a word.
struct Flushed<R: AsyncRuntime>(Option<IOFlushed<TypeConfig<R>>>);

impl<R: AsyncRuntime> Flushed<R> {
    fn complete(&mut self, result: io::Result<()>) {
        if let Some(callback) = self.0.take() {
            callback.io_completed(result);
        }
    }
}

impl<R: AsyncRuntime> Drop for Flushed<R> {
    fn drop(&mut self) {
        self.complete(Err(writer_ended()));
    }
}

fn durable() -> (Done, oneshot::Receiver<io::Result<()>>) {
    let (sender, receiver) = oneshot::channel();
    // The receiver is gone only where Raft itself is: nobody waits for the answer then.
    (Box::new(move |result| drop(sender.send(result))), receiver)
}

async fn settled(on_disk: oneshot::Receiver<io::Result<()>>) -> io::Result<()> {
    on_disk.await.unwrap_or_else(|_| Err(writer_ended()))
}

fn writer_ended() -> io::Error {
    io::Error::other("the log's writer ended before the operation was on disk")
}

#[cfg(test)]
mod tests;
