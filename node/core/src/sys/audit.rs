//! `sys/audit`: which devices log, and what a value looks like in their logs.

use std::collections::BTreeMap;

use conclave_mount::fields::{Flag, Object};
use conclave_mount::format_time;
use conclave_mount::{BodyFields, word};
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::audited::{
    DeviceAnchors, DeviceRecord, WantedDevice, read_anchors, read_table, write_table,
};
use crate::routes::Ask;
use crate::{Error, Response};

/// The devices of the node that is asked: its own configuration's and the cluster's.
pub(super) fn list(ask: &mut Ask<'_>) -> Result<Response, Error> {
    let (table, _) = read_table(ask.tx)?;
    let mut devices = ask.core.audits.places.configured();
    for record in &table()?.devices {
        devices.push(record.wanted()?);
    }
    let devices = devices.iter().map(|device| (device.path.as_str(), View::of(device)));
    Response::json(&devices.collect::<BTreeMap<_, _>>())
}

pub(super) fn enable<'a>(ask: &'a mut Ask<'_>) -> BoxFuture<'a, Result<Response, Error>> {
    Box::pin(async move {
        let record = new_device(ask)?;
        let (table, _) = read_table(ask.tx)?;
        let mut table = table()?;
        let configured = ask.core.audits.places.configured();
        let others = table.devices.iter().map(|device| &device.path);
        if others
            .chain(configured.iter().map(|device| &device.path))
            .any(|path| *path == record.path)
        {
            return Err(Error::invalid("path already in use; disable the device there first"));
        }
        ask.core.audits.places.probe(&record.wanted()?).await?;
        table.devices.push(record);
        write_table(ask.tx, &table)?;
        Ok(Response::empty())
    })
}

/// No error where there is none.
pub(super) fn disable(ask: &mut Ask<'_>) -> Result<Response, Error> {
    let path = path(ask);
    let configured = ask.core.audits.places.configured();
    if configured.iter().any(|device| device.path == path) {
        return Err(Error::invalid(
            "the node's configuration enables this device; remove it there and restart the node",
        ));
    }
    let (table, _) = read_table(ask.tx)?;
    let mut table = table()?;
    let before = table.devices.len();
    table.devices.retain(|device| device.path != path);
    if table.devices.len() < before {
        write_table(ask.tx, &table)?;
    }
    Ok(Response::empty())
}

pub(super) fn hash(ask: &mut Ask<'_>) -> Result<Response, Error> {
    let Object(Input { input }) = ask.request.parse()?;
    let input = input.ok_or_else(|| Error::invalid("missing 'input'; send the value in it"))?;
    let enabled = ask.core.audits.at(ask.tx)?;
    let hash = enabled.audit.hash(&path(ask), input.as_bytes());
    let hash = hash.map_err(|error| Error::invalid(error.to_string()))?;
    Response::json(&json!({"hash": hash}))
}

/// Of every device of every node, those that are no more among them.
pub(super) fn anchors(ask: &mut Ask<'_>) -> Result<Response, Error> {
    let nodes = read_anchors(ask.tx)?;
    let mut anchors = Vec::new();
    for (node, device) in nodes.iter().flat_map(|n| n.devices.iter().map(move |d| (&n.node, d))) {
        anchors.push(AnchorsView::of(node, device)?);
    }
    Response::json(&json!({"anchors": anchors}))
}

fn new_device(ask: &Ask<'_>) -> Result<DeviceRecord, Error> {
    let Object(Body { kind, description, options, local }) = ask.request.parse()?;
    Ok(DeviceRecord {
        path: path(ask),
        kind: kind.unwrap_or_default(),
        description: description.unwrap_or_default(),
        options: texts(options.unwrap_or_default())?,
        id: ask.call.unique.to_vec(),
        salt: ask.core.ports.random::<32>().to_vec(),
        local: matches!(local, Some(Flag(true))),
    })
}

/// With a slash at its end.
fn path(ask: &Ask<'_>) -> String {
    [ask.name(), "/"].concat()
}

fn texts(options: BTreeMap<String, Value>) -> Result<BTreeMap<String, String>, Error> {
    let mut texts = BTreeMap::new();
    for (name, value) in options {
        let text = match value {
            Value::Null => continue,
            Value::String(text) => text,
            Value::Bool(value) => value.to_string(),
            Value::Number(value) => value.to_string(),
            Value::Array(_) | Value::Object(_) => {
                return Err(Error::invalid("each option is a text, a number or a boolean"));
            }
        };
        texts.insert(name, text);
    }
    Ok(texts)
}

pub(super) const DEVICE: BodyFields = BodyFields::of::<Body>(&[
    word("type", "`file`, `syslog` or `socket`.").required(),
    word("description", "For a reader."),
    word("options", "Settings of the device: texts by name."),
    word("local", "Not supported: must be false."),
]);

#[derive(Deserialize)]
struct Body {
    #[serde(rename = "type")]
    kind: Option<String>,
    description: Option<String>,
    options: Option<BTreeMap<String, Value>>,
    local: Option<Flag>,
}

pub(super) const INPUT: BodyFields =
    BodyFields::of::<Input>(&[word("input", "What to hash.").required()]);

#[derive(Deserialize)]
struct Input {
    input: Option<String>,
}

/// A device as clients see it.
#[derive(Serialize)]
struct View<'a> {
    description: &'a str,
    local: bool,
    options: &'a BTreeMap<String, String>,
    path: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
}

impl<'a> View<'a> {
    fn of(device: &'a WantedDevice) -> Self {
        Self {
            description: &device.description,
            local: device.local,
            options: &device.options,
            path: &device.path,
            kind: &device.kind,
        }
    }
}

/// What the cluster committed of one log, the newest last.
#[derive(Serialize)]
struct AnchorsView<'a> {
    node: &'a str,
    device: &'a str,
    device_id: String,
    /// As `conclave audit verify --anchor` takes them.
    anchors: Vec<String>,
    /// Of the newest.
    time: String,
}

impl<'a> AnchorsView<'a> {
    fn of(node: &'a str, device: &'a DeviceAnchors) -> Result<Self, Error> {
        let anchors = device.anchors.iter().map(|anchor| Ok(anchor.head()?.to_string()));
        Ok(Self {
            node,
            device: &device.path,
            device_id: hex::encode(&device.id),
            anchors: anchors.collect::<Result<_, Error>>()?,
            time: format_time(device.anchors.last().map_or(0, |newest| newest.time_ms)),
        })
    }
}
