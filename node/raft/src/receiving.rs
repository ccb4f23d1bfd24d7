//! One snapshot is received at a time: that of the newest leader.
//!
//! A deposed leader may go on sending for minutes, or hang in the middle. Its successor does not
//! wait for that: what is being received is given up for a sender with a higher vote.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, Semaphore, SemaphorePermit};

use crate::types::Vote;

/// Who may send a snapshot now.
pub(crate) struct Receiving {
    turn: Semaphore,
    /// The newest vote of those that send, or wait for their turn to.
    newest: Mutex<Option<Vote>>,
    replaced: Notify,
}

/// Held while a snapshot is received.
pub(crate) struct Turn<'a> {
    announced: Announced<'a>,
    _permit: SemaphorePermit<'a>,
}

struct Announced<'a> {
    receiving: &'a Receiving,
    vote: Vote,
}

impl Receiving {
    pub(crate) fn new() -> Self {
        Self { turn: Semaphore::new(1), newest: Mutex::default(), replaced: Notify::new() }
    }

    /// Waits until the sender before has given up. None where one with an equal or higher vote
    /// sends already.
    pub(crate) async fn enter(&self, vote: Vote) -> Option<Turn<'_>> {
        let announced = self.announce(vote)?;
        let permit = self.turn.acquire().await.ok()?;
        // A third one may have come meanwhile.
        announced.stands().then_some(Turn { announced, _permit: permit })
    }

    fn announce(&self, vote: Vote) -> Option<Announced<'_>> {
        {
            let mut newest = self.newest();
            if newest.as_ref().is_some_and(|newest| *newest >= vote) {
                return None;
            }
            *newest = Some(vote);
        }
        self.replaced.notify_waiters();
        Some(Announced { receiving: self, vote })
    }

    fn newest(&self) -> MutexGuard<'_, Option<Vote>> {
        // One value that is written at once.
        self.newest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn<'_> {
    /// Completes once a newer leader wants to send.
    pub(crate) async fn replaced(&self) {
        loop {
            let mut replaced = std::pin::pin!(self.announced.receiving.replaced.notified());
            // Registered before the check, so that nothing in between is missed.
            replaced.as_mut().enable();
            if !self.announced.stands() {
                return;
            }
            replaced.await;
        }
    }
}

impl Announced<'_> {
    fn stands(&self) -> bool {
        *self.receiving.newest() == Some(self.vote)
    }
}

impl Drop for Announced<'_> {
    fn drop(&mut self) {
        let mut newest = self.receiving.newest();
        if *newest == Some(self.vote) {
            *newest = None;
        }
    }
}
