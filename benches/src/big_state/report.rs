//! What a run found, and whether it is within the limits.

use std::time::Duration;

use super::writers::Service;

/// Growth of a node's anonymous memory over a step, in MiB.
pub(crate) struct Growth {
    pub(crate) step: &'static str,
    pub(crate) node: String,
    /// Without the step.
    pub(crate) from_mib: f64,
    pub(crate) peak_mib: f64,
}

impl Growth {
    /// Of samples in KiB, against a level in KiB.
    pub(crate) fn over(step: &'static str, node: &str, from_kib: u64, samples: &[u64]) -> Self {
        let peak = samples.iter().copied().max().unwrap_or(from_kib);
        let mib = |kib: u64| kib as f64 / 1024.0;
        Self { step, node: node.to_owned(), from_mib: mib(from_kib), peak_mib: mib(peak) }
    }

    pub(crate) fn mib(&self) -> f64 {
        (self.peak_mib - self.from_mib).max(0.0)
    }
}

/// A learner that caught up under the default snapshot settings.
pub(crate) struct Learner {
    pub(crate) catch_up: Duration,
    pub(crate) service: Service,
    pub(crate) errors: u64,
    pub(crate) skipped: u64,
}

/// Everything that is reported.
pub(crate) struct Report {
    pub(crate) growths: Vec<Growth>,
    pub(crate) baseline: Service,
    pub(crate) building: Service,
    pub(crate) build: Duration,
    pub(crate) installing: Service,
    pub(crate) catch_up: Duration,
    pub(crate) rebuild: Duration,
    pub(crate) learner: Option<Learner>,
    pub(crate) errors: u64,
    pub(crate) skipped: u64,
}

/// What a run must keep to.
pub(crate) struct Bounds {
    pub(crate) growth_mib: f64,
    pub(crate) cap_mib: f64,
    pub(crate) pause_above_baseline: Duration,
}

impl Report {
    pub(crate) fn print(&self) {
        println!(
            "\n| step | node | MiB without it | MiB at most | growth |\n|---|---|---|---|---|"
        );
        for growth in &self.growths {
            let Growth { step, node, from_mib, peak_mib } = growth;
            println!("| {step} | {node} | {from_mib:.0} | {peak_mib:.0} | {:.0} |", growth.mib());
        }
        println!(
            "\n| while | writes/s | longest gap ms | after s | p99 ms |\n|---|---|---|---|---|"
        );
        row("nothing else", &self.baseline);
        row("the leader builds a snapshot", &self.building);
        row("a node is sent one, installs it and catches up", &self.installing);
        if let Some(learner) = &self.learner {
            row("the same, default snapshot settings", &learner.service);
        }
        println!(
            "\nbuilt in {:.1} s, caught up after {:.1} s, rebuilt in {:.1} s; {} writes failed, {} \
             were not sent in time",
            self.build.as_secs_f64(),
            self.catch_up.as_secs_f64(),
            self.rebuild.as_secs_f64(),
            self.errors,
            self.skipped,
        );
        if let Some(Learner { catch_up, errors, skipped, .. }) = &self.learner {
            println!(
                "under the default snapshot settings caught up after {:.1} s; {errors} writes \
                 failed, {skipped} were not sent in time",
                catch_up.as_secs_f64(),
            );
        }
    }

    /// What is out of bounds, in words.
    pub(crate) fn violations(&self, bounds: &Bounds) -> Vec<String> {
        let mut found = Vec::new();
        for growth in &self.growths {
            let Growth { step, node, peak_mib, .. } = growth;
            if growth.mib() > bounds.growth_mib {
                found.push(format!("{node} grew by {:.0} MiB during: {step}", growth.mib()));
            }
            if *peak_mib > bounds.cap_mib {
                found.push(format!("{node} took {peak_mib:.0} MiB during: {step}"));
            }
        }
        let learner =
            self.learner.as_ref().map(|learner| ("a learner caught up", &learner.service));
        let spans = [("a snapshot was built", &self.building), ("one was sent", &self.installing)];
        for (what, service) in spans.into_iter().chain(learner) {
            let pause = service.gap.saturating_sub(self.baseline.gap);
            if pause > bounds.pause_above_baseline {
                found.push(format!("writes paused {pause:?} longer while {what}"));
            }
        }
        let errors = self.errors + self.learner.as_ref().map_or(0, |learner| learner.errors);
        if errors > 0 {
            found.push(format!("{errors} writes failed"));
        }
        found
    }
}

fn row(what: &str, service: &Service) {
    let ms = |span: Duration| span.as_secs_f64() * 1e3;
    println!(
        "| {what} | {:.0} | {:.0} | {:.1} | {:.0} |",
        service.per_second,
        ms(service.gap),
        service.gap_end.as_secs_f64(),
        ms(service.latency_p99)
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_out_of_bounds_is_told() {
        let bounds = Bounds {
            growth_mib: 128.0,
            cap_mib: 512.0,
            pause_above_baseline: Duration::from_millis(100),
        };
        let mut report = Report {
            growths: vec![Growth::over("build", "node-1", 102_400, &[110_000, 220_000])],
            baseline: Service::default(),
            building: Service { gap: Duration::from_millis(90), ..Service::default() },
            build: Duration::ZERO,
            installing: Service::default(),
            catch_up: Duration::ZERO,
            rebuild: Duration::ZERO,
            learner: None,
            errors: 0,
            skipped: 0,
        };
        assert_eq!(report.violations(&bounds), Vec::<String>::new());
        report.growths.push(Growth::over("build", "node-2", 0, &[132_000]));
        report.building.gap = Duration::from_millis(110);
        assert_eq!(report.violations(&bounds).len(), 2);
    }
}
