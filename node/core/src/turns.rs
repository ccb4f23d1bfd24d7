//! Writes to one path take turns, so that a path that many write to makes a queue and not races
//! that nearly all lose.
//!
//! This is for speed alone: the commit's conditions decide what is right. Requests that reach the
//! same rows by different paths, or on a node that no longer leads, still race.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::canonical::CanonicalPath;
use crate::{Error, ErrorCode};

/// How many requests may stand in one queue.
const WAITING_MAX: usize = 1024;

/// The queues that have anybody in them.
#[derive(Default)]
pub(crate) struct Turns {
    queues: Mutex<BTreeMap<String, Queue>>,
}

struct Queue {
    turn: Arc<Semaphore>,
    /// Those who wait and the one whose turn it is.
    members: usize,
}

/// A place in a queue; dropping it leaves the queue, whether the turn came or not.
struct Place<'a> {
    turns: &'a Turns,
    path: &'a str,
    turn: Arc<Semaphore>,
}

/// The right to write to the path now.
pub(crate) struct Turn<'a> {
    // Dropped in this order: the next one is called before the place is given up.
    _permit: OwnedSemaphorePermit,
    _place: Place<'a>,
    waited: bool,
}

impl Turn<'_> {
    /// Whether somebody else wrote to the path meanwhile.
    pub(crate) fn was_waited_for(&self) -> bool {
        self.waited
    }
}

impl Turns {
    /// Waits until it is the caller's turn to write to `path`.
    pub(crate) async fn wait<'a>(&'a self, path: &'a CanonicalPath) -> Result<Turn<'a>, Error> {
        let place = self.enter(path.as_str())?;
        if let Ok(permit) = place.turn.clone().try_acquire_owned() {
            return Ok(Turn { _permit: permit, _place: place, waited: false });
        }
        let permit = place.turn.clone().acquire_owned().await;
        let permit = permit.expect("nobody closes a queue");
        Ok(Turn { _permit: permit, _place: place, waited: true })
    }

    fn enter<'a>(&'a self, path: &'a str) -> Result<Place<'a>, Error> {
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || Queue { turn: Arc::new(Semaphore::new(1)), members: 0 };
        let queue = queues.entry(path.to_owned()).or_insert_with(new);
        if queue.members > WAITING_MAX {
            return Err(Error::new(
                ErrorCode::Busy,
                "too many requests wait to write to this path; try again later",
            ));
        }
        queue.members += 1;
        Ok(Place { turns: self, path, turn: queue.turn.clone() })
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut queues = self.turns.queues.lock().unwrap_or_else(PoisonError::into_inner);
        let queue = queues.get_mut(self.path).expect("a queue lives as long as it has members");
        queue.members -= 1;
        if queue.members == 0 {
            queues.remove(self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;
    use crate::Operation;

    fn path(text: &str) -> CanonicalPath {
        CanonicalPath::new(text, Operation::Write).unwrap()
    }

    #[test]
    fn one_path_has_one_turn_at_a_time_in_order() {
        let turns = Turns::default();
        let (a, b) = (path("a"), path("b"));
        let first = turns.wait(&a).now_or_never().unwrap().unwrap();
        let mut second = Box::pin(turns.wait(&a));
        let mut third = Box::pin(turns.wait(&a));
        assert!(second.as_mut().now_or_never().is_none());
        assert!(third.as_mut().now_or_never().is_none());
        let other = turns.wait(&b).now_or_never().unwrap().unwrap();
        drop(first);
        assert!(third.as_mut().now_or_never().is_none());
        let second = second.now_or_never().unwrap().unwrap();
        drop((second, other));
        drop(third.now_or_never().unwrap().unwrap());
        assert!(turns.queues.lock().unwrap().is_empty());
    }

    #[test]
    fn who_stops_waiting_leaves_the_queue() {
        let turns = Turns::default();
        let a = path("a");
        let first = turns.wait(&a).now_or_never().unwrap().unwrap();
        let mut second = Box::pin(turns.wait(&a));
        assert!(second.as_mut().now_or_never().is_none());
        drop(second);
        assert_eq!(turns.queues.lock().unwrap()["a"].members, 1);
        drop(first);
        assert!(turns.queues.lock().unwrap().is_empty());
    }

    #[test]
    fn a_full_queue_is_busy() {
        let turns = Turns::default();
        let a = path("a");
        let places: Vec<_> = (0..=WAITING_MAX).map(|_| turns.enter("a").unwrap()).collect();
        let refused = turns.wait(&a).now_or_never().unwrap();
        assert_eq!(refused.err().map(|error| error.code), Some(ErrorCode::Busy));
        drop(places);
        assert!(turns.queues.lock().unwrap().is_empty());
    }
}
