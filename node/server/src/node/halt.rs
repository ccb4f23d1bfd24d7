//! A node whose state machine cannot be written closes its files and opens them again.
//!
//! sled that met a full disk goes on failing when there is space again, and a state that takes no
//! more entries must not be skipped. Both end the same way: consensus and files are closed in good
//! order, the node waits for space, and then starts as after a restart, but unsealed where it was.

use std::sync::{Arc, MutexGuard};
use std::time::Duration;

use conclave_barrier::RootKey;
use conclave_memory::SecretKey;

use super::phase::{Halted, Phase};
use super::{Node, Running};

impl Node {
    /// Closes the files where a lack of space may be the reason, so that they are opened again;
    /// ends the process where it is not, or where that did not help a moment ago.
    pub(super) async fn halt_or_end(&self, running: &Arc<Running>, reason: String) {
        let now = self.ports.clock.monotonic();
        let again = self.reopened_at().is_some_and(|at| now.saturating_sub(at) < REOPEN_AGAIN_MIN);
        let for_space = self.space.is_full() || running.opened.state_fails();
        if again || !for_space {
            self.end_with(reason);
            return;
        }
        let _one = self.transition.lock().await;
        match self.phase() {
            Phase::Unsealed(now, core) if Arc::ptr_eq(&now, running) => {
                *self.kept_root_key() = copy_of(Some(core.barrier().root_key()));
            }
            Phase::Sealed(now) if Arc::ptr_eq(&now, running) => {}
            _ => return,
        }
        let (cluster_id, node_id) = (running.cluster_id, running.node_id);
        self.set_phase(Phase::Halted(Halted { cluster_id, node_id }));
        tracing::error!(reason, "this node closes its files and waits for disk space");
        running.stop().await;
    }

    /// Opens the files again once there is space.
    pub(super) async fn go_on_with_space(&self, halted: Halted) {
        if self.space.is_full() {
            return;
        }
        {
            let _one = self.transition.lock().await;
            let same = |now: Halted| now.node_id == halted.node_id;
            if !matches!(self.phase(), Phase::Halted(now) if same(now)) {
                return;
            }
            let Some(identity) = self.identities.load() else { return };
            *self.reopened_at() = Some(self.ports.clock.monotonic());
            let node = self.me();
            let opening = tokio::task::spawn_blocking(move || node.open_files(identity));
            match opening.await {
                Ok(Ok(opened)) => self.set_phase(Phase::Greeting(opened)),
                Ok(Err(error)) => return drop(self.end_for(&error)),
                Err(_) => return self.end_with("opening the files again panicked".to_owned()),
            }
        }
        tracing::info!("there is space again: this node goes on");
        self.spawn_greeting();
    }

    pub(super) fn kept_root_key(&self) -> MutexGuard<'_, Option<RootKey>> {
        self.kept_root_key.lock().expect("no code panics while it holds this")
    }

    fn reopened_at(&self) -> MutexGuard<'_, Option<Duration>> {
        self.reopened_at.lock().expect("no code panics while it holds this")
    }
}

/// Keys are copied where a comment says why only: the original goes with the core it belongs to.
pub(super) fn copy_of(root_key: Option<&RootKey>) -> Option<RootKey> {
    let bytes = root_key?.danger_expose();
    Some(RootKey::new(SecretKey::fill_with(|key| key.copy_from_slice(bytes))))
}

/// Files that had to be opened again this soon are not helped by that.
const REOPEN_AGAIN_MIN: Duration = Duration::from_secs(30);
