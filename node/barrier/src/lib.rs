//! The ciphertext line: everything below it is opaque, everything above it is in clear.
//!
//! This crate owns the keys, and with them the only way across. The invariant: what it hands to the
//! [`ledger`] is a sealed name or a sealed record that opens in its own place only, and no data key
//! seals more messages than were reserved through the log. It must never know how the ledger
//! replicates or stores, nor what a value means.
//!
//! ```text
//!  Shamir shares      static key           (recipients: each opens the root key alone)
//!        │ combine         │
//!     seal key          seal key
//!        │ HKDF            │ HKDF
//!     AES-256-GCM       AES-256-GCM
//!        └───────┬─────────┘
//!             root key 256 bit                               row "seal": wrapped copies, readable
//!                │ HKDF
//!             AES-256-GCM                                    rows "count": reserved messages
//!                │                                           row "keyring"
//!     ┌──────────┴────┬─────────────────────────────┐
//!  data key        name secret                    hash secret
//!  of each term    of each id                       │ HKDF with each purpose
//!     │               │ HKDF with namespace, mount  ├─────────────────┐
//!  AES-256-GCM     AES-256-SIV                    HMAC-SHA-256      envelope secret
//!  values,         each segment, bound to         tokens, accessors,  │ HKDF with purpose, salt
//!  replies         its parent directory           audit, sessions,  AES-256-GCM
//!                                                 fingerprints      requests between members
//! ```
//!
//! Two sealings never share a key: each purpose has a type of its own, each derivation a label.
//! A transaction collects reads and writes over one view ([`Transaction`]); all it read becomes a
//! condition of the one batch it commits.
//!
//! Suggested reading order: [`Path`], `aead` (frame and associated data), `names`, `keyring`,
//! [`Barrier`], [`Transaction`], `commit`, `count`, [`NewBarrier`]; [`PeerSealer`] stands apart.
//!
//! Rotating name secrets online is not here yet; the key id in each sealed segment and the list of
//! secrets in the keyring are what it needs on disk.

pub mod ledger;

mod error;
mod path;

mod aead;
mod derive;
mod names;
mod nonce;

mod places;
mod records;

mod keyring;
mod seal_record;

mod barrier;
mod transaction;

mod commit;
mod count;
mod listing;

mod new_barrier;
mod rekey;

mod envelope;

#[cfg(test)]
mod testing;

pub use barrier::Barrier;
pub use commit::{CommitOutcome, RequestTag};
pub use count::{KeyStatus, MessageLimits};
pub use envelope::{EnvelopeError, EnvelopeId, PeerSealer, Route};
pub use error::BarrierError;
pub use keyring::HashPurpose;
pub use listing::Names;
pub use new_barrier::NewBarrier;
pub use path::{MountId, NamespaceId, Path};
pub use seal_record::{
    NewRecipient, Recipient, RootKey, SealKey, SealRecord, make_recipient, seal_record,
    unwrap_root_key,
};
pub use transaction::{Plain, SurveyMark, Transaction, VALUE_BYTES_MAX};
