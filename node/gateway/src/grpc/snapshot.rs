//! `SaveSnapshot` and `RestoreSnapshot`: backups as streams of messages.

use std::io;

use conclave_core::Operation;
use conclave_proto::v1::restore_snapshot_part::Part;
use conclave_proto::v1::{
    RestoreSnapshotPart, RestoreSnapshotResponse, RestoreSnapshotStart, SnapshotBytes,
};
use futures::StreamExt;
use futures::stream::BoxStream;
use serde::Deserialize;
use tonic::{Response, Status, Streaming};

use super::Handlers;
use super::context::{Ask, Context, parse_data};
use crate::refusal::Refusal;

/// What `SaveSnapshot` answers.
type Saved = BoxStream<'static, Result<SnapshotBytes, Status>>;

pub(super) async fn save(handlers: &Handlers, context: Context) -> Result<Response<Saved>, Status> {
    let ask = Ask::new(Operation::Read, "sys/storage/raft/snapshot".to_owned());
    let (request, permit) = handlers.request(context, ask)?;
    let bytes = handlers.caller.save(request, permit).await?;
    let messages = bytes.map(|part| match part {
        Ok(data) => Ok(SnapshotBytes { data }),
        Err(error) => Err(Refusal::internal(&format!("a backup broke off: {error}")).into()),
    });
    Ok(Response::new(messages.boxed()))
}

pub(super) async fn restore(
    handlers: &Handlers,
    context: Context,
    mut parts: Streaming<RestoreSnapshotPart>,
) -> Result<Response<RestoreSnapshotResponse>, Status> {
    let Some(RestoreSnapshotPart { part: Some(Part::Start(RestoreSnapshotStart { force })) }) =
        handlers.caller.patiently(parts.message()).await??
    else {
        return Err(Refusal::invalid("a restore begins with its start; send it first").into());
    };
    let path = if force { "sys/storage/raft/snapshot-force" } else { "sys/storage/raft/snapshot" };
    let (request, permit) =
        handlers.request(context, Ask::new(Operation::Write, path.to_owned()))?;
    let bytes = parts.map(|message| match message {
        Ok(RestoreSnapshotPart { part: Some(Part::Data(data)) }) => Ok(data),
        Ok(_) => Err(io::Error::new(io::ErrorKind::InvalidData, "a message holds no data")),
        Err(status) => Err(io::Error::other(status.message().to_owned())),
    });
    let response = handlers.caller.restore(request, force, bytes.boxed(), permit).await?;
    let Restored { epoch } = parse_data(response.data.as_ref())?;
    Ok(Response::new(RestoreSnapshotResponse { revision: response.revision, epoch }))
}

#[derive(Deserialize)]
struct Restored {
    epoch: u64,
}
