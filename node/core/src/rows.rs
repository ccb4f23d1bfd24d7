//! Where the core's own rows are, in the root namespace under the mount id of the core.
//!
//! ```text
//! mounts                        the mount table
//! cluster-secrets/<name>        a secret of the cluster itself
//! tokens/<hash>       flat      a token, under the keyed hash of its text
//! accessors/<hash>    flat      which token an accessor stands for
//! join-tokens/<id>    flat      a join token that was not used yet
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

pub(crate) fn accessor(hash: &[u8; 32]) -> Path {
    path(&["accessors", &encode(hash)], true)
}

pub(crate) fn join_token(id: &[u8]) -> Path {
    path(&["join-tokens", &encode(id)], true)
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
