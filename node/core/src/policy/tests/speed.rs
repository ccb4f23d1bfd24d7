//! A decision costs about the same whatever the number of rules.

use std::fmt::Write;
use std::sync::Arc;
use std::time::Instant;

use crate::policy::{Acl, Capability, Policy, Question};

/// Prints the median of the same decisions with 10 and with 10,000 rules, and of decisions spread
/// over all 10,000, which adds what the processor's caches miss. Run it alone, and optimised.
#[test]
#[ignore = "a measurement"]
fn decisions_with_many_rules() {
    for shape in ["team/data/app-N", "team/data/app-N/*", "team/+/app-N", "team/+/app-N/*"] {
        let [few, many, spread] = [(10, 10), (10_000, 10), (10_000, 10_000)]
            .map(|(rules, asked)| median_ns(shape, rules, asked));
        println!(
            "{shape}: p50 {few} ns with 10 rules, {many} ns with 10000 ({:.2} x), spread {spread} ns",
            many / few
        );
    }
}

#[expect(clippy::disallowed_methods, reason = "it measures this machine")]
fn median_ns(shape: &str, count: usize, asked: usize) -> f64 {
    let mut text = String::new();
    for number in 0..count {
        let path = shape.replace('N', &number.to_string());
        writeln!(text, "path {path:?} {{ capabilities = [\"read\"] }}").unwrap();
    }
    let acl = Acl::compile(&[Arc::new(Policy::parse("p", &text).unwrap())], None, 0);
    let paths: Vec<String> = (0..asked)
        .map(|number| number * (count / asked))
        .map(|number| shape.replace('N', &number.to_string()).replace('+', "x").replace('*', "y"))
        .collect();
    let batch = 50;
    let mut times: Vec<u128> = (0..4_001)
        .map(|turn| {
            let start = Instant::now();
            for at in 0..batch {
                let path = &paths[(turn * 7 + at * 13) % asked];
                assert!(acl.decide(&Question::new(path, Capability::Read)).allowed);
            }
            start.elapsed().as_nanos()
        })
        .collect();
    times.sort_unstable();
    times[times.len() / 2] as f64 / f64::from(u32::try_from(batch).unwrap())
}
