//! The process's metrics: one recorder, rendered in Prometheus' text format by our own listeners.
//!
//! Labels carry operations, route templates, mount *types* and statuses, never a name, a path or
//! an address of a client.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

/// The recorder was installed before, or its buckets are wrong.
#[derive(Debug, thiserror::Error)]
#[error("metrics cannot be set up: {0}; install them once, at the start of main")]
pub struct MetricsError(String);

/// Renders what was recorded.
#[derive(Clone)]
pub struct Metrics {
    handle: PrometheusHandle,
}

impl Metrics {
    /// Makes this process's recorder the one that `metrics`' macros write to.
    ///
    /// # Errors
    /// [`MetricsError`] where one is installed already.
    pub fn install() -> Result<Self, MetricsError> {
        let handle = builder()
            .and_then(PrometheusBuilder::install_recorder)
            .map_err(|error| MetricsError(error.to_string()))?;
        describe();
        Ok(Self { handle })
    }

    /// All metrics, in Prometheus' text format.
    #[must_use]
    pub fn render(&self) -> String {
        self.handle.render()
    }

    /// Folds histogram samples into their buckets. They wait in memory until this or
    /// [`Metrics::render`] runs, so call it every few seconds.
    pub fn upkeep(&self) {
        self.handle.run_upkeep();
    }
}

fn builder() -> Result<PrometheusBuilder, metrics_exporter_prometheus::BuildError> {
    PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)?
        .set_buckets_for_metric(Matcher::Suffix("_entries".to_owned()), &ENTRIES)
}

/// A description: the name as the recording crate writes it, its unit and what it means.
type Description = (&'static str, Unit, &'static str);

fn describe() {
    for (name, unit, text) in GAUGES {
        describe_gauge!(name, unit, text);
    }
    for (name, unit, text) in COUNTERS {
        describe_counter!(name, unit, text);
    }
    for (name, unit, text) in HISTOGRAMS {
        describe_histogram!(name, unit, text);
    }
}

const GAUGES: [Description; 12] = [
    ("conclave_disk_free_bytes", Unit::Bytes, "What the data directory may still take"),
    ("conclave_disk_full", Unit::Count, "1 where less than the reserve is left"),
    ("conclave_raft_term", Unit::Count, "The Raft term this node is in"),
    ("conclave_raft_leader", Unit::Count, "1 where this node leads"),
    ("conclave_raft_committed_index", Unit::Count, "The newest entry known to be committed"),
    ("conclave_raft_applied_index", Unit::Count, "The newest entry applied to the state"),
    ("conclave_raft_purged_index", Unit::Count, "The newest entry that was cut from the log"),
    ("conclave_raft_proposals_waiting", Unit::Count, "Commands that wait to be proposed"),
    ("conclave_core_sealed", Unit::Count, "1 where this node holds no keys"),
    ("conclave_state_overlay_bytes", Unit::Bytes, "Applied state not yet handed to sled"),
    ("conclave_state_engine_bytes", Unit::Bytes, "The size of sled on disk"),
    ("conclave_snapshot_last_index", Unit::Count, "The last entry in the newest own snapshot"),
];

const COUNTERS: [Description; 9] = [
    ("conclave_state_scrub_rounds_total", Unit::Count, "Whole rounds of the scrub"),
    ("conclave_log_written_bytes_total", Unit::Bytes, "Written to the Raft log"),
    ("conclave_snapshots_total", Unit::Count, "Own snapshots built"),
    ("conclave_raft_read_barrier_rounds_total", Unit::Count, "Rounds that reads waited for"),
    ("conclave_reads_handed_on_total", Unit::Count, "Reads that this node could not serve itself"),
    ("conclave_core_lost_races_total", Unit::Count, "Commits that began again after a lost race"),
    ("conclave_http_requests_total", Unit::Count, "Requests by door, route template and status"),
    ("conclave_peer_handshakes_total", Unit::Count, "TLS handshakes on the peer port by outcome"),
    ("conclave_peer_refused_total", Unit::Count, "Peer messages whose sender was not authorised"),
];

const HISTOGRAMS: [Description; 3] = [
    ("conclave_raft_proposal_seconds", Unit::Seconds, "From proposing a command to applying it"),
    ("conclave_log_fsync_seconds", Unit::Seconds, "One group commit of the Raft log"),
    ("conclave_http_request_seconds", Unit::Seconds, "A request, from its head to its answer"),
];

/// 50 microseconds to 10 seconds: from one fsync of a good disk to a request's time limit.
const SECONDS: [f64; 16] = [
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
    1.0, 2.5, 10.0,
];

const ENTRIES: [f64; 8] = [1.0, 2.0, 4.0, 8.0, 16.0, 64.0, 256.0, 1024.0];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recorded_values_are_rendered_with_buckets_and_help() {
        let recorder = builder().expect("the buckets are not empty").build_recorder();
        let handle = recorder.handle();
        metrics::with_local_recorder(&recorder, || {
            describe();
            metrics::gauge!("conclave_raft_term").set(7.0);
            metrics::counter!("conclave_http_requests_total", "status" => "200").increment(3);
            metrics::histogram!("conclave_log_fsync_seconds").record(0.000_2);
        });
        let text = Metrics { handle }.render();
        for line in [
            "conclave_raft_term 7",
            "conclave_http_requests_total{status=\"200\"} 3",
            "conclave_log_fsync_seconds_bucket{le=\"0.00025\"} 1",
            "# HELP conclave_raft_term The Raft term this node is in",
        ] {
            assert!(text.lines().any(|got| got == line), "no line {line:?} in\n{text}");
        }
    }
}
