//! Rows about too much of something: 47, 48, 50, 51, 56.

use std::time::Duration;

use anyhow::{Context, ensure};
use futures::future::join_all;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::door::{Request, Session};
use super::{Cell, Door};
use crate::pace;

/// CVE-2024-8185: each unauthenticated join was remembered.
pub(super) async fn row_047_joins_of_strangers_take_no_memory(cell: &Cell) -> anyhow::Result<()> {
    let members = members(cell).await?;
    let mut session = cell.node.session().await?;
    let mut before = cell.node.resident_kib()?;
    for number in 0..JOINS {
        if number == JOINS / 4 {
            before = cell.node.resident_kib()?;
        }
        let body = json!({
            "server_id": format!("stranger-{number}"),
            "join_token": format!("{number}-{}", "t".repeat(2000)),
            "leader_api_addr": format!("https://192.0.2.1:{number}"),
        })
        .to_string();
        let target = match number % 3 {
            0 => "/v1/sys/storage/raft/bootstrap/challenge",
            1 => "/v1/sys/storage/raft/bootstrap/answer",
            _ => "/v1/sys/storage/raft/join",
        };
        let headers = &[];
        let request = Request { method: "POST", target, token: "", headers, body: body.as_bytes() };
        session.ask(&request).await?.refused(&format!("{target} of a stranger"))?;
    }
    let after = cell.node.resident_kib()?;
    ensure!(after < before + (16 << 10), "{before} KiB became {after} KiB");
    ensure!(members == self::members(cell).await?, "the members changed");
    Ok(())
}

async fn members(cell: &Cell) -> anyhow::Result<Vec<String>> {
    let shown = cell.root().get("sys/storage/raft/configuration").await?.done("the members")?;
    let servers = shown.at("/data/config/servers")?;
    let servers = servers.as_array().context("servers are a list")?;
    Ok(servers.iter().map(|server| format!("{} {}", server["node_id"], server["voter"])).collect())
}

/// CVE-2023-6337: a body was in memory before anything bounded it.
pub(super) async fn row_048_huge_and_endless_bodies_are_refused_early(
    cell: &Cell,
) -> anyhow::Result<()> {
    // What a first large body makes the allocator keep is no growth.
    endless(&cell.node).await?;
    let before = cell.node.resident_kib()?;
    let heads = join_all((0..HUGE_BODIES).map(|_| announced(&cell.node))).await;
    heads.into_iter().collect::<anyhow::Result<()>>()?;
    let bodies = join_all((0..ENDLESS_BODIES).map(|_| endless(&cell.node))).await;
    bodies.into_iter().collect::<anyhow::Result<()>>()?;
    let after = cell.node.resident_kib()?;
    ensure!(after < before + (64 << 10), "{before} KiB became {after} KiB");
    cell.root().get("sys/mounts").await?.is(&[200], "a read afterwards")?;
    Ok(())
}

/// 33 MiB are announced and none is sent: the head alone decides.
async fn announced(door: &Door) -> anyhow::Result<()> {
    let mut session = door.session().await?;
    let head = format!(
        "POST /v1/secret/data/x HTTP/1.1\r\nHost: node\r\nContent-Length: {}\r\n\r\n",
        33 << 20
    );
    session.send(head.as_bytes()).await;
    session.reply().await?.is(&[413], "33 MiB without a token")?;
    Ok(())
}

/// Chunks without an end, until the node answers or takes no more.
async fn endless(door: &Door) -> anyhow::Result<()> {
    let mut session = door.session().await?;
    let head =
        "POST /v1/secret/data/x HTTP/1.1\r\nHost: node\r\nTransfer-Encoding: chunked\r\n\r\n";
    session.send(head.as_bytes()).await;
    let chunk = [format!("{:x}\r\n", 1 << 20).as_bytes(), &vec![b' '; 1 << 20], b"\r\n"].concat();
    for _ in 0..ENDLESS_MIB {
        if !session.send(&chunk).await {
            break;
        }
    }
    // 503: other bodies hold what there is for bodies.
    session.reply().await?.is(&[413, 429, 503], "a body without an end")?;
    Ok(())
}

/// CVE-2025-12044: JSON was parsed before the quota was asked.
pub(super) async fn row_050_a_quota_is_asked_before_the_body_is_read(
    cell: &Cell,
) -> anyhow::Result<()> {
    let mount = cell.kv().await?;
    let quota = format!("sys/quotas/rate-limit/{}", cell.named("quota"));
    let body = json!({"rate": 1, "interval": "1h", "path": format!("{mount}/")});
    cell.root().post(&quota, &body).await?.done("a quota")?;
    cell.root().get(&quota).await?.done("the quota, at this node")?;
    let path = format!("{mount}/data/x");
    cell.root().get(&path).await?.is(&[404], "the one request of the hour")?;
    let begun = pace::now();
    for token in [cell.site.root_token.as_str(), "hvs.wrong", ""] {
        for _ in 0..QUOTA_TRIES {
            let mut session = cell.node.session().await?;
            let head = format!(
                "POST /v1/{path} HTTP/1.1\r\nHost: node\r\nX-Vault-Token: {token}\r\n\
                 Content-Length: {}\r\n\r\n{{\"data\":",
                1 << 20
            );
            session.send(head.as_bytes()).await;
            let refused = session.reply().await?.is(&[429], "a body that is never sent")?;
            ensure!(refused.header("retry-after").is_some(), "it does not say when: {refused}");
        }
    }
    ensure!(begun.elapsed() < Duration::from_secs(15), "it waited: {:?}", begun.elapsed());
    cell.root().delete(&quota).await?.done("the quota is gone")?;
    Ok(())
}

/// CVE-2023-5954: each decision left something behind.
pub(super) async fn row_051_deciding_takes_no_memory(cell: &Cell) -> anyhow::Result<()> {
    let mount = cell.kv().await?;
    let mut names = Vec::new();
    for number in 0..POLICIES {
        let text = format!(
            "path \"{mount}/data/{number}/*\" {{ capabilities = [\"read\"] }}\n\
             path \"{mount}/+/+/{number}\" {{ capabilities = [\"read\", \"list\"] }}"
        );
        names.push(cell.policy(&format!("p{number}"), &text).await?);
    }
    let mut callers = Vec::new();
    for few in names.chunks(5) {
        callers.push(cell.token(json!({"policies": few})).await?);
    }
    let mut session = cell.node.session().await?;
    let mut before = 0;
    for number in 0..DECISIONS {
        if number == DECISIONS / 3 {
            before = cell.node.resident_kib()?;
        }
        let caller = &callers[number % callers.len()];
        let target = format!("/v1/{mount}/data/{}/x{number}", number % POLICIES);
        let token = &caller.token;
        let request = Request { method: "GET", target: &target, token, headers: &[], body: b"" };
        session.ask(&request).await?.is(&[403, 404], "a read")?;
    }
    let after = cell.node.resident_kib()?;
    ensure!(after < before + (10 << 10), "{before} KiB became {after} KiB");
    Ok(())
}

/// Slow heads, and the floods of frames that HTTP/2 servers fell to.
pub(super) async fn row_056_a_head_that_trickles_is_cut_and_floods_of_frames_disturb_nobody(
    cell: &Cell,
) -> anyhow::Result<()> {
    let (trickled, flooded) = tokio::join!(trickle(&cell.node), floods(cell));
    trickled?;
    flooded
}

async fn trickle(door: &Door) -> anyhow::Result<()> {
    let mut session = door.session().await?;
    let begun = pace::now();
    session.send(b"GET /v1/sys/health HTTP/1.1\r\nHost: node\r\nX-Slow: ").await;
    while session.send(b"a").await {
        ensure!(begun.elapsed() < HEAD_MAX, "a head that trickles is still read");
        pace::pause(Duration::from_millis(250)).await;
    }
    Ok(())
}

async fn floods(cell: &Cell) -> anyhow::Result<()> {
    let open = frame(HEADERS, END_HEADERS, 1, POST_HEAD);
    let unended = frame(HEADERS, END_STREAM, 1, GET_HEAD);
    let resets = (0..FRAMES).flat_map(|number| {
        let stream = 2 * number + 1;
        [
            frame(HEADERS, END_STREAM | END_HEADERS, stream, GET_HEAD),
            frame(RESET, 0, stream, &[0, 0, 0, 8]),
        ]
        .concat()
    });
    let padding = [&[0, 1, b'x', 100][..], &[b'y'; 100]].concat().repeat(9);
    let repeat = |frame: Vec<u8>| frame.repeat(FRAMES as usize);
    let floods: [(&str, Vec<u8>); 6] = [
        ("streams that are reset at once", resets.collect()),
        ("a head without an end", [unended, repeat(frame(CONTINUATION, 0, 1, &padding))].concat()),
        ("data without bytes", [open, repeat(frame(DATA, 0, 1, &[]))].concat()),
        ("pings", repeat(frame(PING, 0, 0, &[7; 8]))),
        ("settings", repeat(frame(SETTINGS, 0, 0, &[]))),
        ("garbage", vec![0x5a; 200_000]),
    ];
    for (what, bytes) in floods {
        let flood = pour(&cell.node, &bytes);
        let others = others(cell, what);
        let (_, others) = tokio::join!(flood, others);
        others?;
    }
    Ok(())
}

/// Sends all of it, reading what comes back, until the node has enough of it.
async fn pour(door: &Door, bytes: &[u8]) -> anyhow::Result<()> {
    let stream = door.http2().await?;
    let (mut read, mut write) = tokio::io::split(stream);
    let sending = async {
        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
        write.write_all(&[&preface[..], &frame(SETTINGS, 0, 0, &[])].concat()).await?;
        write.write_all(bytes).await?;
        write.flush().await
    };
    let reading = async {
        let mut piece = vec![0; 16 << 10];
        while read.read(&mut piece).await.is_ok_and(|n| n > 0) {}
    };
    // It ends where the node cuts it, where it was all sent, or when it took too long.
    let _ = pace::within(FLOOD_MAX, "a flood", async {
        tokio::select! { _ = sending => {}, () = reading => {} }
    })
    .await;
    Ok(())
}

/// What somebody else sees meanwhile.
async fn others(cell: &Cell, what: &str) -> anyhow::Result<()> {
    let mut session: Session = cell.node.session().await?;
    let token = &cell.site.root_token;
    for _ in 0..8 {
        let begun = pace::now();
        let target = "/v1/sys/mounts";
        let request = Request { method: "GET", target, token, headers: &[], body: b"" };
        let reply = session.ask(&request).await.with_context(|| format!("during {what}"))?;
        reply.is(&[200], &format!("a read during {what}"))?;
        let took = begun.elapsed();
        ensure!(took < OTHERS_MAX, "a read during {what} took {took:?}");
        pace::pause(Duration::from_millis(40)).await;
    }
    Ok(())
}

/// RFC 9113, section 4.1.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("frames here are small").to_be_bytes();
    let head = [&length[1..], &[kind, flags], &stream.to_be_bytes()].concat();
    [&head, payload].concat()
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// `GET https://node/`, with the static table of RFC 7541.
const GET_HEAD: &[u8] = &[0x82, 0x84, 0x87, 0x01, 4, b'n', b'o', b'd', b'e'];
/// The same with `POST`.
const POST_HEAD: &[u8] = &[0x83, 0x84, 0x87, 0x01, 4, b'n', b'o', b'd', b'e'];
const FRAMES: u32 = 2000;
const FLOOD_MAX: Duration = Duration::from_secs(3);
/// A node cuts a head after ten seconds.
const HEAD_MAX: Duration = Duration::from_secs(16);
const OTHERS_MAX: Duration = Duration::from_secs(2);
const JOINS: usize = 300;
const HUGE_BODIES: usize = 20;
const ENDLESS_BODIES: usize = 2;
/// Beyond what a body may have.
const ENDLESS_MIB: usize = 40;
const QUOTA_TRIES: usize = 5;
const POLICIES: usize = 20;
const DECISIONS: usize = 900;
