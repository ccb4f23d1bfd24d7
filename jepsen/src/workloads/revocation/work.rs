//! Those who make things and end them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use super::history::{History, Thing};
use crate::pace;
use crate::rows::{Caller, Door, Reply};
use crate::seed::Seed;

/// One of them.
pub(super) struct Worker {
    pub(super) number: usize,
    pub(super) doors: Vec<Door>,
    pub(super) root_token: String,
    pub(super) history: Arc<History>,
    pub(super) seed: Seed,
}

/// How something is ended.
struct End {
    method: &'static str,
    path: String,
    body: Value,
    /// By whom.
    token: String,
    /// What is gone then.
    ends: Vec<Arc<Thing>>,
}

impl Worker {
    /// Makes and ends until told to stop; answers with how many it could make.
    pub(super) async fn run(mut self, stop: Arc<AtomicBool>) -> usize {
        let mut made = 0;
        for round in 0.. {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            // What fails while it is made is not looked at further: nobody was told anything.
            if let Ok(end) = self.make(round).await {
                made += 1;
                pace::pause(IN_USE).await;
                self.end(end).await;
            }
        }
        made
    }

    async fn make(&mut self, round: usize) -> anyhow::Result<End> {
        let name = format!("w{}r{round}", self.number);
        match round % KINDS {
            0 => self.token(&name).await,
            1 => self.own(&name).await,
            2 => self.accessor(&name).await,
            3 => self.tree(&name).await,
            4 => self.alone(&name).await,
            5 => self.policy(&name, true).await,
            6 => self.policy(&name, false).await,
            7 => self.mount(&name).await,
            _ => self.batch(&name).await,
        }
    }

    async fn token(&mut self, name: &str) -> anyhow::Result<End> {
        let (token, _) = self.create(&self.root_token.clone(), &json!({})).await?;
        let thing = self.used(format!("{name}, revoked by its text"), &token);
        Ok(self.by_root("auth/token/revoke", json!({ "token": token }), vec![thing]))
    }

    async fn own(&mut self, name: &str) -> anyhow::Result<End> {
        let (token, _) = self.create(&self.root_token.clone(), &json!({})).await?;
        let ends = vec![self.used(format!("{name}, revoked by itself"), &token)];
        let path = "auth/token/revoke-self".to_owned();
        Ok(End { method: "POST", path, body: json!({}), token, ends })
    }

    async fn accessor(&mut self, name: &str) -> anyhow::Result<End> {
        let (token, accessor) = self.create(&self.root_token.clone(), &json!({})).await?;
        let thing = self.used(format!("{name}, revoked by its accessor"), &token);
        let body = json!({ "accessor": accessor });
        Ok(self.by_root("auth/token/revoke-accessor", body, vec![thing]))
    }

    async fn tree(&mut self, name: &str) -> anyhow::Result<End> {
        let (parent, accessor) = self.create(&self.root_token.clone(), &json!({})).await?;
        let mut ends = vec![self.used(format!("{name}, a parent"), &parent)];
        let mut above = parent;
        for depth in 0..DEPTH {
            let (child, _) = self.create(&above, &json!({})).await?;
            ends.push(self.used(format!("{name}, {depth} below a parent"), &child));
            above = child;
        }
        Ok(self.by_root("auth/token/revoke-accessor", json!({ "accessor": accessor }), ends))
    }

    async fn alone(&mut self, name: &str) -> anyhow::Result<End> {
        let (parent, _) = self.create(&self.root_token.clone(), &json!({})).await?;
        let (child, _) = self.create(&parent, &json!({})).await?;
        self.history.add(&Thing::that_lives(format!("{name}, an orphan"), KEPT, &child));
        let thing = self.used(format!("{name}, revoked alone"), &parent);
        Ok(self.by_root("auth/token/revoke-orphan", json!({ "token": parent }), vec![thing]))
    }

    /// What a policy gave ends with it, or with a deny in its place.
    async fn policy(&mut self, name: &str, deletes: bool) -> anyhow::Result<End> {
        let path = format!("sys/policies/acl/{name}");
        let text = format!("path \"{}\" {{ capabilities = [\"read\"] }}", &KEPT[4..]);
        let root = self.root_token.clone();
        self.ask(&root, "POST", &path, &json!({ "policy": text })).await?;
        let body = json!({"policies": [name], "no_default_policy": true, "no_parent": true});
        let (token, _) = self.create_of(&root, &body).await?;
        let thing = self.used(format!("{name}, a policy, deleted: {deletes}"), &token);
        let deny = json!({ "policy": text.replace("read", "deny") });
        let (method, body) = if deletes { ("DELETE", Value::Null) } else { ("POST", deny) };
        Ok(End { method, path, body, token: root, ends: vec![thing] })
    }

    async fn mount(&mut self, name: &str) -> anyhow::Result<End> {
        let (root, path) = (self.root_token.clone(), format!("sys/mounts/{name}"));
        let body = json!({"type": "kv", "options": {"version": "2"}});
        self.ask(&root, "POST", &path, &body).await?;
        self.ask(&root, "POST", &format!("{name}/data/x"), &json!({"data": {"a": 1}})).await?;
        let thing = Thing::new(format!("{name}, a mount"), &format!("/v1/{name}/data/x"), &root);
        self.history.add(&thing);
        Ok(End { method: "DELETE", path, body: Value::Null, token: root, ends: vec![thing] })
    }

    async fn batch(&mut self, name: &str) -> anyhow::Result<End> {
        let (parent, _) = self.create(&self.root_token.clone(), &json!({})).await?;
        let (child, _) = self.create(&parent, &json!({"type": "batch"})).await?;
        let ends = vec![
            self.used(format!("{name}, the parent of a batch token"), &parent),
            self.used(format!("{name}, a batch token"), &child),
        ];
        Ok(self.by_root("auth/token/revoke", json!({ "token": parent }), ends))
    }

    fn by_root(&self, path: &str, body: Value, ends: Vec<Arc<Thing>>) -> End {
        End { method: "POST", path: path.to_owned(), body, token: self.root_token.clone(), ends }
    }

    /// A token that is used from now on, to read what is kept.
    fn used(&self, what: String, token: &str) -> Arc<Thing> {
        let thing = Thing::new(what, KEPT, token);
        self.history.add(&thing);
        thing
    }

    async fn create(&mut self, by: &str, more: &Value) -> anyhow::Result<(String, String)> {
        let mut body = more.clone();
        body["policies"] = json!([USER_POLICY]);
        self.create_of(by, &body).await
    }

    /// A token's text and accessor.
    async fn create_of(&mut self, by: &str, body: &Value) -> anyhow::Result<(String, String)> {
        let made = self.ask(by, "POST", "auth/token/create", body).await?;
        Ok((made.text("/auth/client_token")?, made.text("/auth/accessor")?))
    }

    /// Asks one node of all, once.
    async fn ask(
        &mut self,
        token: &str,
        method: &str,
        path: &str,
        body: &Value,
    ) -> anyhow::Result<Reply> {
        let caller: Caller = self.seed.pick(&self.doors).caller(token);
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let call = caller.call(method, path, &[], body.as_bytes());
        let reply = pace::within(ASK_MAX, path, call).await??;
        ensure!(matches!(reply.status, 200 | 204), "{path}: {reply}");
        Ok(reply)
    }

    async fn end(&mut self, end: End) {
        let End { method, path, body, token, ends } = end;
        match self.ask(&token, method, &path, &body).await.context("an end") {
            Ok(_) => {
                ends.iter().for_each(|thing| thing.ends());
                self.history.acknowledged.fetch_add(ends.len(), Ordering::Relaxed);
            }
            Err(_) => {
                self.history.unknown.fetch_add(ends.len(), Ordering::Relaxed);
            }
        }
    }
}

/// What every token here may read.
pub(super) const KEPT: &str = "/v1/secret/data/kept";
/// Of all tokens but those whose policy is to end.
pub(super) const USER_POLICY: &str = "revocation-user";
const KINDS: usize = 9;
const DEPTH: usize = 3;
/// For so long the others use it before it ends.
const IN_USE: Duration = Duration::from_millis(60);
const ASK_MAX: Duration = Duration::from_secs(3);
