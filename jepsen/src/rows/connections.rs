//! Rows about connections and heads: 52, 101, 108, 109, 110.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use super::door::Request;
use super::{Cell, Door, Reply};
use crate::pace;

/// CVE-2024-6468: one bad connection ended the loop that accepts them.
pub(super) async fn row_052_garbage_and_resets_end_no_listener(cell: &Cell) -> anyhow::Result<()> {
    let [api, peer] = addresses(&cell.node)?;
    let garbage: [&[u8]; 7] = [
        b"PROXY TCP4 1.1.1.1 2.2.2.2 1 99999999\r\n",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff",
        b"\x16\x03\x01\xff\xff\x01\xff\xff\xff",
        b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00",
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"SSH-2.0-x\r\n",
        &[0; 4096],
    ];
    let mut silent = Vec::new();
    for address in [api, peer] {
        for bytes in garbage.iter().cycle().take(ROUNDS) {
            let mut stream = TcpStream::connect(address).await?;
            let _ = stream.write_all(bytes).await;
            reset(address).await?;
            silent.push(stream);
        }
        for _ in 0..ROUNDS {
            silent.push(TcpStream::connect(address).await?);
        }
    }
    for door in &cell.nodes {
        let read = cell.root().at(door).get("sys/mounts").await?;
        read.is(&[200], "a read while garbage and silence hold connections")?;
    }
    drop(silent);
    let mount = cell.kv().await?;
    cell.put(&format!("{mount}/data/x"), json!({"after": "garbage"})).await
}

/// A connection that is reset in the moment it is accepted.
async fn reset(address: SocketAddr) -> anyhow::Result<()> {
    let socket = TcpSocket::new_v4()?;
    socket.set_zero_linger()?;
    drop(socket.connect(address).await?);
    Ok(())
}

/// Where a node listens: for clients, and for peers.
fn addresses(door: &Door) -> anyhow::Result<[SocketAddr; 2]> {
    let config: Value = serde_json::from_slice(&std::fs::read(&door.node.config)?)?;
    let address = |name: &str| {
        let text = config["listener"]["tcp"][name].as_str().context("no address")?;
        text.parse::<SocketAddr>().context("an address")
    };
    Ok([address("address")?, address("cluster_address")?])
}

/// CVE-2023-2121: pages that run what they were sent, secrets in caches.
pub(super) async fn row_101_answers_are_json_that_nobody_keeps(cell: &Cell) -> anyhow::Result<()> {
    let mount = cell.kv().await?;
    let script = "<script>alert(1)</script>";
    cell.put(&format!("{mount}/data/x"), json!({"html": script})).await?;
    let root = cell.root();
    let mut replies = vec![
        ("a secret", root.get(&format!("{mount}/data/x")).await?.is(&[200], "a secret")?),
        ("nothing to say", cell.root().delete(&format!("{mount}/data/x")).await?),
        ("nobody", cell.nobody().get("sys/mounts").await?),
        ("no such route", root.get("nowhere/x").await?),
        ("no such operation", root.call("PURGE", "sys/mounts", &[], b"").await?),
        ("script in the path", root.get("nowhere/%3Cscript%3Ealert(1)%3C/script%3E").await?),
        ("script in the query", root.get("sys/metrics?format=%3Cscript%3E").await?),
        (
            "script in the body",
            root.call("POST", &format!("{mount}/data/x"), &[], script.as_bytes()).await?,
        ),
    ];
    for path in ["sys/health", "sys/seal-status", "sys/leader", "sys/init"] {
        replies.push((path, cell.nobody().get(path).await?));
    }
    for target in ["/", "/ui", "/ui/", "/ui/vault/auth", "/index.html"] {
        let html = [("Accept", "text/html")];
        replies.push((target, cell.nobody().call_at("GET", target, &html, b"").await?));
    }
    for (what, reply) in &replies {
        is_json(reply, what)?;
    }
    let evil = [("Origin", "https://evil.example"), ("Access-Control-Request-Method", "GET")];
    for method in ["GET", "OPTIONS"] {
        let reply = cell.nobody().call(method, "sys/health", &evil, b"").await?;
        let allowed = reply.header("access-control-allow-origin");
        ensure!(allowed.is_none(), "another site may read {method} sys/health: {allowed:?}");
    }
    Ok(())
}

fn is_json(reply: &Reply, what: &str) -> anyhow::Result<()> {
    let has = |name: &str, value: &str| reply.header(name).is_some_and(|found| found == value);
    ensure!(has("cache-control", "no-store"), "{what} may be cached: {}", reply.head);
    ensure!(has("x-content-type-options", "nosniff"), "{what} may be sniffed: {}", reply.head);
    ensure!(reply.header("strict-transport-security").is_some(), "{what}: {}", reply.head);
    if !reply.body.is_empty() {
        ensure!(has("content-type", "application/json"), "{what} is no JSON: {}", reply.head);
        reply.json().with_context(|| what.to_owned())?;
    }
    Ok(())
}

/// Two readers of one message who see two requests, or another method.
pub(super) async fn row_108_a_request_has_one_length_and_one_method(
    cell: &Cell,
) -> anyhow::Result<()> {
    let mount = cell.kv().await?;
    let path = format!("{mount}/data/x");
    cell.put(&path, json!({"kept": true})).await?;
    for (what, message) in two_in_one(&mount, &cell.site.root_token) {
        let mut session = cell.node.session().await?;
        session.send(message.as_bytes()).await;
        let first = session.reply().await.with_context(|| what.to_owned())?;
        first.is(&[400], what)?;
        ensure!(session.is_cut_within(CUT_MAX).await, "{what}: the connection goes on");
        let kept = cell.root().get(&path).await?;
        kept.is(&[200], &format!("what was to stay, after {what}"))?;
    }
    methods_mean_one_thing(cell, &mount).await
}

/// Messages in which one reader sees the end of a request and another sees it go on with a second
/// one, which deletes.
fn two_in_one(mount: &str, token: &str) -> Vec<(&'static str, String)> {
    let authority = format!("Host: node\r\nX-Vault-Token: {token}\r\n");
    let second = format!("DELETE /v1/{mount}/data/x HTTP/1.1\r\n{authority}\r\n");
    let length = second.len();
    let messages = [
        ("both lengths", "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
        ("two lengths", "Content-Length: 2\r\nContent-Length: {length}\r\n", "{}"),
        ("two lengths in one", "Content-Length: 2, 40\r\n", "{}"),
        ("a length with a sign", "Content-Length: +2\r\n", "{}"),
        ("an unknown coding", "Transfer-Encoding: xchunked\r\n", "0\r\n\r\n"),
        ("chunked and not last", "Transfer-Encoding: chunked, identity\r\n", "0\r\n\r\n"),
        ("a space before the colon", "Content-Length : 2\r\n", "{}"),
        ("a folded header", "X-A: b\r\n Content-Length: 9\r\nContent-Length: 2\r\n", "{}"),
        ("a chunk that is too long", "Transfer-Encoding: chunked\r\n", "fffffffffffffffff\r\n"),
        ("a chunk without its end", "Transfer-Encoding: chunked\r\n", "2\r\n{}x0\r\n\r\n"),
    ];
    let whole = |(what, headers, body): (&'static str, &str, &str)| {
        let headers = headers.replace("{length}", &length.to_string());
        let first = format!("POST /v1/{mount}/data/y HTTP/1.1\r\n{authority}{headers}\r\n{body}");
        (what, first + &second)
    };
    messages.into_iter().map(whole).collect()
}

/// `POST` is `PUT`, `GET` with `list` is `LIST`, and no header is a method.
async fn methods_mean_one_thing(cell: &Cell, mount: &str) -> anyhow::Result<()> {
    let path = format!("{mount}/data/x");
    for name in ["X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"] {
        let header = [(name, "DELETE")];
        for method in ["GET", "POST"] {
            let body: &[u8] = if method == "POST" { b"{\"data\":{}}" } else { b"" };
            let path = format!("{path}?_method=DELETE");
            cell.root().call(method, &path, &header, body).await?.is(&[200], name)?;
        }
    }
    cell.root().get(&path).await?.is(&[200], "what was to stay, after overrides")?;
    for (capability, write, list) in
        [("read", 403, 403), ("update", 200, 403), ("list", 403, 200), ("deny", 403, 403)]
    {
        let rule = format!(
            "path \"{mount}/data/x\" {{ capabilities = [\"{capability}\"] }}\n\
             path \"{mount}/metadata/\" {{ capabilities = [\"{capability}\"] }}"
        );
        let caller = cell.with_policy(capability, &rule).await?;
        for method in ["POST", "PUT"] {
            let tried = caller.call(method, &path, &[], b"{\"data\":{}}").await?;
            tried.is(&[write], &format!("{method} with {capability}"))?;
        }
        for (method, tail) in [("LIST", ""), ("GET", "?list=true"), ("GET", "/?list=1")] {
            let tried = caller.call(method, &format!("{mount}/metadata{tail}"), &[], b"").await?;
            tried.is(&[list], &format!("{method} {tail} with {capability}"))?;
        }
    }
    Ok(())
}

/// A client that says who it is by the headers of a proxy, or of a node.
pub(super) async fn row_109_nobody_says_from_where_somebody_else_asks(
    cell: &Cell,
) -> anyhow::Result<()> {
    let mount = cell.kv().await?;
    let source = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 9));
    let headers = [
        ("X-Forwarded-For", "192.0.2.9"),
        ("X-Forwarded-Host", "evil.example"),
        ("Forwarded", "for=192.0.2.9"),
        ("X-Real-IP", "192.0.2.9"),
        ("X-Vault-Forward", "active-node"),
        ("X-Vault-Inconsistent", "forward-active-node"),
        ("X-Vault-No-Request-Forwarding", "true"),
        ("X-Conclave-Forwarded", "1"),
        ("X-Conclave-Peer", "1"),
        ("X-Conclave-Client", "192.0.2.9"),
    ];
    let target = format!("/v1/{mount}/data/x");
    for door in &cell.nodes {
        let mut session = door.session_from(source).await?;
        for (method, body) in [("POST", &b"{\"data\":{}}"[..]), ("GET", b"")] {
            let token = &cell.site.root_token;
            let request = Request { method, target: &target, token, headers: &headers, body };
            let reply = session.ask(&request).await?;
            reply.is(&[200], &format!("{method} from {source} over node {}", door.node.id))?;
        }
    }
    cell.is_audited(&format!("\"{mount}/data/x\"")).await?;
    let mut lines = 0;
    for log in cell.audit_logs()? {
        for line in log.lines().filter(|line| line.contains(&mount) && line.contains("/data/x")) {
            let line: Value = serde_json::from_str(line).context("an audit record")?;
            let address = &line["request"]["remote_address"];
            ensure!(*address == json!(source.to_string()), "it was from {source}: {line}");
            lines += 1;
        }
    }
    ensure!(lines >= 4 * cell.nodes.len(), "only {lines} records of it: void");
    Ok(())
}

/// A stranger at the peer port: no certificate of a member, then no frame is read. What a member's
/// own key could send is tested where the peers' decoder stands.
pub(super) async fn row_110_a_stranger_at_the_peer_port_is_cut_off(
    cell: &Cell,
) -> anyhow::Result<()> {
    let [_, peer] = addresses(&cell.node)?;
    let frames: [&[u8]; 4] = [
        &[0xff; 64],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
        b"\x17\x03\x03\x40\x00\0\0\0\0",
        b"POST /v1/sys/mounts HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
    ];
    for frame in frames {
        let mut stream = TcpStream::connect(peer).await?;
        // 64 MiB, or as much as the node takes.
        let piece = frame.repeat((1 << 20) / frame.len());
        let pour = async {
            for _ in 0..64 {
                if stream.write_all(&piece).await.is_err() {
                    break;
                }
            }
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer).await;
            answer
        };
        let answer = pace::within(CUT_MAX, "the end of a stranger's connection", pour).await?;
        ensure!(answer.len() < 64, "a stranger was sent {} bytes", answer.len());
    }
    let mount = cell.kv().await?;
    cell.put(&format!("{mount}/data/x"), json!({"after": "strangers"})).await?;
    for door in &cell.nodes {
        let read = cell.root().at(door).get(&format!("{mount}/data/x")).await?;
        read.is(&[200], "what was written afterwards")?;
    }
    Ok(())
}

const ROUNDS: usize = 14;
const CUT_MAX: Duration = Duration::from_secs(15);
