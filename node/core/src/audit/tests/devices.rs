use std::time::Duration;

use super::*;

fn begun() -> (Arc<World>, MemorySink, Audit) {
    let (world, sink) = (Arc::new(World::default()), MemorySink::default());
    let audit = audit(&world, &sink, options("file/"));
    (world, sink, audit)
}

fn device(audit: &Audit) -> Arc<Device> {
    audit.devices().next().unwrap().clone()
}

/// The records of the device itself.
fn events(text: &str) -> Vec<serde_json::Value> {
    let lines = text.lines().filter_map(|line| serde_json::from_str(line).ok());
    lines
        .filter(|line: &serde_json::Value| line["type"] == "device")
        .map(|mut line| line["device"].take())
        .collect()
}

#[test]
fn nothing_is_refused_where_nothing_is_logged() {
    let world = Arc::new(World::default());
    let audit = Audit::new(Vec::new(), world.ports());
    assert_eq!(world.run(audit.request(&record("1"))), Ok(()));
    assert_eq!(audit.blocked_for(), None);
}

#[test]
fn a_record_is_handed_over_before_its_request_goes_on_and_synced_soon() {
    let (world, sink, audit) = begun();
    world.run(audit.request(&record("1"))).unwrap();
    assert_eq!(records(&sink.text()).len(), 1);
    assert_eq!(device(&audit).head().seq, 2);
    world.sleep(Duration::from_millis(99));
    assert!(sink.change(|memory| memory.syncs) >= 1);
    assert_eq!(device(&audit).durable_head(), device(&audit).head());
    assert_eq!(audit.durable_heads(), [("file/".to_owned(), device(&audit).head())]);
}

#[test]
fn an_idle_device_syncs_nothing() {
    let (world, sink, audit) = begun();
    world.run(audit.request(&record("1"))).unwrap();
    world.sleep(Duration::from_secs(60));
    assert_eq!(sink.change(|memory| memory.syncs), 1);
}

#[test]
fn with_sync_each_record_is_durable_first() {
    let (world, sink) = (Arc::new(World::default()), MemorySink::default());
    let audit = audit(&world, &sink, DeviceOptions { sync: true, ..options("file/") });
    world.run(audit.request(&record("1"))).unwrap();
    assert_eq!(device(&audit).durable_head().seq, 2);
    sink.change(|memory| memory.sync_fails = true);
    assert_eq!(world.run(audit.request(&record("2"))), Err(Blocked));
    sink.change(|memory| memory.sync_fails = false);
    world.sleep(Duration::from_secs(2));
    world.run(audit.request(&record("3"))).unwrap();
    assert_eq!(events(&sink.text())[1]["event"], "sync_failed");
    assert_eq!(checked(&sink.text(), true).fault, None);
}

#[test]
fn records_that_wait_together_are_written_together() {
    let (world, sink, audit) = begun();
    world.run(audit.request(&record("0"))).unwrap();
    let before = sink.change(|memory| memory.appends);
    let ids: Vec<_> = (0..100).map(|id| id.to_string()).collect();
    let many = ids.iter().map(|id| record(id)).collect::<Vec<_>>();
    let outcomes = world.run(futures::future::join_all(many.iter().map(|one| audit.request(one))));
    assert!(outcomes.iter().all(Result::is_ok));
    assert_eq!(sink.change(|memory| memory.appends) - before, 1);
    assert_eq!(records(&sink.text()).len(), 101);
    assert_eq!(checked(&sink.text(), true).fault, None);
}

#[test]
fn a_full_disk_blocks_requests_and_heals_by_itself() {
    for space in [0, 1, 300, 700] {
        let (world, sink, audit) = begun();
        world.run(audit.request(&record("1"))).unwrap();
        sink.change(|memory| memory.space = space);
        let mut refused = 0;
        while world.run(audit.request(&record("2"))).is_ok() {}
        for _ in 0..5 {
            refused += u64::from(world.run(audit.request(&record("2"))) == Err(Blocked));
        }
        assert_eq!(refused, 5);
        world.sleep(Duration::from_secs(3));
        assert!(audit.blocked_for().unwrap() >= Duration::from_secs(3));
        sink.change(|memory| memory.space = usize::MAX);
        world.sleep(Duration::from_secs(2));
        assert_eq!(audit.blocked_for(), None, "it heals without a request");
        world.run(audit.request(&record("3"))).unwrap();
        let report = checked(&sink.text(), true);
        assert_eq!((report.fault, report.torn), (None, 0), "the torn line was completed");
        let recovered = events(&sink.text());
        assert_eq!(recovered[1]["event"], "recovered");
        assert!(recovered[1]["missed"].as_u64().unwrap() >= 5);
    }
}

#[test]
fn space_that_comes_bit_by_bit_ends_well() {
    let (world, sink, audit) = begun();
    sink.change(|memory| memory.space = 0);
    assert_eq!(world.run(audit.request(&record("1"))), Err(Blocked));
    for _ in 0..100 {
        sink.change(|memory| memory.space += 7);
        world.sleep(Duration::from_secs(2));
    }
    sink.change(|memory| memory.space = usize::MAX);
    world.sleep(Duration::from_secs(2));
    world.run(audit.request(&record("2"))).unwrap();
    assert_eq!(checked(&sink.text(), true).fault, None);
}

#[test]
fn a_slow_device_is_waited_for_this_long_and_not_longer() {
    let (world, sink, audit) = begun();
    world.run(audit.request(&record("1"))).unwrap();
    sink.change(|memory| memory.stalled = true);
    let clock = world.ports().clock;
    let before = clock.monotonic();
    assert_eq!(world.run(audit.request(&record("2"))), Err(Blocked));
    let waited = clock.monotonic() - before;
    assert!(waited >= Duration::from_secs(3) && waited < Duration::from_secs(4), "{waited:?}");
    assert!(audit.blocked_for().unwrap() >= Duration::from_secs(2));
    let many: Vec<_> = (0..2000).map(|_| record("3")).collect();
    let outcomes = world.run(futures::future::join_all(many.iter().map(|one| audit.request(one))));
    assert!(outcomes.iter().all(Result::is_err));
    sink.change(|memory| memory.stalled = false);
    world.sleep(Duration::from_secs(1));
    assert_eq!(audit.blocked_for(), None);
    world.run(audit.request(&record("4"))).unwrap();
    assert_eq!(checked(&sink.text(), true).fault, None);
    let missed: u64 =
        events(&sink.text()).iter().filter_map(|event| event["missed"].as_u64()).sum();
    assert!(missed >= 900, "what found the queue full is counted: {missed}");
}

#[test]
fn one_device_that_takes_the_record_is_enough() {
    let world = Arc::new(World::default());
    let (good, bad) = (MemorySink::default(), MemorySink::default());
    let devices = [(&bad, "bad/"), (&good, "good/")];
    let devices = devices.map(|(sink, path)| (sink.start(options(path), &world), key()));
    let audit = Audit::new(devices.into(), world.ports());
    bad.change(|memory| memory.space = 0);
    for _ in 0..3 {
        world.run(audit.request(&record("1"))).unwrap();
    }
    assert_eq!(records(&good.text()).len(), 3);
    assert_eq!(audit.blocked_for(), None);
    good.change(|memory| memory.space = 0);
    assert_eq!(world.run(audit.request(&record("2"))), Err(Blocked));
    world.sleep(Duration::from_secs(1));
    assert!(audit.blocked_for().is_some());
}

#[test]
fn filters_choose_and_the_fallback_takes_the_rest() {
    let world = Arc::new(World::default());
    let (lists, rest) = (MemorySink::default(), MemorySink::default());
    let filter = Some(Filter::parse("operation == list").unwrap());
    let lists_options = DeviceOptions { filter, ..options("lists/") };
    let rest_options = DeviceOptions { fallback: true, ..options("rest/") };
    let devices = [(&lists, lists_options), (&rest, rest_options)];
    let devices = devices.map(|(sink, options)| (sink.start(options, &world), key()));
    let audit = Audit::new(devices.into(), world.ports());
    let list =
        Record { request: RequestPart { operation: "list", ..record("l").request }, ..record("l") };
    world.run(audit.request(&record("r"))).unwrap();
    world.run(audit.request(&list)).unwrap();
    let ids = |sink: &MemorySink| {
        let records = records(&sink.text());
        records.iter().map(|record| record["request"]["id"].to_string()).collect::<Vec<_>>()
    };
    assert_eq!((ids(&lists), ids(&rest)), (vec!["\"l\"".into()], vec!["\"r\"".into()]));
    // Only the device that must take it counts: the other one is no way out.
    lists.change(|memory| memory.space = 0);
    assert_eq!(world.run(audit.request(&list)), Err(Blocked));
    assert!(audit.blocked_for().is_some());
    assert_eq!(world.run(audit.request(&record("r"))), Ok(()));
}

#[test]
fn numbers_go_on_across_rotations_and_restarts() {
    let (world, sink, audit) = begun();
    world.run(audit.request(&record("1"))).unwrap();
    sink.change(|memory| memory.rotated = true);
    let outcomes = world.run(audit.reopen());
    assert!(matches!(&outcomes[..], [(path, Ok(()))] if path == "file/"));
    world.run(audit.request(&record("2"))).unwrap();
    world.run(device(&audit).close());
    assert_eq!(world.run(audit.request(&record("3"))), Err(Blocked), "it is closed");
    assert!(world.run(device(&audit).reopen()).is_err());
    let second = super::audit(&world, &sink, options("file/"));
    world.run(second.request(&record("4"))).unwrap();
    assert_eq!(sink.change(|memory| memory.files.len()), 2);
    assert_eq!(device(&second).head().seq, 6);
    let report = checked(&sink.text(), true);
    assert_eq!((report.lines, report.fault), (6, None));
}

#[test]
fn a_torn_line_is_kept_and_named() {
    let (world, sink, audit) = begun();
    world.run(audit.request(&record("1"))).unwrap();
    world.run(audit.request(&record("2"))).unwrap();
    world.run(device(&audit).close());
    let whole = sink.text().len();
    let last = sink.text().trim_end().rfind('\n').unwrap() + 1;
    for end in [last + 1, last + 100, whole - 2, whole - 1] {
        let torn = MemorySink::default();
        torn.change(|memory| memory.files = vec![sink.text().as_bytes()[..end].to_vec()]);
        let again = super::audit(&world, &torn, options("file/"));
        world.run(again.request(&record("3"))).unwrap();
        let text = torn.text();
        assert!(text.as_bytes().starts_with(&sink.text().as_bytes()[..end]), "nothing was cut");
        let report = checked(&text, true);
        // Where nothing but the newline was missing, the line is whole.
        let torn_lines = u64::from(end < whole - 1);
        assert_eq!((report.fault, report.torn), (None, torn_lines));
        let without = [&text[..last], &text[end..]].concat();
        let kind = checked(&without, true).fault.map(|fault| fault.kind);
        assert!(
            matches!(
                kind,
                Some(FaultKind::TornLineMissing | FaultKind::Edited | FaultKind::Missing { .. })
            ),
            "{kind:?}"
        );
    }
}

#[test]
fn a_log_whose_file_is_gone_goes_on_at_the_known_head() {
    let (world, sink, audit) = begun();
    world.run(audit.request(&record("1"))).unwrap();
    let known = device(&audit).head();
    world.run(device(&audit).close());
    let fresh = MemorySink::default();
    let device = Device::start(
        options("file/"),
        Box::new(fresh.clone()),
        fresh.tail(),
        Some(known),
        &world.ports(),
    );
    let again = Audit::new(vec![(device, key())], world.ports());
    world.run(again.request(&record("2"))).unwrap();
    let both = [sink.text(), fresh.text()].concat();
    assert_eq!(checked(&both, true).fault, None);
    // A log that was cut below what the cluster knows shows exactly the gap.
    let cut = sink.text().lines().next().unwrap().to_owned() + "\n" + &fresh.text();
    let fault = checked(&cut, true).fault.unwrap();
    assert_eq!(fault.kind, FaultKind::Missing { from: 2, to: 2 });
}

#[test]
fn a_line_torn_by_a_full_disk_is_named_in_the_next_file() {
    let (world, sink, audit) = begun();
    world.run(audit.request(&record("1"))).unwrap();
    sink.change(|memory| memory.space = 50);
    assert_eq!(world.run(audit.request(&record("2"))), Err(Blocked));
    sink.change(|memory| {
        memory.rotated = true;
        memory.space = usize::MAX;
    });
    assert!(world.run(audit.reopen())[0].1.is_ok());
    world.run(audit.request(&record("3"))).unwrap();
    let mut verifier = Verifier::new(Expectation { from_start: true, ..Expectation::default() });
    let files = sink.change(|memory| memory.files.clone());
    for (number, file) in files.iter().enumerate() {
        verifier.read(&number.to_string(), &mut file.as_slice()).unwrap();
    }
    let report = verifier.finish();
    assert_eq!((report.fault, report.torn, files.len()), (None, 1, 2));
}
