//! The barrier's own rows, at places that are not encrypted, because they are read before any key
//! is known.
//!
//! ```text
//! ROOT namespace 16 × 0 │ CORE mount 16 × 0 │ "\0barrier" │ "seal"
//!                                                         │ "keyring"
//!                                                         │ "count" ‖ key term u32 BE
//! ```
//!
//! A sealed name begins with its key id, which is never 0, so no name can come to stand here. A
//! listing of the core's root leaves `"\0barrier"` out.

use bytes::Bytes;

use crate::aead::{Place, RecordKind};
use crate::ledger::Key;
use crate::path::{MountId, NamespaceId};

const DIRECTORY: &[u8] = b"\0barrier";
const SEAL: &[u8] = b"seal";
const KEYRING: &[u8] = b"keyring";
const COUNT: &[u8] = b"count";

/// The row that tells how the root key is wrapped; readable without any key.
pub(crate) fn seal() -> Key {
    key(Bytes::from_static(SEAL))
}

/// The keyring, sealed under the root key.
pub(crate) fn keyring() -> Key {
    key(Bytes::from_static(KEYRING))
}

/// How many messages are reserved under the data key of `term`, sealed under the root key.
pub(crate) fn count(term: u32) -> Key {
    key([COUNT, &term.to_be_bytes()].concat().into())
}

/// Whether a segment is none of the layers above.
pub(crate) fn is_own(segment: &[u8]) -> bool {
    segment.first() == Some(&0)
}

/// The place that a row of this file is bound to.
pub(crate) fn bound<'a>(cluster_id: &'a [u8; 16], key: &'a Key, kind: RecordKind) -> Place<'a> {
    let (namespace, mount) = (NamespaceId::ROOT, MountId::CORE);
    Place { cluster_id, namespace, mount, name: &key.segments[2..], kind }
}

fn key(name: Bytes) -> Key {
    let root = Bytes::from_static(&NamespaceId::ROOT.0);
    let core = Bytes::from_static(&MountId::CORE.0);
    Key { segments: vec![root, core, Bytes::from_static(DIRECTORY), name], flat: false }
}
