//! Who leads next.
//!
//! Leadership is handed only to a voter that answered just now and has the log: a transfer to a
//! dead node costs more than an election. Of those the fittest is chosen.

use conclave_ports::Elapsed;
use conclave_proto::v1;
use futures::future::join_all;
use openraft::AsyncRuntime;
use openraft::async_runtime::watch::WatchReceiver;

use crate::membership::{Changed, LAG_ENTRIES_MAX, acked_within};
use crate::node::Node;
use crate::observe::{MetricsOf, target};
use crate::{MembershipError, Target};

/// How well a node leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fitness {
    /// It can take no command, and its disk is slow.
    SealedAndSlow,
    /// It can take no command.
    Sealed,
    /// It can take commands, some at least; its disk is full or slow.
    Unfit,
    /// Nothing is missing.
    Fit,
}

impl Fitness {
    pub(crate) fn new(sealed: bool, unfit: bool) -> Self {
        match (sealed, unfit) {
            (true, true) => Self::SealedAndSlow,
            (true, false) => Self::Sealed,
            (false, true) => Self::Unfit,
            (false, false) => Self::Fit,
        }
    }
}

impl<R: AsyncRuntime> Node<R> {
    pub(crate) fn fitness(&self) -> Fitness {
        Fitness::new(self.flags.sealed(), self.flags.unfit())
    }

    /// Hands over because somebody asked: to the fittest that is not sealed.
    pub(crate) async fn transfer(&self) -> Changed<()> {
        self.transfer_to(Fitness::Unfit).await
    }

    /// Hands over where another node leads better than this one.
    pub(crate) async fn transfer_to_fitter(&self) -> Changed<()> {
        let better = match self.fitness() {
            Fitness::SealedAndSlow => Fitness::Sealed,
            Fitness::Sealed => Fitness::Unfit,
            Fitness::Unfit | Fitness::Fit => Fitness::Fit,
        };
        self.transfer_to(better).await
    }

    async fn transfer_to(&self, least: Fitness) -> Changed<()> {
        self.must_lead()?;
        let successor = self.successor(least).await?;
        let node_id = self.config.node_id;
        tracing::info!(to = successor.node_id, "handing leadership over");
        let handing = async {
            let asked = self.raft.trigger().transfer_leader(successor.node_id).await;
            asked.map_err(|_| MembershipError::Unavailable)?;
            let led =
                |metrics: &MetricsOf<R>| metrics.current_leader.is_some_and(|id| id != node_id);
            self.until(led).await
        };
        self.bounded(2, handing).await
    }

    /// The best voter to lead next, among those that answer.
    async fn successor(&self, least: Fitness) -> Changed<Target> {
        let (last, candidates) = self.candidates();
        let limit = self.config.election_timeout_min;
        let asked = candidates.into_iter().map(|target| async move {
            let request = v1::StatusRequest { from: self.config.node_id, ..Default::default() };
            let answer = self.transport.status(&target, request);
            match self.ports.within(limit, answer).await {
                Ok(Ok(status)) => Some((target, status)),
                Ok(Err(_)) | Err(Elapsed) => None,
            }
        });
        let answers = join_all(asked).await.into_iter().flatten();
        let able = answers
            .map(|(target, status)| {
                let fitness = Fitness::new(status.sealed, status.unfit);
                ((fitness, status.last_log_id.map_or(0, |id| id.index)), target)
            })
            .filter(|((fitness, _), _)| *fitness >= least)
            .filter(|((_, index), _)| index.saturating_add(LAG_ENTRIES_MAX) >= last);
        // Of equals the lowest id, so that a run can be repeated.
        let best = able.reduce(|best, next| if next.0 > best.0 { next } else { best });
        best.map(|(_, target)| target).ok_or_else(|| {
            MembershipError::Refused(
                "no other voter is live, caught up, unsealed and fit to lead".to_owned(),
            )
        })
    }

    /// The last index, and the other voters that acknowledged something recently.
    fn candidates(&self) -> (u64, Vec<Target>) {
        let metrics = self.metrics.borrow_watched();
        let members = metrics.membership_config.membership();
        let voters = members.voter_ids().filter(|id| *id != self.config.node_id);
        let live =
            voters.filter(|id| acked_within(&metrics, *id, self.config.election_timeout_max));
        let targets = live.filter_map(|id| target(members, id)).collect();
        (metrics.last_log_index.unwrap_or(0), targets)
    }
}
