//! Power cuts of a whole store on real files.
//!
//! A node's log, vote, mark, snapshots and small files are written through a disk that knows what
//! of them is durable ([`disk`]); its state is a real sled directory, which is derived and is left
//! in any state ([`derived`]). At seeded moments the power is cut and the directory is made anew as
//! the cut could have left it. Then everything must open, everything acknowledged must be there
//! ([`model`]), and the state, opened or rebuilt, must have the right hash ([`node`]).
//!
//! `POWER_CUT_SEED` runs one seed alone, `POWER_CUT_SEEDS` as many as it says.

#![allow(unreachable_pub, missing_docs, reason = "a test has no users")]

mod derived;
mod disk;
mod model;
mod node;

use std::collections::BTreeMap;
use std::path::Path;

use conclave_store::disk::{MemoryDisk, SyncKind};
use tempfile::TempDir;

use derived::Left;
use disk::{Moment, Plan, TracedDisk};
use model::Model;
use node::Node;

/// Power cuts of one seed.
const CUTS: u64 = 3;
/// Seeds of a run: at least 200 power cuts.
const SEEDS: u64 = 77;
/// What a boot does at most before its power is cut.
const STEPS_MAX: u64 = 150;

/// What a run met.
#[derive(Debug, Default)]
struct Coverage {
    cuts: u64,
    at: BTreeMap<Moment, u64>,
    left: BTreeMap<Left, u64>,
    /// States that were set aside, that were good, and that came from the snapshot.
    rebuilt: u64,
    resumed: u64,
    installed: u64,
}

/// One node's life under one seed.
struct Life {
    memory: MemoryDisk,
    model: Model,
    random: Box<dyn FnMut() -> u64>,
    boot: u8,
    /// The directory of the boot before, and of the state in it a while before its end.
    before: Option<(TempDir, TempDir)>,
}

impl Life {
    fn new(seed: u64, skipped: &[SyncKind]) -> Self {
        let memory = MemoryDisk::new();
        memory.skip_fsync_of(skipped);
        let random = Box::new(numbers(seed));
        Self { memory, model: Model::new(), random, boot: 0, before: None }
    }

    /// Runs one boot up to its power cut.
    fn boot(&mut self, plan: Option<Plan>, coverage: &mut Coverage) -> Result<(), String> {
        self.boot += 1;
        let (place, older) = (directory(), directory());
        let state = place.path().join("state");
        self.leave_state(&state, coverage);
        let disk = TracedDisk::new(place.path(), self.memory.clone(), plan)
            .expect("a new directory can be written");
        let ended = self.live(&disk, &state, older.path(), coverage);
        let dead = disk.is_dead();
        if let Some(plan) = plan.filter(|_| dead) {
            *coverage.at.entry(plan.moment).or_default() += 1;
            coverage.cuts += 1;
        }
        disk.cut();
        self.memory.power_cut(&mut self.random);
        self.before = Some((place, older));
        // After the cut everything fails, as it does in a process that is gone.
        if dead { Ok(()) } else { ended }
    }

    fn live(
        &mut self,
        disk: &TracedDisk,
        state: &Path,
        older: &Path,
        coverage: &mut Coverage,
    ) -> Result<(), String> {
        let mut node = Node::open(disk, state, self.boot)?;
        node.check(&mut self.model)?;
        coverage.rebuilt += u64::from(node.rebuilt);
        coverage.resumed += u64::from(node.resumed);
        coverage.installed += u64::from(node.installed);
        let aside = (self.random)() % STEPS_MAX / 4;
        for step in 0..STEPS_MAX {
            if step == aside {
                derived::copy(state, older).map_err(|error| error.to_string())?;
            }
            if disk.is_dead() {
                break;
            }
            let worked = node.work(&mut self.model, &mut self.random);
            if !disk.is_dead() {
                worked?;
            }
        }
        // The answers that came before the power was cut.
        node.drain(&mut self.model);
        // A copy before the node is dropped: nothing is tidied up after a power cut.
        let kept = state.with_extension("kept");
        derived::copy(state, &kept).map_err(|error| error.to_string())
    }

    fn leave_state(&mut self, to: &Path, coverage: &mut Coverage) {
        let Some((place, older)) = &self.before else { return };
        let kept = place.path().join("state.kept");
        let from = if kept.exists() { kept } else { place.path().join("state") };
        let place = (self.random)() % Left::ALL.len() as u64;
        let left = Left::ALL[place as usize];
        *coverage.left.entry(left).or_default() += 1;
        left.make(&from, older.path(), to, &mut self.random).expect("directories can be copied");
    }
}

/// A life of `CUTS` power cuts and a last start.
fn live(seed: u64, skipped: &[SyncKind], coverage: &mut Coverage) -> Result<(), String> {
    let mut life = Life::new(seed, skipped);
    for cut in 0..CUTS {
        let moments = Moment::ALL.len() as u64;
        let moment = Moment::ALL[((seed * CUTS + cut) % moments) as usize];
        let plan = Plan::draw(moment, &mut life.random);
        life.boot(Some(plan), coverage)
            .map_err(|what| format!("in boot {} (planned: {plan:?}): {what}", life.boot))?;
    }
    life.boot(None, coverage).map_err(|what| format!("in the last boot: {what}"))
}

fn explain(seed: u64, what: &str) -> String {
    format!(
        "seed {seed}, {what}\nreplay: POWER_CUT_SEED={seed} cargo test -p conclave-store --test power_cut what_was_acknowledged"
    )
}

#[test]
fn what_was_acknowledged_outlives_every_power_cut() {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seeds = match number("POWER_CUT_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("POWER_CUT_SEEDS").unwrap_or(SEEDS),
    };
    let mut coverage = Coverage::default();
    for seed in seeds.clone() {
        if let Err(what) = live(seed, &[], &mut coverage) {
            panic!("{}", explain(seed, &what));
        }
    }
    println!("{coverage:?}");
    if seeds.end - seeds.start >= SEEDS {
        assert!(coverage.cuts >= 200, "{coverage:?}");
        for moment in Moment::ALL {
            let cuts = coverage.at.get(&moment).copied().unwrap_or(0);
            assert!(cuts >= 10, "{moment:?} was cut {cuts} times: {coverage:?}");
        }
        assert!(coverage.left.len() == Left::ALL.len(), "{coverage:?}");
        let states = [coverage.rebuilt, coverage.resumed, coverage.installed];
        assert!(states.iter().all(|count| *count >= 10), "{coverage:?}");
    }
}

/// With each of these bugs in the model of the disk, some seed loses something.
#[test]
fn a_forgotten_sync_is_found() {
    let kinds =
        [SyncKind::Directory, SyncKind::Log, SyncKind::Vote, SyncKind::Snapshot, SyncKind::Other];
    for kind in kinds {
        let found = (0..SEEDS).find_map(|seed| {
            live(seed, &[kind], &mut Coverage::default()).err().map(|what| (seed, what))
        });
        let (seed, what) =
            found.unwrap_or_else(|| panic!("no seed finds a skipped sync of {kind:?}"));
        println!("{kind:?} skipped: seed {seed}, {what}");
    }
}

fn directory() -> TempDir {
    tempfile::tempdir().expect("there is a place for temporary files")
}

/// A small generator (xorshift64*).
fn numbers(seed: u64) -> impl FnMut() -> u64 {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    move || {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 8
    }
}
