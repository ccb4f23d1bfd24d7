//! What passed, beside what should.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::outcome::Outcome;

/// The comparison.
pub(super) struct Verdict {
    passed: BTreeSet<String>,
    /// On the reference list, and neither passed nor put off; with the suite's reason.
    missing: BTreeMap<String, String>,
    /// Put off until an engine exists: test → engine.
    later: BTreeMap<String, String>,
    /// Put off but passing already.
    early: BTreeSet<String>,
}

impl Verdict {
    /// `reference` has a name a line, `later` a name and an engine. With patterns only names count
    /// that contain one of them.
    pub(super) fn new(
        outcomes: Vec<Outcome>,
        reference: &str,
        later: &str,
        patterns: &[String],
    ) -> Self {
        let counts = |name: &str| patterns.is_empty() || patterns.iter().any(|p| name.contains(p));
        let (passed, failed): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(|o| o.passed);
        let mut reasons = BTreeMap::new();
        for Outcome { name, reason, .. } in failed {
            // The first one: what breaks afterwards is often its consequence.
            reasons.entry(name).or_insert(reason);
        }
        // A test whose tear-down failed has passed before that.
        let passed = passed.into_iter().map(|outcome| outcome.name);
        let passed: BTreeSet<_> = passed.filter(|name| !reasons.contains_key(name)).collect();
        let put_off = entries(later).filter(|(name, _)| counts(name));
        let (early, later): (BTreeMap<_, _>, BTreeMap<_, _>) =
            put_off.partition(|(name, _)| passed.contains(name));
        let missing = entries(reference)
            .map(|(name, _)| name)
            .filter(|name| counts(name) && !passed.contains(name) && !later.contains_key(name))
            .map(|name| {
                let reason = reasons.get(&name).map_or("it did not run", String::as_str);
                (name, reason.to_owned())
            })
            .collect();
        Self { passed, missing, later, early: early.into_keys().collect() }
    }

    /// For the file that a run leaves.
    pub(super) fn passed_lines(&self) -> String {
        self.passed.iter().map(|name| format!("{name}\n")).collect()
    }

    /// Whether nothing is missing.
    pub(super) fn is_good(&self) -> bool {
        self.missing.is_empty()
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f)?;
        for (name, engine) in &self.later {
            writeln!(f, "later, with {engine}: {name}")?;
        }
        for name in &self.early {
            writeln!(f, "listed for later and passing already: {name}")?;
        }
        for (name, reason) in &self.missing {
            writeln!(f, "missing: {name}: {reason}")?;
        }
        writeln!(f, "{} passed, {} failed", self.passed.len(), self.missing.len())
    }
}

/// The lines of a list: a name and what stands behind it; `#` begins a comment.
fn entries(list: &str) -> impl Iterator<Item = (String, String)> + '_ {
    let lines = list.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#'));
    lines.map(|line| {
        let (name, rest) = line.split_once(' ').unwrap_or((line, ""));
        (name.to_owned(), rest.trim().to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::step;

    fn outcome(name: &str, passed: bool) -> Outcome {
        Outcome { name: name.to_owned(), passed, reason: "said no".to_owned() }
    }

    const REFERENCE: &str = "# counts\na::one\na::two\nb::three\nb::four\n";
    const LATER: &str = "b::three approle\nb::four pki\n";

    #[test]
    fn what_is_missing_is_named() {
        let outcomes = vec![
            outcome("a::one", true),
            outcome("a::two", false),
            outcome("b::three", false),
            outcome("b::four", true),
            outcome("c::extra", true),
        ];
        let verdict = Verdict::new(outcomes, REFERENCE, LATER, &[]);
        assert_eq!(
            verdict.to_string(),
            "\nlater, with approle: b::three\n\
             listed for later and passing already: b::four\n\
             missing: a::two: said no\n\
             3 passed, 1 failed\n"
        );
        assert_eq!(verdict.passed_lines(), "a::one\nb::four\nc::extra\n");
        assert!(!verdict.is_good());
    }

    #[test]
    fn a_test_that_did_not_run_or_broke_afterwards_is_missing() {
        let outcomes = vec![outcome("a::one", true), outcome("a::one", false)];
        let verdict = Verdict::new(outcomes, REFERENCE, LATER, &["a::".to_owned()]);
        let text = verdict.to_string();
        assert!(text.contains("missing: a::one: said no"), "{text}");
        assert!(text.contains("missing: a::two: it did not run"), "{text}");
        assert!(text.ends_with("0 passed, 2 failed\n"), "{text}");
    }

    #[test]
    fn what_is_put_off_is_on_the_reference_list_and_has_an_engine() {
        let read = |file: &str| {
            std::fs::read_to_string(step::root().join("ops/conformance").join(file)).expect(file)
        };
        let reference = read("hvac-reference.txt");
        let names: BTreeSet<_> = entries(&reference).map(|(name, _)| name).collect();
        assert!(names.len() > 500, "{} names", names.len());
        for (name, engine) in entries(&read("hvac-later.txt")) {
            assert!(names.contains(&name), "{name} is not on the reference list");
            assert!(!engine.is_empty(), "{name} waits for no engine");
        }
    }
}
