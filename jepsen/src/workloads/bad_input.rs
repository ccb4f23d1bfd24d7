//! Bad input gets the right 4xx with a helpful message, in time.

use std::time::Duration;

use anyhow::ensure;

use crate::cluster::Cluster;
use crate::http::Raw;
use crate::pace;

/// One request and the status it must get.
struct Case {
    name: &'static str,
    method: &'static str,
    path: &'static str,
    body: Vec<u8>,
    status: u16,
}

/// Sends every case to every node, then takes the quorum away.
pub(crate) async fn run() -> anyhow::Result<String> {
    let mut cluster = Cluster::start(&["--nodes", "3"]).await?;
    let mut sent = 0;
    for node in &cluster.ready.nodes {
        let raw = Raw::new(&cluster.ready.ca_file, &node.api_addr, &cluster.ready.root_token)?;
        for case in cases() {
            let begun = pace::now();
            let answer = raw.send(case.method, case.path, &case.body).await?;
            let name = case.name;
            ensure!(
                answer.status == case.status,
                "{name}: {} instead of {}: {}",
                answer.status,
                case.status,
                answer.body
            );
            ensure!(answer.body.contains("errors"), "{name}: no errors in {:?}", answer.body);
            ensure!(begun.elapsed() < ANSWER_MAX, "{name} took {:?}", begun.elapsed());
            sent += 1;
        }
        let nobody = Raw::new(&cluster.ready.ca_file, &node.api_addr, "hvs.nobody")?;
        let answer = nobody.send("GET", "/v1/secret/data/x", b"").await?;
        ensure!(answer.status == 403, "a bad token: {}", answer.status);
        ensure!(answer.body.contains("permission denied"), "a bad token: {}", answer.body);
        sent += 1;
    }
    let no_quorum = without_quorum(&mut cluster).await?;
    cluster.stop().await?;
    Ok(format!("{sent} bad requests, each with its 4xx; without a quorum 503 after {no_quorum} ms"))
}

fn cases() -> Vec<Case> {
    let case = |name, method, path, body: &[u8], status| Case {
        name,
        method,
        path,
        body: body.to_vec(),
        status,
    };
    let deep = [b"{\"data\":".as_slice(), &b"[".repeat(100_000)].concat();
    let wide = {
        let mut text = b"{\"data\":{".to_vec();
        for i in 0..200_000 {
            text.extend_from_slice(format!("\"k{i}\":1,").as_bytes());
        }
        text.extend_from_slice(b"\"z\":1}}");
        text
    };
    let large = {
        let mut text = b"{\"data\":{\"v\":\"".to_vec();
        text.extend(std::iter::repeat_n(b'x', (1 << 20) + 1024));
        text.extend_from_slice(b"\"}}");
        text
    };
    vec![
        case("broken JSON", "POST", "/v1/secret/data/a", b"{\"data\":", 400),
        case("no object", "POST", "/v1/secret/data/a", b"[1,2]", 400),
        case("wrong type", "POST", "/v1/secret/data/a", b"{\"data\":7}", 400),
        case("no data", "POST", "/v1/secret/data/a", b"{}", 400),
        case(
            "wrong cas",
            "POST",
            "/v1/secret/data/a",
            b"{\"data\":{},\"options\":{\"cas\":[]}}",
            400,
        ),
        case("doubled key", "POST", "/v1/secret/data/a", b"{\"data\":{},\"data\":{}}", 400),
        case("deep JSON", "POST", "/v1/secret/data/a", &deep, 400),
        case("wide JSON", "POST", "/v1/secret/data/a", &wide, 400),
        case("large value", "POST", "/v1/secret/data/a", &large, 413),
        case("huge body", "POST", "/v1/secret/data/a", &vec![b' '; 33 << 20], 413),
        case("unknown route", "GET", "/v1/nowhere/x", b"", 404),
        case("unknown sys route", "GET", "/v1/sys/nowhere", b"", 404),
        case("outside v1", "GET", "/v2/secret", b"", 404),
        case("missing secret", "GET", "/v1/secret/data/missing", b"", 404),
        case("dot segments", "GET", "/v1/secret/data/../data/a", b"", 400),
        case("encoded dots", "GET", "/v1/secret/data/%2e%2e/a", b"", 400),
        case("encoded slash", "GET", "/v1/secret/data/a%2Fb", b"", 400),
        case("double slash", "GET", "/v1/secret//data/a", b"", 400),
        case("NUL", "GET", "/v1/secret/data/a%00b", b"", 400),
        case("no UTF-8", "GET", "/v1/secret/data/%ff", b"", 400),
        case("wrong method", "PURGE", "/v1/secret/data/a", b"", 405),
        case("wrong operation", "DELETE", "/v1/sys/seal", b"", 405),
        case(
            "init again",
            "PUT",
            "/v1/sys/init",
            b"{\"secret_shares\":1,\"secret_threshold\":1}",
            400,
        ),
    ]
}

/// With two of three nodes dead the third says so, within the request's time.
async fn without_quorum(cluster: &mut Cluster) -> anyhow::Result<u128> {
    cluster.kill(1).await?;
    cluster.kill(2).await?;
    let node = &cluster.ready.nodes[0];
    let raw = Raw::new(&cluster.ready.ca_file, &node.api_addr, &cluster.ready.root_token)?;
    let begun = pace::now();
    for (method, body) in [("GET", &b""[..]), ("POST", b"{\"data\":{\"a\":1}}")] {
        let answer = raw.send(method, "/v1/secret/data/a", body).await?;
        ensure!(
            answer.status == 503,
            "{method} without a quorum: {} {}",
            answer.status,
            answer.body
        );
        ensure!(answer.body.contains("errors"), "{method} without a quorum: {}", answer.body);
    }
    let took = begun.elapsed().as_millis();
    // A load balancer must learn that this node cannot serve.
    pace::until(ANSWER_MAX, "an unhealthy health", async || {
        let health = raw.send("GET", "/v1/sys/health", b"").await;
        health.is_ok_and(|answer| answer.status != 200 && answer.status != 429)
    })
    .await?;
    Ok(took)
}

const ANSWER_MAX: Duration = Duration::from_secs(10);
