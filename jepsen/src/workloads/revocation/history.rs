//! What was revoked, what was seen of it, and the rule: once it is gone it stays gone, at every node.
//!
//! Something is gone from the moment in which its end was acknowledged, or in which a use that was
//! refused had been answered. A use that begins later and succeeds is a violation. So an end that
//! nobody acknowledged may have happened or not, but it cannot unhappen.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::pace;
use crate::rows::{Door, Request, Session};
use crate::seed::Seed;

/// Something whose use is to fail for ever, or never.
pub(super) struct Thing {
    /// For a reader.
    pub(super) what: String,
    /// What shows whether it can be used, and the token for that.
    pub(super) target: String,
    pub(super) token: String,
    /// It outlives what is revoked beside it.
    pub(super) lives: bool,
    gone: Mutex<Option<Instant>>,
}

/// All of it, and what was seen.
#[derive(Default)]
pub(super) struct History {
    things: Mutex<Vec<Arc<Thing>>>,
    violations: Mutex<Vec<String>>,
    pub(super) acknowledged: AtomicUsize,
    pub(super) unknown: AtomicUsize,
    /// Uses that succeeded before the end.
    pub(super) used: AtomicUsize,
    /// Uses that were refused once the thing was gone.
    pub(super) refused: AtomicUsize,
    /// Uses that had no answer in time, as at a node that is cut off.
    pub(super) unanswered: AtomicUsize,
}

impl Thing {
    pub(super) fn new(what: impl Into<String>, target: &str, token: &str) -> Arc<Self> {
        Arc::new(Self {
            what: what.into(),
            target: target.to_owned(),
            token: token.to_owned(),
            lives: false,
            gone: Mutex::default(),
        })
    }

    pub(super) fn that_lives(what: impl Into<String>, target: &str, token: &str) -> Arc<Self> {
        let (what, target, token) = (what.into(), target.to_owned(), token.to_owned());
        Arc::new(Self { what, target, token, lives: true, gone: Mutex::default() })
    }

    /// It is gone at the latest now.
    pub(super) fn ends(&self) {
        let mut gone = self.gone.lock().unwrap_or_else(PoisonError::into_inner);
        gone.get_or_insert(pace::now());
    }

    fn gone(&self) -> Option<Instant> {
        *self.gone.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes an answer to a use that began then; says what is wrong with it.
    fn note(&self, status: u16, begun: Instant, history: &History) -> Option<String> {
        let count = |counter: &AtomicUsize| counter.fetch_add(1, Ordering::Relaxed);
        match (status, self.lives) {
            (200, true) => None,
            (200, false) => match self.gone().filter(|gone| *gone < begun) {
                Some(gone) => Some(format!("used {:?} after its end", begun.duration_since(gone))),
                None => {
                    count(&history.used);
                    None
                }
            },
            (403 | 404, true) => Some("refused, though it was to live".to_owned()),
            (403 | 404, false) => {
                count(&history.refused);
                self.ends();
                None
            }
            _ => {
                count(&history.unanswered);
                None
            }
        }
    }
}

impl History {
    /// Whether enough was ended, used and refused to mean something.
    pub(super) fn is_enough(&self) -> bool {
        let has = |counter: &AtomicUsize, least| counter.load(Ordering::Relaxed) >= least;
        has(&self.acknowledged, ENDS_MIN)
            && has(&self.used, USES_MIN)
            && has(&self.refused, REFUSALS_MIN)
    }

    /// From now on it is used at every node.
    pub(super) fn add(&self, thing: &Arc<Thing>) {
        self.things.lock().unwrap_or_else(PoisonError::into_inner).push(thing.clone());
    }

    pub(super) fn things(&self) -> Vec<Arc<Thing>> {
        self.things.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn violations(&self) -> Vec<String> {
        self.violations.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// One of them; what is young is taken more often, since that is when a stale node shows.
    fn pick(&self, seed: &mut Seed) -> Option<Arc<Thing>> {
        let things = self.things.lock().unwrap_or_else(PoisonError::into_inner);
        let young = things.len().min(YOUNG);
        let skip = if seed.below(2) == 0 { things.len() - young } else { 0 };
        let among = &things[skip..];
        (!among.is_empty()).then(|| seed.pick(among).clone())
    }
}

/// Somebody at one node who tries things.
pub(super) struct Visitor {
    pub(super) door: Door,
    session: Option<Session>,
    pub(super) history: Arc<History>,
}

impl Visitor {
    pub(super) fn new(door: &Door, history: &Arc<History>) -> Self {
        Self { door: door.clone(), session: None, history: history.clone() }
    }

    /// Tries one thing after the other until told to stop.
    pub(super) async fn run(mut self, mut seed: Seed, stop: Arc<std::sync::atomic::AtomicBool>) {
        while !stop.load(Ordering::Relaxed) {
            match self.history.pick(&mut seed) {
                Some(thing) => self.visit(&thing).await,
                None => pace::pause(BETWEEN).await,
            }
        }
    }

    /// Tries one thing once.
    pub(super) async fn visit(&mut self, thing: &Thing) {
        let begun = pace::now();
        let status = pace::within(USE_MAX, "a use", self.status(thing)).await;
        let status = status.ok().and_then(Result::ok);
        if status.is_none() {
            // What comes over this connection later would be taken for the answer to the next.
            self.session = None;
            pace::pause(BETWEEN).await;
        }
        let wrong = thing.note(status.unwrap_or_default(), begun, &self.history);
        if let Some(wrong) = wrong {
            let line = format!("{} at node {}: {wrong}", thing.what, self.door.node.id);
            self.history.violations.lock().unwrap_or_else(PoisonError::into_inner).push(line);
        }
    }

    async fn status(&mut self, thing: &Thing) -> anyhow::Result<u16> {
        let mut session = match self.session.take() {
            Some(session) => session,
            None => self.door.session().await?,
        };
        let (target, token) = (thing.target.as_str(), thing.token.as_str());
        let request = Request { method: "GET", target, token, headers: &[], body: b"" };
        let reply = session.ask(&request).await?;
        self.session = Some(session);
        Ok(reply.status)
    }
}

const ENDS_MIN: usize = 40;
const USES_MIN: usize = 60;
const REFUSALS_MIN: usize = 300;
const YOUNG: usize = 12;
const USE_MAX: Duration = Duration::from_millis(1500);
const BETWEEN: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use super::*;

    fn thing() -> Arc<Thing> {
        Thing::new("a token", "/v1/x", "t")
    }

    #[test]
    fn what_is_acknowledged_as_gone_is_never_used_again() {
        let (history, thing) = (History::default(), thing());
        let before = pace::now();
        assert_eq!(thing.note(200, before, &history), None);
        thing.ends();
        assert_eq!(thing.note(200, before, &history), None, "it began before the end");
        let after = pace::now() + Duration::from_millis(1);
        assert!(thing.note(200, after, &history).is_some());
        assert_eq!(thing.note(503, after, &history), None);
        assert_eq!(thing.note(403, after, &history), None);
    }

    #[test]
    fn what_was_seen_gone_does_not_come_back() {
        let (history, thing) = (History::default(), thing());
        assert_eq!(thing.note(403, pace::now(), &history), None);
        let after = pace::now() + Duration::from_millis(1);
        assert!(thing.note(200, after, &history).is_some());
    }

    #[test]
    fn what_was_to_live_is_not_refused() {
        let (history, thing) = (History::default(), Thing::that_lives("a child", "/v1/x", "t"));
        assert_eq!(thing.note(200, pace::now(), &history), None);
        assert!(thing.note(403, pace::now(), &history).is_some());
    }
}
