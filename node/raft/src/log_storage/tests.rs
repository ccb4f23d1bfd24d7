//! openraft's own suite for storage, on the real log, state and snapshots.
//!
//! The suite is made for stores that hold any entries at all. Three things that Raft never does
//! are translated here: a log that does not begin at entry 0, an apply that leaves entries out,
//! and a snapshot handed from one node's store to another's state machine without a network in
//! between.

use std::marker::PhantomData;
use std::sync::Arc;

use conclave_proto::v1;
use conclave_store::disk::MemoryDisk;
use conclave_store::log::{LogConfig, LogWriter};
use conclave_store::snapshot::SnapshotStore;
use conclave_store::state::{MemoryEngine, State, StateConfig};
use futures::StreamExt;
use openraft::StorageError;
use openraft::storage::{EntryResponder, RaftStateMachine};
use openraft::testing::log::{StoreBuilder, Suite};
use openraft::type_config::TypeConfigExt;
use openraft_rt_sim::SimRuntime;
use tokio::sync::Notify;

use super::*;
use crate::cluster_time::ClusterTime;
use crate::progress::Progress;
use crate::snapshot::{Snapshot, SnapshotBuilder, StoredSnapshot};
use crate::state_machine::StateMachine;
use crate::types::{SnapshotMeta, StoredMembership};

type C = TypeConfig<SimRuntime>;

#[test]
fn openraft_suite_passes() {
    SimRuntime::with_seed(1).block_on(async {
        Suite::test_all(Builder).await.expect("the suite passes");
    });
}

/// A log that was closed fails what comes after; nobody waits for ever.
#[test]
fn a_closed_log_fails_votes_and_appends() {
    SimRuntime::with_seed(1).block_on(async {
        let (_, mut storage, _) = Builder.build().await.expect("it builds");
        storage.0.log.close();
        assert!(storage.save_vote(&Vote::new(1, 1)).await.is_err());
        let (sender, flushed) = C::oneshot();
        storage.append([blank(0)], IOFlushed::signal(sender)).await.expect("it is queued");
        assert!(flushed.await.expect("the callback ran").is_err());
    });
}

#[test]
fn an_unused_callback_reports_an_error() {
    SimRuntime::with_seed(1).block_on(async {
        let (sender, flushed) = C::oneshot();
        drop(Flushed::<SimRuntime>(Some(IOFlushed::signal(sender))));
        assert!(flushed.await.expect("the callback ran").is_err());
    });
}

#[test]
fn a_purged_entry_is_an_error_and_not_a_hole() {
    SimRuntime::with_seed(1).block_on(async {
        let (_, mut storage, _) = Builder.build().await.expect("it builds");
        storage.0.append_blanks(0..10).await;
        let purged = LogId::new_term_index(1, 4);
        storage.0.purge(purged).await.expect("it purges");
        let mut reader = storage.0.get_log_reader().await;
        // Nothing, and no error: a stream may still ask for what its leader just purged.
        assert_eq!(reader.limited_get_log_entries(3, 8).await.expect("no error").len(), 0);
        assert_eq!(reader.limited_get_log_entries(5, 8).await.expect("stored").len(), 3);
        assert_eq!(reader.try_get_log_entries(3..8).await.expect("stored").len(), 3);
        let mut stream = std::pin::pin!(reader.entries_stream(3..8).await);
        assert!(stream.next().await.expect("one item").is_err());
        assert!(stream.next().await.is_none());
    });
}

fn open_log(disk: Arc<MemoryDisk>) -> (Log, LogWriter) {
    let config = LogConfig { segment_bytes: 1 << 18, cache_bytes_max: 1 << 16, boot_id: [7; 16] };
    Log::open(disk, config).expect("the log opens")
}

struct Builder;

impl StoreBuilder<C, SuiteLog, SuiteMachine> for Builder {
    async fn build(&self) -> Result<((), SuiteLog, SuiteMachine), StorageError<C>> {
        let disk = Arc::new(MemoryDisk::new());
        let (log, mut writer) = open_log(disk.clone());
        let queued = Arc::new(Notify::new());
        let wake = queued.clone();
        writer.set_waker(Arc::new(move || wake.notify_one()));
        drop(SimRuntime::spawn(async move {
            loop {
                queued.notified().await;
                while writer.drain() {}
            }
        }));
        let config = StateConfig {
            overlay_bytes_max: 1 << 20,
            undo_bytes_max: 1 << 20,
            checkpoint_entries: 1_024,
        };
        let machine = StateMachine {
            state: State::open(Arc::new(MemoryEngine::new()), config).expect("the state opens"),
            snapshots: SnapshotStore::open(disk).expect("snapshots open"),
            log: log.clone(),
            cluster_id: b"suite".to_vec(),
            applied: Arc::new(Progress::default()),
            epoch: Arc::new(Progress::default()),
            time: Arc::new(ClusterTime::new(Arc::new(NoClock), 0)),
            runtime: PhantomData,
        };
        Ok(((), SuiteLog(LogStorage::new(log)), SuiteMachine(machine)))
    }
}

struct NoClock;

impl conclave_ports::Clock for NoClock {
    fn wall_ms(&self) -> u64 {
        0
    }

    fn monotonic(&self) -> std::time::Duration {
        std::time::Duration::ZERO
    }

    fn sleep(&self, duration: std::time::Duration) -> futures::future::BoxFuture<'static, ()> {
        Box::pin(SimRuntime::sleep(duration))
    }
}

impl LogStorage<SimRuntime> {
    async fn append_blanks(&mut self, indices: Range<u64>) {
        let (sender, flushed) = C::oneshot();
        let entries: Vec<_> = indices.map(blank).collect();
        self.append(entries, IOFlushed::signal(sender)).await.expect("it appends");
        flushed.await.expect("the callback ran").expect("it is on disk");
    }
}

fn blank(index: u64) -> Entry {
    Entry { log_id: LogId::new_term_index(1, index), payload: crate::types::Payload::Blank }
}

struct SuiteLog(LogStorage<SimRuntime>);

impl RaftLogStorage<C> for SuiteLog {
    type LogReader = SuiteReader;

    async fn get_log_state(&mut self) -> io::Result<LogState<C>> {
        self.0.get_log_state().await
    }

    async fn get_log_reader(&mut self) -> SuiteReader {
        SuiteReader(self.0.get_log_reader().await)
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        self.0.save_vote(vote).await
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<C>) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        self.0.append(entries, callback).await
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> io::Result<()> {
        self.0.truncate_after(last).await
    }

    async fn purge(&mut self, through: LogId) -> io::Result<()> {
        self.0.purge(through).await
    }
}

/// Skips what a log that begins later than 0 does not hold.
struct SuiteReader(LogReader<SimRuntime>);

impl SuiteReader {
    fn skip_to_first(&self, mut range: Range<u64>) -> Range<u64> {
        let log = &self.0.log;
        let missing = |at: u64| log.read(at..at + 1, 1).is_ok_and(|found| found.is_empty());
        while !range.is_empty() && missing(range.start) {
            range.start += 1;
        }
        range
    }
}

impl RaftLogReader<C> for SuiteReader {
    async fn try_get_log_entries<B: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: B,
    ) -> io::Result<Vec<Entry>> {
        let range = self.skip_to_first(bounds(&self.0.log, &range));
        self.0.try_get_log_entries(range).await
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        self.0.read_vote().await
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<Entry>> {
        self.0.limited_get_log_entries(start, end).await
    }

    async fn entries_stream<B>(
        &mut self,
        range: B,
    ) -> impl Stream<Item = io::Result<Entry>> + OptionalSend
    where
        B: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        self.0.entries_stream(range).await
    }
}

/// Applies blank entries in place of those that the suite leaves out.
fn fill_up_to(state: &State, index: u64) {
    while let Some(last) = state.applied().log_id.filter(|last| last.index + 1 < index) {
        let left_out = v1::LogId { index: last.index + 1, ..last };
        let payload = Some(v1::entry::Payload::Blank(v1::Blank {}));
        let left_out = v1::Entry { id: Some(left_out), payload };
        state.apply(&left_out).expect("a blank entry applies");
    }
}

struct SuiteMachine(StateMachine<SimRuntime>);

impl RaftStateMachine<C> for SuiteMachine {
    type SnapshotData = StoredSnapshot;
    type SnapshotBuilder = SnapshotBuilder<SimRuntime>;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        self.0.applied_state().await
    }

    async fn apply<S>(&mut self, entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<C>>> + Unpin + OptionalSend,
    {
        let state = self.0.state.clone();
        let gapless = entries.map(move |item| {
            let index = item.as_ref().map_or(0, |(entry, _)| entry.log_id.index);
            fill_up_to(&state, index);
            item
        });
        self.0.apply(gapless).await
    }

    async fn get_snapshot_builder(&mut self) -> SnapshotBuilder<SimRuntime> {
        self.0.get_snapshot_builder().await
    }

    /// First stores what comes from elsewhere, as the receiver of a snapshot does.
    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: StoredSnapshot,
    ) -> io::Result<()> {
        let mut reader = snapshot.0;
        let receiver = self.0.snapshots.receive(reader.header().clone());
        let mut receiver = receiver.map_err(io::Error::other)?;
        while let Some(chunk) = reader.next_chunk().map_err(io::Error::other)? {
            receiver.push(chunk).map_err(io::Error::other)?;
        }
        let stored = receiver.finish().map_err(io::Error::other)?;
        self.0.install_snapshot(meta, StoredSnapshot(stored)).await
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<Snapshot>> {
        self.0.get_current_snapshot().await
    }
}
