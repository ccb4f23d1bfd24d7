use std::time::Duration;

use super::*;
use crate::testing::Bench;
use pace::Pace;

fn quota(path: &str, rate: f64) -> QuotaRecord {
    QuotaRecord {
        name: path.into(),
        path: path.into(),
        rate,
        interval_ms: 1000,
        ..QuotaRecord::default()
    }
}

/// The layout on disk.
#[test]
fn golden_layout() {
    let quota = QuotaRecord {
        name: "n".into(),
        role: "r".into(),
        block_ms: 2,
        inheritable: true,
        ..quota("p", 1.0)
    };
    let exempt_paths = Some(PathList { paths: vec!["e".into()] });
    let table = QuotaTable {
        quotas: vec![QuotaRecord { path: "p".into(), ..quota }],
        shows_headers: true,
        exempt_paths,
    };
    assert_eq!(
        hex::encode(table.encode_to_vec()),
        "0a190a016e1201701a017221000000000000f03f28e80730023801\
         10011a030a0165"
            .replace(' ', "")
    );
}

#[test]
fn the_most_specific_quota_counts() {
    let role = QuotaRecord { role: "Bob".into(), ..quota("auth/userpass/", 1.0) };
    let quotas = vec![
        quota("", 1.0),
        quota("secret/", 1.0),
        quota("secret/data/*", 1.0),
        quota("secret/data/a/*", 1.0),
        quota("secret/data/a/b", 1.0),
        quota("auth/userpass/", 1.0),
        role,
    ];
    let table = QuotaTable { quotas, ..QuotaTable::default() };
    let rules = Rules::new(&table, 1);
    let find = |path, role| rules.find(path, role).map(|rule| rule.id & 0xffff);
    assert_eq!(find("sys/mounts", None), Some(0));
    assert_eq!(find("secretx/data", None), Some(0));
    assert_eq!(find("secret/metadata", None), Some(1));
    assert_eq!(find("secret", None), Some(1));
    assert_eq!(find("secret/data/x", None), Some(2));
    assert_eq!(find("secret/data/a/x", None), Some(3));
    assert_eq!(find("secret/data/a/b", None), Some(4));
    assert_eq!(find("secret/data/a/b/c", None), Some(3));
    assert_eq!(find("auth/userpass/login/anna", Some("anna")), Some(5));
    assert_eq!(find("auth/userpass/login/bob", Some("bob")), Some(6));
    assert_eq!(find("sys/health", None), None, "exempt by default");
    let own =
        QuotaTable { exempt_paths: Some(PathList { paths: vec!["sys/int*".into()] }), ..table };
    let rules = Rules::new(&own, 1);
    assert!(rules.find("sys/internal/ui/mounts", None).is_none());
    assert!(rules.find("sys/health", None).is_some());
}

fn counted(pacer: &Pacer, pace: &Pace, client: &str, at_ms: u64) -> Standing {
    let bench_ports = ports();
    let client = Some(client.parse().unwrap());
    pacer.charge(1, pace, client, Duration::from_millis(at_ms), &bench_ports)
}

fn ports() -> conclave_ports::Ports {
    let world = Arc::new(crate::testing::World::default());
    conclave_ports::Ports { clock: world.clone(), rng: world.clone(), spawn: world }
}

#[test]
fn so_many_at_once_and_then_one_each_step() {
    let (pacer, pace) = (Pacer::default(), Pace::new(&quota("", 5.0)));
    for left in (0..5).rev() {
        let standing = counted(&pacer, &pace, "10.0.0.1", 1000);
        assert!(standing.allowed);
        assert_eq!((standing.limit, standing.remaining), (5, left));
    }
    let standing = counted(&pacer, &pace, "10.0.0.1", 1000);
    assert_eq!((standing.allowed, standing.remaining, standing.retry_after_s), (false, 0, 1));
    assert!(counted(&pacer, &pace, "10.0.0.2", 1000).allowed, "another address has its own");
    assert!(
        !counted(&pacer, &pace, "::ffff:10.0.0.1", 1199).allowed,
        "and one in two spellings one"
    );
    assert!(counted(&pacer, &pace, "10.0.0.1", 1200).allowed);
    assert!(!counted(&pacer, &pace, "10.0.0.1", 1200).allowed);
    let rest: Vec<_> = (0..6).map(|_| counted(&pacer, &pace, "10.0.0.1", 9000).allowed).collect();
    assert_eq!(rest, [true, true, true, true, true, false]);
    let of = |text| counted(&pacer, &Pace::new(&quota("", 1.0)), text, 9000).allowed;
    assert!(of("2001:db8::1") && !of("2001:db8::2"), "a network is one caller");
    assert!(of("2001:db8:0:1::1"));
}

#[test]
fn less_than_one_in_an_interval_and_a_block() {
    let (pacer, slow) = (Pacer::default(), Pace::new(&quota("", 0.5)));
    assert!(counted(&pacer, &slow, "10.0.0.1", 0).allowed);
    assert_eq!(counted(&pacer, &slow, "10.0.0.1", 900).retry_after_s, 2);
    assert!(counted(&pacer, &slow, "10.0.0.1", 2000).allowed);
    let blocks = Pace::new(&QuotaRecord { block_ms: 60_000, ..quota("", 1.0) });
    let pacer = Pacer::default();
    assert!(counted(&pacer, &blocks, "10.0.0.1", 0).allowed);
    assert_eq!(counted(&pacer, &blocks, "10.0.0.1", 10).retry_after_s, 60);
    assert!(!counted(&pacer, &blocks, "10.0.0.1", 60_009).allowed);
    assert!(counted(&pacer, &blocks, "10.0.0.1", 60_010).allowed);
}

/// THREATS lesson 4: a flood of addresses allocates nothing and blocks nobody else.
#[test]
fn a_million_addresses_take_no_more_room() {
    let (pacer, pace, ports) = (Pacer::default(), Pace::new(&quota("", 1.0)), ports());
    for number in 0..1_000_000_u32 {
        let client = Some(IpAddr::from(number.to_be_bytes()));
        assert!(pacer.charge(1, &pace, client, Duration::ZERO, &ports).allowed, "{number}");
    }
    let victim = Some("192.0.2.1".parse().unwrap());
    let later = Duration::from_secs(2);
    assert!(pacer.charge(1, &pace, victim, later, &ports).allowed);
    assert!(!pacer.charge(1, &pace, victim, later, &ports).allowed);
}

#[test]
fn quotas_are_read_once_for_each_change() {
    let bench = Bench::new();
    let client = Some("10.0.0.1".parse().unwrap());
    let ask = |path: &str| bench.core.within_quota(path, client);
    assert_eq!(ask("secret/data/a"), None);
    let body = serde_json::json!({"path": "secret/", "rate": 1, "interval": "1m"});
    bench.write("sys/quotas/rate-limit/q", &body).unwrap();
    assert!(ask("secret/data/a").unwrap().allowed);
    let refused = ask("secret/data/b").unwrap();
    assert!(!refused.allowed && !refused.shown);
    assert_eq!(refused.retry_after_s, 60);
    assert_eq!(ask("sys/mounts"), None);
    // Another write changes nothing about it; another quota begins anew.
    bench.write("secret/data/x", &serde_json::json!({"data": {}})).unwrap();
    assert!(!ask("secret/data/a").unwrap().allowed);
    bench
        .write(
            "sys/quotas/config",
            &serde_json::json!({"enable_rate_limit_response_headers": true}),
        )
        .unwrap();
    assert!(ask("secret/data/a").unwrap().shown);
    // It follows its mount.
    bench.write("sys/remount", &serde_json::json!({"from": "secret", "to": "moved"})).unwrap();
    assert_eq!(bench.read("sys/quotas/rate-limit/q").unwrap()["path"], "moved/");
    assert!(ask("moved/data/a").is_some() && ask("secret/data/a").is_none());
    bench.call(Operation::Delete, "sys/mounts/moved", &serde_json::json!({})).unwrap();
    assert_eq!(ask("moved/data/a"), None);
}
