//! Where the core's own rows are, in the root namespace under the mount id of the core.
//!
//! ```text
//! mounts                        the mount table
//! cluster-secrets/<name>        a secret of the cluster itself
//! tokens/<hash>       flat      a token, under the keyed hash of its text
//! accessors/<hash>    flat      which token an accessor stands for
//! token-roles/<name>            a token role
//! token-tidy                    somebody wants ended tokens to be swept
//! policies/<name…>              an ACL policy; a name with slashes is as deep
//! authority                     rewritten by whatever can change the rights of a token that is there
//! rotation                      when the data key is replaced by itself
//! removed-mounts/<id>           a disabled mount whose rows are being swept
//! join-tokens/<id>    flat      a join token that was not used yet
//! lock-outs/<bucket>  flat      names whose logins failed lately, some of them locked out
//! quotas                        rate quotas, and how they are applied
//! password-policies/<name>      what generated passwords look like
//! versions                      which versions have led, and since when
//! cors                          which origins of web pages may call
//! audit-anchors/<name>  flat    where the chains of a node's audit devices were
//! audit                         devices enabled by API, and headers that may be logged
//! ```
//!
//! Flat directories keep no revision: what comes and goes in them disturbs nobody.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use conclave_barrier::{MountId, NamespaceId, Path};

pub(crate) fn mounts() -> Path {
    path(&["mounts"], false)
}

pub(crate) fn cluster_secret(name: &str) -> Path {
    path(&["cluster-secrets", name], false)
}

pub(crate) fn token(hash: &[u8; 32]) -> Path {
    path(&["tokens", &encode(hash)], true)
}

pub(crate) fn tokens() -> Path {
    path(&["tokens"], true)
}

/// The hash that a row below `tokens` is named by.
pub(crate) fn decode_hash(name: &str) -> Option<[u8; 32]> {
    URL_SAFE_NO_PAD.decode(name).ok()?.try_into().ok()
}

pub(crate) fn accessor(hash: &[u8; 32]) -> Path {
    path(&["accessors", &encode(hash)], true)
}

pub(crate) fn token_role(name: &str) -> Path {
    path(&["token-roles", name], false)
}

pub(crate) fn token_roles() -> Path {
    path(&["token-roles"], false)
}

pub(crate) fn token_tidy() -> Path {
    path(&["token-tidy"], false)
}

pub(crate) fn policy(name: &str) -> Path {
    let segments: Vec<_> = std::iter::once("policies").chain(name.split('/')).collect();
    path(&segments, false)
}

pub(crate) fn policies() -> Path {
    path(&["policies"], false)
}

pub(crate) fn authority() -> Path {
    path(&["authority"], false)
}

pub(crate) fn rotation() -> Path {
    path(&["rotation"], false)
}

pub(crate) fn removed_mount(id: &[u8; 16]) -> Path {
    path(&["removed-mounts", &hex::encode(id)], false)
}

pub(crate) fn removed_mounts() -> Path {
    path(&["removed-mounts"], false)
}

pub(crate) fn join_token(id: &[u8]) -> Path {
    path(&["join-tokens", &encode(id)], true)
}

/// Devices enabled by API, and headers that may be logged.
pub(crate) fn audit() -> Path {
    path(&["audit"], false)
}

/// Which versions have led.
pub(crate) fn versions() -> Path {
    path(&["versions"], false)
}

/// Which origins of web pages may call, if any may.
pub(crate) fn cors() -> Path {
    path(&["cors"], false)
}

/// Where the chains of a node's audit devices were.
pub(crate) fn audit_anchors(node: &str) -> Path {
    audit_anchors_at(&encode(node.as_bytes()))
}

/// The same by what a row below them is named.
pub(crate) fn audit_anchors_at(name: &str) -> Path {
    path(&["audit-anchors", name], true)
}

pub(crate) fn audit_anchor_nodes() -> Path {
    path(&["audit-anchors"], true)
}

/// One of a fixed number of buckets.
pub(crate) fn lock_out(bucket: u16) -> Path {
    path(&["lock-outs", &format!("{bucket:04x}")], true)
}

pub(crate) fn lock_outs() -> Path {
    path(&["lock-outs"], true)
}

pub(crate) fn quotas() -> Path {
    path(&["quotas"], false)
}

pub(crate) fn password_policy(name: &str) -> Path {
    path(&["password-policies", name], false)
}

pub(crate) fn password_policies() -> Path {
    path(&["password-policies"], false)
}

/// Bytes as text for names and tokens.
pub(crate) fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn path(segments: &[&str], flat: bool) -> Path {
    Path {
        namespace: NamespaceId::ROOT,
        mount: MountId::CORE,
        segments: segments.iter().map(|segment| (*segment).to_owned()).collect(),
        flat,
    }
}
