//! One file's bytes: as a process reads them, as they are durable, and what lies between.

use std::sync::{Mutex, MutexGuard};

use super::directory::{Fate, Random};

/// What a disk writes whole.
const SECTOR_BYTES: u64 = 512;

#[derive(Default)]
pub(super) struct Inode {
    data: Mutex<Data>,
}

#[derive(Default, Clone)]
struct Data {
    live: Vec<u8>,
    durable: Vec<u8>,
    /// Turns `durable` into `live`, in order.
    pending: Vec<Change>,
}

#[derive(Clone)]
enum Change {
    Write { offset: u64, bytes: Vec<u8> },
    Length(u64),
}

impl Inode {
    pub(super) fn read_at(&self, offset: u64, buffer: &mut [u8]) -> usize {
        let data = self.data();
        let from = place(offset).min(data.live.len());
        let count = buffer.len().min(data.live.len() - from);
        buffer[..count].copy_from_slice(&data.live[from..from + count]);
        count
    }

    pub(super) fn write_at(&self, offset: u64, bytes: &[u8]) {
        self.change(Change::Write { offset, bytes: bytes.to_vec() });
    }

    pub(super) fn set_len(&self, bytes: u64) {
        self.change(Change::Length(bytes));
    }

    pub(super) fn length(&self) -> u64 {
        self.data().live.len() as u64
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        self.data().live.clone()
    }

    pub(super) fn sync(&self) {
        let mut data = self.data();
        let Data { durable, pending, .. } = &mut *data;
        for change in pending.drain(..) {
            change.apply(durable);
        }
    }

    /// The bytes of each write that is pending.
    pub(super) fn pending_writes(&self) -> Vec<Vec<u8>> {
        let data = self.data();
        let writes = data.pending.iter().filter_map(|change| match change {
            Change::Write { bytes, .. } => Some(bytes.clone()),
            Change::Length(_) => None,
        });
        writes.collect()
    }

    /// Makes it these bytes, durably.
    pub(super) fn replace(&self, bytes: &[u8]) {
        *self.data() = Data { live: bytes.to_vec(), durable: bytes.to_vec(), pending: Vec::new() };
    }

    /// What is pending stays readable and will not become durable.
    pub(super) fn forget_pending(&self) {
        self.data().pending.clear();
    }

    /// The same file without its openers.
    pub(super) fn copy(&self) -> Self {
        Self { data: Mutex::new(self.data().clone()) }
    }

    /// The file as a power cut leaves it.
    pub(super) fn after_power_cut(&self, random: &mut Random<'_>) -> Self {
        let data = self.data();
        let mut left = data.durable.clone();
        let sectors = data.pending.iter().flat_map(Change::sectors);
        let mut fate = Fate::draw(random, sectors.clone().count());
        for change in sectors {
            if fate.keeps(random) {
                change.apply(&mut left);
            }
        }
        // A file system may store the length before the data.
        let longest = data.live.len();
        if matches!(fate, Fate::Subset) && left.len() < longest && random().is_multiple_of(2) {
            left.resize(longest, 0);
        }
        Self { data: Mutex::new(Data { live: left.clone(), durable: left, pending: Vec::new() }) }
    }

    fn change(&self, change: Change) {
        let mut data = self.data();
        change.apply(&mut data.live);
        data.pending.push(change);
    }

    fn data(&self) -> MutexGuard<'_, Data> {
        self.data.lock().expect("no holder of the data panics")
    }
}

impl Change {
    fn apply(&self, file: &mut Vec<u8>) {
        match self {
            Self::Write { offset, bytes } => {
                let end = place(*offset) + bytes.len();
                if file.len() < end {
                    file.resize(end, 0);
                }
                file[place(*offset)..end].copy_from_slice(bytes);
            }
            Self::Length(length) => file.resize(place(*length), 0),
        }
    }

    /// The change cut at sector boundaries.
    fn sectors(&self) -> Vec<Self> {
        let Self::Write { offset, bytes } = self else { return vec![self.clone()] };
        let mut pieces = Vec::new();
        let (mut at, mut rest) = (*offset, bytes.as_slice());
        while !rest.is_empty() {
            let (piece, after) =
                rest.split_at(rest.len().min(place(SECTOR_BYTES - at % SECTOR_BYTES)));
            pieces.push(Self::Write { offset: at, bytes: piece.to_vec() });
            at += piece.len() as u64;
            rest = after;
        }
        pieces
    }
}

fn place(offset: u64) -> usize {
    usize::try_from(offset).expect("a file in memory fits in memory")
}
