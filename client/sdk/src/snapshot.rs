//! Backups of a cluster, out and in, never held whole.

use std::io::{self, Read};

use bytes::Bytes;
use conclave_proto::v1::operator_client::OperatorClient;
use conclave_proto::v1::restore_snapshot_part::Part;
use conclave_proto::v1::{
    RestoreSnapshotPart, RestoreSnapshotStart, SaveSnapshotRequest, SnapshotBytes,
};
use tokio::sync::mpsc;
use tonic::Streaming;
use tonic::codegen::tokio_stream::wrappers::ReceiverStream;

use crate::cluster::Route;
use crate::error::Error;
use crate::operator::Operator;
use crate::retry::{Failure, Replay};
use crate::runtime;

/// A backup that a node sends. **Until [`SnapshotDownload::next`] answered `None` it is not whole.**
pub struct SnapshotDownload {
    pieces: Streaming<SnapshotBytes>,
}

/// What became of a restore.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Restored {
    /// The log index at which the backup became the state.
    pub revision: u64,
    /// The cluster's epoch since then.
    pub epoch: u64,
}

impl SnapshotDownload {
    /// The next bytes of the file; `None` at its end.
    ///
    /// # Errors
    /// The backup broke off; what came is of no use.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        match self.pieces.message().await {
            Ok(piece) => Ok(piece.map(|piece| piece.data)),
            Err(status) => Err(match Failure::from(status) {
                Failure::Refused { code, message } => Error::Refused { code, message },
                Failure::NotSent { message } | Failure::Lost { message } => {
                    Error::Unreachable { attempts: 1, message }
                }
            }),
        }
    }
}

impl Operator {
    /// A signed backup of everything that was acknowledged before the call.
    pub async fn save_snapshot(&self) -> Result<SnapshotDownload, Error> {
        let client = self.client.patient();
        let pieces = client
            .read(|channel| {
                let request = client.request(SaveSnapshotRequest {});
                async move { OperatorClient::new(channel).save_snapshot(request).await }
            })
            .await?;
        Ok(SnapshotDownload { pieces })
    }

    /// Replaces the cluster's state by a backup of it, which the cluster verifies whole before it
    /// changes anything. `open` gives the file's bytes from their beginning; it is asked again where
    /// a node refused without taking them. With `force` a backup of another cluster is taken, too:
    /// all nodes are then sealed and open with that cluster's keys.
    pub async fn restore_snapshot<R>(
        &self,
        force: bool,
        open: impl Fn() -> io::Result<R>,
    ) -> Result<Restored, Error>
    where
        R: Read + Send + 'static,
    {
        let client = self.client.patient();
        // Read once before anything is sent, so that a file that is not there is told as such.
        open().map_err(unreadable)?;
        let restored = client
            .call(Route::Leader, Replay::Once, |channel| {
                let request = open().map(|file| client.request(parts(force, file)));
                async move {
                    let request = request.map_err(|error| {
                        tonic::Status::invalid_argument(format!("the file went away: {error}"))
                    })?;
                    OperatorClient::new(channel).restore_snapshot(request).await
                }
            })
            .await?;
        Ok(Restored { revision: restored.revision, epoch: restored.epoch })
    }
}

/// The messages of a restore. A file that cannot be read to its end ends them early: the cluster
/// then refuses what is not whole.
fn parts(force: bool, mut file: impl Read + Send + 'static) -> ReceiverStream<RestoreSnapshotPart> {
    let (sender, receiver) = mpsc::channel(PARTS_WAITING_MAX);
    runtime::spawn_blocking(move || {
        let part = |part| RestoreSnapshotPart { part: Some(part) };
        let mut next = Some(part(Part::Start(RestoreSnapshotStart { force })));
        while let Some(message) = next {
            if sender.blocking_send(message).is_err() {
                return;
            }
            let mut piece = vec![0; PART_BYTES];
            next = match file.read(&mut piece) {
                Ok(0) | Err(_) => None,
                Ok(read) => {
                    piece.truncate(read);
                    Some(part(Part::Data(piece.into())))
                }
            };
        }
    });
    ReceiverStream::new(receiver)
}

fn unreadable(error: io::Error) -> Error {
    Error::Argument { message: format!("the backup cannot be read: {error}; check the file") }
}

const PART_BYTES: usize = 256 << 10;
const PARTS_WAITING_MAX: usize = 4;
