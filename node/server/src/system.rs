//! The real ports: the operating system's clocks, its random source, and tokio's tasks.
//!
//! This is the only production code that reads a clock or starts a task by itself; everything
//! else takes [`Ports`].

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use conclave_ports::{Clock, Ports, Rng, Spawn};
use futures::future::BoxFuture;
use ring::rand::{SecureRandom, SystemRandom};
use rustix::time::{ClockId, clock_gettime};

/// The ports of a real process. Tasks and sleeping need a tokio runtime around the caller.
#[must_use]
pub fn ports() -> Ports {
    Ports {
        clock: Arc::new(SystemClock),
        rng: Arc::new(SystemRng(SystemRandom::new())),
        spawn: Arc::new(TokioSpawn),
    }
}

/// Names this boot of the machine: what was written in another boot may have lost its tail.
/// A system that does not tell gets a random one, which claims less, never more.
#[must_use]
pub fn boot_id() -> [u8; 16] {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .ok()
        .and_then(|text| parse_boot_id(&text))
        .unwrap_or_else(|| ports().random())
}

fn parse_boot_id(text: &str) -> Option<[u8; 16]> {
    let digits: String = text.trim().chars().filter(|c| *c != '-').collect();
    hex::decode(digits).ok()?.try_into().ok()
}

/// The operating system's clocks.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the real clock that others take")]
    fn wall_ms(&self) -> u64 {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX)
    }

    /// `CLOCK_BOOTTIME`, which unlike `CLOCK_MONOTONIC` goes on while the machine is suspended:
    /// a lease must not live longer because a laptop slept.
    fn monotonic(&self) -> Duration {
        let now = clock_gettime(ClockId::Boottime);
        let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
        let nanoseconds = u32::try_from(now.tv_nsec).unwrap_or_default();
        Duration::new(seconds, nanoseconds)
    }

    #[expect(clippy::disallowed_methods, reason = "this is the real sleep that others take")]
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(async move { tokio::time::sleep(duration).await })
    }
}

/// The operating system's random source.
#[derive(Debug)]
pub struct SystemRng(SystemRandom);

impl Rng for SystemRng {
    fn fill(&self, out: &mut [u8]) {
        self.0.fill(out).expect("the operating system's random source does not fail once seeded");
    }
}

/// Tasks on the tokio runtime around the caller.
#[derive(Debug, Clone, Copy)]
pub struct TokioSpawn;

impl Spawn for TokioSpawn {
    #[expect(clippy::disallowed_methods, reason = "this is the real spawn that others take")]
    fn spawn(&self, _name: &'static str, task: BoxFuture<'static, ()>) {
        drop(tokio::spawn(task));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn monotonic_time_does_not_go_back_and_wall_time_is_after_this_was_written() {
        let clock = SystemClock;
        let first = clock.monotonic();
        assert!(clock.monotonic() >= first);
        assert!(first > Duration::ZERO);
        assert!(clock.wall_ms() > 1_700_000_000_000);
    }

    #[test]
    fn boot_ids_parse_as_the_kernel_prints_them() {
        let id = parse_boot_id("01234567-89ab-cdef-0123-456789abcdef\n").expect("it is valid");
        assert_eq!(hex::encode(id), "0123456789abcdef0123456789abcdef");
        assert_eq!(parse_boot_id("0123"), None);
        assert_eq!(parse_boot_id("not hex"), None);
    }

    #[test]
    fn two_random_draws_differ() {
        let ports = ports();
        assert_ne!(ports.random::<32>(), ports.random::<32>());
    }
}
