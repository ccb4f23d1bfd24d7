//! What the cluster committed of its audit logs, as `sys/audit-anchors` answers it.

use serde_json::Value;

use super::Failure;

/// The anchors of one device of one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LogAnchors {
    pub(super) node: String,
    pub(super) device: String,
    /// `SEQ:HASH`, the newest last.
    pub(super) anchors: Vec<String>,
    time: String,
}

/// Of every log; `document` is the answer, or its `data`.
pub(super) fn parse(document: &Value) -> Result<Vec<LogAnchors>, Failure> {
    let data = document.get("data").unwrap_or(document);
    let logs = data.get("anchors").and_then(Value::as_array);
    let logs = logs.and_then(|logs| logs.iter().map(LogAnchors::of).collect());
    logs.ok_or_else(|| {
        Failure::local(
            "these are no anchors; save what `conclave read -format=json sys/audit-anchors` says"
                .into(),
        )
    })
}

impl LogAnchors {
    fn of(log: &Value) -> Option<Self> {
        let text = |name: &str| Some(log.get(name)?.as_str()?.to_owned());
        let heads = log.get("anchors")?.as_array()?.iter();
        let heads = heads.map(|head| Some(head.as_str()?.to_owned()));
        Some(Self {
            node: text("node")?,
            device: text("device")?,
            anchors: heads.collect::<Option<_>>()?,
            time: text("time")?,
        })
    }
}

/// Those of the one log that is meant.
pub(super) fn choose(
    mut all: Vec<LogAnchors>,
    node: Option<&str>,
    device: Option<&str>,
) -> Result<LogAnchors, Failure> {
    let slashed = |name: &str| format!("{}/", name.trim_end_matches('/'));
    all.retain(|log| {
        node.is_none_or(|node| log.node == node)
            && device.is_none_or(|device| slashed(&log.device) == slashed(device))
    });
    match all.len() {
        1 => Ok(all.remove(0)),
        0 => Err(Failure::local(
            "the cluster has no anchor of such a log; see `conclave read sys/audit-anchors`".into(),
        )),
        _ => {
            let names = all.iter().map(|log| {
                format!("  -node={} -device={}  (newest of {})", log.node, log.device, log.time)
            });
            let names = names.collect::<Vec<_>>().join("\n");
            Err(Failure::local(format!(
                "several logs have anchors; say which one this is:\n{names}"
            )))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn all() -> Vec<LogAnchors> {
        let log = |node: &str, device: &str| {
            json!({
                "node": node, "device": device, "device_id": "00", "time": "2018-03-22T02:24:26Z",
                "anchors": [format!("1:{node}{device}")],
            })
        };
        let document = json!({"request_id": "", "data": {"anchors": [
            log("node-1", "file/"), log("node-1", "other/"), log("node-2", "file/"),
        ]}});
        parse(&document).expect("an answer")
    }

    #[test]
    fn one_log_is_chosen_by_its_names() {
        let chosen = |node, device| choose(all(), node, device).map(|log| log.anchors);
        assert_eq!(chosen(Some("node-2"), None).expect("one"), ["1:node-2file/"]);
        assert_eq!(chosen(Some("node-1"), Some("other")).expect("one"), ["1:node-1other/"]);
        let several = chosen(None, Some("file/")).expect_err("two nodes have it").to_string();
        assert!(several.contains("-node=node-2 -device=file/"), "{several}");
        assert!(chosen(Some("node-3"), None).is_err());
    }

    #[test]
    fn what_is_no_answer_is_said_to_be_none() {
        assert!(parse(&json!({"anchors": [{"node": 1}]})).is_err());
        assert!(parse(&json!({"data": {"keys": []}})).is_err());
        assert_eq!(parse(&json!({"anchors": []})).expect("none yet"), []);
    }
}
