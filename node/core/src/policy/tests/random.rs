//! Random policies and requests, under one seed.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::oracle::{Ask, Stanza};
use crate::policy::capability::Capability;
use crate::policy::grant::Grant;
use crate::policy::parameters::ParameterRules;
use crate::policy::pattern::Pattern;
use crate::policy::written::{Rule, RulePath};
use crate::policy::{PageLimit, Policy, Position, Question};

/// How many policies a caller has.
const POLICIES: usize = 3;

/// SplitMix64.
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x6a09_e667_f3bc_c908)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    /// True in `percent` of all cases.
    fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    fn pick<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.below(list.len())]
    }

    /// Segments of one letter mostly, so that patterns of equal length are common.
    fn segment(&mut self) -> &'static str {
        self.pick::<&'static str>(&["a", "b", "c", "a", "b", "ab", "ba"])
    }

    fn path(&mut self) -> Vec<&'static str> {
        (0..3 + self.below(3)).map(|_| self.segment()).collect()
    }

    /// The policies of a caller, about paths like `themes`.
    pub(super) fn stanzas(&mut self, themes: &[Vec<&'static str>]) -> Vec<Stanza> {
        (0..4 + self.below(10)).map(|_| self.stanza(themes)).collect()
    }

    pub(super) fn themes(&mut self) -> Vec<Vec<&'static str>> {
        (0..2).map(|_| self.path()).collect()
    }

    fn stanza(&mut self, themes: &[Vec<&'static str>]) -> Stanza {
        let theme = self.pick(themes).clone();
        let words = match self.below(10) {
            0 => vec!["deny"],
            1 => vec!["read", "deny"],
            2 => vec![],
            _ => ["create", "read", "update", "delete", "list", "patch", "scan", "sudo"]
                .into_iter()
                .filter(|_| self.chance(70))
                .collect(),
        };
        let strict = self.chance(60);
        let mut some = |percent| strict && self.chance(percent);
        let (allowed, denied, required) = (some(35), some(35), some(20));
        let (wrap_min, wrap_max, page) = (some(10), some(10), some(45));
        Stanza {
            policy: self.below(POLICIES),
            path: self.pattern(&theme),
            words,
            allowed: if allowed { self.parameters() } else { Vec::new() },
            denied: if denied { self.parameters() } else { Vec::new() },
            required: if required { self.required() } else { Vec::new() },
            wrap_min_s: wrap_min.then(|| 1 + self.below(5) as u64),
            wrap_max_s: wrap_max.then(|| 6 + self.below(5) as u64),
            page_max: page.then(|| 1 + self.below(4) as u64),
        }
    }

    /// A pattern that often, but not always, matches `theme`.
    fn pattern(&mut self, theme: &[&'static str]) -> String {
        if self.chance(60) {
            return self.tying_pattern(theme);
        }
        let mut segments: Vec<&str> = theme.to_vec();
        if self.chance(12) {
            let at = self.below(segments.len());
            segments[at] = self.pick::<&str>(&["a", "b", "+a", "a+", "a*b", "c"]);
        }
        if self.chance(70) {
            for segment in &mut segments {
                if self.chance(40) {
                    *segment = "+";
                }
            }
        }
        let mut text = segments.join("/");
        match self.below(10) {
            0..5 => {
                text.truncate(self.below(text.len() + 1));
                if text.ends_with('+') {
                    text.push('/');
                }
                text.push('*');
            }
            5 => text.push('/'),
            _ => {}
        }
        text
    }

    /// Patterns whose first `+` stands at one place: the later rules of precedence decide.
    fn tying_pattern(&mut self, theme: &[&'static str]) -> String {
        let mut segments: Vec<&str> = theme.to_vec();
        segments[0] = "+";
        for segment in &mut segments[1..] {
            if self.chance(45) {
                *segment = "+";
            }
        }
        let mut text = segments.join("/");
        if self.chance(40) {
            text.truncate(2 + self.below(text.len() - 1));
            if text.ends_with('+') {
                text.push('/');
            }
            text.push('*');
        }
        text
    }

    fn parameters(&mut self) -> Vec<(String, Vec<Value>)> {
        let mut list: Vec<(String, Vec<Value>)> = Vec::new();
        for _ in 0..1 + self.below(2) {
            let name = *self.pick(&["a", "B", "c", "limit", "*", "b"]);
            if list.iter().any(|(known, _)| known.eq_ignore_ascii_case(name)) {
                continue;
            }
            let values = (0..self.below(3)).map(|_| self.listed()).collect();
            list.push((name.into(), values));
        }
        list
    }

    fn listed(&mut self) -> Value {
        self.pick(&[
            json!("x"),
            json!("y*"),
            json!("*z"),
            json!("*m*"),
            json!(1),
            json!({"k": [1]}),
            json!(true),
        ])
        .clone()
    }

    fn required(&mut self) -> Vec<String> {
        (0..1 + self.below(2)).map(|_| (*self.pick(&["a", "B", "limit"])).to_string()).collect()
    }

    pub(super) fn ask(&mut self, themes: &[Vec<&'static str>]) -> Ask {
        let word =
            *self.pick(&["read", "create", "update", "patch", "delete", "list", "list", "scan"]);
        let lists = word == "list" || word == "scan";
        let mut segments = self.pick(themes).clone();
        if self.chance(25) {
            let at = self.below(segments.len());
            segments[at] = self.segment();
        }
        if self.chance(10) {
            segments.push("c");
        }
        if lists && self.chance(30) {
            segments.pop();
        }
        let mut path = segments.join("/");
        if lists {
            path.push('/');
        }
        Ask {
            path,
            word,
            protected: self.chance(15),
            sent: (!lists && self.chance(75)).then(|| self.sent()),
            wrap_s: self.chance(60).then(|| self.below(12) as u64),
            limit: if lists && self.chance(60) { Some(self.limit()) } else { None },
        }
    }

    fn sent(&mut self) -> Map<String, Value> {
        let mut sent = Map::new();
        for _ in 0..1 + self.below(3) {
            let name = *self.pick(&["a", "A", "b", "B", "c", "a", "b"]);
            let value = match self.below(12) {
                0 => json!("x"),
                1 => json!("yes"),
                2 => json!("quiz"),
                3 => json!("hmm"),
                4 => json!("x, yes"),
                5 => json!(["x", "q"]),
                6 => json!(["yes", "x"]),
                7 => json!({"k": [1]}),
                8 => json!(1),
                9 => json!(true),
                10 => json!(null),
                _ => json!("q,x"),
            };
            sent.insert(name.into(), value);
        }
        sent
    }

    fn limit(&mut self) -> Value {
        self.pick(&[
            json!("1"),
            json!(2),
            json!("3"),
            json!("9"),
            json!("0"),
            json!(-1),
            json!("max"),
            json!("many"),
        ])
        .clone()
    }
}

/// The same policies, built by hand.
pub(super) fn policies(stanzas: &[Stanza]) -> Vec<Arc<Policy>> {
    (0..POLICIES)
        .map(|number| {
            let rules = (1..)
                .zip(stanzas)
                .filter(|(_, stanza)| stanza.policy == number)
                .map(|(line, stanza)| rule(line, stanza))
                .collect();
            Arc::new(Policy { name: format!("p{number}").into(), rules })
        })
        .collect()
}

fn rule(line: u32, stanza: &Stanza) -> Rule {
    let parameters = |list: &[(String, Vec<Value>)]| {
        let mut rules = ParameterRules::default();
        list.iter().for_each(|(name, values)| rules.add(name, values));
        rules
    };
    let words = stanza.words.iter().map(|word| Capability::from_name(word).unwrap());
    let mut grant = Grant {
        capabilities: words.collect(),
        allowed: parameters(&stanza.allowed),
        denied: parameters(&stanza.denied),
        wrap_ttl_ms_min: stanza.wrap_min_s.map(|s| s * 1000),
        wrap_ttl_ms_max: stanza.wrap_max_s.map(|s| s * 1000),
        page_max: stanza.page_max,
        ..Grant::default()
    };
    stanza.required.iter().for_each(|name| grant.require(name));
    Rule {
        path: RulePath::Plain(Pattern::new(&stanza.path).unwrap()),
        position: Position { line, column: 1 },
        grant: if stanza.words.contains(&"deny") { Grant::deny() } else { grant },
        deny_hides_others: false,
        expires_ms: None,
    }
}

/// The same question.
pub(super) fn question(ask: &Ask) -> Question<'_> {
    Question {
        path: &ask.path,
        capability: Capability::from_name(ask.word).unwrap(),
        needs_sudo: ask.protected,
        parameters: ask.sent.as_ref(),
        wrap_ttl_ms: ask.wrap_s.map(|s| s * 1000),
        limit: PageLimit::of(ask.limit.as_ref()),
    }
}

/// One policy of the caller as HCL.
pub(super) fn hcl(stanzas: &[Stanza], policy: usize) -> String {
    let list = |pairs: &[(String, Vec<Value>)]| -> String {
        let pair = |(name, values): &(String, Vec<Value>)| {
            let values: Vec<String> = values.iter().map(hcl_value).collect();
            format!("{name:?} = [{}]\n", values.join(", "))
        };
        pairs.iter().map(pair).collect()
    };
    let mut text = String::new();
    for stanza in stanzas.iter().filter(|stanza| stanza.policy == policy) {
        text += &format!("path {:?} {{\n  capabilities = {:?}\n", stanza.path, stanza.words);
        for (key, pairs) in
            [("allowed_parameters", &stanza.allowed), ("denied_parameters", &stanza.denied)]
        {
            if !pairs.is_empty() {
                text += &format!("  {key} = {{\n{}}}\n", list(pairs));
            }
        }
        text += &format!("  required_parameters = {:?}\n", stanza.required);
        for (key, number) in [
            ("min_wrapping_ttl", stanza.wrap_min_s),
            ("max_wrapping_ttl", stanza.wrap_max_s),
            ("pagination_limit", stanza.page_max),
        ] {
            if let Some(number) = number {
                text += &format!("  {key} = {number}\n");
            }
        }
        text += "}\n";
    }
    text
}

fn hcl_value(value: &Value) -> String {
    if *value == json!({"k": [1]}) { "{ k = [1] }".into() } else { value.to_string() }
}

/// One policy of the caller as JSON.
pub(super) fn json_text(stanzas: &[Stanza], policy: usize) -> String {
    let pairs = |pairs: &[(String, Vec<Value>)]| -> Map<String, Value> {
        pairs.iter().map(|(name, values)| (name.clone(), values.clone().into())).collect()
    };
    let paths: Vec<Value> = stanzas
        .iter()
        .filter(|stanza| stanza.policy == policy)
        .map(|stanza| {
            let mut body = Map::new();
            body.insert("capabilities".into(), json!(stanza.words));
            body.insert("allowed_parameters".into(), pairs(&stanza.allowed).into());
            body.insert("denied_parameters".into(), pairs(&stanza.denied).into());
            body.insert("required_parameters".into(), json!(stanza.required));
            for (key, number) in [
                ("min_wrapping_ttl", stanza.wrap_min_s),
                ("max_wrapping_ttl", stanza.wrap_max_s),
                ("pagination_limit", stanza.page_max),
            ] {
                if let Some(number) = number {
                    body.insert(key.into(), number.into());
                }
            }
            json!({ stanza.path.clone(): body })
        })
        .collect();
    json!({ "path": paths }).to_string()
}
