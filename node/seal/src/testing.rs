//! A seeded source, and a ledger in memory that holds just enough for an initialisation.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use conclave_barrier::ledger::{
    Batch, BoxFuture, Child, Committed, Key, Ledger, LedgerError, LedgerView, ReadPoint, Row,
};
use conclave_barrier::{Barrier, NewRecipient, SealRecord, seal_record};
use conclave_ports::{Clock, Ports, Rng, Spawn};
use futures::FutureExt;

/// A seeded source (SplitMix64). Good enough to be different each time, and nothing more.
pub(crate) struct TestRng(Mutex<u64>);

impl TestRng {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Mutex::new(seed))
    }
}

impl Rng for TestRng {
    fn fill(&self, out: &mut [u8]) {
        let mut state = self.0.lock().unwrap();
        for chunk in out.chunks_mut(8) {
            *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut mixed = *state;
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            chunk.copy_from_slice(&(mixed ^ (mixed >> 31)).to_le_bytes()[..chunk.len()]);
        }
    }
}

/// A source that gives what a test says.
pub(crate) struct Scripted(Mutex<Vec<u8>>);

impl Scripted {
    pub(crate) fn new(bytes: &[u8]) -> Self {
        Self(Mutex::new(bytes.iter().rev().copied().collect()))
    }
}

impl Rng for Scripted {
    fn fill(&self, out: &mut [u8]) {
        let mut bytes = self.0.lock().unwrap();
        out.iter_mut().for_each(|byte| *byte = bytes.pop().unwrap());
    }
}

struct Unused;

impl Clock for Unused {
    fn wall_ms(&self) -> u64 {
        panic!("no clock is read")
    }
    fn monotonic(&self) -> Duration {
        panic!("no clock is read")
    }
    fn sleep(&self, _: Duration) -> BoxFuture<'static, ()> {
        panic!("nothing sleeps")
    }
}

impl Spawn for Unused {
    fn spawn(&self, _: &'static str, _: BoxFuture<'static, ()>) {
        panic!("no task is started")
    }
}

#[derive(Default)]
struct Rows(Mutex<BTreeMap<Key, Row>>);

struct Table(Arc<Rows>);

impl Ledger for Table {
    fn write_point(&self) -> Option<ReadPoint> {
        None
    }

    fn view(&self) -> Arc<dyn LedgerView> {
        Arc::clone(&self.0) as Arc<dyn LedgerView>
    }
    fn read_barrier(&self) -> BoxFuture<'_, Result<ReadPoint, LedgerError>> {
        panic!("nothing is read behind a barrier")
    }
    fn commit(&self, batch: Batch) -> BoxFuture<'_, Result<Committed, LedgerError>> {
        for write in batch.writes {
            let row = Row { value: write.value.unwrap(), revision: 1 };
            self.0.0.lock().unwrap().insert(write.key, row);
        }
        Box::pin(async { Ok(Committed::Applied { revision: 1 }) })
    }
}

impl LedgerView for Rows {
    fn revision(&self) -> u64 {
        1
    }
    fn stamped_ms(&self) -> u64 {
        1
    }
    fn epoch(&self) -> u64 {
        1
    }

    fn get(&self, key: &Key) -> Result<Option<Row>, LedgerError> {
        Ok(self.0.lock().unwrap().get(key).cloned())
    }
    fn directory_revision(&self, _: &[Bytes]) -> Result<u64, LedgerError> {
        Ok(0)
    }
    fn flat_names(
        &self,
        _: &[Bytes],
        _: Option<&Bytes>,
        _: usize,
    ) -> Result<Vec<Bytes>, LedgerError> {
        Ok(Vec::new())
    }
    fn children(
        &self,
        _: &[Bytes],
        _: Option<&Child>,
        _: usize,
    ) -> Result<Vec<Child>, LedgerError> {
        Ok(Vec::new())
    }
}

/// A cluster with these recipients: its seal record and its root key.
pub(crate) fn initialised(recipients: Vec<NewRecipient>) -> (SealRecord, [u8; 32]) {
    let rng = Arc::new(TestRng::new(99));
    let ports = Ports { clock: Arc::new(Unused), rng, spawn: Arc::new(Unused) };
    let ledger: Arc<dyn Ledger> = Arc::new(Table(Arc::default()));
    let barrier = Barrier::initialise(Arc::clone(&ledger), ports, [1; 16], "test", recipients)
        .now_or_never()
        .expect("the ledger in memory answers at once")
        .unwrap();
    (seal_record(&*ledger.view()).unwrap().unwrap(), *barrier.root_key().danger_expose())
}
