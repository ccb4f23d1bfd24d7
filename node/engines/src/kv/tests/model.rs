//! A mount against what it is to its users, in a few lines.

use proptest::prelude::*;

use super::*;

/// One version: its value, from when on it is deleted, whether it was destroyed.
#[derive(Clone)]
struct Version {
    value: u64,
    deleted_ms: Option<u64>,
    destroyed: bool,
}

/// One name, with the settings that count.
#[derive(Default)]
struct Model {
    /// From version 1; those given up stay as `None`.
    versions: Vec<Option<Version>>,
    max_versions: [u64; 2],
    after_ms: [u64; 2],
    cas_required: [bool; 2],
}

/// 0 is the mount's setting, 1 the name's.
#[derive(Debug, Clone)]
enum Step {
    Put(Option<u64>, u64),
    Patch(Option<u64>, u64),
    DeleteNewest,
    Delete(Vec<u64>),
    Undelete(Vec<u64>),
    Destroy(Vec<u64>),
    Remove,
    MaxVersions(usize, u64),
    DeleteAfter(usize, u64),
    CasRequired(usize, bool),
    Wait(u64),
    MoveAway,
}

fn any_step() -> impl Strategy<Value = Step> {
    let numbers = || prop::collection::vec(0_u64..9, 1..4);
    let cas = || prop::option::weighted(0.6, 0_u64..9);
    prop_oneof![
        6 => (cas(), any::<u64>()).prop_map(|(cas, value)| Step::Put(cas, value)),
        3 => (cas(), any::<u64>()).prop_map(|(cas, value)| Step::Patch(cas, value)),
        2 => Just(Step::DeleteNewest),
        2 => numbers().prop_map(Step::Delete),
        3 => numbers().prop_map(Step::Undelete),
        1 => numbers().prop_map(Step::Destroy),
        1 => Just(Step::Remove),
        1 => (0_usize..2, 0_u64..4).prop_map(|(whose, n)| Step::MaxVersions(whose, n)),
        1 => (0_usize..2, 0_u64..9).prop_map(|(whose, s)| Step::DeleteAfter(whose, s)),
        1 => (0_usize..2, any::<bool>()).prop_map(|(whose, flag)| Step::CasRequired(whose, flag)),
        2 => (1_u64..9).prop_map(Step::Wait),
        1 => Just(Step::MoveAway),
    ]
}

impl Model {
    fn current(&self) -> u64 {
        self.versions.len() as u64
    }

    fn get(&mut self, number: u64) -> Option<&mut Version> {
        let number = if number == 0 { self.current() } else { number };
        let index = usize::try_from(number.checked_sub(1)?).unwrap();
        self.versions.get_mut(index)?.as_mut()
    }

    fn value(&mut self, number: u64, now_ms: u64) -> Option<u64> {
        let version = self.get(number)?;
        let gone = version.destroyed || version.deleted_ms.is_some_and(|ms| ms <= now_ms);
        (!gone).then_some(version.value)
    }

    fn cas_holds(&self, cas: Option<u64>) -> bool {
        match cas {
            Some(cas) => cas == self.current(),
            None => !self.cas_required[0] && !self.cas_required[1],
        }
    }

    fn add(&mut self, value: u64, now_ms: u64) {
        let after = self.after_ms.into_iter().filter(|ms| *ms > 0).min();
        let deleted_ms = after.map(|ms| now_ms + ms);
        self.versions.push(Some(Version { value, deleted_ms, destroyed: false }));
        let [mount, name] = self.max_versions;
        let keep = [name, mount, 10].into_iter().find(|max| *max > 0).unwrap();
        let keep = usize::try_from(keep).unwrap();
        let given_up = self.versions.len().saturating_sub(keep);
        self.versions[..given_up].fill(None);
    }

    /// Applies the step to the model and to the mount, which must agree on the outcome.
    fn apply(&mut self, mount: &mut Mount, step: &Step) {
        let now_ms = mount.now_ms;
        match step {
            Step::Put(cas, value) | Step::Patch(cas, value) => {
                let patches = matches!(step, Step::Patch(..));
                let operation = if patches { Operation::Patch } else { Operation::Write };
                let options = cas.map_or(json!({}), |cas| json!({ "cas": cas }));
                let body = json!({"data": {"value": value}, "options": options});
                let fine = self.cas_holds(*cas) && (!patches || self.value(0, now_ms).is_some());
                let written = mount.call(operation, "data/x", &body);
                assert_eq!(written.is_ok(), fine, "{step:?}: {written:?}");
                if fine {
                    self.add(*value, now_ms);
                }
            }
            Step::DeleteNewest => {
                mount.call(Operation::Delete, "data/x", &json!({})).unwrap();
                self.delete(&[0], now_ms);
            }
            Step::Delete(numbers) => {
                mount.write("delete/x", &json!({"versions": numbers})).unwrap();
                let numbers: Vec<_> = numbers.iter().copied().filter(|n| *n > 0).collect();
                self.delete(&numbers, now_ms);
            }
            Step::Undelete(numbers) => {
                mount.write("undelete/x", &json!({"versions": numbers})).unwrap();
                for number in numbers.iter().filter(|n| **n > 0) {
                    self.get(*number).into_iter().filter(|v| !v.destroyed).for_each(|v| {
                        v.deleted_ms = None;
                    });
                }
            }
            Step::Destroy(numbers) => {
                mount.write("destroy/x", &json!({"versions": numbers})).unwrap();
                for number in numbers.iter().filter(|n| **n > 0) {
                    self.get(*number).into_iter().for_each(|v| v.destroyed = true);
                }
            }
            Step::Remove => {
                mount.call(Operation::Delete, "metadata/x", &json!({})).unwrap();
                self.versions.clear();
                (self.max_versions[1], self.after_ms[1]) = (0, 0);
                self.cas_required[1] = false;
            }
            Step::Wait(seconds) => mount.now_ms += seconds * 1000,
            Step::MoveAway => {
                let moved = mount.write("move/x", &json!({"to": "y"}));
                if moved.is_ok() {
                    mount.write("move/y", &json!({"to": "x"})).unwrap();
                }
            }
            Step::MaxVersions(..) | Step::DeleteAfter(..) | Step::CasRequired(..) => {
                self.set(mount, step);
            }
        }
    }

    fn set(&mut self, mount: &mut Mount, step: &Step) {
        let path = |whose: &usize| if *whose == 0 { "config" } else { "metadata/x" };
        match step {
            Step::MaxVersions(whose, number) => {
                mount.write(path(whose), &json!({"max_versions": number})).unwrap();
                self.max_versions[*whose] = *number;
            }
            Step::DeleteAfter(whose, seconds) => {
                mount.write(path(whose), &json!({"delete_version_after": seconds})).unwrap();
                self.after_ms[*whose] = seconds * 1000;
            }
            Step::CasRequired(whose, flag) => {
                mount.write(path(whose), &json!({"cas_required": flag})).unwrap();
                self.cas_required[*whose] = *flag;
            }
            _ => unreachable!("only settings come here"),
        }
    }

    fn delete(&mut self, numbers: &[u64], now_ms: u64) {
        for number in numbers {
            if self.value(*number, now_ms).is_some() {
                self.get(*number).unwrap().deleted_ms = Some(now_ms);
            }
        }
    }

    /// How many rows a mount with this name alone has for versions.
    fn rows(&self) -> usize {
        self.versions.iter().flatten().filter(|version| !version.destroyed).count()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn a_mount_behaves_as_its_model(steps in prop::collection::vec(any_step(), 1..40)) {
        let mut mount = mount();
        let mut model = Model::default();
        for step in &steps {
            model.apply(&mut mount, step);
            for number in 0..9_u64 {
                let expected = model.value(number, mount.now_ms);
                prop_assert_eq!(mount.value("x", &number.to_string()).ok(), expected);
                mount.now_ms -= 1000;
            }
            let rows = mount.rows.rows.keys().filter(|row| row.starts_with("objects/")).count();
            prop_assert_eq!(rows, model.rows(), "a version has a row as long as it has data");
        }
    }

    #[test]
    fn no_bytes_panic(
        path in "(data|metadata|detailed-metadata|subkeys|delete|destroy|move|copy|config)(/[a-z]{0,3})?",
        body: Vec<u8>,
    ) {
        use Operation::{Delete, List, Patch, Read, Scan, Write};
        for operation in [Write, Read, List, Scan, Delete, Patch] {
            let answer = mount().call_raw(operation, &path, &body, &[]);
            prop_assert!(answer.map_err(|e| e.code).err() != Some(ErrorCode::Internal));
        }
    }

    #[test]
    fn records_come_back(bytes: Vec<u8>) {
        if let Ok(record) = NameRecord::decode(bytes.as_slice()) {
            prop_assert_eq!(NameRecord::decode(record.encode_to_vec().as_slice()), Ok(record));
        }
    }
}
