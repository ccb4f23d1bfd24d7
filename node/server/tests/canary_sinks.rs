//! No secret in any sink: a mark in every field, header and query of every route that the node tells
//! of, and in what its configuration keeps secret, is looked for in everything that it writes or tells
//! to others. (`jepsen canary` looks for values of a whole cluster on disk and between its nodes.)

mod plain;

use std::path::Path;

use anyhow::{Context, ensure};
use serde_json::{Map, Value, json};

use plain::Process;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_marked_as_secret_is_in_no_sink() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let mut world = World::found(directory.path()).await?;
    world.prepare().await?;
    let routes = world.routes().await?;
    ensure!(routes.len() >= ROUTES_MIN, "only {} routes are told of", routes.len());
    for last in [false, true] {
        for route in routes.iter().filter(|route| (route.method == "DELETE") == last) {
            world.drive(route).await?;
        }
    }
    world.ceremonies().await?;
    for route in &routes {
        world.ask_as_another(route).await?;
    }
    world.judge(directory.path()).await
}

/// A node whose every secret is known here.
struct World {
    node: Process,
    root: String,
    other: String,
    marks: Marks,
    /// What was answered once, to its owner, and by what name.
    secrets: Vec<(String, String)>,
    /// Where a mark was told to somebody who must not see it.
    leaks: Vec<String>,
    answers: usize,
}

/// Each is another text, so that a hit says which field it came from.
#[derive(Default)]
struct Marks(Vec<String>);

impl Marks {
    fn make(&mut self, whence: String) -> String {
        self.0.push(whence);
        format!("{STEM}{:06}", self.0.len() - 1)
    }

    /// Where the marks in `bytes` came from.
    fn found(&self, bytes: &[u8]) -> Vec<&str> {
        let mut found = Vec::new();
        for at in positions(bytes, STEM.as_bytes()) {
            let digits = bytes.get(at + STEM.len()..at + STEM.len() + 6).unwrap_or_default();
            let number = std::str::from_utf8(digits).ok().and_then(|text| text.parse().ok());
            let whence = number.and_then(|number: usize| self.0.get(number));
            found.push(whence.map_or("a mark that was cut", String::as_str));
        }
        let decimal = STEM.bytes().map(|byte| byte.to_string()).collect::<Vec<_>>().join(", ");
        for (form, text) in [("hex", hex::encode(STEM)), ("numbers", decimal)] {
            if !positions(bytes, text.as_bytes()).is_empty() {
                found.push(form);
            }
        }
        found
    }
}

fn positions(bytes: &[u8], text: &[u8]) -> Vec<usize> {
    let starts = bytes.iter().enumerate().filter(|(_, byte)| **byte == text[0]);
    starts.map(|(at, _)| at).filter(|at| bytes[*at..].starts_with(text)).collect()
}

/// An operation that the node tells of.
struct Route {
    method: &'static str,
    path: String,
    query: Vec<String>,
    fields: Map<String, Value>,
}

impl World {
    /// A new cluster of one node, whose configuration has two secrets: the seal's key and the one to
    /// join by.
    async fn found(base: &Path) -> anyhow::Result<Self> {
        let folder = base.join("node-1");
        std::fs::create_dir_all(folder.join("logs"))?;
        let (seal_key, join_secret) = ("c4a7".repeat(16), "9e3b".repeat(16));
        std::fs::write(base.join("join.secret"), &join_secret)?;
        let extra = json!({
            "log_level": "trace",
            "seal": {"static": {"key_env": "CANARY_SEAL_KEY"}},
            "join_secret_file": base.join("join.secret"),
            "compat": "vault",
            "audit": {"file": {"options": {"file_path": "logs/configured.log"}}},
            "audit_api_directory": "logs",
        });
        let variables = [("CANARY_SEAL_KEY", seal_key.as_str())];
        let node = Process::start(base, "node-1", &extra, &variables)?;
        node.wait("sys/seal-status", |_| true).await?;
        let body = json!({"recovery_shares": 3, "recovery_threshold": 2}).to_string();
        let (status, made) = node.ask("PUT", "sys/init", "", &body).await?;
        ensure!(status == 200, "{status} {made}");
        let made: Value = serde_json::from_str(&made)?;
        let root = made["root_token"].as_str().context("a root token")?.to_owned();
        let mut secrets = vec![
            ("the seal's key".to_owned(), seal_key),
            ("the join secret".to_owned(), join_secret),
            ("the root token".to_owned(), root.clone()),
        ];
        collect(&made, "init", &mut secrets);
        node.wait("sys/health", |health| health["sealed"] == false).await?;
        Ok(Self {
            node,
            root,
            other: String::new(),
            marks: Marks::default(),
            secrets,
            leaks: Vec::new(),
            answers: 0,
        })
    }

    /// What is mounted and written, so that handlers find what requests name; values are marked.
    async fn prepare(&mut self) -> anyhow::Result<()> {
        let api_log = json!({"type": "file", "options": {"file_path": self.api_log()}});
        self.write("sys/audit/api", &api_log).await?;
        for name in ["x-hidden", "x-token-like"] {
            let path = format!("sys/config/auditing/request-headers/{name}");
            self.write(&path, &json!({"hmac": true})).await?;
        }
        for (path, body) in [
            ("sys/mounts/secret", json!({"type": "kv", "options": {"version": "2"}})),
            ("sys/mounts/x", json!({"type": "kv"})),
            ("sys/auth/userpass", json!({"type": "userpass"})),
            ("sys/auth/x", json!({"type": "userpass"})),
            ("auth/token/roles/x", json!({})),
            (
                "sys/policies/acl/x",
                json!({"policy": "path \"secret/*\" { capabilities = [\"read\"] }"}),
            ),
            (
                "sys/policies/acl/none",
                json!({"policy": "path \"none\" { capabilities = [\"read\"] }"}),
            ),
        ] {
            self.write(path, &body).await?;
        }
        let password = self.marks.make("the password of a login".into());
        self.write("auth/userpass/users/x", &json!({"password": password})).await?;
        let login = self.write("auth/userpass/login/x", &json!({"password": password})).await?;
        collect(&login, "login", &mut self.secrets);
        for (path, nest) in [("secret/data/x", true), ("x/x", false), ("cubbyhole/x", false)] {
            let value = self.marks.make(format!("a value at {path}"));
            let data = json!({"text": value, "deep": {"list": [value, 1, {"text": value}]}});
            let body = if nest { json!({"data": data}) } else { data };
            self.write(path, &body).await?;
        }
        let made = self.write("auth/token/create", &json!({"policies": ["none"]})).await?;
        collect(&made, "create", &mut self.secrets);
        let token = made["auth"]["client_token"].as_str().context("a token")?;
        token.clone_into(&mut self.other);
        let accessor = made["auth"]["accessor"].as_str().context("an accessor")?;
        self.secrets.push(("an accessor".to_owned(), accessor.to_owned()));
        Ok(())
    }

    fn api_log(&self) -> String {
        // The node's own idea of its directory is that of its configuration file.
        self.node.folder.join("logs/api.log").display().to_string()
    }

    async fn write(&mut self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let auth = format!("x-vault-token: {}\r\n", self.root);
        let (status, answer) = self.node.ask("POST", path, &auth, &body.to_string()).await?;
        ensure!(status < 300, "{path}: {status} {answer}");
        Ok(serde_json::from_str(&answer).unwrap_or_default())
    }

    async fn routes(&self) -> anyhow::Result<Vec<Route>> {
        let auth = format!("x-vault-token: {}\r\n", self.root);
        let (status, text) = self.node.ask("GET", "sys/internal/specs/openapi", &auth, "").await?;
        ensure!(status == 200, "{status} {text}");
        let document: Value = serde_json::from_str(&text)?;
        let mut routes = Vec::new();
        for (path, item) in document["paths"].as_object().context("no paths")? {
            for (name, method) in METHODS {
                let Some(told) = item.get(name) else { continue };
                let content = told["requestBody"]["content"].as_object();
                let media = content.and_then(|content| content.values().next());
                let schema = media.and_then(|media| media["schema"]["$ref"].as_str());
                let schema = schema.and_then(|at| document.pointer(at.trim_start_matches('#')));
                let fields = schema.and_then(|schema| schema["properties"].as_object());
                let query = told["parameters"].as_array().into_iter().flatten();
                let query = query.filter(|parameter| parameter["in"] == "query");
                let query = query.filter_map(|parameter| parameter["name"].as_str());
                let query = query.map(str::to_owned).collect();
                let fields = fields.cloned().unwrap_or_default();
                routes.push(Route { method, path: sample(path), query, fields });
            }
        }
        routes.retain(|route| !ENDS.contains(&route.path.as_str()));
        Ok(routes)
    }

    /// Marks all that a request to the route can carry, then each field alone beside plain ones, then
    /// a body that breaks off.
    async fn drive(&mut self, route: &Route) -> anyhow::Result<()> {
        let name = format!("{} {}", route.method, route.path);
        let mut all = Map::new();
        for (field, schema) in &route.fields {
            let mark = self.marks.make(format!("{name} {field}"));
            all.insert(field.clone(), shaped(schema, &mark));
        }
        for field in route.fields.keys() {
            let mut others: Map<_, _> = route.fields.iter().map(plain_value).collect();
            others.insert(field.clone(), all[field].clone());
            self.send(route, &Value::Object(others).to_string()).await?;
        }
        let whole = Value::Object(all).to_string();
        self.send(route, &whole).await?;
        if !route.fields.is_empty() {
            let mark = self.marks.make(format!("{name} broken body"));
            self.send(route, &format!("{{\"data\":{{\"value\":\"{mark}\"")).await?;
            self.send(route, &format!("\"{mark}\"")).await?;
        }
        Ok(())
    }

    async fn send(&mut self, route: &Route, body: &str) -> anyhow::Result<()> {
        let name = format!("{} {}", route.method, route.path);
        let mut headers = format!("x-vault-token: {}\r\n", self.root);
        for header in HEADERS {
            let mark = self.marks.make(format!("{name} header {header}"));
            headers += &format!("{header}: {mark}\r\n");
        }
        if route.method == "PATCH" {
            headers += "content-type: application/merge-patch+json\r\n";
        }
        let mut query = Vec::new();
        for parameter in route.query.iter().map(String::as_str).chain(["unknown"]) {
            if parameter != "list" {
                let mark = self.marks.make(format!("{name} query {parameter}"));
                query.push(format!("{parameter}={mark}"));
            }
        }
        let path = format!("{}?{}", route.path, query.join("&"));
        let (status, answer) = self.node.ask(route.method, &path, &headers, body).await?;
        ensure!(status < 500 || status == 501, "{name} {body}: {status} {answer}");
        self.answers += 1;
        if let Ok(answer) = serde_json::from_str(&answer) {
            collect(&answer, &name, &mut self.secrets);
        }
        if status >= 400 {
            self.note(&format!("the refusal of {name} ({status} {answer})"), answer.as_bytes());
        }
        Ok(())
    }

    /// What holders of shares say, and callers whose token or header is none.
    async fn ceremonies(&mut self) -> anyhow::Result<()> {
        let auth = format!("x-vault-token: {}\r\n", self.root);
        self.node.ask("DELETE", "sys/generate-root/attempt", &auth, "").await?;
        let (status, begun) =
            self.node.ask("PUT", "sys/generate-root/attempt", &auth, "{}").await?;
        ensure!(status == 200, "{status} {begun}");
        let begun: Value = serde_json::from_str(&begun)?;
        collect(&begun, "generate-root", &mut self.secrets);
        let nonce = begun["nonce"].as_str().context("a nonce")?.to_owned();
        let keys = self.secrets.iter().filter(|(name, _)| name.contains("keys_base64"));
        let keys: Vec<_> = keys.map(|(_, key)| key.clone()).take(2).collect();
        ensure!(keys.len() == 2, "init gave no shares");
        let mut last = Value::Null;
        for key in keys {
            let body = json!({"key": key, "nonce": nonce}).to_string();
            let (status, answer) =
                self.node.ask("PUT", "sys/generate-root/update", "", &body).await?;
            ensure!(status == 200, "{status} {answer}");
            last = serde_json::from_str(&answer)?;
        }
        ensure!(last["complete"] == true, "{last}");
        collect(&last, "generate-root", &mut self.secrets);
        for (path, field) in [
            ("sys/unseal", "key"),
            ("sys/generate-root/update", "key"),
            ("sys/rekey/update", "nonce"),
            ("sys/storage/raft/join", "join_token"),
            ("sys/init", "secret_shares"),
            ("auth/userpass/login/x", "password"),
            ("auth/userpass/login/nobody", "password"),
        ] {
            let mark = self.marks.make(format!("{path} {field}"));
            let body = json!({field: mark}).to_string();
            let (_, answer) = self.node.ask("POST", path, "", &body).await?;
            self.note(&format!("the refusal of {path}"), answer.as_bytes());
        }
        for header in [
            "x-vault-token",
            "authorization: Bearer",
            "x-vault-namespace",
            "x-vault-wrap-ttl",
            "idempotency-key",
        ] {
            let mark = self.marks.make(format!("header {header}"));
            let text = match header.contains(": ") {
                true => format!("{header} {mark}\r\n"),
                false => format!("{header}: {mark}\r\n"),
            };
            for method in ["GET", "PUT"] {
                let (_, answer) = self.node.ask(method, "secret/data/x", &text, "{}").await?;
                self.note(&format!("the refusal of header {header}"), answer.as_bytes());
            }
        }
        Ok(())
    }

    /// Nobody without a right hears anything of what others sent.
    async fn ask_as_another(&mut self, route: &Route) -> anyhow::Result<()> {
        let weak = format!("x-vault-token: {}\r\n", self.other);
        for auth in ["", &weak] {
            if OWN.iter().any(|own| route.path.contains(own)) {
                continue;
            }
            let (_, answer) = self.node.ask(route.method, &route.path, auth, "").await?;
            self.answers += 1;
            let name = format!("the answer of {} {} to another", route.method, route.path);
            self.note(&name, answer.as_bytes());
        }
        Ok(())
    }

    fn note(&mut self, sink: &str, bytes: &[u8]) {
        let mut found = self.marks.found(bytes);
        // An answer to who sent it; whoever else asks sends none of these.
        found.retain(|whence| !is_kind(whence));
        if let Some(whence) = found.first() {
            self.leaks.push(format!("{sink}: {whence} ({} in all)", found.len()));
        }
    }

    async fn judge(mut self, base: &Path) -> anyhow::Result<()> {
        let auth = format!("x-vault-token: {}\r\n", self.root);
        let (status, page) =
            self.node.ask("GET", "sys/metrics?format=prometheus", &auth, "").await?;
        ensure!(status == 200 && page.contains("conclave_raft_term"), "{status} {page}");
        let (status, backup) = self.node.ask("GET", "sys/storage/raft/snapshot", &auth, "").await?;
        ensure!(status == 200 && backup.len() > 1000, "{status}");
        let mut sinks = vec![
            ("metrics".to_owned(), page.into_bytes()),
            ("a backup".to_owned(), backup.into_bytes()),
        ];
        read_below(&base.join("node-1"), &mut sinks)?;
        let mut records = 0;
        for (name, bytes) in &sinks {
            let is_audit = name.contains("/logs/");
            records += if is_audit { positions(bytes, b"\n").len() } else { 0 };
            let found = self.marks.found(bytes);
            let found: Vec<_> =
                found.into_iter().filter(|whence| !(is_audit && is_name(whence))).collect();
            let distinct: std::collections::BTreeSet<_> = found.iter().collect();
            self.leaks.extend(
                distinct.iter().take(LEAKS_SHOWN).map(|whence| format!("{name}: {whence}")),
            );
            for (what, secret) in &self.secrets {
                if !positions(bytes, secret.as_bytes()).is_empty() {
                    self.leaks.push(format!("{name}: {what}"));
                }
            }
        }
        println!(
            "{} marks and {} secrets in {} answers, {records} records and {} files",
            self.marks.0.len(),
            self.secrets.len(),
            self.answers,
            sinks.len()
        );
        ensure!(records > 2 * self.answers, "the audit logs lack most of what was asked");
        ensure!(self.leaks.is_empty(), "{} leaks:\n{}", self.leaks.len(), self.leaks.join("\n"));
        Ok(())
    }
}

/// What the log names by contract: paths, policies, and what a token says of its owner.
fn is_name(whence: &str) -> bool {
    is_kind(whence) || NAMES.iter().any(|field| whence.ends_with(&format!(" {field}")))
}

/// What a refusal repeats because clients compare its words: the name of a kind that is not there.
fn is_kind(whence: &str) -> bool {
    KINDS.contains(&whence)
}

/// `/sys/mounts/{path}/tune` as `sys/mounts/x/tune`.
fn sample(path: &str) -> String {
    let segment = |segment: &str| match segment.starts_with('{') {
        true => "x".to_owned(),
        false => segment.to_owned(),
    };
    path.trim_start_matches('/').split('/').map(segment).collect::<Vec<_>>().join("/")
}

/// A value of the field's type that holds the mark wherever it can; where no text fits, the wrong type.
fn shaped(schema: &Value, mark: &str) -> Value {
    match schema["type"].as_str().unwrap_or_default() {
        "array" => json!([mark, mark]),
        "object" => json!({"a": mark, "b": {"c": [mark]}}),
        _ => json!(mark),
    }
}

fn plain_value((name, schema): (&String, &Value)) -> (String, Value) {
    let value = match (name.as_str(), schema["type"].as_str().unwrap_or_default()) {
        ("type", _) => json!("kv"),
        ("rate", _) => json!(1_000_000),
        (_, "integer" | "number") => json!(1),
        (_, "boolean") => json!(true),
        (_, "array") => json!(["x"]),
        (_, "object") => json!({}),
        _ => json!("x"),
    };
    (name.clone(), value)
}

/// Tokens, shares and what else an answer says once.
fn collect(answer: &Value, whence: &str, secrets: &mut Vec<(String, String)>) {
    match answer {
        Value::Object(fields) => {
            for (name, value) in fields {
                match value {
                    Value::String(text) if SECRETS.contains(&name.as_str()) && text.len() >= 16 => {
                        secrets.push((format!("{whence} {name}"), text.clone()));
                    }
                    Value::Array(texts) if SECRETS.contains(&name.as_str()) => {
                        let texts = texts.iter().filter_map(Value::as_str);
                        // Lists of names are called keys, too.
                        let texts = texts.filter(|text| text.len() >= 16);
                        secrets.extend(
                            texts.map(|text| (format!("{whence} {name}"), text.to_owned())),
                        );
                    }
                    other => collect(other, whence, secrets),
                }
            }
        }
        Value::Array(values) => values.iter().for_each(|value| collect(value, whence, secrets)),
        _ => {}
    }
}

/// Every file below, but not the one that this test wrote itself.
fn read_below(folder: &Path, sinks: &mut Vec<(String, Vec<u8>)>) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            read_below(&path, sinks)?;
        } else if let Ok(bytes) = std::fs::read(&path) {
            // A file may go while we look: segments roll, the state is written anew.
            sinks.push((path.display().to_string(), bytes));
        }
    }
    Ok(())
}

const STEM: &str = "KanarieZ7Q";
const METHODS: [(&str, &str); 4] =
    [("get", "GET"), ("post", "POST"), ("patch", "PATCH"), ("delete", "DELETE")];
/// The first two by rule, hidden; the others have no rule.
const HEADERS: [&str; 6] =
    ["x-hidden", "x-token-like", "cookie", "x-unknown", "user-agent", "referer"];
/// What ends the token or the node that all the others need.
const ENDS: [&str; 3] = ["sys/seal", "auth/token/revoke-self", "sys/step-down"];
/// Where everybody is told of their own.
const OWN: [&str; 2] = ["-self", "cubbyhole/"];
/// Fields whose values are names: paths, policies, and what a token's owner is called.
const NAMES: [&str; 6] =
    ["paths", "policies", "token_policies", "display_name", "meta", "metadata"];
/// Fields that name a kind, where an unknown one is repeated.
const KINDS: [&str; 5] = [
    "POST sys/auth/x type",
    "POST sys/mounts/x type",
    "POST sys/tools/hash format",
    "POST sys/tools/hash/x format",
    "POST sys/tools/random source",
];
/// Fields of answers that nobody else may see.
const SECRETS: [&str; 12] = [
    "client_token",
    "token",
    "root_token",
    "encoded_token",
    "encoded_root_token",
    "otp",
    "nonce",
    "keys",
    "keys_base64",
    "recovery_keys",
    "recovery_keys_base64",
    "password",
];
const ROUTES_MIN: usize = 80;
const LEAKS_SHOWN: usize = 20;
