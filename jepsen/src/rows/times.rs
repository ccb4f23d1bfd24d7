//! Rows about what time tells: 19, 34, 58. Samples are taken in turns, so that what else runs on the
//! machine hits all of them alike, and the shortest are compared: what else runs only prolongs.

use std::time::Duration;

use anyhow::ensure;
use serde_json::json;

use super::Cell;
use super::door::{Reply, Request, Session};
use crate::pace;

/// CVE-2025-6011: an unknown user cost no password hash.
pub(super) async fn row_019_a_missing_user_costs_a_whole_password_hash(
    cell: &Cell,
) -> anyhow::Result<()> {
    let mount = cell.userpass().await?;
    let off = json!({"user_lockout_config": {"lockout_disable": true}});
    cell.root().post(&format!("sys/auth/{mount}/tune"), &off).await?.done("no lock-out")?;
    cell.user(&mount, "anna", json!({"password": "right"})).await?;
    let mut session = cell.node.session().await?;
    let mut samples = Samples::new(["anna", "nobody", "an%20na"]);
    for _ in 0..LOGINS {
        for number in 0..samples.names.len() {
            let target = format!("/v1/auth/{mount}/login/{}", samples.names[number]);
            let body = br#"{"password":"wrong"}"#;
            let headers = &[];
            let request = Request { method: "POST", target: &target, token: "", headers, body };
            samples.take(number, &mut session, &request).await?.is(&[403], "a failed login")?;
        }
    }
    samples.are_alike(0.5, Duration::from_millis(5))
}

/// GHSA-34fc-gh42-pj53: a comparison that ended at the first wrong letter.
pub(super) async fn row_034_a_token_that_is_nearly_right_takes_as_long(
    cell: &Cell,
) -> anyhow::Result<()> {
    let token = cell.token(json!({"policies": "default"})).await?.token;
    let forged = |right: usize| {
        let wrong = |letter: char| if letter == 'x' { 'y' } else { 'x' };
        let forged = token.chars().enumerate();
        forged.map(|(at, c)| if at < right { c } else { wrong(c) }).collect::<String>()
    };
    let tries = [4, 8, 16, token.len() - 1].map(forged);
    let mut session = cell.node.session().await?;
    let mut samples = Samples::new(["4 right", "8 right", "16 right", "all but one right"]);
    let mut first: Option<Reply> = None;
    for _ in 0..LOOKUPS {
        for (number, token) in tries.iter().enumerate() {
            let target = "/v1/auth/token/lookup-self";
            let request = Request { method: "GET", target, token, headers: &[], body: b"" };
            let reply = samples.take(number, &mut session, &request).await?;
            let reply = reply.is(&[403], "a forged token")?.shown();
            let first = first.get_or_insert_with(|| reply.clone());
            ensure!(reply == *first, "{reply:?}, not {first:?}");
        }
    }
    samples.are_alike(0.3, Duration::from_millis(1))
}

/// CVE-2020-25594: whether something is mounted could be told without a token.
pub(super) async fn row_058_mounts_cannot_be_told_apart_without_a_token(
    cell: &Cell,
) -> anyhow::Result<()> {
    let mount = cell.kv().await?;
    cell.put(&format!("{mount}/data/x"), json!({})).await?;
    let auth = cell.userpass().await?;
    let absent = cell.named("no");
    let known = cell.with_policy("none", "path \"x\" { capabilities = [\"read\"] }").await?;
    let pairs = [
        (format!("{mount}/data/x"), format!("{absent}/data/x")),
        (format!("{mount}/config"), format!("{absent}/config")),
        (format!("auth/{auth}/users/x"), format!("auth/{absent}/users/x")),
        (format!("sys/mounts/{mount}"), format!("sys/mounts/{absent}")),
        (format!("sys/mounts/{mount}/tune"), format!("sys/mounts/{absent}/tune")),
        (format!("sys/auth/{auth}"), format!("sys/auth/{absent}")),
        (format!("sys/internal/ui/mounts/{mount}"), format!("sys/internal/ui/mounts/{absent}")),
    ];
    for (there, not) in &pairs {
        for method in ["GET", "LIST", "POST", "DELETE", "SCAN"] {
            for caller in [cell.nobody(), cell.node.caller("hvs.wrong"), known.clone()] {
                let body: &[u8] = if method == "POST" { b"{\"type\":\"kv\"}" } else { b"" };
                let is = caller.call(method, there, &[], body).await?.shown();
                let other = caller.call(method, not, &[], body).await?.shown();
                let named = |text: &str| text.replace(&absent, &mount);
                let other = Reply { body: named(&other.body), ..other };
                ensure!(
                    is.body == other.body && is.status == other.status,
                    "{method} {there}: {is}, not {other}"
                );
                ensure!(is.status == 403, "{method} {there}: {is}");
            }
        }
    }
    takes_as_long(cell, &pairs[0].0, &pairs[0].1).await
}

async fn takes_as_long(cell: &Cell, there: &str, not: &str) -> anyhow::Result<()> {
    let mut session = cell.node.session().await?;
    let mut samples = Samples::new(["there", "not there"]);
    for _ in 0..LOOKUPS {
        for (number, path) in [there, not].into_iter().enumerate() {
            let target = format!("/v1/{path}");
            let request =
                Request { method: "GET", target: &target, token: "", headers: &[], body: b"" };
            samples.take(number, &mut session, &request).await?.is(&[403], path)?;
        }
    }
    samples.are_alike(0.3, Duration::from_millis(1))
}

/// Times of the same thing done in several ways.
struct Samples<const N: usize> {
    names: [&'static str; N],
    taken: [Vec<Duration>; N],
}

impl<const N: usize> Samples<N> {
    fn new(names: [&'static str; N]) -> Self {
        Self { names, taken: [const { Vec::new() }; N] }
    }

    /// One more of the way with this number.
    async fn take(
        &mut self,
        number: usize,
        session: &mut Session,
        request: &Request<'_>,
    ) -> anyhow::Result<Reply> {
        let begun = pace::now();
        let reply = session.ask(request).await?;
        self.taken[number].push(begun.elapsed());
        Ok(reply)
    }

    /// Demands that the shortest of each way lies within a part of the shortest of the first, or
    /// within what a machine's own unrest makes of it.
    fn are_alike(self, part: f64, unrest: Duration) -> anyhow::Result<()> {
        let shortest = self.taken.map(|samples| samples.into_iter().min().unwrap_or_default());
        let most = shortest[0].mul_f64(part).max(unrest);
        let alike = shortest.iter().all(|other| shortest[0].abs_diff(*other) <= most);
        ensure!(alike, "the shortest of {:?} are {shortest:?}", self.names);
        Ok(())
    }
}

/// Each waits for a password hash.
const LOGINS: usize = 7;
const LOOKUPS: usize = 40;
