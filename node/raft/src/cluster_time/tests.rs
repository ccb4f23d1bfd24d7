use std::sync::atomic::{AtomicU64, Ordering};

use futures::FutureExt;
use futures::future::BoxFuture;
use proptest::prelude::*;

use super::*;

/// Both hands are set by the test.
#[derive(Default)]
struct Hands {
    wall_ms: AtomicU64,
    monotonic_ms: AtomicU64,
}

impl Clock for Hands {
    fn wall_ms(&self) -> u64 {
        self.wall_ms.load(Ordering::Relaxed)
    }

    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.monotonic_ms.load(Ordering::Relaxed))
    }

    fn sleep(&self, _duration: Duration) -> BoxFuture<'static, ()> {
        std::future::pending().boxed()
    }
}

fn time_since(stamped_ms: u64) -> (Arc<Hands>, ClusterTime) {
    let hands = Arc::new(Hands::default());
    (hands.clone(), ClusterTime::new(hands, stamped_ms))
}

#[test]
fn what_was_replayed_is_no_time_heard() {
    let (hands, time) = time_since(5_000);
    time.applied(6_000);
    assert_eq!(time.now(), None);
    assert!(time.known().now_or_never().is_none());
    hands.monotonic_ms.store(100, Ordering::Relaxed);
    time.hear(90_000);
    assert_eq!(time.now(), Some(90_000));
    assert!(time.known().now_or_never().is_some());
}

#[test]
fn what_was_applied_bounds_what_is_heard() {
    let (hands, time) = time_since(5_000);
    time.hear(4_000);
    assert_eq!(time.now(), Some(5_000));
    hands.monotonic_ms.store(250, Ordering::Relaxed);
    assert_eq!(time.now(), Some(5_250));
    time.applied(7_000);
    assert_eq!(time.now(), Some(7_000));
}

#[test]
fn a_late_message_changes_nothing() {
    let (hands, time) = time_since(0);
    time.hear(1_000);
    hands.monotonic_ms.store(500, Ordering::Relaxed);
    time.hear(1_200);
    assert_eq!(time.now(), Some(1_500));
}

#[test]
fn nonsense_is_not_heard() {
    let (_hands, time) = time_since(0);
    time.hear(0);
    time.hear(u64::MAX);
    assert_eq!(time.now(), None);
}

/// What can happen to a node.
#[derive(Debug, Clone)]
enum Event {
    WallJumps(u64),
    Passes(u64),
    Hears(u64),
    Applies(u64),
}

fn any_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        (0..TIME_MS_MAX).prop_map(Event::WallJumps),
        (0..10_000_u64).prop_map(Event::Passes),
        (1..200_000_u64).prop_map(Event::Hears),
        (0..200_000_u64).prop_map(Event::Applies),
    ]
}

proptest! {
    /// Time goes on exactly as the monotonic clock does, unless something newer is heard.
    #[test]
    fn wall_clocks_never_move_a_time_that_is_known(
        floor_ms in 0..200_000_u64,
        events in prop::collection::vec(any_event(), 0..60),
    ) {
        let (hands, time) = time_since(floor_ms);
        let mut lowest = floor_ms;
        let mut before = None;
        for event in events {
            let mut allowed = before;
            match event {
                Event::WallJumps(to) => hands.wall_ms.store(to, Ordering::Relaxed),
                Event::Passes(ms) => {
                    hands.monotonic_ms.fetch_add(ms, Ordering::Relaxed);
                    allowed = before.map(|now: u64| now + ms);
                }
                Event::Hears(ms) => {
                    time.hear(ms);
                    lowest = lowest.max(ms);
                    allowed = Some(before.unwrap_or(0).max(lowest));
                }
                Event::Applies(ms) => {
                    time.applied(ms);
                    lowest = lowest.max(ms);
                    allowed = before.map(|now| now.max(ms));
                }
            }
            let now = time.now();
            prop_assert_eq!(now, allowed);
            prop_assert!(now >= before, "it went back from {:?} to {:?}", before, now);
            prop_assert!(now.is_none_or(|now| now >= lowest));
            before = now;
        }
    }
}
