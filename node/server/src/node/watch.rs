//! Background work of a node: joining, unsealing by itself, following the keyring, noticing the end.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use conclave_barrier::ledger::Ledger;

use super::Node;
use super::phase::Phase;

impl Node {
    /// Starts what runs beside requests. Each task ends when the node is dropped.
    pub(super) fn spawn_background(self: &Arc<Self>) {
        let node = self.clone();
        let joining = async move { node.join_configured_peers().await };
        self.ports.spawn.spawn("join", Box::pin(joining));

        self.spawn_greeting();
        self.spawn_anchoring();

        let node = Arc::downgrade(self);
        let clock = self.ports.clock.clone();
        let housekeeping = async move {
            while let Some(node) = node.upgrade() {
                node.keep_house().await;
                drop(node);
                clock.sleep(HOUSEKEEPING_INTERVAL).await;
            }
        };
        self.ports.spawn.spawn("housekeeping", Box::pin(housekeeping));
    }

    /// Asks the peers whether this node may take part, where it does not know yet.
    pub(super) fn spawn_greeting(&self) {
        let node = self.me();
        let greeting = async move { node.greet_peers().await };
        self.ports.spawn.spawn("greeting", Box::pin(greeting));
    }

    /// One round of what must happen now and then, whatever else goes on.
    async fn keep_house(&self) {
        match self.phase() {
            Phase::Alone | Phase::Greeting(_) | Phase::Out(_) => self.metrics.upkeep(),
            Phase::Halted(halted) => {
                self.metrics.upkeep();
                self.go_on_with_space(halted).await;
            }
            Phase::Sealed(running) => {
                self.look_after(&running, true).await;
                self.put_out_if_told(&running).await;
                self.try_auto_unseal().await;
            }
            Phase::Unsealed(running, core) => {
                self.look_after(&running, false).await;
                self.put_out_if_told(&running).await;
                self.follow_space(&running);
                let view = running.ledger.view();
                if let Err(error) = core.barrier().follow(view.as_ref()) {
                    tracing::error!(%error, "the keyring no longer opens with this node's root key");
                    let _one = self.transition.lock().await;
                    if matches!(self.phase(), Phase::Unsealed(_, now) if Arc::ptr_eq(&now, &core)) {
                        self.seal_now(running, "its root key is no longer the cluster's");
                    }
                    return;
                }
                if running.raft.status().is_leader
                    && let Err(error) = core.maintain().await
                {
                    tracing::warn!(%error, "maintenance of the barrier did not finish");
                }
            }
        }
    }

    /// Tells consensus when the disk or the audit log takes nothing, and when it does again.
    fn follow_space(&self, running: &Arc<super::Running>) {
        let full = self.has_no_space();
        if self.told_full.load(Ordering::Acquire) == full {
            return;
        }
        // Whoever changes the phase now tells it too, or this runs again.
        let Ok(_one) = self.transition.try_lock() else { return };
        if matches!(self.phase(), Phase::Unsealed(now, _) if Arc::ptr_eq(&now, running)) {
            self.tell_readiness(running);
        }
    }

    /// Ends the process where consensus has ended by itself, since only a fresh start re-reads the
    /// disk; closes connections to nodes that are members no more; keeps the gauges fresh.
    async fn look_after(&self, running: &Arc<super::Running>, sealed: bool) {
        let status = running.raft.status();
        if let Some(reason) = status.fatal {
            self.halt_or_end(running, format!("consensus has stopped: {reason}")).await;
        } else if running.opened.state_fails() && !self.space.is_full() {
            self.halt_or_end(running, "the state machine cannot be written".to_owned()).await;
        }
        let members: Vec<_> = status.members.iter().map(|view| view.member.node_id).collect();
        if !members.is_empty() {
            self.transport.retain(&members);
        }
        self.metrics.upkeep();
        metrics::gauge!("conclave_core_sealed").set(f64::from(u8::from(sealed)));
        metrics::gauge!("conclave_state_engine_bytes").set(running.state.engine_bytes() as f64);
    }
}

const HOUSEKEEPING_INTERVAL: Duration = Duration::from_millis(250);
