//! Every field that the API tells of, with every wrong type, through the HTTP door of a real node.
//!
//! What is asked comes from the OpenAPI document of the node itself, so a new route is covered by
//! being told of. Nothing may be answered with a 5xx or end the node. Nothing is random: each run
//! asks the same in the same order.

mod node;

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, ensure};
use conclave_sdk::{Client, Operation};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::{Map, Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use node::Node;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_wrong_type_in_any_field_is_the_nodes_fault() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let (node, token) = Node::found(directory.path()).await?;
    prepare(&node.client(&token).await?).await?;
    let mut door = Door::open(&node, &token).await?;
    let (status, document) = door.ask("GET", "/v1/sys/internal/specs/openapi", "").await?;
    ensure!(status == 200, "{status} {document}");
    let document: Value = serde_json::from_str(&document)?;

    let mut seen = Seen::default();
    for route in routes(&document)? {
        // Counts these requests as well, so each of its attempts begins without it.
        let is_quota = route.path.starts_with("/v1/sys/quotas/rate-limit/");
        for body in bodies(&route.fields) {
            let (status, answer) = door.ask(route.method, &route.path, &body).await?;
            seen.note(&route, &body, status, &answer);
            if is_quota && status < 300 {
                let (status, answer) = door.ask("DELETE", &route.path, "").await?;
                ensure!(status < 300, "the quota stays: {status} {answer}");
            }
        }
    }
    let (status, answer) = door.ask("GET", "/v1/sys/health", "").await?;
    ensure!(status == 200, "the node is not well afterwards: {status} {answer}");
    seen.judge()
}

/// What is mounted and written, so that handlers find what the requests name.
async fn prepare(client: &Client) -> anyhow::Result<()> {
    Node::mount_secret(client).await?;
    for (path, body) in [
        ("sys/mounts/plain", json!({"type": "kv"})),
        ("sys/mounts/x", json!({"type": "kv"})),
        ("sys/auth/userpass", json!({"type": "userpass"})),
        ("sys/auth/x", json!({"type": "userpass"})),
        ("auth/userpass/users/x", json!({"password": "correct horse"})),
        ("auth/token/roles/x", json!({})),
        (
            "sys/policies/acl/x",
            json!({"policy": "path \"secret/*\" { capabilities = [\"read\"] }"}),
        ),
        ("secret/data/x", json!({"data": {"value": 1}})),
        ("plain/x", json!({"value": 1})),
        ("cubbyhole/x", json!({"value": 1})),
    ] {
        client.logical().call(Operation::Write, path, Some(&body)).await.context(path)?;
    }
    Ok(())
}

/// An operation that takes a body.
struct Route {
    method: &'static str,
    path: String,
    fields: Map<String, Value>,
    required: Vec<String>,
}

fn routes(document: &Value) -> anyhow::Result<Vec<Route>> {
    let mut routes = Vec::new();
    for (path, item) in document["paths"].as_object().context("no paths")? {
        for (name, method) in [("post", "POST"), ("patch", "PATCH"), ("delete", "DELETE")] {
            let content = &item[name]["requestBody"]["content"];
            let Some(media) = content.as_object().and_then(|content| content.values().next())
            else {
                continue;
            };
            let reference = media["schema"]["$ref"].as_str().context("no reference")?;
            let schema = document.pointer(reference.trim_start_matches('#'));
            let schema = schema.with_context(|| format!("{reference} is not there"))?;
            let fields = schema["properties"].as_object().context("no fields")?.clone();
            let required = schema["required"].as_array().into_iter().flatten();
            let required = required.filter_map(Value::as_str).map(str::to_owned).collect();
            routes.push(Route { method, path: sample(path), fields, required });
        }
    }
    Ok(routes)
}

/// `/sys/mounts/{path}/tune` as `/v1/sys/mounts/x/tune`.
fn sample(path: &str) -> String {
    let segment = |segment: &str| match segment.starts_with('{') {
        true => "x".to_owned(),
        false => segment.to_owned(),
    };
    format!("/v1{}", path.split('/').map(segment).collect::<Vec<_>>().join("/"))
}

/// Each field with each value: alone, which is what most handlers refuse first, and beside the
/// others with values that they may hold, which gets further. And bodies that are no object.
fn bodies(fields: &Map<String, Value>) -> Vec<String> {
    let mut bodies: Vec<String> = NO_BODIES.map(str::to_owned).into();
    for field in fields.keys() {
        let others = fields.iter().filter(|(name, _)| *name != field);
        let others: Vec<_> =
            others.map(|(name, schema)| pair(name, &valid(name, schema))).collect();
        for value in values() {
            let alone = pair(field, &value);
            let all = [&[alone.clone()][..], &others[..]].concat().join(",");
            bodies.push(format!("{{{alone}}}"));
            bodies.push(format!("{{{all}}}"));
        }
    }
    bodies
}

fn pair(name: &str, value: &str) -> String {
    format!("{}:{value}", Value::from(name))
}

/// Values of every type, of which all but one are wrong for any field.
fn values() -> Vec<String> {
    let deep = format!("{}1{}", "[".repeat(20), "]".repeat(20));
    let mut values = [
        "null",
        "true",
        "-1",
        "0",
        "1.5",
        "18446744073709551615",
        "1e308",
        "\"\"",
        "\"text\"",
        "\"\\u0000\\ud83d\\ude00/../*\"",
        "\"9999999999h\"",
        "[]",
        "[null]",
        "[\"a\",1,{}]",
        "{}",
        "{\"a\":null}",
        "{\"a\":{\"b\":[1]}}",
    ]
    .map(str::to_owned)
    .to_vec();
    values.push(format!("-1{}", "0".repeat(300)));
    values.push(deep);
    values
}

/// What a field may hold.
fn valid(name: &str, schema: &Value) -> String {
    let known = VALID.iter().find(|(field, _)| *field == name);
    let by_type = match schema["type"].as_str().unwrap_or_default() {
        "integer" | "number" => "1",
        "boolean" => "true",
        "array" => "[\"x\"]",
        "object" => "{}",
        _ => "\"x\"",
    };
    known.map_or(by_type, |(_, value)| *value).to_owned()
}

/// Where not every value of the type is let through.
const VALID: [(&str, &str); 11] = [
    ("type", "\"kv\""),
    ("token_type", "\"service\""),
    ("listing_visibility", "\"hidden\""),
    ("rate", "1000000"),
    ("id", "\"\""),
    ("entity_alias", "\"\""),
    ("pgp_key", "\"\""),
    ("pgp_keys", "[]"),
    ("policy", "\"path \\\"x\\\" { capabilities = [\\\"read\\\"] }\""),
    // Hashing one in every request would take minutes.
    ("password", "\"\""),
    ("password_hash", "\"\""),
];

/// What holders of shares begin, which only so many may do in a while.
const ATTEMPTS: [&str; 2] = ["/v1/sys/generate-root", "/v1/sys/rekey"];

const NO_BODIES: [&str; 8] = ["null", "true", "1", "\"a\"", "[]", "[{}]", "{", "{\"a\":}"];

/// How often each status was answered, and what must not be.
#[derive(Default)]
struct Seen {
    statuses: BTreeMap<u16, u32>,
    faults: Vec<String>,
    fields: usize,
    routes: usize,
    last: String,
}

impl Seen {
    fn note(&mut self, route: &Route, body: &str, status: u16, answer: &str) {
        let name = format!("{} {}", route.method, route.path);
        if name != self.last {
            self.routes += 1;
            self.fields += route.fields.len();
            self.last.clone_from(&name);
        }
        *self.statuses.entry(status).or_default() += 1;
        let no_object = NO_BODIES.contains(&body);
        let lacks = |field: &String| !body.contains(&format!("\"{field}\":"));
        let is_refused = (400..500).contains(&status);
        // Too many requests would hide what these say.
        let fault = !(200..500).contains(&status)
            || status == 429 && !ATTEMPTS.iter().any(|path| route.path.starts_with(path))
            || no_object && status != 400
            || route.required.iter().any(lacks) && !is_refused;
        if fault {
            self.faults.push(format!("{name} {body}: {status} {}", answer.trim_end()));
        }
    }

    fn judge(&self) -> anyhow::Result<()> {
        let Self { routes, fields, statuses, faults, .. } = self;
        println!("{routes} routes, {fields} fields, answers by status: {statuses:?}");
        ensure!(*routes >= ROUTES_MIN && *fields >= FIELDS_MIN, "too little was told of");
        ensure!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
        Ok(())
    }
}

/// There are more; fewer mean that the document no longer tells.
const ROUTES_MIN: usize = 50;
const FIELDS_MIN: usize = 150;

/// A connection to the HTTP door, and its token.
struct Door<'n> {
    stream: BufReader<TlsStream<TcpStream>>,
    node: &'n Node,
    token: String,
    /// Whether the node ends the connection after what it answered last.
    ends: bool,
}

impl<'n> Door<'n> {
    async fn open(node: &'n Node, token: &str) -> anyhow::Result<Self> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(node.ca_pem.as_bytes())?)?;
        let provider = conclave_server::tls::provider();
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let stream = TcpStream::connect(&node.address).await?;
        let name = ServerName::try_from("127.0.0.1")?;
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
        Ok(Self { stream: BufReader::new(stream), node, token: token.to_owned(), ends: false })
    }

    /// The status and the body of the answer.
    async fn ask(&mut self, method: &str, path: &str, body: &str) -> anyhow::Result<(u16, String)> {
        if self.ends {
            *self = Self::open(self.node, &self.token).await?;
        }
        let (address, token, length) = (&self.node.address, &self.token, body.len());
        let media = match method {
            "PATCH" => "application/merge-patch+json",
            _ => "application/json",
        };
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: {address}\r\nx-vault-token: {token}\r\n\
             content-type: {media}\r\ncontent-length: {length}\r\n\r\n"
        );
        self.stream.write_all([head.as_bytes(), body.as_bytes()].concat().as_slice()).await?;
        self.stream.flush().await?;
        self.answer().await.with_context(|| format!("{method} {path} {body} has no answer"))
    }

    async fn answer(&mut self) -> anyhow::Result<(u16, String)> {
        let (mut status, mut length) = (0, 0);
        loop {
            let mut line = String::new();
            ensure!(self.stream.read_line(&mut line).await? > 0, "the connection ended");
            let line = line.trim_end().to_ascii_lowercase();
            if let Some(rest) = line.strip_prefix("http/1.1 ") {
                status = rest.get(..3).context("no status")?.parse()?;
            } else if let Some(bytes) = line.strip_prefix("content-length: ") {
                length = bytes.parse()?;
            } else if line == "connection: close" {
                self.ends = true;
            } else if line.is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).await?;
        Ok((status, String::from_utf8(body)?))
    }
}
