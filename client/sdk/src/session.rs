//! Request ids: a session that the cluster knows, and numbers in it.
//!
//! The cluster remembers what it answered to each number at or above the low-water mark, so a
//! request that is sent again is answered and not executed again. The mark that goes out with each
//! request is the lowest number still in flight: everything below was answered, or its caller has
//! gone away.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use bytes::Bytes;
use conclave_proto::v1::{RequestTag, SessionOpenResponse};
use tokio::sync::Semaphore;

/// The sessions of one client: one for new requests, older ones until their requests end.
pub(crate) struct Sessions {
    current: Mutex<Option<Arc<Session>>>,
    /// Its one permit is held by who opens a session, so that many first requests open one.
    pub(crate) opening: Semaphore,
}

impl Sessions {
    pub(crate) fn new() -> Self {
        Self { current: Mutex::new(None), opening: Semaphore::new(1) }
    }

    /// A number for a new request.
    pub(crate) fn next(&self, now: Instant) -> Next {
        let current = self.lock().clone();
        match current.filter(|session| now < session.renew_at) {
            None => Next::Open,
            Some(session) => session.next().map_or(Next::Wait, Next::Number),
        }
    }

    /// Puts a session in place that was asked for at `asked`.
    pub(crate) fn install(&self, opened: SessionOpenResponse, asked: Instant) -> Ticket {
        let life = Duration::from_millis(opened.ttl_ms.min(TTL_MS_MAX));
        let session = Arc::new(Session {
            id: opened.session,
            // The cluster counts from a moment after `asked`, so half of its time is safely inside.
            renew_at: asked + life / 2,
            numbers: Mutex::new(Numbers { next: 1, in_flight: BTreeSet::new() }),
        });
        let ticket = session.next().expect("the first number is inside any window");
        *self.lock() = Some(session);
        ticket
    }

    /// Gives no more numbers out of the ticket's session.
    pub(crate) fn forget(&self, ticket: &Ticket) {
        self.lock().take_if(|current| Arc::ptr_eq(current, &ticket.session));
    }

    /// Ends the session, if there is one; the caller tells the cluster.
    pub(crate) fn take(&self) -> Option<Bytes> {
        self.lock().take().map(|session| session.id.clone())
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<Session>>> {
        self.current.lock().expect("no panic while the lock is held")
    }
}

/// What a new request has to do.
pub(crate) enum Next {
    /// Take this number.
    Number(Ticket),
    /// Open a session first.
    Open,
    /// Wait until an older request ends: the cluster remembers only so many answers.
    Wait,
}

struct Session {
    id: Bytes,
    renew_at: Instant,
    numbers: Mutex<Numbers>,
}

struct Numbers {
    next: u64,
    in_flight: BTreeSet<u64>,
}

impl Session {
    fn next(self: &Arc<Self>) -> Option<Ticket> {
        let mut numbers = self.lock();
        let sequence = numbers.next;
        if numbers.in_flight.first().is_some_and(|lowest| sequence - lowest >= WINDOW_MAX) {
            return None;
        }
        numbers.next += 1;
        numbers.in_flight.insert(sequence);
        drop(numbers);
        Some(Ticket { session: self.clone(), sequence })
    }

    fn lock(&self) -> MutexGuard<'_, Numbers> {
        self.numbers.lock().expect("no panic while the lock is held")
    }
}

/// One request's number. It counts as in flight until it is dropped.
pub(crate) struct Ticket {
    session: Arc<Session>,
    sequence: u64,
}

impl Ticket {
    /// What goes out with an attempt.
    pub(crate) fn tag(&self) -> RequestTag {
        let lowest = self.session.lock().in_flight.first().copied();
        RequestTag {
            session: self.session.id.clone(),
            sequence: self.sequence,
            low_water: lowest.expect("this ticket's number is in flight"),
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.session.lock().in_flight.remove(&self.sequence);
    }
}

/// Numbers from the lowest in flight on; nodes remember 1024 answers of a session.
const WINDOW_MAX: u64 = 1000;
/// A longer life than this is not believed: a day.
const TTL_MS_MAX: u64 = 24 * 60 * 60 * 1000;

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(id: &'static [u8], ttl_ms: u64) -> SessionOpenResponse {
        SessionOpenResponse { session: Bytes::from_static(id), ttl_ms }
    }

    fn number(sessions: &Sessions, now: Instant) -> Ticket {
        match sessions.next(now) {
            Next::Number(ticket) => ticket,
            Next::Open => panic!("there is no session"),
            Next::Wait => panic!("the window is full"),
        }
    }

    #[test]
    fn the_low_water_mark_is_the_lowest_number_in_flight() {
        let sessions = Sessions::new();
        let now = crate::runtime::now();
        let first = sessions.install(opened(b"s", 60_000), now);
        let second = number(&sessions, now);
        let third = number(&sessions, now);
        assert_eq!((third.tag().sequence, third.tag().low_water), (3, 1));
        drop(second);
        assert_eq!(third.tag().low_water, 1, "the first is still in flight");
        drop(first);
        assert_eq!(third.tag().low_water, 3);
        drop(third);
        let fourth = number(&sessions, now);
        assert_eq!((fourth.tag().sequence, fourth.tag().low_water), (4, 4));
    }

    #[test]
    fn a_session_is_left_at_half_of_its_life() {
        let sessions = Sessions::new();
        let now = crate::runtime::now();
        drop(sessions.install(opened(b"s", 1000), now));
        drop(number(&sessions, now + Duration::from_millis(499)));
        assert!(matches!(sessions.next(now + Duration::from_millis(500)), Next::Open));
    }

    #[test]
    fn only_the_session_that_failed_is_forgotten() {
        let sessions = Sessions::new();
        let now = crate::runtime::now();
        let old = sessions.install(opened(b"old", 60_000), now);
        let new = sessions.install(opened(b"new", 60_000), now);
        sessions.forget(&old);
        assert_eq!(number(&sessions, now).tag().session, new.tag().session);
        sessions.forget(&new);
        assert!(matches!(sessions.next(now), Next::Open));
    }

    #[test]
    fn one_slow_request_holds_others_up_before_the_cluster_would_have_to_forget() {
        let sessions = Sessions::new();
        let now = crate::runtime::now();
        let slow = sessions.install(opened(b"s", 60_000), now);
        for _ in 1..WINDOW_MAX {
            drop(number(&sessions, now));
        }
        assert!(matches!(sessions.next(now), Next::Wait));
        drop(slow);
        assert_eq!(number(&sessions, now).tag().sequence, WINDOW_MAX + 1);
    }
}
